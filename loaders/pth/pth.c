/* SPDX-License-Identifier: Apache-2.0
 *
 * Both containers hold a pickle that describes tensors, and the elements of their storages outside
 * of it. Zip (torch/serialization.py, caffe2/serialize/inline_container.cc): records
 * <root>/data.pkl and <root>/data/<key>. Legacy: five pickles back to back (magic, version,
 * machine, object, list of storage keys), then for each key a count and the elements.
 */
#include "loaders/pth/pth.h"

#include <stdio.h>
#include <string.h>

#include "loaders/common.h"
#include "loaders/pth/state_dict.h"
#include "loaders/pth/zip.h"

enum { TAR_MAGIC_AT = 257, LEGACY_VERSION = 1001 };

/* Protocol 2, then the magic number as an integer of ten bytes, then stop. */
static const uint8_t legacy_magic[15] = {0x80, 2,    0x8a, 10,   0x6c, 0xfc, 0x9c, 0x46,
                                         0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};

static bool starts_with(const uint8_t *bytes, size_t n, const void *magic, size_t magic_bytes)
{
    return n >= magic_bytes && !memcmp(bytes, magic, magic_bytes);
}

static bool is_tar(const uint8_t *bytes, size_t n)
{
    return n >= TAR_MAGIC_AT + 5 && !memcmp(bytes + TAR_MAGIC_AT, "ustar", 5);
}

/* Takes also what it will refuse, so that the message can say what the file is. */
static bool probe(const uint8_t *bytes, size_t n)
{
    return starts_with(bytes, n, "PK\3\4", 4) || starts_with(bytes, n, "\x80", 1) ||
           starts_with(bytes, n, "PYTORCH1", 8) || is_tar(bytes, n);
}

/* ---- zip ------------------------------------------------------------------------------------- */

typedef struct archive {
    rf_zip zip;
    const char *root; /* not terminated */
    int root_len;     /* without the slash */
} archive;

static const rf_zip_entry *find_record(const archive *a, const char *folder, const char *key)
{
    char name[RF_MAX_NAME_BYTES + 128];
    int n = snprintf(name, sizeof name, "%.*s/%s%s", a->root_len, a->root, folder, key);
    return n < 0 || (size_t)n >= sizeof name ? NULL : rf_zip_find(&a->zip, name, (size_t)n);
}

/* One folder holds everything; it is called as the file was when it was written. */
static rf_status check_root(archive *a, rf_error *err)
{
    const char *slash = memchr(a->zip.first_name, '/', a->zip.first_name_len);
    a->root = a->zip.first_name;
    a->root_len = slash ? (int)(slash - a->root) : 0;
    for (size_t i = 0; i < a->zip.n_entries && slash; i++) {
        const rf_zip_entry *e = &a->zip.entries[i];
        if (e->name_len <= (size_t)a->root_len || memcmp(e->name, a->root, (size_t)a->root_len + 1))
            return rf_fail(err, RF_ERR_FORMAT, "zip: '%.*s' is outside of folder '%.*s'",
                           rf_shown(e->name_len), e->name, rf_shown((size_t)a->root_len), a->root);
        const char *rest = e->name + a->root_len + 1;
        size_t n = e->name_len - (size_t)a->root_len - 1;
        if ((n >= 5 && !memcmp(rest, "code/", 5)) ||
            (n == 13 && !memcmp(rest, "constants.pkl", 13)))
            return rf_fail(err, RF_ERR_UNSUPPORTED,
                           "is a TorchScript program ('%.*s'), expected a state dict",
                           rf_shown(e->name_len), e->name);
    }
    if (!slash)
        return rf_fail(err, RF_ERR_FORMAT,
                       "zip: '%.*s' is in no folder, not a checkpoint of PyTorch",
                       rf_shown(a->zip.first_name_len), a->zip.first_name);
    return RF_OK;
}

static rf_status check_notes(const archive *a, rf_error *err)
{
    if (!find_record(a, "data.pkl", ""))
        return rf_fail(err, RF_ERR_FORMAT,
                       "zip: no record 'data.pkl', not a checkpoint of PyTorch");
    const rf_zip_entry *order = find_record(a, "byteorder", ""),
                       *version = find_record(a, "version", "");
    if (order) {
        RF_TRY(rf_zip_verify(order, err));
        if (order->bytes != 6 || memcmp(order->data, "little", 6))
            return rf_fail(err, RF_ERR_UNSUPPORTED, "byteorder is not 'little'");
    }
    if (!version)
        return rf_fail(err, RF_ERR_FORMAT, "zip: no record 'version'");
    RF_TRY(rf_zip_verify(version, err));
    for (uint64_t i = 0; i < version->bytes; i++)
        if ((version->data[i] < '0' || version->data[i] > '9') && version->data[i] != '\n')
            return rf_fail(err, RF_ERR_FORMAT, "zip: record 'version' is not a number");
    if (!version->bytes)
        return rf_fail(err, RF_ERR_FORMAT, "zip: record 'version' is empty, expected a number");
    return RF_OK;
}

