/* SPDX-License-Identifier: Apache-2.0
 *
 * Shapes of the ops that only move elements. They take every dtype.
 */
#include "runtime/core/shape/check.h"

#include <string.h>

static rf_status check_multiple(const rf_op_args *args, const rf_pad_attrs *a, rf_error *err)
{
    RF_TRY(shape_at_least(args, "multiple", 2, a->multiple, 1, err));
    if (a->multiple[0] == 1 && a->multiple[1] == 1)
        return RF_OK;
    if (args->in[0]->rank < 2)
        return shape_fail(args, err, "multiple: expected rank 2 or more, found %s",
                          shape_dims(args->in[0]).s);
    for (int i = 0; i < a->n_pads; i++)
        if (a->pads[i])
            return shape_fail(args, err, "multiple: expected no pads beside it, found %" PRId64,
                              a->pads[i]);
    return RF_OK;
}

rf_status rf_shape_pad(const rf_op_args *args, rf_error *err)
{
    const rf_pad_attrs *a = &args->attrs->pad;
    const rf_tensor *x = args->in[0];
    if (a->n_pads && a->n_pads != 2 * x->rank)
        return shape_fail(args, err, "pads: expected %d numbers for rank %d, found %d", 2 * x->rank,
                          x->rank, a->n_pads);
    RF_TRY(check_multiple(args, a, err));
    rf_normal_padding pad;
    rf_normal_pad(a, x, &pad);
    int64_t dims[RF_MAX_RANK];
    for (int i = 0; i < x->rank; i++) {
        int64_t most = pad.begin[i] > pad.end[i] ? pad.begin[i] : pad.end[i], size = x->dims[i];
        if (a->mode == RF_PAD_REFLECT && most > 0 && most >= size)
            return shape_fail(
                args, err, "reflect of dim %d: expected less than its %" PRId64 ", found %" PRId64,
                i, size, most);
        if (a->mode == RF_PAD_EDGE && most > 0 && size < 1)
            return shape_fail(args, err, "edge of dim %d: expected elements to repeat, found none",
                              i);
        if (__builtin_add_overflow(size, pad.begin[i], &dims[i]) ||
            __builtin_add_overflow(dims[i], pad.end[i], &dims[i]) || dims[i] < 0)
            return shape_fail(args, err,
                              "dim %d of %" PRId64
                              ": expected pads that leave 0 or more, found %" PRId64
                              " and %" PRId64,
                              i, size, pad.begin[i], pad.end[i]);
    }
    return shape_set(args, 0, x->dtype, x->rank, dims, err);
}

rf_status rf_shape_crop_like(const rf_op_args *args, rf_error *err)
{
    const rf_tensor *x = args->in[0], *ref = args->in[1];
    if (x->rank < 2 || ref->rank < 2)
        return shape_fail(args, err, "expected rank 2 or more, found x %s and ref %s",
                          shape_dims(x).s, shape_dims(ref).s);
    int64_t dims[RF_MAX_RANK];
    memcpy(dims, x->dims, sizeof dims);
    for (int i = 1; i <= 2; i++) {
        dims[x->rank - i] = ref->dims[ref->rank - i];
        if (dims[x->rank - i] > x->dims[x->rank - i])
            return shape_fail(args, err, "expected ref's last two dims to fit in x %s, found %s",
                              shape_dims(x).s, shape_dims(ref).s);
    }
    return shape_set(args, 0, x->dtype, x->rank, dims, err);
}

rf_status rf_shape_pixel_shuffle(const rf_op_args *args, rf_error *err)
{
    int32_t r = args->attrs->pixel_shuffle.factor;
    RF_TRY(shape_rank(args, 0, 4, err));
    RF_TRY(shape_at_least(args, "factor", 1, &r, 1, err));
    const int64_t *d = args->in[0]->dims, square = (int64_t)r * r;
    int64_t dims[4] = {d[0], d[1] / square, 0, 0};
    if (d[1] % square)
        return shape_fail(args, err,
                          "factor %d: expected channels divisible by %" PRId64 ", found %" PRId64,
                          r, square, d[1]);
    for (int i = 2; i < 4; i++)
        if (__builtin_mul_overflow(d[i], (int64_t)r, &dims[i]))
            return shape_fail(args, err,
                              "factor %d: expected an output below 2^63 pixels, found image %s", r,
                              shape_dims(args->in[0]).s);
    return shape_set(args, 0, args->in[0]->dtype, 4, dims, err);
}

