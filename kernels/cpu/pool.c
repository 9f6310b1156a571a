/* SPDX-License-Identifier: Apache-2.0
 *
 * Pooling of NHWC images: one vector of channels per window, the last one partial; rows of the
 * output split over threads.
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec.h"

#include <math.h>

typedef struct pool {
    const rf_tensor *x, *y;
    const rf_pool2d_attrs *a;
} pool;

/* The window of one output position along one axis: taps [*lo, *hi) lie inside the image. */
static void window(int64_t start, int kernel, int dilation, int64_t size, int *lo, int *hi)
{
    *lo = start < 0 ? (int)((-start + dilation - 1) / dilation) : 0;
    *hi = start >= size ? 0 : (int)((size - 1 - start) / dilation + 1);
    if (*hi > kernel)
        *hi = kernel;
}

/* Taps of a window that lie on the image or its padding: a last window may reach beyond both. */
static int padded_taps(int64_t start, int kernel, int dilation, int64_t end)
{
    int64_t n = (end - start + dilation - 1) / dilation;
    return n < kernel ? (int)n : kernel;
}

/* The window of one output pixel, as offsets of its taps. */
typedef struct pixel_window {
    int64_t first; /* element of tap (ylo, xlo), channel 0 */
    int ny, nx;
    float scale; /* of an average */
} pixel_window;

static pixel_window find_window(const pool *p, int64_t n, int64_t oy, int64_t ox)
{
    const rf_pool2d_attrs *a = p->a;
    const int64_t *xs = p->x->strides;
    const int64_t y0 = oy * a->stride[0] - a->pad[0], x0 = ox * a->stride[1] - a->pad[1];
    int ylo, yhi, xlo, xhi;
    window(y0, a->kernel[0], a->dilation[0], p->x->dims[2], &ylo, &yhi);
    window(x0, a->kernel[1], a->dilation[1], p->x->dims[3], &xlo, &xhi);
    pixel_window w = {.ny = yhi - ylo, .nx = xhi - xlo};
    w.first = n * xs[0] + (y0 + ylo * a->dilation[0]) * xs[2] + (x0 + xlo * a->dilation[1]) * xs[3];
    int taps = w.ny * w.nx;
    if (a->count_include_pad)
        taps = padded_taps(y0, a->kernel[0], a->dilation[0], p->x->dims[2] + a->pad[2]) *
               padded_taps(x0, a->kernel[1], a->dilation[1], p->x->dims[3] + a->pad[3]);
    w.scale = 1.0f / (float)(taps > 0 ? taps : 1);
    return w;
}

/* n channels from c on, n = VL if full. */
static inline __attribute__((always_inline)) void
channels(const pool *p, const pixel_window *w, int64_t to, int64_t c, int n, const bool full)
{
    const int64_t row = p->x->strides[2] * p->a->dilation[0];
    const int64_t step = p->x->strides[3] * p->a->dilation[1];
    const bool bf16 = p->x->dtype == RF_BF16, max = p->a->kind == RF_POOL_MAX;
    vf v = vset1(max ? -INFINITY : 0);
    for (int i = 0; i < w->ny; i++)
        for (int j = 0; j < w->nx; j++) {
            int64_t at = w->first + i * row + j * step + c;
            vf s = full ? vload_as(p->x->data, at, bf16) : vload_part_as(p->x->data, at, bf16, n);
            v = max ? vmax_nan(v, s) : v + s;
        }
    v = max ? v : v * w->scale;
    if (full)
        vstore_as(p->y->data, to + c, bf16, v);
    else
        vstore_part_as(p->y->data, to + c, bf16, v, n);
}

static void pixel(const pool *p, int64_t n, int64_t oy, int64_t ox)
{
    const int64_t *ys = p->y->strides, to = n * ys[0] + oy * ys[2] + ox * ys[3];
    const pixel_window w = find_window(p, n, oy, ox);
    int64_t c = 0;
    for (; c + VL <= p->x->dims[1]; c += VL)
        channels(p, &w, to, c, VL, true);
    if (c < p->x->dims[1])
        channels(p, &w, to, c, (int)(p->x->dims[1] - c), false);
}

static void run_rows(void *ctx, int64_t begin, int64_t end, int thread)
{
    const pool *p = ctx;
    (void)thread;
    for (int64_t row = begin; row < end; row++)
        for (int64_t ox = 0; ox < p->y->dims[3]; ox++)
            pixel(p, row / p->y->dims[2], row % p->y->dims[2], ox);
}

static bool can(const rf_kernel_desc *desc)
{
    const rf_tensor *x = desc->args.in[0], *y = desc->args.out[0];
    return (x->dtype == RF_F32 || x->dtype == RF_BF16) && x->dtype == y->dtype &&
           rf_tensor_is_nhwc(x) && rf_tensor_is_nhwc(y);
}

static rf_status run(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    pool p = {call->args.in[0], call->args.out[0], &call->args.attrs->pool2d};
    int threads = rf_tensor_elements(p.y) < 1 << 14 ? 1 : call->n_threads;
    rf_parallel_for(threads, p.y->dims[0] * p.y->dims[2], 1, run_rows, &p);
    return RF_OK;
}

static const rf_kernel nhwc = {
    .op = RF_OP_POOL2D,
    .name = "pool_nhwc",
    .why = "NHWC, a vector of channels at a time",
    .can = can,
    .run = run,
};

const rf_kernel *const RF_CPU_ROWS(pool)[] = {&nhwc, NULL};
