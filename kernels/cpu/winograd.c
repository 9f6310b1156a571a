/* SPDX-License-Identifier: Apache-2.0
 *
 * 3x3 stride-1 convolution by Winograd's F(4x4, 3x3): a 4x4 block of outputs needs 36 products per
 * channel pair instead of 144. Source: Lavin and Gray, arXiv 1509.09308; points 0, +-1, +-2, inf.
 *
 * Per thread and block of tiles: V = B^T d B for all input channels, then for each block of output
 * channels 36 products M = V U and at once y = A^T M A with bias, activation and residual. M of one
 * channel block stays in the first caches and U is read once per block of tiles, strictly forward.
 * The 36 planes of V and M are an odd number of cache lines apart: at a power of two the 36 stores
 * of one transform would all fall into one cache set.
 *
 * Activations may be f32 or bf16 in memory, the arithmetic is f32. U is four times as large as the
 * filters: between bf16 maps it is kept in f16 (of their own precision or better: 11 bits), and
 * a panel becomes f32 when a block of tiles comes to it. The error is about 3 times that of a plain
 * f32 sum, so a session that asks for `exact` does not get this kernel.
 */
#include "kernels/cpu/conv_common.h"
#include "kernels/cpu/gemm.h"

#include <math.h>

/* GRAIN: tiles are dealt to threads in pieces of so many. Fewer than a register block, because the
 * stripes of a picture are few blocks each and no thread should wait for one more of another. */
enum { POINTS = 36, GRAIN = 4 };

typedef struct wino {
    conv c;
    int64_t tiles_x, tiles_y, n_tiles; /* n_tiles: over the batch */
    int64_t block;                     /* tiles at a time, a multiple of GEMM_MR */
    int64_t v_plane, m_plane;          /* floats from one of the 36 planes to the next */
    int64_t n_ob;                      /* blocks of GEMM_NB output channels */
    bool half;                         /* U is kept in f16 */
    float unscale;                     /* what f16 elements are multiplied with */
    const void *u;                     /* float or f16 */
    const float *bias;
    float *scratch;
    size_t thread_floats;
} wino;

/* Elements of a plane, rounded to an odd number of cache lines. */
static int64_t odd_lines(int64_t floats)
{
    return ((floats + 15) / 16 | 1) * 16;
}

static wino wino_of(const rf_op_args *args)
{
    wino w = {.c = conv_of(args)};
    const conv *c = &w.c;
    w.tiles_x = (c->ow + 3) / 4;
    w.tiles_y = (c->oh + 3) / 4;
    w.n_tiles = w.tiles_x * w.tiles_y * c->n;
    w.n_ob = (c->oc + GEMM_NB - 1) / GEMM_NB;
    /* V and M in about half of the second cache; at least two register blocks, so that each panel
     * of U serves twice from the first cache. */
    int64_t tile_bytes = POINTS * (c->ic + GEMM_NB) * (int64_t)sizeof(float);
    int64_t fit = (int64_t)(rf_cpu_get_features()->l2_bytes / 2) / tile_bytes / GEMM_MR;
    w.block = GEMM_MR * (fit < 2 ? 2 : fit > 8 ? 8 : fit);
    w.v_plane = odd_lines(w.block * c->ic);
    w.m_plane = odd_lines(w.block * GEMM_NB);
    w.half = HAVE_F16 && c->x->dtype == RF_BF16 && c->y->dtype == RF_BF16;
    w.thread_floats = (size_t)(POINTS * (w.v_plane + w.m_plane) + (w.half ? c->ic * GEMM_NB : 0));
    return w;
}

/* ---- transforms -------------------------------------------------------------------------------
 */

/* One dimension of B^T d. */
static inline __attribute__((always_inline)) void transform_b(const vf d[6], vf o[6])
{
    vf a = d[4] - 4.0f * d[2], b = d[3] - 4.0f * d[1];
    vf e = d[4] - d[2], f = 2.0f * (d[3] - d[1]);
    o[0] = 4.0f * d[0] + (d[4] - 5.0f * d[2]);
    o[1] = a + b;
    o[2] = a - b;
    o[3] = e + f;
    o[4] = e - f;
    o[5] = 4.0f * d[1] + (d[5] - 5.0f * d[3]);
}

