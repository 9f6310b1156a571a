/* SPDX-License-Identifier: Apache-2.0
 *
 * The strided copy: parameters of its kernels (copy.cu), and what host code of other families
 * builds on (copy.c).
 */
#ifndef RF_CUDA_COPY_H
#define RF_CUDA_COPY_H

#include "kernels/cuda/abi.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Operand 0: destination, 1: source; offsets count units (units kernels) or elements. */
typedef struct rf_cuda_copy_params {
    rf_cuda_nd nd;
} rf_cuda_copy_params;

/* The destination is dense along `a`, the source along `b`; `outer` walks the other dims. Lengths
 * and strides in elements. */
typedef struct rf_cuda_turn_params {
    rf_cuda_nd outer;
    int64_t a, b, to_b, from_a;
    int64_t tiles_a, tiles_b;
} rf_cuda_turn_params;

enum {
    RF_CUDA_COPY_UNITS, /* of 1, 2, 4, 8, 16 bytes */
    RF_CUDA_COPY_FLOAT = RF_CUDA_COPY_UNITS + 5,
    RF_CUDA_COPY_FLOAT_4,
    RF_CUDA_COPY_DOUBLE,
    RF_CUDA_COPY_INTEGER,
    RF_CUDA_TURN_8,
    RF_CUDA_TURN_16,
    RF_CUDA_TURN_32,
    RF_CUDA_TURN_64,
    RF_CUDA_TURN_16_PAIRS,
    RF_CUDA_TURN_F32_F16,
    RF_CUDA_TURN_F32_BF16,
    RF_CUDA_TURN_F16_F32,
    RF_CUDA_TURN_BF16_F32,
    RF_CUDA_COPY_ENTRIES
};
extern const rf_cuda_entry rf_cuda_copy_entries[RF_CUDA_COPY_ENTRIES];

#ifdef __cplusplus
}
#endif

#ifndef __cplusplus
#include "kernels/cuda/cuda.h"

/* Enqueues to = from, element by element: any strides, any two dtypes (the rules of CAST), `from`
 * broadcasts to `to`. The tensors do not overlap. */
rf_status rf_cuda_copy_tensor(const rf_kernel_call *call, const rf_tensor *to,
                              const rf_tensor *from, rf_error *err);
/* Makes the steps of the walk the largest units of 1 to 16 bytes that operands 0 and 1, both of
 * `item` bytes per element, can be moved in; log2 of their size. `also`: a further stride of
 * operand 1 (0: none). */
int rf_cuda_copy_units(rf_cuda_nd *nd, size_t item, int64_t *also);
#endif
#endif
