/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of the tiled convolutions: which tile a layer gets, its weights in the order of the steps,
 * and the phases of transposed convolutions (outputs whose coordinates leave the same rest modulo
 * the stride see the same filter taps, so each phase is a plain convolution of the input that
 * writes every stride-th pixel; no zeros are inserted or multiplied).
 */
#include "kernels/cuda/conv_tile.h"

#include <stdio.h>
#include <string.h>

#include "kernels/cuda/conv_node.h"
#include "kernels/cuda/rows.h"
#include "kernels/cuda/stream.h"

enum {
    CHUNK = RF_CUDA_CONV_CHUNK,
    LEAST_SHARED = 99 * 1024,  /* of every device since sm_80: what `can` counts on */
    FREE_RESIDENT = 32 * 1024, /* weights that stay resident even for few tiles */
    MOST_RESIDENT = 76 * 1024,
    FEW_CHANNELS = 4,
    MAX_PHASES = 16
};

/* How a block has its weights: through a ring, or all of them, possibly for FEW_CHANNELS only. */
typedef enum weight_mode { STREAM, RESIDENT, FEW } weight_mode;

/* One launch: a window over all images, written to a view of y. */
typedef struct launch {
    rf_cuda_conv_tile_params p;
    const rf_cuda_entry *entry;
    bool mma; /* weights in x's dtype, else f32 */
    dim3 grid;
    unsigned threads;
    size_t shared_bytes;
    int64_t y_offset; /* bytes from y's data to the view's */
} launch;

typedef struct state {
    int32_t n;
    launch launches[];
} state;

/* The device in the numbers that matter here. */
typedef struct limits {
    size_t shared, shared_per_sm;
    int32_t sms, threads_per_sm;
} limits;

static limits limits_of(const rf_device *device)
{
    if (!device)
        return (limits){LEAST_SHARED, LEAST_SHARED + 1024, 1, 1536};
    const struct cudaDeviceProp *p = &device->props;
    return (limits){p->sharedMemPerBlockOptin, p->sharedMemPerMultiprocessor,
                    p->multiProcessorCount, p->maxThreadsPerMultiProcessor};
}

static int64_t div_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* ---- tiles ------------------------------------------------------------------------------------*/

static int64_t patch_extent(const rf_cuda_conv_axis *a, int64_t outputs)
{
    return a->taps ? (outputs - 1) * a->stride + (a->taps - 1) * (int64_t)a->step + 1 : 0;
}

/* Pixels of x that a tile loads. */
static int64_t patch_pixels(const rf_cuda_conv_tile_params *p, int32_t log_tw)
{
    const int32_t tw = 1 << log_tw, th = p->bm >> log_tw;
    return p->ax.taps ? patch_extent(&p->ay, th) * patch_extent(&p->ax, tw) : 0;
}

static int64_t tiles_for(const rf_cuda_conv_tile_params *p, int32_t log_tw)
{
    return div_up(p->ay.out, p->bm >> log_tw) * div_up(p->ax.out, 1 << log_tw);
}

/* The width of a tile of bm pixels for which tiles, most of all, and loaded pixels are fewest. */
static int32_t best_log_tw(const rf_cuda_conv_tile_params *p)
{
    int64_t least = INT64_MAX;
    int32_t best = 3;
    for (int32_t log_tw = 3; 1 << log_tw <= p->bm; log_tw++) {
        int64_t cost = tiles_for(p, log_tw) * (4 * p->bm + patch_pixels(p, log_tw));
        if (cost < least) {
            least = cost;
            best = log_tw;
        }
    }
    return best;
}

static int64_t weight_bytes(const rf_cuda_conv_tile_params *p)
{
    return (int64_t)p->chunks * p->ay.taps * p->ax.taps * p->step_bytes;
}