/* One dimension of A^T m. */
static inline __attribute__((always_inline)) void transform_a(const vf m[6], vf o[4])
{
    vf p = m[1] + m[2], n = m[1] - m[2], t = m[3] + m[4], u = m[3] - m[4];
    o[0] = m[0] + (p + t);
    o[1] = n + 2.0f * u;
    o[2] = p + 4.0f * t;
    o[3] = (n + 8.0f * u) + m[5];
}

/* Where the six rows of a line of tiles come from: element offsets into x, and an all-ones mask for
 * the column offset; a row outside reads `zeros` with mask 0. */
typedef struct in_rows {
    const char *row[6];
    int64_t mask[6];
} in_rows;

static const float zeros[VL];

static in_rows find_rows(const conv *c, int64_t image, int64_t ty, int64_t elem_bytes)
{
    in_rows r;
    for (int i = 0; i < 6; i++) {
        int64_t y = conv_map(ty * 4 - c->pt + i, c->ih, c->pad_mode);
        r.row[i] = y < 0 ? (const char *)zeros
                         : (const char *)c->x->data +
                               (image * c->x->strides[0] + y * c->x->strides[2]) * elem_bytes;
        r.mask[i] = y < 0 ? 0 : -1;
    }
    return r;
}

/* Tiles [tx, tx + n) of one line of tiles, stored from column `at` of V. Neighbouring tiles share
 * two columns, so the vertical half is done once per column, in a ring of eight columns. */
static inline __attribute__((always_inline)) void
line_in(const wino *w, const in_rows *rows, int64_t tx, int64_t n, float *v, const bool bf16)
{
    const conv *c = &w->c;
    const int64_t pixel = c->x->strides[3], x0 = tx * 4 - c->pl;
    const int64_t elem_bytes = bf16 ? 2 : 4;
    for (int64_t ch = 0; ch < c->ic; ch += VL) {
        vf ring[8][6];
        for (int64_t j = 0; j < n * 4 + 2; j++) {
            vf *col = ring[j & 7];
            int64_t x = conv_map(x0 + j, c->iw, c->pad_mode);
            if (x < 0) {
                for (int i = 0; i < 6; i++)
                    col[i] = vset1(0);
            } else {
                const int64_t at = (x * pixel + ch) * elem_bytes;
                vf d[6];
#pragma GCC unroll 6
                for (int i = 0; i < 6; i++)
                    d[i] = vload_as(rows->row[i] + (at & rows->mask[i]), 0, bf16);
                transform_b(d, col);
            }
            if (j < 5 || (j & 3) != 1)
                continue;
            float *dst = v + (j / 4 - 1) * c->ic + ch;
            const vf *k0 = ring[(j - 5) & 7], *k4 = ring[(j - 1) & 7];
#pragma GCC unroll 6
            for (int i = 0; i < 6; i++) {
                const vf h[6] = {k0[i], k0[6 + i], k0[12 + i], k0[18 + i], k4[i], k4[6 + i]};
                vf o[6];
                transform_b(h, o);
#pragma GCC unroll 6
                for (int q = 0; q < 6; q++)
                    vstore(dst + (i * 6 + q) * w->v_plane, o[q]);
            }
        }
    }
}

/* One tile and VL output channels: m points at plane 0 of M. Writes rows x cols pixels. */
static inline __attribute__((always_inline)) void tile_out(const wino *w, const float *m, vf bias,
                                                           int64_t y_at, int64_t r_at, int rows,
                                                           int cols, const bool bf16)
{
    const conv *c = &w->c;
    vf q[4][6];
#pragma GCC unroll 6
    for (int j = 0; j < 6; j++) {
        vf col[6], o[4];
#pragma GCC unroll 6
        for (int i = 0; i < 6; i++)
            col[i] = vload(m + (i * 6 + j) * w->m_plane);
        transform_a(col, o);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            q[i][j] = o[i];
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        vf o[4];
        if (i >= rows)
            break;
        transform_a(q[i], o);
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            if (j >= cols)
                break;
            vf v = o[j] + bias, r = vset1(0);
            if (c->res)
                r = vload_as(c->res->data, r_at + i * c->res->strides[2] + j * c->res->strides[3],
                             bf16);
            if (c->post.res_before)
                v = post_act(&c->post, v + r);
            else
                v = post_act(&c->post, v) + r;
            vstore_as(c->y->data, y_at + i * c->y->strides[2] + j * c->y->strides[3], bf16, v);
        }
    }
}

