/* SPDX-License-Identifier: Apache-2.0
 *
 * Merges what follows a convolution or matmul into it: activation, residual sum, bias; and a
 * padding op in front of it. One memory pass each saved, and the residual makes the result fit the
 * buffer of the residual in place.
 *
 * Nodes are taken from last to first: of two convolutions that are summed, the later one takes the
 * other's result as its residual, so nothing is held longer than before.
 */
#include "runtime/exec/passes.h"

#include <string.h>

static bool act_of_unary(const rf_unary_attrs *u, rf_act *act)
{
    static const struct {
        rf_unary_kind kind;
        rf_act act;
    } map[] = {
        {RF_UNARY_RELU, RF_ACT_RELU},           {RF_UNARY_LEAKY, RF_ACT_LEAKY},
        {RF_UNARY_CLAMP, RF_ACT_CLAMP},         {RF_UNARY_SIGMOID, RF_ACT_SIGMOID},
        {RF_UNARY_SILU, RF_ACT_SILU},           {RF_UNARY_GELU, RF_ACT_GELU},
        {RF_UNARY_GELU_TANH, RF_ACT_GELU_TANH}, {RF_UNARY_TANH, RF_ACT_TANH},
        {RF_UNARY_HARDSWISH, RF_ACT_HARDSWISH},
    };
    for (size_t i = 0; i < sizeof map / sizeof *map; i++)
        if (map[i].kind == u->kind) {
            *act = map[i].act;
            return true;
        }
    return false;
}

/* Where the fusible attributes of an op are; NULL members: the op has no such attribute. */
struct slots {
    rf_act *act;
    double *alpha, *beta;
    int bias, res; /* input index, -1: none */
};

static bool node_slots(rf_graph_node *n, struct slots *s)
{
    rf_attrs *a = &n->attrs;
#define SLOTS(op, bias_in, res_in)                                                                 \
    (*s = (struct slots){&a->op.act, &a->op.act_alpha, &a->op.act_beta, bias_in, res_in}, true)
    switch (n->op) {
    case RF_OP_CONV2D:
        return SLOTS(conv2d, 2, 3);
    case RF_OP_CONV_TRANSPOSE2D:
        return SLOTS(conv_transpose2d, 2, -1);
    case RF_OP_MATMUL:
        return SLOTS(matmul, 2, 3);
    case RF_OP_BINARY:
        return SLOTS(binary, -1, -1);
    case RF_OP_GROUP_NORM:
        return SLOTS(group_norm, -1, -1);
    default:
        return false;
    }
#undef SLOTS
}

static rf_value input_or_none(const rf_graph_node *n, int k)
{
    return k >= 0 && k < n->n_in ? n->in[k] : RF_NONE;
}

static void set_input(rf_graph_node *n, int k, rf_value v)
{
    for (; n->n_in <= k; n->n_in++)
        n->in[n->n_in] = RF_NONE;
    n->in[k] = v;
}

static bool same_dims(const rf_tensor *a, const rf_tensor *b)
{
    return a->rank == b->rank && !memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims);
}

/* `node` gives up its result; `into` produces the result of `gone` instead. */
static void absorb(rf_graph_node *into, rf_graph_node *gone)
{
    into->out[0] = gone->out[0];
    gone->n_out = 0;
}

static bool fuse_act(rf_graph_node *n, const struct slots *s, rf_graph_node *next)
{
    rf_act act;
    if (*s->act != RF_ACT_NONE || !act_of_unary(&next->attrs.unary, &act))
        return false;
    if (s->res >= 0 && input_or_none(n, s->res) != RF_NONE) {
        if (n->op != RF_OP_CONV2D)
            return false; /* only conv2d can activate after its residual */
        n->attrs.conv2d.res_mode = RF_RES_BEFORE;
    }
    *s->act = act;
    *s->alpha = next->attrs.unary.alpha;
    *s->beta = next->attrs.unary.beta;
    absorb(n, next);
    return true;
}

