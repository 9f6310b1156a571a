/* SPDX-License-Identifier: Apache-2.0
 *
 * Elements moved as they are or converted to another dtype, bit for bit as kernels/ref does it,
 * NaN included: the hardware's conversions give one NaN for all, so those are made by hand. A
 * conversion goes through float where that is exact, through double where it is not (64- and
 * 32-bit integers, f64), and between integers through int64_t.
 */
#ifndef RF_CUDA_ELEMENT_CUH
#define RF_CUDA_ELEMENT_CUH

#include "kernels/cuda/vector.cuh"

template <class To, class From> __device__ __forceinline__ To rf_bits_as(From v)
{
    static_assert(sizeof(To) == sizeof(From), "");
    To r;
    memcpy((void *)&r, (const void *)&v, sizeof r);
    return r;
}

/* ---- float dtypes ------------------------------------------------------------------------------
 */
__device__ __forceinline__ float rf_widen_half(uint16_t h, int32_t dtype)
{
    if (dtype == RF_BF16) {
        uint32_t quiet = (h & 0x7fff) > 0x7f80 ? 0x400000 : 0;
        return rf_bits_as<float>((uint32_t)h << 16 | quiet);
    }
    if ((h & 0x7fff) > 0x7c00)
        return rf_bits_as<float>((uint32_t)(h & 0x8000) << 16 | 0x7fc00000u |
                                 (uint32_t)(h & 0x3ff) << 13);
    return __half2float(rf_bits_as<__half>(h));
}

__device__ __forceinline__ uint16_t rf_narrow_half(float f, int32_t dtype)
{
    uint32_t u = rf_bits_as<uint32_t>(f);
    if (dtype == RF_BF16)
        return f != f ? (uint16_t)(u >> 16 | 0x40) : rf_bits_as<uint16_t>(__float2bfloat16_rn(f));
    return f != f ? (uint16_t)((u >> 16 & 0x8000) | 0x7e00)
                  : rf_bits_as<uint16_t>(__float2half_rn(f));
}

__device__ __forceinline__ double rf_widen_float(float f)
{
    uint32_t u = rf_bits_as<uint32_t>(f);
    if (f != f)
        return rf_bits_as<double>((uint64_t)(u >> 31) << 63 | 0x7ff8000000000000u |
                                  (uint64_t)(u & 0x7fffff) << 29);
    return (double)f;
}

__device__ __forceinline__ float rf_narrow_double(double v)
{
    uint64_t u = rf_bits_as<uint64_t>(v);
    if (v != v)
        return rf_bits_as<float>((uint32_t)(u >> 63) << 31 | 0x7fc00000u |
                                 ((uint32_t)(u >> 29) & 0x7fffff));
    return (float)v;
}

/* Rounds to odd, so that rounding again to a half gives the nearest of the double. */
__device__ __forceinline__ float rf_narrow_to_odd(double v)
{
    float f = rf_narrow_double(v);
    if (f != f || (double)f == v || isinf(f))
        return f;
    uint32_t u = rf_bits_as<uint32_t>(f);
    if (fabs((double)f) > fabs(v))
        u--; /* the neighbour towards zero */
    return rf_bits_as<float>(u | 1);
}

/* ---- any dtype ---------------------------------------------------------------------------------
 * Via: float for f32, halves, bool and integers of up to 16 bits; double for everything but i64 and
 * u64 beyond 2^53, which it rounds like ref. */
template <class Via>
__device__ __forceinline__ Via rf_load_element(const void *data, int32_t dtype, int64_t i)
{
    switch (dtype) {
    case RF_F32:
        return sizeof(Via) == 8 ? (Via)rf_widen_float(rf_load((const float *)data + i))
                                : (Via)rf_load((const float *)data + i);
    case RF_F16:
    case RF_BF16: {
        float f = rf_widen_half(rf_load((const uint16_t *)data + i), dtype);
        return sizeof(Via) == 8 ? (Via)rf_widen_float(f) : (Via)f;
    }
    case RF_F64:
        return (Via)rf_load((const double *)data + i);
    case RF_U64:
        return (Via)rf_load((const uint64_t *)data + i);
    default:
        return (Via)rf_load_integer(data, dtype, i);
    }
}

