// SPDX-License-Identifier: Apache-2.0
//
// Counters. Lanes run one after the other, so a warp's request is put together from what its lanes
// do at the same call site for the same time since the block began; lanes that never come there
// (a branch) are missing from it, as on a card.
#include "kernels/sim/internal.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <mutex>
#include <unordered_map>

namespace simt
{

namespace
{

struct Request {
    Access kind;
    bool shared;
    uint32_t bytes, lanes;
    uintptr_t at[32];
};

std::mutex lock; // guards all of these
std::map<std::string, Counters> table;

void print_at_exit()
{
    counters_print(stderr);
}

bool counting_by_environment()
{
    const char *text = getenv("REFOLD_SIM_COUNT");
    if (!text || *text != '1')
        return false;
    atexit(print_at_exit);
    return true;
}
bool counting = counting_by_environment();

constexpr size_t n_counters = sizeof(Counters) / sizeof(uint64_t);
void add(Counters &to, const Counters &from)
{
    uint64_t a[n_counters], b[n_counters];
    memcpy(a, &to, sizeof a);
    memcpy(b, &from, sizeof b);
    for (size_t i = 0; i < n_counters; i++)
        a[i] += b[i];
    memcpy(&to, a, sizeof a);
}

// Words that the busiest bank serves for the lanes of a phase; 0: no lane.
uint32_t phase_cycles(const Request &r, uint32_t first, uint32_t n)
{
    std::vector<uintptr_t> words;
    for (uint32_t lane = first; lane < first + n; lane++)
        for (uint32_t k = 0; r.lanes >> lane & 1 && k < (r.bytes + 3) / 4; k++)
            words.push_back(r.at[lane] / 4 + k);
    std::sort(words.begin(), words.end());
    words.erase(std::unique(words.begin(), words.end()), words.end());
    uint32_t bank[32] = {};
    for (uintptr_t w : words)
        bank[w % 32]++;
    return *std::max_element(bank, bank + 32);
}

void account_shared(const Request &r, Counters *c)
{
    uint32_t lanes = r.bytes <= 4 ? 32 : r.bytes <= 8 ? 16 : 8;
    uint64_t cycles = 0, ideal = 0;
    for (uint32_t first = 0; first < 32; first += lanes) {
        uint32_t n = phase_cycles(r, first, lanes);
        cycles += n;
        ideal += n > 0;
    }
    if (r.kind == LOAD_MATRIX) {
        c->ldmatrix++;
        c->ldmatrix_cycles += cycles;
        c->ldmatrix_ideal += ideal;
        return;
    }
    (r.kind == LOAD ? c->shared_loads : c->shared_stores)++;
    c->shared_cycles += cycles;
    c->shared_ideal += ideal;
}

void account_global(const Request &r, Counters *c)
{
    std::vector<uintptr_t> at, sectors;
    for (uint32_t lane = 0; lane < 32; lane++)
        if (r.lanes >> lane & 1)
            at.push_back(r.at[lane]);
    std::sort(at.begin(), at.end());
    at.erase(std::unique(at.begin(), at.end()), at.end());
    for (uintptr_t a : at)
        sectors.push_back(a / 32); // aligned to its size: never in two
    sectors.erase(std::unique(sectors.begin(), sectors.end()), sectors.end());
    c->sectors += sectors.size();
    c->sectors_ideal += (at.size() * r.bytes + 31) / 32;
    (r.kind == LOAD    ? c->global_loads
     : r.kind == STORE ? c->global_stores
     : r.kind == COPY  ? c->cp_async
                       : c->atomics)++;
}

} // namespace

// Of the block that an OS thread runs.
struct Requests {
    Counters sum = {};
    // Per thread: how often it has been at a call site (of which memory).
    std::vector<std::unordered_map<uintptr_t, uint32_t>> visits{max_threads};
    // Per warp, by call site and visit.
    std::array<std::map<std::pair<uintptr_t, uint32_t>, Request>, max_threads / 32> open;

