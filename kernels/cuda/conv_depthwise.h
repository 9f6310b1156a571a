/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameters of the depthwise convolution kernels (conv_depthwise.cu).
 */
#ifndef RF_CUDA_CONV_DEPTHWISE_H
#define RF_CUDA_CONV_DEPTHWISE_H

#include "kernels/cuda/conv.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { RF_CUDA_DEPTHWISE_STRIP = 4 }; /* pixels of a thread, where neighbours share inputs */

typedef struct rf_cuda_conv_depthwise_params {
    rf_cuda_conv_axis ay, ax;
    const void *x;       /* dense NHWC */
    const void *weights; /* [ky][kx][channel], in the dtype of x */
    const float *bias;   /* or NULL */
    rf_cuda_conv_out out;
    int32_t channels, pad_mode;
    int32_t pieces, strips; /* of 16 bytes in a pixel; in a row */
    int64_t threads;
} rf_cuda_conv_depthwise_params;

/* Window width 3, 5, 7 (stride and dilation 1), any; times f32, f16, bf16. */
enum { RF_CUDA_CONV_DEPTHWISE_KINDS = 4, RF_CUDA_CONV_DEPTHWISE_ENTRIES = 12 };
extern const rf_cuda_entry rf_cuda_conv_depthwise_entries[RF_CUDA_CONV_DEPTHWISE_ENTRIES];

#ifdef __cplusplus
}
#endif
#endif
