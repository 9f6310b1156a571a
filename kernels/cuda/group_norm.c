/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of group, instance and batch norm.
 */
#include "kernels/cuda/group_norm.h"

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/rows.h"

/* A group of SMALL elements is a block's work; larger ones are cut into parts of at least
 * PART_LEAST, about as many as fill a large device (the same number on every device, so that
 * results are). */
enum { THREADS = 256, SMALL = 8192, PART_LEAST = 2048, PARTS_WANTED = 1024 };

static bool floats(const rf_kernel_desc *d)
{
    for (int i = 0; i < d->args.n_in; i++)
        if (!rf_cuda_is_float(d->args.in[i]))
            return false;
    return rf_cuda_is_float(d->args.out[0]);
}

static const rf_tensor *input(const rf_op_args *args, int i)
{
    return i < args->n_in ? args->in[i] : NULL;
}

static rf_cuda_channel_vector vector_of(const rf_tensor *t)
{
    return t ? (rf_cuda_channel_vector){t->data, t->strides[0], (int32_t)t->dtype}
             : (rf_cuda_channel_vector){0};
}

/* A tensor like x whose offset is the index along one dim. */
static rf_tensor index_along(const rf_tensor *x, int dim)
{
    rf_tensor t = *x;
    for (int i = 0; i < t.rank; i++)
        t.strides[i] = i == dim;
    return t;
}

static int32_t groups_of(const rf_op_args *args)
{
    int32_t groups = args->attrs->group_norm.groups;
    return groups ? groups : (int32_t)args->in[0]->dims[1];
}

static int64_t space_of(const rf_tensor *x)
{
    int64_t n = 1;
    for (int i = 2; i < x->rank; i++)
        n *= x->dims[i];
    return n;
}

static rf_status run_any(const rf_kernel_call *call, rf_error *err)
{
    const rf_op_args *args = &call->args;
    const rf_group_norm_attrs *a = &args->attrs->group_norm;
    const rf_tensor *x = args->in[0], *y = args->out[0];
    if (rf_tensor_elements(x) == 0)
        return RF_OK;
    int32_t groups = groups_of(args);
    uint32_t inner = ((1u << x->rank) - 1) & ~1u;
    rf_tensor gy = rf_cuda_select_dims(y, inner), gx = rf_cuda_select_dims(x, inner);
    gy.dims[0] = gx.dims[0] = x->dims[1] / groups;
    rf_tensor index = index_along(&gx, 0);
    rf_cuda_group_norm_params p = {
        .group = rf_cuda_nd_make((const rf_tensor *[]){&gy, &gx, &index}, 3),
        .y_strides = {y->strides[0], y->strides[1]},
        .x_strides = {x->strides[0], x->strides[1]},
        .images = x->dims[0],
        .channels = x->dims[1],
        .groups = groups,
        .w = vector_of(input(args, 1)),
        .b = vector_of(input(args, 2)),
        .eps = (float)a->eps,
        .act = rf_cuda_act_of(a->act, a->act_alpha, a->act_beta),
    };
    return rf_cuda_launch(call, &rf_cuda_group_norm_entries[RF_CUDA_GROUP_NORM],
                          (dim3){(unsigned)(p.images * groups), 1, 1}, (dim3){THREADS, 1, 1},
                          8 * sizeof(float), &p, err);
}

/* How the space of x is cut. */
typedef struct cut {
    rf_cuda_nd space;
    bool nhwc;
    int64_t part, parts, n_affine; /* n_affine: images * channels */
} cut;
static cut cut_of(const rf_tensor *x)
{
    rf_tensor space = rf_cuda_select_dims(x, ((1u << x->rank) - 1) & ~3u);
    cut c = {.space = rf_cuda_nd_make((const rf_tensor *[]){&space}, 1),
             .n_affine = x->dims[0] * x->dims[1]};
    c.nhwc = x->strides[1] == 1 && x->dims[1] % 8 == 0 && x->strides[0] % 8 == 0 &&
             c.space.rank <= 1 && rf_cuda_nd_steps_by(&c.space, 8);
    int64_t units = c.nhwc ? x->dims[0] * ((x->dims[1] + 63) / 64) : c.n_affine;
    int64_t least = c.nhwc ? PART_LEAST / 16 : PART_LEAST;
    int64_t parts = (PARTS_WANTED + units - 1) / units,
            most = (c.space.elements + least - 1) / least;
    parts = parts < most ? parts : most;
    c.part = (c.space.elements + parts - 1) / parts;
    c.parts = (c.space.elements + c.part - 1) / c.part;
    return c;
}

static bool can_parts(const rf_kernel_desc *d)
{
    const rf_tensor *x = d->args.in[0];
    return floats(d) && rf_tensor_elements(x) > 0 &&
           space_of(x) * (x->dims[1] / groups_of(&d->args)) > SMALL;
}

static size_t affine_bytes(const cut *c)
{
    return (size_t)c->n_affine * sizeof(rf_cuda_affine);
}

static size_t scratch_parts(const rf_kernel_desc *d)
{
    const cut c = cut_of(d->args.in[0]);
    return affine_bytes(&c) + (size_t)(c.n_affine * c.parts) * 2 * sizeof(float);
}

