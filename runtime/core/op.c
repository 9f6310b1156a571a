/* SPDX-License-Identifier: Apache-2.0
 *
 * The tables that op.def, attrs.def and enums.def expand into. Builder, JSON form and command line
 * all read attributes through rf_field, so that an attribute is declared in one place only.
 */
#include "runtime/core/op.h"

#include <math.h>
#include <refold/model.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define RF_ENUM_BEGIN(type) const char *const rf_##type##_texts[] = {
#define RF_ENUM_VALUE(type, ID, text) [ID] = text,
#define RF_ENUM_END(type)                                                                          \
    }                                                                                              \
    ;
#include "runtime/core/enums.def"
#undef RF_ENUM_BEGIN
#undef RF_ENUM_VALUE
#undef RF_ENUM_END

const char *const rf_dtype_texts[] = {
    [RF_F32] = "f32", [RF_F64] = "f64", [RF_F16] = "f16",   [RF_BF16] = "bf16", [RF_I8] = "i8",
    [RF_U8] = "u8",   [RF_I16] = "i16", [RF_U16] = "u16",   [RF_I32] = "i32",   [RF_U32] = "u32",
    [RF_I64] = "i64", [RF_U64] = "u64", [RF_BOOL] = "bool",
};

#define COUNT(array) (int32_t)(sizeof(array) / sizeof(array)[0])

