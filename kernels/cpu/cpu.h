/* SPDX-License-Identifier: Apache-2.0
 *
 * CPU kernels are compiled once per instruction set (baseline, avx2, avx512) from the same sources;
 * RF_CPU_ISA is that name and RF_ISA(x) appends it to every external symbol. Code is written with
 * the vector type of vec.h, whose width follows the instruction set. Kernels that need more than
 * the set's baseline (AVX512-BF16, AMX) ask rf_cpu_features in their `can`.
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
/* What may be used: what the machine has, cut down by REFOLD_CPU=baseline|avx2|avx512. Read once. */
const rf_cpu_features *rf_cpu_get_features(void);

#define RF_CPU_ISA_PASTE2(x, isa) x##_##isa
#define RF_CPU_ISA_PASTE(x, isa) RF_CPU_ISA_PASTE2(x, isa)
#define RF_ISA(x) RF_CPU_ISA_PASTE(x, RF_CPU_ISA)

/* Each source file exports its rows: a NULL-terminated list, in order of preference. */
#define RF_CPU_ROWS(file) RF_ISA(rf_cpu_rows_##file)

extern const rf_backend rf_backend_cpu;

#ifdef __cplusplus
}
#endif
#endif
