/* SPDX-License-Identifier: Apache-2.0
 *
 * Convolutions by cuDNN, as kernels of the backend.
 */
#include "kernels/cuda/cudnn_graph.h"
#include "kernels/cuda/rows.h"
#include "kernels/cuda/stream.h"

#include "runtime/base/half.h"
#include "runtime/core/strided.h"

#include <stdio.h>

typedef struct conv_state {
    const rf_cudnn *lib;
    rf_cudnn_plan plan;
    const void *weights, *bias; /* on the device, in the activations' dtype */
} conv_state;

static bool describe(const rf_kernel_desc *d, rf_cudnn_conv *conv)
{
    const rf_tensor *w = d->args.in[1], *b = d->args.n_in > 2 ? d->args.in[2] : NULL;
    return w->data && (!b || b->data) && rf_cudnn_describe(&d->args, conv);
}

static bool conv_wanted(const rf_kernel_desc *d)
{
    rf_cudnn_conv conv;
    return describe(d, &conv) && rf_cudnn_wins(&conv);
}

static bool conv_usable(void)
{
    const char *why;
    return rf_cudnn_open(&why);
}

static bool conv_can(const rf_kernel_desc *d)
{
    rf_cudnn_conv conv;
    return describe(d, &conv);
}

struct packing {
    const rf_tensor *from;
    rf_dtype dtype;
    double *values; /* row-major, of the whole constant */
};

static void put(const struct packing *p, void *dst, size_t at, double v)
{
    ((uint16_t *)dst)[at] = p->dtype == RF_F16 ? rf_f32_to_f16((float)v) : rf_f32_to_bf16((float)v);
}

/* (K, C, R, S) -> (K, R, S, C); a bias is the case of C = R = S = 1. */
static rf_status pack(void *ctx, void *dst, rf_error *err)
{
    (void)err;
    const struct packing *p = ctx;
    const rf_tensor *t = p->from;
    int64_t c = t->rank == 4 ? t->dims[1] : 1, rs = t->rank == 4 ? t->dims[2] * t->dims[3] : 1;
    rf_tensor_pack_f64(t, p->values);
    for (int64_t k = 0; k < t->dims[0]; k++)
        for (int64_t i = 0; i < c; i++)
            for (int64_t q = 0; q < rs; q++)
                put(p, dst, (size_t)((k * rs + q) * c + i), p->values[(k * c + i) * rs + q]);
    return RF_OK;
}

static rf_status get_packed(const rf_kernel_desc *d, const rf_tensor *t, const void **out,
                            rf_error *err)
{
    size_t n = (size_t)rf_tensor_elements(t);
    struct packing p = {.from = t, .dtype = d->args.in[0]->dtype};
    RF_TRY(rf_alloc_array(d->env, n, sizeof *p.values, &p.values, err));
    char tag[RF_PACK_TAG_BYTES];
    snprintf(tag, sizeof tag, "cudnn krsc %s", rf_dtype_name(p.dtype));
    rf_status status = rf_pack_get(d->packs, t->data, tag, 2 * n, pack, &p, out, err);
    rf_free(d->env, p.values, n * sizeof *p.values);
    return status;
}

static void conv_release(rf_env *env, void *state)
{
    conv_state *s = state;
    rf_cudnn_plan_free(s->lib, &s->plan);
    rf_free(env, s, sizeof *s);
}

static rf_status conv_prepare(const rf_kernel_desc *d, void **out_state, rf_error *err)
{
    const char *why;
    rf_cudnn_conv conv;
    conv_state *s;
    (void)rf_cudnn_describe(&d->args, &conv);
    RF_TRY(rf_alloc_array(d->env, 1, sizeof *s, &s, err));
    s->lib = rf_cudnn_open(&why);
    rf_status status = rf_cuda_enter(d->device, err);
    if (status == RF_OK)
        status = rf_cudnn_plan_make(s->lib, &conv, NULL, &s->plan, err);
    if (status == RF_OK)
        status = get_packed(d, d->args.in[1], &s->weights, err);
    if (status == RF_OK && conv.bias)
        status = get_packed(d, d->args.in[2], &s->bias, err);
    if (status == RF_OK)
        *out_state = s;
    else
        conv_release(d->env, s);
    return status;
}

