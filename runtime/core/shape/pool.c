/* SPDX-License-Identifier: Apache-2.0
 *
 * Shape of pooling, and the rule of ceil_mode (as in PyTorch): a partial window counts only if it
 * starts inside the image or its leading padding. Kernels rely on it that every window has at
 * least one pixel of the image.
 */
#include "runtime/core/shape/check.h"

static rf_status check_side(const rf_op_args *args, const rf_pool2d_attrs *a, int i, int64_t window,
                            rf_error *err)
{
    const char *name = i ? "width" : "height";
    int64_t size = args->in[0]->dims[2 + i];
    if (size < 1)
        return shape_fail(args, err, "expected an image with pixels, found %s",
                          shape_dims(args->in[0]).s);
    for (int side = i; side < 4; side += 2)
        if (a->pad[side] >= window)
            return shape_fail(args, err,
                              "pad of %s: expected less than the window of %" PRId64 ", found %d",
                              name, window, a->pad[side]);
    if (a->kernel[i] > 1 && a->dilation[i] > size)
        return shape_fail(args, err,
                          "dilation of %s: expected up to the image's %" PRId64 ", found %d", name,
                          size, a->dilation[i]);
    return RF_OK;
}

rf_status rf_shape_pool2d(const rf_op_args *args, rf_error *err)
{
    const rf_pool2d_attrs *a = &args->attrs->pool2d;
    RF_TRY(shape_float_args(args, err));
    RF_TRY(shape_rank(args, 0, 4, err));
    RF_TRY(shape_at_least(args, "kernel", 2, a->kernel, 1, err));
    RF_TRY(shape_at_least(args, "stride", 2, a->stride, 1, err));
    RF_TRY(shape_at_least(args, "dilation", 2, a->dilation, 1, err));
    RF_TRY(shape_at_least(args, "pad", 4, a->pad, 0, err));
    const rf_tensor *x = args->in[0];
    int64_t dims[4] = {x->dims[0], x->dims[1], 0, 0};
    for (int i = 0; i < 2; i++) {
        int64_t window = (int64_t)(a->kernel[i] - 1) * a->dilation[i] + 1;
        RF_TRY(check_side(args, a, i, window, err));
        int64_t padded = x->dims[2 + i] + a->pad[i] + a->pad[2 + i], room = padded - window;
        if (a->ceil_mode)
            room += a->stride[i] - 1;
        if (room < 0)
            return shape_fail(
                args, err, "image %s with padding: expected %s %" PRId64 " or more, found %" PRId64,
                shape_dims(x).s, i ? "width" : "height", window, padded);
        int64_t n = room / a->stride[i] + 1;
        if (a->ceil_mode && (n - 1) * a->stride[i] >= x->dims[2 + i] + a->pad[i])
            n--;
        dims[2 + i] = n;
    }
    return shape_set(args, 0, x->dtype, 4, dims, err);
}
