/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of CHANNEL_STATS. Both kinds of pass leave partial sums per channel, which stats_mean adds.
 */
#include "kernels/cuda/channel_stats.h"

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/rows.h"

enum { THREADS = RF_CUDA_STATS_THREADS, MAX_ROW_CHANNELS = 8 * 32 };

static const rf_tensor *in_y(const rf_op_args *args)
{
    return args->n_in > 1 ? args->in[1] : NULL;
}

static int64_t pixels_of(const rf_tensor *x)
{
    return x->dims[2] * x->dims[3];
}

static rf_cuda_stats_out out_of(const rf_kernel_call *call, int64_t parts)
{
    const rf_tensor *map = call->args.out[0];
    return (rf_cuda_stats_out){.map = map->data,
                               .map_n = map->strides[0],
                               .map_channel = map->strides[1],
                               .map_y = map->strides[2],
                               .map_x = map->strides[3],
                               .map_dtype = (int32_t)map->dtype,
                               .parts = (int32_t)parts,
                               .partial = call->scratch};
}

static rf_status launch_mean(const rf_kernel_call *call, int64_t parts, rf_error *err)
{
    const rf_tensor *x = call->args.in[0], *mean = call->args.out[1];
    rf_cuda_stats_mean_params p = {.partial = call->scratch,
                                   .mean = mean->data,
                                   .mean_n = mean->strides[0],
                                   .mean_c = mean->strides[1],
                                   .pixels = pixels_of(x),
                                   .mean_dtype = (int32_t)mean->dtype,
                                   .c = (int32_t)x->dims[1],
                                   .parts = (int32_t)parts};
    dim3 grid = {(unsigned)((x->dims[1] + 31) / 32 * x->dims[0]), 1, 1};
    return rf_cuda_launch(call, &rf_cuda_channel_stats_entries[RF_CUDA_STATS_MEAN], grid,
                          (dim3){32 * RF_CUDA_STATS_SLICES, 1, 1},
                          32 * RF_CUDA_STATS_SLICES * sizeof(double), &p, err);
}

/* --- NHWC rows -------------------------------------------------------------------------------- */

typedef struct rows_plan {
    int32_t lanes_log2, per_block;
    int64_t parts;
} rows_plan;

/* From the shape alone, so that every device adds in the same order. */
static rows_plan plan_rows(const rf_tensor *x)
{
    rows_plan plan = {0};
    while (8 << plan.lanes_log2 < x->dims[1])
        plan.lanes_log2++;
    int64_t unit = (THREADS >> plan.lanes_log2) * RF_CUDA_STATS_UNROLL;
    int64_t units = (pixels_of(x) + unit - 1) / unit;
    plan.per_block = (int32_t)((units + RF_CUDA_STATS_MAX_PARTS - 1) / RF_CUDA_STATS_MAX_PARTS);
    plan.parts = (units + plan.per_block - 1) / plan.per_block;
    return plan;
}

static bool rows_can(const rf_kernel_desc *d)
{
    const rf_op_args *args = &d->args;
    const rf_tensor *x = args->in[0], *y = in_y(args), *map = args->out[0];
    const rf_tensor *images[] = {x, y, y ? args->out[2] : NULL};
    if (x->dims[1] % 8 || x->dims[1] > MAX_ROW_CHANNELS || !rf_cuda_same_float(images, 3) ||
        !rf_cuda_is_float(map) || !rf_cuda_is_float(args->out[1]))
        return false;
    for (int i = 0; i < 3; i++)
        if (images[i] && !rf_tensor_is_nhwc(images[i]))
            return false;
    return map->dims[2] == 1 || map->strides[2] == map->dims[3] * map->strides[3];
}

static size_t rows_scratch(const rf_kernel_desc *d)
{
    const rf_tensor *x = d->args.in[0];
    return (size_t)(x->dims[0] * plan_rows(x).parts * x->dims[1]) * sizeof(float);
}

