/* SPDX-License-Identifier: Apache-2.0
 *
 * Normalisations. Variances are taken in a second pass round the mean, never as a difference of
 * squares. Group and batch norm end in one elementwise pass (x - mean) * scale + bias with a vector
 * per channel; their sums come from the reduction engine (f32 in short runs, f64 above), so neither
 * layout nor the number of threads matters.
 */
#include "kernels/cpu/reduce.h"
#include "kernels/cpu/vecmath.h"
#include "runtime/base/half.h"
#include "runtime/core/shape/normal.h"

#include <math.h>

static bool all_float(const rf_kernel_desc *desc)
{
    for (int i = 0; i < desc->args.n_in; i++)
        if (desc->args.in[i] && !rf_cpu_is_float(desc->args.in[i]->dtype))
            return false;
    return rf_cpu_is_float(desc->args.out[0]->dtype);
}

static const rf_tensor *optional(const rf_op_args *args, int i)
{
    return i < args->n_in ? args->in[i] : NULL;
}

/* Element i of a vector, or `absent`. */
static double vector_at(const rf_tensor *t, int64_t i, double absent)
{
    if (!t)
        return absent;
    i *= t->strides[0];
    return (double)(t->dtype == RF_BF16 ? rf_bf16_to_f32(((const uint16_t *)t->data)[i])
                                        : ((const float *)t->data)[i]);
}

/* --- layer norm ---------------------------------------------------------------------------------
 */

typedef struct layer_job {
    const rf_tensor *x, *y;
    int axis;
    int64_t n;          /* elements of one row: the dims from axis on */
    const float *w, *b; /* dense, or NULL */
    float *rows;        /* one per thread */
    double eps;
    bool rms;
} layer_job;

/* The dims of t from `axis` on at p, in logical order, from or to dense floats. */
static void move_row(float *row, const rf_tensor *t, int axis, void *p, bool store)
{
    /* Merge from the last dim as far as memory runs on; step through what is left. */
    int d = t->rank - 1;
    bool bf16 = t->dtype == RF_BF16;
    int64_t cols = t->dims[d], col_stride = t->strides[d], repeats = 1;
    while (d > axis && t->strides[d - 1] == cols * col_stride)
        cols *= t->dims[--d];
    for (int i = axis; i < d; i++)
        repeats *= t->dims[i];
    for (int64_t r = 0; r < repeats; r++, row += cols) {
        int64_t rest = r, offset = 0;
        for (int i = d - 1; i >= axis; i--) {
            offset += rest % t->dims[i] * t->strides[i];
            rest /= t->dims[i];
        }
        void *at = rf_nd_at(p, offset, bf16 ? 2 : 4);
        if (store)
            rf_nd_store(at, bf16, row, 1, 0, cols, col_stride);
        else
            rf_nd_fetch(row, at, bf16, 1, 0, cols, col_stride);
    }
}

/* Sum of (p - centre), or of its squares, in runs of 4096. */
static double sum_row(const float *p, int64_t n, float centre, bool squares)
{
    double sum = 0;
    for (int64_t run = 0; run < n; run += 4096) {
        int64_t end = run + 4096 < n ? run + 4096 : n, i = run;
        vf s[2] = {{0}, {0}}, c = vset1(centre);
        for (; i + 2 * VL <= end; i += 2 * VL)
            for (int k = 0; k < 2; k++) {
                vf v = vload(p + i + k * VL) - c;
                s[k] += squares ? v * v : v;
            }
        float tail = 0;
        for (; i < end; i++)
            tail += squares ? (p[i] - centre) * (p[i] - centre) : p[i] - centre;
        sum += (double)(vsum(s[0] + s[1]) + tail);
    }
    return sum;
}

static void layer_range(void *ctx, int64_t begin, int64_t end, int thread)
{
    const layer_job *job = ctx;
    const rf_tensor *x = job->x, *y = job->y;
    float *row = job->rows + thread * job->n;
    for (int64_t r = begin; r < end; r++) {
        int64_t rest = r, from = 0, to = 0;
        for (int i = job->axis - 1; i >= 0; i--) {
            from += rest % x->dims[i] * x->strides[i];
            to += rest % x->dims[i] * y->strides[i];
            rest /= x->dims[i];
        }
        move_row(row, x, job->axis, rf_nd_at(x->data, from, rf_dtype_bytes(x->dtype)), false);
        double n = (double)job->n, mean = job->rms ? 0 : sum_row(row, job->n, 0, false) / n;
        float centre = (float)mean;
        double low = mean - (double)centre; /* what rounding the centre left out */
        double var = sum_row(row, job->n, centre, true) / n - low * low;
        float scale = (float)(1 / sqrt(var + job->eps));
        for (int64_t i = 0; i < job->n; i++)
            row[i] = (row[i] - centre) * scale;
        if (job->w)
            for (int64_t i = 0; i < job->n; i++)
                row[i] *= job->w[i];
        if (job->b)
            for (int64_t i = 0; i < job->n; i++)
                row[i] += job->b[i];
        move_row(row, y, job->axis, rf_nd_at(y->data, to, rf_dtype_bytes(y->dtype)), true);
    }
}

