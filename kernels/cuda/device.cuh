/* SPDX-License-Identifier: Apache-2.0
 *
 * The language of our kernels: what a .cu file may use beside plain CUDA C++. The same file is
 * compiled by nvcc for the module and by g++ (RF_SIM) for the emulator, where kernels/sim/simt.h
 * gives every name below another body that also checks. Hence the rules:
 *
 *  - one parameter struct by value (abi.h), registered by RF_ENTRY; no <<<>>>
 *  - all shared memory is dynamic: RF_SHARED(bytes) and carving, so that the emulator can poison
 *    it and see its bounds
 *  - global memory is touched only through rf_load, rf_store, rf_atomic_add, rf_cp_async*; shared
 *    memory through rf_shared_load, rf_shared_store, rf_ldmatrix*, rf_cp_async*. Vectors (uint4,
 * float4, uint2) are loaded whole, which asserts their alignment
 *  - warp functions always take the full mask and are called by all 32 lanes
 *  - inline PTX only in this file
 */
#ifndef RF_CUDA_DEVICE_CUH
#define RF_CUDA_DEVICE_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <math.h>
#include <stdint.h>

#include "kernels/cuda/abi.h"

#ifdef RF_SIM
#include "kernels/sim/simt.h"
#else

/* ---- launching ---------------------------------------------------------------------------------
 */
#define RF_ENTRY(name, P, ...)                                                                     \
    {                                                                                              \
        name, (const void *)(void (*)(P))(__VA_ARGS__), sizeof(P)                                  \
    }

/* ---- memory ------------------------------------------------------------------------------------
 */
extern __shared__ __align__(16) unsigned char rf_dynamic_shared[];
/* The block's dynamic shared memory, 16-byte aligned; `bytes` = what the host asked for. */
#define RF_SHARED(bytes) rf_dynamic_shared

template <class T> __device__ __forceinline__ T rf_load(const T *p)
{
    return *p;
}
template <class T> __device__ __forceinline__ void rf_store(T *p, T v)
{
    *p = v;
}
template <class T> __device__ __forceinline__ T rf_shared_load(const T *p)
{
    return *p;
}
template <class T> __device__ __forceinline__ void rf_shared_store(T *p, T v)
{
    *p = v;
}
__device__ __forceinline__ float rf_atomic_add(float *p, float v)
{
    return atomicAdd(p, v);
}

/* 16 bytes global -> shared, past L1. Lands at the wait that covers its group. */
__device__ __forceinline__ void rf_cp_async16(void *shared, const void *global)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(
                     (uint32_t)__cvta_generic_to_shared(shared)),
                 "l"(global));
}
/* The same, but zeros where `valid` is false; `global` must then still be a legal address. */
__device__ __forceinline__ void rf_cp_async16_zfill(void *shared, const void *global, bool valid)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                     (uint32_t)__cvta_generic_to_shared(shared)),
                 "l"(global), "r"(valid ? 16 : 0));
}
/* 4 bytes, for rows that are not 16-byte aligned. */
__device__ __forceinline__ void rf_cp_async4_zfill(void *shared, const void *global, bool valid)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(
                     (uint32_t)__cvta_generic_to_shared(shared)),
                 "l"(global), "r"(valid ? 4 : 0));
}
__device__ __forceinline__ void rf_cp_commit()
{
    asm volatile("cp.async.commit_group;");
}
/* Until at most N of this thread's groups are under way. */
template <int N> __device__ __forceinline__ void rf_cp_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N));
}

/* ---- arithmetic --------------------------------------------------------------------------------
 */
/* The larger; NaN if either is. */
__device__ __forceinline__ float rf_max_nan(float a, float b)
{
    float r;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
    return r;
}
/* 2^x and 1/x of the special function unit: relative error below 2^-22. */
__device__ __forceinline__ float rf_exp2_fast(float x)
{
    float r;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
    return r;
}
__device__ __forceinline__ float rf_rcp_fast(float x)
{
    float r;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
    return r;
}

