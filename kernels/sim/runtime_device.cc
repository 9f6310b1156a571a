// SPDX-License-Identifier: Apache-2.0
//
// The device and its errors. A failed call leaves its code with the thread that made it; errors
// after which CUDA's context is of no use stick, and every later call returns them.
#include "kernels/sim/runtime.h"

#include "kernels/sim/sim.h"

#include <algorithm>
#include <climits>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace sim
{

std::mutex lock;

namespace
{

__thread cudaError_t last_error;
State *current; // never freed: handles may be used at exit

constexpr struct {
    cudaError_t code;
    const char *name, *text;
} errors[] = {
#define RF_SIM_ERROR(name, text) {name, #name, text},
#include "kernels/sim/errors.def"
#undef RF_SIM_ERROR
};

// "5" and "random:5" are 5; the other words choose among orders of threads, which is not ours.
uint64_t schedule_of_environment()
{
    const char *text = getenv("REFOLD_SIM_SCHED");
    if (text && !strncmp(text, "random:", 7))
        text += 7;
    return text ? strtoull(text, nullptr, 10) : 0;
}

size_t memory_of_environment()
{
    const char *text = getenv("REFOLD_SIM_MEMORY");
    return text && *text ? strtoull(text, nullptr, 0) : 8ull << 30;
}

bool sticks(cudaError_t e)
{
    switch (e) {
    case cudaErrorECCUncorrectable:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorContextIsDestroyed:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
        return true;
    default:
        return false;
    }
}

void count(std::string *text, size_t n, const char *what)
{
    if (!n)
        return;
    *text += (text->empty() ? "" : ", ") + std::to_string(n) + " " + what + (n > 1 ? "s" : "");
}

} // namespace

State::State()
    : schedule(schedule_of_environment()), random(schedule), memory_limit(memory_of_environment())
{
    legacy.queue = std::make_shared<Queue>();
    legacy.queue->legacy = true;
    queues.push_back(legacy.queue);
}

State &state()
{
    if (!current)
        current = new State;
    return *current;
}

void undefined(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("sim: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    abort();
}

bool is_ordered(const char *fn, cudaError_t *out)
{
    auto &orders = state().orders;
    auto found = orders.find(fn);
    if (found == orders.end() || --found->second.first)
        return false;
    *out = found->second.second;
    orders.erase(found);
    return true;
}

cudaError_t set_sticky(cudaError_t e)
{
    if (state().sticky == cudaSuccess)
        state().sticky = e;
    drop_all();
    return state().sticky;
}

cudaError_t enter(const char *fn)
{
    if (state().sticky != cudaSuccess)
        return state().sticky;
    cudaError_t e;
    if (!is_ordered(fn, &e) && !is_ordered("*", &e))
        return cudaSuccess;
    return sticks(e) ? set_sticky(e) : e;
}

cudaError_t leave(cudaError_t e)
{
    if (e != cudaSuccess)
        last_error = e;
    return e;
}

} // namespace sim

using namespace sim;

extern "C" {

int rf_sim_fail(const char *fn, int kth, cudaError_t e)
{
    std::lock_guard<std::mutex> hold(lock);
    bool waited = state().orders.erase(fn);
    if (kth > 0)
        state().orders[fn] = {kth, e};
    return waited;
}

void rf_sim_reset()
{
    std::lock_guard<std::mutex> hold(lock);
    drop_all();
    free_all();
    delete current;
    current = nullptr;
    last_error = cudaSuccess;
}

const char *rf_sim_leaks()
{
    static __thread char kept[160];
    std::lock_guard<std::mutex> hold(lock);
    std::string text;
    size_t n, bytes = live_bytes(&n);
    count(&text, n, "allocation");
    if (n)
        text += " (" + std::to_string(bytes) + " bytes)";
    count(&text, state().streams.size(), "stream");
    count(&text, state().events.size(), "event");
    count(&text, state().graphs.size(), "graph");
    count(&text, state().execs.size(), "instantiated graph");
    count(&text, state().captures.size(), "capture");
    snprintf(kept, sizeof kept, "%s", text.c_str());
    return kept;
}

// Questions that no error of a context keeps from an answer.
cudaError_t cudaGetLastError()
{
    std::lock_guard<std::mutex> hold(lock);
    cudaError_t e = state().sticky != cudaSuccess ? state().sticky : last_error;
    last_error = cudaSuccess;
    return e;
}
cudaError_t cudaPeekAtLastError()
{
    std::lock_guard<std::mutex> hold(lock);
    return state().sticky != cudaSuccess ? state().sticky : last_error;
}
const char *cudaGetErrorName(cudaError_t e)
{
    for (auto &known : errors)
        if (known.code == e)
            return known.name;
    return "unrecognized error code";
}
const char *cudaGetErrorString(cudaError_t e)
{
    for (auto &known : errors)
        if (known.code == e)
            return known.text;
    return "unrecognized error code";
}
cudaError_t cudaDriverGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *n)
{
    return call(__func__, [&] {
        *n = 1;
        return cudaSuccess;
    });
}
cudaError_t cudaSetDevice(int device)
{
    return call(__func__, [&] { return device ? cudaErrorInvalidDevice : cudaSuccess; });
}
cudaError_t cudaGetDevice(int *device)
{
    return call(__func__, [&] {
        *device = 0;
        return cudaSuccess;
    });
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device)
{
    return call(__func__, [&] {
        if (device)
            return cudaErrorInvalidDevice;
        *p = {};
        snprintf(p->name, sizeof p->name, "emulated GPU");
        p->major = 9;
        p->totalGlobalMem = state().memory_limit;
        p->multiProcessorCount = 2;
        p->maxThreadsPerMultiProcessor = 2048;
        p->maxThreadsPerBlock = 1024;
        p->warpSize = 32;
        p->regsPerBlock = 65536;
        p->sharedMemPerBlock = 48 * 1024;
        p->sharedMemPerBlockOptin = 227 * 1024;
        p->sharedMemPerMultiprocessor = 228 * 1024;
        p->reservedSharedMemPerBlock = 1024;
        p->regsPerMultiprocessor = 65536;
        p->maxBlocksPerMultiProcessor = 32;
        const int grid[] = {INT_MAX, 65535, 65535}, block[] = {1024, 1024, 64};
        std::copy(grid, grid + 3, p->maxGridSize);
        std::copy(block, block + 3, p->maxThreadsDim);
        return cudaSuccess;
    });
}
// Only questions that have an answer without a clock or a cache.
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr which, int device)
{
    return call(__func__, [&] {
        if (device)
            return cudaErrorInvalidDevice;
        if (which != cudaDevAttrCooperativeLaunch && which != cudaDevAttrComputeMode)
            return cudaErrorInvalidValue;
        *value = 0; // none; the default mode
        return cudaSuccess;
    });
}
cudaError_t cudaDeviceSynchronize()
{
    return call(__func__, [&] {
        cudaError_t e = check_unsafe();
        return e == cudaSuccess ? run_all() : e;
    });
}
cudaError_t cudaFuncSetAttribute(const void *fn, cudaFuncAttribute attribute, int value)
{
    return call(__func__, [&] {
        if (!fn)
            return cudaErrorInvalidDeviceFunction;
        if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 ||
            value > 227 * 1024)
            return cudaErrorInvalidValue;
        state().max_shared[fn] = value;
        return cudaSuccess;
    });
}
}
