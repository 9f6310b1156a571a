/* SPDX-License-Identifier: Apache-2.0
 *
 * Sessions: a bounded LRU of plans over one shared arena, as large as the largest plan alive.
 */
#include "runtime/api/api.h"

#include "runtime/base/params.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* OpenMP ends the process when it cannot make a thread, so a wrong number must not reach it. */
enum { DEFAULT_PLANS = 8, MAX_PLANS = 1 << 16, MAX_THREADS = 1024, HUGE_PAGE = 2 << 20 };

/* 'auto' takes the fastest device that is there, and says which; a device that was asked for by
 * name is never replaced by another. */
static rf_status open_backend(rf_model *model, const char *name, rf_plan_params *params,
                              rf_error *err)
{
    const rf_model_device *on;
    RF_TRY(rf_backend_open(name, &params->backend, err));
    params->packs = model->packs;
    if (!params->backend->device_ops)
        return RF_OK;
    RF_TRY(rf_model_open_device(model, params->backend, &on, err));
    params->packs = on->packs;
    params->device = on->device;
    return RF_OK;
}

static rf_status find_backend(rf_model *model, const char *device, rf_plan_params *params,
                              rf_error *err)
{
    rf_error why;
    if (device && strcmp(device, "auto"))
        return open_backend(model, device, params, err);
    if (open_backend(model, "cuda", params, &why) == RF_OK)
        return RF_OK;
    rf_log(model->env, RF_LOG_INFO, "device 'auto': using 'cpu' (%s)", why.text);
    return open_backend(model, "cpu", params, err);
}

static rf_status check_precision(const rf_backend *backend, rf_dtype precision, rf_error *err)
{
    char known[64] = "";
    size_t at = 0;
    if (rf_dtype_name(precision) && backend->precisions >> precision & 1)
        return RF_OK;
    for (int d = 0; d < RF_DTYPE_COUNT; d++)
        if (backend->precisions >> d & 1 && at < sizeof known)
            at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", at ? ", " : "",
                                   rf_dtype_name((rf_dtype)d));
    return rf_fail(err, RF_ERR_UNSUPPORTED, "precision '%s' on device '%s': expected one of: %s",
                   rf_dtype_name(precision) ? rf_dtype_name(precision) : "?", backend->name, known);
}

static void describe_device(rf_session *s)
{
    const rf_backend *b = s->params.backend;
    if (b->device_ops)
        snprintf(s->device, sizeof s->device, "%s %s", b->name,
                 b->device_ops->describe(s->params.device));
    else
        snprintf(s->device, sizeof s->device, "%s %s, %d thread%s", b->name, b->describe(),
                 s->params.n_threads, s->params.n_threads == 1 ? "" : "s");
}

static rf_status make_tuner(rf_session *s, const rf_session_params *params, rf_error *err)
{
    if (!params->tune)
        return RF_OK;
    RF_TRY(rf_tuner_create(s->model->env, s->params.backend, s->params.device, params->tune_dir,
                           &s->tuner, err));
    s->params.tuner = s->tuner;
    return RF_OK;
}

