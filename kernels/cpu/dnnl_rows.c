/* SPDX-License-Identifier: Apache-2.0
 *
 * Which convolutions and matrix products oneDNN gets. Support is the library's to say
 * (rf_dnnl_can); whether it is the faster kernel was measured: bench/results/cpu_kernels_zen4.md.
 */
#include "kernels/cpu/cpu.h"

#ifdef RF_HAVE_DNNL

#include "kernels/cpu/conv_common.h"
#include "kernels/cpu/dnnl_prim.h"

static bool same_float(const rf_tensor *a, const rf_tensor *b)
{
    return a->dtype == b->dtype &&
           (a->dtype == RF_F32 || (a->dtype == RF_BF16 && rf_cpu_get_features()->avx512_bf16));
}

/* What needs no library to be refused. */
static bool conv_fits(const conv *c)
{
    return rf_tensor_is_nhwc(c->x) && rf_tensor_is_nhwc(c->y) && same_float(c->x, c->y) &&
           conv_const(c->w) && (!c->b || conv_const(c->b)) &&
           (!c->res || (rf_tensor_is_nhwc(c->res) && c->res->dtype == c->y->dtype)) &&
           c->pad_mode == RF_PAD_ZEROS && rf_tensor_elements(c->x) > 0 &&
           rf_tensor_elements(c->y) > 0;
}

static const int64_t *nhwc_strides(const rf_tensor *t, int64_t out[4])
{
    out[1] = 1;
    out[3] = t->dims[1];
    out[2] = out[3] * t->dims[3];
    out[0] = out[2] * t->dims[2];
    return out;
}

static bool conv_node(const rf_kernel_desc *desc, rf_dnnl_node *n)
{
    const conv c = conv_of(&desc->args);
    int64_t s[4];
    *n = (rf_dnnl_node){.w = c.w,
                        .b = c.b,
                        .bias_n = c.b ? c.oc : 0,
                        .groups = c.groups,
                        .packed = true,
                        .has_res = c.res != NULL,
                        .act = c.post.act,
                        .alpha = c.post.alpha,
                        .beta = c.post.beta,
                        .res_before = c.post.res_before,
                        .scale = 1,
                        .n_threads = desc->n_threads};
    /* Groups are a dim of their own in front of the weights'. */
    const int64_t *ws = c.w->strides, oc = c.oc / c.groups, ic = c.ic / c.groups;
    const int64_t w_dims[5] = {c.groups, oc, ic, c.kh, c.kw};
    const int64_t w_strides[5] = {oc * ws[0], ws[0], ws[1], ws[2], ws[3]};
    const int skip = c.groups == 1;
    const int64_t after[2] = {(c.oh - 1) * c.sy + (c.kh - 1) * c.dy + 1 - c.ih - c.pt,
                              (c.ow - 1) * c.sx + (c.kw - 1) * c.dx + 1 - c.iw - c.pl};
    return rf_dnnl_md(&n->src, 4, c.x->dims, c.x->dtype, nhwc_strides(c.x, s)) &&
           rf_dnnl_md(&n->dst, 4, c.y->dims, c.y->dtype, nhwc_strides(c.y, s)) &&
           rf_dnnl_md(&n->weights, 5 - skip, w_dims + skip, c.w->dtype, w_strides + skip) &&
           rf_dnnl_md(&n->bias, 1, &c.oc, RF_F32, (int64_t[]){1}) &&
           rf_dnnl_conv_desc(n, (int64_t[]){c.sy, c.sx}, (int64_t[]){c.dy, c.dx},
                             (int64_t[]){c.pt, c.pl}, after);
}

static bool conv_can_any(const rf_kernel_desc *desc)
{
    const conv c = conv_of(&desc->args);
    rf_dnnl_node n;
    return conv_fits(&c) && conv_node(desc, &n) && rf_dnnl_can(&n);
}

/* Below this many multiply-adds the 0.4 us of a call through the library cost more than it saves.
 */
enum { CONV_MACS = 1 << 16, MATMUL_MACS = 1 << 15, MAX_3X3_CHANNELS = 128 };

/* Windows whose sum is taken in one order whatever the number of threads: found by comparing 2,000
 * shapes on 1 to 16 threads bit by bit. Larger windows, and f32 3x3 over 256 channels and more, are
 * cut up to suit the threads; there ours is within 10% (f32) and 5% (bf16). */
static bool order_is_fixed(const conv *c)
{
    const int64_t ic = c->ic / c->groups;
    return (c->kh == 1 && c->kw == 1) || (ic == 1 && c->oc == c->groups) ||
           (c->kh == 3 && c->kw == 3 && (ic <= MAX_3X3_CHANNELS || c->x->dtype == RF_BF16));
}

