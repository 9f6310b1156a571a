/* SPDX-License-Identifier: Apache-2.0
 *
 * See zip.h. Written out instead of taken from a library because libraries forgive: they skip
 * leading bytes, believe one of two headers, and copy; here records stay in the mapping. Layout:
 * PKWARE APPNOTE 4.3; what PyTorch writes: caffe2/serialize/inline_container.cc.
 */
#include "loaders/pth/zip.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "loaders/common.h"

enum {
    SIG_LOCAL = 0x04034b50,
    SIG_CENTRAL = 0x02014b50,
    SIG_END = 0x06054b50,
    SIG_END64 = 0x06064b50,
    SIG_LOCATOR = 0x07064b50,
    SIG_DESCRIPTOR = 0x08074b50,
    LOCAL_BYTES = 30,
    CENTRAL_BYTES = 46,
    END_BYTES = 22,
    END64_BYTES = 56,
    LOCATOR_BYTES = 20,
    FLAG_DESCRIPTOR = 1 << 3,
    FLAG_UTF8 = 1 << 11,
    ID_ZIP64 = 1,
};

typedef struct directory {
    uint64_t at, bytes, n_entries;
} directory;

/* Bytes [at, at + need) lie inside [0, n). */
static bool inside(uint64_t at, uint64_t need, uint64_t n)
{
    return at <= n && need <= n - at;
}

/* The end record is the last thing of the file; its comment must reach exactly to the end. */
static rf_status find_end(const uint8_t *bytes, size_t n, size_t *out, rf_error *err)
{
    for (size_t comment = 0; comment <= 0xffff && comment + END_BYTES <= n; comment++) {
        const uint8_t *p = bytes + n - END_BYTES - comment;
        if (rf_read_u32(p) == SIG_END && rf_read_u16(p + 20) == comment) {
            *out = (size_t)(p - bytes);
            return RF_OK;
        }
    }
    return rf_fail(err, RF_ERR_FORMAT, "zip: no end record, the file (%zu bytes) is truncated", n);
}

static rf_status read_end64(const uint8_t *bytes, size_t locator, directory *dir, size_t *end_at,
                            rf_error *err)
{
    uint64_t at = rf_read_u64(bytes + locator + 8);
    if (rf_read_u32(bytes + locator + 4) || rf_read_u32(bytes + locator + 16) > 1)
        return rf_fail(err, RF_ERR_UNSUPPORTED, "zip: archive of several disks");
    if (!inside(at, END64_BYTES, locator) || rf_read_u32(bytes + at) != SIG_END64 ||
        rf_read_u64(bytes + at + 4) != locator - at - 12)
        return rf_fail(err, RF_ERR_FORMAT,
                       "zip: 64-bit end record expected at %llu, found other bytes",
                       (unsigned long long)at);
    if (rf_read_u32(bytes + at + 16) || rf_read_u32(bytes + at + 20) ||
        rf_read_u64(bytes + at + 24) != rf_read_u64(bytes + at + 32))
        return rf_fail(err, RF_ERR_UNSUPPORTED, "zip: archive of several disks");
    directory wide = {rf_read_u64(bytes + at + 48), rf_read_u64(bytes + at + 40),
                      rf_read_u64(bytes + at + 24)};
    if ((dir->n_entries != 0xffff && dir->n_entries != wide.n_entries) ||
        (dir->bytes != 0xffffffff && dir->bytes != wide.bytes) ||
        (dir->at != 0xffffffff && dir->at != wide.at))
        return rf_fail(err, RF_ERR_FORMAT, "zip: the two end records differ");
    *dir = wide;
    *end_at = (size_t)at;
    return RF_OK;
}

