/* SPDX-License-Identifier: Apache-2.0
 *
 * What tests may ask of the emulated GPU beyond the CUDA runtime API. The symbols are exported, so
 * that a program that opens the module finds them by dlsym.
 *
 * Environment, read at the first call and at rf_sim_reset:
 *   REFOLD_SIM_SCHED   0 (default): stream work runs only when a wait needs it, in the order in
 *                      which waits need it. Any other number N, or random:N: seed of a random
 *                      choice among the streams (and nodes of a graph) that could go on.
 *   REFOLD_SIM_MEMORY  bytes of device memory, default 8 GiB.
 *
 * What CUDA leaves undefined ends the process with a line on stderr ("sim: ..."): a host buffer
 * changed under a pending copy, a guard zone overwritten.
 */
#ifndef RF_SIM_SIM_H
#define RF_SIM_SIM_H

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RF_SIM_API __attribute__((visibility("default")))

/* The kth call of `fn` from now (1: the next) returns `e` and does nothing else; errors that are
 * sticky in CUDA stick. "*" counts calls of any function; "kernel" is no call but the running of a
 * kernel, whose error surfaces where asynchronous errors do. kth 0 takes the order back. Returns
 * whether an earlier order for `fn` was still waiting. */
RF_SIM_API int rf_sim_fail(const char *fn, int kth, cudaError_t e);
/* A new process, as far as the device knows: all handles and memory are gone, no error sticks. */
RF_SIM_API void rf_sim_reset(void);
/* "" or what is still allocated: "1 allocation (512 bytes), 2 streams". Until this thread's next
 * call. */
RF_SIM_API const char *rf_sim_leaks(void);

#ifdef __cplusplus
}
#endif
#endif
