/* SPDX-License-Identifier: Apache-2.0
 *
 * Named tensors with a hash index (open addressing, linear probing, at most half full): files may
 * hold up to a million names, and both the duplicate check and the folds look each of them up.
 */
#include "runtime/core/checkpoint.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "runtime/core/strided.h"

enum { MAX_NAME = 4096 };

static uint64_t hash(const char *name, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint8_t)name[i]) * 0x100000001b3u;
    return h ^ h >> 32;
}

/* Slot that holds the name, or the free one where it belongs. Slots hold entry number + 1. */
static size_t find_slot(const rf_checkpoint *ckpt, const char *name, size_t n)
{
    size_t mask = ckpt->index_capacity - 1, slot = hash(name, n) & mask;
    for (; ckpt->index[slot]; slot = (slot + 1) & mask) {
        const char *other = ckpt->entries[ckpt->index[slot] - 1].name;
        if (!strncmp(other, name, n) && !other[n])
            break;
    }
    return slot;
}

static void fill_index(rf_checkpoint *ckpt)
{
    memset(ckpt->index, 0, ckpt->index_capacity * sizeof *ckpt->index);
    for (size_t i = 0; i < ckpt->n_entries; i++) {
        const char *name = ckpt->entries[i].name;
        ckpt->index[find_slot(ckpt, name, strlen(name))] = (uint32_t)(i + 1);
    }
}

static rf_status grow_index(rf_checkpoint *ckpt, rf_error *err)
{
    uint32_t *index;
    size_t n = ckpt->index_capacity ? 2 * ckpt->index_capacity : 64;
    if (2 * (ckpt->n_entries + 1) <= ckpt->index_capacity)
        return RF_OK;
    RF_TRY(rf_alloc_array(ckpt->env, n, sizeof *index, &index, err));
    rf_free(ckpt->env, ckpt->index, ckpt->index_capacity * sizeof *index);
    ckpt->index = index;
    ckpt->index_capacity = n;
    fill_index(ckpt);
    return RF_OK;
}

rf_status rf_checkpoint_create(rf_env *env, const char *path, rf_checkpoint **out, rf_error *err)
{
    rf_checkpoint *ckpt;
    *out = NULL;
    RF_TRY(rf_alloc_array(env, 1, sizeof *ckpt, &ckpt, err));
    ckpt->env = rf_env_retain(env);
    ckpt->format = "";
    rf_arena_init(&ckpt->arena, env);
    ckpt->in_memory = !path;
    ckpt->path = path ? rf_arena_strndup(&ckpt->arena, path, strlen(path)) : "<memory>";
    rf_status status = ckpt->path ? grow_index(ckpt, err)
                                  : rf_fail(err, RF_ERR_MEMORY, "no memory for a file name");
    if (status != RF_OK)
        rf_checkpoint_destroy(&ckpt);
    *out = ckpt;
    return status;
}

void rf_checkpoint_destroy(rf_checkpoint **ckpt)
{
    rf_checkpoint *c = *ckpt;
    *ckpt = NULL;
    if (!c)
        return;
    rf_env *env = c->env;
    for (size_t i = 0; i < c->n_entries; i++)
        rf_blob_release(&c->entries[i].blob);
    rf_free(env, c->entries, c->entries_capacity * sizeof *c->entries);
    rf_free(env, c->meta, c->meta_capacity * sizeof *c->meta);
    rf_free(env, c->index, c->index_capacity * sizeof *c->index);
    rf_arena_free(&c->arena);
    rf_free(env, c, sizeof *c);
    rf_env_release(&env);
}

rf_status rf_checkpoint_add(rf_checkpoint *ckpt, const char *name, size_t name_len,
                            const rf_tensor *desc, rf_blob *blob, rf_error *err)
{
    if (!name_len || name_len > MAX_NAME || memchr(name, 0, name_len))
        return rf_fail(err, RF_ERR_FORMAT,
                       "a tensor's name has %zu bytes%s, expected 1 to %d without NUL", name_len,
                       name_len && memchr(name, 0, name_len) ? " and a NUL" : "", MAX_NAME);
    if (ckpt->n_entries >= UINT32_MAX / 2)
        return rf_fail(err, RF_ERR_UNSUPPORTED, "too many tensors");
    RF_TRY(grow_index(ckpt, err));
    size_t slot = find_slot(ckpt, name, name_len);
    if (ckpt->index[slot])
        return rf_fail(err, RF_ERR_FORMAT, "tensor '%.*s' is there twice",
                       name_len < 96 ? (int)name_len : 96, name);
    RF_TRY(rf_grow_array(ckpt->env, &ckpt->entries, &ckpt->entries_capacity, ckpt->n_entries + 1,
                         sizeof *ckpt->entries, err));
    const char *copy = rf_arena_strndup(&ckpt->arena, name, name_len);
    if (!copy)
        return rf_fail(err, RF_ERR_MEMORY, "no memory for a tensor's name");
    ckpt->entries[ckpt->n_entries++] =
        (rf_checkpoint_entry){.name = copy, .tensor = *desc, .blob = rf_blob_retain(blob)};
    ckpt->index[slot] = (uint32_t)ckpt->n_entries;
    return RF_OK;
}

