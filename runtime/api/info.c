/* SPDX-License-Identifier: Apache-2.0
 *
 * What can be said of a model without a shape: sizes, receptive field, whether tiles are exact.
 *
 * The receptive field follows each value's radius in input pixels and its pixel pitch (`jump`, > 1
 * after a stride): a k x k window adds (k - 1) / 2 * jump. It is exact for stride-aligned tiles.
 */
#include "runtime/api/api.h"

#include <build_info.h> /* made by meson */

#include <math.h>

const char *rf_build_info(void)
{
    return RF_BUILD_INFO;
}

struct reach {
    double radius, jump;
};

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void windowed(struct reach *r, int64_t k, int64_t dilation)
{
    r->radius += floor((double)(k - 1) / 2 + 0.5) * (double)dilation * r->jump;
}

/* Axis of an image (N,C,H,W) along which pixels lie. */
static bool is_spatial(int64_t axis)
{
    return axis >= 2 || axis == -1 || axis == -2;
}

static bool any_spatial(const int64_t *axes, int n)
{
    for (int i = 0; i < n; i++)
        if (is_spatial(axes[i]))
            return true;
    return !n; /* none given: all */
}

/* Ops whose output depends on the whole image, or that move pixels in a way that `step` does not
 * follow: with one of them no halo makes tiles exact. */
static bool is_global(const rf_graph_node *n)
{
    const rf_attrs *a = &n->attrs;
    switch (n->op) {
    case RF_OP_ATTENTION:
    case RF_OP_GROUP_NORM:
    case RF_OP_LAYER_NORM: /* its dims are the last ones */
    case RF_OP_CHANNEL_STATS:
    case RF_OP_MATMUL:
    case RF_OP_TRANSPOSE:
    case RF_OP_RESHAPE:
        return true;
    case RF_OP_REDUCE:
        return any_spatial(a->reduce.axes, a->reduce.n_axes);
    case RF_OP_SLICE:
        return any_spatial(a->slice.axes, a->slice.n_axes);
    case RF_OP_SOFTMAX:
        return is_spatial(a->softmax.axis);
    case RF_OP_CONCAT:
        return is_spatial(a->concat.axis);
    case RF_OP_SPLIT:
        return is_spatial(a->split.axis);
    case RF_OP_GATHER:
        return is_spatial(a->gather.axis);
    case RF_OP_RESIZE:
        return a->resize.size[0] || a->resize.size[1];
    default:
        return false;
    }
}

static void step(const rf_graph *g, const rf_graph_node *n, struct reach *r)
{
    const rf_tensor *w = n->n_in > 1 && n->in[1] != RF_NONE ? &g->values[n->in[1]].desc : NULL;
    const rf_attrs *a = &n->attrs;
    switch (n->op) {
    case RF_OP_CONV2D:
        windowed(r, larger(w->dims[2], w->dims[3]),
                 larger(a->conv2d.dilation[0], a->conv2d.dilation[1]));
        r->jump *= (double)larger(a->conv2d.stride[0], a->conv2d.stride[1]);
        break;
    case RF_OP_POOL2D:
        windowed(r, larger(a->pool2d.kernel[0], a->pool2d.kernel[1]),
                 larger(a->pool2d.dilation[0], a->pool2d.dilation[1]));
        r->jump *= (double)larger(a->pool2d.stride[0], a->pool2d.stride[1]);
        break;
    case RF_OP_CONV_TRANSPOSE2D:
        windowed(
            r, (w->dims[2] + a->conv_transpose2d.stride[0] - 1) / a->conv_transpose2d.stride[0] + 1,
            1);
        r->jump /= a->conv_transpose2d.stride[0];
        break;
    case RF_OP_RESIZE:
        windowed(r, a->resize.mode == RF_RESIZE_CUBIC ? 5 : 3, 1);
        r->jump /= a->resize.size[0] ? 1 : a->resize.scale_y;
        break;
    case RF_OP_PIXEL_SHUFFLE:
        r->jump /= a->pixel_shuffle.factor;
        break;
    case RF_OP_PIXEL_UNSHUFFLE:
        r->jump *= a->pixel_unshuffle.factor;
        break;
    case RF_OP_PIXEL_ATTENTION: {
        int64_t k = g->values[n->in[3]].desc.dims[2];
        windowed(r, 2 * k - 1, 1);
        break;
    }
    default:
        break;
    }
}

static double measure_reach(const rf_graph *g, struct reach *reach, double *max_jump, bool *global)
{
    double radius = 0;
    for (size_t v = 0; v < g->n_values; v++)
        reach[v] = (struct reach){0, 0};
    for (size_t i = 0; i < g->n_inputs; i++)
        reach[g->inputs[i]].jump = 1;
    for (size_t i = 0; i < g->n_nodes; i++) {
        const rf_graph_node *n = &g->nodes[i];
        struct reach r = {0, 0};
        *global |= is_global(n);
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k] != RF_NONE) {
                r.radius = fmax(r.radius, reach[n->in[k]].radius);
                r.jump = fmax(r.jump, reach[n->in[k]].jump);
            }
        step(g, n, &r);
        *max_jump = fmax(*max_jump, r.jump);
        for (int k = 0; k < n->n_out; k++)
            reach[n->out[k]] = r;
    }
    for (size_t i = 0; i < g->n_outputs; i++)
        radius = fmax(radius, reach[g->outputs[i]].radius);
    return radius;
}

void rf_model_measure(rf_model *model)
{
    const rf_graph *g = model->graph;
    rf_model_info *info = &model->info;
    double max_jump = 1;
    info->architecture = g->name ? g->name : "";
    info->n_ops = (int32_t)g->n_nodes;
    info->n_folds = (int32_t)model->audit.n_records;
    info->n_parameters = 0;
    for (size_t v = 0; v < g->n_values; v++)
        if (g->values[v].blob)
            info->n_parameters += rf_tensor_elements(&g->values[v].desc);
    struct reach *reach = rf_alloc(model->env, g->n_values * sizeof *reach, 64);
    info->receptive_field = -1;
    if (!reach)
        return; /* only a hint for tiling: unknown */
    info->receptive_field =
        (int32_t)ceil(measure_reach(g, reach, &max_jump, &info->has_global_ops));
    info->tile_align = (int32_t)max_jump;
    rf_free(model->env, reach, g->n_values * sizeof *reach);
}
