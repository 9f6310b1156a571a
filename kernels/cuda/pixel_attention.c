/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of PIXEL_ATTENTION: NHWC tiles in half (tensor cores) and in f32, and any strides. Each
 * makes the plane s in scratch first.
 */
#include "kernels/cuda/pixel_attention.h"

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/rows.h"
#include "runtime/base/half.h"

enum { R, MAP, CA, SA_W, SA_B, PA_W, PA_B, X, Y }; /* inputs */

static rf_cuda_pa_tensor tensor_of(const rf_tensor *t)
{
    rf_cuda_pa_tensor r = {.data = t->data, .dtype = (int32_t)t->dtype};
    for (int i = 0; i < t->rank; i++)
        r.strides[i] = t->strides[i];
    return r;
}

static const rf_tensor *in_y(const rf_op_args *args)
{
    return args->n_in > Y ? args->in[Y] : NULL;
}

/* --- tiles ------------------------------------------------------------------------------------ */

enum { GRID_MAX = 65535 }; /* blocks in y and z */

typedef struct pa_state {
    const void *weights; /* on the device; `sums` lie behind */
    size_t sums_at;
    float sa_b, sa_w[2 * RF_CUDA_PA_MAX_K * RF_CUDA_PA_MAX_K];
} pa_state;

static float get(const rf_tensor *t, int64_t i)
{
    if (t->dtype == RF_F32)
        return ((const float *)t->data)[i];
    uint16_t h = ((const uint16_t *)t->data)[i];
    return t->dtype == RF_F16 ? rf_f16_to_f32(h) : rf_bf16_to_f32(h);
}

static bool tile_can(const rf_kernel_desc *d, bool half, int channels)
{
    const rf_op_args *args = &d->args;
    const rf_tensor *r = args->in[R];
    const rf_tensor *images[] = {r, args->in[X], in_y(args), args->out[0]};
    int64_t k = args->in[SA_W]->dims[2];
    if ((r->dtype != RF_F32) != half || r->dims[1] % channels || !r->dims[1] || k < 3 ||
        k > RF_CUDA_PA_MAX_K || !rf_cuda_same_float(images, 4))
        return false;
    for (int i = 0; i < 4; i++)
        if (images[i] && !rf_tensor_is_nhwc(images[i]))
            return false;
    if (r->dims[0] > GRID_MAX || r->dims[2] > GRID_MAX * RF_CUDA_PA_S_ROWS ||
        r->dims[3] * r->dims[1] > INT32_MAX / RF_CUDA_PA_TILE)
        return false;
    for (int i = SA_W; i <= PA_B; i++)
        if (!rf_cuda_is_float(args->in[i]) || !rf_tensor_is_contiguous(args->in[i]) ||
            (i < PA_B && !args->in[i]->data))
            return false;
    return args->in[MAP]->dtype == RF_F32 && rf_cuda_is_float(args->in[CA]);
}

static bool half_can(const rf_kernel_desc *d)
{
    return tile_can(d, true, 8);
}

static bool f32_can(const rf_kernel_desc *d)
{
    return tile_can(d, false, 4);
}

static size_t tile_scratch(const rf_kernel_desc *d)
{
    const rf_tensor *r = d->args.in[R];
    return (size_t)(r->dims[0] * r->dims[2] * r->dims[3]) * rf_dtype_bytes(r->dtype);
}

typedef struct pack_ctx {
    const rf_tensor *w;
    rf_dtype dtype; /* of the tiles */
} pack_ctx;

static uint32_t half_bits(rf_dtype dtype, float v)
{
    return dtype == RF_F16 ? rf_f32_to_f16(v) : rf_f32_to_bf16(v);
}

/* One channel's window over one source, as pixel_attention.h describes it. */
static void pack_pairs(const rf_tensor *w, int64_t first, rf_dtype dtype, uint32_t *to)
{
    const int64_t k = w->dims[2];
    for (int pair = 0; pair < RF_CUDA_PA_PAIRS; pair++)
        for (int64_t dy = 0; dy < RF_CUDA_PA_PAIR_ROWS; dy++) {
            int64_t i = pair < 4 ? 2 * pair : 2 * (pair - 4) - 1;
            uint32_t word = 0;
            for (int side = 0; side < 2; side++)
                if (dy < k && i + side >= 0 && i + side < k)
                    word |= half_bits(dtype, get(w, first + dy * k + i + side)) << 16 * side;
            *to++ = word;
        }
}

