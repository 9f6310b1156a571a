/* SPDX-License-Identifier: Apache-2.0
 *
 * Finds content-guided attention (DEA-Net, arXiv 2301.04805) in its generic form and replaces it by
 * CHANNEL_STATS and PIXEL_ATTENTION, so that neither the statistics nor s + ca ever become maps of
 * their own:
 *
 *   s = conv_kxk(concat(mean_c(r), max_c(r)))            1 channel, reflect padding
 *   p = sigmoid(conv_dw(r; w0) + conv_dw(s + ca; w1))    depthwise k x k, ca of shape (N,C,1,1)
 *   gate: r*p + x        mix: r + q*x + (1-q)*y with q = sigmoid(p)
 */
#include "runtime/exec/passes.h"

#include <string.h>

struct match {
    rf_value r, map, ca, sa_w, sa_b, w0, w1, b0, b1, x, y;
    rf_pa_mode mode;
    rf_value out;
};

static rf_graph_node *producer(rf_graph *g, rf_value v, rf_op op)
{
    int p = v == RF_NONE ? -1 : rf_graph_producer(g, v);
    return p >= 0 && g->nodes[p].op == op ? &g->nodes[p] : NULL;
}

static rf_graph_node *unary(rf_graph *g, rf_value v, rf_unary_kind kind)
{
    rf_graph_node *n = producer(g, v, RF_OP_UNARY);
    return n && n->attrs.unary.kind == kind ? n : NULL;
}

static rf_graph_node *binary(rf_graph *g, rf_value v, rf_binary_kind kind)
{
    rf_graph_node *n = producer(g, v, RF_OP_BINARY);
    return n && n->attrs.binary.kind == kind && n->attrs.binary.act == RF_ACT_NONE ? n : NULL;
}

static bool is_reduce(rf_graph *g, rf_value v, rf_reduce_kind kind, rf_value *of)
{
    rf_graph_node *n = producer(g, v, RF_OP_REDUCE);
    const rf_reduce_attrs *a = n ? &n->attrs.reduce : NULL;
    if (!a || a->kind != kind || !a->keepdims || a->n_axes != 1 ||
        (a->axes[0] != 1 && a->axes[0] != -3))
        return false;
    *of = n->in[0];
    return true;
}

/* A k x k reflect-padded stride-1 convolution without post-ops; k is returned. */
static rf_graph_node *reflect_conv(rf_graph *g, const rf_tensor *shapes, rf_value v, int64_t *k)
{
    rf_graph_node *n = producer(g, v, RF_OP_CONV2D);
    if (!n || (n->n_in > 3 && n->in[3] != RF_NONE) || !rf_graph_is_const(g, n->in[1]))
        return NULL;
    const rf_conv2d_attrs *a = &n->attrs.conv2d;
    *k = shapes[n->in[1]].dims[2];
    if (shapes[n->in[1]].dims[3] != *k || *k % 2 == 0 || a->stride[0] != 1 || a->stride[1] != 1 ||
        a->dilation[0] != 1 || a->dilation[1] != 1 || a->act != RF_ACT_NONE ||
        a->pad_mode != RF_PAD_REFLECT)
        return NULL;
    for (int i = 0; i < 4; i++)
        if (a->pad[i] != *k / 2)
            return NULL;
    return n;
}

static rf_value conv_bias(const rf_graph_node *n)
{
    return n->n_in > 2 ? n->in[2] : RF_NONE;
}

/* v = s + ca with s from the two channel statistics of r. */
static bool match_s_plus_ca(rf_graph *g, const rf_tensor *shapes, rf_value v, rf_value r, int64_t k,
                            struct match *m)
{
    rf_graph_node *add = binary(g, v, RF_BINARY_ADD);
    int64_t ks;
    rf_value mean_of, max_of;
    if (!add)
        return false;
    for (int side = 0; side < 2; side++) {
        rf_graph_node *conv = reflect_conv(g, shapes, add->in[side], &ks);
        rf_graph_node *cat = conv ? producer(g, conv->in[0], RF_OP_CONCAT) : NULL;
        const rf_tensor *ca = &shapes[add->in[1 - side]];
        if (!cat || ks != k || cat->n_in != 2 || cat->attrs.concat.axis != 1 ||
            conv->attrs.conv2d.groups != 1 || shapes[conv->in[1]].dims[0] != 1 || ca->rank != 4 ||
            ca->dims[1] != shapes[r].dims[1] || ca->dims[2] != 1 || ca->dims[3] != 1 ||
            !is_reduce(g, cat->in[0], RF_REDUCE_MEAN, &mean_of) ||
            !is_reduce(g, cat->in[1], RF_REDUCE_MAX, &max_of) || mean_of != r || max_of != r)
            continue;
        m->ca = add->in[1 - side];
        m->map = conv->in[0];
        m->sa_w = conv->in[1];
        m->sa_b = conv_bias(conv);
        return true;
    }
    return false;
}