static void line_in_f32(const wino *w, const in_rows *r, int64_t tx, int64_t n, float *v)
{
    line_in(w, r, tx, n, v, false);
}
static void line_in_bf16(const wino *w, const in_rows *r, int64_t tx, int64_t n, float *v)
{
    line_in(w, r, tx, n, v, true);
}
static __attribute__((noinline)) void tile_out_f32(const wino *w, const float *m, vf bias,
                                                   int64_t y_at, int64_t r_at, int rows, int cols)
{
    tile_out(w, m, bias, y_at, r_at, rows, cols, false);
}
static __attribute__((noinline)) void tile_out_bf16(const wino *w, const float *m, vf bias,
                                                    int64_t y_at, int64_t r_at, int rows, int cols)
{
    tile_out(w, m, bias, y_at, r_at, rows, cols, true);
}

/* ---- one block of tiles ------------------------------------------------------------------------
 */

static void block_in(const wino *w, int64_t first, int64_t n, float *v)
{
    const bool bf16 = w->c.x->dtype == RF_BF16;
    for (int64_t t = 0; t < n;) {
        int64_t line = (first + t) / w->tiles_x, tx = (first + t) % w->tiles_x;
        int64_t run = w->tiles_x - tx < n - t ? w->tiles_x - tx : n - t;
        in_rows rows = find_rows(&w->c, line / w->tiles_y, line % w->tiles_y, bf16 ? 2 : 4);
        (bf16 ? line_in_bf16 : line_in_f32)(w, &rows, tx, run, v + t * w->c.ic);
        t += run;
    }
}

static void block_out(const wino *w, int64_t first, int64_t n, int64_t oc, int nv, const float *m)
{
    const conv *c = &w->c;
    const bool bf16 = c->y->dtype == RF_BF16;
    for (int64_t t = 0; t < n; t++) {
        int64_t line = (first + t) / w->tiles_x, tx = (first + t) % w->tiles_x;
        int64_t image = line / w->tiles_y, ty = line % w->tiles_y;
        int rows = (int)(c->oh - ty * 4), cols = (int)(c->ow - tx * 4);
        int64_t y_at =
            image * c->y->strides[0] + ty * 4 * c->y->strides[2] + tx * 4 * c->y->strides[3] + oc;
        int64_t r_at = c->res ? image * c->res->strides[0] + ty * 4 * c->res->strides[2] +
                                    tx * 4 * c->res->strides[3] + oc
                              : 0;
        for (int j = 0; j < nv; j++)
            (bf16 ? tile_out_bf16 : tile_out_f32)(w, m + t * GEMM_NB + j * VL,
                                                  vload(w->bias + oc + j * VL), y_at + j * VL,
                                                  r_at + j * VL, rows, cols);
    }
}

/* The last tiles of a block take half a register block if that is enough. */
static inline __attribute__((always_inline)) void
products(const gemm_a *a, float *m, const float *panel, int64_t n, const int nv)
{
    gemm_a b = *a;
    int64_t t = 0;
    for (; t + GEMM_MR / 2 < n; t += GEMM_MR, b.base += GEMM_MR * a->step)
        gemm_body(GEMM_MR, nv, m + t * GEMM_NB, GEMM_NB, &b, panel, false);
    if (t < n)
        gemm_body(GEMM_MR / 2, nv, m + t * GEMM_NB, GEMM_NB, &b, panel, false);
}

static void products2(const gemm_a *a, float *m, const float *panel, int64_t n)
{
    products(a, m, panel, n, 2);
}
static void products1(const gemm_a *a, float *m, const float *panel, int64_t n)
{
    products(a, m, panel, n, 1);
}

/* Panel `i` of U, in f32; `to` has room for one. */
static const float *panel_of(const wino *w, int64_t i, float *to)
{
    const int64_t n = w->c.ic * GEMM_NB;
    if (!w->half)
        return (const float *)w->u + i * n;
#if HAVE_F16
    const uint16_t *from = (const uint16_t *)w->u + i * n;
    for (int64_t j = 0; j < n; j += VL)
        vstore(to + j, vload_f16(from + j) * w->unscale);
#endif
    return to;
}

