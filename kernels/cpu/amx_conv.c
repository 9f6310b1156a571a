/* SPDX-License-Identifier: Apache-2.0
 *
 * bf16 convolution with AMX, NHWC, input and output channels multiples of 32, any kernel size,
 * stride, dilation and padding mode; tuned for 3x3 stride 1.
 *
 * A block is 32 pixels x 32 output channels = 2 x 2 tiles of sums; each step loads 32 input
 * channels of one tap: two tiles of pixels straight from the image (a tile's row stride is the
 * pixel stride) and two of weights. The bias is the start value, by a tile load with stride 0. The
 * end of a block (activation, residual, rounding) runs a few pixels at a time between the tile
 * products of the NEXT block, where the vector units are idle. Columns outside, two rows inside: of
 * the input rows of a column of 32 pixels only two are new to the first cache, and a group's
 * weights serve twice.
 *
 * Chains: a residual block r = f(conv x [+ ..]); y = g(conv r + x) runs depth first. At step i
 * layer k does the ROWS rows from i * ROWS - k * (ROWS + 1): with that lag all rows of one step
 * depend only on earlier steps, also when y overwrites x, so threads split the columns and meet
 * once per step, and the rows in flight, not the picture, have to fit in the second cache.
 */
#include "kernels/cpu/amx_tile.h"
#include "kernels/cpu/conv_bf16.h"

enum {
    BLOCK = 32,         /* pixels and output channels of a block, input channels of a step */
    ROWS = 2,           /* output rows of one pass over the columns */
    STEP_WEIGHTS = 1024 /* bf16 of two weight tiles */
};

typedef struct amx_run {
    conv c;
    const uint16_t *weights;
    const float *bias;
    char *scratch;
    int64_t k_blocks, steps; /* of 32 input channels: per tap, per block of outputs */
    int64_t rows_in, span;   /* input rows of ROWS output rows, input columns of 32 outputs */
    int64_t per_step;        /* pixels of the previous block to end at each step */
    size_t thread_bytes;     /* of scratch: row pointers and the padded copy */
} amx_run;

/* Output rows [y0, y1), at most ROWS, and columns [x0, x1) of one image. */
typedef struct area {
    int64_t image, y0, y1, x0, x1;
} area;

/* A block whose sums are stored but not ended: [2 groups of 16 channels][32 pixels][16]. */
typedef struct pending {
    const float *sums;
    uint16_t *y;
    const uint16_t *res;
    int64_t n, next; /* pixels, and the first that is still to do */
} pending;

/* Where the next column's input and residual lie; NULL: nothing to fetch. */
typedef struct ahead {
    const char *x, *res;
} ahead;

static inline size_t round_up(size_t bytes)
{
    return (bytes + 63) & ~(size_t)63;
}

/* --- one block -----------------------------------------------------------------------------------
 */

static inline __attribute__((always_inline)) void end_pixels(const conv *c, pending *d,
                                                             int64_t count)
{
    int64_t end = d->next + count < d->n ? d->next + count : d->n;
    for (int64_t p = d->next; p < end; p++) {
        const uint16_t *res = d->res ? d->res + p * c->oc : NULL;
        vf a = conv_bf16_finish(&c->post, vload(d->sums + p * 16), res);
        vf b = conv_bf16_finish(&c->post, vload(d->sums + (BLOCK + p) * 16), res ? res + 16 : NULL);
        _mm512_storeu_si512(d->y + p * c->oc, (__m512i)_mm512_cvtne2ps_pbh((__m512)b, (__m512)a));
    }
    d->next = end;
}

/* The strided tile loads do not train the hardware's prefetcher. */
static inline void fetch(ahead *f)
{
    for (int i = 0; f->x && i < 4; i++, f->x += 64)
        __builtin_prefetch(f->x);
    for (int i = 0; f->res && i < 4; i++, f->res += 64)
        __builtin_prefetch(f->res);
}

/* Tiles 0..3 = bias + convolution. rows: the window's first pixel in each input row, NULL for
 * zeros; w, bias: of this group of 32 output channels. Ends the pending block on the way. */
