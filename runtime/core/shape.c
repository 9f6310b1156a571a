/* SPDX-License-Identifier: Apache-2.0
 *
 * Dispatch to the op's shape function. Arity is the same check for every op, so it is made here.
 */
#include "runtime/core/shape.h"

static rf_shape_fn *const shape_fns[RF_OP_COUNT] = {
#define RF_OP(ID, name, in, opt, out, tol) [RF_OP_##ID] = rf_shape_##name,
#include "runtime/core/op.def"
#undef RF_OP
};

rf_status rf_shape_infer(const rf_op_args *args, rf_error *err)
{
    if ((unsigned)args->op >= RF_OP_COUNT)
        return rf_fail(err, RF_ERR_INTERNAL, "op %d is not in the table", (int)args->op);
    const rf_op_info *op = rf_op_get(args->op);
    int most = op->n_opt < 0 ? RF_MAX_IN : op->n_in + op->n_opt;
    if (args->n_in < op->n_in || args->n_in > most)
        return rf_fail(err, RF_ERR_ARGUMENT, "%s: expected %d to %d inputs, found %d", op->name,
                       op->n_in, most, args->n_in);
    for (int i = 0; i < op->n_in; i++)
        if (!args->in[i])
            return rf_fail(err, RF_ERR_ARGUMENT, "%s: input %d: expected a tensor, found none",
                           op->name, i);
    if (op->n_out < 0 ? args->n_out < 1 || args->n_out > RF_MAX_OUT : args->n_out != op->n_out)
        return rf_fail(err, RF_ERR_ARGUMENT, "%s: expected %s%d outputs, found %d", op->name,
                       op->n_out < 0 ? "1 to " : "", op->n_out < 0 ? RF_MAX_OUT : op->n_out,
                       args->n_out);
    return shape_fns[args->op](args, err);
}
