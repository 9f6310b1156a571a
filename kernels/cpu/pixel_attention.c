/* SPDX-License-Identifier: Apache-2.0
 *
 * Pixel attention with its gate (r*p + x) or mix (r + q*x + (1-q)*y) in one pass over NHWC images.
 *
 *   conv([r_c, s + ca_c]; w) = conv(r_c; w0) + conv(s; w1) + ca_c * sum(w1)
 *
 * so the tensor s + ca never exists, and p exists only in registers. s, one plane, is made first.
 *
 * The work is cut into strips of N columns x up to 32 rows; within a strip, VL channels at a time
 * slide down the rows. Each new input row is copied to a ring of 8 rows in L1: NHWC itself steps a
 * power of two bytes per pixel, which maps a 7 x 22 window to a few cache sets only. The copy also
 * reflects the borders and widens bf16, so there is one inner loop for all cases. There, a value is
 * loaded once and used for all taps of its row: 14 FMAs for one vector load and one broadcast.
 *
 * bf16 images on AVX512-BF16: the ring holds pairs (r, s) and the weights are pairs (w0, w1), so
 * one vdpbf16ps does both halves of a tap: 49 instructions per vector instead of 98. s and w are
 * rounded to bf16 there, sums stay f32.
 *
 * Channels that are no whole vector at the end are loaded and stored in part; their weights have
 * zeros in the other lanes.
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/pack.h"
#include "kernels/cpu/vecmath.h"
#include "runtime/base/half.h"

enum {
    N = VL == 16 ? 16 : 8, /* pixels of a block: as many accumulators as the register file allows */
    K_MAX = 7,
    RING = 8, /* rows, a power of two > K_MAX - 1 */
    STRIP_ROWS = 32,
};

/* How r comes and what the ring holds. */
typedef enum form { FORM_F32, FORM_BF16, FORM_DOT } form;

typedef struct pa_state {
    rf_cpu_pack pack; /* [vectors of C][k * k][2][VL] floats, or [..][VL] pairs; then sum(w1) of
                         each channel */
    int k;
    float sa_b, sa_w[2 * K_MAX * K_MAX];
} pa_state;

typedef struct pa_run {
    const rf_kernel_call *call;
    const pa_state *state;
    form form;
    int radius;
    int64_t n, c, h, w, pitch;
    int64_t lanes; /* c in whole vectors */
    float *init;   /* [n][lanes]: bias + ca * sum(w1) */
    float *mean, *max,
        *s; /* [n * h][pitch], columns padded by reflection; FORM_DOT: s holds bf16 << 16 */
} pa_run;

static inline int64_t whole_vectors(int64_t channels)
{
    return (channels + VL - 1) / VL * VL;
}

static inline int64_t reflect(int64_t i, int64_t n)
{
    return i < 0 ? -i : i >= n ? 2 * n - 2 - i : i;
}

static inline float get(const rf_tensor *t, int64_t i)
{
    return t->dtype == RF_F32 ? ((const float *)t->data)[i]
                              : rf_bf16_to_f32(((const uint16_t *)t->data)[i]);
}

/* --- s ---------------------------------------------------------------------------------------- */

static void pad_columns(float *row, int64_t w, int radius)
{
    for (int k = 1; k <= radius; k++) {
        row[radius - k] = row[radius + k];
        row[radius + w - 1 + k] = row[radius + w - 1 - k];
    }
}

static void copy_map_row(const pa_run *run, int64_t row)
{
    const rf_tensor *map = run->call->args.in[1];
    int64_t at = row / run->h * map->strides[0] + row % run->h * map->strides[2];
    for (int ch = 0; ch < 2; ch++, at += map->strides[1]) {
        float *out = (ch ? run->max : run->mean) + row * run->pitch;
        if (map->dtype == RF_F32 && map->strides[3] == 1)
            memcpy(out + run->radius, (const float *)map->data + at, (size_t)run->w * sizeof *out);
        else
            for (int64_t j = 0; j < run->w; j++)
                out[run->radius + j] = get(map, at + j * map->strides[3]);
        pad_columns(out, run->w, run->radius);
    }
}