static rf_status pack_weights(void *ctx_ptr, void *dst, rf_error *err)
{
    (void)err;
    const pack_ctx *ctx = ctx_ptr;
    int64_t c = ctx->w->dims[0], k = ctx->w->dims[2], taps = k * k;
    float *plain = dst;
    uint32_t *pairs = dst;
    float *sums = plain + c * 2 * (ctx->dtype == RF_F32 ? taps : RF_CUDA_PA_SOURCE_WORDS);
    for (int64_t i = 0; i < c; i++) {
        double sum = 0;
        for (int64_t source = 0; source < 2; source++) {
            int64_t first = (i * 2 + source) * taps;
            if (ctx->dtype != RF_F32)
                pack_pairs(ctx->w, first, source ? RF_F16 : ctx->dtype,
                           pairs + (i * 2 + source) * RF_CUDA_PA_SOURCE_WORDS);
            for (int64_t t = 0; t < taps; t++) {
                float w = get(ctx->w, first + t);
                if (ctx->dtype == RF_F32)
                    plain[(source * taps + t) * c + i] = w;
                sum += source ? (double)w : 0;
            }
        }
        sums[i] = (float)sum;
    }
    return RF_OK;
}

static int entry_of(rf_dtype dtype, int f32, int f16, int bf16, int64_t k)
{
    return (dtype == RF_F32 ? f32 : dtype == RF_F16 ? f16 : bf16) + (int)k / 2 - 1;
}

static const rf_cuda_entry *tile_entry(rf_dtype dtype, int64_t k)
{
    return &rf_cuda_pixel_attention_entries[entry_of(dtype, RF_CUDA_PA_F32, RF_CUDA_PA_F16,
                                                     RF_CUDA_PA_BF16, k)];
}

static size_t tile_shared(const rf_op_args *args)
{
    if (args->in[R]->dtype == RF_F32)
        return RF_CUDA_PA_F32_SHARED;
    return RF_CUDA_PA_HALF_SHARED + (in_y(args) ? RF_CUDA_PA_HALF_SHARED_Y : 0);
}

static rf_status tile_prepare(const rf_kernel_desc *d, void **out_state, rf_error *err)
{
    const rf_tensor *sa_w = d->args.in[SA_W], *pa_w = d->args.in[PA_W];
    pack_ctx ctx = {pa_w, d->args.in[R]->dtype};
    int64_t c = pa_w->dims[0], k = pa_w->dims[2];
    const char *tag = ctx.dtype == RF_F32   ? "cuda.pixel_attention.f32"
                      : ctx.dtype == RF_F16 ? "cuda.pixel_attention.f16"
                                            : "cuda.pixel_attention.bf16";
    RF_TRY(rf_cuda_allow_shared(d, tile_entry(ctx.dtype, k),
                                RF_CUDA_PA_HALF_SHARED + RF_CUDA_PA_HALF_SHARED_Y, err));
    pa_state *state;
    RF_TRY(rf_alloc_array(d->env, 1, sizeof *state, &state, err));
    state->sums_at =
        (size_t)(c * 2 * (ctx.dtype == RF_F32 ? k * k : RF_CUDA_PA_SOURCE_WORDS)) * sizeof(float);
    rf_status status =
        rf_pack_get(d->packs, pa_w->data, tag, state->sums_at + (size_t)c * sizeof(float),
                    pack_weights, &ctx, &state->weights, err);
    if (status != RF_OK) {
        rf_free(d->env, state, sizeof *state);
        return status;
    }
    state->sa_b = get(d->args.in[SA_B], 0);
    for (int64_t i = 0; i < 2 * k * k; i++)
        state->sa_w[i] = get(sa_w, i);
    *out_state = state;
    return RF_OK;
}

static void release(rf_env *env, void *state)
{
    rf_free(env, state, sizeof(pa_state));
}

static unsigned blocks_for(int64_t n, int tile)
{
    return (unsigned)((n + tile - 1) / tile);
}

static rf_status launch_s(const rf_kernel_call *call, rf_error *err)
{
    enum { COLS = RF_CUDA_PA_S_COLS, ROWS = RF_CUDA_PA_S_ROWS };
    const pa_state *state = call->state;
    const rf_tensor *r = call->args.in[R], *map = call->args.in[MAP];
    int64_t k = call->args.in[SA_W]->dims[2];
    rf_cuda_pa_s_params p = {.map = map->data,
                             .map_n = map->strides[0],
                             .map_channel = map->strides[1],
                             .map_y = map->strides[2],
                             .map_x = map->strides[3],
                             .s = call->scratch,
                             .h = (int32_t)r->dims[2],
                             .w = (int32_t)r->dims[3],
                             .bias = state->sa_b};
    for (int64_t i = 0; i < 2 * k * k; i++)
        p.weights[i] = state->sa_w[i];
    int entry = entry_of(r->dtype, RF_CUDA_PA_S_F32, RF_CUDA_PA_S_F16, RF_CUDA_PA_S_F16, k);
    dim3 grid = {blocks_for(r->dims[3], COLS), blocks_for(r->dims[2], ROWS), (unsigned)r->dims[0]};
    return rf_cuda_launch(call, &rf_cuda_pixel_attention_entries[entry], grid,
                          (dim3){COLS * ROWS / RF_CUDA_PA_S_STEP, 1, 1},
                          (size_t)(2 * (COLS + k - 1) * (ROWS + k - 1)) * sizeof(float), &p, err);
}

