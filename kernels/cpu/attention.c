/* SPDX-License-Identifier: Apache-2.0
 *
 * Scaled dot-product attention without the matrix of scores: softmax is taken online over blocks of
 * keys (Milakov and Gimelshein, arXiv 1805.02867; Dao, arXiv 2205.14135).
 *
 * Everything is held transposed. Queries are packed as panels of PANEL columns, Q^T[d][query], so
 * that both products are a register block of rows read by broadcasts times such a panel:
 *   S^T[key][query] = K   Q^T   rows of K where they lie
 *   O^T[d][query]  += V^T P^T   columns of V where they lie, P^T = exp(S^T - max) as it was stored
 * Neither K nor V is packed (bf16 is widened, a block at a time), and maximum, sum and rescaling
 * work on whole vectors of queries, with no sum across a vector.
 *
 * A unit of work is a head and up to PANELS panels of its queries, which share each block of keys.
 * The result of a query depends on the blocks of keys only, never on the unit or thread it is in.
 */
#include "kernels/cpu/nd.h"
#include "kernels/cpu/vecmath.h"
#include "runtime/core/shape/normal.h"

#include <math.h>

#define NV 2
#define PANEL (NV * VL)
/* Rows of the register block: MR * NV sums hide the latency of an FMA; broadcasts stay below the
 * two loads per cycle. */
#if VL == 16
#define MR 8
#else
#define MR 4
#endif

enum { PANELS = 4, KEYS = 64 };

typedef struct attention_job {
    const rf_tensor *q, *k, *v, *bias, *y;
    int64_t depth, v_depth, n_queries, n_keys;
    int64_t hidden;                  /* causal: query i sees keys <= i + hidden; otherwise all */
    int64_t queries, units_per_head; /* queries of one unit */
    float scale;
    float *scratch;
    int64_t thread_floats;
} attention_job;

/* What one thread works in. */
typedef struct workspace {
    float *q, *o;     /* [panel][depth][PANEL] */
    float *max, *sum; /* [panel][PANEL] */
    float *p, *bias;  /* [KEYS][PANEL] */
    float *k, *v;     /* [KEYS][depth], for what cannot be read in place */
} workspace;

/* --- the products
 * -------------------------------------------------------------------------------- */

/* tile[i][j] (+)= sum over k of a[i * row + k * step] * panel[k][j]. */
static inline __attribute__((always_inline)) void block(const int mr, float *tile, const float *a,
                                                        int64_t row, int64_t step, int64_t n,
                                                        const float *panel, const bool keep)
{
    vf acc[MR][NV];
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int j = 0; j < NV; j++)
            acc[i][j] = keep ? vload(tile + i * PANEL + j * VL) : vset1(0);
    const float *b = a + 4 * row; /* rows are base + {0, 1, 2, 3} * row: few address registers */
    for (int64_t k = 0; k < n; k++, a += step, b += step, panel += PANEL) {
        vf p[NV];
#pragma GCC unroll 2
        for (int j = 0; j < NV; j++)
            p[j] = vload(panel + j * VL);
#pragma GCC unroll 8
        for (int i = 0; i < mr; i++) {
            vf x = vset1((i < 4 ? a : b)[i % 4 * row]);
#pragma GCC unroll 2
            for (int j = 0; j < NV; j++)
                acc[i][j] += x * p[j];
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int j = 0; j < NV; j++)
            vstore(tile + i * PANEL + j * VL, acc[i][j]);
}

/* tile[rows][PANEL] = K Q^T: the rows of K are `row` apart. */
static __attribute__((noinline)) void scores(float *tile, const float *k, int64_t rows, int64_t row,
                                             int64_t depth, const float *q)
{
    for (; rows >= MR; rows -= MR, k += MR * row, tile += MR * PANEL)
        block(MR, tile, k, row, 1, depth, q, false);
    if (MR == 8 && rows >= 4) {
        block(4, tile, k, row, 1, depth, q, false);
        rows -= 4, k += 4 * row, tile += 4 * PANEL;
    }
    for (; rows > 0; rows--, k += row, tile += PANEL)
        block(1, tile, k, row, 1, depth, q, false);
}

