/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of pooling.
 */
#include "kernels/cuda/pool.h"

#include "kernels/cuda/rows.h"

#include <string.h>

enum { THREADS = 256 };

static bool can(const rf_kernel_desc *d)
{
    return rf_cuda_is_float(d->args.in[0]) && rf_cuda_is_float(d->args.out[0]);
}

static bool can_vector(const rf_kernel_desc *d)
{
    return can(d) && rf_cuda_image_vector(d->args.in[0], d->args.out[0]);
}

/* n: channels per thread. */
static rf_status launch(const rf_kernel_call *call, int n, rf_error *err)
{
    const rf_pool2d_attrs *a = &call->args.attrs->pool2d;
    const rf_tensor *y = call->args.out[0];
    rf_cuda_pool_params p = {
        .x = rf_cuda_image_of(call->args.in[0]),
        .y = rf_cuda_image_of(y),
        .is_max = a->kind == RF_POOL_MAX,
        .include_pad = a->count_include_pad,
    };
    memcpy(p.kernel, a->kernel, sizeof p.kernel);
    memcpy(p.stride, a->stride, sizeof p.stride);
    memcpy(p.dilation, a->dilation, sizeof p.dilation);
    memcpy(p.pad, a->pad, sizeof p.pad);
    int entry = n == 8 ? RF_CUDA_POOL_8 : n == 4 ? RF_CUDA_POOL_4 : RF_CUDA_POOL_1;
    return rf_cuda_launch(call, &rf_cuda_pool_entries[entry],
                          rf_cuda_grid(call, rf_tensor_elements(y) / n, THREADS),
                          (dim3){THREADS, 1, 1}, 0, &p, err);
}

static rf_status run_vector(const rf_kernel_call *call, rf_error *err)
{
    return launch(call, rf_cuda_image_vector(call->args.in[0], call->args.out[0]), err);
}
static rf_status run(const rf_kernel_call *call, rf_error *err)
{
    return launch(call, 1, err);
}

static const rf_kernel pool_vector = {
    .op = RF_OP_POOL2D,
    .name = "pool_vector",
    .why = "NHWC: 16 bytes of channels per thread",
    .can = can_vector,
    .run = run_vector,
};
static const rf_kernel pool = {
    .op = RF_OP_POOL2D,
    .name = "pool",
    .why = "any strides and float dtypes",
    .can = can,
    .run = run,
};

const rf_kernel *const rf_cuda_rows_pool[] = {&pool_vector, &pool, NULL};