static rf_status tile_run(const rf_kernel_call *call, rf_error *err)
{
    const pa_state *state = call->state;
    const rf_tensor *r = call->args.in[R], *y = in_y(&call->args);
    rf_cuda_pa_tile_params p = {.r = r->data,
                                .x = call->args.in[X]->data,
                                .y = y ? y->data : NULL,
                                .out = call->args.out[0]->data,
                                .s = call->scratch,
                                .weights = state->weights,
                                .sums =
                                    (const float *)((const char *)state->weights + state->sums_at),
                                .bias = call->args.in[PA_B]->data,
                                .bias_dtype = (int32_t)call->args.in[PA_B]->dtype,
                                .ca = tensor_of(call->args.in[CA]),
                                .c = (int32_t)r->dims[1],
                                .h = (int32_t)r->dims[2],
                                .w = (int32_t)r->dims[3],
                                .c_blocks = (int32_t)blocks_for(r->dims[1], RF_CUDA_PA_CHANNELS)};
    RF_TRY(launch_s(call, err));
    dim3 grid = {blocks_for(r->dims[3], RF_CUDA_PA_TILE) * (unsigned)p.c_blocks,
                 blocks_for(r->dims[2], RF_CUDA_PA_TILE), (unsigned)r->dims[0]};
    return rf_cuda_launch(call, tile_entry(r->dtype, call->args.in[SA_W]->dims[2]), grid,
                          (dim3){RF_CUDA_PA_THREADS, 1, 1}, tile_shared(&call->args), &p, err);
}

static const rf_kernel half_tiles = {
    .op = RF_OP_PIXEL_ATTENTION,
    .name = "pixel_attention_mma",
    .why = "half NHWC in groups of 8 channels, k = 3, 5 or 7: windows as banded products",
    .can = half_can,
    .scratch = tile_scratch,
    .prepare = tile_prepare,
    .release = release,
    .run = tile_run,
    .in_place = 1u << X | 1u << Y,
    .packed = 1u << SA_W | 1u << SA_B | 1u << PA_W,
};

static const rf_kernel f32_tiles = {
    .op = RF_OP_PIXEL_ATTENTION,
    .name = "pixel_attention_f32",
    .why = "f32 NHWC in groups of 4 channels, k = 3, 5 or 7",
    .can = f32_can,
    .scratch = tile_scratch,
    .prepare = tile_prepare,
    .release = release,
    .run = tile_run,
    .in_place = 1u << X | 1u << Y,
    .packed = 1u << SA_W | 1u << SA_B | 1u << PA_W,
};

/* --- any strides ------------------------------------------------------------------------------ */

static bool any_can(const rf_kernel_desc *d)
{
    for (int i = 0; i < d->args.n_in; i++)
        if (!rf_cuda_is_float(d->args.in[i]))
            return false;
    return rf_cuda_is_float(d->args.out[0]);
}

static size_t any_scratch(const rf_kernel_desc *d)
{
    const rf_tensor *r = d->args.in[R];
    return (size_t)(r->dims[0] * r->dims[2] * r->dims[3]) * sizeof(float);
}

static rf_status any_run(const rf_kernel_call *call, rf_error *err)
{
    const rf_op_args *args = &call->args;
    const rf_tensor *r = args->in[R], *y = in_y(args), *out = args->out[0];
    rf_cuda_pa_any_params p = {.r = tensor_of(r),
                               .map = tensor_of(args->in[MAP]),
                               .ca = tensor_of(args->in[CA]),
                               .sa_w = tensor_of(args->in[SA_W]),
                               .sa_b = tensor_of(args->in[SA_B]),
                               .pa_w = tensor_of(args->in[PA_W]),
                               .pa_b = tensor_of(args->in[PA_B]),
                               .x = tensor_of(args->in[X]),
                               .out = tensor_of(out),
                               .s = call->scratch,
                               .n = r->dims[0],
                               .c = r->dims[1],
                               .h = r->dims[2],
                               .w = r->dims[3],
                               .k = (int32_t)args->in[SA_W]->dims[2],
                               .channels_last = out->strides[1] < out->strides[3]};
    if (y)
        p.y = tensor_of(y);
    const rf_cuda_entry *entries = rf_cuda_pixel_attention_entries;
    int64_t pixels = p.n * p.h * p.w;
    dim3 block = {RF_CUDA_PA_THREADS, 1, 1};
    RF_TRY(rf_cuda_launch(call, &entries[RF_CUDA_PA_ANY_S],
                          rf_cuda_grid(call, pixels, RF_CUDA_PA_THREADS), block, 0, &p, err));
    return rf_cuda_launch(call, &entries[RF_CUDA_PA_ANY],
                          rf_cuda_grid(call, pixels * p.c, RF_CUDA_PA_THREADS), block, 0, &p, err);
}

static const rf_kernel any = {
    .op = RF_OP_PIXEL_ATTENTION,
    .name = "pixel_attention",
    .why = "any strides and float dtypes",
    .can = any_can,
    .scratch = any_scratch,
    .run = any_run,
    .in_place = 1u << X | 1u << Y,
};

const rf_kernel *const rf_cuda_rows_pixel_attention[] = {&half_tiles, &f32_tiles, &any, NULL};
