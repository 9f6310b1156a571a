/* SPDX-License-Identifier: Apache-2.0
 *
 * Loaders read one container format into a checkpoint; architectures recognise a checkpoint by its
 * keys and build its graph. Both are found from content, never from a file name.
 */
#ifndef RF_LOADERS_LOADER_H
#define RF_LOADERS_LOADER_H

#include "runtime/core/checkpoint.h"
#include "runtime/core/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rf_loader {
    const char *name; /* "safetensors" */
    /* Do the first bytes look like this format? n may be smaller than the file, never larger. */
    bool (*probe)(const uint8_t *bytes, size_t n);
    /* Fills ckpt (tensors, metadata). Tensors may point into `blob` (retained by add). */
    rf_status (*load)(rf_checkpoint *ckpt, rf_blob *blob, rf_error *err);
} rf_loader;

typedef struct rf_arch {
    const char *name; /* "dea_net" */
    bool (*probe)(rf_checkpoint *ckpt);
    /* Builds the network and marks every entry it used as consumed; an entry left over is an error
     * of the caller of build (rf_load_graph checks). */
    rf_status (*build)(rf_checkpoint *ckpt, rf_graph *graph, rf_error *err);
} rf_arch;

/* NULL-terminated tables in loaders/loaders.c. */
extern const rf_loader *const rf_loaders[];
extern const rf_arch *const rf_archs[];

/* Reads a container: finds the loader by its bytes. `path` is for messages and may be NULL when
 * blob is memory of the caller. Memory: what the tables of the file describe takes at most about
 * 130 bytes for each byte of the file, tensors that must be rearranged at most four times the file.
 * Fails: RF_ERR_FORMAT naming the formats that are known and what was found. */
rf_status rf_load_checkpoint(rf_env *env, rf_blob *blob, const char *path, rf_checkpoint **out,
                             rf_error *err);
/* Graph of a checkpoint: from its own metadata (Refold's form) or from the architecture that
 * recognises its keys. Fails: RF_ERR_UNSUPPORTED naming the first keys if nothing matches,
 * RF_ERR_FORMAT for keys that the architecture did not consume. */
rf_status rf_load_graph(rf_checkpoint *ckpt, rf_graph **out, rf_error *err);

/* Key of __metadata__ under which Refold's own form keeps how it was folded. */
#define RF_META_FOLDS "refold.folds"
/* Refold's own form: a .safetensors file whose __metadata__ key "refold" holds the graph as JSON.
 * Written atomically. `report` (may be NULL) is stored under RF_META_FOLDS. */
rf_status rf_save_graph(const rf_graph *graph, const char *report, const char *path, rf_error *err);

#ifdef __cplusplus
}
#endif
#endif