static rf_status check(const rf_cudnn *lib, cudnnStatus_t s, const char *what, rf_error *err)
{
    return s == CUDNN_STATUS_SUCCESS
               ? RF_OK
               : rf_fail(err, RF_ERR_DEVICE, "cuDNN: %s: %s", what, lib->GetErrorString(s));
}

static void close_handle(rf_stream *stream)
{
    const char *why;
    (void)rf_cudnn_open(&why)->Destroy(stream->cudnn);
    stream->cudnn = NULL;
}

/* cuDNN's handle of a stream is made by its first convolution, which is never a recorded one. */
static rf_status get_handle(const rf_cudnn *lib, rf_stream *stream, cudnnHandle_t *out,
                            rf_error *err)
{
    if (!stream->cudnn) {
        cudnnHandle_t handle;
        RF_TRY(check(lib, lib->Create(&handle), "cudnnCreate", err));
        stream->cudnn = handle;
        stream->close_cudnn = close_handle;
        RF_TRY(check(lib, lib->SetStream(handle, stream->handle), "cudnnSetStream", err));
    }
    *out = stream->cudnn;
    return RF_OK;
}

static rf_status execute(const conv_state *s, rf_stream *stream, int n, const int64_t *ids,
                         void *const *pointers, rf_error *err)
{
    const rf_cudnn *lib = s->lib;
    cudnnBackendDescriptor_t pack;
    cudnnHandle_t handle;
    RF_TRY(get_handle(lib, stream, &handle, err));
    RF_TRY(check(lib, lib->BackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack),
                 "variant pack", err));
    cudnnStatus_t e = lib->BackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS,
                                               CUDNN_TYPE_INT64, n, ids);
    if (e == CUDNN_STATUS_SUCCESS)
        e = lib->BackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS,
                                     CUDNN_TYPE_VOID_PTR, n, pointers);
    if (e == CUDNN_STATUS_SUCCESS)
        e = lib->BackendFinalize(pack);
    if (e == CUDNN_STATUS_SUCCESS)
        e = lib->BackendExecute(handle, s->plan.plan, pack);
    lib->BackendDestroyDescriptor(pack);
    return check(lib, e, "cudnnBackendExecute", err);
}

static rf_status conv_run(const rf_kernel_call *call, rf_error *err)
{
    const conv_state *s = call->state;
    const rf_op_args *a = &call->args;
    int64_t ids[5] = {RF_CUDNN_X, RF_CUDNN_W, RF_CUDNN_Y};
    void *pointers[5] = {a->in[0]->data, (void *)s->weights, a->out[0]->data};
    int n = 3;
    if (s->bias) {
        ids[n] = RF_CUDNN_B;
        pointers[n++] = (void *)s->bias;
    }
    if (a->n_in > 3 && a->in[3]) {
        ids[n] = RF_CUDNN_R;
        pointers[n++] = a->in[3]->data;
    }
    return execute(s, call->stream, n, ids, pointers, err);
}

static const rf_kernel conv = {
    .op = RF_OP_CONV2D,
    .name = "cudnn_conv",
    .why = "cuDNN: from 128 channels on, f16 or bf16 NHWC, residual before bias",
    .wanted = conv_wanted,
    .usable = conv_usable,
    .can = conv_can,
    .prepare = conv_prepare,
    .release = conv_release,
    .run = conv_run,
    .packed = 1u << 1 | 1u << 2,
};

const rf_kernel *const rf_cuda_rows_cudnn_conv[] = {&conv, NULL};
