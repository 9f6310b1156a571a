/* SPDX-License-Identifier: Apache-2.0
 *
 * A graph as JSON, driven by the op table: only attributes that differ from their defaults are
 * written. Values are numbered without gaps; constants name a tensor of the file.
 *
 * Reading trusts nothing and checks little itself: it is a sequence of calls of the graph builder.
 * A node may use only what stands before it, so the text cannot hold a cycle, and every number is
 * given to exactly one value, so the text bounds the memory of what it describes.
 */
#include "loaders/safetensors/safetensors.h"

#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Passes over a graph are quadratic in its nodes: these limits keep the load of a hostile file
 * short. Networks have hundreds of nodes. */
enum { FORM_VERSION = 1, MAX_NODES = 20000, MAX_ENDS = 1000, MAX_ATTRS = 16 };

/* ---- writing --------------------------------------------------------------------------------- */

static json_t *ints_json(const void *values, int n, bool wide)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        json_t *item =
            json_integer(wide ? ((const int64_t *)values)[i] : ((const int32_t *)values)[i]);
        if (json_array_append_new(list, item)) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *real_json(double x)
{
    return isinf(x) ? json_string(x < 0 ? "-inf" : "inf") : json_real(x);
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
        return real_json(*(const double *)at);
    default:
        return json_string(f->texts[*(const int32_t *)at]);
    }
}

/* NULL on any failure, as with everything here: json_pack takes NULL for a failure of its own. */
static json_t *attrs_json(const rf_graph_node *n)
{
    const rf_op_info *info = rf_op_get(n->op);
    rf_attrs defaults;
    rf_attrs_default(n->op, &defaults);
    json_t *attrs = json_object();
    bool ok = attrs;
    for (int i = 0; i < info->n_fields; i++) {
        json_t *value = field_json(&info->fields[i], &n->attrs);
        json_t *def = field_json(&info->fields[i], &defaults);
        ok = ok && value && def;
        if (ok && !json_equal(value, def))
            ok = !json_object_set(attrs, info->fields[i].name, value);
        json_decref(value);
        json_decref(def);
    }
    if (!ok) {
        json_decref(attrs);
        return NULL;
    }
    return attrs;
}

static json_t *node_json(const rf_graph_node *n, const int32_t *numbers)
{
    int32_t in[RF_MAX_IN], out[RF_MAX_OUT];
    for (int k = 0; k < n->n_in; k++)
        in[k] = n->in[k] == RF_NONE ? RF_NONE : numbers[n->in[k]];
    for (int k = 0; k < n->n_out; k++)
        out[k] = numbers[n->out[k]];
    return json_pack("{s:s, s:s, s:o, s:o, s:o}", "op", rf_op_get(n->op)->name, "name", n->name,
                     "in", ints_json(in, n->n_in, false), "out", ints_json(out, n->n_out, false),
                     "attrs", attrs_json(n));
}

static json_t *input_json(const rf_graph_value *v, int32_t number)
{
    return json_pack("{s:i, s:s, s:s, s:o, s:I, s:I}", "value", (int)number, "name", v->name,
                     "dtype", rf_dtype_name(v->desc.dtype), "dims",
                     ints_json(v->desc.dims, v->desc.rank, true), "min_h", (json_int_t)v->min_h,
                     "min_w", (json_int_t)v->min_w);
}

/* `numbers` gets the number of every value that something writes. */
static int32_t number_values(const rf_graph *g, const char *const *names, int32_t *numbers)
{
    int32_t n = 0;
    for (size_t i = 0; i < g->n_inputs; i++)
        numbers[g->inputs[i]] = n++;
    for (size_t v = 0; v < g->n_values; v++)
        if (names[v])
            numbers[v] = n++;
    for (size_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_out; k++)
            numbers[g->nodes[i].out[k]] = n++;
    return n;
}

static json_t *graph_object(const rf_graph *g, const char *const *names, int32_t *numbers)
{
    json_t *inputs = json_array(), *consts = json_array(), *nodes = json_array(),
           *outputs = json_array();
    int32_t n = number_values(g, names, numbers);
    bool failed = false;
    for (size_t i = 0; i < g->n_inputs; i++)
        failed |= json_array_append_new(
            inputs, input_json(&g->values[g->inputs[i]], numbers[g->inputs[i]]));
    for (size_t v = 0; v < g->n_values; v++)
        if (names[v])
            failed |= json_array_append_new(
                consts, json_pack("{s:i, s:s}", "value", (int)numbers[v], "tensor", names[v]));
    for (size_t i = 0; i < g->n_nodes; i++)
        failed |= json_array_append_new(nodes, node_json(&g->nodes[i], numbers));
    for (size_t i = 0; i < g->n_outputs; i++)
        failed |= json_array_append_new(outputs, json_pack("{s:i, s:s}", "value",
                                                           (int)numbers[g->outputs[i]], "name",
                                                           g->output_names[i]));
    json_t *root = json_pack("{s:i, s:s, s:i, s:o, s:o, s:o, s:o}", "version", FORM_VERSION, "name",
                             g->name, "values", (int)n, "inputs", inputs, "constants", consts,
                             "nodes", nodes, "outputs", outputs);
    if (failed) {
        json_decref(root);
        return NULL;
    }
    return root;
}

