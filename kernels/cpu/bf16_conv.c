/* SPDX-License-Identifier: Apache-2.0
 *
 * bf16 convolution with AVX512-BF16, any kernel size, stride, dilation and padding mode, NHWC.
 *
 * An implicit matrix product on the image itself: 12 output pixels x 32 output channels stay in 24
 * registers; each step takes one pair of input channels of a tap, broadcasts it per pixel and
 * multiplies it with two vectors of weight pairs. In NHWC the taps of one kernel row are one run of
 * memory, so the inner loop crosses them without noticing. 14 loads feed 24 vdpbf16ps: on Zen 5 the
 * loop runs at the peak of the instruction (2 per cycle) with weights in L2.
 * Blocks whose window hangs over a border read a padded copy; rows of zeros are skipped.
 */
#include "kernels/cpu/conv_bf16.h"

enum { P_MAX = 12 };

typedef struct conv_run {
    conv c;
    const conv_state *state;
    char *scratch;
    int64_t run_steps, runs; /* of one kernel row: channel pairs in a run of memory, runs */
    int64_t span;            /* columns that P_MAX outputs read */
    size_t thread_bytes;     /* of scratch: row pointers and the padded copy */
} conv_run;

static inline size_t round_up(size_t bytes)
{
    return (bytes + 63) & ~(size_t)63;
}

/* --- inner loops -------------------------------------------------------------------------------
 */

static inline __m512bh broadcast_pair(const char *p)
{
    int32_t pair;
    memcpy(&pair, p, sizeof pair);
    return (__m512bh)_mm512_set1_epi32(pair);
}

/* acc[p][q] = bias + convolution for `pixels` outputs, `step` bytes apart in the input, and q_n *
 * 16 channels. rows: first pixel of the window in each kernel row, NULL for zeros. */
static inline __attribute__((always_inline)) void
block(const int pixels, const int q_n, const conv_run *run, const char *const *rows, int64_t step,
      const uint16_t *w, const float *bias, vf (*acc)[2])
{
    const int64_t steps = run->run_steps, hop = run->c.dx * run->c.ic * 2;
    __m512 a[P_MAX][2];
#pragma GCC unroll 12
    for (int p = 0; p < pixels; p++)
#pragma GCC unroll 2
        for (int q = 0; q < q_n; q++)
            a[p][q] = _mm512_loadu_ps(bias + q * 16);
    for (int64_t dy = 0; dy < run->c.kh; dy++) {
        const char *in = rows[dy];
        if (!in) {
            w += run->runs * steps * q_n * 32;
            continue;
        }
        for (int64_t dx = 0; dx < run->runs; dx++, in += hop) {
            const char *base[4] = {in, in + 3 * step, in + 6 * step, in + 9 * step};
            for (int64_t k = 0; k < steps; k++, w += q_n * 32) {
                __m512bh w0 = (__m512bh)_mm512_loadu_si512(w), w1 = w0;
                if (q_n == 2)
                    w1 = (__m512bh)_mm512_loadu_si512(w + 32);
#pragma GCC unroll 12
                for (int p = 0; p < pixels; p++) {
                    __m512bh x = broadcast_pair(base[p / 3] + p % 3 * step + k * 4);
                    a[p][0] = _mm512_dpbf16_ps(a[p][0], w0, x);
                    if (q_n == 2)
                        a[p][1] = _mm512_dpbf16_ps(a[p][1], w1, x);
                }
            }
        }
    }
#pragma GCC unroll 12
    for (int p = 0; p < pixels; p++)
#pragma GCC unroll 2
        for (int q = 0; q < q_n; q++)
            acc[p][q] = (vf)a[p][q];
}

typedef void block_fn(const conv_run *run, const char *const *rows, int64_t step, const uint16_t *w,
                      const float *bias, vf (*acc)[2]);
#define BLOCK(p, q)                                                                                \
    static __attribute__((noinline)) void block_##p##x##q(                                         \
        const conv_run *run, const char *const *rows, int64_t step, const uint16_t *w,             \
        const float *bias, vf(*acc)[2])                                                            \
    {                                                                                              \
        block(p, q, run, rows, step, w, bias, acc);                                                \
    }
BLOCK(4, 1)
BLOCK(8, 1)
BLOCK(12, 1)
BLOCK(4, 2)
BLOCK(8, 2)
BLOCK(12, 2)
/* [channels / 16 - 1][pixels / 4 - 1]: 12 divides few widths, the rest goes to shorter blocks. */
static block_fn *const blocks[2][3] = {{block_4x1, block_8x1, block_12x1},
                                       {block_4x2, block_8x2, block_12x2}};

/* --- one output row x 32 channels ----------------------------------------------------------------
 */

static inline void store_block(const conv *c, int64_t at, int n, int q_n, vf (*acc)[2])
{
    const uint16_t *res = c->res ? (const uint16_t *)c->res->data + at : NULL;
    uint16_t *y = (uint16_t *)c->y->data + at;
    for (int p = 0; p < n; p++, y += c->oc) {
        vf a = conv_bf16_finish(&c->post, acc[p][0], res);
        if (q_n == 2) {
            vf b = conv_bf16_finish(&c->post, acc[p][1], res ? res + 16 : NULL);
            _mm512_storeu_si512(y, (__m512i)_mm512_cvtne2ps_pbh((__m512)b, (__m512)a));
        } else
            _mm256_storeu_si256((__m256i *)y, (__m256i)_mm512_cvtneps_pbh((__m512)a));
        if (res)
            res += c->oc;
    }
}

/* Where the window that starts at column x0 begins in each kernel row: in the image or, if it hangs
 * over a border, in a padded copy of `span` columns. */
