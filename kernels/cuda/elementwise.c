/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of the elementwise ops. The vector rows take every walk whose innermost dim is dense in the
 * output and dense or broadcast in the inputs: same layout on all sides, scalars, per-channel
 * factors of NHWC maps, per-channel and per-pixel factors of planes.
 */
#include "kernels/cuda/elementwise.h"

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/rows.h"

#define CHECK(k) _Static_assert((int)RF_CUDA_UNARY_##k == RF_UNARY_##k, #k);
RF_CUDA_UNARY_KINDS(CHECK)
#undef CHECK
#define CHECK(k) _Static_assert((int)RF_CUDA_BINARY_##k == RF_BINARY_##k, #k);
RF_CUDA_BINARY_KINDS(CHECK)
#undef CHECK
_Static_assert(RF_CUDA_UNARY_HARDSWISH - RF_CUDA_UNARY_RELU ==
                   RF_CUDA_ACT_HARDSWISH - RF_CUDA_ACT_RELU,
               "activations come first and in the same order");

enum { THREADS = 256 };

static rf_cuda_nd walk(const rf_op_args *args)
{
    const rf_tensor *operands[3] = {args->out[0], args->in[0], args->n_in > 1 ? args->in[1] : NULL};
    return rf_cuda_nd_make(operands, args->n_in + 1);
}

/* Elements per step such that a store has 16 bytes. */
static int step_of(const rf_op_args *args)
{
    return 16 / (int)rf_dtype_bytes(args->out[0]->dtype);
}

static bool floats(const rf_kernel_desc *d)
{
    return rf_cuda_is_float(d->args.out[0]) && rf_cuda_is_float(d->args.in[0]) &&
           (d->args.n_in < 2 || rf_cuda_is_float(d->args.in[1]));
}

static bool can_vector(const rf_kernel_desc *d)
{
    if (!floats(d))
        return false;
    rf_cuda_nd nd = walk(&d->args);
    int32_t tail;
    return rf_cuda_nd_widen(&nd, step_of(&d->args), &tail);
}

static bool integers(const rf_kernel_desc *d)
{
    rf_dtype t = d->args.out[0]->dtype;
    return t >= RF_I8 && t <= RF_U64 && d->args.in[0]->dtype == t && d->args.in[1]->dtype == t;
}

/* `entry` is that of one element a step; those of 4 and 8 follow it. */
static rf_status run_unary(const rf_kernel_call *call, bool vector, rf_error *err)
{
    const rf_unary_attrs *a = &call->args.attrs->unary;
    rf_cuda_unary_params p = {.nd = walk(&call->args),
                              .kind = (int32_t)a->kind,
                              .alpha = (float)a->alpha,
                              .beta = (float)a->beta};
    int entry = RF_CUDA_UNARY_1;
    if (vector && rf_cuda_nd_widen(&p.nd, step_of(&call->args), &p.tail))
        entry = step_of(&call->args) == 4 ? RF_CUDA_UNARY_4 : RF_CUDA_UNARY_8;
    return rf_cuda_launch(call, &rf_cuda_elementwise_entries[entry],
                          rf_cuda_grid(call, p.nd.elements + (p.tail > 0), THREADS),
                          (dim3){THREADS, 1, 1}, 0, &p, err);
}

static rf_status run_binary(const rf_kernel_call *call, bool vector, rf_error *err)
{
    const rf_binary_attrs *a = &call->args.attrs->binary;
    rf_cuda_binary_params p = {.nd = walk(&call->args),
                               .kind = (int32_t)a->kind,
                               .act = rf_cuda_act_of(a->act, a->act_alpha, a->act_beta)};
    int entry =
        integers(&(rf_kernel_desc){.args = call->args}) ? RF_CUDA_BINARY_INTEGER : RF_CUDA_BINARY_1;
    if (vector && rf_cuda_nd_widen(&p.nd, step_of(&call->args), &p.tail))
        entry = step_of(&call->args) == 4 ? RF_CUDA_BINARY_4 : RF_CUDA_BINARY_8;
    return rf_cuda_launch(call, &rf_cuda_elementwise_entries[entry],
                          rf_cuda_grid(call, p.nd.elements + (p.tail > 0), THREADS),
                          (dim3){THREADS, 1, 1}, 0, &p, err);
}

static rf_status unary_vector_run(const rf_kernel_call *call, rf_error *err)
{
    return run_unary(call, true, err);
}
static rf_status unary_run(const rf_kernel_call *call, rf_error *err)
{
    return run_unary(call, false, err);
}
static rf_status binary_vector_run(const rf_kernel_call *call, rf_error *err)
{
    return run_binary(call, true, err);
}
static rf_status binary_run(const rf_kernel_call *call, rf_error *err)
{
    return run_binary(call, false, err);
}

static const rf_kernel unary_vector = {
    .op = RF_OP_UNARY,
    .name = "unary_vector",
    .why = "dense along the innermost dim: 16 bytes per thread",
    .can = can_vector,
    .run = unary_vector_run,
    .in_place = 1,
};
static const rf_kernel unary = {
    .op = RF_OP_UNARY,
    .name = "unary",
    .why = "any strides and float dtypes",
    .can = floats,
    .run = unary_run,
    .in_place = 1,
};
static const rf_kernel binary_vector = {
    .op = RF_OP_BINARY,
    .name = "binary_vector",
    .why = "dense or broadcast along the innermost dim: 16 bytes per thread",
    .can = can_vector,
    .run = binary_vector_run,
    .in_place = 3,
};
static const rf_kernel binary = {
    .op = RF_OP_BINARY,
    .name = "binary",
    .why = "any strides and float dtypes",
    .can = floats,
    .run = binary_run,
    .in_place = 3,
};
static const rf_kernel binary_integer = {
    .op = RF_OP_BINARY,
    .name = "binary_integer",
    .why = "integers of one dtype, any strides",
    .can = integers,
    .run = binary_run,
    .in_place = 3,
};

const rf_kernel *const rf_cuda_rows_elementwise[] = {&unary_vector, &unary,          &binary_vector,
                                                     &binary,       &binary_integer, NULL};