/* The low (high) halves of a and b as one word, a's below. */
__device__ __forceinline__ uint32_t rf_join_low(uint32_t a, uint32_t b)
{
    return __byte_perm(a, b, 0x5410);
}
__device__ __forceinline__ uint32_t rf_join_high(uint32_t a, uint32_t b)
{
    return __byte_perm(a, b, 0x7632);
}

/* ---- tensor cores ------------------------------------------------------------------------------
 */
/* Four 8x8 matrices of 16-bit elements; lane 8i+r gives the address of row r of matrix i; lane l
 * gets elements (l/4, 2*(l%4)..+1) of each. _trans: of the transposed matrices. */
__device__ __forceinline__ void rf_ldmatrix_x4(uint32_t (&r)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(row)));
}
__device__ __forceinline__ void rf_ldmatrix_x4_trans(uint32_t (&r)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(row)));
}
/* d += a * b, 16x8 += 16x16 * 16x8. With lane = 4*g + t: a = (g,2t..) (g+8,2t..) (g,2t+8..)
 * (g+8,2t+8..); b = (2t..,g) (2t+8..,g); d = (g,2t..) (g+8,2t..). T: element type of a and b. */
template <class T>
__device__ __forceinline__ void rf_mma(float (&d)[4], const uint32_t (&a)[4],
                                       const uint32_t (&b)[2]);
