/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameters of the reduction kernels (reduce.cu).
 */
#ifndef RF_CUDA_REDUCE_H
#define RF_CUDA_REDUCE_H

#include "kernels/cuda/abi.h"

#ifdef __cplusplus
extern "C" {
#endif

/* As in core/enums.def (checked in reduce.c). */
enum rf_cuda_reduce_kind {
    RF_CUDA_REDUCE_SUM,
    RF_CUDA_REDUCE_MEAN,
    RF_CUDA_REDUCE_MAX,
    RF_CUDA_REDUCE_MIN,
    RF_CUDA_REDUCE_PROD,
    RF_CUDA_REDUCE_L2,
    RF_CUDA_REDUCE_SUMSQ
};

typedef struct rf_cuda_reduce_params {
    rf_cuda_nd kept;     /* operand 0: y, 1: x */
    rf_cuda_nd reduced;  /* operand 0: x */
    int64_t part, parts; /* reduced elements are taken in parts of `part` */
    float *partial;      /* [output][part]; NULL: one part, finished */
    int32_t kind;
    int32_t by8; /* the reduced dims are one, dense and whole in pieces of 8 */
} rf_cuda_reduce_params;

typedef struct rf_cuda_reduce_parts_params {
    rf_cuda_nd kept; /* operand 0: y */
    const float *partial;
    int64_t parts, n; /* n: elements of one output */
    int32_t kind;
} rf_cuda_reduce_parts_params;

enum {
    RF_CUDA_REDUCE_WARP,
    RF_CUDA_REDUCE_BLOCK,
    RF_CUDA_REDUCE_ACROSS,
    RF_CUDA_REDUCE_PARTS,
    RF_CUDA_REDUCE_ENTRIES
};
extern const rf_cuda_entry rf_cuda_reduce_entries[RF_CUDA_REDUCE_ENTRIES];

#ifdef __cplusplus
}
#endif
#endif
