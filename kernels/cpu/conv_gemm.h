/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine of direct convolutions: every output pixel is the product of its window with packed
 * weights. Plain, strided, dilated and grouped convolutions are one window; a transposed
 * convolution is one window per phase of its stride.
 */
#ifndef RF_KERNELS_CPU_CONV_GEMM_H
#define RF_KERNELS_CPU_CONV_GEMM_H

#include "kernels/cpu/conv_store.h"
#include "kernels/cpu/gemm.h"

/* One dimension of a window: output i looks at inputs i * stride + start + t * step, t < n. */
typedef struct conv_axis {
    int64_t in, out; /* sizes */
    int64_t n, stride, start, step;
} conv_axis;

/* Output pixels go to out.y (and come from out.res) at the given strides from their data pointers,
 * so a phase of a transposed convolution is a view with larger strides. */
typedef struct conv_gemm {
    conv_view x;
    conv_out out; /* the bias must be readable up to the next multiple of GEMM_NB */
    conv_axis ay, ax;
    int64_t n_images, groups, ic, oc; /* channels of one group */
    rf_pad_mode pad_mode;
    const float *weights; /* [group][oc block][tap][ic][GEMM_NB] */
} conv_gemm;

/* Weights as they are found: filter tap (ty, tx) of the window is w at (ky + ty * ky_step, ...). */
typedef struct conv_filter {
    const rf_tensor *w;
    int64_t group_stride, oc_stride, ic_stride; /* elements */
    int64_t ky, ky_step, kx, kx_step;
} conv_filter;

#define conv_gemm_weight_floats RF_ISA(rf_cpu_conv_gemm_weight_floats)
#define conv_gemm_pack RF_ISA(rf_cpu_conv_gemm_pack)
#define conv_gemm_scratch RF_ISA(rf_cpu_conv_gemm_scratch)
#define conv_gemm_run RF_ISA(rf_cpu_conv_gemm_run)

size_t conv_gemm_weight_floats(const conv_gemm *g);
void conv_gemm_pack(const conv_gemm *g, const conv_filter *f, float *dst);
/* Bytes of scratch for n_threads. */
size_t conv_gemm_scratch(const conv_gemm *g, int32_t n_threads);
void conv_gemm_run(const conv_gemm *g, int32_t n_threads, void *scratch);

#endif
