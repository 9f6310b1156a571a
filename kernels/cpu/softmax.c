/* SPDX-License-Identifier: Apache-2.0
 *
 * Softmax over any axis. If the axis is the dense one, a row is one lane of work; otherwise COLUMNS
 * neighbours (channels in NHWC, pixels in NCHW) are done side by side, so that both ways read and
 * write whole cache lines. Either block goes through f32 in scratch: x is read once, y written
 * once.
 */
#include "kernels/cpu/nd.h"
#include "kernels/cpu/vecmath.h"
#include "runtime/core/shape/normal.h"

#include <math.h>

enum { COLUMNS = 32, SUM_RUN = 4096 };

typedef struct softmax_job {
    rf_nd nd; /* all dims but the axis; operand 0: y, 1: x */
    const rf_tensor *x, *y;
    int64_t n, x_stride, y_stride; /* of the axis */
    int64_t columns;               /* side by side along dim 0: 1 or COLUMNS */
    bool log;
    float *scratch;
} softmax_job;

static void softmax_row(float *p, int64_t n, bool log_)
{
    vf m = vset1(-INFINITY);
    int64_t i = 0;
    for (; i + VL <= n; i += VL)
        m = vmax_nan(m, vload(p + i));
    float max = vany_nan(m) ? NAN : vhmax(m);
    for (; i < n; i++)
        max = max != max || max > p[i] ? max : p[i];
    double sum = 0;
    for (int64_t run = 0; run < n; run += SUM_RUN) {
        int64_t end = run + SUM_RUN < n ? run + SUM_RUN : n;
        vf s = vset1(0);
        for (i = run; i + VL <= end; i += VL) {
            vf e = vexp(vload(p + i) - max);
            s += e;
            if (!log_)
                vstore(p + i, e);
        }
        sum += (double)vsum(s);
        if (i < end) {
            int part = (int)(end - i);
            vf e = vexp(vload_part(p + i, part) - max);
            sum += (double)vsum(vselect(vlanes() < part, e, vset1(0)));
            if (!log_)
                vstore_part(p + i, e, part);
        }
    }
    float scale = log_ ? 1 : (float)(1 / sum), shift = log_ ? (float)(log(sum) + (double)max) : 0;
    for (i = 0; i < n; i++)
        p[i] = (p[i] - shift) * scale;
}

/* n rows of COLUMNS. */
static void softmax_columns(float *p, int64_t n, bool log_)
{
    for (int col = 0; col < COLUMNS; col += VL) {
        vf max = vset1(-INFINITY), sum = vset1(0);
        for (int64_t i = 0; i < n; i++)
            max = vmax_nan(max, vload(p + i * COLUMNS + col));
        for (int64_t i = 0; i < n; i++) {
            vf e = vexp(vload(p + i * COLUMNS + col) - max);
            sum += e;
            if (!log_)
                vstore(p + i * COLUMNS + col, e);
        }
        vf scale = log_ ? vset1(1) : 1.0f / sum, shift = log_ ? vlog(sum) + max : vset1(0);
        for (int64_t i = 0; i < n; i++)
            vstore(p + i * COLUMNS + col, (vload(p + i * COLUMNS + col) - shift) * scale);
    }
}

