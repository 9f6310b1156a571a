/* SPDX-License-Identifier: Apache-2.0
 *
 * Layer and RMS norm. A warp (rows up to 1024) or a block of 256 has a row and reads it for the
 * mean, for the variance about that mean (no cancellation), and to write; the second and third
 * reading find it in L1. Whole pieces of 8 elements where rows allow it.
 */
#include "kernels/cuda/layer_norm.h"
#include "kernels/cuda/row.cuh"

/* Sum over the row of (x - centre), or of its square. */
template <int THREADS, bool SQUARE>
__device__ __forceinline__ float row_sum(const rf_cuda_layer_norm_params &p, int64_t base,
                                         float centre, float *shared)
{
    const void *x = p.inner.data[1];
    int32_t type = p.inner.dtype[1];
    int64_t n = p.inner.elements;
    float sum = 0;
    if (p.by8) {
        for (int64_t i = threadIdx.x % THREADS * 8; i < n; i += THREADS * 8) {
            float v[8];
            rf_load8(v, x, type, base + i);
#pragma unroll
            for (int k = 0; k < 8; k++) {
                float d = v[k] - centre;
                sum += SQUARE ? d * d : d;
            }
        }
    } else {
        for (int64_t i = threadIdx.x % THREADS; i < n; i += THREADS) {
            int64_t at[2];
            rf_row_offsets(p.inner, i, at);
            float d = rf_load_as_float(x, type, base + at[1]) - centre;
            sum += SQUARE ? d * d : d;
        }
    }
    return rf_join_sum<THREADS>(sum, shared);
}

template <int THREADS>
__global__ void __launch_bounds__(256) layer_norm(const rf_cuda_layer_norm_params p)
{
    float *shared = (float *)RF_SHARED(8 * sizeof(float));
    const rf_cuda_nd &in = p.inner;
    int64_t row = (int64_t)blockIdx.x * (256 / THREADS) + threadIdx.x / THREADS, base[2];
    if (row >= p.rows.elements) /* whole warps, or nobody */
        return;
    rf_row_offsets(p.rows, row, base);
    float n = (float)in.elements;
    float mean = p.rms ? 0 : row_sum<THREADS, false>(p, base[1], 0, shared) / n;
    float scale = 1 / sqrtf(row_sum<THREADS, true>(p, base[1], mean, shared) / n + p.eps);
    if (p.by8) {
        for (int64_t i = threadIdx.x % THREADS * 8; i < in.elements; i += THREADS * 8) {
            float v[8], w[8], b[8];
            rf_load8(v, in.data[1], in.dtype[1], base[1] + i);
#pragma unroll
            for (int k = 0; k < 8; k++)
                w[k] = 1, b[k] = 0;
            if (in.data[2])
                rf_load8(w, in.data[2], in.dtype[2], i);
            if (in.data[3])
                rf_load8(b, in.data[3], in.dtype[3], i);
#pragma unroll
            for (int k = 0; k < 8; k++)
                v[k] = (v[k] - mean) * scale * w[k] + b[k];
            rf_store8(in.data[0], in.dtype[0], base[0] + i, v);
        }
        return;
    }
    for (int64_t i = threadIdx.x % THREADS; i < in.elements; i += THREADS) {
        int64_t at[4];
        rf_row_offsets(in, i, at);
        float v = (rf_load_as_float(in.data[1], in.dtype[1], base[1] + at[1]) - mean) * scale;
        v *= in.data[2] ? rf_load_as_float(in.data[2], in.dtype[2], at[2]) : 1;
        v += in.data[3] ? rf_load_as_float(in.data[3], in.dtype[3], at[3]) : 0;
        rf_store_from_float(in.data[0], in.dtype[0], base[0] + at[0], v);
    }
}

extern "C" const rf_cuda_entry rf_cuda_layer_norm_entries[RF_CUDA_LAYER_NORM_ENTRIES] = {
    RF_ENTRY("layer_norm_warp", rf_cuda_layer_norm_params, layer_norm<32>),
    RF_ENTRY("layer_norm_block", rf_cuda_layer_norm_params, layer_norm<256>),
};
