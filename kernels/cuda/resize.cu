/* SPDX-License-Identifier: Apache-2.0
 *
 * Resizing. Which inputs an output row or column is made of, and with what weights, is the same for
 * the whole image: the host works that out once, in float64 (resize.c), and a thread reads two
 * entries of 32 bytes from the tables. It makes N channels of one output pixel: 16 bytes in NHWC,
 * one element in any other layout. Inputs that several outputs share come out of L1 and L2.
 */
#include "kernels/cuda/resize.h"

#include "kernels/cuda/image.cuh"

template <int TAPS, int N>
__global__ void __launch_bounds__(256) resize(const rf_cuda_resize_params p)
{
    const int64_t steps = rf_image_steps<N>(p.y);
    for (int64_t i = rf_thread_index(); i < steps; i += rf_thread_step()) {
        const rf_pixel at = rf_image_pixel<N>(p.y, i, steps);
        const rf_cuda_taps *y = p.rows + at.y, *x = p.columns + at.x;
        const int4 columns = rf_load((const int4 *)x->index);
        const float4 weights = rf_load((const float4 *)x->weight);
        const int column[4] = {columns.x, columns.y, columns.z, columns.w};
        const float wx[4] = {weights.x, weights.y, weights.z, weights.w};
        float v[N] = {};
/* Cubic: row by row, 16 vectors under way would not fit into registers. */
#pragma unroll(TAPS == 4 ? 1 : TAPS)
        for (int ky = 0; ky < TAPS; ky++) {
            const float wy = rf_load(y->weight + ky);
            const int row = rf_load(y->index + ky);
            float sum[N] = {};
#pragma unroll
            for (int kx = 0; kx < TAPS; kx++) {
                float s[N];
                rf_load_vector(s, p.x.data, p.x.dtype,
                               rf_image_offset(p.x, {at.n, at.c, row, column[kx]}));
#pragma unroll
                for (int k = 0; k < N; k++)
                    sum[k] = TAPS == 1 ? s[k] : sum[k] + wx[kx] * s[k];
            }
#pragma unroll
            for (int k = 0; k < N; k++)
                v[k] = TAPS == 1 ? sum[k] : v[k] + wy * sum[k];
        }
        rf_store_vector(p.y.data, p.y.dtype, rf_image_offset(p.y, at), v);
    }
}

#define ENTRIES(name, taps)                                                                        \
    RF_ENTRY(name, rf_cuda_resize_params, resize<taps, 1>),                                        \
        RF_ENTRY(name "_4", rf_cuda_resize_params, resize<taps, 4>),                               \
        RF_ENTRY(name "_8", rf_cuda_resize_params, resize<taps, 8>)

extern "C" const rf_cuda_entry rf_cuda_resize_entries[RF_CUDA_RESIZE_ENTRIES] = {
    ENTRIES("resize_nearest", 1),
    ENTRIES("resize_linear", 2),
    ENTRIES("resize_cubic", 4),
};
