// SPDX-License-Identifier: Apache-2.0
//
// Device memory: pages of one reserved range that nobody can touch unless work is running
// (Access), so host code that follows a device pointer crashes. An allocation lies between guard
// zones, starts as 0xff (NaN), is aligned to 256 bytes and not more, and its addresses are not
// given out again before the whole range has been; freed pages stay out of reach even for work.
#include "kernels/sim/runtime.h"

#include <sys/mman.h>

namespace sim
{
namespace
{

constexpr size_t page = 4096, guard = 256, reserve = 64ull << 30;
constexpr unsigned char guard_byte = 0xa5;

struct Allocation {
    size_t bytes;
    uintptr_t begin, end; // its pages
};
// By the address that the program knows.
std::map<uintptr_t, Allocation> live;
uintptr_t base, next;
size_t used;
int n_access;
bool guards_unchecked;

size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

void protect(uintptr_t begin, uintptr_t end, int protection)
{
    if (begin < end && mprotect((void *)begin, end - begin, protection))
        undefined("mprotect of %zu bytes: %m", end - begin);
}

// Neighbours in one call.
void protect_live(int protection)
{
    uintptr_t begin = 0, end = 0;
    for (auto &a : live) {
        if (a.second.begin != end) {
            protect(begin, end, protection);
            begin = a.second.begin;
        }
        end = a.second.end;
    }
    protect(begin, end, protection);
}

// The first gap from `next` on, else from the start; 0: none.
uintptr_t place(size_t bytes)
{
    if (!base) {
        void *p =
            mmap(nullptr, reserve, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
            undefined("no address range of %zu bytes: %m", reserve);
        base = next = (uintptr_t)p;
    }
    for (uintptr_t from : {next, base}) {
        uintptr_t at = from;
        for (auto a = live.lower_bound(from); a != live.end(); ++a) {
            if (a->second.begin >= at + bytes)
                break;
            at = a->second.end;
        }
        if (at + bytes <= base + reserve) {
            next = at + bytes;
            return at;
        }
    }
    return 0;
}

cudaError_t allocate(void **out, size_t bytes)
{
    *out = nullptr;
    if (!bytes)
        return cudaSuccess;
    State &s = state();
    if (bytes > s.memory_limit || round_up(bytes, guard) > s.memory_limit - used)
        return cudaErrorMemoryAllocation;
    size_t span = round_up(guard + bytes + guard, page);
    uintptr_t begin = place(span);
    if (!begin)
        return cudaErrorMemoryAllocation;
    protect(begin, begin + span, PROT_READ | PROT_WRITE);
    memset((void *)begin, guard_byte, guard);
    memset((void *)(begin + guard), 0xff, bytes);
    memset((void *)(begin + guard + bytes), guard_byte, span - guard - bytes);
    if (!n_access)
        protect(begin, begin + span, PROT_NONE);
    live[begin + guard] = {bytes, begin, begin + span};
    used += round_up(bytes, guard);
    *out = (void *)(begin + guard);
    simt::memory_add(*out, bytes);
    return cudaSuccess;
}

void check_guard(uintptr_t at, uintptr_t begin, uintptr_t end, const Allocation &a)
{
    for (uintptr_t p = begin; p < end; p++)
        if (*(const unsigned char *)p != guard_byte)
            undefined("write out of bounds: byte %td of an allocation of %zu bytes",
                      (ptrdiff_t)(p - at), a.bytes);
}

void release(std::map<uintptr_t, Allocation>::iterator found)
{
    const Allocation &a = found->second;
    simt::memory_remove((void *)found->first);
    protect(a.begin, a.end, PROT_NONE);
    madvise((void *)a.begin, a.end - a.begin, MADV_DONTNEED);
    used -= round_up(a.bytes, guard);
    live.erase(found);
}

} // namespace

Access::Access()
{
    if (!n_access++)
        protect_live(PROT_READ | PROT_WRITE);
}
Access::~Access()
{
    if (!--n_access)
        protect_live(PROT_NONE);
}

bool is_device(const void *p)
{
    return base && (uintptr_t)p - base < reserve;
}

bool is_live(const void *p, size_t bytes)
{
    auto a = live.upper_bound((uintptr_t)p);
    if (a == live.begin())
        return false;
    --a;
    size_t offset = (uintptr_t)p - a->first;
    return offset < a->second.bytes && bytes <= a->second.bytes - offset;
}

void kernels_ran()
{
    guards_unchecked = true;
}

void check_guards()
{
    if (!guards_unchecked)
        return;
    guards_unchecked = false;
    Access access;
    for (auto &entry : live) {
        const Allocation &a = entry.second;
        check_guard(entry.first, a.begin, entry.first, a);
        check_guard(entry.first, entry.first + a.bytes, a.end, a);
    }
}

void free_all()
{
    while (!live.empty())
        release(live.begin());
}

size_t live_bytes(size_t *n)
{
    size_t bytes = 0;
    for (auto &a : live)
        bytes += a.second.bytes;
    *n = live.size();
    return bytes;
}

} // namespace sim

using namespace sim;

extern "C" {

cudaError_t cudaMalloc(void **out, size_t bytes)
{
    return call(__func__, [&] {
        cudaError_t e = check_unsafe();
        return e == cudaSuccess ? allocate(out, bytes) : e;
    });
}

// Waits for the whole device, as CUDA's does.
cudaError_t cudaFree(void *p)
{
    return call(__func__, [&] {
        if (!p)
            return cudaSuccess;
        cudaError_t e = check_unsafe();
        if (e != cudaSuccess || (e = run_all()) != cudaSuccess)
            return e;
        auto found = live.find((uintptr_t)p);
        if (found == live.end())
            return cudaErrorInvalidValue;
        release(found);
        return cudaSuccess;
    });
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *all)
{
    return call(__func__, [&] {
        *all = state().memory_limit;
        *free_bytes = *all - used;
        return cudaSuccess;
    });
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *a, const void *p)
{
    return call(__func__, [&] {
        if (is_device(p) && !is_live(p, 1))
            return cudaErrorInvalidValue;
        *a = {};
        a->type = is_device(p) ? cudaMemoryTypeDevice : cudaMemoryTypeUnregistered;
        a->device = is_device(p) ? 0 : cudaInvalidDeviceId;
        a->devicePointer = is_device(p) ? (void *)p : nullptr;
        a->hostPointer = is_device(p) ? nullptr : (void *)p;
        return cudaSuccess;
    });
}
}
