// SPDX-License-Identifier: Apache-2.0
//
// Device work: what is checked when it is enqueued, and its running. Copies from and to host memory
// are made as late as everything else, so memory of the host must stay as it is until the wait:
// what a pending copy will write is poisoned when it is enqueued, what it will read is hashed then
// and compared when it runs.
#include "kernels/sim/runtime.h"

namespace sim
{
namespace
{

// Values of conditions are set from kernels, on threads of their own.
std::mutex condition_lock;
std::map<unsigned long long, std::weak_ptr<Condition>> conditions;

constexpr size_t shared_always = 48 * 1024;

uint64_t hash_of(const void *p, size_t bytes)
{
    uint64_t h = bytes, word;
    const unsigned char *at = (const unsigned char *)p;
    for (; bytes >= 8; bytes -= 8, at += 8) {
        memcpy(&word, at, 8);
        h = (h ^ word) * 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
    }
    word = 0;
    memcpy(&word, at, bytes);
    return (h ^ word) * 0x9e3779b97f4a7c15u;
}

// Of the op that runs.
const std::vector<HostSource> *running_sources;

cudaError_t execute(const Work &w);

void check_source(const HostSource &s)
{
    if (!s.kept && hash_of(s.at, s.bytes) != s.hash)
        undefined("%zu bytes of host memory at %p were changed while a copy from them was pending",
                  s.bytes, s.at);
}

void keep_overlapping(std::vector<HostSource> *sources, const void *at, size_t bytes)
{
    uintptr_t begin = (uintptr_t)at, end = begin + bytes;
    for (HostSource &s : *sources) {
        if (s.kept || (uintptr_t)s.at >= end || (uintptr_t)s.at + s.bytes <= begin)
            continue;
        check_source(s);
        const unsigned char *b = (const unsigned char *)s.at;
        s.kept = std::make_shared<std::vector<unsigned char>>(b, b + s.bytes);
    }
}

// What pending work reads there must not be lost to the poison.
void keep_sources(const void *at, size_t bytes)
{
    for (auto &q : state().queues)
        for (auto &op : q->ops)
            keep_overlapping(&op->sources, at, bytes);
}

const void *source_of(const Work &w)
{
    if (w.staged)
        return w.staged->data();
    for (const HostSource &s : *running_sources)
        if (s.kept && s.at == w.src && s.bytes == w.bytes)
            return s.kept->data();
    return w.src;
}

cudaError_t run_kernel(const Work &w)
{
    cudaError_t e;
    if (is_ordered("kernel", &e))
        return e;
    kernels_ran();
    simt::Fault f = simt::run(w.kernel, w.grid, w.block, w.shared, w.params.data());
    if (f.error != cudaSuccess) // the error that surfaces later has no room for this
        fprintf(stderr, "sim: %s\n", f.text);
    return f.error;
}

cudaError_t run_copy(const Work &w)
{
    const void *src = source_of(w);
    if ((is_device(w.dst) && !is_live(w.dst, w.bytes)) ||
        (is_device(src) && !is_live(src, w.bytes)))
        return cudaErrorIllegalAddress;
    memmove(w.dst, src, w.bytes);
    return cudaSuccess;
}

cudaError_t run_set(const Work &w)
{
    for (size_t y = 0; y < w.height; y++) {
        unsigned char *row = (unsigned char *)w.dst + y * w.pitch;
        if (!is_live(row, w.width * w.element))
            return cudaErrorIllegalAddress;
        for (size_t x = 0; x < w.width; x++)
            memcpy(row + x * w.element, &w.value, w.element); // little-endian
    }
    return cudaSuccess;
}

// The steps that could come next.
std::vector<size_t> next_steps(const Program &p, const std::vector<bool> &done)
{
    std::vector<size_t> ready;
    for (size_t i = 0; i < p.steps.size(); i++) {
        bool free = !done[i];
        for (size_t k : p.steps[i].after)
            free = free && done[k];
        if (free)
            ready.push_back(i);
    }
    return ready;
}

// Steps in the order in which they were made; with a seed, in any that their dependencies allow.
cudaError_t run_program(const Program &p)
{
    State &s = state();
    std::vector<bool> done(p.steps.size());
    for (size_t n = 0; n < p.steps.size(); n++) {
        size_t i = n;
        if (s.schedule) {
            std::vector<size_t> ready = next_steps(p, done);
            i = ready[s.random() % ready.size()];
        }
        cudaError_t e = execute(p.steps[i].work);
        if (e != cudaSuccess)
            return e;
        done[i] = true;
    }
    return cudaSuccess;
}

void assign_default(Condition *c)
{
    std::lock_guard<std::mutex> hold(condition_lock);
    if (c->assign_default)
        c->value = c->default_value;
}

unsigned value_of(const Work &w)
{
    std::lock_guard<std::mutex> hold(condition_lock);
    return w.condition->value;
}

cudaError_t run_conditional(const Work &w)
{
    if (w.condition_type == cudaGraphCondTypeIf) {
        size_t i = value_of(w) ? 0 : 1;
        return i < w.programs.size() ? run_program(*w.programs[i]) : cudaSuccess;
    }
    while (value_of(w)) {
        cudaError_t e = run_program(*w.programs[0]);
        if (e != cudaSuccess)
            return e;
    }
    return cudaSuccess;
}

cudaError_t execute(const Work &w)
{
    state().clock += 1e-3;
    switch (w.type) {
    case cudaGraphNodeTypeKernel:
        return run_kernel(w);
    case cudaGraphNodeTypeMemcpy:
        return run_copy(w);
    case cudaGraphNodeTypeMemset:
        return run_set(w);
    case cudaGraphNodeTypeGraph:
        for (auto &c : w.defaults)
            assign_default(c.get());
        return run_program(*w.programs[0]);
    case cudaGraphNodeTypeConditional:
        return run_conditional(w);
    default:
        return cudaSuccess;
    }
}

} // namespace

void register_condition(const std::shared_ptr<Condition> &c)
{
    std::lock_guard<std::mutex> hold(condition_lock);
    for (auto i = conditions.begin(); i != conditions.end();)
        i = i->second.expired() ? conditions.erase(i) : std::next(i);
    conditions[c->handle] = c;
}

cudaError_t execute_op(const Work &w, const std::vector<HostSource> &sources)
{
    for (const HostSource &s : sources)
        check_source(s);
    running_sources = &sources;
    return execute(w);
}

cudaError_t check_launch(const void *fn, dim3 grid, dim3 block, size_t shared)
{
    if (!fn)
        return cudaErrorInvalidDeviceFunction;
    if (!grid.x || !grid.y || !grid.z || !block.x || !block.y || !block.z)
        return cudaErrorInvalidConfiguration;
    if (grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
        return cudaErrorInvalidConfiguration;
    if (block.x > 1024 || block.y > 1024 || block.z > 64 ||
        (uint64_t)block.x * block.y * block.z > 1024)
        return cudaErrorInvalidConfiguration;
    auto allowed = state().max_shared.find(fn);
    size_t most = allowed == state().max_shared.end() ? 0 : (size_t)allowed->second;
    return shared > (most > shared_always ? most : shared_always) ? cudaErrorInvalidValue
                                                                  : cudaSuccess;
}

void set_params(Work *w, const void *fn, dim3 grid, dim3 block, size_t shared, void **args)
{
    w->type = cudaGraphNodeTypeKernel;
    w->kernel = (const simt::Kernel *)fn;
    w->grid = grid;
    w->block = block;
    w->shared = shared;
    size_t bytes = w->kernel->params_bytes;
    w->params.assign((bytes + sizeof(ParamLine) - 1) / sizeof(ParamLine), {});
    memcpy(w->params.data(), args[0], bytes);
}

cudaError_t make_copy(Work *w, void *dst, const void *src, size_t bytes, cudaMemcpyKind kind)
{
    bool to = is_device(dst), from = is_device(src);
    bool want_to = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool want_from = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault)
        return cudaErrorInvalidMemcpyDirection;
    if (bytes && (!dst || !src))
        return cudaErrorInvalidValue;
    if (bytes && kind != cudaMemcpyDefault && (to != want_to || from != want_from))
        return cudaErrorInvalidValue;
    if (bytes && ((to && !is_live(dst, bytes)) || (from && !is_live(src, bytes))))
        return cudaErrorInvalidValue;
    w->type = bytes ? cudaGraphNodeTypeMemcpy : cudaGraphNodeTypeEmpty;
    w->dst = dst;
    w->src = src;
    w->bytes = bytes;
    return cudaSuccess;
}

cudaError_t make_set(Work *w, void *dst, unsigned value, unsigned element, size_t width,
                     size_t height, size_t pitch)
{
    size_t row = width * element;
    if ((element != 1 && element != 2 && element != 4) || (uintptr_t)dst % element ||
        (height > 1 && pitch < row))
        return cudaErrorInvalidValue;
    if (row && height && !is_live(dst, (height - 1) * pitch + row))
        return cudaErrorInvalidValue;
    w->type = row && height ? cudaGraphNodeTypeMemset : cudaGraphNodeTypeEmpty;
    w->dst = dst;
    w->value = value;
    w->element = element;
    w->width = width;
    w->height = height;
    w->pitch = pitch;
    return cudaSuccess;
}

void prepare_host(const Work &w, std::vector<HostSource> *sources)
{
    if (w.type == cudaGraphNodeTypeMemcpy) {
        if (!w.staged && !is_device(w.src))
            sources->push_back({w.src, w.bytes, hash_of(w.src, w.bytes), nullptr});
        if (!is_device(w.dst)) {
            keep_sources(w.dst, w.bytes);
            keep_overlapping(sources, w.dst, w.bytes);
            memset(w.dst, 0xff, w.bytes);
        }
    }
    if (w.type == cudaGraphNodeTypeGraph)
        for (auto &step : w.programs[0]->steps)
            prepare_host(step.work, sources);
}

} // namespace sim

