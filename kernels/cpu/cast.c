/* SPDX-License-Identifier: Apache-2.0
 *
 * Casts between all dtypes of one layout, a tile in L1 at a time through a dtype that holds what
 * comes and what goes exactly, so that each value is rounded or saturated once:
 *
 *   float   floats and what pictures and half-precision files come in (f16, integers up to 16 bits)
 *   int64   integer to integer
 *   double  the rest: f64, and floats to and from wider integers and bool
 *
 * f32 <-> bf16 of any layout is a copy (movement.c).
 */
#include "kernels/cpu/nd.h"
#include "kernels/cpu/vec.h"
#include "runtime/base/half.h"

typedef struct cast_job {
    const rf_tensor *x, *y;
    int64_t n;
} cast_job;

#define WIDEN(type)                                                                                \
    for (int64_t i = 0; i < n; i++)                                                                \
        out[i] = (float)((const type *)p)[i];                                                      \
    return

static void widen_f16(float *out, const uint16_t *p, int64_t n)
{
    int64_t i = 0;
#if VL >= 8
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + i))));
#endif
    for (; i < n; i++)
        out[i] = rf_f16_to_f32(p[i]);
}

static void widen(float *out, const void *p, rf_dtype from, int64_t n)
{
    switch (from) {
    case RF_U8:
        WIDEN(uint8_t);
    case RF_I8:
        WIDEN(int8_t);
    case RF_U16:
        WIDEN(uint16_t);
    case RF_I16:
        WIDEN(int16_t);
    case RF_F16:
        widen_f16(out, p, n);
        return;
    default:
        rf_nd_fetch(out, p, from == RF_BF16, 1, 0, n, 1);
        return;
    }
}

/* Truncates and saturates; NaN is 0. */
#define NARROW(type, least, most)                                                                  \
    for (int64_t i = 0; i < n; i++) {                                                              \
        float v = in[i] != in[i] ? 0 : in[i];                                                      \
        v = v < (float)(least) ? (float)(least) : v > (float)(most) ? (float)(most) : v;           \
        ((type *)p)[i] = (type)(int32_t)v;                                                         \
    }                                                                                              \
    return

static void narrow_f16(uint16_t *p, const float *in, int64_t n)
{
    int64_t i = 0;
#if VL >= 8
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(p + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT));
#endif
    for (; i < n; i++)
        p[i] = rf_f32_to_f16(in[i]);
}

static void narrow(void *p, rf_dtype to, const float *in, int64_t n)
{
    switch (to) {
    case RF_U8:
        NARROW(uint8_t, 0, UINT8_MAX);
    case RF_I8:
        NARROW(int8_t, INT8_MIN, INT8_MAX);
    case RF_U16:
        NARROW(uint16_t, 0, UINT16_MAX);
    case RF_I16:
        NARROW(int16_t, INT16_MIN, INT16_MAX);
    case RF_F16:
        narrow_f16(p, in, n);
        return;
    default:
        rf_nd_store(p, to == RF_BF16, in, 1, 0, n, 1);
        return;
    }
}

/* ---- through int64 and double -----------------------------------------------------------------
 */

#define WIDEN_TO(wide, type)                                                                       \
    for (int64_t i = 0; i < n; i++)                                                                \
        out[i] = (wide)((const type *)p)[i];                                                       \
    return

/* u64 from 2^63 on saturates here already: no other integer is larger. */
static void widen_to_int(int64_t *out, const void *p, rf_dtype from, int64_t n)
{
    switch (from) {
    case RF_I8:
        WIDEN_TO(int64_t, int8_t);
    case RF_U8:
        WIDEN_TO(int64_t, uint8_t);
    case RF_I16:
        WIDEN_TO(int64_t, int16_t);
    case RF_U16:
        WIDEN_TO(int64_t, uint16_t);
    case RF_I32:
        WIDEN_TO(int64_t, int32_t);
    case RF_U32:
        WIDEN_TO(int64_t, uint32_t);
    case RF_I64:
        WIDEN_TO(int64_t, int64_t);
    case RF_U64:
        for (int64_t i = 0; i < n; i++) {
            uint64_t v = ((const uint64_t *)p)[i];
            out[i] = v > INT64_MAX ? INT64_MAX : (int64_t)v;
        }
        return;
    default: /* bool */
        for (int64_t i = 0; i < n; i++)
            out[i] = ((const uint8_t *)p)[i] != 0;
        return;
    }
}

#define SATURATE(type, least, most)                                                                \
    for (int64_t i = 0; i < n; i++) {                                                              \
        int64_t v = in[i] < (least) ? (least) : in[i];                                             \
        ((type *)p)[i] = (type)(v > (most) ? (most) : v);                                          \
    }                                                                                              \
    return

static void narrow_from_int(void *p, rf_dtype to, const int64_t *in, int64_t n)
{
    switch (to) {
    case RF_I8:
        SATURATE(int8_t, INT8_MIN, INT8_MAX);
    case RF_U8:
        SATURATE(uint8_t, 0, UINT8_MAX);
    case RF_I16:
        SATURATE(int16_t, INT16_MIN, INT16_MAX);
    case RF_U16:
        SATURATE(uint16_t, 0, UINT16_MAX);
    case RF_I32:
        SATURATE(int32_t, INT32_MIN, INT32_MAX);
    case RF_U32:
        SATURATE(uint32_t, 0, UINT32_MAX);
    case RF_I64:
        SATURATE(int64_t, INT64_MIN, INT64_MAX);
    case RF_U64:
        SATURATE(uint64_t, 0, INT64_MAX);
    default: /* bool */
        for (int64_t i = 0; i < n; i++)
            ((uint8_t *)p)[i] = in[i] != 0;
        return;
    }
}

