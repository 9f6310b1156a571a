/* SPDX-License-Identifier: Apache-2.0
 *
 * The row of the matrix product on tensor cores. A constant b is packed: rounded to a's dtype and
 * stored [n][k] with rows of whole 16-byte pieces, so that any weights will do (they are rounded
 * only where y is, too). Other operands are read where they lie and must be dense along one of
 * their dims, in whole pieces.
 */
#include "kernels/cuda/matmul.h"
#include "runtime/base/half.h"

#include <stdio.h>

typedef struct mma_state {
    const void *b; /* device; NULL: read raw */
    int64_t k_pitch;
} mma_state;

static bool is_half(const rf_tensor *t)
{
    return t->dtype == RF_F16 || t->dtype == RF_BF16;
}

static int64_t pitch_of(int64_t k)
{
    return (k + 7) / 8 * 8;
}

static bool in_pieces(const rf_cuda_matrix *t, int64_t rows, int64_t cols)
{
    return (t->col == 1 && rf_cuda_matrix_by(t, t->row, cols, 8)) ||
           (t->row == 1 && rf_cuda_matrix_by(t, t->col, rows, 8));
}

static bool can(const rf_kernel_desc *d)
{
    const rf_op_args *args = &d->args;
    for (int i = 0; i < args->n_in; i++)
        if (!rf_cuda_is_float(args->in[i]))
            return false;
    if (!is_half(args->in[0]) || !rf_cuda_is_float(args->out[0]))
        return false;
    rf_cuda_matmul_params p = rf_cuda_matmul_describe(args);
    if (!in_pieces(&p.a, p.m, p.k))
        return false;
    bool same = args->in[1]->dtype == args->in[0]->dtype;
    if (!args->in[1]->data)
        return same && in_pieces(&p.b, p.k, p.n);
    return rf_tensor_elements(args->in[1]) > 0 && (same || is_half(args->out[0]));
}

typedef struct packing {
    const rf_tensor *b;
    bool trans, bf16;
    int64_t k, n, matrices;
} packing;

static packing packing_of(const rf_op_args *args)
{
    const rf_tensor *b = args->in[1];
    bool trans = args->attrs->matmul.trans_b;
    packing p = {.b = b,
                 .trans = trans,
                 .bf16 = args->in[0]->dtype == RF_BF16,
                 .k = b->dims[b->rank - (trans ? 1 : 2)],
                 .n = b->dims[b->rank - (trans ? 2 : 1)],
                 .matrices = 1};
    for (int i = 0; i < b->rank - 2; i++)
        p.matrices *= b->dims[i];
    return p;
}

static float element(const rf_tensor *t, int64_t at)
{
    return t->dtype == RF_F32   ? ((const float *)t->data)[at]
           : t->dtype == RF_F16 ? rf_f16_to_f32(((const uint16_t *)t->data)[at])
                                : rf_bf16_to_f32(((const uint16_t *)t->data)[at]);
}

/* [matrix][n][k_pitch], zeros beyond k. */
static rf_status pack(void *ctx, void *dst, rf_error *err)
{
    const packing *p = ctx;
    const rf_tensor *b = p->b;
    const int64_t pitch = pitch_of(p->k), last = b->strides[b->rank - 1],
                  before = b->strides[b->rank - 2], k_stride = p->trans ? last : before,
                  n_stride = p->trans ? before : last;
    uint16_t *to = dst;
    (void)err;
    for (int64_t i = 0; i < p->matrices; i++) {
        int64_t from = 0, left = i;
        for (int d = b->rank - 3; d >= 0; d--) {
            from += left % b->dims[d] * b->strides[d];
            left /= b->dims[d];
        }
        for (int64_t n = 0; n < p->n; n++)
            for (int64_t k = 0; k < pitch; k++) {
                float v = k < p->k ? element(b, from + n * n_stride + k * k_stride) : 0;
                *to++ = p->bf16 ? rf_f32_to_bf16(v) : rf_f32_to_f16(v);
            }
    }
    return RF_OK;
}

