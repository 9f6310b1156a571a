/* SPDX-License-Identifier: Apache-2.0
 *
 * Builds the descriptors of a convolution graph and asks the heuristics for configurations. Every
 * descriptor made on the way is destroyed at the end; the plan keeps what it needs itself.
 */
#include "kernels/cuda/cudnn_graph.h"

#include <stdio.h>
#include <string.h>

typedef cudnnBackendDescriptor_t descriptor;

enum { MAX_DESCRIPTORS = 96, MAX_CONFIGS = 8, MAX_NOTES = 16 };

/* First failure wins; later calls do nothing, so that building reads as a list. */
typedef struct builder {
    const rf_cudnn *lib;
    descriptor made[MAX_DESCRIPTORS];
    int n_made;
    cudnnStatus_t status;
    const char *what;
} builder;

static void check(builder *b, cudnnStatus_t s, const char *what)
{
    if (b->status == CUDNN_STATUS_SUCCESS && s != CUDNN_STATUS_SUCCESS) {
        b->status = s;
        b->what = what;
    }
}

static descriptor make(builder *b, cudnnBackendDescriptorType_t type)
{
    descriptor d = NULL;
    if (b->status != CUDNN_STATUS_SUCCESS)
        return NULL;
    if (b->n_made == MAX_DESCRIPTORS)
        check(b, CUDNN_STATUS_INTERNAL_ERROR, "more descriptors than expected");
    else
        check(b, b->lib->BackendCreateDescriptor(type, &d), "cudnnBackendCreateDescriptor");
    if (b->status == CUDNN_STATUS_SUCCESS)
        b->made[b->n_made++] = d;
    return d;
}

