/* SPDX-License-Identifier: Apache-2.0
 *
 * What convolutions and products do to a finished sum before storing it: bias, activation,
 * residual. Cheap activations are inline, those with an exponential are one call away so that the
 * register-hungry transforms around them stay small.
 */
#ifndef RF_KERNELS_CPU_POST_H
#define RF_KERNELS_CPU_POST_H

#include "kernels/cpu/vecmath.h"
#include "runtime/core/op.h"

typedef struct post {
    rf_act act;
    float alpha, beta;
    bool res_before; /* act(sum + res) instead of act(sum) + res */
} post;

static __attribute__((noinline, unused)) vf post_act_slow(rf_act act, vf x)
{
    switch (act) {
    case RF_ACT_SIGMOID:
        return vsigmoid(x);
    case RF_ACT_SILU:
        return vsilu(x);
    case RF_ACT_GELU:
        return vgelu(x);
    case RF_ACT_GELU_TANH:
        return vgelu_tanh(x);
    case RF_ACT_TANH:
        return vtanh(x);
    case RF_ACT_HARDSWISH:
        return x * vmin(vset1(1), vmax(vset1(0), x * (1.0f / 6) + 0.5f));
    default:
        return x;
    }
}

/* A NaN stays one: max and min hand on their second operand. */
static inline vf post_act(const post *p, vf x)
{
    if (p->act == RF_ACT_NONE)
        return x;
    if (p->act == RF_ACT_RELU)
        return vmax(vset1(0), x);
    if (p->act == RF_ACT_LEAKY)
        return vselect(x < vset1(0), x * p->alpha, x);
    if (p->act == RF_ACT_CLAMP)
        return vmin(vset1(p->beta), vmax(vset1(p->alpha), x));
    return post_act_slow(p->act, x);
}
#endif
