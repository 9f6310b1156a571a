/* SPDX-License-Identifier: Apache-2.0
 *
 * Transposed convolution without inserted zeros: output pixels whose coordinates leave the same
 * rest modulo the stride see the same taps of the filter, so each such phase is a plain convolution
 * of the input that writes every stride-th pixel. A 3x3 stride-2 layer is four of them with 1, 2, 2
 * and 4 taps: exactly the 9 products that count.
 */
#include "kernels/cpu/conv_gemm.h"

typedef struct node {
    conv c; /* its s*, d*, p* are those of the transposed convolution */
    const rf_tensor *w;
} node;

static node node_of(const rf_op_args *args)
{
    const rf_conv_transpose2d_attrs *a = &args->attrs->conv_transpose2d;
    const rf_tensor *x = args->in[0], *w = args->in[1], *y = args->out[0];
    return (node){
        .w = w,
        .c = {.x = x,
              .w = w,
              .b = args->n_in > 2 ? args->in[2] : NULL,
              .y = y,
              .n = x->dims[0],
              .ic = x->dims[1],
              .ih = x->dims[2],
              .iw = x->dims[3],
              .oc = y->dims[1],
              .oh = y->dims[2],
              .ow = y->dims[3],
              .kh = w->dims[2],
              .kw = w->dims[3],
              .sy = a->stride[0],
              .sx = a->stride[1],
              .dy = a->dilation[0],
              .dx = a->dilation[1],
              .pt = a->pad[0],
              .pl = a->pad[1],
              .groups = a->groups,
              .post = {a->act, (float)a->act_alpha, (float)a->act_beta, false}},
    };
}

