/* SPDX-License-Identifier: Apache-2.0
 *
 * The register block of every dense product: GEMM_MR rows of A, read by broadcasts, times a packed
 * panel of B that is GEMM_NB columns wide. A row of A may come in segments, so that a convolution
 * reads its window in place: segment s of row i starts at a + seg[s] + i * step. B lies as
 * [k][GEMM_NB] through all segments, exactly in the order of reading, which is what hardware
 * prefetchers follow best.
 *
 * 12 x 2 vectors need 24 of AVX512's 32 registers, 6 x 2 need 12 of the 16 of the older sets. Rows
 * are addressed as base + {0, 1, 2, 3} * step from every fourth row: x86 has too few general
 * registers for one pointer per row.
 */
#ifndef RF_KERNELS_CPU_GEMM_H
#define RF_KERNELS_CPU_GEMM_H

#include "kernels/cpu/vec.h"

#include <stddef.h>

#define GEMM_NV 2
#define GEMM_NB (GEMM_NV * VL)
#if VL == 16
#define GEMM_MR 12
#else
#define GEMM_MR 6
#endif

typedef struct gemm_a {
    const float *base;
    const int64_t *seg; /* elements from base to each segment; NULL: one segment at base */
    int64_t n_seg, seg_len;
    int64_t step; /* elements from row to row */
} gemm_a;

/* tile[i * ld + j] = (keep ? tile : 0) + sum over k of A[i][k] * panel[k][j], j < nv * VL. */
static inline __attribute__((always_inline)) void gemm_body(const int mr, const int nv, float *tile,
                                                            int64_t ld, const gemm_a *a,
                                                            const float *panel, bool keep)
{
    vf acc[GEMM_MR][GEMM_NV];
    const ptrdiff_t step1 = a->step * (ptrdiff_t)sizeof(float), step3 = step1 * 3;
#pragma GCC unroll 12
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++)
            acc[i][j] = keep ? vload(tile + i * ld + j * VL) : vset1(0);
    for (int64_t s = 0; s < a->n_seg; s++) {
        const char *row[3];
        row[0] = (const char *)(a->base + (a->seg ? a->seg[s] : 0));
        row[1] = row[0] + step1 * 4;
        row[2] = row[1] + step1 * 4;
        for (int64_t k = a->seg_len; k > 0; k--) {
            vf b[GEMM_NV];
#pragma GCC unroll 2
            for (int j = 0; j < nv; j++)
                b[j] = vload(panel + j * VL);
#pragma GCC unroll 12
            for (int i = 0; i < mr; i++) {
                const char *p = row[i / 4];
                ptrdiff_t at = i % 4 == 3 ? step3 : step1 * (i % 4);
                vf x = vset1(*(const float *)(p + at));
#pragma GCC unroll 2
                for (int j = 0; j < nv; j++)
                    acc[i][j] += x * b[j];
            }
            panel += GEMM_NB;
            for (int r = 0; r < (mr + 3) / 4; r++)
                row[r] += sizeof(float);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++)
            vstore(tile + i * ld + j * VL, acc[i][j]);
}

/* A single row has too few accumulators to hide the latency of its sums: it gets four sets. */
static inline __attribute__((always_inline)) void gemm_row(const int nv, float *tile,
                                                           const gemm_a *a, const float *panel)
{
    vf acc[4][GEMM_NV];
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < nv; j++)
            acc[i][j] = vset1(0);
    for (int64_t s = 0; s < a->n_seg; s++) {
        const float *p = a->base + (a->seg ? a->seg[s] : 0);
        int64_t k = 0;
        for (; k + 4 <= a->seg_len; k += 4, panel += 4 * GEMM_NB)
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++)
#pragma GCC unroll 2
                for (int j = 0; j < nv; j++)
                    acc[i][j] += p[k + i] * vload(panel + i * GEMM_NB + j * VL);
        for (; k < a->seg_len; k++, panel += GEMM_NB)
            for (int j = 0; j < nv; j++)
                acc[0][j] += p[k] * vload(panel + j * VL);
    }
    for (int j = 0; j < nv; j++)
        vstore(tile + j * VL, (acc[0][j] + acc[1][j]) + (acc[2][j] + acc[3][j]));
}

/* The register blocks that exist: GEMM_MR, a half and a quarter of AVX512's, and one row. */
static inline int gemm_rows(int n)
{
    return n <= 1 ? n : n <= 3 ? 3 : n <= 6 ? 6 : GEMM_MR;
}

/* tile[mr][GEMM_NB] = A * panel, for an mr from gemm_rows; nv 1 leaves the second half alone. */
static __attribute__((noinline, unused)) void gemm_block(int mr, int nv, float *tile,
                                                         const gemm_a *a, const float *panel)
{
    switch (mr * 2 + nv - 1) {
#if GEMM_MR == 12
    case 25:
        gemm_body(12, 2, tile, GEMM_NB, a, panel, false);
        return;
    case 24:
        gemm_body(12, 1, tile, GEMM_NB, a, panel, false);
        return;
#endif
    case 13:
        gemm_body(6, 2, tile, GEMM_NB, a, panel, false);
        return;
    case 12:
        gemm_body(6, 1, tile, GEMM_NB, a, panel, false);
        return;
    case 7:
        gemm_body(3, 2, tile, GEMM_NB, a, panel, false);
        return;
    case 6:
        gemm_body(3, 1, tile, GEMM_NB, a, panel, false);
        return;
    case 3:
        gemm_row(2, tile, a, panel);
        return;
    case 2:
        gemm_row(1, tile, a, panel);
        return;
    }
}
#endif
