/* SPDX-License-Identifier: Apache-2.0
 *
 * Shape of matmul: the last two dims multiply, the ones before broadcast like NumPy.
 */
#include "runtime/core/shape/check.h"

rf_status rf_shape_matmul(const rf_op_args *args, rf_error *err)
{
    const rf_matmul_attrs *at = &args->attrs->matmul;
    RF_TRY(shape_float_args(args, err));
    RF_TRY(shape_act(args, at->act, at->act_alpha, at->act_beta, err));
    const rf_tensor *a = args->in[0], *b = args->in[1], *bias = shape_in(args, 2);
    for (int i = 0; i < 2; i++)
        if (args->in[i]->rank < 2)
            return shape_fail(args, err, "input %d: expected rank 2 or more, found %s", i,
                              shape_dims(args->in[i]).s);
    int64_t k = a->dims[a->rank - (at->trans_a ? 2 : 1)],
            kb = b->dims[b->rank - (at->trans_b ? 1 : 2)];
    if (k != kb)
        return shape_fail(
            args, err,
            "a %s and b %s (trans_a %d, trans_b %d): expected equal inner dims, found %" PRId64
            " and %" PRId64,
            shape_dims(a).s, shape_dims(b).s, at->trans_a, at->trans_b, k, kb);
    int64_t dims[RF_MAX_RANK];
    rf_tensor batch_a = *a, batch_b = *b;
    batch_a.rank -= 2;
    batch_b.rank -= 2;
    int rank = shape_broadcast(&batch_a, &batch_b, dims);
    if (rank < 0)
        return shape_fail(args, err, "expected batch dims that broadcast, found a %s and b %s",
                          shape_dims(a).s, shape_dims(b).s);
    dims[rank++] = a->dims[a->rank - (at->trans_a ? 1 : 2)];
    dims[rank++] = b->dims[b->rank - (at->trans_b ? 2 : 1)];
    RF_TRY(shape_set(args, 0, a->dtype, rank, dims, err));
    if (bias && !shape_broadcasts_to(bias, rank, dims))
        return shape_fail(args, err, "bias: expected to broadcast to %s, found %s",
                          shape_dims(args->out[0]).s, shape_dims(bias).s);
    return shape_expect(args, 3, rank, dims, err);
}
