// SPDX-License-Identifier: Apache-2.0
//
// Which memory a thread may touch, and in which order threads may touch the same shared memory.
//
// Device memory: a sorted table of live allocations, behind a cache by page per running block. A
// grid never outlives an allocation that it uses (cudaFree waits), so the cache stays true for it.
//
// Races in shared memory: time counts the barriers that the block or one of its warps has passed.
// For every two bytes we keep who wrote last and when, who read last and when, and the last reader
// of any other warp. An access conflicts with an earlier one of another thread unless a barrier
// of the block, or of the warp that both are in, lies between. Two last readers are enough to
// compare a write with all earlier reads: whichever warp writes, one of them is of another warp,
// and no read of another warp is later. That several lanes of the last reader's warp have read
// since their barrier is one bit. Stores of single bytes are not compared.
#include "kernels/sim/internal.h"

#include <algorithm>
#include <mutex>
#include <shared_mutex>

namespace simt
{

namespace
{

std::shared_mutex lock;       // guards both
std::vector<Range> live;      // by address
std::vector<Range> freed(64); // the last ones, to name them
size_t n_freed;

// The first allocation that begins behind `at`.
std::vector<Range>::iterator behind(uintptr_t at)
{
    return std::upper_bound(live.begin(), live.end(), at,
                            [](uintptr_t a, const Range &r) { return a < r.begin; });
}

bool holds(const Range &r, uintptr_t at, size_t bytes)
{
    return at - r.begin < r.bytes && bytes <= r.bytes - (at - r.begin);
}

const char *name_of(Access kind)
{
    switch (kind) {
    case LOAD:
        return "load";
    case STORE:
        return "store";
    case ATOMIC:
        return "atomic add";
    case COPY:
        return "cp.async";
    default:
        return "ldmatrix";
    }
}

// Where an address lies that is in no live allocation.
void describe(uintptr_t at, char *text, size_t size)
{
    constexpr size_t near = 1 << 20;
    std::shared_lock<std::shared_mutex> hold(lock);
    for (size_t i = 1; i <= freed.size(); i++) {
        const Range &r = freed[(n_freed + freed.size() - i) % freed.size()];
        if (at - r.begin < r.bytes) {
            snprintf(text, size, "byte %zu of an allocation of %zu bytes that was freed",
                     at - r.begin, r.bytes);
            return;
        }
    }
    auto next = behind(at);
    if (next != live.begin() && at - next[-1].begin < next[-1].bytes + near)
        snprintf(text, size, "byte %zu of an allocation of %zu bytes", at - next[-1].begin,
                 next[-1].bytes);
    else if (next != live.end() && next->begin - at < near)
        snprintf(text, size, "%zu bytes before an allocation of %zu bytes", next->begin - at,
                 next->bytes);
    else
        snprintf(text, size, "0x%zx, which is no device memory", (size_t)at);
}

} // namespace

void memory_add(const void *begin, size_t bytes)
{
    std::lock_guard<std::shared_mutex> hold(lock);
    live.insert(behind((uintptr_t)begin), {(uintptr_t)begin, bytes});
    for (Range &r : freed) // addresses come again
        if (r.begin < (uintptr_t)begin + bytes && (uintptr_t)begin < r.begin + r.bytes)
            r = {};
}

void memory_remove(const void *begin)
{
    std::lock_guard<std::shared_mutex> hold(lock);
    auto next = behind((uintptr_t)begin);
    if (next == live.begin() || next[-1].begin != (uintptr_t)begin)
        return;
    freed[n_freed++ % freed.size()] = next[-1];
    live.erase(next - 1);
}

void global_begin(Block &b)
{
    std::fill(b.ranges, b.ranges + Block::n_ranges, Range{});
}

void check_memory(const void *p, uint32_t bytes, uint32_t align, Access kind)
{
    uintptr_t at = (uintptr_t)p;
    if (at % align)
        fault(cudaErrorMisalignedAddress, "%s of %u bytes at 0x%zx, which is not aligned to %u",
              name_of(kind), bytes, (size_t)at, align);
    Range &cached = block->ranges[at / 4096 % Block::n_ranges], found = {};
    if (holds(cached, at, bytes))
        return;
    {
        std::shared_lock<std::shared_mutex> hold(lock);
        auto next = behind(at);
        if (next != live.begin() && holds(next[-1], at, bytes))
            found = next[-1];
    }
    if (!found.bytes) {
        char where[160];
        describe(at, where, sizeof where);
        fault(cudaErrorIllegalAddress, "%s of %u bytes out of bounds, at %s", name_of(kind), bytes,
              where);
    }
    if (!block->requests)
        cached = found;
}

void global_access(const void *p, uint32_t bytes, uint32_t align, Access kind)
{
    if (block->requests)
        request(__builtin_return_address(0), p, bytes, kind, false);
    check_memory(p, bytes, align, kind);
}

void *shared_memory(size_t bytes)
{
    if (bytes > block->shared_bytes)
        fault(cudaErrorIllegalAddress,
              "RF_SHARED(%zu), but the launch asked for %zu bytes of shared memory", bytes,
              block->shared_bytes);
    return block->shared;
}

// ---- races -------------------------------------------------------------------------------------
// A stamp is time, "several lanes", thread: 20 + 1 + 10 bits, so that stamps compare as numbers.
namespace
{

typedef int32_t v4 __attribute__((vector_size(16), aligned(4), may_alias));
constexpr int32_t several = 1 << 10, thread_bits = several - 1, end_of_time = (1 << 20) - 1;
// cp.async under way.
constexpr int32_t pending = end_of_time << 11;

// Forgets everything but copies under way.
void restart(Block &b)
{
    Shadow &s = *b.shadow;
    for (size_t i = 0; i < Shadow::n; i++) {
        s.written[i] = s.written[i] >= pending ? s.written[i] : 0;
        s.read[i] = s.read_elsewhere[i] = 0;
    }
    s.now = s.block_time = 1;
    for (Warp &w : b.warps)
        w.time = 1;
}

[[noreturn]] void race(const Block &b, size_t granule, const char *did, int32_t stamp)
{
    uint32_t t = (uint32_t)stamp & thread_bits;
    uint3 tid = b.fibers[t].tid;
    fault(cudaErrorLaunchFailure,
          "race: byte %zu of shared memory, which thread (%u,%u,%u) %s with no barrier in between",
          granule * 2, tid.x, tid.y, tid.z, did);
}

// The access `what` meets a stamp of the time since the last barrier of the block.
void compare(const Block &b, size_t granule, Access kind)
{
    const Shadow &s = *b.shadow;
    int32_t warp = (int32_t)self->warp, time = b.warps[self->warp].time, floor = s.block_time << 11;
    // The whole warp reads a matrix: its own lane is another one too.
    int32_t me = kind == LOAD_MATRIX ? -1 : (int32_t)self->index;
    auto apart = [&](int32_t x) {
        int32_t by = x & thread_bits;
        return by >> 5 == warp && (x >> 11 < time || (by == me && !(x & several)));
    };
    int32_t w = s.written[granule];
    if (w >= pending)
        fault(cudaErrorLaunchFailure,
              "%s: byte %zu of shared memory is the destination of a cp.async that thread %d has "
              "not waited for",
              name_of(kind), granule * 2, w & thread_bits);
    if (w >= floor && !apart(w))
        race(b, granule, "has written", w);
    if (kind == LOAD || kind == LOAD_MATRIX)
        return;
    int32_t r = s.read[granule], e = s.read_elsewhere[granule];
    if (r >= floor && !apart(r))
        race(b, granule, "has read", r);
    if (e >= floor && (e & thread_bits) >> 5 != warp)
        race(b, granule, "has read", e);
}

bool any(v4 mask)
{
    return _mm_movemask_ps((__m128)mask) != 0;
}

inline v4 choose(v4 mask, v4 a, v4 b)
{
    return (mask & a) | (~mask & b);
}

inline void touch(const Block &b, size_t first, size_t n, Access kind)
{
    Shadow &s = *b.shadow;
    const Fiber &f = *self;
    int32_t floor = s.block_time << 11, warp_floor = b.warps[f.warp].time << 11;
    int32_t warp = (int32_t)f.warp, me = (int32_t)f.index, stamp = s.now << 11 | me;
    bool loads = kind == LOAD || kind == LOAD_MATRIX;
    for (size_t i = 0; i < n; i += 4) {
        v4 in = (v4){0, 1, 2, 3} < (int32_t)(n - i);
        v4 *written = (v4 *)&s.written[first + i], *read = (v4 *)&s.read[first + i];
        v4 *elsewhere = (v4 *)&s.read_elsewhere[first + i];
        v4 w = *written, r = *read;
        v4 recent_touch = loads ? w >= floor : (w >= floor) | (r >= floor);
        if (__builtin_expect(any(in & recent_touch), 0))
            for (size_t k = i; k < n && k < i + 4; k++)
                compare(b, first + k, kind);
        if (loads) {
            v4 same_warp = (r >> 5 & 31) == warp;
            v4 both = same_warp & (r >= warp_floor) & ((r & 0x7ff) != me);
            v4 mark = kind == LOAD_MATRIX ? both | several : both & several;
            *read = choose(in, stamp | (mark & several), r);
            *elsewhere = choose(in & ~same_warp, r, *elsewhere);
        } else {
            *written = choose(in, (v4){} + (kind == COPY ? pending | me : stamp), w);
        }
    }
}

} // namespace

Shadow *shadow_new()
{
    return new Shadow;
}

void shadow_clear(Block &b)
{
    std::fill(b.shadow->written, b.shadow->written + Shadow::n, 0);
    restart(b);
}

void shadow_begin(Block &b)
{
    Shadow &s = *b.shadow;
    if (s.now > end_of_time / 2)
        restart(b);
    s.block_time = ++s.now;
    for (Warp &w : b.warps)
        w.time = s.now;
}

int32_t shadow_tick(Block &b, const Warp *warp)
{
    Shadow &s = *b.shadow;
    if (++s.now == end_of_time)
        restart(b);
    if (!warp)
        s.block_time = s.now;
    return s.now;
}

void land_copy(const Copy &c)
{
    Shadow &s = *block->shadow;
    size_t first = (size_t)((unsigned char *)c.to - block->shared) / 2;
    std::fill_n(s.written + first, c.bytes / 2, s.now << 11 | (int32_t)self->index);
}

void check_shared(const void *p, uint32_t bytes, uint32_t align, Access kind)
{
    const Block &b = *block;
    size_t at = (size_t)((const unsigned char *)p - b.shared);
    if (__builtin_expect(at >= b.shared_bytes || bytes > b.shared_bytes - at, 0))
        fault(cudaErrorIllegalAddress,
              "%s of %u bytes out of bounds, at byte %td of %zu bytes of shared memory",
              name_of(kind), bytes, (ptrdiff_t)at, b.shared_bytes);
    if (__builtin_expect(at % align, 0))
        fault(cudaErrorMisalignedAddress,
              "%s of %u bytes at byte %zu of shared memory, which is not aligned to %u",
              name_of(kind), bytes, at, align);
    if (bytes > 1)
        touch(b, at / 2, bytes / 2, kind);
    else if (b.shadow->written[at / 2] >= pending)
        compare(b, at / 2, kind);
}

void shared_access(const void *p, uint32_t bytes, uint32_t align, Access kind)
{
    if (__builtin_expect(block->requests != nullptr, 0))
        request(__builtin_return_address(0), p, bytes, kind, true);
    check_shared(p, bytes, align, kind);
}

} // namespace simt