/* Truncates and saturates; NaN is 0. `high` is one past the largest. */
template <class Via>
__device__ __forceinline__ int64_t rf_saturate(Via v, Via low, Via high, int64_t least,
                                               int64_t most)
{
    return v != v ? 0 : v <= low ? least : v >= high ? most : (int64_t)v;
}

template <class Via> __device__ __forceinline__ int64_t rf_to_integer(Via v, int32_t dtype)
{
    switch (dtype) {
    case RF_I8:
        return rf_saturate<Via>(v, -0x1p7f, 0x1p7f, INT8_MIN, INT8_MAX);
    case RF_U8:
        return rf_saturate<Via>(v, 0, 0x1p8f, 0, UINT8_MAX);
    case RF_I16:
        return rf_saturate<Via>(v, -0x1p15f, 0x1p15f, INT16_MIN, INT16_MAX);
    case RF_U16:
        return rf_saturate<Via>(v, 0, 0x1p16f, 0, UINT16_MAX);
    case RF_I32:
        return rf_saturate<Via>(v, -0x1p31f, 0x1p31f, INT32_MIN, INT32_MAX);
    case RF_U32:
        return rf_saturate<Via>(v, 0, 0x1p32f, 0, UINT32_MAX);
    case RF_I64:
        return rf_saturate<Via>(v, -0x1p63f, 0x1p63f, INT64_MIN, INT64_MAX);
    case RF_U64:
        return v >= (Via)0x1p64f   ? -1
               : v >= (Via)0x1p63f ? (int64_t)(uint64_t)v
                                   : rf_saturate<Via>(v, 0, 0x1p63f, 0, INT64_MAX);
    default: /* bool */
        return v != 0;
    }
}

__device__ __forceinline__ void rf_store_element(void *data, int32_t dtype, int64_t i, float v)
{
    if (dtype == RF_F32)
        rf_store((float *)data + i, v);
    else if (dtype == RF_F16 || dtype == RF_BF16)
        rf_store((uint16_t *)data + i, rf_narrow_half(v, dtype));
    else
        rf_store_integer(data, dtype, i, rf_to_integer(v, dtype));
}

__device__ __forceinline__ void rf_store_element(void *data, int32_t dtype, int64_t i, double v)
{
    if (dtype == RF_F64)
        rf_store((double *)data + i, v);
    else if (dtype == RF_F32)
        rf_store((float *)data + i, rf_narrow_double(v));
    else if (dtype == RF_F16 || dtype == RF_BF16)
        rf_store((uint16_t *)data + i, rf_narrow_half(rf_narrow_to_odd(v), dtype));
    else
        rf_store_integer(data, dtype, i, rf_to_integer(v, dtype));
}

/* Integer to integer. */
__device__ __forceinline__ int64_t rf_saturate_integer(int64_t v, int32_t from, int32_t to)
{
    int64_t least = to == RF_I8    ? INT8_MIN
                    : to == RF_I16 ? INT16_MIN
                    : to == RF_I32 ? INT32_MIN
                    : to == RF_I64 ? INT64_MIN
                                   : 0;
    int64_t most = to == RF_I8    ? INT8_MAX
                   : to == RF_U8  ? UINT8_MAX
                   : to == RF_I16 ? INT16_MAX
                   : to == RF_U16 ? UINT16_MAX
                   : to == RF_I32 ? INT32_MAX
                   : to == RF_U32 ? UINT32_MAX
                                  : INT64_MAX;
    if (to == RF_BOOL)
        return v != 0;
    if (from == RF_U64 && v < 0) /* 2^63 and more */
        return to == RF_U64 ? v : most;
    return v < least ? least : v > most ? most : v;
}
#endif
