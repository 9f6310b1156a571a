/* SPDX-License-Identifier: Apache-2.0
 *
 * Matrix products on CUDA cores, in f32.
 *
 * matmul_f32: tiles of (16 TM)^2, 256 threads with TM^2 sums each, double buffered: the next slices
 * (8 deep for 128, 16 for 64) travel to registers while this one is multiplied. Of 128: 32 KB of
 * shared memory, two blocks to a multiprocessor, 64 FMA per thread for 4 16-byte shared loads per
 * step of k, and 2 * 128 * 4 bytes of memory for 128^2 FMA. The 64 variant is for products that
 * would leave multiprocessors idle.
 *
 * matmul_columns: a warp for each column and up to 4 rows, lanes along k; b is read once, which is
 * all the time there is to spend (time embeddings, a classifier's last layer).
 *
 * matmul_any: 64x64 tiles of elements fetched one at a time, whatever their strides and dtypes.
 */
#include "kernels/cuda/matmul_tail.cuh"

constexpr int DEPTH = 16; /* of matmul_any */

/* acc += slices: a[DEPTH][tile], b[DEPTH][tile]. A thread has groups of 4 rows and of 4 columns, 64
 * apart, so that neighbouring threads read neighbouring 16-byte words. */
template <int TM, int DEPTH>
__device__ __forceinline__ void multiply(float (&acc)[TM][TM], const float *a, const float *b,
                                         int pitch, int ty, int tx)
{
#pragma unroll 2 /* more would spill */
    for (int k = 0; k < DEPTH; k++) {
        float x[TM], y[TM];
#pragma unroll
        for (int i = 0; i < TM; i += 4) {
            float4 va = rf_shared_load((const float4 *)(a + k * pitch + ty * 4 + i * 16));
            float4 vb = rf_shared_load((const float4 *)(b + k * pitch + tx * 4 + i * 16));
            x[i] = va.x, x[i + 1] = va.y, x[i + 2] = va.z, x[i + 3] = va.w;
            y[i] = vb.x, y[i + 1] = vb.y, y[i + 2] = vb.z, y[i + 3] = vb.w;
        }
#pragma unroll
        for (int i = 0; i < TM; i++)
#pragma unroll
            for (int j = 0; j < TM; j++)
                acc[i][j] += x[i] * y[j];
    }
}

/* The tile leaves through shared memory (64 rows of 16 TM floats at a time), so that lanes lie
 * along a row of y and the tail's code exists once. All threads must be done with `shared`; again
 * after.
 */
template <int TM>
__device__ __forceinline__ void store_tile(const rf_cuda_matmul_params &p, const batch_offsets &at,
                                           const float (&acc)[TM][TM], float *shared, int64_t row0,
                                           int64_t col0, int ty, int tx)
{
    constexpr int WIDTH = 16 * TM;
#pragma unroll
    for (int band = 0; band < TM / 4; band++) {
        __syncthreads();
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < TM; j += 4) {
                const float *v = acc[band * 4 + i] + j;
                rf_shared_store((float4 *)(shared + (ty * 4 + i) * WIDTH + tx * 4 + j * 16),
                                float4{v[0], v[1], v[2], v[3]});
            }
        __syncthreads();
#pragma unroll 1
        for (int i = threadIdx.x; i < 64 * WIDTH; i += 256) {
            int64_t row = row0 + band * 64 + i / WIDTH, col = col0 + i % WIDTH;
            if (row < p.m && col < p.n)
                finish(p, at, row, col, rf_shared_load(shared + i));
        }
    }
    __syncthreads();
}

/* A matrix's way to shared memory as [DEPTH][TILE], slice by slice, from memory dense along k or
 * along the other dim (o); `stride` is that of the dim that is not dense. */
