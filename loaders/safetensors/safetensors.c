/* SPDX-License-Identifier: Apache-2.0
 *
 * safetensors: u64 header length, JSON header, then the elements of all tensors back to back. The
 * reader is stricter than the reference: no duplicate keys after unescaping (parsers disagree about
 * which one wins), no unknown members, no byte of the file that belongs to nothing (a place to hide
 * a second file). Tensors point into the mapping.
 */
#include "loaders/common.h"
#include "loaders/safetensors/safetensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Metadata is looked up by a scan; files have a handful. */
enum { MAX_METADATA = 10000 };

/* In the order of enum rf_dtype. */
static const char *const dtype_names[RF_DTYPE_COUNT] = {
    [RF_F32] = "F32", [RF_F64] = "F64", [RF_F16] = "F16",   [RF_BF16] = "BF16", [RF_I8] = "I8",
    [RF_U8] = "U8",   [RF_I16] = "I16", [RF_U16] = "U16",   [RF_I32] = "I32",   [RF_U32] = "U32",
    [RF_I64] = "I64", [RF_U64] = "U64", [RF_BOOL] = "BOOL",
};

const char *rf_safetensors_dtype(rf_dtype dtype)
{
    return dtype_names[dtype];
}

/* One tensor of the header; ranges are relative to the end of the header. */
typedef struct entry {
    const char *name;
    rf_tensor tensor;
    uint64_t begin, end;
} entry;

static bool probe(const uint8_t *bytes, size_t n)
{
    return n > 8 && bytes[8] == '{' && rf_read_u64(bytes) <= RF_SAFETENSORS_MAX_HEADER;
}

static rf_status read_dtype(const char *name, const json_t *value, rf_dtype *out, rf_error *err)
{
    const char *text = json_string_value(value);
    if (!text)
        return rf_fail(err, RF_ERR_FORMAT, "tensor '%.96s': 'dtype' is missing or not a string",
                       name);
    for (int d = 0; d < RF_DTYPE_COUNT; d++) {
        if (!strcmp(dtype_names[d], text)) {
            *out = (rf_dtype)d;
            return RF_OK;
        }
    }
    return rf_fail(
        err, RF_ERR_UNSUPPORTED,
        "tensor '%.96s': dtype '%.32s' is not one of F32 F64 F16 BF16 I8..I64 U8..U64 BOOL", name,
        text);
}

/* A JSON integer >= 0; floats and exponents are refused even where they have an integer value. */
static rf_status read_count(const char *name, const char *what, const json_t *value, int64_t *out,
                            rf_error *err)
{
    if (!json_is_integer(value))
        return rf_fail(err, RF_ERR_FORMAT, "tensor '%.96s': %s holds something else than integers",
                       name, what);
    *out = json_integer_value(value);
    if (*out < 0)
        return rf_fail(err, RF_ERR_FORMAT, "tensor '%.96s': %s holds %lld, expected 0 or more",
                       name, what, (long long)*out);
    return RF_OK;
}

static rf_status read_shape(const char *name, const json_t *shape, rf_dtype dtype, rf_tensor *out,
                            rf_error *err)
{
    int64_t dims[RF_MAX_RANK];
    rf_error why;
    if (!json_is_array(shape))
        return rf_fail(err, RF_ERR_FORMAT, "tensor '%.96s': 'shape' is missing or not a list",
                       name);
    size_t rank = json_array_size(shape);
    if (rank > RF_MAX_RANK)
        return rf_fail(err, RF_ERR_UNSUPPORTED, "tensor '%.96s': has %zu dims, expected at most %d",
                       name, rank, RF_MAX_RANK);
    for (size_t i = 0; i < rank; i++)
        RF_TRY(read_count(name, "shape", json_array_get(shape, i), &dims[i], err));
    if (rf_tensor_init(out, dtype, (int)rank, dims, NULL, &why) != RF_OK)
        return rf_fail(err, RF_ERR_FORMAT, "tensor '%.96s': %s", name, why.text);
    return RF_OK;
}

static rf_status read_entry(const char *name, const json_t *value, uint64_t data_bytes, entry *out,
                            rf_error *err)
{
    int64_t range[2];
    rf_dtype dtype = RF_F32;
    const json_t *offsets = json_object_get(value, "data_offsets");
    RF_TRY(rf_check_name(name, strlen(name), err));
    if (!json_is_object(value) || json_object_size(value) != 3)
        return rf_fail(err, RF_ERR_FORMAT,
                       "tensor '%.96s': expected exactly dtype, shape and data_offsets", name);
    RF_TRY(read_dtype(name, json_object_get(value, "dtype"), &dtype, err));
    RF_TRY(read_shape(name, json_object_get(value, "shape"), dtype, &out->tensor, err));
    if (!json_is_array(offsets) || json_array_size(offsets) != 2)
        return rf_fail(err, RF_ERR_FORMAT, "tensor '%.96s': 'data_offsets' is not a list of two",
                       name);
    for (size_t i = 0; i < 2; i++)
        RF_TRY(read_count(name, "data_offsets", json_array_get(offsets, i), &range[i], err));
    out->name = name;
    out->begin = (uint64_t)range[0];
    out->end = (uint64_t)range[1];
    if (out->begin > out->end || out->end > data_bytes)
        return rf_fail(err, RF_ERR_FORMAT,
                       "tensor '%.96s': lies at %llu to %llu, the file holds %llu", name,
                       (unsigned long long)out->begin, (unsigned long long)out->end,
                       (unsigned long long)data_bytes);
    if (out->end - out->begin != rf_tensor_bytes(&out->tensor))
        return rf_fail(err, RF_ERR_FORMAT, "tensor '%.96s': has %llu bytes, its shape needs %zu",
                       name, (unsigned long long)(out->end - out->begin),
                       rf_tensor_bytes(&out->tensor));
    return RF_OK;
}

