/* SPDX-License-Identifier: Apache-2.0
 *
 * What all convolution kernels share: the node as plain numbers, constant weights of any storage
 * dtype, and padding as a mapping of coordinates.
 */
#ifndef RF_KERNELS_CPU_CONV_COMMON_H
#define RF_KERNELS_CPU_CONV_COMMON_H

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/pack.h"
#include "kernels/cpu/post.h"
#include "runtime/base/half.h"

/* A conv2d node with its tensors. in: x, w, [b], [res]. */
typedef struct conv {
    const rf_tensor *x, *w, *b, *res, *y;
    int64_t n, ic, ih, iw, oc, oh, ow;
    int64_t kh, kw, sy, sx, dy, dx, pt, pl, groups;
    rf_pad_mode pad_mode;
    post post;
} conv;

static inline conv conv_of(const rf_op_args *args)
{
    const rf_conv2d_attrs *a = &args->attrs->conv2d;
    const rf_tensor *x = args->in[0], *w = args->in[1], *y = args->out[0];
    return (conv){
        .x = x,
        .w = w,
        .b = args->n_in > 2 ? args->in[2] : NULL,
        .res = args->n_in > 3 ? args->in[3] : NULL,
        .y = y,
        .n = x->dims[0],
        .ic = x->dims[1],
        .ih = x->dims[2],
        .iw = x->dims[3],
        .oc = y->dims[1],
        .oh = y->dims[2],
        .ow = y->dims[3],
        .kh = w->dims[2],
        .kw = w->dims[3],
        .sy = a->stride[0],
        .sx = a->stride[1],
        .dy = a->dilation[0],
        .dx = a->dilation[1],
        .pt = a->pad[0],
        .pl = a->pad[1],
        .groups = a->groups,
        .pad_mode = a->pad_mode,
        .post = {a->act, (float)a->act_alpha, (float)a->act_beta, a->res_mode == RF_RES_BEFORE},
    };
}

static inline bool conv_float(const rf_tensor *t)
{
    return t->dtype == RF_F32 || t->dtype == RF_BF16;
}
/* Weights and biases that can be read while planning. */
static inline bool conv_const(const rf_tensor *t)
{
    return t->data && conv_float(t);
}

static inline float conv_at(const rf_tensor *t, int64_t i)
{
    return t->dtype == RF_BF16 ? rf_bf16_to_f32(((const uint16_t *)t->data)[i])
                               : ((const float *)t->data)[i];
}

/* Index of a padded coordinate in [0, n), or -1 for a zero. */
static inline int64_t conv_map(int64_t i, int64_t n, rf_pad_mode mode)
{
    if (i >= 0 && i < n)
        return i;
    if (mode == RF_PAD_EDGE)
        return i < 0 ? 0 : n - 1;
    if (mode == RF_PAD_REFLECT)
        return i < 0 ? -i : 2 * (n - 1) - i;
    return -1;
}

/* Copies the bias (or zeros) to dst[0, padded). */
static inline void conv_fill_bias(const rf_tensor *b, int64_t oc, int64_t padded, float *dst)
{
    for (int64_t i = 0; i < padded; i++)
        dst[i] = b && i < oc ? conv_at(b, i * b->strides[0]) : 0;
}

/* Packed weights and the padded bias: the state of every convolution here. */
typedef struct conv_state {
    rf_cpu_pack weights;
    size_t bytes; /* of this struct with its bias */
    float bias[];
} conv_state;

/* Makes a state: `fill` packs `bytes` bytes of weights under `tag` for weight tensor w.
 * Owns: conv_state_release, also as rf_kernel.release. */
static inline rf_status conv_state_create(const rf_kernel_desc *desc, const rf_tensor *w,
                                          const rf_tensor *b, int64_t oc, int64_t oc_padded,
                                          const char *tag, size_t bytes, rf_pack_fn *fill,
                                          void *ctx, void **out, rf_error *err)
{
    conv_state *s;
    size_t state_bytes = sizeof *s + (size_t)oc_padded * sizeof(float);
    *out = NULL;
    s = rf_alloc(desc->env, state_bytes, 64);
    if (!s)
        return rf_fail(err, RF_ERR_MEMORY, "no memory for %zu bytes of kernel state", state_bytes);
    s->bytes = state_bytes;
    conv_fill_bias(b, oc, oc_padded, s->bias);
    rf_status status = rf_cpu_pack_get(desc, w->data, tag, bytes, fill, ctx, &s->weights, err);
    if (status != RF_OK) {
        rf_free(desc->env, s, state_bytes);
        return status;
    }
    *out = s;
    return RF_OK;
}

static inline void conv_state_release(rf_env *env, void *state)
{
    conv_state *s = state;
    if (!s)
        return;
    rf_cpu_pack_release(env, &s->weights);
    rf_free(env, s, s->bytes);
}
#endif