template <int TILE, int DEPTH> struct Slices {
    static constexpr int VECTORS = TILE * DEPTH / 4 / 256, PITCH = TILE + 4;
    const float *from[VECTORS];
    int64_t step;
    int32_t left; /* of k, for this thread's first vector */
    bool along_k, inside[VECTORS];
    float4 held[VECTORS];

    __device__ __forceinline__ Slices(const void *data, int64_t at, int64_t o0, int64_t o_end,
                                      int64_t k_end, int64_t stride, bool along)
        : along_k(along)
    {
        step = along_k ? DEPTH : DEPTH * stride;
        left = (int32_t)k_end -
               (int32_t)(along_k ? threadIdx.x % (DEPTH / 4) * 4 : threadIdx.x / (TILE / 4));
#pragma unroll
        for (int i = 0; i < VECTORS; i++) {
            int v = threadIdx.x + 256 * i;
            int64_t o = o0 + (along_k ? v / (DEPTH / 4) : v % (TILE / 4) * 4);
            int64_t k = along_k ? v % (DEPTH / 4) * 4 : v / (TILE / 4);
            from[i] = (const float *)data + at + (along_k ? o * stride + k : k * stride + o);
            inside[i] = o < o_end;
        }
    }
    __device__ __forceinline__ void fetch()
    {
#pragma unroll
        for (int i = 0; i < VECTORS; i++) {
            held[i] = {0, 0, 0, 0};
            if (inside[i] && left > (along_k ? 0 : i * 256 / (TILE / 4)))
                held[i] = rf_load((const float4 *)from[i]);
            from[i] += step;
        }
        left -= DEPTH;
    }
    __device__ __forceinline__ void put(float *to) const
    {
        int v = threadIdx.x;
        if (along_k) {
            to += v % (DEPTH / 4) * 4 * PITCH + v / (DEPTH / 4);
#pragma unroll
            for (int i = 0; i < VECTORS; i++, to += 256 / (DEPTH / 4)) {
                rf_shared_store(to, held[i].x);
                rf_shared_store(to + PITCH, held[i].y);
                rf_shared_store(to + 2 * PITCH, held[i].z);
                rf_shared_store(to + 3 * PITCH, held[i].w);
            }
        } else {
            to += v / (TILE / 4) * PITCH + v % (TILE / 4) * 4;
#pragma unroll
            for (int i = 0; i < VECTORS; i++, to += 256 / (TILE / 4) * PITCH)
                rf_shared_store((float4 *)to, held[i]);
        }
    }
};

template <int TM>
__global__ void __launch_bounds__(256, 2) matmul_f32(const rf_cuda_matmul_params p)
{
    constexpr int TILE = 16 * TM, DEPTH = 64 / TM, PITCH = TILE + 4, ONE = DEPTH * PITCH;
    float *shared = (float *)RF_SHARED(RF_CUDA_MATMUL_F32_SHARED(TILE));
    unsigned tiles_n = (unsigned)((p.n + TILE - 1) / TILE);
    unsigned tm = blockIdx.x / tiles_n, tn = blockIdx.x - tm * tiles_n;
    int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
    bool a_along = p.a.col == 1, b_along = p.b.col != 1;
    for (int64_t z = blockIdx.y; z < p.batches; z += gridDim.y) {
        batch_offsets at = batch_at(p, z);
        Slices<TILE, DEPTH> a(p.a.data, at.a, (int64_t)tm * TILE, p.m, p.k,
                              a_along ? p.a.row : p.a.col, a_along);
        Slices<TILE, DEPTH> b(p.b.data, at.b, (int64_t)tn * TILE, p.n, p.k,
                              b_along ? p.b.col : p.b.row, b_along);
        float acc[TM][TM] = {};
        int stage = 0;
        a.fetch();
        b.fetch();
        for (int32_t k = 0; k < (int32_t)p.k; k += DEPTH, stage ^= 1) {
            float *sa = shared + stage * 2 * ONE, *sb = sa + ONE;
            a.put(sa);
            b.put(sb);
            __syncthreads(); /* one is enough: the next slice goes to the other half */
            a.fetch();
            b.fetch();
            multiply<TM, DEPTH>(acc, sa, sb, PITCH, ty, tx);
        }
        store_tile<TM>(p, batch_at(p, z), acc, shared, (int64_t)tm * TILE, (int64_t)tn * TILE, ty,
                       tx);
    }
}