rf_status rf_graph_to_json(const rf_graph *graph, const char *const *names, char **out,
                           rf_error *err)
{
    int32_t *numbers;
    *out = NULL;
    RF_TRY(rf_alloc_array(graph->env, graph->n_values, sizeof *numbers, &numbers, err));
    json_t *root = graph_object(graph, names, numbers);
    rf_free(graph->env, numbers, graph->n_values * sizeof *numbers);
    if (root)
        *out = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(root);
    return *out ? RF_OK : rf_fail(err, RF_ERR_MEMORY, "no memory for the graph as JSON");
}

/* ---- reading --------------------------------------------------------------------------------- */

typedef struct reader {
    rf_graph *graph;
    rf_checkpoint *ckpt;
    rf_value *values; /* value of the graph + 1 by number in the text; 0: not written yet */
    int64_t n_values, n_written;
    rf_error *err;
} reader;

#define bad(r, ...) rf_fail((r)->err, RF_ERR_FORMAT, "graph: " __VA_ARGS__)

/* What the builder calls a wrong argument is here a malformed file. */
static rf_status from_file(reader *r, rf_status status, const rf_error *why)
{
    if (status == RF_OK)
        return RF_OK;
    return rf_fail(r->err, status == RF_ERR_ARGUMENT ? RF_ERR_FORMAT : status, "graph: %s",
                   why->text);
}

static bool read_int(const json_t *j, int64_t low, int64_t high, int64_t *out)
{
    if (!json_is_integer(j) || json_integer_value(j) < low || json_integer_value(j) > high)
        return false;
    *out = json_integer_value(j);
    return true;
}

/* An object with exactly n members; absent ones among them are found when they are read. */
static rf_status check_members(reader *r, const json_t *j, const char *what, size_t n)
{
    if (!json_is_object(j) || json_object_size(j) != n)
        return bad(r, "%s: expected an object of %zu members, found %s", what, n,
                   json_is_object(j) ? "more, fewer or others" : "something else");
    return RF_OK;
}

/* Gives a number of the text to a value of the graph. */
static rf_status write_number(reader *r, const json_t *number, rf_value v, const char *what)
{
    int64_t k;
    if (!read_int(number, 0, r->n_values - 1, &k))
        return bad(r, "%.96s: expected the number of a value below %lld", what,
                   (long long)r->n_values);
    if (r->values[k])
        return bad(r, "%.96s: value %lld is written twice", what, (long long)k);
    r->values[k] = v + 1;
    r->n_written++;
    return RF_OK;
}

static rf_status read_number(reader *r, const json_t *number, bool may_be_none, rf_value *out,
                             const char *what)
{
    int64_t k;
    if (!read_int(number, may_be_none ? RF_NONE : 0, r->n_values - 1, &k))
        return bad(r, "%.96s: expected the number of a value below %lld", what,
                   (long long)r->n_values);
    if (k != RF_NONE && !r->values[k])
        return bad(r, "%.96s: nothing before it writes value %lld", what, (long long)k);
    *out = k == RF_NONE ? RF_NONE : r->values[k] - 1;
    return RF_OK;
}