static int64_t layer_row(const rf_op_args *args, int *axis)
{
    const rf_tensor *x = args->in[0];
    int64_t n = 1;
    *axis = rf_normal_axis(args->attrs->layer_norm.axis, x->rank);
    for (int i = *axis; i < x->rank; i++)
        n *= x->dims[i];
    return n;
}

static size_t scratch_layer(const rf_kernel_desc *desc)
{
    int axis;
    return (size_t)(layer_row(&desc->args, &axis) * (2 + desc->n_threads)) * sizeof(float);
}

static rf_status run_layer(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_layer_norm_attrs *attrs = &call->args.attrs->layer_norm;
    layer_job job = {
        .x = call->args.in[0], .y = call->args.out[0], .eps = attrs->eps, .rms = attrs->rms};
    int64_t n = rf_tensor_elements(job.x);
    if (n == 0)
        return RF_OK;
    job.n = layer_row(&call->args, &job.axis);
    float *p = call->scratch;
    const rf_tensor *w = optional(&call->args, 1), *b = optional(&call->args, 2);
    job.rows = p + 2 * job.n;
    if (w)
        move_row(p, w, 0, w->data, false);
    if (b)
        move_row(p + job.n, b, 0, b->data, false);
    job.w = w ? p : NULL;
    job.b = b ? p + job.n : NULL;
    rf_parallel_for(rf_nd_threads(call->n_threads, n), n / job.n, 1, layer_range, &job);
    return RF_OK;
}

/* --- group and batch norm -----------------------------------------------------------------------
 */

typedef struct affine {
    rf_act act;
    double alpha, beta;
} affine;

/* (x - mean) * scale + bias, then act. */
static void map_affine(const void *ctx, float *y, const float *const *in, int64_t n)
{
    const affine *a = ctx;
    const float *x = in[0], *mean = in[1], *scale = in[2], *bias = in[3];
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] - mean[i]) * scale[i] + bias[i];
    rf_cpu_map_act(a->act, a->alpha, a->beta, y, n);
}

/* Three vectors of `images` x C floats, one after the other, applied to x. */
static void apply_affine(const rf_kernel_call *call, const affine *a, float *vectors,
                         int64_t images)
{
    const rf_tensor *x = call->args.in[0];
    rf_tensor t[3];
    for (int i = 0; i < 3; i++) {
        t[i] = (rf_tensor){.dtype = RF_F32, .rank = x->rank};
        for (int k = 0; k < x->rank; k++)
            t[i].dims[k] = k == 0 ? images : k == 1 ? x->dims[1] : 1;
        rf_tensor_set_contiguous(&t[i]);
        t[i].data = vectors + i * images * x->dims[1];
    }
    rf_cpu_map(call->n_threads, map_affine, a, call->args.out[0],
               (const rf_tensor *const[]){x, &t[0], &t[1], &t[2]}, 4);
}

/* Sums over space for every image and channel. */
static rf_cpu_reduction space_sums(const rf_tensor *x, double *out)
{
    rf_cpu_reduction r = {.kind = RF_REDUCE_SUM, .x = x, .out = out, .out_dtype = RF_F64};
    r.out_strides[0] = x->dims[1];
    r.out_strides[1] = 1;
    for (int i = 2; i < x->rank; i++)
        r.reduced[i] = true;
    return r;
}

/* The reduction engine wants unit stride along its innermost dim, and along channels if those are
 * innermost: true of both image layouts. */
static bool can_group(const rf_kernel_desc *desc)
{
    const rf_tensor *x = desc->args.in[0];
    bool nhwc = x->rank == 4 && rf_tensor_is_nhwc(x);
    return all_float(desc) && rf_tensor_elements(x) > 0 && (nhwc || rf_tensor_is_contiguous(x));
}

