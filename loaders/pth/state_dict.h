/* SPDX-License-Identifier: Apache-2.0
 *
 * From the value that a pickle made to the tensors of a checkpoint; shared by both containers.
 */
#ifndef RF_LOADERS_PTH_STATE_DICT_H
#define RF_LOADERS_PTH_STATE_DICT_H

#include "loaders/pth/unpickle.h"
#include "runtime/core/checkpoint.h"

/* Where the elements of a storage lie. */
typedef struct rf_pth_record {
    const rf_pickle_storage *storage; /* first reference to it */
    const uint8_t *data;
} rf_pth_record;

/* Table of the storages that a pickle refers to, sorted by key.
 * Fails: RF_ERR_FORMAT if two references to one key disagree in dtype or size.
 * Owns: *out is an array of *n from u's env. */
rf_status rf_pth_records(rf_unpickler *u, rf_pth_record **out, size_t *n, rf_error *err);
/* NULL if absent. */
rf_pth_record *rf_pth_find(rf_pth_record *records, size_t n, const char *key, size_t key_len);

/* Finds the state dict in `root` (unwrapping `model`, `state_dict` ...) and adds its tensors.
 * `records` are those of rf_pth_records with data set. */
rf_status rf_pth_add_tensors(rf_checkpoint *ckpt, rf_blob *blob, const rf_pickle_value *root,
                             rf_pth_record *records, size_t n_records, rf_error *err);

#endif
