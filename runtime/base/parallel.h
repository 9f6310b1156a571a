/* SPDX-License-Identifier: Apache-2.0
 *
 * The one parallel-for. It runs on OpenMP's pool because Debian's oneDNN does: a second pool would
 * fight it for the cores. n_threads 1 never enters OpenMP, so that one-thread sessions on many
 * threads do not oversubscribe and a process may fork before its first multi-thread session.
 */
#ifndef RF_BASE_PARALLEL_H
#define RF_BASE_PARALLEL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Called once per participating thread with its index and the number that really take part. */
typedef void rf_thread_fn(void *ctx, int thread, int n_threads);
/* Runs fn on up to n_threads threads at once and waits for all. */
void rf_parallel(int n_threads, rf_thread_fn *fn, void *ctx);
/* All threads of the innermost rf_parallel wait for each other. Only inside rf_parallel. */
void rf_parallel_barrier(void);

/* Called with [begin, end) pieces of [0, n). */
typedef void rf_range_fn(void *ctx, int64_t begin, int64_t end, int thread);
/* Splits [0, n) into one piece per thread, sizes multiples of `grain` (the last may be shorter).
 * Each index is given out exactly once, and always to the same thread for the same arguments. */
void rf_parallel_for(int n_threads, int64_t n, int64_t grain, rf_range_fn *fn, void *ctx);
/* Splits like rf_parallel_for, for use inside rf_parallel. */
void rf_split(int64_t n, int64_t grain, int thread, int n_threads, int64_t *begin, int64_t *end);

/* Cores this process may use (affinity respected), at least 1. */
int rf_cpu_count(void);

#ifdef __cplusplus
}
#endif
#endif
