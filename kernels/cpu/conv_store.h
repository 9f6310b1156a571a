/* SPDX-License-Identifier: Apache-2.0
 *
 * The way out of a convolution: finished sums get bias, activation and residual and are stored in
 * the node's layout and dtype.
 */
#ifndef RF_KERNELS_CPU_CONV_STORE_H
#define RF_KERNELS_CPU_CONV_STORE_H

#include "kernels/cpu/conv_common.h"

/* A tensor as data and element strides, in any order. */
typedef struct conv_view {
    void *data;
    bool bf16;
    int64_t n, c, y, x;
} conv_view;

static inline conv_view conv_view_of(const rf_tensor *t)
{
    return (conv_view){t->data,       t->dtype == RF_BF16, t->strides[0],
                       t->strides[1], t->strides[2],       t->strides[3]};
}
static inline float conv_view_get(const conv_view *v, int64_t at)
{
    return v->bf16 ? rf_bf16_to_f32(((const uint16_t *)v->data)[at]) : ((const float *)v->data)[at];
}
static inline void conv_view_set(const conv_view *v, int64_t at, float value)
{
    if (v->bf16)
        ((uint16_t *)v->data)[at] = rf_f32_to_bf16(value);
    else
        ((float *)v->data)[at] = value;
}

typedef struct conv_out {
    conv_view y, res; /* res.data NULL: none */
    post post;
    const float *bias; /* all channels, readable VL beyond the last */
} conv_out;

static inline conv_out conv_out_of(const conv *c, const float *bias)
{
    conv_out out = {.y = conv_view_of(c->y), .post = c->post, .bias = bias};
    if (c->res)
        out.res = conv_view_of(c->res);
    return out;
}

static inline vf conv_finish(const conv_out *g, vf v, vf r)
{
    return g->post.res_before ? post_act(&g->post, v + r) : post_act(&g->post, v) + r;
}

/* n of the VL channels from `oc` on, of one pixel. */
static inline __attribute__((always_inline)) void
conv_store_vector(const conv_out *g, vf v, int64_t oc, int64_t y_at, int64_t r_at, int n,
                  const bool bf16, const bool full)
{
    vf r = vset1(0);
    v += vload(g->bias + oc);
    if (g->res.data)
        r = full ? vload_as(g->res.data, r_at + oc, g->res.bf16)
                 : vload_part_as(g->res.data, r_at + oc, g->res.bf16, n);
    v = conv_finish(g, v, r);
    if (full)
        vstore_as(g->y.data, y_at + oc, bf16, v);
    else
        vstore_part_as(g->y.data, y_at + oc, bf16, v, n);
}

/* The same for channels that do not lie side by side. */
static __attribute__((noinline, unused)) void
conv_scatter_vector(const conv_out *g, vf v, int64_t oc, int64_t y_at, int64_t r_at, int n)
{
    float r[VL] = {0}, o[VL];
    for (int i = 0; g->res.data && i < n; i++)
        r[i] = conv_view_get(&g->res, r_at + (oc + i) * g->res.c);
    v += vload(g->bias + oc);
    vstore(o, conv_finish(g, v, vload(r)));
    for (int i = 0; i < n; i++)
        conv_view_set(&g->y, y_at + (oc + i) * g->y.c, o[i]);
}

/* The channels of one pixel: `sums` holds `width` floats, of which `n` (at most width) from channel
 * oc on are stored. width is a multiple of VL. */
static inline void conv_store_pixel(const conv_out *g, const float *sums, int width, int64_t n,
                                    int64_t oc, int64_t y_at, int64_t r_at)
{
    const bool dense = g->y.c == 1 && (!g->res.data || g->res.c == 1);
    for (int j = 0; j < width && j < n; j += VL) {
        int part = n - j < VL ? (int)(n - j) : VL;
        vf v = vload(sums + j);
        if (!dense)
            conv_scatter_vector(g, v, oc + j, y_at, r_at, part);
        else if (part < VL)
            conv_store_vector(g, v, oc + j, y_at, r_at, part, g->y.bf16, false);
        else if (g->y.bf16)
            conv_store_vector(g, v, oc + j, y_at, r_at, part, true, true);
        else
            conv_store_vector(g, v, oc + j, y_at, r_at, part, false, true);
    }
}
#endif
