/* SPDX-License-Identifier: Apache-2.0
 *
 * Convolutions of pictures with up to four channels, f32 or bf16 in any layout: the planner need
 * not convert the layout of a network's input. Per output row the input rows of the window are
 * copied, planar and padded, into a small buffer; in it every window is in range and all pixels
 * advance by the stride, whatever the borders were.
 *
 *   stem    many output channels, written side by side (NHWC): registers hold pixels x channels
 *   planar  up to four output channels, stride 1: registers hold runs of pixels of one channel
 */
#include "kernels/cpu/conv_gemm.h"

enum {
    MAX_CHANNELS = 4,
    STRIP = 384, /* output pixels at a time; a multiple of GEMM_MR and of 4 * VL */
};

typedef struct stem {
    conv c;
    conv_view x;
    conv_out out;
    int64_t rows, k;    /* buffered rows: channels x window rows; length of the sums */
    int64_t row_floats; /* from one buffered row to the next */
    int64_t n_strips;
    const float *weights; /* stem: [oc block][k][GEMM_NB], planar: [oc][k]; k is (ic, ky, kx) */
    char *scratch;
    size_t thread_bytes;
    int64_t *seg; /* buffer offset of each tap (stem with dense taps: of each row) */
    int64_t n_seg, seg_len;
} stem;

