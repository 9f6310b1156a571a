/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameters of the layer norm kernels (layer_norm.cu).
 */
#ifndef RF_CUDA_LAYER_NORM_H
#define RF_CUDA_LAYER_NORM_H

#include "kernels/cuda/abi.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rf_cuda_layer_norm_params {
    rf_cuda_nd rows;  /* operand 0: y, 1: x */
    rf_cuda_nd inner; /* operand 0: y, 1: x, 2: w, 3: b; data of absent ones NULL */
    float eps;
    int32_t rms;
    int32_t by8; /* rows are dense and whole in pieces of 8, in all operands */
} rf_cuda_layer_norm_params;

enum { RF_CUDA_LAYER_NORM_WARP, RF_CUDA_LAYER_NORM_BLOCK, RF_CUDA_LAYER_NORM_ENTRIES };
extern const rf_cuda_entry rf_cuda_layer_norm_entries[RF_CUDA_LAYER_NORM_ENTRIES];

#ifdef __cplusplus
}
#endif
#endif
