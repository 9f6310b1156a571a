/* SPDX-License-Identifier: Apache-2.0
 *
 * Small kernels that each do one thing, right or wrong; tests find them by name.
 */
#ifndef RF_TESTS_SIM_PROBES_H
#define RF_TESTS_SIM_PROBES_H

#include "kernels/cuda/abi.h"

/* `shared`: what the kernel says it uses. */
typedef struct probe_params {
    float *data;
    int32_t n, shared;
} probe_params;

#ifdef __cplusplus
extern "C" {
#endif
extern const rf_cuda_entry probe_entries[]; /* up to a NULL name */
#ifdef __cplusplus
}
#endif
#endif
