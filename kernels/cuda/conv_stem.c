/* SPDX-License-Identifier: Apache-2.0
 *
 * The row of convolutions with few input channels.
 */
#include "kernels/cuda/conv_stem.h"

#include <stdio.h>

#include "kernels/cuda/conv_node.h"
#include "kernels/cuda/rows.h"

enum {
    MOST_IC = 4,
    LEAST_OC = RF_CUDA_STEM_CHANNELS,
    LEAST_SHARED = 99 * 1024 /* of every device since sm_80 */
};

typedef struct state {
    rf_cuda_conv_stem_params p;
    size_t shared_bytes;
    int64_t blocks;
} state;

static int64_t div_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static int64_t extent(const rf_cuda_conv_axis *a, int64_t outputs)
{
    return (outputs - 1) * a->stride + (a->taps - 1) * (int64_t)a->step + 1;
}

/* Everything but device pointers; false if shared memory does not suffice. */
static bool plan(const rf_cuda_conv_node *n, state *s)
{
    const int32_t lanes = n->group_oc <= 8 ? 1 : n->group_oc <= 16 ? 2 : 4;
    const int32_t round = lanes * RF_CUDA_STEM_CHANNELS;
    const int32_t pixels = RF_CUDA_STEM_THREADS / lanes * RF_CUDA_STEM_PIXELS;
    rf_cuda_conv_stem_params *p = &s->p;
    *p = (rf_cuda_conv_stem_params){
        .ay = n->ay,
        .ax = n->ax,
        .x = rf_cuda_conv_image_of(n->x),
        .out = rf_cuda_conv_out_of(n),
        .ic = n->group_ic,
        .oc = n->group_oc,
        .oc_padded = (int32_t)div_up(n->group_oc, round) * round,
        .pad_mode = n->pad_mode,
        .lanes_o = lanes,
        .tile_h = pixels / RF_CUDA_STEM_WIDTH,
        .tiles_x = (int32_t)div_up(n->ax.out, RF_CUDA_STEM_WIDTH),
    };
    p->out.vectors = p->out.vectors && n->group_oc % RF_CUDA_STEM_CHANNELS == 0;
    p->tiles_y = (int32_t)div_up(n->ay.out, p->tile_h);
    const int64_t h = extent(&n->ay, p->tile_h), w = extent(&n->ax, RF_CUDA_STEM_WIDTH);
    const int64_t floats = p->ic * ((int64_t)n->ay.taps * n->ax.taps * p->oc_padded + h * w);
    s->blocks = n->n * p->tiles_x * p->tiles_y;
    if (floats * (int64_t)sizeof(float) > LEAST_SHARED || s->blocks > INT32_MAX)
        return false;
    p->patch_h = (int32_t)h;
    p->patch_w = (int32_t)w;
    s->shared_bytes = (size_t)floats * sizeof(float);
    return true;
}

static bool can(const rf_kernel_desc *desc)
{
    const rf_cuda_conv_node n = rf_cuda_conv_node_of(&desc->args);
    state s;
    return rf_cuda_conv_plain(&n) && rf_cuda_conv_constant(&n) && n.groups == 1 &&
           n.group_ic <= MOST_IC && n.group_oc >= LEAST_OC && rf_tensor_elements(n.x) > 0 &&
           n.ay.taps > 0 && n.ax.taps > 0 && plan(&n, &s);
}

typedef struct pack_ctx {
    const rf_tensor *w;
    int32_t oc_padded;
} pack_ctx;

static rf_status pack_weights(void *ctx, void *dst, rf_error *err)
{
    (void)err;
    const pack_ctx *p = ctx;
    const int64_t *d = p->w->dims, *s = p->w->strides;
    float *to = dst;
    for (int64_t c = 0; c < d[1]; c++)
        for (int64_t ky = 0; ky < d[2]; ky++)
            for (int64_t kx = 0; kx < d[3]; kx++)
                for (int64_t o = 0; o < p->oc_padded; o++)
                    *to++ =
                        o < d[0]
                            ? rf_cuda_host_load(p->w, o * s[0] + c * s[1] + ky * s[2] + kx * s[3])
                            : 0;
    return RF_OK;
}

static void release(rf_env *env, void *ptr)
{
    rf_free(env, ptr, sizeof(state));
}

static rf_status pack(const rf_kernel_desc *desc, const rf_cuda_conv_node *n, state *s,
                      rf_error *err)
{
    char tag[RF_PACK_TAG_BYTES];
    pack_ctx ctx = {n->w, s->p.oc_padded};
    const void *weights;
    snprintf(tag, sizeof tag, "cuda.conv_stem.f32.o%d", (int)s->p.oc_padded);
    RF_TRY(rf_pack_get(desc->packs, n->w->data, tag,
                       sizeof(float) * (size_t)(s->p.ic * n->ay.taps * n->ax.taps) *
                           (size_t)s->p.oc_padded,
                       pack_weights, &ctx, &weights, err));
    s->p.weights = weights;
    RF_TRY(rf_cuda_conv_pack_bias(desc, n, s->p.lanes_o * RF_CUDA_STEM_CHANNELS, &s->p.bias, err));
    return rf_cuda_allow_shared(desc, &rf_cuda_conv_stem_entries[RF_CUDA_CONV_STEM],
                                s->shared_bytes, err);
}

static rf_status prepare(const rf_kernel_desc *desc, void **out_state, rf_error *err)
{
    const rf_cuda_conv_node n = rf_cuda_conv_node_of(&desc->args);
    *out_state = NULL;
    state *s = rf_alloc(desc->env, sizeof *s, 64);
    if (!s)
        return rf_fail(err, RF_ERR_MEMORY, "no memory for %zu bytes of kernel state", sizeof *s);
    (void)plan(&n, s); /* `can` has asked */
    rf_status status = pack(desc, &n, s, err);
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
    rf_cuda_conv_stem_params p = s->p;
    p.x.data = a->in[0]->data;
    p.out.y.data = a->out[0]->data;
    p.out.res.data = a->n_in > 3 && a->in[3] ? a->in[3]->data : NULL;
    return rf_cuda_launch(call, &rf_cuda_conv_stem_entries[RF_CUDA_CONV_STEM],
                          (dim3){(unsigned)s->blocks, 1, 1}, (dim3){RF_CUDA_STEM_THREADS, 1, 1},
                          s->shared_bytes, &p, err);
}

static const rf_kernel stem = {
    .op = RF_OP_CONV2D,
    .name = "stem",
    .why = "at most 4 channels in any layout, 8 or more out, constant weights",
    .can = can,
    .prepare = prepare,
    .release = release,
    .run = run,
    .in_place = 1u << 3,
    .packed = 1u << 1 | 1u << 2,
};

const rf_kernel *const rf_cuda_rows_conv_stem[] = {&stem, NULL};