/* p = the sum of two depthwise convolutions under the first sigmoid. */
static bool match_logits(rf_graph *g, const rf_tensor *shapes, rf_value v, struct match *m)
{
    rf_graph_node *add = binary(g, v, RF_BINARY_ADD);
    int64_t k0, k1;
    if (!add)
        return false;
    for (int side = 0; side < 2; side++) {
        rf_graph_node *of_r = reflect_conv(g, shapes, add->in[side], &k0);
        rf_graph_node *of_a = reflect_conv(g, shapes, add->in[1 - side], &k1);
        if (!of_r || !of_a || k0 != k1)
            continue;
        rf_value r = of_r->in[0];
        int64_t c = shapes[r].dims[1];
        if (of_r->attrs.conv2d.groups != c || of_a->attrs.conv2d.groups != c ||
            shapes[of_r->in[1]].dims[0] != c || shapes[of_a->in[1]].dims[0] != c ||
            !match_s_plus_ca(g, shapes, of_a->in[0], r, k0, m))
            continue;
        m->r = r;
        m->w0 = of_r->in[1];
        m->w1 = of_a->in[1];
        m->b0 = conv_bias(of_r);
        m->b1 = conv_bias(of_a);
        return true;
    }
    return false;
}

/* v = a * b with a == one (either order); gives the other factor. */
static bool mul_with(rf_graph *g, rf_value v, rf_value one, rf_value *other)
{
    rf_graph_node *n = binary(g, v, RF_BINARY_MUL);
    if (!n || (n->in[0] != one && n->in[1] != one))
        return false;
    *other = n->in[0] == one ? n->in[1] : n->in[0];
    return true;
}

static bool match_gate(rf_graph *g, rf_graph_node *add, rf_value p, struct match *m)
{
    for (int side = 0; side < 2; side++) {
        rf_value r;
        if (!mul_with(g, add->in[side], p, &r) || r != m->r)
            continue;
        m->x = add->in[1 - side];
        m->y = RF_NONE;
        m->mode = RF_PA_GATE;
        return true;
    }
    return false;
}

/* (r + q*x) + (1-q)*y */
static bool match_mix(rf_graph *g, rf_graph_node *add, rf_value q, struct match *m)
{
    for (int side = 0; side < 2; side++) {
        rf_graph_node *first = binary(g, add->in[side], RF_BINARY_ADD);
        rf_graph_node *mul = binary(g, add->in[1 - side], RF_BINARY_MUL);
        for (int s = 0; first && mul && s < 4; s++) {
            rf_graph_node *inv = unary(g, mul->in[s & 1], RF_UNARY_SCALE);
            if (!inv || inv->in[0] != q || inv->attrs.unary.alpha != -1 ||
                inv->attrs.unary.beta != 1)
                continue;
            if (first->in[s >> 1] != m->r || !mul_with(g, first->in[1 - (s >> 1)], q, &m->x))
                continue;
            m->y = mul->in[1 - (s & 1)];
            m->mode = RF_PA_MIX;
            return true;
        }
    }
    return false;
}

static bool same_dims(const rf_tensor *shapes, rf_value a, rf_value b)
{
    return shapes[a].rank == shapes[b].rank &&
           !memcmp(shapes[a].dims, shapes[b].dims, (size_t)shapes[a].rank * sizeof(int64_t));
}

/* The whole tail, seen from its last op, the addition. */
static bool match_tail(rf_graph *g, const rf_tensor *shapes, rf_graph_node *add, struct match *m)
{
    if (add->op != RF_OP_BINARY || !add->n_out || add->attrs.binary.kind != RF_BINARY_ADD)
        return false;
    for (size_t i = 0; i < g->n_nodes; i++) {
        rf_graph_node *sig = &g->nodes[i];
        if (!sig->n_out || sig->op != RF_OP_UNARY || sig->attrs.unary.kind != RF_UNARY_SIGMOID ||
            !match_logits(g, shapes, sig->in[0], m))
            continue;
        rf_value p = sig->out[0];
        bool found = match_gate(g, add, p, m);
        for (size_t j = i + 1; j < g->n_nodes && !found; j++) {
            rf_graph_node *again = &g->nodes[j];
            found = again->n_out && again->op == RF_OP_UNARY && again->in[0] == p &&
                    again->attrs.unary.kind == RF_UNARY_SIGMOID &&
                    match_mix(g, add, again->out[0], m);
        }
        if (found && same_dims(shapes, m->r, m->x) &&
            (m->y == RF_NONE || same_dims(shapes, m->r, m->y))) {
            m->out = add->out[0];
            return true;
        }
    }
    return false;
}

static double const_at(const rf_graph *g, rf_value v, int64_t i)
{
    const rf_tensor *t = &g->values[v].desc;
    return t->dtype == RF_F64 ? ((const double *)t->data)[i] : (double)((const float *)t->data)[i];
}

