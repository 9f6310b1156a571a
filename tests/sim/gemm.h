/* SPDX-License-Identifier: Apache-2.0
 *
 * The tiled matrix product of tests/sim: C = A * B^T, and the sum of |C| over each row, in f16 with
 * f32 sums. m and n are multiples of 64, k of 32. Every entry is the same kernel with one thing
 * broken, as a tired author would break it.
 */
#ifndef RF_TESTS_SIM_GEMM_H
#define RF_TESTS_SIM_GEMM_H

#include "kernels/cuda/abi.h"

typedef struct gemm_params {
    const void *a, *b; /* f16 [m][k], [n][k] */
    void *c;           /* f16 [m][n] */
    float *row_sum;    /* [m], zero before */
    int32_t m, n, k;
} gemm_params;

enum gemm_mutation {
    GEMM_SOUND,
    GEMM_NO_SYNC_BEFORE_USE,
    GEMM_NO_SYNC_BEFORE_REFILL,
    GEMM_NO_WAIT,
    GEMM_WAIT_ONE_SHORT,
    GEMM_NO_COMMIT,
    GEMM_LDMATRIX_LANE,
    GEMM_SWAPPED_A,
    GEMM_SWAPPED_B,
    GEMM_LONG_ROWS,
    GEMM_ONE_TILE_TOO_MANY,
    GEMM_MISALIGNED_STORE,
    GEMM_SYNC_IN_HALF_A_BLOCK,
    GEMM_SHUFFLE_IN_HALF_A_WARP,
    GEMM_HALF_MASK,
    GEMM_EARLY_EXIT,
    GEMM_ENTRIES
};
enum { GEMM_TILE = 64, GEMM_STEP = 32, GEMM_THREADS = 128, GEMM_ROW = GEMM_STEP + 8 };
enum { GEMM_SHARED = 2 * 2 * GEMM_TILE * GEMM_ROW * 2 };

#ifdef __cplusplus
extern "C" {
#endif
extern const rf_cuda_entry gemm_entries[GEMM_ENTRIES];
#ifdef __cplusplus
}
#endif
#endif