/* Whole vectors: what lies beyond the width is garbage in, garbage out, and padded over. */
static void make_s_row(const pa_run *run, int64_t row)
{
    const int k = run->state->k;
    float *out = run->s + row * run->pitch;
    int64_t first = row - row % run->h;
    for (int64_t j = 0; j < run->w; j += 4 * VL) {
        vf a[4] = {vset1(run->state->sa_b), vset1(run->state->sa_b), vset1(run->state->sa_b),
                   vset1(run->state->sa_b)};
        const float *weight = run->state->sa_w;
        for (int ch = 0; ch < 2; ch++)
            for (int dy = 0; dy < k; dy++) {
                int64_t y = first + reflect(row - first + dy - run->radius, run->h);
                const float *in = (ch ? run->max : run->mean) + y * run->pitch + j;
                for (int dx = 0; dx < k; dx++, in++) {
                    vf v = vset1(*weight++);
                    for (int i = 0; i < 4; i++)
                        a[i] += v * vload(in + i * VL);
                }
            }
        for (int i = 0; i < 4; i++)
            vstore(out + run->radius + j + i * VL, a[i]);
    }
    pad_columns(out, run->w, run->radius);
    if (run->form == FORM_DOT)
        for (int64_t j = 0; j < run->w + 2 * run->radius; j++) {
            uint32_t u = (uint32_t)rf_f32_to_bf16(out[j]) << 16;
            memcpy(out + j, &u, sizeof u);
        }
}

/* --- blocks of N pixels x VL channels ----------------------------------------------------------
 */

/* The first `lanes` channels of a vector, VL (a constant in the callers that matter) or fewer. */
static inline __attribute__((always_inline)) vf load_lanes(const void *p, int64_t i, bool bf16,
                                                           int lanes)
{
    return lanes == VL ? vload_as(p, i, bf16) : vload_part_as(p, i, bf16, lanes);
}

/* Columns col - radius ... of one row of r into a ring row, from channel c0 on. */
static inline __attribute__((always_inline)) void fill_row(const pa_run *run, form form,
                                                           int64_t row, int64_t col, int64_t c0,
                                                           int lanes, const float *s, float *out)
{
    const int n = N + 2 * run->radius;
    const char *r = run->call->args.in[0]->data;
    const int64_t bytes = form == FORM_F32 ? 4 : 2, step = run->c * bytes;
    bool inside = col >= run->radius && col + N + run->radius <= run->w;
    r += row * run->w * step + c0 * bytes;
    const char *in = r + (col - run->radius) * step;
    for (int p = 0; p < n; p++, in += step, out += VL) {
        if (!inside) {
            int64_t x = reflect(col + p - run->radius, run->w);
            in = r + (x < 0 || x >= run->w ? 0 : x) * step; /* of no use if so far outside */
        }
        if (form != FORM_DOT) {
            vstore(out, load_lanes(in, 0, form != FORM_F32, lanes));
            continue;
        }
        uint32_t s_bits;
        memcpy(&s_bits, s + p, sizeof s_bits);
        vu bits = lanes == VL ? __builtin_convertvector(*(const vh_unaligned *)in, vu)
                              : (vu)vload_bf16_part((const uint16_t *)in, lanes) >> 16;
        vstore(out, (vf)(bits | s_bits));
    }
}

/* acc[p] = init + both halves of the convolution for N pixels. r: rows of the ring, s: rows of s.
 */
static inline __attribute__((always_inline)) void block_fma(const int k, const float *const *r,
                                                            const float *const *s, const float *w,
                                                            vf init, vf *acc)
{
    vf a[N];
#pragma GCC unroll 16
    for (int p = 0; p < N; p++)
        a[p] = init;
    for (int dy = 0; dy < k; dy++, w += k * 2 * VL) {
        const float *ry = r[dy], *sy = s[dy];
#pragma GCC unroll 22
        for (int j = 0; j < N + k - 1; j++) {
            vf rv = vload(ry + j * VL), sv = vset1(sy[j]);
#pragma GCC unroll 7
            for (int t = 0; t < k; t++)
                if (j - t >= 0 && j - t < N) {
                    a[j - t] += vload(w + t * 2 * VL) * rv;
                    a[j - t] += vload(w + t * 2 * VL + VL) * sv;
                }
        }
    }
#pragma GCC unroll 16
    for (int p = 0; p < N; p++)
        acc[p] = a[p];
}

