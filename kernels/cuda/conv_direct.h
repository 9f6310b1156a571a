/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameters of the general convolution kernels (conv_direct.cu).
 */
#ifndef RF_CUDA_CONV_DIRECT_H
#define RF_CUDA_CONV_DIRECT_H

#include "kernels/cuda/conv.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rf_cuda_conv_direct_params {
    rf_cuda_conv_axis ay, ax;
    rf_cuda_conv_image x, w;
    rf_cuda_conv_out out;
    const void *bias; /* NULL: none */
    int64_t bias_stride, elements;
    int32_t bias_dtype;
    int32_t oc, group_ic, group_oc, pad_mode;
    int32_t channels_last; /* order of the threads: that of y in memory */
} rf_cuda_conv_direct_params;

enum { RF_CUDA_CONV_DIRECT, RF_CUDA_CONV_TRANSPOSE_DIRECT, RF_CUDA_CONV_DIRECT_ENTRIES };
extern const rf_cuda_entry rf_cuda_conv_direct_entries[RF_CUDA_CONV_DIRECT_ENTRIES];

#ifdef __cplusplus
}
#endif
#endif