static rf_status measure(const rf_kernel_call *call, const cut *c, float *parts_of, rf_error *err)
{
    const rf_tensor *x = call->args.in[0];
    rf_cuda_group_parts_params p = {
        .space = c->space,
        .x_strides = {x->strides[0], x->strides[1]},
        .channels = x->dims[1],
        .part = c->part,
        .parts = c->parts,
        .out = parts_of,
    };
    if (c->nhwc)
        return rf_cuda_launch(
            call, &rf_cuda_group_norm_entries[RF_CUDA_GROUP_PARTS_NHWC],
            (dim3){(unsigned)(x->dims[0] * c->parts), (unsigned)((x->dims[1] + 63) / 64), 1},
            (dim3){THREADS, 1, 1}, 2 * 64 * 33 * sizeof(float), &p, err);
    return rf_cuda_launch(call, &rf_cuda_group_norm_entries[RF_CUDA_GROUP_PARTS],
                          (dim3){(unsigned)(c->n_affine * c->parts), 1, 1}, (dim3){THREADS, 1, 1},
                          8 * sizeof(float), &p, err);
}

static rf_status apply(const rf_kernel_call *call, const rf_cuda_affine *affine, rf_error *err)
{
    const rf_group_norm_attrs *a = &call->args.attrs->group_norm;
    const rf_tensor *x = call->args.in[0], *y = call->args.out[0];
    rf_tensor channel = index_along(x, 1), image = index_along(x, 0);
    rf_cuda_apply_affine_params p = {
        .nd = rf_cuda_nd_make((const rf_tensor *[]){y, x, &channel, &image}, 4),
        .affine = affine,
        .channels = x->dims[1],
        .act = rf_cuda_act_of(a->act, a->act_alpha, a->act_beta),
    };
    int last = p.nd.rank - 1;
    p.by8 = last >= 0 && p.nd.dims[last] % 8 == 0 && p.nd.strides[3][last] == 0;
    for (int k = 0; k < 2 && p.by8; k++) {
        p.by8 = p.nd.strides[k][last] == 1;
        for (int d = 0; d < last; d++)
            p.by8 = p.by8 && p.nd.strides[k][d] % 8 == 0;
    }
    return rf_cuda_launch(call, &rf_cuda_group_norm_entries[RF_CUDA_APPLY_AFFINE],
                          rf_cuda_grid(call, p.nd.elements / (p.by8 ? 8 : 1), THREADS),
                          (dim3){THREADS, 1, 1}, 0, &p, err);
}

static rf_status run_parts(const rf_kernel_call *call, rf_error *err)
{
    const rf_op_args *args = &call->args;
    const cut c = cut_of(args->in[0]);
    int32_t groups = groups_of(args);
    rf_cuda_affine *affine = call->scratch;
    float *parts_of = (float *)((char *)call->scratch + affine_bytes(&c));
    RF_TRY(measure(call, &c, parts_of, err));
    rf_cuda_group_affine_params p = {
        .parts_of = parts_of,
        .out = affine,
        .space = c.space.elements,
        .part = c.part,
        .parts = c.parts,
        .channels = args->in[0]->dims[1],
        .groups = groups,
        .w = vector_of(input(args, 1)),
        .b = vector_of(input(args, 2)),
        .eps = (float)args->attrs->group_norm.eps,
    };
    RF_TRY(rf_cuda_launch(call, &rf_cuda_group_norm_entries[RF_CUDA_GROUP_AFFINE],
                          (dim3){(unsigned)(args->in[0]->dims[0] * groups), 1, 1},
                          (dim3){THREADS, 1, 1}, 8 * sizeof(float), &p, err));
    return apply(call, affine, err);
}

static rf_status run_batch(const rf_kernel_call *call, rf_error *err)
{
    const rf_op_args *args = &call->args;
    rf_tensor channel = index_along(args->in[0], 1);
    rf_cuda_batch_norm_params p = {
        .nd = rf_cuda_nd_make((const rf_tensor *[]){args->out[0], args->in[0], &channel}, 3),
        .scale = vector_of(args->in[1]),
        .bias = vector_of(args->in[2]),
        .mean = vector_of(args->in[3]),
        .variance = vector_of(args->in[4]),
        .eps = (float)args->attrs->batch_norm.eps,
    };
    return rf_cuda_launch(call, &rf_cuda_group_norm_entries[RF_CUDA_BATCH_NORM],
                          rf_cuda_grid(call, p.nd.elements, THREADS), (dim3){THREADS, 1, 1}, 0, &p,
                          err);
}

static const rf_kernel parts = {
    .op = RF_OP_GROUP_NORM,
    .name = "parts",
    .why = "groups of more than 8192 elements",
    .can = can_parts,
    .scratch = scratch_parts,
    .run = run_parts,
    .in_place = 1,
};
static const rf_kernel any = {
    .op = RF_OP_GROUP_NORM,
    .name = "any",
    .why = "any strides and float dtypes",
    .can = floats,
    .run = run_any,
    .in_place = 1,
};
static const rf_kernel batch = {
    .op = RF_OP_BATCH_NORM,
    .name = "any",
    .why = "any strides and float dtypes",
    .can = floats,
    .run = run_batch,
    .in_place = 1,
};

const rf_kernel *const rf_cuda_rows_group_norm[] = {&parts, &any, &batch, NULL};