#if VL == 16
static inline __attribute__((always_inline, target("avx512bf16"))) void
block_dot(const int k, const float *const *r, const float *w, vf init, vf *acc)
{
    __m512 a[N];
#pragma GCC unroll 16
    for (int p = 0; p < N; p++)
        a[p] = (__m512)init;
    for (int dy = 0; dy < k; dy++, w += k * VL) {
        const float *ry = r[dy];
#pragma GCC unroll 22
        for (int j = 0; j < N + k - 1; j++) {
            __m512bh rv = (__m512bh)vload(ry + j * VL);
#pragma GCC unroll 7
            for (int t = 0; t < k; t++)
                if (j - t >= 0 && j - t < N)
                    a[j - t] = _mm512_dpbf16_ps(a[j - t], (__m512bh)vload(w + t * VL), rv);
        }
    }
#pragma GCC unroll 16
    for (int p = 0; p < N; p++)
        acc[p] = (vf)a[p];
}

#define BLOCK_DOT(k)                                                                               \
    static __attribute__((target("avx512bf16"), noinline)) void block_dot_##k(                     \
        const float *const *r, const float *const *s, const float *w, vf init, vf *acc)            \
    {                                                                                              \
        (void)s;                                                                                   \
        block_dot(k, r, w, init, acc);                                                             \
    }
BLOCK_DOT(1)
BLOCK_DOT(3)
BLOCK_DOT(5)
BLOCK_DOT(7)
#endif

#define BLOCK_FMA(k)                                                                               \
    static __attribute__((noinline)) void block_fma_##k(                                           \
        const float *const *r, const float *const *s, const float *w, vf init, vf *acc)            \
    {                                                                                              \
        block_fma(k, r, s, w, init, acc);                                                          \
    }
BLOCK_FMA(1)
BLOCK_FMA(3)
BLOCK_FMA(5)
BLOCK_FMA(7)

/* By k / 2. One function per size: together, the compiler moves what they share across calls of
 * its own making and spills registers for it. */
typedef void block_fn(const float *const *r, const float *const *s, const float *w, vf init,
                      vf *acc);
static block_fn *const blocks_fma[] = {block_fma_1, block_fma_3, block_fma_5, block_fma_7};
#if VL == 16
static block_fn *const blocks_dot[] = {block_dot_1, block_dot_3, block_dot_5, block_dot_7};
#endif

static inline __attribute__((always_inline)) void store_bf16(uint16_t *p, vf v, form form,
                                                             int lanes)
{
#if VL == 16
    if (form == FORM_DOT) { /* where vdpbf16ps is, there is its conversion; tiny values become 0 */
        __m256i h;
        __asm__("vcvtneps2bf16 %1, %0" : "=v"(h) : "v"(v));
        if (lanes == VL)
            _mm256_storeu_si256((__m256i *)p, h);
        else
            _mm256_mask_storeu_epi16(p, (__mmask16)((1u << lanes) - 1), h);
        return;
    }
#endif
    (void)form;
    if (lanes == VL)
        vstore_bf16(p, v);
    else
        vstore_bf16_part(p, v, lanes);
}

/* n finished pixels from element `at` on; r: their values in the ring. */
static inline __attribute__((always_inline)) void finish(const pa_run *run, form form, bool mix,
                                                         int64_t at, int n, int lanes,
                                                         const float *r, const vf *acc)
{
    const rf_op_args *args = &run->call->args;
    const void *x = args->in[7]->data, *y = mix ? args->in[8]->data : NULL;
    void *out = args->out[0]->data;
    for (int p = 0; p < n; p++, at += run->c, r += VL) {
        vf g = vsigmoid_fast(acc[p]), rv = vload(r);
        if (form == FORM_DOT)
            rv = (vf)((vu)rv << 16);
        vf xv = load_lanes(x, at, form != FORM_F32, lanes);
        vf v = rv * g + xv;
        if (mix) {
            vf yv = load_lanes(y, at, form != FORM_F32, lanes);
            g = vsigmoid_of_unit(g);
            v = rv + g * xv + (1.0f - g) * yv;
        }
        if (form != FORM_F32)
            store_bf16((uint16_t *)out + at, v, form, lanes);
        else if (lanes == VL)
            vstore((float *)out + at, v);
        else
            vstore_part((float *)out + at, v, lanes);
    }
}

/* n pixels of VL channels, `step` bytes apart, to L1. */
static inline void prefetch(const char *p, int64_t step, int64_t n)
{
    for (int64_t i = 0; i < n; i++, p += step)
        __builtin_prefetch(p);
}

/* What the row below y will read, while y keeps the FMA units busy: a block is longer than the
 * window of out-of-order execution, so its loads would not start before its sums are done. */