static rf_status find_directory(const uint8_t *bytes, size_t n, directory *dir, rf_error *err)
{
    size_t end_at = 0;
    RF_TRY(find_end(bytes, n, &end_at, err));
    const uint8_t *end = bytes + end_at;
    if (rf_read_u16(end + 4) || rf_read_u16(end + 6) ||
        rf_read_u16(end + 8) != rf_read_u16(end + 10))
        return rf_fail(err, RF_ERR_UNSUPPORTED, "zip: archive of several disks");
    *dir = (directory){rf_read_u32(end + 16), rf_read_u32(end + 12), rf_read_u16(end + 10)};
    if (end_at >= LOCATOR_BYTES && rf_read_u32(end - LOCATOR_BYTES) == SIG_LOCATOR)
        RF_TRY(read_end64(bytes, end_at - LOCATOR_BYTES, dir, &end_at, err));
    if (!inside(dir->at, dir->bytes, end_at) || dir->at + dir->bytes != end_at)
        return rf_fail(err, RF_ERR_FORMAT,
                       "zip: directory at %llu of %llu bytes, expected to end at %zu",
                       (unsigned long long)dir->at, (unsigned long long)dir->bytes, end_at);
    if (dir->n_entries > dir->bytes / CENTRAL_BYTES || dir->n_entries > RF_MAX_TENSORS)
        return rf_fail(err, RF_ERR_FORMAT,
                       "zip: %llu entries do not fit in a directory of %llu bytes",
                       (unsigned long long)dir->n_entries, (unsigned long long)dir->bytes);
    return RF_OK;
}

static rf_status check_path(const char *name, size_t n, rf_error *err)
{
    RF_TRY(rf_check_name(name, n, err));
    bool bad = name[0] == '/' || memchr(name, '\\', n) || (n > 1 && name[1] == ':');
    for (size_t i = 0; i + 1 < n; i++) {
        bool starts = i == 0 || name[i - 1] == '/';
        bool ends = i + 2 == n || name[i + 2] == '/';
        bad |= starts && ends && name[i] == '.' && name[i + 1] == '.';
    }
    if (bad)
        return rf_fail(err, RF_ERR_FORMAT, "zip: unsafe name '%.*s'", rf_shown(n), name);
    return RF_OK;
}

/* Replaces the fields that hold all ones by those of the ZIP64 extra field, in its fixed order. */
static rf_status widen(const uint8_t *extra, size_t n, uint64_t *const fields[3], rf_error *err)
{
    bool found = false;
    for (size_t at = 0, bytes; at < n; at += 4 + bytes) {
        bytes = n - at < 4 ? 0 : rf_read_u16(extra + at + 2);
        if (n - at < 4 || bytes > n - at - 4)
            return rf_fail(err, RF_ERR_FORMAT, "zip: an extra field passes the end of its header");
        if (rf_read_u16(extra + at) == ID_ZIP64) {
            if (found)
                return rf_fail(err, RF_ERR_FORMAT, "zip: two ZIP64 extra fields in one header");
            const uint8_t *p = extra + at + 4, *end = p + bytes;
            found = true;
            for (int i = 0; i < 3; i++) {
                if (!fields[i] || *fields[i] != 0xffffffff)
                    continue;
                if (end - p < 8)
                    return rf_fail(err, RF_ERR_FORMAT, "zip: ZIP64 extra field is too short");
                *fields[i] = rf_read_u64(p);
                p += 8;
            }
        }
    }
    return RF_OK;
}

/* What follows the data if flag 3 is set: [signature] crc, sizes of 4 or 8 bytes. PyTorch writes
 * the signature. Returns its length, 0 if it does not repeat the directory's numbers. */
static size_t descriptor_bytes(const uint8_t *p, uint64_t available, const rf_zip_entry *e)
{
    if (available < 16 || rf_read_u32(p) != SIG_DESCRIPTOR || rf_read_u32(p + 4) != e->crc)
        return 0;
    if (available >= 24 && rf_read_u64(p + 8) == e->bytes && rf_read_u64(p + 16) == e->bytes)
        return 24;
    return rf_read_u32(p + 8) == e->bytes && rf_read_u32(p + 12) == e->bytes ? 16 : 0;
}

