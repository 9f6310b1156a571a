/* SPDX-License-Identifier: Apache-2.0
 *
 * Reductions over any set of axes. The nest is ordered by the memory of x; then either
 *   the innermost dim is reduced: rows are folded into one number each (per-pixel means in NHWC,
 *   global means in NCHW), or
 *   the innermost dim is kept: rows are folded into a row of columns (global means in NHWC).
 * Runs of at most CHUNK elements (or ROW_RUN rows) are summed in f32, everything above in f64, so
 * the error does not grow with the size. Few outputs of many elements are cut into parts by shape
 * alone: the result does not depend on the number of threads.
 */
#include "kernels/cpu/reduce.h"
#include "kernels/cpu/vecmath.h"
#include "runtime/base/half.h"
#include "runtime/core/shape/normal.h"

#include <math.h>

enum { CHUNK = 4096, ROW_RUN = 64, TILE = 256, MAX_PARTS = 64, PART_ELEMENTS = 32768 };

typedef struct reduce_job {
    const rf_cpu_reduction *r;
    rf_nd nd; /* operand 0: x, 1: out and centre */
    bool inner_reduced, bf16;
    int64_t kept_run; /* outputs of one unit: rows (of dim 1) or columns (of dim 0) */
    int64_t n_units;  /* runs of outputs */
    int64_t n_steps;  /* chunks or rows that one output needs */
    int64_t n_chunks; /* of a row, if the innermost dim is reduced */
    int64_t n_parts, n_out, count;
    int kept_dim;    /* the dim that kept_run cuts, or -1 */
    double *partial; /* [part][unit][TILE] */
} reduce_job;

static bool is_reduced(const reduce_job *job, int d)
{
    return job->nd.strides[1][d] == 0;
}

static double identity(rf_reduce_kind kind)
{
    return kind == RF_REDUCE_MAX    ? -INFINITY
           : kind == RF_REDUCE_MIN  ? INFINITY
           : kind == RF_REDUCE_PROD ? 1
                                    : 0;
}

static double combine(rf_reduce_kind kind, double a, double b)
{
    switch (kind) {
    case RF_REDUCE_MAX:
        return a != a || a > b ? a : b;
    case RF_REDUCE_MIN:
        return a != a || a < b ? a : b;
    case RF_REDUCE_PROD:
        return a * b;
    default:
        return a + b;
    }
}

static double finish(rf_reduce_kind kind, double a, int64_t count)
{
    return kind == RF_REDUCE_MEAN ? a / (double)count : kind == RF_REDUCE_L2 ? sqrt(a) : a;
}

#define BODY static inline __attribute__((always_inline))

BODY vf accumulate(rf_reduce_kind kind, vf acc, vf x, vf centre)
{
    switch (kind) {
    case RF_REDUCE_MAX:
        return vmax_nan(acc, x);
    case RF_REDUCE_MIN:
        return vmin_nan(acc, x);
    case RF_REDUCE_PROD:
        return acc * x;
    case RF_REDUCE_L2:
    case RF_REDUCE_SUMSQ:
        x -= centre;
        return acc + x * x;
    default:
        return acc + x;
    }
}

/* One number of n dense elements. */
BODY double fold_row(rf_reduce_kind kind, const void *p, bool bf16, int64_t n, float centre)
{
    if (kind == RF_REDUCE_PROD) { /* leaves the range of f32 too easily */
        double r = 1;
        for (int64_t i = 0; i < n; i++)
            r *= (double)(bf16 ? rf_bf16_to_f32(((const uint16_t *)p)[i]) : ((const float *)p)[i]);
        return r;
    }
    const vf c = vset1(centre), start = vset1((float)identity(kind));
    vf acc[4] = {start, start, start, start};
    int64_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL)
        for (int k = 0; k < 4; k++)
            acc[k] = accumulate(kind, acc[k], vload_as(p, i + k * VL, bf16), c);
    for (; i + VL <= n; i += VL)
        acc[0] = accumulate(kind, acc[0], vload_as(p, i, bf16), c);
    if (i < n) { /* lanes beyond the end must not change the result */
        int part = (int)(n - i);
        vf next = accumulate(kind, acc[1], vload_part_as(p, i, bf16, part), c);
        acc[1] = vselect(vlanes() < part, next, acc[1]);
    }
    if (kind != RF_REDUCE_MAX && kind != RF_REDUCE_MIN)
        return (double)vsum((acc[0] + acc[1]) + (acc[2] + acc[3]));
    vf all = accumulate(kind, accumulate(kind, acc[0], acc[1], c),
                        accumulate(kind, acc[2], acc[3], c), c);
    if (vany_nan(all))
        return (double)NAN;
    return (double)(kind == RF_REDUCE_MAX ? vhmax(all) : vhmin(all));
}