rf_checkpoint_entry *rf_checkpoint_find(rf_checkpoint *ckpt, const char *name)
{
    uint32_t at = ckpt->index[find_slot(ckpt, name, strlen(name))];
    return at ? &ckpt->entries[at - 1] : NULL;
}

rf_checkpoint_entry *rf_checkpoint_findf(rf_checkpoint *ckpt, const char *fmt, ...)
{
    char name[MAX_NAME + 1];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(name, sizeof name, fmt, args);
    va_end(args);
    /* A longer name was refused by add. */
    return n < 0 || (size_t)n >= sizeof name ? NULL : rf_checkpoint_find(ckpt, name);
}

/* Empties a slot and moves up what had collided with it, so that no probe chain is cut. */
static void free_slot(rf_checkpoint *ckpt, size_t hole)
{
    size_t mask = ckpt->index_capacity - 1;
    ckpt->index[hole] = 0;
    for (size_t i = (hole + 1) & mask; ckpt->index[i]; i = (i + 1) & mask) {
        const char *name = ckpt->entries[ckpt->index[i] - 1].name;
        size_t home = hash(name, strlen(name)) & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            ckpt->index[hole] = ckpt->index[i];
            ckpt->index[i] = 0;
            hole = i;
        }
    }
}

void rf_checkpoint_remove(rf_checkpoint *ckpt, const char *name)
{
    size_t slot = find_slot(ckpt, name, strlen(name));
    uint32_t at = ckpt->index[slot];
    if (!at)
        return;
    free_slot(ckpt, slot);
    rf_blob_release(&ckpt->entries[at - 1].blob);
    memmove(&ckpt->entries[at - 1], &ckpt->entries[at],
            (ckpt->n_entries - at) * sizeof *ckpt->entries);
    ckpt->n_entries--;
    for (size_t i = 0; i < ckpt->index_capacity; i++)
        ckpt->index[i] -= ckpt->index[i] > at;
}

rf_status rf_checkpoint_set_meta(rf_checkpoint *ckpt, const char *key, const char *value,
                                 rf_error *err)
{
    size_t i = 0;
    const char *copy = rf_arena_strndup(&ckpt->arena, value, strlen(value));
    const char *key_copy = rf_arena_strndup(&ckpt->arena, key, strlen(key));
    if (!copy || !key_copy)
        return rf_fail(err, RF_ERR_MEMORY, "no memory for metadata of %s", ckpt->path);
    while (i < ckpt->n_meta && strcmp(ckpt->meta[i].key, key))
        i++;
    RF_TRY(rf_grow_array(ckpt->env, &ckpt->meta, &ckpt->meta_capacity, i + 1, sizeof *ckpt->meta,
                         err));
    ckpt->meta[i] = (rf_checkpoint_meta){key_copy, copy};
    if (i == ckpt->n_meta)
        ckpt->n_meta++;
    return RF_OK;
}

const char *rf_checkpoint_get_meta(const rf_checkpoint *ckpt, const char *key)
{
    for (size_t i = 0; i < ckpt->n_meta; i++)
        if (!strcmp(ckpt->meta[i].key, key))
            return ckpt->meta[i].value;
    return NULL;
}

static bool all_start_with(const rf_checkpoint *ckpt, const char *prefix, size_t n)
{
    for (size_t i = 0; i < ckpt->n_entries; i++)
        if (strncmp(ckpt->entries[i].name, prefix, n) || !ckpt->entries[i].name[n])
            return false;
    return ckpt->n_entries > 0;
}

rf_status rf_checkpoint_strip_prefixes(rf_checkpoint *ckpt, rf_error *err)
{
    /* DataParallel, torch.compile and PEFT; wrappers nest in any order. */
    static const char *const prefixes[] = {"module.", "_orig_mod.", "base_model.model."};
    bool again = true;
    (void)err;
    while (again) {
        again = false;
        for (size_t p = 0; p < sizeof prefixes / sizeof *prefixes; p++) {
            size_t n = strlen(prefixes[p]);
            if (!all_start_with(ckpt, prefixes[p], n))
                continue;
            for (size_t i = 0; i < ckpt->n_entries; i++)
                ckpt->entries[i].name += n;
            again = true;
        }
    }
    fill_index(ckpt);
    return RF_OK;
}

rf_status rf_checkpoint_to_f64(rf_env *env, const rf_tensor *src, rf_tensor *out,
                               rf_blob **out_blob, rf_error *err)
{
    *out_blob = NULL;
    RF_TRY(rf_tensor_init(out, RF_F64, src->rank, src->dims, NULL, err));
    RF_TRY(rf_blob_alloc(env, rf_tensor_bytes(out), out_blob, err));
    out->data = rf_blob_mutable(*out_blob);
    rf_tensor_pack_f64(src, out->data);
    return RF_OK;
}
