/* SPDX-License-Identifier: Apache-2.0
 *
 * Channel mean, channel maximum and global mean of an NHWC image in one pass over it, with an
 * optional sum x + y formed on the way: the input side of an attention block is bound by memory, so
 * each element is read once.
 *
 * VL pixels are reduced together: their sums are kept as one vector per pixel and transposed by a
 * tree of pair-wise adds, which costs about 3 instructions per pixel where a horizontal sum
 * costs 8. Global sums are float within a row (in pieces of VL / 2 pixels) and double across rows,
 * one row of partial sums per image row: the result does not depend on the number of threads.
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec.h"
#include "runtime/base/half.h"

/* Pixels whose sums and maxima fit in registers at once. */
#define GROUP (VL / 2)

typedef struct stats_run {
    const rf_kernel_call *call;
    float *sums; /* [N * H][C] */
    int64_t c, h, w;
} stats_run;

#if VL == 16
#define PICK(a, b, o)                                                                              \
    __builtin_shufflevector(a, b, o, 2 + o, 4 + o, 6 + o, 8 + o, 10 + o, 12 + o, 14 + o, 16 + o,   \
                            18 + o, 20 + o, 22 + o, 24 + o, 26 + o, 28 + o, 30 + o)
#elif VL == 8
#define PICK(a, b, o)                                                                              \
    __builtin_shufflevector(a, b, o, 2 + o, 4 + o, 6 + o, 8 + o, 10 + o, 12 + o, 14 + o)
#else
#define PICK(a, b, o) __builtin_shufflevector(a, b, o, 2 + o, 4 + o, 6 + o)
#endif

/* Lane i of the result: sum (maximum) over the lanes of v[i]. Overwrites v. */
static inline vf sum_each(vf *v)
{
#pragma GCC unroll 4
    for (int n = VL / 2; n > 0; n /= 2)
#pragma GCC unroll 8
        for (int i = 0; i < n; i++)
            v[i] = PICK(v[2 * i], v[2 * i + 1], 0) + PICK(v[2 * i], v[2 * i + 1], 1);
    return v[0];
}

static inline vf max_each(vf *v)
{
#pragma GCC unroll 4
    for (int n = VL / 2; n > 0; n /= 2)
#pragma GCC unroll 8
        for (int i = 0; i < n; i++)
            v[i] = vmax_nan(PICK(v[2 * i], v[2 * i + 1], 0), PICK(v[2 * i], v[2 * i + 1], 1));
    return v[0];
}

/* n <= GROUP pixels from element `at`: their channel sums and maxima as vectors, and their share of
 * the row's global sums. */
static inline __attribute__((always_inline)) void reduce_group(const void *x, const void *y,
                                                               void *sum, int64_t at, int64_t c,
                                                               int n, bool bf16, float *global,
                                                               vf *s, vf *m)
{
#pragma GCC unroll 8
    for (int p = 0; p < n; p++)
        s[p] = (vf){0}, m[p] = vset1(-__builtin_inff());
    for (int64_t k = 0; k + VL <= c; k += VL) {
        vf g = {0};
#pragma GCC unroll 8
        for (int p = 0; p < n; p++) {
            int64_t i = at + p * c + k;
            vf v = vload_as(x, i, bf16);
            if (y) {
                v += vload_as(y, i, bf16);
                vstore_as(sum, i, bf16, v);
            }
            g += v;
            s[p] += v;
            m[p] = vmax_nan(m[p], v);
        }
        vstore(global + k, vload(global + k) + g);
    }
}

/* The last channels of n pixels where they are no whole vector: lanes beyond are 0 in a sum and the
 * least in a maximum. */
static inline __attribute__((always_inline)) void reduce_rest(const void *x, const void *y,
                                                              void *sum, int64_t at, int64_t c,
                                                              int n, bool bf16, float *global,
                                                              vf *s, vf *m)
{
    const int rest = (int)(c % VL);
    const vi inside = vlanes() < rest;
    const vf least = vset1(-__builtin_inff());
    vf g = {0};
    global += c - rest;
    at += c - rest;
    for (int p = 0; p < n; p++, at += c) {
        vf v = vload_part_as(x, at, bf16, rest);
        if (y) {
            v += vload_part_as(y, at, bf16, rest);
            vstore_part_as(sum, at, bf16, v, rest);
        }
        g += v;
        s[p] += v;
        m[p] = vmax(m[p], vselect(inside, v, least));
    }
    vstore_part(global, vload_part(global, rest) + g, rest);
}

