/* SPDX-License-Identifier: Apache-2.0
 *
 * Shapes of the reductions and of the channel statistics that passes fuse from them.
 */
#include "runtime/core/shape/check.h"

rf_status rf_shape_reduce(const rf_op_args *args, rf_error *err)
{
    const rf_reduce_attrs *a = &args->attrs->reduce;
    RF_TRY(shape_float_args(args, err));
    const rf_tensor *x = args->in[0];
    uint32_t seen = 0;
    for (int i = 0; i < a->n_axes; i++) {
        int axis;
        RF_TRY(shape_axis(args, a->axes[i], x->rank, &axis, err));
        if (seen & 1u << axis)
            return shape_fail(args, err, "axes: expected every axis once, found %d twice", axis);
        seen |= 1u << axis;
    }
    uint32_t mask = rf_normal_reduce(a, x->rank);
    int64_t dims[RF_MAX_RANK];
    int rank = 0;
    bool empty = false;
    for (int i = 0; i < x->rank; i++) {
        bool reduced = mask >> i & 1;
        empty = empty || (reduced && x->dims[i] == 0);
        if (!reduced || a->keepdims)
            dims[rank++] = reduced ? 1 : x->dims[i];
    }
    if (empty &&
        (a->kind == RF_REDUCE_MEAN || a->kind == RF_REDUCE_MAX || a->kind == RF_REDUCE_MIN))
        return shape_fail(args, err, "%s: expected elements to reduce, found none in %s",
                          RF_ENUM_TEXT(reduce_kind, a->kind), shape_dims(x).s);
    return shape_set(args, 0, x->dtype, rank, dims, err);
}

rf_status rf_shape_channel_stats(const rf_op_args *args, rf_error *err)
{
    RF_TRY(shape_float_args(args, err));
    RF_TRY(shape_rank(args, 0, 4, err));
    const rf_tensor *x = args->in[0];
    int n_out = shape_in(args, 1) ? 3 : 2;
    if (args->n_out != n_out)
        return shape_fail(args, err, "expected %d outputs, found %d", n_out, args->n_out);
    RF_TRY(shape_expect(args, 1, 4, x->dims, err));
    if (x->dims[1] < 1 || x->dims[2] < 1 || x->dims[3] < 1)
        return shape_fail(args, err, "expected channels and pixels, found %s", shape_dims(x).s);
    RF_TRY(
        shape_set(args, 0, x->dtype, 4, (int64_t[]){x->dims[0], 2, x->dims[2], x->dims[3]}, err));
    RF_TRY(shape_set(args, 1, x->dtype, 4, (int64_t[]){x->dims[0], x->dims[1], 1, 1}, err));
    return n_out == 3 ? shape_set_like(args, 2, x, err) : RF_OK;
}
