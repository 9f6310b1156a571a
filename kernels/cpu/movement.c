/* SPDX-License-Identifier: Apache-2.0
 *
 * Ops that only move elements. Each is a view of its input or output (other strides, another first
 * element) and one or a few strided copies: the speed is copy.c's.
 */
#include "kernels/cpu/nd.h"
#include "runtime/core/shape/normal.h"

#include <string.h>

/* Element `index` along dim d of a view of t, as a pointer. */
static void *at(const rf_tensor *t, int d, int64_t index)
{
    return rf_nd_at(t->data, index * t->strides[d], rf_dtype_bytes(t->dtype));
}

static bool can_copy(const rf_kernel_desc *desc)
{
    return rf_cpu_can_copy(desc->args.out[0]->dtype, desc->args.in[0]->dtype);
}

static bool can_copy_all_in(const rf_kernel_desc *desc)
{
    for (int i = 0; i < desc->args.n_in; i++)
        if (!rf_cpu_can_copy(desc->args.out[0]->dtype, desc->args.in[i]->dtype))
            return false;
    return true;
}

static bool can_copy_all_out(const rf_kernel_desc *desc)
{
    for (int i = 0; i < desc->args.n_out; i++)
        if (!rf_cpu_can_copy(desc->args.out[i]->dtype, desc->args.in[0]->dtype))
            return false;
    return true;
}

static rf_status run_copy(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    rf_cpu_copy_tensor(call->n_threads, call->args.out[0], call->args.in[0]);
    return RF_OK;
}

static rf_status run_transpose(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_tensor *x = call->args.in[0];
    rf_tensor view = *x;
    int perm[RF_MAX_RANK];
    rf_normal_perm(&call->args.attrs->transpose, x->rank, perm);
    for (int i = 0; i < x->rank; i++) {
        view.dims[i] = x->dims[perm[i]];
        view.strides[i] = x->strides[perm[i]];
    }
    rf_cpu_copy_tensor(call->n_threads, call->args.out[0], &view);
    return RF_OK;
}

static rf_status run_expand(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_tensor *x = call->args.in[0], *y = call->args.out[0];
    rf_tensor view = *y;
    for (int i = 0; i < y->rank; i++) {
        int k = i - (y->rank - x->rank);
        view.strides[i] = k < 0 || x->dims[k] == 1 ? 0 : x->strides[k];
    }
    view.data = x->data;
    view.dtype = x->dtype;
    rf_cpu_copy_tensor(call->n_threads, y, &view);
    return RF_OK;
}

static rf_status run_crop_like(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_tensor *x = call->args.in[0], *y = call->args.out[0];
    rf_cpu_copy(call->n_threads, y->rank, y->dims, y->data, y->dtype, y->strides, x->data, x->dtype,
                x->strides);
    return RF_OK;
}

static rf_status run_slice(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_tensor *x = call->args.in[0], *y = call->args.out[0];
    rf_normal_range range;
    rf_normal_slice(&call->args.attrs->slice, x, &range);
    rf_tensor view = *x;
    for (int i = 0; i < x->rank; i++) {
        view.data = at(&view, i, range.begin[i]);
        view.strides[i] *= range.step[i];
        view.dims[i] = range.count[i];
    }
    rf_cpu_copy_tensor(call->n_threads, y, &view);
    return RF_OK;
}

static rf_status run_concat(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    rf_tensor view = *call->args.out[0];
    int axis = rf_normal_axis(call->args.attrs->concat.axis, view.rank);
    for (int i = 0; i < call->args.n_in; i++) {
        const rf_tensor *x = call->args.in[i];
        view.dims[axis] = x->dims[axis];
        rf_cpu_copy_tensor(call->n_threads, &view, x);
        view.data = at(&view, axis, x->dims[axis]);
    }
    return RF_OK;
}

static rf_status run_split(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    rf_tensor view = *call->args.in[0];
    int axis = rf_normal_axis(call->args.attrs->split.axis, view.rank);
    for (int i = 0; i < call->args.n_out; i++) {
        rf_tensor *y = call->args.out[i];
        view.dims[axis] = y->dims[axis];
        rf_cpu_copy_tensor(call->n_threads, y, &view);
        view.data = at(&view, axis, y->dims[axis]);
    }
    return RF_OK;
}

