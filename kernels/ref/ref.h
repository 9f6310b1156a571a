/* SPDX-License-Identifier: Apache-2.0
 *
 * The reference kernels: one per op, naive, any strides, any float dtype, float64 inside. They are
 * the oracle of every other backend, so clarity beats speed.
 */
#ifndef RF_KERNELS_REF_H
#define RF_KERNELS_REF_H

#include "runtime/backend/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

#define RF_OP(ID, name, in, opt, out, tol)                                                         \
    rf_status rf_ref_##name(const rf_kernel_call *call, rf_error *err);
#include "runtime/core/op.def"
#undef RF_OP

extern const rf_backend rf_backend_ref;

#ifdef __cplusplus
}
#endif
#endif
