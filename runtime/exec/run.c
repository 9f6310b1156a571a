/* SPDX-License-Identifier: Apache-2.0
 *
 * The run loop: no lookup, no allocation, no decision. Inner addresses are filled in when the arena
 * moves, the caller's at every run. Steps of own kernels in a row share one team of threads.
 */
#include "runtime/exec/plan.h"

#include "runtime/base/text.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

struct profile_event {
    char name[64];
    char kernel[64];
    int64_t begin_ns, end_ns, macs;
};

struct rf_profile {
    rf_env *env;
    struct profile_event *events;
    size_t n, capacity;
    int64_t start_ns;
    bool lost; /* memory was refused: later events are missing */
};

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void bind_arena(rf_plan *plan, char *arena)
{
    for (size_t v = 0; v < plan->n_values; v++)
        if (plan->values[v].storage == RF_STORE_ARENA)
            plan->values[v].tensor.data = arena + plan->values[v].offset;
    for (size_t i = 0; i < plan->n_steps; i++)
        plan->calls[i].scratch = plan->steps[i].scratch_bytes ? arena + plan->arena_bytes : NULL;
    plan->bound_arena = arena;
}

/* Views of an input share its address, so all values are looked at, not only the graph's ends. */
static void bind_ends(rf_plan *plan, const rf_tensor *inputs, const rf_tensor *outputs)
{
    for (size_t v = 0; v < plan->n_values; v++) {
        rf_plan_value *x = &plan->values[v];
        if (x->storage == RF_STORE_INPUT)
            x->tensor.data = inputs[x->index].data;
        else if (x->storage == RF_STORE_OUTPUT)
            x->tensor.data = outputs[x->index].data;
    }
    for (size_t i = 0; i < plan->n_views; i++) {
        rf_plan_view *view = &plan->views[i];
        view->tensor.data = (char *)plan->values[view->of].tensor.data + view->offset;
    }
}

/* As much of the name as fits, in whole characters: it goes into JSON. */
static void copy_name(char *dst, size_t bytes, const char *name)
{
    size_t n = 0, left = strlen(name);
    for (size_t step;
         left && (step = rf_text_step((const uint8_t *)name + n, left)) && n + step < bytes;
         left -= step)
        n += step;
    memcpy(dst, name, n);
    dst[n] = 0;
}

void rf_profile_add(rf_profile *profile, const rf_plan_step *step, int64_t begin, int64_t end)
{
    if (rf_grow_array(profile->env, &profile->events, &profile->capacity, profile->n + 1,
                      sizeof *profile->events, NULL) != RF_OK) {
        profile->lost = true;
        return;
    }
    struct profile_event *e = &profile->events[profile->n++];
    copy_name(e->name, sizeof e->name, step->name);
    snprintf(e->kernel, sizeof e->kernel, "%s.%s", step->backend->name, step->kernel->name);
    e->begin_ns = begin - profile->start_ns;
    e->end_ns = end - profile->start_ns;
    e->macs = 0;
    for (int k = 0; k < step->chain; k++)
        e->macs += step[k].macs;
}

typedef struct run_state {
    rf_plan *plan;
    rf_profile *profile;
    const int *wanted; /* RF_RUN_...; may be NULL */
    rf_error *err;
    size_t next; /* step */
    rf_status status;
} run_state;

static void run_step(run_state *r)
{
    const rf_plan_step *s = &r->plan->steps[r->next];
    if (r->wanted && __atomic_load_n(r->wanted, __ATOMIC_RELAXED) == RF_RUN_CANCELLED) {
        r->status = rf_fail(r->err, RF_ERR_CANCELLED, "cancelled before step %zu of %zu ('%s')",
                            r->next + 1, r->plan->n_steps, s->name);
        return;
    }
    const rf_kernel_call *call = &r->plan->calls[r->next];
    int64_t begin = r->profile ? now_ns() : 0;
    r->status =
        s->chain > 1 ? s->kernel->run_chain(call, s->chain, r->err) : s->kernel->run(call, r->err);
    if (r->profile && r->status == RF_OK)
        rf_profile_add(r->profile, s, begin, now_ns());
    r->next += (size_t)s->chain;
}