/* The same for anything: lanes run along the dim that is dense. */
__device__ __forceinline__ void fetch_any(float *to, const rf_cuda_matrix &t, int64_t base,
                                          int64_t o0, int64_t o_end, int64_t o_stride, int64_t k0,
                                          int64_t k_end, int64_t k_stride)
{
    bool along_k = k_stride == 1;
    for (int i = threadIdx.x; i < 64 * DEPTH; i += 256) {
        int o = along_k ? i / DEPTH : i % 64, k = along_k ? i % DEPTH : i / 64;
        float v = 0;
        if (o0 + o < o_end && k0 + k < k_end)
            v = rf_load_as_float(t.data, t.dtype, base + (o0 + o) * o_stride + (k0 + k) * k_stride);
        rf_shared_store(to + k * 68 + o, v);
    }
}

__global__ void __launch_bounds__(256, 3) matmul_any(const rf_cuda_matmul_params p)
{
    constexpr int TILE = 64, PITCH = 68;
    float *sa = (float *)RF_SHARED(TILE * TILE * sizeof(float)), *sb = sa + DEPTH * PITCH;
    int64_t tiles_n = (p.n + TILE - 1) / TILE;
    int64_t row0 = blockIdx.x / tiles_n * TILE, col0 = blockIdx.x % tiles_n * TILE;
    int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
    for (int64_t z = blockIdx.y; z < p.batches; z += gridDim.y) {
        batch_offsets at = batch_at(p, z);
        float acc[4][4] = {};
        for (int64_t k = 0; k < p.k; k += DEPTH) {
            fetch_any(sa, p.a, at.a, row0, p.m, p.a.row, k, p.k, p.a.col);
            fetch_any(sb, p.b, at.b, col0, p.n, p.b.col, k, p.k, p.b.row);
            __syncthreads();
            multiply<4, DEPTH>(acc, sa, sb, PITCH, ty, tx);
            __syncthreads();
        }
        store_tile<4>(p, at, acc, sa, row0, col0, ty, tx);
    }
}

__global__ void __launch_bounds__(256) matmul_columns(const rf_cuda_matmul_params p)
{
    int64_t col = (int64_t)blockIdx.x * 8 + threadIdx.x / 32;
    int lane = threadIdx.x % 32;
    if (col >= p.n) /* whole warps */
        return;
    for (int64_t z = blockIdx.y; z < p.batches; z += gridDim.y) {
        batch_offsets at = batch_at(p, z);
        float acc[4] = {};
#pragma unroll 4
        for (int64_t k = lane; k < p.k; k += 32) {
            float w = rf_load_as_float(p.b.data, p.b.dtype, at.b + k * p.b.row + col * p.b.col);
#pragma unroll
            for (int i = 0; i < 4; i++)
                if (i < p.m)
                    acc[i] +=
                        w * rf_load_as_float(p.a.data, p.a.dtype, at.a + i * p.a.row + k * p.a.col);
        }
        float mine = 0; /* lane i finishes row i */
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float sum = rf_warp_sum(acc[i]);
            mine = lane == i ? sum : mine;
        }
        if (lane < p.m)
            finish(p, at, lane, col, mine);
    }
}

extern "C" const rf_cuda_entry rf_cuda_matmul_entries[RF_CUDA_MATMUL_ENTRIES] = {
    RF_ENTRY("matmul_any", rf_cuda_matmul_params, matmul_any),
    RF_ENTRY("matmul_columns", rf_cuda_matmul_params, matmul_columns),
    RF_ENTRY("matmul_f32_128", rf_cuda_matmul_params, matmul_f32<8>),
    RF_ENTRY("matmul_f32_64", rf_cuda_matmul_params, matmul_f32<4>),
};
