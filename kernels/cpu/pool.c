/* SPDX-License-Identifier: Apache-2.0
 *
 * Pooling of NHWC images: one vector of channels per window, rows of the output split over threads.
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

static void pixel(const pool *p, int64_t n, int64_t oy, int64_t ox)
{
    const rf_pool2d_attrs *a = p->a;
    const int64_t *xs = p->x->strides, *ys = p->y->strides;
    const bool bf16 = p->x->dtype == RF_BF16, max = a->kind == RF_POOL_MAX;
    const int64_t y0 = oy * a->stride[0] - a->pad[0], x0 = ox * a->stride[1] - a->pad[1];
    int ylo, yhi, xlo, xhi;
    window(y0, a->kernel[0], a->dilation[0], p->x->dims[2], &ylo, &yhi);
    window(x0, a->kernel[1], a->dilation[1], p->x->dims[3], &xlo, &xhi);
    int inside = (yhi - ylo) * (xhi - xlo);
    float scale = 1.0f / (float)(a->count_include_pad ? a->kernel[0] * a->kernel[1]
                                 : inside > 0         ? inside
                                                      : 1);
    for (int64_t c = 0; c < p->x->dims[1]; c += VL) {
        vf v = vset1(max ? -INFINITY : 0);
        for (int i = ylo; i < yhi; i++)
            for (int j = xlo; j < xhi; j++) {
                vf s = vload_as(p->x->data,
                                n * xs[0] + (y0 + i * a->dilation[0]) * xs[2] +
                                    (x0 + j * a->dilation[1]) * xs[3] + c,
                                bf16);
                v = max ? vmax_nan(v, s) : v + s;
            }
        vstore_as(p->y->data, n * ys[0] + oy * ys[2] + ox * ys[3] + c, bf16, max ? v : v * scale);
    }
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
    const rf_pool2d_attrs *a = &desc->args.attrs->pool2d;
    return (x->dtype == RF_F32 || x->dtype == RF_BF16) && x->dtype == y->dtype &&
           rf_tensor_is_nhwc(x) && rf_tensor_is_nhwc(y) && x->dims[1] % VL == 0 &&
           !(a->kind == RF_POOL_AVG && a->ceil_mode);
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
    .why = "NHWC, whole vectors of channels",
    .can = can,
    .run = run,
};

const rf_kernel *const RF_CPU_ROWS(pool)[] = {&nhwc, NULL};