/* tile[depth][PANEL] += V^T P^T for n keys, `step` apart in V. */
static __attribute__((noinline)) void mix(float *tile, const float *v, int64_t depth, int64_t step,
                                          int64_t n, const float *p)
{
    for (; depth >= MR; depth -= MR, v += MR, tile += MR * PANEL)
        block(MR, tile, v, 1, step, n, p, true);
    if (MR == 8 && depth >= 4) {
        block(4, tile, v, 1, step, n, p, true);
        depth -= 4, v += 4, tile += 4 * PANEL;
    }
    for (; depth > 0; depth--, v++, tile += PANEL)
        block(1, tile, v, 1, step, n, p, true);
}

/* --- softmax
 * ------------------------------------------------------------------------------------- */

/* Hides the keys from `key` on that the queries from `query` on may not see. */
static void hide(const attention_job *job, float *p, int64_t key, int64_t n, int64_t query)
{
    const vf hidden = vset1(-INFINITY);
    for (int64_t i = 0; i < n; i++) {
        int64_t first = key + i - job->hidden - query; /* the first lane that sees this key */
        if (first <= 0)
            continue;
        for (int j = 0; j < NV; j++) {
            vi blind = vlanes() + j * VL < (int32_t)(first < PANEL ? first : PANEL);
            vstore(p + i * PANEL + j * VL, vselect(blind, hidden, vload(p + i * PANEL + j * VL)));
        }
    }
}

/* The bias of `n` keys and one panel of queries, added to the scores. */
static void add_bias(const attention_job *job, float *p, float *bias, int64_t at, int64_t key,
                     int64_t n, int64_t query, int64_t n_queries)
{
    const rf_tensor *b = job->bias;
    const int r = b->rank;
    int64_t key_stride = r >= 1 && b->dims[r - 1] != 1 ? b->strides[r - 1] : 0;
    int64_t query_stride = r >= 2 && b->dims[r - 2] != 1 ? b->strides[r - 2] : 0;
    const void *from = rf_nd_at(b->data, at + key * key_stride + query * query_stride,
                                b->dtype == RF_BF16 ? 2 : 4);
    rf_cpu_copy(1, 2, (int64_t[]){n, n_queries}, bias, RF_F32, (int64_t[]){PANEL, 1}, from,
                b->dtype, (int64_t[]){key_stride, query_stride});
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n_queries; j += VL) /* lanes beyond hold anything */
            vstore(p + i * PANEL + j, vload(p + i * PANEL + j) + vload(bias + i * PANEL + j));
}

/* p[n][PANEL] = exp(p - max) with the new maximum; older sums and outputs are scaled to it. */
static void accumulate(float *p, int64_t n, float *max, float *sum, float *o, int64_t depth)
{
    for (int j = 0; j < PANEL; j += VL) {
        vf old = vload(max + j), top = old;
        for (int64_t i = 0; i < n; i++)
            top = vmax(top, vload(p + i * PANEL + j));
        /* While nothing but -inf was seen there is no maximum to subtract. */
        vf shift = vselect(top == -INFINITY, vset1(0), top);
        vf fade = vexp(old - shift), s = vload(sum + j) * fade;
        for (int64_t i = 0; i < n; i++) {
            vf e = vexp(vload(p + i * PANEL + j) - shift);
            vstore(p + i * PANEL + j, e);
            s += e;
        }
        vstore(max + j, top);
        vstore(sum + j, s);
        /* Only if the maximum moved in some lane; the NaN of one query must not hide that. */
        if (vhmin(vselect(fade == fade, fade, vset1(0))) < 1)
            for (int64_t d = 0; d < depth; d++)
                vstore(o + d * PANEL + j, vload(o + d * PANEL + j) * fade);
    }
}

/* --- one unit
 * ------------------------------------------------------------------------------------ */

static bool is_bf16(const rf_tensor *t)
{
    return t->dtype == RF_BF16;
}

static void *head_of(const rf_tensor *t, int64_t n, int64_t h, int64_t row)
{
    return rf_nd_at(t->data, n * t->strides[0] + h * t->strides[1] + row * t->strides[2],
                    is_bf16(t) ? 2 : 4);
}

