/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of attention on CUDA cores; the tensor core row is in attention_mma.c.
 */
#include "kernels/cuda/attention.h"

#include "kernels/cuda/rows.h"
#include "runtime/core/shape/normal.h"

static rf_cuda_heads heads_of(const rf_tensor *t)
{
    rf_cuda_heads h = {0};
    if (!t)
        return h;
    h.data = t->data;
    h.dtype = (int32_t)t->dtype;
    for (int i = 0; i < t->rank; i++)
        if (t->dims[i] != 1)
            h.stride[4 - t->rank + i] = t->strides[i];
    return h;
}

static bool pairs(const rf_cuda_heads *t, int64_t along)
{
    return t->stride[3] == 1 && along % 2 == 0 && t->stride[0] % 2 == 0 && t->stride[1] % 2 == 0 &&
           t->stride[2] % 2 == 0;
}

rf_cuda_attention_params rf_cuda_attention_describe(const rf_op_args *args)
{
    const rf_attention_attrs *a = &args->attrs->attention;
    const rf_tensor *q = args->in[0], *k = args->in[1], *v = args->in[2];
    rf_cuda_attention_params p = {
        .q = heads_of(q),
        .k = heads_of(k),
        .v = heads_of(v),
        .bias = heads_of(args->n_in > 3 ? args->in[3] : NULL),
        .y = heads_of(args->out[0]),
        .images = q->dims[0],
        .heads = q->dims[1],
        .queries = q->dims[2],
        .keys = k->dims[2],
        .depth = (int32_t)q->dims[3],
        .v_depth = (int32_t)v->dims[3],
        .group = k->dims[1] ? (int32_t)(q->dims[1] / k->dims[1]) : 1,
        .hidden = a->causal ? k->dims[2] - q->dims[2] : k->dims[2],
        .scale = (float)rf_normal_attention_scale(a, q->dims[3]),
    };
    p.bias_pairs = pairs(&p.bias, p.keys);
    p.y_pairs = pairs(&p.y, p.v_depth);
    return p;
}

static bool can_any(const rf_kernel_desc *d)
{
    for (int i = 0; i < d->args.n_in; i++)
        if (!rf_cuda_is_float(d->args.in[i]))
            return false;
    return rf_cuda_is_float(d->args.out[0]);
}

/* Whether rows are whole 16-byte pieces of f32. */
static bool by4(const rf_tensor *t)
{
    return t->dtype == RF_F32 && t->strides[3] == 1 && t->dims[3] % 4 == 0 &&
           t->strides[0] % 4 == 0 && t->strides[1] % 4 == 0 && t->strides[2] % 4 == 0;
}

static bool can_f32(const rf_kernel_desc *d)
{
    return can_any(d) && by4(d->args.in[0]) && by4(d->args.in[1]) && by4(d->args.in[2]);
}

static rf_status prepare(const rf_kernel_desc *desc, void **out_state, rf_error *err)
{
    *out_state = NULL;
    for (int i = 0; i < RF_CUDA_ATTENTION_ENTRIES; i++)
        RF_TRY(rf_cuda_allow_shared(desc, &rf_cuda_attention_entries[i], RF_CUDA_ATTENTION_SHARED,
                                    err));
    return RF_OK;
}

static rf_status run(const rf_kernel_call *call, bool dense, rf_error *err)
{
    rf_cuda_attention_params p = rf_cuda_attention_describe(&call->args);
    int width = p.v_depth <= 64 ? 0 : p.v_depth <= 128 ? 1 : 2;
    int64_t columns = 64 << width, slices = (p.v_depth + columns - 1) / columns;
    int64_t units = p.images * p.heads * ((p.queries + 63) / 64) * slices;
    return rf_cuda_launch(call, &rf_cuda_attention_entries[dense * 3 + width],
                          (dim3){(unsigned)units, 1, 1}, (dim3){256, 1, 1},
                          RF_CUDA_ATTENTION_SHARED, &p, err);
}

static rf_status run_any(const rf_kernel_call *call, rf_error *err)
{
    return run(call, false, err);
}
static rf_status run_f32(const rf_kernel_call *call, rf_error *err)
{
    return run(call, true, err);
}

static const rf_kernel f32 = {
    .op = RF_OP_ATTENTION,
    .name = "f32",
    .why = "f32 heads in pieces of 16 bytes",
    .can = can_f32,
    .prepare = prepare,
    .run = run_f32,
};
static const rf_kernel any = {
    .op = RF_OP_ATTENTION,
    .name = "any",
    .why = "any strides, depths and float dtypes",
    .can = can_any,
    .prepare = prepare,
    .run = run_any,
};

const rf_kernel *const rf_cuda_rows_attention[] = {&rf_cuda_attention_mma, &f32, &any, NULL};
