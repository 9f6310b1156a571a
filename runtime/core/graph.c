/* SPDX-License-Identifier: Apache-2.0
 *
 * The graph's arrays and the questions that passes ask. Everything is a scan: graphs have hundreds
 * of nodes, and an index would have to be kept right through every rewrite.
 */
#include "runtime/core/graph.h"

#include <string.h>

rf_status rf_graph_create_env(rf_env *env, rf_graph **out, rf_error *err)
{
    rf_graph *graph;
    *out = NULL;
    RF_TRY(rf_alloc_array(env, 1, sizeof *graph, &graph, err));
    graph->env = rf_env_retain(env);
    graph->name = "";
    rf_arena_init(&graph->arena, env);
    *out = graph;
    return RF_OK;
}

void rf_graph_destroy(rf_graph **graph)
{
    rf_graph *g = *graph;
    *graph = NULL;
    if (!g)
        return;
    rf_env *env = g->env;
    for (size_t v = 0; v < g->n_values; v++)
        rf_blob_release(&g->values[v].blob);
    rf_free(env, g->values, g->values_capacity * sizeof *g->values);
    rf_free(env, g->nodes, g->nodes_capacity * sizeof *g->nodes);
    rf_free(env, g->inputs, g->inputs_capacity * sizeof *g->inputs);
    rf_free(env, g->outputs, g->outputs_capacity * sizeof *g->outputs);
    rf_free(env, g->output_names, g->output_names_capacity * sizeof *g->output_names);
    rf_arena_free(&g->arena);
    rf_free(env, g, sizeof *g);
    rf_env_release(&env);
}

static rf_status copy_name(rf_graph *graph, const char **name, rf_error *err)
{
    const char *from = *name ? *name : "";
    *name = rf_arena_strndup(&graph->arena, from, strlen(from));
    return *name ? RF_OK : rf_fail(err, RF_ERR_MEMORY, "no memory for a name of the graph");
}

/* A copy of n items with capacity n. */
static rf_status copy_array(rf_env *env, const void *from, size_t n, size_t item_bytes,
                            void *out_ptr, size_t *out_capacity, rf_error *err)
{
    void *copy;
    RF_TRY(rf_alloc_array(env, n, item_bytes, &copy, err));
    if (n)
        memcpy(copy, from, n * item_bytes);
    memcpy(out_ptr, &copy, sizeof copy);
    *out_capacity = n;
    return RF_OK;
}

static rf_status clone_into(rf_graph *g, const rf_graph *from, rf_error *err)
{
    g->name = from->name;
    RF_TRY(copy_name(g, &g->name, err));
    RF_TRY(copy_array(g->env, from->values, from->n_values, sizeof *g->values, &g->values,
                      &g->values_capacity, err));
    for (size_t v = 0; v < from->n_values; v++, g->n_values++) {
        rf_graph_value *value = &g->values[v];
        if (value->blob)
            rf_blob_retain(value->blob);
    }
    for (size_t v = 0; v < g->n_values; v++)
        RF_TRY(copy_name(g, &g->values[v].name, err));
    RF_TRY(copy_array(g->env, from->nodes, from->n_nodes, sizeof *g->nodes, &g->nodes,
                      &g->nodes_capacity, err));
    for (; g->n_nodes < from->n_nodes; g->n_nodes++)
        RF_TRY(copy_name(g, &g->nodes[g->n_nodes].name, err));
    RF_TRY(copy_array(g->env, from->inputs, from->n_inputs, sizeof *g->inputs, &g->inputs,
                      &g->inputs_capacity, err));
    g->n_inputs = from->n_inputs;
    RF_TRY(copy_array(g->env, from->outputs, from->n_outputs, sizeof *g->outputs, &g->outputs,
                      &g->outputs_capacity, err));
    RF_TRY(copy_array(g->env, from->output_names, from->n_outputs, sizeof *g->output_names,
                      &g->output_names, &g->output_names_capacity, err));
    for (; g->n_outputs < from->n_outputs; g->n_outputs++)
        RF_TRY(copy_name(g, &g->output_names[g->n_outputs], err));
    return RF_OK;
}

rf_status rf_graph_clone(const rf_graph *graph, rf_graph **out, rf_error *err)
{
    rf_graph *g;
    RF_TRY(rf_graph_create_env(graph->env, &g, err));
    rf_status status = clone_into(g, graph, err);
    if (status != RF_OK)
        rf_graph_destroy(&g);
    *out = g;
    return status;
}