static inline void prefetch_next(const pa_run *run, form form, bool mix, int64_t b, int64_t y,
                                 int64_t col, int64_t c0, int n)
{
    const rf_op_args *args = &run->call->args;
    const int64_t bytes = form == FORM_F32 ? 4 : 2, step = run->c * bytes, row = b * run->h + y + 1;
    const int64_t at = (row * run->w + col) * step + c0 * bytes;
    prefetch((const char *)args->in[7]->data + at, step, n);
    if (mix)
        prefetch((const char *)args->in[8]->data + at, step, n);
    if (y + 1 + run->radius < run->h)
        prefetch((const char *)args->in[0]->data + at + run->radius * run->w * step, step,
                 run->w - col < N + run->radius ? run->w - col : N + run->radius);
}

/* Rows [y0, y1) of image b, columns [col, col + N), channels [c0, c0 + lanes). */
static inline __attribute__((always_inline)) void strip_of(const pa_run *run, form form, bool mix,
                                                           int64_t b, int64_t y0, int64_t y1,
                                                           int64_t col, int64_t c0, int lanes)
{
    float ring[RING][(N + K_MAX - 1) * VL] __attribute__((aligned(64)));
    const int k = run->state->k, radius = run->radius;
    const float *w = (const float *)run->state->pack.data + c0 * k * k * (form == FORM_DOT ? 1 : 2);
#if VL == 16
    block_fn *block = form == FORM_DOT ? blocks_dot[radius] : blocks_fma[radius];
#else
    block_fn *block = blocks_fma[radius];
#endif
    const float *r[K_MAX], *s[K_MAX];
    vf init = vload(run->init + b * run->lanes + c0), acc[N];
    int n = run->w - col < N ? (int)(run->w - col) : N;
    for (int64_t y = y0 - 2 * radius; y < y1; y++) {
        int64_t row = b * run->h + reflect(y + radius, run->h); /* the lowest row that y needs */
        fill_row(run, form, row, col, c0, lanes, run->s + row * run->pitch + col,
                 ring[(y - y0 + 2 * radius) % RING]);
        if (y < y0)
            continue;
        for (int dy = 0; dy < k; dy++) {
            r[dy] = ring[(y - y0 + dy) % RING];
            s[dy] = run->s + (b * run->h + reflect(y + dy - radius, run->h)) * run->pitch + col;
        }
        if (y + 1 < y1)
            prefetch_next(run, form, mix, b, y, col, c0, n);
        block(r, s, w, init, acc);
        int64_t at = ((b * run->h + y) * run->w + col) * run->c + c0;
        finish(run, form, mix, at, n, lanes, r[radius] + radius * VL, acc);
    }
}

static inline __attribute__((always_inline)) void strip(const pa_run *run, form form, bool mix,
                                                        int64_t b, int64_t y0, int64_t y1,
                                                        int64_t col, int64_t c0)
{
    if (c0 + VL <= run->c)
        strip_of(run, form, mix, b, y0, y1, col, c0, VL);
    else
        strip_of(run, form, mix, b, y0, y1, col, c0, (int)(run->c - c0));
}

static void do_strip(const pa_run *run, int64_t index)
{
    int64_t columns = (run->w + N - 1) / N, strips = (run->h + STRIP_ROWS - 1) / STRIP_ROWS;
    int64_t col = index % columns * N, y0 = index / columns % strips * STRIP_ROWS;
    int64_t b = index / columns / strips;
    int64_t y1 = y0 + STRIP_ROWS < run->h ? y0 + STRIP_ROWS : run->h;
    bool mix = run->call->args.attrs->pixel_attention.mode == RF_PA_MIX;
    for (int64_t c0 = 0; c0 < run->c; c0 += VL)
        if (run->form == FORM_F32 && mix)
            strip(run, FORM_F32, true, b, y0, y1, col, c0);
        else if (run->form == FORM_F32)
            strip(run, FORM_F32, false, b, y0, y1, col, c0);
        else if (run->form == FORM_BF16 && mix)
            strip(run, FORM_BF16, true, b, y0, y1, col, c0);
        else if (run->form == FORM_BF16)
            strip(run, FORM_BF16, false, b, y0, y1, col, c0);
#if VL == 16
        else if (mix)
            strip(run, FORM_DOT, true, b, y0, y1, col, c0);
        else
            strip(run, FORM_DOT, false, b, y0, y1, col, c0);
#endif
}

