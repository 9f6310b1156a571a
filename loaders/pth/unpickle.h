/* SPDX-License-Identifier: Apache-2.0
 *
 * A restricted pickle machine. Pickle is a program for a stack machine that may call any function
 * of Python; this one has no functions. Globals are compared with a list and become tokens, calls
 * of the few that describe tensors build tensor records, every other call builds an inert node that
 * holds only its name. Nothing is ever looked up or executed.
 */
#ifndef RF_LOADERS_PTH_UNPICKLE_H
#define RF_LOADERS_PTH_UNPICKLE_H

#include "runtime/base/arena.h"
#include <refold/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum rf_pickle_kind {
    RF_PICKLE_NONE,
    RF_PICKLE_BOOL,
    RF_PICKLE_INT,
    RF_PICKLE_REAL,
    RF_PICKLE_STRING,
    RF_PICKLE_TUPLE,
    RF_PICKLE_LIST,
    RF_PICKLE_DICT,
    RF_PICKLE_GLOBAL,  /* a name that was not called */
    RF_PICKLE_STORAGE, /* reference to elements outside of the pickle */
    RF_PICKLE_TENSOR,
    RF_PICKLE_OPAQUE, /* an object that has no meaning here */
    RF_PICKLE_KIND_COUNT
} rf_pickle_kind;

typedef struct rf_pickle_value rf_pickle_value;

/* A run of elements that the file stores under `key`. */
typedef struct rf_pickle_storage {
    const char *key; /* digits and letters, terminated */
    bool is_untyped; /* elements are bytes */
    rf_dtype dtype;
    int64_t n_elements;
    int64_t view_offset, view_elements; /* the part that this reference means */
} rf_pickle_storage;

typedef struct rf_pickle_tensor {
    const rf_pickle_storage *storage;
    int64_t offset;   /* in elements of the tensor's dtype, from the start of the storage */
    rf_tensor tensor; /* dtype, dims, strides; no data */
} rf_pickle_tensor;

struct rf_pickle_value {
    rf_pickle_kind kind;
    union {
        int64_t i; /* INT, BOOL */
        double real;
        struct {
            const char *bytes; /* in the file: not terminated, not checked to be text */
            size_t n;
        } string;
        struct {
            rf_pickle_value **items; /* DICT: key, value, key, value ... */
            size_t n, capacity;
            bool is_ordered_dict;
        } seq;
        struct {
            const char *name; /* "module name", terminated */
            int token;        /* row of the table of calls.c, -1 if unknown */
        } global;             /* GLOBAL, OPAQUE (what was called) */
        rf_pickle_storage *storage;
        rf_pickle_tensor *tensor;
    } u;
};

/* Everything that one or several pickles of one file made. Values live until the arena is freed. */
typedef struct rf_unpickler {
    rf_arena arena;
    bool is_legacy; /* persistent ids have a sixth field */
    size_t n_values;
    rf_pickle_storage **storages; /* every reference, in order of appearance */
    size_t n_storages, storages_capacity;
} rf_unpickler;

void rf_unpickler_init(rf_unpickler *u, rf_env *env, bool is_legacy);
void rf_unpickler_free(rf_unpickler *u);
/* Runs one pickle that starts at bytes; *used gets its length, STOP included.
 * Fails: RF_ERR_FORMAT or RF_ERR_UNSUPPORTED with the position and what was found there. */
rf_status rf_unpickle(rf_unpickler *u, const uint8_t *bytes, size_t n, rf_pickle_value **out,
                      size_t *used, rf_error *err);

/* Value under a string key of a dict (the last one, as in Python), or NULL. */
rf_pickle_value *rf_pickle_get(const rf_pickle_value *dict, const char *key);
/* "a dict", "an integer", "an object of 'os system'", ... Returns buf or a constant. */
const char *rf_pickle_describe(const rf_pickle_value *value, char *buf, size_t buf_bytes);

#ifdef __cplusplus
}
#endif
#endif