/* Sets the tile's shape for p->bm, p->bn; false if it does not fit into `shared` bytes. */
static bool fit(launch *l, int64_t n_images, weight_mode mode, size_t shared)
{
    rf_cuda_conv_tile_params *p = &l->p;
    const int64_t taps = (int64_t)p->ay.taps * p->ax.taps;
    p->log_tw = best_log_tw(p);
    const int64_t pixels = patch_pixels(p, p->log_tw), tiles = n_images * tiles_for(p, p->log_tw);
    const bool stream = mode == STREAM;
    /* A patch is overwritten when the steps of the one before it are done. */
    p->patches = 1 + (int32_t)(stream && taps ? div_up(RF_CUDA_CONV_AHEAD, taps) : 1);
    const int64_t bytes =
        (stream ? (RF_CUDA_CONV_AHEAD + 1) * (int64_t)p->step_bytes : weight_bytes(p)) +
        p->patches * pixels * RF_CUDA_CONV_PITCH;
    if (bytes > (int64_t)shared || tiles > INT32_MAX)
        return false;
    p->patch_pixels = (int32_t)pixels;
    p->patch_w = taps ? (int32_t)patch_extent(&p->ax, 1 << p->log_tw) : 0;
    p->patch_magic = taps ? (uint32_t)(((uint64_t)1 << 32) / (uint32_t)p->patch_w + 1) : 0;
    p->tiles_x = (int32_t)div_up(p->ax.out, 1 << p->log_tw);
    p->tiles_y = (int32_t)div_up(p->ay.out, p->bm >> p->log_tw);
    p->n_tiles = (int32_t)tiles;
    l->shared_bytes = (size_t)bytes;
    return true;
}

/* A warp makes 64 pixels x 32 channels on tensor cores; else 32 x 64, 64 x 32 or (few) 128 x 4. */
static unsigned threads_for(const rf_cuda_conv_tile_params *p, weight_mode mode)
{
    return (unsigned)(mode == FEW ? p->bm / 128 : p->bm * p->bn / 2048) * 32;
}

static int32_t blocks_per_sm(const launch *l, const limits *d)
{
    int64_t by_shared = (int64_t)d->shared_per_sm / ((int64_t)l->shared_bytes + 1024);
    int64_t by_threads = d->threads_per_sm / l->threads, by_registers = 512 / l->threads;
    int64_t n = by_shared < by_threads ? by_shared : by_threads;
    n = n < by_registers ? n : by_registers; /* 128 a thread */
    return n < 1 ? 1 : (int32_t)n;
}

/* Channels of a block: few padded channels, then wide blocks, which read pixels less often. */
static int32_t block_channels(int32_t oc, bool mma)
{
    const int32_t n128 = (int32_t)div_up(oc, 128) * 128, n64 = (int32_t)div_up(oc, 64) * 64;
    const int32_t n32 = (int32_t)div_up(oc, 32) * 32;
    if (mma && n128 * 10 <= n64 * 11 && n128 * 10 <= n32 * 12)
        return 128;
    return n64 * 10 <= n32 * 12 ? 64 : 32;
}

/* The most pixels a block that fit and leave enough blocks for the device; else the fewest that
 * fit. */
static bool choose_pixels(launch *l, int64_t n_images, weight_mode mode, const limits *d)
{
    rf_cuda_conv_tile_params *p = &l->p;
    const int32_t least = mode == FEW ? 128 : 64;
    int32_t fits = 0;
    for (p->bm = 256; p->bm >= least; p->bm /= 2)
        if (fit(l, n_images, mode, d->shared)) {
            fits = p->bm;
            if ((int64_t)p->n_tiles * l->grid.y >= d->sms)
                break;
        }
    p->bm = fits;
    if (!fits || !fit(l, n_images, mode, d->shared))
        return false;
    l->threads = threads_for(p, mode);
    return true;
}

/* Whether weights should stay in shared memory: if they leave room for 8 warps, and a block has
 * tiles enough to pay for loading them all before it begins. */
static bool resident_pays(const launch *l, const limits *d)
{
    const int32_t blocks = blocks_per_sm(l, d);
    const int64_t bytes = weight_bytes(&l->p), slots = (int64_t)blocks * d->sms;
    return bytes <= MOST_RESIDENT && blocks * (int64_t)l->threads >= 256 &&
           (bytes <= FREE_RESIDENT || (int64_t)l->p.n_tiles * l->grid.y >= 2 * slots);
}

