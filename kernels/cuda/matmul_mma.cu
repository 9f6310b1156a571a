/* SPDX-License-Identifier: Apache-2.0
 *
 * Matrix products of f16 and bf16 on tensor cores (mma.sync m16n8k16, f32 sums).
 *
 * A block makes 128x128 of y with 8 warps of 64x32 (64 sums a thread), or 64x64 with 4 warps of
 * 32x32 when the large tiles would be too few for the device. k advances by 32 through 4 stages of
 * cp.async: 64 KB (32 KB) of shared memory, two (four) blocks on a multiprocessor, 123 to 128
 * (122 to 124) registers, no spills (ptxas, sm_90a). Per 32
 * of k the large tile moves 16 KB for 1 MFLOP.
 *
 * a and b are each taken as they lie, dense along k or along the other dim; ldmatrix transposes.
 * Shared rows are swizzled in 16-byte chunks, so that the 8 rows of an ldmatrix matrix, and the
 * chunks that neighbouring threads write, fall into different banks:
 *   dense along k: rows of 64 bytes, two of them span the banks:  chunk ^ (row / 2) % 4
 *   else:          rows of 256 (128) bytes, one for each k:       chunk ^ k % 8
 * What lies beyond an edge arrives as zeros (both along k, so that nothing odd is multiplied).
 *
 * Sums leave through the stages' memory (64 KB hold 128x128 floats): then a lane has 8 neighbours
 * of a row and reads bias and residual and writes y in 16-byte pieces.
 */
#include "kernels/cuda/matmul_tail.cuh"
#include "kernels/cuda/row.cuh"

constexpr int DEPTH = 32, STAGES = 4;

/* One operand's way to shared memory. SIDE: its part of the tile; ALONG_K: dense along k. A thread
 * brings two 16-byte chunks of a stage: the second 64 further along the other dim, or 16 along k.
 */
template <class T, int SIDE, bool ALONG_K> struct Operand {
    static constexpr int THREADS = 2 * SIDE, BYTES = SIDE * DEPTH * 2;
    static constexpr int APART = ALONG_K ? SIDE / 2 : 16;
    const T *from;
    int64_t apart, step; /* step: of DEPTH along k */
    int k, at;
    bool inside[2];

    __device__ __forceinline__ Operand(const void *data, int64_t offset, int64_t o0, int64_t o_end,
                                       int64_t stride)
        : apart(APART * stride), step(ALONG_K ? DEPTH : DEPTH * stride)
    {
        int c = threadIdx.x, o;
        if (ALONG_K) {
            o = c / 4;
            k = c % 4 * 8;
            at = o * 64 + ((c % 4) ^ (o / 2 % 4)) * 16;
            from = (const T *)data + offset + (o0 + o) * stride + k;
        } else {
            k = c / (SIDE / 8);
            o = c % (SIDE / 8) * 8;
            at = k * SIDE * 2 + ((o / 8) ^ (k % 8)) * 16;
            from = (const T *)data + offset + k * stride + o0 + o;
        }
        inside[0] = o0 + o < o_end;
        inside[1] = o0 + o + (ALONG_K ? APART : 0) < o_end;
    }
    /* Starts the next DEPTH of k, of which `left` exist; `legal`: any address that may be read. */
    __device__ __forceinline__ void fetch(unsigned char *stage, int64_t left, const void *legal)
    {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            bool valid = inside[i] && k + (ALONG_K ? 0 : i * APART) < left;
            rf_cp_async16_zfill(stage + at + i * APART * (ALONG_K ? 64 : SIDE * 2),
                                valid ? from + i * apart : legal, valid);
        }
        from += step;
    }
    /* Where a lane's row of a 16x16 piece starts: from (o, k), both multiples of 16. The matrices
     * of the piece in order: O_FIRST (o, k) (o+8, k) (o, k+8) (o+8, k+8), as a wants them; else
     * (o, k) (o, k+8) (o+8, k) (o+8, k+8), as two columns of b want them. */
    template <bool O_FIRST>
    __device__ __forceinline__ void piece(uint32_t (&r)[4], const unsigned char *stage, int o,
                                          int k0) const
    {
        int lane = threadIdx.x % 32, low = lane / 8 % 2, high = lane / 16;
        o += (O_FIRST ? low : high) * 8;
        k0 += (O_FIRST ? high : low) * 8;
        if (ALONG_K) {
            o += lane % 8;
            rf_ldmatrix_x4(r, stage + o * 64 + ((k0 / 8) ^ (o / 2 % 4)) * 16);
        } else {
            k0 += lane % 8;
            rf_ldmatrix_x4_trans(r, stage + k0 * SIDE * 2 + ((o / 8) ^ (k0 % 8)) * 16);
        }
    }
};

