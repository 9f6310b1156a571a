/* SPDX-License-Identifier: Apache-2.0
 *
 * What the generic kernels share: a loop nest over up to RF_ND_OPS tensors of one shape, with dims
 * merged and ordered by memory; the elementwise engine on top of it; and the strided copy. Any
 * layout, broadcast or view is only another set of strides, so each kernel is written once.
 */
#ifndef RF_KERNELS_CPU_ND_H
#define RF_KERNELS_CPU_ND_H

#include "kernels/cpu/cpu.h"

#define RF_ND_OPS 5
#define RF_ND_TILE 1024 /* floats that the engines work on at once: a few operands fit in L1 */
#define RF_ND_SMALL                                                                                \
    16384 /* elements below which waking a second thread costs more than it gives                  \
           */

/* dims[0] is the innermost. Operand 0 is the one whose memory order is followed. */
typedef struct rf_nd {
    int rank, n_ops;
    int64_t dims[RF_MAX_RANK];
    int64_t strides[RF_ND_OPS][RF_MAX_RANK];
} rf_nd;

static inline bool rf_cpu_is_float(rf_dtype t)
{
    return t == RF_F32 || t == RF_BF16;
}
static inline int64_t rf_nd_ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}
/* Threads for work on n elements. */
static inline int rf_nd_threads(int n_threads, int64_t n)
{
    return n < RF_ND_SMALL ? 1 : n_threads;
}
static inline void *rf_nd_at(const void *base, int64_t element, size_t element_bytes)
{
    return (char *)(uintptr_t)base + element * (int64_t)element_bytes;
}

#define rf_nd_init RF_ISA(rf_nd_init)
#define rf_nd_operand RF_ISA(rf_nd_operand)
#define rf_nd_order RF_ISA(rf_nd_order)
#define rf_nd_fetch RF_ISA(rf_nd_fetch)
#define rf_nd_store RF_ISA(rf_nd_store)
#define rf_cpu_map RF_ISA(rf_cpu_map)
#define rf_cpu_map_act RF_ISA(rf_cpu_map_act)
#define rf_cpu_narrow_double RF_ISA(rf_cpu_narrow_double)
#define rf_cpu_can_copy RF_ISA(rf_cpu_can_copy)
#define rf_cpu_copy RF_ISA(rf_cpu_copy)
#define rf_cpu_copy_tensor RF_ISA(rf_cpu_copy_tensor)

/* A nest over `dims` (outermost first, as in rf_tensor) without operands. */
void rf_nd_init(rf_nd *nd, int rank, const int64_t *dims);
/* Adds an operand, NumPy-broadcast from the right to the nest's dims. */
void rf_nd_operand(rf_nd *nd, int rank, const int64_t *dims, const int64_t *strides);
/* Orders dims by the strides of operand 0 and merges what all operands step through alike. */
void rf_nd_order(rf_nd *nd);

/* rows x cols elements at p (in its dtype) to dense floats, and back. Strides in elements; 0
 * repeats. */
void rf_nd_fetch(float *dst, const void *p, bool bf16, int64_t rows, int64_t row_stride,
                 int64_t cols, int64_t col_stride);
void rf_nd_store(void *p, bool bf16, const float *src, int64_t rows, int64_t row_stride,
                 int64_t cols, int64_t col_stride);

/* y[i] = f(in[0][i], ...) for n dense floats; y may be one of the inputs. */
typedef void rf_map_fn(const void *ctx, float *y, const float *const *in, int64_t n);
/* Elementwise engine: out and inputs are f32 or bf16 of any strides; inputs broadcast to out. */
void rf_cpu_map(int n_threads, rf_map_fn *fn, const void *ctx, const rf_tensor *out,
                const rf_tensor *const *in, int n_in);
/* y = act(y) for n dense floats. */
void rf_cpu_map_act(rf_act act, double alpha, double beta, float *y, int64_t n);

/* n doubles to dense elements of any dtype: floats round, integers truncate and saturate, NaN is 0
 * there (cast.c). */
void rf_cpu_narrow_double(void *p, rf_dtype to, const double *in, int64_t n);

/* Same dtype (any), or f32 <-> bf16. */
bool rf_cpu_can_copy(rf_dtype to, rf_dtype from);
/* Copies `rank` dims; dst and src point at the first element. */
void rf_cpu_copy(int n_threads, int rank, const int64_t *dims, void *dst, rf_dtype to,
                 const int64_t *dst_strides, const void *src, rf_dtype from,
                 const int64_t *src_strides);
/* The same for whole tensors of equal dims. */
void rf_cpu_copy_tensor(int n_threads, const rf_tensor *dst, const rf_tensor *src);

#endif