rf_status rf_session_create(rf_model *model, const rf_session_params *given, rf_session **out,
                            rf_error *err)
{
    rf_session_params params = {.size = sizeof params};
    rf_session *s;
    *out = NULL;
    if (!model)
        return rf_fail(err, RF_ERR_ARGUMENT, "model is NULL");
    if (given)
        RF_TRY(rf_params_take(&params, sizeof params, given, "rf_session_params", err));
    rf_plan_params plan = {.precision = params.precision,
                           .n_threads = params.n_threads ? params.n_threads : rf_cpu_count(),
                           .exact = params.exact,
                           .memory_cap = params.memory_cap};
    RF_TRY(find_backend(model, params.device, &plan, err));
    RF_TRY(check_precision(plan.backend, params.precision, err));
    if (params.stream && !plan.device)
        return rf_fail(err, RF_ERR_ARGUMENT, "a stream was given, but device '%s' has none",
                       plan.backend->name);
    if (params.n_threads < 0 || params.n_threads > MAX_THREADS)
        return rf_fail(err, RF_ERR_ARGUMENT, "n_threads is %d, expected 0 (all cores) to %d",
                       params.n_threads, MAX_THREADS);
    if (params.max_plans < 0 || params.max_plans > MAX_PLANS)
        return rf_fail(err, RF_ERR_ARGUMENT, "max_plans is %d, expected 0 (the default) to %d",
                       params.max_plans, MAX_PLANS);
    RF_TRY(rf_alloc_array(model->env, 1, sizeof *s, &s, err));
    s->max_plans = params.max_plans ? params.max_plans : DEFAULT_PLANS;
    s->model = rf_model_retain(model);
    s->params = plan;
    s->text.env = model->env;
    describe_device(s);
    rf_status status =
        rf_alloc_array(model->env, (size_t)s->max_plans, sizeof *s->plans, &s->plans, err);
    if (status == RF_OK && plan.device)
        status = make_tuner(s, &params, err);
    if (status == RF_OK && plan.device)
        status =
            plan.backend->device_ops->stream_create(plan.device, params.stream, &s->stream, err);
    if (status == RF_OK)
        *out = s;
    else
        rf_session_destroy(&s);
    return status;
}

static void free_arena(rf_session *s)
{
    if (s->params.device && s->arena)
        s->params.backend->device_ops->free(s->params.device, s->arena);
    else
        rf_free(s->model->env, s->arena, s->arena_bytes);
    s->arena = NULL;
    s->arena_bytes = 0;
}

static rf_status alloc_arena(rf_session *s, size_t bytes, rf_error *err)
{
    if (s->params.device)
        return s->params.backend->device_ops->alloc(s->params.device, bytes, &s->arena, err);
    s->arena = rf_alloc(s->model->env, bytes, bytes >= HUGE_PAGE ? HUGE_PAGE : 64);
    if (!s->arena)
        return rf_fail(err, RF_ERR_MEMORY, "no memory for %zu bytes of activations", bytes);
    /* First touch of 4 KiB pages costs more than a small network (design: 165 against 62 ms per 512
     * MiB). */
    if (bytes >= HUGE_PAGE)
        (void)madvise(s->arena, bytes, MADV_HUGEPAGE);
    return RF_OK;
}

void rf_session_destroy(rf_session **session)
{
    rf_session *s = *session;
    if (!s)
        return;
    rf_model *model = s->model;
    rf_env *env = model->env;
    for (int i = 0; i < s->n_plans; i++)
        rf_plan_destroy(&s->plans[i]);
    rf_free(env, s->plans, (size_t)s->max_plans * sizeof *s->plans);
    free_arena(s);
    rf_tuner_destroy(&s->tuner);
    if (s->stream)
        s->params.backend->device_ops->stream_destroy(&s->stream);
    rf_profile_destroy(&s->profile);
    rf_profile_destroy(&s->paused_profile);
    rf_str_free(&s->text);
    rf_free(env, s, sizeof *s);
    *session = NULL;
    rf_model_release(&model);
}

/* One arena serves all plans, because only one runs at a time. It shrinks when the plan that needed
 * it is gone and the rest need less than half. */
static rf_status fit_arena(rf_session *s, rf_error *err)
{
    size_t need = 64;
    for (int i = 0; i < s->n_plans; i++)
        if (rf_plan_memory(s->plans[i]) > need)
            need = rf_plan_memory(s->plans[i]);
    if (need <= s->arena_bytes && s->arena_bytes / 2 <= need)
        return RF_OK;
    free_arena(s);
    for (int i = 0; i < s->n_plans; i++)
        s->plans[i]->bound_arena = NULL;
    RF_TRY(alloc_arena(s, need, err));
    s->arena_bytes = need;
    return RF_OK;
}

static void drop_plan(rf_session *s, int i)
{
    if (s->current == s->plans[i])
        s->current = NULL;
    rf_plan_destroy(&s->plans[i]);
    s->plans[i] = s->plans[--s->n_plans];
}

