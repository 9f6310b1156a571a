// SPDX-License-Identifier: Apache-2.0
//
// A stand-in for the cuDNN backend graph API as far as the module uses it: it keeps the attributes
// that were set, checks at finalize what the library checks, and executes the graph by walking the
// descriptors' own dims and strides. So a wrong stride, a swapped operand or a padding on the wrong
// side gives wrong numbers here. It runs as a kernel of the emulated GPU: in stream order, on
// device memory only, and recorded like any other launch.
#include <cudnn_graph.h>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "kernels/cuda/device.cuh"

struct cudnnContext {
    cudaStream_t stream;
};

namespace
{

struct Plan;

struct Descriptor {
    cudnnBackendDescriptorType_t type;
    bool finalized = false;
    const Plan *plan = nullptr; // of an execution plan
    std::map<int, std::vector<unsigned char>> attributes;

    bool has(int name) const { return attributes.count(name) != 0; }
    template <class T> std::vector<T> list(int name) const
    {
        auto found = attributes.find(name);
        std::vector<T> values;
        if (found != attributes.end()) {
            values.resize(found->second.size() / sizeof(T));
            memcpy((void *)values.data(), found->second.data(), values.size() * sizeof(T));
        }
        return values;
    }
    template <class T> T one(int name) const
    {
        auto values = list<T>(name);
        return values.empty() ? T{} : values[0];
    }
    Descriptor *child(int name) const { return one<Descriptor *>(name); }
};

std::string last_error;

cudnnStatus_t refuse(const std::string &why)
{
    last_error = why;
    return CUDNN_STATUS_BAD_PARAM;
}

size_t size_of(cudnnBackendAttributeType_t type)
{
    switch (type) {
    case CUDNN_TYPE_CHAR:
    case CUDNN_TYPE_BOOLEAN:
        return 1;
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_DOUBLE:
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_BACKEND_DESCRIPTOR:
        return 8;
    default:
        return 4; // floats and enums
    }
}

// ---- what the descriptors say
struct Tensor {
    int64_t id;
    cudnnDataType_t type;
    bool inner;
    std::vector<int64_t> dims, strides;
    int64_t elements() const { return dims[0] * dims[1] * dims[2] * dims[3]; }
};
struct Step {
    bool convolution;
    Tensor x, w, y; // w: weights, or the second operand
    bool has_w;
    cudnnPointwiseMode_t mode;
    std::vector<int64_t> pre, stride, dilation;
};
struct Plan {
    std::vector<Step> steps;
};

Tensor tensor_of(const Descriptor *d)
{
    return {d->one<int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID),
            d->one<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE),
            d->one<char>(CUDNN_ATTR_TENSOR_IS_VIRTUAL) != 0,
            d->list<int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS),
            d->list<int64_t>(CUDNN_ATTR_TENSOR_STRIDES)};
}

Step convolution_of(const Descriptor *op)
{
    Step s = {};
    s.convolution = s.has_w = true;
    s.x = tensor_of(op->child(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X));
    s.w = tensor_of(op->child(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W));
    s.y = tensor_of(op->child(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y));
    const Descriptor *c = op->child(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC);
    s.pre = c->list<int64_t>(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS);
    s.stride = c->list<int64_t>(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES);
    s.dilation = c->list<int64_t>(CUDNN_ATTR_CONVOLUTION_DILATIONS);
    return s;
}

Step pointwise_of(const Descriptor *op)
{
    Step s = {};
    s.x = tensor_of(op->child(CUDNN_ATTR_OPERATION_POINTWISE_XDESC));
    s.y = tensor_of(op->child(CUDNN_ATTR_OPERATION_POINTWISE_YDESC));
    s.has_w = op->has(CUDNN_ATTR_OPERATION_POINTWISE_BDESC);
    if (s.has_w)
        s.w = tensor_of(op->child(CUDNN_ATTR_OPERATION_POINTWISE_BDESC));
    s.mode = op->child(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR)
                 ->one<cudnnPointwiseMode_t>(CUDNN_ATTR_POINTWISE_MODE);
    return s;
}

