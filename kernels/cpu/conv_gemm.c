/* SPDX-License-Identifier: Apache-2.0
 *
 * Implicit GEMM: GEMM_MR output pixels x GEMM_NB output channels at a time, the sum over the whole
 * window kept in registers. Where the pixels of a block lie in one row and all taps inside the
 * picture, the window is read in place (its rows are the segments of gemm_a); at borders, at the
 * end of a row, for bf16 and for odd layouts it is first copied to a dense panel. Both ways add in
 * the same order, so a pixel's value does not depend on which one it took.
 *
 * A few blocks share each pass over a panel of weights; threads split the pixels, or the output
 * channels when there are too few pixels.
 */
#include "kernels/cpu/conv_gemm.h"

typedef struct job {
    conv_gemm g;
    int64_t taps, k; /* k: taps * ic, the length of the sum */
    int64_t n_ob;    /* blocks of output channels in a group */
    int64_t n_pixels, n_blocks;
    int64_t chunk; /* blocks that share a pass over the weights */
    bool in_place; /* windows inside the picture may be read in place */
    int64_t *seg, n_seg, seg_len;
    char *scratch;
    size_t thread_bytes;
    bool split_channels;
} job;

/* One block of pixels on its way: where it is read and where its pixels go. */
typedef struct block {
    gemm_a a;
    int n, mr; /* pixels; rows of the register block used for them */
    int64_t y_at[GEMM_MR], res_at[GEMM_MR];
} block;

enum { MAX_CHUNK = 8 };

size_t conv_gemm_weight_floats(const conv_gemm *g)
{
    int64_t n_ob = (g->oc + GEMM_NB - 1) / GEMM_NB;
    return (size_t)(g->groups * n_ob * g->ay.n * g->ax.n * g->ic * GEMM_NB);
}

void conv_gemm_pack(const conv_gemm *g, const conv_filter *f, float *dst)
{
    const int64_t n_ob = (g->oc + GEMM_NB - 1) / GEMM_NB;
    for (int64_t gr = 0; gr < g->groups; gr++)
        for (int64_t ob = 0; ob < n_ob; ob++)
            for (int64_t t = 0; t < g->ay.n * g->ax.n; t++) {
                int64_t at = gr * f->group_stride +
                             (f->ky + t / g->ax.n * f->ky_step) * f->w->strides[2] +
                             (f->kx + t % g->ax.n * f->kx_step) * f->w->strides[3];
                for (int64_t i = 0; i < g->ic; i++)
                    for (int64_t j = 0; j < GEMM_NB; j++) {
                        int64_t o = ob * GEMM_NB + j;
                        *dst++ =
                            o < g->oc ? conv_at(f->w, at + o * f->oc_stride + i * f->ic_stride) : 0;
                    }
            }
}

