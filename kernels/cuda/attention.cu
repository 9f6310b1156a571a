/* SPDX-License-Identifier: Apache-2.0
 *
 * Scaled dot-product attention in f32 without the matrix of scores: softmax is taken online over
 * blocks of 64 keys (Milakov and Gimelshein, arXiv 1805.02867; Dao, arXiv 2205.14135).
 *
 * A block of 256 threads has 64 queries and COLUMNS columns of v (deeper v: more blocks, which take
 * the scores again). Thread (ty, tx) of 16x16 has the scores of queries 4 ty + 0..3 with keys
 * tx + 0, 16, 32, 48 and, of each 64 columns of v, the sums 4 tx + 0..3: 16 FMA per shared load of
 * 16 bytes and neighbouring lanes in different banks with rows of 68 floats. Everything goes
 * through three such 64x64 squares (52 KB: Q; K, then V; P), so depths are not limited: a depth
 * beyond 64 walks through the squares in pieces, and q is read again for every block of keys.
 *
 * DENSE: f32 with rows in 16-byte pieces. Else elements of any strides and float dtypes.
 */
#include "kernels/cuda/attention.h"
#include "kernels/cuda/device.cuh"

constexpr int SIDE = 64, PITCH = 68;

/* rows x 64 elements from (row0, col0) of a head to a square; zeros beyond its edges. */
template <bool DENSE>
__device__ __forceinline__ void fetch(float *to, const rf_cuda_heads &t, int64_t base, int64_t row0,
                                      int64_t rows, int col0, int cols)
{
    if (DENSE) {
        for (int i = threadIdx.x; i < SIDE * SIDE / 4; i += 256) {
            int r = i / 16, c = i % 16 * 4;
            float4 v = {0, 0, 0, 0};
            if (row0 + r < rows && col0 + c < cols)
                v = rf_load((const float4 *)((const float *)t.data + base +
                                             (row0 + r) * t.stride[2] + col0 + c));
            rf_shared_store((float4 *)(to + r * PITCH + c), v);
        }
        return;
    }
    bool along_row = t.stride[3] <= t.stride[2];
    for (int i = threadIdx.x; i < SIDE * SIDE; i += 256) {
        int r = along_row ? i / 64 : i % 64, c = along_row ? i % 64 : i / 64;
        float v = 0;
        if (row0 + r < rows && col0 + c < cols)
            v = rf_load_as_float(t.data, t.dtype,
                                 base + (row0 + r) * t.stride[2] + (col0 + c) * t.stride[3]);
        rf_shared_store(to + r * PITCH + c, v);
    }
}

/* Where a block works. */
struct place {
    int64_t q, k, v, bias, y, query;
    int column;
};
template <int COLUMNS>
__device__ __forceinline__ place place_of(const rf_cuda_attention_params &p, int64_t unit)
{
    int64_t tiles = (p.queries + SIDE - 1) / SIDE, slices = (p.v_depth + COLUMNS - 1) / COLUMNS;
    int64_t head = unit / slices / tiles, n = head / p.heads, h = head % p.heads, kv = h / p.group;
    return {n * p.q.stride[0] + h * p.q.stride[1],  n * p.k.stride[0] + kv * p.k.stride[1],
            n * p.v.stride[0] + kv * p.v.stride[1], n * p.bias.stride[0] + h * p.bias.stride[1],
            n * p.y.stride[0] + h * p.y.stride[1],  unit / slices % tiles * SIDE,
            (int)(unit % slices) * COLUMNS};
}

/* s += Q K^T for one piece of the depth. */
__device__ __forceinline__ void scores(float (&s)[4][4], const float *q, const float *k, int depth,
                                       int ty, int tx)
{
#pragma unroll 2
    for (int d = 0; d < depth; d += 4) {
        float4 a[4];
#pragma unroll
        for (int i = 0; i < 4; i++)
            a[i] = rf_shared_load((const float4 *)(q + (ty * 4 + i) * PITCH + d));
#pragma unroll
        for (int j = 0; j < 4; j++) {
            float4 b = rf_shared_load((const float4 *)(k + (tx + j * 16) * PITCH + d));
#pragma unroll
            for (int i = 0; i < 4; i++)
                s[i][j] += a[i].x * b.x + a[i].y * b.y + a[i].z * b.z + a[i].w * b.w;
        }
    }
}

/* o += P V for one piece of 64 columns. */
__device__ __forceinline__ void mix(float (&o)[4][4], const float *prob, const float *v, int keys,
                                    int ty, int tx)
{
#pragma unroll 2
    for (int k = 0; k < keys; k += 4) {
        float4 a[4];
#pragma unroll
        for (int i = 0; i < 4; i++)
            a[i] = rf_shared_load((const float4 *)(prob + (ty * 4 + i) * PITCH + k));
#pragma unroll
        for (int n = 0; n < 4; n++) {
            float4 b = rf_shared_load((const float4 *)(v + (k + n) * PITCH + tx * 4));
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float x = n == 0 ? a[i].x : n == 1 ? a[i].y : n == 2 ? a[i].z : a[i].w;
                o[i][0] += x * b.x;
                o[i][1] += x * b.y;
                o[i][2] += x * b.z;
                o[i][3] += x * b.w;
            }
        }
    }
}