// ---- checks of finalize
cudnnStatus_t check_tensor(const Descriptor *d)
{
    Tensor t = tensor_of(d);
    if (t.dims.size() != 4 || t.strides.size() != 4)
        return refuse("tensor: expected 4 dims and strides");
    if (!d->has(CUDNN_ATTR_TENSOR_DATA_TYPE) || !d->has(CUDNN_ATTR_TENSOR_UNIQUE_ID) ||
        !d->has(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT))
        return refuse("tensor: dtype, id or alignment is missing");
    for (int64_t n : t.dims)
        if (n <= 0)
            return refuse("tensor: dims must be positive");
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check_convolution(const Descriptor *op)
{
    Step s = convolution_of(op);
    auto post = op->child(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC)
                    ->list<int64_t>(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS);
    for (int i = 0; i < 2; i++) {
        int64_t span = s.dilation[i] * (s.w.dims[2 + i] - 1) + 1;
        if (s.y.dims[2 + i] != (s.x.dims[2 + i] + s.pre[i] + post[i] - span) / s.stride[i] + 1)
            return refuse("convolution: the size of y does not follow from x, w and padding");
    }
    if (s.y.dims[0] != s.x.dims[0] || s.y.dims[1] != s.w.dims[0] || s.x.dims[1] % s.w.dims[1])
        return refuse("convolution: channels or batch do not fit");
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check_graph(const Descriptor *g)
{
    auto ops = g->list<Descriptor *>(CUDNN_ATTR_OPERATIONGRAPH_OPS);
    if (ops.empty())
        return refuse("graph: no operations");
    for (Descriptor *op : ops)
        if (!op->finalized)
            return refuse("graph: an operation is not finalized");
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check(const Descriptor *d)
{
    switch (d->type) {
    case CUDNN_BACKEND_TENSOR_DESCRIPTOR:
        return check_tensor(d);
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
        return check_convolution(d);
    case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR:
        return check_graph(d);
    case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR:
        return d->has(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG) ? CUDNN_STATUS_SUCCESS
                                                               : refuse("plan: no configuration");
    default:
        return CUDNN_STATUS_SUCCESS;
    }
}

// ---- execution
float get(const Tensor &t, const void *data, int64_t at)
{
    switch (t.type) {
    case CUDNN_DATA_HALF:
        return __half2float(rf_load((const __half *)data + at));
    case CUDNN_DATA_BFLOAT16:
        return __bfloat162float(rf_load((const __nv_bfloat16 *)data + at));
    default:
        return rf_load((const float *)data + at);
    }
}

void put(const Tensor &t, void *data, int64_t at, float v)
{
    if (t.type == CUDNN_DATA_HALF)
        rf_store((__half *)data + at, __float2half_rn(v));
    else if (t.type == CUDNN_DATA_BFLOAT16)
        rf_store((__nv_bfloat16 *)data + at, __float2bfloat16_rn(v));
    else
        rf_store((float *)data + at, v);
}

using Inner = std::map<int64_t, std::vector<float>>; // virtual tensors, row-major

struct Access {
    const Tensor &t;
    void *data; // NULL: virtual
    std::vector<float> *inner;
    int64_t at(const int64_t (&i)[4]) const
    {
        int64_t offset = 0;
        for (int d = 0; d < 4; d++) {
            int64_t k = t.dims[d] == 1 ? 0 : i[d]; // broadcast
            offset = inner ? offset * t.dims[d] + k : offset + k * t.strides[d];
        }
        return offset;
    }
    float load(const int64_t (&i)[4]) const
    {
        return inner ? (*inner)[at(i)] : get(t, data, at(i));
    }
    void store(const int64_t (&i)[4], float v) const
    {
        if (inner)
            (*inner)[at(i)] = v;
        else
            put(t, data, at(i), v);
    }
};

float convolve(const Step &s, const Access &x, const Access &w, const int64_t (&o)[4])
{
    int64_t per_group = s.w.dims[1], group = o[1] / (s.y.dims[1] / (s.x.dims[1] / per_group));
    double sum = 0;
    for (int64_t c = 0; c < per_group; c++)
        for (int64_t r = 0; r < s.w.dims[2]; r++)
            for (int64_t q = 0; q < s.w.dims[3]; q++) {
                int64_t y = o[2] * s.stride[0] - s.pre[0] + r * s.dilation[0];
                int64_t z = o[3] * s.stride[1] - s.pre[1] + q * s.dilation[1];
                if (y >= 0 && y < s.x.dims[2] && z >= 0 && z < s.x.dims[3])
                    sum += (double)x.load({o[0], group * per_group + c, y, z}) *
                           w.load({o[1], c, r, q});
            }
    return (float)sum;
}

float apply(cudnnPointwiseMode_t mode, float a, float b)
{
    switch (mode) {
    case CUDNN_POINTWISE_ADD:
        return a + b;
    case CUDNN_POINTWISE_MUL:
        return a * b;
    case CUDNN_POINTWISE_RELU_FWD:
        return a < 0 ? 0 : a;
    default:
        simt::fault(cudaErrorLaunchFailure, "cuDNN stand-in: pointwise mode that it does not know");
    }
}

constexpr int max_pointers = 8;
struct ExecuteParams {
    const Plan *plan;
    int32_t n;
    int64_t ids[max_pointers];
    void *pointers[max_pointers];
};

Access access(const Tensor &t, const ExecuteParams &p, Inner &inner)
{
    if (t.inner) {
        auto &v = inner[t.id];
        v.resize((size_t)t.elements());
        return {t, nullptr, &v};
    }
    for (int i = 0; i < p.n; i++)
        if (p.ids[i] == t.id)
            return {t, p.pointers[i], nullptr};
    simt::fault(cudaErrorLaunchFailure,
                "cuDNN stand-in: the variant pack has no pointer for a tensor");
}

void execute(const ExecuteParams p)
{
    Inner inner;
    for (const Step &s : p.plan->steps) {
        Access x = access(s.x, p, inner), y = access(s.y, p, inner);
        Access w = s.has_w ? access(s.w, p, inner) : x;
        const auto &d = s.y.dims;
        for (int64_t n = 0; n < d[0]; n++)
            for (int64_t c = 0; c < d[1]; c++)
                for (int64_t h = 0; h < d[2]; h++)
                    for (int64_t z = 0; z < d[3]; z++) {
                        const int64_t o[4] = {n, c, h, z};
                        y.store(o, s.convolution ? convolve(s, x, w, o)
                                                 : apply(s.mode, x.load(o), w.load(o)));
                    }
    }
}

// Reads the graph while its descriptors live; they may be gone when the plan is executed. Plans are
// kept, because launches of a plan may run after it was destroyed.
const Plan *plan_of(const Descriptor *config)
{
    static std::mutex lock;
    static std::vector<std::unique_ptr<Plan>> plans;
    auto p = std::make_unique<Plan>();
    const Descriptor *graph = config->child(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
    for (Descriptor *op : graph->list<Descriptor *>(CUDNN_ATTR_OPERATIONGRAPH_OPS))
        p->steps.push_back(op->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR
                               ? convolution_of(op)
                               : pointwise_of(op));
    std::lock_guard<std::mutex> held(lock);
    plans.push_back(std::move(p));
    return plans.back().get();
}

template <class T> cudnnStatus_t give(T value, int64_t room, int64_t *n, void *out)
{
    if (n)
        *n = 1;
    if (room > 0)
        memcpy(out, &value, sizeof value);
    return CUDNN_STATUS_SUCCESS;
}

// Mode A has one configuration, fallback has none.
cudnnStatus_t give_configs(const Descriptor *heuristics, int64_t room, int64_t *n, void *out)
{
    bool any = heuristics->one<int>(CUDNN_ATTR_ENGINEHEUR_MODE) == CUDNN_HEUR_MODE_A;
    *n = any;
    if (any && room > 0) {
        Descriptor *config = *(Descriptor **)out;
        config->attributes[CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH] =
            heuristics->attributes.at(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
        config->finalized = true;
    }
    return CUDNN_STATUS_SUCCESS;
}

const rf_cuda_entry entry = RF_ENTRY("cudnn_stand_in", ExecuteParams, execute);

} // namespace

extern "C" {

size_t cudnnGetVersion(void)
{
    return CUDNN_VERSION;
}
const char *cudnnGetErrorString(cudnnStatus_t s)
{
    return s == CUDNN_STATUS_SUCCESS ? "success" : "CUDNN_STATUS_BAD_PARAM";
}
void cudnnGetLastErrorString(char *text, size_t bytes)
{
    snprintf(text, bytes, "%s", last_error.c_str());
}
cudnnStatus_t cudnnCreate(cudnnHandle_t *out)
{
    *out = new cudnnContext{};
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle)
{
    delete handle;
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream)
{
    handle->stream = stream;
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                           cudnnBackendDescriptor_t *out)
{
    *out = new Descriptor{type};
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t d)
{
    delete (Descriptor *)d;
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t n,
                                       const void *values)
{
    Descriptor *self = (Descriptor *)d;
    if (self->finalized)
        return refuse("attribute set after finalize");
    if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR)
        for (int64_t i = 0; i < n; i++)
            if (!((Descriptor *const *)values)[i]->finalized)
                return refuse("a child descriptor is not finalized");
    const unsigned char *bytes = (const unsigned char *)values;
    self->attributes[name].assign(bytes, bytes + (size_t)n * size_of(type));
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t d)
{
    Descriptor *self = (Descriptor *)d;
    cudnnStatus_t status = check(self);
    self->finalized = status == CUDNN_STATUS_SUCCESS;
    if (self->finalized && self->type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)
        self->plan = plan_of(self->child(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG));
    return status;
}
cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const d,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t, int64_t room, int64_t *n,
                                       void *out)
{
    const Descriptor *self = (const Descriptor *)d;
    switch (name) {
    case CUDNN_ATTR_ENGINEHEUR_RESULTS:
        return give_configs(self, room, n, out);
    case CUDNN_ATTR_ENGINECFG_ENGINE:
        return CUDNN_STATUS_SUCCESS; // engines have nothing of their own here
    case CUDNN_ATTR_ENGINE_GLOBAL_INDEX:
        return give<int64_t>(41, room, n, out);
    case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE:
        return give(CUDNN_NUMERICAL_NOTE_TENSOR_CORE, room, n, out);
    case CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE:
        *n = 0;
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
        return give<int64_t>(0, room, n, out);
    default:
        return refuse("attribute that the stand-in does not have");
    }
}
cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                  cudnnBackendDescriptor_t pack)
{
    const Descriptor *p = (const Descriptor *)plan, *v = (const Descriptor *)pack;
    if (!p->finalized || !v->finalized)
        return refuse("execute: plan or variant pack is not finalized");
    auto ids = v->list<int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
    auto pointers = v->list<void *>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
    if (ids.size() != pointers.size() || ids.size() > max_pointers)
        return refuse("execute: ids and pointers do not fit");
    ExecuteParams params = {p->plan, (int32_t)ids.size(), {}, {}};
    for (size_t i = 0; i < ids.size(); i++) {
        if ((uintptr_t)pointers[i] % 16)
            return refuse("execute: a pointer is less aligned than its tensor says");
        params.ids[i] = ids[i];
        params.pointers[i] = pointers[i];
    }
    void *args[] = {&params};
    cudaError_t e = cudaLaunchKernel(entry.fn, dim3(1), dim3(1), args, 0, handle->stream);
    return e == cudaSuccess ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_EXECUTION_FAILED;
}
} // extern "C"
