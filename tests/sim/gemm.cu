/* SPDX-License-Identifier: Apache-2.0
 *
 * A 64x64 tile of C per block, in 32x32 quarters per warp; two stages of cp.async, ldmatrix,
 * m16n8k16. Rows in shared memory are 40 halves apart: 80 bytes, so that the 8 rows of a matrix lie
 * in 8 different groups of 4 banks.
 */
#include "kernels/cuda/device.cuh"
#include "tests/sim/gemm.h"

namespace
{

struct Tiles {
    __half *a, *b; /* each two stages */
};

template <int MUTATION>
__device__ __forceinline__ void fill(const gemm_params &p, const Tiles &s, int stage, int k0)
{
    int row_bytes = MUTATION == GEMM_LONG_ROWS ? GEMM_ROW + 8 : GEMM_ROW;
    for (int i = (int)threadIdx.x; i < GEMM_TILE * GEMM_STEP / 8; i += GEMM_THREADS) {
        int r = i / (GEMM_STEP / 8), column = i % (GEMM_STEP / 8) * 8;
        int to = (stage * GEMM_TILE + r) * row_bytes + column;
        rf_cp_async16(s.a + to, (const __half *)p.a + (int64_t)(blockIdx.y * GEMM_TILE + r) * p.k +
                                    k0 + column);
        rf_cp_async16(s.b + to, (const __half *)p.b + (int64_t)(blockIdx.x * GEMM_TILE + r) * p.k +
                                    k0 + column);
    }
    if (MUTATION != GEMM_NO_COMMIT)
        rf_cp_commit();
}

/* One step of 32 along k from a stage. */
template <int MUTATION>
__device__ __forceinline__ void multiply(float (&acc)[2][4][4], const Tiles &s, int stage, int m,
                                         int n)
{
    int lane = (int)threadIdx.x % 32;
    const __half *a_tile = s.a + (stage * GEMM_TILE + m) * GEMM_ROW;
    const __half *b_tile = s.b + (stage * GEMM_TILE + n) * GEMM_ROW;
    for (int k = 0; k < GEMM_STEP; k += 16) {
        uint32_t a[2][4], b[2][4];
        int a_row = MUTATION == GEMM_LDMATRIX_LANE ? lane % 8 : lane % 16;
        for (int i = 0; i < 2; i++)
            rf_ldmatrix_x4(a[i], a_tile + (i * 16 + a_row) * GEMM_ROW + k + lane / 16 * 8);
        for (int j = 0; j < 2; j++)
            rf_ldmatrix_x4(b[j], b_tile + (j * 16 + lane % 8 + lane / 16 * 8) * GEMM_ROW + k +
                                     lane / 8 % 2 * 8);
        for (int i = 0; i < 2; i++) {
            uint32_t fa[4] = {a[i][0], a[i][1], a[i][2], a[i][3]};
            if (MUTATION == GEMM_SWAPPED_A)
                fa[1] = a[i][2], fa[2] = a[i][1];
            for (int j = 0; j < 4; j++) {
                int first = MUTATION == GEMM_SWAPPED_B;
                uint32_t fb[2] = {b[j / 2][j % 2 * 2 + first], b[j / 2][j % 2 * 2 + 1 - first]};
                rf_mma<__half>(acc[i][j], fa, fb);
            }
        }
    }
}

template <int MUTATION>
__device__ __forceinline__ void finish(const gemm_params &p, const float (&acc)[2][4][4], int m,
                                       int n)
{
    int group = (int)threadIdx.x % 32 / 4, t = (int)threadIdx.x % 4;
    for (int i = 0; i < 2; i++)
        for (int h = 0; h < 2; h++) {
            int row = m + i * 16 + h * 8 + group;
            __half *c = (__half *)p.c + (int64_t)row * p.n + n + t * 2;
            float sum = 0;
            for (int j = 0; j < 4; j++) {
                __half2 v = __floats2half2_rn(acc[i][j][2 * h], acc[i][j][2 * h + 1]);
                int at = j * 8 + (MUTATION == GEMM_MISALIGNED_STORE && j == 2);
                rf_store((__half2 *)(c + at), v);
                sum += fabsf(__low2float(v)) + fabsf(__high2float(v));
            }
            unsigned mask = MUTATION == GEMM_HALF_MASK ? 0xffffu : RF_FULL_MASK;
            if (MUTATION != GEMM_SHUFFLE_IN_HALF_A_WARP || group < 4) {
                sum += __shfl_xor_sync(mask, sum, 1);
                sum += __shfl_xor_sync(mask, sum, 2);
            }
            if (t == 0)
                rf_atomic_add(p.row_sum + row, sum);
        }
}

template <int MUTATION> __global__ void __launch_bounds__(GEMM_THREADS) gemm(const gemm_params p)
{
    unsigned char *shared = RF_SHARED(GEMM_SHARED);
    Tiles s = {(__half *)shared, (__half *)shared + 2 * GEMM_TILE * GEMM_ROW};
    int warp = (int)threadIdx.x / 32, m = warp % 2 * 32, n = warp / 2 * 32;
    float acc[2][4][4] = {};
    if (MUTATION == GEMM_EARLY_EXIT && threadIdx.x == 77)
        return;
    fill<MUTATION>(p, s, 0, 0);
    int end = p.k + (MUTATION == GEMM_ONE_TILE_TOO_MANY ? GEMM_STEP : 0);
    for (int k0 = 0, stage = 0; k0 < end; k0 += GEMM_STEP, stage ^= 1) {
        if (k0 + GEMM_STEP < end)
            fill<MUTATION>(p, s, stage ^ 1, k0 + GEMM_STEP);
        if (MUTATION == GEMM_WAIT_ONE_SHORT || (MUTATION != GEMM_NO_WAIT && k0 + GEMM_STEP < end))
            rf_cp_wait<1>();
        else if (MUTATION != GEMM_NO_WAIT)
            rf_cp_wait<0>();
        if (MUTATION != GEMM_NO_SYNC_BEFORE_USE &&
            (MUTATION != GEMM_SYNC_IN_HALF_A_BLOCK || warp < 2))
            __syncthreads();
        multiply<MUTATION>(acc, s, stage, m, n);
        if (MUTATION != GEMM_NO_SYNC_BEFORE_REFILL)
            __syncthreads();
    }
    finish<MUTATION>(p, acc, (int)blockIdx.y * GEMM_TILE + m, (int)blockIdx.x * GEMM_TILE + n);
}

} // namespace

