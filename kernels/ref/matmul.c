/* SPDX-License-Identifier: Apache-2.0
 *
 * Matrix products with broadcast batch dims.
 */
#include "kernels/ref/element.h"

/* The same tensor with its last two dims swapped if asked. */
static rf_tensor operand(const rf_tensor *t, bool swap)
{
    rf_tensor view = *t;
    if (swap)
        for (int i = 0; i < 2; i++) {
            view.dims[t->rank - 1 - i] = t->dims[t->rank - 2 + i];
            view.strides[t->rank - 1 - i] = t->strides[t->rank - 2 + i];
        }
    return view;
}

/* Where the batch of coordinates `at` starts in t. */
static int64_t batch_offset(const rf_tensor *t, int rank, const int64_t *at)
{
    rf_tensor batch = *t;
    batch.rank -= 2;
    return ref_offset_broadcast(&batch, rank - 2, at);
}

rf_status rf_ref_matmul(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_matmul_attrs *at = &call->args.attrs->matmul;
    const rf_tensor a = operand(call->args.in[0], at->trans_a),
                    b = operand(call->args.in[1], at->trans_b);
    const rf_tensor *bias = ref_in(&call->args, 2), *res = ref_in(&call->args, 3),
                    *y = call->args.out[0];
    int64_t coords[RF_MAX_RANK], step_a = a.strides[a.rank - 1], step_b = b.strides[b.rank - 2];
    for (int64_t i = 0; i < rf_tensor_elements(y); i++) {
        ref_coords(y->rank, y->dims, i, coords);
        int64_t pa =
            batch_offset(&a, y->rank, coords) + coords[y->rank - 2] * a.strides[a.rank - 2];
        int64_t pb =
            batch_offset(&b, y->rank, coords) + coords[y->rank - 1] * b.strides[b.rank - 1];
        double v = 0;
        for (int64_t k = 0; k < a.dims[a.rank - 1]; k++)
            v += ref_load(&a, pa + k * step_a) * ref_load(&b, pb + k * step_b);
        v *= at->alpha;
        v += bias ? ref_load(bias, ref_offset_broadcast(bias, y->rank, coords)) : 0;
        v = ref_act(at->act, at->act_alpha, at->act_beta, v);
        v += res ? ref_load(res, ref_offset(res, coords)) : 0;
        ref_store(y, ref_offset(y, coords), v);
    }
    return RF_OK;
}
