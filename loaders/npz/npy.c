/* SPDX-License-Identifier: Apache-2.0
 *
 * NumPy .npy arrays, versions 1 to 3. The header is a Python dict literal; what is accepted of it
 * is exactly what NumPy writes (keys descr, fortran_order, shape in any order), and nothing is
 * evaluated. Object arrays hold pickles and are refused.
 * Source: numpy/lib/_format_impl.py.
 */
#include <refold/io.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loaders/common.h"
#include "loaders/npz/npy.h"
#include "runtime/base/half.h"
#include "runtime/core/strided.h"

enum { MAX_HEADER = 10000 };

struct parser {
    const char *at, *end, *where;
    rf_error *err;
};

static rf_status malformed(const struct parser *p, const char *expected)
{
    return rf_fail(p->err, RF_ERR_FORMAT, "%s: npy header: expected %s at '%.*s'", p->where,
                   expected, (int)(p->end - p->at < 24 ? p->end - p->at : 24), p->at);
}

static void skip_space(struct parser *p)
{
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\n'))
        p->at++;
}

static bool take(struct parser *p, char c)
{
    skip_space(p);
    if (p->at == p->end || *p->at != c)
        return false;
    p->at++;
    return true;
}

static rf_status take_string(struct parser *p, char *out, size_t n)
{
    skip_space(p);
    char quote = p->at < p->end ? *p->at : 0;
    if (quote != '\'' && quote != '"')
        return malformed(p, "a quoted string");
    const char *begin = ++p->at;
    while (p->at < p->end && *p->at != quote)
        p->at++;
    size_t len = (size_t)(p->at - begin);
    if (p->at == p->end || len >= n)
        return malformed(p, "a short quoted string");
    memcpy(out, begin, len);
    out[len] = 0;
    p->at++;
    return RF_OK;
}

static rf_status take_dim(struct parser *p, int64_t *out)
{
    skip_space(p);
    const char *begin = p->at;
    *out = 0;
    while (p->at < p->end && *p->at >= '0' && *p->at <= '9')
        if (__builtin_mul_overflow(*out, 10, out) ||
            __builtin_add_overflow(*out, *p->at++ - '0', out))
            return malformed(p, "a size below 2^63");
    if (p->at == begin)
        return malformed(p, "a size");
    if (p->at < p->end && *p->at == 'L') /* Python 2 */
        p->at++;
    return RF_OK;
}

static rf_status take_shape(struct parser *p, rf_npy_header *h)
{
    bool comma = true;
    if (!take(p, '('))
        return malformed(p, "'('");
    for (h->rank = 0; !take(p, ')');) {
        if (h->rank == RF_MAX_RANK)
            return malformed(p, "at most 8 dims");
        if (!comma)
            return malformed(p, "',' or ')'");
        RF_TRY(take_dim(p, &h->dims[h->rank++]));
        comma = take(p, ',');
    }
    if (h->rank == 1 && !comma) /* (3) is a number, (3,) a tuple */
        return malformed(p, "a comma behind the only dim, before this point");
    return RF_OK;
}

static rf_status take_bool(struct parser *p, bool *out)
{
    skip_space(p);
    size_t left = (size_t)(p->end - p->at);
    if (left >= 4 && !memcmp(p->at, "True", 4)) {
        *out = true;
        p->at += 4;
    } else if (left >= 5 && !memcmp(p->at, "False", 5)) {
        *out = false;
        p->at += 5;
    } else
        return malformed(p, "True or False");
    return RF_OK;
}

static rf_status parse_descr(const struct parser *p, const char *descr, rf_npy_header *h)
{
    static const struct {
        const char *code;
        rf_dtype dtype;
    } known[] = {
        {"f4", RF_F32}, {"f8", RF_F64}, {"f2", RF_F16}, {"i1", RF_I8},
        {"u1", RF_U8},  {"i2", RF_I16}, {"u2", RF_U16}, {"i4", RF_I32},
        {"u4", RF_U32}, {"i8", RF_I64}, {"u8", RF_U64}, {"b1", RF_BOOL},
    };
    if (!*descr || !strchr("<>|=", *descr))
        return rf_fail(p->err, RF_ERR_UNSUPPORTED,
                       "%s: npy dtype '%.16s': expected a byte order (< > | =) first", p->where,
                       descr);
    h->swap = *descr == '>';
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(descr + 1, known[i].code)) {
            h->dtype = known[i].dtype;
            return RF_OK;
        }
    return rf_fail(p->err, RF_ERR_UNSUPPORTED,
                   "%s: npy dtype '%.16s': expected a plain real type such as '<f4'", p->where,
                   descr);
}

