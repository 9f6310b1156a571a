/* SPDX-License-Identifier: Apache-2.0
 *
 * Matrix products of dense row-major operands, f32 or bf16 in memory and f32 in the sums, with
 * everything the op allows: transposed operands, broadcast batches and bias. Without trans_b a
 * block of 4 rows by 2 vectors of columns stays in registers; with trans_b both operands run along
 * K, so each element is a vectorised dot product. Every element is summed by one thread in one
 * order: results do not depend on the number of threads.
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/post.h"
#include "runtime/base/half.h"

enum { MR = 4, NR = 2 * VL };

typedef struct product {
    const rf_tensor *a, *b, *bias, *res, *y;
    int64_t m, n, k, rows;  /* rows: m over the whole batch */
    int64_t a_m, a_k;       /* strides of op(a) */
    int64_t bias_m, bias_n; /* 0: broadcast */
    bool trans_b;
    float alpha;
    post post;
} product;

/* First elements of the matrices of one batch index. */
typedef struct origin {
    int64_t a, b, bias;
} origin;

static const rf_tensor *optional(const rf_op_args *args, int i)
{
    return i < args->n_in ? args->in[i] : NULL;
}

/* Stride of t along dim d of y, to whose right end it is aligned. */
static int64_t stride_along(const rf_tensor *t, const rf_tensor *y, int d)
{
    int k = d - (y->rank - t->rank);
    return k < 0 || t->dims[k] == 1 ? 0 : t->strides[k];
}

static product product_of(const rf_op_args *args)
{
    const rf_matmul_attrs *at = &args->attrs->matmul;
    product p = {.a = args->in[0],
                 .b = args->in[1],
                 .bias = optional(args, 2),
                 .res = optional(args, 3),
                 .y = args->out[0]};
    const int rank = p.y->rank, a_rank = p.a->rank;
    p.m = p.y->dims[rank - 2];
    p.n = p.y->dims[rank - 1];
    p.k = p.a->dims[a_rank - (at->trans_a ? 2 : 1)];
    p.rows = p.n ? rf_tensor_elements(p.y) / p.n : 0;
    p.a_m = p.a->strides[a_rank - (at->trans_a ? 1 : 2)];
    p.a_k = p.a->strides[a_rank - (at->trans_a ? 2 : 1)];
    p.bias_m = p.bias ? stride_along(p.bias, p.y, rank - 2) : 0;
    p.bias_n = p.bias ? stride_along(p.bias, p.y, rank - 1) : 0;
    p.trans_b = at->trans_b;
    p.alpha = (float)at->alpha;
    p.post = (post){at->act, (float)at->act_alpha, (float)at->act_beta, false};
    return p;
}

static origin origin_of(const product *p, int64_t batch)
{
    origin o = {0, 0, 0};
    for (int d = p->y->rank - 3; d >= 0; d--) {
        int64_t i = batch % p->y->dims[d];
        batch /= p->y->dims[d];
        o.a += i * stride_along(p->a, p->y, d);
        o.b += i * stride_along(p->b, p->y, d);
        o.bias += p->bias ? i * stride_along(p->bias, p->y, d) : 0;
    }
    return o;
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

static void store_scalar(const product *p, const origin *o, int64_t row, int64_t col, float sum)
{
    float v = sum * p->alpha;
    if (p->bias)
        v += scalar_at(p->bias, o->bias + row % p->m * p->bias_m + col * p->bias_n);
    v = post_act(&p->post, vset1(v))[0] + (p->res ? scalar_at(p->res, row * p->n + col) : 0);
    if (is_bf16(p->y))
        ((uint16_t *)p->y->data)[row * p->n + col] = rf_f32_to_bf16(v);
    else
        ((float *)p->y->data)[row * p->n + col] = v;
}

static void store_vector(const product *p, const origin *o, int64_t row, int64_t col, vf sum)
{
    vf v = sum * p->alpha;
    if (p->bias) {
        int64_t at = o->bias + row % p->m * p->bias_m;
        v += p->bias_n ? vload_as(p->bias->data, at + col, is_bf16(p->bias))
                       : vset1(scalar_at(p->bias, at));
    }
    v = post_act(&p->post, v);
    if (p->res)
        v += vload_as(p->res->data, row * p->n + col, is_bf16(p->res));
    vstore_as(p->y->data, row * p->n + col, is_bf16(p->y), v);
}

/* Up to MR rows from `row`. */
static void rows_nn(const product *p, const origin *o, int64_t row, int nr)
{
    const int64_t a0 = o->a + row % p->m * p->a_m, b0 = o->b;
    const bool half = is_bf16(p->b);
    int64_t j = 0;
    for (; j + NR <= p->n; j += NR) {
        vf acc[MR][2] = {{{0}}};
        for (int64_t k = 0; k < p->k; k++) {
            vf b_lo = vload_as(p->b->data, b0 + k * p->n + j, half);
            vf b_hi = vload_as(p->b->data, b0 + k * p->n + j + VL, half);
            for (int r = 0; r < nr; r++) {
                vf a = vset1(scalar_at(p->a, a0 + r * p->a_m + k * p->a_k));
                acc[r][0] += a * b_lo;
                acc[r][1] += a * b_hi;
            }
        }
        for (int r = 0; r < nr; r++) {
            store_vector(p, o, row + r, j, acc[r][0]);
            store_vector(p, o, row + r, j + VL, acc[r][1]);
        }
    }
    for (; j < p->n; j++)
        for (int r = 0; r < nr; r++) {
            float sum = 0;
            for (int64_t k = 0; k < p->k; k++)
                sum += scalar_at(p->a, a0 + r * p->a_m + k * p->a_k) *
                       scalar_at(p->b, b0 + k * p->n + j);
            store_scalar(p, o, row + r, j, sum);
        }
}

static void rows_nt(const product *p, const origin *o, int64_t row, int nr)
{
    const int64_t runs = p->a_k == 1 ? p->k : 0; /* what vectors can read */
    for (int64_t j = 0; j < p->n; j++) {
        const int64_t at_b = o->b + j * p->k;
        for (int r = 0; r < nr; r++) {
            const int64_t at_a = o->a + (row % p->m + r) * p->a_m;
            vf acc = {0};
            int64_t k = 0;
            for (; k + VL <= runs; k += VL)
                acc += vload_as(p->a->data, at_a + k, is_bf16(p->a)) *
                       vload_as(p->b->data, at_b + k, is_bf16(p->b));
            float sum = vsum(acc);
            for (; k < p->k; k++)
                sum += scalar_at(p->a, at_a + k * p->a_k) * scalar_at(p->b, at_b + k);
            store_scalar(p, o, row + r, j, sum);
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
        const origin o = origin_of(p, row / p->m);
        (p->trans_b ? rows_nt : rows_nn)(p, &o, row, (int)nr);
        row += nr;
    }
}

static bool dense_float(const rf_tensor *t)
{
    return !t || ((t->dtype == RF_F32 || t->dtype == RF_BF16) && rf_tensor_is_contiguous(t));
}

static bool can(const rf_kernel_desc *desc)
{
    const product p = product_of(&desc->args);
    return p.a->rank >= 2 && p.b->rank >= 2 && dense_float(p.a) && dense_float(p.b) &&
           dense_float(p.bias) && dense_float(p.res) && dense_float(p.y);
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