/* --- reshape ------------------------------------------------------------------------------------
 */

/* A reshape between dense row-major tensors keeps the memory as it is; any other layout goes
 * through a row-major copy of x. */
static size_t reshape_scratch(const rf_kernel_desc *desc)
{
    const rf_tensor *x = desc->args.in[0], *y = desc->args.out[0];
    bool direct = rf_tensor_is_contiguous(x) || rf_tensor_is_contiguous(y);
    return direct ? 0 : rf_tensor_bytes(x);
}

static rf_status run_reshape(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_tensor *x = call->args.in[0], *y = call->args.out[0];
    bool x_plain = rf_tensor_is_contiguous(x), y_plain = rf_tensor_is_contiguous(y);
    rf_tensor middle = *x;
    if (!x_plain) { /* x in its own shape, written row-major */
        middle.data = y_plain ? y->data : call->scratch;
        middle.dtype = y_plain ? y->dtype : x->dtype;
        rf_tensor_set_contiguous(&middle);
        rf_cpu_copy_tensor(call->n_threads, &middle, x);
        if (y_plain)
            return RF_OK;
    }
    rf_tensor view = *y; /* the same elements in the shape of y */
    view.data = middle.data;
    view.dtype = middle.dtype;
    rf_tensor_set_contiguous(&view);
    rf_cpu_copy_tensor(call->n_threads, y, &view);
    return RF_OK;
}

/* --- pixel shuffle ------------------------------------------------------------------------------
 */

/* Both tensors as (N, C, dy, dx, H, W): `fine` has the large image, `coarse` the many channels. */
static void shuffle(int n_threads, const rf_tensor *fine, const rf_tensor *coarse, int64_t r,
                    bool to_fine)
{
    int64_t dims[6] = {fine->dims[0], fine->dims[1], r, r, coarse->dims[2], coarse->dims[3]};
    const int64_t *f = fine->strides, *c = coarse->strides;
    int64_t fs[6] = {f[0], f[1], f[2], f[3], f[2] * r, f[3] * r};
    int64_t cs[6] = {c[0], c[1] * r * r, c[1] * r, c[1], c[2], c[3]};
    if (to_fine)
        rf_cpu_copy(n_threads, 6, dims, fine->data, fine->dtype, fs, coarse->data, coarse->dtype,
                    cs);
    else
        rf_cpu_copy(n_threads, 6, dims, coarse->data, coarse->dtype, cs, fine->data, fine->dtype,
                    fs);
}

static rf_status run_shuffle(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    shuffle(call->n_threads, call->args.out[0], call->args.in[0],
            call->args.attrs->pixel_shuffle.factor, true);
    return RF_OK;
}

static rf_status run_unshuffle(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    shuffle(call->n_threads, call->args.in[0], call->args.out[0],
            call->args.attrs->pixel_unshuffle.factor, false);
    return RF_OK;
}

/* --- pad ----------------------------------------------------------------------------------------
 */

/* A reflection beside a cut may show what was cut off, and a cut may take more than there is: then
 * everything is padded first, in scratch, and cut afterwards. */
static bool cuts_last(const rf_pad_attrs *attrs, const rf_tensor *x)
{
    rf_normal_padding pad;
    rf_normal_pad(attrs, x, &pad);
    for (int i = 0; i < x->rank; i++) {
        int64_t begin = pad.begin[i] < 0 ? -pad.begin[i] : 0;
        int64_t end = pad.end[i] < 0 ? -pad.end[i] : 0;
        if (begin + end > (attrs->mode == RF_PAD_ZEROS ? x->dims[i] : 0))
            return true;
    }
    return false;
}

/* Only what is added: the shape before anything is cut, in y's dtype. */
static rf_tensor padded_whole(const rf_tensor *x, rf_dtype dtype, rf_normal_padding *pad)
{
    rf_tensor whole = *x;
    whole.dtype = dtype;
    for (int i = 0; i < x->rank; i++) {
        pad->begin[i] = pad->begin[i] > 0 ? pad->begin[i] : 0;
        pad->end[i] = pad->end[i] > 0 ? pad->end[i] : 0;
        whole.dims[i] += pad->begin[i] + pad->end[i];
    }
    rf_tensor_set_contiguous(&whole);
    return whole;
}

