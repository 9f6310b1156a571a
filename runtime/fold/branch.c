/* SPDX-License-Identifier: Apache-2.0
 *
 * A sum of parallel linear branches of one tensor is one convolution: RepVGG blocks after their
 * batch norms are folded, ACNet's 1x3 and 3x1 arms, average-pool and identity arms.
 *
 * Position: on one axis, tap r of a branch with padding p and dilation d reads input y*stride - p +
 * r*d. In a kernel with the largest padding P of all branches it becomes tap (P - p)/d + r.
 * Branches have equal output sizes for every input size exactly if p_begin + p_end - d*(k-1) is
 * equal.
 */
#include "runtime/fold/scheme.h"

#include <string.h>

enum { MAX_LEAVES = 32 };

typedef enum branch_kind { CONV, IDENTITY, NORM, POOL } branch_kind;

typedef struct branch {
    branch_kind kind;
    const rf_graph_node *node; /* NULL: identity */
    int64_t kernel[2], stride[2], dilation[2];
    int64_t begin[2], end[2]; /* padding, y and x */
} branch;

/* Branches that can be one convolution, and what they have in common. */
typedef struct group {
    rf_value x;
    const rf_graph_node *conv; /* the largest: gives stride, groups, name */
    int64_t n_out, in_per_group, groups;
    rf_pad_mode pad_mode;
    bool has_pad_mode;           /* some branch pads */
    int64_t dilation[2];         /* 0: no branch has two taps on this axis */
    int64_t begin[2], kernel[2]; /* of the sum */
    int64_t area;                /* taps of the convolutions before */
    int n_members, n_weighted;
    int leaf[MAX_LEAVES];
    branch member[MAX_LEAVES];
} group;

typedef struct sum {
    int root; /* node index of the last addition */
    int n_inner, n_leaves;
    int inner[MAX_LEAVES]; /* node indices of the other additions */
    rf_value leaf[MAX_LEAVES];
} sum;

static bool is_plain_add(const rf_graph *graph, rf_value v)
{
    int i = rf_graph_producer(graph, v);
    const rf_graph_node *node = i < 0 ? NULL : &graph->nodes[i];
    return node && node->op == RF_OP_BINARY && node->attrs.binary.kind == RF_BINARY_ADD &&
           node->attrs.binary.act == RF_ACT_NONE && rf_graph_uses(graph, v, NULL) == 1;
}

/* Flattens the additions under the root. False if there are too many terms. */
static bool collect(const rf_graph *graph, int root, sum *out)
{
    rf_value stack[MAX_LEAVES];
    int depth = 0;
    *out = (sum){.root = root};
    stack[depth++] = graph->nodes[root].in[1];
    stack[depth++] = graph->nodes[root].in[0];
    while (depth) {
        rf_value v = stack[--depth];
        if (is_plain_add(graph, v) && depth + 2 <= MAX_LEAVES && out->n_inner < MAX_LEAVES) {
            int inner = out->inner[out->n_inner++] = rf_graph_producer(graph, v);
            const rf_graph_node *add = &graph->nodes[inner];
            stack[depth++] = add->in[1];
            stack[depth++] = add->in[0];
        } else if (out->n_leaves < MAX_LEAVES) {
            out->leaf[out->n_leaves++] = v;
        } else {
            return false;
        }
    }
    return true;
}

static void set_window(branch *b, const int32_t *stride, const int32_t *pad,
                       const int32_t *dilation)
{
    for (int a = 0; a < 2; a++) {
        b->stride[a] = stride[a];
        b->dilation[a] = dilation[a];
        b->begin[a] = pad[a]; /* top, left, bottom, right */
        b->end[a] = pad[a + 2];
    }
}

/* Reads a leaf as a branch. False if it is none. */
static bool read_branch(rf_graph *graph, rf_value v, branch *out)
{
    static const int32_t one[2] = {1, 1}, none[4] = {0};
    *out = (branch){.kernel = {1, 1}};
    if ((out->node = rf_fold_sole(graph, v, RF_OP_CONV2D))) {
        const rf_conv2d_attrs *a = &out->node->attrs.conv2d;
        if (!rf_fold_has_weights(graph, out->node) || a->act != RF_ACT_NONE ||
            (out->node->n_in == 4 && out->node->in[3] != RF_NONE))
            return false;
        const rf_tensor *w = &graph->values[out->node->in[1]].desc;
        rf_value bias = out->node->n_in > 2 ? out->node->in[2] : RF_NONE;
        if (w->rank != 4 || a->groups < 1 || w->dims[0] % a->groups ||
            (bias != RF_NONE && rf_tensor_elements(&graph->values[bias].desc) != w->dims[0]))
            return false;
        out->kind = CONV;
        out->kernel[0] = w->dims[2];
        out->kernel[1] = w->dims[3];
        set_window(out, a->stride, a->pad, a->dilation);
    } else if ((out->node = rf_fold_sole(graph, v, RF_OP_BATCH_NORM))) {
        out->kind = NORM;
        set_window(out, one, none, one);
    } else if ((out->node = rf_fold_sole(graph, v, RF_OP_POOL2D))) {
        const rf_pool2d_attrs *a = &out->node->attrs.pool2d;
        bool pads = a->pad[0] || a->pad[1] || a->pad[2] || a->pad[3];
        if (a->kind != RF_POOL_AVG || a->ceil_mode || (pads && !a->count_include_pad))
            return false;
        out->kind = POOL;
        out->kernel[0] = a->kernel[0];
        out->kernel[1] = a->kernel[1];
        set_window(out, a->stride, a->pad, a->dilation);
    } else {
        out->kind = IDENTITY;
        set_window(out, one, none, one);
    }
    return out->kernel[0] > 0 && out->kernel[1] > 0;
}

