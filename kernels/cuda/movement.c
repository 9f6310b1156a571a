/* SPDX-License-Identifier: Apache-2.0
 *
 * Ops that only move elements. All but pad and gather are views of their input or output (other
 * strides, another first element) and one or a few strided copies (copy.c).
 */
#include "kernels/cuda/movement.h"

#include "kernels/cuda/copy.h"
#include "kernels/cuda/rows.h"
#include "runtime/base/half.h"
#include "runtime/core/shape/normal.h"

#include <string.h>

enum { THREADS = 256 };

_Static_assert((int)RF_CUDA_PAD_ZEROS == RF_PAD_ZEROS &&
                   (int)RF_CUDA_PAD_REFLECT == RF_PAD_REFLECT &&
                   (int)RF_CUDA_PAD_EDGE == RF_PAD_EDGE,
               "pad modes");

/* Element `index` along dim d of a view of t, as a pointer. */
static void *at(const rf_tensor *t, int d, int64_t index)
{
    return (char *)t->data + index * t->strides[d] * (int64_t)rf_dtype_bytes(t->dtype);
}

/* ---- views -------------------------------------------------------------------------------------
 */

static rf_status run_transpose(const rf_kernel_call *call, rf_error *err)
{
    const rf_tensor *x = call->args.in[0];
    rf_tensor view = *x;
    int perm[RF_MAX_RANK];
    rf_normal_perm(&call->args.attrs->transpose, x->rank, perm);
    for (int i = 0; i < x->rank; i++) {
        view.dims[i] = x->dims[perm[i]];
        view.strides[i] = x->strides[perm[i]];
    }
    return rf_cuda_copy_tensor(call, call->args.out[0], &view, err);
}

static rf_status run_expand(const rf_kernel_call *call, rf_error *err)
{
    return rf_cuda_copy_tensor(call, call->args.out[0], call->args.in[0], err);
}

static rf_status run_crop_like(const rf_kernel_call *call, rf_error *err)
{
    const rf_tensor *y = call->args.out[0];
    rf_tensor view = *call->args.in[0];
    memcpy(view.dims, y->dims, sizeof view.dims);
    return rf_cuda_copy_tensor(call, y, &view, err);
}

static rf_status run_slice(const rf_kernel_call *call, rf_error *err)
{
    const rf_tensor *x = call->args.in[0];
    rf_normal_range range;
    rf_normal_slice(&call->args.attrs->slice, x, &range);
    rf_tensor view = *x;
    for (int i = 0; i < x->rank; i++) {
        view.data = at(&view, i, range.begin[i]);
        view.strides[i] *= range.step[i];
        view.dims[i] = range.count[i];
    }
    return rf_cuda_copy_tensor(call, call->args.out[0], &view, err);
}

static rf_status run_concat(const rf_kernel_call *call, rf_error *err)
{
    rf_tensor view = *call->args.out[0];
    int axis = rf_normal_axis(call->args.attrs->concat.axis, view.rank);
    for (int i = 0; i < call->args.n_in; i++) {
        const rf_tensor *x = call->args.in[i];
        view.dims[axis] = x->dims[axis];
        RF_TRY(rf_cuda_copy_tensor(call, &view, x, err));
        view.data = at(&view, axis, x->dims[axis]);
    }
    return RF_OK;
}

static rf_status run_split(const rf_kernel_call *call, rf_error *err)
{
    rf_tensor view = *call->args.in[0];
    int axis = rf_normal_axis(call->args.attrs->split.axis, view.rank);
    for (int i = 0; i < call->args.n_out; i++) {
        const rf_tensor *y = call->args.out[i];
        view.dims[axis] = y->dims[axis];
        RF_TRY(rf_cuda_copy_tensor(call, y, &view, err));
        view.data = at(&view, axis, y->dims[axis]);
    }
    return RF_OK;
}

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
    const rf_tensor *x = call->args.in[0], *y = call->args.out[0];
    bool x_plain = rf_tensor_is_contiguous(x), y_plain = rf_tensor_is_contiguous(y);
    rf_tensor middle = *x;
    if (!x_plain) { /* x in its own shape, written row-major */
        middle.data = y_plain ? y->data : call->scratch;
        middle.dtype = y_plain ? y->dtype : x->dtype;
        rf_tensor_set_contiguous(&middle);
        RF_TRY(rf_cuda_copy_tensor(call, &middle, x, err));
        if (y_plain)
            return RF_OK;
    }
    rf_tensor view = *y; /* the same elements in the shape of y */
    view.data = middle.data;
    view.dtype = middle.dtype;
    rf_tensor_set_contiguous(&view);
    return rf_cuda_copy_tensor(call, y, &view, err);
}

