/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameters of the elementwise kernels (elementwise.cu).
 */
#ifndef RF_CUDA_ELEMENTWISE_H
#define RF_CUDA_ELEMENTWISE_H

#include "kernels/cuda/abi.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The kinds of core/enums.def, in its order (checked in elementwise.c). The first nine are the
 * activations of abi.h. */
#define RF_CUDA_UNARY_KINDS(X)                                                                     \
    X(RELU)                                                                                        \
    X(LEAKY)                                                                                       \
    X(CLAMP)                                                                                       \
    X(SIGMOID)                                                                                     \
    X(SILU)                                                                                        \
    X(GELU)                                                                                        \
    X(GELU_TANH)                                                                                   \
    X(TANH)                                                                                        \
    X(HARDSWISH)                                                                                   \
    X(HARDSIGMOID)                                                                                 \
    X(ELU)                                                                                         \
    X(SOFTPLUS)                                                                                    \
    X(MISH)                                                                                        \
    X(EXP)                                                                                         \
    X(LOG)                                                                                         \
    X(SQRT)                                                                                        \
    X(RSQRT)                                                                                       \
    X(RECIPROCAL)                                                                                  \
    X(SQUARE)                                                                                      \
    X(ABS)                                                                                         \
    X(NEG)                                                                                         \
    X(SIGN)                                                                                        \
    X(FLOOR)                                                                                       \
    X(CEIL)                                                                                        \
    X(ROUND)                                                                                       \
    X(SIN)                                                                                         \
    X(COS)                                                                                         \
    X(ERF)                                                                                         \
    X(SCALE)
#define RF_CUDA_BINARY_KINDS(X) X(ADD) X(SUB) X(MUL) X(DIV) X(MIN) X(MAX) X(POW) X(PRELU)

#define RF_CUDA_KIND(k) RF_CUDA_UNARY_##k,
enum rf_cuda_unary_kind { RF_CUDA_UNARY_KINDS(RF_CUDA_KIND) RF_CUDA_UNARY_COUNT };
#undef RF_CUDA_KIND
#define RF_CUDA_KIND(k) RF_CUDA_BINARY_##k,
enum rf_cuda_binary_kind { RF_CUDA_BINARY_KINDS(RF_CUDA_KIND) RF_CUDA_BINARY_COUNT };
#undef RF_CUDA_KIND

/* Operand 0 of the walk is the output, the inputs follow. In the kernels of N elements a step of
 * the walk is N elements; `tail` elements behind the last step are left over (rank 1 only). */
typedef struct rf_cuda_unary_params {
    rf_cuda_nd nd;
    int32_t tail;
    int32_t kind; /* rf_cuda_unary_kind */
    float alpha, beta;
} rf_cuda_unary_params;

typedef struct rf_cuda_binary_params {
    rf_cuda_nd nd;
    int32_t tail;
    int32_t kind; /* rf_cuda_binary_kind */
    rf_cuda_act act;
} rf_cuda_binary_params;

/* By elements per step: 1, 4, 8. */
enum {
    RF_CUDA_UNARY_1,
    RF_CUDA_UNARY_4,
    RF_CUDA_UNARY_8,
    RF_CUDA_BINARY_1,
    RF_CUDA_BINARY_4,
    RF_CUDA_BINARY_8,
    RF_CUDA_BINARY_INTEGER,
    RF_CUDA_ELEMENTWISE_ENTRIES
};
extern const rf_cuda_entry rf_cuda_elementwise_entries[RF_CUDA_ELEMENTWISE_ENTRIES];

#ifdef __cplusplus
}
#endif
#endif
