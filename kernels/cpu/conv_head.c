/* SPDX-License-Identifier: Apache-2.0
 *
 * Convolutions from many channels to at most four, NHWC in and any layout out: the planner need not
 * convert the layout of a network's output. The vectors run over input channels (their products for
 * four neighbouring pixels share the loaded weights) and are summed at the very end, four pixels at
 * a time.
 */
#include "kernels/cpu/conv_store.h"

enum { MAX_OUT = 4, PIXELS = 4 };

typedef struct head {
    conv c;
    conv_view x;
    conv_out out;
    const float *weights; /* [tap][ic block of VL][oc][VL] */
} head;

/* Sums of PIXELS pixels by oc output channels. x[p]: pixel p's channels under the present tap, as
 * an element offset, or -1 for zeros. */
typedef struct sums {
    vf acc[MAX_OUT][PIXELS];
} sums;

static inline __attribute__((always_inline)) void add_tap(sums *s, const int oc, const void *x,
                                                          const int64_t at[PIXELS], int64_t ic,
                                                          const float *w, const bool bf16)
{
    vf acc[MAX_OUT][PIXELS];
    memcpy(acc, s->acc, sizeof acc);
    for (int64_t i = 0; i < ic; i += VL, w += oc * VL)
#pragma GCC unroll 4
        for (int p = 0; p < PIXELS; p++) {
            vf v = vset1(0);
            if (at[p] >= 0)
                v = ic - i < VL ? vload_part_as(x, at[p] + i, bf16, (int)(ic - i))
                                : vload_as(x, at[p] + i, bf16);
#pragma GCC unroll 4
            for (int o = 0; o < oc; o++)
                acc[o][p] += v * vload(w + o * VL);
        }
    memcpy(s->acc, acc, sizeof acc);
}

/* All taps of four pixels in the middle of the picture: whole vectors, one address. */
static inline __attribute__((always_inline)) void inner_pixels(const head *h, sums *s, const int oc,
                                                               int64_t first, const bool bf16)
{
    const conv *c = &h->c;
    const int64_t step = h->x.x * c->sx;
    const float *w = h->weights;
    vf acc[MAX_OUT][PIXELS];
    for (int o = 0; o < oc; o++)
        for (int p = 0; p < PIXELS; p++)
            acc[o][p] = vset1(0);
    for (int64_t ky = 0; ky < c->kh; ky++)
        for (int64_t kx = 0; kx < c->kw; kx++) {
            int64_t at = first + ky * c->dy * h->x.y + kx * c->dx * h->x.x;
            for (int64_t i = 0; i < c->ic; i += VL, w += oc * VL)
#pragma GCC unroll 4
                for (int p = 0; p < PIXELS; p++) {
                    vf v = vload_as(h->x.data, at + p * step + i, bf16);
#pragma GCC unroll 4
                    for (int o = 0; o < oc; o++)
                        acc[o][p] += v * vload(w + o * VL);
                }
        }
    memcpy(s->acc, acc, sizeof acc);
}

static inline __attribute__((always_inline)) void border_pixels(const head *h, sums *s,
                                                                const int oc, int64_t image,
                                                                int64_t oy, int64_t ox, int n,
                                                                const bool bf16)
{
    const conv *c = &h->c;
    const float *w = h->weights;
    const int64_t tap_floats = (c->ic + VL - 1) / VL * VL * oc;
    memset(s, 0, sizeof *s);
    for (int64_t ky = 0; ky < c->kh; ky++) {
        int64_t y = conv_map(oy * c->sy - c->pt + ky * c->dy, c->ih, c->pad_mode);
        for (int64_t kx = 0; kx < c->kw; kx++, w += tap_floats) {
            int64_t at[PIXELS];
            for (int p = 0; p < PIXELS; p++) {
                int64_t x = conv_map((ox + p) * c->sx - c->pl + kx * c->dx, c->iw, c->pad_mode);
                at[p] = p >= n || x < 0 || y < 0 ? -1 : image * h->x.n + y * h->x.y + x * h->x.x;
            }
            add_tap(s, oc, h->x.data, at, c->ic, w, bf16);
        }
    }
}

/* The four sums of four vectors. */
static inline __m128 sum4(const vf v[PIXELS])
{
    __m128 r[PIXELS];
    for (int i = 0; i < PIXELS; i++) {
#if VL == 16
        __m512 z = (__m512)v[i];
        r[i] = (_mm512_castps512_ps128(z) + _mm512_extractf32x4_ps(z, 1)) +
               (_mm512_extractf32x4_ps(z, 2) + _mm512_extractf32x4_ps(z, 3));
#elif VL == 8
        r[i] = _mm256_castps256_ps128((__m256)v[i]) + _mm256_extractf128_ps((__m256)v[i], 1);
#else
        r[i] = (__m128)v[i];
#endif
    }
    _MM_TRANSPOSE4_PS(r[0], r[1], r[2], r[3]);
    return (r[0] + r[1]) + (r[2] + r[3]);
}

