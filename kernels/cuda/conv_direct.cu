// SPDX-License-Identifier: Apache-2.0
//
// Any convolution and any transposed convolution: all strides, float dtypes, groups and paddings,
// weights in the layout they have and from wherever they come. One thread per output element in a
// grid-stride loop, in the order of y's memory: with channels last a warp shares its window of x,
// else its weights, and the other operand is read in consecutive elements. Nothing is reused but
// through the caches; layers that take time have rows of their own in front.
#include "kernels/cuda/conv.cuh"
#include "kernels/cuda/conv_direct.h"

struct Element {
    int64_t n;
    int32_t c, y, x;
};

__device__ __forceinline__ Element element_of(const rf_cuda_conv_direct_params &p, int64_t i)
{
    Element e;
    if (p.channels_last) {
        e.c = (int32_t)(i % p.oc);
        i /= p.oc;
    }
    e.x = (int32_t)(i % p.ax.out);
    i /= p.ax.out;
    e.y = (int32_t)(i % p.ay.out);
    i /= p.ay.out;
    if (!p.channels_last) {
        e.c = (int32_t)(i % p.oc);
        i /= p.oc;
    }
    e.n = i;
    return e;
}

// Adds the products of one filter tap (at w_at, input pixel at x_at) over the group's channels.
__device__ __forceinline__ float tap(const rf_cuda_conv_direct_params &p, int64_t x_at,
                                     int64_t w_at, int64_t w_step, float sum)
{
    for (int32_t c = 0; c < p.group_ic; c++, x_at += p.x.c, w_at += w_step)
        sum += rf_load_as_float(p.x.data, p.x.dtype, x_at) *
               rf_load_as_float(p.w.data, p.w.dtype, w_at);
    return sum;
}

__device__ __forceinline__ void store(const rf_cuda_conv_direct_params &p, const Element &e,
                                      float sum)
{
    float v[1] = {sum};
    if (p.bias)
        v[0] += rf_load_as_float(p.bias, p.bias_dtype, e.c * p.bias_stride);
    conv_output(p.out, e.n, e.c, p.oc, e.y, e.x, v);
}

__global__ void conv_direct(const rf_cuda_conv_direct_params p)
{
    for (int64_t i = rf_thread_index(); i < p.elements; i += rf_thread_step()) {
        const Element e = element_of(p, i);
        const int32_t group = e.c / p.group_oc;
        float sum = 0;
        for (int32_t ky = 0; ky < p.ay.taps; ky++) {
            int32_t iy = e.y * p.ay.stride + p.ay.start + ky * p.ay.step;
            if (!conv_map(p.pad_mode, iy, p.ay.in))
                continue;
            for (int32_t kx = 0; kx < p.ax.taps; kx++) {
                int32_t ix = e.x * p.ax.stride + p.ax.start + kx * p.ax.step;
                if (conv_map(p.pad_mode, ix, p.ax.in))
                    sum = tap(p, conv_offset(p.x, e.n, (int64_t)group * p.group_ic, iy, ix),
                              conv_offset(p.w, e.c, 0, ky, kx), p.w.c, sum);
            }
        }
        store(p, e, sum);
    }
}

// Input coordinate that reaches output o through tap k: o = i * stride + k * step + start.
__device__ __forceinline__ bool source(const rf_cuda_conv_axis &a, int32_t o, int32_t k, int32_t &i)
{
    const int32_t from = o - a.start - k * a.step;
    i = from / a.stride;
    return from >= 0 && i * a.stride == from && i < a.in;
}

// w is (C, O / groups, ky, kx): p.w.n steps over input channels.
__global__ void conv_transpose_direct(const rf_cuda_conv_direct_params p)
{
    for (int64_t i = rf_thread_index(); i < p.elements; i += rf_thread_step()) {
        const Element e = element_of(p, i);
        const int32_t group = e.c / p.group_oc;
        const int64_t c0 = (int64_t)group * p.group_ic;
        float sum = 0;
        for (int32_t ky = 0; ky < p.ay.taps; ky++) {
            int32_t iy, ix;
            if (!source(p.ay, e.y, ky, iy))
                continue;
            for (int32_t kx = 0; kx < p.ax.taps; kx++)
                if (source(p.ax, e.x, kx, ix))
                    sum = tap(p, conv_offset(p.x, e.n, c0, iy, ix),
                              conv_offset(p.w, c0, e.c - group * p.group_oc, ky, kx), p.w.n, sum);
        }
        store(p, e, sum);
    }
}

extern "C" const rf_cuda_entry rf_cuda_conv_direct_entries[RF_CUDA_CONV_DIRECT_ENTRIES] = {
    RF_ENTRY("conv_direct", rf_cuda_conv_direct_params, conv_direct),
    RF_ENTRY("conv_transpose_direct", rf_cuda_conv_direct_params, conv_transpose_direct),
};