/* static const rf_field conv2d_fields[] = {...}; */
#define RF_AT_BEGIN(op) static const rf_field op##_fields[] = {
#define RF_AT_INT(op, field, def)                                                                  \
    {#field, RF_FIELD_INT, 1, offsetof(rf_attrs, op.field), 0, def, NULL, 0},
#define RF_AT_INTS(op, field, n, def)                                                              \
    {#field, RF_FIELD_INTS, n, offsetof(rf_attrs, op.field), 0, def, NULL, 0},
#define RF_AT_LIST(op, field, n)                                                                   \
    {#field, RF_FIELD_LIST, n, offsetof(rf_attrs, op.field), offsetof(rf_attrs, op.n_##field),     \
     0,      NULL,          0},
#define RF_AT_REAL(op, field, def)                                                                 \
    {#field, RF_FIELD_REAL, 1, offsetof(rf_attrs, op.field), 0, def, NULL, 0},
#define RF_AT_ENUM(op, field, type, def)                                                           \
    {#field,                                                                                       \
     RF_FIELD_ENUM,                                                                                \
     1,                                                                                            \
     offsetof(rf_attrs, op.field),                                                                 \
     0,                                                                                            \
     def,                                                                                          \
     rf_##type##_texts,                                                                            \
     COUNT(rf_##type##_texts)},
#define RF_AT_END(op)                                                                              \
    }                                                                                              \
    ;
#include "runtime/core/attrs.def"
#include "runtime/core/attrs_undef.h"

/* attrs.def knows ops by name, the table is indexed by ID. */
enum {
#define RF_OP(ID, name, in, opt, out, tol) INDEX_##name = RF_OP_##ID,
#include "runtime/core/op.def"
#undef RF_OP
};

static const rf_op_info ops[RF_OP_COUNT] = {
#define RF_OP(ID, opname, in, opt, out, tol)                                                       \
    [RF_OP_##ID].name = #opname, [RF_OP_##ID].n_in = in, [RF_OP_##ID].n_opt = opt,                 \
    [RF_OP_##ID].n_out = out, [RF_OP_##ID].tolerance = RF_TOL_##tol,
#include "runtime/core/op.def"
#undef RF_OP
#define RF_AT_BEGIN(op)                                                                            \
    [INDEX_##op].fields = op##_fields, [INDEX_##op].n_fields = COUNT(op##_fields),
#define RF_AT_INT(op, field, def)
#define RF_AT_INTS(op, field, n, def)
#define RF_AT_LIST(op, field, n)
#define RF_AT_REAL(op, field, def)
#define RF_AT_ENUM(op, field, type, def)
#define RF_AT_END(op)
#include "runtime/core/attrs.def"
#include "runtime/core/attrs_undef.h"
};

/* Names of the inputs for people; the comments of op.def say what they mean. */
static const char *const input_names[RF_OP_COUNT] = {
    [RF_OP_CONV2D] = "x, w, [bias], [res]",
    [RF_OP_CONV_TRANSPOSE2D] = "x, w, [bias]",
    [RF_OP_MATMUL] = "a, b, [bias], [res]",
    [RF_OP_CROP_LIKE] = "x, ref",
    [RF_OP_BINARY] = "a, b",
    [RF_OP_LAYER_NORM] = "x, [w], [bias]",
    [RF_OP_GROUP_NORM] = "x, [w], [bias]",
    [RF_OP_BATCH_NORM] = "x, scale, bias, mean, var",
    [RF_OP_CONCAT] = "x...",
    [RF_OP_GATHER] = "x, index",
    [RF_OP_ATTENTION] = "q, k, v, [bias]",
    [RF_OP_CHANNEL_STATS] = "x, [y]",
    [RF_OP_PIXEL_ATTENTION] = "r, map, ca, sa_w, sa_b, pa_w, pa_b, x, [y]",
};

const rf_op_info *rf_op_get(rf_op op)
{
    return &ops[op];
}

rf_op rf_op_find(const char *name)
{
    for (int op = 0; op < RF_OP_COUNT; op++)
        if (!strcmp(ops[op].name, name))
            return (rf_op)op;
    return RF_OP_COUNT;
}

static void store_int(rf_attrs *attrs, size_t offset, int64_t i, int32_t value)
{
    memcpy((char *)attrs + offset + (size_t)i * sizeof value, &value, sizeof value);
}

static int32_t load_int(const rf_attrs *attrs, size_t offset, int64_t i)
{
    int32_t value;
    memcpy(&value, (const char *)attrs + offset + (size_t)i * sizeof value, sizeof value);
    return value;
}

void rf_attrs_default(rf_op op, rf_attrs *attrs)
{
    memset(attrs, 0, sizeof *attrs);
    for (int k = 0; k < ops[op].n_fields; k++) {
        const rf_field *f = &ops[op].fields[k];
        if (f->kind == RF_FIELD_REAL)
            memcpy((char *)attrs + f->offset, &f->def, sizeof f->def);
        else if (f->kind != RF_FIELD_LIST)
            for (int i = 0; i < f->n; i++)
                store_int(attrs, f->offset, i, (int32_t)f->def);
    }
}

/* Appends to a text of fixed size; what does not fit is cut off. */
__attribute__((format(printf, 4, 5))) static void add(char *buf, size_t size, size_t *len,
                                                      const char *fmt, ...)
{
    va_list args;
    if (*len + 1 >= size)
        return;
    va_start(args, fmt);
    int n = vsnprintf(buf + *len, size - *len, fmt, args);
    va_end(args);
    *len = n < 0 ? *len : *len + (size_t)n < size ? *len + (size_t)n : size - 1;
}

static rf_status unknown_key(const rf_op_info *op, const char *key, rf_error *err)
{
    char known[192] = "none";
    size_t len = 0;
    for (int k = 0; k < op->n_fields; k++)
        add(known, sizeof known, &len, "%s%s", k ? ", " : "", op->fields[k].name);
    return rf_fail(err, RF_ERR_ARGUMENT, "%s: no attribute '%s', known: %s", op->name, key, known);
}

static rf_status set_enum(const rf_op_info *op, const rf_field *f, rf_attrs *attrs,
                          const char *text, rf_error *err)
{
    char known[192] = "";
    size_t len = 0;
    for (int i = 0; i < f->n_texts; i++) {
        if (text && !strcmp(f->texts[i], text)) {
            store_int(attrs, f->offset, 0, i);
            return RF_OK;
        }
        add(known, sizeof known, &len, "%s%s", i ? ", " : "", f->texts[i]);
    }
    return rf_fail(err, RF_ERR_ARGUMENT, "%s: attribute '%s' is '%s', known: %s", op->name, f->name,
                   text ? text : "(null)", known);
}

static rf_status set_ints(const rf_op_info *op, const rf_field *f, rf_attrs *attrs,
                          const rf_attr *value, rf_error *err)
{
    bool list = f->kind == RF_FIELD_LIST;
    if (value->n < 0 || value->n > f->n || (!list && value->n != f->n))
        return rf_fail(err, RF_ERR_ARGUMENT, "%s: attribute '%s' has %d numbers, expected %s%d",
                       op->name, f->name, value->n, list ? "at most " : "", f->n);
    for (int i = 0; i < value->n; i++) {
        if (list)
            memcpy((char *)attrs + f->offset + (size_t)i * sizeof(int64_t), &value->i[i],
                   sizeof(int64_t));
        else if (value->i[i] < INT32_MIN || value->i[i] > INT32_MAX)
            return rf_fail(err, RF_ERR_ARGUMENT, "%s: attribute '%s' is %lld, expected 32 bits",
                           op->name, f->name, (long long)value->i[i]);
        else
            store_int(attrs, f->offset, i, (int32_t)value->i[i]);
    }
    if (list)
        store_int(attrs, f->count_offset, 0, value->n);
    return RF_OK;
}

static rf_status set_real(const rf_op_info *op, const rf_field *f, rf_attrs *attrs, double x,
                          rf_error *err)
{
    if (isnan(x))
        return rf_fail(err, RF_ERR_ARGUMENT, "%s: attribute '%s' is not a number", op->name,
                       f->name);
    memcpy((char *)attrs + f->offset, &x, sizeof x);
    return RF_OK;
}

rf_status rf_attrs_set(rf_op op, rf_attrs *attrs, const rf_attr *value, rf_error *err)
{
    static const char *const given[] = {"integers", "a number", "a word"};
    static const char *const wanted[] = {"an integer", "integers", "integers", "a number",
                                         "a word"};
    const rf_op_info *info = &ops[op];
    const rf_field *f = info->fields, *end = f + info->n_fields;
    if (!value->key)
        return rf_fail(err, RF_ERR_ARGUMENT, "%s: attribute without a key", info->name);
    while (f < end && strcmp(f->name, value->key))
        f++;
    if (f == end)
        return unknown_key(info, value->key, err);
    switch (value->kind) {
    case RF_ATTR_INTS:
        if (f->kind == RF_FIELD_REAL && value->n == 1) /* `alpha 1` means 1.0 */
            return set_real(info, f, attrs, (double)value->i[0], err);
        if (f->kind <= RF_FIELD_LIST)
            return set_ints(info, f, attrs, value, err);
        break;
    case RF_ATTR_REAL:
        if (f->kind == RF_FIELD_REAL)
            return set_real(info, f, attrs, value->real, err);
        break;
    case RF_ATTR_ENUM:
        if (f->kind == RF_FIELD_ENUM)
            return set_enum(info, f, attrs, value->name, err);
        break;
    }
    return rf_fail(
        err, RF_ERR_ARGUMENT, "%s: attribute '%s' is given as %s, expected %s", info->name, f->name,
        (unsigned)value->kind < COUNT(given) ? given[value->kind] : "nonsense", wanted[f->kind]);
}

bool rf_attrs_equal(rf_op op, const rf_attrs *a, const rf_attrs *b)
{
    for (int k = 0; k < ops[op].n_fields; k++) {
        const rf_field *f = &ops[op].fields[k];
        size_t bytes = (size_t)f->n * sizeof(int32_t);
        if (f->kind == RF_FIELD_REAL) {
            bytes = sizeof(double);
        } else if (f->kind == RF_FIELD_LIST) {
            int32_t n = load_int(a, f->count_offset, 0);
            if (n != load_int(b, f->count_offset, 0))
                return false;
            bytes = (size_t)n * sizeof(int64_t);
        }
        if (memcmp((const char *)a + f->offset, (const char *)b + f->offset, bytes))
            return false;
    }
    return true;
}

const char *rf_op_name(int k)
{
    return k >= 0 && k < RF_OP_COUNT ? ops[k].name : NULL;
}

static void describe_field(const rf_field *f, char *buf, size_t size, size_t *len)
{
    add(buf, size, len, " %s=", f->name);
    switch (f->kind) {
    case RF_FIELD_LIST:
        add(buf, size, len, "...");
        break;
    case RF_FIELD_REAL:
        add(buf, size, len, "%g", f->def);
        break;
    case RF_FIELD_ENUM:
        for (int i = 0; i < f->n_texts; i++) /* the default first, as elsewhere */
            if (i == (int)f->def)
                add(buf, size, len, "%s", f->texts[i]);
        for (int i = 0; i < f->n_texts; i++)
            if (i != (int)f->def)
                add(buf, size, len, "|%s", f->texts[i]);
        break;
    default:
        for (int i = 0; i < f->n; i++)
            add(buf, size, len, "%s%d", i ? "," : "", (int)f->def);
    }
}

void rf_op_describe(int k, char *buf, size_t buf_bytes)
{
    size_t len = 0;
    if (!buf_bytes)
        return;
    buf[0] = 0;
    if (k < 0 || k >= RF_OP_COUNT)
        return;
    add(buf, buf_bytes, &len, "%s", input_names[k] ? input_names[k] : "x");
    for (int i = 0; i < ops[k].n_fields; i++) {
        add(buf, buf_bytes, &len, i ? "" : ";");
        describe_field(&ops[k].fields[i], buf, buf_bytes, &len);
    }
}
