/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of softmax: the same kernels serve all layouts, by which dim is dense.
 */
#include "kernels/cuda/softmax.h"

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/rows.h"
#include "runtime/core/shape/normal.h"

enum { THREADS = 256, WARP_ROW = 1024 };

static bool can_any(const rf_kernel_desc *d)
{
    return rf_cuda_is_float(d->args.in[0]) && rf_cuda_is_float(d->args.out[0]);
}

static rf_cuda_softmax_params describe(const rf_op_args *args)
{
    const rf_softmax_attrs *a = &args->attrs->softmax;
    const rf_tensor *x = args->in[0], *y = args->out[0];
    int axis = rf_normal_axis(a->axis, x->rank);
    uint32_t others = ((1u << x->rank) - 1) & ~(1u << axis);
    rf_tensor rows_y = rf_cuda_select_dims(y, others), rows_x = rf_cuda_select_dims(x, others);
    rf_cuda_softmax_params p = {
        .rows = rf_cuda_nd_make((const rf_tensor *[]){&rows_y, &rows_x}, 2),
        .n = x->dims[axis],
        .x_step = x->strides[axis],
        .y_step = y->strides[axis],
        .log = a->log,
    };
    p.by8 = p.n % 8 == 0 && p.x_step == 1 && p.y_step == 1 && rf_cuda_nd_steps_by(&p.rows, 8);
    return p;
}

/* The axis is dense: a warp or a block for each row. */
static bool can_rows(const rf_kernel_desc *d)
{
    return can_any(d) && describe(&d->args).x_step == 1;
}

static rf_status run_rows(const rf_kernel_call *call, rf_error *err)
{
    rf_cuda_softmax_params p = describe(&call->args);
    bool warp = p.n <= WARP_ROW;
    int64_t blocks = warp ? (p.rows.elements + 7) / 8 : p.rows.elements;
    return rf_cuda_launch(
        call, &rf_cuda_softmax_entries[warp ? RF_CUDA_SOFTMAX_WARP : RF_CUDA_SOFTMAX_BLOCK],
        (dim3){(unsigned)blocks, 1, 1}, (dim3){THREADS, 1, 1}, 8 * 2 * sizeof(float), &p, err);
}

static rf_status run_any(const rf_kernel_call *call, rf_error *err)
{
    rf_cuda_softmax_params p = describe(&call->args);
    return rf_cuda_launch(call, &rf_cuda_softmax_entries[RF_CUDA_SOFTMAX_THREAD],
                          rf_cuda_grid(call, p.rows.elements, THREADS), (dim3){THREADS, 1, 1}, 0,
                          &p, err);
}

static const rf_kernel rows = {
    .op = RF_OP_SOFTMAX,
    .name = "rows",
    .why = "the axis is dense",
    .can = can_rows,
    .run = run_rows,
    .in_place = 1,
};
static const rf_kernel any = {
    .op = RF_OP_SOFTMAX,
    .name = "any",
    .why = "any strides and float dtypes",
    .can = can_any,
    .run = run_any,
    .in_place = 1,
};

const rf_kernel *const rf_cuda_rows_softmax[] = {&rows, &any, NULL};
