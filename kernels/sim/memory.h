/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the two halves of the emulator: the runtime (runtime_*.cc) says which device memory is
 * live, the shim (simt.cc) checks every access against it and says how a grid ended.
 */
#ifndef RF_SIM_MEMORY_H
#define RF_SIM_MEMORY_H

#include <cstddef>

namespace simt
{

/* A live allocation, from cudaMalloc to cudaFree. */
void memory_add(const void *begin, size_t bytes);
void memory_remove(const void *begin);
/* The cudaError_t that the last run of this thread ended with; forgets it. */
int take_error();

} // namespace simt

/* The device call of that name: kernels of a graph set the condition of its WHILE and IF nodes. */
extern "C" void cudaGraphSetConditional(unsigned long long handle, unsigned int value);

#endif
