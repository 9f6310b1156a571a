/* SPDX-License-Identifier: Apache-2.0
 *
 * Elementary functions of a whole vector, within about 2 ulp of float. Ranges are reduced by
 * Cody-Waite splitting, polynomials are Cephes' (exp, log) and N. Juffa's (erf). NaN stays NaN,
 * infinities and denormal results are right; there are no tables and no branches.
 */
#ifndef RF_KERNELS_CPU_VECMATH_H
#define RF_KERNELS_CPU_VECMATH_H

#include "kernels/cpu/vec.h"

static inline vf vabs(vf x)
{
    return (vf)((vu)x & 0x7fffffffu);
}
static inline vf vcopysign(vf mag, vf sign)
{
    return (vf)(((vu)mag & 0x7fffffffu) | ((vu)sign & 0x80000000u));
}
/* 2^n for -126 <= n <= 127. */
static inline vf vpow2i(vi n)
{
    return (vf)((n + 127) << 23);
}

/* x = n*ln2 + r with |r| <= ln2/2; returns e^r - 1. x must lie in about +-200. */
static inline vf vexp_reduced(vf x, vi *n)
{
    const vf magic = vset1(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    vf t = x * 1.44269504088896341f + magic;
    *n = (vi)t - (vi)magic;
    vf k = t - magic;
    vf r = x - k * 0.693359375f;
    r = r - k * -2.12194440e-4f;
    vf p = 1.9875691500e-4f * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    return p * (r * r) + r;
}

static inline vf vexp(vf x)
{
    x = vmin(vset1(89.0f), vmax(vset1(-104.0f), x));
    vi n;
    vf y = vexp_reduced(x, &n) + 1.0f;
    /* Two steps: 2^n alone overflows at 128 and has no denormals. */
    vi h = n >> 1;
    return y * vpow2i(h) * vpow2i(n - h);
}

/* e^x - 1 without cancellation near 0. */
static inline vf vexpm1(vf x)
{
    vf c = vmin(vset1(89.0f), vmax(vset1(-50.0f), x));
    vi n;
    vf q = vexp_reduced(c, &n);
    vi h = n >> 1;
    vf a = vpow2i(h), b = vpow2i(n - h);
    vf y = (q * a) * b + (a * b - 1.0f);
    /* 2^128 is infinite although e^x - 1 may be finite: add before the second factor. */
    return vselect(n > 127, ((q + 1.0f) * a) * b, vselect(vabs(x) < 1e-8f, x, y));
}

static inline vf vlog(vf x)
{
    const vf inf = vset1(__builtin_inff());
    vi tiny = x < 1.17549435e-38f;
    vf s = vselect(tiny, x * 8388608.0f, x);
    vi e = ((vi)s >> 23) - 126;
    vf m = (vf)(((vi)s & 0x007fffff) | 0x3f000000); /* [0.5, 1) */
    vi low = m < 0.707106781186547524f;
    e = e + low; /* true is -1 */
    m = vselect(low, m + m, m) - 1.0f;
    vf k = __builtin_convertvector(e + (tiny & -23), vf);
    vf z = m * m;
    vf p = 7.0376836292e-2f * m - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    vf y = p * m * z + k * -2.12194440e-4f - 0.5f * z;
    y = m + y + k * 0.693359375f;
    y = vselect(x == inf, x, y);
    y = vselect(x == 0.0f, -inf, y);
    return vselect((x < 0.0f) | (x != x), vset1(__builtin_nanf("")), y);
}

/* log(1 + u) for u >= 0: what rounding 1 + u loses is put back as a factor. */
static inline vf vlog1p_pos(vf u)
{
    vf w = u + 1.0f, d = w - 1.0f;
    return vselect(d == 0.0f, u, vselect(w > 1e30f, vlog(w), vlog(w) * (u / d)));
}

static inline vf vsigmoid(vf x)
{
    return 1.0f / (vexp(-x) + 1.0f);
}

static inline vf vtanh(vf x)
{
    vf c = vmin(vset1(10.0f), vmax(vset1(-10.0f), x));
    vf m = vexpm1(c + c);
    return vcopysign(m / (m + 2.0f), x);
}

/* log(erfc(t)) for t >= 0.92; beyond 4 only good enough for 1 - e^r. */
static inline vf verf_tail(vf t, vf s)
{
    vf r = -1.72853470e-5f * t + 3.83197126e-4f;
    vf u = -3.88396438e-3f * t + 2.42546219e-2f;
    r = r * s + u;
    r = r * t - 1.06777877e-1f;
    r = r * t - 6.34846687e-1f;
    r = r * t - 1.28717512e-1f;
    return r * t - t;
}
static inline vf verf_core(vf x, vf s)
{
    vf r = -5.96761703e-4f * s + 4.99119423e-3f;
    r = r * s - 2.67681349e-2f;
    r = r * s + 1.12819925e-1f;
    r = r * s - 3.76125336e-1f;
    r = r * s + 1.28379166e-1f;
    return r * x + x;
}
static inline vf verf(vf x)
{
    vf t = vmin(vset1(4.0f), vabs(x)), s = t * t; /* erf(4) rounds to 1 */
    vf tail = vcopysign(1.0f - vexp(verf_tail(t, s)), x);
    vf y = vselect(t > 0.927734375f, tail, verf_core(x, s));
    return vselect(x != x, x, y);
}

/* x * Phi(x). Phi comes from erfc on the negative side, so that small results keep their digits. */
static inline vf vgelu(vf x)
{
    vf a = x * 0.707106781186547524f;
    vf t = vmin(vset1(10.0f), vabs(a)), s = t * t;
    vf c = vexp(verf_tail(t, s));
    c = vselect(x < 0.0f, c, 2.0f - c);
    c = vselect(t > 0.927734375f, c, verf_core(a, s) + 1.0f);
    return vselect(x != x, x, 0.5f * x * c);
}
static inline vf vgelu_tanh(vf x)
{
    vf u = x * (1.5957691216057308f + 0.07135481282553155f * (x * x));
    return x * vsigmoid(u);
}
static inline vf vsilu(vf x)
{
    return x / (vexp(-x) + 1.0f);
}
static inline vf vsoftplus(vf x)
{
    return vmax(vset1(0), x) + vlog1p_pos(vexp(-vabs(x)));
}
/* tanh(log(1 + e)) = e(e + 2) / (e(e + 2) + 2) */
static inline vf vmish(vf x)
{
    vf e = vexp(vmin(vset1(30.0f), x)), q = e * (e + 2.0f);
    return x * (q / (q + 2.0f));
}

/* A division takes 16 cycles on most machines with AVX512; one Newton step makes rcp14 exact enough
 * for gates. */
static inline vf vreciprocal_fast(vf x)
{
#if VL == 16
    vf q = (vf)_mm512_rcp14_ps((__m512)x);
    return q * (2.0f - x * q);
#else
    return 1.0f / x;
#endif
}

/* For gates: 1 / (1 + e^-x), absolute error below 2e-7. -x log2(e) is split into an integer, which
 * goes to the exponent bits, and a fraction, for which 2^f is a minimax polynomial. */
static inline vf vsigmoid_fast(vf x)
{
    const vf magic = vset1(12582912.0f);            /* 1.5 * 2^23: adding it rounds to an integer */
    x = vmax(vset1(-87.0f), vmin(vset1(87.0f), x)); /* this order keeps NaN */
    vf n = x * -1.44269504f + magic;
    vi exponent = (vi)n << 23;
    n -= magic;
    vf f = x * -1.44269504f - n;
    vf e = 0.00132647f * f + 0.009671534f;
    e = e * f + 0.05550734f;
    e = e * f + 0.24022242f;
    e = e * f + 0.693147f;
    e = e * f + 1.0f;
    return vreciprocal_fast((vf)((vi)e + exponent) + 1.0f);
}

/* The same for 0 <= x <= 1, error below 7e-8: an odd minimax polynomial about (0, 1/2). */
static inline vf vsigmoid_of_unit(vf x)
{
    vf u = x * x, q = -0.00016942373f * u + 0.002053929f;
    q = q * u - 0.02082541f;
    q = q * u + 0.24999942f;
    return q * x + 0.5f;
}
#endif
