/* SPDX-License-Identifier: Apache-2.0
 *
 * Shape inference over a whole graph, and the "probe": shapes that stand in for open input dims
 * while passes look for patterns at load time.
 */
#include "runtime/exec/passes.h"

#include "runtime/core/shape.h"

rf_status rf_exec_infer(const rf_graph *graph, rf_tensor *descs, rf_error *err)
{
    for (size_t v = 0; v < graph->n_values; v++)
        if (graph->values[v].blob)
            descs[v] = graph->values[v].desc;
    for (size_t i = 0; i < graph->n_nodes; i++) {
        const rf_graph_node *node = &graph->nodes[i];
        rf_op_args args = {
            .op = node->op, .attrs = &node->attrs, .n_in = node->n_in, .n_out = node->n_out};
        for (int k = 0; k < node->n_in; k++)
            args.in[k] = node->in[k] == RF_NONE ? NULL : &descs[node->in[k]];
        for (int k = 0; k < node->n_out; k++)
            args.out[k] = &descs[node->out[k]];
        rf_error inner;
        rf_status status = rf_shape_infer(&args, &inner);
        if (status != RF_OK)
            return rf_fail(err, status, "node '%s': %s", node->name, inner.text);
        for (int k = 0; k < node->n_out; k++) {
            args.out[k]->data = NULL;
            rf_tensor_set_contiguous(args.out[k]);
        }
    }
    return RF_OK;
}

rf_status rf_exec_infer_probe(const rf_graph *graph, rf_tensor **out, rf_error *err)
{
    /* Multiples of 16 so that strided networks divide, unlike each other and unlike channel counts
     * so that equal dims mean equal by construction. */
    static const int64_t probe[RF_MAX_RANK] = {3, 400, 208, 272, 176, 304, 112, 336};
    rf_tensor *descs;
    *out = NULL;
    RF_TRY(rf_alloc_array(graph->env, graph->n_values, sizeof *descs, &descs, err));
    for (size_t i = 0; i < graph->n_inputs; i++) {
        rf_tensor *d = &descs[graph->inputs[i]];
        *d = graph->values[graph->inputs[i]].desc;
        for (int k = 0; k < d->rank; k++)
            if (d->dims[k] < 0)
                d->dims[k] = probe[k];
        rf_tensor_set_contiguous(d);
    }
    rf_status status = rf_exec_infer(graph, descs, err);
    if (status == RF_OK)
        *out = descs;
    else
        rf_free(graph->env, descs, graph->n_values * sizeof *descs);
    return status;
}