static void widen_to_double(double *out, const void *p, rf_dtype from, int64_t n)
{
    switch (from) {
    case RF_F64:
        WIDEN_TO(double, double);
    case RF_F32:
        WIDEN_TO(double, float);
    case RF_I32:
        WIDEN_TO(double, int32_t);
    case RF_U32:
        WIDEN_TO(double, uint32_t);
    case RF_I64:
        WIDEN_TO(double, int64_t);
    case RF_U64:
        WIDEN_TO(double, uint64_t);
    case RF_BOOL:
        for (int64_t i = 0; i < n; i++)
            out[i] = ((const uint8_t *)p)[i] != 0;
        return;
    default: { /* exact in f32 */
        float tile[RF_ND_TILE];
        widen(tile, p, from, n);
        for (int64_t i = 0; i < n; i++)
            out[i] = (double)tile[i];
        return;
    }
    }
}

/* Truncates and saturates; NaN is 0. `end` is one past the largest: exact where `most` is not. */
#define TRUNCATE(type, least, end, most)                                                           \
    for (int64_t i = 0; i < n; i++) {                                                              \
        double v = in[i];                                                                          \
        ((type *)p)[i] = v != v                 ? 0                                                \
                         : v <= (double)(least) ? (least)                                          \
                         : v >= (end)           ? (most)                                           \
                                                : (type)v;                                                   \
    }                                                                                              \
    return

void rf_cpu_narrow_double(void *p, rf_dtype to, const double *in, int64_t n)
{
    switch (to) {
    case RF_F64:
        memcpy(p, in, (size_t)n * sizeof *in);
        return;
    case RF_F32:
        for (int64_t i = 0; i < n; i++)
            ((float *)p)[i] = (float)in[i];
        return;
    case RF_F16:
        for (int64_t i = 0; i < n; i++)
            ((uint16_t *)p)[i] = rf_f64_to_f16(in[i]);
        return;
    case RF_BF16:
        for (int64_t i = 0; i < n; i++)
            ((uint16_t *)p)[i] = rf_f64_to_bf16(in[i]);
        return;
    case RF_I8:
        TRUNCATE(int8_t, INT8_MIN, 0x1p7, INT8_MAX);
    case RF_U8:
        TRUNCATE(uint8_t, 0, 0x1p8, UINT8_MAX);
    case RF_I16:
        TRUNCATE(int16_t, INT16_MIN, 0x1p15, INT16_MAX);
    case RF_U16:
        TRUNCATE(uint16_t, 0, 0x1p16, UINT16_MAX);
    case RF_I32:
        TRUNCATE(int32_t, INT32_MIN, 0x1p31, INT32_MAX);
    case RF_U32:
        TRUNCATE(uint32_t, 0, 0x1p32, UINT32_MAX);
    case RF_I64:
        TRUNCATE(int64_t, INT64_MIN, 0x1p63, INT64_MAX);
    case RF_U64:
        TRUNCATE(uint64_t, 0, 0x1p64, UINT64_MAX);
    default: /* bool */
        for (int64_t i = 0; i < n; i++)
            ((uint8_t *)p)[i] = in[i] != 0;
        return;
    }
}

/* ---- the rows ----------------------------------------------------------------------------------
 */

#define CAST_RANGE(name, wide, widen_tile, narrow_tile)                                            \
    static void name(void *ctx, int64_t begin, int64_t end, int thread)                            \
    {                                                                                              \
        const cast_job *job = ctx;                                                                 \
        const rf_tensor *x = job->x, *y = job->y;                                                  \
        (void)thread;                                                                              \
        wide tile[RF_ND_TILE];                                                                     \
        for (int64_t i = begin; i < end; i += RF_ND_TILE) {                                        \
            int64_t n = end - i < RF_ND_TILE ? end - i : RF_ND_TILE;                               \
            widen_tile(tile, rf_nd_at(x->data, i, rf_dtype_bytes(x->dtype)), x->dtype, n);         \
            narrow_tile(rf_nd_at(y->data, i, rf_dtype_bytes(y->dtype)), y->dtype, tile, n);        \
        }                                                                                          \
    }
CAST_RANGE(range_float, float, widen, narrow)
CAST_RANGE(range_int, int64_t, widen_to_int, narrow_from_int)
CAST_RANGE(range_double, double, widen_to_double, rf_cpu_narrow_double)

static bool is_real(rf_dtype t)
{
    return rf_cpu_is_float(t) || t == RF_F16 || t == RF_F64;
}
static bool fits_float(rf_dtype t)
{
    return rf_cpu_is_float(t) || t == RF_F16 || t == RF_U8 || t == RF_I8 || t == RF_U16 ||
           t == RF_I16;
}

static bool can(const rf_kernel_desc *desc)
{
    const rf_tensor *x = desc->args.in[0], *y = desc->args.out[0];
    return (rf_tensor_is_contiguous(x) && rf_tensor_is_contiguous(y)) ||
           (rf_tensor_is_nhwc(x) && rf_tensor_is_nhwc(y));
}

static rf_status run(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    cast_job job = {call->args.in[0], call->args.out[0], rf_tensor_elements(call->args.out[0])};
    const rf_dtype x = job.x->dtype, y = job.y->dtype;
    rf_range_fn *range = !is_real(x) && !is_real(y)       ? range_int
                         : fits_float(x) && fits_float(y) ? range_float
                                                          : range_double;
    rf_parallel_for(rf_nd_threads(call->n_threads, job.n), job.n, RF_ND_TILE, range, &job);
    return RF_OK;
}

static const rf_kernel cast_row = {
    .op = RF_OP_CAST,
    .name = "cast",
    .why = "same layout",
    .can = can,
    .run = run,
};

const rf_kernel *const RF_CPU_ROWS(cast)[] = {&cast_row, NULL};