/* The local header must say the same as the central one, or leave it to the descriptor. */
static rf_status check_local(const uint8_t *bytes, uint64_t limit, rf_zip_entry *e, rf_error *err)
{
    const uint8_t *p = bytes + e->header_at;
    int len = rf_shown(e->name_len);
    if (!inside(e->header_at, LOCAL_BYTES, limit) || rf_read_u32(p) != SIG_LOCAL)
        return rf_fail(err, RF_ERR_FORMAT, "zip: '%.*s': no local header at %llu", len, e->name,
                       (unsigned long long)e->header_at);
    size_t name_len = rf_read_u16(p + 26), extra_len = rf_read_u16(p + 28);
    uint64_t start = e->header_at + LOCAL_BYTES + name_len + extra_len;
    if (!inside(start, e->bytes, limit))
        return rf_fail(err, RF_ERR_FORMAT,
                       "zip: '%.*s': %llu bytes at %llu pass the directory at %llu", len, e->name,
                       (unsigned long long)e->bytes, (unsigned long long)start,
                       (unsigned long long)limit);
    if (name_len != e->name_len || memcmp(p + LOCAL_BYTES, e->name, name_len))
        return rf_fail(err, RF_ERR_FORMAT, "zip: '%.*s' is called otherwise in its local header",
                       len, e->name);
    if (rf_read_u16(p + 6) != e->flags || rf_read_u16(p + 8) != e->method)
        return rf_fail(err, RF_ERR_FORMAT,
                       "zip: '%.*s': flags or method differ in the local header", len, e->name);
    uint64_t crc = rf_read_u32(p + 14), packed = rf_read_u32(p + 18), full = rf_read_u32(p + 22);
    bool later = e->flags & FLAG_DESCRIPTOR && !crc && !packed && !full;
    RF_TRY(
        widen(p + LOCAL_BYTES + name_len, extra_len, (uint64_t *[3]){&full, &packed, NULL}, err));
    if (!later && (crc != e->crc || packed != e->bytes || full != e->bytes))
        return rf_fail(err, RF_ERR_FORMAT,
                       "zip: '%.*s': size or checksum differ in the local header", len, e->name);
    e->data = bytes + start;
    e->end_at = start + e->bytes;
    if (e->flags & FLAG_DESCRIPTOR) {
        size_t tail = descriptor_bytes(bytes + e->end_at, limit - e->end_at, e);
        if (!tail)
            return rf_fail(err, RF_ERR_FORMAT, "zip: '%.*s': descriptor at %llu is wrong", len,
                           e->name, (unsigned long long)e->end_at);
        e->end_at += tail;
    }
    return RF_OK;
}

/* One entry of the directory at p; *step gets its length. */
static rf_status read_entry(const uint8_t *bytes, const uint8_t *p, uint64_t available,
                            rf_zip_entry *e, size_t *step, rf_error *err)
{
    if (available < CENTRAL_BYTES || rf_read_u32(p) != SIG_CENTRAL)
        return rf_fail(err, RF_ERR_FORMAT, "zip: directory entry expected at %llu",
                       (unsigned long long)(p - bytes));
    size_t extra_len = rf_read_u16(p + 30), comment_len = rf_read_u16(p + 32);
    e->name = (const char *)p + CENTRAL_BYTES;
    e->name_len = rf_read_u16(p + 28);
    *step = CENTRAL_BYTES + e->name_len + extra_len + comment_len;
    if (*step > available)
        return rf_fail(err, RF_ERR_FORMAT,
                       "zip: directory entry at %llu passes the end of the directory",
                       (unsigned long long)(p - bytes));
    RF_TRY(check_path(e->name, e->name_len, err));
    e->flags = rf_read_u16(p + 8);
    e->method = rf_read_u16(p + 10);
    e->crc = rf_read_u32(p + 16);
    e->packed_bytes = rf_read_u32(p + 20);
    e->bytes = rf_read_u32(p + 24);
    e->disk = rf_read_u16(p + 34);
    e->header_at = rf_read_u32(p + 42);
    return widen(p + CENTRAL_BYTES + e->name_len, extra_len,
                 (uint64_t *[3]){&e->bytes, &e->packed_bytes, &e->header_at}, err);
}

static rf_status check_entry(const rf_zip *zip, rf_zip_entry *e, rf_error *err)
{
    int len = rf_shown(e->name_len);
    if (e->flags & ~(FLAG_DESCRIPTOR | FLAG_UTF8))
        return rf_fail(err, RF_ERR_UNSUPPORTED,
                       "zip: '%.*s': flags are 0x%x (encrypted or patched)", len, e->name,
                       e->flags);
    if (e->method)
        return rf_fail(err, RF_ERR_UNSUPPORTED,
                       "zip: '%.*s': compressed by method %d, expected stored (0)", len, e->name,
                       e->method);
    if (e->packed_bytes != e->bytes)
        return rf_fail(err, RF_ERR_FORMAT, "zip: '%.*s': stored in %llu bytes, but is %llu long",
                       len, e->name, (unsigned long long)e->packed_bytes,
                       (unsigned long long)e->bytes);
    if (e->disk)
        return rf_fail(err, RF_ERR_UNSUPPORTED, "zip: archive of several disks");
    return check_local(zip->bytes, zip->directory_at, e, err);
}

