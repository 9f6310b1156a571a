/* SPDX-License-Identifier: Apache-2.0
 *
 * Ops that only move elements: for every element of the output, where it comes from.
 */
#include "kernels/ref/element.h"

rf_status rf_ref_copy(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_tensor *x = call->args.in[0], *y = call->args.out[0];
    int64_t at[RF_MAX_RANK];
    for (int64_t i = 0; i < rf_tensor_elements(y); i++) {
        ref_coords(y->rank, y->dims, i, at);
        ref_move(y, ref_offset(y, at), x, ref_offset(x, at));
    }
    return RF_OK;
}

/* The coordinates of the smaller output are those of the input. */
rf_status rf_ref_crop_like(const rf_kernel_call *call, rf_error *err)
{
    return rf_ref_copy(call, err);
}

rf_status rf_ref_pad(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_pad_attrs *a = &call->args.attrs->pad;
    const rf_tensor *x = call->args.in[0], *y = call->args.out[0];
    rf_normal_padding pad;
    int64_t at[RF_MAX_RANK], in[RF_MAX_RANK];
    rf_normal_pad(a, x, &pad);
    for (int64_t i = 0; i < rf_tensor_elements(y); i++) {
        bool inside = true;
        ref_coords(y->rank, y->dims, i, at);
        for (int k = 0; k < y->rank; k++) {
            in[k] = rf_normal_padded(a->mode, at[k] - pad.begin[k], x->dims[k]);
            inside = inside && in[k] >= 0;
        }
        if (inside)
            ref_move(y, ref_offset(y, at), x, ref_offset(x, in));
        else
            ref_store(y, ref_offset(y, at), a->value);
    }
    return RF_OK;
}

/* Channel c*r*r + dy*r + dx at (y, x) of the small image is channel c at (y*r + dy, x*r + dx) of
 * the large. */
static void small_coords(const int64_t *large, int32_t r, int64_t *small)
{
    small[0] = large[0];
    small[1] = (large[1] * r + large[2] % r) * r + large[3] % r;
    small[2] = large[2] / r;
    small[3] = large[3] / r;
}

rf_status rf_ref_pixel_shuffle(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_tensor *x = call->args.in[0], *y = call->args.out[0];
    int64_t at[4], in[4];
    for (int64_t i = 0; i < rf_tensor_elements(y); i++) {
        ref_coords(4, y->dims, i, at);
        small_coords(at, call->args.attrs->pixel_shuffle.factor, in);
        ref_move(y, ref_offset(y, at), x, ref_offset(x, in));
    }
    return RF_OK;
}

rf_status rf_ref_pixel_unshuffle(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_tensor *x = call->args.in[0], *y = call->args.out[0];
    int64_t at[4], out[4];
    for (int64_t i = 0; i < rf_tensor_elements(x); i++) {
        ref_coords(4, x->dims, i, at);
        small_coords(at, call->args.attrs->pixel_unshuffle.factor, out);
        ref_move(y, ref_offset(y, out), x, ref_offset(x, at));
    }
    return RF_OK;
}

/* Copies between a whole tensor and a part of it that begins at `begin` of `axis`. */
static void move_part(const rf_tensor *whole, const rf_tensor *part, int axis, int64_t begin,
                      bool to_whole)
{
    int64_t at[RF_MAX_RANK];
    for (int64_t i = 0; i < rf_tensor_elements(part); i++) {
        ref_coords(part->rank, part->dims, i, at);
        int64_t p = ref_offset(part, at), w = p;
        at[axis] += begin;
        w = ref_offset(whole, at);
        if (to_whole)
            ref_move(whole, w, part, p);
        else
            ref_move(part, p, whole, w);
    }
}

rf_status rf_ref_concat(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_op_args *args = &call->args;
    int axis = rf_normal_axis(args->attrs->concat.axis, args->out[0]->rank);
    int64_t begin = 0;
    for (int i = 0; i < args->n_in; i++) {
        move_part(args->out[0], args->in[i], axis, begin, true);
        begin += args->in[i]->dims[axis];
    }
    return RF_OK;
}

