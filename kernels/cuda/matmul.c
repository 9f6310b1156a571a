/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of the matrix product on CUDA cores: f32 in true f32, few rows, and whatever is left. The
 * tensor core row is in matmul_mma.c.
 */
#include "kernels/cuda/matmul.h"

#include "kernels/cuda/rows.h"

enum { THREADS = 256, FEW = 4 };

/* Strides of t's last two dims (swapped if asked) and its batch dims, broadcast to y. */
static rf_cuda_matrix matrix_of(const rf_tensor *t, const rf_tensor *y, bool swap)
{
    rf_cuda_matrix m = {0};
    if (!t)
        return m;
    m.data = t->data;
    m.dtype = (int32_t)t->dtype;
    int64_t last[2] = {0, 0};
    for (int i = 0; i < 2; i++)
        if (t->rank > i && t->dims[t->rank - 1 - i] != 1)
            last[i] = t->strides[t->rank - 1 - i];
    m.col = last[swap];
    m.row = last[!swap];
    for (int i = 0; i < y->rank - 2; i++) {
        int own = i - (y->rank - t->rank);
        m.batch[i] = own < 0 || t->dims[own] == 1 ? 0 : t->strides[own];
    }
    return m;
}

static void all_matrices(rf_cuda_matmul_params *p, rf_cuda_matrix *out[5])
{
    out[0] = &p->a;
    out[1] = &p->b;
    out[2] = &p->bias;
    out[3] = &p->res;
    out[4] = &p->y;
}

static void remove_batch_dim(rf_cuda_matmul_params *p, int d)
{
    rf_cuda_matrix *t[5];
    all_matrices(p, t);
    p->batch_rank--;
    for (int i = d; i < p->batch_rank; i++) {
        p->batch_dims[i] = p->batch_dims[i + 1];
        for (int k = 0; k < 5; k++)
            t[k]->batch[i] = t[k]->batch[i + 1];
    }
}

static void join_batches(rf_cuda_matmul_params *p)
{
    rf_cuda_matrix *t[5];
    all_matrices(p, t);
    for (int d = p->batch_rank - 1; d >= 0; d--)
        if (p->batch_dims[d] == 1)
            remove_batch_dim(p, d);
    for (int d = p->batch_rank - 2; d >= 0; d--) {
        bool joins = true;
        for (int k = 0; k < 5; k++)
            joins = joins && t[k]->batch[d] == t[k]->batch[d + 1] * p->batch_dims[d + 1];
        if (joins) {
            p->batch_dims[d + 1] *= p->batch_dims[d];
            remove_batch_dim(p, d);
        }
    }
    if (p->batch_rank == 0 || p->m == 0 || p->b.batch[p->batch_rank - 1] != 0)
        return;
    int last = p->batch_rank - 1;
    bool rows = true;
    for (int k = 0; k < 5; k++)
        if (k != 1)
            rows = rows && (p->m == 1 || t[k]->batch[last] == t[k]->row * p->m);
    if (!rows)
        return;
    for (int k = 0; k < 5; k++)
        if (k != 1 && p->m == 1)
            t[k]->row = t[k]->batch[last];
    p->m *= p->batch_dims[last];
    remove_batch_dim(p, last);
}

bool rf_cuda_matrix_by(const rf_cuda_matrix *t, int64_t other, int64_t along, int piece)
{
    for (int i = 0; i < RF_CUDA_MATMUL_BATCH; i++)
        if (t->batch[i] % piece)
            return false;
    return other % piece == 0 && along % piece == 0;
}

rf_cuda_matmul_params rf_cuda_matmul_describe(const rf_op_args *args)
{
    const rf_matmul_attrs *at = &args->attrs->matmul;
    const rf_tensor *a = args->in[0], *b = args->in[1], *y = args->out[0];
    rf_cuda_matmul_params p = {
        .a = matrix_of(a, y, at->trans_a),
        .b = matrix_of(b, y, at->trans_b),
        .bias = matrix_of(args->n_in > 2 ? args->in[2] : NULL, y, false),
        .res = matrix_of(args->n_in > 3 ? args->in[3] : NULL, y, false),
        .y = matrix_of(y, y, false),
        .m = y->dims[y->rank - 2],
        .n = y->dims[y->rank - 1],
        .k = a->dims[a->rank - (at->trans_a ? 2 : 1)],
        .batches = 1,
        .batch_rank = y->rank - 2,
        .alpha = (float)at->alpha,
        .act = rf_cuda_act_of(at->act, at->act_alpha, at->act_beta),
    };
    for (int i = 0; i < y->rank - 2; i++)
        p.batch_dims[i] = y->dims[i];
    join_batches(&p);
    for (int i = 0; i < p.batch_rank; i++)
        p.batches *= p.batch_dims[i];
    rf_cuda_matrix *by8[3] = {&p.bias, &p.res, &p.y};
    for (int i = 0; i < 3; i++)
        by8[i]->by8 = by8[i]->col == 1 && rf_cuda_matrix_by(by8[i], by8[i]->row, p.n, 8);
    return p;
}

