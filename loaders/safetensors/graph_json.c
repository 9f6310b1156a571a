/* SPDX-License-Identifier: Apache-2.0
 *
 * A graph as JSON, driven by the op table: only attributes that differ from their defaults are
 * written. Values are numbered; constants name a tensor of the file. Reading trusts nothing.
 */
#include "loaders/safetensors/safetensors.h"

#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { FORM_VERSION = 1, MAX_VALUES = 1000000 };

/* ---- writing ------------------------------------------------------------------------------------
 */

static json_t *ints_json(const void *values, int n, bool wide)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(
            list, json_integer(wide ? ((const int64_t *)values)[i] : ((const int32_t *)values)[i]));
    return list;
}

static json_t *field_json(const rf_field *f, const rf_attrs *attrs)
{
    const char *at = (const char *)attrs + f->offset;
    switch (f->kind) {
    case RF_FIELD_INT:
        return json_integer(*(const int32_t *)at);
    case RF_FIELD_INTS:
        return ints_json(at, f->n, false);
    case RF_FIELD_LIST:
        return ints_json(at, *(const int32_t *)((const char *)attrs + f->count_offset), true);
    case RF_FIELD_REAL:
        return json_real(*(const double *)at);
    default:
        return json_string(f->texts[*(const int32_t *)at]);
    }
}

static json_t *node_json(const rf_graph_node *n)
{
    const rf_op_info *info = rf_op_get(n->op);
    rf_attrs defaults;
    rf_attrs_default(n->op, &defaults);
    json_t *attrs = json_object();
    for (int i = 0; i < info->n_fields; i++) {
        json_t *value = field_json(&info->fields[i], &n->attrs);
        json_t *def = field_json(&info->fields[i], &defaults);
        if (!json_equal(value, def))
            json_object_set(attrs, info->fields[i].name, value);
        json_decref(value);
        json_decref(def);
    }
    return json_pack("{s:s, s:s, s:o, s:o, s:o}", "op", info->name, "name", n->name, "in",
                     ints_json(n->in, n->n_in, false), "out", ints_json(n->out, n->n_out, false),
                     "attrs", attrs);
}

static json_t *graph_object(const rf_graph *g, const char *const *names)
{
    json_t *inputs = json_array(), *consts = json_array(), *nodes = json_array(),
           *outputs = json_array();
    for (size_t i = 0; i < g->n_inputs; i++) {
        const rf_graph_value *v = &g->values[g->inputs[i]];
        json_array_append_new(
            inputs, json_pack("{s:i, s:s, s:s, s:o, s:I, s:I}", "value", g->inputs[i], "name",
                              v->name, "dtype", rf_dtype_name(v->desc.dtype), "dims",
                              ints_json(v->desc.dims, v->desc.rank, true), "min_h",
                              (json_int_t)v->min_h, "min_w", (json_int_t)v->min_w));
    }
    for (size_t v = 0; v < g->n_values; v++)
        if (names[v])
            json_array_append_new(consts,
                                  json_pack("{s:i, s:s}", "value", (int)v, "tensor", names[v]));
    for (size_t i = 0; i < g->n_nodes; i++)
        json_array_append_new(nodes, node_json(&g->nodes[i]));
    for (size_t i = 0; i < g->n_outputs; i++)
        json_array_append_new(
            outputs, json_pack("{s:i, s:s}", "value", g->outputs[i], "name", g->output_names[i]));
    return json_pack("{s:i, s:s, s:i, s:o, s:o, s:o, s:o}", "version", FORM_VERSION, "name",
                     g->name, "values", (int)g->n_values, "inputs", inputs, "constants", consts,
                     "nodes", nodes, "outputs", outputs);
}

rf_status rf_graph_to_json(const rf_graph *graph, const char *const *names, char **out,
                           rf_error *err)
{
    json_t *root = graph_object(graph, names);
    *out = root ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(root);
    return *out ? RF_OK : rf_fail(err, RF_ERR_MEMORY, "no memory for the graph as JSON");
}

/* ---- reading ------------------------------------------------------------------------------------
 */

static rf_status bad(rf_error *err, const char *what, const char *expected)
{
    return rf_fail(err, RF_ERR_FORMAT, "graph: %s: expected %s", what, expected);
}

static bool read_int(const json_t *j, int64_t low, int64_t high, int64_t *out)
{
    if (!json_is_integer(j) || json_integer_value(j) < low || json_integer_value(j) > high)
        return false;
    *out = json_integer_value(j);
    return true;
}

