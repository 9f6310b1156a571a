// SPDX-License-Identifier: Apache-2.0
//
// Depthwise convolutions (one filter per channel) of NHWC images, bound by memory: a thread takes
// 16 bytes of channels, 8 halves or 4 floats, and neighbouring threads the next ones. Windows of 3,
// 5 and 7 with stride and dilation 1 make 4 pixels of a row at once, so that a row of the window
// is 4 + KW - 1 loads for 4 KW products of vectors; what rows share comes from L1. Other windows
// make one pixel a thread.
//
// ptxas 13.0, sm_90a, no spills: halves 118, 128, 164 registers for 3, 5, 7 and 56 for other
// windows, f32 72, 96, 98 and 48; blocks of 128 threads. Per output element one element is written
// and, from L1, kh * (4 + KW - 1) / 4 are read.
#include "kernels/cuda/conv.cuh"
#include "kernels/cuda/conv_depthwise.h"

template <class T, int V>
__device__ __forceinline__ void store(const rf_cuda_conv_out &out, int64_t n, int32_t c, int32_t y,
                                      int32_t x, float (&v)[V])
{
    float r[V];
#pragma unroll
    for (int e = 0; e < V; e++)
        r[e] = 0;
    if (out.res.data)
        conv_load<T>(out.res.data, conv_offset(out.res, n, c, y, x), r);
    conv_finish(out, v, r);
    conv_store<T>(out.y.data, conv_offset(out.y, n, c, y, x), v);
}

template <class T, int KW>
__global__ void __launch_bounds__(128) depthwise(const rf_cuda_conv_depthwise_params p)
{
    constexpr int V = 16 / sizeof(T), STRIP = KW ? RF_CUDA_DEPTHWISE_STRIP : 1;
    constexpr int WINDOW = KW ? STRIP + KW - 1 : 1;
    for (int64_t i = rf_thread_index(); i < p.threads; i += rf_thread_step()) {
        const int64_t strip = i / p.pieces, row = strip / p.strips, n = row / p.ay.out;
        const int32_t c = (int32_t)(i - strip * p.pieces) * V, y = (int32_t)(row - n * p.ay.out);
        const int32_t x = (int32_t)(strip - row * p.strips) * STRIP;
        float sum[STRIP][V];
#pragma unroll
        for (int e = 0; e < V; e++) {
            const float b = p.bias ? rf_load(p.bias + c + e) : 0.0f;
#pragma unroll
            for (int s = 0; s < STRIP; s++)
                sum[s][e] = b;
        }
        for (int32_t ky = 0; ky < p.ay.taps; ky++) {
            int32_t iy = y * p.ay.stride + p.ay.start + ky * p.ay.step;
            if (!conv_map(p.pad_mode, iy, p.ay.in))
                continue;
            const int64_t line = (n * p.ay.in + iy) * p.ax.in;
            const int64_t weights = (int64_t)ky * p.ax.taps * p.channels + c;
            // With KW the whole row of the window at once, else tap by tap.
            for (int32_t k0 = 0; k0 < (KW ? 1 : p.ax.taps); k0++) {
                float in[WINDOW][V];
#pragma unroll
                for (int k = 0; k < WINDOW; k++) {
                    int32_t ix = x * p.ax.stride + p.ax.start + (k0 + k) * p.ax.step;
                    if (conv_map(p.pad_mode, ix, p.ax.in))
                        conv_load<T>(p.x, (line + ix) * p.channels + c, in[k]);
                    else
#pragma unroll
                        for (int e = 0; e < V; e++)
                            in[k][e] = 0;
                }
#pragma unroll
                for (int k = 0; k < (KW ? KW : 1); k++) {
                    float w[V];
                    conv_load<T>(p.weights, weights + (int64_t)(k0 + k) * p.channels, w);
#pragma unroll
                    for (int s = 0; s < STRIP; s++)
#pragma unroll
                        for (int e = 0; e < V; e++)
                            sum[s][e] += in[s + k][e] * w[e];
                }
            }
        }
#pragma unroll
        for (int s = 0; s < STRIP; s++)
            if (x + s < p.ax.out)
                store<T>(p.out, n, c, y, x + s, sum[s]);
    }
}

#define ENTRIES(text, T)                                                                           \
    RF_ENTRY("depthwise3_" text, rf_cuda_conv_depthwise_params, depthwise<T, 3>),                  \
        RF_ENTRY("depthwise5_" text, rf_cuda_conv_depthwise_params, depthwise<T, 5>),              \
        RF_ENTRY("depthwise7_" text, rf_cuda_conv_depthwise_params, depthwise<T, 7>),              \
        RF_ENTRY("depthwise_" text, rf_cuda_conv_depthwise_params, depthwise<T, 0>)

extern "C" const rf_cuda_entry rf_cuda_conv_depthwise_entries[RF_CUDA_CONV_DEPTHWISE_ENTRIES] = {
    ENTRIES("f32", float),
    ENTRIES("f16", __half),
    ENTRIES("bf16", __nv_bfloat16),
};
