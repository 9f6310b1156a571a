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

static void windowed(struct reach *r, int64_t k, int dilation)
{
    r->radius += floor((double)(k - 1) / 2 + 0.5) * dilation * r->jump;
}

/* Ops whose every output depends on the whole image. */
static bool is_global(const rf_graph_node *n)
{
    if (n->op == RF_OP_REDUCE) {
        const rf_reduce_attrs *a = &n->attrs.reduce;
        if (!a->n_axes)
            return true;
        for (int i = 0; i < a->n_axes; i++)
            if (a->axes[i] >= 2 || a->axes[i] == -1 || a->axes[i] == -2)
                return true;
        return false;
    }
    return n->op == RF_OP_ATTENTION || n->op == RF_OP_GROUP_NORM || n->op == RF_OP_CHANNEL_STATS;
}

static void step(const rf_graph *g, const rf_graph_node *n, struct reach *r)
{
    const rf_tensor *w = n->n_in > 1 && n->in[1] != RF_NONE ? &g->values[n->in[1]].desc : NULL;
    const rf_attrs *a = &n->attrs;
    switch (n->op) {
    case RF_OP_CONV2D:
        windowed(r, w->dims[2] > w->dims[3] ? w->dims[2] : w->dims[3], a->conv2d.dilation[0]);
        r->jump *= a->conv2d.stride[0];
        break;
    case RF_OP_POOL2D:
        windowed(r, a->pool2d.kernel[0], a->pool2d.dilation[0]);
        r->jump *= a->pool2d.stride[0];
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
