/* SPDX-License-Identifier: Apache-2.0
 *
 * Batch norm with fixed statistics is y = s*x + t for each channel. After a linear op it scales the
 * op's output channels: W' = diag(s) W, b' = s*b + t. Before a convolution it scales the input
 * channels: W'[:,i] = W[:,i] * s_i, b' = b + sum W[:,i] * t_i, which is exact only if every tap
 * reads s*x + t, so not where a border of zeros is read instead.
 */
#include "runtime/fold/scheme.h"

#include <stdio.h>

static rf_status read_const(const rf_graph *graph, rf_value v, rf_f64 *out, rf_error *err)
{
    return rf_f64_read(graph->env, &graph->values[v].desc, out, err);
}

rf_status rf_fold_norm_node(const rf_graph *graph, const rf_graph_node *node, rf_f64 *scale,
                            rf_f64 *shift, bool *foldable, rf_error *err)
{
    rf_f64 f[4] = {0};
    char what[128];
    rf_status status = RF_OK;
    *foldable = node->n_in == 5;
    for (int k = 1; k < 5 && *foldable; k++)
        *foldable = rf_graph_is_const(graph, node->in[k]) &&
                    rf_is_float(graph->values[node->in[k]].desc.dtype);
    for (int k = 0; k < 4 && *foldable; k++) {
        RF_TRY_DONE(read_const(graph, node->in[k + 1], &f[k], err));
        *foldable = f[k].n == f[0].n && f[k].tensor.rank == 1;
    }
    if (!*foldable)
        goto done;
    snprintf(what, sizeof what, "batch_norm '%.96s'", node->name);
    RF_TRY_DONE(rf_f64_zeros(graph->env, 1, &f[0].n, scale, err));
    RF_TRY_DONE(rf_f64_zeros(graph->env, 1, &f[0].n, shift, err));
    RF_TRY_DONE(rf_fold_affine(what, f[0].data, f[1].data, f[2].data, f[3].data,
                               node->attrs.batch_norm.eps, f[0].n, scale->data, shift->data, err));
done:
    for (int k = 0; k < 4; k++)
        rf_f64_free(&f[k]);
    return status;
}

/* Rank of a value where it is plain without shape inference, otherwise -1. */
static int known_rank(const rf_graph *graph, rf_value v)
{
    for (;;) {
        const rf_graph_value *value = &graph->values[v];
        int i = rf_graph_producer(graph, v);
        if (value->is_input || value->blob)
            return value->desc.rank;
        if (i < 0)
            return -1;
        const rf_graph_node *node = &graph->nodes[i];
        switch (node->op) {
        case RF_OP_RESHAPE:
            return node->attrs.reshape.n_dims;
        case RF_OP_MATMUL: /* the wider of the two; a constant matrix never is */
            if (!rf_graph_is_const(graph, node->in[1]) || graph->values[node->in[1]].desc.rank != 2)
                return -1;
            v = node->in[0];
            break;
        case RF_OP_UNARY:
        case RF_OP_BATCH_NORM:
        case RF_OP_LAYER_NORM:
        case RF_OP_SOFTMAX:
        case RF_OP_CAST:
            v = node->in[0];
            break;
        default:
            return -1;
        }
    }
}

/* A linear op whose output channels can be scaled: how weight element e maps to a channel. */
typedef struct linear {
    rf_graph_node *node;
    int64_t n_channels;
    int64_t inner;                 /* weight elements from one channel to the next */
    int64_t per_group, group_size; /* transposed: channels of a group, elements of a group */
} linear;

static int64_t channel_of(const linear *l, int64_t e)
{
    int64_t within = e / l->inner % l->per_group;
    return l->group_size ? e / l->group_size * l->per_group + within : within;
}

static bool is_linear_conv(const rf_graph *graph, rf_graph_node *node, linear *out)
{
    const rf_conv2d_attrs *a = &node->attrs.conv2d;
    const rf_tensor *w = &graph->values[node->in[1]].desc;
    if (w->rank != 4 || a->act != RF_ACT_NONE || (node->n_in == 4 && node->in[3] != RF_NONE))
        return false;
    int64_t inner = w->dims[1] * w->dims[2] * w->dims[3];
    *out = (linear){node, w->dims[0], inner, w->dims[0], 0};
    return true;
}

