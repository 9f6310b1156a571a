/* SPDX-License-Identifier: Apache-2.0
 *
 * Depthwise convolution of maps whose channels lie side by side (NHWC), any window, stride,
 * dilation and padding, f32 or bf16 in memory. Every channel has its own window, so there is no
 * matrix product to be made of it: a vector of channels of a few neighbouring pixels is summed in
 * registers, and each vector of weights serves all of them. Pixels whose window hangs over a border
 * are taken one at a time, with the columns looked up through the padding.
 */
#include "kernels/cpu/conv_store.h"

#if VL == 16
#define PIXELS 8
#else
#define PIXELS 4
#endif

enum { MAX_WINDOW = 32 };

typedef struct depthwise {
    conv c;
    conv_view x;
    conv_out out;
    const float *weights; /* [kh][kw][padded channels] */
    int64_t w_step;
} depthwise;

static int64_t padded_channels(int64_t channels)
{
    return (channels + VL - 1) / VL * VL;
}

/* `pixels` outputs, `step` elements apart in x, n channels from ch on (VL if full). row, col:
 * offsets of the taps, -1 for zeros. */
static inline __attribute__((always_inline)) void
block(const depthwise *d, const int pixels, const int64_t *row, const int64_t *col, int64_t step,
      int64_t ch, int n, int64_t y_at, int64_t r_at, const bool bf16, const bool full)
{
    vf acc[PIXELS];
#pragma GCC unroll 8
    for (int p = 0; p < pixels; p++)
        acc[p] = vset1(0);
    for (int64_t ky = 0; ky < d->c.kh; ky++) {
        if (row[ky] < 0)
            continue;
        const float *w = d->weights + ky * d->c.kw * d->w_step + ch;
        for (int64_t kx = 0; kx < d->c.kw; kx++, w += d->w_step) {
            if (col[kx] < 0)
                continue;
            const vf tap = vload(w);
            const int64_t at = row[ky] + col[kx] + ch;
#pragma GCC unroll 8
            for (int p = 0; p < pixels; p++)
                acc[p] += tap * (full ? vload_as(d->x.data, at + p * step, bf16)
                                      : vload_part_as(d->x.data, at + p * step, bf16, n));
        }
    }
    const bool y_bf16 = d->out.y.bf16;
#pragma GCC unroll 8
    for (int p = 0; p < pixels; p++)
        conv_store_vector(&d->out, acc[p], ch, y_at + p * d->out.y.x, r_at + p * d->out.res.x, n,
                          y_bf16, full);
}

static inline __attribute__((always_inline)) void pixels_of(const depthwise *d, const int pixels,
                                                            const int64_t *row, const int64_t *col,
                                                            int64_t step, int64_t y_at,
                                                            int64_t r_at, const bool bf16)
{
    int64_t ch = 0;
    for (; ch + VL <= d->c.oc; ch += VL)
        block(d, pixels, row, col, step, ch, VL, y_at, r_at, bf16, true);
    if (ch < d->c.oc)
        block(d, pixels, row, col, step, ch, (int)(d->c.oc - ch), y_at, r_at, bf16, false);
}

