/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention of f16 and bf16 on tensor cores (mma.sync m16n8k16), scores, statistics and sums in
 * f32; the order of work is that of FlashAttention-2 (Dao, arXiv 2307.08691).
 *
 * A block of 4 warps has 64 MT queries, a warp 16 MT of them with all their scores, so statistics
 * stay within quads of lanes and P goes from the accumulators of the first product to the
 * operands of the second without leaving registers. Keys come in blocks of 64. K of the next block
 * travels (cp.async) during P V, V during Q K^T: three squares of shared memory are enough, and
 * two or more blocks share a multiprocessor. MT = 2 feeds 4 mma from each ldmatrix of K and V
 * instead of 2, which is what shared memory can sustain; it needs depths up to 64 for its
 * registers.
 *
 * COLUMNS of v in a block; deeper v (a VAE's single head of 512) takes more blocks, each with the
 * scores again. Depths are multiples of 8; what is missing to 16, and keys and queries beyond the
 * end, arrive as zeros. Rows in shared memory have 8 halves of padding: an odd number of 16-byte
 * chunks, so the 8 rows of an ldmatrix matrix lie in different banks.
 *
 * ptxas (sm_90a), no spills; shared memory at the largest depth, blocks on a multiprocessor of H100:
 *   128 queries, v 64: 240 registers, 36 KB, 2    64 queries, v 64: 128 registers, 27 KB, 4
 *   64 queries, v 128: 164 registers, 51 KB, 3    64 queries, v 256: 242 registers, 99 KB, 2
 * The depth-512 head needs 163 KB: not every device has that, `can` asks.
 */
#include "kernels/cuda/attention.h"
#include "kernels/cuda/device.cuh"

constexpr int KEYS = 64, THREADS = 128;

template <class T> __device__ __forceinline__ uint32_t pack2(float low, float high);
template <> __device__ __forceinline__ uint32_t pack2<__half>(float low, float high)
{
    union {
        __half2 pair;
        uint32_t bits;
    } u = {__floats2half2_rn(low, high)};
    return u.bits;
}
template <> __device__ __forceinline__ uint32_t pack2<__nv_bfloat16>(float low, float high)
{
    union {
        __nv_bfloat162 pair;
        uint32_t bits;
    } u = {__floats2bfloat162_rn(low, high)};
    return u.bits;
}

/* Two neighbours as floats, and back; `at` even. */
__device__ __forceinline__ float2 load_pair(const void *data, int32_t dtype, int64_t at)
{
    if (dtype == RF_F32)
        return rf_load((const float2 *)((const float *)data + at));
    union {
        uint32_t bits;
        __half h[2];
        __nv_bfloat16 b[2];
    } u = {rf_load((const uint32_t *)((const uint16_t *)data + at))};
    if (dtype == RF_F16)
        return {__half2float(u.h[0]), __half2float(u.h[1])};
    return {__bfloat162float(u.b[0]), __bfloat162float(u.b[1])};
}
__device__ __forceinline__ void store_pair(void *data, int32_t dtype, int64_t at, float a, float b)
{
    if (dtype == RF_F32)
        rf_store((float2 *)((float *)data + at), float2{a, b});
    else
        rf_store((uint32_t *)((uint16_t *)data + at),
                 dtype == RF_F16 ? pack2<__half>(a, b) : pack2<__nv_bfloat16>(a, b));
}

/* Starts the copy of ROWS rows from row0 on, `depth` columns of them, to rows `pitch` apart. */
template <class T, int ROWS>
__device__ __forceinline__ void fetch(T *to, const T *from, int64_t stride, int64_t row0,
                                      int64_t rows, int depth, int pitch)
{
    const unsigned chunks = (unsigned)(pitch - 8) / 8;
    for (unsigned i = threadIdx.x; i < ROWS * chunks; i += THREADS) {
        unsigned r = i / chunks, c = (i - r * chunks) * 8;
        bool valid = row0 + r < rows && (int)c < depth;
        rf_cp_async16_zfill(to + r * pitch + c, valid ? from + (row0 + r) * stride + c : from,
                            valid);
    }
}

/* s = Q K^T for this warp's queries. */
template <class T, int MT>
__device__ __forceinline__ void scores(float (&s)[MT][8][4], const T *sq, const T *sk, int pitch)
{
    int lane = threadIdx.x % 32, low = lane / 8 % 2, high = lane / 16;
    const T *q = sq + (threadIdx.x / 32 * 16 * MT + lane % 16) * pitch + high * 8;
    const T *k = sk + (high * 8 + lane % 8) * pitch + low * 8;
#pragma unroll
    for (int i = 0; i < MT; i++)
#pragma unroll
        for (int j = 0; j < 8; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                s[i][j][e] = 0;
#pragma unroll 2
    for (int d = 0; d < pitch - 8; d += 16) {
        uint32_t a[MT][4];
#pragma unroll
        for (int i = 0; i < MT; i++)
            rf_ldmatrix_x4(a[i], q + i * 16 * pitch + d);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            uint32_t b[4];
            rf_ldmatrix_x4(b, k + j * 16 * pitch + d);
            const uint32_t b0[2] = {b[0], b[1]}, b1[2] = {b[2], b[3]};
#pragma unroll
            for (int i = 0; i < MT; i++) {
                rf_mma<T>(s[i][2 * j], a[i], b0);
                rf_mma<T>(s[i][2 * j + 1], a[i], b1);
            }
        }
    }
}

/* o += P V; `columns` (rounded up to 16) of v are there. */
template <class T, int MT, int COLUMNS>
__device__ __forceinline__ void mix(float (&o)[MT][COLUMNS / 8][4], const float (&s)[MT][8][4],
                                    const T *sv, int pitch)
{
    int lane = threadIdx.x % 32;
    const T *v = sv + lane % 16 * pitch + lane / 16 * 8;
#pragma unroll
    for (int k = 0; k < 4; k++) {
        uint32_t a[MT][4];
#pragma unroll
        for (int i = 0; i < MT; i++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                a[i][e] =
                    pack2<T>(s[i][2 * k + e / 2][e % 2 * 2], s[i][2 * k + e / 2][e % 2 * 2 + 1]);
#pragma unroll
        for (int c = 0; c < COLUMNS / 16; c++) {
            if (c * 16 >= pitch - 8)
                break;
            uint32_t b[4];
            rf_ldmatrix_x4_trans(b, v + k * 16 * pitch + c * 16);
            const uint32_t b0[2] = {b[0], b[1]}, b1[2] = {b[2], b[3]};
#pragma unroll
            for (int i = 0; i < MT; i++) {
                rf_mma<T>(o[i][2 * c], a[i], b0);
                rf_mma<T>(o[i][2 * c + 1], a[i], b1);
            }
        }
    }
}

/* Scales the scores of one of a lane's queries, adds the bias, hides what the query may not see. */
__device__ __forceinline__ void adjust(const rf_cuda_attention_params &p, float (&s)[8][4], int h,
                                       int64_t bias, int64_t query, int64_t key, bool edge)
{
#pragma unroll
    for (int j = 0; j < 8; j++) {
        float *pair = s[j] + 2 * h;
        pair[0] *= p.scale;
        pair[1] *= p.scale;
        int64_t k = key + j * 8;
        if (p.bias.data && query < p.queries) {
            int64_t at = bias + query * p.bias.stride[2] + k * p.bias.stride[3];
            if (p.bias_pairs && k < p.keys) {
                float2 b = load_pair(p.bias.data, p.bias.dtype, at);
                pair[0] += b.x;
                pair[1] += b.y;
            } else {
                for (int e = 0; e < 2; e++)
                    if (k + e < p.keys)
                        pair[e] +=
                            rf_load_as_float(p.bias.data, p.bias.dtype, at + e * p.bias.stride[3]);
            }
        }
        for (int e = 0; e < 2 && edge; e++)
            if (k + e >= p.keys || k + e > query + p.hidden)
                pair[e] = -INFINITY;
    }
}

/* Scores of one query become probabilities under the new maximum; returns by how much older sums
 * fade. While nothing but -inf was seen there is no maximum to subtract; a query that never sees
 * more ends as 0 / 0, which is what softmax gives. `sum` is this lane's part of it. */
__device__ __forceinline__ float advance(float (&s)[8][4], int h, float *max, float *sum)
{
    float top = *max;
#pragma unroll
    for (int j = 0; j < 8; j++)
        top = fmaxf(top, fmaxf(s[j][2 * h], s[j][2 * h + 1]));
    top = fmaxf(top, __shfl_xor_sync(RF_FULL_MASK, top, 1));
    top = fmaxf(top, __shfl_xor_sync(RF_FULL_MASK, top, 2));
    constexpr float LOG2E = 1.4426950408889634f;
    float shift = top == -INFINITY ? 0.0f : top, fade = exp2f((*max - shift) * LOG2E), add = 0;
#pragma unroll
    for (int j = 0; j < 8; j++)
#pragma unroll
        for (int e = 0; e < 2; e++)
            add += s[j][2 * h + e] = exp2f((s[j][2 * h + e] - shift) * LOG2E);
    *sum = *sum * fade + add;
    *max = top;
    return fade;
}

/* Scores of a block of keys to probabilities; what was summed before fades. */
template <int MT, int COLUMNS>
__device__ __forceinline__ void probabilities(const rf_cuda_attention_params &p, int64_t bias,
                                              int64_t query, int64_t key, bool edge,
                                              float (&s)[MT][8][4], float (&max)[MT][2],
                                              float (&sum)[MT][2], float (&o)[MT][COLUMNS / 8][4])
{
#pragma unroll
    for (int i = 0; i < MT; i++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            adjust(p, s[i], r, bias, query + i * 16 + r * 8, key, edge);
            float fade = advance(s[i], r, &max[i][r], &sum[i][r]);
#pragma unroll
            for (int c = 0; c < COLUMNS / 8; c++) {
                o[i][c][2 * r] *= fade;
                o[i][c][2 * r + 1] *= fade;
            }
        }
}

/* Writes one query's columns. */
template <int COLUMNS>
__device__ __forceinline__ void store_row(const rf_cuda_attention_params &p,
                                          const float (&o)[COLUMNS / 8][4], int h, float sum,
                                          int64_t at, int columns)
{
    sum += __shfl_xor_sync(RF_FULL_MASK, sum, 1);
    sum += __shfl_xor_sync(RF_FULL_MASK, sum, 2);
    float scale = 1 / sum;
    if (at < 0)
        return;
#pragma unroll
    for (int c = 0; c < COLUMNS / 8; c++) {
        int column = c * 8 + threadIdx.x % 4 * 2;
        if (column >= columns)
            continue;
        float a = o[c][2 * h] * scale, b = o[c][2 * h + 1] * scale;
        if (p.y_pairs) {
            store_pair((void *)p.y.data, p.y.dtype, at + column, a, b);
        } else {
            rf_store_from_float((void *)p.y.data, p.y.dtype, at + column * p.y.stride[3], a);
            rf_store_from_float((void *)p.y.data, p.y.dtype, at + (column + 1) * p.y.stride[3], b);
        }
    }
}

template <class T, int MT, int COLUMNS, int BLOCKS>
__global__ void __launch_bounds__(THREADS, BLOCKS) attention_mma(const rf_cuda_attention_params p)
{
    constexpr int QUERIES = 64 * MT;
    int64_t tiles = (p.queries + QUERIES - 1) / QUERIES,
            slices = (p.v_depth + COLUMNS - 1) / COLUMNS;
    int64_t head = blockIdx.x / slices / tiles, n = head / p.heads, h = head - n * p.heads,
            kv = h / p.group;
    int64_t query0 = blockIdx.x / slices % tiles * QUERIES;
    int column0 = (int)(blockIdx.x % slices) * COLUMNS;
    int columns = p.v_depth - column0 < COLUMNS ? p.v_depth - column0 : COLUMNS;
    int pitch = (p.depth + 15) / 16 * 16 + 8, v_pitch = (columns + 15) / 16 * 16 + 8;
    T *sq = (T *)RF_SHARED(((QUERIES + KEYS) * pitch + KEYS * v_pitch) * sizeof(T)),
      *sk = sq + QUERIES * pitch, *sv = sk + KEYS * pitch;
    const T *q = (const T *)p.q.data + n * p.q.stride[0] + h * p.q.stride[1],
            *k = (const T *)p.k.data + n * p.k.stride[0] + kv * p.k.stride[1],
            *v = (const T *)p.v.data + n * p.v.stride[0] + kv * p.v.stride[1] + column0;
    int64_t bias = n * p.bias.stride[0] + h * p.bias.stride[1];
    int lane = threadIdx.x % 32;
    int64_t query = query0 + threadIdx.x / 32 * 16 * MT + lane / 4; /* the lane's first */
    int64_t seen = query0 + QUERIES + p.hidden; /* keys that the block's last query sees */
    seen = seen < p.keys ? seen : p.keys;

    float o[MT][COLUMNS / 8][4] = {}, s[MT][8][4], max[MT][2], sum[MT][2] = {};
#pragma unroll
    for (int i = 0; i < MT; i++)
        max[i][0] = max[i][1] = -INFINITY;
    fetch<T, QUERIES>(sq, q, p.q.stride[2], query0, p.queries, p.depth, pitch);
    fetch<T, KEYS>(sk, k, p.k.stride[2], 0, p.keys, p.depth, pitch);
    rf_cp_commit();
    for (int64_t key = 0; key < seen; key += KEYS) {
        rf_cp_wait<0>();
        __syncthreads(); /* K is there, and nobody reads V any more */
        fetch<T, KEYS>(sv, v, p.v.stride[2], key, p.keys, columns, v_pitch);
        rf_cp_commit();
        scores<T, MT>(s, sq, sk, pitch);
        bool edge = key + KEYS > p.keys || key + KEYS - 1 > query0 + p.hidden;
        probabilities<MT, COLUMNS>(p, bias, query, key + lane % 4 * 2, edge, s, max, sum, o);
        rf_cp_wait<0>();
        __syncthreads(); /* V is there, and nobody reads K any more */
        if (key + KEYS < seen) {
            fetch<T, KEYS>(sk, k, p.k.stride[2], key + KEYS, p.keys, p.depth, pitch);
            rf_cp_commit();
        }
        mix<T, MT, COLUMNS>(o, s, sv, v_pitch);
    }
    rf_cp_wait<0>();
#pragma unroll
    for (int i = 0; i < MT; i++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            int64_t row = query + i * 16 + r * 8;
            int64_t at = row < p.queries ? n * p.y.stride[0] + h * p.y.stride[1] +
                                               row * p.y.stride[2] + column0 * p.y.stride[3]
                                         : -1;
            store_row<COLUMNS>(p, o[i], r, seen > 0 ? sum[i][r] : INFINITY, at, columns);
        }
}

#define KINDS(name, T)                                                                             \
    RF_ENTRY(name "_64q128", rf_cuda_attention_params, attention_mma<T, 2, 64, 2>),                \
        RF_ENTRY(name "_64", rf_cuda_attention_params, attention_mma<T, 1, 64, 4>),                \
        RF_ENTRY(name "_128", rf_cuda_attention_params, attention_mma<T, 1, 128, 3>),              \
        RF_ENTRY(name "_256", rf_cuda_attention_params, attention_mma<T, 1, 256, 2>)
extern "C" const rf_cuda_entry rf_cuda_attention_mma_entries[RF_CUDA_ATTENTION_MMA_ENTRIES] = {
    KINDS("attention_mma_f16", __half),
    KINDS("attention_mma_bf16", __nv_bfloat16),
};