static size_t group_vectors(const rf_tensor *x)
{
    return (size_t)(x->dims[0] * x->dims[1]);
}

/* Scratch: sums (f64), then mean, scale and bias (f32) of every image and channel, then the
 * engine's own. */
static size_t scratch_group(const rf_kernel_desc *desc)
{
    rf_cpu_reduction r = space_sums(desc->args.in[0], NULL);
    size_t vectors = group_vectors(desc->args.in[0]) * (sizeof(double) + 3 * sizeof(float));
    return (vectors + 63) / 64 * 64 + rf_cpu_reduce_scratch(&r);
}

/* Adds the sums of each group's channels and gives the group's value to all of them. */
static void join_groups(double *sums, int64_t n, int64_t per_group)
{
    for (int64_t g = 0; g < n; g += per_group) {
        double sum = 0;
        for (int64_t c = 0; c < per_group; c++)
            sum += sums[g + c];
        for (int64_t c = 0; c < per_group; c++)
            sums[g + c] = sum;
    }
}

static rf_status run_group(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_group_norm_attrs *attrs = &call->args.attrs->group_norm;
    const rf_tensor *x = call->args.in[0];
    const rf_tensor *w = optional(&call->args, 1), *b = optional(&call->args, 2);
    int64_t channels = x->dims[1], n = x->dims[0] * channels;
    int64_t per_group = attrs->groups ? channels / attrs->groups : 1;
    double count = (double)(rf_tensor_elements(x) / n * per_group);
    double *sums = call->scratch;
    float *mean = (float *)(sums + n), *scale = mean + n, *bias = scale + n;
    size_t vectors = (size_t)n * (sizeof(double) + 3 * sizeof(float));
    void *rest = (char *)call->scratch + (vectors + 63) / 64 * 64;

    rf_cpu_reduction r = space_sums(x, sums);
    rf_cpu_reduce(&r, call->n_threads, rest);
    join_groups(sums, n, per_group);
    for (int64_t i = 0; i < n; i++)
        mean[i] = (float)(sums[i] / count);
    r.kind = RF_REDUCE_SUMSQ;
    r.centre = mean;
    rf_cpu_reduce(&r, call->n_threads, rest);
    join_groups(sums, n, per_group);
    for (int64_t i = 0; i < n; i++) {
        int64_t c = i % channels;
        scale[i] = (float)(vector_at(w, c, 1) / sqrt(sums[i] / count + attrs->eps));
        bias[i] = (float)vector_at(b, c, 0);
    }
    apply_affine(call, &(affine){attrs->act, attrs->act_alpha, attrs->act_beta}, mean, x->dims[0]);
    return RF_OK;
}

static size_t scratch_batch(const rf_kernel_desc *desc)
{
    return (size_t)desc->args.in[0]->dims[1] * 3 * sizeof(float);
}

static rf_status run_batch(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_tensor *const *in = call->args.in;
    int64_t channels = in[0]->dims[1];
    double eps = call->args.attrs->batch_norm.eps;
    float *mean = call->scratch, *scale = mean + channels, *bias = scale + channels;
    for (int64_t c = 0; c < channels; c++) {
        mean[c] = (float)vector_at(in[3], c, 0);
        scale[c] = (float)(vector_at(in[1], c, 1) / sqrt(vector_at(in[4], c, 1) + eps));
        bias[c] = (float)vector_at(in[2], c, 0);
    }
    apply_affine(call, &(affine){.act = RF_ACT_NONE}, mean, 1);
    return RF_OK;
}

static const rf_kernel layer_row_ = {
    .op = RF_OP_LAYER_NORM,
    .name = "layer_norm",
    .why = "f32 or bf16",
    .can = all_float,
    .scratch = scratch_layer,
    .run = run_layer,
    .in_place = 1,
};
static const rf_kernel group_row = {
    .op = RF_OP_GROUP_NORM,
    .name = "group_norm",
    .why = "f32 or bf16, row-major or NHWC",
    .can = can_group,
    .scratch = scratch_group,
    .run = run_group,
    .in_place = 1,
};
static const rf_kernel batch_row = {
    .op = RF_OP_BATCH_NORM,
    .name = "affine",
    .why = "f32 or bf16",
    .can = all_float,
    .scratch = scratch_batch,
    .run = run_batch,
    .in_place = 1,
};

const rf_kernel *const RF_CPU_ROWS(norm)[] = {&layer_row_, &group_row, &batch_row, NULL};
