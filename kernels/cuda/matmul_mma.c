/* SPDX-License-Identifier: Apache-2.0
 *
 * The row of the matrix product on tensor cores. A constant b is packed: rounded to a's dtype and
 * stored [n][k] with rows of whole 16-byte pieces, so that any weights will do (they are rounded
 * only where y is, too). Other operands are read where they lie and must be dense along one of
 * their dims, in whole pieces.
 */
#include "kernels/cuda/matmul.h"

typedef struct mma_state {
    const void *b; /* packed, on the device; NULL: read raw */
} mma_state;

static bool is_half(const rf_tensor *t)
{
    return t->dtype == RF_F16 || t->dtype == RF_BF16;
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

static rf_status prepare(const rf_kernel_desc *desc, void **out_state, rf_error *err)
{
    for (int i = 0; i < RF_CUDA_MATMUL_MMA_ENTRIES; i++)
        RF_TRY(rf_cuda_allow_shared(desc, &rf_cuda_matmul_mma_entries[i],
                                    RF_CUDA_MATMUL_MMA_SHARED(i / 4 % 2 ? 64 : 128), err));
    mma_state *state = rf_alloc(desc->env, sizeof *state, 64);
    if (!state)
        return rf_fail(err, RF_ERR_MEMORY, "matmul: no memory for a kernel's state");
    *state = (mma_state){0};
    rf_status status = desc->args.in[1]->data ? rf_cuda_matmul_pack_b(desc, &state->b, err) : RF_OK;
    if (status != RF_OK) {
        rf_free(desc->env, state, sizeof *state);
        return status;
    }
    *out_state = state;
    return RF_OK;
}

static void release(rf_env *env, void *state)
{
    rf_free(env, state, sizeof(mma_state));
}

static rf_status run(const rf_kernel_call *call, rf_error *err)
{
    const mma_state *state = call->state;
    rf_cuda_matmul_params p = state->b ? rf_cuda_matmul_describe_packed(&call->args, state->b)
                                       : rf_cuda_matmul_describe(&call->args);
    bool a_by_k = p.a.col == 1 && rf_cuda_matrix_by(&p.a, p.a.row, p.k, 8);
    bool b_by_n = !state->b && p.b.col == 1 && rf_cuda_matrix_by(&p.b, p.b.row, p.n, 8);
    int64_t large = (p.m + 127) / 128 * ((p.n + 127) / 128) * p.batches;
    bool small = large < rf_cuda_processors(call), bf16 = call->args.in[0]->dtype == RF_BF16;
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