/* An external library has its own use for the threads. */
static bool is_external(const rf_plan_step *step)
{
    return step->kernel->wanted != NULL;
}

static bool has_step(const run_state *r, bool external)
{
    return r->status == RF_OK && r->next < r->plan->n_steps &&
           is_external(&r->plan->steps[r->next]) == external;
}

static void run_own_steps(void *ctx)
{
    for (run_state *r = ctx; has_step(r, false);)
        run_step(r);
}

static rf_status run_steps(rf_plan *plan, rf_profile *profile, const int *wanted, rf_error *err)
{
    run_state r = {.plan = plan, .profile = profile, .wanted = wanted, .err = err, .status = RF_OK};
    while (r.status == RF_OK && r.next < plan->n_steps) {
        while (has_step(&r, true))
            run_step(&r);
        if (has_step(&r, false))
            rf_parallel_team(plan->params.n_threads, run_own_steps, &r);
    }
    return r.status;
}

void rf_plan_bind(rf_plan *plan, void *arena, const rf_tensor *inputs, const rf_tensor *outputs)
{
    if (plan->bound_arena != arena || !arena)
        bind_arena(plan, arena);
    bind_ends(plan, inputs, outputs);
}

int64_t rf_profile_now(void)
{
    return now_ns();
}

rf_status rf_plan_run(rf_plan *plan, void *arena, const rf_tensor *inputs, const rf_tensor *outputs,
                      rf_profile *profile, const int *state, rf_error *err)
{
    const rf_backend *backend = plan->params.backend;
    int saved = 0;
    rf_plan_bind(plan, arena, inputs, outputs);
    if (backend->enter)
        backend->enter(plan->params.n_threads, &saved);
    rf_status status = run_steps(plan, profile, state, err);
    if (backend->leave)
        backend->leave(saved);
    return status;
}

rf_status rf_profile_create(rf_env *env, rf_profile **out, rf_error *err)
{
    RF_TRY(rf_alloc_array(env, 1, sizeof **out, out, err));
    (*out)->env = rf_env_retain(env);
    (*out)->start_ns = now_ns();
    return RF_OK;
}

void rf_profile_destroy(rf_profile **profile_ptr)
{
    rf_profile *p = *profile_ptr;
    if (!p)
        return;
    rf_env *env = p->env;
    rf_free(env, p->events, p->capacity * sizeof *p->events);
    rf_free(env, p, sizeof *p);
    rf_env_release(&env);
    *profile_ptr = NULL;
}

void rf_profile_json(const rf_profile *profile, rf_str *out)
{
    rf_str_printf(out, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[");
    for (size_t i = 0; i < profile->n; i++) {
        const struct profile_event *e = &profile->events[i];
        int64_t ns = e->end_ns - e->begin_ns;
        rf_str_printf(out, "%s\n{\"ph\":\"X\",\"pid\":1,\"tid\":1,\"cat\":\"op\",\"name\":\"",
                      i ? "," : "");
        rf_str_append_escaped(out, e->name);
        rf_str_printf(out,
                      "\",\"ts\":%.3f,\"dur\":%.3f,\"args\":{\"kernel\":\"%s\",\"macs\":%lld,"
                      "\"gflops\":%.1f}}",
                      (double)e->begin_ns * 1e-3, (double)ns * 1e-3, e->kernel, (long long)e->macs,
                      ns > 0 ? 2.0 * (double)e->macs / (double)ns : 0.0);
    }
    rf_str_printf(out, "\n],\"otherData\":{\"events_lost\":\"%s\"}}\n",
                  profile->lost ? "yes" : "no");
}
