/* SPDX-License-Identifier: Apache-2.0
 *
 * Reductions over any dims. Where a reduced dim is the dense one, a warp (up to 1024 elements) or a
 * block has an output and lanes run along the sum; else lanes run across 32 outputs and the 8 warps
 * of a block share the sum. Long sums of few outputs are cut into parts, joined by a second launch.
 * Each thread adds every THREADS-th element to four sums in turn and all sums meet in a tree, so
 * rounding grows like that of a sum of n / THREADS / 4, and the order is the same on every run and
 * device.
 */
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/row.cuh"

__device__ __forceinline__ float start_of(int32_t kind)
{
    return kind == RF_CUDA_REDUCE_MAX    ? -INFINITY
           : kind == RF_CUDA_REDUCE_MIN  ? INFINITY
           : kind == RF_CUDA_REDUCE_PROD ? 1.0f
                                         : 0.0f;
}
/* Two results of parts; NaN wins. */
__device__ __forceinline__ float join(int32_t kind, float a, float b)
{
    switch (kind) {
    case RF_CUDA_REDUCE_MAX:
        return b > a || b != b ? b : a;
    case RF_CUDA_REDUCE_MIN:
        return b < a || b != b ? b : a;
    case RF_CUDA_REDUCE_PROD:
        return a * b;
    default:
        return a + b;
    }
}
__device__ __forceinline__ float take(int32_t kind, float acc, float v)
{
    return kind == RF_CUDA_REDUCE_L2 || kind == RF_CUDA_REDUCE_SUMSQ ? acc + v * v
                                                                     : join(kind, acc, v);
}
__device__ __forceinline__ float finished(int32_t kind, float v, int64_t n)
{
    return kind == RF_CUDA_REDUCE_MEAN ? v / (float)n : kind == RF_CUDA_REDUCE_L2 ? sqrtf(v) : v;
}
template <int THREADS>
__device__ __forceinline__ float join_all(int32_t kind, float v, float *shared)
{
    return rf_join<THREADS>(v, shared, [kind](float a, float b) { return join(kind, a, b); });
}

/* This thread's share of elements begin..end - 1, every `step`-th from its own first. */
__device__ __forceinline__ float share(const rf_cuda_reduce_params &p, int64_t base, int64_t first,
                                       int64_t end, int64_t step)
{
    const void *x = p.reduced.data[0];
    int32_t type = p.reduced.dtype[0];
    float acc[4];
#pragma unroll
    for (int k = 0; k < 4; k++)
        acc[k] = start_of(p.kind);
    for (int64_t i = first; i < end; i += 4 * step) {
#pragma unroll
        for (int k = 0; k < 4; k++) {
            int64_t e = i + k * step, at[1];
            if (e >= end)
                break;
            rf_row_offsets(p.reduced, e, at);
            acc[k] = take(p.kind, acc[k], rf_load_as_float(x, type, base + at[0]));
        }
    }
    return join(p.kind, join(p.kind, acc[0], acc[1]), join(p.kind, acc[2], acc[3]));
}
/* The same by pieces of 8. */
__device__ __forceinline__ float share8(const rf_cuda_reduce_params &p, int64_t base, int64_t first,
                                        int64_t end, int64_t step)
{
    float acc[4];
#pragma unroll
    for (int k = 0; k < 4; k++)
        acc[k] = start_of(p.kind);
#pragma unroll 2
    for (int64_t i = first; i < end; i += step) {
        float v[8];
        rf_load8(v, p.reduced.data[0], p.reduced.dtype[0], base + i);
#pragma unroll
        for (int k = 0; k < 8; k++)
            acc[k % 4] = take(p.kind, acc[k % 4], v[k]);
    }
    return join(p.kind, join(p.kind, acc[0], acc[1]), join(p.kind, acc[2], acc[3]));
}

__device__ __forceinline__ void put(const rf_cuda_reduce_params &p, int64_t output, int64_t part,
                                    int64_t at, float v)
{
    if (p.partial)
        rf_store(p.partial + output * p.parts + part, v);
    else
        rf_store_from_float(p.kept.data[0], p.kept.dtype[0], at,
                            finished(p.kind, v, p.reduced.elements));
}

/* blockIdx.x: outputs, y: parts. */
template <int THREADS>
__global__ void __launch_bounds__(256) reduce_along(const rf_cuda_reduce_params p)
{
    float *shared = (float *)RF_SHARED(8 * sizeof(float));
    int64_t output = (int64_t)blockIdx.x * (256 / THREADS) + threadIdx.x / THREADS, at[2];
    if (output >= p.kept.elements) /* whole warps, or nobody */
        return;
    rf_row_offsets(p.kept, output, at);
    int64_t begin = blockIdx.y * p.part, end = begin + p.part;
    end = end < p.reduced.elements ? end : p.reduced.elements;
    int lane = threadIdx.x % THREADS;
    float v = p.by8 ? share8(p, at[1], begin + lane * 8, end, THREADS * 8)
                    : share(p, at[1], begin + lane, end, THREADS);
    v = join_all<THREADS>(p.kind, v, shared);
    if (lane == 0)
        put(p, output, blockIdx.y, at[0], v);
}

__global__ void __launch_bounds__(256) reduce_across(const rf_cuda_reduce_params p)
{
    float *shared = (float *)RF_SHARED(256 * sizeof(float));
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int64_t output = (int64_t)blockIdx.x * 32 + lane, at[2] = {0, 0};
    int64_t begin = blockIdx.y * p.part, end = begin + p.part;
    end = end < p.reduced.elements ? end : p.reduced.elements;
    if (output < p.kept.elements) {
        rf_row_offsets(p.kept, output, at);
        rf_shared_store(shared + threadIdx.x, share(p, at[1], begin + warp, end, 8));
    }
    __syncthreads();
    if (warp || output >= p.kept.elements)
        return;
    float v = rf_shared_load(shared + lane);
    for (int i = 1; i < 8; i++)
        v = join(p.kind, v, rf_shared_load(shared + i * 32 + lane));
    put(p, output, blockIdx.y, at[0], v);
}

/* A warp for each output. */
__global__ void __launch_bounds__(256) reduce_parts(const rf_cuda_reduce_parts_params p)
{
    int64_t output = (int64_t)blockIdx.x * 8 + threadIdx.x / 32, at[1];
    if (output >= p.kept.elements)
        return;
    rf_row_offsets(p.kept, output, at);
    float v = start_of(p.kind);
    for (int64_t i = threadIdx.x % 32; i < p.parts; i += 32)
        v = join(p.kind, v, rf_load(p.partial + output * p.parts + i));
    v = join_all<32>(p.kind, v, (float *)nullptr);
    if (threadIdx.x % 32 == 0)
        rf_store_from_float(p.kept.data[0], p.kept.dtype[0], at[0], finished(p.kind, v, p.n));
}

extern "C" const rf_cuda_entry rf_cuda_reduce_entries[RF_CUDA_REDUCE_ENTRIES] = {
    RF_ENTRY("reduce_warp", rf_cuda_reduce_params, reduce_along<32>),
    RF_ENTRY("reduce_block", rf_cuda_reduce_params, reduce_along<256>),
    RF_ENTRY("reduce_across", rf_cuda_reduce_params, reduce_across),
    RF_ENTRY("reduce_parts", rf_cuda_reduce_parts_params, reduce_parts),
};
