/* SPDX-License-Identifier: Apache-2.0
 *
 * The CPU backend: finds what the machine can do, picks the instruction set once per process and
 * lists its kernels. A feature counts only if the operating system saves its registers (xgetbv)
 * and, for AMX, if the kernel grants this process the tile data (arch_prctl, asked once).
 */
#include "kernels/cpu/cpu.h"

#include <cpuid.h>
#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA 18

enum { XCR0_AVX = 0x6, XCR0_AVX512 = 0xe0, XCR0_AMX = 0x60000 };

extern const rf_kernel *const *const rf_cpu_row_lists_baseline[];
extern const rf_kernel *const *const rf_cpu_row_lists_avx2[];
extern const rf_kernel *const *const rf_cpu_row_lists_avx512[];

/* One flat table per instruction set. */
typedef struct isa_table {
    const char *name;
    const rf_kernel *const *const *lists;
    bool available; /* on this machine */
    size_t n;
    const rf_kernel *rows[RF_CPU_MAX_ROWS];
} isa_table;

enum { ISA_BASELINE, ISA_AVX2, ISA_AVX512, ISA_COUNT };

static isa_table tables[ISA_COUNT] = {
    [ISA_BASELINE] = {.name = "baseline", .lists = rf_cpu_row_lists_baseline},
    [ISA_AVX2] = {.name = "avx2", .lists = rf_cpu_row_lists_avx2},
    [ISA_AVX512] = {.name = "avx512", .lists = rf_cpu_row_lists_avx512},
};
static rf_cpu_features features;
static int chosen;
static char description[128];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint64_t read_xcr0(void)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

static void detect(rf_cpu_features *f)
{
    unsigned a, b, c, d;
    long l1 = sysconf(_SC_LEVEL1_DCACHE_SIZE), l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
    f->l1_bytes = l1 > 0 ? (size_t)l1 : 32 * 1024;
    f->l2_bytes = l2 > 0 ? (size_t)l2 : 256 * 1024;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
        return;
    uint64_t xcr0 = read_xcr0();
    bool fma = (c & bit_FMA) && (c & bit_F16C) && (c & bit_AVX);
    unsigned b7, c7, d7, max_subleaf, a71 = 0;
    if (!__get_cpuid_count(7, 0, &max_subleaf, &b7, &c7, &d7))
        return;
    if (max_subleaf >= 1)
        __get_cpuid_count(7, 1, &a71, &b, &c, &d);
    f->avx2 = fma && (b7 & bit_AVX2) && (xcr0 & XCR0_AVX) == XCR0_AVX;
    const unsigned avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL | bit_AVX512CD;
    f->avx512 = f->avx2 && (b7 & avx512) == avx512 && (xcr0 & XCR0_AVX512) == XCR0_AVX512;
    f->avx512_bf16 = f->avx512 && (a71 & bit_AVX512BF16);
    f->amx_bf16 = f->avx512_bf16 && (d7 & bit_AMX_BF16) && (d7 & bit_AMX_TILE) &&
                  (xcr0 & XCR0_AMX) == XCR0_AMX &&
                  syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

/* Applies REFOLD_CPU; false if its value is unknown (and ignored). */
static bool cut_down(rf_cpu_features *f, const char *wish)
{
    if (!wish || !*wish)
        return true;
    int level = 0;
    while (level < ISA_COUNT && strcmp(wish, tables[level].name))
        level++;
    if (level == ISA_COUNT)
        return false;
    f->avx2 &= level >= ISA_AVX2;
    f->avx512 &= level >= ISA_AVX512;
    f->avx512_bf16 = f->amx_bf16 = false;
    return true;
}

static void fill(isa_table *table)
{
    for (size_t i = 0; table->lists[i]; i++)
        for (size_t k = 0; table->lists[i][k] && table->n < RF_CPU_MAX_ROWS; k++)
            table->rows[table->n++] = table->lists[i][k];
}

static void init(void)
{
    detect(&features);
    tables[ISA_BASELINE].available = true;
    tables[ISA_AVX2].available = features.avx2;
    tables[ISA_AVX512].available = features.avx512;
    for (int i = 0; i < ISA_COUNT; i++)
        fill(&tables[i]);
    const char *wish = getenv("REFOLD_CPU");
    bool known = cut_down(&features, wish);
    chosen = features.avx512 ? ISA_AVX512 : features.avx2 ? ISA_AVX2 : ISA_BASELINE;
    int n = snprintf(description, sizeof description, "%s%s%s", tables[chosen].name,
                     features.avx512_bf16 ? "+bf16" : "", features.amx_bf16 ? "+amx" : "");
    if (!known)
        snprintf(description + n, sizeof description - (size_t)n,
                 " (REFOLD_CPU=%.32s ignored: not baseline, avx2 or avx512)", wish);
}

const rf_cpu_features *rf_cpu_get_features(void)
{
    pthread_once(&once, init);
    return &features;
}

const rf_kernel *const *rf_cpu_kernels_for(const char *isa, size_t *out_n)
{
    pthread_once(&once, init);
    for (int i = 0; i < ISA_COUNT; i++)
        if (!strcmp(isa, tables[i].name) && tables[i].available) {
            *out_n = tables[i].n;
            return tables[i].rows;
        }
    *out_n = 0;
    return NULL;
}

static const rf_kernel *const *kernels(size_t *out_n)
{
    pthread_once(&once, init);
    *out_n = tables[chosen].n;
    return tables[chosen].rows;
}

static const char *describe(void)
{
    pthread_once(&once, init);
    return description;
}

/* oneDNN takes its thread count from OpenMP's per-thread setting, both when a primitive is created
 * and when it runs. Setting it starts no threads. */
static void enter(int n_threads, int *saved)
{
    *saved = omp_get_max_threads();
    if (*saved != n_threads)
        omp_set_num_threads(n_threads);
}

static void leave(int saved)
{
    if (omp_get_max_threads() != saved)
        omp_set_num_threads(saved);
}

const rf_backend rf_backend_cpu = {
    .name = "cpu",
    .kernels = kernels,
    .describe = describe,
    .precisions = 1u << RF_F32 | 1u << RF_BF16,
    .nhwc = true,
    .enter = enter,
    .leave = leave,
};