static rf_status read_input(reader *r, const json_t *j)
{
    const char *name = json_string_value(json_object_get(j, "name"));
    const char *dtype = json_string_value(json_object_get(j, "dtype"));
    const json_t *list = json_object_get(j, "dims");
    int64_t dims[RF_MAX_RANK], min_h, min_w;
    int d = 0, rank = (int)json_array_size(list);
    rf_value v;
    rf_error why;
    RF_TRY(check_members(r, j, "input", 6));
    if (!name || !json_is_array(list) || json_array_size(list) > RF_MAX_RANK)
        return bad(r, "input: expected a name and a list of at most %d dims", RF_MAX_RANK);
    while (d < RF_DTYPE_COUNT && (!dtype || strcmp(dtype, rf_dtype_name((rf_dtype)d))))
        d++;
    if (d == RF_DTYPE_COUNT)
        return bad(r, "input '%.64s': expected a dtype, found '%.32s'", name, dtype ? dtype : "");
    for (int i = 0; i < rank; i++)
        if (!read_int(json_array_get(list, (size_t)i), -1, INT32_MAX, &dims[i]))
            return bad(r, "input '%.64s': dim %d: expected -1 to 2^31-1", name, i);
    if (!read_int(json_object_get(j, "min_h"), 0, INT32_MAX, &min_h) ||
        !read_int(json_object_get(j, "min_w"), 0, INT32_MAX, &min_w))
        return bad(r, "input '%.64s': expected min_h and min_w of 0 to 2^31-1", name);
    RF_TRY(from_file(r, rf_graph_input(r->graph, name, (rf_dtype)d, rank, dims, &v, &why), &why));
    if (min_h || min_w)
        RF_TRY(from_file(r, rf_graph_set_min_size(r->graph, v, min_h, min_w, &why), &why));
    return write_number(r, json_object_get(j, "value"), v, name);
}

static rf_status read_const(reader *r, const json_t *j)
{
    const char *key = json_string_value(json_object_get(j, "tensor"));
    rf_value v;
    RF_TRY(check_members(r, j, "constant", 2));
    if (!key)
        return bad(r, "constant: expected the name of a tensor");
    rf_checkpoint_entry *e = rf_checkpoint_find(r->ckpt, key);
    if (!e || e->consumed)
        return bad(r, "constant '%.96s': %s", key,
                   e ? "a second constant takes this tensor" : "the file has no such tensor");
    RF_TRY(rf_graph_new_const(r->graph, key, &e->tensor, e->blob, &v, r->err));
    e->consumed = true;
    return write_number(r, json_object_get(j, "value"), v, key);
}

static bool is_real_field(const rf_op_info *op, const char *key)
{
    for (int k = 0; k < op->n_fields; k++)
        if (!strcmp(op->fields[k].name, key))
            return op->fields[k].kind == RF_FIELD_REAL;
    return false;
}

static rf_status read_attr(reader *r, const rf_op_info *op, const char *node, const char *key,
                           const json_t *j, rf_attr *out)
{
    *out = (rf_attr){.key = key, .kind = RF_ATTR_INTS};
    const char *text = json_string_value(j);
    if (text && is_real_field(op, key) && (!strcmp(text, "inf") || !strcmp(text, "-inf"))) {
        out->kind = RF_ATTR_REAL;
        out->real = *text == '-' ? -INFINITY : INFINITY;
    } else if (text) {
        out->kind = RF_ATTR_ENUM;
        out->name = text;
    } else if (json_is_real(j)) {
        out->kind = RF_ATTR_REAL;
        out->real = json_real_value(j);
    } else if (json_is_integer(j)) {
        out->n = 1;
        out->i[0] = json_integer_value(j);
    } else if (json_is_array(j) && json_array_size(j) <= sizeof out->i / sizeof *out->i) {
        out->n = (int32_t)json_array_size(j);
        for (int i = 0; i < out->n; i++)
            if (!read_int(json_array_get(j, (size_t)i), INT64_MIN, INT64_MAX, &out->i[i]))
                return bad(r, "node '%.64s': attribute '%.32s': expected integers", node, key);
    } else {
        return bad(r, "node '%.64s': attribute '%.32s': expected a number, a word or integers",
                   node, key);
    }
    return RF_OK;
}

static rf_status read_attrs(reader *r, const char *op_name, const char *node, json_t *list,
                            rf_attr out[MAX_ATTRS], int *out_n)
{
    rf_op op = rf_op_find(op_name);
    const char *key;
    json_t *value;
    *out_n = 0;
    if (op == RF_OP_COUNT)
        return bad(r, "node '%.64s': there is no op '%.32s'", node, op_name);
    if (!json_is_object(list) || json_object_size(list) > MAX_ATTRS)
        return bad(r, "node '%.64s': expected an object of at most %d attributes", node, MAX_ATTRS);
    json_object_foreach(list, key, value)
        RF_TRY(read_attr(r, rf_op_get(op), node, key, value, &out[(*out_n)++]));
    return RF_OK;
}