/* Tensor cores, where rounding weights to the dtype of y loses no more than rounding y. */
static bool is_mma(const rf_cuda_conv_node *n)
{
    return n->x->dtype != RF_F32 && n->x->dtype == n->y->dtype;
}

static const rf_cuda_entry *entries_for(const rf_cuda_conv_node *n, bool mma)
{
    const rf_dtype t = n->x->dtype;
    if (mma)
        return &rf_cuda_conv_tile_entries[t == RF_F16 ? RF_CUDA_CONV_MMA_F16
                                                      : RF_CUDA_CONV_MMA_BF16];
    return &rf_cuda_conv_tile_entries[t == RF_F32   ? RF_CUDA_CONV_FMA_F32
                                      : t == RF_F16 ? RF_CUDA_CONV_FMA_F16
                                                    : RF_CUDA_CONV_FMA_BF16];
}

static void set_channels(launch *l, const rf_cuda_conv_node *n, bool mma, int32_t bn)
{
    const int32_t per = CHUNK / (int32_t)rf_dtype_bytes(n->x->dtype);
    l->mma = mma;
    l->p.bn = bn;
    l->p.step_bytes = mma ? bn * CHUNK : bn * per * (int32_t)sizeof(float);
    l->p.o_blocks = (int32_t)div_up(l->p.group_oc, bn);
    l->grid = (dim3){1, (unsigned)(n->groups * l->p.o_blocks), 1};
}

/* Chooses mode and tile; false if nothing fits. */
static bool choose_mode(launch *l, const rf_cuda_conv_node *n, int64_t n_images, const limits *d)
{
    const bool mma = is_mma(n);
    set_channels(l, n, false, FEW_CHANNELS);
    l->entry = entries_for(n, false) + 1;
    if (n->group_oc <= FEW_CHANNELS && choose_pixels(l, n_images, FEW, d))
        return true;
    set_channels(l, n, mma, block_channels(n->group_oc, mma));
    l->entry = entries_for(n, mma) + 1;
    if (mma && l->p.bn <= 64 && choose_pixels(l, n_images, RESIDENT, d) && resident_pays(l, d))
        return true;
    l->entry = entries_for(n, mma);
    return choose_pixels(l, n_images, STREAM, d);
}

/* Chooses kernel, tile and grid for a launch whose axes, channels and outputs are set. */
static bool choose(launch *l, const rf_cuda_conv_node *n, int64_t n_images, const limits *d)
{
    if (!choose_mode(l, n, n_images, d))
        return false;
    /* FMA kernels have vectors of f32, the others those of their dtype. */
    l->p.out.vectors = l->p.out.vectors && (l->mma || n->y->dtype == RF_F32);
    int64_t slots = (int64_t)blocks_per_sm(l, d) * d->sms / l->grid.y;
    slots = slots < 1 ? 1 : slots;
    const int64_t rounds = div_up(l->p.n_tiles, slots); /* all blocks take as many tiles, +-1 */
    l->grid.x = (unsigned)(rounds ? div_up(l->p.n_tiles, rounds) : 0);
    return l->grid.y <= 65535;
}

/* ---- windows ----------------------------------------------------------------------------------*/

/* What does not depend on the window. */
static launch launch_of(const rf_cuda_conv_node *n)
{
    const int32_t item = (int32_t)rf_dtype_bytes(n->x->dtype);
    launch l = {.p = {.ay = n->ay,
                      .ax = n->ax,
                      .out = rf_cuda_conv_out_of(n),
                      .pixel_bytes = n->groups * n->group_ic * item,
                      .group_bytes = n->group_ic * item,
                      .group_oc = n->group_oc,
                      .pad_mode = n->pad_mode,
                      .chunks = (int32_t)div_up((int64_t)n->group_ic * item, CHUNK)}};
    return l;
}

static bool is_matmul(const rf_cuda_conv_axis *a)
{
    return a->taps == 1 && a->stride == 1 && a->start == 0 && a->in == a->out;
}