static inline __attribute__((always_inline)) void sum_block(const amx_run *run,
                                                            const uint16_t *const *rows,
                                                            const uint16_t *w, const float *bias,
                                                            ahead *f, pending *d)
{
    const conv *c = &run->c;
    const int64_t stride = c->sx * c->ic * 2;
    AMX_LOAD(0, bias, 0);
    AMX_LOAD(1, bias + 16, 0);
    AMX_LOAD(2, bias, 0);
    AMX_LOAD(3, bias + 16, 0);
    for (int64_t ky = 0; ky < c->kh; ky++) {
        const uint16_t *row = rows[ky * c->dy];
        if (!row) {
            w += c->kw * run->k_blocks * STEP_WEIGHTS;
            continue;
        }
        for (int64_t kx = 0; kx < c->kw; kx++, row += c->dx * c->ic)
            for (int64_t k = 0; k < run->k_blocks; k++, w += STEP_WEIGHTS) {
                const uint16_t *p = row + k * BLOCK;
                AMX_LOAD(6, w, 64);
                AMX_LOAD(4, p, stride);
                AMX_DPBF16(0, 4, 6);
                AMX_LOAD(7, w + STEP_WEIGHTS / 2, 64);
                AMX_DPBF16(1, 4, 7);
                AMX_LOAD(5, p + 16 * c->sx * c->ic, stride);
                AMX_DPBF16(2, 5, 6);
                AMX_DPBF16(3, 5, 7);
                fetch(f);
                end_pixels(c, d, run->per_step);
            }
    }
    end_pixels(c, d, BLOCK);
}

/* --- rows of blocks
 * -------------------------------------------------------------------------------- */

/* Where the window of the block at column x begins in each input row of the area: in the image, or
 * in a padded copy. */
static void find_rows(const amx_run *run, const area *a, int64_t x, const uint16_t **rows,
                      uint16_t *copy)
{
    const conv *c = &run->c;
    const int64_t left = x * c->sx - c->pl,
                  n = (a->y1 - a->y0 - 1) * c->sy + (c->kh - 1) * c->dy + 1;
    const bool inside = left >= 0 && left + run->span <= c->iw;
    const uint16_t *image = (const uint16_t *)c->x->data + a->image * c->ih * c->iw * c->ic;
    for (int64_t t = 0; t < n; t++, copy += run->span * c->ic) {
        int64_t y = conv_map(a->y0 * c->sy - c->pt + t, c->ih, c->pad_mode);
        const uint16_t *row = image + y * c->iw * c->ic;
        if (y < 0 || y >= c->ih) /* zeros, or a row that no tap reads */
            rows[t] = NULL;
        else if (inside)
            rows[t] = row + left * c->ic;
        else {
            conv_bf16_gather(copy, row, left, run->span, c->iw, c->ic, c->pad_mode);
            rows[t] = copy;
        }
    }
}

/* What to fetch while the block at (y, x) is summed: its like 32 columns on, up to the area's end,
 * because beyond it another thread writes. */
static ahead look_ahead(const conv *c, const area *a, int64_t y, int64_t x)
{
    if (x + 2 * BLOCK > a->x1 || c->sx != 1)
        return (ahead){NULL, NULL};
    int64_t row = y + c->kh - 1 - c->pt, at = ((a->image * c->oh + y) * c->ow + x + BLOCK) * c->oc;
    row = row < c->ih ? row : c->ih - 1;
    int64_t x_at = ((a->image * c->ih + row) * c->iw + x + BLOCK) * c->ic;
    return (ahead){(const char *)((const uint16_t *)c->x->data + x_at),
                   c->res ? (const char *)((const uint16_t *)c->res->data + at) : NULL};
}