static rf_status attach_records(const archive *a, const rf_pth_table *table, rf_error *err)
{
    for (size_t i = 0; i < table->n; i++) {
        rf_pth_record *r = &table->records[i];
        const rf_zip_entry *e = find_record(a, "data/", r->storage->key);
        if (!e)
            return rf_fail(err, RF_ERR_FORMAT, "zip: no record 'data/%s'", r->storage->key);
        if (e->bytes != rf_pth_record_bytes(r))
            return rf_fail(err, RF_ERR_FORMAT, "record '%.*s' has %llu bytes, its storage %zu",
                           rf_shown(e->name_len), e->name, (unsigned long long)e->bytes,
                           rf_pth_record_bytes(r));
        RF_TRY(rf_zip_verify(e, err));
        r->data = e->data;
    }
    return RF_OK;
}

static rf_status load_zip(rf_checkpoint *ckpt, rf_blob *blob, rf_error *err)
{
    archive a;
    rf_unpickler u;
    rf_pth_table table = {0};
    rf_pickle_value *root;
    size_t used;
    rf_status status;
    rf_unpickler_init(&u, ckpt->env, false);
    RF_TRY_DONE(rf_zip_open(ckpt->env, rf_blob_data(blob), rf_blob_bytes(blob), &a.zip, err));
    RF_TRY_DONE(check_root(&a, err)); /* first, to call other archives by their name */
    RF_TRY_DONE(rf_zip_check(&a.zip, err));
    RF_TRY_DONE(check_notes(&a, err));
    const rf_zip_entry *e = find_record(&a, "data.pkl", "");
    RF_TRY_DONE(rf_zip_verify(e, err));
    RF_TRY_DONE(rf_unpickle(&u, e->data, e->bytes, &root, &used, err));
    if (used != e->bytes) {
        status = rf_fail(err, RF_ERR_FORMAT, "pickle: %llu bytes behind its stop",
                         (unsigned long long)(e->bytes - used));
        goto done;
    }
    RF_TRY_DONE(rf_pth_table_make(&u, &table, err));
    RF_TRY_DONE(attach_records(&a, &table, err));
    RF_TRY_DONE(rf_pth_add_tensors(ckpt, blob, root, &table, err));
done:
    rf_pth_table_free(&table);
    rf_zip_free(&a.zip);
    rf_unpickler_free(&u);
    return status;
}

/* ---- legacy ---------------------------------------------------------------------------------- */

/* {little_endian: True, type_sizes: {short: 2, int: 4, long: 4}}: the widths that the counts below
 * and the elements were written with. */
static rf_status check_machine(const rf_pickle_value *info, rf_error *err)
{
    static const char *const names[] = {"short", "int", "long"};
    static const int64_t bytes[] = {2, 4, 4};
    const rf_pickle_value *little = rf_pickle_get(info, "little_endian");
    const rf_pickle_value *sizes = rf_pickle_get(info, "type_sizes");
    if (!little || little->kind != RF_PICKLE_BOOL || !sizes)
        return rf_fail(
            err, RF_ERR_FORMAT,
            "legacy stream: expected little_endian and type_sizes of the writing machine");
    if (!little->u.i)
        return rf_fail(err, RF_ERR_UNSUPPORTED, "written on a big-endian machine");
    for (int i = 0; i < 3; i++) {
        const rf_pickle_value *v = rf_pickle_get(sizes, names[i]);
        if (!v || v->kind != RF_PICKLE_INT || v->u.i != bytes[i])
            return rf_fail(err, RF_ERR_UNSUPPORTED,
                           "legacy stream: size of '%s' is not %lld on the writing machine",
                           names[i], (long long)bytes[i]);
    }
    return RF_OK;
}