/* ---- pad ---------------------------------------------------------------------------------------
 */

/* The dtypes that the kernels with a fill value take. */
static bool can_fill(const rf_kernel_desc *desc)
{
    const rf_tensor *x = desc->args.in[0], *y = desc->args.out[0];
    return x->dtype == y->dtype || (rf_cuda_is_float(x) && rf_cuda_is_float(y));
}

/* Truncates and saturates; NaN is 0. */
static int64_t to_integer(double v, rf_dtype t)
{
    bool is_signed = t == RF_I8 || t == RF_I16 || t == RF_I32 || t == RF_I64;
    double high = ldexp(1, (int)rf_dtype_bytes(t) * 8 - is_signed), low = is_signed ? -high : 0;
    if (t == RF_BOOL)
        return v != 0;
    if (v != v || v <= low)
        return v != v ? 0 : (int64_t)low;
    if (v >= high)
        return (int64_t)(UINT64_MAX >> (64 - rf_dtype_bytes(t) * 8 + is_signed));
    return is_signed ? (int64_t)v : (int64_t)(uint64_t)v;
}

/* Rounded to odd, so that rounding again to a half gives the nearest of the double. */
static float to_odd(double v)
{
    float f = (float)v;
    uint32_t u;
    if (v != v || (double)f == v || isinf(f))
        return f;
    memcpy(&u, &f, 4);
    u = (fabs((double)f) > fabs(v) ? u - 1 : u) | 1;
    memcpy(&f, &u, 4);
    return f;
}

/* v in the dtype, repeated to 16 bytes. */
static void fill_with(uint32_t *fill, rf_dtype dtype, double v)
{
    size_t item = rf_dtype_bytes(dtype);
    float f = (float)v;
    uint16_t h = dtype == RF_F16 ? rf_f32_to_f16(to_odd(v)) : rf_f32_to_bf16(to_odd(v));
    int64_t n = dtype <= RF_BF16 ? 0 : to_integer(v, dtype);
    const void *bits = dtype == RF_F32    ? (const void *)&f
                       : dtype == RF_F64  ? (const void *)&v
                       : dtype <= RF_BF16 ? (const void *)&h
                                          : (const void *)&n; /* little endian */
    for (size_t i = 0; i < 16; i += item)
        memcpy((char *)fill + i, bits, item);
}

/* Adds dim d of y to the walk, or joins it to the last one if neither has padding. */
static void add_dim(rf_cuda_pad_params *p, const rf_tensor *x, const rf_tensor *y, int d,
                    int64_t begin)
{
    rf_cuda_nd *nd = &p->nd;
    int last = nd->rank - 1;
    bool whole = begin == 0 && x->dims[d] == y->dims[d];
    if (whole && y->dims[d] == 1)
        return;
    if (whole && last >= 0 && p->begin[last] == 0 && p->size[last] == nd->dims[last] &&
        nd->strides[0][last] == y->strides[d] * y->dims[d] &&
        nd->strides[1][last] == x->strides[d] * x->dims[d]) {
        nd->dims[last] *= y->dims[d];
    } else {
        last = nd->rank++;
        nd->dims[last] = y->dims[d];
        p->begin[last] = begin;
    }
    p->size[last] = whole ? nd->dims[last] : x->dims[d];
    nd->strides[0][last] = y->strides[d];
    nd->strides[1][last] = x->strides[d];
}

static rf_cuda_pad_params pad_params(const rf_pad_attrs *a, const rf_tensor *x, const rf_tensor *y)
{
    rf_cuda_pad_params p = {.mode = (int32_t)a->mode};
    rf_normal_padding pad;
    int order[RF_MAX_RANK]; /* y's dims from the largest stride to the smallest */
    rf_normal_pad(a, x, &pad);
    for (int d = 0; d < y->rank; d++) {
        int i = d;
        for (; i > 0 && y->strides[order[i - 1]] < y->strides[d]; i--)
            order[i] = order[i - 1];
        order[i] = d;
    }
    for (int i = 0; i < y->rank; i++)
        add_dim(&p, x, y, order[i], pad.begin[order[i]]);
    p.nd.n = 2;
    p.nd.elements = rf_tensor_elements(y);
    p.nd.data[0] = y->data;
    p.nd.data[1] = x->data;
    p.nd.dtype[0] = (int32_t)y->dtype;
    p.nd.dtype[1] = (int32_t)x->dtype;
    fill_with(p.fill, y->dtype, a->value);
    return p;
}

