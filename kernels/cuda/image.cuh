/* SPDX-License-Identifier: Apache-2.0
 *
 * Walking over the pixels of an output image so that neighbouring threads are neighbours in memory.
 */
#ifndef RF_CUDA_IMAGE_CUH
#define RF_CUDA_IMAGE_CUH

#include "kernels/cuda/image.h"
#include "kernels/cuda/vector.cuh"

struct rf_pixel {
    int64_t n, c, y, x;
};

/* Steps of N channels that a walk over the image has. */
template <int N> __device__ __forceinline__ int64_t rf_image_steps(const rf_cuda_image &t)
{
    return t.dims[0] * t.dims[1] * t.dims[2] * t.dims[3] / N;
}

/* i = (i / dim), returns the rest. */
__device__ __forceinline__ int64_t rf_split_off(int64_t *i, int64_t dim, bool small)
{
    int64_t q = small ? (uint32_t)*i / (uint32_t)dim : *i / dim, r = *i - q * dim;
    *i = q;
    return r;
}

/* The first channel and the place of step i; N > 1 only if channels come last. */
template <int N>
__device__ __forceinline__ rf_pixel rf_image_pixel(const rf_cuda_image &t, int64_t i, int64_t steps)
{
    const bool small = steps <= INT32_MAX; /* 64-bit division costs some 50 instructions */
    rf_pixel at;
    if (N > 1 || t.channels_last)
        at.c = rf_split_off(&i, t.dims[1] / N, small) * N;
    at.x = rf_split_off(&i, t.dims[3], small);
    at.y = rf_split_off(&i, t.dims[2], small);
    if (N == 1 && !t.channels_last)
        at.c = rf_split_off(&i, t.dims[1], small);
    at.n = i;
    return at;
}

__device__ __forceinline__ int64_t rf_image_offset(const rf_cuda_image &t, const rf_pixel &at)
{
    return at.n * t.strides[0] + at.c * t.strides[1] + at.y * t.strides[2] + at.x * t.strides[3];
}
#endif