static rf_status rows_run(const rf_kernel_call *call, rf_error *err)
{
    const rf_tensor *x = call->args.in[0], *y = in_y(&call->args);
    rows_plan plan = plan_rows(x);
    rf_cuda_stats_rows_params p = {.x = x->data,
                                   .y = y ? y->data : NULL,
                                   .sum = y ? call->args.out[2]->data : NULL,
                                   .pixels = pixels_of(x),
                                   .c = (int32_t)x->dims[1],
                                   .lanes_log2 = plan.lanes_log2,
                                   .per_block = plan.per_block,
                                   .out = out_of(call, plan.parts)};
    int entry = x->dtype == RF_F32   ? RF_CUDA_STATS_ROWS_F32
                : x->dtype == RF_F16 ? RF_CUDA_STATS_ROWS_F16
                                     : RF_CUDA_STATS_ROWS_BF16;
    dim3 grid = {(unsigned)(x->dims[0] * plan.parts), 1, 1};
    RF_TRY(rf_cuda_launch(call, &rf_cuda_channel_stats_entries[entry], grid, (dim3){THREADS, 1, 1},
                          (size_t)(THREADS / 32 * 8 << plan.lanes_log2) * sizeof(float), &p, err));
    return launch_mean(call, plan.parts, err);
}

static const rf_kernel rows = {
    .op = RF_OP_CHANNEL_STATS,
    .name = "channel_stats_rows",
    .why = "NHWC, up to 256 channels in groups of 8",
    .can = rows_can,
    .scratch = rows_scratch,
    .run = rows_run,
};

/* --- any strides ------------------------------------------------------------------------------ */

static int64_t chunks_of(const rf_tensor *x)
{
    return (pixels_of(x) + RF_CUDA_STATS_CHUNK - 1) / RF_CUDA_STATS_CHUNK;
}

static bool any_can(const rf_kernel_desc *d)
{
    for (int i = 0; i < d->args.n_in; i++)
        if (!rf_cuda_is_float(d->args.in[i]))
            return false;
    for (int i = 0; i < d->args.n_out; i++)
        if (!rf_cuda_is_float(d->args.out[i]))
            return false;
    return true;
}

static size_t any_scratch(const rf_kernel_desc *d)
{
    const rf_tensor *x = d->args.in[0];
    return (size_t)(x->dims[0] * chunks_of(x) * x->dims[1]) * sizeof(float);
}

static rf_cuda_stats_tensor tensor_of(const rf_tensor *t)
{
    rf_cuda_stats_tensor r = {.data = t->data, .dtype = (int32_t)t->dtype};
    for (int i = 0; i < 4; i++)
        r.strides[i] = t->strides[i];
    return r;
}

static rf_status any_run(const rf_kernel_call *call, rf_error *err)
{
    const rf_tensor *x = call->args.in[0], *y = in_y(&call->args);
    int64_t parts = chunks_of(x), warps = THREADS / 32;
    rf_cuda_stats_any_params p = {.x = tensor_of(x),
                                  .n = x->dims[0],
                                  .pixels = pixels_of(x),
                                  .w = x->dims[3],
                                  .c = (int32_t)x->dims[1],
                                  .out = out_of(call, parts)};
    if (y) {
        p.y = tensor_of(y);
        p.sum = tensor_of(call->args.out[2]);
    }
    dim3 grid = {(unsigned)((x->dims[0] * parts + warps - 1) / warps), 1, 1};
    RF_TRY(rf_cuda_launch(call, &rf_cuda_channel_stats_entries[RF_CUDA_STATS_ANY], grid,
                          (dim3){THREADS, 1, 1}, 0, &p, err));
    return launch_mean(call, parts, err);
}

static const rf_kernel any = {
    .op = RF_OP_CHANNEL_STATS,
    .name = "channel_stats",
    .why = "any strides and float dtypes",
    .can = any_can,
    .scratch = any_scratch,
    .run = any_run,
};

const rf_kernel *const rf_cuda_rows_channel_stats[] = {&rows, &any, NULL};
