/* SPDX-License-Identifier: Apache-2.0
 *
 * Scalar f16 and bf16 conversion, round to nearest even, NaN kept quiet. For tests, loaders and
 * reference kernels; fast kernels convert whole vectors themselves.
 */
#ifndef RF_BASE_HALF_H
#define RF_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float rf_bf16_to_f32(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static inline uint16_t rf_f32_to_bf16(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static inline float rf_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = h >> 10 & 31, man = h & 0x3ff, u;
    if (exp == 31)
        u = sign | 0x7f800000u | man << 13;
    else if (exp)
        u = sign | (exp + 112) << 23 | man << 13;
    else if (!man)
        u = sign;
    else { /* subnormal: shift the leading one into place */
        int shift = __builtin_clz(man) - 21;
        u = sign | (uint32_t)(113 - shift) << 23 | (man << shift & 0x3ff) << 13;
    }
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static inline uint16_t rf_f32_to_f16(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
    u &= 0x7fffffffu;
    if (u > 0x7f800000u)
        return sign | 0x7e00;
    if (u >= 0x477ff000u) /* rounds to 65536 or more */
        return sign | 0x7c00;
    if (u < 0x38800000u) { /* subnormal or zero: add in a fixed-point magic number's mantissa */
        float magic = 0.5f, a;
        memcpy(&a, &u, 4);
        a += magic;
        memcpy(&u, &a, 4);
        return sign | (uint16_t)(u - 0x3f000000u);
    }
    return sign | (uint16_t)((u - 0x38000000u + 0xfff + (u >> 13 & 1)) >> 13);
}

/* A double as the float next to it whose last bit is odd unless it is exact ("round to odd"):
 * rounding that again to f16 or bf16 gives the nearest of the double. */
static inline float rf_f64_to_odd_f32(double v)
{
    float f = (float)v;
    uint32_t u;
    memcpy(&u, &f, 4);
    if (v != v || (double)f == v || (u & 0x7fffffffu) == 0x7f800000u)
        return f;
    if ((f < 0 ? -(double)f : (double)f) > (v < 0 ? -v : v))
        u--;
    u |= 1;
    memcpy(&f, &u, 4);
    return f;
}

static inline uint16_t rf_f64_to_f16(double v)
{
    return rf_f32_to_f16(rf_f64_to_odd_f32(v));
}
static inline uint16_t rf_f64_to_bf16(double v)
{
    return rf_f32_to_bf16(rf_f64_to_odd_f32(v));
}
#endif