/* Elements follow in the order of the list of keys: count, elements. */
static rf_status attach_stream(const rf_pickle_value *keys, const uint8_t *bytes, size_t n,
                               const rf_pth_table *table, rf_error *err)
{
    size_t at = 0;
    if (keys->kind != RF_PICKLE_LIST || keys->u.seq.n != table->n)
        return rf_fail(err, RF_ERR_FORMAT, "list of storages has %zu keys, the tensors use %zu",
                       keys->kind == RF_PICKLE_LIST ? keys->u.seq.n : 0, table->n);
    for (size_t i = 0; i < keys->u.seq.n; i++) {
        const rf_pickle_value *key = keys->u.seq.items[i];
        rf_pth_record *r = key->kind == RF_PICKLE_STRING
                               ? rf_pth_table_find(table, key->u.string.bytes, key->u.string.n)
                               : NULL;
        if (!r || r->data)
            return rf_fail(err, RF_ERR_FORMAT, "entry %zu of the list of storages is %s", i,
                           r ? "there twice" : "used by no tensor");
        if (n - at < 8 || rf_read_u64(bytes + at) != (uint64_t)r->storage->n_elements)
            return rf_fail(err, RF_ERR_FORMAT,
                           "storage '%s': expected a count of %lld elements, found %s",
                           r->storage->key, (long long)r->storage->n_elements,
                           n - at < 8 ? "the end of the file" : "another");
        at += 8;
        if (rf_pth_record_bytes(r) > n - at)
            return rf_fail(err, RF_ERR_FORMAT, "storage '%s' has %zu bytes, the file only %zu more",
                           r->storage->key, rf_pth_record_bytes(r), n - at);
        r->data = bytes + at;
        at += rf_pth_record_bytes(r);
    }
    if (at != n)
        return rf_fail(err, RF_ERR_FORMAT, "%zu bytes behind the last storage", n - at);
    return RF_OK;
}

static rf_status load_legacy(rf_checkpoint *ckpt, rf_blob *blob, rf_error *err)
{
    enum { VERSION, MACHINE, OBJECT, KEYS, N_PICKLES };
    const uint8_t *bytes = rf_blob_data(blob);
    const size_t n = rf_blob_bytes(blob);
    size_t at = sizeof legacy_magic, used;
    rf_pickle_value *values[N_PICKLES];
    rf_pth_table table = {0};
    rf_unpickler u;
    rf_status status;
    rf_unpickler_init(&u, ckpt->env, true);
    for (int i = 0; i < N_PICKLES; i++) {
        RF_TRY_DONE(rf_unpickle(&u, bytes + at, n - at, &values[i], &used, err));
        at += used;
    }
    if (values[VERSION]->kind != RF_PICKLE_INT || values[VERSION]->u.i != LEGACY_VERSION) {
        char text[128];
        status =
            values[VERSION]->kind == RF_PICKLE_INT
                ? rf_fail(err, RF_ERR_UNSUPPORTED, "legacy stream: expected version %d, found %lld",
                          LEGACY_VERSION, (long long)values[VERSION]->u.i)
                : rf_fail(err, RF_ERR_FORMAT, "legacy stream: expected version %d, found %s",
                          LEGACY_VERSION, rf_pickle_describe(values[VERSION], text, sizeof text));
        goto done;
    }
    RF_TRY_DONE(check_machine(values[MACHINE], err));
    RF_TRY_DONE(rf_pth_table_make(&u, &table, err));
    RF_TRY_DONE(attach_stream(values[KEYS], bytes + at, n - at, &table, err));
    RF_TRY_DONE(rf_pth_add_tensors(ckpt, blob, values[OBJECT], &table, err));
done:
    rf_pth_table_free(&table);
    rf_unpickler_free(&u);
    return status;
}

static rf_status load(rf_checkpoint *ckpt, rf_blob *blob, rf_error *err)
{
    const uint8_t *bytes = rf_blob_data(blob);
    const size_t n = rf_blob_bytes(blob);
    if (starts_with(bytes, n, legacy_magic, sizeof legacy_magic))
        return load_legacy(ckpt, blob, err);
    if (starts_with(bytes, n, "PK", 2))
        return load_zip(ckpt, blob, err);
    return rf_fail(err, RF_ERR_UNSUPPORTED, "is %s; save it again with torch.save",
                   is_tar(bytes, n)                       ? "a tar file of PyTorch before 0.2"
                   : starts_with(bytes, n, "PYTORCH1", 8) ? "a file of a preview of PyTorch 1.0"
                                                          : "a plain pickle or a damaged stream");
}

const rf_loader rf_loader_pth = {.name = "pth", .probe = probe, .load = load};
