/* SPDX-License-Identifier: Apache-2.0
 *
 * Every convolution that no specialised kernel takes: any window, stride, dilation, groups,
 * padding and layout, f32 or bf16 in memory, summed directly in f32. It is also the fast path of
 * small pictures, strided and 1x1 convolutions, and of sessions that ask for `exact`.
 */
#include "kernels/cpu/conv_gemm.h"

static conv_gemm gemm_of(const conv *c, const float *bias)
{
    return (conv_gemm){
        .x = conv_view_of(c->x),
        .ay = {c->ih, c->oh, c->kh, c->sy, -c->pt, c->dy},
        .ax = {c->iw, c->ow, c->kw, c->sx, -c->pl, c->dx},
        .n_images = c->n,
        .groups = c->groups,
        .ic = c->ic / c->groups,
        .oc = c->oc / c->groups,
        .pad_mode = c->pad_mode,
        .out = conv_out_of(c, bias),
    };
}

static conv_filter filter_of(const conv *c)
{
    const int64_t *s = c->w->strides;
    return (conv_filter){c->w, c->oc / c->groups * s[0], s[0], s[1], 0, 1, 0, 1};
}

static int64_t bias_floats(const conv *c)
{
    return c->oc + GEMM_NB;
}

typedef struct pack_ctx {
    conv_gemm g;
    conv_filter f;
} pack_ctx;

static rf_status pack_weights(void *ctx, void *dst, rf_error *err)
{
    (void)err;
    const pack_ctx *p = ctx;
    conv_gemm_pack(&p->g, &p->f, dst);
    return RF_OK;
}

static bool is_const(const conv *c)
{
    return c->w->data && (!c->b || c->b->data);
}

static bool can(const rf_kernel_desc *desc)
{
    const conv c = conv_of(&desc->args);
    return conv_float(c.x) && conv_float(c.w) && conv_float(c.y) && (!c.b || conv_float(c.b)) &&
           (!c.res || conv_float(c.res));
}

/* Weights that another op produces are packed in every run, in front of the engine's scratch. */
static size_t own_floats(const conv *c, const conv_gemm *g)
{
    return (conv_gemm_weight_floats(g) + (size_t)bias_floats(c) + 15) / 16 * 16;
}

static size_t scratch(const rf_kernel_desc *desc)
{
    const conv c = conv_of(&desc->args);
    const conv_gemm g = gemm_of(&c, NULL);
    return conv_gemm_scratch(&g, desc->n_threads) +
           (is_const(&c) ? 0 : own_floats(&c, &g) * sizeof(float));
}

static rf_status prepare(const rf_kernel_desc *desc, void **out_state, rf_error *err)
{
    const conv c = conv_of(&desc->args);
    pack_ctx ctx = {gemm_of(&c, NULL), filter_of(&c)};
    *out_state = NULL;
    if (!is_const(&c))
        return RF_OK;
    return conv_state_create(
        desc, c.w, c.b, c.oc, bias_floats(&c), "cpu.conv_direct." RF_CPU_ISA_TEXT,
        conv_gemm_weight_floats(&ctx.g) * sizeof(float), pack_weights, &ctx, out_state, err);
}

static rf_status run(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const conv c = conv_of(&call->args);
    const conv_state *s = call->state;
    conv_gemm g = gemm_of(&c, NULL);
    float *own = call->scratch;
    if (s) {
        g.weights = s->weights.data;
        g.out.bias = s->bias;
    } else {
        const conv_filter f = filter_of(&c);
        float *bias = own + conv_gemm_weight_floats(&g);
        conv_gemm_pack(&g, &f, own);
        conv_fill_bias(c.b, c.oc, bias_floats(&c), bias);
        g.weights = own;
        g.out.bias = bias;
        own += own_floats(&c, &g);
    }
    conv_gemm_run(&g, call->n_threads, own);
    return RF_OK;
}

static const rf_kernel direct = {
    .op = RF_OP_CONV2D,
    .name = "direct",
    .why = "any convolution",
    .can = can,
    .scratch = scratch,
    .prepare = prepare,
    .release = conv_state_release,
    .run = run,
    .by_rows = true,
    .in_place = 1u << 3,
};

const rf_kernel *const RF_CPU_ROWS(conv_direct)[] = {&direct, NULL};