/* conv2d. 1x1 windows are a matrix product: all pixels of all images become one row. */
static bool plan_conv(const rf_cuda_conv_node *n, const limits *d, launch *l)
{
    int64_t n_images = n->n, pixels = n->n * n->ay.in * n->ax.in;
    *l = launch_of(n);
    if (is_matmul(&n->ay) && is_matmul(&n->ax) && l->p.out.vectors && pixels <= INT32_MAX / 2) {
        l->p.ay = (rf_cuda_conv_axis){1, 1, 1, 1, 0, 1};
        l->p.ax = (rf_cuda_conv_axis){(int32_t)pixels, (int32_t)pixels, 1, 1, 0, 1};
        n_images = 1;
    }
    return choose(l, n, n_images, d);
}

static int32_t gcd(int32_t a, int32_t b)
{
    return b ? gcd(b, a % b) : a;
}

/* One dimension of one phase. Taps k with k * step = rest (mod stride) serve the outputs with
 * o + pad = rest (mod stride), o = first + i * stride; they are taken from the last to the first,
 * because the inputs then come in ascending order. Returns the first output. */
static int32_t phase_axis(const rf_cuda_conv_axis *t, int32_t rest, rf_cuda_conv_axis *axis,
                          int32_t *tap, int32_t *tap_step)
{
    const int32_t pad = -t->start, period = t->stride / gcd(t->stride, t->step);
    const int32_t first = ((rest - pad) % t->stride + t->stride) % t->stride;
    int32_t k = 0;
    *axis = (rf_cuda_conv_axis){.in = t->in, .stride = 1, .step = 1};
    *tap = *tap_step = 0;
    axis->out = first < t->out ? (t->out - first + t->stride - 1) / t->stride : 0;
    while (k < period && k < t->taps && k * t->step % t->stride != rest)
        k++;
    if (k < period && k < t->taps) {
        axis->taps = (t->taps - 1 - k) / period + 1;
        *tap = k + (axis->taps - 1) * period;
        *tap_step = -period;
        const int32_t from = first + pad - *tap * t->step;
        axis->start = from / t->stride - (from % t->stride < 0);
        axis->step = period * t->step / t->stride;
    }
    return first;
}

static int32_t n_phases(const rf_cuda_conv_node *n)
{
    return n->ay.stride * n->ax.stride;
}

static bool plan_phase(const rf_cuda_conv_node *n, int32_t phase, const limits *d, launch *l,
                       rf_cuda_conv_filter *f)
{
    const int64_t *s = n->w->strides;
    *l = launch_of(n);
    *f = (rf_cuda_conv_filter){
        .w = n->w, .group_stride = n->group_ic * s[0], .o_stride = s[1], .c_stride = s[0]};
    const int32_t y = phase_axis(&n->ay, phase / n->ax.stride, &l->p.ay, &f->ky, &f->ky_step);
    const int32_t x = phase_axis(&n->ax, phase % n->ax.stride, &l->p.ax, &f->kx, &f->kx_step);
    if (!l->p.ay.taps || !l->p.ax.taps)
        l->p.ay.taps = l->p.ax.taps = 0;
    l->y_offset = (y * l->p.out.y.y + x * l->p.out.y.x) * (int64_t)rf_dtype_bytes(n->y->dtype);
    l->p.out.y.y *= n->ay.stride;
    l->p.out.y.x *= n->ax.stride;
    return choose(l, n, n->n, d);
}

/* ---- weights ----------------------------------------------------------------------------------*/

typedef struct pack_ctx {
    const rf_cuda_conv_node *n;
    const launch *l;
    const rf_cuda_conv_filter *f;
} pack_ctx;

/* One step's weights, as shared memory has them: halves [bn][32] with 16-byte pieces exchanged by
 * (o / 2) % 4, floats [per][bn]. Channels that do not exist are zeros already. */
static void pack_step(const pack_ctx *c, int64_t from, int32_t chunk, int32_t o0, char *to)
{
    const rf_cuda_conv_node *n = c->n;
    const rf_dtype dtype = c->l->mma ? n->x->dtype : RF_F32;
    const int32_t per = CHUNK / (int32_t)rf_dtype_bytes(n->x->dtype);
    const int32_t bn = c->l->p.bn;
    for (int32_t o = 0; o < bn && o0 + o < n->group_oc; o++)
        for (int32_t k = 0; k < per && chunk * per + k < n->group_ic; k++) {
            const int32_t half = o * per + ((k / 8) ^ (o / 2 % 4)) * 8 + k % 8;
            const float v = rf_cuda_host_load(n->w, from + (o0 + o) * c->f->o_stride +
                                                        (chunk * per + k) * c->f->c_stride);
            rf_cuda_host_store(to, dtype, c->l->mma ? half : k * bn + o, v);
        }
}

