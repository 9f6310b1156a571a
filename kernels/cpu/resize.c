/* SPDX-License-Identifier: Apache-2.0
 *
 * Resizing as a weighted sum of up to 4 x 4 source pixels. Which pixels and how much of each is the
 * same for all rows and all columns, so `prepare` makes one table per axis in float64.
 *
 * Where both sides keep their channels side by side (NHWC) a pixel is a run of vectors and the sum
 * is taken directly. In any other layout a row of one channel is first mixed vertically, which
 * reads whole rows, and the few columns are then picked out of that row in cache.
 */
#include "kernels/cpu/nd.h"
#include "kernels/cpu/vec.h"
#include "runtime/core/shape/normal.h"

#include <math.h>

enum { MAX_TAPS = 4 };

/* One output row or column: source indices and weights of n taps. */
typedef struct tap {
    int64_t index[MAX_TAPS];
    float weight[MAX_TAPS];
} tap;

typedef struct resize_state {
    size_t bytes; /* of this struct with its taps */
    int n;        /* taps along each axis */
    tap *y, *x;   /* one per output row and column */
    tap taps[];
} resize_state;

typedef struct resize_job {
    const rf_tensor *x, *y;
    const resize_state *s;
    bool x_bf16, y_bf16;
    float *rows; /* scratch: three rows of floats per thread */
    int64_t row_floats;
} resize_job;

static bool channels_last(const rf_tensor *t)
{
    return t->strides[1] == 1;
}

/* --- channels side by side
 * ----------------------------------------------------------------------- */

/* Channels [c, c + n) of one pixel; n = VL if full. Taps and dtypes are constants of each use. */
static inline __attribute__((always_inline)) void
mix_channels(const resize_job *job, const tap *ty, const tap *tx, int64_t from, int64_t to,
             int64_t c, const int n_taps, const bool x_bf16, int n, const bool full)
{
    const int64_t *s = job->x->strides;
    vf sum = vset1(0);
    for (int i = 0; i < n_taps; i++) {
        vf row = vset1(0);
        for (int k = 0; k < n_taps; k++) {
            int64_t at = from + ty->index[i] * s[2] + tx->index[k] * s[3] + c;
            row += tx->weight[k] * (full ? vload_as(job->x->data, at, x_bf16)
                                         : vload_part_as(job->x->data, at, x_bf16, n));
        }
        sum += ty->weight[i] * row;
    }
    if (full)
        vstore_as(job->y->data, to + c, job->y_bf16, sum);
    else
        vstore_part_as(job->y->data, to + c, job->y_bf16, sum, n);
}

static inline __attribute__((always_inline)) void
mix_row(const resize_job *job, int64_t n, int64_t oy, const int n_taps, const bool x_bf16)
{
    const rf_tensor *x = job->x, *y = job->y;
    const tap *ty = &job->s->y[oy];
    const int64_t channels = x->dims[1], from = n * x->strides[0];
    for (int64_t ox = 0; ox < y->dims[3]; ox++) {
        const tap *tx = &job->s->x[ox];
        int64_t to = n * y->strides[0] + oy * y->strides[2] + ox * y->strides[3], c = 0;
        for (; c + VL <= channels; c += VL)
            mix_channels(job, ty, tx, from, to, c, n_taps, x_bf16, VL, true);
        if (c < channels)
            mix_channels(job, ty, tx, from, to, c, n_taps, x_bf16, (int)(channels - c), false);
    }
}

/* Nearest between equal dtypes only moves pixels. */
static void move_row(const resize_job *job, int64_t n, int64_t oy)
{
    const rf_tensor *x = job->x, *y = job->y;
    const size_t item = rf_dtype_bytes(x->dtype), bytes = (size_t)x->dims[1] * item;
    const int64_t from = n * x->strides[0] + job->s->y[oy].index[0] * x->strides[2];
    const int64_t to = n * y->strides[0] + oy * y->strides[2];
    for (int64_t ox = 0; ox < y->dims[3]; ox++)
        memcpy(rf_nd_at(y->data, to + ox * y->strides[3], item),
               rf_nd_at(x->data, from + job->s->x[ox].index[0] * x->strides[3], item), bytes);
}

