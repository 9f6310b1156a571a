/* SPDX-License-Identifier: Apache-2.0
 *
 * The public graph builder. It checks everything that can be checked without shapes, so that the
 * call that is wrong is the call that fails.
 */
#include "runtime/base/text.h"
#include "runtime/core/graph.h"
#include "runtime/core/strided.h"

#include <stdio.h>
#include <string.h>

rf_status rf_graph_create(const rf_hooks *hooks, rf_graph **out, rf_error *err)
{
    rf_env *env;
    *out = NULL;
    RF_TRY(rf_env_create(hooks, &env, err));
    rf_status status = rf_graph_create_env(env, out, err);
    rf_env_release(&env);
    return status;
}

/* Names end in saved files (JSON) and on terminals. */
static rf_status check_text(const char *name, const char *what, rf_error *err)
{
    if (!name || !*name)
        return rf_fail(err, RF_ERR_ARGUMENT, "%s need a name", what);
    if (!rf_is_text(name, strlen(name)))
        return rf_fail(err, RF_ERR_ARGUMENT,
                       "%s: the name '%.96s' is not UTF-8 text without control characters", what,
                       name);
    return RF_OK;
}

/* Inputs and constants share one name space: both are found by name in saved files. */
static rf_status check_value_name(const rf_graph *graph, const char *name, rf_error *err)
{
    RF_TRY(check_text(name, "inputs and constants", err));
    for (size_t v = 0; v < graph->n_values; v++)
        if ((graph->values[v].is_input || graph->values[v].blob) &&
            !strcmp(graph->values[v].name, name))
            return rf_fail(err, RF_ERR_ARGUMENT, "the name '%s' is already used by %s", name,
                           graph->values[v].is_input ? "an input" : "a constant");
    return RF_OK;
}

static rf_status check_value(const rf_graph *graph, rf_value v, const char *what, rf_error *err)
{
    if (v < 0 || (size_t)v >= graph->n_values)
        return rf_fail(err, RF_ERR_ARGUMENT, "%s is value %d, expected 0 to %lld of this graph",
                       what, v, (long long)graph->n_values - 1);
    return RF_OK;
}

rf_status rf_graph_input(rf_graph *graph, const char *name, rf_dtype dtype, int rank,
                         const int64_t *dims, rf_value *out, rf_error *err)
{
    rf_graph_value value = {.is_input = true, .desc = {.dtype = dtype, .rank = rank}};
    int64_t least[RF_MAX_RANK];
    rf_tensor smallest;
    rf_error why;
    *out = RF_NONE;
    RF_TRY(check_value_name(graph, name, err));
    if (!rf_dtype_bytes(dtype))
        return rf_fail(err, RF_ERR_ARGUMENT, "input '%s': dtype is %d, expected 0 to %d", name,
                       (int)dtype, RF_DTYPE_COUNT - 1);
    if (rank < 0 || rank > RF_MAX_RANK)
        return rf_fail(err, RF_ERR_ARGUMENT, "input '%s': rank is %d, expected 0 to %d", name, rank,
                       RF_MAX_RANK);
    for (int i = 0; i < rank; i++) {
        if (dims[i] < -1)
            return rf_fail(err, RF_ERR_ARGUMENT,
                           "input '%s': dim %d is %lld, expected a size or -1 for open", name, i,
                           (long long)dims[i]);
        value.desc.dims[i] = dims[i];
        least[i] = dims[i] < 0 ? 1 : dims[i];
    }
    if (rf_tensor_init(&smallest, dtype, rank, least, NULL, &why) != RF_OK)
        return rf_fail(err, RF_ERR_ARGUMENT, "input '%s': %s", name, why.text);
    RF_TRY(rf_grow_array(graph->env, &graph->inputs, &graph->inputs_capacity, graph->n_inputs + 1,
                         sizeof *graph->inputs, err));
    RF_TRY(rf_graph_new_value(graph, name, out, err));
    value.name = graph->values[*out].name;
    graph->values[*out] = value;
    graph->inputs[graph->n_inputs++] = *out;
    return RF_OK;
}

rf_status rf_graph_const(rf_graph *graph, const char *name, const rf_tensor *tensor, rf_value *out,
                         rf_error *err)
{
    rf_blob *blob;
    rf_tensor desc;
    char what[96];
    *out = RF_NONE;
    RF_TRY(check_value_name(graph, name, err));
    snprintf(what, sizeof what, "constant '%.64s'", name);
    RF_TRY(rf_tensor_check(tensor, what, err));
    RF_TRY(rf_blob_alloc(graph->env, rf_tensor_bytes(tensor), &blob, err));
    rf_tensor_pack(tensor, rf_blob_mutable(blob));
    rf_status status = rf_tensor_init(&desc, tensor->dtype, tensor->rank, tensor->dims,
                                      rf_blob_mutable(blob), err);
    if (status == RF_OK)
        status = rf_graph_new_const(graph, name, &desc, blob, out, err);
    rf_blob_release(&blob);
    return status;
}

static rf_status check_inputs(const rf_graph *graph, const rf_op_info *op, const char *name,
                              const rf_value *inputs, int n_in, rf_error *err)
{
    char what[160];
    int most = op->n_opt < 0 ? RF_MAX_IN : op->n_in + op->n_opt;
    if (n_in < op->n_in || n_in > most)
        return rf_fail(err, RF_ERR_ARGUMENT, "%s '%s': has %d inputs, expected %d to %d", op->name,
                       name, n_in, op->n_in, most);
    for (int i = 0; i < n_in; i++) {
        /* Only what is optional one by one may be absent, not an item of a list as in concat. */
        if (inputs[i] == RF_NONE && i >= op->n_in && op->n_opt >= 0)
            continue;
        snprintf(what, sizeof what, "%s '%.64s': input %d", op->name, name, i);
        RF_TRY(check_value(graph, inputs[i], what, err));
    }
    return RF_OK;
}

