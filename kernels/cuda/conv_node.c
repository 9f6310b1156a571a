/* SPDX-License-Identifier: Apache-2.0
 *
 * Convolution nodes in numbers.
 */
#include "kernels/cuda/conv_node.h"

#include <stdio.h>

#include "runtime/base/half.h"

_Static_assert((int)RF_CUDA_PAD_ZEROS == RF_PAD_ZEROS &&
                   (int)RF_CUDA_PAD_REFLECT == RF_PAD_REFLECT &&
                   (int)RF_CUDA_PAD_EDGE == RF_PAD_EDGE,
               "padding modes");

static rf_cuda_conv_axis axis_of(int64_t in, int64_t out, int64_t taps, int32_t stride, int32_t pad,
                                 int32_t dilation)
{
    return (rf_cuda_conv_axis){(int32_t)in, (int32_t)out, (int32_t)taps, stride, -pad, dilation};
}

rf_cuda_conv_node rf_cuda_conv_node_of(const rf_op_args *args)
{
    const rf_tensor *x = args->in[0], *w = args->in[1], *y = args->out[0];
    rf_cuda_conv_node n = {
        .x = x, .w = w, .b = args->n_in > 2 ? args->in[2] : NULL, .y = y, .n = x->dims[0]};
    if (args->op == RF_OP_CONV2D) {
        const rf_conv2d_attrs *a = &args->attrs->conv2d;
        n.res = args->n_in > 3 ? args->in[3] : NULL;
        n.groups = a->groups;
        n.pad_mode = (int32_t)a->pad_mode;
        n.ay = axis_of(x->dims[2], y->dims[2], w->dims[2], a->stride[0], a->pad[0], a->dilation[0]);
        n.ax = axis_of(x->dims[3], y->dims[3], w->dims[3], a->stride[1], a->pad[1], a->dilation[1]);
        n.act = rf_cuda_act_of(a->act, a->act_alpha, a->act_beta);
        n.res_before = a->res_mode == RF_RES_BEFORE;
    } else {
        const rf_conv_transpose2d_attrs *a = &args->attrs->conv_transpose2d;
        n.groups = a->groups;
        n.ay = axis_of(x->dims[2], y->dims[2], w->dims[2], a->stride[0], a->pad[0], a->dilation[0]);
        n.ax = axis_of(x->dims[3], y->dims[3], w->dims[3], a->stride[1], a->pad[1], a->dilation[1]);
        n.act = rf_cuda_act_of(a->act, a->act_alpha, a->act_beta);
    }
    n.group_ic = (int32_t)(x->dims[1] / n.groups);
    n.group_oc = (int32_t)(y->dims[1] / n.groups);
    return n;
}

static bool small_dims(const rf_tensor *t)
{
    for (int i = 0; i < t->rank; i++)
        if (t->dims[i] > INT32_MAX / 2)
            return false;
    return true;
}

bool rf_cuda_conv_plain(const rf_cuda_conv_node *n)
{
    return rf_cuda_is_float(n->x) && rf_cuda_is_float(n->w) && rf_cuda_is_float(n->b) &&
           rf_cuda_is_float(n->res) && rf_cuda_is_float(n->y) && small_dims(n->x) &&
           small_dims(n->w) && small_dims(n->y);
}

bool rf_cuda_conv_constant(const rf_cuda_conv_node *n)
{
    return n->w->data && (!n->b || n->b->data);
}

rf_cuda_conv_image rf_cuda_conv_image_of(const rf_tensor *t)
{
    if (!t)
        return (rf_cuda_conv_image){0};
    rf_tensor dense = *t;
    if (rf_tensor_is_nhwc(t))
        rf_tensor_set_nhwc(&dense);
    return (rf_cuda_conv_image){t->data,          dense.strides[0], dense.strides[1],
                                dense.strides[2], dense.strides[3], (int32_t)t->dtype};
}

rf_cuda_conv_out rf_cuda_conv_out_of(const rf_cuda_conv_node *n)
{
    const rf_tensor *y = n->y, *res = n->res;
    const bool like_y = !res || (res->dtype == y->dtype && rf_tensor_is_nhwc(res));
    return (rf_cuda_conv_out){
        .y = rf_cuda_conv_image_of(y),
        .res = rf_cuda_conv_image_of(res),
        .act = n->act,
        .res_before = n->res_before,
        .vectors = rf_tensor_is_nhwc(y) && like_y &&
                   n->group_oc * (int64_t)rf_dtype_bytes(y->dtype) % 16 == 0,
    };
}

rf_cuda_conv_filter rf_cuda_conv_filter_of(const rf_cuda_conv_node *n)
{
    const int64_t *s = n->w->strides;
    return (rf_cuda_conv_filter){n->w, n->group_oc * s[0], s[0], s[1], 0, 1, 0, 1};
}

float rf_cuda_host_load(const rf_tensor *t, int64_t offset)
{
    if (t->dtype == RF_F32)
        return ((const float *)t->data)[offset];
    const uint16_t h = ((const uint16_t *)t->data)[offset];
    return t->dtype == RF_F16 ? rf_f16_to_f32(h) : rf_bf16_to_f32(h);
}

void rf_cuda_host_store(void *data, rf_dtype dtype, int64_t i, float v)
{
    if (dtype == RF_F32)
        ((float *)data)[i] = v;
    else
        ((uint16_t *)data)[i] = dtype == RF_F16 ? rf_f32_to_f16(v) : rf_f32_to_bf16(v);
}

typedef struct bias_ctx {
    const rf_cuda_conv_node *node;
    int32_t padded;
} bias_ctx;

static rf_status fill_bias(void *ctx, void *dst, rf_error *err)
{
    (void)err;
    const bias_ctx *c = ctx;
    const rf_cuda_conv_node *n = c->node;
    float *to = dst;
    for (int32_t g = 0; g < n->groups; g++)
        for (int32_t o = 0; o < c->padded; o++)
            *to++ = o < n->group_oc
                        ? rf_cuda_host_load(n->b, (g * (int64_t)n->group_oc + o) * n->b->strides[0])
                        : 0;
    return RF_OK;
}

rf_status rf_cuda_conv_pack_bias(const rf_kernel_desc *desc, const rf_cuda_conv_node *n,
                                 int32_t pad, const float **out, rf_error *err)
{
    char tag[RF_PACK_TAG_BYTES];
    bias_ctx ctx = {n, (n->group_oc + pad - 1) / pad * pad};
    const void *data = NULL;
    *out = NULL;
    if (!n->b)
        return RF_OK;
    snprintf(tag, sizeof tag, "cuda.conv_bias.f32.g%d.pad%d", (int)n->groups, (int)pad);
    RF_TRY(rf_pack_get(desc->packs, n->b->data, tag,
                       (size_t)n->groups * (size_t)ctx.padded * sizeof(float), fill_bias, &ctx,
                       &data, err));
    *out = data;
    return RF_OK;
}