/* The sum's own activation (none changes nothing: s has none either). */
static void take_act(const struct slots *s, const rf_binary_attrs *b)
{
    *s->act = b->act;
    *s->alpha = b->act_alpha;
    *s->beta = b->act_beta;
}

static bool fuse_add(rf_graph *g, const rf_tensor *shapes, rf_graph_node *n, const struct slots *s,
                     rf_graph_node *next)
{
    const rf_binary_attrs *b = &next->attrs.binary;
    rf_value y = n->out[0], other = next->in[0] == y ? next->in[1] : next->in[0];
    /* The sum may have taken an activation already; a residual in front of it is for conv2d only.
     */
    bool activated = b->act != RF_ACT_NONE;
    if (b->kind != RF_BINARY_ADD || other == y || (activated && *s->act != RF_ACT_NONE))
        return false;
    const rf_tensor *o = &shapes[other], *d = &shapes[y];
    if (n->op == RF_OP_MATMUL && *s->act == RF_ACT_NONE && input_or_none(n, 2) == RF_NONE &&
        input_or_none(n, 3) == RF_NONE && rf_graph_is_const(g, other) && o->rank >= 1 &&
        rf_tensor_elements(o) == o->dims[o->rank - 1] &&
        o->dims[o->rank - 1] == d->dims[d->rank - 1]) {
        set_input(n, 2, other);
        take_act(s, b);
        absorb(n, next);
        return true;
    }
    if (s->res < 0 || (activated && n->op != RF_OP_CONV2D) || input_or_none(n, s->res) != RF_NONE ||
        !same_dims(o, d) || rf_graph_is_const(g, other))
        return false;
    set_input(n, s->res, other);
    if (activated) {
        n->attrs.conv2d.res_mode = RF_RES_BEFORE;
        take_act(s, b);
    }
    absorb(n, next);
    return true;
}

/* A pad op whose only use is this convolution, and that the convolution can do itself. */
static void fuse_pad(rf_graph *g, rf_graph_node *n)
{
    int p = rf_graph_producer(g, n->in[0]);
    if (p < 0 || g->nodes[p].op != RF_OP_PAD || rf_graph_uses(g, n->in[0], NULL) != 1)
        return;
    const rf_pad_attrs *pad = &g->nodes[p].attrs.pad;
    rf_conv2d_attrs *conv = &n->attrs.conv2d;
    static const int none[4];
    if (pad->n_pads != 8 || pad->pads[0] || pad->pads[1] || pad->pads[4] || pad->pads[5] ||
        pad->multiple[0] != 1 || pad->multiple[1] != 1 || memcmp(conv->pad, none, sizeof none) ||
        (pad->mode == RF_PAD_ZEROS && pad->value != 0))
        return;
    const int64_t hw[4] = {pad->pads[2], pad->pads[3], pad->pads[6], pad->pads[7]};
    for (int k = 0; k < 4; k++) {
        if (hw[k] < 0 || hw[k] > INT32_MAX)
            return;
        conv->pad[k] = (int32_t)hw[k];
    }
    conv->pad_mode = pad->mode;
    n->in[0] = g->nodes[p].in[0];
}

rf_status rf_pass_fuse_conv(rf_graph *g, const rf_tensor *shapes, rf_error *err)
{
    (void)err;
    for (size_t i = g->n_nodes; i-- > 0;) {
        rf_graph_node *n = &g->nodes[i];
        struct slots s;
        if (!n->n_out || !node_slots(n, &s))
            continue;
        for (bool changed = true; changed;) {
            int next = -1;
            changed = false;
            if (rf_graph_uses(g, n->out[0], &next) != 1 || next < 0)
                break;
            if (g->nodes[next].op == RF_OP_UNARY)
                changed = fuse_act(n, &s, &g->nodes[next]);
            else if (g->nodes[next].op == RF_OP_BINARY)
                changed = fuse_add(g, shapes, n, &s, &g->nodes[next]);
        }
        if (n->op == RF_OP_CONV2D)
            fuse_pad(g, n);
    }
    return RF_OK;
}
