/* SPDX-License-Identifier: Apache-2.0
 *
 * One float vector type, 16 (AVX512), 8 (AVX2) or 4 (baseline) wide, by GCC's vector extensions:
 * kernels are written once and compiled per instruction set. + - * / and comparisons are operators;
 * a*b + c contracts to FMA where the set has it (-ffp-contract=fast).
 */
#ifndef RF_KERNELS_CPU_VEC_H
#define RF_KERNELS_CPU_VEC_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define VL 16
#elif defined(__AVX2__)
#define VL 8
#else
#define VL 4
#endif

typedef float vf __attribute__((vector_size(VL * 4)));
typedef int32_t vi __attribute__((vector_size(VL * 4)));
typedef float vf_unaligned __attribute__((vector_size(VL * 4), aligned(4), may_alias));
typedef uint16_t vh_unaligned __attribute__((vector_size(VL * 2), aligned(2), may_alias));
typedef uint16_t vh __attribute__((vector_size(VL * 2)));
typedef uint32_t vu __attribute__((vector_size(VL * 4)));

static inline vf vset1(float x) { return x - (vf){0}; }
static inline vf vload(const float *p) { return *(const vf_unaligned *)p; }
static inline void vstore(float *p, vf v) { *(vf_unaligned *)p = v; }
/* bf16 <-> float: a shift one way, round to nearest even the other (NaN kept). */
static inline vf vload_bf16(const uint16_t *p)
{
    vu u = __builtin_convertvector(*(const vh_unaligned *)p, vu) << 16;
    return (vf)u;
}
static inline void vstore_bf16(uint16_t *p, vf v)
{
    vu u = (vu)v;
    vu r = (u + 0x7fff + (u >> 16 & 1)) >> 16;
    vi nan = v != v;
    r = (vu)((nan & (vi)(u >> 16 | 0x40)) | (~nan & (vi)r));
    *(vh_unaligned *)p = __builtin_convertvector(r, vh);
}
static inline vf vselect(vi mask, vf a, vf b) { return (vf)((mask & (vi)a) | (~mask & (vi)b)); }
/* NaN in a gives b, like the instruction. */
static inline vf vmax(vf a, vf b) { return vselect(a > b, a, b); }
static inline vf vmin(vf a, vf b) { return vselect(a < b, a, b); }
static inline float vsum(vf v)
{
    float s = 0;
    for (int i = 0; i < VL; i++)
        s += v[i];
    return s;
}
static inline float vhmax(vf v)
{
    float m = v[0];
    for (int i = 1; i < VL; i++)
        m = v[i] > m ? v[i] : m;
    return m;
}
#endif
