/* SPDX-License-Identifier: Apache-2.0
 *
 * The row of attention on tensor cores.
 */
#include "kernels/cuda/attention.h"

/* [kind]: columns of v in a block, queries of a block. */
static const int64_t columns_of[RF_CUDA_ATTENTION_MMA_KINDS] = {64, 64, 128, 256};
static const int64_t queries_of[RF_CUDA_ATTENTION_MMA_KINDS] = {128, 64, 64, 64};

static int64_t padded(int64_t depth)
{
    return (depth + 15) / 16 * 16 + 8;
}

static size_t shared_bytes(int64_t depth, int64_t v_depth, int kind)
{
    int64_t columns = v_depth < columns_of[kind] ? v_depth : columns_of[kind];
    return (size_t)((queries_of[kind] + 64) * padded(depth) + 64 * padded(columns)) * 2;
}

/* The kind with 64 queries. */
static int kind_of(int64_t v_depth)
{
    return v_depth <= 64 ? 1 : v_depth <= 128 ? 2 : 3;
}

/* Whether rows are whole 16-byte pieces. */
static bool by8(const rf_tensor *t)
{
    return t->strides[3] == 1 && t->dims[3] % 8 == 0 && t->strides[0] % 8 == 0 &&
           t->strides[1] % 8 == 0 && t->strides[2] % 8 == 0;
}

static bool can(const rf_kernel_desc *d)
{
    const rf_tensor *const *in = d->args.in, *q = in[0], *v = in[2];
    if (q->dtype != RF_F16 && q->dtype != RF_BF16)
        return false;
    return in[1]->dtype == q->dtype && v->dtype == q->dtype && by8(q) && by8(in[1]) && by8(v) &&
           (d->args.n_in < 4 || rf_cuda_is_float(in[3])) && rf_cuda_is_float(d->args.out[0]) &&
           shared_bytes(q->dims[3], v->dims[3], kind_of(v->dims[3])) <=
               rf_cuda_shared_limit(d->device);
}

static rf_status prepare(const rf_kernel_desc *desc, void **out_state, rf_error *err)
{
    *out_state = NULL;
    for (int i = 0; i < RF_CUDA_ATTENTION_MMA_ENTRIES; i++) /* the most: nodes share the setting */
        RF_TRY(rf_cuda_allow_shared(desc, &rf_cuda_attention_mma_entries[i],
                                    rf_cuda_shared_limit(desc->device), err));
    return RF_OK;
}

static rf_status run(const rf_kernel_call *call, rf_error *err)
{
    rf_cuda_attention_params p = rf_cuda_attention_describe(&call->args);
    int64_t heads = p.images * p.heads;
    int kind = kind_of(p.v_depth);
    /* 128 queries where that leaves work for all; two such blocks fit a multiprocessor. */
    if (kind == 1 && p.depth <= 64 && heads * ((p.queries + 127) / 128) >= rf_cuda_processors(call))
        kind = 0;
    int64_t slices = (p.v_depth + columns_of[kind] - 1) / columns_of[kind];
    int64_t units = heads * ((p.queries + queries_of[kind] - 1) / queries_of[kind]) * slices;
    bool bf16 = call->args.in[0]->dtype == RF_BF16;
    return rf_cuda_launch(call,
                          &rf_cuda_attention_mma_entries[bf16 * RF_CUDA_ATTENTION_MMA_KINDS + kind],
                          (dim3){(unsigned)units, 1, 1}, (dim3){128, 1, 1},
                          shared_bytes(p.depth, p.v_depth, kind), &p, err);
}

const rf_kernel rf_cuda_attention_mma = {
    .op = RF_OP_ATTENTION,
    .name = "mma",
    .why = "f16 or bf16 heads in pieces of 16 bytes",
    .can = can,
    .prepare = prepare,
    .run = run,
};