/* Rows of a head as dense floats `*stride` apart: in place if they are such. */
static const float *rows_of(const rf_tensor *t, int64_t n, int64_t h, int64_t row, int64_t rows,
                            float *buffer, int64_t *stride)
{
    const void *p = head_of(t, n, h, row);
    const int64_t depth = t->dims[3];
    if (!is_bf16(t) && (t->strides[3] == 1 || depth == 1)) {
        *stride = t->strides[2];
        return p;
    }
    *stride = depth;
    for (int64_t i = 0; i < rows; i++)
        rf_nd_fetch(buffer + i * depth, head_of(t, n, h, row + i), is_bf16(t), 1, 0, depth,
                    t->strides[3]);
    return buffer;
}

/* Q^T of `n` queries from `query` on, scaled; lanes beyond repeat nothing (zeros). */
static void pack_queries(const attention_job *job, const workspace *w, int64_t n0, int64_t h,
                         int64_t query, int64_t n)
{
    for (int64_t first = 0; first < n; first += PANEL) {
        float *panel = w->q + first * job->depth;
        int64_t cols = n - first < PANEL ? n - first : PANEL;
        if (cols < PANEL)
            memset(panel, 0, (size_t)(job->depth * PANEL) * sizeof *panel);
        rf_cpu_copy(1, 2, (int64_t[]){job->depth, cols}, panel, RF_F32, (int64_t[]){PANEL, 1},
                    head_of(job->q, n0, h, query + first), job->q->dtype,
                    (int64_t[]){job->q->strides[3], job->q->strides[2]});
        for (int64_t i = 0; i < job->depth * PANEL; i += VL)
            vstore(panel + i, vload(panel + i) * job->scale);
    }
    for (int64_t i = 0; i < (n + PANEL - 1) / PANEL * PANEL; i += VL) {
        vstore(w->max + i, vset1(-INFINITY));
        vstore(w->sum + i, vset1(0));
    }
    memset(w->o, 0, (size_t)((n + PANEL - 1) / PANEL * PANEL * job->v_depth) * sizeof *w->o);
}

static void store_outputs(const attention_job *job, const workspace *w, int64_t n0, int64_t h,
                          int64_t query, int64_t n)
{
    for (int64_t first = 0; first < n; first += PANEL) {
        float *o = w->o + first * job->v_depth;
        int64_t cols = n - first < PANEL ? n - first : PANEL;
        for (int j = 0; j < PANEL; j += VL) {
            vf scale = 1.0f / vload(w->sum + first + j);
            for (int64_t d = 0; d < job->v_depth; d++)
                vstore(o + d * PANEL + j, vload(o + d * PANEL + j) * scale);
        }
        rf_cpu_copy(1, 2, (int64_t[]){cols, job->v_depth}, head_of(job->y, n0, h, query + first),
                    job->y->dtype, (int64_t[]){job->y->strides[2], job->y->strides[3]}, o, RF_F32,
                    (int64_t[]){1, PANEL});
    }
}

static int64_t bias_offset(const rf_tensor *b, int64_t n, int64_t h)
{
    const int64_t at[2] = {n, h};
    int64_t offset = 0;
    for (int i = 0; b && i < b->rank - 2; i++)
        if (b->dims[i] != 1)
            offset += at[i + 4 - b->rank] * b->strides[i];
    return offset;
}

static void run_unit(const attention_job *job, const workspace *w, int64_t n0, int64_t h,
                     int64_t query)
{
    int64_t n = job->n_queries - query < job->queries ? job->n_queries - query : job->queries;
    int64_t kv = h / (job->q->dims[1] / job->k->dims[1]), k_step, v_step;
    int64_t seen = query + n + job->hidden; /* keys that the last query sees */
    seen = seen < job->n_keys ? seen : job->n_keys;
    pack_queries(job, w, n0, h, query, n);
    for (int64_t key = 0; key < seen; key += KEYS) {
        int64_t rows = seen - key < KEYS ? seen - key : KEYS;
        const float *k = rows_of(job->k, n0, kv, key, rows, w->k, &k_step);
        const float *v = rows_of(job->v, n0, kv, key, rows, w->v, &v_step);
        for (int64_t first = 0; first < n; first += PANEL) {
            int64_t cols = n - first < PANEL ? n - first : PANEL;
            /* Blocks of keys that no query of the panel sees would only be added as zeros. */
            if (key > query + first + cols - 1 + job->hidden)
                continue;
            scores(w->p, k, rows, k_step, job->depth, w->q + first * job->depth);
            if (job->bias)
                add_bias(job, w->p, w->bias, bias_offset(job->bias, n0, h), key, rows,
                         query + first, cols);
            if (key + rows - 1 > query + first + job->hidden)
                hide(job, w->p, key, rows, query + first);
            accumulate(w->p, rows, w->max + first, w->sum + first, w->o + first * job->v_depth,
                       job->v_depth);
            mix(w->o + first * job->v_depth, v, job->v_depth, v_step, rows, w->p);
        }
    }
    store_outputs(job, w, n0, h, query, n);
}

