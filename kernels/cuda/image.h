/* SPDX-License-Identifier: Apache-2.0
 *
 * Images as the kernels that walk over pixels take them (image.cuh): any strides, any float dtype.
 */
#ifndef RF_CUDA_IMAGE_H
#define RF_CUDA_IMAGE_H

#include "kernels/cuda/abi.h"

/* Dims and strides (in elements) in the order N, C, H, W. */
typedef struct rf_cuda_image {
    void *data;
    int64_t dims[4], strides[4];
    int32_t dtype;
    int32_t channels_last; /* channels are closer together in memory than pixels */
} rf_cuda_image;

#ifndef __cplusplus
#include "kernels/cuda/cuda.h"

static inline rf_cuda_image rf_cuda_image_of(const rf_tensor *t)
{
    rf_cuda_image image = {.data = t->data,
                           .dtype = (int32_t)t->dtype,
                           .channels_last = t->strides[1] < t->strides[3]};
    for (int d = 0; d < 4; d++) {
        image.dims[d] = t->dims[d];
        image.strides[d] = t->strides[d];
    }
    return image;
}

/* Channels per thread such that it stores 16 bytes of y: possible (else 0) if channels are dense in
 * both and every pixel begins at a multiple of that many elements. */
static inline int rf_cuda_image_vector(const rf_tensor *x, const rf_tensor *y)
{
    int64_t n = 16 / (int64_t)rf_dtype_bytes(y->dtype);
    if (y->dims[1] % n || x->strides[1] != 1 || y->strides[1] != 1)
        return 0;
    for (int d = 0; d < 4; d++)
        if (d != 1 && (x->strides[d] % n || y->strides[d] % n))
            return 0;
    return (int)n;
}
#endif
#endif
