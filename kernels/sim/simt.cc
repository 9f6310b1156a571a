// SPDX-License-Identifier: Apache-2.0
//
// Fibers, the order in which they run, barriers and faults. A fiber switch is 15 instructions of
// assembly (ucontext would cost a system call). Every fiber stack ends in a page that nobody may
// touch; stacks are kept for later launches.
//
// Orders of threads: who can run is one bit per thread in a place of its own, warp and lane, both
// counted backwards for the reversed orders; so every order is a search for a set bit.
#include "kernels/sim/internal.h"

#include <cstdarg>
#include <cstdlib>
#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace simt
{

RF_SIM_THREAD Block *block;
RF_SIM_THREAD Fiber *self;

namespace
{

constexpr size_t stack_bytes = 64 * 1024, page = 4096;

} // namespace

// ---- switching ---------------------------------------------------------------------------------
extern "C" void rf_simt_switch(void **save, void *to);
__asm__(".text\n.globl rf_simt_switch\n.hidden rf_simt_switch\n.type rf_simt_switch,@function\n"
        "rf_simt_switch:\n"
        "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
        "mov %rsp,(%rdi)\nmov %rsi,%rsp\n"
        "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n");

namespace
{

#ifdef __SANITIZE_ADDRESS__
__thread const void *home_bottom;
__thread size_t home_bytes;
void before_switch(void **save, const Fiber *to)
{
    __sanitizer_start_switch_fiber(save, to ? to->stack : home_bottom,
                                   to ? stack_bytes : home_bytes);
}
void after_switch(void *saved, bool from_home)
{
    __sanitizer_finish_switch_fiber(saved, from_home ? &home_bottom : nullptr,
                                    from_home ? &home_bytes : nullptr);
}
#else
void before_switch(void **, const Fiber *) {}
void after_switch(void *, bool) {}
#endif
__thread bool left_home; // the last switch was the scheduler's

void switch_to(Fiber *f)
{
    Fiber *me = self;
    if (f == me)
        return;
    self = f;
    left_home = false;
    before_switch(&me->asan_stack, f);
    rf_simt_switch(&me->sp, f->sp);
    after_switch(me->asan_stack, left_home);
}

[[noreturn]] void leave_for_good()
{
    Fiber *me = self;
    before_switch(nullptr, nullptr);
    rf_simt_switch(&me->sp, block->scheduler_sp);
    abort(); // never resumed
}

// ---- order -------------------------------------------------------------------------------------
// The first set bit at or after `from`, round the end; the mask is not 0.
uint32_t next_bit(uint32_t mask, uint32_t from)
{
    from &= 31;
    uint32_t turned = mask >> from | mask << (-from & 31);
    return (from + (uint32_t)__builtin_ctz(turned)) & 31;
}

uint32_t random32(Block &b)
{
    b.random = b.random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(b.random >> 33);
}

void make_ready(Block &b, uint32_t warp, uint32_t lanes)
{
    if (!lanes)
        return;
    uint32_t flip = b.schedule_flip;
    if (flip) { // lane l is bit 31 - l
        uint32_t backwards = 0;
        for (; lanes; lanes &= lanes - 1)
            backwards |= 0x80000000u >> __builtin_ctz(lanes);
        lanes = backwards;
    }
    b.warps[warp ^ flip].ready |= lanes;
    b.ready_warps |= 1u << (warp ^ flip);
}

// Who runs after this thread; NULL: nobody can.
Fiber *pick(Block &b, uint32_t warp, uint32_t lane)
{
    if (!b.ready_warps)
        return nullptr;
    uint32_t flip = b.schedule_flip, w = warp ^ flip, l = lane ^ flip;
    uint32_t own = b.warps[w].ready, later = own & (~0u << l << 1);
    if (b.schedule_order == RANDOM) {
        w = next_bit(b.ready_warps, random32(b));
        l = next_bit(b.warps[w].ready, random32(b));
    } else if (later) {
        l = (uint32_t)__builtin_ctz(later);
    } else if (b.schedule_order == WARP && own) {
        l = (uint32_t)__builtin_ctz(own);
    } else {
        w = next_bit(b.ready_warps, w + 1);
        l = (uint32_t)__builtin_ctz(b.warps[w].ready);
    }
    return &b.fibers[(w ^ flip) * 32 + (l ^ flip)];
}

// This thread waits: it is no longer ready, another one runs.
void wait(Block &b)
{
    Fiber *me = self;
    uint32_t flip = b.schedule_flip;
    Warp &place = b.warps[me->warp ^ flip];
    place.ready &= ~(1u << (me->lane ^ flip));
    if (!place.ready)
        b.ready_warps &= ~(1u << (me->warp ^ flip));
    Fiber *f = pick(b, me->warp, me->lane);
    if (!f)
        leave_for_good(); // deadlock, or the last one is done
    switch_to(f);
}

// The last one to arrive goes on, unless chance has it otherwise.
void go_on(Block &b)
{
    if (b.schedule_order == RANDOM)
        switch_to(pick(b, self->warp, self->lane));
}

void release_block(Block &b)
{
    b.n_arrived = 0;
    int32_t now = shadow_tick(b, nullptr);
    for (uint32_t w = 0; w < b.n_warps; w++) {
        make_ready(b, w, b.warps[w].at_block);
        b.warps[w].at_block = 0;
        b.warps[w].time = now;
    }
}

void record(Block &b, const Fiber *f, cudaError_t error, const char *format, va_list args)
{
    int n = snprintf(b.fault.text, sizeof b.fault.text,
                     f ? "kernel %s, block (%u,%u,%u), thread (%u,%u,%u): "
                       : "kernel %s, block (%u,%u,%u): ",
                     b.kernel->name, b.index.x, b.index.y, b.index.z, f ? f->tid.x : 0,
                     f ? f->tid.y : 0, f ? f->tid.z : 0);
    vsnprintf(b.fault.text + n, sizeof b.fault.text - (size_t)n, format, args);
    b.fault.error = error;
    const char *stop = getenv("REFOLD_SIM_ABORT");
    if (stop && *stop == '1') {
        fprintf(stderr, "sim: %s\n", b.fault.text);
        abort();
    }
}

__attribute__((format(printf, 2, 3))) void block_fault(Block &b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    record(b, nullptr, cudaErrorLaunchFailure, format, args);
    va_end(args);
}

void enter_fiber()
{
    after_switch(nullptr, left_home);
    block->kernel->call(block->params);
    Block &b = *block;
    Fiber &f = *self;
    if (!f.copies.empty())
        fault(cudaErrorLaunchFailure,
              "the thread ends with %zu cp.async under way that no wait covers", f.copies.size());
    b.warps[f.warp].exited |= 1u << f.lane;
    b.n_exited++;
    if (b.n_arrived && b.n_arrived + b.n_exited == b.n_threads)
        release_block(b);
    wait(b);
    abort(); // never resumed
}

// "0-31,64": threads by number in the block. Fixed size, because a fault leaves its stack as it is.
struct List {
    char text[120];
};
template <class F> List list(const Block &b, F lanes_of)
{
    List l = {};
    size_t n = 0;
    auto in = [&](uint32_t i) {
        return i < b.n_threads && lanes_of(b.warps[i / 32]) >> i % 32 & 1;
    };
    for (uint32_t i = 0, end; i < b.n_threads; i = end + 1) {
        for (end = i; in(end); end++)
            ;
        if (end == i)
            continue;
        if (n + 16 > sizeof l.text) {
            snprintf(l.text + n, sizeof l.text - n, ",...");
            break;
        }
        n += (size_t)snprintf(l.text + n, sizeof l.text - n, end - i > 1 ? "%s%u-%u" : "%s%u",
                              n ? "," : "", i, end - 1);
    }
    return l;
}

void deadlock(Block &b)
{
    List at_block = list(b, [](const Warp &w) { return w.at_block; });
    List at_warp = list(b, [](const Warp &w) { return w.at_warp; });
    List exited = list(b, [](const Warp &w) { return w.exited; });
    auto or_none = [](const List &l) { return l.text[0] ? l.text : "none"; };
    block_fault(b, "deadlock: threads at __syncthreads: %s; at a warp function: %s; returned: %s",
                or_none(at_block), or_none(at_warp), or_none(exited));
}

} // namespace

void run_block(Block &b)
{
    b.n_arrived = b.n_exited = b.ready_warps = 0;
    b.meeting = nullptr;
    memset(b.shared, 0xff, b.shared_bytes); // NaN
    for (Warp &w : b.warps)
        w.ready = w.at_block = w.at_warp = w.exited = 0;
    shadow_begin(b);
    for (uint32_t w = 0; w < b.n_warps; w++)
        make_ready(b, w, b.warps[w].all);
    for (uint32_t i = 0; i < b.n_threads; i++) {
        Fiber &f = b.fibers[i];
        f.parity = 0;
        f.asan_stack = nullptr;
        f.copies.clear();
        f.group_end.clear();
        // Stacks of all threads at the same offset would share a few cache sets.
        char *end = f.stack + stack_bytes - i % 16 * 192;
        void **top = (void **)(end - 24); // rsp = 8 mod 16 on entry
        top[-1] = (void *)enter_fiber;
        f.sp = top - 7;
    }
    // The first in order is the one after the last.
    self = pick(b, b.schedule_flip ? 0 : 31, b.schedule_flip ? 0 : 31);
    left_home = true;
    void *home = nullptr;
    before_switch(&home, self);
    rf_simt_switch(&b.scheduler_sp, self->sp);
    after_switch(home, false);
    if (!b.fault.error && b.n_exited != b.n_threads)
        deadlock(b);
    requests_end_block(b);
}

void fault(cudaError_t error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    record(*block, self, error, format, args);
    va_end(args);
    leave_for_good();
}

// ---- barriers ----------------------------------------------------------------------------------
void block_wait()
{
    Block &b = *block;
    const void *site = __builtin_return_address(0);
    if (b.n_arrived && b.meeting != site)
        fault(cudaErrorLaunchFailure,
              "__syncthreads at another place than the one where threads %s wait",
              list(b, [](const Warp &w) { return w.at_block; }).text);
    b.meeting = site;
    if (b.requests)
        requests_barrier(b, *self);
    if (++b.n_arrived + b.n_exited == b.n_threads) {
        release_block(b);
        go_on(b);
        return;
    }
    b.warps[self->warp].at_block |= 1u << self->lane;
    wait(b);
}

const Slots &meet_at(const void *site, const char *function, unsigned mask, const void *value,
                     size_t bytes)
{
    Block &b = *block;
    Fiber &f = *self;
    Warp &w = b.warps[f.warp];
    uint32_t p = f.parity;
    f.parity ^= 1;
    if (mask != 0xffffffffu)
        fault(cudaErrorLaunchFailure, "%s with mask 0x%x: all 32 lanes must take part", function,
              mask);
    if (w.all != 0xffffffffu)
        fault(cudaErrorLaunchFailure, "%s in a warp of %d threads", function,
              __builtin_popcount(w.all));
    if (w.at_warp && w.meeting != site)
        fault(cudaErrorLaunchFailure, "%s at another place than the %s where lanes 0x%x wait",
              function, w.function, w.at_warp);
    w.meeting = site;
    w.function = function;
    if (bytes)
        memcpy(w.slot[p][f.lane], value, bytes);
    w.at_warp |= 1u << f.lane;
    if (w.at_warp != w.all) {
        wait(b);
    } else {
        uint32_t others = w.at_warp & ~(1u << f.lane);
        w.at_warp = 0;
        if (!bytes) // no other warp function orders memory
            w.time = shadow_tick(b, &w);
        if (b.requests)
            requests_meeting(b, function);
        make_ready(b, f.warp, others);
        go_on(b);
    }
    return w.slot[p];
}

// ---- blocks ------------------------------------------------------------------------------------
std::unique_ptr<Block> new_block()
{
    auto b = std::make_unique<Block>();
    size_t bytes = max_threads * stack_bytes;
    b->stacks = (char *)mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    b->fibers.resize(max_threads);
    b->warps.resize(max_threads / 32);
    for (uint32_t i = 0; i < max_threads; i++) {
        Fiber &f = b->fibers[i];
        f.index = i;
        f.lane = i % 32;
        f.warp = i / 32;
        f.stack = b->stacks + i * stack_bytes;
        mprotect(f.stack, page, PROT_NONE);
    }
    b->shadow = shadow_new();
    // As a card aligns it and not more.
    b->shared = (unsigned char *)aligned_alloc(128, max_shared + 256) + 16;
    return b;
}

Block::~Block()
{
    munmap(stacks, max_threads * stack_bytes);
    free(shared - 16);
    delete shadow;
}

void clean_up(Block &b)
{
    shadow_clear(b);
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(b.stacks, max_threads * stack_bytes);
#endif
}

} // namespace simt
