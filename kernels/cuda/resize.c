/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of resizing. `prepare` makes the tables of taps with the function that all backends share,
 * so that nearest picks the same pixels everywhere.
 */
#include "kernels/cuda/resize.h"

#include "kernels/cuda/rows.h"
#include "runtime/core/shape/normal.h"

enum { THREADS = 256 };

typedef struct state {
    rf_device *device;
    rf_cuda_taps *taps; /* on the device: of the rows, then of the columns */
} state;

static int32_t clamp_index(double i, int64_t n)
{
    return i < 0 ? 0 : i >= (double)n ? (int32_t)(n - 1) : (int32_t)i;
}

/* Keys' cubic convolution (a = -0.75) at distance d from a sample. */
static double cubic(double d)
{
    const double a = -0.75;
    d = fabs(d);
    if (d <= 1)
        return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2 ? ((d - 5) * d + 8) * a * d - 4 * a : 0;
}

static rf_cuda_taps find_taps(const rf_resize_attrs *a, int axis, int64_t o, int64_t in,
                              int64_t out)
{
    double src = rf_normal_resize(a, axis, o, in, out), base = floor(src), rest = src - base;
    rf_cuda_taps t = {.index = {clamp_index(base, in)}, .weight = {1}};
    if (a->mode == RF_RESIZE_LINEAR)
        t = (rf_cuda_taps){{clamp_index(base, in), clamp_index(base + 1, in)},
                           {(float)(1 - rest), (float)rest}};
    for (int k = 0; a->mode == RF_RESIZE_CUBIC && k < 4; k++) {
        t.index[k] = clamp_index(base - 1 + k, in);
        t.weight[k] = (float)cubic(rest + 1 - k);
    }
    return t;
}

static void release(rf_env *env, void *ptr)
{
    state *s = ptr;
    if (s->taps)
        rf_cuda_device_ops.free(s->device, s->taps);
    rf_free(env, s, sizeof *s);
}

static rf_status upload_taps(const rf_kernel_desc *desc, state *s, rf_cuda_taps *taps,
                             rf_error *err)
{
    const rf_resize_attrs *a = &desc->args.attrs->resize;
    const int64_t *in = desc->args.in[0]->dims, *out = desc->args.out[0]->dims;
    size_t bytes = (size_t)(out[2] + out[3]) * sizeof *taps;
    void *on_device;
    for (int64_t i = 0; i < out[2] + out[3]; i++)
        taps[i] = i < out[2] ? find_taps(a, 0, i, in[2], out[2])
                             : find_taps(a, 1, i - out[2], in[3], out[3]);
    RF_TRY(rf_cuda_device_ops.alloc(s->device, bytes, &on_device, err));
    s->taps = on_device;
    return rf_cuda_device_ops.upload(s->device, s->taps, taps, bytes, err);
}

static rf_status prepare(const rf_kernel_desc *desc, void **out_state, rf_error *err)
{
    const int64_t *out = desc->args.out[0]->dims;
    size_t n = (size_t)(out[2] + out[3]);
    state *s = NULL;
    rf_cuda_taps *taps = NULL;
    rf_status status = rf_alloc_array(desc->env, 1, sizeof *s, &s, err);
    if (status == RF_OK)
        status = rf_alloc_array(desc->env, n, sizeof *taps, &taps, err);
    if (status == RF_OK) {
        s->device = desc->device;
        status = upload_taps(desc, s, taps, err);
    }
    rf_free(desc->env, taps, n * sizeof *taps);
    if (status == RF_OK)
        *out_state = s;
    else if (s)
        release(desc->env, s);
    return status;
}

static bool can(const rf_kernel_desc *d)
{
    const int64_t *in = d->args.in[0]->dims;
    return rf_cuda_is_float(d->args.in[0]) && rf_cuda_is_float(d->args.out[0]) &&
           in[2] <= INT32_MAX && in[3] <= INT32_MAX;
}

static bool can_vector(const rf_kernel_desc *d)
{
    return can(d) && rf_cuda_image_vector(d->args.in[0], d->args.out[0]);
}

/* n: channels per thread. */
static rf_status launch(const rf_kernel_call *call, int n, rf_error *err)
{
    const rf_resize_attrs *a = &call->args.attrs->resize;
    const rf_tensor *y = call->args.out[0];
    const state *s = call->state;
    rf_cuda_resize_params p = {
        .x = rf_cuda_image_of(call->args.in[0]),
        .y = rf_cuda_image_of(y),
        .rows = s->taps,
        .columns = s->taps + y->dims[2],
    };
    int entry = (a->mode == RF_RESIZE_NEAREST  ? RF_CUDA_RESIZE_NEAREST
                 : a->mode == RF_RESIZE_LINEAR ? RF_CUDA_RESIZE_LINEAR
                                               : RF_CUDA_RESIZE_CUBIC) +
                n / 4;
    return rf_cuda_launch(call, &rf_cuda_resize_entries[entry],
                          rf_cuda_grid(call, rf_tensor_elements(y) / n, THREADS),
                          (dim3){THREADS, 1, 1}, 0, &p, err);
}

static rf_status run_vector(const rf_kernel_call *call, rf_error *err)
{
    return launch(call, rf_cuda_image_vector(call->args.in[0], call->args.out[0]), err);
}
static rf_status run(const rf_kernel_call *call, rf_error *err)
{
    return launch(call, 1, err);
}

static const rf_kernel resize_vector = {
    .op = RF_OP_RESIZE,
    .name = "resize_vector",
    .why = "NHWC: 16 bytes of channels per thread",
    .can = can_vector,
    .prepare = prepare,
    .release = release,
    .run = run_vector,
};
static const rf_kernel resize = {
    .op = RF_OP_RESIZE,
    .name = "resize",
    .why = "any strides and float dtypes",
    .can = can,
    .prepare = prepare,
    .release = release,
    .run = run,
};

const rf_kernel *const rf_cuda_rows_resize[] = {&resize_vector, &resize, NULL};