static void do_area(const amx_run *run, const area *a, char *scratch)
{
    float sums[2][2 * BLOCK * 16] __attribute__((aligned(64)));
    const conv *c = &run->c;
    const uint16_t **rows = (const uint16_t **)scratch;
    uint16_t *copy = (uint16_t *)(scratch + round_up((size_t)run->rows_in * sizeof *rows));
    pending d = {sums[1], NULL, NULL, 0, 0};
    int current = 0;
    for (int64_t x = a->x0; x < a->x1; x += BLOCK) {
        find_rows(run, a, x, rows, copy);
        for (int64_t ob = 0; ob < c->oc; ob += BLOCK)
            for (int64_t y = a->y0; y < a->y1; y++) {
                ahead f = ob == 0 ? look_ahead(c, a, y, x) : (ahead){NULL, NULL};
                sum_block(run, rows + (y - a->y0) * c->sy,
                          run->weights + ob / BLOCK * run->steps * STEP_WEIGHTS, run->bias + ob, &f,
                          &d);
                float *out = sums[current];
                AMX_STORE(0, out, 64);
                AMX_STORE(1, out + BLOCK * 16, 64);
                AMX_STORE(2, out + 16 * 16, 64);
                AMX_STORE(3, out + (BLOCK + 16) * 16, 64);
                int64_t at = ((a->image * c->oh + y) * c->ow + x) * c->oc + ob;
                d = (pending){out, (uint16_t *)c->y->data + at,
                              c->res ? (const uint16_t *)c->res->data + at : NULL,
                              a->x1 - x < BLOCK ? a->x1 - x : BLOCK, 0};
                current ^= 1;
            }
    }
    end_pixels(c, &d, BLOCK);
}

static amx_run run_of(const rf_op_args *args)
{
    amx_run run = {.c = conv_of(args)};
    const conv *c = &run.c;
    run.k_blocks = c->ic / BLOCK;
    run.steps = c->kh * c->kw * run.k_blocks;
    run.rows_in = (ROWS - 1) * c->sy + (c->kh - 1) * c->dy + 1;
    run.span = (BLOCK - 1) * c->sx + (c->kw - 1) * c->dx + 1;
    run.per_step = run.steps > 1 ? (BLOCK + run.steps - 2) / (run.steps - 1) : BLOCK;
    run.thread_bytes = round_up((size_t)run.rows_in * sizeof(uint16_t *)) +
                       round_up((size_t)(run.rows_in * run.span * c->ic) * 2);
    return run;
}

static amx_run run_of_call(const rf_kernel_call *call)
{
    amx_run run = run_of(&call->args);
    const conv_state *state = call->state;
    run.weights = state->weights.data;
    run.bias = state->bias;
    run.scratch = call->scratch;
    return run;
}

/* --- one convolution: threads split the rows
 * --------------------------------------------------------- */

static void run_thread(void *ctx, int thread, int n_threads)
{
    const amx_run *run = ctx;
    const int64_t groups = (run->c.oh + ROWS - 1) / ROWS;
    int64_t begin, end;
    rf_split(run->c.n * groups, 1, thread, n_threads, &begin, &end);
    amx_configure();
    for (int64_t i = begin; i < end; i++) {
        area a = {i / groups, i % groups * ROWS, i % groups * ROWS + ROWS, 0, run->c.ow};
        a.y1 = a.y1 < run->c.oh ? a.y1 : run->c.oh;
        do_area(run, &a, run->scratch + (size_t)thread * run->thread_bytes);
    }
    amx_release();
}

static rf_status run_conv(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    amx_run run = run_of_call(call);
    rf_parallel(call->n_threads, run_thread, &run);
    return RF_OK;
}

/* --- chains: threads split the columns
 * ----------------------------------------------------------------- */

typedef struct chain_run {
    const rf_kernel_call *calls;
    int n;
} chain_run;

static void chain_step(const amx_run *run, int64_t image, int64_t y, int64_t x0, int64_t x1,
                       int thread)
{
    area a = {image, y < 0 ? 0 : y, y + ROWS < run->c.oh ? y + ROWS : run->c.oh, x0, x1};
    if (a.y0 < a.y1 && x0 < x1)
        do_area(run, &a, run->scratch + (size_t)thread * run->thread_bytes);
}

