/* SPDX-License-Identifier: Apache-2.0
 *
 * Convolutions, straight from their definition.
 */
#include "kernels/ref/element.h"

/* Sum of one output pixel: group of input channels from c0, window at (y0, x0) of the image. */
static double conv_at(const rf_conv2d_attrs *a, const rf_tensor *x, const rf_tensor *w, int64_t n,
                      int64_t o, int64_t c0, int64_t y0, int64_t x0)
{
    double sum = 0;
    for (int64_t c = 0; c < w->dims[1]; c++)
        for (int64_t ky = 0; ky < w->dims[2]; ky++) {
            int64_t iy = rf_normal_padded(a->pad_mode, y0 + ky * a->dilation[0], x->dims[2]);
            for (int64_t kx = 0; iy >= 0 && kx < w->dims[3]; kx++) {
                int64_t ix = rf_normal_padded(a->pad_mode, x0 + kx * a->dilation[1], x->dims[3]);
                if (ix >= 0)
                    sum += ref_load4(x, n, c0 + c, iy, ix) * ref_load4(w, o, c, ky, kx);
            }
        }
    return sum;
}

rf_status rf_ref_conv2d(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_conv2d_attrs *a = &call->args.attrs->conv2d;
    const rf_tensor *x = call->args.in[0], *w = call->args.in[1], *b = ref_in(&call->args, 2);
    const rf_tensor *res = ref_in(&call->args, 3), *y = call->args.out[0];
    int64_t at[4], group_outs = w->dims[0] / a->groups;
    for (int64_t i = 0; i < rf_tensor_elements(y); i++) {
        ref_coords(4, y->dims, i, at);
        double v = conv_at(a, x, w, at[0], at[1], at[1] / group_outs * w->dims[1],
                           at[2] * a->stride[0] - a->pad[0], at[3] * a->stride[1] - a->pad[1]);
        v += ref_load1(b, at[1], 0);
        double r = res ? ref_load(res, ref_offset(res, at)) : 0;
        if (a->res_mode == RF_RES_BEFORE)
            v = ref_act(a->act, a->act_alpha, a->act_beta, v + r);
        else
            v = ref_act(a->act, a->act_alpha, a->act_beta, v) + r;
        ref_store(y, ref_offset(y, at), v);
    }
    return RF_OK;
}

/* Input pixels that reach output (oy, ox): those for which oy + pad = iy * stride + ky * dilation.
 */
static double conv_transpose_at(const rf_conv_transpose2d_attrs *a, const rf_tensor *x,
                                const rf_tensor *w, int64_t n, int64_t group, int64_t o, int64_t oy,
                                int64_t ox)
{
    double sum = 0;
    int64_t channels = x->dims[1] / a->groups;
    for (int64_t ky = 0; ky < w->dims[2]; ky++) {
        int64_t sy = oy + a->pad[0] - ky * a->dilation[0], iy = sy / a->stride[0];
        if (sy < 0 || sy % a->stride[0] || iy >= x->dims[2])
            continue;
        for (int64_t kx = 0; kx < w->dims[3]; kx++) {
            int64_t sx = ox + a->pad[1] - kx * a->dilation[1], ix = sx / a->stride[1];
            if (sx < 0 || sx % a->stride[1] || ix >= x->dims[3])
                continue;
            for (int64_t c = group * channels; c < (group + 1) * channels; c++)
                sum += ref_load4(x, n, c, iy, ix) * ref_load4(w, c, o, ky, kx);
        }
    }
    return sum;
}

rf_status rf_ref_conv_transpose2d(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_conv_transpose2d_attrs *a = &call->args.attrs->conv_transpose2d;
    const rf_tensor *x = call->args.in[0], *w = call->args.in[1], *b = ref_in(&call->args, 2);
    const rf_tensor *y = call->args.out[0];
    int64_t at[4], group_outs = w->dims[1];
    for (int64_t i = 0; i < rf_tensor_elements(y); i++) {
        ref_coords(4, y->dims, i, at);
        double v =
            conv_transpose_at(a, x, w, at[0], at[1] / group_outs, at[1] % group_outs, at[2], at[3]);
        v += ref_load1(b, at[1], 0);
        ref_store(y, ref_offset(y, at), ref_act(a->act, a->act_alpha, a->act_beta, v));
    }
    return RF_OK;
}
