/* SPDX-License-Identifier: Apache-2.0
 *
 * One float vector type, 16 (AVX512), 8 (AVX2) or 4 (baseline) wide, by GCC's vector extensions:
 * kernels are written once and compiled per instruction set. + - * / and comparisons are operators;
 * a*b + c contracts to FMA where the set has it (-ffp-contract=fast). Intrinsics appear only here,
 * where the extensions have no word for an instruction.
 */
#ifndef RF_KERNELS_CPU_VEC_H
#define RF_KERNELS_CPU_VEC_H

#include <immintrin.h>
#include <stdbool.h>
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

static inline vf vset1(float x)
{
    return x - (vf){0};
}
static inline vf vload(const float *p)
{
    return *(const vf_unaligned *)p;
}
static inline void vstore(float *p, vf v)
{
    *(vf_unaligned *)p = v;
}
/* bf16 <-> float: a shift one way, round to nearest even the other (NaN kept). */
static inline vf vload_bf16(const uint16_t *p)
{
    vu u = __builtin_convertvector(*(const vh_unaligned *)p, vu) << 16;
    return (vf)u;
}
static inline vh vround_bf16(vf v)
{
    vu u = (vu)v;
    vu r = (u + 0x7fff + (u >> 16 & 1)) >> 16;
    vi nan = v != v;
    r = (vu)((nan & (vi)(u >> 16 | 0x40)) | (~nan & (vi)r));
    return __builtin_convertvector(r, vh);
}
static inline void vstore_bf16(uint16_t *p, vf v)
{
    *(vh_unaligned *)p = vround_bf16(v);
}
/* f16 <-> float, where the instruction set has it. */
#if VL == 16
#define HAVE_F16 1
static inline vf vload_f16(const uint16_t *p)
{
    return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
static inline void vstore_f16(uint16_t *p, vf v)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT));
}
#elif VL == 8
#define HAVE_F16 1
static inline vf vload_f16(const uint16_t *p)
{
    return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
static inline void vstore_f16(uint16_t *p, vf v)
{
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
}
#else
#define HAVE_F16 0
#endif
static inline vf vselect(vi mask, vf a, vf b)
{
    return (vf)((mask & (vi)a) | (~mask & (vi)b));
}

/* 0, 1, 2 ... */
static inline vi vlanes(void)
{
    vi v;
    for (int i = 0; i < VL; i++)
        v[i] = i;
    return v;
}

/* NaN in a gives b, NaN in b gives NaN, like the instruction. */
static inline vf vmax(vf a, vf b)
{
#if VL == 16
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif VL == 8
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return (vf)_mm_max_ps((__m128)a, (__m128)b);
#endif
}
static inline vf vmin(vf a, vf b)
{
#if VL == 16
    return (vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif VL == 8
    return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return (vf)_mm_min_ps((__m128)a, (__m128)b);
#endif
}
/* A NaN in either gives NaN: what max and min reductions and pooling promise. */
static inline vf vmax_nan(vf a, vf b)
{
    return vselect(a != a, a, vmax(a, b));
}
static inline vf vmin_nan(vf a, vf b)
{
    return vselect(a != a, a, vmin(a, b));
}

static inline vf vsqrt(vf v)
{
#if VL == 16
    return (vf)_mm512_sqrt_ps((__m512)v);
#elif VL == 8
    return (vf)_mm256_sqrt_ps((__m256)v);
#else
    return (vf)_mm_sqrt_ps((__m128)v);
#endif
}

/* Horizontal folds by halves: log2(VL) steps, and a fixed order of additions. */
static inline __m128 vfold128_(vf v, __m128 (*op)(__m128, __m128)) __attribute__((always_inline));
static inline __m128 vfold128_(vf v, __m128 (*op)(__m128, __m128))
{
#if VL == 16
    __m128 q[4] = {_mm512_castps512_ps128((__m512)v), _mm512_extractf32x4_ps((__m512)v, 1),
                   _mm512_extractf32x4_ps((__m512)v, 2), _mm512_extractf32x4_ps((__m512)v, 3)};
    __m128 r = op(op(q[0], q[1]), op(q[2], q[3]));
#elif VL == 8
    __m128 r = op(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
#else
    __m128 r = (__m128)v;
#endif
    r = op(r, _mm_movehl_ps(r, r));
    return op(r, _mm_shuffle_ps(r, r, 1));
}
static inline __m128 vadd128_(__m128 a, __m128 b)
{
    return a + b;
}
static inline __m128 vmax128_(__m128 a, __m128 b)
{
    return _mm_max_ps(a, b);
}
static inline float vsum(vf v)
{
    return _mm_cvtss_f32(vfold128_(v, vadd128_));
}
static inline __m128 vmin128_(__m128 a, __m128 b)
{
    return _mm_min_ps(a, b);
}
/* Any result if there is a NaN. */
static inline float vhmax(vf v)
{
    return _mm_cvtss_f32(vfold128_(v, vmax128_));
}
static inline float vhmin(vf v)
{
    return _mm_cvtss_f32(vfold128_(v, vmin128_));
}
static inline bool vany_nan(vf v)
{
#if VL == 16
    return _mm512_cmp_ps_mask((__m512)v, (__m512)v, _CMP_UNORD_Q);
#elif VL == 8
    return _mm256_movemask_ps(_mm256_cmp_ps((__m256)v, (__m256)v, _CMP_UNORD_Q));
#else
    return _mm_movemask_ps(_mm_cmpunord_ps((__m128)v, (__m128)v));
#endif
}

/* The first n (< VL) elements; the rest of the vector is zero. Reads and writes nothing else. */
static inline vf vload_part(const float *p, int n)
{
#if VL == 16
    return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#else
    float t[VL] = {0};
    for (int i = 0; i < n; i++)
        t[i] = p[i];
    return vload(t);
#endif
}
static inline void vstore_part(float *p, vf v, int n)
{
#if VL == 16
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
#else
    float t[VL];
    vstore(t, v);
    for (int i = 0; i < n; i++)
        p[i] = t[i];
#endif
}
static inline vf vload_bf16_part(const uint16_t *p, int n)
{
#if VL == 16
    __m256i h = _mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1), p);
    return (vf)((vu)_mm512_cvtepu16_epi32(h) << 16);
#else
    uint16_t t[VL] = {0};
    for (int i = 0; i < n; i++)
        t[i] = p[i];
    return vload_bf16(t);
#endif
}
static inline void vstore_bf16_part(uint16_t *p, vf v, int n)
{
#if VL == 16
    _mm256_mask_storeu_epi16(p, (__mmask16)((1u << n) - 1), (__m256i)vround_bf16(v));
#else
    uint16_t t[VL];
    vstore_bf16(t, v);
    for (int i = 0; i < n; i++)
        p[i] = t[i];
#endif
}

/* Storage by a flag: callers pass a constant, so each use compiles to one kind. `i` counts
 * elements. */
static inline vf vload_as(const void *p, int64_t i, bool bf16)
{
    return bf16 ? vload_bf16((const uint16_t *)p + i) : vload((const float *)p + i);
}
static inline void vstore_as(void *p, int64_t i, bool bf16, vf v)
{
    if (bf16)
        vstore_bf16((uint16_t *)p + i, v);
    else
        vstore((float *)p + i, v);
}
static inline vf vload_part_as(const void *p, int64_t i, bool bf16, int n)
{
    return bf16 ? vload_bf16_part((const uint16_t *)p + i, n) : vload_part((const float *)p + i, n);
}
static inline void vstore_part_as(void *p, int64_t i, bool bf16, vf v, int n)
{
    if (bf16)
        vstore_bf16_part((uint16_t *)p + i, v, n);
    else
        vstore_part((float *)p + i, v, n);
}
#endif
