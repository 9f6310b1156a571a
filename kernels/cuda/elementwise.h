/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameters of the elementwise kernels (elementwise.cu).
 */
#ifndef RF_CUDA_ELEMENTWISE_H
#define RF_CUDA_ELEMENTWISE_H

#include "kernels/cuda/abi.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rf_cuda_unary_params {
    rf_cuda_nd nd; /* operand 0: out, 1: in */
    int32_t kind;  /* rf_unary_kind */
    float alpha, beta;
} rf_cuda_unary_params;

enum { RF_CUDA_UNARY, RF_CUDA_ELEMENTWISE_ENTRIES };
extern const rf_cuda_entry rf_cuda_elementwise_entries[RF_CUDA_ELEMENTWISE_ENTRIES];

#ifdef __cplusplus
}
#endif
#endif