static bool conv_wanted(const rf_kernel_desc *desc)
{
    const conv c = conv_of(&desc->args);
    const int64_t pixels = c.n * c.oh * c.ow;
    const int64_t macs = pixels * c.oc * (c.ic / c.groups) * c.kh * c.kw;
    /* The product of a matrix and one f32 vector is bound by memory: equal, without the call. */
    const bool vector = pixels == 1 && c.x->dtype == RF_F32;
    return macs >= CONV_MACS && !vector && order_is_fixed(&c) && conv_fits(&c);
}

static size_t conv_scratch(const rf_kernel_desc *desc)
{
    rf_dnnl_node n;
    return conv_node(desc, &n) ? rf_dnnl_scratch(&n) : 0;
}

static rf_status conv_prepare(const rf_kernel_desc *desc, void **out_state, rf_error *err)
{
    rf_dnnl_node n;
    *out_state = NULL;
    if (!conv_node(desc, &n))
        return rf_fail(err, RF_ERR_MEMORY, "oneDNN could not describe a convolution again");
    return rf_dnnl_prepare(&n, desc, out_state, err);
}

static rf_status conv_run(const rf_kernel_call *call, rf_error *err)
{
    const rf_op_args *a = &call->args;
    void *res = a->n_in > 3 && a->in[3] ? a->in[3]->data : NULL;
    return rf_dnnl_run(call->state, a->in[0]->data, NULL, res, a->out[0]->data, call->scratch, err);
}

/* --- matmul
 * -------------------------------------------------------------------------------------- */

typedef struct product {
    const rf_tensor *a, *b, *bias, *res, *y;
    int64_t m, n, k;
    bool flat; /* one product for the whole batch */
    const rf_matmul_attrs *at;
} product;

static product product_of(const rf_op_args *args)
{
    product p = {.a = args->in[0],
                 .b = args->in[1],
                 .bias = args->n_in > 2 ? args->in[2] : NULL,
                 .res = args->n_in > 3 ? args->in[3] : NULL,
                 .y = args->out[0],
                 .at = &args->attrs->matmul};
    p.m = p.y->dims[p.y->rank - 2];
    p.n = p.y->dims[p.y->rank - 1];
    p.k = p.a->dims[p.a->rank - (p.at->trans_a ? 2 : 1)];
    p.flat = rf_tensor_elements(p.b) == p.k * p.n && (!p.at->trans_a || p.y->rank == 2);
    if (p.flat && p.n > 0)
        p.m = rf_tensor_elements(p.y) / p.n;
    return p;
}

/* Logical dims and strides of an operand: `rank` of them, batch dims of 1 added in front. */
static void operand(const rf_tensor *t, bool transposed, int rank, int64_t *dims, int64_t *strides)
{
    for (int i = 0; i < rank; i++) {
        int from = i - (rank - t->rank);
        dims[i] = from < 0 ? 1 : t->dims[from];
        strides[i] = from < 0 ? rf_tensor_elements(t) : t->strides[from];
    }
    if (transposed) {
        int64_t d = dims[rank - 1], s = strides[rank - 1];
        dims[rank - 1] = dims[rank - 2];
        strides[rank - 1] = strides[rank - 2];
        dims[rank - 2] = d;
        strides[rank - 2] = s;
    }
}

static bool matmul_fits(const product *p)
{
    bool dense = rf_tensor_is_contiguous(p->a) && rf_tensor_is_contiguous(p->b) &&
                 rf_tensor_is_contiguous(p->y) && (!p->res || rf_tensor_is_contiguous(p->res));
    bool bias = !p->bias || (conv_const(p->bias) && rf_tensor_elements(p->bias) == p->n &&
                             p->bias->rank >= 1 && p->bias->dims[p->bias->rank - 1] == p->n);
    bool weights = p->b->data ? conv_float(p->b) : p->b->dtype == p->a->dtype;
    return dense && bias && weights && same_float(p->a, p->y) &&
           (!p->res || p->res->dtype == p->y->dtype) && (p->at->alpha == 1 || !p->bias) &&
           p->m * p->n * p->k > 0 && rf_tensor_elements(p->y) > 0 && p->a->rank >= 2 &&
           p->b->rank >= 2;
}

