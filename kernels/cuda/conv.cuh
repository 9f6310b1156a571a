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
    float copy[N]; /* lies in local memory because of the loop; v need not */
#pragma unroll
    for (int k = 0; k < N; k++)
        copy[k] = v[k];
#pragma unroll 1
    for (int k = 0; k < N; k++)
        copy[k] = rf_apply_act(act, copy[k]);
#pragma unroll
    for (int k = 0; k < N; k++)
        v[k] = copy[k];
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

// Values of channels c, c + 1, ... < c_end of one pixel, in any layout and float dtype. `vectors`:
// N * 4 (f32) or N * 2 bytes are whole 16-byte pieces, and all channels exist.
template <int N>
__device__ __forceinline__ void conv_load_any(const rf_cuda_conv_image &t, bool vectors, int64_t at,
                                              int32_t n, float (&v)[N])
{
    if constexpr (N % 8 == 0) {
        if (vectors && t.dtype == RF_F16)
            return conv_load<__half>(t.data, at, v);
        if (vectors && t.dtype == RF_BF16)
            return conv_load<__nv_bfloat16>(t.data, at, v);
    }
    if constexpr (N % 4 == 0)
        if (vectors)
            return conv_load<float>(t.data, at, v);
#pragma unroll
    for (int k = 0; k < N; k++)
        v[k] = k < n ? rf_load_as_float(t.data, t.dtype, at + k * t.c) : 0.0f;
}
template <int N>
__device__ __forceinline__ void conv_store_any(const rf_cuda_conv_image &t, bool vectors,
                                               int64_t at, int32_t n, const float (&v)[N])
{
    if constexpr (N % 8 == 0) {
        if (vectors && t.dtype == RF_F16)
            return conv_store<__half>(t.data, at, v);
        if (vectors && t.dtype == RF_BF16)
            return conv_store<__nv_bfloat16>(t.data, at, v);
    }
    if constexpr (N % 4 == 0)
        if (vectors)
            return conv_store<float>(t.data, at, v);
#pragma unroll
    for (int k = 0; k < N; k++)
        if (k < n)
            rf_store_from_float(t.data, t.dtype, at + k * t.c, v[k]);
}

// Finishes and stores the sums of channels c, c + 1, ... < c_end of one pixel.
template <int N>
__device__ __forceinline__ void conv_output(const rf_cuda_conv_out &out, int64_t n, int32_t c,
                                            int32_t c_end, int64_t y, int64_t x, float (&v)[N])
{
    float r[N];
#pragma unroll
    for (int k = 0; k < N; k++)
        r[k] = 0;
    if (out.res.data)
        conv_load_any(out.res, out.vectors, conv_offset(out.res, n, c, y, x), c_end - c, r);
    conv_finish(out, v, r);
    conv_store_any(out.y, out.vectors, conv_offset(out.y, n, c, y, x), c_end - c, v);
}
#endif