static rf_status pack_weights(void *ctx, void *dst, rf_error *err)
{
    (void)err;
    const pack_ctx *c = ctx;
    const rf_cuda_conv_tile_params *p = &c->l->p;
    const rf_cuda_conv_filter *f = c->f;
    const int64_t *s = c->n->w->strides;
    char *to = dst;
    memset(dst, 0, (size_t)weight_bytes(p) * c->l->grid.y);
    for (int32_t g = 0; g < c->n->groups; g++)
        for (int32_t o = 0; o < p->o_blocks; o++)
            for (int32_t chunk = 0; chunk < p->chunks; chunk++)
                for (int32_t ky = 0; ky < p->ay.taps; ky++)
                    for (int32_t kx = 0; kx < p->ax.taps; kx++, to += p->step_bytes)
                        pack_step(c,
                                  g * f->group_stride + (f->ky + ky * f->ky_step) * s[2] +
                                      (f->kx + kx * f->kx_step) * s[3],
                                  chunk, o * p->bn, to);
    return RF_OK;
}

/* Fills in weights and bias. `phase`: of a transposed convolution, which taps are taken. */
static rf_status pack(const rf_kernel_desc *desc, const rf_cuda_conv_node *n, launch *l,
                      const rf_cuda_conv_filter *f, int32_t phase, rf_error *err)
{
    char tag[RF_PACK_TAG_BYTES];
    pack_ctx ctx = {n, l, f};
    int at = snprintf(tag, sizeof tag, "cuda.conv_tile.%s.%s.g%d.bn%d", l->mma ? "mma" : "fma",
                      rf_dtype_name(n->x->dtype), (int)n->groups, (int)l->p.bn);
    if (desc->args.op == RF_OP_CONV_TRANSPOSE2D)
        snprintf(tag + at, sizeof tag - (size_t)at, ".t%dx%d.d%dx%d.p%d", (int)n->ay.stride,
                 (int)n->ax.stride, (int)n->ay.step, (int)n->ax.step, (int)phase);
    RF_TRY(rf_cuda_conv_pack_bias(desc, n, l->p.bn, &l->p.bias, err));
    const size_t bytes = (size_t)weight_bytes(&l->p) * l->grid.y;
    if (bytes)
        RF_TRY(rf_pack_get(desc->packs, n->w->data, tag, bytes, pack_weights, &ctx, &l->p.weights,
                           err));
    return rf_cuda_allow_shared(desc, l->entry, l->shared_bytes, err);
}

/* ---- rows -------------------------------------------------------------------------------------*/

/* What all windows need: x in NHWC with whole 16-byte pieces of channels, constant weights. */
static bool can_tile(const rf_cuda_conv_node *n)
{
    return rf_cuda_conv_plain(n) && rf_cuda_conv_constant(n) && rf_tensor_is_nhwc(n->x) &&
           rf_tensor_elements(n->x) > 0 && n->group_oc > 0 &&
           n->group_ic * (int64_t)rf_dtype_bytes(n->x->dtype) % 16 == 0 &&
           n->x->dims[1] <= 1 << 20 && n->x->dims[2] * n->x->dims[3] <= INT32_MAX;
}

static bool can_conv(const rf_kernel_desc *desc)
{
    const rf_cuda_conv_node n = rf_cuda_conv_node_of(&desc->args);
    const limits least = limits_of(NULL);
    launch l;
    return can_tile(&n) && plan_conv(&n, &least, &l);
}

static bool can_conv_mma(const rf_kernel_desc *desc)
{
    const rf_cuda_conv_node n = rf_cuda_conv_node_of(&desc->args);
    return is_mma(&n) && can_conv(desc);
}

