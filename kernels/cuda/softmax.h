/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameters of the softmax kernels (softmax.cu).
 */
#ifndef RF_CUDA_SOFTMAX_H
#define RF_CUDA_SOFTMAX_H

#include "kernels/cuda/abi.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rf_cuda_softmax_params {
    rf_cuda_nd rows; /* the dims beside the axis; operand 0: y, 1: x */
    int64_t n, x_step, y_step;
    int32_t log;
    int32_t by8; /* rows are dense and whole in pieces of 8 */
} rf_cuda_softmax_params;

enum {
    RF_CUDA_SOFTMAX_WARP,
    RF_CUDA_SOFTMAX_BLOCK,
    RF_CUDA_SOFTMAX_THREAD,
    RF_CUDA_SOFTMAX_ENTRIES
};
extern const rf_cuda_entry rf_cuda_softmax_entries[RF_CUDA_SOFTMAX_ENTRIES];

#ifdef __cplusplus
}
#endif
#endif
