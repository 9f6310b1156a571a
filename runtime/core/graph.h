/* SPDX-License-Identifier: Apache-2.0
 *
 * The graph: values (edges) and nodes (ops) in two arrays, nodes in topological order. It is small
 * (hundreds of nodes), so passes scan it and rebuild; nothing is linked.
 */
#ifndef RF_CORE_GRAPH_H
#define RF_CORE_GRAPH_H

#include "runtime/base/arena.h"
#include "runtime/base/file.h"
#include "runtime/core/op.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rf_graph_value {
    const char *name; /* in the graph's arena; may be "" */
    rf_tensor
        desc; /* dims of -1 are open; for constants strides are set and data points into blob */
    rf_blob *blob; /* constants: where the elements live (one reference held) */
    bool is_input;
    int64_t min_h, min_w; /* inputs: smallest legal last two dims */
    int32_t mark;         /* scratch of rf_graph_prune and rf_graph_sort */
} rf_graph_value;

typedef struct rf_graph_node {
    const char *name;
    rf_op op;
    rf_attrs attrs;
    int32_t n_in, n_out;
    rf_value in[RF_MAX_IN]; /* RF_NONE = absent */
    rf_value out[RF_MAX_OUT];
} rf_graph_node;

struct rf_graph {
    rf_env *env;
    rf_arena arena;
    const char *name; /* architecture */
    rf_graph_value *values;
    size_t n_values, values_capacity;
    rf_graph_node *nodes;
    size_t n_nodes, nodes_capacity;
    rf_value *inputs;
    size_t n_inputs, inputs_capacity;
    rf_value *outputs;
    const char **output_names;
    size_t n_outputs, outputs_capacity, output_names_capacity;
};

/* A new graph on an existing env. */
rf_status rf_graph_create_env(rf_env *env, rf_graph **out, rf_error *err);
/* A deep copy; constants share their blobs. */
rf_status rf_graph_clone(const rf_graph *graph, rf_graph **out, rf_error *err);
/* A value without producer; passes wire it up themselves. */
rf_status rf_graph_new_value(rf_graph *graph, const char *name, rf_value *out, rf_error *err);
/* A constant over a blob that already holds the elements; `desc` has strides and data inside it. */
rf_status rf_graph_new_const(rf_graph *graph, const char *name, const rf_tensor *desc,
                             rf_blob *blob, rf_value *out, rf_error *err);
/* Appends a zeroed node (n_in 0, defaults of op). Invalidates node pointers. */
rf_status rf_graph_new_node(rf_graph *graph, rf_op op, const char *name, rf_graph_node **out,
                            rf_error *err);
bool rf_graph_is_const(const rf_graph *graph, rf_value v);
/* Index of the node that produces v, or -1. */
int rf_graph_producer(const rf_graph *graph, rf_value v);
/* How many node inputs and graph outputs use v; *node gets the last consuming node's index or -1.
 */
int rf_graph_uses(const rf_graph *graph, rf_value v, int *node);
bool rf_graph_is_output(const rf_graph *graph, rf_value v);
/* Every use of `from` becomes a use of `to`, graph outputs included. */
void rf_graph_replace(rf_graph *graph, rf_value from, rf_value to);
/* Drops nodes whose results nobody uses, keeps the order. A pass removes a node by n_out = 0.
 * Constants that nobody uses any more give their blob back and cease to be constants. */
void rf_graph_prune(rf_graph *graph);
/* Restores topological order after nodes were appended. Fails on a cycle: RF_ERR_FORMAT. */
rf_status rf_graph_sort(rf_graph *graph, rf_error *err);

#ifdef __cplusplus
}
#endif
#endif
