/* SPDX-License-Identifier: Apache-2.0
 *
 * The reference backend: a complete table, one row for every op of op.def, without a condition.
 */
#include "kernels/ref/ref.h"

/* The few ops that keep an intermediate result, in float64, for one image or one query. */
static size_t ref_scratch(const rf_kernel_desc *desc)
{
    const rf_tensor *const *in = desc->args.in;
    if (desc->args.op == RF_OP_ATTENTION)
        return sizeof(double) * (size_t)in[1]->dims[2];
    if (desc->args.op == RF_OP_PIXEL_ATTENTION)
        return sizeof(double) * (size_t)in[0]->dims[2] * (size_t)in[0]->dims[3];
    return 0;
}

#define RF_OP(ID, op_name, in, opt, out, tol)                                                      \
    static const rf_kernel ref_row_##op_name = {.op = RF_OP_##ID,                                  \
                                                .name = "naive",                                   \
                                                .why = "reference: any shape, dtype and layout",   \
                                                .scratch = ref_scratch,                            \
                                                .run = rf_ref_##op_name};
#include "runtime/core/op.def"
#undef RF_OP

static const rf_kernel *const rows[RF_OP_COUNT] = {
#define RF_OP(ID, op_name, in, opt, out, tol) &ref_row_##op_name,
#include "runtime/core/op.def"
#undef RF_OP
};

static const rf_kernel *const *ref_kernels(size_t *out_n)
{
    *out_n = RF_OP_COUNT;
    return rows;
}

static const char *ref_describe(void)
{
    return "portable C, float64 inside";
}

const rf_backend rf_backend_ref = {
    .name = "ref",
    .kernels = ref_kernels,
    .describe = ref_describe,
    .precisions = 1u << RF_F32 | 1u << RF_F64 | 1u << RF_F16 | 1u << RF_BF16,
};