static rf_status prepare(const rf_kernel_desc *desc, void **out_state, rf_error *err)
{
    for (int i = 0; i < RF_CUDA_MATMUL_MMA_ENTRIES; i++)
        RF_TRY(rf_cuda_allow_shared(desc, &rf_cuda_matmul_mma_entries[i],
                                    RF_CUDA_MATMUL_MMA_SHARED(i / 4 % 2 ? 64 : 128), err));
    mma_state *state = rf_alloc(desc->env, sizeof *state, 64);
    if (!state)
        return rf_fail(err, RF_ERR_MEMORY, "matmul: no memory for a kernel's state");
    *state = (mma_state){0};
    if (desc->args.in[1]->data) {
        packing p = packing_of(&desc->args);
        char tag[RF_PACK_TAG_BYTES];
        snprintf(tag, sizeof tag, "cuda matmul %s [n][k] trans %d", p.bf16 ? "bf16" : "f16",
                 p.trans);
        state->k_pitch = pitch_of(p.k);
        size_t bytes = (size_t)(p.matrices * p.n * state->k_pitch) * sizeof(uint16_t);
        rf_status status =
            rf_pack_get(desc->packs, p.b->data, tag, bytes, pack, &p, &state->b, err);
        if (status != RF_OK) {
            rf_free(desc->env, state, sizeof *state);
            return status;
        }
    }
    *out_state = state;
    return RF_OK;
}

static void release(rf_env *env, void *state)
{
    rf_free(env, state, sizeof(mma_state));
}

/* The packed b in place of the given one. */
static rf_tensor packed_tensor(const rf_op_args *args, const mma_state *state)
{
    const packing p = packing_of(args);
    rf_tensor t = *p.b;
    t.data = (void *)state->b;
    t.dtype = args->in[0]->dtype;
    t.strides[t.rank - (p.trans ? 1 : 2)] = 1;
    t.strides[t.rank - (p.trans ? 2 : 1)] = state->k_pitch;
    int64_t stride = p.n * state->k_pitch;
    for (int d = t.rank - 3; d >= 0; d--) {
        t.strides[d] = stride;
        stride *= t.dims[d];
    }
    return t;
}

static rf_status run(const rf_kernel_call *call, rf_error *err)
{
    const mma_state *state = call->state;
    rf_op_args args = call->args;
    rf_tensor b;
    if (state->b) {
        b = packed_tensor(&args, state);
        args.in[1] = &b;
    }
    rf_cuda_matmul_params p = rf_cuda_matmul_describe(&args);
    if (state->b) { /* dims of 1 have lost their strides */
        p.b.row = 1;
        p.b.col = state->k_pitch;
    }
    bool a_by_k = p.a.col == 1 && rf_cuda_matrix_by(&p.a, p.a.row, p.k, 8);
    bool b_by_n = !state->b && p.b.col == 1 && rf_cuda_matrix_by(&p.b, p.b.row, p.n, 8);
    int64_t large = (p.m + 127) / 128 * ((p.n + 127) / 128) * p.batches;
    bool small = large < rf_cuda_processors(call), bf16 = args.in[0]->dtype == RF_BF16;
    int64_t tile = small ? 64 : 128, tiles = (p.m + tile - 1) / tile * ((p.n + tile - 1) / tile);
    int64_t batches = p.batches < RF_CUDA_MATMUL_GRID_Y ? p.batches : RF_CUDA_MATMUL_GRID_Y;
    return rf_cuda_launch(
        call, &rf_cuda_matmul_mma_entries[((bf16 * 2 + small) * 2 + !a_by_k) * 2 + !b_by_n],
        (dim3){(unsigned)tiles, (unsigned)batches, 1}, (dim3){(unsigned)(2 * tile), 1, 1},
        (size_t)RF_CUDA_MATMUL_MMA_SHARED(tile), &p, err);
}

const rf_kernel rf_cuda_matmul_mma = {
    .op = RF_OP_MATMUL,
    .name = "mma",
    .why = "f16 or bf16 operands in pieces of 16 bytes; b of any dtype if constant",
    .can = can,
    .prepare = prepare,
    .release = release,
    .run = run,
    .in_place = 1u << 3,
    .packed = 1u << 1,
};
