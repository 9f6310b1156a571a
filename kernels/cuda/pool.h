/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameters of the pooling kernels (pool.cu).
 */
#ifndef RF_CUDA_POOL_H
#define RF_CUDA_POOL_H

#include "kernels/cuda/image.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rf_cuda_pool_params {
    rf_cuda_image x, y;
    int32_t is_max, include_pad;
    int32_t kernel[2], stride[2], dilation[2];
    int32_t pad[4]; /* top, left, bottom, right */
} rf_cuda_pool_params;

/* By channels per thread. */
enum { RF_CUDA_POOL_1, RF_CUDA_POOL_4, RF_CUDA_POOL_8, RF_CUDA_POOL_ENTRIES };
extern const rf_cuda_entry rf_cuda_pool_entries[RF_CUDA_POOL_ENTRIES];

#ifdef __cplusplus
}
#endif
#endif