static void chain_thread(void *ctx, int thread, int n_threads)
{
    const chain_run *chain = ctx;
    const amx_run first = run_of_call(&chain->calls[0]);
    const int64_t h = first.c.oh, last = h + (chain->n - 1) * (ROWS + 1);
    int64_t x0, x1;
    rf_split(first.c.ow, BLOCK, thread, n_threads, &x0, &x1);
    amx_configure();
    for (int64_t image = 0; image < first.c.n; image++)
        for (int64_t y = 0; y < last; y += ROWS) {
            for (int k = 0; k < chain->n; k++) {
                const amx_run run = run_of_call(&chain->calls[k]);
                chain_step(&run, image, y - k * (ROWS + 1), x0, x1, thread);
            }
            rf_parallel_barrier();
        }
    amx_release();
}

static rf_status run_chain(const rf_kernel_call *calls, int n, rf_error *err)
{
    (void)err;
    rf_parallel(calls[0].n_threads, chain_thread, &(chain_run){calls, n});
    return RF_OK;
}

static bool is_same_size_3x3(const conv *c)
{
    return c->kh == 3 && c->kw == 3 && c->sy == 1 && c->sx == 1 && c->dy == 1 && c->dx == 1 &&
           c->pt == 1 && c->pl == 1 && c->oh == c->ih && c->ow == c->iw &&
           c->pad_mode == RF_PAD_ZEROS;
}

/* b must add back what a read: then the two need no more memory at once than one after the other.
 * The columns must share out fairly among the threads. */
static bool can_chain(const rf_kernel_desc *a_desc, const rf_kernel_desc *b_desc)
{
    const conv a = conv_of(&a_desc->args), b = conv_of(&b_desc->args);
    if (!is_same_size_3x3(&a) || !is_same_size_3x3(&b) || b.x != a.y || b.res != a.x)
        return false;
    const int64_t blocks = (a.ow + BLOCK - 1) / BLOCK, threads = a_desc->n_threads;
    const int64_t most = (blocks + threads - 1) / threads;
    return blocks * 10 >= most * threads * 9;
}

/* --- the kernel
 * ------------------------------------------------------------------------------------------ */

/* [oc / 32][kh][kw][ic / 32][2 tiles][16 pairs of input channels][16 oc][2] */
static rf_status pack_weights(void *ctx, void *dst, rf_error *err)
{
    (void)err;
    const rf_tensor *w = ctx;
    const int64_t ic = w->dims[1], taps = w->dims[2] * w->dims[3], k_blocks = ic / BLOCK;
    for (int64_t o = 0; o < w->dims[0]; o++)
        for (int64_t i = 0; i < ic; i++)
            for (int64_t t = 0; t < taps; t++) {
                int64_t step = (o / BLOCK * taps + t) * k_blocks + i / BLOCK;
                int64_t tile = step * 2 + o % BLOCK / 16, row = i % BLOCK / 2;
                ((uint16_t *)dst)[(tile * 16 + row) * 32 + o % 16 * 2 + i % 2] =
                    rf_f32_to_bf16(conv_at(w, (o * ic + i) * taps + t));
            }
    return RF_OK;
}

static bool can(const rf_kernel_desc *desc)
{
    const conv c = conv_of(&desc->args);
    return conv_bf16_can(&c) && c.ic % BLOCK == 0 && c.oc % BLOCK == 0;
}

static size_t scratch(const rf_kernel_desc *desc)
{
    return run_of(&desc->args).thread_bytes * (size_t)desc->n_threads;
}

static rf_status prepare(const rf_kernel_desc *desc, void **out_state, rf_error *err)
{
    const conv c = conv_of(&desc->args);
    return conv_state_create(desc, c.w, c.b, c.oc, c.oc, "cpu.amx_conv",
                             (size_t)rf_tensor_elements(c.w) * 2, pack_weights, (void *)c.w,
                             out_state, err);
}

static const rf_kernel amx_conv = {
    .op = RF_OP_CONV2D,
    .name = "amx_conv",
    .why = "bf16 NHWC on AMX tiles, channels in multiples of 32",
    .usable = amx_available,
    .can = can,
    .scratch = scratch,
    .prepare = prepare,
    .release = conv_state_release,
    .run = run_conv,
    .by_rows = true,
    .in_place = 1u << 3,
    .can_chain = can_chain,
    .run_chain = run_chain,
};

const rf_kernel *const RF_CPU_ROWS(amx_conv)[] = {&amx_conv, NULL};
