/* SPDX-License-Identifier: Apache-2.0
 *
 * Reductions, and the channel statistics that passes fuse from them.
 */
#include "kernels/ref/element.h"

static double start(rf_reduce_kind kind)
{
    return kind == RF_REDUCE_MAX   ? -INFINITY
           : kind == RF_REDUCE_MIN ? INFINITY
                                   : kind == RF_REDUCE_PROD;
}

static double join(rf_reduce_kind kind, double acc, double v)
{
    switch (kind) {
    case RF_REDUCE_SUM:
    case RF_REDUCE_MEAN:
        return acc + v;
    case RF_REDUCE_MAX:
        return v > acc || v != v ? v : acc;
    case RF_REDUCE_MIN:
        return v < acc || v != v ? v : acc;
    case RF_REDUCE_PROD:
        return acc * v;
    case RF_REDUCE_L2:
    case RF_REDUCE_SUMSQ:
        return acc + v * v;
    }
    return acc;
}

rf_status rf_ref_reduce(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_reduce_attrs *a = &call->args.attrs->reduce;
    const rf_tensor *x = call->args.in[0], *y = call->args.out[0];
    uint32_t mask = rf_normal_reduce(a, x->rank);
    /* The reduced and the kept part of x as two shapes of full rank, 1 where the other part is. */
    int64_t kept[RF_MAX_RANK], reduced[RF_MAX_RANK], at[RF_MAX_RANK], in[RF_MAX_RANK], n = 1;
    for (int i = 0; i < x->rank; i++) {
        kept[i] = mask >> i & 1 ? 1 : x->dims[i];
        reduced[i] = mask >> i & 1 ? x->dims[i] : 1;
        n *= reduced[i];
    }
    for (int64_t i = 0; i < rf_tensor_elements(y); i++) {
        double acc = start(a->kind);
        ref_coords(x->rank, kept, i, at);
        for (int64_t k = 0; k < n; k++) {
            ref_coords(x->rank, reduced, k, in);
            acc = join(a->kind, acc, ref_load(x, ref_offset(x, at) + ref_offset(x, in)));
        }
        if (a->kind == RF_REDUCE_MEAN)
            acc /= (double)n;
        if (a->kind == RF_REDUCE_L2)
            acc = sqrt(acc);
        ref_coords(y->rank, y->dims, i, at);
        ref_store(y, ref_offset(y, at), acc);
    }
    return RF_OK;
}

/* x, or x + y. */
static double stats_value(const rf_op_args *args, const int64_t *at)
{
    const rf_tensor *x = args->in[0], *y = ref_in(args, 1);
    return ref_load(x, ref_offset(x, at)) + (y ? ref_load(y, ref_offset(y, at)) : 0);
}

rf_status rf_ref_channel_stats(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_op_args *args = &call->args;
    const int64_t *d = args->in[0]->dims;
    int64_t at[4];
    for (at[0] = 0; at[0] < d[0]; at[0]++) {
        for (at[2] = 0; at[2] < d[2]; at[2]++)
            for (at[3] = 0; at[3] < d[3]; at[3]++) {
                double sum = 0, max = -INFINITY;
                for (at[1] = 0; at[1] < d[1]; at[1]++) {
                    double v = stats_value(args, at);
                    sum += v;
                    max = v > max || v != v ? v : max;
                }
                ref_store4(args->out[0], at[0], 0, at[2], at[3], sum / (double)d[1]);
                ref_store4(args->out[0], at[0], 1, at[2], at[3], max);
            }
        for (at[1] = 0; at[1] < d[1]; at[1]++) {
            double sum = 0;
            for (at[2] = 0; at[2] < d[2]; at[2]++)
                for (at[3] = 0; at[3] < d[3]; at[3]++) {
                    double v = stats_value(args, at);
                    sum += v;
                    if (args->n_out == 3)
                        ref_store(args->out[2], ref_offset(args->out[2], at), v);
                }
            ref_store4(args->out[1], at[0], at[1], 0, 0, sum / (double)(d[2] * d[3]));
        }
    }
    return RF_OK;
}
