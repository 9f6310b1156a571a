// SPDX-License-Identifier: Apache-2.0
//
// Fibers, the scheduler of a block, and the warp operations. A fiber switch is 15 instructions of
// assembly (ucontext would cost a system call).
#include <cuda_runtime_api.h>

#include "kernels/sim/simt.h"

#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>
#include <thread>

namespace simt
{

__thread Block *block;
__thread Fiber *self;

namespace
{

constexpr size_t stack_bytes = 64 * 1024;
__thread const char *kernel_name;

} // namespace

extern "C" void rf_simt_switch(void **save, void *to);
__asm__(".text\n.globl rf_simt_switch\n.hidden rf_simt_switch\n.type rf_simt_switch,@function\n"
        "rf_simt_switch:\n"
        "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
        "mov %rsp,(%rdi)\nmov %rsi,%rsp\n"
        "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n");

void fault(const char *what)
{
    fprintf(stderr, "sim: kernel %s, block (%u,%u,%u), thread (%u,%u,%u): %s\n", kernel_name,
            block->index.x, block->index.y, block->index.z, self->tid.x, self->tid.y, self->tid.z,
            what);
    abort();
}

namespace
{

// Hands over to the next ready fiber, else to whoever started the block.
void next()
{
    Fiber *me = self;
    size_t n = block->fibers.size(), i = (size_t)(me - block->fibers.data());
    for (size_t k = 1; k <= n; k++) {
        Fiber *f = &block->fibers[(i + k) % n];
        if (f->state != READY)
            continue;
        if (f != me) {
            self = f;
            rf_simt_switch(&me->sp, f->sp);
        }
        return;
    }
    rf_simt_switch(&me->sp, block->scheduler_sp);
}

void release_block()
{
    block->arrived = 0;
    for (Fiber &f : block->fibers)
        if (f.state == AT_BLOCK)
            f.state = READY;
}

void release_warp(uint32_t w)
{
    block->warps[w].arrived = 0;
    for (size_t i = w * 32; i < w * 32 + block->warps[w].size; i++)
        if (block->fibers[i].state == AT_WARP)
            block->fibers[i].state = READY;
}

void enter_fiber()
{
    block->kernel->call(block->params);
    Warp &w = block->warps[self->warp];
    self->state = DONE;
    w.done++;
    block->done++;
    if (w.arrived && w.arrived + w.done == w.size)
        release_warp(self->warp);
    if (block->arrived && block->arrived + block->done == block->fibers.size())
        release_block();
    next();
    abort(); // a finished fiber is never resumed
}

void run_block()
{
    block->done = block->arrived = 0;
    memset(block->shared, 0xff, block->shared_bytes); // NaN
    for (Warp &w : block->warps)
        w.arrived = w.done = 0;
    for (Fiber &f : block->fibers) {
        f.state = READY;
        f.parity = 0;
        f.copies.clear();
        f.group_end.clear();
        void **top = (void **)(f.stack + stack_bytes - 24); // rsp = 8 mod 16 on entry
        top[-1] = (void *)enter_fiber;
        f.sp = top - 7;
    }
    self = &block->fibers[0];
    rf_simt_switch(&block->scheduler_sp, self->sp);
    if (block->done != block->fibers.size())
        fault("deadlock: threads are left at a barrier that others never reach");
}

} // namespace

void block_wait()
{
    if (++block->arrived + block->done == block->fibers.size()) {
        release_block();
        return;
    }
    self->state = AT_BLOCK;
    next();
}

void warp_wait()
{
    Warp &w = block->warps[self->warp];
    if (++w.arrived + w.done == w.size) {
        release_warp(self->warp);
        return;
    }
    self->state = AT_WARP;
    next();
}

void run(const Kernel *kernel, const char *name, dim3 grid, dim3 block_dim, size_t shared_bytes,
         const void *params)
{
    uint64_t n_blocks = (uint64_t)grid.x * grid.y * grid.z;
    std::atomic<uint64_t> taken{0};
    auto work = [&] {
        Block b = {};
        size_t n = (size_t)block_dim.x * block_dim.y * block_dim.z;
        size_t bytes = (shared_bytes + 127) / 128 * 128 + 128;
        b.block_dim = block_dim;
        b.grid_dim = grid;
        b.kernel = kernel;
        b.params = params;
        b.shared = (unsigned char *)aligned_alloc(128, bytes);
        b.shared_bytes = shared_bytes;
        b.fibers.resize(n);
        b.warps.resize((n + 31) / 32);
        char *stacks = (char *)mmap(nullptr, n * stack_bytes, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        for (uint32_t i = 0; i < n; i++) {
            Fiber &f = b.fibers[i];
            f.tid = {i % block_dim.x, i / block_dim.x % block_dim.y, i / block_dim.x / block_dim.y};
            f.lane = i % 32;
            f.warp = i / 32;
            f.stack = stacks + i * stack_bytes;
            b.warps[f.warp].size++;
        }
        block = &b;
        kernel_name = name;
        for (uint64_t i; (i = taken++) < n_blocks;) {
            b.index = {(unsigned)(i % grid.x), (unsigned)(i / grid.x % grid.y),
                       (unsigned)(i / grid.x / grid.y)};
            run_block();
        }
        block = nullptr;
        munmap(stacks, n * stack_bytes);
        free(b.shared);
    };
    std::vector<std::thread> helpers;
    for (unsigned i = 1; i < std::thread::hardware_concurrency() && i < n_blocks; i++)
        helpers.emplace_back(work);
    work();
    for (std::thread &t : helpers)
        t.join();
}

void ldmatrix_x4(uint32_t (&r)[4], const void *row, bool transposed)
{
    Warp &w = block->warps[self->warp];
    uint32_t p = self->parity;
    self->parity ^= 1;
    if ((uintptr_t)row % 16)
        fault("ldmatrix: row address is not 16-byte aligned");
    memcpy(w.slot[p][self->lane], &row, sizeof row);
    warp_wait();
    for (uint32_t i = 0; i < 4; i++) {
        const uint16_t *rows[8];
        for (uint32_t k = 0; k < 8; k++)
            memcpy(&rows[k], w.slot[p][8 * i + k], sizeof rows[k]);
        uint32_t g = self->lane / 4, t = self->lane % 4 * 2;
        uint32_t low = transposed ? rows[t][g] : rows[g][t];
        uint32_t high = transposed ? rows[t + 1][g] : rows[g][t + 1];
        r[i] = low | high << 16;
    }
}

// Slot of a lane: its 8 elements of a and 4 of b. In the quad of group g, lane k holds the
// k-columns 2k, 2k+1, 2k+8, 2k+9.
void mma_16816(float (&d)[4], const float (&a)[8], const float (&b)[4])
{
    Warp &w = block->warps[self->warp];
    uint32_t p = self->parity;
    self->parity ^= 1;
    memcpy(w.slot[p][self->lane], a, sizeof a);
    memcpy(w.slot[p][self->lane] + sizeof a, b, sizeof b);
    warp_wait();
    auto slot = [&](uint32_t lane) { return (const float *)w.slot[p][lane]; };
    uint32_t g = self->lane / 4, t = self->lane % 4;
    for (uint32_t k = 0; k < 4; k++) {
        const float *A = slot(4 * g + k);
        const float *B0 = slot(4 * (2 * t) + k) + 8, *B1 = slot(4 * (2 * t + 1) + k) + 8;
        for (int e = 0; e < 2; e++) {
            d[0] += A[e] * B0[e] + A[4 + e] * B0[2 + e];
            d[1] += A[e] * B1[e] + A[4 + e] * B1[2 + e];
            d[2] += A[2 + e] * B0[e] + A[6 + e] * B0[2 + e];
            d[3] += A[2 + e] * B1[e] + A[6 + e] * B1[2 + e];
        }
    }
}

void cp_async(void *shared, const void *global, int bytes, bool valid)
{
    if (((uintptr_t)shared | (uintptr_t)global) % (size_t)bytes)
        fault("cp.async: address is not aligned to its size");
    self->copies.push_back({shared, global, (uint8_t)bytes, valid});
    memset(shared, 0xff, (size_t)bytes);
}

void cp_commit()
{
    self->group_end.push_back(self->copies.size());
}

// Copies land here and not before, so that a missing wait reads NaN.
void cp_wait(int n)
{
    Fiber &f = *self;
    if (f.group_end.size() <= (size_t)n)
        return;
    size_t groups = f.group_end.size() - (size_t)n, end = f.group_end[groups - 1];
    for (size_t i = 0; i < end; i++)
        if (f.copies[i].valid)
            memcpy(f.copies[i].to, f.copies[i].from, f.copies[i].bytes);
        else
            memset(f.copies[i].to, 0, f.copies[i].bytes);
    f.copies.erase(f.copies.begin(), f.copies.begin() + (ptrdiff_t)end);
    f.group_end.erase(f.group_end.begin(), f.group_end.begin() + (ptrdiff_t)groups);
    for (size_t &e : f.group_end)
        e -= end;
}

} // namespace simt

unsigned __ballot_sync(unsigned mask, int predicate)
{
    using namespace simt;
    if (mask != 0xffffffffu)
        fault("warp function with a mask that is not full");
    Warp &w = block->warps[self->warp];
    uint32_t p = self->parity;
    self->parity ^= 1;
    w.slot[p][self->lane][0] = predicate != 0;
    warp_wait();
    unsigned r = 0;
    for (uint32_t i = 0; i < w.size; i++)
        r |= (unsigned)w.slot[p][i][0] << i;
    return r;
}

float rf_atomic_add(float *p, float v)
{
    uint32_t *bits = (uint32_t *)p, old = __atomic_load_n(bits, __ATOMIC_RELAXED), sum;
    float f;
    do {
        memcpy(&f, &old, 4);
        float s = f + v;
        memcpy(&sum, &s, 4);
    } while (
        !__atomic_compare_exchange_n(bits, &old, sum, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return f;
}
