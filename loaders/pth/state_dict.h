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
    const rf_pickle_storage *storage; /* any reference to it */
    const uint8_t *data;
} rf_pth_record;

/* The storages that a pickle refers to, each once, sorted by key. */
typedef struct rf_pth_table {
    rf_env *env;
    rf_pth_record *records;
    size_t n, capacity;
} rf_pth_table;

/* Fails: RF_ERR_FORMAT if two references to one key disagree in dtype or size.
 * Owns: free with rf_pth_table_free, also after a failure. */
rf_status rf_pth_table_make(const rf_unpickler *u, rf_pth_table *out, rf_error *err);
void rf_pth_table_free(rf_pth_table *table);
/* NULL if absent. */
rf_pth_record *rf_pth_table_find(const rf_pth_table *table, const char *key, size_t key_len);
size_t rf_pth_record_bytes(const rf_pth_record *record);

/* Finds the state dict in `root` (unwrapping `model`, `state_dict` ...) and adds its tensors, whose
 * elements the table's records hold. */
rf_status rf_pth_add_tensors(rf_checkpoint *ckpt, rf_blob *blob, const rf_pickle_value *root,
                             const rf_pth_table *table, rf_error *err);

#endif
