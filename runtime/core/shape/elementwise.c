/* SPDX-License-Identifier: Apache-2.0
 *
 * Shapes of unary, binary, cast and copy.
 */
#include "runtime/core/shape/check.h"

rf_status rf_shape_unary(const rf_op_args *args, rf_error *err)
{
    const rf_unary_attrs *a = &args->attrs->unary;
    RF_TRY(shape_float_args(args, err));
    if (a->kind == RF_UNARY_CLAMP && !(a->alpha <= a->beta))
        return shape_fail(args, err, "clamp: expected alpha <= beta, found %g and %g", a->alpha,
                          a->beta);
    return shape_set_like(args, 0, args->in[0], err);
}

rf_status rf_shape_binary(const rf_op_args *args, rf_error *err)
{
    const rf_binary_attrs *at = &args->attrs->binary;
    RF_TRY(shape_act(args, at->act, at->act_alpha, at->act_beta, err));
    const rf_tensor *a = args->in[0], *b = args->in[1];
    bool is_float = shape_is_float(a->dtype);
    if (is_float ? !shape_is_float(b->dtype) : a->dtype != b->dtype || a->dtype == RF_BOOL)
        return shape_fail(args, err,
                          "expected two floats or two equal integer dtypes, found %s and %s",
                          rf_dtype_name(a->dtype), rf_dtype_name(b->dtype));
    bool on_integers =
        at->kind <= RF_BINARY_MUL || at->kind == RF_BINARY_MIN || at->kind == RF_BINARY_MAX;
    if (!is_float && (!on_integers || at->act != RF_ACT_NONE))
        return shape_fail(
            args, err,
            "integers (%s): expected add, sub, mul, min or max and no act, found %s, act %s",
            rf_dtype_name(a->dtype), RF_ENUM_TEXT(binary_kind, at->kind),
            RF_ENUM_TEXT(act, at->act));
    int64_t dims[RF_MAX_RANK];
    int rank = shape_broadcast(a, b, dims);
    if (rank < 0)
        return shape_fail(args, err, "expected dims that broadcast, found %s and %s",
                          shape_dims(a).s, shape_dims(b).s);
    return shape_set(args, 0, a->dtype, rank, dims, err);
}

rf_status rf_shape_cast(const rf_op_args *args, rf_error *err)
{
    rf_dtype to = args->attrs->cast.to;
    if ((unsigned)to >= RF_DTYPE_COUNT)
        return shape_fail(args, err, "to: expected a dtype, found number %d", (int)to);
    return shape_set(args, 0, to, args->in[0]->rank, args->in[0]->dims, err);
}

rf_status rf_shape_copy(const rf_op_args *args, rf_error *err)
{
    return shape_set_like(args, 0, args->in[0], err);
}
