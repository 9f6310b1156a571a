/* SPDX-License-Identifier: Apache-2.0
 *
 * A checkpoint: named tensors and text metadata, as a loader read them from one file. Folds rewrite
 * it key by key; architectures build a graph from what is left.
 */
#ifndef RF_CORE_CHECKPOINT_H
#define RF_CORE_CHECKPOINT_H

#include "runtime/base/arena.h"
#include "runtime/base/file.h"
#include <refold/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rf_checkpoint_entry {
    const char *name; /* in the arena */
    rf_tensor tensor; /* data points into blob; contiguous unless the file says otherwise */
    rf_blob *blob;    /* one reference held */
    bool consumed;    /* taken by a fold or by the architecture */
} rf_checkpoint_entry;

typedef struct rf_checkpoint_meta {
    const char *key, *value;
} rf_checkpoint_meta;

typedef struct rf_checkpoint {
    rf_env *env;
    rf_arena arena;
    const char *path;   /* for messages: the path or "<memory>" */
    bool in_memory;     /* no path was given: there are no files beside it */
    const char *format; /* loader's name: "safetensors", "pth", ... */
    rf_checkpoint_entry *entries;
    size_t n_entries, entries_capacity;
    rf_checkpoint_meta *meta;
    size_t n_meta, meta_capacity;
    /* name -> entry, open addressing; kept by add/remove */
    uint32_t *index;
    size_t index_capacity;
} rf_checkpoint;

rf_status rf_checkpoint_create(rf_env *env, const char *path, rf_checkpoint **out, rf_error *err);
void rf_checkpoint_destroy(rf_checkpoint **ckpt);
/* Adds a tensor; name and desc are copied, the blob retained. Fails on a duplicate name:
 * RF_ERR_FORMAT. */
rf_status rf_checkpoint_add(rf_checkpoint *ckpt, const char *name, size_t name_len,
                            const rf_tensor *desc, rf_blob *blob, rf_error *err);
/* NULL if absent. The pointer is valid until the next add. */
rf_checkpoint_entry *rf_checkpoint_find(rf_checkpoint *ckpt, const char *name);
rf_checkpoint_entry *rf_checkpoint_findf(rf_checkpoint *ckpt, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Removes an entry (order of the rest is kept). */
void rf_checkpoint_remove(rf_checkpoint *ckpt, const char *name);
rf_status rf_checkpoint_set_meta(rf_checkpoint *ckpt, const char *key, const char *value,
                                 rf_error *err);
const char *rf_checkpoint_get_meta(const rf_checkpoint *ckpt, const char *key);
/* Unwraps common prefixes: `module.`, `_orig_mod.`, `base_model.model.` if every key has them. */
rf_status rf_checkpoint_strip_prefixes(rf_checkpoint *ckpt, rf_error *err);
/* A new contiguous float64 copy of any real dtype and strides. Blob is writable. */
rf_status rf_checkpoint_to_f64(rf_env *env, const rf_tensor *src, rf_tensor *out,
                               rf_blob **out_blob, rf_error *err);

#ifdef __cplusplus
}
#endif
#endif
