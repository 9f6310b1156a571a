/* SPDX-License-Identifier: Apache-2.0
 *
 * Matrix products of dense row-major operands, f32 or bf16 in memory and f32 in the sums. Without
 * trans_b a block of 4 rows by 2 vectors of columns stays in registers; with trans_b both operands
 * run along K, so each element is a vectorised dot product. Every element is summed by one thread
 * in one order: results do not depend on the number of threads.
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/post.h"
#include "runtime/base/half.h"

enum { MR = 4, NR = 2 * VL };

typedef struct product {
    const rf_tensor *a, *b, *bias, *res, *y;
    int64_t m, n, k, rows; /* rows: m over the whole batch */
    bool b_per_batch, trans_b;
    float alpha;
    post post;
} product;

static const rf_tensor *optional(const rf_op_args *args, int i)
{
    return i < args->n_in ? args->in[i] : NULL;
}

static product product_of(const rf_op_args *args)
{
    const rf_matmul_attrs *at = &args->attrs->matmul;
    product p = {.a = args->in[0],
                 .b = args->in[1],
                 .bias = optional(args, 2),
                 .res = optional(args, 3),
                 .y = args->out[0]};
    p.m = p.y->dims[p.y->rank - 2];
    p.n = p.y->dims[p.y->rank - 1];
    p.k = p.a->dims[p.a->rank - 1];
    p.rows = p.n ? rf_tensor_elements(p.y) / p.n : 0;
    p.b_per_batch = rf_tensor_elements(p.b) != p.k * p.n;
    p.trans_b = at->trans_b;
    p.alpha = (float)at->alpha;
    p.post = (post){at->act, (float)at->act_alpha, (float)at->act_beta, false};
    return p;
}

static bool is_bf16(const rf_tensor *t)
{
    return t->dtype == RF_BF16;
}

static float scalar_at(const rf_tensor *t, int64_t i)
{
    return is_bf16(t) ? rf_bf16_to_f32(((const uint16_t *)t->data)[i])
                      : ((const float *)t->data)[i];
}

static void store_scalar(const product *p, int64_t row, int64_t col, float sum)
{
    float v = sum * p->alpha + (p->bias ? scalar_at(p->bias, col) : 0);
    v = post_act(&p->post, vset1(v))[0] + (p->res ? scalar_at(p->res, row * p->n + col) : 0);
    if (is_bf16(p->y))
        ((uint16_t *)p->y->data)[row * p->n + col] = rf_f32_to_bf16(v);
    else
        ((float *)p->y->data)[row * p->n + col] = v;
}

static void store_vector(const product *p, int64_t row, int64_t col, vf sum)
{
    vf v = sum * p->alpha;
    if (p->bias)
        v += vload_as(p->bias->data, col, is_bf16(p->bias));
    v = post_act(&p->post, v);
    if (p->res)
        v += vload_as(p->res->data, row * p->n + col, is_bf16(p->res));
    vstore_as(p->y->data, row * p->n + col, is_bf16(p->y), v);
}

/* Up to MR rows from `row`; b starts at element b0 of its tensor. */
static void rows_nn(const product *p, int64_t row, int nr, int64_t b0)
{
    const bool half = is_bf16(p->b);
    int64_t j = 0;
    for (; j + NR <= p->n; j += NR) {
        vf acc[MR][2] = {{{0}}};
        for (int64_t k = 0; k < p->k; k++) {
            vf b_lo = vload_as(p->b->data, b0 + k * p->n + j, half);
            vf b_hi = vload_as(p->b->data, b0 + k * p->n + j + VL, half);
            for (int r = 0; r < nr; r++) {
                vf a = vset1(scalar_at(p->a, (row + r) * p->k + k));
                acc[r][0] += a * b_lo;
                acc[r][1] += a * b_hi;
            }
        }
        for (int r = 0; r < nr; r++) {
            store_vector(p, row + r, j, acc[r][0]);
            store_vector(p, row + r, j + VL, acc[r][1]);
        }
    }
    for (; j < p->n; j++)
        for (int r = 0; r < nr; r++) {
            float sum = 0;
            for (int64_t k = 0; k < p->k; k++)
                sum += scalar_at(p->a, (row + r) * p->k + k) * scalar_at(p->b, b0 + k * p->n + j);
            store_scalar(p, row + r, j, sum);
        }
}

static void rows_nt(const product *p, int64_t row, int nr, int64_t b0)
{
    for (int64_t j = 0; j < p->n; j++) {
        const int64_t at_b = b0 + j * p->k;
        for (int r = 0; r < nr; r++) {
            const int64_t at_a = (row + r) * p->k;
            vf acc = {0};
            int64_t k = 0;
            for (; k + VL <= p->k; k += VL)
                acc += vload_as(p->a->data, at_a + k, is_bf16(p->a)) *
                       vload_as(p->b->data, at_b + k, is_bf16(p->b));
            float sum = vsum(acc);
            for (; k < p->k; k++)
                sum += scalar_at(p->a, at_a + k) * scalar_at(p->b, at_b + k);
            store_scalar(p, row + r, j, sum);
        }
    }
}

static void run_rows(void *ctx, int64_t begin, int64_t end, int thread)
{
    const product *p = ctx;
    (void)thread;
    for (int64_t row = begin; row < end;) {
        int64_t in_batch = p->m - row % p->m; /* rows of one block share b */
        int64_t nr = end - row < MR ? end - row : MR;
        nr = nr < in_batch ? nr : in_batch;
        int64_t b0 = p->b_per_batch ? row / p->m * p->k * p->n : 0;
        (p->trans_b ? rows_nt : rows_nn)(p, row, (int)nr, b0);
        row += nr;
    }
}

static bool dense_float(const rf_tensor *t)
{
    return !t || ((t->dtype == RF_F32 || t->dtype == RF_BF16) && rf_tensor_is_contiguous(t));
}

/* Do the leading dims of t equal those of y? */
static bool same_batch(const rf_tensor *t, const rf_tensor *y)
{
    for (int i = 0; t->rank == y->rank && i < y->rank - 2; i++)
        if (t->dims[i] != y->dims[i])
            return false;
    return t->rank == y->rank;
}

static bool can(const rf_kernel_desc *desc)
{
    const product p = product_of(&desc->args);
    if (desc->args.attrs->matmul.trans_a || !dense_float(p.a) || !dense_float(p.b) ||
        !dense_float(p.bias) || !dense_float(p.res) || !dense_float(p.y))
        return false;
    return same_batch(p.a, p.y) && (!p.b_per_batch || same_batch(p.b, p.y)) &&
           (!p.bias || (rf_tensor_elements(p.bias) == p.n && p.bias->rank >= 1 &&
                        p.bias->dims[p.bias->rank - 1] == p.n));
}

static rf_status run(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    product p = product_of(&call->args);
    int threads = p.rows * p.n * p.k < 1 << 16 ? 1 : call->n_threads;
    rf_parallel_for(threads, p.rows, MR, run_rows, &p);
    return RF_OK;
}

static const rf_kernel dense = {
    .op = RF_OP_MATMUL,
    .name = "dense",
    .why = "dense row-major operands",
    .can = can,
    .run = run,
    .in_place = 1u << 3,
};

const rf_kernel *const RF_CPU_ROWS(matmul)[] = {&dense, NULL};
