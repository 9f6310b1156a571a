/* SPDX-License-Identifier: Apache-2.0
 *
 * Channel mean and maximum of every pixel and the global mean of every channel in one pass over an
 * image, with x + y formed on the way. All of it is bound by memory: x is read once (and y), the
 * map is 8 bytes per pixel, partial sums are 4 bytes per channel and block.
 *
 * Rows (NHWC, whole groups of 8 channels): a pixel is shared by 1..32 neighbouring lanes of 8
 * channels each, so a warp reads whole lines; mean and maximum are exchanged by shuffles. A thread
 * always has the same channels, so its share of the global sums stays in 8 registers, is added up
 * across the block at the end and becomes one partial sum per block. The sums over blocks are made
 * by a second kernel in float64, in a fixed order: no atomics, the same bits on every run, and on
 * every device, since the number of blocks depends on the shape only.
 *
 * Bytes per pixel at C = 32 / 64 / 128, f16: without y 2C + 8 = 72 / 136 / 264; with y and x + y
 * 6C + 8 = 200 / 392 / 776.
 */
#include "kernels/cuda/channel_stats.h"
#include "kernels/cuda/row8.cuh"

constexpr int THREADS = RF_CUDA_STATS_THREADS, WARPS = THREADS / 32, UNROLL = RF_CUDA_STATS_UNROLL;

/* total[8] of all pixels of the block that share these channels, as one row of partial sums. */
__device__ __forceinline__ void add_up_block(float (&total)[8], int lanes, int c, float *partial)
{
    float *rows = (float *)RF_SHARED(WARPS * 256 * 4); /* [warp][lanes * 8] */
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int m = lanes; m < 32; m <<= 1)
        for (int i = 0; i < 8; i++)
            total[i] += __shfl_xor_sync(RF_FULL_MASK, total[i], m);
    if (lane < lanes)
        for (int i = 0; i < 8; i++)
            rf_shared_store(rows + warp * lanes * 8 + lane * 8 + i, total[i]);
    __syncthreads();
    if ((int)threadIdx.x >= c)
        return;
    float sum = 0;
    for (int k = 0; k < WARPS; k++)
        sum += rf_shared_load(rows + k * lanes * 8 + threadIdx.x);
    rf_store(partial + threadIdx.x, sum);
}

template <class T>
__global__ void __launch_bounds__(THREADS) stats_rows(const rf_cuda_stats_rows_params p)
{
    const int lanes = 1 << p.lanes_log2, slots = THREADS >> p.lanes_log2;
    const int channel = (threadIdx.x & (lanes - 1)) * 8, slot = threadIdx.x >> p.lanes_log2;
    const int64_t n = blockIdx.x / p.out.parts, part = blockIdx.x % p.out.parts;
    const int64_t image = n * p.pixels;
    const float share = 1.0f / (float)p.c;
    const bool on = channel < p.c;
    float total[8] = {};
    int64_t unit = part * p.per_block * (slots * UNROLL);
    for (int k = 0; k < p.per_block && unit < p.pixels; k++, unit += slots * UNROLL) {
        rf_row8<T> x[UNROLL] = {}, y[UNROLL] = {};
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            int64_t pixel = unit + u * slots + slot;
            if (!on || pixel >= p.pixels)
                continue;
            x[u] = rf_row8_load((const T *)p.x + (image + pixel) * p.c + channel);
            if (p.y)
                y[u] = rf_row8_load((const T *)p.y + (image + pixel) * p.c + channel);
        }
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            int64_t pixel = unit + u * slots + slot;
            float v[8], sum = 0, most = -INFINITY;
            rf_row8_unpack(x[u], v);
            if (p.y) {
                float w[8];
                rf_row8_unpack(y[u], w);
                for (int i = 0; i < 8; i++)
                    v[i] += w[i];
                if (on && pixel < p.pixels)
                    rf_row8_store((T *)p.sum + (image + pixel) * p.c + channel, v);
            }
            for (int i = 0; i < 8; i++) {
                total[i] += v[i];
                sum += v[i];
                most = on ? rf_max_nan(most, v[i]) : most;
            }
            for (int m = 1; m < lanes; m <<= 1) {
                sum += __shfl_xor_sync(RF_FULL_MASK, sum, m);
                most = rf_max_nan(most, __shfl_xor_sync(RF_FULL_MASK, most, m));
            }
            if (channel || pixel >= p.pixels)
                continue;
            int64_t at = n * p.out.map_n + pixel * p.out.map_x;
            rf_store_from_float(p.out.map, p.out.map_dtype, at, sum * share);
            rf_store_from_float(p.out.map, p.out.map_dtype, at + p.out.map_channel, most);
        }
    }
    add_up_block(total, lanes, p.c, p.out.partial + (int64_t)blockIdx.x * p.c);
}

