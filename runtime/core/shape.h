/* SPDX-License-Identifier: Apache-2.0
 *
 * Shape functions: one per op, in core/shape/. They see concrete input dims and dtypes, check
 * everything that a kernel relies on (so kernels do not check again), and fill the outputs' dtype,
 * rank and dims (strides and data are not touched). Messages name the op, what was expected and
 * what was found.
 */
#ifndef RF_CORE_SHAPE_H
#define RF_CORE_SHAPE_H

#include "runtime/core/op.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One node as seen by shape functions and kernels. Absent optional inputs are NULL.
 * A constant's data is set; other data pointers are NULL until the run. */
typedef struct rf_op_args {
    rf_op op;
    const rf_attrs *attrs;
    int32_t n_in, n_out;
    const rf_tensor *in[RF_MAX_IN];
    rf_tensor *out[RF_MAX_OUT];
} rf_op_args;

typedef rf_status rf_shape_fn(const rf_op_args *args, rf_error *err);

#define RF_OP(ID, name, in, opt, out, tol) rf_shape_fn rf_shape_##name;
#include "runtime/core/op.def"
#undef RF_OP

/* Calls the op's shape function. */
rf_status rf_shape_infer(const rf_op_args *args, rf_error *err);

#ifdef __cplusplus
}
#endif
#endif