static void softmax_range(void *ctx, int64_t begin, int64_t end, int thread)
{
    const softmax_job *job = ctx;
    const rf_nd *nd = &job->nd;
    float *block = job->scratch + job->n * job->columns * thread;
    bool x_bf16 = job->x->dtype == RF_BF16, y_bf16 = job->y->dtype == RF_BF16;
    for (int64_t u = begin; u < end; u++) {
        int64_t tiles = rf_nd_ceil_div(nd->dims[0], job->columns);
        int64_t first = u % tiles * job->columns, rest = u / tiles;
        int64_t to = first * nd->strides[0][0], from = first * nd->strides[1][0];
        int64_t cols = nd->dims[0] - first < job->columns ? nd->dims[0] - first : job->columns;
        for (int d = 1; d < nd->rank; d++) {
            to += rest % nd->dims[d] * nd->strides[0][d];
            from += rest % nd->dims[d] * nd->strides[1][d];
            rest /= nd->dims[d];
        }
        const void *x = rf_nd_at(job->x->data, from, x_bf16 ? 2 : 4);
        void *y = rf_nd_at(job->y->data, to, y_bf16 ? 2 : 4);
        if (job->columns == 1) {
            rf_nd_fetch(block, x, x_bf16, 1, 0, job->n, job->x_stride);
            softmax_row(block, job->n, job->log);
            rf_nd_store(y, y_bf16, block, 1, 0, job->n, job->y_stride);
            continue;
        }
        for (int64_t i = 0; i < job->n; i++) {
            float *row = block + i * COLUMNS;
            rf_nd_fetch(row, rf_nd_at(x, i * job->x_stride, x_bf16 ? 2 : 4), x_bf16, 1, 0, cols, 1);
            memset(row + cols, 0, (size_t)(COLUMNS - cols) * sizeof *row);
        }
        softmax_columns(block, job->n, job->log);
        for (int64_t i = 0; i < job->n; i++)
            rf_nd_store(rf_nd_at(y, i * job->y_stride, y_bf16 ? 2 : 4), y_bf16, block + i * COLUMNS,
                        1, 0, cols, 1);
    }
}

static void plan(const rf_op_args *args, softmax_job *job)
{
    const rf_softmax_attrs *attrs = &args->attrs->softmax;
    const rf_tensor *x = args->in[0], *y = args->out[0];
    int axis = rf_normal_axis(attrs->axis, x->rank);
    *job = (softmax_job){.x = x, .y = y, .n = x->dims[axis], .log = attrs->log};
    job->x_stride = x->strides[axis];
    job->y_stride = y->strides[axis];
    int64_t dims[RF_MAX_RANK];
    for (int i = 0; i < x->rank; i++)
        dims[i] = i == axis ? 1 : x->dims[i];
    rf_nd_init(&job->nd, x->rank, dims);
    rf_nd_operand(&job->nd, x->rank, dims, y->strides);
    rf_nd_operand(&job->nd, x->rank, dims, x->strides);
    rf_nd_order(&job->nd);
    bool dense = job->nd.strides[0][0] == 1 && job->nd.strides[1][0] == 1;
    job->columns = dense && job->nd.dims[0] > 1 ? COLUMNS : 1;
}

static bool can_softmax(const rf_kernel_desc *desc)
{
    return rf_cpu_is_float(desc->args.in[0]->dtype) && rf_cpu_is_float(desc->args.out[0]->dtype);
}

static size_t scratch_softmax(const rf_kernel_desc *desc)
{
    softmax_job job;
    plan(&desc->args, &job);
    return (size_t)(job.n * job.columns * desc->n_threads) * sizeof(float);
}

static rf_status run_softmax(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    int64_t n = rf_tensor_elements(call->args.in[0]);
    if (n == 0)
        return RF_OK;
    softmax_job job;
    plan(&call->args, &job);
    job.scratch = call->scratch;
    int64_t units = rf_nd_ceil_div(job.nd.dims[0], job.columns);
    for (int d = 1; d < job.nd.rank; d++)
        units *= job.nd.dims[d];
    rf_parallel_for(rf_nd_threads(call->n_threads, n), units, 1, softmax_range, &job);
    return RF_OK;
}

static const rf_kernel softmax_row_ = {
    .op = RF_OP_SOFTMAX,
    .name = "softmax",
    .why = "f32 or bf16",
    .can = can_softmax,
    .scratch = scratch_softmax,
    .run = run_softmax,
    .in_place = 1,
};

const rf_kernel *const RF_CPU_ROWS(softmax)[] = {&softmax_row_, NULL};