static void evict_oldest(rf_session *s)
{
    int oldest = 0;
    for (int i = 1; i < s->n_plans; i++)
        if (s->plans[i]->stamp < s->plans[oldest]->stamp)
            oldest = i;
    drop_plan(s, oldest);
}

/* Makes the plan for these shapes current. */
static rf_status select_plan(rf_session *s, const rf_tensor *inputs, int n, bool *cached,
                             rf_error *err)
{
    *cached = true;
    for (int i = 0; i < s->n_plans; i++)
        if (rf_plan_matches(s->plans[i], inputs, n)) {
            s->current = s->plans[i];
            s->current->stamp = ++s->clock;
            /* Too small only after an earlier refusal of memory. */
            return s->arena_bytes >= rf_plan_memory(s->current) && s->arena ? RF_OK
                                                                            : fit_arena(s, err);
        }
    rf_plan *plan;
    *cached = false;
    s->current = NULL;
    int saved = 0;
    const rf_backend *backend = s->params.backend;
    if (backend->enter) /* libraries bake the thread count into what they compile */
        backend->enter(s->params.n_threads, &saved);
    rf_status status = rf_plan_create(s->model->graph, inputs, n, &s->params, &plan, err);
    if (backend->leave)
        backend->leave(saved);
    if (s->tuner)
        rf_tuner_save(s->tuner);
    RF_TRY(status);
    rf_model_forget_files(s->model); /* weights are packed now */
    if (s->n_plans == s->max_plans)
        evict_oldest(s);
    s->plans[s->n_plans++] = plan;
    plan->stamp = ++s->clock;
    status = fit_arena(s, err);
    if (status != RF_OK) {
        drop_plan(s, s->n_plans - 1);
        return status;
    }
    s->current = plan;
    return RF_OK;
}

/* What the planner takes for granted; it names inputs and sizes itself. */
static rf_status check_inputs(const rf_session *s, const rf_tensor *inputs, int n, rf_error *err)
{
    const rf_graph *g = s->model->graph;
    if (n < 0 || (size_t)n != g->n_inputs || (n && !inputs))
        return rf_fail(err, RF_ERR_ARGUMENT, "the model has %zu inputs, found %d", g->n_inputs,
                       inputs ? n : 0);
    for (int i = 0; i < n; i++) {
        rf_tensor sane;
        rf_error why;
        rf_status status =
            rf_tensor_init(&sane, inputs[i].dtype, inputs[i].rank, inputs[i].dims, NULL, &why);
        if (status != RF_OK)
            return rf_fail(err, status, "input '%s': %s", g->values[g->inputs[i]].name, why.text);
    }
    return RF_OK;
}

rf_status rf_session_prepare(rf_session *s, const rf_tensor *inputs, int n_inputs,
                             rf_plan_info *out, rf_error *err)
{
    rf_plan_info info = {0};
    if (out) /* a wrong size is told before the work */
        RF_TRY(rf_params_give(&info, sizeof info, out, "rf_plan_info", err));
    RF_TRY(check_inputs(s, inputs, n_inputs, err));
    RF_TRY(select_plan(s, inputs, n_inputs, &info.cached, err));
    const rf_plan *p = s->current;
    info.weight_bytes = p->const_bytes + rf_pack_cache_bytes(s->params.packs);
    info.arena_bytes = p->arena_bytes;
    info.scratch_bytes = p->scratch_bytes;
    info.peak_bytes = rf_plan_memory(p) + info.weight_bytes;
    info.macs = p->macs;
    info.n_steps = (int32_t)p->n_steps;
    return out ? rf_params_give(&info, sizeof info, out, "rf_plan_info", err) : RF_OK;
}

static rf_status need_plan(const rf_session *s, rf_error *err)
{
    return s->current
               ? RF_OK
               : rf_fail(err, RF_ERR_ARGUMENT, "no shape is prepared yet: call rf_session_prepare");
}