static void run_thread(void *ctx, int thread, int n_threads)
{
    const pa_run *run = ctx;
    int64_t begin, end, columns = (run->w + N - 1) / N;
    rf_split(run->n * run->h, 1, thread, n_threads, &begin, &end);
    for (int64_t row = begin; row < end; row++)
        copy_map_row(run, row);
    rf_parallel_barrier();
    for (int64_t row = begin; row < end; row++)
        make_s_row(run, row);
    rf_parallel_barrier();
    rf_split(run->n * columns * ((run->h + STRIP_ROWS - 1) / STRIP_ROWS), 1, thread, n_threads,
             &begin, &end);
    for (int64_t i = begin; i < end; i++)
        do_strip(run, i);
}

/* --- the kernel --------------------------------------------------------------------------------
 */

typedef struct pack_ctx {
    const rf_tensor *w;
    bool dot;
} pack_ctx;

static rf_status pack_weights(void *ctx, void *dst, rf_error *err)
{
    (void)err;
    const pack_ctx *p = ctx;
    int64_t c = p->w->dims[0], taps = p->w->dims[2] * p->w->dims[3];
    float *sums = (float *)dst + whole_vectors(c) * taps * (p->dot ? 1 : 2);
    if (c % VL) /* the lanes that no channel has */
        memset(dst, 0, (size_t)((char *)(sums + whole_vectors(c)) - (char *)dst));
    for (int64_t i = 0; i < c; i++) {
        double sum = 0;
        for (int64_t t = 0; t < taps; t++) {
            float w0 = get(p->w, i * 2 * taps + t), w1 = get(p->w, (i * 2 + 1) * taps + t);
            int64_t at = i / VL * taps + t, lane = i % VL;
            if (p->dot)
                ((uint32_t *)dst)[at * VL + lane] =
                    (uint32_t)rf_f32_to_bf16(w1) << 16 | rf_f32_to_bf16(w0);
            else {
                ((float *)dst)[at * 2 * VL + lane] = w0;
                ((float *)dst)[(at * 2 + 1) * VL + lane] = w1;
            }
            sum += (double)w1;
        }
        sums[i] = (float)sum;
    }
    return RF_OK;
}

static const char *const TAGS[] = {"cpu.pixel_attention." RF_CPU_ISA_TEXT,
                                   "cpu.pixel_attention_bf16." RF_CPU_ISA_TEXT};

static rf_status prepare(const rf_kernel_desc *desc, bool dot, void **out_state, rf_error *err)
{
    const rf_tensor *sa_w = desc->args.in[3], *pa_w = desc->args.in[5];
    int64_t c = pa_w->dims[0], taps = pa_w->dims[2] * pa_w->dims[3];
    pa_state *state;
    RF_TRY(rf_alloc_array(desc->env, 1, sizeof *state, &state, err));
    size_t bytes = (size_t)(whole_vectors(c) * (taps * (dot ? 1 : 2) + 1)) * sizeof(float);
    pack_ctx ctx = {pa_w, dot};
    rf_status status =
        rf_cpu_pack_get(desc, pa_w->data, TAGS[dot], bytes, pack_weights, &ctx, &state->pack, err);
    if (status != RF_OK) {
        rf_free(desc->env, state, sizeof *state);
        return status;
    }
    state->k = (int)sa_w->dims[2];
    state->sa_b = get(desc->args.in[4], 0);
    for (int64_t i = 0; i < 2 * taps; i++)
        state->sa_w[i] = get(sa_w, i);
    *out_state = state;
    return RF_OK;
}

static rf_status prepare_fma(const rf_kernel_desc *desc, void **out_state, rf_error *err)
{
    return prepare(desc, false, out_state, err);
}

static void release(rf_env *env, void *state_ptr)
{
    pa_state *state = state_ptr;
    rf_cpu_pack_release(env, &state->pack);
    rf_free(env, state, sizeof *state);
}

/* Pitch of the padded planes: blocks of 4 VL columns and the border, read in whole vectors. */
static int64_t plane_pitch(int64_t w)
{
    return (w + 4 * VL - 1) / (4 * VL) * 4 * VL + 16;
}

static size_t scratch(const rf_kernel_desc *desc)
{
    const rf_tensor *r = desc->args.in[0];
    int64_t plane = r->dims[0] * r->dims[2] * plane_pitch(r->dims[3]);
    return (size_t)(3 * plane + r->dims[0] * whole_vectors(r->dims[1])) * sizeof(float);
}

