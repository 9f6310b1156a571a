/* SPDX-License-Identifier: Apache-2.0
 *
 * Builds and frees plans. See plan.h for the parts.
 */
#include "runtime/exec/plan.h"

#include "runtime/exec/passes.h"

#include <stdio.h>
#include <string.h>

static void format_dims(const rf_tensor *t, char *buf, size_t n)
{
    size_t at = 0;
    buf[0] = 0;
    for (int i = 0; i < t->rank && at < n; i++)
        at += (size_t)snprintf(buf + at, n - at, t->dims[i] < 0 ? "%s?" : "%s%lld", i ? "x" : "",
                               (long long)t->dims[i]);
}

static rf_status check_input(const rf_graph *g, int i, const rf_tensor *given, rf_error *err)
{
    const rf_graph_value *v = &g->values[g->inputs[i]];
    char want[128], got[128];
    format_dims(&v->desc, want, sizeof want);
    format_dims(given, got, sizeof got);
    bool fits = given->rank == v->desc.rank;
    for (int k = 0; fits && k < given->rank; k++)
        fits = given->dims[k] >= 0 && (v->desc.dims[k] < 0 || v->desc.dims[k] == given->dims[k]);
    if (!fits)
        return rf_fail(err, RF_ERR_ARGUMENT, "input '%s': expected shape %s, found %s", v->name,
                       want, got);
    if (given->dtype != v->desc.dtype)
        return rf_fail(err, RF_ERR_ARGUMENT, "input '%s': expected %s, found %s", v->name,
                       rf_dtype_name(v->desc.dtype), rf_dtype_name(given->dtype));
    if (given->rank >= 2 &&
        (given->dims[given->rank - 2] < v->min_h || given->dims[given->rank - 1] < v->min_w))
        return rf_fail(err, RF_ERR_ARGUMENT,
                       "input '%s': %s needs height >= %lld and width >= %lld, found %s", v->name,
                       *g->name ? g->name : "the network", (long long)v->min_h, (long long)v->min_w,
                       got);
    return RF_OK;
}

/* Who reads `from`, casts left aside, reads `to` instead. Returns how many did. */
static int replace_uses(rf_graph *g, rf_value from, rf_value to)
{
    int n = 0;
    for (size_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_in && g->nodes[i].op != RF_OP_CAST; k++)
            if (g->nodes[i].in[k] == from) {
                g->nodes[i].in[k] = to;
                n++;
            }
    for (size_t i = 0; i < g->n_outputs; i++)
        if (g->outputs[i] == from) {
            g->outputs[i] = to;
            n++;
        }
    return n;
}

/* A float input in a dtype that the backend does not compute in (f16 and f64 on the CPU) is cast to
 * f32 once, or each of its readers would fall back to the reference kernels. */
static rf_status widen_inputs(rf_graph *g, uint32_t precisions, rf_error *err)
{
    bool any = false;
    for (size_t i = 0; i < g->n_inputs; i++) {
        rf_value v = g->inputs[i], wide;
        rf_dtype dtype = g->values[v].desc.dtype;
        rf_graph_node *n;
        if (dtype > RF_BF16 || precisions >> dtype & 1)
            continue;
        RF_TRY(rf_graph_new_value(g, "", &wide, err));
        if (!replace_uses(g, v, wide))
            continue;
        RF_TRY(rf_graph_new_node(g, RF_OP_CAST, "input", &n, err));
        n->attrs.cast.to = RF_F32;
        n->in[n->n_in++] = v;
        n->out[n->n_out++] = wide;
        any = true;
    }
    return any ? rf_graph_sort(g, err) : RF_OK; /* the casts come first */
}

/* Outputs that no step would write (an input or constant handed through, or one value named twice)
 * get a copy of their own. */
static rf_status own_outputs(rf_graph *g, rf_error *err)
{
    for (size_t i = 0; i < g->n_outputs; i++) {
        rf_value v = g->outputs[i], copy;
        bool taken = g->values[v].is_input || rf_graph_is_const(g, v);
        for (size_t j = 0; j < i; j++)
            taken |= g->outputs[j] == v;
        if (!taken)
            continue;
        rf_graph_node *n;
        RF_TRY(rf_graph_new_value(g, "", &copy, err));
        RF_TRY(rf_graph_new_node(g, RF_OP_COPY, "output", &n, err));
        n->in[n->n_in++] = v;
        n->out[n->n_out++] = copy;
        g->outputs[i] = copy;
    }
    return RF_OK;
}

static rf_status infer(rf_planner *p, const rf_tensor *inputs, rf_error *err)
{
    rf_plan *plan = p->plan;
    rf_tensor *descs;
    size_t n = plan->graph->n_values;
    RF_TRY(rf_alloc_array(plan->env, n, sizeof *descs, &descs, err));
    for (size_t i = 0; i < plan->graph->n_inputs; i++) {
        rf_tensor *d = &descs[plan->graph->inputs[i]];
        *d = inputs[i];
        d->data = NULL;
        rf_tensor_set_contiguous(d);
    }
    rf_status status = rf_exec_infer(plan->graph, descs, err);
    for (size_t v = 0; v < n && status == RF_OK; v++) {
        plan->values[v].tensor = descs[v];
        plan->values[v].root = (rf_value)v;
    }
    rf_free(plan->env, descs, n * sizeof *descs);
    return status;
}