static void find_windows(const conv_run *run, const char *const *rows, int64_t x0, int64_t span,
                         uint16_t *copy, const char **window)
{
    const conv *c = &run->c;
    const bool inside = x0 >= 0 && x0 + span <= c->iw;
    for (int64_t dy = 0; dy < c->kh; dy++, copy += run->span * c->ic) {
        if (rows[dy] && inside)
            window[dy] = rows[dy] + x0 * c->ic * 2;
        else if (rows[dy]) {
            conv_bf16_gather(copy, (const uint16_t *)rows[dy], x0, span, c->iw, c->ic, c->pad_mode);
            window[dy] = (const char *)copy;
        } else
            window[dy] = NULL;
    }
}

static void do_row(const conv_run *run, int64_t row, int64_t ob, char *scratch)
{
    const conv *c = &run->c;
    const uint16_t *image = (const uint16_t *)c->x->data + row / c->oh * c->ih * c->iw * c->ic;
    const uint16_t *w = (const uint16_t *)run->state->weights.data + ob * c->kh * c->kw * c->ic;
    const int q_n = c->oc - ob < 32 ? 1 : 2;
    const char **rows = (const char **)scratch, **window = rows + c->kh;
    uint16_t *copy = (uint16_t *)(scratch + round_up(2 * (size_t)c->kh * sizeof *rows));
    for (int64_t dy = 0; dy < c->kh; dy++) {
        int64_t y = conv_map(row % c->oh * c->sy - c->pt + dy * c->dy, c->ih, c->pad_mode);
        rows[dy] = y < 0 ? NULL : (const char *)(image + y * c->iw * c->ic);
    }
    for (int64_t x = 0, n; x < c->ow; x += n) {
        int pixels = c->ow - x > 8 ? 12 : c->ow - x > 4 ? 8 : 4;
        n = c->ow - x < pixels ? c->ow - x : pixels;
        find_windows(run, rows, x * c->sx - c->pl, run->span - (P_MAX - pixels) * c->sx, copy,
                     window);
        vf acc[P_MAX][2];
        blocks[q_n - 1][pixels / 4 - 1](run, window, c->sx * c->ic * 2, w, run->state->bias + ob,
                                        acc);
        store_block(c, (row * c->ow + x) * c->oc + ob, (int)n, q_n, acc);
    }
}

static void do_units(void *ctx, int64_t begin, int64_t end, int thread)
{
    const conv_run *run = ctx;
    int64_t groups = (run->c.oc + 31) / 32;
    for (int64_t i = begin; i < end; i++)
        do_row(run, i / groups, i % groups * 32, run->scratch + (size_t)thread * run->thread_bytes);
}

/* --- the kernel
 * ------------------------------------------------------------------------------------ */

static conv_run run_of(const rf_op_args *args)
{
    conv_run run = {.c = conv_of(args)};
    const conv *c = &run.c;
    const bool dense = c->dx == 1;
    run.runs = dense ? 1 : c->kw;
    run.run_steps = c->ic / 2 * (dense ? c->kw : 1);
    run.span = (P_MAX - 1) * c->sx + (c->kw - 1) * c->dx + 1;
    run.thread_bytes = round_up(2 * (size_t)c->kh * sizeof(char *)) +
                       round_up((size_t)(c->kh * run.span * c->ic) * 2);
    return run;
}

/* [oc / 32][kh][kw][ic / 2][32][2]; a last group of 16 channels has [16][2]. */
static rf_status pack_weights(void *ctx, void *dst, rf_error *err)
{
    (void)err;
    const rf_tensor *w = ctx;
    int64_t oc = w->dims[0], ic = w->dims[1], taps = w->dims[2] * w->dims[3];
    for (int64_t o = 0; o < oc; o++) {
        int64_t ob = o / 32 * 32, width = oc - ob < 32 ? 16 : 32;
        uint16_t *group = (uint16_t *)dst + ob * taps * ic;
        for (int64_t i = 0; i < ic; i++)
            for (int64_t t = 0; t < taps; t++)
                group[((t * (ic / 2) + i / 2) * width + o - ob) * 2 + i % 2] =
                    rf_f32_to_bf16(conv_at(w, (o * ic + i) * taps + t));
    }
    return RF_OK;
}

static bool can(const rf_kernel_desc *desc)
{
    const conv c = conv_of(&desc->args);
    return conv_bf16_can(&c) && c.ic % 2 == 0 && c.oc % 16 == 0;
}

static size_t scratch(const rf_kernel_desc *desc)
{
    return run_of(&desc->args).thread_bytes * (size_t)desc->n_threads;
}

static rf_status prepare(const rf_kernel_desc *desc, void **out_state, rf_error *err)
{
    const conv c = conv_of(&desc->args);
    return conv_state_create(desc, c.w, c.b, c.oc, c.oc, "cpu.bf16_conv",
                             (size_t)rf_tensor_elements(c.w) * 2, pack_weights, (void *)c.w,
                             out_state, err);
}

static rf_status run_conv(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    conv_run run = run_of(&call->args);
    run.state = call->state;
    run.scratch = call->scratch;
    rf_parallel_for(call->n_threads, run.c.n * run.c.oh * ((run.c.oc + 31) / 32), 1, do_units,
                    &run);
    return RF_OK;
}

static const rf_kernel bf16_conv = {
    .op = RF_OP_CONV2D,
    .name = "bf16_conv",
    .why = "bf16 NHWC by vdpbf16ps, residual and activation fused",
    .usable = rf_cpu_has_avx512_bf16,
    .can = can,
    .scratch = scratch,
    .prepare = prepare,
    .release = conv_state_release,
    .run = run_conv,
    .by_rows = true,
    .in_place = 1u << 3,
};

const rf_kernel *const RF_CPU_ROWS(bf16_conv)[] = {&bf16_conv, NULL};