/* (C,2,k,k) from the two depthwise weights, or (C) as the sum of two optional biases. */
static rf_status joined_const(rf_graph *g, rf_value a, rf_value b, int rank, const int64_t *dims,
                              const char *name, rf_value *out, rf_error *err)
{
    rf_tensor desc;
    rf_blob *blob = NULL;
    RF_TRY(rf_tensor_init(&desc, RF_F32, rank, dims, NULL, err));
    RF_TRY(rf_blob_alloc(g->env, rf_tensor_bytes(&desc), &blob, err));
    float *w = desc.data = rf_blob_mutable(blob);
    int64_t taps = rank == 4 ? dims[2] * dims[3] : 0;
    for (int64_t c = 0; c < dims[0]; c++) {
        for (int64_t t = 0; t < taps; t++) {
            w[(c * 2) * taps + t] = (float)const_at(g, a, c * taps + t);
            w[(c * 2 + 1) * taps + t] = (float)const_at(g, b, c * taps + t);
        }
        if (!taps)
            w[c] = (float)((a == RF_NONE ? 0 : const_at(g, a, c)) +
                           (b == RF_NONE ? 0 : const_at(g, b, c)));
    }
    rf_status status = rf_graph_new_const(g, name, &desc, blob, out, err);
    rf_blob_release(&blob);
    return status;
}

/* Statistics of r, shared by every use of them; where r is itself a sum used only here and by the
 * tail, the sum is taken over too. */
static rf_status emit_stats(rf_graph *g, struct match *m, rf_error *err)
{
    rf_graph_node *add = m->mode == RF_PA_MIX ? binary(g, m->r, RF_BINARY_ADD) : NULL;
    bool sums = add && ((add->in[0] == m->x && add->in[1] == m->y) ||
                        (add->in[0] == m->y && add->in[1] == m->x));
    rf_value map, gap;
    rf_graph_node *node;
    RF_TRY(rf_graph_new_value(g, "", &map, err));
    RF_TRY(rf_graph_new_value(g, "", &gap, err));
    RF_TRY(rf_graph_new_node(g, RF_OP_CHANNEL_STATS, "stats", &node, err));
    node->in[node->n_in++] = sums ? m->x : m->r;
    if (sums)
        node->in[node->n_in++] = m->y;
    node->out[node->n_out++] = map;
    node->out[node->n_out++] = gap;
    if (sums) {
        g->nodes[rf_graph_producer(g, m->r)].n_out = 0;
        node->out[node->n_out++] = m->r;
    }
    rf_graph_replace(g, m->map, map);
    m->map = map;
    for (size_t i = 0; i < g->n_nodes; i++) { /* the global mean of r, under whatever makes ca */
        rf_graph_node *n = &g->nodes[i];
        const rf_reduce_attrs *a = &n->attrs.reduce;
        if (n->n_out && n->op == RF_OP_REDUCE && n->in[0] == m->r && a->kind == RF_REDUCE_MEAN &&
            a->keepdims && a->n_axes == 2 && (a->axes[0] + 4) % 4 + (a->axes[1] + 4) % 4 == 5 &&
            (a->axes[0] + 4) % 4 >= 2 && (a->axes[1] + 4) % 4 >= 2)
            rf_graph_replace(g, n->out[0], gap);
    }
    return RF_OK;
}

static rf_status emit(rf_graph *g, const rf_tensor *shapes, const char *name, struct match *m,
                      rf_error *err)
{
    const rf_tensor *w0 = &shapes[m->w0];
    int64_t dims[4] = {w0->dims[0], 2, w0->dims[2], w0->dims[3]}, one = 1;
    rf_value pa_w, pa_b, sa_b = m->sa_b;
    rf_graph_node *node;
    RF_TRY(joined_const(g, m->w0, m->w1, 4, dims, rf_arena_printf(&g->arena, "%s.pa.weight", name),
                        &pa_w, err));
    RF_TRY(joined_const(g, m->b0, m->b1, 1, dims, rf_arena_printf(&g->arena, "%s.pa.bias", name),
                        &pa_b, err));
    if (sa_b == RF_NONE)
        RF_TRY(joined_const(g, RF_NONE, RF_NONE, 1, &one,
                            rf_arena_printf(&g->arena, "%s.sa.bias", name), &sa_b, err));
    RF_TRY(emit_stats(g, m, err));
    RF_TRY(rf_graph_new_node(g, RF_OP_PIXEL_ATTENTION, name, &node, err));
    const rf_value in[9] = {m->r, m->map, m->ca, m->sa_w, sa_b, pa_w, pa_b, m->x, m->y};
    node->n_in = m->mode == RF_PA_MIX ? 9 : 8;
    memcpy(node->in, in, (size_t)node->n_in * sizeof *in);
    node->attrs.pixel_attention.mode = m->mode;
    g->nodes[rf_graph_producer(g, m->out)].n_out = 0;
    node = &g->nodes[g->n_nodes - 1];
    node->out[node->n_out++] = m->out;
    return RF_OK;
}

rf_status rf_pass_fuse_attention(rf_graph *g, const rf_tensor *shapes, rf_error *err)
{
    /* New nodes and values lie past `n` and have no entry in shapes; they never match. */
    size_t n = g->n_nodes;
    for (size_t i = 0; i < n; i++) {
        struct match m;
        if (match_tail(g, shapes, &g->nodes[i], &m))
            RF_TRY(emit(g, shapes, g->nodes[i].name, &m, err));
    }
    return RF_OK;
}
