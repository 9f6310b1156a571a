/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of pixel shuffle and unshuffle. Both see a `fine` tensor with the large image and a `coarse`
 * one with the many channels.
 */
#include "kernels/cuda/shuffle.h"

#include "kernels/cuda/copy.h"
#include "kernels/cuda/rows.h"

#include <string.h>

enum { THREADS = 128 };

typedef struct shuffled {
    const rf_tensor *fine, *coarse;
    int64_t factor;
    bool to_fine;
} shuffled;

static shuffled shuffled_of(const rf_op_args *args)
{
    bool to_fine = args->op == RF_OP_PIXEL_SHUFFLE;
    return (shuffled){
        .fine = to_fine ? args->out[0] : args->in[0],
        .coarse = to_fine ? args->in[0] : args->out[0],
        .factor = to_fine ? args->attrs->pixel_shuffle.factor : args->attrs->pixel_unshuffle.factor,
        .to_fine = to_fine,
    };
}

static bool can_vector(const rf_kernel_desc *d)
{
    shuffled s = shuffled_of(&d->args);
    size_t item = rf_dtype_bytes(s.fine->dtype);
    return s.fine->dtype == s.coarse->dtype && (item == 2 || item == 4) && s.factor >= 2 &&
           s.factor <= 4 && rf_cuda_image_vector(s.coarse, s.fine);
}

static rf_status run_vector(const rf_kernel_call *call, rf_error *err)
{
    shuffled s = shuffled_of(&call->args);
    rf_cuda_shuffle_params p = {.fine = rf_cuda_image_of(s.fine),
                                .coarse = rf_cuda_image_of(s.coarse)};
    size_t item = rf_dtype_bytes(s.fine->dtype);
    int entry = (s.to_fine ? RF_CUDA_SHUFFLE_TO_FINE : RF_CUDA_SHUFFLE_TO_COARSE) +
                (item == 2 ? 0 : 3) + (int)s.factor - 2;
    p.coarse.dims[1] = p.fine.dims[1];
    p.coarse.strides[1] = s.factor * s.factor;
    int64_t steps = rf_tensor_elements(s.coarse) / (s.factor * s.factor) * (int64_t)item / 16;
    return rf_cuda_launch(call, &rf_cuda_shuffle_entries[entry], rf_cuda_grid(call, steps, THREADS),
                          (dim3){THREADS, 1, 1}, 0, &p, err);
}

/* Both tensors as (N, C, dy, dx, H, W), then a strided copy. */
static rf_status run(const rf_kernel_call *call, rf_error *err)
{
    shuffled s = shuffled_of(&call->args);
    const int64_t *f = s.fine->strides, *c = s.coarse->strides, r = s.factor;
    const int64_t *small = s.coarse->dims;
    rf_tensor fine = {
        .data = s.fine->data,
        .dtype = s.fine->dtype,
        .rank = 6,
        .dims = {small[0], s.fine->dims[1], r, r, small[2], small[3]},
        .strides = {f[0], f[1], f[2], f[3], f[2] * r, f[3] * r},
    };
    rf_tensor coarse = fine;
    coarse.data = s.coarse->data;
    coarse.dtype = s.coarse->dtype;
    memcpy(coarse.strides, (int64_t[]){c[0], c[1] * r * r, c[1] * r, c[1], c[2], c[3]},
           6 * sizeof(int64_t));
    return rf_cuda_copy_tensor(call, s.to_fine ? &fine : &coarse, s.to_fine ? &coarse : &fine, err);
}

#define ROWS(op_id, id)                                                                            \
    static const rf_kernel id##_vector = {.op = op_id,                                             \
                                          .name = #id "_vector",                                   \
                                          .why = "NHWC, factor 2 to 4: turned in registers",       \
                                          .can = can_vector,                                       \
                                          .run = run_vector};                                      \
    static const rf_kernel id = {                                                                  \
        .op = op_id, .name = "copy", .why = "any strides, any two dtypes", .run = run};
ROWS(RF_OP_PIXEL_SHUFFLE, shuffle)
ROWS(RF_OP_PIXEL_UNSHUFFLE, unshuffle)

const rf_kernel *const rf_cuda_rows_shuffle[] = {&shuffle_vector, &shuffle, &unshuffle_vector,
                                                 &unshuffle, NULL};