static int64_t gcd(int64_t a, int64_t b)
{
    while (b) {
        int64_t t = a % b;
        a = b;
        b = t;
    }
    return a;
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* One dimension of one phase. Filter taps k with k * dilation = rest (mod stride) serve outputs
 * with (o + pad) = rest (mod stride): o = first + i * stride looks at the inputs
 * (o + pad - k * dilation) / stride. Taps are taken from the last to the first, because the inputs
 * then come in ascending order. Returns the first output, or -1 if the phase has none. */
static int64_t phase_axis(int64_t rest, int64_t in, int64_t out, int64_t kernel, int64_t stride,
                          int64_t dilation, int64_t pad, conv_axis *axis, int64_t *tap,
                          int64_t *tap_step)
{
    const int64_t period = stride / gcd(stride, dilation);
    int64_t first = ((rest - pad) % stride + stride) % stride, k = 0;
    *axis = (conv_axis){.in = in, .stride = 1};
    *tap = *tap_step = 0;
    axis->out = first < out ? (out - first + stride - 1) / stride : 0;
    while (k < period && k < kernel && k * dilation % stride != rest)
        k++;
    if (k < period && k < kernel) {
        axis->n = (kernel - 1 - k) / period + 1;
        *tap = k + (axis->n - 1) * period;
        *tap_step = -period;
        axis->start = floor_div(first + pad - *tap * dilation, stride);
        axis->step = period * dilation / stride;
    }
    return axis->out > 0 ? first : -1;
}

/* Phase `phase` of stride_y * stride_x; false if no output belongs to it. */
static bool phase_of(const node *n, int64_t phase, conv_gemm *g, conv_filter *f)
{
    const conv *c = &n->c;
    const int64_t *ws = n->w->strides, ic = c->ic / c->groups;
    *g = (conv_gemm){
        .x = conv_view_of(c->x),
        .out = conv_out_of(c, NULL),
        .n_images = c->n,
        .groups = c->groups,
        .ic = ic,
        .oc = c->oc / c->groups,
        .pad_mode = RF_PAD_ZEROS,
    };
    *f = (conv_filter){
        .w = n->w, .group_stride = ic * ws[0], .oc_stride = ws[1], .ic_stride = ws[0]};
    int64_t y = phase_axis(phase / c->sx, c->ih, c->oh, c->kh, c->sy, c->dy, c->pt, &g->ay, &f->ky,
                           &f->ky_step);
    int64_t x = phase_axis(phase % c->sx, c->iw, c->ow, c->kw, c->sx, c->dx, c->pl, &g->ax, &f->kx,
                           &f->kx_step);
    if (g->out.y.data && y >= 0 && x >= 0)
        g->out.y.data =
            (char *)g->out.y.data + (y * g->out.y.y + x * g->out.y.x) * (g->out.y.bf16 ? 2 : 4);
    g->out.y.y *= c->sy;
    g->out.y.x *= c->sx;
    return y >= 0 && x >= 0;
}

static int64_t n_phases(const node *n)
{
    return n->c.sy * n->c.sx;
}
static int64_t bias_floats(const node *n)
{
    return n->c.oc + GEMM_NB;
}

/* Weights of all phases, in order; those without outputs are packed too, so that the place of a
 * phase depends only on stride and dilation. */
static size_t weight_floats(const node *n)
{
    size_t total = 0;
    conv_gemm g;
    conv_filter f;
    for (int64_t p = 0; p < n_phases(n); p++) {
        phase_of(n, p, &g, &f);
        total += conv_gemm_weight_floats(&g);
    }
    return total;
}

static rf_status pack_weights(void *ctx, void *dst, rf_error *err)
{
    (void)err;
    const node *n = ctx;
    float *at = dst;
    conv_gemm g;
    conv_filter f;
    for (int64_t p = 0; p < n_phases(n); p++) {
        phase_of(n, p, &g, &f);
        conv_gemm_pack(&g, &f, at);
        at += conv_gemm_weight_floats(&g);
    }
    return RF_OK;
}

static bool can(const rf_kernel_desc *desc)
{
    const node n = node_of(&desc->args);
    return conv_float(n.c.x) && conv_float(n.c.y) && conv_const(n.w) &&
           (!n.c.b || conv_const(n.c.b));
}

static size_t scratch(const rf_kernel_desc *desc)
{
    const node n = node_of(&desc->args);
    size_t most = 0;
    conv_gemm g;
    conv_filter f;
    for (int64_t p = 0; p < n_phases(&n); p++)
        if (phase_of(&n, p, &g, &f)) {
            size_t bytes = conv_gemm_scratch(&g, desc->n_threads);
            most = bytes > most ? bytes : most;
        }
    return most;
}

static rf_status prepare(const rf_kernel_desc *desc, void **out_state, rf_error *err)
{
    /* The order of the packed taps follows from the stride: it is part of the tag. */
    static const char *const tags[] = {
        "cpu.conv_transpose.s1." RF_CPU_ISA_TEXT, "cpu.conv_transpose.s2." RF_CPU_ISA_TEXT,
        "cpu.conv_transpose.s3." RF_CPU_ISA_TEXT, "cpu.conv_transpose.s4." RF_CPU_ISA_TEXT};
    node n = node_of(&desc->args);
    rf_kernel_desc own = *desc;
    const bool common = n.c.sy == n.c.sx && n.c.sy <= 4 && n.c.dy == 1 && n.c.dx == 1;
    if (!common)
        own.packs = NULL;
    return conv_state_create(&own, n.w, n.c.b, n.c.oc, bias_floats(&n),
                             tags[common ? n.c.sy - 1 : 0], weight_floats(&n) * sizeof(float),
                             pack_weights, &n, out_state, err);
}

static rf_status run(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const node n = node_of(&call->args);
    const conv_state *s = call->state;
    const float *weights = s->weights.data;
    for (int64_t p = 0; p < n_phases(&n); p++) {
        conv_gemm g;
        conv_filter f;
        const bool any = phase_of(&n, p, &g, &f);
        g.weights = weights;
        g.out.bias = s->bias;
        weights += conv_gemm_weight_floats(&g);
        if (any)
            conv_gemm_run(&g, call->n_threads, call->scratch);
    }
    return RF_OK;
}

static const rf_kernel phases = {
    .op = RF_OP_CONV_TRANSPOSE2D,
    .name = "phases",
    .why = "transposed convolution as one dense convolution per phase of the stride",
    .can = can,
    .scratch = scratch,
    .prepare = prepare,
    .release = conv_state_release,
    .run = run,
    .by_rows = true,
};

const rf_kernel *const RF_CPU_ROWS(conv_transpose)[] = {&phases, NULL};
