/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows: 8 neighbouring elements as floats, and sums over the threads that share a row.
 */
#ifndef RF_CUDA_ROW_CUH
#define RF_CUDA_ROW_CUH

#include "kernels/cuda/device.cuh"

/* Eight elements of a 16-bit type. */
template <class T> union rf_eight {
    uint4 bits;
    T at[8];
};
template <class T> __device__ __forceinline__ void rf_load_eight(float (&v)[8], const T *p)
{
    rf_eight<T> e;
    e.bits = rf_load((const uint4 *)p);
#pragma unroll
    for (int i = 0; i < 8; i++)
        v[i] = rf_to_float<T>(e.at[i]);
}
template <class T> __device__ __forceinline__ void rf_store_eight(T *p, const float (&v)[8])
{
    rf_eight<T> e;
#pragma unroll
    for (int i = 0; i < 8; i++)
        e.at[i] = rf_from_float<T>(v[i]);
    rf_store((uint4 *)p, e.bits);
}

/* Elements at..at + 7 of a float tensor, `at` a multiple of 8. */
__device__ __forceinline__ void rf_load8(float (&v)[8], const void *data, int32_t dtype, int64_t at)
{
    if (dtype == RF_F16) {
        rf_load_eight(v, (const __half *)data + at);
    } else if (dtype == RF_BF16) {
        rf_load_eight(v, (const __nv_bfloat16 *)data + at);
    } else {
#pragma unroll
        for (int i = 0; i < 8; i += 4) {
            float4 x = rf_load((const float4 *)((const float *)data + at + i));
            v[i] = x.x, v[i + 1] = x.y, v[i + 2] = x.z, v[i + 3] = x.w;
        }
    }
}
__device__ __forceinline__ void rf_store8(void *data, int32_t dtype, int64_t at,
                                          const float (&v)[8])
{
    if (dtype == RF_F16) {
        rf_store_eight((__half *)data + at, v);
    } else if (dtype == RF_BF16) {
        rf_store_eight((__nv_bfloat16 *)data + at, v);
    } else {
#pragma unroll
        for (int i = 0; i < 8; i += 4)
            rf_store((float4 *)((float *)data + at + i),
                     float4{v[i], v[i + 1], v[i + 2], v[i + 3]});
    }
}

/* The value of lane ^ m, of any plain struct of 4-byte members. */
template <class V> __device__ __forceinline__ V rf_shfl_xor(V v, int m)
{
    union {
        V v;
        uint32_t words[sizeof(V) / 4];
    } u = {v};
#pragma unroll
    for (int i = 0; i < (int)(sizeof(V) / 4); i++)
        u.words[i] = __shfl_xor_sync(RF_FULL_MASK, u.words[i], m);
    return u.v;
}

/* Joins v over THREADS neighbouring threads (a warp, or the whole block) in a fixed order; all of
 * them get the result. f(a, b) is commutative. shared: THREADS / 32 values, free again at once. */
template <int THREADS, class V, class F> __device__ __forceinline__ V rf_join(V v, V *shared, F f)
{
    for (int m = 16; m; m >>= 1)
        v = f(v, rf_shfl_xor(v, m));
    if (THREADS == 32)
        return v;
    if (threadIdx.x % 32 == 0)
        rf_shared_store(shared + threadIdx.x / 32, v);
    __syncthreads();
    v = rf_shared_load(shared);
    for (int i = 1; i < THREADS / 32; i++)
        v = f(v, rf_shared_load(shared + i));
    __syncthreads();
    return v;
}
template <int THREADS> __device__ __forceinline__ float rf_join_sum(float v, float *shared)
{
    return rf_join<THREADS>(v, shared, [](float a, float b) { return a + b; });
}
template <int THREADS> __device__ __forceinline__ float rf_join_max(float v, float *shared)
{
    return rf_join<THREADS>(v, shared, [](float a, float b) { return fmaxf(a, b); });
}

/* Offsets of element i of a walk that mostly has one dim. */
template <int N>
__device__ __forceinline__ void rf_row_offsets(const rf_cuda_nd &nd, int64_t i, int64_t (&at)[N])
{
    if (nd.rank > 1) {
        rf_nd_offsets(nd, i, at);
        return;
    }
    for (int k = 0; k < N; k++)
        at[k] = nd.rank ? i * nd.strides[k][0] : 0;
}
#endif
