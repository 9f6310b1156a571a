/* SPDX-License-Identifier: Apache-2.0
 *
 * The reduction engine, used by reduce and by the norms.
 */
#ifndef RF_KERNELS_CPU_REDUCE_H
#define RF_KERNELS_CPU_REDUCE_H

#include "kernels/cpu/nd.h"

typedef struct rf_cpu_reduction {
    rf_reduce_kind kind;
    const rf_tensor *x;        /* f32 or bf16, no dim is 0 */
    bool reduced[RF_MAX_RANK]; /* by dim of x */
    /* Result: f32, bf16 or f64, strides by dim of x (of reduced dims: ignored). */
    void *out;
    rf_dtype out_dtype;
    int64_t out_strides[RF_MAX_RANK];
    /* NULL, or subtracted from x first: dense f32 with out_strides. Only for RF_REDUCE_SUMSQ. */
    const float *centre;
} rf_cpu_reduction;

#define rf_cpu_reduce_scratch RF_ISA(rf_cpu_reduce_scratch)
#define rf_cpu_reduce RF_ISA(rf_cpu_reduce)

/* Bytes for partial results; depends on shapes and strides only, like the order of additions. */
size_t rf_cpu_reduce_scratch(const rf_cpu_reduction *reduction);
void rf_cpu_reduce(const rf_cpu_reduction *reduction, int n_threads, void *scratch);

#endif