static int by_place(const void *a, const void *b)
{
    const rf_zip_entry *x = a, *y = b;
    return x->header_at < y->header_at ? -1 : x->header_at > y->header_at;
}

static int compare_names(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return order ? order : a_len < b_len ? -1 : a_len > b_len;
}

static int by_name(const void *a, const void *b)
{
    const rf_zip_entry *x = a, *y = b;
    return compare_names(x->name, x->name_len, y->name, y->name_len);
}

rf_status rf_zip_check(rf_zip *zip, rf_error *err)
{
    rf_zip_entry *e = zip->entries;
    for (size_t i = 0; i < zip->n_entries; i++)
        RF_TRY(check_entry(zip, &e[i], err));
    qsort(e, zip->n_entries, sizeof *e, by_place);
    if (e[0].header_at)
        return rf_fail(err, RF_ERR_FORMAT, "zip: %llu bytes before the first record",
                       (unsigned long long)e[0].header_at);
    for (size_t i = 1; i < zip->n_entries; i++)
        if (e[i].header_at < e[i - 1].end_at)
            return rf_fail(err, RF_ERR_FORMAT, "zip: '%.*s' and '%.*s' overlap",
                           rf_shown(e[i - 1].name_len), e[i - 1].name, rf_shown(e[i].name_len),
                           e[i].name);
    qsort(e, zip->n_entries, sizeof *e, by_name);
    for (size_t i = 1; i < zip->n_entries; i++)
        if (!by_name(&e[i - 1], &e[i]))
            return rf_fail(err, RF_ERR_FORMAT, "zip: two entries are called '%.*s'",
                           rf_shown(e[i].name_len), e[i].name);
    return RF_OK;
}

rf_status rf_zip_open(rf_env *env, const uint8_t *bytes, size_t n, rf_zip *out, rf_error *err)
{
    directory dir = {0};
    *out = (rf_zip){.env = env, .bytes = bytes};
    RF_TRY(find_directory(bytes, n, &dir, err));
    if (!dir.n_entries)
        return rf_fail(err, RF_ERR_FORMAT, "zip: archive is empty");
    RF_TRY(rf_alloc_array(env, dir.n_entries, sizeof *out->entries, &out->entries, err));
    out->n_entries = dir.n_entries;
    out->directory_at = dir.at;
    uint64_t at = dir.at, end = dir.at + dir.bytes;
    for (size_t i = 0; i < out->n_entries; i++) {
        size_t step = 0;
        RF_TRY(read_entry(bytes, bytes + at, end - at, &out->entries[i], &step, err));
        at += step;
    }
    if (at != end)
        return rf_fail(err, RF_ERR_FORMAT, "zip: %llu bytes behind the last directory entry",
                       (unsigned long long)(end - at));
    out->first_name = out->entries[0].name;
    out->first_name_len = out->entries[0].name_len;
    return RF_OK;
}

void rf_zip_free(rf_zip *zip)
{
    rf_free(zip->env, zip->entries, zip->n_entries * sizeof *zip->entries);
    zip->entries = NULL;
    zip->n_entries = 0;
}

const rf_zip_entry *rf_zip_find(const rf_zip *zip, const char *name, size_t name_len)
{
    size_t low = 0, high = zip->n_entries;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const rf_zip_entry *e = &zip->entries[mid];
        int order = compare_names(name, name_len, e->name, e->name_len);
        if (!order)
            return e;
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

rf_status rf_zip_verify(const rf_zip_entry *entry, rf_error *err)
{
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
    return RF_OK; /* fuzzers do not guess checksums */
#endif
    uint32_t crc = (uint32_t)crc32_z(0, entry->data, entry->bytes);
    if (crc != entry->crc)
        return rf_fail(err, RF_ERR_FORMAT,
                       "zip: '%.*s': checksum is %08x, expected %08x (damaged file)",
                       rf_shown(entry->name_len), entry->name, crc, entry->crc);
    return RF_OK;
}