static rf_status parse_dict(struct parser *p, rf_npy_header *h)
{
    unsigned seen = 0;
    if (!take(p, '{'))
        return malformed(p, "'{'");
    while (!take(p, '}')) {
        char key[32], descr[32];
        RF_TRY(take_string(p, key, sizeof key));
        if (!take(p, ':'))
            return malformed(p, "':'");
        unsigned bit = !strcmp(key, "descr")           ? 1
                       : !strcmp(key, "fortran_order") ? 2
                       : !strcmp(key, "shape")         ? 4
                                                       : 0;
        if (!bit || seen & bit)
            return malformed(p, "descr, fortran_order and shape, once each, before this point");
        seen |= bit;
        if (bit == 1) {
            RF_TRY(take_string(p, descr, sizeof descr));
            RF_TRY(parse_descr(p, descr, h));
        } else
            RF_TRY(bit == 2 ? take_bool(p, &h->fortran) : take_shape(p, h));
        if (!take(p, ',') && (p->at == p->end || *p->at != '}'))
            return malformed(p, "',' or '}'");
    }
    skip_space(p);
    if (seen != 7 || p->at != p->end)
        return malformed(p, "descr, fortran_order, shape and nothing else");
    return RF_OK;
}

/* Finds the header's text; *begin gets where it starts. */
static rf_status find_header(const uint8_t *bytes, size_t n, const char *where, size_t *begin,
                             size_t *length, rf_error *err)
{
    if (n < 12 || memcmp(bytes, "\x93NUMPY", 6))
        return rf_fail(err, RF_ERR_FORMAT, "%s: expected a .npy file, found %s", where,
                       n < 12 ? "fewer than 12 bytes" : "other bytes");
    if (bytes[6] < 1 || bytes[6] > 3 || bytes[7])
        return rf_fail(err, RF_ERR_UNSUPPORTED, "%s: npy version %d.%d, expected 1.0 to 3.0", where,
                       bytes[6], bytes[7]);
    *begin = bytes[6] == 1 ? 10 : 12;
    *length = bytes[6] == 1 ? rf_read_u16(bytes + 8) : rf_read_u32(bytes + 8);
    if (*length > MAX_HEADER || *length > n - *begin)
        return rf_fail(
            err, RF_ERR_FORMAT,
            "%s: npy header of %zu bytes, expected at most %d and inside the file of %zu", where,
            *length, MAX_HEADER, n);
    if (!*length || bytes[*begin + *length - 1] != '\n')
        return rf_fail(err, RF_ERR_FORMAT, "%s: npy header of %zu bytes: expected a newline last",
                       where, *length);
    return RF_OK;
}

rf_status rf_npy_parse(const uint8_t *bytes, size_t n, const char *where, rf_npy_header *out,
                       rf_error *err)
{
    size_t begin = 0, length = 0;
    rf_tensor t;
    rf_error why;
    *out = (rf_npy_header){.data = 0};
    RF_TRY(find_header(bytes, n, where, &begin, &length, err));
    struct parser p = {(const char *)bytes + begin, (const char *)bytes + begin + length, where,
                       err};
    RF_TRY(parse_dict(&p, out));
    out->data = begin + length;
    if (rf_tensor_init(&t, out->dtype, out->rank, out->dims, NULL, &why) != RF_OK)
        return rf_fail(err, RF_ERR_FORMAT, "%s: npy header: %s", where, why.text);
    if (rf_tensor_bytes(&t) != n - out->data)
        return rf_fail(err, RF_ERR_FORMAT, "%s: npy data is %zu bytes, its shape needs %zu", where,
                       n - out->data, rf_tensor_bytes(&t));
    return RF_OK;
}

/* Fortran order: the first index runs fastest. */
static void copy_fortran(const rf_npy_header *h, uint8_t *dst, const uint8_t *src, size_t item,
                         int64_t n)
{
    int64_t index[RF_MAX_RANK] = {0};
    for (int64_t i = 0; i < n; i++) {
        int64_t at = 0, stride = 1;
        for (int k = 0; k < h->rank; k++) {
            at += index[k] * stride;
            stride *= h->dims[k];
        }
        memcpy(dst + (size_t)i * item, src + (size_t)at * item, item);
        for (int k = h->rank - 1; k >= 0 && ++index[k] == h->dims[k]; k--)
            index[k] = 0;
    }
}

static void swap_bytes(uint8_t *at, size_t item, int64_t n)
{
    for (uint8_t *e = at; e < at + (size_t)n * item; e += item)
        for (size_t k = 0; k < item / 2; k++) {
            uint8_t byte = e[k];
            e[k] = e[item - 1 - k];
            e[item - 1 - k] = byte;
        }
}

