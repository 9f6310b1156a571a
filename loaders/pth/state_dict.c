/* SPDX-License-Identifier: Apache-2.0
 *
 * See state_dict.h. Of a training checkpoint only the state dict is read; whatever lies beside it may
 * be any object. Inside the state dict everything must be a tensor with a name.
 */
#include "loaders/pth/state_dict.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loaders/common.h"

/* Names under which training code keeps the weights, in order of preference. */
static const char *const wrappers[] = {"state_dict",    "model", "weights", "params", "params_ema",
                                       "state_dict_ema", "ema"};
enum { N_WRAPPERS = sizeof wrappers / sizeof *wrappers, MAX_WRAPPING = 8 };

static int by_key(const void *a, const void *b)
{
    const rf_pth_record *x = a, *y = b;
    return strcmp(x->storage->key, y->storage->key);
}

rf_status rf_pth_records(rf_unpickler *u, rf_pth_record **out, size_t *n, rf_error *err)
{
    size_t kept = 0;
    rf_pth_record *r;
    RF_TRY(rf_alloc_array(u->arena.env, u->n_storages, sizeof *r, &r, err));
    for (size_t i = 0; i < u->n_storages; i++)
        r[i].storage = u->storages[i];
    qsort(r, u->n_storages, sizeof *r, by_key);
    *out = r;
    *n = u->n_storages; /* what is allocated; duplicates are moved to the end */
    for (size_t i = 0; i < u->n_storages; i++) {
        const rf_pickle_storage *last = kept ? r[kept - 1].storage : NULL, *s = r[i].storage;
        if (!last || strcmp(last->key, s->key))
            r[kept++].storage = s;
        else if (last->dtype != s->dtype || last->is_untyped != s->is_untyped ||
                 last->n_elements != s->n_elements)
            return rf_fail(err, RF_ERR_FORMAT,
                           "storage '%s' is %lld elements of %s here and %lld of %s there", s->key,
                           (long long)last->n_elements, rf_dtype_name(last->dtype),
                           (long long)s->n_elements, rf_dtype_name(s->dtype));
    }
    return RF_OK;
}
