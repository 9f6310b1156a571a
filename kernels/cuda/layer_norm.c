/* SPDX-License-Identifier: Apache-2.0
 *
 * The row of layer norm: one for all; the kernel is faster where rows are dense.
 */
#include "kernels/cuda/layer_norm.h"

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/rows.h"
#include "runtime/core/shape/normal.h"

enum { THREADS = 256, WARP_ROW = 1024 };

static bool can(const rf_kernel_desc *d)
{
    for (int i = 0; i < d->args.n_in; i++)
        if (!rf_cuda_is_float(d->args.in[i]))
            return false;
    return rf_cuda_is_float(d->args.out[0]);
}

static rf_cuda_layer_norm_params describe(const rf_op_args *args)
{
    const rf_layer_norm_attrs *a = &args->attrs->layer_norm;
    const rf_tensor *x = args->in[0], *y = args->out[0];
    const rf_tensor *w = args->n_in > 1 ? args->in[1] : NULL,
                    *b = args->n_in > 2 ? args->in[2] : NULL;
    uint32_t all = (1u << x->rank) - 1, outer = (1u << rf_normal_axis(a->axis, x->rank)) - 1;
    rf_tensor rows_y = rf_cuda_select_dims(y, outer), rows_x = rf_cuda_select_dims(x, outer);
    rf_tensor in_y = rf_cuda_select_dims(y, all & ~outer),
              in_x = rf_cuda_select_dims(x, all & ~outer);
    rf_tensor absent = {.dtype = RF_F32}; /* a scalar: strides of 0 */
    rf_cuda_layer_norm_params p = {
        .rows = rf_cuda_nd_make((const rf_tensor *[]){&rows_y, &rows_x}, 2),
        .inner = rf_cuda_nd_make(
            (const rf_tensor *[]){&in_y, &in_x, w ? w : &absent, b ? b : &absent}, 4),
        .eps = (float)a->eps,
        .rms = a->rms,
    };
    p.by8 = p.inner.rank == 1 && p.inner.elements % 8 == 0 && rf_cuda_nd_steps_by(&p.rows, 8);
    for (int k = 0; k < 4; k++)
        p.by8 = p.by8 && (p.inner.strides[k][0] == 1 || (k > 1 && !(k == 2 ? w : b)));
    return p;
}

static rf_status run(const rf_kernel_call *call, rf_error *err)
{
    rf_cuda_layer_norm_params p = describe(&call->args);
    bool warp = p.inner.elements <= WARP_ROW;
    int64_t blocks = warp ? (p.rows.elements + 7) / 8 : p.rows.elements;
    if (p.inner.elements == 0)
        return RF_OK;
    return rf_cuda_launch(
        call,
        &rf_cuda_layer_norm_entries[warp ? RF_CUDA_LAYER_NORM_WARP : RF_CUDA_LAYER_NORM_BLOCK],
        (dim3){(unsigned)blocks, 1, 1}, (dim3){THREADS, 1, 1}, 8 * sizeof(float), &p, err);
}

static const rf_kernel any = {
    .op = RF_OP_LAYER_NORM,
    .name = "any",
    .why = "any strides and float dtypes; by 16 bytes where rows are dense",
    .can = can,
    .run = run,
    .in_place = 1,
};

const rf_kernel *const rf_cuda_rows_layer_norm[] = {&any, NULL};