static void pixels_range(void *ctx, int64_t begin, int64_t end, int thread)
{
    const resize_job *job = ctx;
    (void)thread;
    for (int64_t u = begin; u < end; u++) {
        int64_t n = u / job->y->dims[2], oy = u % job->y->dims[2];
        if (job->s->n == 1 && job->x->dtype == job->y->dtype)
            move_row(job, n, oy);
        else
            switch (job->s->n * 2 + job->x_bf16) {
            case 2:
                mix_row(job, n, oy, 1, false);
                break;
            case 3:
                mix_row(job, n, oy, 1, true);
                break;
            case 4:
                mix_row(job, n, oy, 2, false);
                break;
            case 5:
                mix_row(job, n, oy, 2, true);
                break;
            case 8:
                mix_row(job, n, oy, 4, false);
                break;
            case 9:
                mix_row(job, n, oy, 4, true);
                break;
            }
    }
}

/* --- one channel at a time
 * ----------------------------------------------------------------------- */

/* The row of x that `ty` describes, as floats: the tensor's own if nothing is to be done. */
static const float *mix_rows(const resize_job *job, int64_t plane, const tap *ty, float *fetched,
                             float *mixed)
{
    const rf_tensor *x = job->x;
    const int64_t width = x->dims[3];
    for (int i = 0; i < job->s->n; i++) {
        const void *p =
            rf_nd_at(x->data, plane + ty->index[i] * x->strides[2], job->x_bf16 ? 2 : 4);
        const float *row = p;
        if (job->x_bf16 || (x->strides[3] != 1 && width > 1)) {
            rf_nd_fetch(fetched, p, job->x_bf16, 1, 0, width, x->strides[3]);
            row = fetched;
        }
        if (job->s->n == 1)
            return row;
        const float w = ty->weight[i];
        int64_t k = 0;
        for (; k + VL <= width; k += VL)
            vstore(mixed + k, w * vload(row + k) + (i ? vload(mixed + k) : vset1(0)));
        for (; k < width; k++)
            mixed[k] = w * row[k] + (i ? mixed[k] : 0);
    }
    return mixed;
}

static void pick_columns(const resize_state *s, float *out, const float *row, int64_t n)
{
    if (s->n == 1)
        for (int64_t i = 0; i < n; i++)
            out[i] = row[s->x[i].index[0]];
    else if (s->n == 2)
        for (int64_t i = 0; i < n; i++) {
            const tap *t = &s->x[i];
            out[i] = t->weight[0] * row[t->index[0]] + t->weight[1] * row[t->index[1]];
        }
    else
        for (int64_t i = 0; i < n; i++) {
            const tap *t = &s->x[i];
            out[i] = (t->weight[0] * row[t->index[0]] + t->weight[1] * row[t->index[1]]) +
                     (t->weight[2] * row[t->index[2]] + t->weight[3] * row[t->index[3]]);
        }
}

static void planes_range(void *ctx, int64_t begin, int64_t end, int thread)
{
    const resize_job *job = ctx;
    const rf_tensor *x = job->x, *y = job->y;
    float *fetched = job->rows + thread * 3 * job->row_floats, *mixed = fetched + job->row_floats;
    const bool direct = !job->y_bf16 && (y->strides[3] == 1 || y->dims[3] == 1);
    for (int64_t u = begin; u < end; u++) {
        int64_t oy = u % y->dims[2], c = u / y->dims[2] % x->dims[1],
                n = u / y->dims[2] / x->dims[1];
        const float *row =
            mix_rows(job, n * x->strides[0] + c * x->strides[1], &job->s->y[oy], fetched, mixed);
        void *to = rf_nd_at(y->data, n * y->strides[0] + c * y->strides[1] + oy * y->strides[2],
                            job->y_bf16 ? 2 : 4);
        float *out = direct ? to : mixed + job->row_floats;
        pick_columns(job->s, out, row, y->dims[3]);
        if (!direct)
            rf_nd_store(to, job->y_bf16, out, 1, 0, y->dims[3], y->strides[3]);
    }
}