rf_status rf_shape_pixel_unshuffle(const rf_op_args *args, rf_error *err)
{
    int32_t r = args->attrs->pixel_unshuffle.factor;
    RF_TRY(shape_rank(args, 0, 4, err));
    RF_TRY(shape_at_least(args, "factor", 1, &r, 1, err));
    const int64_t *d = args->in[0]->dims;
    int64_t dims[4] = {d[0], 0, d[2] / r, d[3] / r};
    if (d[2] % r || d[3] % r)
        return shape_fail(args, err, "expected height and width divisible by factor %d, found %s",
                          r, shape_dims(args->in[0]).s);
    if (__builtin_mul_overflow(d[1], (int64_t)r * r, &dims[1]))
        return shape_fail(args, err,
                          "factor %d: expected fewer than 2^63 output channels, found image %s", r,
                          shape_dims(args->in[0]).s);
    return shape_set(args, 0, args->in[0]->dtype, 4, dims, err);
}

/* Inputs that are joined: one dtype, or all floats (converted to the first one's). */
static bool joins(rf_dtype a, rf_dtype b)
{
    return a == b || (shape_is_float(a) && shape_is_float(b));
}

rf_status rf_shape_concat(const rf_op_args *args, rf_error *err)
{
    int axis;
    for (int i = 1; i < args->n_in; i++)
        if (!args->in[i])
            return shape_fail(args, err, "input %d: expected a tensor, found none", i);
    const rf_tensor *x = args->in[0];
    RF_TRY(shape_axis(args, args->attrs->concat.axis, x->rank, &axis, err));
    int64_t dims[RF_MAX_RANK];
    memcpy(dims, x->dims, sizeof dims);
    for (int i = 1; i < args->n_in; i++) {
        const rf_tensor *t = args->in[i];
        bool same = t->rank == x->rank && joins(x->dtype, t->dtype);
        for (int k = 0; same && k < x->rank; k++)
            same = k == axis || t->dims[k] == x->dims[k];
        if (!same)
            return shape_fail(args, err, "input %d: expected %s %s but for axis %d, found %s %s", i,
                              rf_dtype_name(x->dtype), shape_dims(x).s, axis,
                              rf_dtype_name(t->dtype), shape_dims(t).s);
        if (__builtin_add_overflow(dims[axis], t->dims[axis], &dims[axis]))
            return shape_fail(args, err,
                              "axis %d: expected a sum below 2^63, found %" PRId64
                              " more than %" PRId64,
                              axis, t->dims[axis], x->dims[axis]);
    }
    return shape_set(args, 0, x->dtype, x->rank, dims, err);
}

rf_status rf_shape_split(const rf_op_args *args, rf_error *err)
{
    const rf_split_attrs *a = &args->attrs->split;
    int axis;
    const rf_tensor *x = args->in[0];
    RF_TRY(shape_axis(args, a->axis, x->rank, &axis, err));
    int64_t n = x->dims[axis], sum = 0;
    if (a->n_sizes && a->n_sizes != args->n_out)
        return shape_fail(args, err, "sizes: expected one for each of %d outputs, found %d",
                          args->n_out, a->n_sizes);
    if (!a->n_sizes && n % args->n_out)
        return shape_fail(args, err, "axis %d: expected a multiple of %d parts, found %" PRId64,
                          axis, args->n_out, n);
    for (int i = 0; i < a->n_sizes; i++) {
        if (a->sizes[i] < 0 || a->sizes[i] > n - sum)
            return shape_fail(args, err,
                              "sizes: expected a sum of %" PRId64 ", found %" PRId64 " at place %d",
                              n, a->sizes[i], i);
        sum += a->sizes[i];
    }
    if (a->n_sizes && sum != n)
        return shape_fail(args, err, "sizes: expected a sum of %" PRId64 ", found %" PRId64, n,
                          sum);
    for (int i = 0; i < args->n_out; i++) {
        rf_tensor part = *x;
        part.dims[axis] = rf_normal_part(a, n, args->n_out, i);
        RF_TRY(shape_set_like(args, i, &part, err));
    }
    return RF_OK;
}

rf_status rf_shape_slice(const rf_op_args *args, rf_error *err)
{
    const rf_slice_attrs *a = &args->attrs->slice;
    const rf_tensor *x = args->in[0];
    if (a->n_ends != a->n_starts || (a->n_steps && a->n_steps != a->n_starts) ||
        (a->n_axes && a->n_axes != a->n_starts))
        return shape_fail(
            args, err, "expected starts, ends, steps and axes of one length, found %d, %d, %d, %d",
            a->n_starts, a->n_ends, a->n_steps, a->n_axes);
    if (a->n_starts > x->rank)
        return shape_fail(args, err, "starts: expected up to %d for %s, found %d", x->rank,
                          shape_dims(x).s, a->n_starts);
    uint32_t seen = 0;
    for (int i = 0; i < a->n_starts; i++) {
        int axis;
        RF_TRY(shape_axis(args, a->n_axes ? a->axes[i] : i, x->rank, &axis, err));
        if (seen & 1u << axis)
            return shape_fail(args, err, "axes: expected every axis once, found %d twice", axis);
        seen |= 1u << axis;
        if (a->n_steps && a->steps[i] < 1)
            return shape_fail(args, err, "steps: expected 1 or more, found %" PRId64, a->steps[i]);
    }
    rf_normal_range range;
    rf_normal_slice(a, x, &range);
    return shape_set(args, 0, x->dtype, x->rank, range.count, err);
}

