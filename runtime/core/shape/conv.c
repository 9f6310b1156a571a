/* SPDX-License-Identifier: Apache-2.0
 *
 * Shapes of the convolutions. Everything is calculated in 64 bits from 32-bit attributes and sizes
 * that are checked first, so nothing can wrap.
 */
#include "runtime/core/shape/check.h"

/* Kernel window of w's last two dims: at least one tap, and small enough to multiply with. */
static rf_status check_window(const rf_op_args *args, const rf_tensor *w, rf_error *err)
{
    for (int i = 2; i < 4; i++)
        if (w->dims[i] < 1 || w->dims[i] > INT32_MAX)
            return shape_fail(args, err,
                              "w %s: expected a window of 1 to 2^31-1 taps, found %" PRId64
                              " and %" PRId64,
                              shape_dims(w).s, w->dims[2], w->dims[3]);
    return RF_OK;
}

/* Padding that repeats pixels must find enough of them. */
static rf_status check_conv_pad(const rf_op_args *args, const rf_conv2d_attrs *a, rf_error *err)
{
    for (int i = 0; i < 4; i++) {
        int64_t size = args->in[0]->dims[2 + i % 2];
        if (a->pad[i] <= 0 || a->pad_mode == RF_PAD_ZEROS)
            continue;
        if (a->pad_mode == RF_PAD_REFLECT && a->pad[i] >= size)
            return shape_fail(args, err,
                              "reflect pad: expected less than the size, found %d of %" PRId64,
                              a->pad[i], size);
        if (size < 1)
            return shape_fail(args, err, "edge pad %d: expected an image with pixels, found %s",
                              a->pad[i], shape_dims(args->in[0]).s);
    }
    return RF_OK;
}

rf_status rf_shape_conv2d(const rf_op_args *args, rf_error *err)
{
    const rf_conv2d_attrs *a = &args->attrs->conv2d;
    RF_TRY(shape_float_args(args, err));
    RF_TRY(shape_rank(args, 0, 4, err));
    RF_TRY(shape_rank(args, 1, 4, err));
    RF_TRY(shape_at_least(args, "stride", 2, a->stride, 1, err));
    RF_TRY(shape_at_least(args, "dilation", 2, a->dilation, 1, err));
    RF_TRY(shape_at_least(args, "groups", 1, &a->groups, 1, err));
    RF_TRY(shape_act(args, a->act, a->act_alpha, a->act_beta, err));
    const rf_tensor *x = args->in[0], *w = args->in[1];
    int64_t channels = x->dims[1], outs = w->dims[0];
    if (channels % a->groups || outs % a->groups)
        return shape_fail(args, err,
                          "groups: expected to divide %" PRId64 " input and %" PRId64
                          " output channels, found %d",
                          channels, outs, a->groups);
    if (w->dims[1] != channels / a->groups)
        return shape_fail(args, err,
                          "w %s: expected %" PRId64 " input channels in a group, found %" PRId64,
                          shape_dims(w).s, channels / a->groups, w->dims[1]);
    RF_TRY(check_window(args, w, err));
    RF_TRY(check_conv_pad(args, a, err));
    RF_TRY(shape_expect_vector(args, 2, outs, err));
    int64_t dims[4] = {x->dims[0], outs, 0, 0};
    for (int i = 0; i < 2; i++) {
        int64_t padded = x->dims[2 + i] + a->pad[i] + a->pad[2 + i];
        int64_t window = (w->dims[2 + i] - 1) * a->dilation[i] + 1;
        if (padded < window)
            return shape_fail(
                args, err, "image %s with padding: expected %s %" PRId64 " or more, found %" PRId64,
                shape_dims(x).s, i ? "width" : "height", window, padded);
        dims[2 + i] = (padded - window) / a->stride[i] + 1;
    }
    RF_TRY(shape_expect(args, 3, 4, dims, err));
    return shape_set(args, 0, x->dtype, 4, dims, err);
}

rf_status rf_shape_conv_transpose2d(const rf_op_args *args, rf_error *err)
{
    const rf_conv_transpose2d_attrs *a = &args->attrs->conv_transpose2d;
    RF_TRY(shape_float_args(args, err));
    RF_TRY(shape_rank(args, 0, 4, err));
    RF_TRY(shape_rank(args, 1, 4, err));
    RF_TRY(shape_at_least(args, "stride", 2, a->stride, 1, err));
    RF_TRY(shape_at_least(args, "dilation", 2, a->dilation, 1, err));
    RF_TRY(shape_at_least(args, "output_pad", 2, a->output_pad, 0, err));
    RF_TRY(shape_at_least(args, "groups", 1, &a->groups, 1, err));
    RF_TRY(shape_act(args, a->act, a->act_alpha, a->act_beta, err));
    const rf_tensor *x = args->in[0], *w = args->in[1];
    if (w->dims[0] != x->dims[1])
        return shape_fail(args, err, "w %s: expected %" PRId64 " input channels, found %" PRId64,
                          shape_dims(w).s, x->dims[1], w->dims[0]);
    if (x->dims[1] % a->groups)
        return shape_fail(args, err,
                          "groups: expected to divide %" PRId64 " input channels, found %d",
                          x->dims[1], a->groups);
    RF_TRY(check_window(args, w, err));
    int64_t dims[4] = {x->dims[0], 0, 0, 0};
    if (__builtin_mul_overflow(w->dims[1], (int64_t)a->groups, &dims[1]))
        return shape_fail(args, err,
                          "w %s: expected fewer than 2^63 output channels, found %" PRId64
                          " for each of %d groups",
                          shape_dims(w).s, w->dims[1], a->groups);
    RF_TRY(shape_expect_vector(args, 2, dims[1], err));
    for (int i = 0; i < 2; i++) {
        int64_t size = x->dims[2 + i], window = (w->dims[2 + i] - 1) * a->dilation[i] + 1;
        if (size < 1 || size > INT32_MAX)
            return shape_fail(args, err,
                              "image %s: expected 1 to 2^31-1 rows and columns, found %" PRId64,
                              shape_dims(x).s, size);
        if (a->output_pad[i] >= a->stride[i] && a->output_pad[i] >= a->dilation[i])
            return shape_fail(args, err,
                              "output_pad: expected less than stride %d or dilation %d, found %d",
                              a->stride[i], a->dilation[i], a->output_pad[i]);
        /* Two products of 31-bit numbers and a few 32-bit ones: below 2^63. */
        dims[2 + i] =
            (size - 1) * a->stride[i] - a->pad[i] - a->pad[2 + i] + window + a->output_pad[i];
        if (dims[2 + i] < 1)
            return shape_fail(args, err, "%s: expected an output of 1 or more, found %" PRId64,
                              i ? "width" : "height", dims[2 + i]);
    }
    return shape_set(args, 0, x->dtype, 4, dims, err);
}
