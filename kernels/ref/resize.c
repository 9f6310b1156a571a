/* SPDX-License-Identifier: Apache-2.0
 *
 * Resizing by nearest, linear and cubic (a = -0.75) interpolation: up to four taps along each axis,
 * clamped at the edges.
 */
#include "kernels/ref/element.h"

typedef struct taps {
    int n;
    int64_t index[4];
    double weight[4];
} taps;

static int64_t clamp_index(int64_t i, int64_t n)
{
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

/* Keys' cubic convolution at distance d from a sample. */
static double cubic(double d)
{
    const double a = -0.75;
    d = fabs(d);
    if (d <= 1)
        return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2 ? ((d - 5) * d + 8) * a * d - 4 * a : 0;
}

static taps find_taps(const rf_resize_attrs *a, int d, int64_t o, int64_t in, int64_t out)
{
    double src = rf_normal_resize(a, d, o, in, out), base = floor(src);
    int64_t i = (int64_t)base;
    taps t = {.n = 1, .index = {clamp_index(i, in)}, .weight = {1}};
    if (a->mode == RF_RESIZE_LINEAR) {
        t = (taps){2, {clamp_index(i, in), clamp_index(i + 1, in)}, {1 - (src - base), src - base}};
    } else if (a->mode == RF_RESIZE_CUBIC) {
        t.n = 4;
        for (int k = 0; k < 4; k++) {
            t.index[k] = clamp_index(i - 1 + k, in);
            t.weight[k] = cubic(src - base + 1 - k);
        }
    }
    return t;
}

rf_status rf_ref_resize(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_resize_attrs *a = &call->args.attrs->resize;
    const rf_tensor *x = call->args.in[0], *y = call->args.out[0];
    int64_t at[4];
    for (int64_t i = 0; i < rf_tensor_elements(y); i++) {
        ref_coords(4, y->dims, i, at);
        taps ty = find_taps(a, 0, at[2], x->dims[2], y->dims[2]);
        taps tx = find_taps(a, 1, at[3], x->dims[3], y->dims[3]);
        double v = 0;
        for (int ky = 0; ky < ty.n; ky++)
            for (int kx = 0; kx < tx.n; kx++)
                v += ty.weight[ky] * tx.weight[kx] *
                     ref_load4(x, at[0], at[1], ty.index[ky], tx.index[kx]);
        ref_store(y, ref_offset(y, at), v);
    }
    return RF_OK;
}
