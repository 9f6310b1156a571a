/* SPDX-License-Identifier: Apache-2.0
 *
 * What attributes mean once shapes are known (negative axes resolved, slices clamped, padding per
 * side, the source coordinate of a resize): written once, because shape functions, kernels of
 * every backend and passes must agree on it to the last bit. The arguments have passed the op's
 * shape function, unless said otherwise.
 */
#ifndef RF_CORE_SHAPE_NORMAL_H
#define RF_CORE_SHAPE_NORMAL_H

#include "runtime/core/op.h"

#include <math.h>

static inline int rf_normal_axis(int64_t axis, int rank)
{
    return (int)(axis < 0 ? axis + rank : axis);
}

/* Bit i: dim i is reduced. */
static inline uint32_t rf_normal_reduce(const rf_reduce_attrs *a, int rank)
{
    uint32_t mask = 0;
    for (int i = 0; i < a->n_axes; i++)
        mask |= 1u << rf_normal_axis(a->axes[i], rank);
    return a->n_axes ? mask : (1u << rank) - 1;
}

static inline void rf_normal_perm(const rf_transpose_attrs *a, int rank, int perm[RF_MAX_RANK])
{
    for (int i = 0; i < rank; i++)
        perm[i] = a->n_perm ? (int)a->perm[i] : rank - 1 - i;
}

/* First index, step and number of elements of every dim. */
typedef struct rf_normal_range {
    int64_t begin[RF_MAX_RANK], step[RF_MAX_RANK], count[RF_MAX_RANK];
} rf_normal_range;
static inline void rf_normal_slice(const rf_slice_attrs *a, const rf_tensor *x,
                                   rf_normal_range *out)
{
    for (int i = 0; i < x->rank; i++) {
        out->begin[i] = 0;
        out->step[i] = 1;
        out->count[i] = x->dims[i];
    }
    for (int i = 0; i < a->n_starts; i++) {
        int axis = a->n_axes ? rf_normal_axis(a->axes[i], x->rank) : i;
        int64_t n = x->dims[axis], step = a->n_steps ? a->steps[i] : 1;
        int64_t begin = a->starts[i] < 0 ? a->starts[i] + n : a->starts[i];
        int64_t end = a->ends[i] < 0 ? a->ends[i] + n : a->ends[i];
        begin = begin < 0 ? 0 : begin > n ? n : begin;
        end = end < begin ? begin : end > n ? n : end;
        out->begin[axis] = begin;
        out->step[axis] = step;
        out->count[axis] = end > begin ? (end - begin - 1) / step + 1 : 0;
    }
}

/* Elements added (negative: dropped) before and after every dim. */
typedef struct rf_normal_padding {
    int64_t begin[RF_MAX_RANK], end[RF_MAX_RANK];
} rf_normal_padding;
static inline void rf_normal_pad(const rf_pad_attrs *a, const rf_tensor *x, rf_normal_padding *out)
{
    for (int i = 0; i < x->rank; i++) {
        out->begin[i] = a->n_pads ? a->pads[i] : 0;
        out->end[i] = a->n_pads ? a->pads[x->rank + i] : 0;
    }
    for (int k = 0; k < 2; k++)
        if (a->multiple[k] > 1) {
            int64_t rest = x->dims[x->rank - 2 + k] % a->multiple[k];
            out->end[x->rank - 2 + k] = rest ? a->multiple[k] - rest : 0;
        }
}

/* Where coordinate i, outside of [0, n), is read from; -1: the padding's value. */
static inline int64_t rf_normal_padded(rf_pad_mode mode, int64_t i, int64_t n)
{
    if (i >= 0 && i < n)
        return i;
    if (mode == RF_PAD_ZEROS)
        return -1;
    if (mode == RF_PAD_EDGE)
        return i < 0 ? 0 : n - 1;
    return i < 0 ? -i : 2 * (n - 1) - i;
}

/* Sizes of the parts of a split. */
static inline int64_t rf_normal_part(const rf_split_attrs *a, int64_t n, int n_parts, int part)
{
    return a->n_sizes ? a->sizes[part] : n / n_parts;
}

/* The source coordinate of output index o of a resize along y (d = 0) or x (d = 1), before
 * clamping. Given sizes define the scale exactly; a given scale is used as it is (as in ONNX and
 * PyTorch). For mode nearest, half_pixel counts from the pixel's corner, so that floor finds the
 * pixel which holds the output's centre ("nearest-exact"). */
static inline double rf_normal_resize(const rf_resize_attrs *a, int d, int64_t o, int64_t in,
                                      int64_t out)
{
    double scale = d ? a->scale_x : a->scale_y;
    double corner = a->mode == RF_RESIZE_NEAREST ? 0 : 0.5;
    switch (a->coord) {
    case RF_COORD_ALIGN_CORNERS:
        return out > 1 ? (double)o * (double)(in - 1) / (double)(out - 1) : 0;
    case RF_COORD_ASYMMETRIC:
        return a->size[d] ? (double)o * (double)in / (double)out : (double)o / scale;
    case RF_COORD_HALF_PIXEL:
        break;
    }
    double centre = (double)o + 0.5;
    return (a->size[d] ? centre * (double)in / (double)out : centre / scale) - corner;
}

/* 1 / sqrt(D) unless given. */
static inline double rf_normal_attention_scale(const rf_attention_attrs *a, int64_t depth)
{
    return a->scale != 0 ? a->scale : 1 / sqrt((double)depth);
}

#endif