static bool is_linear_transposed(const rf_graph *graph, rf_graph_node *node, linear *out)
{
    const rf_conv_transpose2d_attrs *a = &node->attrs.conv_transpose2d;
    const rf_tensor *w = &graph->values[node->in[1]].desc;
    if (w->rank != 4 || a->act != RF_ACT_NONE || a->groups < 1 || w->dims[0] % a->groups)
        return false;
    int64_t inner = w->dims[2] * w->dims[3], in_per_group = w->dims[0] / a->groups;
    *out = (linear){node, w->dims[1] * a->groups, inner, w->dims[1],
                    in_per_group * w->dims[1] * inner};
    return true;
}

/* Only (M,K) @ (K,N): there dim 1, which batch norm scales, is the columns of b. */
static bool is_linear_matmul(const rf_graph *graph, rf_graph_node *node, linear *out)
{
    const rf_matmul_attrs *a = &node->attrs.matmul;
    const rf_tensor *w = &graph->values[node->in[1]].desc;
    if (w->rank != 2 || a->act != RF_ACT_NONE || (node->n_in == 4 && node->in[3] != RF_NONE) ||
        known_rank(graph, node->in[0]) != 2)
        return false;
    *out = a->trans_b ? (linear){node, w->dims[0], w->dims[1], w->dims[0], 0}
                      : (linear){node, w->dims[1], 1, w->dims[1], 0};
    return true;
}

/* The op before the norm, if nobody else reads what it gives. */
static bool find_linear(rf_graph *graph, rf_value v, linear *out)
{
    rf_graph_node *node = rf_fold_sole(graph, v, RF_OP_CONV2D);
    if (!node)
        node = rf_fold_sole(graph, v, RF_OP_CONV_TRANSPOSE2D);
    if (!node)
        node = rf_fold_sole(graph, v, RF_OP_MATMUL);
    if (!node || !rf_fold_has_weights(graph, node))
        return false;
    bool fits = node->op == RF_OP_CONV2D             ? is_linear_conv(graph, node, out)
                : node->op == RF_OP_CONV_TRANSPOSE2D ? is_linear_transposed(graph, node, out)
                                                     : is_linear_matmul(graph, node, out);
    if (!fits || out->n_channels < 1)
        return false;
    rf_value bias = node->n_in > 2 ? node->in[2] : RF_NONE;
    return bias == RF_NONE || (graph->values[bias].desc.rank == 1 &&
                               graph->values[bias].desc.dims[0] == out->n_channels);
}

/* The op's bias as float64, zeros if it has none. */
static rf_status read_bias(const rf_graph *graph, const rf_graph_node *node, int64_t n, rf_f64 *out,
                           rf_error *err)
{
    if (node->n_in > 2 && node->in[2] != RF_NONE)
        return read_const(graph, node->in[2], out, err);
    return rf_f64_zeros(graph->env, 1, &n, out, err);
}

/* Gives the op new weights. The old ones may be tied to another op and stay as they are. */
static rf_status replace_weights(rf_graph *graph, rf_graph_node *node, const rf_f64 *w,
                                 const rf_f64 *b, rf_fold_audit *audit, rf_error *err)
{
    rf_value weight, bias;
    const char *name = graph->values[node->in[1]].name;
    RF_TRY(rf_fold_audit_add(audit, "bn", node->name, 2, w->data, (size_t)w->n, err));
    RF_TRY(rf_fold_const(graph, name, false, w, &weight, err));
    RF_TRY(rf_fold_const(graph, name, true, b, &bias, err));
    node->in[1] = weight;
    node->in[2] = bias;
    if (node->n_in < 3)
        node->n_in = 3;
    return RF_OK;
}