/* The tail for 8 neighbours of a row, where all of them exist and y can be written in pieces. */
__device__ __forceinline__ void finish8(const rf_cuda_matmul_params &p, const batch_offsets &at,
                                        int64_t row, int64_t col, float (&v)[8])
{
#pragma unroll
    for (int i = 0; i < 8; i++)
        v[i] *= p.alpha;
    int64_t bias = at.bias + row * p.bias.row + col * p.bias.col;
    if (p.bias.data && p.bias.by8) {
        float x[8];
        rf_load8(x, p.bias.data, p.bias.dtype, bias);
#pragma unroll
        for (int i = 0; i < 8; i++)
            v[i] += x[i];
    } else if (p.bias.data) {
#pragma unroll
        for (int i = 0; i < 8; i++)
            v[i] += rf_load_as_float(p.bias.data, p.bias.dtype, bias + i * p.bias.col);
    }
    if (p.act.kind != RF_CUDA_ACT_NONE) {
#pragma unroll
        for (int i = 0; i < 8; i++)
            v[i] = rf_apply_act(p.act, v[i]);
    }
    int64_t res = at.res + row * p.res.row + col * p.res.col;
    if (p.res.data && p.res.by8) {
        float x[8];
        rf_load8(x, p.res.data, p.res.dtype, res);
#pragma unroll
        for (int i = 0; i < 8; i++)
            v[i] += x[i];
    } else if (p.res.data) {
#pragma unroll
        for (int i = 0; i < 8; i++)
            v[i] += rf_load_as_float(p.res.data, p.res.dtype, res + i * p.res.col);
    }
    rf_store8((void *)p.y.data, p.y.dtype, at.y + row * p.y.row + col, v);
}

/* Where element (row, col) of the tile's sums lies: in groups of 8 floats swizzled by row, so that
 * the halves of a warp write to all banks. */
template <int TILE> __device__ __forceinline__ int staged(int row, int col)
{
    return row * TILE + (col ^ (row % 4 * 8));
}

/* A warp's sums of MT x 4 mma tiles, to the stage. */
template <int TILE, int MT>
__device__ __forceinline__ void stage_sums(float *stage, const float (&acc)[MT][4][4], int row,
                                           int col)
{
    int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int i = 0; i < MT; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int h = 0; h < 2; h++)
                rf_shared_store(
                    (float2 *)(stage + staged<TILE>(row + i * 16 + g + 8 * h, col + j * 8 + t * 2)),
                    float2{acc[i][j][2 * h], acc[i][j][2 * h + 1]});
}

/* The staged tile to y, 8 neighbours of a row at a time. */
template <int TILE>
__device__ __forceinline__ void store_tile(const rf_cuda_matmul_params &p, int64_t z,
                                           const float *stage, int64_t row0, int64_t col0)
{
    batch_offsets at = batch_at(p, z);
#pragma unroll 1
    for (int i = threadIdx.x; i < TILE * TILE / 8; i += 2 * TILE) {
        int r = i / (TILE / 8), c = i % (TILE / 8) * 8;
        int64_t row = row0 + r, col = col0 + c;
        if (row >= p.m || col >= p.n)
            continue;
        float v[8];
#pragma unroll
        for (int k = 0; k < 8; k += 4) {
            float4 x = rf_shared_load((const float4 *)(stage + staged<TILE>(r, c) + k));
            v[k] = x.x, v[k + 1] = x.y, v[k + 2] = x.z, v[k + 3] = x.w;
        }
        if (p.y.by8) {
            finish8(p, at, row, col, v);
        } else {
#pragma unroll
            for (int k = 0; k < 8; k++)
                if (col + k < p.n)
                    finish(p, at, row, col + k, v[k]);
        }
    }
}

