/* SPDX-License-Identifier: Apache-2.0
 *
 * Passes over a graph that do not depend on the final shape or device: run once when a model is
 * made.
 */
#ifndef RF_EXEC_PASSES_H
#define RF_EXEC_PASSES_H

#include "runtime/backend/backend.h"
#include "runtime/core/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Fills descs (one per value; those of inputs are set by the caller) with dtype, dims and
 * contiguous strides. Fails with the node's name in front of the shape function's message. */
rf_status rf_exec_infer(const rf_graph *graph, rf_tensor *descs, rf_error *err);
/* The same with stand-ins for open dims. Owns: *out is an array of graph->n_values from graph->env.
 */
rf_status rf_exec_infer_probe(const rf_graph *graph, rf_tensor **out, rf_error *err);

/* Evaluates nodes whose inputs are all constant, with the reference kernels. */
rf_status rf_pass_const_fold(rf_graph *graph, rf_error *err);
/* Merges activation, residual sum, bias and padding into the convolution or matmul before or after
 * them. `shapes` from a probe. */
rf_status rf_pass_fuse_conv(rf_graph *graph, const rf_tensor *shapes, rf_error *err);
/* Finds channel statistics and pixel attention (op.def) in their generic form. */
rf_status rf_pass_fuse_attention(rf_graph *graph, const rf_tensor *shapes, rf_error *err);
/* All of the above in order, then prunes and sorts. */
rf_status rf_exec_optimise(rf_graph *graph, rf_error *err);

#ifdef __cplusplus
}
#endif
#endif