rf_status rf_graph_new_value(rf_graph *graph, const char *name, rf_value *out, rf_error *err)
{
    *out = RF_NONE;
    if (graph->n_values >= INT32_MAX)
        return rf_fail(err, RF_ERR_UNSUPPORTED, "graph has %zu values, expected fewer",
                       graph->n_values);
    RF_TRY(copy_name(graph, &name, err));
    RF_TRY(rf_grow_array(graph->env, &graph->values, &graph->values_capacity, graph->n_values + 1,
                         sizeof *graph->values, err));
    graph->values[graph->n_values] = (rf_graph_value){.name = name};
    *out = (rf_value)graph->n_values++;
    return RF_OK;
}

rf_status rf_graph_new_const(rf_graph *graph, const char *name, const rf_tensor *desc,
                             rf_blob *blob, rf_value *out, rf_error *err)
{
    RF_TRY(rf_graph_new_value(graph, name, out, err));
    graph->values[*out].desc = *desc;
    graph->values[*out].blob = rf_blob_retain(blob);
    return RF_OK;
}

rf_status rf_graph_new_node(rf_graph *graph, rf_op op, const char *name, rf_graph_node **out,
                            rf_error *err)
{
    *out = NULL;
    RF_TRY(copy_name(graph, &name, err));
    RF_TRY(rf_grow_array(graph->env, &graph->nodes, &graph->nodes_capacity, graph->n_nodes + 1,
                         sizeof *graph->nodes, err));
    rf_graph_node *node = &graph->nodes[graph->n_nodes++];
    *node = (rf_graph_node){.name = name, .op = op};
    rf_attrs_default(op, &node->attrs);
    *out = node;
    return RF_OK;
}

bool rf_graph_is_const(const rf_graph *graph, rf_value v)
{
    return v != RF_NONE && graph->values[v].blob;
}

int rf_graph_producer(const rf_graph *graph, rf_value v)
{
    for (size_t i = 0; i < graph->n_nodes && v != RF_NONE; i++)
        for (int k = 0; k < graph->nodes[i].n_out; k++)
            if (graph->nodes[i].out[k] == v)
                return (int)i;
    return -1;
}

int rf_graph_uses(const rf_graph *graph, rf_value v, int *node)
{
    int n = 0, last = -1;
    for (size_t i = 0; i < graph->n_nodes; i++)
        for (int k = 0; k < graph->nodes[i].n_in; k++)
            if (graph->nodes[i].n_out && graph->nodes[i].in[k] == v) {
                last = (int)i;
                n++;
            }
    for (size_t i = 0; i < graph->n_outputs; i++)
        n += graph->outputs[i] == v;
    if (node)
        *node = last;
    return n;
}

bool rf_graph_is_output(const rf_graph *graph, rf_value v)
{
    for (size_t i = 0; i < graph->n_outputs; i++)
        if (graph->outputs[i] == v)
            return true;
    return false;
}

void rf_graph_replace(rf_graph *graph, rf_value from, rf_value to)
{
    for (size_t i = 0; i < graph->n_nodes; i++)
        for (int k = 0; k < graph->nodes[i].n_in; k++)
            if (graph->nodes[i].in[k] == from)
                graph->nodes[i].in[k] = to;
    for (size_t i = 0; i < graph->n_outputs; i++)
        if (graph->outputs[i] == from)
            graph->outputs[i] = to;
}

/* True if some result of the node is used; marks what the node itself reads then. */
static bool mark_inputs(rf_graph *graph, const rf_graph_node *node, bool *changed)
{
    bool live = false;
    for (int k = 0; k < node->n_out; k++)
        live = live || graph->values[node->out[k]].mark;
    for (int k = 0; live && k < node->n_in; k++)
        if (node->in[k] != RF_NONE && !graph->values[node->in[k]].mark) {
            graph->values[node->in[k]].mark = 1;
            *changed = true;
        }
    return live;
}