/* --- the kernel
 * ---------------------------------------------------------------------------------- */

/* Keys' cubic convolution, a = -0.75, at distance d from a sample. */
static double cubic(double d)
{
    const double a = -0.75;
    d = fabs(d);
    if (d <= 1)
        return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2 ? ((d - 5) * d + 8) * a * d - 4 * a : 0;
}

static void fill_taps(const rf_resize_attrs *a, int axis, int64_t in, int64_t out, tap *taps)
{
    for (int64_t o = 0; o < out; o++, taps++) {
        double source = rf_normal_resize(a, axis, o, in, out), base = floor(source);
        int n = a->mode == RF_RESIZE_NEAREST ? 1 : a->mode == RF_RESIZE_LINEAR ? 2 : 4;
        for (int k = 0; k < n; k++) {
            int64_t i = (int64_t)base + (n == 4 ? k - 1 : k);
            taps->index[k] = i < 0 ? 0 : i >= in ? in - 1 : i;
            taps->weight[k] = n == 1   ? 1
                              : n == 2 ? (float)(k ? source - base : 1 - (source - base))
                                       : (float)cubic(source - base + 1 - k);
        }
    }
}

static bool can(const rf_kernel_desc *desc)
{
    return rf_cpu_is_float(desc->args.in[0]->dtype) && rf_cpu_is_float(desc->args.out[0]->dtype);
}

static int64_t row_floats(const rf_op_args *args)
{
    int64_t a = args->in[0]->dims[3], b = args->out[0]->dims[3];
    return (a > b ? a : b) + VL;
}

static size_t scratch(const rf_kernel_desc *desc)
{
    return (size_t)(row_floats(&desc->args) * 3 * desc->n_threads) * sizeof(float);
}

static rf_status prepare(const rf_kernel_desc *desc, void **out_state, rf_error *err)
{
    const rf_resize_attrs *a = &desc->args.attrs->resize;
    const int64_t *in = desc->args.in[0]->dims, *out = desc->args.out[0]->dims;
    size_t bytes = sizeof(resize_state) + (size_t)(out[2] + out[3]) * sizeof(tap);
    resize_state *s = rf_alloc(desc->env, bytes, 64);
    *out_state = s;
    if (!s)
        return rf_fail(err, RF_ERR_MEMORY, "no memory for %zu bytes of kernel state", bytes);
    *s = (resize_state){.bytes = bytes, .y = s->taps, .x = s->taps + out[2]};
    s->n = a->mode == RF_RESIZE_NEAREST ? 1 : a->mode == RF_RESIZE_LINEAR ? 2 : 4;
    fill_taps(a, 0, in[2], out[2], s->y);
    fill_taps(a, 1, in[3], out[3], s->x);
    return RF_OK;
}

static void release(rf_env *env, void *state)
{
    resize_state *s = state;
    rf_free(env, s, s->bytes);
}

static rf_status run(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_tensor *x = call->args.in[0], *y = call->args.out[0];
    resize_job job = {.x = x,
                      .y = y,
                      .s = call->state,
                      .x_bf16 = x->dtype == RF_BF16,
                      .y_bf16 = y->dtype == RF_BF16,
                      .rows = call->scratch,
                      .row_floats = row_floats(&call->args)};
    int threads = rf_nd_threads(call->n_threads, rf_tensor_elements(y));
    if (rf_tensor_elements(y) == 0)
        return RF_OK;
    if (channels_last(x) && channels_last(y))
        rf_parallel_for(threads, y->dims[0] * y->dims[2], 1, pixels_range, &job);
    else
        rf_parallel_for(threads, y->dims[0] * y->dims[1] * y->dims[2], 1, planes_range, &job);
    return RF_OK;
}

static const rf_kernel resize_row = {
    .op = RF_OP_RESIZE,
    .name = "resize",
    .why = "f32 or bf16, tables of taps",
    .can = can,
    .scratch = scratch,
    .prepare = prepare,
    .release = release,
    .run = run,
};

const rf_kernel *const RF_CPU_ROWS(resize)[] = {&resize_row, NULL};