static rf_status read_metadata(rf_checkpoint *ckpt, json_t *object, rf_error *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(object))
        return rf_fail(err, RF_ERR_FORMAT, "'__metadata__' is not an object");
    if (json_object_size(object) > MAX_METADATA)
        return rf_fail(err, RF_ERR_FORMAT, "'__metadata__' has %zu entries, expected at most %d",
                       json_object_size(object), MAX_METADATA);
    json_object_foreach(object, key, value)
    {
        if (!json_is_string(value))
            return rf_fail(err, RF_ERR_FORMAT, "'__metadata__' entry '%.64s' is not a string", key);
        RF_TRY(rf_checkpoint_set_meta(ckpt, key, json_string_value(value), err));
    }
    return RF_OK;
}

static int by_begin(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end; /* empty tensors before what starts there */
}

/* Sorted, the ranges must cover the data exactly: no hole, no overlap, nothing behind. */
static rf_status check_cover(const entry *entries, size_t n, uint64_t data_bytes, rf_error *err)
{
    uint64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (entries[i].begin != at)
            return rf_fail(err, RF_ERR_FORMAT, "tensor '%.96s': starts at %llu, expected %llu (%s)",
                           entries[i].name, (unsigned long long)entries[i].begin,
                           (unsigned long long)at, entries[i].begin < at ? "overlap" : "hole");
        at = entries[i].end;
    }
    if (at != data_bytes)
        return rf_fail(err, RF_ERR_FORMAT, "tensors end at %llu, the file holds %llu bytes of data",
                       (unsigned long long)at, (unsigned long long)data_bytes);
    return RF_OK;
}

static rf_status read_tensors(rf_checkpoint *ckpt, rf_blob *blob, json_t *header, uint64_t start,
                              rf_error *err)
{
    const uint64_t data_bytes = rf_blob_bytes(blob) - start;
    const size_t capacity = json_object_size(header);
    entry *entries;
    size_t n = 0;
    const char *name;
    json_t *value;
    rf_status status = RF_OK;
    if (capacity > RF_MAX_TENSORS)
        return rf_fail(err, RF_ERR_FORMAT, "header has %zu entries, expected at most %d", capacity,
                       RF_MAX_TENSORS);
    RF_TRY(rf_alloc_array(ckpt->env, capacity, sizeof *entries, &entries, err));
    json_object_foreach(header, name, value)
    {
        if (!strcmp(name, "__metadata__"))
            RF_TRY_DONE(read_metadata(ckpt, value, err));
        else
            RF_TRY_DONE(read_entry(name, value, data_bytes, &entries[n++], err));
    }
    qsort(entries, n, sizeof *entries, by_begin);
    RF_TRY_DONE(check_cover(entries, n, data_bytes, err));
    for (size_t i = 0; i < n; i++) {
        rf_tensor *t = &entries[i].tensor;
        t->data = (char *)rf_blob_data(blob) + start + entries[i].begin;
        RF_TRY_DONE(
            rf_loader_add(ckpt, entries[i].name, strlen(entries[i].name), t, blob, NULL, err));
    }
done:
    rf_free(ckpt->env, entries, capacity * sizeof *entries);
    return status;
}

static rf_status load(rf_checkpoint *ckpt, rf_blob *blob, rf_error *err)
{
    const uint8_t *bytes = rf_blob_data(blob);
    const size_t n = rf_blob_bytes(blob);
    json_error_t why;
    uint64_t header_bytes = rf_read_u64(bytes); /* the probe has seen 9 bytes */
    if (!header_bytes || header_bytes > n - 8)
        return rf_fail(err, RF_ERR_FORMAT,
                       "header has %llu bytes, the file holds %zu behind its length",
                       (unsigned long long)header_bytes, n - 8);
    json_t *header =
        json_loadb((const char *)bytes + 8, header_bytes, JSON_REJECT_DUPLICATES, &why);
    if (!header)
        return rf_fail(err, RF_ERR_FORMAT, "header, byte %d: %s", why.position, why.text);
    rf_status status = read_tensors(ckpt, blob, header, 8 + header_bytes, err);
    json_decref(header);
    return status;
}

const rf_loader rf_loader_safetensors = {.name = "safetensors", .probe = probe, .load = load};