static size_t round_up(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static stem stem_of(const rf_op_args *args)
{
    stem s = {.c = conv_of(args)};
    const conv *c = &s.c;
    s.x = conv_view_of(c->x);
    s.rows = c->ic * c->kh;
    s.k = s.rows * c->kw;
    s.row_floats = (STRIP - 1) * c->sx + (c->kw - 1) * c->dx + 1;
    s.row_floats = (s.row_floats + 15) / 16 * 16;
    s.n_strips = (c->ow + STRIP - 1) / STRIP;
    s.thread_bytes = round_up((size_t)(s.rows * s.row_floats) * sizeof(float)) +
                     round_up(4 * VL * GEMM_MR * sizeof(float));
    const bool joined = c->dx == 1;
    s.n_seg = joined ? s.rows : s.k;
    s.seg_len = joined ? c->kw : 1;
    return s;
}

static size_t seg_bytes(const stem *s)
{
    return round_up((size_t)s->k * sizeof(int64_t));
}

/* Input pixels x0 + [0, n) of one row of one channel, with padding; y < 0: a row of zeros. */
static void copy_row(const stem *s, int64_t image, int64_t channel, int64_t y, int64_t x0,
                     int64_t n, float *dst)
{
    const conv *c = &s->c;
    if (y < 0) {
        memset(dst, 0, (size_t)n * sizeof *dst);
        return;
    }
    const int64_t row = image * s->x.n + channel * s->x.c + y * s->x.y;
    int64_t i = 0, lo = x0 < 0 ? -x0 : 0, hi = c->iw - x0;
    lo = lo < n ? lo : n;
    hi = hi < lo ? lo : hi < n ? hi : n;
    for (; i < n; i++) {
        if (i == lo && hi > lo) {
            if (s->x.x == 1 && !s->x.bf16) {
                memcpy(dst + lo, (const float *)s->x.data + row + x0 + lo,
                       (size_t)(hi - lo) * sizeof *dst);
            } else {
                for (int64_t j = lo; j < hi; j++)
                    dst[j] = conv_view_get(&s->x, row + (x0 + j) * s->x.x);
            }
            i = hi;
            if (i == n)
                break;
        }
        int64_t x = conv_map(x0 + i, c->iw, c->pad_mode);
        dst[i] = x < 0 ? 0 : conv_view_get(&s->x, row + x * s->x.x);
    }
}

/* Fills the buffer for output pixels [x0, x0 + n) of row oy. */
static void fill_rows(const stem *s, int64_t image, int64_t oy, int64_t x0, int64_t n, float *rows)
{
    const conv *c = &s->c;
    const int64_t width = (n - 1) * c->sx + (c->kw - 1) * c->dx + 1;
    for (int64_t r = 0; r < s->rows; r++) {
        int64_t y = conv_map(oy * c->sy - c->pt + r % c->kh * c->dy, c->ih, c->pad_mode);
        copy_row(s, image, r / c->kh, y, x0 * c->sx - c->pl, width, rows + r * s->row_floats);
    }
}

/* The first y and res element of output pixel (oy, ox). */
static int64_t view_at(const conv_view *v, int64_t image, int64_t y, int64_t x)
{
    return image * v->n + y * v->y + x * v->x;
}

static void stem_strip(const stem *s, int64_t image, int64_t oy, int64_t x0, int64_t n,
                       const float *rows, float *tile)
{
    const conv *c = &s->c;
    for (int64_t i = 0; i < n; i += GEMM_MR) {
        int m = (int)(n - i < GEMM_MR ? n - i : GEMM_MR), mr = gemm_rows(m);
        const gemm_a a = {rows + i * c->sx, s->seg, s->n_seg, s->seg_len, c->sx};
        const float *w = s->weights;
        for (int64_t oc = 0; oc < c->oc; oc += GEMM_NB, w += s->k * GEMM_NB) {
            gemm_block(mr, c->oc - oc > VL ? 2 : 1, tile, &a, w);
            for (int j = 0; j < m; j++)
                conv_store_pixel(&s->out, tile + j * GEMM_NB, GEMM_NB, c->oc - oc, oc,
                                 view_at(&s->out.y, image, oy, x0 + i + j),
                                 view_at(&s->out.res, image, oy, x0 + i + j));
        }
    }
}

/* n (at most 4 * VL) sums of one output channel, pixels side by side. */
static void store_run(const stem *s, const float *sums, int64_t oc, int n, int64_t y_at,
                      int64_t r_at)
{
    const conv_out *o = &s->out;
    for (int j = 0; j < n; j += VL) {
        int part = n - j < VL ? n - j : VL;
        float r[VL] = {0}, v[VL];
        for (int i = 0; o->res.data && i < part; i++)
            r[i] = conv_view_get(&o->res, r_at + oc * o->res.c + (j + i) * o->res.x);
        vf sum = conv_finish(o, vload(sums + j) + o->bias[oc], vload(r));
        if (o->y.x == 1 && part == VL) {
            vstore_as(o->y.data, y_at + oc * o->y.c + j, o->y.bf16, sum);
            continue;
        }
        vstore(v, sum);
        for (int i = 0; i < part; i++)
            conv_view_set(&o->y, y_at + oc * o->y.c + (j + i) * o->y.x, v[i]);
    }
}

static void planar_strip(const stem *s, int64_t image, int64_t oy, int64_t x0, int64_t n,
                         const float *rows, float *tile)
{
    const conv *c = &s->c;
    for (int64_t oc = 0; oc < c->oc; oc++) {
        const float *w = s->weights + oc * s->k;
        for (int64_t i = 0; i < n; i += 4 * VL) {
            vf acc[4] = {vset1(0), vset1(0), vset1(0), vset1(0)};
            for (int64_t r = 0; r < s->rows; r++)
                for (int64_t t = 0; t < c->kw; t++) {
                    const float *p = rows + r * s->row_floats + t * c->dx + i;
                    vf f = vset1(w[r * c->kw + t]);
#pragma GCC unroll 4
                    for (int j = 0; j < 4; j++)
                        acc[j] += f * vload(p + j * VL);
                }
            for (int j = 0; j < 4; j++)
                vstore(tile + j * VL, acc[j]);
            store_run(s, tile, oc, n - i < 4 * VL ? (int)(n - i) : 4 * VL,
                      view_at(&s->out.y, image, oy, x0 + i),
                      view_at(&s->out.res, image, oy, x0 + i));
        }
    }
}

typedef void strip_fn(const stem *s, int64_t image, int64_t oy, int64_t x0, int64_t n,
                      const float *rows, float *tile);

static void run_strips(const stem *s, int64_t begin, int64_t end, int thread, strip_fn *fn)
{
    const conv *c = &s->c;
    float *rows = (float *)(s->scratch + (size_t)thread * s->thread_bytes);
    float *tile = rows + round_up((size_t)(s->rows * s->row_floats) * sizeof *rows) / sizeof *rows;
    for (int64_t i = begin; i < end; i++) {
        int64_t line = i / s->n_strips, x0 = i % s->n_strips * STRIP;
        int64_t n = c->ow - x0 < STRIP ? c->ow - x0 : STRIP;
        fill_rows(s, line / c->oh, line % c->oh, x0, n, rows);
        fn(s, line / c->oh, line % c->oh, x0, n, rows, tile);
    }
}
static void run_stem(void *ctx, int64_t begin, int64_t end, int thread)
{
    run_strips(ctx, begin, end, thread, stem_strip);
}
static void run_planar(void *ctx, int64_t begin, int64_t end, int thread)
{
    run_strips(ctx, begin, end, thread, planar_strip);
}

/* ---- the rows -----------------------------------------------------------------------------------
 */

static bool can_common(const conv *c)
{
    return c->groups == 1 && c->ic <= MAX_CHANNELS && conv_float(c->x) && conv_float(c->y) &&
           conv_const(c->w) && (!c->b || conv_const(c->b)) && (!c->res || conv_float(c->res));
}

static bool stem_can(const rf_kernel_desc *desc)
{
    const conv c = conv_of(&desc->args);
    return can_common(&c) && c.oc > MAX_CHANNELS && c.y->strides[1] == 1 &&
           (!c.res || c.res->strides[1] == 1);
}

static bool planar_can(const rf_kernel_desc *desc)
{
    const conv c = conv_of(&desc->args);
    return can_common(&c) && c.oc <= MAX_CHANNELS && c.sx == 1;
}

static size_t scratch(const rf_kernel_desc *desc)
{
    const stem s = stem_of(&desc->args);
    return seg_bytes(&s) + s.thread_bytes * (size_t)desc->n_threads;
}

typedef struct pack_ctx {
    const conv *c;
    int64_t width; /* output channels side by side: GEMM_NB or 1 */
} pack_ctx;

static rf_status pack_weights(void *ctx, void *dst, rf_error *err)
{
    (void)err;
    const pack_ctx *p = ctx;
    const rf_tensor *w = p->c->w;
    float *at = dst;
    for (int64_t oc = 0; oc < p->c->oc; oc += p->width)
        for (int64_t i = 0; i < p->c->ic * p->c->kh * p->c->kw; i++)
            for (int64_t j = oc; j < oc + p->width; j++) {
                int64_t kx = i % p->c->kw, ky = i / p->c->kw % p->c->kh;
                int64_t ic = i / p->c->kw / p->c->kh;
                *at++ = j < p->c->oc ? conv_at(w, j * w->strides[0] + ic * w->strides[1] +
                                                      ky * w->strides[2] + kx * w->strides[3])
                                     : 0;
            }
    return RF_OK;
}

static rf_status prepare_as(const rf_kernel_desc *desc, int64_t width, const char *tag, void **out,
                            rf_error *err)
{
    const stem s = stem_of(&desc->args);
    int64_t padded = (s.c.oc + width - 1) / width * width;
    pack_ctx ctx = {&s.c, width};
    return conv_state_create(desc, s.c.w, s.c.b, s.c.oc, padded, tag,
                             (size_t)(padded * s.k) * sizeof(float), pack_weights, &ctx, out, err);
}
static rf_status stem_prepare(const rf_kernel_desc *desc, void **out, rf_error *err)
{
    return prepare_as(desc, GEMM_NB, "cpu.conv_stem." RF_CPU_ISA_TEXT, out, err);
}
static rf_status planar_prepare(const rf_kernel_desc *desc, void **out, rf_error *err)
{
    return prepare_as(desc, 1, "cpu.conv_planar", out, err);
}

static rf_status run_as(const rf_kernel_call *call, rf_range_fn *fn)
{
    const conv_state *state = call->state;
    stem s = stem_of(&call->args);
    s.out = conv_out_of(&s.c, state->bias);
    s.weights = state->weights.data;
    s.seg = call->scratch;
    s.scratch = (char *)call->scratch + seg_bytes(&s);
    for (int64_t i = 0; i < s.n_seg; i++)
        s.seg[i] = i * s.seg_len / s.c.kw * s.row_floats + i * s.seg_len % s.c.kw * s.c.dx;
    rf_parallel_for(call->n_threads, s.c.n * s.c.oh * s.n_strips, 1, fn, &s);
    return RF_OK;
}
static rf_status stem_run(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    return run_as(call, run_stem);
}
static rf_status planar_run(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    return run_as(call, run_planar);
}

static const rf_kernel planar_row = {
    .op = RF_OP_CONV2D,
    .name = "planar",
    .why = "up to 4 channels in and out, stride 1",
    .can = planar_can,
    .scratch = scratch,
    .prepare = planar_prepare,
    .release = conv_state_release,
    .run = planar_run,
    .by_rows = true,
    .in_place = 1u << 3,
};
static const rf_kernel stem_row = {
    .op = RF_OP_CONV2D,
    .name = "stem",
    .why = "up to 4 input channels in any layout, NHWC out",
    .can = stem_can,
    .scratch = scratch,
    .prepare = stem_prepare,
    .release = conv_state_release,
    .run = stem_run,
    .by_rows = true,
    .in_place = 1u << 3,
};

const rf_kernel *const RF_CPU_ROWS(conv_stem)[] = {&planar_row, &stem_row, NULL};
