/* SPDX-License-Identifier: Apache-2.0
 *
 * What the bf16 convolutions (AVX512-BF16 and AMX) share: which nodes they take, the end of a sum,
 * and the copy of windows that hang over the border. AVX512 only.
 */
#ifndef RF_KERNELS_CPU_CONV_BF16_H
#define RF_KERNELS_CPU_CONV_BF16_H

#include "kernels/cpu/conv_common.h"

static inline bool conv_bf16_map(const rf_tensor *t)
{
    return t->dtype == RF_BF16 && rf_tensor_is_nhwc(t);
}

/* bf16 NHWC maps, constant weights, no groups, nothing empty. */
static inline bool conv_bf16_can(const conv *c)
{
    return c->groups == 1 && conv_bf16_map(c->x) && conv_bf16_map(c->y) && conv_const(c->w) &&
           rf_tensor_is_contiguous(c->w) && (!c->b || conv_const(c->b)) &&
           (!c->res || conv_bf16_map(c->res)) && rf_tensor_elements(c->x) > 0 &&
           rf_tensor_elements(c->y) > 0;
}

/* 16 finished sums: activation and residual (may be NULL). */
static inline vf conv_bf16_finish(const post *p, vf v, const uint16_t *res)
{
    if (!res)
        return post_act(p, v);
    vf r = vload_bf16(res);
    return p->res_before ? post_act(p, v + r) : post_act(p, v) + r;
}

/* n pixels of c channels from column x of a row w pixels wide, padded. */
static inline void conv_bf16_gather(uint16_t *dst, const uint16_t *row, int64_t x, int64_t n,
                                    int64_t w, int64_t c, rf_pad_mode mode)
{
    for (int64_t i = x; i < x + n; i++, dst += c) {
        int64_t from = conv_map(i, w, mode);
        if (from < 0 || from >= w) /* a zero, or so far outside that nobody looks */
            memset(dst, 0, (size_t)c * 2);
        else
            memcpy(dst, row + from * c, (size_t)c * 2);
    }
}
#endif
