/* SPDX-License-Identifier: Apache-2.0
 *
 * Architectures that are recognised by the keys of a checkpoint.
 */
#ifndef RF_LOADERS_ARCH_H
#define RF_LOADERS_ARCH_H

#include "loaders/loader.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const rf_arch rf_arch_dea_net;

/* The network alone (with_border false: sizes must be multiples of 4, the output is not clamped),
 * so that tests can compare it with the float64 goldens. */
rf_status rf_arch_dea_net_build_raw(rf_checkpoint *ckpt, rf_graph *graph, bool with_border,
                                    rf_error *err);

#ifdef __cplusplus
}
#endif
#endif
