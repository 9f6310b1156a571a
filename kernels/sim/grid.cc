// SPDX-License-Identifier: Apache-2.0
//
// Launching: schedules, the walk through the blocks of a grid, one OS thread per core beside each
// other, and what came of it. Blocks (with their stacks) are kept for later launches.
#include "kernels/sim/internal.h"

#include <atomic>
#include <cstdarg>
#include <cstdlib>
#include <mutex>
#include <thread>

namespace simt
{

const std::vector<const char *> schedules = {"ring", "reversed", "warp", "warp-reversed",
                                             "random:1"};

namespace
{

struct Schedule {
    Order order = RING;
    uint32_t flip = 0; // 31: backwards
    uint64_t seed = 0;
};

bool parse_schedule(const char *text, Schedule *out)
{
    Schedule s;
    std::string name = text;
    char *end = nullptr;
    bool seeded = name.compare(0, 7, "random:") == 0;
    if (name == "reversed" || name == "warp-reversed")
        s.flip = 31;
    if (name == "warp" || name == "warp-reversed") {
        s.order = WARP;
    } else if (name != "ring" && name != "reversed") {
        const char *digits = text + (seeded ? 7 : 0);
        s.seed = strtoull(digits, &end, 10);
        if (*digits < '0' || *digits > '9' || *end)
            return false;
        s.order = seeded || s.seed ? RANDOM : RING;
    }
    *out = s;
    return true;
}

Schedule schedule_of_environment()
{
    Schedule s;
    const char *text = getenv("REFOLD_SIM_SCHED");
    if (text && *text && !parse_schedule(text, &s)) {
        fprintf(stderr,
                "sim: REFOLD_SIM_SCHED is '%s', expected ring, reversed, warp, warp-reversed, "
                "random:SEED or a number\n",
                text);
        abort();
    }
    return s;
}

std::mutex lock; // guards all of these
Schedule schedule = schedule_of_environment();
std::vector<std::unique_ptr<Block>> idle_blocks;
char last_fault[sizeof Fault::text];

} // namespace

bool set_schedule(const char *text)
{
    std::lock_guard<std::mutex> hold(lock);
    return parse_schedule(text, &schedule);
}

// ---- grids -------------------------------------------------------------------------------------
namespace
{

struct Grid {
    const Kernel *kernel;
    dim3 size, block_dim;
    size_t shared_bytes;
    const void *params;
    Schedule schedule;
    uint64_t n_blocks, step, start; // of a walk through all blocks
    std::atomic<uint64_t> taken{0};
    std::atomic<bool> stop{false};
    std::mutex lock;
    uint64_t fault_at = 0; // when that block was taken
    Fault fault = {};
};

uint64_t gcd(uint64_t a, uint64_t b)
{
    return b ? gcd(b, a % b) : a;
}

void order_blocks(Grid &g)
{
    uint64_t n = g.n_blocks, mix = g.schedule.seed * 0x9e3779b97f4a7c15u + 0x632be59bd9b4e019u;
    g.step = 1;
    g.start = g.schedule.order == WARP ? n / 2 : 0;
    if (g.schedule.order == RANDOM) {
        g.start = mix % n;
        g.step = (mix >> 33) % n;
        while (gcd(g.step, n) != 1)
            g.step++;
    }
}

uint64_t block_at(const Grid &g, uint64_t i)
{
    uint64_t at = (uint64_t)(((unsigned __int128)i * g.step + g.start) % g.n_blocks);
    return g.schedule.flip ? g.n_blocks - 1 - at : at;
}

std::unique_ptr<Block> take_block(const Grid &g)
{
    std::unique_ptr<Block> b;
    {
        std::lock_guard<std::mutex> hold(lock);
        if (!idle_blocks.empty()) {
            b = std::move(idle_blocks.back());
            idle_blocks.pop_back();
        }
    }
    if (!b)
        b = new_block();
    dim3 d = g.block_dim;
    b->grid_dim = g.size;
    b->block_dim = d;
    b->n_threads = d.x * d.y * d.z;
    b->n_warps = (b->n_threads + 31) / 32;
    b->schedule_order = g.schedule.order;
    b->schedule_flip = g.schedule.flip;
    b->shared_bytes = g.shared_bytes;
    b->kernel = g.kernel;
    b->params = g.params;
    b->fault = {};
    b->requests = requests_new();
    for (uint32_t w = 0; w < b->n_warps; w++) {
        uint32_t left = b->n_threads - w * 32;
        b->warps[w].all = left < 32 ? (1u << left) - 1 : 0xffffffffu;
    }
    for (uint32_t i = 0; i < b->n_threads; i++)
        b->fibers[i].tid = {i % d.x, i / d.x % d.y, i / d.x / d.y};
    return b;
}

void give_block(std::unique_ptr<Block> b)
{
    requests_end(*b);
    if (b->fault.error)
        clean_up(*b);
    std::lock_guard<std::mutex> hold(lock);
    idle_blocks.push_back(std::move(b));
}

void work(Grid &g)
{
    std::unique_ptr<Block> b = take_block(g);
    block = b.get();
    global_begin(*b);
    while (!g.stop) {
        uint64_t i = g.taken++;
        if (i >= g.n_blocks)
            break;
        uint64_t at = block_at(g, i);
        b->index = {(unsigned)(at % g.size.x), (unsigned)(at / g.size.x % g.size.y),
                    (unsigned)(at / g.size.x / g.size.y)};
        b->random = (g.schedule.seed + 1) * 0x9e3779b97f4a7c15u ^ at;
        run_block(*b);
        if (!b->fault.error)
            continue;
        std::lock_guard<std::mutex> hold(g.lock);
        if (!g.fault.error || i < g.fault_at) {
            g.fault = b->fault;
            g.fault_at = i;
        }
        g.stop = true;
    }
    block = nullptr;
    self = nullptr;
    give_block(std::move(b));
}

__attribute__((format(printf, 3, 4))) Fault refuse(const Kernel *kernel, cudaError_t error,
                                                   const char *format, ...)
{
    Fault f = {error, ""};
    int n = snprintf(f.text, sizeof f.text, "kernel %s: ", kernel->name);
    va_list args;
    va_start(args, format);
    vsnprintf(f.text + n, sizeof f.text - (size_t)n, format, args);
    va_end(args);
    return f;
}

Fault check_launch(const Kernel *kernel, dim3 grid, dim3 d, size_t shared_bytes)
{
    if (!d.x || !d.y || !d.z || d.z > 64 || (uint64_t)d.x * d.y * d.z > max_threads)
        return refuse(kernel, cudaErrorInvalidConfiguration,
                      "block of (%u,%u,%u) threads, expected 1 to %u, z to 64", d.x, d.y, d.z,
                      max_threads);
    if (!grid.x || !grid.y || !grid.z || grid.x > INT32_MAX || grid.y > 65535 || grid.z > 65535)
        return refuse(kernel, cudaErrorInvalidConfiguration,
                      "grid of (%u,%u,%u) blocks, expected 1 to (2147483647,65535,65535)", grid.x,
                      grid.y, grid.z);
    if (shared_bytes > max_shared)
        return refuse(kernel, cudaErrorInvalidValue,
                      "%zu bytes of shared memory, a block has at most %zu", shared_bytes,
                      max_shared);
    return {cudaSuccess, ""};
}

} // namespace

Fault run(const Kernel *kernel, dim3 grid, dim3 block_dim, size_t shared_bytes, const void *params)
{
    Fault fault = check_launch(kernel, grid, block_dim, shared_bytes);
    if (!fault.error) {
        Grid g;
        g.kernel = kernel;
        g.size = grid;
        g.block_dim = block_dim;
        g.shared_bytes = shared_bytes;
        g.params = params;
        g.n_blocks = (uint64_t)grid.x * grid.y * grid.z;
        {
            std::lock_guard<std::mutex> hold(lock);
            g.schedule = schedule;
        }
        order_blocks(g);
        requests_launch(*kernel, g.n_blocks);
        std::vector<std::thread> helpers;
        for (unsigned i = 1; i < std::thread::hardware_concurrency() && i < g.n_blocks; i++)
            helpers.emplace_back([&] { work(g); });
        work(g);
        for (std::thread &t : helpers)
            t.join();
        fault = g.fault;
    }
    if (fault.error) {
        std::lock_guard<std::mutex> hold(lock);
        memcpy(last_fault, fault.text, sizeof last_fault);
    }
    return fault;
}

} // namespace simt

const char *rf_sim_last_fault(void)
{
    static thread_local char copy[sizeof simt::last_fault];
    std::lock_guard<std::mutex> hold(simt::lock);
    memcpy(copy, simt::last_fault, sizeof copy);
    return copy;
}
