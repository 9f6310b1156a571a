/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameters of the matrix product kernels (matmul.cu, matmul_mma.cu), and what their rows share.
 */
#ifndef RF_CUDA_MATMUL_H
#define RF_CUDA_MATMUL_H

#include "kernels/cuda/abi.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { RF_CUDA_MATMUL_BATCH = RF_MAX_RANK - 2, RF_CUDA_MATMUL_GRID_Y = 65535 };

/* Strides in elements; 0 along what is broadcast. data NULL: absent. */
typedef struct rf_cuda_matrix {
    const void *data;
    int32_t dtype;
    int32_t by8; /* 8 elements along `col` are whole, aligned 16-byte pieces */
    int64_t row, col;
    int64_t batch[RF_CUDA_MATMUL_BATCH];
} rf_cuda_matrix;

/* y[m][n] = act(alpha * sum over k of a[m][k] * b[k][n] + bias[m][n]) + res[m][n], for every batch.
 * Transposition is a matter of strides. */
typedef struct rf_cuda_matmul_params {
    rf_cuda_matrix a, b, bias, res, y;
    int64_t m, n, k, batches;
    int32_t batch_rank;
    int64_t batch_dims[RF_CUDA_MATMUL_BATCH];
    float alpha;
    rf_cuda_act act;
} rf_cuda_matmul_params;

enum {
    RF_CUDA_MATMUL_ANY,
    RF_CUDA_MATMUL_COLUMNS,
    RF_CUDA_MATMUL_F32_128,
    RF_CUDA_MATMUL_F32_64,
    RF_CUDA_MATMUL_ENTRIES
};
/* Dynamic shared memory of an f32 tile: 64 of its rows on their way out. */
#define RF_CUDA_MATMUL_F32_SHARED(tile) (64 * (tile)*4 + ((tile) == 64 ? 1024 : 0))
extern const rf_cuda_entry rf_cuda_matmul_entries[RF_CUDA_MATMUL_ENTRIES];

/* matmul_mma.cu: tiles of 128x128 and of 64x64, for every order of a and b in memory:
 * entry = ((bf16 * 2 + small) * 2 + a is [k][m]) * 2 + b is [n][k] */
enum { RF_CUDA_MATMUL_MMA_ENTRIES = 16 };
extern const rf_cuda_entry rf_cuda_matmul_mma_entries[RF_CUDA_MATMUL_MMA_ENTRIES];
/* Dynamic shared memory of a tile; four stages of 32 along k. */
#define RF_CUDA_MATMUL_MMA_SHARED(tile) (4 * 2 * (tile)*32 * 2)

#ifdef __cplusplus
}
#else
#include "kernels/cuda/cuda.h"

/* The node as matrices. Batch dims that a walk need not tell apart are joined; where b has none of
 * them, those that lie behind each other in the rest become rows. */
rf_cuda_matmul_params rf_cuda_matmul_describe(const rf_op_args *args);
/* Whether memory along the dim of stride 1 (`along` elements) can be read by pieces of `piece`
 * elements: the matrix's other strides are multiples of it too. */
bool rf_cuda_matrix_by(const rf_cuda_matrix *t, int64_t other, int64_t along, int piece);

/* For prepare: a constant b on the device as [matrix][n][k] in a's dtype, rows padded by zeros to
 * whole 16-byte pieces. Rows that pack share the packed form. */
rf_status rf_cuda_matmul_pack_b(const rf_kernel_desc *desc, const void **out, rf_error *err);
/* The same for a constant bias that is one row for all of y: its n elements, one after the other.
 */
rf_status rf_cuda_matmul_pack_bias(const rf_kernel_desc *desc, const void **out, rf_error *err);
/* The node with the packed b, which may not exist yet (NULL), in place of the given one. */
rf_cuda_matmul_params rf_cuda_matmul_describe_packed(const rf_op_args *args, const void *b);

extern const rf_kernel rf_cuda_matmul_mma; /* matmul_mma.c */
#endif
#endif
