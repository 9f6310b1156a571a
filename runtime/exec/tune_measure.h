/* SPDX-License-Identifier: Apache-2.0
 *
 * Times the kernels that can run a node on a device (tune.h).
 */
#ifndef RF_EXEC_TUNE_MEASURE_H
#define RF_EXEC_TUNE_MEASURE_H

#include "runtime/backend/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { RF_TUNE_CANDIDATES = 8 };

/* Kernels that can run the node, best guess first, whether or not a table wants them; returns how
 * many. Nodes whose results cannot be compared by rounding (data movement, elementwise) have one.
 */
int rf_tune_candidates(const rf_backend *backend, const rf_kernel_desc *desc,
                       const rf_kernel **out);
/* Which of n candidates is the fastest that agrees with our own first one; its time for one run. */
rf_status rf_tune_measure(rf_env *env, const rf_backend *backend, const rf_kernel_desc *desc,
                          const rf_kernel *const *candidates, int n, int *out_fastest,
                          double *out_us, rf_error *err);

#ifdef __cplusplus
}
#endif
#endif