using namespace sim;

extern "C" {

void cudaGraphSetConditional(unsigned long long handle, unsigned value)
{
    std::lock_guard<std::mutex> hold(condition_lock);
    auto found = conditions.find(handle);
    auto condition = found == conditions.end() ? nullptr : found->second.lock();
    if (!condition)
        undefined("cudaGraphSetConditional: no condition has handle %llu", handle);
    condition->value = value;
}

cudaError_t cudaLaunchKernel(const void *fn, dim3 grid, dim3 block, void **args, size_t shared,
                             cudaStream_t stream)
{
    return call(__func__, [&] {
        CUstream_st *s;
        cudaError_t e = find_stream(stream, &s);
        if (e != cudaSuccess || (e = check_launch(fn, grid, block, shared)) != cudaSuccess)
            return e;
        Work w;
        set_params(&w, fn, grid, block, shared, args);
        return submit(s, std::move(w));
    });
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    return call(__func__, [&] {
        CUstream_st *s;
        Work w;
        cudaError_t e = find_stream(stream, &s);
        if (e == cudaSuccess)
            e = make_copy(&w, dst, src, bytes, kind);
        return e == cudaSuccess ? submit(s, std::move(w)) : e;
    });
}

// On the legacy stream. From the host: returns when the bytes have been taken, which may be before
// they are on the device; to the host: when they are there; within the device: at once.
cudaError_t cudaMemcpy(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind)
{
    return call(__func__, [&] {
        Work w;
        cudaError_t e = check_legacy();
        if (e == cudaSuccess)
            e = check_unsafe();
        if (e == cudaSuccess)
            e = make_copy(&w, dst, src, bytes, kind);
        if (e != cudaSuccess)
            return e;
        bool to = is_device(dst), from = is_device(src);
        if (w.type == cudaGraphNodeTypeMemcpy && !from) {
            const unsigned char *b = (const unsigned char *)src;
            w.staged = std::make_shared<std::vector<unsigned char>>(b, b + bytes);
        }
        std::shared_ptr<Op> op;
        e = submit(&state().legacy, std::move(w), &op);
        return e == cudaSuccess && !to ? run_until(op) : e;
    });
}

cudaError_t cudaMemsetAsync(void *dst, int value, size_t bytes, cudaStream_t stream)
{
    return call(__func__, [&] {
        CUstream_st *s;
        Work w;
        cudaError_t e = find_stream(stream, &s);
        if (e == cudaSuccess)
            e = make_set(&w, dst, (unsigned)value, 1, bytes, 1, 0);
        return e == cudaSuccess ? submit(s, std::move(w)) : e;
    });
}

cudaError_t cudaMemset(void *dst, int value, size_t bytes)
{
    return call(__func__, [&] {
        Work w;
        cudaError_t e = check_legacy();
        if (e == cudaSuccess)
            e = check_unsafe();
        if (e == cudaSuccess)
            e = make_set(&w, dst, (unsigned)value, 1, bytes, 1, 0);
        return e == cudaSuccess ? submit(&state().legacy, std::move(w)) : e;
    });
}
}
