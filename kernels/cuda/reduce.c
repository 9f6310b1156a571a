/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of reduce. Both take every case; which is chosen depends on the dense dim.
 */
#include "kernels/cuda/reduce.h"

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/rows.h"
#include "runtime/core/shape/normal.h"

_Static_assert((int)RF_CUDA_REDUCE_SUM == RF_REDUCE_SUM &&
                   (int)RF_CUDA_REDUCE_MEAN == RF_REDUCE_MEAN &&
                   (int)RF_CUDA_REDUCE_MAX == RF_REDUCE_MAX &&
                   (int)RF_CUDA_REDUCE_MIN == RF_REDUCE_MIN &&
                   (int)RF_CUDA_REDUCE_PROD == RF_REDUCE_PROD &&
                   (int)RF_CUDA_REDUCE_L2 == RF_REDUCE_L2 &&
                   (int)RF_CUDA_REDUCE_SUMSQ == RF_REDUCE_SUMSQ,
               "kinds of reduction");

/* BLOCKS_WANTED: about what fills a large device; the same on every device, so that results are. */
enum { THREADS = 256, WARP_ROW = 1024, PART_ALONG = 4096, PART_ACROSS = 256, BLOCKS_WANTED = 1024 };

static bool can_any(const rf_kernel_desc *d)
{
    return rf_cuda_is_float(d->args.in[0]) && rf_cuda_is_float(d->args.out[0]);
}

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static rf_cuda_reduce_params describe(const rf_op_args *args, bool along)
{
    const rf_reduce_attrs *a = &args->attrs->reduce;
    const rf_tensor *x = args->in[0], *y = args->out[0];
    uint32_t all = (1u << x->rank) - 1, mask = rf_normal_reduce(a, x->rank);
    rf_tensor kept_x = rf_cuda_select_dims(x, all & ~mask), reduced = rf_cuda_select_dims(x, mask);
    rf_tensor kept_y = a->keepdims ? rf_cuda_select_dims(y, all & ~mask) : *y;
    rf_cuda_reduce_params p = {
        .kept = rf_cuda_nd_make((const rf_tensor *[]){&kept_y, &kept_x}, 2),
        .reduced = rf_cuda_nd_make((const rf_tensor *[]){&reduced}, 1),
        .kind = (int32_t)a->kind,
    };
    int64_t n = p.reduced.elements, least = along ? PART_ALONG : PART_ACROSS;
    int64_t blocks = along ? p.kept.elements : ceil_div(p.kept.elements, 32);
    int64_t parts = blocks ? ceil_div(BLOCKS_WANTED, blocks) : 1, most = ceil_div(n, least);
    parts = parts < most ? parts : most;
    p.part = parts > 1 ? ceil_div(ceil_div(n, parts), 8) * 8 : n;
    p.parts = n && p.part ? ceil_div(n, p.part) : 1;
    p.by8 = along && p.reduced.rank == 1 && p.reduced.strides[0][0] == 1 && n % 8 == 0;
    for (int d = 0; d < p.kept.rank; d++)
        p.by8 = p.by8 && p.kept.strides[1][d] % 8 == 0;
    return p;
}

static size_t scratch_of(const rf_kernel_desc *d, bool along)
{
    rf_cuda_reduce_params p = describe(&d->args, along);
    return p.parts > 1 ? (size_t)(p.kept.elements * p.parts) * sizeof(float) : 0;
}

static rf_status run(const rf_kernel_call *call, bool along, rf_error *err)
{
    rf_cuda_reduce_params p = describe(&call->args, along);
    p.partial = p.parts > 1 ? call->scratch : NULL;
    int entry = !along                          ? RF_CUDA_REDUCE_ACROSS
                : p.reduced.elements > WARP_ROW ? RF_CUDA_REDUCE_BLOCK
                                                : RF_CUDA_REDUCE_WARP;
    int64_t of_block = entry == RF_CUDA_REDUCE_ACROSS ? 32 : entry == RF_CUDA_REDUCE_WARP ? 8 : 1;
    RF_TRY(
        rf_cuda_launch(call, &rf_cuda_reduce_entries[entry],
                       (dim3){(unsigned)ceil_div(p.kept.elements, of_block), (unsigned)p.parts, 1},
                       (dim3){THREADS, 1, 1}, THREADS * sizeof(float), &p, err));
    if (p.parts == 1)
        return RF_OK;
    rf_cuda_reduce_parts_params q = {
        .kept = p.kept,
        .partial = p.partial,
        .parts = p.parts,
        .n = p.reduced.elements,
        .kind = p.kind,
    };
    return rf_cuda_launch(call, &rf_cuda_reduce_entries[RF_CUDA_REDUCE_PARTS],
                          (dim3){(unsigned)ceil_div(p.kept.elements, 8), 1, 1},
                          (dim3){THREADS, 1, 1}, 0, &q, err);
}

/* Neighbours in memory belong to one output. */
static bool can_along(const rf_kernel_desc *d)
{
    if (!can_any(d))
        return false;
    rf_cuda_reduce_params p = describe(&d->args, true);
    return p.reduced.rank > 0 && p.reduced.strides[0][p.reduced.rank - 1] == 1;
}
static size_t scratch_along(const rf_kernel_desc *d)
{
    return scratch_of(d, true);
}
static rf_status run_along(const rf_kernel_call *call, rf_error *err)
{
    return run(call, true, err);
}
static size_t scratch_any(const rf_kernel_desc *d)
{
    return scratch_of(d, false);
}
static rf_status run_any(const rf_kernel_call *call, rf_error *err)
{
    return run(call, false, err);
}

static const rf_kernel along = {
    .op = RF_OP_REDUCE,
    .name = "along",
    .why = "a reduced dim is dense",
    .can = can_along,
    .scratch = scratch_along,
    .run = run_along,
};
static const rf_kernel any = {
    .op = RF_OP_REDUCE,
    .name = "any",
    .why = "any strides and float dtypes",
    .can = can_any,
    .scratch = scratch_any,
    .run = run_any,
};

const rf_kernel *const rf_cuda_rows_reduce[] = {&along, &any, NULL};