rf_status rf_session_output(const rf_session *s, int i, rf_tensor *out, rf_error *err)
{
    RF_TRY(need_plan(s, err));
    if (i < 0 || i >= (int)s->model->graph->n_outputs)
        return rf_fail(err, RF_ERR_ARGUMENT, "output %d: the model has %zu", i,
                       s->model->graph->n_outputs);
    *out = *rf_plan_output(s->current, i);
    out->data = NULL;
    return RF_OK;
}

static rf_status check_output(const rf_session *s, int i, const rf_tensor *given, rf_error *err)
{
    const rf_tensor *want = rf_plan_output(s->current, i);
    bool same = want->rank == given->rank && want->dtype == given->dtype &&
                (given->data || !rf_tensor_elements(want));
    for (int k = 0; same && k < want->rank; k++)
        same = want->dims[k] == given->dims[k];
    if (!same)
        return rf_fail(
            err, RF_ERR_ARGUMENT,
            "output '%s': expected %s of rank %d with the dims of rf_session_output, and data",
            s->model->graph->output_names[i], rf_dtype_name(want->dtype), want->rank);
    return RF_OK;
}

/* Tensors that are not dense are staged: what a run reads and writes is always row-major. */
struct staged {
    rf_tensor ends[RF_MAX_IN + RF_MAX_OUT];
    void *memory[RF_MAX_IN + RF_MAX_OUT];
};

static rf_status stage(rf_session *s, const rf_tensor *t, int slot, bool copy_in, struct staged *st,
                       rf_error *err)
{
    st->ends[slot] = *t;
    if (rf_tensor_is_contiguous(t))
        return RF_OK;
    size_t bytes = rf_tensor_bytes(t);
    rf_tensor *d = &st->ends[slot];
    if (!(d->data = st->memory[slot] = rf_alloc(s->model->env, bytes, 64)))
        return rf_fail(err, RF_ERR_MEMORY, "no memory for %zu bytes to make a strided tensor dense",
                       bytes);
    rf_tensor_set_contiguous(d);
    rf_kernel_call call = {.args = {.op = RF_OP_COPY, .n_in = 1, .n_out = 1, .in = {t}, .out = {d}},
                           .n_threads = 1};
    rf_kernel_desc any = {.args = call.args};
    return copy_in ? rf_backend_choose(rf_backend_find("ref"), &any)->run(&call, err) : RF_OK;
}

static rf_status unstage(const rf_tensor *user, const rf_tensor *dense, rf_error *err)
{
    rf_tensor to = *user;
    rf_kernel_call call = {
        .args = {.op = RF_OP_COPY, .n_in = 1, .n_out = 1, .in = {dense}, .out = {&to}},
        .n_threads = 1};
    rf_kernel_desc any = {.args = call.args};
    return rf_backend_choose(rf_backend_find("ref"), &any)->run(&call, err);
}

rf_status rf_session_select(rf_session *s, const rf_tensor *inputs, int n_inputs,
                            const rf_tensor *outputs, int n_outputs, rf_error *err)
{
    bool cached;
    RF_TRY(check_inputs(s, inputs, n_inputs, err));
    RF_TRY(select_plan(s, inputs, n_inputs, &cached, err));
    if (n_outputs != (int)s->model->graph->n_outputs)
        return rf_fail(err, RF_ERR_ARGUMENT, "expected %zu outputs, found %d",
                       s->model->graph->n_outputs, n_outputs);
    if (n_inputs > RF_MAX_IN || n_outputs > RF_MAX_OUT)
        return rf_fail(err, RF_ERR_UNSUPPORTED, "%d inputs, %d outputs: at most %d each", n_inputs,
                       n_outputs, RF_MAX_IN);
    for (int i = 0; i < n_inputs; i++)
        if (!inputs[i].data && rf_tensor_elements(&inputs[i]))
            return rf_fail(err, RF_ERR_ARGUMENT, "input %d has no data", i);
    for (int i = 0; i < n_outputs; i++)
        RF_TRY(check_output(s, i, &outputs[i], err));
    return RF_OK;
}

