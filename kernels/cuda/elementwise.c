/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of the elementwise ops.
 */
#include "kernels/cuda/elementwise.h"

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/rows.h"

enum { THREADS = 256 };

static bool unary_can(const rf_kernel_desc *d)
{
    return rf_cuda_is_float(d->args.in[0]) && rf_cuda_is_float(d->args.out[0]) &&
           d->args.attrs->unary.kind == RF_UNARY_RELU;
}

static rf_status unary_run(const rf_kernel_call *call, rf_error *err)
{
    const rf_unary_attrs *a = &call->args.attrs->unary;
    rf_cuda_unary_params p = {
        .kind = RF_CUDA_ACT_RELU, .alpha = (float)a->alpha, .beta = (float)a->beta};
    p.nd = rf_cuda_nd_make((const rf_tensor *[]){call->args.out[0], call->args.in[0]}, 2);
    return rf_cuda_launch(call, &rf_cuda_elementwise_entries[RF_CUDA_UNARY],
                          rf_cuda_grid(call, p.nd.elements, THREADS), (dim3){THREADS, 1, 1}, 0, &p,
                          err);
}

static const rf_kernel unary = {
    .op = RF_OP_UNARY,
    .name = "unary",
    .why = "any strides and float dtypes",
    .can = unary_can,
    .run = unary_run,
    .in_place = 1,
};

const rf_kernel *const rf_cuda_rows_elementwise[] = {&unary, NULL};
