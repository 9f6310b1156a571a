/* SPDX-License-Identifier: Apache-2.0
 *
 * The order of the load-time passes, and constant folding.
 */
#include "runtime/exec/passes.h"

typedef rf_status pass_fn(rf_graph *graph, const rf_tensor *shapes, rf_error *err);

/* A graph whose shapes cannot be inferred with stand-in sizes (it wants one particular size) is
 * left as it is: it still runs, op by op. */
static rf_status with_probe(rf_graph *graph, pass_fn *pass, rf_error *err)
{
    rf_tensor *shapes;
    rf_error why;
    size_t n = graph->n_values;
    rf_status status = rf_exec_infer_probe(graph, &shapes, &why);
    if (status == RF_ERR_MEMORY)
        return rf_fail(err, status, "%s", why.text);
    if (status != RF_OK) {
        rf_log(graph->env, RF_LOG_DEBUG, "no fusion, shapes are not general: %s", why.text);
        return RF_OK;
    }
    status = pass(graph, shapes, err);
    rf_free(graph->env, shapes, n * sizeof *shapes);
    return status;
}

static bool all_const(const rf_graph *graph, const rf_graph_node *node)
{
    for (int k = 0; k < node->n_in; k++)
        if (node->in[k] != RF_NONE && !rf_graph_is_const(graph, node->in[k]))
            return false;
    return node->n_in > 0;
}

/* Bytes that results of constants may take: a small file can describe any amount (`expand`). */
static size_t fold_budget(const rf_graph *graph)
{
    size_t bytes = 1 << 20;
    for (size_t v = 0; v < graph->n_values; v++)
        if (graph->values[v].blob)
            bytes += 4 * rf_tensor_bytes(&graph->values[v].desc);
    return bytes;
}

/* A node whose results pass the budget stays in the graph and runs like any other. */
static rf_status evaluate(rf_graph *graph, rf_graph_node *node, size_t *budget, rf_error *err)
{
    rf_kernel_desc desc = {.n_threads = 1, .env = graph->env};
    rf_op_args *args = &desc.args;
    rf_tensor out[RF_MAX_OUT] = {0};
    rf_blob *blobs[RF_MAX_OUT] = {0};
    rf_status status;
    *args = (rf_op_args){
        .op = node->op, .attrs = &node->attrs, .n_in = node->n_in, .n_out = node->n_out};
    for (int k = 0; k < node->n_in; k++)
        args->in[k] = node->in[k] == RF_NONE ? NULL : &graph->values[node->in[k]].desc;
    for (int k = 0; k < node->n_out; k++)
        args->out[k] = &out[k];
    RF_TRY(rf_shape_infer(args, err));
    size_t left = *budget;
    for (int k = 0; k < node->n_out; k++) {
        rf_tensor_set_contiguous(&out[k]);
        if (rf_tensor_bytes(&out[k]) > left)
            return RF_OK;
        left -= rf_tensor_bytes(&out[k]);
    }
    *budget = left;
    for (int k = 0; k < node->n_out; k++) {
        RF_TRY_DONE(rf_blob_alloc(graph->env, rf_tensor_bytes(&out[k]), &blobs[k], err));
        out[k].data = rf_blob_mutable(blobs[k]);
    }
    const rf_kernel *kernel = rf_backend_choose(rf_backend_find("ref"), &desc);
    rf_kernel_call call = {.args = *args, .n_threads = 1};
    RF_TRY_DONE(kernel->run(&call, err));
    for (int k = 0; k < node->n_out; k++) {
        graph->values[node->out[k]].desc = out[k];
        graph->values[node->out[k]].blob = blobs[k];
        blobs[k] = NULL;
    }
    node->n_out = 0;
done:
    for (int k = 0; k < RF_MAX_OUT; k++)
        rf_blob_release(&blobs[k]);
    return status;
}

rf_status rf_pass_const_fold(rf_graph *graph, rf_error *err)
{
    size_t budget = fold_budget(graph);
    for (size_t i = 0; i < graph->n_nodes; i++)
        if (all_const(graph, &graph->nodes[i]))
            RF_TRY(evaluate(graph, &graph->nodes[i], &budget, err));
    rf_graph_prune(graph);
    return RF_OK;
}

rf_status rf_exec_optimise(rf_graph *graph, rf_error *err)
{
    RF_TRY(rf_graph_sort(graph, err));
    RF_TRY(rf_pass_const_fold(graph, err));
    RF_TRY(with_probe(graph, rf_pass_fuse_attention, err));
    rf_graph_prune(graph);
    RF_TRY(rf_graph_sort(graph, err));
    RF_TRY(with_probe(graph, rf_pass_fuse_conv, err));
    rf_graph_prune(graph);
    return rf_graph_sort(graph, err);
}
