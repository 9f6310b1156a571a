/* SPDX-License-Identifier: Apache-2.0
 *
 * Packed weights of a kernel's state: shared through the model's cache where there is one, private
 * otherwise (tests, single ops). A state that holds an rf_cpu_pack need not know which it got.
 */
#ifndef RF_KERNELS_CPU_PACK_H
#define RF_KERNELS_CPU_PACK_H

#include "runtime/backend/backend.h"

typedef struct rf_cpu_pack {
    const void *data;
    void *own; /* NULL: the cache's */
    size_t bytes;
} rf_cpu_pack;

/* Fills *out with `bytes` bytes made by `fill`. Arguments as for rf_pack_get.
 *
 * Owns:  release with rf_cpu_pack_release, also on failure (then it does nothing). */
static inline rf_status rf_cpu_pack_get(const rf_kernel_desc *desc, const void *key,
                                        const char *tag, size_t bytes, rf_pack_fn *fill, void *ctx,
                                        rf_cpu_pack *out, rf_error *err)
{
    *out = (rf_cpu_pack){NULL, NULL, bytes};
    if (desc->packs)
        return rf_pack_get(desc->packs, key, tag, bytes, fill, ctx, &out->data, err);
    void *own = rf_alloc(desc->env, bytes, 64);
    if (!own)
        return rf_fail(err, RF_ERR_MEMORY, "no memory for %zu bytes of packed weights (%s)", bytes,
                       tag);
    rf_status status = fill(ctx, own, err);
    if (status != RF_OK) {
        rf_free(desc->env, own, bytes);
        return status;
    }
    out->data = out->own = own;
    return RF_OK;
}

static inline void rf_cpu_pack_release(rf_env *env, rf_cpu_pack *pack)
{
    rf_free(env, pack->own, pack->bytes);
    pack->data = pack->own = NULL;
}
#endif
