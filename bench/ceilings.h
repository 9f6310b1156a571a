/* SPDX-License-Identifier: Apache-2.0
 *
 * What this machine can do at best, measured now: a share of a number from a data sheet, or from
 * another day on a shared machine, says little.
 */
#ifndef RF_BENCH_CEILINGS_H
#define RF_BENCH_CEILINGS_H

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bench_ceilings {
    double f32_flops;  /* per second, FMA in registers, widest vectors that REFOLD_CPU allows */
    double bf16_flops; /* AMX or AVX512-BF16 in registers; f32_flops where there is neither */
    double copy_bytes; /* read + written per second, memcpy of 32 MiB by every thread */
} bench_ceilings;

/* About half a second. */
void bench_measure_ceilings(int n_threads, bench_ceilings *out);

#ifdef __cplusplus
}
#endif
#endif