/* Maximum and sum over the 16 lanes that share a query. */
__device__ __forceinline__ float max16(float v)
{
    for (int m = 8; m; m >>= 1)
        v = fmaxf(v, __shfl_xor_sync(RF_FULL_MASK, v, m));
    return v;
}
__device__ __forceinline__ float sum16(float v)
{
    for (int m = 8; m; m >>= 1)
        v += __shfl_xor_sync(RF_FULL_MASK, v, m);
    return v;
}

/* Scores of one query become probabilities under the new maximum; returns by how much older sums
 * fade. While nothing but -inf was seen there is no maximum to subtract; a query that never sees
 * more ends as 0 / 0, which is what softmax gives. */
__device__ __forceinline__ float advance(float (&s)[4], float *max, float *sum)
{
    float top = fmaxf(*max, max16(fmaxf(fmaxf(s[0], s[1]), fmaxf(s[2], s[3]))));
    float shift = top == -INFINITY ? 0.0f : top, fade = expf(*max - shift);
#pragma unroll
    for (int j = 0; j < 4; j++)
        s[j] = expf(s[j] - shift);
    *sum = *sum * fade + sum16(s[0] + s[1] + s[2] + s[3]);
    *max = top;
    return fade;
}

/* Scores of a block of keys to probabilities, in shared memory; what was summed before fades. */
template <int PARTS>
__device__ __forceinline__ void
probabilities(const rf_cuda_attention_params &p, const place &at, int64_t key, float (&s)[4][4],
              float (&max)[4], float (&sum)[4], float (&o)[PARTS][4][4], float *to, int ty, int tx)
{
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int64_t query = at.query + ty * 4 + i;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int64_t k = key + tx + j * 16;
            s[i][j] *= p.scale;
            if (k >= p.keys || k > query + p.hidden)
                s[i][j] = -INFINITY;
            else if (p.bias.data && query < p.queries)
                s[i][j] +=
                    rf_load_as_float(p.bias.data, p.bias.dtype,
                                     at.bias + query * p.bias.stride[2] + k * p.bias.stride[3]);
        }
        float fade = advance(s[i], &max[i], &sum[i]);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            rf_shared_store(to + (ty * 4 + i) * PITCH + tx + j * 16, s[i][j]);
#pragma unroll
            for (int c = 0; c < PARTS; c++)
                o[c][i][j] *= fade;
        }
    }
}

template <bool DENSE, int COLUMNS>
__global__ void __launch_bounds__(256, COLUMNS == 256 ? 1 : 2)
    attention(const rf_cuda_attention_params p)
{
    constexpr int PARTS = COLUMNS / 64;
    float *sq = (float *)RF_SHARED(RF_CUDA_ATTENTION_SHARED), *sk = sq + SIDE * PITCH,
          *sp = sk + SIDE * PITCH;
    int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
    const place at = place_of<COLUMNS>(p, blockIdx.x);
    float o[PARTS][4][4] = {}, max[4], sum[4] = {};
#pragma unroll
    for (int i = 0; i < 4; i++)
        max[i] = -INFINITY;
    int64_t seen = at.query + SIDE + p.hidden; /* keys that the last query sees */
    seen = seen < p.keys ? seen : p.keys;
    for (int64_t key = 0; key < seen; key += SIDE) {
        float s[4][4] = {};
        for (int d = 0; d < p.depth; d += SIDE) {
            if (key == 0 || p.depth > SIDE)
                fetch<DENSE>(sq, p.q, at.q, at.query, p.queries, d, p.depth);
            fetch<DENSE>(sk, p.k, at.k, key, p.keys, d, p.depth);
            __syncthreads();
            scores(s, sq, sk, p.depth - d < SIDE ? p.depth - d : SIDE, ty, tx);
            __syncthreads();
        }
        probabilities(p, at, key, s, max, sum, o, sp, ty, tx);
        int keys = p.keys - key < SIDE ? (int)(p.keys - key) : SIDE;
#pragma unroll
        for (int c = 0; c < PARTS; c++) {
            fetch<DENSE>(sk, p.v, at.v, key, p.keys, at.column + c * 64, p.v_depth);
            __syncthreads();
            mix(o[c], sp, sk, keys, ty, tx);
            __syncthreads();
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int64_t query = at.query + ty * 4 + i;
        float scale = seen > 0 ? 1 / sum[i] : 0;
#pragma unroll
        for (int c = 0; c < PARTS; c++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                int column = at.column + c * 64 + tx * 4 + j;
                if (query < p.queries && column < p.v_depth)
                    rf_store_from_float((void *)p.y.data, p.y.dtype,
                                        at.y + query * p.y.stride[2] + column * p.y.stride[3],
                                        o[c][i][j] * scale);
            }
    }
}

extern "C" const rf_cuda_entry rf_cuda_attention_entries[RF_CUDA_ATTENTION_ENTRIES] = {
    RF_ENTRY("attention_any_64", rf_cuda_attention_params, attention<false, 64>),
    RF_ENTRY("attention_any_128", rf_cuda_attention_params, attention<false, 128>),
    RF_ENTRY("attention_any_256", rf_cuda_attention_params, attention<false, 256>),
    RF_ENTRY("attention_f32_64", rf_cuda_attention_params, attention<true, 64>),
    RF_ENTRY("attention_f32_128", rf_cuda_attention_params, attention<true, 128>),
    RF_ENTRY("attention_f32_256", rf_cuda_attention_params, attention<true, 256>),
};
