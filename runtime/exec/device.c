/* SPDX-License-Identifier: Apache-2.0
 *
 * Plans on a device. Steps only enqueue, so a run is over before the device has begun it. The first
 * run with an arena launches step by step (kernels are loaded by their first launch, which must not
 * be recorded); the second records, and from then on a run is one launch. Of the recorded launches
 * only those that touch the caller's tensors are given new pointers, if those have changed. What a
 * library launches cannot be changed from here: then the run is recorded again.
 */
#include "runtime/exec/plan.h"

#include "runtime/exec/span.h"

#include <string.h>

enum { END_ALIGN = 256 };

static size_t round_up(size_t n)
{
    return (n + END_ALIGN - 1) / END_ALIGN * END_ALIGN;
}

static size_t end_bytes(const rf_plan *plan, rf_value v)
{
    return round_up(rf_tensor_bytes(&plan->values[v].tensor));
}

size_t rf_plan_input_offset(const rf_plan *plan, int i)
{
    size_t at = round_up(plan->arena_bytes + plan->scratch_bytes);
    for (int k = 0; k < i; k++)
        at += end_bytes(plan, plan->graph->inputs[k]);
    return at;
}

size_t rf_plan_output_offset(const rf_plan *plan, int i)
{
    size_t at = rf_plan_input_offset(plan, (int)plan->graph->n_inputs);
    for (int k = 0; k < i; k++)
        at += end_bytes(plan, plan->graph->outputs[k]);
    return at;
}

static rf_status fill_raw(void *ctx, void *dst, rf_error *err)
{
    (void)err;
    const rf_tensor *t = ctx;
    memcpy(dst, t->data, rf_tensor_span_bytes(t));
    return RF_OK;
}

rf_status rf_planner_upload(rf_planner *p, rf_error *err)
{
    rf_plan *plan = p->plan;
    bool *done;
    RF_TRY(rf_alloc_array(plan->env, plan->n_values, sizeof *done, &done, err));
    rf_status status = RF_OK;
    for (size_t i = 0; i < plan->n_steps && status == RF_OK; i++) {
        const rf_plan_step *s = &plan->steps[i];
        for (int k = 0; k < plan->calls[i].args.n_in && status == RF_OK; k++) {
            rf_value v = s->in[k];
            if (v == RF_NONE || (size_t)v >= plan->graph->n_values ||
                !rf_graph_is_const(plan->graph, v) || (s->kernel->packed >> k & 1) || done[v])
                continue;
            rf_tensor *t = &plan->values[v].tensor;
            const void *uploaded;
            done[v] = true;
            if (!rf_tensor_span_bytes(t))
                continue;
            status = rf_pack_get(plan->params.packs, t->data, "as it is", rf_tensor_span_bytes(t),
                                 fill_raw, t, &uploaded, err);
            t->data = (void *)uploaded;
        }
    }
    rf_free(plan->env, done, plan->n_values * sizeof *done);
    return status;
}

static bool is_end(const rf_plan *plan, rf_value v)
{
    return v != RF_NONE && (plan->values[v].storage == RF_STORE_INPUT ||
                            plan->values[v].storage == RF_STORE_OUTPUT);
}

static bool touches_ends(const rf_plan *plan, size_t i)
{
    const rf_op_args *args = &plan->calls[i].args;
    const rf_plan_step *s = &plan->steps[i];
    bool found = false;
    for (int k = 0; k < args->n_in; k++)
        found |= is_end(plan, s->in[k]);
    for (int k = 0; k < args->n_out; k++)
        found |= is_end(plan, s->out[k]);
    return found;
}

/* The arena is new, so nothing that was recorded holds. */
static void forget_recording(rf_plan *plan)
{
    if (plan->recording)
        plan->params.backend->device_ops->recording_destroy(&plan->recording);
    plan->n_runs = 0;
    plan->fixed_ends = false;
    for (size_t i = 0; i < plan->n_steps; i++) {
        plan->steps[i].external = touches_ends(plan, i);
        plan->fixed_ends |= plan->steps[i].external && plan->steps[i].kernel->wanted;
    }
}

static bool ends_moved(const rf_plan *plan, const rf_tensor *inputs, const rf_tensor *outputs)
{
    bool moved = false;
    for (size_t i = 0; i < plan->graph->n_inputs; i++)
        moved |= plan->values[plan->graph->inputs[i]].tensor.data != inputs[i].data;
    for (size_t i = 0; i < plan->graph->n_outputs; i++)
        moved |= plan->values[plan->graph->outputs[i]].tensor.data != outputs[i].data;
    return moved;
}