static rf_status run_form(const rf_kernel_call *call, form form)
{
    const rf_tensor *r = call->args.in[0], *ca = call->args.in[2], *bias = call->args.in[6];
    const pa_state *state = call->state;
    pa_run run = {.call = call, .state = state, .form = form, .radius = state->k / 2};
    run.n = r->dims[0], run.c = r->dims[1], run.h = r->dims[2], run.w = r->dims[3];
    run.pitch = plane_pitch(run.w);
    run.lanes = whole_vectors(run.c);
    int64_t plane = run.n * run.h * run.pitch, taps = (int64_t)state->k * state->k;
    run.mean = call->scratch;
    run.max = run.mean + plane;
    run.s = run.max + plane;
    run.init = run.s + plane;
    const float *sums =
        (const float *)state->pack.data + run.lanes * taps * (form == FORM_DOT ? 1 : 2);
    for (int64_t b = 0; b < run.n; b++)
        for (int64_t c = 0; c < run.lanes; c++)
            run.init[b * run.lanes + c] =
                c < run.c
                    ? get(bias, c) + get(ca, b * ca->strides[0] + c * ca->strides[1]) * sums[c]
                    : 0;
    rf_parallel(call->n_threads, run_thread, &run);
    return RF_OK;
}

static rf_status run_fma(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    return run_form(call, call->args.in[0]->dtype == RF_F32 ? FORM_F32 : FORM_BF16);
}

static bool is_small_float(const rf_tensor *t)
{
    return t->dtype == RF_F32 || t->dtype == RF_BF16;
}

static bool is_constant(const rf_tensor *t)
{
    return t->data && is_small_float(t) && rf_tensor_is_contiguous(t);
}

static bool can(const rf_kernel_desc *desc)
{
    const rf_op_args *args = &desc->args;
    const rf_tensor *r = args->in[0], *out = args->out[0];
    int64_t k = args->in[3]->dims[2];
    if (!is_small_float(r) || !rf_tensor_is_nhwc(r) || !r->dims[1])
        return false;
    if (k > K_MAX || k % 2 == 0 || args->in[3]->dims[3] != k || args->in[5]->dims[2] != k ||
        args->in[5]->dims[3] != k || r->dims[2] <= k / 2 || r->dims[3] <= k / 2)
        return false;
    for (int i = 3; i <= 6; i++)
        if (!is_constant(args->in[i]))
            return false;
    for (int i = 7; i < args->n_in; i++)
        if (args->in[i] && (args->in[i]->dtype != r->dtype || !rf_tensor_is_nhwc(args->in[i])))
            return false;
    return is_small_float(args->in[1]) && is_small_float(args->in[2]) && out->dtype == r->dtype &&
           rf_tensor_is_nhwc(out);
}

static const rf_kernel pixel_attention = {
    .op = RF_OP_PIXEL_ATTENTION,
    .name = "pixel_attention",
    .why = "NHWC, k <= 7, both convolutions and the gate in one pass",
    .can = can,
    .scratch = scratch,
    .prepare = prepare_fma,
    .release = release,
    .run = run_fma,
    .in_place = 1u << 7 | 1u << 8,
};

#if VL == 16
static bool can_dot(const rf_kernel_desc *desc)
{
    return desc->args.in[0]->dtype == RF_BF16 && can(desc);
}

static rf_status prepare_dot(const rf_kernel_desc *desc, void **out_state, rf_error *err)
{
    return prepare(desc, true, out_state, err);
}

static rf_status run_dot(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    return run_form(call, FORM_DOT);
}

static const rf_kernel pixel_attention_dot = {
    .op = RF_OP_PIXEL_ATTENTION,
    .name = "pixel_attention_bf16",
    .why = "bf16 NHWC, k <= 7, (r, s) pairs through vdpbf16ps",
    .usable = rf_cpu_has_avx512_bf16,
    .can = can_dot,
    .scratch = scratch,
    .prepare = prepare_dot,
    .release = release,
    .run = run_dot,
    .in_place = 1u << 7 | 1u << 8,
};

const rf_kernel *const RF_CPU_ROWS(pixel_attention)[] = {&pixel_attention_dot, &pixel_attention,
                                                         NULL};
#else
const rf_kernel *const RF_CPU_ROWS(pixel_attention)[] = {&pixel_attention, NULL};
#endif
