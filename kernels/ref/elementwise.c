/* SPDX-License-Identifier: Apache-2.0
 *
 * Elementwise maths and the activations that other ops fuse. NaN goes through everything.
 */
#include "kernels/ref/element.h"

double ref_sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

static double softplus(double x)
{
    return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}

static double gelu_tanh(double x)
{
    return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
}

double ref_act(rf_act act, double alpha, double beta, double x)
{
    switch (act) {
    case RF_ACT_NONE:
        return x;
    case RF_ACT_RELU:
        return x < 0 ? 0 : x;
    case RF_ACT_LEAKY:
        return x < 0 ? alpha * x : x;
    case RF_ACT_CLAMP:
        return clamp(x, alpha, beta);
    case RF_ACT_SIGMOID:
        return ref_sigmoid(x);
    case RF_ACT_SILU:
        return x * ref_sigmoid(x);
    case RF_ACT_GELU:
        return 0.5 * x * erfc(-x * M_SQRT1_2);
    case RF_ACT_GELU_TANH:
        return gelu_tanh(x);
    case RF_ACT_TANH:
        return tanh(x);
    case RF_ACT_HARDSWISH:
        return x * clamp(x / 6 + 0.5, 0, 1);
    }
    return x;
}

static double apply_unary(const rf_unary_attrs *a, double x)
{
    switch (a->kind) {
    case RF_UNARY_RELU:
        return ref_act(RF_ACT_RELU, 0, 0, x);
    case RF_UNARY_LEAKY:
        return ref_act(RF_ACT_LEAKY, a->alpha, 0, x);
    case RF_UNARY_CLAMP:
        return ref_act(RF_ACT_CLAMP, a->alpha, a->beta, x);
    case RF_UNARY_SIGMOID:
        return ref_act(RF_ACT_SIGMOID, 0, 0, x);
    case RF_UNARY_SILU:
        return ref_act(RF_ACT_SILU, 0, 0, x);
    case RF_UNARY_GELU:
        return ref_act(RF_ACT_GELU, 0, 0, x);
    case RF_UNARY_GELU_TANH:
        return ref_act(RF_ACT_GELU_TANH, 0, 0, x);
    case RF_UNARY_TANH:
        return ref_act(RF_ACT_TANH, 0, 0, x);
    case RF_UNARY_HARDSWISH:
        return ref_act(RF_ACT_HARDSWISH, 0, 0, x);
    case RF_UNARY_HARDSIGMOID:
        return clamp(x / 6 + 0.5, 0, 1);
    case RF_UNARY_ELU:
        return x < 0 ? a->alpha * expm1(x) : x;
    case RF_UNARY_SOFTPLUS:
        return softplus(x);
    case RF_UNARY_MISH:
        return x * tanh(softplus(x));
    case RF_UNARY_EXP:
        return exp(x);
    case RF_UNARY_LOG:
        return log(x);
    case RF_UNARY_SQRT:
        return sqrt(x);
    case RF_UNARY_RSQRT:
        return 1 / sqrt(x);
    case RF_UNARY_RECIPROCAL:
        return 1 / x;
    case RF_UNARY_SQUARE:
        return x * x;
    case RF_UNARY_ABS:
        return fabs(x);
    case RF_UNARY_NEG:
        return -x;
    case RF_UNARY_SIGN:
        return x > 0 ? 1 : x < 0 ? -1 : x;
    case RF_UNARY_FLOOR:
        return floor(x);
    case RF_UNARY_CEIL:
        return ceil(x);
    case RF_UNARY_ROUND:
        return rint(x); /* the library never changes the rounding mode */
    case RF_UNARY_SIN:
        return sin(x);
    case RF_UNARY_COS:
        return cos(x);
    case RF_UNARY_ERF:
        return erf(x);
    case RF_UNARY_SCALE:
        return a->alpha * x + a->beta;
    }
    return x;
}

static double apply_binary(rf_binary_kind kind, double a, double b)
{
    switch (kind) {
    case RF_BINARY_ADD:
        return a + b;
    case RF_BINARY_SUB:
        return a - b;
    case RF_BINARY_MUL:
        return a * b;
    case RF_BINARY_DIV:
        return a / b;
    case RF_BINARY_MIN:
        return a < b || a != a ? a : b;
    case RF_BINARY_MAX:
        return a > b || a != a ? a : b;
    case RF_BINARY_POW:
        return pow(a, b);
    case RF_BINARY_PRELU:
        return a < 0 ? a * b : a;
    }
    return a;
}

