/* SPDX-License-Identifier: Apache-2.0
 *
 * Softmax and the normalisations, mean and variance in two passes.
 */
#include "kernels/ref/element.h"

rf_status rf_ref_softmax(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_softmax_attrs *a = &call->args.attrs->softmax;
    const rf_tensor *x = call->args.in[0], *y = call->args.out[0];
    int axis = rf_normal_axis(a->axis, x->rank);
    int64_t rows[RF_MAX_RANK], n = x->dims[axis], n_rows = 1, at[RF_MAX_RANK];
    for (int i = 0; i < x->rank; i++) {
        rows[i] = i == axis ? 1 : x->dims[i];
        n_rows *= rows[i];
    }
    for (int64_t r = 0; r < n_rows; r++) {
        ref_coords(x->rank, rows, r, at);
        int64_t from = ref_offset(x, at), to = ref_offset(y, at);
        double max = -INFINITY, sum = 0;
        for (int64_t i = 0; i < n; i++)
            max = fmax(max, ref_load(x, from + i * x->strides[axis]));
        for (int64_t i = 0; i < n; i++)
            sum += exp(ref_load(x, from + i * x->strides[axis]) - max);
        for (int64_t i = 0; i < n; i++) {
            double v = ref_load(x, from + i * x->strides[axis]) - max;
            ref_store(y, to + i * y->strides[axis], a->log ? v - log(sum) : exp(v) / sum);
        }
    }
    return RF_OK;
}

/* Mean and 1 / sqrt(variance + eps) of the elements of a dense shape at an offset of x. */
typedef struct moments {
    double mean, scale;
} moments;
static moments measure(const rf_tensor *x, int64_t offset, const int64_t *dims, double eps,
                       bool centre)
{
    int64_t n = 1, at[RF_MAX_RANK];
    double sum = 0, squares = 0;
    for (int i = 0; i < x->rank; i++)
        n *= dims[i];
    for (int64_t i = 0; i < n && centre; i++) {
        ref_coords(x->rank, dims, i, at);
        sum += ref_load(x, offset + ref_offset(x, at));
    }
    double mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) {
        ref_coords(x->rank, dims, i, at);
        double v = ref_load(x, offset + ref_offset(x, at)) - mean;
        squares += v * v;
    }
    return (moments){mean, 1 / sqrt(squares / (double)n + eps)};
}

rf_status rf_ref_layer_norm(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_layer_norm_attrs *a = &call->args.attrs->layer_norm;
    const rf_tensor *x = call->args.in[0], *y = call->args.out[0];
    const rf_tensor *w = ref_in(&call->args, 1), *b = ref_in(&call->args, 2);
    int axis = rf_normal_axis(a->axis, x->rank);
    int64_t rows[RF_MAX_RANK], inner[RF_MAX_RANK], n_rows = 1, n = 1, at[RF_MAX_RANK],
                                                   in[RF_MAX_RANK];
    for (int i = 0; i < x->rank; i++) {
        rows[i] = i < axis ? x->dims[i] : 1;
        inner[i] = i < axis ? 1 : x->dims[i];
        n_rows *= rows[i];
        n *= inner[i];
    }
    for (int64_t r = 0; r < n_rows; r++) {
        ref_coords(x->rank, rows, r, at);
        moments m = measure(x, ref_offset(x, at), inner, a->eps, !a->rms);
        for (int64_t i = 0; i < n; i++) {
            ref_coords(x->rank, inner, i, in);
            double v = (ref_load(x, ref_offset(x, at) + ref_offset(x, in)) - m.mean) * m.scale;
            v *= w ? ref_load(w, ref_offset(w, in + axis)) : 1;
            v += b ? ref_load(b, ref_offset(b, in + axis)) : 0;
            ref_store(y, ref_offset(y, at) + ref_offset(y, in), v);
        }
    }
    return RF_OK;
}

rf_status rf_ref_group_norm(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_group_norm_attrs *a = &call->args.attrs->group_norm;
    const rf_tensor *x = call->args.in[0], *y = call->args.out[0];
    const rf_tensor *w = ref_in(&call->args, 1), *b = ref_in(&call->args, 2);
    int64_t groups = a->groups ? a->groups : x->dims[1], dims[RF_MAX_RANK], at[RF_MAX_RANK], n = 1;
    for (int i = 0; i < x->rank; i++) {
        dims[i] = i == 0 ? 1 : i == 1 && groups ? x->dims[1] / groups : x->dims[i];
        n *= dims[i];
    }
    for (int64_t r = 0; n && r < x->dims[0] * groups; r++) {
        int64_t image = r / groups, c0 = r % groups * dims[1];
        int64_t from = image * x->strides[0] + c0 * x->strides[1];
        moments m = measure(x, from, dims, a->eps, true);
        for (int64_t i = 0; i < n; i++) {
            ref_coords(x->rank, dims, i, at);
            double v = (ref_load(x, from + ref_offset(x, at)) - m.mean) * m.scale;
            v = v * ref_load1(w, c0 + at[1], 1) + ref_load1(b, c0 + at[1], 0);
            ref_store(y, image * y->strides[0] + c0 * y->strides[1] + ref_offset(y, at),
                      ref_act(a->act, a->act_alpha, a->act_beta, v));
        }
    }
    return RF_OK;
}

rf_status rf_ref_batch_norm(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    double eps = call->args.attrs->batch_norm.eps;
    const rf_tensor *const *in = call->args.in, *x = in[0], *y = call->args.out[0];
    int64_t at[RF_MAX_RANK];
    for (int64_t i = 0; i < rf_tensor_elements(y); i++) {
        ref_coords(y->rank, y->dims, i, at);
        double v = ref_load(x, ref_offset(x, at)) - ref_load1(in[3], at[1], 0);
        v = v / sqrt(ref_load1(in[4], at[1], 0) + eps) * ref_load1(in[1], at[1], 0);
        ref_store(y, ref_offset(y, at), v + ref_load1(in[2], at[1], 0));
    }
    return RF_OK;
}
