/* SPDX-License-Identifier: Apache-2.0
 *
 * Softmax over one axis: one reading for maximum and sum (online, arXiv 1805.02867), one to write.
 * The second finds rows of up to some 100 KB in L1, so memory sees each element twice in all.
 *
 * Where the axis is the dense one, a warp (rows up to 1024) or a block of 256 has a row and lanes
 * run along it, by 8 elements where rows are whole pieces. Else a thread has a row and lanes run
 * across rows, which then are what is dense (channels of an NCHW image).
 */
#include "kernels/cuda/row.cuh"
#include "kernels/cuda/softmax.h"

/* Maximum and sum of exp(v - max) of what was seen. */
struct online {
    float max, sum;
};
__device__ __forceinline__ void see(online &s, float v)
{
    if (v > s.max) {
        s.sum = s.sum * expf(s.max - v) + 1;
        s.max = v;
    } else if (v != -INFINITY) { /* adds nothing; and -inf - -inf is NaN */
        s.sum += expf(v - s.max);
    }
}
__device__ __forceinline__ online both(online a, online b)
{
    float max = fmaxf(a.max, b.max);
    return {max, (a.max == max ? a.sum : a.sum * expf(a.max - max)) +
                     (b.max == max ? b.sum : b.sum * expf(b.max - max))};
}
/* inf - inf is NaN for every element of the row; so it is by the definition. */
__device__ __forceinline__ online settle(online s)
{
    return {s.max, isinf(s.max) ? NAN : s.sum};
}
__device__ __forceinline__ float result(online s, float v, bool log, float scale)
{
    return log ? v - s.max - scale : expf(v - s.max) * scale;
}
/* log(sum) or 1 / sum. */
__device__ __forceinline__ float scale_of(online s, bool log)
{
    return log ? logf(s.sum) : 1 / s.sum;
}

template <int THREADS>
__global__ void __launch_bounds__(256) softmax_rows(const rf_cuda_softmax_params p)
{
    online *shared = (online *)RF_SHARED(8 * sizeof(online));
    const void *x = p.rows.data[1];
    void *y = p.rows.data[0];
    int32_t xt = p.rows.dtype[1], yt = p.rows.dtype[0];
    int64_t row = (int64_t)blockIdx.x * (256 / THREADS) + threadIdx.x / THREADS;
    int lane = threadIdx.x % THREADS;
    if (row >= p.rows.elements) /* whole warps, or nobody */
        return;
    int64_t at[2];
    rf_row_offsets(p.rows, row, at);
    online s = {-INFINITY, 0};
    if (p.by8) {
        for (int64_t i = lane * 8; i < p.n; i += THREADS * 8) {
            float v[8];
            rf_load8(v, x, xt, at[1] + i);
#pragma unroll
            for (int k = 0; k < 8; k++)
                see(s, v[k]);
        }
    } else {
        for (int64_t i = lane; i < p.n; i += THREADS)
            see(s, rf_load_as_float(x, xt, at[1] + i * p.x_step));
    }
    s = settle(rf_join<THREADS>(s, shared, both));
    float scale = scale_of(s, p.log);
    if (p.by8) {
        for (int64_t i = lane * 8; i < p.n; i += THREADS * 8) {
            float v[8];
            rf_load8(v, x, xt, at[1] + i);
#pragma unroll
            for (int k = 0; k < 8; k++)
                v[k] = result(s, v[k], p.log, scale);
            rf_store8(y, yt, at[0] + i, v);
        }
    } else {
        for (int64_t i = lane; i < p.n; i += THREADS)
            rf_store_from_float(
                y, yt, at[0] + i * p.y_step,
                result(s, rf_load_as_float(x, xt, at[1] + i * p.x_step), p.log, scale));
    }
}

__global__ void __launch_bounds__(256) softmax_thread(const rf_cuda_softmax_params p)
{
    const void *x = p.rows.data[1];
    int32_t xt = p.rows.dtype[1];
    for (int64_t row = rf_thread_index(); row < p.rows.elements; row += rf_thread_step()) {
        int64_t at[2];
        rf_row_offsets(p.rows, row, at);
        online s = {-INFINITY, 0};
        for (int64_t i = 0; i < p.n; i++)
            see(s, rf_load_as_float(x, xt, at[1] + i * p.x_step));
        s = settle(s);
        float scale = scale_of(s, p.log);
        for (int64_t i = 0; i < p.n; i++)
            rf_store_from_float(
                p.rows.data[0], p.rows.dtype[0], at[0] + i * p.y_step,
                result(s, rf_load_as_float(x, xt, at[1] + i * p.x_step), p.log, scale));
    }
}

extern "C" const rf_cuda_entry rf_cuda_softmax_entries[RF_CUDA_SOFTMAX_ENTRIES] = {
    RF_ENTRY("softmax_warp", rf_cuda_softmax_params, softmax_rows<32>),
    RF_ENTRY("softmax_block", rf_cuda_softmax_params, softmax_rows<256>),
    RF_ENTRY("softmax_thread", rf_cuda_softmax_params, softmax_thread),
};
