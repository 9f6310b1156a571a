/* SPDX-License-Identifier: Apache-2.0
 *
 * Where every inner value lies in the arena. Each value lives from the step that writes it to the
 * last step that reads it; values that do not live at the same time may share bytes. Largest first,
 * each at the lowest offset that is free during its life: for networks that are a few large maps
 * passed along, this finds the minimum.
 *
 * A kernel that may write over one of its inputs does so when that input dies in this step.
 */
#include "runtime/exec/plan.h"

#include <stdlib.h>

enum { ALIGN = 64 };

static rf_value root_of(const rf_plan *plan, rf_value v)
{
    while (plan->values[v].root != v)
        v = plan->values[v].root;
    return v;
}

static void classify(rf_plan *plan)
{
    const rf_graph *g = plan->graph;
    for (size_t v = 0; v < plan->n_values; v++) {
        rf_plan_value *x = &plan->values[v];
        x->first = INT32_MAX;
        x->last = -1;
        x->bytes = rf_tensor_bytes(&x->tensor);
        x->storage = v < g->n_values && g->values[v].blob ? RF_STORE_CONST : RF_STORE_ARENA;
    }
    for (size_t i = 0; i < g->n_inputs; i++) {
        plan->values[g->inputs[i]].storage = RF_STORE_INPUT;
        plan->values[g->inputs[i]].index = (int32_t)i;
    }
    for (size_t i = 0; i < g->n_outputs; i++) {
        plan->values[g->outputs[i]].storage = RF_STORE_OUTPUT;
        plan->values[g->outputs[i]].index = (int32_t)i;
    }
}

static void touch(rf_plan *plan, rf_value v, int32_t first, int32_t last)
{
    if (v == RF_NONE)
        return;
    rf_plan_value *r = &plan->values[root_of(plan, v)];
    r->first = first < r->first ? first : r->first;
    r->last = last > r->last ? last : r->last;
}

/* Steps of a chain run interleaved, so all of a chain's values live during all of it. */
static void lifetimes(rf_plan *plan)
{
    for (size_t i = 0; i < plan->n_steps; i += (size_t)plan->steps[i].chain) {
        int32_t n = plan->steps[i].chain;
        for (int32_t s = 0; s < n; s++) {
            const rf_op_args *args = &plan->calls[i + (size_t)s].args;
            for (int k = 0; k < args->n_in; k++)
                touch(plan, plan->steps[i + (size_t)s].in[k], (int32_t)i, (int32_t)i + n - 1);
            for (int k = 0; k < args->n_out; k++)
                touch(plan, plan->steps[i + (size_t)s].out[k], (int32_t)i, (int32_t)i + n - 1);
        }
    }
}

static bool reads(const rf_plan *plan, size_t step, int k, rf_value root)
{
    rf_value v = plan->steps[step].in[k];
    return v != RF_NONE && root_of(plan, v) == root;
}

/* May out[0] of step i, in a chain that ends with step `end`, take over the bytes of in[k]? No
 * other input may share them unless it is allowed to be written over as well, and nothing after
 * step i may still read them. (Steps before i in the same chain run ahead of it by enough rows:
 * that is the contract of run_chain.) */
static bool may_reuse(const rf_plan *plan, size_t i, size_t end, int k)
{
    const rf_plan_step *s = &plan->steps[i];
    if (!(s->kernel->in_place >> k & 1) || s->in[k] == RF_NONE)
        return false;
    rf_value root = root_of(plan, s->in[k]), out = s->out[0];
    const rf_plan_value *r = &plan->values[root], *o = &plan->values[out];
    if (r->storage != RF_STORE_ARENA || o->storage != RF_STORE_ARENA || o->root != out ||
        r->bytes != o->bytes || r->last != (int32_t)end)
        return false;
    for (int j = 0; j < plan->calls[i].args.n_in; j++)
        if (j != k && reads(plan, i, j, root) && !(s->kernel->in_place >> j & 1))
            return false;
    for (size_t later = i + 1; later <= end; later++)
        for (int j = 0; j < plan->calls[later].args.n_in; j++)
            if (reads(plan, later, j, root))
                return false;
    return true;
}

static void reuse_in_place(rf_plan *plan)
{
    size_t end = 0;
    for (size_t i = 0; i < plan->n_steps; i++) {
        if (i > end || i == 0)
            end = i + (size_t)plan->steps[i].chain - 1;
        if (plan->steps[i].striped) /* its output lives since the first stripe */
            continue;
        for (int k = 0; k < plan->calls[i].args.n_in && k < 32; k++) {
            if (!may_reuse(plan, i, end, k))
                continue;
            rf_value out = plan->steps[i].out[0], root = root_of(plan, plan->steps[i].in[k]);
            plan->values[out].root = root;
            plan->values[root].last = plan->values[out].last;
            break;
        }
    }
}

struct slot {
    rf_value v;
    size_t bytes, offset;
    int32_t first, last;
};

static int larger_first(const void *a, const void *b)
{
    const struct slot *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x->first != y->first ? (x->first > y->first) - (x->first < y->first)
                                : (x->v > y->v) - (x->v < y->v);
}

/* Lowest offset at which s fits beside the already placed ones that live at the same time. */
static size_t lowest_offset(const struct slot *placed, size_t n, const struct slot *s)
{
    size_t offset = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (size_t i = 0; i < n; i++) {
            const struct slot *p = &placed[i];
            if (p->last < s->first || s->last < p->first || p->offset + p->bytes <= offset ||
                offset + s->bytes <= p->offset)
                continue;
            offset = p->offset + p->bytes;
            moved = true;
        }
    }
    return offset;
}

static rf_status assign_offsets(rf_plan *plan, rf_error *err)
{
    struct slot *slots;
    size_t n = 0, capacity = plan->n_values ? plan->n_values : 1;
    RF_TRY(rf_alloc_array(plan->env, capacity, sizeof *slots, &slots, err));
    for (size_t v = 0; v < plan->n_values; v++) {
        const rf_plan_value *x = &plan->values[v];
        if (x->storage == RF_STORE_ARENA && x->root == (rf_value)v && x->last >= 0)
            slots[n++] = (struct slot){(rf_value)v, (x->bytes + ALIGN - 1) / ALIGN * ALIGN, 0,
                                       x->first, x->last};
    }
    qsort(slots, n, sizeof *slots, larger_first);
    for (size_t i = 0; i < n; i++) {
        slots[i].offset = lowest_offset(slots, i, &slots[i]);
        plan->values[slots[i].v].offset = slots[i].offset;
        if (slots[i].offset + slots[i].bytes > plan->arena_bytes)
            plan->arena_bytes = slots[i].offset + slots[i].bytes;
    }
    rf_free(plan->env, slots, capacity * sizeof *slots);
    return RF_OK;
}

rf_status rf_planner_memory(rf_planner *p, rf_error *err)
{
    rf_plan *plan = p->plan;
    classify(plan);
    lifetimes(plan);
    reuse_in_place(plan);
    RF_TRY(assign_offsets(plan, err));
    for (size_t v = 0; v < plan->n_values; v++) {
        rf_value root = root_of(plan, (rf_value)v);
        rf_plan_value *x = &plan->values[v];
        if (root == (rf_value)v)
            continue;
        x->root = root;
        x->storage = plan->values[root].storage;
        x->index = plan->values[root].index;
        x->offset = plan->values[root].offset;
    }
    for (size_t i = 0; i < plan->n_steps; i++)
        if (plan->steps[i].scratch_bytes > plan->scratch_bytes)
            plan->scratch_bytes = plan->steps[i].scratch_bytes;
    return RF_OK;
}
