/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameters of the pixel shuffle kernels (shuffle.cu).
 */
#ifndef RF_CUDA_SHUFFLE_H
#define RF_CUDA_SHUFFLE_H

#include "kernels/cuda/image.h"

#ifdef __cplusplus
extern "C" {
#endif

/* `fine` has the large image, `coarse` the many channels. Both count the channels of fine: those of
 * coarse are groups of factor * factor. */
typedef struct rf_cuda_shuffle_params {
    rf_cuda_image fine, coarse;
} rf_cuda_shuffle_params;

/* By bytes of an element (2, 4) and factor (2, 3, 4). */
enum {
    RF_CUDA_SHUFFLE_TO_FINE,
    RF_CUDA_SHUFFLE_TO_COARSE = RF_CUDA_SHUFFLE_TO_FINE + 6,
    RF_CUDA_SHUFFLE_ENTRIES = RF_CUDA_SHUFFLE_TO_COARSE + 6
};
extern const rf_cuda_entry rf_cuda_shuffle_entries[RF_CUDA_SHUFFLE_ENTRIES];

#ifdef __cplusplus
}
#endif
#endif
