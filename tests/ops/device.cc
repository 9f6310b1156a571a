// SPDX-License-Identifier: Apache-2.0
#include "tests/ops/device.h"

#include <map>

namespace ops
{
namespace
{

// A buffer's copy on the device, at the same offset within 64 bytes.
struct Mirror {
    Buffer *buffer;
    void *memory = nullptr;
    char *raw = nullptr;
    rf_tensor tensor;
};

class Mirrors
{
  public:
    Mirrors(const OpenDevice &d, rf_error *err) : d_(d), err_(err) {}
    ~Mirrors()
    {
        for (auto &m : mirrors_)
            d_.ops->free(d_.device, m.second.memory);
    }
    // One mirror for a buffer, however often it is used.
    rf_tensor *add(Buffer *b)
    {
        auto found = mirrors_.find(b);
        if (found != mirrors_.end())
            return &found->second.tensor;
        Mirror m = {b};
        if (d_.ops->alloc(d_.device, b->raw().size() + 64, &m.memory, err_) != RF_OK)
            return nullptr;
        m.raw = (char *)m.memory + (size_t)b->raw().data() % 64;
        m.tensor = b->tensor;
        m.tensor.data = m.raw + b->begin();
        if (d_.ops->copy(d_.stream, m.raw, b->raw().data(), b->raw().size(), err_) != RF_OK)
            return nullptr;
        return &mirrors_.emplace(b, m).first->second.tensor;
    }
    rf_status fetch()
    {
        for (auto &m : mirrors_) {
            rf_status status = d_.ops->copy(d_.stream, m.first->raw().data(), m.second.raw,
                                            m.first->raw().size(), err_);
            if (status != RF_OK)
                return status;
        }
        return d_.ops->wait(d_.stream, err_);
    }

  private:
    const OpenDevice &d_;
    rf_error *err_;
    std::map<Buffer *, Mirror> mirrors_;
};

} // namespace

rf_status OpenDevice::open(const rf_backend *backend, rf_env *env, rf_error *err)
{
    rf_status status = backend->device_ops->open(env, &device, err);
    if (status != RF_OK)
        return status;
    ops = backend->device_ops;
    return ops->stream_create(device, nullptr, &stream, err);
}

void OpenDevice::close()
{
    if (!ops)
        return;
    ops->stream_destroy(&stream);
    ops->close(&device);
}

std::string OpenDevice::run(const rf_kernel &kernel, rf_kernel_call *call,
                            const std::vector<Buffer *> &in, const std::vector<bool> &constant,
                            const std::vector<Buffer *> &outputs, Buffer *scratch, rf_error *err)
{
    static char untouchable[16];
    Mirrors mirrors(*this, err);
    std::vector<rf_tensor> packed(in.size());
    bool failed = false;
    for (size_t i = 0; i < in.size(); i++) {
        rf_tensor *t = nullptr;
        if (in[i] && constant[i] && (kernel.packed >> i & 1)) {
            packed[i] = in[i]->tensor;
            packed[i].data = untouchable;
            t = &packed[i];
        } else if (in[i]) {
            t = mirrors.add(in[i]);
        }
        failed = failed || (in[i] && !t);
        call->args.in[i] = t;
    }
    for (size_t i = 0; i < outputs.size(); i++)
        failed = !(call->args.out[i] = mirrors.add(outputs[i])) || failed;
    rf_tensor *s = mirrors.add(scratch);
    if (failed || !s)
        return std::string("device memory: ") + err->text;
    call->scratch = s->data;
    call->stream = stream;
    if (kernel.run(call, err) != RF_OK)
        return std::string("run: ") + err->text;
    if (mirrors.fetch() != RF_OK)
        return std::string("wait: ") + err->text;
    return "";
}

} // namespace ops