static rf_status fold_after(rf_graph *graph, rf_graph_node *norm, const linear *l,
                            const rf_f64 *scale, const rf_f64 *shift, rf_fold_audit *audit,
                            rf_error *err)
{
    rf_f64 w = {0}, b = {0};
    rf_status status;
    RF_TRY_DONE(read_const(graph, l->node->in[1], &w, err));
    RF_TRY_DONE(read_bias(graph, l->node, l->n_channels, &b, err));
    for (int64_t e = 0; e < w.n; e++)
        w.data[e] *= scale->data[channel_of(l, e)];
    for (int64_t o = 0; o < b.n; o++)
        b.data[o] = scale->data[o] * b.data[o] + shift->data[o];
    RF_TRY_DONE(replace_weights(graph, l->node, &w, &b, audit, err));
    l->node->out[0] = norm->out[0];
    norm->n_out = 0;
done:
    rf_f64_free(&w);
    rf_f64_free(&b);
    return status;
}

/* The convolution that alone reads the norm's result and never reads zeros of a border. */
static rf_graph_node *find_conv_after(rf_graph *graph, rf_value v, int64_t n_channels)
{
    int i;
    if (rf_graph_uses(graph, v, &i) != 1 || i < 0 || graph->nodes[i].op != RF_OP_CONV2D)
        return NULL;
    rf_graph_node *conv = &graph->nodes[i];
    const rf_conv2d_attrs *a = &conv->attrs.conv2d;
    if (conv->in[0] != v || !rf_fold_has_weights(graph, conv) || a->groups < 1)
        return NULL;
    const rf_tensor *w = &graph->values[conv->in[1]].desc;
    if (w->rank != 4 || w->dims[1] * a->groups != n_channels || w->dims[0] % a->groups)
        return NULL;
    for (int k = 0; k < 4; k++)
        if (a->pad[k] > 0 && a->pad_mode == RF_PAD_ZEROS)
            return NULL;
    return conv;
}

static rf_status fold_before(rf_graph *graph, rf_graph_node *norm, rf_graph_node *conv,
                             const rf_f64 *scale, const rf_f64 *shift, rf_fold_audit *audit,
                             rf_error *err)
{
    rf_f64 w = {0}, b = {0};
    rf_status status;
    RF_TRY_DONE(read_const(graph, conv->in[1], &w, err));
    const int64_t *d = w.tensor.dims;
    int64_t taps = d[2] * d[3], out_per_group = d[0] / conv->attrs.conv2d.groups;
    RF_TRY_DONE(read_bias(graph, conv, d[0], &b, err));
    for (int64_t e = 0; e < w.n; e++) {
        int64_t o = e / taps / d[1], i = o / out_per_group * d[1] + e / taps % d[1];
        b.data[o] += w.data[e] * shift->data[i];
        w.data[e] *= scale->data[i];
    }
    RF_TRY_DONE(replace_weights(graph, conv, &w, &b, audit, err));
    conv->in[0] = norm->in[0];
    norm->n_out = 0;
done:
    rf_f64_free(&w);
    rf_f64_free(&b);
    return status;
}

static rf_status fold_norm(rf_graph *graph, rf_graph_node *norm, rf_fold_audit *audit,
                           bool *changed, rf_error *err)
{
    rf_f64 scale = {0}, shift = {0};
    linear before;
    rf_graph_node *after = NULL;
    bool foldable;
    rf_status status;
    RF_TRY_DONE(rf_fold_norm_node(graph, norm, &scale, &shift, &foldable, err));
    if (!foldable)
        goto done;
    if (find_linear(graph, norm->in[0], &before) && before.n_channels == scale.n)
        RF_TRY_DONE(fold_after(graph, norm, &before, &scale, &shift, audit, err));
    else if ((after = find_conv_after(graph, norm->out[0], scale.n)))
        RF_TRY_DONE(fold_before(graph, norm, after, &scale, &shift, audit, err));
    *changed = *changed || !norm->n_out;
done:
    rf_f64_free(&scale);
    rf_f64_free(&shift);
    return status;
}

rf_status rf_fold_bn(rf_graph *graph, rf_fold_audit *audit, bool *changed, rf_error *err)
{
    for (size_t i = 0; i < graph->n_nodes; i++)
        if (graph->nodes[i].op == RF_OP_BATCH_NORM && graph->nodes[i].n_out)
            RF_TRY(fold_norm(graph, &graph->nodes[i], audit, changed, err));
    return RF_OK;
}