static rf_status check_outputs(const rf_op_info *op, const char *name, int n_out, rf_error *err)
{
    if (op->n_out < 0 ? n_out >= 1 && n_out <= RF_MAX_OUT : n_out == op->n_out)
        return RF_OK;
    if (op->n_out < 0)
        return rf_fail(err, RF_ERR_ARGUMENT, "%s '%s': has %d outputs, expected 1 to %d", op->name,
                       name, n_out, RF_MAX_OUT);
    return rf_fail(err, RF_ERR_ARGUMENT, "%s '%s': has %d outputs, expected %d", op->name, name,
                   n_out, op->n_out);
}

static rf_status unknown_op(const char *op, rf_error *err)
{
    char known[200] = "";
    size_t len = 0;
    for (int k = 0; k < RF_OP_COUNT && len < sizeof known; k++)
        len += (size_t)snprintf(known + len, sizeof known - len, "%s%s", k ? ", " : "",
                                rf_op_get((rf_op)k)->name);
    return rf_fail(err, RF_ERR_ARGUMENT, "no op '%.32s', known: %s", op, known);
}

rf_status rf_graph_add(rf_graph *graph, const char *op_name, const char *name,
                       const rf_value *inputs, int n_in, const rf_attr *attrs, int n_attrs,
                       rf_value *outputs, int n_out, rf_error *err)
{
    char numbered[32];
    rf_attrs values;
    rf_graph_node *node;
    rf_error why;
    rf_op op = op_name ? rf_op_find(op_name) : RF_OP_COUNT;
    if (op == RF_OP_COUNT)
        return unknown_op(op_name ? op_name : "(null)", err);
    if (!name || !*name) {
        snprintf(numbered, sizeof numbered, "node%zu", graph->n_nodes);
        name = numbered;
    }
    RF_TRY(check_text(name, "nodes", err));
    RF_TRY(check_inputs(graph, rf_op_get(op), name, inputs, n_in, err));
    RF_TRY(check_outputs(rf_op_get(op), name, n_out, err));
    rf_attrs_default(op, &values);
    for (int i = 0; i < n_attrs; i++)
        if (rf_attrs_set(op, &values, &attrs[i], &why) != RF_OK)
            return rf_fail(err, why.code, "node '%.64s': %s", name, why.text);

    rf_value in[RF_MAX_IN]; /* callers may pass one array for inputs and outputs */
    memcpy(in, inputs, (size_t)n_in * sizeof *in);
    size_t n_values = graph->n_values;
    rf_status status = rf_graph_new_node(graph, op, name, &node, err);
    for (int i = 0; i < n_out && status == RF_OK; i++)
        status = rf_graph_new_value(graph, name, &outputs[i], err);
    if (status != RF_OK) {
        graph->n_values = n_values;
        graph->n_nodes -= node != NULL;
        return status;
    }
    node->attrs = values;
    node->n_in = n_in;
    node->n_out = n_out;
    memcpy(node->in, in, (size_t)n_in * sizeof *in);
    memcpy(node->out, outputs, (size_t)n_out * sizeof *outputs);
    return RF_OK;
}

rf_status rf_graph_output(rf_graph *graph, const char *name, rf_value value, rf_error *err)
{
    char what[96];
    RF_TRY(check_text(name, "outputs", err));
    snprintf(what, sizeof what, "output '%.64s'", name);
    RF_TRY(check_value(graph, value, what, err));
    for (size_t i = 0; i < graph->n_outputs; i++)
        if (!strcmp(graph->output_names[i], name))
            return rf_fail(err, RF_ERR_ARGUMENT, "the name '%s' is already used by an output",
                           name);
    RF_TRY(rf_grow_array(graph->env, &graph->outputs, &graph->outputs_capacity,
                         graph->n_outputs + 1, sizeof *graph->outputs, err));
    RF_TRY(rf_grow_array(graph->env, &graph->output_names, &graph->output_names_capacity,
                         graph->n_outputs + 1, sizeof *graph->output_names, err));
    const char *copy = rf_arena_strndup(&graph->arena, name, strlen(name));
    if (!copy)
        return rf_fail(err, RF_ERR_MEMORY, "no memory for a name of the graph");
    graph->outputs[graph->n_outputs] = value;
    graph->output_names[graph->n_outputs++] = copy;
    return RF_OK;
}

rf_status rf_graph_set_min_size(rf_graph *graph, rf_value input, int64_t height, int64_t width,
                                rf_error *err)
{
    RF_TRY(check_value(graph, input, "input", err));
    rf_graph_value *value = &graph->values[input];
    if (!value->is_input || value->desc.rank < 2)
        return rf_fail(err, RF_ERR_ARGUMENT,
                       "value %d ('%s') has no smallest size, expected an input of rank 2 or more",
                       input, value->name);
    if (height < 0 || width < 0)
        return rf_fail(err, RF_ERR_ARGUMENT, "smallest size is %lldx%lld, expected 0 or more",
                       (long long)height, (long long)width);
    value->min_h = height;
    value->min_w = width;
    return RF_OK;
}

rf_status rf_graph_set_name(rf_graph *graph, const char *name, rf_error *err)
{
    if (!name || *name)
        RF_TRY(check_text(name, "graphs", err));
    const char *copy = rf_arena_strndup(&graph->arena, name, strlen(name));
    if (!copy)
        return rf_fail(err, RF_ERR_MEMORY, "no memory for the graph's name");
    graph->name = copy;
    return RF_OK;
}
