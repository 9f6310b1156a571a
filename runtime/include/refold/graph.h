/* SPDX-License-Identifier: Apache-2.0
 *
 * The graph builder: defines a network in C. Every op of runtime/core/op.def can be added by its
 * name; `refold ops` lists names, inputs and attributes. The architectures that Refold recognises
 * (loaders/arch/) are built through exactly these calls.
 *
 *   rf_graph *g;  rf_value x, w, b, y;
 *   rf_graph_create(NULL, &g, &err);
 *   rf_graph_input(g, "x", RF_F32, 4, (int64_t[]){-1, 3, -1, -1}, &x, &err);
 *   rf_graph_const(g, "w", &weights, &w, &err);  rf_graph_const(g, "b", &bias, &b, &err);
 *   rf_graph_add(g, "conv2d", "stem", (rf_value[]){x, w, b}, 3,
 *                (rf_attr[]){RF_INTS("pad", 1, 1, 1, 1), RF_ENUM("act", "relu")}, 2, &y, 1, &err);
 *   rf_graph_output(g, "y", y, &err);
 *   rf_model_from_graph(&g, NULL, &model, &err);
 *
 * Names are UTF-8. Threads: one graph belongs to one thread at a time.
 */
#ifndef REFOLD_GRAPH_H
#define REFOLD_GRAPH_H

#include <refold/tensor.h>

#ifdef __cplusplus
#include <initializer_list>
extern "C" {
#endif

typedef struct rf_graph rf_graph;

/* Handle of a value (an edge) of one graph. RF_NONE stands for an absent optional input. */
typedef int32_t rf_value;
#define RF_NONE (-1)

typedef enum rf_attr_kind { RF_ATTR_INTS, RF_ATTR_REAL, RF_ATTR_ENUM } rf_attr_kind;

/* One attribute as key and value. Unnamed attributes keep the defaults of attrs.def. */
typedef struct rf_attr {
    const char *key;
    rf_attr_kind kind;
    int32_t n; /* RF_ATTR_INTS: how many of `i` are given */
    int64_t i[RF_MAX_RANK * 2];
    double real;
    const char *name; /* RF_ATTR_ENUM: the enumerator, e.g. "reflect" */
} rf_attr;

#ifdef __cplusplus /* which has no compound literals */
#define RF_ATTR_COUNT_(...)                                                                        \
    (static_cast<int32_t>(std::initializer_list<int64_t>{__VA_ARGS__}.size()))
#else
#define RF_ATTR_COUNT_(...) ((int32_t)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)))
#endif
#define RF_INTS(key, ...)                                                                          \
    {                                                                                              \
        key, RF_ATTR_INTS, RF_ATTR_COUNT_(__VA_ARGS__), {__VA_ARGS__}, 0, 0                        \
    }
#define RF_REAL(key, value)                                                                        \
    {                                                                                              \
        key, RF_ATTR_REAL, 0, {0}, value, 0                                                        \
    }
#define RF_ENUM(key, name)                                                                         \
    {                                                                                              \
        key, RF_ATTR_ENUM, 0, {0}, 0, name                                                         \
    }

/* Creates an empty graph. `hooks` may be NULL.
 * Owns: *out belongs to the caller until rf_model_from_graph takes it; rf_graph_destroy frees it.
 */
RF_API RF_NODISCARD rf_status rf_graph_create(const rf_hooks *hooks, rf_graph **out, rf_error *err);
/* Frees a graph and sets the pointer to NULL. Accepts NULL. */
RF_API void rf_graph_destroy(rf_graph **graph);

/* Adds an input. A dim of -1 is fixed only when a session is prepared. Names are unique.
 * Fails: RF_ERR_ARGUMENT for a used name, a bad rank or dtype. */
RF_API RF_NODISCARD rf_status rf_graph_input(rf_graph *graph, const char *name, rf_dtype dtype,
                                             int rank, const int64_t *dims, rf_value *out,
                                             rf_error *err);
/* Adds a constant; the elements are copied. `tensor` may have any strides. */
RF_API RF_NODISCARD rf_status rf_graph_const(rf_graph *graph, const char *name,
                                             const rf_tensor *tensor, rf_value *out, rf_error *err);
/* Adds one op and returns its n_out output values.
 * Fails: RF_ERR_ARGUMENT for an unknown op, attribute or enumerator (the text lists the known
 * ones), a wrong number of inputs or outputs, a value that is not of this graph. Shapes are
 * checked when a session is prepared, because inputs may be open until then. */
RF_API RF_NODISCARD rf_status rf_graph_add(rf_graph *graph, const char *op, const char *name,
                                           const rf_value *inputs, int n_in, const rf_attr *attrs,
                                           int n_attrs, rf_value *outputs, int n_out,
                                           rf_error *err);
/* Names a value as an output of the network; outputs are returned in the order of these calls. */
RF_API RF_NODISCARD rf_status rf_graph_output(rf_graph *graph, const char *name, rf_value value,
                                              rf_error *err);
/* Smallest legal size of the last two dims of input `input`; smaller ones are refused at prepare
 * with a message that names the network. */
RF_API RF_NODISCARD rf_status rf_graph_set_min_size(rf_graph *graph, rf_value input, int64_t height,
                                                    int64_t width, rf_error *err);
/* Name of the architecture, shown by `refold info` and used in messages. */
RF_API RF_NODISCARD rf_status rf_graph_set_name(rf_graph *graph, const char *name, rf_error *err);

#ifdef __cplusplus
}
#endif
#endif
