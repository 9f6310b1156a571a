/* SPDX-License-Identifier: Apache-2.0
 *
 * Shapes of the two attentions: scaled dot products, and the pixel attention of DEA-Net.
 */
#include "runtime/core/shape/check.h"

static rf_status check_heads(const rf_op_args *args, rf_error *err)
{
    const rf_tensor *q = args->in[0], *k = args->in[1], *v = args->in[2];
    if (k->dims[0] != q->dims[0] || k->dims[3] != q->dims[3])
        return shape_fail(args, err,
                          "k: expected batch %" PRId64 " and depth %" PRId64 " as in q, found %s",
                          q->dims[0], q->dims[3], shape_dims(k).s);
    if (v->dims[0] != k->dims[0] || v->dims[1] != k->dims[1] || v->dims[2] != k->dims[2])
        return shape_fail(args, err, "v: expected batch, heads and length as in k %s, found %s",
                          shape_dims(k).s, shape_dims(v).s);
    if (k->dims[1] < 1 || q->dims[1] % k->dims[1])
        return shape_fail(args, err,
                          "expected a multiple of k's %" PRId64 " heads in q, found %" PRId64,
                          k->dims[1], q->dims[1]);
    if (k->dims[2] < 1 || q->dims[3] < 1)
        return shape_fail(args, err,
                          "k: expected at least one key of at least one element, found %s",
                          shape_dims(k).s);
    return RF_OK;
}

rf_status rf_shape_attention(const rf_op_args *args, rf_error *err)
{
    RF_TRY(shape_float_args(args, err));
    for (int i = 0; i < 3; i++)
        RF_TRY(shape_rank(args, i, 4, err));
    RF_TRY(check_heads(args, err));
    const rf_tensor *q = args->in[0], *k = args->in[1], *v = args->in[2], *bias = shape_in(args, 3);
    if (args->attrs->attention.causal && q->dims[2] > k->dims[2])
        return shape_fail(args, err,
                          "causal: expected up to %" PRId64 " queries (keys), found %" PRId64
                          ": the first would see nothing",
                          k->dims[2], q->dims[2]);
    rf_tensor scores = {.rank = 4, .dims = {q->dims[0], q->dims[1], q->dims[2], k->dims[2]}};
    if (bias && !shape_broadcasts_to(bias, 4, scores.dims))
        return shape_fail(args, err, "bias: expected to broadcast to %s, found %s",
                          shape_dims(&scores).s, shape_dims(bias).s);
    return shape_set(args, 0, q->dtype, 4,
                     (int64_t[]){q->dims[0], q->dims[1], q->dims[2], v->dims[3]}, err);
}

/* The two convolutions of pixel attention: odd square windows that reflect padding can fill. */
static rf_status check_pixel_windows(const rf_op_args *args, rf_error *err)
{
    const rf_tensor *r = args->in[0];
    int64_t k = args->in[3]->rank == 4 ? args->in[3]->dims[2] : 0;
    if (k < 1 || k % 2 == 0)
        return shape_fail(args, err, "sa_w: expected dims (1, 2, k, k) with k odd, found %s",
                          shape_dims(args->in[3]).s);
    RF_TRY(shape_expect(args, 3, 4, (int64_t[]){1, 2, k, k}, err));
    RF_TRY(shape_expect_vector(args, 4, 1, err));
    RF_TRY(shape_expect(args, 5, 4, (int64_t[]){r->dims[1], 2, k, k}, err));
    RF_TRY(shape_expect_vector(args, 6, r->dims[1], err));
    if (r->dims[2] <= k / 2 || r->dims[3] <= k / 2)
        return shape_fail(args, err, "reflect pad %" PRId64 ": expected a larger image, found %s",
                          k / 2, shape_dims(r).s);
    return RF_OK;
}

rf_status rf_shape_pixel_attention(const rf_op_args *args, rf_error *err)
{
    RF_TRY(shape_float_args(args, err));
    RF_TRY(shape_rank(args, 0, 4, err));
    const rf_tensor *r = args->in[0];
    bool mix = args->attrs->pixel_attention.mode == RF_PA_MIX;
    if (mix != (shape_in(args, 8) != NULL))
        return shape_fail(args, err, "mode %s: expected %s input y, found %s", mix ? "mix" : "gate",
                          mix ? "an" : "no", mix ? "none" : "one");
    RF_TRY(shape_expect(args, 1, 4, (int64_t[]){r->dims[0], 2, r->dims[2], r->dims[3]}, err));
    RF_TRY(shape_expect(args, 2, 4, (int64_t[]){r->dims[0], r->dims[1], 1, 1}, err));
    RF_TRY(check_pixel_windows(args, err));
    RF_TRY(shape_expect(args, 7, 4, r->dims, err));
    RF_TRY(shape_expect(args, 8, 4, r->dims, err));
    return shape_set_like(args, 0, r, err);
}