static int64_t span(const branch *b, int axis)
{
    return b->begin[axis] + b->end[axis] - b->dilation[axis] * (b->kernel[axis] - 1);
}

static bool pads(const branch *b)
{
    return b->begin[0] || b->begin[1] || b->end[0] || b->end[1];
}

/* Same stride, output size, dilation where it matters, and border, as the members so far. */
static bool windows_agree(const group *g, const branch *b, rf_pad_mode mode)
{
    for (int a = 0; a < 2; a++) {
        const branch *first = &g->member[0];
        if (b->stride[a] != first->stride[a] || span(b, a) != span(first, a))
            return false;
        if (b->kernel[a] > 1 && g->dilation[a] && b->dilation[a] != g->dilation[a])
            return false;
    }
    return !pads(b) || !g->has_pad_mode || mode == g->pad_mode;
}

static void join(group *g, const branch *b, int leaf, rf_pad_mode mode)
{
    g->leaf[g->n_members] = leaf;
    g->member[g->n_members++] = *b;
    g->n_weighted += b->kind != IDENTITY;
    if (b->kind == CONV)
        g->area += b->kernel[0] * b->kernel[1];
    if (pads(b)) {
        g->has_pad_mode = true;
        g->pad_mode = mode;
    }
    for (int a = 0; a < 2; a++)
        if (b->kernel[a] > 1)
            g->dilation[a] = b->dilation[a];
}

/* First tap of the branch in the sum's kernel; -1 if it falls between taps or before the first. */
static int64_t first_tap(const group *g, const branch *b, int axis)
{
    int64_t d = g->dilation[axis] ? g->dilation[axis] : 1, offset = g->begin[axis] - b->begin[axis];
    return offset < 0 || offset % d ? -1 : offset / d;
}

/* Frame around the kernels of all members. False if one of them does not lie on its taps. */
static bool frame(group *g)
{
    for (int a = 0; a < 2; a++) {
        g->begin[a] = g->member[0].begin[a];
        g->kernel[a] = 0;
        for (int k = 1; k < g->n_members; k++)
            if (g->member[k].begin[a] > g->begin[a])
                g->begin[a] = g->member[k].begin[a];
        for (int k = 0; k < g->n_members; k++) {
            int64_t first = first_tap(g, &g->member[k], a);
            if (first < 0)
                return false;
            if (first + g->member[k].kernel[a] > g->kernel[a])
                g->kernel[a] = first + g->member[k].kernel[a];
        }
    }
    return true;
}

static bool inside_frame(const group *g, const branch *b)
{
    for (int a = 0; a < 2; a++) {
        int64_t first = first_tap(g, b, a);
        if (first < 0 || first + b->kernel[a] > g->kernel[a] ||
            (b->kernel[a] > 1 && g->dilation[a] && b->dilation[a] != g->dilation[a]))
            return false;
    }
    return true;
}

static rf_pad_mode conv_pad_mode(const branch *b)
{
    return b->kind == CONV ? b->node->attrs.conv2d.pad_mode : RF_PAD_ZEROS;
}

static bool join_convs(rf_graph *graph, const sum *s, int first, group *g)
{
    branch b;
    if (!read_branch(graph, s->leaf[first], &b) || b.kind != CONV)
        return false;
    const rf_tensor *w = &graph->values[b.node->in[1]].desc;
    *g = (group){.x = b.node->in[0], .conv = b.node, .groups = b.node->attrs.conv2d.groups};
    g->n_out = w->dims[0];
    g->in_per_group = w->dims[1];
    join(g, &b, first, conv_pad_mode(&b));
    for (int i = 0; i < s->n_leaves; i++) {
        if (i == first || !read_branch(graph, s->leaf[i], &b) || b.kind != CONV)
            continue;
        w = &graph->values[b.node->in[1]].desc;
        if (b.node->in[0] != g->x || b.node->attrs.conv2d.groups != g->groups ||
            w->dims[0] != g->n_out || w->dims[1] != g->in_per_group ||
            !windows_agree(g, &b, conv_pad_mode(&b)))
            continue;
        join(g, &b, i, conv_pad_mode(&b));
        if (b.kernel[0] * b.kernel[1] > g->member[0].kernel[0] * g->member[0].kernel[1])
            g->conv = b.node;
    }
    return frame(g);
}

