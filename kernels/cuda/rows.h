/* SPDX-License-Identifier: Apache-2.0
 *
 * The families' row lists, each terminated by NULL.
 */
#ifndef RF_CUDA_ROWS_H
#define RF_CUDA_ROWS_H

#include "runtime/backend/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

#define RF_ROWS(name) extern const rf_kernel *const rf_cuda_rows_##name[];
#include "kernels/cuda/rows.def"
#undef RF_ROWS

#ifdef __cplusplus
}
#endif
#endif
