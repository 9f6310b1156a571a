/* SPDX-License-Identifier: Apache-2.0
 *
 * The tables of container formats and of architectures, and what happens between them: a container
 * gives named tensors, prefixes of training wrappers come off, the names tell the architecture.
 */
#include "loaders/loader.h"

#include <stdio.h>
#include <string.h>

#include "loaders/arch/arch.h"
#include "loaders/pth/pth.h"
#include "loaders/safetensors/safetensors.h"

/* safetensors first: its header length may begin with the bytes that begin a pickle (0x80), while
 * no pickle or zip archive has a small number in its first eight bytes and a brace behind them. */
const rf_loader *const rf_loaders[] = {&rf_loader_safetensors, &rf_loader_pth, &rf_loader_shards,
                                       NULL};
const rf_arch *const rf_archs[] = {&rf_arch_dea_net, NULL};

/* Key of __metadata__ under which Refold's own form keeps the graph. */
static const char GRAPH_KEY[] = "refold";

static bool starts_with(const uint8_t *bytes, size_t n, const char *magic, size_t magic_bytes)
{
    return n >= magic_bytes && !memcmp(bytes, magic, magic_bytes);
}

static bool looks_like_text(const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n && i < 64; i++)
        if ((bytes[i] < 0x20 && !strchr("\t\n\r", bytes[i])) || bytes[i] >= 0x7f || !bytes[i])
            return false;
    return true;
}

/* What people hand over by mistake, so that the message can call it by its name. */
static const char *name_other_format(const uint8_t *bytes, size_t n)
{
    static const struct {
        const char *magic;
        size_t bytes;
        const char *name;
    } others[] = {
        {"\x89PNG\r\n", 6, "a PNG image"},
        {"\xff\xd8\xff", 3, "a JPEG image"},
        {"\x93NUMPY", 6, "a NumPy array"},
        {"GGUF", 4, "a GGUF file"},
        {"\x89HDF\r\n", 6, "an HDF5 file"},
        {"\x1f\x8b", 2, "a gzip archive"},
        {"version https://git-lfs", 23, "a Git LFS pointer (run git lfs pull)"},
        {"<!DOCTYPE", 9, "a web page"},
        {"<html", 5, "a web page"},
    };
    if (!n)
        return "an empty file";
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (starts_with(bytes, n, others[i].magic, others[i].bytes))
            return others[i].name;
    /* ModelProto begins with field 1, the IR version, a varint of one byte; then field 2 or 8. */
    if (n >= 3 && bytes[0] == 0x08 && bytes[1] < 0x80 && (bytes[2] == 0x12 || bytes[2] == 0x42))
        return "an ONNX model";
    if (n > 8 && bytes[8] == '{')
        return "a safetensors file with an impossible header length";
    return looks_like_text(bytes, n) ? "text" : "other bytes";
}

static rf_status fill(rf_checkpoint *ckpt, rf_blob *blob, rf_error *err)
{
    const uint8_t *bytes = rf_blob_data(blob);
    size_t n = rf_blob_bytes(blob);
    for (int i = 0; rf_loaders[i]; i++) {
        if (!n || !rf_loaders[i]->probe(bytes, n))
            continue;
        ckpt->format = rf_loaders[i]->name;
        RF_TRY(rf_loaders[i]->load(ckpt, blob, err));
        /* Names of the own form belong to its graph. */
        return rf_checkpoint_get_meta(ckpt, GRAPH_KEY) ? RF_OK
                                                       : rf_checkpoint_strip_prefixes(ckpt, err);
    }
    return rf_fail(err, RF_ERR_FORMAT,
                   "expected a checkpoint of PyTorch (.pth, .pt) or a .safetensors file, found %s",
                   name_other_format(bytes, n));
}

rf_status rf_load_checkpoint(rf_env *env, rf_blob *blob, const char *path, rf_checkpoint **out,
                             rf_error *err)
{
    rf_checkpoint *ckpt;
    rf_error why;
    *out = NULL;
    RF_TRY(rf_checkpoint_create(env, path, &ckpt, err));
    rf_status status = fill(ckpt, blob, &why);
    if (status != RF_OK) {
        status = rf_fail(err, status, "%s: %s", ckpt->path, why.text);
        rf_checkpoint_destroy(&ckpt);
    }
    *out = ckpt;
    return status;
}

static rf_status no_arch(const rf_checkpoint *ckpt, rf_error *err)
{
    char keys[128] = "";
    size_t len = 0;
    for (size_t i = 0; i < ckpt->n_entries && i < 3 && len + 1 < sizeof keys; i++)
        len += (size_t)snprintf(keys + len, sizeof keys - len, "%s'%.40s'", i ? ", " : "",
                                ckpt->entries[i].name);
    return rf_fail(err, RF_ERR_UNSUPPORTED, "no architecture knows these %zu keys: %s ...",
                   ckpt->n_entries, keys);
}

/* What nobody used is a sign of a network that is not the one that was built. */
static rf_status check_consumed(const rf_checkpoint *ckpt, const char *arch, rf_error *err)
{
    const rf_checkpoint_entry *first = NULL;
    size_t n = 0;
    for (size_t i = 0; i < ckpt->n_entries; i++) {
        if (ckpt->entries[i].consumed)
            continue;
        first = n++ ? first : &ckpt->entries[i];
    }
    if (n)
        return rf_fail(err, RF_ERR_FORMAT, "%zu keys are not part of %s, the first is '%.128s'", n,
                       arch, first->name);
    return RF_OK;
}

static rf_status build(rf_checkpoint *ckpt, rf_graph **out, rf_error *err)
{
    const char *json = rf_checkpoint_get_meta(ckpt, GRAPH_KEY);
    if (json) {
        RF_TRY(rf_graph_from_json(json, ckpt, out, err));
        return check_consumed(ckpt, "its graph", err);
    }
    for (int i = 0; rf_archs[i]; i++) {
        if (!rf_archs[i]->probe(ckpt))
            continue;
        RF_TRY(rf_graph_create_env(ckpt->env, out, err));
        RF_TRY(rf_archs[i]->build(ckpt, *out, err));
        return check_consumed(ckpt, rf_archs[i]->name, err);
    }
    return no_arch(ckpt, err);
}

rf_status rf_load_graph(rf_checkpoint *ckpt, rf_graph **out, rf_error *err)
{
    rf_error why;
    *out = NULL;
    rf_status status = build(ckpt, out, &why);
    if (status != RF_OK) {
        rf_graph_destroy(out);
        return rf_fail(err, status, "%s: %s", ckpt->path, why.text);
    }
    return RF_OK;
}