/* The others cost nothing if they fit into the frame: they only change weights. */
static rf_status join_others(rf_graph *graph, const sum *s, group *g, rf_error *err)
{
    if (g->n_out != g->in_per_group * g->groups)
        return RF_OK;
    for (int i = 0; i < s->n_leaves && g->n_members < MAX_LEAVES; i++) {
        branch b;
        if (!read_branch(graph, s->leaf[i], &b) || b.kind == CONV ||
            (b.node ? b.node->in[0] : s->leaf[i]) != g->x || !windows_agree(g, &b, RF_PAD_ZEROS) ||
            !inside_frame(g, &b))
            continue;
        if (b.kind == NORM) {
            rf_f64 scale = {0}, shift = {0};
            bool foldable;
            RF_TRY(rf_fold_norm_node(graph, b.node, &scale, &shift, &foldable, err));
            foldable = foldable && scale.n == g->n_out;
            rf_f64_free(&scale);
            rf_f64_free(&shift);
            if (!foldable)
                continue;
        }
        join(g, &b, i, RF_PAD_ZEROS);
    }
    return RF_OK;
}

static rf_status add_conv(const rf_graph *graph, const group *g, const branch *b, rf_f64 *weight,
                          rf_f64 *bias, rf_error *err)
{
    rf_f64 w = {0}, c = {0};
    rf_status status;
    int64_t y0 = first_tap(g, b, 0), x0 = first_tap(g, b, 1), kh = b->kernel[0], kw = b->kernel[1];
    RF_TRY_DONE(rf_f64_read(graph->env, &graph->values[b->node->in[1]].desc, &w, err));
    for (int64_t e = 0; e < w.n; e++) {
        int64_t pair = e / (kh * kw), y = e / kw % kh, x = e % kw;
        weight->data[(pair * g->kernel[0] + y0 + y) * g->kernel[1] + x0 + x] += w.data[e];
    }
    if (b->node->n_in > 2 && b->node->in[2] != RF_NONE) {
        RF_TRY_DONE(rf_f64_read(graph->env, &graph->values[b->node->in[2]].desc, &c, err));
        for (int64_t o = 0; o < c.n; o++)
            bias->data[o] += c.data[o];
    }
done:
    rf_f64_free(&w);
    rf_f64_free(&c);
    return status;
}

/* Identity, norm and pool act on each channel alone: the diagonal of the kernel. */
static rf_status add_diagonal(const rf_graph *graph, const group *g, const branch *b,
                              rf_f64 *weight, rf_f64 *bias, rf_error *err)
{
    rf_f64 scale = {0}, shift = {0};
    bool foldable;
    rf_status status = RF_OK;
    double tap = 1.0 / (double)(b->kernel[0] * b->kernel[1]);
    if (b->kind == NORM)
        RF_TRY_DONE(rf_fold_norm_node(graph, b->node, &scale, &shift, &foldable, err));
    for (int64_t o = 0; o < g->n_out; o++) {
        int64_t pair = o * g->in_per_group + o % g->in_per_group;
        double *k = weight->data + pair * g->kernel[0] * g->kernel[1];
        for (int64_t y = first_tap(g, b, 0), dy = 0; dy < b->kernel[0]; dy++)
            for (int64_t x = first_tap(g, b, 1), dx = 0; dx < b->kernel[1]; dx++)
                k[(y + dy) * g->kernel[1] + x + dx] += b->kind == NORM ? scale.data[o] : tap;
        if (b->kind == NORM)
            bias->data[o] += shift.data[o];
    }
done:
    rf_f64_free(&scale);
    rf_f64_free(&shift);
    return status;
}