static rf_status run_pad(const rf_kernel_call *call, rf_error *err)
{
    const rf_tensor *x = call->args.in[0], *y = call->args.out[0];
    rf_cuda_pad_params p = pad_params(&call->args.attrs->pad, x, y);
    int last = p.nd.rank - 1, entry = RF_CUDA_PAD_CONVERT;
    if (x->dtype == y->dtype) {
        int item = __builtin_ctz((unsigned)rf_dtype_bytes(y->dtype));
        bool whole = last >= 0 && p.begin[last] == 0 && p.size[last] == p.nd.dims[last];
        entry = RF_CUDA_PAD_UNITS +
                (whole ? rf_cuda_copy_units(&p.nd, rf_dtype_bytes(y->dtype), NULL) : item);
        if (whole)
            p.size[last] = p.nd.dims[last];
    }
    return rf_cuda_launch(call, &rf_cuda_movement_entries[entry],
                          rf_cuda_grid(call, p.nd.elements, THREADS), (dim3){THREADS, 1, 1}, 0, &p,
                          err);
}

/* ---- gather ------------------------------------------------------------------------------------
 */

static bool can_gather(const rf_kernel_desc *desc)
{
    rf_dtype index = desc->args.in[1]->dtype;
    return can_fill(desc) && (index == RF_I32 || index == RF_I64);
}

static rf_status run_gather(const rf_kernel_call *call, rf_error *err)
{
    const rf_tensor *x = call->args.in[0], *index = call->args.in[1], *y = call->args.out[0];
    int axis = rf_normal_axis(call->args.attrs->gather.axis, x->rank);
    rf_tensor slabs = *y, indices = *y;
    slabs.data = x->data;
    slabs.dtype = x->dtype;
    indices.data = index->data;
    indices.dtype = index->dtype;
    for (int d = 0; d < y->rank; d++) {
        bool indexed = d >= axis && d < axis + index->rank;
        indices.strides[d] = indexed ? index->strides[d - axis] : 0;
        slabs.strides[d] = indexed ? 0 : x->strides[d < axis ? d : d - index->rank + 1];
    }
    rf_cuda_gather_params p = {
        .nd = rf_cuda_nd_make((const rf_tensor *[]){y, &slabs, &indices}, 3),
        .n = x->dims[axis],
        .step = x->strides[axis],
    };
    fill_with(p.fill, y->dtype, NAN);
    int entry = RF_CUDA_GATHER_CONVERT;
    if (x->dtype == y->dtype)
        entry = RF_CUDA_GATHER_UNITS + rf_cuda_copy_units(&p.nd, rf_dtype_bytes(y->dtype), &p.step);
    return rf_cuda_launch(call, &rf_cuda_movement_entries[entry],
                          rf_cuda_grid(call, p.nd.elements, THREADS), (dim3){THREADS, 1, 1}, 0, &p,
                          err);
}

#define ROW(id, op_id, run_fn, ...)                                                                \
    static const rf_kernel id = {.op = op_id,                                                      \
                                 .name = "copy",                                                   \
                                 .why = "any strides, any two dtypes",                             \
                                 .run = run_fn,                                                    \
                                 __VA_ARGS__};
ROW(transpose_row, RF_OP_TRANSPOSE, run_transpose)
ROW(expand_row, RF_OP_EXPAND, run_expand)
ROW(crop_like_row, RF_OP_CROP_LIKE, run_crop_like)
ROW(slice_row, RF_OP_SLICE, run_slice)
ROW(concat_row, RF_OP_CONCAT, run_concat)
ROW(split_row, RF_OP_SPLIT, run_split)
ROW(reshape_row, RF_OP_RESHAPE, run_reshape, .scratch = reshape_scratch)

static const rf_kernel pad_row = {
    .op = RF_OP_PAD,
    .name = "pad",
    .why = "any strides, one dtype or f32 and halves",
    .can = can_fill,
    .run = run_pad,
};
/* The host cannot see the indices: where one is out of range the output gets NaN (integers 0), not
 * an error as on the CPU. */
static const rf_kernel gather_row = {
    .op = RF_OP_GATHER,
    .name = "gather",
    .why = "any strides, one dtype or f32 and halves",
    .can = can_gather,
    .run = run_gather,
};

const rf_kernel *const rf_cuda_rows_movement[] = {
    &transpose_row, &expand_row,  &crop_like_row, &slice_row,  &concat_row,
    &split_row,     &reshape_row, &pad_row,       &gather_row, NULL,
};
