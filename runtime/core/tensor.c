/* SPDX-License-Identifier: Apache-2.0
 *
 * Tensor views: sizes with overflow checks (dims come from files), and the slow but general walk
 * over strided elements.
 */
#include "runtime/core/strided.h"

#include <stdio.h>
#include <string.h>

#include "runtime/base/half.h"
#include "runtime/core/op.h"

static const uint8_t dtype_bytes[RF_DTYPE_COUNT] = {
    [RF_F32] = 4, [RF_F64] = 8, [RF_F16] = 2,  [RF_BF16] = 2, [RF_I8] = 1,
    [RF_U8] = 1,  [RF_I16] = 2, [RF_U16] = 2,  [RF_I32] = 4,  [RF_U32] = 4,
    [RF_I64] = 8, [RF_U64] = 8, [RF_BOOL] = 1,
};

const char *rf_dtype_name(rf_dtype dtype)
{
    return (unsigned)dtype < RF_DTYPE_COUNT ? rf_dtype_texts[dtype] : NULL;
}

size_t rf_dtype_bytes(rf_dtype dtype)
{
    return (unsigned)dtype < RF_DTYPE_COUNT ? dtype_bytes[dtype] : 0;
}

rf_status rf_tensor_init(rf_tensor *out, rf_dtype dtype, int rank, const int64_t *dims, void *data,
                         rf_error *err)
{
    int64_t stride = 1, bytes;
    *out = (rf_tensor){.data = data, .dtype = dtype, .rank = rank};
    if (!rf_dtype_bytes(dtype))
        return rf_fail(err, RF_ERR_ARGUMENT, "tensor: dtype is %d, expected 0 to %d", (int)dtype,
                       RF_DTYPE_COUNT - 1);
    if (rank < 0 || rank > RF_MAX_RANK)
        return rf_fail(err, RF_ERR_ARGUMENT, "tensor: rank is %d, expected 0 to %d", rank,
                       RF_MAX_RANK);
    for (int i = rank - 1; i >= 0; i--) {
        if (dims[i] < 0)
            return rf_fail(err, RF_ERR_ARGUMENT, "tensor: dim %d is %lld, expected 0 or more", i,
                           (long long)dims[i]);
        out->dims[i] = dims[i];
        out->strides[i] = stride;
        /* A dim of 0 counts as 1, so that strides stay sane and huge sisters are still refused. */
        if (__builtin_mul_overflow(stride, dims[i] ? dims[i] : 1, &stride))
            return rf_fail(err, RF_ERR_ARGUMENT, "tensor: number of elements passes 63 bits");
    }
    if (__builtin_mul_overflow(stride, (int64_t)rf_dtype_bytes(dtype), &bytes))
        return rf_fail(err, RF_ERR_ARGUMENT, "tensor: %lld elements of %zu bytes pass 63 bits",
                       (long long)stride, rf_dtype_bytes(dtype));
    return RF_OK;
}

int64_t rf_tensor_elements(const rf_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= t->dims[i];
    return n;
}

size_t rf_tensor_bytes(const rf_tensor *t)
{
    return (size_t)rf_tensor_elements(t) * rf_dtype_bytes(t->dtype);
}

bool rf_tensor_is_contiguous(const rf_tensor *t)
{
    int64_t stride = 1;
    bool dense = true;
    for (int i = t->rank - 1; i >= 0; i--) {
        if (t->dims[i] == 0)
            return true;
        dense = dense && (t->dims[i] == 1 || t->strides[i] == stride);
        stride *= t->dims[i];
    }
    return dense;
}

void rf_tensor_set_contiguous(rf_tensor *t)
{
    int64_t stride = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        t->strides[i] = stride;
        stride *= t->dims[i];
    }
}

rf_status rf_tensor_check(const rf_tensor *t, const char *what, rf_error *err)
{
    rf_tensor dense;
    rf_error why;
    if (!t)
        return rf_fail(err, RF_ERR_ARGUMENT, "%s: tensor is NULL", what);
    if (rf_tensor_init(&dense, t->dtype, t->rank, t->dims, NULL, &why) != RF_OK)
        return rf_fail(err, RF_ERR_ARGUMENT, "%s: %s", what, why.text);
    int64_t last = 0, step;
    for (int i = 0; i < t->rank; i++) {
        if (t->strides[i] < 0)
            return rf_fail(err, RF_ERR_ARGUMENT, "%s: stride %d is %lld, expected 0 or more", what,
                           i, (long long)t->strides[i]);
        if (t->dims[i] > 1 && (__builtin_mul_overflow(t->dims[i] - 1, t->strides[i], &step) ||
                               __builtin_add_overflow(last, step, &last)))
            return rf_fail(err, RF_ERR_ARGUMENT, "%s: strides reach past 63 bits", what);
    }
    if (!t->data && rf_tensor_elements(t))
        return rf_fail(err, RF_ERR_ARGUMENT, "%s: data is NULL, expected %zu bytes", what,
                       rf_tensor_bytes(t));
    return RF_OK;
}

