/* SPDX-License-Identifier: Apache-2.0
 *
 * See state_dict.h. Of a training checkpoint only the state dict is read; whatever lies beside it
 * may be any object. Inside the state dict everything must be a tensor with a name.
 */
#include "loaders/pth/state_dict.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loaders/common.h"

/* Names under which training code keeps the weights, in order of preference. */
static const char *const wrappers[] = {"state_dict", "model",          "weights", "params",
                                       "params_ema", "state_dict_ema", "ema"};
enum { N_WRAPPERS = sizeof wrappers / sizeof *wrappers, MAX_WRAPPING = 8 };

static int by_key(const void *a, const void *b)
{
    const rf_pth_record *x = a, *y = b;
    return strcmp(x->storage->key, y->storage->key);
}

/* Sorted instead of hashed: keys come from the file and could be chosen to collide. */
rf_status rf_pth_table_make(const rf_unpickler *u, rf_pth_table *out, rf_error *err)
{
    *out = (rf_pth_table){.env = u->arena.env};
    RF_TRY(rf_alloc_array(out->env, u->n_storages, sizeof *out->records, &out->records, err));
    rf_pth_record *r = out->records;
    out->capacity = u->n_storages;
    for (size_t i = 0; i < u->n_storages; i++)
        r[i].storage = u->storages[i];
    qsort(r, u->n_storages, sizeof *r, by_key);
    for (size_t i = 0; i < u->n_storages; i++) {
        const rf_pickle_storage *last = out->n ? r[out->n - 1].storage : NULL, *s = r[i].storage;
        if (!last || strcmp(last->key, s->key))
            r[out->n++].storage = s;
        else if (last->dtype != s->dtype || last->is_untyped != s->is_untyped ||
                 last->n_elements != s->n_elements)
            return rf_fail(err, RF_ERR_FORMAT,
                           "storage '%s' is %lld elements of %s here and %lld of %s there", s->key,
                           (long long)last->n_elements, rf_dtype_name(last->dtype),
                           (long long)s->n_elements, rf_dtype_name(s->dtype));
    }
    return RF_OK;
}

void rf_pth_table_free(rf_pth_table *table)
{
    if (table->env)
        rf_free(table->env, table->records, table->capacity * sizeof *table->records);
}

rf_pth_record *rf_pth_table_find(const rf_pth_table *table, const char *key, size_t key_len)
{
    size_t low = 0, high = table->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const char *other = table->records[mid].storage->key;
        int order = strncmp(key, other, key_len);
        if (!order && !other[key_len])
            return &table->records[mid];
        if (order > 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

size_t rf_pth_record_bytes(const rf_pth_record *record)
{
    return (size_t)record->storage->n_elements * rf_dtype_bytes(record->storage->dtype);
}

/* The state dict itself, or the dict inside the first wrapper that is there. */
static const rf_pickle_value *unwrap(const rf_pickle_value *v)
{
    for (int depth = 0; depth < MAX_WRAPPING; depth++) {
        const rf_pickle_value *inner = NULL;
        for (int i = 0; i < N_WRAPPERS && !inner; i++) {
            inner = rf_pickle_get(v, wrappers[i]);
            if (inner && (inner->kind != RF_PICKLE_DICT || !inner->u.seq.n))
                inner = NULL;
        }
        if (!inner)
            break;
        v = inner;
    }
    return v;
}

static bool has_tensors(const rf_pickle_value *dict)
{
    for (size_t i = 1; i < dict->u.seq.n; i += 2)
        if (dict->u.seq.items[i]->kind == RF_PICKLE_TENSOR)
            return true;
    return false;
}

/* Says what the file holds instead of weights. */
static rf_status no_state_dict(const rf_pickle_value *v, rf_error *err)
{
    char text[160], keys[160] = "";
    if (v->kind != RF_PICKLE_DICT)
        return rf_fail(err, RF_ERR_UNSUPPORTED,
                       "holds %s, expected a state dict: save model.state_dict()",
                       rf_pickle_describe(v, text, sizeof text));
    size_t len = 0;
    for (size_t i = 0; i < v->u.seq.n && len + 1 < sizeof keys; i += 2) {
        const rf_pickle_value *k = v->u.seq.items[i];
        if (k->kind != RF_PICKLE_STRING || k->u.string.n > 64 ||
            !rf_is_text(k->u.string.bytes, k->u.string.n))
            continue;
        int n = snprintf(keys + len, sizeof keys - len, "%s%.*s: %s", len ? ", " : "",
                         (int)k->u.string.n, k->u.string.bytes,
                         rf_pickle_describe(v->u.seq.items[i + 1], text, sizeof text));
        len += n > 0 ? (size_t)n : 0;
    }
    return rf_fail(err, RF_ERR_UNSUPPORTED, "no tensors in the top-level dict {%s}", keys);
}

static rf_status add_tensor(rf_checkpoint *ckpt, rf_blob *blob, const rf_pickle_value *key,
                            const rf_pickle_value *value, const rf_pth_table *table,
                            size_t *copy_budget, rf_error *err)
{
    char text[160];
    if (key->kind != RF_PICKLE_STRING)
        return rf_fail(err, RF_ERR_FORMAT, "state dict has %s as a key, expected a string",
                       rf_pickle_describe(key, text, sizeof text));
    const char *name = key->u.string.bytes;
    size_t name_len = key->u.string.n;
    RF_TRY(rf_check_name(name, name_len, err));
    if (value->kind != RF_PICKLE_TENSOR)
        return rf_fail(err, RF_ERR_FORMAT, "key '%.*s' is %s, expected a tensor",
                       rf_shown(name_len), name, rf_pickle_describe(value, text, sizeof text));
    const rf_pickle_tensor *t = value->u.tensor;
    const rf_pickle_storage *s = t->storage;
    const rf_pth_record *record = rf_pth_table_find(table, s->key, strlen(s->key));
    if (!record || !record->data)
        return rf_fail(err, RF_ERR_FORMAT, "key '%.*s': storage '%s' is not in the file",
                       rf_shown(name_len), name, s->key);
    rf_tensor tensor = t->tensor;
    /* Offsets count from the view, in elements of the tensor; both were checked against its size.
     */
    size_t at = (size_t)s->view_offset * rf_dtype_bytes(s->dtype) +
                (size_t)t->offset * rf_dtype_bytes(tensor.dtype);
    tensor.data = (void *)(record->data + at);
    return rf_loader_add(ckpt, name, name_len, &tensor, blob, copy_budget, err);
}

rf_status rf_pth_add_tensors(rf_checkpoint *ckpt, rf_blob *blob, const rf_pickle_value *root,
                             const rf_pth_table *table, rf_error *err)
{
    const rf_pickle_value *dict = unwrap(root);
    /* Honest files copy each storage at most a few times (tied and transposed weights). */
    size_t copy_budget = 4 * rf_blob_bytes(blob) + (1 << 20);
    if (dict->kind != RF_PICKLE_DICT || !has_tensors(dict))
        return no_state_dict(dict, err);
    for (size_t i = 0; i + 1 < dict->u.seq.n; i += 2)
        RF_TRY(add_tensor(ckpt, blob, dict->u.seq.items[i], dict->u.seq.items[i + 1], table,
                          &copy_budget, err));
    return RF_OK;
}
