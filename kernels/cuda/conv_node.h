/* SPDX-License-Identifier: Apache-2.0
 *
 * Host side of all convolution rows: a node as plain numbers, the questions that every `can` asks,
 * and the packing of weights and biases.
 */
#ifndef RF_CUDA_CONV_NODE_H
#define RF_CUDA_CONV_NODE_H

#include "kernels/cuda/conv.h"
#include "kernels/cuda/cuda.h"

/* A conv2d or conv_transpose2d node. ay and ax describe conv2d; of a transposed convolution they
 * hold its own stride, step = dilation and start = -pad, to be turned into phases. */
typedef struct rf_cuda_conv_node {
    const rf_tensor *x, *w, *b, *res, *y; /* b, res: may be NULL */
    int64_t n;
    int32_t groups, group_ic, group_oc, pad_mode;
    rf_cuda_conv_axis ay, ax;
    rf_cuda_act act;
    bool res_before;
} rf_cuda_conv_node;

/* Filter tap (ty, tx) of a window is w at (ky + ty * ky_step, kx + tx * kx_step). */
typedef struct rf_cuda_conv_filter {
    const rf_tensor *w;
    int64_t group_stride, o_stride, c_stride; /* elements */
    int32_t ky, ky_step, kx, kx_step;
} rf_cuda_conv_filter;

rf_cuda_conv_node rf_cuda_conv_node_of(const rf_op_args *args);
/* Everything float, and dims that fit an int. */
bool rf_cuda_conv_plain(const rf_cuda_conv_node *node);
/* Weights and bias (if any) can be packed in `prepare`. */
bool rf_cuda_conv_constant(const rf_cuda_conv_node *node);
/* t as the kernels see it; NULL gives an image without data. Strides of dims that are never stepped
 * over are those of a dense NHWC tensor if t counts as one. */
rf_cuda_conv_image rf_cuda_conv_image_of(const rf_tensor *t);
/* y, res, act of the node, `vectors` for channels in pieces of 16 bytes of y's dtype. The data
 * pointers are those of the tensors (NULL while planning; an absent res stays NULL). */
rf_cuda_conv_out rf_cuda_conv_out_of(const rf_cuda_conv_node *node);
/* The filter of a conv2d node. */
rf_cuda_conv_filter rf_cuda_conv_filter_of(const rf_cuda_conv_node *node);

/* Element `offset` of a float tensor in host memory. */
float rf_cuda_host_load(const rf_tensor *t, int64_t offset);
/* Stores v as element i of an array of this float dtype. */
void rf_cuda_host_store(void *data, rf_dtype dtype, int64_t i, float v);
/* The bias as f32 in device memory, every group padded with zeros to a multiple of `pad` channels;
 * *out NULL if the node has none. */
rf_status rf_cuda_conv_pack_bias(const rf_kernel_desc *desc, const rf_cuda_conv_node *node,
                                 int32_t pad, const float **out, rf_error *err);

#endif