static void run_tiles(void *ctx, int64_t begin, int64_t end, int thread)
{
    const wino *w = ctx;
    const conv *c = &w->c;
    float *v = w->scratch + (size_t)thread * w->thread_floats, *m = v + POINTS * w->v_plane;
    float *room = m + POINTS * w->m_plane;
    for (int64_t first = begin; first < end; first += w->block) {
        int64_t n = end - first < w->block ? end - first : w->block;
        block_in(w, first, n, v);
        for (int64_t ob = 0; ob < w->n_ob; ob++) {
            int64_t oc = ob * GEMM_NB;
            int nv = c->oc - oc >= GEMM_NB ? 2 : 1;
            for (int k = 0; k < POINTS; k++) {
                const gemm_a a = {v + k * w->v_plane, NULL, 1, c->ic, c->ic};
                const float *panel = panel_of(w, ob * POINTS + k, room);
                (nv == 2 ? products2 : products1)(&a, m + k * w->m_plane, panel, n);
            }
            block_out(w, first, n, oc, nv, m);
        }
    }
}

/* ---- weights -----------------------------------------------------------------------------------
 */

typedef struct pack_ctx {
    const rf_tensor *w;
    int32_t n_threads;
    bool half;
    double scale; /* a power of two that brings the filters into the range of f16; f32: 1 */
    void *dst;
} pack_ctx;

/* One dimension of G g for GEMM_NB filters, in double. Values of a column are `step` doubles apart.
 */
static inline void transform_g(const double *g, int64_t step, double (*o)[GEMM_NB])
{
    for (int j = 0; j < GEMM_NB; j++) {
        double g0 = g[j], g1 = g[step + j], g2 = g[2 * step + j];
        double even = g0 + g2, even4 = g0 / 24 + g2 / 6;
        o[0][j] = g0 / 4;
        o[1][j] = (even + g1) / -6;
        o[2][j] = (even - g1) / -6;
        o[3][j] = even4 + g1 / 12;
        o[4][j] = even4 - g1 / 12;
        o[5][j] = g2;
    }
}

static inline void put_filters(const pack_ctx *p, const double *u, int64_t at)
{
    float row[GEMM_NB];
    for (int j = 0; j < GEMM_NB; j++)
        row[j] = (float)(u[j] * p->scale);
#if HAVE_F16
    for (int j = 0; p->half && j < GEMM_NB; j += VL)
        vstore_f16((uint16_t *)p->dst + at + j, vload(row + j));
#endif
    if (!p->half)
        memcpy((float *)p->dst + at, row, sizeof row);
}

/* U = G g G^T of input channel i and GEMM_NB output channels: to [plane][ic][GEMM_NB] from element
 * `at` on. */
static void pack_filters(const pack_ctx *p, int64_t oc, int64_t i, int64_t plane, int64_t at)
{
    const rf_tensor *w = p->w;
    double g[9][GEMM_NB] = {{0}}, t[3][6][GEMM_NB], u[6][GEMM_NB];
    int64_t n = w->dims[0] - oc < GEMM_NB ? w->dims[0] - oc : GEMM_NB;
    for (int64_t j = 0; j < n; j++)
        for (int k = 0; k < 9; k++)
            g[k][j] = conv_at(w, (oc + j) * w->strides[0] + i * w->strides[1] +
                                     k / 3 * w->strides[2] + k % 3 * w->strides[3]);
    for (int k = 0; k < 3; k++)
        transform_g(g[k], 3 * GEMM_NB, t[k]);
    for (int r = 0; r < 6; r++) {
        transform_g(t[0][r], 6 * GEMM_NB, u);
        for (int k = 0; k < 6; k++, at += plane)
            put_filters(p, u[k], at);
    }
}

/* Input channels [begin, end) of all filters into [oc block][36][ic][GEMM_NB]. */
static void pack_channels(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const pack_ctx *p = ctx;
    const int64_t oc = p->w->dims[0], ic = p->w->dims[1], plane = ic * GEMM_NB;
    for (int64_t ob = 0; ob < (oc + GEMM_NB - 1) / GEMM_NB; ob++)
        for (int64_t i = begin; i < end; i++)
            pack_filters(p, ob * GEMM_NB, i, plane, ob * POINTS * plane + i * GEMM_NB);
}

