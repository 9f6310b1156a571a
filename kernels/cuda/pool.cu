/* SPDX-License-Identifier: Apache-2.0
 *
 * Pooling, max and average. A thread makes N channels of one output pixel: 16 bytes in NHWC, one
 * element in any other layout (neighbouring threads at neighbouring x). Windows that overlap are
 * read from L1 and L2, so memory sees each input once. An average adds the sums of the window's
 * rows, which keeps the error of large windows that of two short sums.
 */
#include "kernels/cuda/pool.h"

#include "kernels/cuda/image.cuh"

/* Along one axis: taps [lo, hi) of the window lie on the image, `padded` of them on the image or
 * its padding (a last window may reach beyond both). */
struct span {
    int64_t start;
    int lo, hi, padded;
};

__device__ __forceinline__ span find_span(const rf_cuda_pool_params &p, int axis, int64_t out)
{
    const int kernel = p.kernel[axis], dilation = p.dilation[axis];
    const int64_t size = p.x.dims[2 + axis];
    span s;
    s.start = out * p.stride[axis] - p.pad[axis];
    s.lo = s.start < 0 ? (int)((-s.start + dilation - 1) / dilation) : 0;
    const int64_t hi = (size - s.start + dilation - 1) / dilation;
    const int64_t padded = (size + p.pad[2 + axis] - s.start + dilation - 1) / dilation;
    s.hi = hi < kernel ? (int)hi : kernel;
    s.padded = padded < kernel ? (int)padded : kernel;
    return s;
}

template <int N> __global__ void __launch_bounds__(256) pool(const rf_cuda_pool_params p)
{
    const int64_t steps = rf_image_steps<N>(p.y);
    for (int64_t i = rf_thread_index(); i < steps; i += rf_thread_step()) {
        const rf_pixel at = rf_image_pixel<N>(p.y, i, steps);
        const span y = find_span(p, 0, at.y), x = find_span(p, 1, at.x);
        float v[N];
#pragma unroll
        for (int k = 0; k < N; k++)
            v[k] = p.is_max ? -INFINITY : 0.0f;
        for (int ky = y.lo; ky < y.hi; ky++) {
            float row[N] = {};
            for (int kx = x.lo; kx < x.hi; kx++) {
                float s[N];
                rf_load_vector(s, p.x.data, p.x.dtype,
                               rf_image_offset(p.x, {at.n, at.c, y.start + ky * p.dilation[0],
                                                     x.start + kx * p.dilation[1]}));
#pragma unroll
                for (int k = 0; k < N; k++) {
                    v[k] = p.is_max && (s[k] > v[k] || s[k] != s[k]) ? s[k] : v[k];
                    row[k] += s[k];
                }
            }
#pragma unroll
            for (int k = 0; k < N && !p.is_max; k++)
                v[k] += row[k];
        }
        const int64_t taps =
            p.include_pad ? (int64_t)y.padded * x.padded : (int64_t)(y.hi - y.lo) * (x.hi - x.lo);
#pragma unroll
        for (int k = 0; k < N && !p.is_max; k++)
            v[k] /= (float)taps;
        rf_store_vector(p.y.data, p.y.dtype, rf_image_offset(p.y, at), v);
    }
}

extern "C" const rf_cuda_entry rf_cuda_pool_entries[RF_CUDA_POOL_ENTRIES] = {
    RF_ENTRY("pool", rf_cuda_pool_params, pool<1>),
    RF_ENTRY("pool_4", rf_cuda_pool_params, pool<4>),
    RF_ENTRY("pool_8", rf_cuda_pool_params, pool<8>),
};
