/* SPDX-License-Identifier: Apache-2.0
 *
 * Ops and their attributes, expanded from op.def, attrs.def and enums.def.
 */
#ifndef RF_CORE_OP_H
#define RF_CORE_OP_H

#include <refold/graph.h>
#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define RF_MAX_IN 16
#define RF_MAX_OUT 16

typedef enum rf_op {
#define RF_OP(ID, name, in, opt, out, tol) RF_OP_##ID,
#include "runtime/core/op.def"
#undef RF_OP
    RF_OP_COUNT
} rf_op;

typedef enum rf_tolerance { RF_TOL_EXACT, RF_TOL_ULP, RF_TOL_REDUCE } rf_tolerance;

/* enum rf_act, rf_pad_mode, ... */
#define RF_ENUM_BEGIN(type)                                                                        \
    typedef enum rf_##type                                                                         \
    {
#define RF_ENUM_VALUE(type, ID, text) ID,
#define RF_ENUM_END(type)                                                                          \
    }                                                                                              \
    rf_##type;
#include "runtime/core/enums.def"
#undef RF_ENUM_BEGIN
#undef RF_ENUM_VALUE
#undef RF_ENUM_END

/* struct rf_conv2d_attrs, ... */
#define RF_AT_BEGIN(op) typedef struct rf_##op##_attrs {
#define RF_AT_INT(op, field, def) int32_t field;
#define RF_AT_INTS(op, field, n, def) int32_t field[n];
#define RF_AT_LIST(op, field, n)                                                                   \
    int32_t n_##field;                                                                             \
    int64_t field[n];
#define RF_AT_REAL(op, field, def) double field;
#define RF_AT_ENUM(op, field, type, def) rf_##type field;
#define RF_AT_END(op)                                                                              \
    }                                                                                              \
    rf_##op##_attrs;
#include "runtime/core/attrs.def"
#include "runtime/core/attrs_undef.h"

typedef union rf_attrs {
#define RF_AT_BEGIN(op) rf_##op##_attrs op;
#define RF_AT_INT(op, field, def)
#define RF_AT_INTS(op, field, n, def)
#define RF_AT_LIST(op, field, n)
#define RF_AT_REAL(op, field, def)
#define RF_AT_ENUM(op, field, type, def)
#define RF_AT_END(op)
#include "runtime/core/attrs.def"
#include "runtime/core/attrs_undef.h"
} rf_attrs;

/* Description of one attribute, from which the builder, the JSON form and `refold ops` work. */
typedef enum rf_field_kind {
    RF_FIELD_INT,
    RF_FIELD_INTS,
    RF_FIELD_LIST,
    RF_FIELD_REAL,
    RF_FIELD_ENUM
} rf_field_kind;
typedef struct rf_field {
    const char *name;
    rf_field_kind kind;
    int32_t n;                /* INTS: exact count, LIST: capacity */
    size_t offset;            /* of the field inside rf_attrs; LIST: of the values */
    size_t count_offset;      /* LIST: of n_<field> */
    double def;               /* default of every element; LIST: not given */
    const char *const *texts; /* ENUM: spellings */
    int32_t n_texts;
} rf_field;

typedef struct rf_op_info {
    const char *name;
    int32_t n_in, n_opt, n_out; /* as in op.def, -1 = variable */
    rf_tolerance tolerance;
    const rf_field *fields;
    int32_t n_fields;
} rf_op_info;

/* Never NULL for op < RF_OP_COUNT. */
const rf_op_info *rf_op_get(rf_op op);
/* RF_OP_COUNT if there is no op of that name. */
rf_op rf_op_find(const char *name);
/* Fills *attrs with the op's defaults. */
void rf_attrs_default(rf_op op, rf_attrs *attrs);
/* Sets one attribute by key; the message lists the keys or spellings that exist. */
rf_status rf_attrs_set(rf_op op, rf_attrs *attrs, const rf_attr *value, rf_error *err);
/* Equal in every field of the op. */
bool rf_attrs_equal(rf_op op, const rf_attrs *a, const rf_attrs *b);

/* Text of an enumerator: RF_ENUM_TEXT(act, RF_ACT_RELU) is "relu". */
#define RF_ENUM_TEXT(type, value) (rf_##type##_texts[value])
#define RF_ENUM_BEGIN(type) extern const char *const rf_##type##_texts[];
#define RF_ENUM_VALUE(type, ID, text)
#define RF_ENUM_END(type)
#include "runtime/core/enums.def"
#undef RF_ENUM_BEGIN
#undef RF_ENUM_VALUE
#undef RF_ENUM_END
extern const char *const rf_dtype_texts[];

#ifdef __cplusplus
}
#endif
#endif
