/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of the emulator: grid.cc (launching), simt.cc (fibers, barriers, faults),
 * warp.cc (what a warp does together), memory.cc (which memory may be touched, and in which order),
 * count.cc.
 */
#ifndef RF_SIM_INTERNAL_H
#define RF_SIM_INTERNAL_H

#include "kernels/sim/simt.h"

#include <memory>

namespace simt
{

constexpr uint32_t max_threads = 1024;
constexpr size_t max_shared = 227 * 1024;

// ---- simt.cc
enum Order { RING, WARP, RANDOM }; /* Block.schedule_order */
std::unique_ptr<Block> new_block();
void run_block(Block &b); /* leaves the fault, if any, in b.fault */
void clean_up(Block &b);  /* after a fault, before it is used again */
/* A warp function of a call site; an empty value is a barrier of the warp. */
const Slots &meet_at(const void *site, const char *function, unsigned mask, const void *value,
                     size_t bytes);

// ---- memory.cc
void global_begin(Block &b); /* it starts on a grid */
void check_memory(const void *p, uint32_t bytes, uint32_t align, Access kind);
void check_shared(const void *p, uint32_t bytes, uint32_t align, Access kind);
void land_copy(const Copy &c); /* cp.async: its bytes are there now */
Shadow *shadow_new();
void shadow_clear(Block &b); /* after a fault: copies are no longer under way */
void shadow_begin(Block &b);
/* A barrier of the warp, or of the block (NULL), has been passed; returns the time after it. */
int32_t shadow_tick(Block &b, const Warp *warp);

// ---- count.cc
Requests *requests_new(); /* NULL: nobody counts */
void requests_launch(const Kernel &kernel, uint64_t n_blocks);
void requests_end_block(Block &b);
void requests_end(Block &b);
void requests_barrier(Block &b, const Fiber &f);
void requests_meeting(Block &b, const char *function);
void request(const void *site, const void *p, uint32_t bytes, Access kind, bool shared);

} // namespace simt
#endif
