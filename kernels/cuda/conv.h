/* SPDX-License-Identifier: Apache-2.0
 *
 * What all convolution kernels are told: a convolution as one window per output pixel, tensors as
 * strided images. A transposed convolution is several such windows, one for each phase of its
 * stride, whose outputs are views with larger strides.
 */
#ifndef RF_CUDA_CONV_H
#define RF_CUDA_CONV_H

#include "kernels/cuda/abi.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Numbers of rf_pad_mode (checked in conv_node.c). */
enum { RF_CUDA_PAD_ZEROS, RF_CUDA_PAD_REFLECT, RF_CUDA_PAD_EDGE };

/* One dimension of a window: output o looks at inputs o * stride + start + k * step, k < taps. */
typedef struct rf_cuda_conv_axis {
    int32_t in, out; /* sizes */
    int32_t taps, stride, start, step;
} rf_cuda_conv_axis;

/* Element (n, c, y, x) is at the sum of index * stride from data; of weights (o, c, ky, kx). */
typedef struct rf_cuda_conv_image {
    void *data; /* NULL: no such tensor */
    int64_t n, c, y, x;
    int32_t dtype;
} rf_cuda_conv_image;

/* Where sums go: act(sum + bias + res) with res_before, else act(sum + bias) + res. */
typedef struct rf_cuda_conv_out {
    rf_cuda_conv_image y, res;
    rf_cuda_act act;
    int32_t res_before;
    int32_t vectors; /* y and res (if any): dense channels of one dtype, in whole 16-byte pieces */
} rf_cuda_conv_out;

#ifdef __cplusplus
}
#endif
#endif
