/* SPDX-License-Identifier: Apache-2.0
 *
 * A network in several .safetensors files: model.safetensors.index.json says in its "weight_map"
 * which tensor lies in which file beside it. All files become one checkpoint.
 *
 * The index may come from anywhere, so it may name plain files of its own folder only, and it must
 * say the truth: each tensor lies in the shard that the index gives for it, and nowhere else. The
 * names are checked before the first file is opened.
 */
#include "loaders/common.h"
#include "loaders/safetensors/safetensors.h"

#include <jansson.h>
#include <string.h>

/* Each shard is a mapping, of which a process may have some ten thousand. */
enum { MAX_SHARDS = 4096, MAX_FILE_NAME = 255 };

/* No other format that is read begins with a brace. */
static bool probe(const uint8_t *bytes, size_t n)
{
    size_t i = 0;
    while (i < n && strchr(" \t\r\n", bytes[i]) && bytes[i])
        i++;
    return i < n && bytes[i] == '{';
}

static rf_status check_file_name(const char *key, const json_t *value, rf_error *err)
{
    const char *name = json_string_value(value);
    size_t n = name ? strlen(name) : 0;
    if (!name)
        return rf_fail(err, RF_ERR_FORMAT, "weight_map: '%.96s' is not given as a string", key);
    if (!n || n > MAX_FILE_NAME || !rf_is_text(name, n) || strchr(name, '/') ||
        !strcmp(name, ".") || !strcmp(name, ".."))
        return rf_fail(err, RF_ERR_FORMAT,
                       "weight_map: '%.64s' lies in '%.64s', expected the plain name of a file in "
                       "the folder of the index",
                       key, rf_is_text(name, n) ? name : "?");
    return RF_OK;
}

/* The different files of the map, in its order, as keys of an object. */
static rf_status list_files(json_t *map, json_t *files, rf_error *err)
{
    const char *key;
    json_t *value;
    if (json_object_size(map) > RF_MAX_TENSORS)
        return rf_fail(err, RF_ERR_FORMAT, "weight_map has %zu entries, expected at most %d",
                       json_object_size(map), RF_MAX_TENSORS);
    json_object_foreach(map, key, value)
    {
        RF_TRY(rf_check_name(key, strlen(key), err));
        RF_TRY(check_file_name(key, value, err));
        if (json_object_set(files, json_string_value(value), value))
            return rf_fail(err, RF_ERR_MEMORY, "no memory for the names of shards");
    }
    if (json_object_size(files) > MAX_SHARDS)
        return rf_fail(err, RF_ERR_FORMAT, "weight_map names %zu files, expected at most %d",
                       json_object_size(files), MAX_SHARDS);
    return RF_OK;
}

static rf_status read_shard(rf_checkpoint *ckpt, const json_t *map, const char *file, rf_blob *blob,
                            rf_error *err)
{
    const size_t first = ckpt->n_entries;
    if (!rf_loader_safetensors.probe(rf_blob_data(blob), rf_blob_bytes(blob)))
        return rf_fail(err, RF_ERR_FORMAT, "expected a .safetensors file");
    RF_TRY(rf_loader_safetensors.load(ckpt, blob, err));
    if (rf_checkpoint_get_meta(ckpt, "refold"))
        return rf_fail(err, RF_ERR_FORMAT, "has a graph of its own, expected tensors only");
    for (size_t i = first; i < ckpt->n_entries; i++) {
        const char *name = ckpt->entries[i].name;
        const char *place = json_string_value(json_object_get(map, name));
        if (!place || strcmp(place, file))
            return rf_fail(err, RF_ERR_FORMAT, "tensor '%.96s' lies here, %s%.96s%s", name,
                           place ? "the index says in '" : "the index does not have it",
                           place ? place : "", place ? "'" : "");
    }
    return RF_OK;
}

static rf_status load_shard(rf_checkpoint *ckpt, const json_t *map, const char *file, rf_error *err)
{
    rf_blob *blob;
    rf_error why;
    const char *slash = strrchr(ckpt->path, '/');
    const char *path = rf_arena_printf(&ckpt->arena, "%.*s%s",
                                       slash ? (int)(slash + 1 - ckpt->path) : 0, ckpt->path, file);
    if (!path)
        return rf_fail(err, RF_ERR_MEMORY, "no memory for a file name");
    RF_TRY(rf_blob_map_file(ckpt->env, path, &blob, err));
    rf_status status = read_shard(ckpt, map, file, blob, &why);
    rf_blob_release(&blob);
    return status == RF_OK ? RF_OK : rf_fail(err, status, "shard '%.96s': %s", file, why.text);
}

/* No shard had a tensor that the index does not know; the other way round: */
static rf_status check_complete(rf_checkpoint *ckpt, json_t *map, rf_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(map, key, value)
    {
        if (!rf_checkpoint_find(ckpt, key))
            return rf_fail(err, RF_ERR_FORMAT, "shard '%.96s': has no tensor '%.96s'",
                           json_string_value(value), key);
    }
    return RF_OK;
}

static rf_status load_map(rf_checkpoint *ckpt, json_t *map, rf_error *err)
{
    const char *file;
    json_t *value, *files = json_object();
    rf_status status = RF_OK;
    if (!json_is_object(map)) {
        status = rf_fail(err, RF_ERR_FORMAT,
                         "JSON text without a 'weight_map' of tensors, expected the index of a "
                         "sharded .safetensors checkpoint");
        goto done;
    }
    RF_TRY_DONE(list_files(map, files, err));
    if (ckpt->in_memory && json_object_size(files)) {
        status = rf_fail(err, RF_ERR_UNSUPPORTED,
                         "the index of a sharded checkpoint, which must be given as a path: its "
                         "shards lie beside it");
        goto done;
    }
    json_object_foreach(files, file, value) RF_TRY_DONE(load_shard(ckpt, map, file, err));
    RF_TRY_DONE(check_complete(ckpt, map, err));
done:
    json_decref(files);
    return status;
}

static rf_status load(rf_checkpoint *ckpt, rf_blob *blob, rf_error *err)
{
    const size_t n = rf_blob_bytes(blob);
    json_error_t why;
    if (n > RF_SAFETENSORS_MAX_HEADER)
        return rf_fail(err, RF_ERR_FORMAT, "JSON text of %zu bytes, expected at most %d", n,
                       RF_SAFETENSORS_MAX_HEADER);
    json_t *root = json_loadb(rf_blob_data(blob), n, JSON_REJECT_DUPLICATES, &why);
    if (!root)
        return rf_fail(err, RF_ERR_FORMAT, "JSON text, line %d: %s", why.line, why.text);
    rf_status status = load_map(ckpt, json_object_get(root, "weight_map"), err);
    json_decref(root);
    return status;
}

const rf_loader rf_loader_shards = {.name = "safetensors", .probe = probe, .load = load};