/* Takes n elements of src, `stride` apart from element `at` on, and moves *dst behind them. */
typedef void row_fn(const rf_tensor *src, int64_t at, int64_t n, int64_t stride, char **dst);

static void walk(const rf_tensor *t, row_fn *row, void *dst)
{
    int64_t index[RF_MAX_RANK] = {0}, at = 0;
    char *to = dst;
    int outer = t->rank - 1;
    if (!rf_tensor_elements(t))
        return;
    if (rf_tensor_is_contiguous(t)) {
        row(t, 0, rf_tensor_elements(t), 1, &to);
        return;
    }
    for (;;) {
        row(t, at, t->dims[outer], t->strides[outer], &to);
        int i = outer - 1;
        for (; i >= 0; i--) {
            /* Never one step past the last index: strides of dims of size 1 may be anything. */
            if (++index[i] < t->dims[i]) {
                at += t->strides[i];
                break;
            }
            at -= t->strides[i] * (t->dims[i] - 1);
            index[i] = 0;
        }
        if (i < 0)
            return;
    }
}

static void copy_row(const rf_tensor *src, int64_t at, int64_t n, int64_t stride, char **dst)
{
    size_t size = rf_dtype_bytes(src->dtype);
    const char *from = (const char *)src->data + (size_t)at * size;
    if (stride == 1) {
        memcpy(*dst, from, (size_t)n * size);
        *dst += (size_t)n * size;
        return;
    }
    for (int64_t i = 0; i < n; i++, *dst += size)
        memcpy(*dst, from + (size_t)(i * stride) * size, size);
}

/* One row function a dtype: the loops have to be loops over a known type to be fast. */
#define F64_ROW(name, type, convert)                                                               \
    static void name##_row(const rf_tensor *src, int64_t at, int64_t n, int64_t stride,            \
                           char **dst)                                                             \
    {                                                                                              \
        const char *from = (const char *)src->data + (size_t)at * sizeof(type);                    \
        double *to = (double *)(void *)*dst;                                                       \
        for (int64_t i = 0; i < n; i++) {                                                          \
            type x;                                                                                \
            memcpy(&x, from + (size_t)(i * stride) * sizeof x, sizeof x);                          \
            to[i] = (double)convert(x);                                                            \
        }                                                                                          \
        *dst += (size_t)n * sizeof *to;                                                            \
    }
F64_ROW(f32, float, )
F64_ROW(f64, double, )
F64_ROW(f16, uint16_t, rf_f16_to_f32)
F64_ROW(bf16, uint16_t, rf_bf16_to_f32)
F64_ROW(i8, int8_t, )
F64_ROW(u8, uint8_t, )
F64_ROW(i16, int16_t, )
F64_ROW(u16, uint16_t, )
F64_ROW(i32, int32_t, )
F64_ROW(u32, uint32_t, )
F64_ROW(i64, int64_t, )
F64_ROW(u64, uint64_t, )
F64_ROW(bool, uint8_t, !!)

static row_fn *const f64_rows[RF_DTYPE_COUNT] = {
    [RF_F32] = f32_row,   [RF_F64] = f64_row, [RF_F16] = f16_row, [RF_BF16] = bf16_row,
    [RF_I8] = i8_row,     [RF_U8] = u8_row,   [RF_I16] = i16_row, [RF_U16] = u16_row,
    [RF_I32] = i32_row,   [RF_U32] = u32_row, [RF_I64] = i64_row, [RF_U64] = u64_row,
    [RF_BOOL] = bool_row,
};

void rf_tensor_pack(const rf_tensor *src, void *dst)
{
    walk(src, copy_row, dst);
}

void rf_tensor_pack_f64(const rf_tensor *src, double *dst)
{
    walk(src, f64_rows[src->dtype], dst);
}

const char *rf_tensor_dims_text(const rf_tensor *t, char *buf, size_t buf_bytes)
{
    size_t n = 0;
    for (int i = 0; i < t->rank && n < buf_bytes; i++)
        n += (size_t)(t->dims[i] < 0 ? snprintf(buf + n, buf_bytes - n, "%s?", i ? "," : "(")
                                     : snprintf(buf + n, buf_bytes - n, "%s%lld", i ? "," : "(",
                                                (long long)t->dims[i]));
    if (n < buf_bytes)
        snprintf(buf + n, buf_bytes - n, "%s", t->rank ? ")" : "()");
    return buf;
}
