/* SPDX-License-Identifier: Apache-2.0
 *
 * CPU kernels are compiled once per instruction set (baseline, avx2, avx512) from the same sources;
 * RF_CPU_ISA is that name and RF_ISA(x) appends it to every external symbol. Code is written with
 * the vector type of vec.h, whose width follows the instruction set. Kernels that need more than
 * the set's baseline (AVX512-BF16, AMX) ask rf_cpu_get_features in their `usable`.
 */
#ifndef RF_KERNELS_CPU_H
#define RF_KERNELS_CPU_H

#include "runtime/backend/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rf_cpu_features {
    bool avx2, avx512, avx512_bf16, amx_bf16;
    size_t l1_bytes, l2_bytes; /* per core; conservative guesses if unknown */
} rf_cpu_features;
/* What may be used: what the machine has, cut down by REFOLD_CPU=baseline|avx2|avx512 (avx512 means
 * without AVX512-BF16 and AMX). Read once. */
const rf_cpu_features *rf_cpu_get_features(void);
/* For rf_kernel.usable. */
static inline bool rf_cpu_has_avx512_bf16(void)
{
    return rf_cpu_get_features()->avx512_bf16;
}

/* Sources that do not depend on the instruction set are compiled without RF_CPU_ISA. */
#ifndef RF_CPU_ISA
#define RF_CPU_ISA plain
#endif
#define RF_CPU_ISA_PASTE2(x, isa) x##_##isa
#define RF_CPU_ISA_PASTE(x, isa) RF_CPU_ISA_PASTE2(x, isa)
#define RF_ISA(x) RF_CPU_ISA_PASTE(x, RF_CPU_ISA)
#define RF_CPU_TEXT2(x) #x
#define RF_CPU_TEXT(x) RF_CPU_TEXT2(x)
/* The name of the instruction set as a string, e.g. for tags of packed weights. */
#define RF_CPU_ISA_TEXT RF_CPU_TEXT(RF_CPU_ISA)

/* Each source file exports its rows: a NULL-terminated list, in order of preference:
 *   const rf_kernel *const RF_CPU_ROWS(winograd)[] = {&winograd4x4, NULL};
 * and is listed in rows.def and meson.build. */
#define RF_CPU_ROWS(file) RF_ISA(rf_cpu_rows_##file)

/* Rows that a table has room for. What does not fit would be dropped: a test fails before that. */
enum { RF_CPU_MAX_ROWS = 256 };

/* For tests: all kernels of one instruction set ("baseline", "avx2", "avx512") whatever REFOLD_CPU
 * says. NULL if the name is unknown or the machine lacks the set. */
const rf_kernel *const *rf_cpu_kernels_for(const char *isa, size_t *out_n);

/* For tests and benchmarks: oneDNN's rows without the measured choice of shapes, so that every node
 * it can run at all reaches it. NULL-terminated; empty in a build without oneDNN. */
extern const rf_kernel *const rf_cpu_dnnl_any[];

extern const rf_backend rf_backend_cpu;

#ifdef __cplusplus
}
#endif
#endif