rf_status rf_ref_split(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_op_args *args = &call->args;
    int axis = rf_normal_axis(args->attrs->split.axis, args->in[0]->rank);
    int64_t begin = 0;
    for (int i = 0; i < args->n_out; i++) {
        move_part(args->in[0], args->out[i], axis, begin, false);
        begin += args->out[i]->dims[axis];
    }
    return RF_OK;
}

rf_status rf_ref_slice(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_tensor *x = call->args.in[0], *y = call->args.out[0];
    rf_normal_range range;
    int64_t at[RF_MAX_RANK], in[RF_MAX_RANK];
    rf_normal_slice(&call->args.attrs->slice, x, &range);
    for (int64_t i = 0; i < rf_tensor_elements(y); i++) {
        ref_coords(y->rank, y->dims, i, at);
        for (int k = 0; k < y->rank; k++)
            in[k] = range.begin[k] + at[k] * range.step[k];
        ref_move(y, ref_offset(y, at), x, ref_offset(x, in));
    }
    return RF_OK;
}

rf_status rf_ref_transpose(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_tensor *x = call->args.in[0], *y = call->args.out[0];
    int perm[RF_MAX_RANK];
    int64_t at[RF_MAX_RANK], in[RF_MAX_RANK];
    rf_normal_perm(&call->args.attrs->transpose, x->rank, perm);
    for (int64_t i = 0; i < rf_tensor_elements(y); i++) {
        ref_coords(y->rank, y->dims, i, at);
        for (int k = 0; k < y->rank; k++)
            in[perm[k]] = at[k];
        ref_move(y, ref_offset(y, at), x, ref_offset(x, in));
    }
    return RF_OK;
}

rf_status rf_ref_reshape(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_tensor *x = call->args.in[0], *y = call->args.out[0];
    int64_t at[RF_MAX_RANK], in[RF_MAX_RANK];
    for (int64_t i = 0; i < rf_tensor_elements(y); i++) {
        ref_coords(y->rank, y->dims, i, at);
        ref_coords(x->rank, x->dims, i, in);
        ref_move(y, ref_offset(y, at), x, ref_offset(x, in));
    }
    return RF_OK;
}

rf_status rf_ref_expand(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_tensor *x = call->args.in[0], *y = call->args.out[0];
    int64_t at[RF_MAX_RANK];
    for (int64_t i = 0; i < rf_tensor_elements(y); i++) {
        ref_coords(y->rank, y->dims, i, at);
        ref_move(y, ref_offset(y, at), x, ref_offset_broadcast(x, y->rank, at));
    }
    return RF_OK;
}

rf_status rf_ref_gather(const rf_kernel_call *call, rf_error *err)
{
    const rf_tensor *x = call->args.in[0], *index = call->args.in[1], *y = call->args.out[0];
    int axis = rf_normal_axis(call->args.attrs->gather.axis, x->rank);
    int64_t at[RF_MAX_RANK], in[RF_MAX_RANK], n = x->dims[axis];
    for (int64_t i = 0; i < rf_tensor_elements(y); i++) {
        ref_coords(y->rank, y->dims, i, at);
        int64_t found = ref_load_int(index, ref_offset(index, at + axis));
        if (found < -n || found >= n)
            return rf_fail(err, RF_ERR_ARGUMENT, "gather: index: expected %lld to %lld, found %lld",
                           (long long)-n, (long long)(n - 1), (long long)found);
        for (int k = 0; k < x->rank; k++)
            in[k] = k < axis    ? at[k]
                    : k == axis ? (found < 0 ? found + n : found)
                                : at[k + index->rank - 1];
        ref_move(y, ref_offset(y, at), x, ref_offset(x, in));
    }
    return RF_OK;
}