static bool can_phases(const rf_kernel_desc *desc)
{
    const rf_cuda_conv_node n = rf_cuda_conv_node_of(&desc->args);
    const limits least = limits_of(NULL);
    launch l;
    rf_cuda_conv_filter f;
    if (!can_tile(&n) || n_phases(&n) > MAX_PHASES)
        return false;
    for (int32_t p = 0; p < n_phases(&n); p++)
        if (!plan_phase(&n, p, &least, &l, &f))
            return false;
    return true;
}

static void release(rf_env *env, void *ptr)
{
    const state *s = ptr;
    if (s)
        rf_free(env, ptr, sizeof *s + (size_t)s->n * sizeof *s->launches);
}

static rf_status prepare_all(const rf_kernel_desc *desc, const rf_cuda_conv_node *n, state *s,
                             rf_error *err)
{
    const limits d = limits_of(desc->device);
    for (int32_t i = 0; i < s->n; i++) {
        rf_cuda_conv_filter f = rf_cuda_conv_filter_of(n);
        const bool fits = desc->args.op == RF_OP_CONV2D ? plan_conv(n, &d, &s->launches[i])
                                                        : plan_phase(n, i, &d, &s->launches[i], &f);
        if (!fits)
            return rf_fail(err, RF_ERR_INTERNAL,
                           "conv_tile: no tile fits into %zu bytes of shared memory", d.shared);
        RF_TRY(pack(desc, n, &s->launches[i], &f, i, err));
    }
    return RF_OK;
}

static rf_status prepare(const rf_kernel_desc *desc, void **out_state, rf_error *err)
{
    const rf_cuda_conv_node n = rf_cuda_conv_node_of(&desc->args);
    const int32_t count = desc->args.op == RF_OP_CONV2D ? 1 : n_phases(&n);
    const size_t bytes = sizeof(state) + (size_t)count * sizeof(launch);
    *out_state = NULL;
    state *s = rf_alloc(desc->env, bytes, 64);
    if (!s)
        return rf_fail(err, RF_ERR_MEMORY, "no memory for %zu bytes of kernel state", bytes);
    s->n = count;
    rf_status status = prepare_all(desc, &n, s, err);
    if (status != RF_OK) {
        release(desc->env, s);
        return status;
    }
    *out_state = s;
    return RF_OK;
}

static rf_status run(const rf_kernel_call *call, rf_error *err)
{
    const state *s = call->state;
    const rf_op_args *a = &call->args;
    for (int32_t i = 0; i < s->n; i++) {
        const launch *l = &s->launches[i];
        rf_cuda_conv_tile_params p = l->p;
        p.x = a->in[0]->data;
        p.out.y.data = (char *)a->out[0]->data + l->y_offset;
        p.out.res.data = a->op == RF_OP_CONV2D && a->n_in > 3 && a->in[3] ? a->in[3]->data : NULL;
        RF_TRY(rf_cuda_launch(call, l->entry, l->grid, (dim3){l->threads, 1, 1}, l->shared_bytes,
                              &p, err));
    }
    return RF_OK;
}

static const rf_kernel conv_mma = {
    .op = RF_OP_CONV2D,
    .name = "mma",
    .why = "f16 or bf16 NHWC in and out, channels in eights, constant weights: tensor cores",
    .can = can_conv_mma,
    .prepare = prepare,
    .release = release,
    .run = run,
    .in_place = 1u << 3,
    .packed = 1u << 1 | 1u << 2,
};

static const rf_kernel conv_fma = {
    .op = RF_OP_CONV2D,
    .name = "fma",
    .why = "NHWC input with channels in 16-byte pieces, constant weights: f32 arithmetic",
    .can = can_conv,
    .prepare = prepare,
    .release = release,
    .run = run,
    .in_place = 1u << 3,
    .packed = 1u << 1 | 1u << 2,
};

static const rf_kernel phases = {
    .op = RF_OP_CONV_TRANSPOSE2D,
    .name = "phases",
    .why = "NHWC input, constant weights: one tiled convolution per phase of the stride",
    .can = can_phases,
    .prepare = prepare,
    .release = release,
    .run = run,
    .packed = 1u << 1 | 1u << 2,
};

const rf_kernel *const rf_cuda_rows_conv_tile[] = {&conv_mma, &conv_fma, &phases, NULL};
