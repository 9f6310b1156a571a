/* SPDX-License-Identifier: Apache-2.0
 *
 * Unary and binary operations on the elementwise engine of nd.c: here are only the formulas, each a
 * loop over dense floats. Storage types, layouts and broadcasting are the engine's business.
 */
#include "kernels/cpu/nd.h"
#include "kernels/cpu/vecmath.h"

#include <math.h>

typedef struct map_params {
    float alpha, beta;
    rf_act act; /* binary: applied to the result */
    double act_alpha, act_beta;
} map_params;

/* A loop body of one input `x`, with the parameters a and b at hand. */
#define UNARY(name, expr)                                                                          \
    static void unary_##name(const void *ctx, float *y, const float *const *in, int64_t n)         \
    {                                                                                              \
        const map_params *params = ctx;                                                            \
        const vf a __attribute__((unused)) = vset1(params->alpha);                                 \
        const vf b __attribute__((unused)) = vset1(params->beta);                                  \
        const float *p = in[0];                                                                    \
        int64_t i = 0;                                                                             \
        for (; i + VL <= n; i += VL) {                                                             \
            vf x = vload(p + i);                                                                   \
            vstore(y + i, expr);                                                                   \
        }                                                                                          \
        if (i < n) {                                                                               \
            vf x = vload_part(p + i, (int)(n - i));                                                \
            vstore_part(y + i, expr, (int)(n - i));                                                \
        }                                                                                          \
    }
/* For what has no vector form and is rare: the C library's function of one float. */
#define UNARY_SCALAR(name, fn)                                                                     \
    static void unary_##name(const void *ctx, float *y, const float *const *in, int64_t n)         \
    {                                                                                              \
        (void)ctx;                                                                                 \
        for (int64_t i = 0; i < n; i++)                                                            \
            y[i] = fn(in[0][i]);                                                                   \
    }

static inline vf vsign(vf x)
{
    const vf one = vset1(1), zero = vset1(0);
    vf s = vselect(x > zero, one, vselect(x < zero, -one, zero));
    return vselect(x != x, x, s);
}
static inline vf vclamp(vf x, vf lo, vf hi)
{
    return vmin(hi, vmax(lo, x));
}
static inline vf vhardsigmoid(vf x)
{
    return vclamp(x * (1.0f / 6) + 0.5f, vset1(0), vset1(1));
}

UNARY(relu, vmax(vset1(0), x))
UNARY(leaky, vselect(x < 0.0f, a *x, x))
UNARY(clamp, vclamp(x, a, b))
UNARY(sigmoid, vsigmoid(x))
UNARY(silu, vsilu(x))
UNARY(gelu, vgelu(x))
UNARY(gelu_tanh, vgelu_tanh(x))
UNARY(tanh, vtanh(x))
UNARY(hardswish, x *vhardsigmoid(x))
UNARY(hardsigmoid, vhardsigmoid(x))
UNARY(elu, vselect(x < 0.0f, a *vexpm1(x), x))
UNARY(softplus, vsoftplus(x))
UNARY(mish, vmish(x))
UNARY(exp, vexp(x))
UNARY(log, vlog(x))
UNARY(sqrt, vsqrt(x))
UNARY(rsqrt, 1.0f / vsqrt(x))
UNARY(reciprocal, 1.0f / x)
UNARY(square, x *x)
UNARY(abs, vabs(x))
UNARY(neg, -x)
UNARY(sign, vsign(x))
UNARY_SCALAR(floor, floorf)
UNARY_SCALAR(ceil, ceilf)
UNARY_SCALAR(round, rintf)
UNARY_SCALAR(sin, sinf)
UNARY_SCALAR(cos, cosf)
UNARY(erf, verf(x))
UNARY(scale, a *x + b)

static rf_map_fn *const unary_fns[] = {
    [RF_UNARY_RELU] = unary_relu,
    [RF_UNARY_LEAKY] = unary_leaky,
    [RF_UNARY_CLAMP] = unary_clamp,
    [RF_UNARY_SIGMOID] = unary_sigmoid,
    [RF_UNARY_SILU] = unary_silu,
    [RF_UNARY_GELU] = unary_gelu,
    [RF_UNARY_GELU_TANH] = unary_gelu_tanh,
    [RF_UNARY_TANH] = unary_tanh,
    [RF_UNARY_HARDSWISH] = unary_hardswish,
    [RF_UNARY_HARDSIGMOID] = unary_hardsigmoid,
    [RF_UNARY_ELU] = unary_elu,
    [RF_UNARY_SOFTPLUS] = unary_softplus,
    [RF_UNARY_MISH] = unary_mish,
    [RF_UNARY_EXP] = unary_exp,
    [RF_UNARY_LOG] = unary_log,
    [RF_UNARY_SQRT] = unary_sqrt,
    [RF_UNARY_RSQRT] = unary_rsqrt,
    [RF_UNARY_RECIPROCAL] = unary_reciprocal,
    [RF_UNARY_SQUARE] = unary_square,
    [RF_UNARY_ABS] = unary_abs,
    [RF_UNARY_NEG] = unary_neg,
    [RF_UNARY_SIGN] = unary_sign,
    [RF_UNARY_FLOOR] = unary_floor,
    [RF_UNARY_CEIL] = unary_ceil,
    [RF_UNARY_ROUND] = unary_round,
    [RF_UNARY_SIN] = unary_sin,
    [RF_UNARY_COS] = unary_cos,
    [RF_UNARY_ERF] = unary_erf,
    [RF_UNARY_SCALE] = unary_scale,
};

