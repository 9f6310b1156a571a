/* SPDX-License-Identifier: Apache-2.0
 *
 * The AMX instructions that Refold uses, on 8 tiles of 16 rows x 64 bytes.
 *
 * Own assembly instead of the _tile_* intrinsics: in GCC 12 those do not say which memory they read
 * (_tile_loadd has no clobber, _tile_loadconfig declares 8 of its 64 bytes), so stores made for
 * them may be moved behind or dropped. The tile configuration belongs to the thread, and oneDNN
 * replaces it: configure at the start of every parallel region.
 *
 * With RF_AMX_EMULATE the same names are plain C with the documented semantics (Intel SDM,
 * TDPBF16PS: even and odd products are summed by separate chains of FMAs, then added, then added to
 * the destination; round to nearest, denormals are zero), so that kernels can be proven on machines
 * without AMX. A misuse that the hardware would fault on is counted in amx_emulated_errors.
 */
#ifndef RF_KERNELS_CPU_AMX_TILE_H
#define RF_KERNELS_CPU_AMX_TILE_H

#include "kernels/cpu/cpu.h"

#include <string.h>

/* What ldtilecfg reads. */
typedef struct amx_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t colsb[16];
    uint8_t rows[16];
} __attribute__((aligned(64))) amx_config;

static inline amx_config amx_full_tiles(void)
{
    amx_config c = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        c.colsb[i] = 64;
        c.rows[i] = 16;
    }
    return c;
}

#ifndef RF_AMX_EMULATE

static inline bool amx_available(void)
{
    return rf_cpu_get_features()->amx_bf16;
}

static inline void amx_configure(void)
{
    const amx_config c = amx_full_tiles();
    __asm__ volatile("ldtilecfg %0" ::"m"(c));
}

static inline void amx_release(void)
{
    __asm__ volatile("tilerelease" ::: "memory");
}

/* Tile numbers are literals; `stride` is in bytes. */
#define AMX_LOAD(t, p, stride)                                                                     \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t ::"r"(p), "r"((int64_t)(stride)) : "memory")
#define AMX_STORE(t, p, stride)                                                                    \
    __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" ::"r"(p), "r"((int64_t)(stride))          \
                     : "memory")
/* c[m][n] += a[m][2k] * b[k][2n] + a[m][2k + 1] * b[k][2n + 1], bf16 products, f32 sums. */
#define AMX_DPBF16(c, a, b) __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::)

#else

#include "runtime/base/half.h"

#include <math.h>

typedef struct amx_machine {
    amx_config config;
    uint8_t tile[8][16][64];
} amx_machine;

extern __thread amx_machine amx_emulated;
extern int amx_emulated_errors; /* of all threads */

static inline void amx_check(bool good)
{
    if (!good)
        __atomic_fetch_add(&amx_emulated_errors, 1, __ATOMIC_RELAXED);
}

static inline bool amx_available(void)
{
    return rf_cpu_get_features()->avx512_bf16;
}
static inline void amx_configure(void)
{
    amx_emulated = (amx_machine){.config = amx_full_tiles()};
}
static inline void amx_release(void)
{
    amx_check(amx_emulated.config.palette == 1);
    amx_emulated = (amx_machine){.config = {.palette = 0}};
}

static inline void amx_emulate_load(int t, const void *p, int64_t stride)
{
    const amx_config *c = &amx_emulated.config;
    amx_check(c->palette == 1);
    memset(amx_emulated.tile[t], 0, sizeof amx_emulated.tile[t]);
    for (int i = 0; i < c->rows[t]; i++)
        memcpy(amx_emulated.tile[t][i], (const char *)p + i * stride, c->colsb[t]);
}

static inline void amx_emulate_store(int t, void *p, int64_t stride)
{
    const amx_config *c = &amx_emulated.config;
    amx_check(c->palette == 1);
    for (int i = 0; i < c->rows[t]; i++)
        memcpy((char *)p + i * stride, amx_emulated.tile[t][i], c->colsb[t]);
}

static inline float amx_flush(float x)
{
    return fpclassify(x) == FP_SUBNORMAL ? copysignf(0, x) : x;
}

static inline float amx_bf16_at(int t, int row, int i)
{
    uint16_t h;
    memcpy(&h, &amx_emulated.tile[t][row][i * 2], sizeof h);
    return amx_flush(rf_bf16_to_f32(h));
}

static inline void amx_emulate_dpbf16(int c, int a, int b)
{
    const amx_config *cfg = &amx_emulated.config;
    int k_n = cfg->colsb[a] / 4;
    amx_check(cfg->palette == 1 && a != b && a != c && b != c && cfg->rows[a] == cfg->rows[c] &&
              cfg->colsb[b] == cfg->colsb[c] && cfg->rows[b] == k_n);
    for (int m = 0; m < cfg->rows[c]; m++)
        for (int n = 0; n < cfg->colsb[c] / 4; n++) {
            float even = 0, odd = 0, sum;
            for (int k = 0; k < k_n; k++) {
                even = amx_flush(fmaf(amx_bf16_at(a, m, 2 * k), amx_bf16_at(b, k, 2 * n), even));
                odd = amx_flush(
                    fmaf(amx_bf16_at(a, m, 2 * k + 1), amx_bf16_at(b, k, 2 * n + 1), odd));
            }
            memcpy(&sum, &amx_emulated.tile[c][m][n * 4], sizeof sum);
            sum = amx_flush(amx_flush(sum) + amx_flush(even + odd));
            memcpy(&amx_emulated.tile[c][m][n * 4], &sum, sizeof sum);
        }
}

#define AMX_LOAD(t, p, stride) amx_emulate_load(t, p, stride)
#define AMX_STORE(t, p, stride) amx_emulate_store(t, p, stride)
#define AMX_DPBF16(c, a, b) amx_emulate_dpbf16(c, a, b)

#endif
#endif
