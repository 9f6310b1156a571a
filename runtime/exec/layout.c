/* SPDX-License-Identifier: Apache-2.0
 *
 * Which values are stored NHWC, and in which dtype.
 *
 * Image ops (convolutions and what lives between them) want NHWC; matrix ops want plain row-major.
 * Layout-neutral ops take what their neighbours have, so the property spreads through them in both
 * directions until nothing changes. Inputs and outputs of the graph stay plain: the caller owns
 * their layout, and stem and head kernels read and write it directly. So do casts of inputs, which
 * those kernels read in their place.
 */
#include "runtime/exec/plan.h"

typedef enum { OP_NEUTRAL, OP_IMAGE, OP_MATRIX } op_kind;

static op_kind kind_of(const rf_graph_node *n)
{
    switch (n->op) {
    case RF_OP_CONV2D:
    case RF_OP_CONV_TRANSPOSE2D:
    case RF_OP_POOL2D:
    case RF_OP_RESIZE:
    case RF_OP_PIXEL_SHUFFLE:
    case RF_OP_PIXEL_UNSHUFFLE:
    case RF_OP_GROUP_NORM:
    case RF_OP_BATCH_NORM:
    case RF_OP_CHANNEL_STATS:
    case RF_OP_PIXEL_ATTENTION:
        return OP_IMAGE;
    case RF_OP_UNARY:
    case RF_OP_BINARY:
    case RF_OP_PAD:
    case RF_OP_CROP_LIKE:
    case RF_OP_CONCAT:
    case RF_OP_SPLIT:
    case RF_OP_SLICE:
    case RF_OP_CAST:
    case RF_OP_REDUCE:
    case RF_OP_SOFTMAX:
        return OP_NEUTRAL;
    default:
        return OP_MATRIX;
    }
}

static bool is_graph_input(const rf_graph *g, rf_value v)
{
    return g->values[v].is_input;
}

/* Marks v if it may be NHWC; true if that is news. */
static bool mark(rf_planner *p, rf_value v)
{
    const rf_graph *g = p->plan->graph;
    if (v == RF_NONE || p->nhwc[v] || rf_graph_is_const(g, v) || is_graph_input(g, v) ||
        rf_graph_is_output(g, v) || p->plan->values[v].plain || p->plan->values[v].tensor.rank != 4)
        return false;
    p->nhwc[v] = true;
    return true;
}

static bool touches_nhwc(const rf_planner *p, const rf_graph_node *n)
{
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k] != RF_NONE && p->nhwc[n->in[k]])
            return true;
    for (int k = 0; k < n->n_out; k++)
        if (p->nhwc[n->out[k]])
            return true;
    return false;
}

static bool spread(rf_planner *p, const rf_graph_node *n)
{
    op_kind kind = kind_of(n);
    bool changed = false;
    if (kind == OP_MATRIX || (kind == OP_NEUTRAL && !touches_nhwc(p, n)))
        return false;
    /* The statistics of an attention are planes, one after the other. */
    bool stats = n->op == RF_OP_CHANNEL_STATS;
    for (int k = 0; k < n->n_in; k++)
        if (!(n->op == RF_OP_PIXEL_ATTENTION && k == 1))
            changed |= mark(p, n->in[k]);
    for (int k = 0; k < n->n_out; k++)
        if (!(stats && k == 0))
            changed |= mark(p, n->out[k]);
    return changed;
}

void rf_planner_layouts(rf_planner *p)
{
    const rf_graph *g = p->plan->graph;
    if (!p->plan->params.backend->nhwc)
        return;
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == RF_OP_CAST && g->nodes[i].n_out &&
            is_graph_input(g, g->nodes[i].in[0]))
            p->plan->values[g->nodes[i].out[0]].plain = true;
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = 0; i < g->n_nodes; i++)
            changed |= spread(p, &g->nodes[i]);
        for (size_t i = g->n_nodes; i-- > 0;)
            changed |= spread(p, &g->nodes[i]);
    }
}

static bool is_float(rf_dtype t)
{
    return t == RF_F32 || t == RF_F64 || t == RF_F16 || t == RF_BF16;
}

/* Half precision stores maps in half; what is small and feeds decisions about whole maps (global
 * means, statistics) stays f32, and an op stays f32 if all it sees is such. */
static rf_dtype storage_dtype(const rf_plan *plan, const rf_graph_node *n, int out)
{
    rf_dtype half = plan->params.precision;
    const rf_tensor *t = &plan->values[n->out[out]].tensor;
    if (!is_float(t->dtype) || n->op == RF_OP_CAST)
        return t->dtype;
    if (half == RF_F32)
        return RF_F32;
    if (n->op == RF_OP_CHANNEL_STATS && out < 2)
        return RF_F32;
    if (n->op == RF_OP_REDUCE)
        return RF_F32;
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k] != RF_NONE && plan->values[n->in[k]].tensor.dtype == half &&
            !rf_graph_is_const(plan->graph, n->in[k]))
            return half;
    /* From f32 data: convolutions and matmuls of more than one position start the half part. */
    bool starts = n->op == RF_OP_CONV2D || n->op == RF_OP_CONV_TRANSPOSE2D || n->op == RF_OP_MATMUL;
    bool single = t->rank == 4 && t->dims[2] * t->dims[3] == 1;
    return starts && !single ? half : RF_F32;
}

void rf_planner_descs(rf_planner *p)
{
    rf_plan *plan = p->plan;
    const rf_graph *g = plan->graph;
    for (size_t i = 0; i < g->n_nodes; i++) {
        const rf_graph_node *n = &g->nodes[i];
        for (int k = 0; k < n->n_out; k++) {
            rf_tensor *t = &plan->values[n->out[k]].tensor;
            t->dtype = rf_graph_is_output(g, n->out[k]) ? t->dtype : storage_dtype(plan, n, k);
            if (rf_graph_is_output(g, n->out[k]) && is_float(t->dtype))
                t->dtype = RF_F32;
            if (p->nhwc[n->out[k]])
                rf_tensor_set_nhwc(t);
            else
                rf_tensor_set_contiguous(t);
        }
    }
}