/* What f16 elements are to be multiplied with stands in front of them. */
enum { UNSCALE_BYTES = 64 };

/* The power of two by which the largest weight is divided to lie in [1, 2): U is at most that
 * large. It is a float for any weight, its inverse may be none. */
static float unscale_of(const rf_tensor *w)
{
    float most = 0;
    int exponent = 1;
    for (int64_t i = 0; i < rf_tensor_elements(w); i++)
        most = fmaxf(most, fabsf(conv_at(w, i)));
    if (most > 0 && isfinite(most))
        frexpf(most, &exponent);
    return ldexpf(1, exponent - 1);
}

static rf_status pack_weights(void *ctx, void *dst, rf_error *err)
{
    (void)err;
    pack_ctx *p = ctx;
    p->dst = dst;
    if (p->half) {
        const float unscale = unscale_of(p->w);
        p->scale = 1 / (double)unscale;
        memcpy(dst, &unscale, sizeof unscale);
        p->dst = (char *)dst + UNSCALE_BYTES;
    }
    rf_parallel_for(p->n_threads, p->w->dims[1], 1, pack_channels, p);
    return RF_OK;
}

/* ---- the row ------------------------------------------------------------------------------------
 */

static bool channels_last(const rf_tensor *t)
{
    return t->strides[1] == 1 && conv_float(t);
}

static bool can(const rf_kernel_desc *desc)
{
    if (desc->exact || desc->args.n_in < 2)
        return false;
    const conv c = conv_of(&desc->args);
    if (c.kh != 3 || c.kw != 3 || c.sy != 1 || c.sx != 1 || c.dy != 1 || c.dx != 1 ||
        c.groups != 1 || c.ic % 16 || c.oc % 16 || c.ic < 32 || c.oc < 16)
        return false;
    if (!channels_last(c.x) || !channels_last(c.y) || !conv_const(c.w) ||
        (c.b && !conv_const(c.b)) ||
        (c.res && (!channels_last(c.res) || c.res->dtype != c.y->dtype)))
        return false;
    /* Not a question of threads: the kernel, and with it the rounding, is the same for any number.
     */
    return c.n * ((c.oh + 3) / 4) * ((c.ow + 3) / 4) >= 2 * GEMM_MR;
}

static size_t scratch(const rf_kernel_desc *desc)
{
    return wino_of(&desc->args).thread_floats * sizeof(float) * (size_t)desc->n_threads;
}

static rf_status prepare(const rf_kernel_desc *desc, void **out_state, rf_error *err)
{
    const wino w = wino_of(&desc->args);
    const size_t n = (size_t)(w.n_ob * POINTS * w.c.ic * GEMM_NB);
    const size_t bytes = w.half ? UNSCALE_BYTES + n * sizeof(uint16_t) : n * sizeof(float);
    pack_ctx ctx = {.w = w.c.w, .n_threads = desc->n_threads, .half = w.half, .scale = 1};
    return conv_state_create(desc, w.c.w, w.c.b, w.c.oc, w.n_ob * GEMM_NB,
                             w.half ? "cpu.winograd4x4.f16." RF_CPU_ISA_TEXT
                                    : "cpu.winograd4x4." RF_CPU_ISA_TEXT,
                             bytes, pack_weights, &ctx, out_state, err);
}

static rf_status run(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const conv_state *s = call->state;
    wino w = wino_of(&call->args);
    w.u = s->weights.data;
    if (w.half) {
        memcpy(&w.unscale, w.u, sizeof w.unscale);
        w.u = (const char *)w.u + UNSCALE_BYTES;
    }
    w.bias = s->bias;
    w.scratch = call->scratch;
    rf_parallel_for(call->n_threads, w.n_tiles, GRAIN, run_tiles, &w);
    return RF_OK;
}

static const rf_kernel winograd4x4 = {
    .op = RF_OP_CONV2D,
    .name = "winograd4x4",
    .why = "3x3 stride 1, >= 32 channels, picture large enough to pay for the transforms",
    .can = can,
    .scratch = scratch,
    .prepare = prepare,
    .release = conv_state_release,
    .run = run,
    .by_rows = true,
    .in_place = 1u << 3,
};

const rf_kernel *const RF_CPU_ROWS(winograd)[] = {&winograd4x4, NULL};