#define GEMM_ENTRY(mutation) RF_ENTRY(#mutation, gemm_params, gemm<mutation>)
extern "C" const rf_cuda_entry gemm_entries[GEMM_ENTRIES] = {
    GEMM_ENTRY(GEMM_SOUND),
    GEMM_ENTRY(GEMM_NO_SYNC_BEFORE_USE),
    GEMM_ENTRY(GEMM_NO_SYNC_BEFORE_REFILL),
    GEMM_ENTRY(GEMM_NO_WAIT),
    GEMM_ENTRY(GEMM_WAIT_ONE_SHORT),
    GEMM_ENTRY(GEMM_NO_COMMIT),
    GEMM_ENTRY(GEMM_LDMATRIX_LANE),
    GEMM_ENTRY(GEMM_SWAPPED_A),
    GEMM_ENTRY(GEMM_SWAPPED_B),
    GEMM_ENTRY(GEMM_LONG_ROWS),
    GEMM_ENTRY(GEMM_ONE_TILE_TOO_MANY),
    GEMM_ENTRY(GEMM_MISALIGNED_STORE),
    GEMM_ENTRY(GEMM_SYNC_IN_HALF_A_BLOCK),
    GEMM_ENTRY(GEMM_SHUFFLE_IN_HALF_A_WARP),
    GEMM_ENTRY(GEMM_HALF_MASK),
    GEMM_ENTRY(GEMM_EARLY_EXIT),
};
