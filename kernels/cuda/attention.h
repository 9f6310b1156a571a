/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameters of the attention kernels (attention.cu, attention_mma.cu), and what their rows share.
 */
#ifndef RF_CUDA_ATTENTION_H
#define RF_CUDA_ATTENTION_H

#include "kernels/cuda/abi.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Dims in the order image, head, row, depth; strides in elements, 0 along what is broadcast. */
typedef struct rf_cuda_heads {
    const void *data;
    int64_t stride[4];
    int32_t dtype;
} rf_cuda_heads;

typedef struct rf_cuda_attention_params {
    rf_cuda_heads q, k, v, bias, y; /* bias: image, head, query, key; data NULL: absent */
    int64_t images, heads, queries, keys;
    int32_t depth, v_depth, group; /* group: heads that share one of k and v */
    int64_t hidden;                /* query i sees the keys up to i + hidden */
    float scale;
    int32_t bias_pairs; /* two neighbouring keys' bias are one aligned word (two, if f32) */
    int32_t y_pairs;    /* the same of y along the depth */
} rf_cuda_attention_params;

/* attention.cu: [dense f32][columns of v in a block: 64, 128, 256] */
enum { RF_CUDA_ATTENTION_ENTRIES = 6, RF_CUDA_ATTENTION_SHARED = 3 * 64 * 68 * 4 };
extern const rf_cuda_entry rf_cuda_attention_entries[RF_CUDA_ATTENTION_ENTRIES];

/* attention_mma.cu: [f16, bf16][columns of v in a block: 64 with 128 queries, 64, 128, 256] */
enum { RF_CUDA_ATTENTION_MMA_KINDS = 4, RF_CUDA_ATTENTION_MMA_ENTRIES = 8 };
extern const rf_cuda_entry rf_cuda_attention_mma_entries[RF_CUDA_ATTENTION_MMA_ENTRIES];

#ifdef __cplusplus
}
#else
#include "kernels/cuda/cuda.h"

rf_cuda_attention_params rf_cuda_attention_describe(const rf_op_args *args);
extern const rf_kernel rf_cuda_attention_mma; /* attention_mma.c */
#endif
#endif