/* Writes n values of channel ch of the map, from pixel (b, row, col) on. */
static void put_map(const rf_tensor *map, int64_t b, int ch, int64_t row, int64_t col, vf v, int n)
{
    int64_t step = map->strides[3];
    int64_t at = b * map->strides[0] + ch * map->strides[1] + row * map->strides[2] + col * step;
    if (map->dtype == RF_F32 && step == 1 && n == VL)
        vstore((float *)map->data + at, v);
    else if (map->dtype == RF_F32)
        for (int i = 0; i < n; i++)
            ((float *)map->data)[at + i * step] = v[i];
    else
        for (int i = 0; i < n; i++)
            ((uint16_t *)map->data)[at + i * step] = rf_f32_to_bf16(v[i]);
}

static inline __attribute__((always_inline)) void reduce_row(const stats_run *run, int64_t row,
                                                             const void *y, bool bf16)
{
    const rf_op_args *args = &run->call->args;
    const rf_tensor *map = args->out[0];
    const void *x = args->in[0]->data;
    void *sum = y ? args->out[2]->data : NULL;
    float *global = run->sums + row * run->c;
    memset(global, 0, (size_t)run->c * sizeof *global);
    for (int64_t j = 0; j < run->w; j += VL) {
        int n = run->w - j < VL ? (int)(run->w - j) : VL;
        vf s[VL] = {{0}}, m[VL] = {{0}};
        int64_t at = (row * run->w + j) * run->c;
        if (n == VL) {
            reduce_group(x, y, sum, at, run->c, GROUP, bf16, global, s, m);
            reduce_group(x, y, sum, at + GROUP * run->c, run->c, GROUP, bf16, global, s + GROUP,
                         m + GROUP);
        } else
            for (int p = 0; p < n; p++)
                reduce_group(x, y, sum, at + p * run->c, run->c, 1, bf16, global, s + p, m + p);
        if (run->c % VL)
            reduce_rest(x, y, sum, at, run->c, n, bf16, global, s, m);
        vf mean = sum_each(s) / vset1((float)run->c);
        put_map(map, row / run->h, 0, row % run->h, j, mean, n);
        put_map(map, row / run->h, 1, row % run->h, j, max_each(m), n);
    }
}

static void reduce_rows(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const stats_run *run = ctx;
    const rf_op_args *args = &run->call->args;
    const void *y = args->n_in > 1 && args->in[1] ? args->in[1]->data : NULL;
    bool bf16 = args->in[0]->dtype == RF_BF16;
    for (int64_t row = begin; row < end; row++)
        if (bf16 && y)
            reduce_row(run, row, y, true);
        else if (bf16)
            reduce_row(run, row, NULL, true);
        else if (y)
            reduce_row(run, row, y, false);
        else
            reduce_row(run, row, NULL, false);
}

static rf_status stats_run_all(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_tensor *x = call->args.in[0], *gap = call->args.out[1];
    int64_t n = x->dims[0], c = x->dims[1], h = x->dims[2];
    stats_run run = {call, call->scratch, c, h, x->dims[3]};
    rf_parallel_for(call->n_threads, n * h, 1, reduce_rows, &run);
    double pixels = (double)h * (double)run.w;
    for (int64_t b = 0; b < n; b++)
        for (int64_t k = 0; k < c; k++) {
            double sum = 0;
            for (int64_t i = 0; i < h; i++)
                sum += (double)run.sums[(b * h + i) * c + k];
            float mean = (float)(sum / pixels);
            int64_t at = b * gap->strides[0] + k * gap->strides[1];
            if (gap->dtype == RF_F32)
                ((float *)gap->data)[at] = mean;
            else
                ((uint16_t *)gap->data)[at] = rf_f32_to_bf16(mean);
        }
    return RF_OK;
}

static bool stats_can(const rf_kernel_desc *desc)
{
    const rf_op_args *args = &desc->args;
    const rf_tensor *x = args->in[0], *y = args->n_in > 1 ? args->in[1] : NULL;
    if ((x->dtype != RF_F32 && x->dtype != RF_BF16) || !rf_tensor_is_nhwc(x) || !x->dims[1])
        return false;
    for (int i = 0; i < 2; i++)
        if (args->out[i]->dtype != RF_F32 && args->out[i]->dtype != RF_BF16)
            return false;
    return !y || (y->dtype == x->dtype && rf_tensor_is_nhwc(y) && args->out[2]->dtype == x->dtype &&
                  rf_tensor_is_nhwc(args->out[2]));
}

static size_t stats_scratch(const rf_kernel_desc *desc)
{
    const rf_tensor *x = desc->args.in[0];
    return (size_t)(x->dims[0] * x->dims[2] * x->dims[1]) * sizeof(float);
}

static const rf_kernel channel_stats = {
    .op = RF_OP_CHANNEL_STATS,
    .name = "channel_stats",
    .why = "one pass, NHWC",
    .can = stats_can,
    .scratch = stats_scratch,
    .run = stats_run_all,
};

const rf_kernel *const RF_CPU_ROWS(channel_stats)[] = {&channel_stats, NULL};
