/* SPDX-License-Identifier: Apache-2.0
 *
 * What shape functions have in common: dtype and size checks with messages in one style, "op: what:
 * expected this, found that". Inputs are named by their place. rf_shape_infer has checked the
 * numbers of inputs and outputs and that required inputs are there.
 */
#ifndef RF_CORE_SHAPE_CHECK_H
#define RF_CORE_SHAPE_CHECK_H

#include "runtime/core/shape.h"
#include "runtime/core/shape/normal.h"
#include "runtime/core/strided.h"

#include <inttypes.h>

static inline const char *shape_op(const rf_op_args *args)
{
    return rf_op_get(args->op)->name;
}

#define shape_fail(args, err, fmt, ...)                                                            \
    rf_fail(err, RF_ERR_ARGUMENT, "%s: " fmt, shape_op(args), ##__VA_ARGS__)

typedef struct shape_text {
    char s[96];
} shape_text;

static inline shape_text shape_dims(const rf_tensor *t)
{
    shape_text text;
    rf_tensor_dims_text(t, text.s, sizeof text.s);
    return text;
}

static inline bool shape_is_float(rf_dtype dtype)
{
    return dtype <= RF_BF16;
}

/* Input i, or NULL when it is absent. */
static inline const rf_tensor *shape_in(const rf_op_args *args, int i)
{
    return i < args->n_in ? args->in[i] : NULL;
}

/* Every input that is there has a float dtype. */
static inline rf_status shape_float_args(const rf_op_args *args, rf_error *err)
{
    for (int i = 0; i < args->n_in; i++)
        if (args->in[i] && !shape_is_float(args->in[i]->dtype))
            return shape_fail(args, err,
                              "input %d: expected a float dtype (f32, f64, f16, bf16), found %s", i,
                              rf_dtype_name(args->in[i]->dtype));
    return RF_OK;
}

static inline rf_status shape_rank(const rf_op_args *args, int i, int rank, rf_error *err)
{
    if (args->in[i]->rank != rank)
        return shape_fail(args, err, "input %d: expected rank %d, found %d %s", i, rank,
                          args->in[i]->rank, shape_dims(args->in[i]).s);
    return RF_OK;
}

/* Input i, if it is there, must have exactly these dims. */
static inline rf_status shape_expect(const rf_op_args *args, int i, int rank, const int64_t *dims,
                                     rf_error *err)
{
    const rf_tensor *t = shape_in(args, i);
    if (!t)
        return RF_OK;
    rf_tensor want = {.rank = rank};
    bool same = t->rank == rank;
    for (int k = 0; k < rank; k++) {
        want.dims[k] = dims[k];
        same = same && t->dims[k] == dims[k];
    }
    if (!same)
        return shape_fail(args, err, "input %d: expected dims %s, found %s", i, shape_dims(&want).s,
                          shape_dims(t).s);
    return RF_OK;
}

/* A vector of one element for each channel. */
static inline rf_status shape_expect_vector(const rf_op_args *args, int i, int64_t n, rf_error *err)
{
    return shape_expect(args, i, 1, &n, err);
}

/* Sets output i; no byte offset inside it can overflow 63 bits, whatever its layout. */
static inline rf_status shape_set(const rf_op_args *args, int i, rf_dtype dtype, int rank,
                                  const int64_t *dims, rf_error *err)
{
    rf_tensor *out = args->out[i];
    if (rank > RF_MAX_RANK)
        return shape_fail(args, err, "output %d: expected rank up to %d, found %d", i, RF_MAX_RANK,
                          rank);
    out->dtype = dtype;
    out->rank = rank;
    int64_t bytes = (int64_t)rf_dtype_bytes(dtype);
    bool fits = true;
    for (int k = 0; k < rank; k++) {
        out->dims[k] = dims[k];
        if (dims[k] < 0)
            return shape_fail(args, err,
                              "output %d: dim %d would be %" PRId64 ", expected 0 or more", i, k,
                              dims[k]);
        fits = fits && !__builtin_mul_overflow(bytes, dims[k] ? dims[k] : 1, &bytes);
    }
    if (!fits)
        return shape_fail(args, err, "output %d: expected less than 2^63 bytes, found dims %s", i,
                          shape_dims(out).s);
    return RF_OK;
}

/* Output i is like tensor t. */
static inline rf_status shape_set_like(const rf_op_args *args, int i, const rf_tensor *t,
                                       rf_error *err)
{
    return shape_set(args, i, t->dtype, t->rank, t->dims, err);
}

/* An attribute that counts something must be at least `least`. */
static inline rf_status shape_at_least(const rf_op_args *args, const char *attr, int n,
                                       const int32_t *values, int32_t least, rf_error *err)
{
    for (int i = 0; i < n; i++)
        if (values[i] < least)
            return shape_fail(args, err, "%s: expected %d or more, found %d", attr, least,
                              values[i]);
    return RF_OK;
}

/* A fused activation's bounds. */
static inline rf_status shape_act(const rf_op_args *args, rf_act act, double alpha, double beta,
                                  rf_error *err)
{
    if (act == RF_ACT_CLAMP && !(alpha <= beta))
        return shape_fail(args, err, "act clamp: expected act_alpha <= act_beta, found %g and %g",
                          alpha, beta);
    return RF_OK;
}

/* NumPy broadcasting of two shapes from the right. Returns the rank, or -1 if they do not fit. */
static inline int shape_broadcast(const rf_tensor *a, const rf_tensor *b, int64_t dims[RF_MAX_RANK])
{
    int rank = a->rank > b->rank ? a->rank : b->rank;
    for (int i = 0; i < rank; i++) {
        int ia = i - (rank - a->rank), ib = i - (rank - b->rank);
        int64_t da = ia < 0 ? 1 : a->dims[ia], db = ib < 0 ? 1 : b->dims[ib];
        if (da != db && da != 1 && db != 1)
            return -1;
        dims[i] = da == 1 ? db : da;
    }
    return rank;
}

/* True if t broadcasts to exactly these dims. */
static inline bool shape_broadcasts_to(const rf_tensor *t, int rank, const int64_t *dims)
{
    if (t->rank > rank)
        return false;
    for (int i = 0; i < t->rank; i++)
        if (t->dims[i] != 1 && t->dims[i] != dims[rank - t->rank + i])
            return false;
    return true;
}

/* Resolves an axis, which may count from the end. */
static inline rf_status shape_axis(const rf_op_args *args, int64_t axis, int rank, int *out,
                                   rf_error *err)
{
    *out = 0;
    if (rank < 1)
        return shape_fail(args, err, "axis: expected an input of rank 1 or more, found rank %d",
                          rank);
    if (axis < -rank || axis >= rank)
        return shape_fail(args, err, "axis: expected %d to %d, found %" PRId64, -rank, rank - 1,
                          axis);
    *out = rf_normal_axis(axis, rank);
    return RF_OK;
}

#endif
