/* SPDX-License-Identifier: Apache-2.0
 *
 * Elementwise maths. Bound by memory: a thread takes 16 bytes of output a step (vector.cuh), inputs
 * likewise or, where an input is broadcast along the innermost dim, one element; the one element
 * per step of the general kernels takes any strides. The arithmetic is f32 with the accurate
 * functions, written for exactness; the costliest common kind (sigmoid: about 20 instructions with
 * its division) still fits into the time that 4 bytes per element take on an H200. The branch on
 * the kind stands outside of the loop over a step's elements.
 *
 * ptxas for sm_90a: the kernels of 8 elements use 47 (unary, and 32 bytes of stack for sin and cos of
 * huge numbers) and 48 registers (binary): 5 blocks per SM.
 */
#include "kernels/cuda/elementwise.h"

#include "kernels/cuda/vector.cuh"

__device__ __forceinline__ float softplus(float x)
{
    return (x > 0 ? x : 0.0f) + log1pf(expf(-fabsf(x)));
}

__device__ __forceinline__ float hardsigmoid(float x)
{
    float gate = x * (1.0f / 6.0f) + 0.5f;
    return gate < 0 ? 0.0f : gate > 1 ? 1.0f : gate;
}

/* NaN stays NaN in every kind. */
template <int N>
__device__ __forceinline__ void apply_unary(int kind, float alpha, float beta, float (&v)[N])
{
    switch (kind) {
#define KIND(K, expression)                                                                        \
    case RF_CUDA_UNARY_##K:                                                                        \
        rf_map_vector(v, [=](float x) { return expression; });                                     \
        return;
        KIND(HARDSIGMOID, hardsigmoid(x))
        KIND(ELU, x < 0 ? alpha * expm1f(x) : x)
        KIND(SOFTPLUS, softplus(x))
        KIND(MISH, x * tanhf(softplus(x)))
        KIND(EXP, expf(x))
        KIND(LOG, logf(x))
        KIND(SQRT, sqrtf(x))
        KIND(RSQRT, 1.0f / sqrtf(x))
        KIND(RECIPROCAL, 1.0f / x)
        KIND(SQUARE, x * x)
        KIND(ABS, fabsf(x))
        KIND(NEG, -x)
        KIND(SIGN, x > 0 ? 1.0f : x < 0 ? -1.0f : x)
        KIND(FLOOR, floorf(x))
        KIND(CEIL, ceilf(x))
        KIND(ROUND, rintf(x))
        KIND(SIN, sinf(x))
        KIND(COS, cosf(x))
        KIND(ERF, erff(x))
        KIND(SCALE, fmaf(alpha, x, beta))
#undef KIND
    default: /* the activations */
        rf_apply_act_vector({kind - RF_CUDA_UNARY_RELU + RF_CUDA_ACT_RELU, alpha, beta}, v);
    }
}

/* a = a (kind) b. A NaN on either side gives NaN, also in min and max. */
template <int N>
__device__ __forceinline__ void apply_binary(int kind, float (&p)[N], const float (&q)[N])
{
    switch (kind) {
#define KIND(K, expression)                                                                        \
    case RF_CUDA_BINARY_##K:                                                                       \
        _Pragma("unroll") for (int k = 0; k < N; k++)                                              \
        {                                                                                          \
            float a = p[k], b = q[k];                                                              \
            p[k] = expression;                                                                     \
        }                                                                                          \
        return;
        KIND(ADD, a + b)
        KIND(SUB, a - b)
        KIND(MUL, a * b)
        KIND(DIV, a / b)
        KIND(MIN, a < b || a != a ? a : b)
        KIND(MAX, a > b || a != a ? a : b)
        KIND(POW, powf(a, b))
        KIND(PRELU, a < 0 ? a * b : a)
#undef KIND
    default:
        return;
    }
}

/* The elements of operand k that belong to a step whose first lies at `at`. */
template <int N>
__device__ __forceinline__ void load_operand(float (&v)[N], const rf_cuda_nd &nd, int k, int64_t at)
{
    if (N > 1 && !nd.strides[k][nd.rank - 1]) {
        float one = rf_load_as_float(nd.data[k], nd.dtype[k], at);
#pragma unroll
        for (int i = 0; i < N; i++)
            v[i] = one;
    } else {
        rf_load_vector(v, nd.data[k], nd.dtype[k], at);
    }
}

