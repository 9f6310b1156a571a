/* SPDX-License-Identifier: Apache-2.0
 *
 * Casts between floats and what pictures and half-precision files come in (f16 and integers of up
 * to 16 bits), a tile at a time through f32, which holds all of them exactly. Wider integers are
 * indices: few, and left to the reference. f32 <-> bf16 of any layout is a copy (movement.c).
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

static void cast_range(void *ctx, int64_t begin, int64_t end, int thread)
{
    const cast_job *job = ctx;
    (void)thread;
    float tile[RF_ND_TILE];
    for (int64_t i = begin; i < end; i += RF_ND_TILE) {
        int64_t n = end - i < RF_ND_TILE ? end - i : RF_ND_TILE;
        widen(tile, rf_nd_at(job->x->data, i, rf_dtype_bytes(job->x->dtype)), job->x->dtype, n);
        narrow(rf_nd_at(job->y->data, i, rf_dtype_bytes(job->y->dtype)), job->y->dtype, tile, n);
    }
}

static bool is_small(rf_dtype t)
{
    return t == RF_F16 || t == RF_U8 || t == RF_I8 || t == RF_U16 || t == RF_I16;
}

static bool can(const rf_kernel_desc *desc)
{
    const rf_tensor *x = desc->args.in[0], *y = desc->args.out[0];
    bool to_float = rf_cpu_is_float(y->dtype) && is_small(x->dtype);
    bool from_float = rf_cpu_is_float(x->dtype) && is_small(y->dtype);
    bool same_order = (rf_tensor_is_contiguous(x) && rf_tensor_is_contiguous(y)) ||
                      (rf_tensor_is_nhwc(x) && rf_tensor_is_nhwc(y));
    return (to_float || from_float) && same_order;
}

static rf_status run(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    cast_job job = {call->args.in[0], call->args.out[0], rf_tensor_elements(call->args.out[0])};
    rf_parallel_for(rf_nd_threads(call->n_threads, job.n), job.n, RF_ND_TILE, cast_range, &job);
    return RF_OK;
}

static const rf_kernel cast_row = {
    .op = RF_OP_CAST,
    .name = "cast",
    .why = "f16 or small integers, same layout",
    .can = can,
    .run = run,
};

const rf_kernel *const RF_CPU_ROWS(cast)[] = {&cast_row, NULL};