static rf_status read_node(reader *r, const json_t *j)
{
    const char *op = json_string_value(json_object_get(j, "op"));
    const char *name = json_string_value(json_object_get(j, "name"));
    const json_t *ins = json_object_get(j, "in"), *outs = json_object_get(j, "out");
    rf_value in[RF_MAX_IN], out[RF_MAX_OUT];
    rf_attr attrs[MAX_ATTRS];
    rf_error why;
    int n_attrs, n_in = (int)json_array_size(ins), n_out = (int)json_array_size(outs);
    RF_TRY(check_members(r, j, "node", 5));
    if (!op || !name)
        return bad(r, "node: expected an op and a name");
    if (!json_is_array(ins) || !json_is_array(outs) || json_array_size(ins) > RF_MAX_IN ||
        json_array_size(outs) > RF_MAX_OUT)
        return bad(r, "node '%.64s': expected lists of at most %d inputs and %d outputs", name,
                   RF_MAX_IN, RF_MAX_OUT);
    RF_TRY(read_attrs(r, op, name, json_object_get(j, "attrs"), attrs, &n_attrs));
    for (int k = 0; k < n_in; k++)
        RF_TRY(read_number(r, json_array_get(ins, (size_t)k), true, &in[k], name));
    RF_TRY(from_file(
        r, rf_graph_add(r->graph, op, name, in, n_in, attrs, n_attrs, out, n_out, &why), &why));
    for (int k = 0; k < n_out; k++)
        RF_TRY(write_number(r, json_array_get(outs, (size_t)k), out[k], name));
    return RF_OK;
}

static rf_status read_output(reader *r, const json_t *j)
{
    const char *name = json_string_value(json_object_get(j, "name"));
    rf_value v;
    rf_error why;
    RF_TRY(check_members(r, j, "output", 2));
    if (!name)
        return bad(r, "output: expected a name");
    RF_TRY(read_number(r, json_object_get(j, "value"), false, &v, name));
    return from_file(r, rf_graph_output(r->graph, name, v, &why), &why);
}

typedef rf_status item_fn(reader *r, const json_t *item);

static rf_status read_list(reader *r, const json_t *root, const char *key, size_t most,
                           item_fn *read)
{
    const json_t *list = json_object_get(root, key);
    if (!json_is_array(list) || json_array_size(list) > most)
        return bad(r, "%s: expected a list of at most %zu entries", key, most);
    for (size_t i = 0; i < json_array_size(list); i++)
        RF_TRY(read(r, json_array_get(list, i)));
    return RF_OK;
}

static rf_status read_graph(reader *r, const json_t *root)
{
    const char *name = json_string_value(json_object_get(root, "name"));
    rf_error why;
    int64_t version;
    if (!read_int(json_object_get(root, "version"), FORM_VERSION, FORM_VERSION, &version))
        return rf_fail(r->err, RF_ERR_UNSUPPORTED, "graph: expected version %d", FORM_VERSION);
    RF_TRY(check_members(r, root, "graph", 7));
    if (!name)
        return bad(r, "expected a name");
    RF_TRY(from_file(r, rf_graph_set_name(r->graph, name, &why), &why));
    RF_TRY(read_list(r, root, "inputs", MAX_ENDS, read_input));
    RF_TRY(read_list(r, root, "constants", SIZE_MAX, read_const));
    RF_TRY(read_list(r, root, "nodes", MAX_NODES, read_node));
    RF_TRY(read_list(r, root, "outputs", MAX_ENDS, read_output));
    if (r->n_written != r->n_values)
        return bad(r, "'values' is %lld, but %lld are written", (long long)r->n_values,
                   (long long)r->n_written);
    return RF_OK;
}

rf_status rf_graph_from_json(const char *text, rf_checkpoint *ckpt, rf_graph **out, rf_error *err)
{
    reader r = {.ckpt = ckpt, .err = err};
    json_error_t where;
    rf_status status;
    *out = NULL;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &where);
    if (!root)
        return rf_fail(err, RF_ERR_FORMAT, "graph: JSON, byte %d: %s", where.position, where.text);
    /* Every value has a place of its own in the text. */
    if (!read_int(json_object_get(root, "values"), 0, (int64_t)strlen(text), &r.n_values)) {
        status = bad(&r, "'values': expected a number below the length of the text");
        goto done;
    }
    RF_TRY_DONE(rf_alloc_array(ckpt->env, (size_t)r.n_values, sizeof *r.values, &r.values, err));
    RF_TRY_DONE(rf_graph_create_env(ckpt->env, &r.graph, err));
    RF_TRY_DONE(read_graph(&r, root));
    *out = r.graph;
    r.graph = NULL;
done:
    rf_graph_destroy(&r.graph);
    rf_free(ckpt->env, r.values, (size_t)r.n_values * sizeof *r.values);
    json_decref(root);
    return status;
}
