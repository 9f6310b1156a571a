/* SPDX-License-Identifier: Apache-2.0
 *
 * Elements one at a time: any dtype to and from float64, coordinates to offsets. Slow on purpose:
 * every layout and dtype takes the same path.
 */
#ifndef RF_KERNELS_REF_ELEMENT_H
#define RF_KERNELS_REF_ELEMENT_H

#include "kernels/ref/ref.h"
#include "runtime/base/half.h"
#include "runtime/core/shape/normal.h"

#include <math.h>

static inline bool ref_is_float(rf_dtype dtype)
{
    return dtype <= RF_BF16;
}

/* An integer element; u64 keeps its bits. */
static inline int64_t ref_load_int(const rf_tensor *t, int64_t offset)
{
    switch (t->dtype) {
    case RF_I8:
        return ((const int8_t *)t->data)[offset];
    case RF_U8:
        return ((const uint8_t *)t->data)[offset];
    case RF_I16:
        return ((const int16_t *)t->data)[offset];
    case RF_U16:
        return ((const uint16_t *)t->data)[offset];
    case RF_I32:
        return ((const int32_t *)t->data)[offset];
    case RF_U32:
        return ((const uint32_t *)t->data)[offset];
    case RF_I64:
        return ((const int64_t *)t->data)[offset];
    case RF_U64:
        return (int64_t)((const uint64_t *)t->data)[offset];
    case RF_BOOL:
        return ((const uint8_t *)t->data)[offset] != 0;
    default:
        return 0;
    }
}

/* Keeps the low bits, like arithmetic in that dtype. */
static inline void ref_store_int(const rf_tensor *t, int64_t offset, int64_t v)
{
    switch (t->dtype) {
    case RF_I8:
    case RF_U8:
        ((uint8_t *)t->data)[offset] = (uint8_t)v;
        break;
    case RF_I16:
    case RF_U16:
        ((uint16_t *)t->data)[offset] = (uint16_t)v;
        break;
    case RF_I32:
    case RF_U32:
        ((uint32_t *)t->data)[offset] = (uint32_t)v;
        break;
    case RF_I64:
    case RF_U64:
        ((uint64_t *)t->data)[offset] = (uint64_t)v;
        break;
    case RF_BOOL:
        ((uint8_t *)t->data)[offset] = v != 0;
        break;
    default:
        break;
    }
}

static inline double ref_load(const rf_tensor *t, int64_t offset)
{
    switch (t->dtype) {
    case RF_F32:
        return (double)((const float *)t->data)[offset];
    case RF_F64:
        return ((const double *)t->data)[offset];
    case RF_F16:
        return (double)rf_f16_to_f32(((const uint16_t *)t->data)[offset]);
    case RF_BF16:
        return (double)rf_bf16_to_f32(((const uint16_t *)t->data)[offset]);
    case RF_U64:
        return (double)((const uint64_t *)t->data)[offset];
    default:
        return (double)ref_load_int(t, offset);
    }
}

/* Truncates and saturates; NaN is 0. `low` and `high` are exact: high is one past the largest. */
static inline int64_t ref_saturate(double v, double low, double high, int64_t least, int64_t most)
{
    return v != v ? 0 : v <= low ? least : v >= high ? most : (int64_t)v;
}

static inline void ref_store(const rf_tensor *t, int64_t offset, double v)
{
    int64_t n = 0;
    switch (t->dtype) {
    case RF_F32:
        ((float *)t->data)[offset] = (float)v;
        return;
    case RF_F64:
        ((double *)t->data)[offset] = v;
        return;
    case RF_F16:
        ((uint16_t *)t->data)[offset] = rf_f64_to_f16(v);
        return;
    case RF_BF16:
        ((uint16_t *)t->data)[offset] = rf_f64_to_bf16(v);
        return;
    case RF_I8:
        n = ref_saturate(v, -0x1p7, 0x1p7, INT8_MIN, INT8_MAX);
        break;
    case RF_U8:
        n = ref_saturate(v, 0, 0x1p8, 0, UINT8_MAX);
        break;
    case RF_I16:
        n = ref_saturate(v, -0x1p15, 0x1p15, INT16_MIN, INT16_MAX);
        break;
    case RF_U16:
        n = ref_saturate(v, 0, 0x1p16, 0, UINT16_MAX);
        break;
    case RF_I32:
        n = ref_saturate(v, -0x1p31, 0x1p31, INT32_MIN, INT32_MAX);
        break;
    case RF_U32:
        n = ref_saturate(v, 0, 0x1p32, 0, UINT32_MAX);
        break;
    case RF_I64:
        n = ref_saturate(v, -0x1p63, 0x1p63, INT64_MIN, INT64_MAX);
        break;
    case RF_U64:
        n = v >= 0x1p63 ? v >= 0x1p64 ? -1 : (int64_t)(uint64_t)v
                        : ref_saturate(v, 0, 0x1p63, 0, INT64_MAX);
        break;
    case RF_BOOL:
        n = v != 0;
        break;
    case RF_DTYPE_COUNT:
        break;
    }
    ref_store_int(t, offset, n);
}

/* Copies an element; converts only if the dtypes differ. */
static inline void ref_move(const rf_tensor *to, int64_t to_offset, const rf_tensor *from,
                            int64_t from_offset)
{
    size_t bytes = rf_dtype_bytes(to->dtype);
    if (to->dtype == from->dtype)
        memcpy((char *)to->data + (size_t)to_offset * bytes,
               (const char *)from->data + (size_t)from_offset * bytes, bytes);
    else
        ref_store(to, to_offset, ref_load(from, from_offset));
}

/* Coordinates of the n-th element in row-major order. */
static inline void ref_coords(int rank, const int64_t *dims, int64_t n, int64_t *out)
{
    for (int i = rank - 1; i >= 0; i--) {
        out[i] = n % dims[i];
        n /= dims[i];
    }
}

static inline int64_t ref_offset(const rf_tensor *t, const int64_t *at)
{
    int64_t offset = 0;
    for (int i = 0; i < t->rank; i++)
        offset += at[i] * t->strides[i];
    return offset;
}

/* Offset in t of coordinates of a shape of `rank` that t broadcasts to, aligned at the right. */
static inline int64_t ref_offset_broadcast(const rf_tensor *t, int rank, const int64_t *at)
{
    int64_t offset = 0;
    for (int i = 0; i < t->rank; i++)
        if (t->dims[i] != 1)
            offset += at[rank - t->rank + i] * t->strides[i];
    return offset;
}

static inline double ref_load4(const rf_tensor *t, int64_t n, int64_t c, int64_t y, int64_t x)
{
    return ref_load(t,
                    n * t->strides[0] + c * t->strides[1] + y * t->strides[2] + x * t->strides[3]);
}

static inline void ref_store4(const rf_tensor *t, int64_t n, int64_t c, int64_t y, int64_t x,
                              double v)
{
    ref_store(t, n * t->strides[0] + c * t->strides[1] + y * t->strides[2] + x * t->strides[3], v);
}

/* Element i of a vector that may be absent. */
static inline double ref_load1(const rf_tensor *t, int64_t i, double absent)
{
    return t ? ref_load(t, i * t->strides[0]) : absent;
}

/* Input i, or NULL when it is absent. */
static inline const rf_tensor *ref_in(const rf_op_args *args, int i)
{
    return i < args->n_in ? args->in[i] : NULL;
}

double ref_act(rf_act act, double alpha, double beta, double x);
double ref_sigmoid(double x);

#endif