/* Carves the workspace out of `base`; returns the floats it takes. */
static int64_t carve(const attention_job *job, float *base, workspace *w)
{
    const int64_t sizes[] = {job->queries * job->depth,
                             job->queries * job->v_depth,
                             job->queries,
                             job->queries,
                             KEYS * PANEL,
                             job->bias ? KEYS * PANEL : 0,
                             KEYS * job->depth,
                             KEYS * job->v_depth};
    float **const parts[] = {&w->q, &w->o, &w->max, &w->sum, &w->p, &w->bias, &w->k, &w->v};
    int64_t at = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        *parts[i] = base + at;
        at += (sizes[i] + 15) / 16 * 16;
    }
    return at;
}

static void run_units(void *ctx, int64_t begin, int64_t end, int thread)
{
    const attention_job *job = ctx;
    workspace w;
    carve(job, job->scratch + thread * job->thread_floats, &w);
    for (int64_t u = begin; u < end; u++) {
        int64_t head = u / job->units_per_head, query = u % job->units_per_head * job->queries;
        run_unit(job, &w, head / job->q->dims[1], head % job->q->dims[1], query);
    }
}

/* --- the kernel
 * ---------------------------------------------------------------------------------- */

static attention_job job_of(const rf_op_args *args)
{
    const rf_attention_attrs *a = &args->attrs->attention;
    attention_job job = {.q = args->in[0],
                         .k = args->in[1],
                         .v = args->in[2],
                         .bias = args->n_in > 3 ? args->in[3] : NULL,
                         .y = args->out[0]};
    workspace w;
    job.depth = job.q->dims[3];
    job.v_depth = job.v->dims[3];
    job.n_queries = job.q->dims[2];
    job.n_keys = job.k->dims[2];
    job.hidden = a->causal ? job.n_keys - job.n_queries : job.n_keys;
    job.scale = (float)rf_normal_attention_scale(a, job.depth);
    int64_t panels = (job.n_queries + PANEL - 1) / PANEL;
    panels = panels < 1 ? 1 : panels < PANELS ? panels : PANELS;
    job.queries = panels * PANEL;
    job.units_per_head = (job.n_queries + job.queries - 1) / job.queries;
    job.thread_floats = carve(&job, NULL, &w);
    return job;
}

static bool can(const rf_kernel_desc *desc)
{
    for (int i = 0; i < desc->args.n_in; i++)
        if (desc->args.in[i] && !rf_cpu_is_float(desc->args.in[i]->dtype))
            return false;
    return rf_cpu_is_float(desc->args.out[0]->dtype);
}

static size_t scratch(const rf_kernel_desc *desc)
{
    return (size_t)(job_of(&desc->args).thread_floats * desc->n_threads) * sizeof(float);
}

static rf_status run(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    attention_job job = job_of(&call->args);
    int64_t units = job.q->dims[0] * job.q->dims[1] * job.units_per_head;
    job.scratch = call->scratch;
    int64_t work = rf_tensor_elements(job.q) * job.n_keys;
    rf_parallel_for(work < 1 << 15 ? 1 : call->n_threads, units, 1, run_units, &job);
    return RF_OK;
}

static const rf_kernel attention = {
    .op = RF_OP_ATTENTION,
    .name = "attention",
    .why = "online softmax, no matrix of scores",
    .can = can,
    .scratch = scratch,
    .run = run,
};

const rf_kernel *const RF_CPU_ROWS(attention)[] = {&attention, NULL};