/* In 64 unsigned bits, which wrap as every narrower dtype does; u64 alone compares unsigned. */
static int64_t apply_integer(rf_binary_kind kind, rf_dtype dtype, int64_t a, int64_t b)
{
    bool less = dtype == RF_U64 ? (uint64_t)a < (uint64_t)b : a < b;
    switch (kind) {
    case RF_BINARY_ADD:
        return (int64_t)((uint64_t)a + (uint64_t)b);
    case RF_BINARY_SUB:
        return (int64_t)((uint64_t)a - (uint64_t)b);
    case RF_BINARY_MUL:
        return (int64_t)((uint64_t)a * (uint64_t)b);
    case RF_BINARY_MIN:
        return less ? a : b;
    default:
        return less ? b : a;
    }
}

rf_status rf_ref_unary(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_tensor *x = call->args.in[0], *y = call->args.out[0];
    int64_t at[RF_MAX_RANK];
    for (int64_t i = 0; i < rf_tensor_elements(y); i++) {
        ref_coords(y->rank, y->dims, i, at);
        ref_store(y, ref_offset(y, at),
                  apply_unary(&call->args.attrs->unary, ref_load(x, ref_offset(x, at))));
    }
    return RF_OK;
}

rf_status rf_ref_binary(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_binary_attrs *attrs = &call->args.attrs->binary;
    const rf_tensor *a = call->args.in[0], *b = call->args.in[1], *y = call->args.out[0];
    int64_t at[RF_MAX_RANK];
    for (int64_t i = 0; i < rf_tensor_elements(y); i++) {
        ref_coords(y->rank, y->dims, i, at);
        int64_t ia = ref_offset_broadcast(a, y->rank, at),
                ib = ref_offset_broadcast(b, y->rank, at);
        if (ref_is_float(a->dtype)) {
            double v = apply_binary(attrs->kind, ref_load(a, ia), ref_load(b, ib));
            ref_store(y, ref_offset(y, at),
                      ref_act(attrs->act, attrs->act_alpha, attrs->act_beta, v));
        } else {
            ref_store_int(
                y, ref_offset(y, at),
                apply_integer(attrs->kind, a->dtype, ref_load_int(a, ia), ref_load_int(b, ib)));
        }
    }
    return RF_OK;
}

/* Integer to integer saturates like float to integer; 64-bit values must not pass through a double.
 */
static void cast_integer(const rf_tensor *to, int64_t offset, rf_dtype from, int64_t v)
{
    static const struct {
        int64_t least, most;
    } range[RF_DTYPE_COUNT] = {
        [RF_I8] = {INT8_MIN, INT8_MAX},     [RF_U8] = {0, UINT8_MAX},
        [RF_I16] = {INT16_MIN, INT16_MAX},  [RF_U16] = {0, UINT16_MAX},
        [RF_I32] = {INT32_MIN, INT32_MAX},  [RF_U32] = {0, UINT32_MAX},
        [RF_I64] = {INT64_MIN, INT64_MAX},  [RF_U64] = {0, INT64_MAX},
        [RF_BOOL] = {INT64_MIN, INT64_MAX},
    };
    bool huge = from == RF_U64 && v < 0; /* 2^63 and more */
    if (huge && to->dtype != RF_U64 && to->dtype != RF_BOOL)
        v = range[to->dtype].most;
    else if (!huge)
        v = v < range[to->dtype].least  ? range[to->dtype].least
            : v > range[to->dtype].most ? range[to->dtype].most
                                        : v;
    ref_store_int(to, offset, v);
}

rf_status rf_ref_cast(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_tensor *x = call->args.in[0], *y = call->args.out[0];
    int64_t at[RF_MAX_RANK];
    for (int64_t i = 0; i < rf_tensor_elements(y); i++) {
        ref_coords(y->rank, y->dims, i, at);
        int64_t to = ref_offset(y, at), from = ref_offset(x, at);
        if (ref_is_float(x->dtype) || ref_is_float(y->dtype))
            ref_move(y, to, x, from);
        else
            cast_integer(y, to, x->dtype, ref_load_int(x, from));
    }
    return RF_OK;
}
