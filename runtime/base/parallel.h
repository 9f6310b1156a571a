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

/* Called once for each index below n_threads, the number of threads that can take part: at once
 * where they wait for each other, else maybe one after the other on one thread. */
typedef void rf_thread_fn(void *ctx, int thread, int n_threads);
/* Runs fn on up to n_threads threads at once and waits for all. */
void rf_parallel(int n_threads, rf_thread_fn *fn, void *ctx);
/* Runs fn on the calling thread, whose calls of rf_parallel and rf_parallel_for meanwhile share one
 * team of up to n_threads threads: cheaper than a team for each, and no call waits for a thread
 * that has not begun its part. An external library with OpenMP gets one thread inside of fn. */
void rf_parallel_team(int n_threads, void (*fn)(void *ctx), void *ctx);
/* All threads of the innermost rf_parallel wait for each other. Only inside rf_parallel. */
void rf_parallel_barrier(void);

/* Called with [begin, end) pieces of [0, n). */
typedef void rf_range_fn(void *ctx, int64_t begin, int64_t end, int thread);
/* Splits [0, n) into one piece per thread, sizes multiples of `grain` (the last may be shorter).
 * Each index is given out exactly once, and `thread` is always the same for the same arguments: it
 * is the number of a piece, of which an idle thread may run several. */
void rf_parallel_for(int n_threads, int64_t n, int64_t grain, rf_range_fn *fn, void *ctx);
/* Splits like rf_parallel_for, for use inside rf_parallel. */
void rf_split(int64_t n, int64_t grain, int thread, int n_threads, int64_t *begin, int64_t *end);

/* Cores this process may use (affinity respected), at least 1. */
int rf_cpu_count(void);

#ifdef __cplusplus
}
#endif
#endif