/* Finishes n pixels from (oy, ox) on. */
static void store_pixels(const head *h, const sums *s, int64_t image, int64_t oy, int64_t ox, int n)
{
    const conv_out *o = &h->out;
    const int64_t oc = h->c.oc;
    _Alignas(64) float v[MAX_OUT * PIXELS] = {0}, r[MAX_OUT * PIXELS] = {0},
                                   b[MAX_OUT * PIXELS] = {0};
    const int64_t y_at = image * o->y.n + oy * o->y.y + ox * o->y.x;
    const int64_t r_at = image * o->res.n + oy * o->res.y + ox * o->res.x;
    for (int64_t i = 0; i < oc; i++) {
        _mm_store_ps(v + i * PIXELS, sum4(s->acc[i]));
        for (int p = 0; p < n; p++) {
            b[i * PIXELS + p] = o->bias[i];
            if (o->res.data)
                r[i * PIXELS + p] = conv_view_get(&o->res, r_at + i * o->res.c + p * o->res.x);
        }
    }
    for (int i = 0; i < MAX_OUT * PIXELS; i += VL)
        vstore(v + i, conv_finish(o, vload(v + i) + vload(b + i), vload(r + i)));
    for (int64_t i = 0; i < oc; i++) {
        if (n == PIXELS && o->y.x == 1 && !o->y.bf16) {
            memcpy((float *)o->y.data + y_at + i * o->y.c, v + i * PIXELS, PIXELS * sizeof *v);
            continue;
        }
        for (int p = 0; p < n; p++)
            conv_view_set(&o->y, y_at + i * o->y.c + p * o->y.x, v[i * PIXELS + p]);
    }
}

static inline __attribute__((always_inline)) void run_row(const head *h, int64_t line, const int oc,
                                                          const bool bf16)
{
    const conv *c = &h->c;
    const int64_t image = line / c->oh, oy = line % c->oh, y0 = oy * c->sy - c->pt;
    const bool rows_inside = y0 >= 0 && y0 + (c->kh - 1) * c->dy < c->ih && c->ic % VL == 0;
    for (int64_t ox = 0; ox < c->ow; ox += PIXELS) {
        int n = c->ow - ox < PIXELS ? (int)(c->ow - ox) : PIXELS;
        int64_t x0 = ox * c->sx - c->pl;
        sums s;
        if (n == PIXELS && rows_inside && x0 >= 0 &&
            x0 + (PIXELS - 1) * c->sx + (c->kw - 1) * c->dx < c->iw)
            inner_pixels(h, &s, oc, image * h->x.n + y0 * h->x.y + x0 * h->x.x, bf16);
        else
            border_pixels(h, &s, oc, image, oy, ox, n, bf16);
        store_pixels(h, &s, image, oy, ox, n);
    }
}

static void run_rows(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const head *h = ctx;
    for (int64_t i = begin; i < end; i++)
        switch (h->c.oc * 2 + h->x.bf16) {
        case 2:
            run_row(h, i, 1, false);
            break;
        case 3:
            run_row(h, i, 1, true);
            break;
        case 4:
            run_row(h, i, 2, false);
            break;
        case 5:
            run_row(h, i, 2, true);
            break;
        case 6:
            run_row(h, i, 3, false);
            break;
        case 7:
            run_row(h, i, 3, true);
            break;
        case 8:
            run_row(h, i, 4, false);
            break;
        case 9:
            run_row(h, i, 4, true);
            break;
        }
}

static rf_status pack_weights(void *ctx, void *dst, rf_error *err)
{
    (void)err;
    const conv *c = ctx;
    const rf_tensor *w = c->w;
    float *at = dst;
    for (int64_t t = 0; t < c->kh * c->kw; t++)
        for (int64_t i = 0; i < c->ic; i += VL)
            for (int64_t o = 0; o < c->oc; o++)
                for (int64_t j = i; j < i + VL; j++)
                    *at++ = j < c->ic ? conv_at(w, o * w->strides[0] + j * w->strides[1] +
                                                       t / c->kw * w->strides[2] +
                                                       t % c->kw * w->strides[3])
                                      : 0;
    return RF_OK;
}

static bool can(const rf_kernel_desc *desc)
{
    const conv c = conv_of(&desc->args);
    return c.groups == 1 && c.oc <= MAX_OUT && c.ic >= VL && conv_float(c.x) &&
           c.x->strides[1] == 1 && conv_float(c.y) && conv_const(c.w) &&
           (!c.b || conv_const(c.b)) && (!c.res || conv_float(c.res));
}

static rf_status prepare(const rf_kernel_desc *desc, void **out_state, rf_error *err)
{
    conv c = conv_of(&desc->args);
    const size_t floats = (size_t)(c.kh * c.kw * ((c.ic + VL - 1) / VL * VL) * c.oc);
    return conv_state_create(desc, c.w, c.b, c.oc, c.oc, "cpu.conv_head." RF_CPU_ISA_TEXT,
                             floats * sizeof(float), pack_weights, &c, out_state, err);
}

static rf_status run(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const conv_state *s = call->state;
    head h = {.c = conv_of(&call->args), .weights = s->weights.data};
    h.x = conv_view_of(h.c.x);
    h.out = conv_out_of(&h.c, s->bias);
    rf_parallel_for(call->n_threads, h.c.n * h.c.oh, 1, run_rows, &h);
    return RF_OK;
}

static const rf_kernel head_row = {
    .op = RF_OP_CONV2D,
    .name = "head",
    .why = "NHWC to at most 4 channels in any layout",
    .can = can,
    .prepare = prepare,
    .release = conv_state_release,
    .run = run,
    .by_rows = true,
    .in_place = 1u << 3,
};

const rf_kernel *const RF_CPU_ROWS(conv_head)[] = {&head_row, NULL};