rf_status rf_planner_new_value(rf_planner *p, const rf_tensor *like, rf_value *out, rf_error *err)
{
    rf_plan *plan = p->plan;
    RF_TRY(rf_graph_new_value(plan->graph, "", out, err));
    size_t need = (size_t)*out + 1;
    RF_TRY(rf_grow_array(plan->env, &plan->values, &plan->values_capacity, need,
                         sizeof *plan->values, err));
    RF_TRY(rf_grow_array(plan->env, &p->nhwc, &p->nhwc_capacity, need, sizeof *p->nhwc, err));
    rf_plan_value *v = &plan->values[*out];
    memset(v, 0, sizeof *v);
    v->tensor = *like;
    v->tensor.data = NULL;
    v->root = *out;
    p->nhwc[*out] = false;
    plan->n_values = (size_t)*out + 1;
    return RF_OK;
}

/* Everything counted so far, with the weights that are packed already, for this shape or another.
 */
static rf_status check_cap(const rf_plan *plan, const char *exact, rf_error *err)
{
    size_t total = rf_plan_memory(plan) + plan->const_bytes +
                   (plan->params.packs ? rf_pack_cache_bytes(plan->params.packs) : 0);
    if (plan->params.memory_cap && total > plan->params.memory_cap)
        return rf_fail(err, RF_ERR_MEMORY,
                       "this shape needs %s%zu bytes (weights, activations, scratch), the cap is "
                       "%zu",
                       exact, total, plan->params.memory_cap);
    return RF_OK;
}

static rf_status build(rf_planner *p, const rf_tensor *inputs, rf_error *err)
{
    rf_plan *plan = p->plan;
    RF_TRY(widen_inputs(plan->graph, plan->params.backend->precisions, err));
    RF_TRY(own_outputs(plan->graph, err));
    size_t n = plan->n_values = plan->graph->n_values;
    RF_TRY(rf_alloc_array(plan->env, n, sizeof *plan->values, &plan->values, err));
    plan->values_capacity = n;
    RF_TRY(rf_alloc_array(plan->env, n, sizeof *p->nhwc, &p->nhwc, err));
    p->nhwc_capacity = n;
    RF_TRY(infer(p, inputs, err));
    rf_planner_layouts(p);
    rf_planner_descs(p);
    RF_TRY(rf_planner_place(p, err));
    RF_TRY(rf_planner_memory(p, err));
    if (plan->params.backend->device_ops)
        plan->ends_bytes = rf_plan_output_offset(plan, (int)plan->graph->n_outputs) -
                           plan->arena_bytes - plan->scratch_bytes;
    RF_TRY(check_cap(plan, "at least ", err));
    RF_TRY(rf_planner_prepare(p, err));
    return check_cap(plan, "", err);
}

rf_status rf_plan_create(const rf_graph *graph, const rf_tensor *inputs, int n_inputs,
                         const rf_plan_params *params, rf_plan **out, rf_error *err)
{
    rf_planner planner = {0};
    rf_plan *plan = NULL;
    rf_status status;
    *out = NULL;
    if (n_inputs != (int)graph->n_inputs)
        return rf_fail(err, RF_ERR_ARGUMENT, "expected %zu inputs, found %d", graph->n_inputs,
                       n_inputs);
    for (int i = 0; i < n_inputs; i++)
        RF_TRY(check_input(graph, i, &inputs[i], err));
    RF_TRY(rf_alloc_array(graph->env, 1, sizeof *plan, &plan, err));
    plan->env = rf_env_retain(graph->env);
    plan->params = *params;
    planner.plan = plan;
    RF_TRY_DONE(rf_graph_clone(graph, &plan->graph, err));
    /* A device holds what kernels packed and what was uploaded, and counts it there. */
    for (size_t v = 0; v < graph->n_values && !params->device; v++)
        if (graph->values[v].blob)
            plan->const_bytes += rf_tensor_bytes(&graph->values[v].desc);
    RF_TRY_DONE(build(&planner, inputs, err));
    *out = plan;
    plan = NULL;
done:
    if (planner.nhwc)
        rf_free(graph->env, planner.nhwc, planner.nhwc_capacity * sizeof *planner.nhwc);
    rf_plan_destroy(&plan);
    return status;
}

void rf_plan_destroy(rf_plan **plan_ptr)
{
    rf_plan *plan = *plan_ptr;
    if (!plan)
        return;
    if (plan->recording)
        plan->params.backend->device_ops->recording_destroy(&plan->recording);
    for (size_t i = 0; i < plan->n_steps; i++)
        if (plan->calls[i].state && !plan->steps[i].borrowed && plan->steps[i].kernel->release)
            plan->steps[i].kernel->release(plan->env, plan->calls[i].state);
    rf_free(plan->env, plan->values, plan->values_capacity * sizeof *plan->values);
    rf_free(plan->env, plan->steps, plan->steps_capacity * sizeof *plan->steps);
    rf_free(plan->env, plan->calls, plan->calls_capacity * sizeof *plan->calls);
    rf_free(plan->env, plan->views, plan->views_capacity * sizeof *plan->views);
    rf_graph_destroy(&plan->graph);
    rf_env *env = plan->env;
    rf_free(env, plan, sizeof *plan);
    rf_env_release(&env);
    *plan_ptr = NULL;
}

bool rf_plan_matches(const rf_plan *plan, const rf_tensor *inputs, int n_inputs)
{
    if (n_inputs != (int)plan->graph->n_inputs)
        return false;
    for (int i = 0; i < n_inputs; i++) {
        const rf_tensor *t = &plan->values[plan->graph->inputs[i]].tensor;
        if (t->rank != inputs[i].rank || t->dtype != inputs[i].dtype ||
            memcmp(t->dims, inputs[i].dims, (size_t)t->rank * sizeof *t->dims))
            return false;
    }
    return true;
}

size_t rf_plan_memory(const rf_plan *plan)
{
    return plan->arena_bytes + plan->scratch_bytes + plan->ends_bytes;
}

const rf_tensor *rf_plan_output(const rf_plan *plan, int i)
{
    return &plan->values[plan->graph->outputs[i]].tensor;
}
