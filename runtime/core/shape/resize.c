/* SPDX-License-Identifier: Apache-2.0
 *
 * Shape of resize: sizes as given, or floor(input * scale).
 */
#include "runtime/core/shape/check.h"

rf_status rf_shape_resize(const rf_op_args *args, rf_error *err)
{
    const rf_resize_attrs *a = &args->attrs->resize;
    RF_TRY(shape_float_args(args, err));
    RF_TRY(shape_rank(args, 0, 4, err));
    RF_TRY(shape_at_least(args, "size", 2, a->size, 0, err));
    const rf_tensor *x = args->in[0];
    int64_t dims[4] = {x->dims[0], x->dims[1], a->size[0], a->size[1]};
    for (int i = 0; i < 2; i++) {
        double scale = i ? a->scale_x : a->scale_y;
        if (x->dims[2 + i] < 1)
            return shape_fail(args, err, "expected an image with pixels, found %s",
                              shape_dims(x).s);
        if (a->size[i])
            continue;
        if (!(scale > 0 && scale <= INT32_MAX))
            return shape_fail(args, err,
                              "scale_%c: expected more than 0 and up to 2^31-1, found %g",
                              i ? 'x' : 'y', scale);
        double size = floor((double)x->dims[2 + i] * scale);
        if (!(size >= 1 && size < 0x1p53))
            return shape_fail(args, err,
                              "scale_%c %g of %s: expected an output of 1 or more, found %g",
                              i ? 'x' : 'y', scale, shape_dims(x).s, size);
        dims[2 + i] = (int64_t)size;
    }
    return shape_set(args, 0, x->dtype, 4, dims, err);
}
