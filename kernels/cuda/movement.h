/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameters of the kernels that find a source for every element (movement.cu): pad and gather.
 */
#ifndef RF_CUDA_MOVEMENT_H
#define RF_CUDA_MOVEMENT_H

#include "kernels/cuda/abi.h"

#ifdef __cplusplus
extern "C" {
#endif

/* In the order of core/enums.def (checked in movement.c). */
enum rf_cuda_pad_mode { RF_CUDA_PAD_ZEROS, RF_CUDA_PAD_REFLECT, RF_CUDA_PAD_EDGE };

/* Operand 0: y, 1: x. Offsets count units or elements, as in copy.h. Dims are those of y; `size`
 * are those of x, whose element 0 lies at `begin`. */
typedef struct rf_cuda_pad_params {
    rf_cuda_nd nd;
    uint32_t fill[4]; /* the value in y's dtype, repeated to 16 bytes */
    int32_t mode;
    int64_t begin[RF_MAX_RANK], size[RF_MAX_RANK];
} rf_cuda_pad_params;

/* Operand 0: y, 1: x without its gathered dim, 2: the index. */
typedef struct rf_cuda_gather_params {
    rf_cuda_nd nd;
    uint32_t fill[4]; /* of elements whose index is out of range */
    int64_t n, step;  /* length and stride of the gathered dim */
} rf_cuda_gather_params;

enum {
    RF_CUDA_PAD_UNITS, /* of 1, 2, 4, 8, 16 bytes */
    RF_CUDA_PAD_CONVERT = RF_CUDA_PAD_UNITS + 5,
    RF_CUDA_GATHER_UNITS,
    RF_CUDA_GATHER_CONVERT = RF_CUDA_GATHER_UNITS + 5,
    RF_CUDA_MOVEMENT_ENTRIES
};
extern const rf_cuda_entry rf_cuda_movement_entries[RF_CUDA_MOVEMENT_ENTRIES];

#ifdef __cplusplus
}
#endif
#endif