static rf_status run(rf_session *s, const rf_tensor *inputs, int n_inputs, const rf_tensor *outputs,
                     int n_outputs, rf_error *err)
{
    RF_TRY(rf_session_select(s, inputs, n_inputs, outputs, n_outputs, err));
    struct staged st;
    memset(st.memory, 0, sizeof st.memory);
    rf_status status = RF_OK;
    for (int i = 0; i < n_inputs; i++)
        RF_TRY_DONE(stage(s, &inputs[i], i, true, &st, err));
    for (int i = 0; i < n_outputs; i++)
        RF_TRY_DONE(stage(s, &outputs[i], RF_MAX_IN + i, false, &st, err));
    if (s->params.device)
        RF_TRY_DONE(rf_session_run_on_device(s, st.ends, st.ends + RF_MAX_IN, err));
    else
        RF_TRY_DONE(rf_plan_run(s->current, s->arena, st.ends, st.ends + RF_MAX_IN, s->profile,
                                &s->run_state, err));
    for (int i = 0; i < n_outputs; i++)
        if (st.memory[RF_MAX_IN + i])
            RF_TRY_DONE(unstage(&outputs[i], &st.ends[RF_MAX_IN + i], err));
done:
    for (int i = 0; i < RF_MAX_IN + RF_MAX_OUT; i++)
        if (st.memory[i])
            rf_free(s->model->env, st.memory[i], rf_tensor_bytes(&st.ends[i]));
    return status;
}

rf_status rf_session_run(rf_session *s, const rf_tensor *inputs, int n_inputs,
                         const rf_tensor *outputs, int n_outputs, rf_error *err)
{
    __atomic_store_n(&s->run_state, RF_RUN_GOING_ON, __ATOMIC_SEQ_CST);
    rf_status status = run(s, inputs, n_inputs, outputs, n_outputs, err);
    __atomic_store_n(&s->run_state, RF_RUN_NONE, __ATOMIC_SEQ_CST);
    return status;
}

void rf_session_cancel(rf_session *s)
{
    int going_on = RF_RUN_GOING_ON;
    __atomic_compare_exchange_n(&s->run_state, &going_on, RF_RUN_CANCELLED, false, __ATOMIC_SEQ_CST,
                                __ATOMIC_RELAXED);
}

static rf_status finish_text(rf_session *s, const char **out, rf_error *err)
{
    *out = s->text.data ? s->text.data : "";
    return s->text.failed ? rf_fail(err, RF_ERR_MEMORY, "no memory for a report") : RF_OK;
}

static void reset_text(rf_session *s)
{
    rf_str_free(&s->text);
    s->text = (rf_str){.env = s->model->env};
}

rf_status rf_session_explain(rf_session *s, const char **out, rf_error *err)
{
    RF_TRY(need_plan(s, err));
    reset_text(s);
    rf_plan_explain(s->current, &s->text);
    return finish_text(s, out, err);
}

rf_status rf_session_steps_json(rf_session *s, const char **out, rf_error *err)
{
    RF_TRY(need_plan(s, err));
    reset_text(s);
    rf_plan_steps_json(s->current, &s->text);
    return finish_text(s, out, err);
}

const char *rf_session_device(const rf_session *session)
{
    return session->device;
}

void rf_session_profile(rf_session *s, bool on)
{
    if (on == (s->profile != NULL))
        return;
    rf_profile *swap = s->profile;
    s->profile = s->paused_profile;
    s->paused_profile = swap;
    if (on && !s->profile && rf_profile_create(s->model->env, &s->profile, NULL) != RF_OK)
        rf_log(s->model->env, RF_LOG_WARN, "no memory for a profile");
}

rf_status rf_session_profile_json(rf_session *s, const char **out, rf_error *err)
{
    const rf_profile *p = s->profile ? s->profile : s->paused_profile;
    if (!p)
        return rf_fail(err, RF_ERR_ARGUMENT, "nothing was profiled: call rf_session_profile first");
    reset_text(s);
    rf_profile_json(p, &s->text);
    return finish_text(s, out, err);
}
