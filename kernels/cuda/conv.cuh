// SPDX-License-Identifier: Apache-2.0
//
// What the convolution kernels share on the device: padding as a mapping of coordinates, and what
// happens to a sum before it is stored.
#ifndef RF_CUDA_CONV_CUH
#define RF_CUDA_CONV_CUH

#include "kernels/cuda/conv.h"
#include "kernels/cuda/device.cuh"

// Moves coordinate i of a padded image of n > 0 pixels into it; false: the pixel is a zero.
// Coordinates that only unused parts of a tile have may be far outside of the padding.
__device__ __forceinline__ bool conv_map(int32_t pad_mode, int32_t &i, int32_t n)
{
    if (pad_mode == RF_CUDA_PAD_ZEROS)
        return i >= 0 && i < n;
    if (pad_mode == RF_CUDA_PAD_REFLECT)
        i = i < 0 ? -i : i >= n ? 2 * (n - 1) - i : i;
    i = i < 0 ? 0 : i >= n ? n - 1 : i;
    return true;
}

// The common activations straight, the long ones in a loop that is not unrolled: their code would
// otherwise stand in the kernel once per value.
template <int N> __device__ __forceinline__ void conv_act(const rf_cuda_act &act, float (&v)[N])
{
    if (act.kind == RF_CUDA_ACT_NONE)
        return;
    if (act.kind == RF_CUDA_ACT_RELU) {
#pragma unroll
        for (int k = 0; k < N; k++)
            v[k] = v[k] < 0 ? 0.0f : v[k];
        return;
    }
#pragma unroll 1
    for (int k = 0; k < N; k++)
        v[k] = rf_apply_act(act, v[k]);
}

// Sums with their bias become results; r: the residual's values, or zeros.
template <int N>
__device__ __forceinline__ void conv_finish(const rf_cuda_conv_out &out, float (&v)[N],
                                            const float (&r)[N])
{
    if (out.res_before)
#pragma unroll
        for (int k = 0; k < N; k++)
            v[k] += r[k];
    conv_act(out.act, v);
    if (!out.res_before)
#pragma unroll
        for (int k = 0; k < N; k++)
            v[k] += r[k];
}

__device__ __forceinline__ int64_t conv_offset(const rf_cuda_conv_image &t, int64_t n, int64_t c,
                                               int64_t y, int64_t x)
{
    return n * t.n + c * t.c + y * t.y + x * t.x;
}

// N consecutive channels of a pixel, in 16-byte accesses.
template <class T, int N>
__device__ __forceinline__ void conv_load(const void *data, int64_t at, float (&v)[N])
{
    constexpr int PER = 16 / sizeof(T);
#pragma unroll
    for (int k = 0; k < N; k += PER) {
        const uint4 raw = rf_load((const uint4 *)((const T *)data + at + k));
        T part[PER];
        memcpy((void *)part, &raw, 16);
#pragma unroll
        for (int e = 0; e < PER; e++)
            v[k + e] = rf_to_float(part[e]);
    }
}
template <class T, int N>
__device__ __forceinline__ void conv_store(void *data, int64_t at, const float (&v)[N])
{
    constexpr int PER = 16 / sizeof(T);
#pragma unroll
    for (int k = 0; k < N; k += PER) {
        T part[PER];
#pragma unroll
        for (int e = 0; e < PER; e++)
            part[e] = rf_from_float<T>(v[k + e]);
        uint4 raw;
        memcpy(&raw, part, 16);
        rf_store((uint4 *)((T *)data + at + k), raw);
    }
}

// Finishes and stores the sums of channels c, c + 1, ... < c_end of one pixel.
template <int N>
__device__ __forceinline__ void conv_store_strided(const rf_cuda_conv_out &out, int64_t n,
                                                   int32_t c, int32_t c_end, int64_t y, int64_t x,
                                                   float (&v)[N])
{
    float r[N];
    const int64_t res = conv_offset(out.res, n, c, y, x), to = conv_offset(out.y, n, c, y, x);
#pragma unroll
    for (int k = 0; k < N; k++)
        r[k] = out.res.data && c + k < c_end
                   ? rf_load_as_float(out.res.data, out.res.dtype, res + k * out.res.c)
                   : 0.0f;
    conv_finish(out, v, r);
#pragma unroll
    for (int k = 0; k < N; k++)
        if (c + k < c_end)
            rf_store_from_float(out.y.data, out.y.dtype, to + k * out.y.c, v[k]);
}

// The same where out.vectors says so: N channels that all exist, y (and res) of type T.
template <class T, int N>
__device__ __forceinline__ void conv_store_vectors(const rf_cuda_conv_out &out, int64_t n,
                                                   int32_t c, int64_t y, int64_t x, float (&v)[N])
{
    float r[N];
#pragma unroll
    for (int k = 0; k < N; k++)
        r[k] = 0;
    if (out.res.data)
        conv_load<T>(out.res.data, conv_offset(out.res, n, c, y, x), r);
    conv_finish(out, v, r);
    conv_store<T>(out.y.data, conv_offset(out.y, n, c, y, x), v);
}
#endif
