/* SPDX-License-Identifier: Apache-2.0
 *
 * The row of depthwise convolutions.
 */
#include "kernels/cuda/conv_depthwise.h"

#include <stdio.h>

#include "kernels/cuda/conv_node.h"
#include "kernels/cuda/rows.h"

enum { THREADS = 128 };

typedef struct state {
    const void *weights;
    const float *bias;
} state;

static bool can(const rf_kernel_desc *desc)
{
    const rf_cuda_conv_node n = rf_cuda_conv_node_of(&desc->args);
    return rf_cuda_conv_plain(&n) && rf_cuda_conv_constant(&n) && n.group_ic == 1 &&
           n.group_oc == 1 && n.y->dtype == n.x->dtype && rf_tensor_is_nhwc(n.x) &&
           rf_tensor_is_nhwc(n.y) && rf_tensor_elements(n.x) > 0 &&
           (!n.res || (n.res->dtype == n.y->dtype && rf_tensor_is_nhwc(n.res))) &&
           n.groups * (int64_t)rf_dtype_bytes(n.x->dtype) % 16 == 0;
}

typedef struct pack_ctx {
    const rf_tensor *w;
    rf_dtype dtype;
} pack_ctx;

static rf_status pack_weights(void *ctx, void *dst, rf_error *err)
{
    (void)err;
    const pack_ctx *p = ctx;
    const int64_t *d = p->w->dims, *s = p->w->strides;
    int64_t at = 0;
    for (int64_t ky = 0; ky < d[2]; ky++)
        for (int64_t kx = 0; kx < d[3]; kx++)
            for (int64_t c = 0; c < d[0]; c++)
                rf_cuda_host_store(dst, p->dtype, at++,
                                   rf_cuda_host_load(p->w, c * s[0] + ky * s[2] + kx * s[3]));
    return RF_OK;
}

static void release(rf_env *env, void *ptr)
{
    rf_free(env, ptr, sizeof(state));
}

static rf_status pack(const rf_kernel_desc *desc, const rf_cuda_conv_node *n, state *s,
                      rf_error *err)
{
    char tag[RF_PACK_TAG_BYTES];
    pack_ctx ctx = {n->w, n->x->dtype};
    snprintf(tag, sizeof tag, "cuda.conv_depthwise.%s", rf_dtype_name(ctx.dtype));
    RF_TRY(rf_pack_get(desc->packs, n->w->data, tag,
                       (size_t)rf_tensor_elements(n->w) * rf_dtype_bytes(ctx.dtype), pack_weights,
                       &ctx, &s->weights, err));
    return rf_cuda_conv_pack_bias(desc, n, 1, &s->bias, err);
}

static rf_status prepare(const rf_kernel_desc *desc, void **out_state, rf_error *err)
{
    const rf_cuda_conv_node n = rf_cuda_conv_node_of(&desc->args);
    *out_state = NULL;
    state *s = rf_alloc(desc->env, sizeof *s, 64);
    if (!s)
        return rf_fail(err, RF_ERR_MEMORY, "no memory for %zu bytes of kernel state", sizeof *s);
    rf_status status = pack(desc, &n, s, err);
    if (status != RF_OK) {
        release(desc->env, s);
        return status;
    }
    *out_state = s;
    return RF_OK;
}

static int kind_of(const rf_cuda_conv_axis *a)
{
    if (a->stride == 1 && a->step == 1 && a->taps % 2 && a->taps >= 3 && a->taps <= 7)
        return (a->taps - 3) / 2;
    return RF_CUDA_CONV_DEPTHWISE_KINDS - 1;
}

static rf_status run(const rf_kernel_call *call, rf_error *err)
{
    const rf_cuda_conv_node n = rf_cuda_conv_node_of(&call->args);
    const state *s = call->state;
    const int kind = kind_of(&n.ax);
    const int32_t strip = kind == RF_CUDA_CONV_DEPTHWISE_KINDS - 1 ? 1 : RF_CUDA_DEPTHWISE_STRIP;
    const int type = n.x->dtype == RF_F32 ? 0 : n.x->dtype == RF_F16 ? 1 : 2;
    rf_cuda_conv_depthwise_params p = {
        .ay = n.ay,
        .ax = n.ax,
        .x = n.x->data,
        .weights = s->weights,
        .bias = s->bias,
        .out = rf_cuda_conv_out_of(&n),
        .channels = n.groups,
        .pad_mode = n.pad_mode,
        .pieces = (int32_t)(n.groups * (int64_t)rf_dtype_bytes(n.x->dtype) / 16),
        .strips = (n.ax.out + strip - 1) / strip,
    };
    p.threads = n.n * n.ay.out * p.strips * p.pieces;
    return rf_cuda_launch(
        call, &rf_cuda_conv_depthwise_entries[type * RF_CUDA_CONV_DEPTHWISE_KINDS + kind],
        rf_cuda_grid(call, p.threads, THREADS), (dim3){THREADS, 1, 1}, 0, &p, err);
}

static const rf_kernel depthwise = {
    .op = RF_OP_CONV2D,
    .name = "depthwise",
    .why = "one filter per channel, NHWC in and out of one dtype, channels in 16-byte pieces",
    .can = can,
    .prepare = prepare,
    .release = release,
    .run = run,
    .in_place = 1u << 3,
    .packed = 1u << 1 | 1u << 2,
};

const rf_kernel *const rf_cuda_rows_conv_depthwise[] = {&depthwise, NULL};
