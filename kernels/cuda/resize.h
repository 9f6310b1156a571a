/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameters of the resizing kernels (resize.cu).
 */
#ifndef RF_CUDA_RESIZE_H
#define RF_CUDA_RESIZE_H

#include "kernels/cuda/image.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What one output row or column is made of. */
typedef struct rf_cuda_taps {
    int32_t index[4];
    float weight[4];
} rf_cuda_taps;

typedef struct rf_cuda_resize_params {
    rf_cuda_image x, y;
    const rf_cuda_taps *rows, *columns;
} rf_cuda_resize_params;

/* By taps along an axis (1 nearest, 2 linear, 4 cubic), then by channels per thread (1, 4, 8). */
enum {
    RF_CUDA_RESIZE_NEAREST,
    RF_CUDA_RESIZE_LINEAR = RF_CUDA_RESIZE_NEAREST + 3,
    RF_CUDA_RESIZE_CUBIC = RF_CUDA_RESIZE_LINEAR + 3,
    RF_CUDA_RESIZE_ENTRIES = RF_CUDA_RESIZE_CUBIC + 3
};
extern const rf_cuda_entry rf_cuda_resize_entries[RF_CUDA_RESIZE_ENTRIES];

#ifdef __cplusplus
}
#endif
#endif