static bool matmul_node(const rf_kernel_desc *desc, rf_dnnl_node *n)
{
    const product p = product_of(&desc->args);
    const int rank = p.flat ? 2 : p.y->rank;
    int64_t dims[RF_MAX_RANK], strides[RF_MAX_RANK];
    *n = (rf_dnnl_node){.w = p.b,
                        .b = p.bias,
                        .bias_n = p.bias ? p.n : 0,
                        .groups = 1,
                        .packed = p.b->data && p.flat,
                        .has_res = p.res != NULL,
                        .act = p.at->act,
                        .alpha = (float)p.at->act_alpha,
                        .beta = (float)p.at->act_beta,
                        .scale = (float)p.at->alpha,
                        .n_threads = desc->n_threads};
    /* The bias of a flat product may have leading dims of 1; it is stored densely in the state. */
    rf_tensor bias = {.rank = 1, .dims = {p.n}, .strides = {1}};
    operand(&bias, false, rank, dims, strides);
    bool ok = rf_dnnl_md(&n->bias, rank, dims, RF_F32, strides);
    if (p.flat) {
        const int64_t as[2] = {p.at->trans_a ? 1 : p.k, p.at->trans_a ? p.m : 1};
        const int64_t bs[2] = {p.at->trans_b ? 1 : p.n, p.at->trans_b ? p.k : 1};
        return ok && rf_dnnl_md(&n->src, 2, (int64_t[]){p.m, p.k}, p.a->dtype, as) &&
               rf_dnnl_md(&n->weights, 2, (int64_t[]){p.k, p.n}, p.b->dtype, bs) &&
               rf_dnnl_md(&n->dst, 2, (int64_t[]){p.m, p.n}, p.y->dtype, (int64_t[]){p.n, 1}) &&
               rf_dnnl_matmul_desc(n);
    }
    operand(p.a, p.at->trans_a, rank, dims, strides);
    ok = ok && rf_dnnl_md(&n->src, rank, dims, p.a->dtype, strides);
    operand(p.b, p.at->trans_b, rank, dims, strides);
    ok = ok && rf_dnnl_md(&n->weights, rank, dims, p.b->dtype, strides);
    operand(p.y, false, rank, dims, strides);
    return ok && rf_dnnl_md(&n->dst, rank, dims, p.y->dtype, strides) && rf_dnnl_matmul_desc(n);
}

static bool matmul_can_any(const rf_kernel_desc *desc)
{
    const product p = product_of(&desc->args);
    rf_dnnl_node n;
    return matmul_fits(&p) && matmul_node(desc, &n) && rf_dnnl_can(&n);
}

static bool matmul_wanted(const rf_kernel_desc *desc)
{
    const product p = product_of(&desc->args);
    return rf_tensor_elements(p.y) * p.k >= MATMUL_MACS && matmul_fits(&p);
}

static size_t matmul_scratch(const rf_kernel_desc *desc)
{
    rf_dnnl_node n;
    return matmul_node(desc, &n) ? rf_dnnl_scratch(&n) : 0;
}

static rf_status matmul_prepare(const rf_kernel_desc *desc, void **out_state, rf_error *err)
{
    rf_dnnl_node n;
    *out_state = NULL;
    if (!matmul_node(desc, &n))
        return rf_fail(err, RF_ERR_MEMORY, "oneDNN could not describe a product again");
    return rf_dnnl_prepare(&n, desc, out_state, err);
}

static rf_status matmul_run(const rf_kernel_call *call, rf_error *err)
{
    const product p = product_of(&call->args);
    return rf_dnnl_run(call->state, p.a->data, p.b->data, p.res ? p.res->data : NULL, p.y->data,
                       call->scratch, err);
}

#define ROW(id, op_id, row_name, text, prefix, wanted_fn)                                          \
    static const rf_kernel id = {.op = op_id,                                                      \
                                 .name = row_name,                                                 \
                                 .why = text,                                                      \
                                 .wanted = wanted_fn,                                              \
                                 .usable = rf_dnnl_available,                                      \
                                 .can = prefix##_can_any,                                          \
                                 .scratch = prefix##_scratch,                                      \
                                 .prepare = prefix##_prepare,                                      \
                                 .release = rf_dnnl_release,                                       \
                                 .run = prefix##_run};
ROW(conv_row, RF_OP_CONV2D, "dnnl", "oneDNN, where it was measured to win", conv, conv_wanted)
ROW(matmul_row, RF_OP_MATMUL, "dnnl", "oneDNN, where it was measured to win", matmul, matmul_wanted)
ROW(conv_any, RF_OP_CONV2D, "dnnl_any", "oneDNN, any shape it takes", conv, NULL)
ROW(matmul_any, RF_OP_MATMUL, "dnnl_any", "oneDNN, any shape it takes", matmul, NULL)

const rf_kernel *const rf_cpu_rows_dnnl_rows_plain[] = {&conv_row, &matmul_row, NULL};
const rf_kernel *const rf_cpu_dnnl_any[] = {&conv_any, &matmul_any, NULL};

#else
const rf_kernel *const rf_cpu_rows_dnnl_rows_plain[] = {NULL};
const rf_kernel *const rf_cpu_dnnl_any[] = {NULL};
#endif
