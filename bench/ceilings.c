/* SPDX-License-Identifier: Apache-2.0
 *
 * Peak loops: enough independent sums to hide the latency of the instruction, nothing from memory.
 * The copy first writes its buffers, because untouched pages are one page of zeros in cache.
 */
#include "bench/ceilings.h"

#include "kernels/cpu/cpu.h"

#include <immintrin.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SUMS = 12, ROUNDS = 200000, COPY_MIB = 32, TRIES = 5 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef double peak_fn(void); /* runs ROUNDS, returns the operations done */

/* Unrolled, or the sums live in memory. */
#define EACH(i) _Pragma("GCC unroll 12") for (int i = 0; i < SUMS; i++)
#define KEEP(sums)                                                                                 \
    EACH(i)                                                                                        \
    __asm__ volatile("" : : "v"((sums)[i]))

static __attribute__((target("avx512f"))) double fma_512(void)
{
    __m512 s[SUMS], a = _mm512_set1_ps(0.5f);
    EACH(i)
    s[i] = _mm512_set1_ps((float)i);
    for (int r = 0; r < ROUNDS; r++)
        EACH(i)
        {
            s[i] = _mm512_fmadd_ps(s[i], a, a);
            __asm__("" : "+v"(s[i])); /* one instruction each, as written */
        }
    KEEP(s);
    return 2.0 * 16 * SUMS * ROUNDS;
}

static __attribute__((target("avx2,fma"))) double fma_256(void)
{
    __m256 s[SUMS], a = _mm256_set1_ps(0.5f);
    EACH(i)
    s[i] = _mm256_set1_ps((float)i);
    for (int r = 0; r < ROUNDS; r++)
        EACH(i)
        {
            s[i] = _mm256_fmadd_ps(s[i], a, a);
            __asm__("" : "+x"(s[i]));
        }
    KEEP(s);
    return 2.0 * 8 * SUMS * ROUNDS;
}

static double mul_add_128(void)
{
    __m128 s[SUMS], a = _mm_set1_ps(0.5f);
    EACH(i)
    s[i] = _mm_set1_ps((float)i);
    for (int r = 0; r < ROUNDS; r++)
        EACH(i)
        {
            s[i] = _mm_add_ps(_mm_mul_ps(s[i], a), a);
            __asm__("" : "+x"(s[i]));
        }
    KEEP(s);
    return 2.0 * 4 * SUMS * ROUNDS;
}

static __attribute__((target("avx512f,avx512bf16"))) double dot_bf16(void)
{
    __m512 s[SUMS];
    __m512bh a = (__m512bh)_mm512_set1_epi32(0x3f003f00);
    EACH(i)
    s[i] = _mm512_set1_ps((float)i);
    for (int r = 0; r < ROUNDS; r++)
        EACH(i)
        {
            s[i] = _mm512_dpbf16_ps(s[i], a, a);
            __asm__("" : "+v"(s[i]));
        }
    KEEP(s);
    return 2.0 * 32 * SUMS * ROUNDS;
}

static __attribute__((target("amx-tile,amx-bf16"))) double amx_bf16(void)
{
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t column_bytes[16];
        uint8_t rows[16];
    } config = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        config.column_bytes[i] = 64;
        config.rows[i] = 16;
    }
    __asm__ volatile("" : : "m"(config));
    _tile_loadconfig(&config);
    _tile_zero(6);
    _tile_zero(7);
    for (int r = 0; r < ROUNDS / 8; r++) {
        _tile_dpbf16ps(0, 6, 7);
        _tile_dpbf16ps(1, 6, 7);
        _tile_dpbf16ps(2, 6, 7);
        _tile_dpbf16ps(3, 6, 7);
    }
    _tile_release();
    return 2.0 * 16 * 16 * 32 * 4 * (ROUNDS / 8);
}

typedef struct team_job {
    peak_fn *peak;
    char *buffers; /* copy: two of COPY_MIB per thread */
} team_job;

static void run_peak(void *ctx, int thread, int n_threads)
{
    (void)thread;
    (void)n_threads;
    ((const team_job *)ctx)->peak();
}

static void run_copy(void *ctx, int thread, int n_threads)
{
    (void)n_threads;
    const size_t bytes = (size_t)COPY_MIB << 20;
    char *from = ((const team_job *)ctx)->buffers + (size_t)thread * 2 * bytes;
    memcpy(from + bytes, from, bytes);
}

/* Shortest of a few runs by all threads. */
static double best_time(int n_threads, rf_thread_fn *fn, team_job *job)
{
    double best = 1e30;
    for (int i = 0; i <= TRIES; i++) {
        double begin = now();
        rf_parallel(n_threads, fn, job);
        double spent = now() - begin;
        if (i && spent < best) /* the first wakes threads and clocks */
            best = spent;
    }
    return best;
}

static double peak_of(int n_threads, peak_fn *fn)
{
    team_job job = {.peak = fn};
    return fn() * n_threads / best_time(n_threads, run_peak, &job);
}

void bench_measure_ceilings(int n_threads, bench_ceilings *out)
{
    const rf_cpu_features *f = rf_cpu_get_features();
    const size_t bytes = ((size_t)COPY_MIB << 20) * 2 * (size_t)n_threads;
    team_job copy = {.buffers = malloc(bytes)};
    out->f32_flops = peak_of(n_threads, f->avx512 ? fma_512 : f->avx2 ? fma_256 : mul_add_128);
    out->bf16_flops = f->amx_bf16      ? peak_of(n_threads, amx_bf16)
                      : f->avx512_bf16 ? peak_of(n_threads, dot_bf16)
                                       : out->f32_flops;
    out->copy_bytes = 0;
    if (copy.buffers) {
        memset(copy.buffers, 1, bytes);
        out->copy_bytes = (double)bytes / best_time(n_threads, run_copy, &copy);
        free(copy.buffers);
    }
}
