/* SPDX-License-Identifier: Apache-2.0
 *
 * N neighbouring elements of a tensor as floats in registers: what kernels that are bound by
 * memory load and store at once. N is 4 where the output is f32 and 8 where it is half, so that a
 * store is always 16 bytes; N = 1 makes the general kernel out of the same source. The dtype is a
 * run-time number: all threads take the same branch, which is cheap beside the access, and mixed
 * dtypes (a half map times f32 statistics) need no instances of their own.
 */
#ifndef RF_CUDA_VECTOR_CUH
#define RF_CUDA_VECTOR_CUH

#include "kernels/cuda/device.cuh"

__device__ __forceinline__ void rf_unpack2(float (&v)[2], uint32_t bits, int32_t dtype)
{
    if (dtype == RF_BF16) { /* the upper half of an f32 */
        uint32_t low = bits << 16, high = bits & 0xffff0000u;
        memcpy(&v[0], &low, 4);
        memcpy(&v[1], &high, 4);
    } else {
        __half2 h;
        memcpy((void *)&h, &bits, 4);
        float2 f = __half22float2(h);
        v[0] = f.x;
        v[1] = f.y;
    }
}

__device__ __forceinline__ uint32_t rf_pack2(float a, float b, int32_t dtype)
{
    uint32_t bits;
    if (dtype == RF_BF16) {
        __nv_bfloat162 h = __floats2bfloat162_rn(a, b);
        memcpy(&bits, &h, 4);
    } else {
        __half2 h = __floats2half2_rn(a, b);
        memcpy(&bits, &h, 4);
    }
    return bits;
}

/* Elements i .. i + N - 1. N > 1: f32 data is 16-byte aligned there, half data 2 * N bytes. */
template <int N>
__device__ __forceinline__ void rf_load_vector(float (&v)[N], const void *data, int32_t dtype,
                                               int64_t i)
{
    if (N == 1) {
        v[0] = rf_load_as_float(data, dtype, i);
    } else if (dtype == RF_F32) {
#pragma unroll
        for (int k = 0; k < N; k += 4) {
            float4 f = rf_load((const float4 *)((const float *)data + i + k));
            memcpy(v + k, &f, 16);
        }
    } else {
        uint32_t bits[(N + 1) / 2];
        if (N == 4) {
            uint2 u = rf_load((const uint2 *)((const uint16_t *)data + i));
            memcpy(bits, &u, 8);
        } else {
            uint4 u = rf_load((const uint4 *)((const uint16_t *)data + i));
            memcpy(bits, &u, sizeof bits);
        }
#pragma unroll
        for (int k = 0; k + 1 < N; k += 2) {
            float two[2];
            rf_unpack2(two, bits[k / 2], dtype);
            v[k] = two[0];
            v[k + 1] = two[1];
        }
    }
}

template <int N>
__device__ __forceinline__ void rf_store_vector(void *data, int32_t dtype, int64_t i,
                                                const float (&v)[N])
{
    if (N == 1) {
        rf_store_from_float(data, dtype, i, v[0]);
    } else if (dtype == RF_F32) {
#pragma unroll
        for (int k = 0; k < N; k += 4) {
            float4 f;
            memcpy(&f, v + k, 16);
            rf_store((float4 *)((float *)data + i + k), f);
        }
    } else {
        uint32_t bits[(N + 1) / 2];
#pragma unroll
        for (int k = 0; k + 1 < N; k += 2)
            bits[k / 2] = rf_pack2(v[k], v[k + 1], dtype);
        if (N == 4) {
            uint2 u;
            memcpy(&u, bits, 8);
            rf_store((uint2 *)((uint16_t *)data + i), u);
        } else {
            uint4 u;
            memcpy(&u, bits, sizeof bits);
            rf_store((uint4 *)((uint16_t *)data + i), u);
        }
    }
}

/* v[k] = f(v[k]). Branches on a run-time kind stand around this, not inside. */
template <int N, class F> __device__ __forceinline__ void rf_map_vector(float (&v)[N], F f)
{
#pragma unroll
    for (int k = 0; k < N; k++)
        v[k] = f(v[k]);
}

template <int N>
__device__ __forceinline__ void rf_apply_act_vector(const rf_cuda_act &act, float (&v)[N])
{
    const float alpha = act.alpha, beta = act.beta;
    switch (act.kind) {
#define RF_ACT_CASE(K)                                                                             \
    case K:                                                                                        \
        rf_map_vector(v, [=](float x) { return rf_apply_act({K, alpha, beta}, x); });              \
        return;
        RF_ACT_CASE(RF_CUDA_ACT_RELU)
        RF_ACT_CASE(RF_CUDA_ACT_LEAKY)
        RF_ACT_CASE(RF_CUDA_ACT_CLAMP)
        RF_ACT_CASE(RF_CUDA_ACT_SIGMOID)
        RF_ACT_CASE(RF_CUDA_ACT_SILU)
        RF_ACT_CASE(RF_CUDA_ACT_GELU)
        RF_ACT_CASE(RF_CUDA_ACT_GELU_TANH)
        RF_ACT_CASE(RF_CUDA_ACT_TANH)
        RF_ACT_CASE(RF_CUDA_ACT_HARDSWISH)
#undef RF_ACT_CASE
    default:
        return;
    }
}
#endif