/* Lanes are neighbouring pixels and go through the channels one after the other: whole lines where
 * the channels are planes; else the lines of a warp's pixels serve from L1. */
__global__ void __launch_bounds__(THREADS) stats_any(const rf_cuda_stats_any_params p)
{
    constexpr int PIXELS = RF_CUDA_STATS_CHUNK / 32;
    const int lane = threadIdx.x % 32;
    const int64_t chunk = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32;
    const int64_t n = chunk / p.out.parts;
    if (n >= p.n) /* whole warps */
        return;
    const int64_t first = chunk % p.out.parts * RF_CUDA_STATS_CHUNK + lane;
    int64_t rows[PIXELS], cols[PIXELS];
    float sum[PIXELS], most[PIXELS];
    for (int k = 0; k < PIXELS; k++) {
        rows[k] = (first + 32 * k) / p.w;
        cols[k] = (first + 32 * k) % p.w;
        sum[k] = 0;
        most[k] = -INFINITY;
    }
    auto offset = [&](const rf_cuda_stats_tensor &t, int c, int k) {
        return n * t.strides[0] + c * t.strides[1] + rows[k] * t.strides[2] +
               cols[k] * t.strides[3];
    };
    for (int c = 0; c < p.c; c++) {
        float channel = 0;
        for (int k = 0; k < PIXELS; k++) {
            if (first + 32 * k >= p.pixels)
                continue;
            float v = rf_load_as_float(p.x.data, p.x.dtype, offset(p.x, c, k));
            if (p.y.data) {
                v += rf_load_as_float(p.y.data, p.y.dtype, offset(p.y, c, k));
                rf_store_from_float(p.sum.data, p.sum.dtype, offset(p.sum, c, k), v);
            }
            channel += v;
            sum[k] += v;
            most[k] = rf_max_nan(most[k], v);
        }
        channel = rf_warp_sum(channel);
        if (lane == 0)
            rf_store(p.out.partial + chunk * p.c + c, channel);
    }
    for (int k = 0; k < PIXELS; k++) {
        if (first + 32 * k >= p.pixels)
            continue;
        int64_t at = n * p.out.map_n + rows[k] * p.out.map_y + cols[k] * p.out.map_x;
        rf_store_from_float(p.out.map, p.out.map_dtype, at, sum[k] / (float)p.c);
        rf_store_from_float(p.out.map, p.out.map_dtype, at + p.out.map_channel, most[k]);
    }
}

/* A block: 32 channels of an image, SLICES threads per channel. */
__global__ void stats_mean(const rf_cuda_stats_mean_params p)
{
    constexpr int SLICES = RF_CUDA_STATS_SLICES;
    double *sums = (double *)RF_SHARED(SLICES * 32 * 8);
    const int groups = (p.c + 31) / 32, slice = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int64_t n = blockIdx.x / groups;
    const int c = blockIdx.x % groups * 32 + lane;
    double sum = 0;
    if (c < p.c)
#pragma unroll 8
        for (int k = slice; k < p.parts; k += SLICES)
            sum += (double)rf_load(p.partial + (n * p.parts + k) * p.c + c);
    rf_shared_store(sums + threadIdx.x, sum);
    __syncthreads();
    if (slice || c >= p.c)
        return;
    sum = 0;
    for (int k = 0; k < SLICES; k++)
        sum += rf_shared_load(sums + k * 32 + lane);
    rf_store_from_float(p.mean, p.mean_dtype, n * p.mean_n + c * p.mean_c,
                        (float)(sum / (double)p.pixels));
}

extern "C" const rf_cuda_entry rf_cuda_channel_stats_entries[RF_CUDA_CHANNEL_STATS_ENTRIES] = {
    RF_ENTRY("stats_rows_f32", rf_cuda_stats_rows_params, stats_rows<float>),
    RF_ENTRY("stats_rows_f16", rf_cuda_stats_rows_params, stats_rows<__half>),
    RF_ENTRY("stats_rows_bf16", rf_cuda_stats_rows_params, stats_rows<__nv_bfloat16>),
    RF_ENTRY("stats_any", rf_cuda_stats_any_params, stats_any),
    RF_ENTRY("stats_mean", rf_cuda_stats_mean_params, stats_mean),
};