static rf_status enqueue_step(rf_plan *plan, size_t i, rf_stream *stream, rf_error *err)
{
    const rf_device_ops *ops = plan->params.backend->device_ops;
    ops->annotate(stream, plan->steps[i].name);
    plan->calls[i].stream = stream;
    rf_status status = plan->steps[i].kernel->run(&plan->calls[i], err);
    ops->annotate(stream, NULL);
    return status;
}

static rf_status enqueue_steps(rf_plan *plan, rf_stream *stream, rf_error *err)
{
    for (size_t i = 0; i < plan->n_steps; i++)
        RF_TRY(enqueue_step(plan, i, stream, err));
    return RF_OK;
}

static rf_status record(rf_plan *plan, rf_stream *stream, rf_error *err)
{
    const rf_device_ops *ops = plan->params.backend->device_ops;
    rf_recording *recording;
    RF_TRY(ops->record_begin(stream, err));
    rf_status status = RF_OK;
    for (size_t i = 0; i < plan->n_steps && status == RF_OK; i++) {
        ops->record_external(stream, plan->steps[i].external);
        status = enqueue_step(plan, i, stream, err);
    }
    rf_status ended = ops->record_end(stream, &recording, status == RF_OK ? err : NULL);
    if (status != RF_OK || ended != RF_OK) {
        if (ended == RF_OK)
            ops->recording_destroy(&recording);
        return status != RF_OK ? status : ended;
    }
    plan->recording = recording;
    return RF_OK;
}

static rf_status update(rf_plan *plan, rf_stream *stream, rf_error *err)
{
    const rf_device_ops *ops = plan->params.backend->device_ops;
    RF_TRY(ops->update_begin(stream, plan->recording, err));
    rf_status status = RF_OK;
    for (size_t i = 0; i < plan->n_steps && status == RF_OK; i++)
        if (plan->steps[i].external)
            status = enqueue_step(plan, i, stream, err);
    rf_status ended = ops->update_end(stream, status == RF_OK ? err : NULL);
    if (status == RF_OK)
        status = ended;
    if (status != RF_OK) /* it may hold pointers of two runs */
        ops->recording_destroy(&plan->recording);
    return status;
}

/* Every step between two marks, then all of their times. */
static rf_status run_profiled(rf_plan *plan, rf_stream *stream, rf_profile *profile, rf_error *err)
{
    const rf_device_ops *ops = plan->params.backend->device_ops;
    RF_TRY(ops->mark(stream, 0, err));
    for (size_t i = 0; i < plan->n_steps; i++) {
        RF_TRY(enqueue_step(plan, i, stream, err));
        RF_TRY(ops->mark(stream, (int32_t)i + 1, err));
    }
    RF_TRY(ops->wait(stream, err));
    int64_t start = rf_profile_now();
    float begin = 0, end = 0, all = 0;
    RF_TRY(ops->mark_ms(stream, (int32_t)plan->n_steps, &all, err));
    start -= (int64_t)(1e6 * (double)all);
    for (size_t i = 0; i < plan->n_steps; i++, begin = end) {
        RF_TRY(ops->mark_ms(stream, (int32_t)i + 1, &end, err));
        rf_profile_add(profile, &plan->steps[i], start + (int64_t)(1e6 * (double)begin),
                       start + (int64_t)(1e6 * (double)end));
    }
    return RF_OK;
}

rf_status rf_plan_enqueue(rf_plan *plan, rf_stream *stream, void *arena, const rf_tensor *inputs,
                          const rf_tensor *outputs, rf_profile *profile, rf_error *err)
{
    const rf_device_ops *ops = plan->params.backend->device_ops;
    if (plan->bound_arena != arena)
        forget_recording(plan);
    bool moved = ends_moved(plan, inputs, outputs);
    rf_plan_bind(plan, arena, inputs, outputs);
    if (moved && plan->recording && plan->fixed_ends)
        ops->recording_destroy(&plan->recording);
    if (moved && plan->recording)
        RF_TRY(update(plan, stream, err));
    if (profile)
        return run_profiled(plan, stream, profile, err);
    if (!plan->n_runs++)
        return enqueue_steps(plan, stream, err);
    if (!plan->recording)
        RF_TRY(record(plan, stream, err));
    return ops->replay(stream, plan->recording, err);
}