static void set(builder *b, descriptor d, cudnnBackendAttributeName_t name,
                cudnnBackendAttributeType_t type, int64_t n, const void *values, const char *what)
{
    if (b->status == CUDNN_STATUS_SUCCESS)
        check(b, b->lib->BackendSetAttribute(d, name, type, n, values), what);
}
#define SET(d, NAME, TYPE, n, values)                                                              \
    set(b, d, CUDNN_ATTR_##NAME, CUDNN_TYPE_##TYPE, n, values, #NAME)

static void finalize(builder *b, descriptor d, const char *what)
{
    if (b->status == CUDNN_STATUS_SUCCESS)
        check(b, b->lib->BackendFinalize(d), what);
}

static void clean_up(builder *b)
{
    while (b->n_made)
        b->lib->BackendDestroyDescriptor(b->made[--b->n_made]);
}

static rf_status result(const builder *b, rf_error *err)
{
    char detail[160] = "";
    if (b->status == CUDNN_STATUS_SUCCESS)
        return RF_OK;
    b->lib->GetLastErrorString(detail, sizeof detail);
    return rf_fail(err, RF_ERR_UNSUPPORTED, "cuDNN: %s: %s (%s)", b->what,
                   b->lib->GetErrorString(b->status), detail);
}

/* A tensor of dims N C H W that lies in memory as N H W C. */
static descriptor tensor(builder *b, int64_t id, cudnnDataType_t type, const int64_t *dims,
                         bool inner)
{
    const int64_t strides[] = {dims[1] * dims[2] * dims[3], 1, dims[3] * dims[1], dims[1]};
    const int64_t alignment = 16;
    descriptor t = make(b, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    SET(t, TENSOR_DATA_TYPE, DATA_TYPE, 1, &type);
    SET(t, TENSOR_DIMENSIONS, INT64, 4, dims);
    SET(t, TENSOR_STRIDES, INT64, 4, strides);
    SET(t, TENSOR_UNIQUE_ID, INT64, 1, &id);
    SET(t, TENSOR_BYTE_ALIGNMENT, INT64, 1, &alignment);
    SET(t, TENSOR_IS_VIRTUAL, BOOLEAN, 1, &inner);
    finalize(b, t, "tensor");
    return t;
}

static descriptor convolution(builder *b, const rf_cudnn_conv *c, descriptor x, descriptor w,
                              descriptor y)
{
    const cudnnDataType_t sums = CUDNN_DATA_FLOAT;
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    const int64_t n_dims = 2;
    const float one = 1, zero = 0;
    descriptor d = make(b, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    SET(d, CONVOLUTION_COMP_TYPE, DATA_TYPE, 1, &sums);
    SET(d, CONVOLUTION_CONV_MODE, CONVOLUTION_MODE, 1, &mode);
    SET(d, CONVOLUTION_SPATIAL_DIMS, INT64, 1, &n_dims);
    SET(d, CONVOLUTION_PRE_PADDINGS, INT64, 2, c->pre);
    SET(d, CONVOLUTION_POST_PADDINGS, INT64, 2, c->post);
    SET(d, CONVOLUTION_FILTER_STRIDES, INT64, 2, c->stride);
    SET(d, CONVOLUTION_DILATIONS, INT64, 2, c->dilation);
    finalize(b, d, "convolution");
    descriptor op = make(b, CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
    SET(op, OPERATION_CONVOLUTION_FORWARD_X, BACKEND_DESCRIPTOR, 1, &x);
    SET(op, OPERATION_CONVOLUTION_FORWARD_W, BACKEND_DESCRIPTOR, 1, &w);
    SET(op, OPERATION_CONVOLUTION_FORWARD_Y, BACKEND_DESCRIPTOR, 1, &y);
    SET(op, OPERATION_CONVOLUTION_FORWARD_CONV_DESC, BACKEND_DESCRIPTOR, 1, &d);
    SET(op, OPERATION_CONVOLUTION_FORWARD_ALPHA, FLOAT, 1, &one);
    SET(op, OPERATION_CONVOLUTION_FORWARD_BETA, FLOAT, 1, &zero);
    finalize(b, op, "convolution operation");
    return op;
}

/* y = mode(x [, operand]) */
static descriptor pointwise(builder *b, cudnnPointwiseMode_t mode, descriptor x, descriptor operand,
                            descriptor y)
{
    const cudnnDataType_t precision = CUDNN_DATA_FLOAT;
    descriptor d = make(b, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    SET(d, POINTWISE_MODE, POINTWISE_MODE, 1, &mode);
    SET(d, POINTWISE_MATH_PREC, DATA_TYPE, 1, &precision);
    finalize(b, d, "pointwise");
    descriptor op = make(b, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    SET(op, OPERATION_POINTWISE_PW_DESCRIPTOR, BACKEND_DESCRIPTOR, 1, &d);
    SET(op, OPERATION_POINTWISE_XDESC, BACKEND_DESCRIPTOR, 1, &x);
    if (operand)
        SET(op, OPERATION_POINTWISE_BDESC, BACKEND_DESCRIPTOR, 1, &operand);
    SET(op, OPERATION_POINTWISE_YDESC, BACKEND_DESCRIPTOR, 1, &y);
    finalize(b, op, "pointwise operation");
    return op;
}

/* The convolution, then residual, bias, activation; what is between two operations is f32 and never
 * stored. */
static descriptor graph(builder *b, const rf_cudnn_conv *c)
{
    enum { INNER = 100 };
    const int64_t bias_dims[] = {1, c->y[1], 1, 1};
    descriptor ops[4], operands[3];
    cudnnPointwiseMode_t modes[3];
    int n_more = 0, n_ops = 0;
    if (c->res) {
        modes[n_more] = CUDNN_POINTWISE_ADD;
        operands[n_more++] = tensor(b, RF_CUDNN_R, c->type, c->y, false);
    }
    if (c->bias) {
        modes[n_more] = CUDNN_POINTWISE_ADD;
        operands[n_more++] = tensor(b, RF_CUDNN_B, c->type, bias_dims, false);
    }
    if (c->relu) {
        modes[n_more] = CUDNN_POINTWISE_RELU_FWD;
        operands[n_more++] = NULL;
    }
    descriptor x = tensor(b, RF_CUDNN_X, c->type, c->x, false);
    descriptor w = tensor(b, RF_CUDNN_W, c->type, c->w, false);
    descriptor y = n_more ? tensor(b, INNER, CUDNN_DATA_FLOAT, c->y, true)
                          : tensor(b, RF_CUDNN_Y, c->type, c->y, false);
    ops[n_ops++] = convolution(b, c, x, w, y);
    for (int i = 0; i < n_more; i++) {
        bool last = i + 1 == n_more;
        descriptor next = last ? tensor(b, RF_CUDNN_Y, c->type, c->y, false)
                               : tensor(b, INNER + 1 + i, CUDNN_DATA_FLOAT, c->y, true);
        ops[n_ops++] = pointwise(b, modes[i], y, operands[i], next);
        y = next;
    }
    descriptor g = make(b, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    SET(g, OPERATIONGRAPH_OPS, BACKEND_DESCRIPTOR, n_ops, ops);
    finalize(b, g, "operation graph");
    return g;
}

static descriptor device_properties(builder *b, const char *json)
{
    if (!json)
        return NULL;
    descriptor d = make(b, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
    SET(d, DEVICEPROP_JSON_REPRESENTATION, CHAR, (int64_t)strlen(json), json);
    finalize(b, d, "device properties");
    return d;
}

/* Up to MAX_CONFIGS engine configurations, best guess first; a mode that has none is no error. */
static int heuristics(builder *b, cudnnBackendHeurMode_t mode, descriptor g, descriptor device,
                      descriptor *configs)
{
    int64_t n = 0;
    descriptor h = make(b, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    SET(h, ENGINEHEUR_OPERATION_GRAPH, BACKEND_DESCRIPTOR, 1, &g);
    SET(h, ENGINEHEUR_MODE, HEUR_MODE, 1, &mode);
    if (device)
        SET(h, ENGINEHEUR_DEVICEPROP, BACKEND_DESCRIPTOR, 1, &device);
    if (b->status != CUDNN_STATUS_SUCCESS || b->lib->BackendFinalize(h) != CUDNN_STATUS_SUCCESS ||
        b->lib->BackendGetAttribute(h, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                    0, &n, NULL) != CUDNN_STATUS_SUCCESS)
        return 0;
    n = n > MAX_CONFIGS ? MAX_CONFIGS : n;
    for (int i = 0; i < n; i++)
        configs[i] = make(b, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    if (b->status != CUDNN_STATUS_SUCCESS || !n)
        return 0;
    int64_t got = 0;
    check(b,
          b->lib->BackendGetAttribute(h, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                      CUDNN_TYPE_BACKEND_DESCRIPTOR, n, &got, configs),
          "ENGINEHEUR_RESULTS");
    return (int)got;
}

/* Reads what the engine is; false if it is not exact and repeatable enough for us. */
static bool judge(builder *b, descriptor config, rf_cudnn_plan *out)
{
    cudnnBackendNumericalNote_t notes[MAX_NOTES];
    cudnnBackendBehaviorNote_t behaviour[MAX_NOTES];
    int64_t one, n_notes = 0, n_behaviour = 0;
    descriptor engine = make(b, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    if (!engine || b->lib->BackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE,
                                               CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &one,
                                               &engine) != CUDNN_STATUS_SUCCESS)
        return false;
    b->lib->BackendGetAttribute(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &one,
                                &out->engine);
    b->lib->BackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                MAX_NOTES, &n_notes, notes);
    b->lib->BackendGetAttribute(engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE,
                                MAX_NOTES, &n_behaviour, behaviour);
    out->compiled_at_run_time = false;
    for (int i = 0; i < n_behaviour && i < MAX_NOTES; i++)
        out->compiled_at_run_time |= behaviour[i] == CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION;
    for (int i = 0; i < n_notes && i < MAX_NOTES; i++)
        if (notes[i] != CUDNN_NUMERICAL_NOTE_TENSOR_CORE &&
            notes[i] != CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP)
            return false;
    return true;
}

/* Kernels say how much scratch they need before they are prepared, so only plans that need none are
 * taken; nearly all of those that come first are. The plan is made outside of the builder's list:
 * it outlives it. */
static bool try_config(builder *b, descriptor config, descriptor device, rf_cudnn_plan *out)
{
    const rf_cudnn *lib = b->lib;
    int64_t one, workspace = 0;
    descriptor p = NULL;
    if (!judge(b, config, out) ||
        lib->BackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &p) !=
            CUDNN_STATUS_SUCCESS)
        return false;
    bool good =
        lib->BackendSetAttribute(p, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG,
                                 CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                                 &config) == CUDNN_STATUS_SUCCESS &&
        (!device || lib->BackendSetAttribute(p, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP,
                                             CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                                             &device) == CUDNN_STATUS_SUCCESS) &&
        lib->BackendFinalize(p) == CUDNN_STATUS_SUCCESS &&
        lib->BackendGetAttribute(p, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1,
                                 &one, &workspace) == CUDNN_STATUS_SUCCESS &&
        !workspace;
    if (good)
        out->plan = p;
    else
        lib->BackendDestroyDescriptor(p);
    return good;
}

rf_status rf_cudnn_plan_make(const rf_cudnn *lib, const rf_cudnn_conv *conv,
                             const char *device_json, rf_cudnn_plan *out, rf_error *err)
{
    static const cudnnBackendHeurMode_t modes[] = {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK};
    builder list = {.lib = lib}, *b = &list;
    *out = (rf_cudnn_plan){0};
    descriptor device = device_properties(b, device_json);
    descriptor g = graph(b, conv);
    int64_t tried = 0;
    for (int m = 0; m < 2 && !out->plan; m++) {
        descriptor configs[MAX_CONFIGS];
        int n = heuristics(b, modes[m], g, device, configs);
        for (int i = 0; i < n && !out->plan; i++, tried++)
            (void)try_config(b, configs[i], device, out);
    }
    out->n_tried = tried;
    if (!out->plan && b->status == CUDNN_STATUS_SUCCESS)
        check(b, CUDNN_STATUS_NOT_SUPPORTED, "no configuration of any engine");
    rf_status status = result(b, err);
    clean_up(b);
    if (status != RF_OK)
        rf_cudnn_plan_free(lib, out);
    return status;
}

void rf_cudnn_plan_free(const rf_cudnn *lib, rf_cudnn_plan *plan)
{
    if (plan->plan)
        lib->BackendDestroyDescriptor(plan->plan);
    plan->plan = NULL;
}

static bool copy_dims(const rf_tensor *t, int64_t *dims)
{
    memcpy(dims, t->dims, 4 * sizeof *dims);
    return t->rank == 4 && rf_tensor_elements(t) > 0;
}

bool rf_cudnn_describe(const rf_op_args *args, rf_cudnn_conv *out)
{
    const rf_conv2d_attrs *a = &args->attrs->conv2d;
    const rf_tensor *x = args->in[0], *w = args->in[1], *b = args->n_in > 2 ? args->in[2] : NULL,
                    *res = args->n_in > 3 ? args->in[3] : NULL, *y = args->out[0];
    bool half = x->dtype == RF_F16 || x->dtype == RF_BF16;
    /* With no activation after it a residual may as well come first. */
    bool res_first = a->res_mode == RF_RES_BEFORE || a->act == RF_ACT_NONE;
    *out = (rf_cudnn_conv){.type = x->dtype == RF_F16 ? CUDNN_DATA_HALF : CUDNN_DATA_BFLOAT16,
                           .pre = {a->pad[0], a->pad[1]},
                           .post = {a->pad[2], a->pad[3]},
                           .stride = {a->stride[0], a->stride[1]},
                           .dilation = {a->dilation[0], a->dilation[1]},
                           .bias = b,
                           .res = res,
                           .relu = a->act == RF_ACT_RELU};
    bool padded = a->pad[0] >= 0 && a->pad[1] >= 0 && a->pad[2] >= 0 && a->pad[3] >= 0;
    return half && args->op == RF_OP_CONV2D && y->dtype == x->dtype &&
           (!res || (res->dtype == x->dtype && rf_tensor_is_nhwc(res) && res_first)) &&
           (a->act == RF_ACT_NONE || a->act == RF_ACT_RELU) && a->pad_mode == RF_PAD_ZEROS &&
           padded && rf_tensor_is_nhwc(x) && rf_tensor_is_nhwc(y) && copy_dims(x, out->x) &&
           copy_dims(w, out->w) && copy_dims(y, out->y);
}

/* Our own kernels use mma.sync, which reaches about 62% of the wgmma rate of sm_90, and are made
 * for the 32 to 64 channels at which cuDNN's tiles run half empty; from 128 channels on, where a
 * convolution is bound by arithmetic, cuDNN's precompiled wgmma kernels should win. No GPU has
 * confirmed the border yet. */
bool rf_cudnn_wins(const rf_cudnn_conv *c)
{
    bool dense = c->w[1] == c->x[1];
    return dense && c->x[1] >= 128 && c->y[1] >= 128 && c->x[1] % 8 == 0 && c->y[1] % 8 == 0;
}
