/* SPDX-License-Identifier: Apache-2.0
 *
 * Collects the rows of every kernel file of one instruction set, in the order of rows.def.
 */
#include "kernels/cpu/cpu.h"

#ifdef __AVX512F__
#define RF_CPU_FILE_AVX512(file) RF_CPU_FILE(file)
#else
#define RF_CPU_FILE_AVX512(file)
#endif

#define RF_CPU_FILE(file) extern const rf_kernel *const RF_CPU_ROWS(file)[];
#define RF_CPU_FILE_PLAIN(file) extern const rf_kernel *const rf_cpu_rows_##file##_plain[];
#include "kernels/cpu/rows.def"
#undef RF_CPU_FILE
#undef RF_CPU_FILE_PLAIN

#define RF_CPU_FILE(file) RF_CPU_ROWS(file),
#define RF_CPU_FILE_PLAIN(file) rf_cpu_rows_##file##_plain,
const rf_kernel *const *const RF_ISA(rf_cpu_row_lists)[] = {
#include "kernels/cpu/rows.def"
    NULL,
};