static size_t pad_scratch(const rf_kernel_desc *desc)
{
    const rf_tensor *x = desc->args.in[0];
    rf_normal_padding pad;
    if (!cuts_last(&desc->args.attrs->pad, x))
        return 0;
    rf_normal_pad(&desc->args.attrs->pad, x, &pad);
    rf_tensor whole = padded_whole(x, desc->args.out[0]->dtype, &pad);
    return rf_tensor_bytes(&whole);
}

/* Negative padding cuts: takes it off x. */
static void cut(rf_tensor *x, rf_normal_padding *pad)
{
    for (int i = 0; i < x->rank; i++) {
        int64_t begin = pad->begin[i] < 0 ? -pad->begin[i] : 0;
        int64_t end = pad->end[i] < 0 ? -pad->end[i] : 0;
        pad->begin[i] += begin;
        pad->end[i] += end;
        x->data = at(x, i, begin);
        x->dims[i] -= begin + end;
    }
}

/* The border at index `i` of dim d: all of y along the dims before d, which are complete, and what
 * x fills along those after it. `n` > 1 only for a constant. */
static void pad_border(const rf_kernel_call *call, const rf_tensor *y, const rf_tensor *x,
                       const rf_normal_padding *pad, int d, int64_t i, int64_t n)
{
    const rf_pad_attrs *attrs = &call->args.attrs->pad;
    rf_tensor to = *y, from;
    to.data = at(&to, d, i);
    to.dims[d] = n;
    for (int k = d + 1; k < to.rank; k++) {
        to.data = at(&to, k, pad->begin[k]);
        to.dims[k] = x->dims[k];
    }
    from = to;
    uint64_t value; /* enough bytes for any dtype */
    if (attrs->mode == RF_PAD_ZEROS) {
        rf_cpu_narrow_double(&value, to.dtype, &attrs->value, 1);
        memset(from.strides, 0, sizeof from.strides);
        from.data = &value;
    } else {
        int64_t source = rf_normal_padded(attrs->mode, i - pad->begin[d], x->dims[d]);
        from.data = at(&to, d, source + pad->begin[d] - i);
    }
    rf_cpu_copy_tensor(call->n_threads, &to, &from);
}

/* y = x with borders; nothing is cut. */
static void pad_all(const rf_kernel_call *call, const rf_tensor *y, const rf_tensor *x,
                    const rf_normal_padding *pad)
{
    rf_tensor inside = *y;
    for (int d = 0; d < y->rank; d++) {
        inside.data = at(&inside, d, pad->begin[d]);
        inside.dims[d] = x->dims[d];
    }
    rf_cpu_copy_tensor(call->n_threads, &inside, x);
    bool whole = call->args.attrs->pad.mode == RF_PAD_ZEROS;
    for (int d = 0; d < y->rank; d++) {
        int64_t end = pad->begin[d] + x->dims[d];
        if (whole) {
            pad_border(call, y, x, pad, d, 0, pad->begin[d]);
            pad_border(call, y, x, pad, d, end, pad->end[d]);
            continue;
        }
        for (int64_t i = 0; i < pad->begin[d]; i++)
            pad_border(call, y, x, pad, d, i, 1);
        for (int64_t i = end; i < y->dims[d]; i++)
            pad_border(call, y, x, pad, d, i, 1);
    }
}

static rf_status run_pad(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_tensor *y = call->args.out[0];
    rf_tensor x = *call->args.in[0];
    rf_normal_padding pad;
    rf_normal_pad(&call->args.attrs->pad, &x, &pad);
    if (!cuts_last(&call->args.attrs->pad, &x)) {
        cut(&x, &pad);
        pad_all(call, y, &x, &pad);
        return RF_OK;
    }
    rf_normal_padding added = pad;
    rf_tensor whole = padded_whole(&x, y->dtype, &added), part = whole;
    part.data = whole.data = call->scratch;
    pad_all(call, &whole, &x, &added);
    for (int d = 0; d < y->rank; d++) {
        part.data = at(&part, d, pad.begin[d] < 0 ? -pad.begin[d] : 0);
        part.dims[d] = y->dims[d];
    }
    rf_cpu_copy_tensor(call->n_threads, y, &part);
    return RF_OK;
}