    void account(const Request &r) { (r.shared ? account_shared : account_global)(r, &sum); }
};

Requests *requests_new()
{
    std::lock_guard<std::mutex> hold(lock);
    return counting ? new Requests : nullptr;
}

void requests_launch(const Kernel &kernel, uint64_t n_blocks)
{
    std::lock_guard<std::mutex> hold(lock);
    if (!counting)
        return;
    Counters &c = table[kernel.name];
    c.launches++;
    c.blocks += n_blocks;
}

void request(const void *site, const void *p, uint32_t bytes, Access kind, bool shared)
{
    Requests &all = *block->requests;
    const Fiber &f = *self;
    uintptr_t place = (uintptr_t)site * 2 + shared;
    uint32_t visit = all.visits[f.index][place]++;
    auto &open = all.open[f.warp];
    Request &r = open[{place, visit}];
    r.kind = kind;
    r.shared = shared;
    r.bytes = bytes;
    r.lanes |= 1u << f.lane;
    // Banks count from the start of the block's shared memory.
    r.at[f.lane] = (uintptr_t)p - (shared ? (uintptr_t)block->shared : 0);
    if (r.lanes == block->warps[f.warp].all) {
        all.account(r);
        open.erase({place, visit});
    }
}

void requests_barrier(Block &b, const Fiber &f)
{
    if (f.lane == 0)
        b.requests->sum.block_barriers++;
}

void requests_meeting(Block &b, const char *function)
{
    Counters &c = b.requests->sum;
    switch (function[0]) { // the names that warp.cc and simt.h give
    case '_':
        c.warp_barriers++;
        break;
    case 'm':
        c.mma++;
        break;
    case 'a':
        c.shuffles++;
        break;
    }
}

void requests_end_block(Block &b)
{
    if (!b.requests)
        return;
    for (auto &open : b.requests->open) {
        for (auto &r : open)
            b.requests->account(r.second);
        open.clear();
    }
    for (auto &v : b.requests->visits)
        v.clear();
}

void requests_end(Block &b)
{
    if (!b.requests)
        return;
    std::lock_guard<std::mutex> hold(lock);
    add(table[b.kernel->name], b.requests->sum);
    delete b.requests;
    b.requests = nullptr;
}

void count(bool on)
{
    std::lock_guard<std::mutex> hold(lock);
    counting = on;
}

Counters counters(const char *kernel)
{
    std::lock_guard<std::mutex> hold(lock);
    auto found = table.find(kernel);
    return found == table.end() ? Counters{} : found->second;
}

void counters_clear()
{
    std::lock_guard<std::mutex> hold(lock);
    table.clear();
}

void counters_print(FILE *out)
{
    std::lock_guard<std::mutex> hold(lock);
    auto ratio = [](uint64_t a, uint64_t b) { return b ? (double)a / (double)b : 1.0; };
    fprintf(out,
            "Requests of a warp. xshared, xldmatrix: cycles against no bank conflicts; xsector: "
            "sectors against full ones.\n"
            "%-32s %8s %9s %9s %9s %9s %9s %9s %9s %9s %8s %9s %8s %8s\n",
            "kernel", "launches", "blocks", "mma", "ldmatrix", "xldmatrix", "shared", "xshared",
            "global", "cp.async", "xsector", "barriers", "shuffles", "atomics");
    for (auto &row : table) {
        const Counters &c = row.second;
        fprintf(out,
                "%-32s %8llu %9llu %9llu %9llu %9.2f %9llu %9.2f %9llu %9llu %8.2f %9llu %8llu "
                "%8llu\n",
                row.first.c_str(), (unsigned long long)c.launches, (unsigned long long)c.blocks,
                (unsigned long long)c.mma, (unsigned long long)c.ldmatrix,
                ratio(c.ldmatrix_cycles, c.ldmatrix_ideal),
                (unsigned long long)(c.shared_loads + c.shared_stores),
                ratio(c.shared_cycles, c.shared_ideal),
                (unsigned long long)(c.global_loads + c.global_stores),
                (unsigned long long)c.cp_async, ratio(c.sectors, c.sectors_ideal),
                (unsigned long long)(c.block_barriers + c.warp_barriers),
                (unsigned long long)c.shuffles, (unsigned long long)c.atomics);
    }
}

} // namespace simt
