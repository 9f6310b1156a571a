/* SPDX-License-Identifier: Apache-2.0
 *
 * Shapes of softmax and the normalisations: the output is like x; scale and shift must fit the dims
 * they belong to.
 */
#include "runtime/core/shape/check.h"

static rf_status check_eps(const rf_op_args *args, double eps, rf_error *err)
{
    if (!(eps >= 0))
        return shape_fail(args, err, "eps: expected 0 or more, found %g", eps);
    return RF_OK;
}

/* x (N,C,...). */
static rf_status check_channels(const rf_op_args *args, rf_error *err)
{
    const rf_tensor *x = args->in[0];
    if (x->rank < 2)
        return shape_fail(args, err, "x: expected rank 2 or more (N, C, ...), found %s",
                          shape_dims(x).s);
    return RF_OK;
}

rf_status rf_shape_softmax(const rf_op_args *args, rf_error *err)
{
    int axis;
    RF_TRY(shape_float_args(args, err));
    RF_TRY(shape_axis(args, args->attrs->softmax.axis, args->in[0]->rank, &axis, err));
    return shape_set_like(args, 0, args->in[0], err);
}

rf_status rf_shape_layer_norm(const rf_op_args *args, rf_error *err)
{
    const rf_layer_norm_attrs *a = &args->attrs->layer_norm;
    int axis;
    RF_TRY(shape_float_args(args, err));
    const rf_tensor *x = args->in[0];
    RF_TRY(shape_axis(args, a->axis, x->rank, &axis, err));
    RF_TRY(check_eps(args, a->eps, err));
    for (int i = 1; i <= 2; i++)
        RF_TRY(shape_expect(args, i, x->rank - axis, x->dims + axis, err));
    return shape_set_like(args, 0, x, err);
}

rf_status rf_shape_group_norm(const rf_op_args *args, rf_error *err)
{
    const rf_group_norm_attrs *a = &args->attrs->group_norm;
    RF_TRY(shape_float_args(args, err));
    RF_TRY(check_channels(args, err));
    int64_t channels = args->in[0]->dims[1];
    RF_TRY(check_eps(args, a->eps, err));
    RF_TRY(shape_act(args, a->act, a->act_alpha, a->act_beta, err));
    RF_TRY(shape_at_least(args, "groups", 1, &a->groups, 0, err));
    if (a->groups && channels % a->groups)
        return shape_fail(args, err, "groups %d: expected to divide the channels, found %" PRId64,
                          a->groups, channels);
    for (int i = 1; i <= 2; i++)
        RF_TRY(shape_expect_vector(args, i, channels, err));
    return shape_set_like(args, 0, args->in[0], err);
}

rf_status rf_shape_batch_norm(const rf_op_args *args, rf_error *err)
{
    RF_TRY(shape_float_args(args, err));
    RF_TRY(check_channels(args, err));
    int64_t channels = args->in[0]->dims[1];
    RF_TRY(check_eps(args, args->attrs->batch_norm.eps, err));
    for (int i = 1; i <= 4; i++)
        RF_TRY(shape_expect_vector(args, i, channels, err));
    return shape_set_like(args, 0, args->in[0], err);
}