static rf_map_fn *const act_fns[] = {
    [RF_ACT_NONE] = NULL,
    [RF_ACT_RELU] = unary_relu,
    [RF_ACT_LEAKY] = unary_leaky,
    [RF_ACT_CLAMP] = unary_clamp,
    [RF_ACT_SIGMOID] = unary_sigmoid,
    [RF_ACT_SILU] = unary_silu,
    [RF_ACT_GELU] = unary_gelu,
    [RF_ACT_GELU_TANH] = unary_gelu_tanh,
    [RF_ACT_TANH] = unary_tanh,
    [RF_ACT_HARDSWISH] = unary_hardswish,
};

void rf_cpu_map_act(rf_act act, double alpha, double beta, float *y, int64_t n)
{
    map_params params = {.alpha = (float)alpha, .beta = (float)beta};
    if (act_fns[act])
        act_fns[act](&params, y, (const float *const[]){y}, n);
}

#define BINARY(name, expr)                                                                         \
    static void binary_##name(const void *ctx, float *y, const float *const *in, int64_t n)        \
    {                                                                                              \
        const map_params *params = ctx;                                                            \
        const float *p = in[0], *q = in[1];                                                        \
        int64_t i = 0;                                                                             \
        for (; i + VL <= n; i += VL) {                                                             \
            vf a = vload(p + i), b = vload(q + i);                                                 \
            vstore(y + i, expr);                                                                   \
        }                                                                                          \
        if (i < n) {                                                                               \
            vf a = vload_part(p + i, (int)(n - i)), b = vload_part(q + i, (int)(n - i));           \
            vstore_part(y + i, expr, (int)(n - i));                                                \
        }                                                                                          \
        rf_cpu_map_act(params->act, params->act_alpha, params->act_beta, y, n);                    \
    }

BINARY(add, a + b)
BINARY(sub, a - b)
BINARY(mul, a *b)
BINARY(div, a / b)
BINARY(min, vmin_nan(a, b))
BINARY(max, vmax_nan(a, b))
BINARY(prelu, vselect(a < 0.0f, a *b, a))

static void binary_pow(const void *ctx, float *y, const float *const *in, int64_t n)
{
    const map_params *params = ctx;
    for (int64_t i = 0; i < n; i++)
        y[i] = powf(in[0][i], in[1][i]);
    rf_cpu_map_act(params->act, params->act_alpha, params->act_beta, y, n);
}

static rf_map_fn *const binary_fns[] = {
    [RF_BINARY_ADD] = binary_add, [RF_BINARY_SUB] = binary_sub,     [RF_BINARY_MUL] = binary_mul,
    [RF_BINARY_DIV] = binary_div, [RF_BINARY_MIN] = binary_min,     [RF_BINARY_MAX] = binary_max,
    [RF_BINARY_POW] = binary_pow, [RF_BINARY_PRELU] = binary_prelu,
};

static bool can_map(const rf_kernel_desc *desc)
{
    bool ok = rf_cpu_is_float(desc->args.out[0]->dtype);
    for (int i = 0; i < desc->args.n_in; i++)
        ok = ok && rf_cpu_is_float(desc->args.in[i]->dtype);
    return ok;
}

static rf_status run_unary(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_unary_attrs *attrs = &call->args.attrs->unary;
    map_params params = {.alpha = (float)attrs->alpha, .beta = (float)attrs->beta};
    rf_cpu_map(call->n_threads, unary_fns[attrs->kind], &params, call->args.out[0], call->args.in,
               1);
    return RF_OK;
}

static rf_status run_binary(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_binary_attrs *attrs = &call->args.attrs->binary;
    map_params params = {
        .act = attrs->act, .act_alpha = attrs->act_alpha, .act_beta = attrs->act_beta};
    rf_cpu_map(call->n_threads, binary_fns[attrs->kind], &params, call->args.out[0], call->args.in,
               2);
    return RF_OK;
}

static const rf_kernel unary_row = {
    .op = RF_OP_UNARY,
    .name = "map",
    .why = "f32 or bf16",
    .can = can_map,
    .run = run_unary,
    .in_place = 1,
};
static const rf_kernel binary_row = {
    .op = RF_OP_BINARY,
    .name = "map",
    .why = "f32 or bf16",
    .can = can_map,
    .run = run_binary,
    .in_place = 3,
};

const rf_kernel *const RF_CPU_ROWS(elementwise)[] = {&unary_row, &binary_row, NULL};