static bool floats(const rf_kernel_desc *d)
{
    for (int i = 0; i < d->args.n_in; i++)
        if (!rf_cuda_is_float(d->args.in[i]))
            return false;
    return rf_cuda_is_float(d->args.out[0]);
}

static rf_status launch_tiles(const rf_kernel_call *call, const rf_cuda_matmul_params *p, int entry,
                              int tile, size_t shared, rf_error *err)
{
    int64_t tiles = (p->m + tile - 1) / tile * ((p->n + tile - 1) / tile);
    int64_t batches = p->batches < RF_CUDA_MATMUL_GRID_Y ? p->batches : RF_CUDA_MATMUL_GRID_Y;
    return rf_cuda_launch(call, &rf_cuda_matmul_entries[entry],
                          (dim3){(unsigned)tiles, (unsigned)batches, 1}, (dim3){THREADS, 1, 1},
                          shared, p, err);
}

static rf_status run_any(const rf_kernel_call *call, rf_error *err)
{
    rf_cuda_matmul_params p = rf_cuda_matmul_describe(&call->args);
    return launch_tiles(call, &p, RF_CUDA_MATMUL_ANY, 64, 64 * 64 * sizeof(float), err);
}

/* A product of up to FEW rows reads all of b for little arithmetic: a warp for each column. */
static bool can_columns(const rf_kernel_desc *d)
{
    if (!floats(d))
        return false;
    rf_cuda_matmul_params p = rf_cuda_matmul_describe(&d->args);
    return p.m <= FEW && (p.b.row == 1 || p.n == 1);
}

static rf_status run_columns(const rf_kernel_call *call, rf_error *err)
{
    rf_cuda_matmul_params p = rf_cuda_matmul_describe(&call->args);
    int64_t batches = p.batches < RF_CUDA_MATMUL_GRID_Y ? p.batches : RF_CUDA_MATMUL_GRID_Y;
    if (p.m == 0)
        return RF_OK;
    return rf_cuda_launch(call, &rf_cuda_matmul_entries[RF_CUDA_MATMUL_COLUMNS],
                          (dim3){(unsigned)((p.n + 7) / 8), (unsigned)batches, 1},
                          (dim3){THREADS, 1, 1}, 0, &p, err);
}

static bool by4(const rf_cuda_matrix *t, int64_t rows, int64_t cols)
{
    return (t->col == 1 && rf_cuda_matrix_by(t, t->row, cols, 4)) ||
           (t->row == 1 && rf_cuda_matrix_by(t, t->col, rows, 4));
}

static bool can_f32(const rf_kernel_desc *d)
{
    if (!floats(d) || d->args.in[0]->dtype != RF_F32 || d->args.in[1]->dtype != RF_F32)
        return false;
    rf_cuda_matmul_params p = rf_cuda_matmul_describe(&d->args);
    return p.k < INT32_MAX && by4(&p.a, p.m, p.k) && by4(&p.b, p.k, p.n);
}

static rf_status run_f32(const rf_kernel_call *call, rf_error *err)
{
    rf_cuda_matmul_params p = rf_cuda_matmul_describe(&call->args);
    int64_t large = (p.m + 127) / 128 * ((p.n + 127) / 128) * p.batches;
    bool small = large < rf_cuda_processors(call);
    int tile = small ? 64 : 128;
    return launch_tiles(call, &p, small ? RF_CUDA_MATMUL_F32_64 : RF_CUDA_MATMUL_F32_128, tile,
                        (size_t)RF_CUDA_MATMUL_F32_SHARED(tile), err);
}

static const rf_kernel columns = {
    .op = RF_OP_MATMUL,
    .name = "columns",
    .why = "up to 4 rows, b dense along the sum",
    .can = can_columns,
    .run = run_columns,
    .in_place = 1u << 3,
};
static const rf_kernel f32 = {
    .op = RF_OP_MATMUL,
    .name = "f32",
    .why = "f32 operands in pieces of 16 bytes",
    .can = can_f32,
    .run = run_f32,
    .in_place = 1u << 3,
};
static const rf_kernel any = {
    .op = RF_OP_MATMUL,
    .name = "any",
    .why = "any strides and float dtypes",
    .can = floats,
    .run = run_any,
    .in_place = 1u << 3,
};

const rf_kernel *const rf_cuda_rows_matmul[] = {&columns, &rf_cuda_matmul_mma, &f32, &any, NULL};