template <>
__device__ __forceinline__ void rf_mma<__half>(float (&d)[4], const uint32_t (&a)[4],
                                               const uint32_t (&b)[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
template <>
__device__ __forceinline__ void rf_mma<__nv_bfloat16>(float (&d)[4], const uint32_t (&a)[4],
                                                      const uint32_t (&b)[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif /* RF_SIM */

/* ---- both ways ---------------------------------------------------------------------------------
 */
constexpr unsigned RF_FULL_MASK = 0xffffffffu;

template <class T> __device__ __forceinline__ float rf_to_float(T v);
template <> __device__ __forceinline__ float rf_to_float<float>(float v)
{
    return v;
}
template <> __device__ __forceinline__ float rf_to_float<__half>(__half v)
{
    return __half2float(v);
}
template <> __device__ __forceinline__ float rf_to_float<__nv_bfloat16>(__nv_bfloat16 v)
{
    return __bfloat162float(v);
}
template <class T> __device__ __forceinline__ T rf_from_float(float v);
template <> __device__ __forceinline__ float rf_from_float<float>(float v)
{
    return v;
}
template <> __device__ __forceinline__ __half rf_from_float<__half>(float v)
{
    return __float2half_rn(v);
}
template <> __device__ __forceinline__ __nv_bfloat16 rf_from_float<__nv_bfloat16>(float v)
{
    return __float2bfloat16_rn(v);
}

/* Element i of a tensor whose float dtype is known at run time only. */
__device__ __forceinline__ float rf_load_as_float(const void *data, int32_t dtype, int64_t i)
{
    if (dtype == RF_F16)
        return __half2float(rf_load((const __half *)data + i));
    if (dtype == RF_BF16)
        return __bfloat162float(rf_load((const __nv_bfloat16 *)data + i));
    return rf_load((const float *)data + i);
}
__device__ __forceinline__ void rf_store_from_float(void *data, int32_t dtype, int64_t i, float v)
{
    if (dtype == RF_F16)
        rf_store((__half *)data + i, __float2half_rn(v));
    else if (dtype == RF_BF16)
        rf_store((__nv_bfloat16 *)data + i, __float2bfloat16_rn(v));
    else
        rf_store((float *)data + i, v);
}

/* The same for integer dtypes; u64 keeps its bits, bool is 0 or 1. Stores keep the low bits. */
__device__ __forceinline__ int64_t rf_load_integer(const void *data, int32_t dtype, int64_t i)
{
    switch (dtype) {
    case RF_I8:
        return rf_load((const int8_t *)data + i);
    case RF_U8:
        return rf_load((const uint8_t *)data + i);
    case RF_I16:
        return rf_load((const int16_t *)data + i);
    case RF_U16:
        return rf_load((const uint16_t *)data + i);
    case RF_I32:
        return rf_load((const int32_t *)data + i);
    case RF_U32:
        return rf_load((const uint32_t *)data + i);
    case RF_BOOL:
        return rf_load((const uint8_t *)data + i) != 0;
    default:
        return rf_load((const int64_t *)data + i);
    }
}
__device__ __forceinline__ void rf_store_integer(void *data, int32_t dtype, int64_t i, int64_t v)
{
    switch (dtype) {
    case RF_I8:
    case RF_U8:
        rf_store((uint8_t *)data + i, (uint8_t)v);
        break;
    case RF_I16:
    case RF_U16:
        rf_store((uint16_t *)data + i, (uint16_t)v);
        break;
    case RF_I32:
    case RF_U32:
        rf_store((uint32_t *)data + i, (uint32_t)v);
        break;
    case RF_BOOL:
        rf_store((uint8_t *)data + i, (uint8_t)(v != 0));
        break;
    default:
        rf_store((int64_t *)data + i, v);
    }
}

/* Sum (max) over the warp; every lane gets it. The order is the same on every run. */
__device__ __forceinline__ float rf_warp_sum(float v)
{
    for (int m = 16; m; m >>= 1)
        v += __shfl_xor_sync(RF_FULL_MASK, v, m);
    return v;
}
__device__ __forceinline__ float rf_warp_max(float v)
{
    for (int m = 16; m; m >>= 1)
        v = fmaxf(v, __shfl_xor_sync(RF_FULL_MASK, v, m));
    return v;
}

__device__ __forceinline__ float rf_sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

/* Absolute error below 1e-6: for results that are stored as f16 or bf16. */
__device__ __forceinline__ float rf_sigmoid_fast(float x)
{
    return rf_rcp_fast(1.0f + rf_exp2_fast(-1.44269504f * x));
}

/* NaN stays NaN in every kind. */
__device__ __forceinline__ float rf_apply_act(rf_cuda_act act, float x)
{
    switch (act.kind) {
    case RF_CUDA_ACT_RELU:
        return x < 0 ? 0.0f : x;
    case RF_CUDA_ACT_LEAKY:
        return x < 0 ? act.alpha * x : x;
    case RF_CUDA_ACT_CLAMP:
        return x < act.alpha ? act.alpha : x > act.beta ? act.beta : x;
    case RF_CUDA_ACT_SIGMOID:
        return rf_sigmoid(x);
    case RF_CUDA_ACT_SILU:
        return x * rf_sigmoid(x);
    case RF_CUDA_ACT_GELU:
        return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
    case RF_CUDA_ACT_GELU_TANH:
        return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
    case RF_CUDA_ACT_TANH:
        return tanhf(x);
    case RF_CUDA_ACT_HARDSWISH: {
        float gate = x * (1.0f / 6.0f) + 0.5f;
        return x * (gate < 0 ? 0.0f : gate > 1 ? 1.0f : gate);
    }
    default:
        return x;
    }
}

/* Offsets (in elements) of element `i` of the walk in every operand. */
template <int N>
__device__ __forceinline__ void rf_nd_offsets(const rf_cuda_nd &nd, int64_t i, int64_t (&at)[N])
{
    for (int k = 0; k < N; k++)
        at[k] = 0;
    if (!nd.rank)
        return;
    if (nd.elements <= INT32_MAX) { /* 64-bit division costs some 50 instructions */
        uint32_t left = (uint32_t)i;
        for (int d = nd.rank - 1; d > 0; d--) {
            uint32_t dim = (uint32_t)nd.dims[d], q = left / dim, r = left - q * dim;
            for (int k = 0; k < N; k++)
                at[k] += r * nd.strides[k][d];
            left = q;
        }
        i = left;
    } else {
        for (int d = nd.rank - 1; d > 0; d--) {
            int64_t q = i / nd.dims[d], r = i - q * nd.dims[d];
            for (int k = 0; k < N; k++)
                at[k] += r * nd.strides[k][d];
            i = q;
        }
    }
    for (int k = 0; k < N; k++)
        at[k] += i * nd.strides[k][0];
}

/* Index of this thread in a one-dimensional grid, and the step of a grid-stride loop. */
__device__ __forceinline__ int64_t rf_thread_index()
{
    return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}
__device__ __forceinline__ int64_t rf_thread_step()
{
    return (int64_t)gridDim.x * blockDim.x;
}
#endif
