/* SPDX-License-Identifier: Apache-2.0
 *
 * Cache of repacked weights. It belongs to a model, so that ten sessions and a hundred shapes hold
 * one copy. A list under a mutex: it is touched while planning only. For a device the bytes are
 * made in host memory and uploaded.
 */
#include "runtime/backend/backend.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

struct pack {
    struct pack *next;
    const void *key;
    char tag[RF_PACK_TAG_BYTES];
    void *data;
    size_t bytes;
};

struct rf_pack_cache {
    rf_env *env;
    const rf_device_ops *ops; /* NULL: host memory */
    rf_device *device;
    pthread_mutex_t lock;
    struct pack *first;
    size_t bytes;
};

rf_status rf_pack_cache_create(rf_env *env, const rf_device_ops *ops, rf_device *device,
                               rf_pack_cache **out, rf_error *err)
{
    rf_pack_cache *packs;
    *out = NULL;
    RF_TRY(rf_alloc_array(env, 1, sizeof *packs, &packs, err));
    packs->env = rf_env_retain(env);
    packs->ops = ops;
    packs->device = device;
    pthread_mutex_init(&packs->lock, NULL);
    *out = packs;
    return RF_OK;
}

void rf_pack_cache_destroy(rf_pack_cache **packs_ptr)
{
    rf_pack_cache *packs = *packs_ptr;
    if (!packs)
        return;
    for (struct pack *p = packs->first, *next; p; p = next) {
        next = p->next;
        if (packs->ops)
            packs->ops->free(packs->device, p->data);
        else
            rf_free(packs->env, p->data, p->bytes);
        rf_free(packs->env, p, sizeof *p);
    }
    pthread_mutex_destroy(&packs->lock);
    rf_env *env = packs->env;
    rf_free(env, packs, sizeof *packs);
    rf_env_release(&env);
    *packs_ptr = NULL;
}

size_t rf_pack_cache_bytes(const rf_pack_cache *packs)
{
    rf_pack_cache *p = (rf_pack_cache *)packs;
    pthread_mutex_lock(&p->lock);
    size_t bytes = p->bytes;
    pthread_mutex_unlock(&p->lock);
    return bytes;
}

/* Filled host memory. */
static rf_status fill_host(rf_env *env, const char *tag, size_t bytes, rf_pack_fn *fill, void *ctx,
                           void **out, rf_error *err)
{
    void *data = rf_alloc(env, bytes, 64);
    if (!data)
        return rf_fail(err, RF_ERR_MEMORY, "no memory for %zu bytes of packed weights (%s)", bytes,
                       tag);
    rf_status status = fill(ctx, data, err);
    if (status == RF_OK)
        *out = data;
    else
        rf_free(env, data, bytes);
    return status;
}

static rf_status to_device(rf_pack_cache *packs, void *host, size_t bytes, void **out,
                           rf_error *err)
{
    void *data = NULL;
    rf_status status = packs->ops->alloc(packs->device, bytes, &data, err);
    if (status == RF_OK)
        status = packs->ops->upload(packs->device, data, host, bytes, err);
    if (status != RF_OK && data)
        packs->ops->free(packs->device, data);
    rf_free(packs->env, host, bytes);
    *out = data;
    return status;
}

static rf_status pack_new(rf_pack_cache *packs, const void *key, const char *tag, size_t bytes,
                          rf_pack_fn *fill, void *ctx, struct pack **out, rf_error *err)
{
    struct pack *p;
    RF_TRY(rf_alloc_array(packs->env, 1, sizeof *p, &p, err));
    *p = (struct pack){.key = key, .bytes = bytes};
    snprintf(p->tag, sizeof p->tag, "%s", tag);
    rf_status status = fill_host(packs->env, tag, bytes, fill, ctx, &p->data, err);
    if (status == RF_OK && packs->ops)
        status = to_device(packs, p->data, bytes, &p->data, err);
    if (status != RF_OK) {
        rf_free(packs->env, p, sizeof *p);
        return status;
    }
    p->next = packs->first;
    packs->first = p;
    packs->bytes += bytes;
    *out = p;
    return RF_OK;
}

rf_status rf_pack_get(rf_pack_cache *packs, const void *key, const char *tag, size_t bytes,
                      rf_pack_fn *fill, void *ctx, const void **out, rf_error *err)
{
    rf_status status = RF_OK;
    pthread_mutex_lock(&packs->lock);
    struct pack *p = packs->first;
    while (p && (p->key != key || p->bytes != bytes || strcmp(p->tag, tag)))
        p = p->next;
    if (!p)
        status = pack_new(packs, key, tag, bytes, fill, ctx, &p, err);
    *out = p ? p->data : NULL;
    pthread_mutex_unlock(&packs->lock);
    return status;
}