void rf_graph_prune(rf_graph *graph)
{
    bool changed = true, ignored;
    for (size_t v = 0; v < graph->n_values; v++)
        graph->values[v].mark = 0;
    for (size_t i = 0; i < graph->n_outputs; i++)
        graph->values[graph->outputs[i]].mark = 1;
    /* One sweep if nodes are in order; passes may have appended some. */
    while (changed) {
        changed = false;
        for (size_t i = graph->n_nodes; i-- > 0;)
            mark_inputs(graph, &graph->nodes[i], &changed);
    }
    size_t n = 0;
    for (size_t i = 0; i < graph->n_nodes; i++)
        if (mark_inputs(graph, &graph->nodes[i], &ignored))
            graph->nodes[n++] = graph->nodes[i];
    graph->n_nodes = n;
    for (size_t v = 0; v < graph->n_values; v++)
        if (!graph->values[v].mark) {
            rf_blob_release(&graph->values[v].blob);
            graph->values[v].desc.data = NULL;
        }
}

typedef enum visit { NEW, OPEN, DONE } visit;

typedef struct sorter {
    rf_graph *graph;
    uint8_t *state;       /* visit of every node */
    int32_t *stack;       /* nodes whose inputs are being placed */
    rf_graph_node *order; /* result */
    size_t depth, n_placed;
} sorter;

/* Places node `root` after everything it needs, by depth-first search without recursion: chains are
 * as long as networks are deep. */
static rf_status place(sorter *s, int32_t root, rf_error *err)
{
    rf_graph *graph = s->graph;
    s->stack[s->depth++] = root;
    s->state[root] = OPEN;
    while (s->depth) {
        int32_t i = s->stack[s->depth - 1], need = -1;
        const rf_graph_node *node = &graph->nodes[i];
        for (int k = 0; k < node->n_in && need < 0; k++) {
            if (node->in[k] == RF_NONE)
                continue;
            const rf_graph_value *value = &graph->values[node->in[k]];
            if (value->mark < 0 && !value->is_input && !value->blob)
                return rf_fail(err, RF_ERR_FORMAT, "node '%s': nothing produces input %d ('%s')",
                               node->name, k, value->name);
            if (value->mark >= 0 && s->state[value->mark] != DONE)
                need = value->mark;
        }
        if (need < 0) {
            s->state[i] = DONE;
            s->order[s->n_placed++] = *node;
            s->depth--;
        } else if (s->state[need] == OPEN) {
            return rf_fail(err, RF_ERR_FORMAT, "graph has a cycle through node '%s'",
                           graph->nodes[need].name);
        } else {
            s->state[need] = OPEN;
            s->stack[s->depth++] = need;
        }
    }
    return RF_OK;
}

static rf_status mark_producers(rf_graph *graph, rf_error *err)
{
    for (size_t v = 0; v < graph->n_values; v++)
        graph->values[v].mark = -1;
    for (size_t i = 0; i < graph->n_nodes; i++)
        for (int k = 0; k < graph->nodes[i].n_out; k++) {
            rf_graph_value *value = &graph->values[graph->nodes[i].out[k]];
            if (value->mark >= 0 || value->is_input || value->blob)
                return rf_fail(err, RF_ERR_FORMAT, "node '%s': output %d has another producer",
                               graph->nodes[i].name, k);
            value->mark = (int32_t)i;
        }
    return RF_OK;
}

rf_status rf_graph_sort(rf_graph *graph, rf_error *err)
{
    sorter s = {.graph = graph};
    rf_env *env = graph->env;
    size_t n = graph->n_nodes;
    rf_status status;
    RF_TRY(mark_producers(graph, err));
    RF_TRY_DONE(rf_alloc_array(env, n, sizeof *s.state, &s.state, err));
    RF_TRY_DONE(rf_alloc_array(env, n, sizeof *s.stack, &s.stack, err));
    RF_TRY_DONE(rf_alloc_array(env, n, sizeof *s.order, &s.order, err));
    for (size_t i = 0; i < n; i++)
        if (s.state[i] == NEW)
            RF_TRY_DONE(place(&s, (int32_t)i, err));
    for (size_t i = 0; i < graph->n_outputs; i++) {
        const rf_graph_value *value = &graph->values[graph->outputs[i]];
        if (value->mark < 0 && !value->is_input && !value->blob) {
            status =
                rf_fail(err, RF_ERR_FORMAT, "nothing produces output '%s'", graph->output_names[i]);
            goto done;
        }
    }
    if (n) /* a graph may hand its inputs through */
        memcpy(graph->nodes, s.order, n * sizeof *s.order);
done:
    rf_free(env, s.state, n * sizeof *s.state);
    rf_free(env, s.stack, n * sizeof *s.stack);
    rf_free(env, s.order, n * sizeof *s.order);
    return status;
}