static inline __attribute__((always_inline)) void do_row(const depthwise *d, int64_t n, int64_t oy,
                                                         const bool bf16)
{
    const conv *c = &d->c;
    int64_t row[MAX_WINDOW], col[MAX_WINDOW];
    for (int64_t ky = 0; ky < c->kh; ky++) {
        int64_t y = conv_map(oy * c->sy - c->pt + ky * c->dy, c->ih, c->pad_mode);
        row[ky] = y < 0 ? -1 : n * d->x.n + y * d->x.y;
    }
    for (int64_t ox = 0; ox < c->ow;) {
        const int64_t y_at = n * d->out.y.n + oy * d->out.y.y + ox * d->out.y.x;
        const int64_t r_at = n * d->out.res.n + oy * d->out.res.y + ox * d->out.res.x;
        const int64_t x0 = ox * c->sx - c->pl;
        const int64_t last = x0 + (PIXELS - 1) * c->sx + (c->kw - 1) * c->dx;
        if (ox + PIXELS <= c->ow && x0 >= 0 && last < c->iw) {
            for (int64_t kx = 0; kx < c->kw; kx++)
                col[kx] = (x0 + kx * c->dx) * d->x.x;
            pixels_of(d, PIXELS, row, col, c->sx * d->x.x, y_at, r_at, bf16);
            ox += PIXELS;
            continue;
        }
        for (int64_t kx = 0; kx < c->kw; kx++) {
            int64_t x = conv_map(x0 + kx * c->dx, c->iw, c->pad_mode);
            col[kx] = x < 0 ? -1 : x * d->x.x;
        }
        pixels_of(d, 1, row, col, 0, y_at, r_at, bf16);
        ox++;
    }
}

static void run_rows(void *ctx, int64_t begin, int64_t end, int thread)
{
    const depthwise *d = ctx;
    (void)thread;
    for (int64_t r = begin; r < end; r++) {
        if (d->x.bf16)
            do_row(d, r / d->c.oh, r % d->c.oh, true);
        else
            do_row(d, r / d->c.oh, r % d->c.oh, false);
    }
}

/* --- the kernel
 * ---------------------------------------------------------------------------------- */

static rf_status pack_weights(void *ctx, void *dst, rf_error *err)
{
    (void)err;
    const rf_tensor *w = ctx;
    const int64_t *s = w->strides, step = padded_channels(w->dims[0]);
    float *out = dst;
    for (int64_t ky = 0; ky < w->dims[2]; ky++)
        for (int64_t kx = 0; kx < w->dims[3]; kx++, out += step)
            for (int64_t c = 0; c < step; c++)
                out[c] = c < w->dims[0] ? conv_at(w, c * s[0] + ky * s[2] + kx * s[3]) : 0;
    return RF_OK;
}

static bool can(const rf_kernel_desc *desc)
{
    const conv c = conv_of(&desc->args);
    return c.groups > 1 && c.groups == c.ic && c.oc == c.ic && c.kh <= MAX_WINDOW &&
           c.kw <= MAX_WINDOW && conv_float(c.x) && conv_float(c.y) && c.x->strides[1] == 1 &&
           c.y->strides[1] == 1 && conv_const(c.w) && (!c.b || conv_const(c.b)) &&
           (!c.res || (conv_float(c.res) && c.res->strides[1] == 1));
}

static rf_status prepare(const rf_kernel_desc *desc, void **out_state, rf_error *err)
{
    const conv c = conv_of(&desc->args);
    const int64_t channels = padded_channels(c.oc);
    return conv_state_create(desc, c.w, c.b, c.oc, channels, "cpu.conv_depthwise." RF_CPU_ISA_TEXT,
                             (size_t)(c.kh * c.kw * channels) * sizeof(float), pack_weights,
                             (void *)(uintptr_t)c.w, out_state, err);
}

static rf_status run(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const conv_state *s = call->state;
    depthwise d = {.c = conv_of(&call->args), .weights = s->weights.data};
    d.x = conv_view_of(d.c.x);
    d.out = conv_out_of(&d.c, s->bias);
    d.w_step = padded_channels(d.c.oc);
    int threads = rf_tensor_elements(d.c.y) < 1 << 13 ? 1 : call->n_threads;
    rf_parallel_for(threads, d.c.n * d.c.oh, 1, run_rows, &d);
    return RF_OK;
}

static const rf_kernel depthwise_row = {
    .op = RF_OP_CONV2D,
    .name = "depthwise",
    .why = "a window per channel, channels side by side",
    .can = can,
    .prepare = prepare,
    .release = conv_state_release,
    .run = run,
    .in_place = 1u << 3,
};

const rf_kernel *const RF_CPU_ROWS(conv_depthwise)[] = {&depthwise_row, NULL};