/* --- gather -------------------------------------------------------------------------------------
 */

static bool can_gather(const rf_kernel_desc *desc)
{
    rf_dtype index = desc->args.in[1]->dtype;
    return can_copy(desc) && (index == RF_I32 || index == RF_I64);
}

static int64_t read_index(const rf_tensor *index, int64_t element)
{
    return index->dtype == RF_I32 ? ((const int32_t *)index->data)[element]
                                  : ((const int64_t *)index->data)[element];
}

static rf_status run_gather(const rf_kernel_call *call, rf_error *err)
{
    const rf_tensor *x = call->args.in[0], *index = call->args.in[1], *y = call->args.out[0];
    int axis = rf_normal_axis(call->args.attrs->gather.axis, x->rank);
    /* One slab of x (its dims without `axis`) for each index. */
    int64_t dims[RF_MAX_RANK], from[RF_MAX_RANK], to[RF_MAX_RANK];
    int rank = 0;
    for (int i = 0; i < x->rank; i++)
        if (i != axis) {
            dims[rank] = x->dims[i];
            from[rank] = x->strides[i];
            to[rank++] = y->strides[i < axis ? i : i + index->rank - 1];
        }
    int64_t n = rf_tensor_elements(index);
    for (int64_t k = 0; k < n; k++) {
        int64_t rest = k, where = 0, out = 0;
        for (int d = index->rank - 1; d >= 0; d--) {
            int64_t i = rest % index->dims[d];
            rest /= index->dims[d];
            where += i * index->strides[d];
            out += i * y->strides[axis + d];
        }
        int64_t i = read_index(index, where);
        if (i < -x->dims[axis] || i >= x->dims[axis])
            return rf_fail(err, RF_ERR_ARGUMENT, "gather: index: expected %lld to %lld, found %lld",
                           (long long)-x->dims[axis], (long long)x->dims[axis] - 1, (long long)i);
        i += i < 0 ? x->dims[axis] : 0;
        rf_cpu_copy(call->n_threads, rank, dims, rf_nd_at(y->data, out, rf_dtype_bytes(y->dtype)),
                    y->dtype, to, at(x, axis, i), x->dtype, from);
    }
    return RF_OK;
}

#define ROW(id, op_id, can_fn, run_fn, ...)                                                        \
    static const rf_kernel id = {.op = op_id,                                                      \
                                 .name = "copy",                                                   \
                                 .why = "moves elements only",                                     \
                                 .can = can_fn,                                                    \
                                 .run = run_fn,                                                    \
                                 __VA_ARGS__};
ROW(copy_row, RF_OP_COPY, can_copy, run_copy)
ROW(cast_row, RF_OP_CAST, can_copy, run_copy)
ROW(transpose_row, RF_OP_TRANSPOSE, can_copy, run_transpose)
ROW(expand_row, RF_OP_EXPAND, can_copy, run_expand)
ROW(crop_like_row, RF_OP_CROP_LIKE, can_copy, run_crop_like)
ROW(slice_row, RF_OP_SLICE, can_copy, run_slice)
ROW(concat_row, RF_OP_CONCAT, can_copy_all_in, run_concat)
ROW(split_row, RF_OP_SPLIT, can_copy_all_out, run_split)
ROW(reshape_row, RF_OP_RESHAPE, can_copy, run_reshape, .scratch = reshape_scratch)
ROW(shuffle_row, RF_OP_PIXEL_SHUFFLE, can_copy, run_shuffle)
ROW(unshuffle_row, RF_OP_PIXEL_UNSHUFFLE, can_copy, run_unshuffle)
ROW(pad_row, RF_OP_PAD, can_copy, run_pad, .scratch = pad_scratch)
ROW(gather_row, RF_OP_GATHER, can_gather, run_gather)

const rf_kernel *const RF_CPU_ROWS(movement)[] = {
    &copy_row,      &cast_row,   &transpose_row, &expand_row,  &crop_like_row,
    &slice_row,     &concat_row, &split_row,     &reshape_row, &shuffle_row,
    &unshuffle_row, &gather_row, &pad_row,       NULL,
};