/* Appends the convolution that the members are together; its output is still to be set. */
static rf_status build_conv(rf_graph *graph, const group *g, rf_fold_audit *audit, int *out_node,
                            rf_error *err)
{
    rf_f64 w = {0}, b = {0};
    rf_value weight, bias;
    rf_graph_node conv = *g->conv, *added;
    rf_conv2d_attrs *a = &conv.attrs.conv2d;
    const char *name = graph->values[conv.in[1]].name;
    int64_t dims[4] = {g->n_out, g->in_per_group, g->kernel[0], g->kernel[1]};
    rf_status status;
    RF_TRY_DONE(rf_f64_zeros(graph->env, 4, dims, &w, err));
    RF_TRY_DONE(rf_f64_zeros(graph->env, 1, dims, &b, err));
    for (int k = 0; k < g->n_members; k++)
        RF_TRY_DONE((g->member[k].kind == CONV ? add_conv : add_diagonal)(graph, g, &g->member[k],
                                                                          &w, &b, err));
    RF_TRY_DONE(
        rf_fold_audit_add(audit, "branch", conv.name, g->n_members, w.data, (size_t)w.n, err));
    RF_TRY_DONE(rf_fold_const(graph, name, false, &w, &weight, err));
    RF_TRY_DONE(rf_fold_const(graph, name, true, &b, &bias, err));
    for (int axis = 0; axis < 2; axis++) {
        int64_t d = g->dilation[axis] ? g->dilation[axis] : 1;
        a->dilation[axis] = (int32_t)d;
        a->pad[axis] = (int32_t)g->begin[axis];
        a->pad[axis + 2] =
            (int32_t)(span(&g->member[0], axis) + d * (g->kernel[axis] - 1) - g->begin[axis]);
    }
    a->pad_mode = g->has_pad_mode ? g->pad_mode : RF_PAD_ZEROS;
    RF_TRY_DONE(rf_graph_new_node(graph, RF_OP_CONV2D, conv.name, &added, err));
    conv.name = added->name;
    conv.n_in = 3;
    conv.in[1] = weight;
    conv.in[2] = bias;
    conv.out[0] = RF_NONE;
    *added = conv;
    *out_node = (int)(added - graph->nodes);
done:
    rf_f64_free(&w);
    rf_f64_free(&b);
    return status;
}

/* What is left of the sum: the convolution alone (with the root's activation), or added to the
 * terms that are not members. */
static rf_status rewire(rf_graph *graph, const sum *s, const group *g, int conv, rf_error *err)
{
    rf_graph_node root = graph->nodes[s->root], *node;
    bool is_member[MAX_LEAVES] = {false};
    rf_value last;
    int n_left = s->n_leaves - g->n_members;
    graph->nodes[s->root].n_out = 0;
    for (int k = 0; k < s->n_inner; k++) /* or this sweep would fold what is dead */
        graph->nodes[s->inner[k]].n_out = 0;
    for (int k = 0; k < g->n_members; k++)
        is_member[g->leaf[k]] = true;
    if (!n_left) {
        rf_conv2d_attrs *a = &graph->nodes[conv].attrs.conv2d;
        a->act = root.attrs.binary.act;
        a->act_alpha = root.attrs.binary.act_alpha;
        a->act_beta = root.attrs.binary.act_beta;
        graph->nodes[conv].out[0] = root.out[0];
        return RF_OK;
    }
    RF_TRY(rf_graph_new_value(graph, graph->nodes[conv].name, &last, err));
    graph->nodes[conv].out[0] = last;
    for (int i = 0; i < s->n_leaves; i++) {
        if (is_member[i])
            continue;
        RF_TRY(rf_graph_new_node(graph, RF_OP_BINARY, root.name, &node, err));
        node->n_in = 2;
        node->in[0] = last;
        node->in[1] = s->leaf[i];
        node->n_out = 1;
        if (--n_left) {
            node->attrs.binary.kind = RF_BINARY_ADD;
            int at = (int)(node - graph->nodes);
            RF_TRY(rf_graph_new_value(graph, root.name, &last, err));
            graph->nodes[at].out[0] = last;
        } else {
            node->attrs = root.attrs;
            node->out[0] = root.out[0];
        }
    }
    return RF_OK;
}

static rf_status fold_sum(rf_graph *graph, const sum *s, rf_fold_audit *audit, bool *changed,
                          rf_error *err)
{
    group g;
    int conv;
    for (int i = 0; i < s->n_leaves; i++) {
        if (!join_convs(graph, s, i, &g))
            continue;
        RF_TRY(join_others(graph, s, &g, err));
        /* A convolution and its input alone stay a residual sum, which is as fast and rounds less.
         */
        if (g.n_weighted < 2 || g.kernel[0] * g.kernel[1] > g.area)
            continue;
        RF_TRY(build_conv(graph, &g, audit, &conv, err));
        *changed = true;
        return rewire(graph, s, &g, conv, err);
    }
    return RF_OK;
}

rf_status rf_fold_branch(rf_graph *graph, rf_fold_audit *audit, bool *changed, rf_error *err)
{
    sum s;
    /* From the end, so that a tree of additions is seen from its root. */
    for (size_t i = graph->n_nodes; i-- > 0;) {
        const rf_graph_node *node = &graph->nodes[i];
        if (node->op == RF_OP_BINARY && node->n_out && node->attrs.binary.kind == RF_BINARY_ADD &&
            collect(graph, (int)i, &s))
            RF_TRY(fold_sum(graph, &s, audit, changed, err));
    }
    return RF_OK;
}