rf_status rf_shape_transpose(const rf_op_args *args, rf_error *err)
{
    const rf_transpose_attrs *a = &args->attrs->transpose;
    const rf_tensor *x = args->in[0];
    if (a->n_perm && a->n_perm != x->rank)
        return shape_fail(args, err, "perm: expected %d axes, found %d", x->rank, a->n_perm);
    uint32_t seen = 0;
    for (int i = 0; i < a->n_perm; i++) {
        if (a->perm[i] < 0 || a->perm[i] >= x->rank || seen >> a->perm[i] & 1)
            return shape_fail(args, err,
                              "perm: expected every axis of %d once, found %" PRId64 " at place %d",
                              x->rank, a->perm[i], i);
        seen |= 1u << a->perm[i];
    }
    int perm[RF_MAX_RANK];
    int64_t dims[RF_MAX_RANK];
    rf_normal_perm(a, x->rank, perm);
    for (int i = 0; i < x->rank; i++)
        dims[i] = x->dims[perm[i]];
    return shape_set(args, 0, x->dtype, x->rank, dims, err);
}

rf_status rf_shape_reshape(const rf_op_args *args, rf_error *err)
{
    const rf_reshape_attrs *a = &args->attrs->reshape;
    const rf_tensor *x = args->in[0];
    int64_t dims[RF_MAX_RANK], known = 1;
    int open = -1;
    for (int i = 0; i < a->n_dims; i++) {
        dims[i] = a->dims[i];
        if (dims[i] == 0 && i >= x->rank)
            return shape_fail(args, err,
                              "dims: expected a size at place %d, found 0, which copies a dim that "
                              "%s does not have",
                              i, shape_dims(x).s);
        if (dims[i] == 0)
            dims[i] = x->dims[i];
        if (dims[i] < -1 || (dims[i] == -1 && open >= 0))
            return shape_fail(
                args, err, "dims: expected sizes and at most one -1, found %" PRId64 " at place %d",
                dims[i], i);
        if (dims[i] == -1)
            open = i;
        else if (__builtin_mul_overflow(known, dims[i], &known))
            return shape_fail(args, err,
                              "dims: expected %" PRId64 " elements as in %s, found more than 2^63",
                              rf_tensor_elements(x), shape_dims(x).s);
    }
    int64_t n = rf_tensor_elements(x);
    if (open >= 0) {
        if (known == 0 || n % known)
            return shape_fail(args, err,
                              "dims: expected to divide the %" PRId64
                              " elements of %s, found %" PRId64,
                              n, shape_dims(x).s, known);
        dims[open] = n / known;
        known = n;
    }
    if (known != n)
        return shape_fail(args, err, "dims: expected %" PRId64 " elements as in %s, found %" PRId64,
                          n, shape_dims(x).s, known);
    return shape_set(args, 0, x->dtype, a->n_dims, dims, err);
}

rf_status rf_shape_expand(const rf_op_args *args, rf_error *err)
{
    const rf_expand_attrs *a = &args->attrs->expand;
    const rf_tensor *x = args->in[0];
    rf_tensor to = {.rank = a->n_dims};
    for (int i = 0; i < a->n_dims; i++) {
        to.dims[i] = a->dims[i];
        if (a->dims[i] < 0)
            return shape_fail(args, err, "dims: expected 0 or more, found %" PRId64, a->dims[i]);
    }
    int64_t dims[RF_MAX_RANK];
    int rank = shape_broadcast(x, &to, dims);
    if (rank < 0)
        return shape_fail(args, err, "expected dims that %s broadcasts to, found %s",
                          shape_dims(x).s, shape_dims(&to).s);
    return shape_set(args, 0, x->dtype, rank, dims, err);
}

rf_status rf_shape_gather(const rf_op_args *args, rf_error *err)
{
    int axis;
    const rf_tensor *x = args->in[0], *index = args->in[1];
    RF_TRY(shape_axis(args, args->attrs->gather.axis, x->rank, &axis, err));
    if (index->dtype != RF_I32 && index->dtype != RF_I64)
        return shape_fail(args, err, "index: expected i32 or i64, found %s",
                          rf_dtype_name(index->dtype));
    int rank = x->rank - 1 + index->rank;
    if (rank > RF_MAX_RANK)
        return shape_fail(args, err, "expected an output of rank up to %d, found %d", RF_MAX_RANK,
                          rank);
    int64_t dims[RF_MAX_RANK];
    for (int i = 0; i < rank; i++)
        dims[i] = i < axis                 ? x->dims[i]
                  : i < axis + index->rank ? index->dims[i - axis]
                                           : x->dims[i - index->rank + 1];
    return shape_set(args, 0, x->dtype, rank, dims, err);
}