template <int N>
__device__ __forceinline__ void unary_step(const rf_cuda_unary_params &p, const int64_t (&at)[2])
{
    float v[N];
    load_operand(v, p.nd, 1, at[1]);
    apply_unary(p.kind, p.alpha, p.beta, v);
    rf_store_vector(p.nd.data[0], p.nd.dtype[0], at[0], v);
}

template <int N>
__device__ __forceinline__ void binary_step(const rf_cuda_binary_params &p, const int64_t (&at)[3])
{
    float a[N], b[N];
    load_operand(a, p.nd, 1, at[1]);
    load_operand(b, p.nd, 2, at[2]);
    apply_binary(p.kind, a, b);
    rf_apply_act_vector(p.act, a);
    rf_store_vector(p.nd.data[0], p.nd.dtype[0], at[0], a);
}

/* Where element i of the tail lies in every operand. */
template <int N, int K>
__device__ __forceinline__ void tail_offsets(const rf_cuda_nd &nd, int64_t i, int64_t (&at)[K])
{
    for (int k = 0; k < K; k++)
        at[k] = (nd.elements * N + i) * (nd.strides[k][0] / N);
}

template <int N> __global__ void __launch_bounds__(256, 5) unary(const rf_cuda_unary_params p)
{
    int64_t at[2];
    for (int64_t i = rf_thread_index(); i < p.nd.elements; i += rf_thread_step()) {
        rf_nd_offsets(p.nd, i, at);
        unary_step<N>(p, at);
    }
    if (N > 1 && rf_thread_index() < p.tail) {
        tail_offsets<N>(p.nd, rf_thread_index(), at);
        unary_step<1>(p, at);
    }
}

template <int N> __global__ void __launch_bounds__(256) binary(const rf_cuda_binary_params p)
{
    int64_t at[3];
    for (int64_t i = rf_thread_index(); i < p.nd.elements; i += rf_thread_step()) {
        rf_nd_offsets(p.nd, i, at);
        binary_step<N>(p, at);
    }
    if (N > 1 && rf_thread_index() < p.tail) {
        tail_offsets<N>(p.nd, rf_thread_index(), at);
        binary_step<1>(p, at);
    }
}

/* In 64 unsigned bits, which wrap as every narrower dtype does; u64 alone compares unsigned. */
__device__ __forceinline__ uint64_t apply_integer(int kind, bool is_u64, uint64_t a, uint64_t b)
{
    bool less = is_u64 ? a < b : (int64_t)a < (int64_t)b;
    switch (kind) {
    case RF_CUDA_BINARY_ADD:
        return a + b;
    case RF_CUDA_BINARY_SUB:
        return a - b;
    case RF_CUDA_BINARY_MUL:
        return a * b;
    case RF_CUDA_BINARY_MIN:
        return less ? a : b;
    default:
        return less ? b : a;
    }
}

__global__ void __launch_bounds__(256) binary_integer(const rf_cuda_binary_params p)
{
    for (int64_t i = rf_thread_index(); i < p.nd.elements; i += rf_thread_step()) {
        int64_t at[3];
        rf_nd_offsets(p.nd, i, at);
        int64_t a = rf_load_integer(p.nd.data[1], p.nd.dtype[1], at[1]);
        int64_t b = rf_load_integer(p.nd.data[2], p.nd.dtype[2], at[2]);
        rf_store_integer(
            p.nd.data[0], p.nd.dtype[0], at[0],
            (int64_t)apply_integer(p.kind, p.nd.dtype[1] == RF_U64, (uint64_t)a, (uint64_t)b));
    }
}

extern "C" const rf_cuda_entry rf_cuda_elementwise_entries[RF_CUDA_ELEMENTWISE_ENTRIES] = {
    RF_ENTRY("unary", rf_cuda_unary_params, unary<1>),
    RF_ENTRY("unary_4", rf_cuda_unary_params, unary<4>),
    RF_ENTRY("unary_8", rf_cuda_unary_params, unary<8>),
    RF_ENTRY("binary", rf_cuda_binary_params, binary<1>),
    RF_ENTRY("binary_4", rf_cuda_binary_params, binary<4>),
    RF_ENTRY("binary_8", rf_cuda_binary_params, binary<8>),
    RF_ENTRY("binary_integer", rf_cuda_binary_params, binary_integer),
};
