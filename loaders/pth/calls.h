/* SPDX-License-Identifier: Apache-2.0
 *
 * What globals, calls and persistent ids of a pickle mean; the machine of unpickle.c only moves
 * values.
 */
#ifndef RF_LOADERS_PTH_CALLS_H
#define RF_LOADERS_PTH_CALLS_H

#include "loaders/pth/unpickle.h"

/* A zeroed value of the kind; fails when the file asks for too many. */
rf_status rf_pickle_new(rf_unpickler *u, rf_pickle_kind kind, rf_pickle_value **out, rf_error *err);
/* GLOBAL: module and name are not terminated. */
rf_status rf_pickle_global(rf_unpickler *u, const char *module, size_t module_len, const char *name,
                           size_t name_len, rf_pickle_value **out, rf_error *err);
/* REDUCE and NEWOBJ: `callee` applied to the tuple `args`. */
rf_status rf_pickle_call(rf_unpickler *u, const rf_pickle_value *callee,
                         const rf_pickle_value *args, rf_pickle_value **out, rf_error *err);
rf_status rf_pickle_new_object(rf_unpickler *u, const rf_pickle_value *callee,
                               const rf_pickle_value *args, rf_pickle_value **out, rf_error *err);
/* BINPERSID: the tuple becomes a reference to a storage. */
rf_status rf_pickle_persistent(rf_unpickler *u, const rf_pickle_value *id, rf_pickle_value **out,
                               rf_error *err);

#endif
