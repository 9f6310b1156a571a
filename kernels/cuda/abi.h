/* SPDX-License-Identifier: Apache-2.0
 *
 * What host code (C) and kernels (CUDA C++) of the module share: the entry tables through which
 * host code reaches kernels, and the descriptions that several kernel families take. Every kernel
 * has exactly one parameter, a plain struct by value (its family's header declares it), so one
 * launch function serves all kernels, a recorded launch can be compared and changed as bytes, and
 * the SIMT emulator needs no knowledge of signatures.
 */
#ifndef RF_CUDA_ABI_H
#define RF_CUDA_ABI_H

#include <refold/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One compiled kernel. A .cu file defines a table `const rf_cuda_entry rf_cuda_<family>_entries[]`
 * whose order is an enum in the family's header. */
typedef struct rf_cuda_entry {
    const char *name;    /* "conv_mma_f16_m128n32" */
    const void *fn;      /* handle for cudaLaunchKernel */
    size_t params_bytes; /* sizeof its parameter struct */
} rf_cuda_entry;

/* Activation as in core/enums.def (same numbers, checked in launch.c). */
enum rf_cuda_act_kind {
    RF_CUDA_ACT_NONE,
    RF_CUDA_ACT_RELU,
    RF_CUDA_ACT_LEAKY,
    RF_CUDA_ACT_CLAMP,
    RF_CUDA_ACT_SIGMOID,
    RF_CUDA_ACT_SILU,
    RF_CUDA_ACT_GELU,
    RF_CUDA_ACT_GELU_TANH,
    RF_CUDA_ACT_TANH,
    RF_CUDA_ACT_HARDSWISH
};
typedef struct rf_cuda_act {
    int32_t kind;
    float alpha, beta;
} rf_cuda_act;

/* Up to RF_CUDA_ND_OPERANDS tensors walked together, element by element. Dims that lie behind each
 * other in all operands are joined and ordered so that the last is innermost in memory
 * (rf_cuda_nd_make); a broadcast dim has stride 0. Strides are in elements. */
enum { RF_CUDA_ND_OPERANDS = 4 };
typedef struct rf_cuda_nd {
    int32_t rank, n;
    int64_t elements;
    int64_t dims[RF_MAX_RANK];
    int64_t strides[RF_CUDA_ND_OPERANDS][RF_MAX_RANK];
    void *data[RF_CUDA_ND_OPERANDS];
    int32_t dtype[RF_CUDA_ND_OPERANDS]; /* rf_dtype */
} rf_cuda_nd;

#ifdef __cplusplus
}
#endif
#endif
