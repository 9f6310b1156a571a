/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the parts of the safetensors folder: reader, writer, and the graph as JSON.
 */
#ifndef RF_LOADERS_SAFETENSORS_H
#define RF_LOADERS_SAFETENSORS_H

#include "loaders/loader.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const rf_loader rf_loader_safetensors;
extern const rf_loader rf_loader_shards; /* an index of several such files */

enum { RF_SAFETENSORS_MAX_HEADER = 100000000 };

/* Spelling of a dtype in the header: "BF16". */
const char *rf_safetensors_dtype(rf_dtype dtype);

/* The graph as JSON text; constants are named by `names` (one per value, NULL where not constant).
 * Owns: *out is malloc'd (by jansson); free it. */
rf_status rf_graph_to_json(const rf_graph *graph, const char *const *names, char **out,
                           rf_error *err);
/* The inverse: constants are taken from `ckpt` by name and marked as consumed.
 * Fails: RF_ERR_FORMAT naming node, value or key for anything that is not a well-formed graph. */
rf_status rf_graph_from_json(const char *text, rf_checkpoint *ckpt, rf_graph **out, rf_error *err);

#ifdef __cplusplus
}
#endif
#endif
