/* SPDX-License-Identifier: Apache-2.0
 *
 * Kernel choice by measurement, for device backends: every kernel that can run a node is timed on
 * the node's shape with random data, and one whose result differs from that of our own kernel by
 * more than rounding is left out. Winners are kept in a file per device and library versions.
 *
 * The file is text, a winner per line; a line that does not read as one, or names a kernel that is
 * not among the candidates, is passed over, so a damaged or foreign file costs a new search and
 * nothing else.
 */
#ifndef RF_EXEC_TUNE_H
#define RF_EXEC_TUNE_H

#include "runtime/backend/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rf_tuner rf_tuner;

/* dir: folder of the files, made if missing; NULL: winners are kept in memory only. The folder
 * being unwritable is logged, not an error. */
rf_status rf_tuner_create(rf_env *env, const rf_backend *backend, rf_device *device,
                          const char *dir, rf_tuner **out, rf_error *err);
/* Stores what was found since the last call (rf_tuner_destroy does it as well). */
void rf_tuner_save(rf_tuner *tuner);
void rf_tuner_destroy(rf_tuner **tuner);
/* The fastest kernel for desc; `*kernel` is the one that the table would take, and stays if nothing
 * else can run the node. Threads: safe, one search at a time. */
rf_status rf_tuner_choose(rf_tuner *tuner, const rf_kernel_desc *desc, const rf_kernel **kernel,
                          rf_error *err);

#ifdef __cplusplus
}
#endif
#endif
