/* SPDX-License-Identifier: Apache-2.0
 *
 * The emulated GPU as its host side sees it: launching a grid, the order in which threads run, the
 * device memory that kernels may touch, faults and counters. runtime.cc builds the CUDA runtime on
 * this; tests call it directly.
 *
 * Environment:
 *   REFOLD_SIM_SCHED   ring (default), reversed, warp, warp-reversed, random:SEED; a bare number is
 *                      a seed, 0 is ring
 *   REFOLD_SIM_ABORT=1 abort at a fault, for debuggers
 *   REFOLD_SIM_COUNT=1 count, and print the table to stderr when the process ends
 */
#ifndef RF_SIM_GRID_H
#define RF_SIM_GRID_H

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

namespace simt
{

/* What rf_cuda_entry.fn points at: how to call a kernel with its parameter block. */
struct Kernel {
    const char *name;
    void (*call)(const void *params);
    size_t params_bytes;
};

/* What a card would have punished: which kernel, block, thread, and how. */
struct Fault {
    cudaError_t error; /* cudaSuccess: none */
    char text[480];
};

/* Runs a whole grid; returns when it is done or, after a fault, stopped. The fault is that of the
 * earliest block in running order, so the same on every run.
 *
 * Fails:   cudaErrorInvalidConfiguration, cudaErrorInvalidValue for a launch that no card takes;
 *          cudaErrorIllegalAddress, cudaErrorMisalignedAddress, cudaErrorLaunchFailure.
 * Threads: any number of grids at once. */
Fault run(const Kernel *kernel, dim3 grid, dim3 block_dim, size_t shared_bytes, const void *params);

/* Order of threads and blocks of the launches that follow, for the whole process. A thread runs
 * until it meets a barrier or a warp function; then
 *   ring           the next thread in order runs
 *   reversed       the same backwards, blocks too
 *   warp           the threads of the same warp run as far as they can
 *   warp-reversed  the same backwards
 *   random:SEED    any thread that can run; blocks in a random order
 * False for any other text. */
bool set_schedule(const char *text);
/* One of each kind, for loops over all. */
extern const std::vector<const char *> schedules;

/* Device memory: kernels may touch what is registered and nothing else. */
void memory_add(const void *begin, size_t bytes);
void memory_remove(const void *begin);

/* Per kernel, in requests of a warp unless said otherwise. A request to shared memory takes one
 * cycle per word that the busiest of the 32 banks must serve, 8-byte requests go in halves of the
 * warp and 16-byte requests in quarters; `ideal` is without conflicts. A request to global memory
 * fetches sectors of 32 bytes; `ideal` is how many its bytes would fill. */
struct Counters {
    uint64_t launches, blocks;
    uint64_t mma, shuffles, block_barriers /* per warp */, warp_barriers;
    uint64_t ldmatrix, ldmatrix_cycles, ldmatrix_ideal;
    uint64_t shared_loads, shared_stores, shared_cycles, shared_ideal; /* cp.async stores too */
    uint64_t global_loads, global_stores, cp_async, atomics, sectors, sectors_ideal;
};
/* Counting is slow, and off unless asked for. */
void count(bool on);
Counters counters(const char *kernel);
void counters_clear();
void counters_print(FILE *out);

} // namespace simt

/* Text of the last fault of the process, "" if there was none. */
extern "C" __attribute__((visibility("default"))) const char *rf_sim_last_fault(void);

#endif