static size_t round_up(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

/* A dense 1x1 convolution does not care where rows end: the picture becomes one row. */
static void flatten(conv_gemm *g)
{
    const conv_view *v[3] = {&g->x, &g->out.y, &g->out.res};
    if (g->ay.n != 1 || g->ax.n != 1 || g->ay.stride != 1 || g->ax.stride != 1 || g->ay.start ||
        g->ax.start || g->ay.in != g->ay.out || g->ax.in != g->ax.out)
        return;
    for (int i = 0; i < (g->out.res.data ? 3 : 2); i++)
        if (v[i]->y != v[i]->x * g->ax.in || (g->n_images != 1 && v[i]->n != v[i]->y * g->ay.in))
            return;
    g->ax.in = g->ax.out = g->ax.in * g->ay.in * g->n_images;
    g->ay.in = g->ay.out = g->n_images = 1;
}

/* `chunk` and sizes depend on n_threads only through the number of scratch areas. */
static job job_of(const conv_gemm *g, int32_t n_threads)
{
    job j = {.g = *g};
    /* Only run knows the data pointers, so that the flattened form must need the same scratch. */
    j.taps = g->ay.n * g->ax.n;
    j.k = j.taps * g->ic;
    j.n_ob = (g->oc + GEMM_NB - 1) / GEMM_NB;
    j.n_pixels = g->n_images * g->ay.out * g->ax.out;
    j.n_blocks = (j.n_pixels + GEMM_MR - 1) / GEMM_MR;
    int64_t panel_bytes = GEMM_MR * (j.k ? j.k : 1) * (int64_t)sizeof(float);
    int64_t fit = (int64_t)rf_cpu_get_features()->l2_bytes / 2 / panel_bytes;
    j.chunk = fit < 1 ? 1 : fit > MAX_CHUNK ? MAX_CHUNK : fit;
    int64_t each = (j.n_blocks + n_threads - 1) / n_threads;
    if (j.chunk > each && each > 0)
        j.chunk = each;
    j.thread_bytes =
        round_up((size_t)(j.chunk * panel_bytes)) + round_up(GEMM_MR * GEMM_NB * sizeof(float));
    int64_t units = j.n_blocks * g->groups;
    /* Share of the threads' time that is used by either split. */
    double by_pixels =
        (double)units / (double)((units + n_threads - 1) / n_threads * n_threads + !units);
    double by_oc =
        (double)j.n_ob / (double)((j.n_ob + n_threads - 1) / n_threads * n_threads + !j.n_ob);
    j.split_channels = g->groups == 1 && by_pixels < 0.8 && by_oc > by_pixels;
    return j;
}

size_t conv_gemm_scratch(const conv_gemm *g, int32_t n_threads)
{
    const job j = job_of(g, n_threads);
    return round_up((size_t)j.taps * sizeof *j.seg) + j.thread_bytes * (size_t)n_threads;
}

static void find_segments(job *j)
{
    const conv_gemm *g = &j->g;
    j->in_place = !g->x.bf16 && g->x.c == 1;
    const bool joined = g->ax.step == 1 && g->x.x == g->ic;
    j->n_seg = joined ? g->ay.n : j->taps;
    j->seg_len = joined ? g->ax.n * g->ic : g->ic;
    for (int64_t s = 0; s < j->n_seg; s++) {
        int64_t ty = joined ? s : s / g->ax.n, tx = joined ? 0 : s % g->ax.n;
        j->seg[s] =
            (g->ay.start + ty * g->ay.step) * g->x.y + (g->ax.start + tx * g->ax.step) * g->x.x;
    }
}

/* ---- reading ------------------------------------------------------------------------------------
 */

static bool axis_inside(const conv_axis *a, int64_t first, int64_t last)
{
    int64_t lo = a->start, hi = a->start + (a->n - 1) * a->step;
    if (lo > hi) {
        int64_t t = lo;
        lo = hi;
        hi = t;
    }
    return first * a->stride + lo >= 0 && last * a->stride + hi < a->in;
}

static void copy_channels(float *dst, const conv_view *x, int64_t at, int64_t n)
{
    int64_t i = 0;
    if (x->c == 1) {
        for (; i + VL <= n; i += VL)
            vstore(dst + i, vload_as(x->data, at + i, x->bf16));
        if (i < n)
            vstore_part(dst + i, vload_part_as(x->data, at + i, x->bf16, (int)(n - i)),
                        (int)(n - i));
        return;
    }
    for (; i < n; i++, at += x->c)
        dst[i] = conv_view_get(x, at);
}

/* The window of one output pixel, dense. */
static void copy_window(const conv_gemm *g, int64_t image, int64_t oy, int64_t ox, int64_t group_at,
                        float *dst)
{
    for (int64_t ty = 0; ty < g->ay.n; ty++) {
        int64_t y =
            conv_map(oy * g->ay.stride + g->ay.start + ty * g->ay.step, g->ay.in, g->pad_mode);
        for (int64_t tx = 0; tx < g->ax.n; tx++, dst += g->ic) {
            int64_t x =
                conv_map(ox * g->ax.stride + g->ax.start + tx * g->ax.step, g->ax.in, g->pad_mode);
            if (y < 0 || x < 0)
                memset(dst, 0, (size_t)g->ic * sizeof *dst);
            else
                copy_channels(dst, &g->x, image * g->x.n + y * g->x.y + x * g->x.x + group_at,
                              g->ic);
        }
    }
}

static void open_block(const job *j, int64_t group, int64_t index, float *panel, block *b)
{
    const conv_gemm *g = &j->g;
    const int64_t p0 = index * GEMM_MR, group_in = group * g->ic * g->x.c;
    b->n = (int)(j->n_pixels - p0 < GEMM_MR ? j->n_pixels - p0 : GEMM_MR);
    b->mr = gemm_rows(b->n);
    const int64_t line = p0 / g->ax.out, ox0 = p0 % g->ax.out;
    const int64_t image0 = line / g->ay.out, oy0 = line % g->ay.out;
    const bool direct = j->in_place && b->n == b->mr && ox0 + b->n <= g->ax.out &&
                        axis_inside(&g->ay, oy0, oy0) && axis_inside(&g->ax, ox0, ox0 + b->n - 1);
    if (direct)
        b->a = (gemm_a){(const float *)g->x.data + image0 * g->x.n + oy0 * g->ay.stride * g->x.y +
                            ox0 * g->ax.stride * g->x.x + group_in,
                        j->seg, j->n_seg, j->seg_len, g->ax.stride * g->x.x};
    else
        b->a = (gemm_a){panel, NULL, 1, j->k, j->k};
    int64_t image = image0, oy = oy0, ox = ox0;
    for (int i = 0; i < b->n; i++) {
        b->y_at[i] = image * g->out.y.n + oy * g->out.y.y + ox * g->out.y.x;
        b->res_at[i] = image * g->out.res.n + oy * g->out.res.y + ox * g->out.res.x;
        if (!direct)
            copy_window(g, image, oy, ox, group_in, panel + i * j->k);
        if (++ox == g->ax.out) {
            ox = 0;
            if (++oy == g->ay.out) {
                oy = 0;
                image++;
            }
        }
    }
    if (!direct && b->mr > b->n)
        memset(panel + b->n * j->k, 0, (size_t)((b->mr - b->n) * j->k) * sizeof *panel);
}

/* ---- writing ------------------------------------------------------------------------------------
 */

/* oc counts through all groups; `left` channels of this group are still to come, at most GEMM_NB
 * are stored. */
static void close_block(const conv_gemm *g, const block *b, const float *tile, int64_t oc,
                        int64_t left)
{
    for (int i = 0; i < b->n; i++)
        conv_store_pixel(&g->out, tile + i * GEMM_NB, GEMM_NB, left, oc, b->y_at[i], b->res_at[i]);
}

/* ---- the loops ----------------------------------------------------------------------------------
 */

/* Blocks [first, first + n) of one group, n at most j->chunk, output blocks [ob0, ob1). */
static void run_chunk(const job *j, int64_t group, int64_t first, int64_t n, int64_t ob0,
                      int64_t ob1, char *scratch)
{
    const conv_gemm *g = &j->g;
    float *panel = (float *)scratch,
          *tile = panel + round_up((size_t)(j->chunk * GEMM_MR * j->k) * 4) / 4;
    block blocks[MAX_CHUNK];
    for (int64_t i = 0; i < n; i++)
        open_block(j, group, first + i, panel + i * GEMM_MR * j->k, &blocks[i]);
    for (int64_t ob = ob0; ob < ob1; ob++) {
        const float *w = g->weights + (group * j->n_ob + ob) * j->k * GEMM_NB;
        int64_t left = g->oc - ob * GEMM_NB;
        for (int64_t i = 0; i < n; i++) {
            gemm_block(blocks[i].mr, left > VL ? 2 : 1, tile, &blocks[i].a, w);
            close_block(g, &blocks[i], tile, group * g->oc + ob * GEMM_NB, left);
        }
    }
}

static void run_pixels(void *ctx, int64_t begin, int64_t end, int thread)
{
    const job *j = ctx;
    char *scratch = j->scratch + (size_t)thread * j->thread_bytes;
    while (begin < end) {
        int64_t group = begin / j->n_blocks, first = begin % j->n_blocks;
        int64_t n = j->n_blocks - first;
        n = n < end - begin ? n : end - begin;
        n = n < j->chunk ? n : j->chunk;
        run_chunk(j, group, first, n, 0, j->n_ob, scratch);
        begin += n;
    }
}

static void run_channels(void *ctx, int64_t begin, int64_t end, int thread)
{
    const job *j = ctx;
    char *scratch = j->scratch + (size_t)thread * j->thread_bytes;
    for (int64_t first = 0; first < j->n_blocks; first += j->chunk) {
        int64_t n = j->n_blocks - first < j->chunk ? j->n_blocks - first : j->chunk;
        run_chunk(j, 0, first, n, begin, end, scratch);
    }
}

void conv_gemm_run(const conv_gemm *g, int32_t n_threads, void *scratch)
{
    conv_gemm flat = *g;
    flatten(&flat);
    job j = job_of(&flat, n_threads);
    j.seg = scratch;
    j.scratch = (char *)scratch + round_up((size_t)j.taps * sizeof *j.seg);
    find_segments(&j);
    if (j.split_channels)
        rf_parallel_for(n_threads, j.n_ob, 1, run_channels, &j);
    else
        rf_parallel_for(n_threads, j.n_blocks * g->groups, 1, run_pixels, &j);
}