static rf_status read_ids(const rf_graph *g, const json_t *list, int max, bool none, rf_value *out,
                          int32_t *out_n, const char *where, rf_error *err)
{
    if (!json_is_array(list) || json_array_size(list) > (size_t)max)
        return bad(err, where, "a short list of values");
    *out_n = (int32_t)json_array_size(list);
    for (int i = 0; i < *out_n; i++) {
        int64_t v;
        if (!read_int(json_array_get(list, (size_t)i), none ? RF_NONE : 0, (int64_t)g->n_values - 1,
                      &v))
            return bad(err, where, "numbers of values");
        out[i] = (rf_value)v;
    }
    return RF_OK;
}

static rf_status read_attr(rf_op op, rf_attrs *attrs, const char *key, const json_t *j,
                           rf_error *err)
{
    rf_attr a = {.key = key, .kind = RF_ATTR_INTS};
    if (json_is_string(j)) {
        a.kind = RF_ATTR_ENUM;
        a.name = json_string_value(j);
    } else if (json_is_real(j)) {
        a.kind = RF_ATTR_REAL;
        a.real = json_real_value(j);
    } else if (json_is_integer(j)) {
        a.n = 1;
        a.i[0] = json_integer_value(j);
    } else if (json_is_array(j) && json_array_size(j) <= sizeof a.i / sizeof *a.i) {
        a.n = (int32_t)json_array_size(j);
        for (int i = 0; i < a.n; i++)
            if (!read_int(json_array_get(j, (size_t)i), INT64_MIN, INT64_MAX, &a.i[i]))
                return bad(err, key, "integers");
    } else
        return bad(err, key, "a number, a text or a list of integers");
    return rf_attrs_set(op, attrs, &a, err);
}

static rf_status read_node(rf_graph *g, const json_t *j, rf_error *err)
{
    const char *op_name = json_string_value(json_object_get(j, "op"));
    const char *name = json_string_value(json_object_get(j, "name")), *key;
    rf_op op = op_name ? rf_op_find(op_name) : RF_OP_COUNT;
    rf_graph_node *n;
    json_t *value;
    if (op == RF_OP_COUNT || !name)
        return bad(err, op_name ? op_name : "node", "a known op and a name");
    const rf_op_info *info = rf_op_get(op);
    RF_TRY(rf_graph_new_node(g, op, name, &n, err));
    RF_TRY(read_ids(g, json_object_get(j, "in"), RF_MAX_IN, true, n->in, &n->n_in, name, err));
    RF_TRY(read_ids(g, json_object_get(j, "out"), RF_MAX_OUT, false, n->out, &n->n_out, name, err));
    bool arity = n->n_in >= info->n_in &&
                 (info->n_opt < 0 || n->n_in <= info->n_in + info->n_opt) && n->n_out >= 1 &&
                 (info->n_out < 0 || n->n_out == info->n_out);
    for (int i = 0; i < info->n_in && arity; i++)
        arity = n->in[i] != RF_NONE;
    if (!arity)
        return bad(err, name, "the number of inputs and outputs that its op has");
    json_object_foreach(json_object_get(j, "attrs"), key, value)
        RF_TRY(read_attr(op, &n->attrs, key, value, err));
    return RF_OK;
}

static rf_status read_input(rf_graph *g, const json_t *j, rf_error *err)
{
    const char *name = json_string_value(json_object_get(j, "name"));
    const char *dtype = json_string_value(json_object_get(j, "dtype"));
    const json_t *dims = json_object_get(j, "dims");
    int64_t v, d = 0;
    if (!name || !read_int(json_object_get(j, "value"), 0, (int64_t)g->n_values - 1, &v) ||
        g->values[v].is_input || g->values[v].blob || !json_is_array(dims) ||
        json_array_size(dims) > RF_MAX_RANK)
        return bad(err, "input", "a name, a free value and at most 8 dims");
    rf_graph_value *value = &g->values[v];
    value->name = rf_arena_strndup(&g->arena, name, strlen(name));
    if (!value->name)
        return rf_fail(err, RF_ERR_MEMORY, "no memory for the graph");
    while (d < RF_DTYPE_COUNT && (!dtype || strcmp(dtype, rf_dtype_name((rf_dtype)d))))
        d++;
    if (d == RF_DTYPE_COUNT)
        return bad(err, name, "a dtype");
    value->is_input = true;
    value->desc.dtype = (rf_dtype)d;
    value->desc.rank = (int32_t)json_array_size(dims);
    for (int i = 0; i < value->desc.rank; i++)
        if (!read_int(json_array_get(dims, (size_t)i), -1, INT32_MAX, &value->desc.dims[i]))
            return bad(err, name, "dims of -1 or more");
    if (!read_int(json_object_get(j, "min_h"), 0, INT32_MAX, &value->min_h) ||
        !read_int(json_object_get(j, "min_w"), 0, INT32_MAX, &value->min_w))
        return bad(err, name, "min_h and min_w");
    RF_TRY(rf_grow_array(g->env, &g->inputs, &g->inputs_capacity, g->n_inputs + 1,
                         sizeof *g->inputs, err));
    g->inputs[g->n_inputs++] = (rf_value)v;
    return RF_OK;
}

