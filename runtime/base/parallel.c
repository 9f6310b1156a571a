/* SPDX-License-Identifier: Apache-2.0
 *
 * One team at a time: a call from inside a team runs on the calling thread alone, because a team in
 * a team only takes the cores from its own sisters. Pieces depend on nothing but their arguments,
 * so that a sum split over threads has the same rounding in every run.
 *
 * OpenMP ends a region when all of its threads have arrived, and those who wait spin for some
 * milliseconds. On an idle machine that is the fastest way; where another process holds a core,
 * each of a plan's thousands of short regions waits for the thread that is not running, on a core
 * that this thread could use. So a plan is run in one region (rf_parallel_team), whose threads get
 * work in a way of their own: the parts of a call are claimed, each thread's own part first and
 * then what others have not begun, so that nobody waits for a thread that has nothing in hand; and
 * who has to wait spins briefly and then sleeps, which leaves the core to the thread that is waited
 * for.
 */
#include "runtime/base/parallel.h"

#include <linux/futex.h>
#include <omp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    TEAM_MAX = 128, /* threads of a team; more are not worth a slot each */
    SPINS = 4000    /* some 100 us: a little more than halves of a step differ by */
};

/* ---- waiting ------------------------------------------------------------------------------------
 */

/* A number that threads wait on. `sleepers` tells whether a change has to wake anyone. */
typedef struct signal {
    _Alignas(64) atomic_uint value;
    atomic_uint sleepers;
} signal;

static void futex(atomic_uint *word, int op, unsigned value)
{
    syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

static void signal_add(signal *s)
{
    atomic_fetch_add(&s->value, 1);
    if (atomic_load(&s->sleepers))
        futex(&s->value, FUTEX_WAKE, TEAM_MAX);
}

/* Waits until the number is not `old`. */
static void signal_wait(signal *s, unsigned old)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&s->value, memory_order_acquire) != old)
            return;
        relax();
    }
    atomic_fetch_add(&s->sleepers, 1);
    while (atomic_load(&s->value) == old)
        futex(&s->value, FUTEX_WAIT, old); /* returns at once if it has changed */
    atomic_fetch_sub(&s->sleepers, 1);
}

/* ---- teams --------------------------------------------------------------------------------------
 */

typedef struct slot {
    _Alignas(64) atomic_uint claimed; /* number of the last call whose part was taken */
} slot;

typedef struct team {
    signal posted; /* number of the current call; see `call` */
    signal done;   /* parts finished, of all calls together */
    signal barrier;
    atomic_uint arrived; /* at the barrier */
    /* Number of the call << 32 | its parts, in one word so that both are of one call; parts 0: the
     * team ends. */
    _Atomic uint64_t call;
    rf_thread_fn *fn; /* of the current call: read by who has claimed a part of it */
    void *ctx;
    unsigned finished; /* what `done` is when the current call is */
    int size;
    slot slots[TEAM_MAX];
} team;

/* Size of the innermost team of this thread; 1 also outside of any. A barrier needs it: inside a
 * nested call that runs alone, OpenMP's own barrier would wait for the outer team. */
static _Thread_local int team_size = 1;
static _Thread_local team *led;    /* the team that serves this thread */
static _Thread_local team *served; /* the team of the call that this thread takes part in */

static void run_member(rf_thread_fn *fn, void *ctx, int thread, int n_threads)
{
    int outer = team_size;
    team_size = n_threads;
    fn(ctx, thread, n_threads);
    team_size = outer;
}

/* Runs part `i` of the call unless somebody has taken it, or the call is over: then the slot holds
 * its number or a later one. A part that nobody has taken keeps its call from ending, so what is
 * read after the exchange belongs to that call. */
static void try_part(team *t, unsigned number, int n, int i)
{
    unsigned last = atomic_load(&t->slots[i].claimed);
    if ((int)(number - last) <= 0 ||
        !atomic_compare_exchange_strong(&t->slots[i].claimed, &last, number))
        return;
    team *outer = served;
    served = t;
    run_member(t->fn, t->ctx, i, n);
    served = outer;
    signal_add(&t->done);
}

static void take_parts(team *t, uint64_t call, int self)
{
    const unsigned number = (unsigned)(call >> 32);
    const int n = (int)(call & 0xffffffffu);
    for (int k = 0; k < n; k++)
        try_part(t, number, n, (self + k) % n);
}

static void serve(team *t, int self)
{
    for (unsigned seen = 0;;) {
        signal_wait(&t->posted, seen);
        const uint64_t call = atomic_load(&t->call);
        if ((call & 0xffffffffu) == 0)
            return;
        seen = (unsigned)(call >> 32);
        take_parts(t, call, self);
    }
}

/* The leader's side of a call. All calls before have ended, so nobody reads what is written. */
static void lead(team *t, int n, rf_thread_fn *fn, void *ctx)
{
    const unsigned number = atomic_load(&t->posted.value) + 1;
    const uint64_t call = (uint64_t)number << 32 | (unsigned)n;
    t->fn = fn;
    t->ctx = ctx;
    t->finished += (unsigned)n;
    atomic_store(&t->call, call);
    signal_add(&t->posted);
    if (n == 0)
        return;
    take_parts(t, call, 0);
    for (unsigned done; (done = atomic_load(&t->done.value)) != t->finished;)
        signal_wait(&t->done, done);
}

void rf_parallel_team(int n_threads, void (*fn)(void *ctx), void *ctx)
{
    if (n_threads <= 1 || n_threads > TEAM_MAX || team_size > 1 || led || omp_in_parallel()) {
        fn(ctx);
        return;
    }
    team t = {.size = 1};
#pragma omp parallel num_threads(n_threads)
    {
        if (omp_get_thread_num() > 0)
            serve(&t, omp_get_thread_num());
        else {
            t.size = omp_get_num_threads();
            led = &t;
            fn(ctx);
            led = NULL;
            lead(&t, 0, NULL, NULL);
        }
    }
}

void rf_parallel(int n_threads, rf_thread_fn *fn, void *ctx)
{
    if (led && !served && n_threads > led->size)
        n_threads = led->size;
    if (n_threads <= 1 || team_size > 1 || served || (!led && omp_in_parallel())) {
        run_member(fn, ctx, 0, 1);
        return;
    }
    if (led) {
        lead(led, n_threads, fn, ctx);
        return;
    }
#pragma omp parallel num_threads(n_threads)
    run_member(fn, ctx, omp_get_thread_num(), omp_get_num_threads());
}

/* A thread that waits here has begun its part, and all parts of a call are begun by different
 * threads if they wait for each other: there are at least as many threads as parts. */
static void team_barrier(team *t)
{
    const unsigned turn = atomic_load(&t->barrier.value);
    if (atomic_fetch_add(&t->arrived, 1) + 1 < (unsigned)team_size) {
        signal_wait(&t->barrier, turn);
        return;
    }
    atomic_store(&t->arrived, 0);
    signal_add(&t->barrier);
}

void rf_parallel_barrier(void)
{
    if (team_size == 1)
        return;
    if (served) {
        team_barrier(served);
        return;
    }
#pragma omp barrier
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