/* Tiles in bands of 8 rows of tiles, so that blocks that run together share a and b in L2. */
__device__ __forceinline__ void tile_of(int64_t i, int64_t tiles_m, int64_t tiles_n, int64_t *tm,
                                        int64_t *tn)
{
    constexpr int BAND = 8;
    int64_t band = i / (BAND * tiles_n), first = band * BAND, in_band = i - band * BAND * tiles_n;
    int64_t height = tiles_m - first < BAND ? tiles_m - first : BAND;
    *tm = first + in_band % height;
    *tn = in_band / height;
}

template <class T, int TILE, bool A_ALONG_K, bool B_ALONG_K>
__global__ void __launch_bounds__(2 * TILE, TILE == 128 ? 2 : 4)
    matmul_mma(const rf_cuda_matmul_params p)
{
    using A = Operand<T, TILE, A_ALONG_K>;
    using B = Operand<T, TILE, B_ALONG_K>;
    constexpr int MT = TILE / 32, STAGE = A::BYTES + B::BYTES;
    unsigned char *shared = RF_SHARED(STAGES * STAGE);
    int64_t tm, tn, steps = (p.k + DEPTH - 1) / DEPTH;
    tile_of(blockIdx.x, (p.m + TILE - 1) / TILE, (p.n + TILE - 1) / TILE, &tm, &tn);
    int warp = threadIdx.x / 32;
    int row = warp / (TILE / 32) * (TILE / 2), col = warp % (TILE / 32) * 32;
    for (int64_t z = blockIdx.y; z < p.batches; z += gridDim.y) {
        batch_offsets at = batch_at(p, z);
        A a(p.a.data, at.a, tm * TILE, p.m, A_ALONG_K ? p.a.row : p.a.col);
        B b(p.b.data, at.b, tn * TILE, p.n, B_ALONG_K ? p.b.col : p.b.row);
        float acc[MT][4][4] = {};
        auto fetch = [&](int64_t s) {
            if (s < steps) {
                unsigned char *stage = shared + s % STAGES * STAGE;
                a.fetch(stage, p.k - s * DEPTH, p.a.data);
                b.fetch(stage + A::BYTES, p.k - s * DEPTH, p.b.data);
            }
            rf_cp_commit(); /* empty groups keep the count */
        };
        for (int s = 0; s < STAGES - 1; s++)
            fetch(s);
        for (int64_t s = 0; s < steps; s++) {
            rf_cp_wait<STAGES - 2>();
            __syncthreads();
            fetch(s + STAGES - 1);
            const unsigned char *sa = shared + s % STAGES * STAGE, *sb = sa + A::BYTES;
#pragma unroll
            for (int k = 0; k < DEPTH; k += 16) {
                uint32_t fa[MT][4], fb[2][4];
#pragma unroll
                for (int i = 0; i < MT; i++)
                    a.template piece<true>(fa[i], sa, row + i * 16, k);
#pragma unroll
                for (int j = 0; j < 2; j++)
                    b.template piece<false>(fb[j], sb, col + j * 16, k);
#pragma unroll
                for (int i = 0; i < MT; i++)
#pragma unroll
                    for (int j = 0; j < 4; j++) {
                        const uint32_t pair[2] = {fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]};
                        rf_mma<T>(acc[i][j], fa[i], pair);
                    }
            }
        }
        rf_cp_wait<0>();
        __syncthreads();
        stage_sums<TILE, MT>((float *)shared, acc, row, col);
        __syncthreads();
        store_tile<TILE>(p, z, (const float *)shared, tm * TILE, tn * TILE);
        __syncthreads();
    }
}

#define ORDERS(name, T, TILE)                                                                      \
    RF_ENTRY(name "_nn", rf_cuda_matmul_params, matmul_mma<T, TILE, true, false>),                 \
        RF_ENTRY(name "_nt", rf_cuda_matmul_params, matmul_mma<T, TILE, true, true>),              \
        RF_ENTRY(name "_tn", rf_cuda_matmul_params, matmul_mma<T, TILE, false, false>),            \
        RF_ENTRY(name "_tt", rf_cuda_matmul_params, matmul_mma<T, TILE, false, true>)
extern "C" const rf_cuda_entry rf_cuda_matmul_mma_entries[RF_CUDA_MATMUL_MMA_ENTRIES] = {
    ORDERS("matmul_mma_f16_128", __half, 128),
    ORDERS("matmul_mma_f16_64", __half, 64),
    ORDERS("matmul_mma_bf16_128", __nv_bfloat16, 128),
    ORDERS("matmul_mma_bf16_64", __nv_bfloat16, 64),
};