/* Folds each of `rows` rows into acc[row]. */
BODY void fold_rows(rf_reduce_kind kind, const void *p, bool bf16, int64_t rows, int64_t row_stride,
                    int64_t n, const float *centre, int64_t centre_stride, double *acc)
{
    for (int64_t r = 0; r < rows; r++) {
        const void *row = rf_nd_at(p, r * row_stride, bf16 ? 2 : 4);
        double v = fold_row(kind, row, bf16, n, centre ? centre[r * centre_stride] : 0);
        acc[r] = combine(kind, acc[r], v);
    }
}

/* Folds all rows into a row of up to TILE columns, WIDE vectors of columns at a time. */
enum { WIDE = 4 };
BODY void fold_columns(rf_reduce_kind kind, const void *p, bool bf16, int64_t rows,
                       int64_t row_stride, int64_t cols, const float *centre, double *acc)
{
    const vf start = vset1((float)identity(kind));
    for (int64_t col = 0; col < cols; col += WIDE * VL) {
        int n = cols - col < WIDE * VL ? (int)(cols - col) : WIDE * VL;
        int full = n / VL, part = n % VL;
        vf a[WIDE + 1] = {start, start, start, start, start}, c[WIDE + 1] = {{0}};
        if (centre) {
            for (int k = 0; k < full; k++)
                c[k] = vload(centre + col + k * VL);
            if (part)
                c[full] = vload_part(centre + col + full * VL, part);
        }
        if (full == WIDE)
            for (int64_t r = 0; r < rows; r++)
                for (int k = 0; k < WIDE; k++)
                    a[k] = accumulate(kind, a[k], vload_as(p, r * row_stride + col + k * VL, bf16),
                                      c[k]);
        else
            for (int64_t r = 0; r < rows; r++) {
                int64_t at = r * row_stride + col;
                for (int k = 0; k < full; k++)
                    a[k] = accumulate(kind, a[k], vload_as(p, at + k * VL, bf16), c[k]);
                if (part)
                    a[full] = accumulate(kind, a[full],
                                         vload_part_as(p, at + full * VL, bf16, part), c[full]);
            }
        float sums[(WIDE + 1) * VL];
        for (int k = 0; k <= WIDE; k++)
            vstore(sums + k * VL, a[k]);
        for (int i = 0; i < n; i++)
            acc[col + i] = combine(kind, acc[col + i], (double)sums[i]);
    }
}

/* One copy of the two bodies per storage and kind of accumulation. */
#define FOLDS(NAME, KIND, BF16)                                                                    \
    static void rows_##NAME(const void *p, int64_t rows, int64_t row_stride, int64_t n,            \
                            const float *centre, int64_t centre_stride, double *acc)               \
    {                                                                                              \
        fold_rows(KIND, p, BF16, rows, row_stride, n, centre, centre_stride, acc);                 \
    }                                                                                              \
    static void columns_##NAME(const void *p, int64_t rows, int64_t row_stride, int64_t n,         \
                               const float *centre, int64_t centre_stride, double *acc)            \
    {                                                                                              \
        (void)centre_stride;                                                                       \
        fold_columns(KIND, p, BF16, rows, row_stride, n, centre, acc);                             \
    }
