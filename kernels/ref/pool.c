/* SPDX-License-Identifier: Apache-2.0
 *
 * Pooling. The shape function guarantees at least one pixel of the image in every window.
 */
#include "kernels/ref/element.h"

typedef struct window {
    double sum, max;
    int64_t inside, padded; /* taps on the image; taps on the image and its padding */
} window;

static window look(const rf_pool2d_attrs *a, const rf_tensor *x, const int64_t *at)
{
    window w = {0, -INFINITY, 0, 0};
    for (int64_t ky = 0; ky < a->kernel[0]; ky++)
        for (int64_t kx = 0; kx < a->kernel[1]; kx++) {
            int64_t iy = at[2] * a->stride[0] - a->pad[0] + ky * a->dilation[0];
            int64_t ix = at[3] * a->stride[1] - a->pad[1] + kx * a->dilation[1];
            w.padded += iy < x->dims[2] + a->pad[2] && ix < x->dims[3] + a->pad[3];
            if (iy < 0 || iy >= x->dims[2] || ix < 0 || ix >= x->dims[3])
                continue;
            double v = ref_load4(x, at[0], at[1], iy, ix);
            w.inside++;
            w.sum += v;
            w.max = v > w.max || v != v ? v : w.max;
        }
    return w;
}

rf_status rf_ref_pool2d(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_pool2d_attrs *a = &call->args.attrs->pool2d;
    const rf_tensor *x = call->args.in[0], *y = call->args.out[0];
    int64_t at[4];
    for (int64_t i = 0; i < rf_tensor_elements(y); i++) {
        ref_coords(4, y->dims, i, at);
        window w = look(a, x, at);
        double mean = w.sum / (double)(a->count_include_pad ? w.padded : w.inside);
        ref_store(y, ref_offset(y, at), a->kind == RF_POOL_MAX ? w.max : mean);
    }
    return RF_OK;
}