static rf_status read_const(rf_graph *g, rf_checkpoint *ckpt, const json_t *j, rf_error *err)
{
    const char *key = json_string_value(json_object_get(j, "tensor"));
    int64_t v;
    rf_checkpoint_entry *e = key ? rf_checkpoint_find(ckpt, key) : NULL;
    if (!e || !read_int(json_object_get(j, "value"), 0, (int64_t)g->n_values - 1, &v) ||
        g->values[v].blob || g->values[v].is_input)
        return bad(err, key ? key : "constant", "a tensor of this file and a free value");
    g->values[v].name = rf_arena_strndup(&g->arena, key, strlen(key));
    if (!g->values[v].name)
        return rf_fail(err, RF_ERR_MEMORY, "no memory for the graph");
    g->values[v].desc = e->tensor;
    g->values[v].blob = rf_blob_retain(e->blob);
    e->consumed = true;
    return RF_OK;
}

/* Every value that is read is written exactly once: by an input, a constant or one node. */
static rf_status check_writers(const rf_graph *g, rf_error *err)
{
    uint8_t *written;
    rf_status status = RF_OK;
    RF_TRY(rf_alloc_array(g->env, g->n_values, 1, &written, err));
    for (size_t v = 0; v < g->n_values; v++)
        written[v] = g->values[v].is_input || g->values[v].blob;
    for (size_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_out; k++)
            if (written[g->nodes[i].out[k]]++)
                status = bad(err, g->nodes[i].name, "outputs that nothing else writes");
    for (size_t i = 0; i < g->n_nodes && status == RF_OK; i++)
        for (int k = 0; k < g->nodes[i].n_in && status == RF_OK; k++)
            if (g->nodes[i].in[k] != RF_NONE && !written[g->nodes[i].in[k]])
                status = bad(err, g->nodes[i].name, "inputs that something writes");
    for (size_t i = 0; i < g->n_outputs && status == RF_OK; i++)
        if (!written[g->outputs[i]])
            status = bad(err, g->output_names[i], "an output that something writes");
    rf_free(g->env, written, g->n_values);
    return status;
}

static rf_status read_graph(rf_graph *g, const json_t *root, rf_checkpoint *ckpt, rf_error *err)
{
    const char *name = json_string_value(json_object_get(root, "name"));
    int64_t version, n_values, v;
    rf_value unused;
    json_t *j;
    size_t i;
    if (!read_int(json_object_get(root, "version"), FORM_VERSION, FORM_VERSION, &version))
        return rf_fail(err, RF_ERR_UNSUPPORTED, "graph: expected version %d", FORM_VERSION);
    if (!name || !read_int(json_object_get(root, "values"), 0, MAX_VALUES, &n_values))
        return bad(err, "header", "a name and the number of values");
    RF_TRY(rf_graph_set_name(g, name, err));
    for (int64_t k = 0; k < n_values; k++)
        RF_TRY(rf_graph_new_value(g, "", &unused, err));
    json_array_foreach(json_object_get(root, "inputs"), i, j) RF_TRY(read_input(g, j, err));
    json_array_foreach(json_object_get(root, "constants"), i, j)
        RF_TRY(read_const(g, ckpt, j, err));
    json_array_foreach(json_object_get(root, "nodes"), i, j) RF_TRY(read_node(g, j, err));
    json_array_foreach(json_object_get(root, "outputs"), i, j)
    {
        const char *out_name = json_string_value(json_object_get(j, "name"));
        if (!out_name || !read_int(json_object_get(j, "value"), 0, n_values - 1, &v))
            return bad(err, "output", "a name and a value");
        RF_TRY(rf_graph_output(g, out_name, (rf_value)v, err));
    }
    RF_TRY(check_writers(g, err));
    return rf_graph_sort(g, err);
}

rf_status rf_graph_from_json(const char *text, rf_checkpoint *ckpt, rf_graph **out, rf_error *err)
{
    json_error_t where;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &where);
    *out = NULL;
    if (!root)
        return rf_fail(err, RF_ERR_FORMAT, "graph: JSON at %d: %s", where.position, where.text);
    rf_status status = rf_graph_create_env(ckpt->env, out, err);
    if (status == RF_OK)
        status = read_graph(*out, root, ckpt, err);
    if (status != RF_OK)
        rf_graph_destroy(out);
    json_decref(root);
    return status;
}