typedef void fold_fn(const void *p, int64_t rows, int64_t row_stride, int64_t n,
                     const float *centre, int64_t centre_stride, double *acc);
FOLDS(sum_f32, RF_REDUCE_SUM, false)
FOLDS(sum_bf16, RF_REDUCE_SUM, true)
FOLDS(sumsq_f32, RF_REDUCE_SUMSQ, false)
FOLDS(sumsq_bf16, RF_REDUCE_SUMSQ, true)
FOLDS(max_f32, RF_REDUCE_MAX, false)
FOLDS(max_bf16, RF_REDUCE_MAX, true)
FOLDS(min_f32, RF_REDUCE_MIN, false)
FOLDS(min_bf16, RF_REDUCE_MIN, true)
FOLDS(prod_f32, RF_REDUCE_PROD, false)
FOLDS(prod_bf16, RF_REDUCE_PROD, true)
#define FOLD_SET(NAME)                                                                             \
    {                                                                                              \
        {rows_##NAME##_f32, columns_##NAME##_f32},                                                 \
        {                                                                                          \
            rows_##NAME##_bf16, columns_##NAME##_bf16                                              \
        }                                                                                          \
    }
static fold_fn *const folds[][2][2] = {
    [RF_REDUCE_SUM] = FOLD_SET(sum),     [RF_REDUCE_MEAN] = FOLD_SET(sum),
    [RF_REDUCE_MAX] = FOLD_SET(max),     [RF_REDUCE_MIN] = FOLD_SET(min),
    [RF_REDUCE_PROD] = FOLD_SET(prod),   [RF_REDUCE_L2] = FOLD_SET(sumsq),
    [RF_REDUCE_SUMSQ] = FOLD_SET(sumsq),
};

/* --- the nest -----------------------------------------------------------------------------------
 */

/* Rows that are folded in f32 at a time. */
static int64_t row_run(const reduce_job *job)
{
    return job->r->kind == RF_REDUCE_PROD ? 1 : ROW_RUN;
}

static void plan(const rf_cpu_reduction *r, reduce_job *job)
{
    const rf_tensor *x = r->x;
    *job =
        (reduce_job){.r = r, .bf16 = x->dtype == RF_BF16, .n_out = 1, .count = 1, .kept_dim = -1};
    rf_nd *nd = &job->nd;
    int64_t out_strides[RF_MAX_RANK], out_dims[RF_MAX_RANK];
    for (int i = 0; i < x->rank; i++) {
        out_dims[i] = r->reduced[i] ? 1 : x->dims[i];
        out_strides[i] = r->out_strides[i];
        job->n_out *= out_dims[i];
        job->count *= r->reduced[i] ? x->dims[i] : 1;
    }
    rf_nd_init(nd, x->rank, x->dims);
    rf_nd_operand(nd, x->rank, x->dims, x->strides);
    rf_nd_operand(nd, x->rank, out_dims, out_strides);
    rf_nd_order(nd);
    job->inner_reduced = is_reduced(job, 0);
    job->n_chunks = job->inner_reduced ? rf_nd_ceil_div(nd->dims[0], CHUNK) : 1;
    job->n_steps = job->n_chunks;
    job->n_units = 1;
    int kept_dim = job->inner_reduced ? 1 : 0;
    if (!is_reduced(job, kept_dim))
        job->kept_dim = kept_dim;
    for (int d = job->inner_reduced; d < nd->rank; d++) {
        if (d == job->kept_dim)
            job->n_units *= rf_nd_ceil_div(nd->dims[d], TILE);
        else if (is_reduced(job, d))
            job->n_steps *= nd->dims[d];
        else
            job->n_units *= nd->dims[d];
    }
    job->kept_run = job->kept_dim < 0 || nd->dims[kept_dim] < 1 ? 1
                    : nd->dims[kept_dim] < TILE                 ? nd->dims[kept_dim]
                                                                : TILE;
    int64_t parts = job->n_units >= 16 ? 1 : job->n_out * job->count / PART_ELEMENTS / job->n_units;
    parts = parts > MAX_PARTS ? MAX_PARTS : parts;
    parts = parts > job->n_steps ? job->n_steps : parts;
    job->n_parts = parts < 1 ? 1 : parts;
}

/* Offset in x of outer reduced position `i` (dims above 0, lowest first). */
static int64_t reduced_offset(const reduce_job *job, int64_t i)
{
    int64_t offset = 0;
    for (int d = 1; d < job->nd.rank; d++)
        if (is_reduced(job, d)) {
            offset += i % job->nd.dims[d] * job->nd.strides[0][d];
            i /= job->nd.dims[d];
        }
    return offset;
}

static void fold_steps(const reduce_job *job, const char *x, const float *centre, int64_t run,
                       int64_t begin, int64_t end, double *acc)
{
    const rf_nd *nd = &job->nd;
    size_t bytes = job->bf16 ? 2 : 4;
    fold_fn *fold = folds[job->r->kind][job->bf16][!job->inner_reduced];
    if (job->inner_reduced) {
        for (int64_t s = begin; s < end; s++) {
            int64_t first = s % job->n_chunks * CHUNK, n = nd->dims[0] - first;
            int64_t offset = first + reduced_offset(job, s / job->n_chunks);
            fold(rf_nd_at(x, offset, bytes), run, nd->strides[0][1], n < CHUNK ? n : CHUNK, centre,
                 nd->strides[1][1], acc);
        }
        return;
    }
    int inner = 1;
    while (inner < nd->rank - 1 && !is_reduced(job, inner))
        inner++;
    for (int64_t s = begin, rows; s < end; s += rows) {
        rows = nd->dims[inner] - s % nd->dims[inner];
        rows = rows > row_run(job) ? row_run(job) : rows;
        rows = rows > end - s ? end - s : rows;
        fold(rf_nd_at(x, reduced_offset(job, s), bytes), rows, nd->strides[0][inner], run, centre,
             0, acc);
    }
}

/* Where a unit lies: offsets in x and out; returns how many outputs it has. */
static int64_t locate(const reduce_job *job, int64_t unit, int64_t *x_offset, int64_t *out_offset)
{
    const rf_nd *nd = &job->nd;
    int64_t run = 1;
    *x_offset = *out_offset = 0;
    for (int d = job->inner_reduced; d < nd->rank; d++) {
        int64_t i;
        if (d == job->kept_dim) {
            int64_t n_tiles = rf_nd_ceil_div(nd->dims[d], TILE);
            i = unit % n_tiles * TILE;
            unit /= n_tiles;
            run = nd->dims[d] - i < TILE ? nd->dims[d] - i : TILE;
        } else if (is_reduced(job, d)) {
            continue;
        } else {
            i = unit % nd->dims[d];
            unit /= nd->dims[d];
        }
        *x_offset += i * nd->strides[0][d];
        *out_offset += i * nd->strides[1][d];
    }
    return run;
}

static void write_run(const reduce_job *job, const double *acc, int64_t run, int64_t out_offset)
{
    const rf_cpu_reduction *r = job->r;
    int64_t stride = job->kept_dim < 0 ? 0 : job->nd.strides[1][job->kept_dim];
    if (r->out_dtype == RF_F64) {
        for (int64_t i = 0; i < run; i++)
            ((double *)r->out)[out_offset + i * stride] = finish(r->kind, acc[i], job->count);
        return;
    }
    float row[TILE];
    for (int64_t i = 0; i < run; i++)
        row[i] = (float)finish(r->kind, acc[i], job->count);
    bool bf16 = r->out_dtype == RF_BF16;
    rf_nd_store(rf_nd_at(r->out, out_offset, bf16 ? 2 : 4), bf16, row, 1, 0, run, stride);
}

static void reduce_range(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const reduce_job *job = ctx;
    double acc[TILE];
    for (int64_t item = begin; item < end; item++) {
        int64_t unit = item / job->n_parts, part = item % job->n_parts, x_offset, out_offset;
        int64_t run = locate(job, unit, &x_offset, &out_offset);
        for (int64_t i = 0; i < run; i++)
            acc[i] = identity(job->r->kind);
        fold_steps(job, rf_nd_at(job->r->x->data, x_offset, job->bf16 ? 2 : 4),
                   job->r->centre ? job->r->centre + out_offset : NULL, run,
                   job->n_steps * part / job->n_parts, job->n_steps * (part + 1) / job->n_parts,
                   acc);
        if (job->n_parts == 1)
            write_run(job, acc, run, out_offset);
        else
            memcpy(job->partial + item * TILE, acc, (size_t)run * sizeof *acc);
    }
}

size_t rf_cpu_reduce_scratch(const rf_cpu_reduction *reduction)
{
    reduce_job job;
    plan(reduction, &job);
    return job.n_parts == 1 ? 0 : (size_t)(job.n_units * job.n_parts) * TILE * sizeof(double);
}

void rf_cpu_reduce(const rf_cpu_reduction *reduction, int n_threads, void *scratch)
{
    reduce_job job;
    plan(reduction, &job);
    job.partial = scratch;
    rf_parallel_for(rf_nd_threads(n_threads, job.n_out * job.count), job.n_units * job.n_parts, 1,
                    reduce_range, &job);
    if (job.n_parts == 1)
        return;
    for (int64_t unit = 0; unit < job.n_units; unit++) {
        int64_t x_offset, out_offset, run = locate(&job, unit, &x_offset, &out_offset);
        double *sum = job.partial + unit * job.n_parts * TILE;
        for (int64_t part = 1; part < job.n_parts; part++)
            for (int64_t i = 0; i < run; i++)
                sum[i] = combine(reduction->kind, sum[i], sum[part * TILE + i]);
        write_run(&job, sum, run, out_offset);
    }
}

/* --- the op -------------------------------------------------------------------------------------
 */

static void describe_op(const rf_op_args *args, rf_cpu_reduction *r)
{
    const rf_reduce_attrs *attrs = &args->attrs->reduce;
    const rf_tensor *x = args->in[0], *y = args->out[0];
    *r = (rf_cpu_reduction){.kind = attrs->kind, .x = x, .out = y->data, .out_dtype = y->dtype};
    uint32_t mask = rf_normal_reduce(attrs, x->rank);
    for (int i = 0; i < x->rank; i++)
        r->reduced[i] = mask >> i & 1;
    for (int i = 0, k = 0; i < x->rank; i++) {
        if (attrs->keepdims)
            r->out_strides[i] = y->strides[i];
        else if (!r->reduced[i])
            r->out_strides[i] = y->strides[k++];
    }
}

static bool can_reduce(const rf_kernel_desc *desc)
{
    const rf_tensor *x = desc->args.in[0], *y = desc->args.out[0];
    if (!rf_cpu_is_float(x->dtype) || !rf_cpu_is_float(y->dtype) || rf_tensor_elements(x) == 0)
        return false;
    rf_cpu_reduction r;
    reduce_job job;
    describe_op(&desc->args, &r);
    plan(&r, &job);
    return job.nd.strides[0][0] == 1 || job.nd.dims[0] == 1;
}

static size_t scratch_reduce(const rf_kernel_desc *desc)
{
    rf_cpu_reduction r;
    describe_op(&desc->args, &r);
    return rf_cpu_reduce_scratch(&r);
}

static rf_status run_reduce(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    rf_cpu_reduction r;
    describe_op(&call->args, &r);
    rf_cpu_reduce(&r, call->n_threads, call->scratch);
    return RF_OK;
}

static const rf_kernel reduce_row = {
    .op = RF_OP_REDUCE,
    .name = "reduce",
    .why = "f32 or bf16, dense in memory",
    .can = can_reduce,
    .scratch = scratch_reduce,
    .run = run_reduce,
};

const rf_kernel *const RF_CPU_ROWS(reduce)[] = {&reduce_row, NULL};
