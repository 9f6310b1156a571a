/* SPDX-License-Identifier: Apache-2.0
 *
 * One team at a time: a call from inside a team runs on the calling thread alone, because a team in
 * a team only takes the cores from its own sisters. Pieces depend on nothing but their arguments,
 * so that a sum split over threads has the same rounding in every run.
 */
#include "runtime/base/parallel.h"

#include <omp.h>
#include <sched.h>
#include <stdbool.h>

/* Size of the innermost team of this thread; 1 also outside of any. A barrier needs it: inside a
 * nested call that runs alone, OpenMP's own barrier would wait for the outer team. */
static _Thread_local int team_size = 1;

static void run_member(rf_thread_fn *fn, void *ctx, int thread, int n_threads)
{
    int outer = team_size;
    team_size = n_threads;
    fn(ctx, thread, n_threads);
    team_size = outer;
}

void rf_parallel(int n_threads, rf_thread_fn *fn, void *ctx)
{
    if (n_threads <= 1 || team_size > 1 || omp_in_parallel()) {
        run_member(fn, ctx, 0, 1);
        return;
    }
#pragma omp parallel num_threads(n_threads)
    run_member(fn, ctx, omp_get_thread_num(), omp_get_num_threads());
}

void rf_parallel_barrier(void)
{
    if (team_size > 1) {
#pragma omp barrier
    }
}

void rf_split(int64_t n, int64_t grain, int thread, int n_threads, int64_t *begin, int64_t *end)
{
    if (grain < 1)
        grain = 1;
    int64_t pieces = n > 0 ? (n - 1) / grain + 1 : 0;
    int64_t each = pieces / n_threads, more = pieces % n_threads;
    int64_t first = thread * each + (thread < more ? thread : more);
    int64_t last = first + each + (thread < more);
    *begin = first == pieces ? (n > 0 ? n : 0) : first * grain;
    *end = last == pieces ? (n > 0 ? n : 0) : last * grain;
}

typedef struct range_call {
    int64_t n, grain;
    rf_range_fn *fn;
    void *ctx;
} range_call;

static void run_range(void *ctx, int thread, int n_threads)
{
    const range_call *call = ctx;
    int64_t begin, end;
    rf_split(call->n, call->grain, thread, n_threads, &begin, &end);
    if (begin < end)
        call->fn(call->ctx, begin, end, thread);
}

void rf_parallel_for(int n_threads, int64_t n, int64_t grain, rf_range_fn *fn, void *ctx)
{
    if (n <= 0)
        return;
    if (grain < 1)
        grain = 1;
    /* Waking a thread that gets no piece costs as much as one that works. */
    int64_t pieces = (n - 1) / grain + 1;
    if (n_threads > pieces)
        n_threads = (int)pieces;
    rf_parallel(n_threads, run_range, &(range_call){n, grain, fn, ctx});
}

int rf_cpu_count(void)
{
    cpu_set_t set;
    /* Fails on machines with more cores than a cpu_set_t holds: OpenMP asks with a larger one. */
    int n = sched_getaffinity(0, sizeof set, &set) ? omp_get_num_procs() : CPU_COUNT(&set);
    return n > 1 ? n : 1;
}
