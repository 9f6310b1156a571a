/* SPDX-License-Identifier: Apache-2.0
 *
 * The rows that take every convolution.
 */
#include "kernels/cuda/conv_direct.h"

#include "kernels/cuda/conv_node.h"
#include "kernels/cuda/rows.h"

enum { THREADS = 128 };

static bool can(const rf_kernel_desc *d)
{
    const rf_cuda_conv_node n = rf_cuda_conv_node_of(&d->args);
    return rf_cuda_conv_plain(&n);
}

static rf_status run(const rf_kernel_call *call, rf_error *err)
{
    const rf_cuda_conv_node n = rf_cuda_conv_node_of(&call->args);
    const rf_cuda_conv_direct_params p = {
        .ay = n.ay,
        .ax = n.ax,
        .x = rf_cuda_conv_image_of(n.x),
        .w = rf_cuda_conv_image_of(n.w),
        .out = rf_cuda_conv_out_of(&n),
        .bias = n.b ? n.b->data : NULL,
        .bias_stride = n.b ? n.b->strides[0] : 0,
        .bias_dtype = n.b ? (int32_t)n.b->dtype : 0,
        .elements = rf_tensor_elements(n.y),
        .oc = (int32_t)n.y->dims[1],
        .group_ic = n.group_ic,
        .group_oc = n.group_oc,
        .pad_mode = n.pad_mode,
        .channels_last = n.y->strides[1] < n.y->strides[3],
    };
    const int entry =
        call->args.op == RF_OP_CONV2D ? RF_CUDA_CONV_DIRECT : RF_CUDA_CONV_TRANSPOSE_DIRECT;
    return rf_cuda_launch(call, &rf_cuda_conv_direct_entries[entry],
                          rf_cuda_grid(call, p.elements, THREADS), (dim3){THREADS, 1, 1}, 0, &p,
                          err);
}

static const rf_kernel conv2d = {
    .op = RF_OP_CONV2D,
    .name = "direct",
    .why = "any convolution",
    .can = can,
    .run = run,
    .in_place = 1u << 3,
};

static const rf_kernel conv_transpose2d = {
    .op = RF_OP_CONV_TRANSPOSE2D,
    .name = "direct",
    .why = "any transposed convolution",
    .can = can,
    .run = run,
};

const rf_kernel *const rf_cuda_rows_conv_direct[] = {&conv2d, &conv_transpose2d, NULL};