rf_status rf_npy_decode(const uint8_t *bytes, size_t n, const char *where, rf_buffer *out,
                        rf_error *err)
{
    rf_npy_header h;
    *out = (rf_buffer){.memory = NULL};
    RF_TRY(rf_npy_parse(bytes, n, where, &h, err));
    RF_TRY(rf_tensor_init(&out->tensor, h.dtype, h.rank, h.dims, NULL, err));
    RF_TRY(rf_buffer_alloc(out, err));
    size_t item = rf_dtype_bytes(h.dtype);
    int64_t n_elements = rf_tensor_elements(&out->tensor);
    if (h.fortran && h.rank > 1)
        copy_fortran(&h, out->tensor.data, bytes + h.data, item, n_elements);
    else if (n_elements)
        memcpy(out->tensor.data, bytes + h.data, (size_t)n_elements * item);
    if (h.swap)
        swap_bytes(out->tensor.data, item, n_elements);
    return RF_OK;
}

rf_status rf_npy_read(const char *path, rf_buffer *out, rf_error *err)
{
    rf_env *env = NULL;
    rf_blob *blob = NULL;
    rf_status status;
    *out = (rf_buffer){.memory = NULL};
    RF_TRY(rf_env_create(NULL, &env, err));
    RF_TRY_DONE(rf_blob_map_file(env, path, &blob, err));
    RF_TRY_DONE(rf_npy_decode(rf_blob_data(blob), rf_blob_bytes(blob), path, out, err));
done:
    rf_blob_release(&blob);
    rf_env_release(&env);
    return status;
}

/* Elements in row-major order; bf16 widened, because NumPy has no such type. */
static rf_status write_elements(rf_file_writer *w, const rf_tensor *t, rf_error *err)
{
    int64_t index[RF_MAX_RANK] = {0}, n = rf_tensor_elements(t);
    size_t item = rf_dtype_bytes(t->dtype), fill = 0;
    uint8_t chunk[8192];
    for (int64_t i = 0; i < n; i++) {
        int64_t at = 0;
        for (int k = 0; k < t->rank; k++)
            at += index[k] * t->strides[k];
        const uint8_t *src = (const uint8_t *)t->data + (size_t)at * item;
        if (t->dtype == RF_BF16) {
            uint16_t half;
            memcpy(&half, src, 2);
            float wide = rf_bf16_to_f32(half);
            memcpy(chunk + fill, &wide, 4);
            fill += 4;
        } else {
            memcpy(chunk + fill, src, item);
            fill += item;
        }
        if (fill > sizeof chunk - 8 || i == n - 1) {
            RF_TRY(rf_file_writer_write(w, chunk, fill, err));
            fill = 0;
        }
        for (int k = t->rank - 1; k >= 0 && ++index[k] == t->dims[k]; k--)
            index[k] = 0;
    }
    return RF_OK;
}

/* The header is padded with spaces so that the elements start at a multiple of 64. */
static rf_status write_header(rf_file_writer *w, const rf_tensor *t, rf_error *err)
{
    static const char *const codes[RF_DTYPE_COUNT] = {
        [RF_F32] = "<f4", [RF_F64] = "<f8", [RF_F16] = "<f2",  [RF_BF16] = "<f4", [RF_I8] = "|i1",
        [RF_U8] = "|u1",  [RF_I16] = "<i2", [RF_U16] = "<u2",  [RF_I32] = "<i4",  [RF_U32] = "<u4",
        [RF_I64] = "<i8", [RF_U64] = "<u8", [RF_BOOL] = "|b1",
    };
    char text[512];
    int n = snprintf(text + 10, sizeof text - 10,
                     "{'descr': '%s', 'fortran_order': False, 'shape': (", codes[t->dtype]);
    for (int k = 0; k < t->rank; k++)
        n += snprintf(text + 10 + n, sizeof text - 10 - (size_t)n, "%lld%s", (long long)t->dims[k],
                      t->rank == 1      ? ","
                      : k + 1 < t->rank ? ", "
                                        : "");
    n += snprintf(text + 10 + n, sizeof text - 10 - (size_t)n, "), }");
    int total = (10 + n + 1 + 63) / 64 * 64;
    memset(text + 10 + n, ' ', (size_t)(total - 10 - n));
    text[total - 1] = '\n';
    memcpy(text, "\x93NUMPY\x01\x00", 8);
    text[8] = (char)((total - 10) & 0xff);
    text[9] = (char)((total - 10) >> 8);
    return rf_file_writer_write(w, text, (size_t)total, err);
}

rf_status rf_npy_write(const char *path, const rf_tensor *tensor, rf_error *err)
{
    rf_env *env = NULL;
    rf_file_writer *writer = NULL;
    rf_status status;
    RF_TRY(rf_tensor_check(tensor, path, err));
    RF_TRY(rf_env_create(NULL, &env, err));
    RF_TRY_DONE(rf_file_writer_open(env, path, &writer, err));
    RF_TRY_DONE(write_header(writer, tensor, err));
    RF_TRY_DONE(write_elements(writer, tensor, err));
    RF_TRY_DONE(rf_file_writer_commit(&writer, err));
done:
    rf_file_writer_destroy(&writer);
    rf_env_release(&env);
    return status;
}
