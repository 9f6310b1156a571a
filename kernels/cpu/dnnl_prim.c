/* SPDX-License-Identifier: Apache-2.0
 *
 * One oneDNN primitive as kernel state (dnnl_prim.h).
 *
 * A residual is a second source (a binary post-op). The other form, a sum with what dst holds,
 * would let the planner reuse the residual's buffer, but it adds in another order: a result would
 * depend on where the planner puts it.
 *
 * Scratchpads are the caller's (in library mode every primitive hides a buffer), the thread count
 * is set before anything is created (it is baked in), and an implementation called "ref" is never
 * taken: it is slower than ours by orders of magnitude. Packed weights go through the model's
 * cache under a tag that spells out their layout, so shapes that agree on it share them.
 */
#include "kernels/cpu/dnnl_prim.h"

#ifdef RF_HAVE_DNNL

#include "kernels/cpu/conv_common.h"

#include <dlfcn.h>
#include <omp.h>
#include <pthread.h>
#include <stdio.h>

/* --- the library
 * --------------------------------------------------------------------------------- */

#define FUNCTIONS(X)                                                                               \
    X(engine_create)                                                                               \
    X(stream_create)                                                                               \
    X(stream_destroy)                                                                              \
    X(set_max_cpu_isa)                                                                             \
    X(memory_desc_init_by_strides)                                                                 \
    X(memory_desc_init_by_tag)                                                                     \
    X(memory_desc_get_size)                                                                        \
    X(memory_create)                                                                               \
    X(memory_destroy)                                                                              \
    X(memory_set_data_handle)                                                                      \
    X(dilated_convolution_forward_desc_init)                                                       \
    X(matmul_desc_init)                                                                            \
    X(primitive_attr_create)                                                                       \
    X(primitive_attr_destroy)                                                                      \
    X(primitive_attr_set_scratchpad_mode)                                                          \
    X(primitive_attr_set_output_scales)                                                            \
    X(primitive_attr_set_post_ops)                                                                 \
    X(post_ops_create)                                                                             \
    X(post_ops_destroy)                                                                            \
    X(post_ops_append_eltwise)                                                                     \
    X(post_ops_append_sum)                                                                         \
    X(post_ops_append_binary)                                                                      \
    X(primitive_desc_create)                                                                       \
    X(primitive_desc_destroy)                                                                      \
    X(primitive_desc_query)                                                                        \
    X(primitive_desc_query_md)                                                                     \
    X(reorder_primitive_desc_create)                                                               \
    X(primitive_create)                                                                            \
    X(primitive_destroy)                                                                           \
    X(primitive_execute)

static struct {
#define X(name) __typeof__(&dnnl_##name) name;
    FUNCTIONS(X)
#undef X
    dnnl_engine_t engine; /* one per process: it has no state */
    bool ok;
} lib;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void open_library(void)
{
    const rf_cpu_features *f = rf_cpu_get_features();
    void *handle = f->avx2 ? dlopen("libdnnl.so.2", RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!handle)
        return;
    bool found = true;
#define X(name)                                                                                    \
    lib.name = (__typeof__(lib.name))dlsym(handle, "dnnl_" #name);                                 \
    found = found && lib.name;
    FUNCTIONS(X)
#undef X
    if (!found)
        return;
    /* Process-wide, and only before the first primitive: what REFOLD_CPU forbids is not used. */
    dnnl_cpu_isa_t isa = !f->avx512 ? dnnl_cpu_isa_avx2 : dnnl_cpu_isa_avx512_core;
    if (!f->avx512_bf16 && lib.set_max_cpu_isa(isa) != dnnl_success)
        return;
    lib.ok = lib.engine_create(&lib.engine, dnnl_cpu, 0) == dnnl_success;
}

bool rf_dnnl_available(void)
{
    pthread_once(&once, open_library);
    return lib.ok;
}

/* --- descriptors
 * --------------------------------------------------------------------------------- */

bool rf_dnnl_md(dnnl_memory_desc_t *out, int rank, const int64_t *dims, rf_dtype dtype,
                const int64_t *strides)
{
    dnnl_dims_t d = {0}, s = {0};
    memcpy(d, dims, (size_t)rank * sizeof *d);
    memcpy(s, strides, (size_t)rank * sizeof *s);
    return lib.memory_desc_init_by_strides(out, rank, d, dtype == RF_BF16 ? dnnl_bf16 : dnnl_f32,
                                           s) == dnnl_success;
}

/* The weights as the primitive is asked for them: any layout if they can be packed. */
static bool wanted_weights(const rf_dnnl_node *n, dnnl_memory_desc_t *out)
{
    *out = n->weights;
    if (!n->packed)
        return true;
    /* Packed weights take the dtype of the source. */
    return lib.memory_desc_init_by_tag(out, n->weights.ndims, n->weights.dims, n->src.data_type,
                                       dnnl_format_tag_any) == dnnl_success;
}

bool rf_dnnl_conv_desc(rf_dnnl_node *n, const int64_t stride[2], const int64_t dilation[2],
                       const int64_t before[2], const int64_t after[2])
{
    dnnl_memory_desc_t w;
    /* The API's arrays have room for 12 dims. */
    dnnl_dims_t s = {stride[0], stride[1]}, d = {dilation[0] - 1, dilation[1] - 1};
    dnnl_dims_t l = {before[0], before[1]}, r = {after[0], after[1]};
    return wanted_weights(n, &w) &&
           lib.dilated_convolution_forward_desc_init(
               &n->op.conv, dnnl_forward_inference, dnnl_convolution_direct, &n->src, &w,
               n->bias_n ? &n->bias : NULL, &n->dst, s, d, l, r) == dnnl_success;
}

bool rf_dnnl_matmul_desc(rf_dnnl_node *n)
{
    dnnl_memory_desc_t w;
    return wanted_weights(n, &w) &&
           lib.matmul_desc_init(&n->op.matmul, &n->src, &w, n->bias_n ? &n->bias : NULL, &n->dst) ==
               dnnl_success;
}

static bool append_act(const rf_dnnl_node *n, dnnl_post_ops_t ops)
{
    static const dnnl_alg_kind_t algorithms[] = {
        [RF_ACT_RELU] = dnnl_eltwise_relu,           [RF_ACT_LEAKY] = dnnl_eltwise_relu,
        [RF_ACT_CLAMP] = dnnl_eltwise_clip,          [RF_ACT_SIGMOID] = dnnl_eltwise_logistic,
        [RF_ACT_SILU] = dnnl_eltwise_swish,          [RF_ACT_GELU] = dnnl_eltwise_gelu_erf,
        [RF_ACT_GELU_TANH] = dnnl_eltwise_gelu_tanh, [RF_ACT_TANH] = dnnl_eltwise_tanh,
        [RF_ACT_HARDSWISH] = dnnl_eltwise_hardswish};
    bool parameters = n->act == RF_ACT_LEAKY || n->act == RF_ACT_CLAMP;
    float alpha = parameters ? n->alpha : n->act == RF_ACT_SILU ? 1 : 0;
    float beta = n->act == RF_ACT_CLAMP ? n->beta : 0;
    return n->act == RF_ACT_NONE ||
           lib.post_ops_append_eltwise(ops, 1, algorithms[n->act], alpha, beta) == dnnl_success;
}

static bool append_res(const rf_dnnl_node *n, dnnl_post_ops_t ops)
{
    return !n->has_res || lib.post_ops_append_binary(ops, dnnl_binary_add, &n->dst) == dnnl_success;
}

static dnnl_primitive_attr_t attr_create(const rf_dnnl_node *n)
{
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t ops = NULL;
    bool ok =
        lib.primitive_attr_create(&attr) == dnnl_success &&
        lib.post_ops_create(&ops) == dnnl_success &&
        lib.primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user) == dnnl_success;
    if (ok && n->scale != 1)
        ok = lib.primitive_attr_set_output_scales(attr, 1, 0, &n->scale) == dnnl_success;
    if (ok && n->res_before)
        ok = append_res(n, ops) && append_act(n, ops);
    else if (ok)
        ok = append_act(n, ops) && append_res(n, ops);
    ok = ok && lib.primitive_attr_set_post_ops(attr, ops) == dnnl_success;
    if (ops)
        lib.post_ops_destroy(ops);
    if (ok)
        return attr;
    if (attr)
        lib.primitive_attr_destroy(attr);
    return NULL;
}

/* NULL if the library has no optimised implementation. */
static dnnl_primitive_desc_t pd_create(const rf_dnnl_node *n)
{
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_attr_t attr = attr_create(n);
    const char *impl = "ref";
    if (!attr)
        return NULL;
    int saved = omp_get_max_threads();
    omp_set_num_threads(n->n_threads);
    dnnl_status_t status = lib.primitive_desc_create(&pd, &n->op, attr, lib.engine, NULL);
    omp_set_num_threads(saved);
    lib.primitive_attr_destroy(attr);
    if (status != dnnl_success)
        return NULL;
    lib.primitive_desc_query(pd, dnnl_query_impl_info_str, 0, (void *)&impl);
    if (!strstr(impl, "ref"))
        return pd;
    lib.primitive_desc_destroy(pd);
    return NULL;
}

static size_t scratch_of(const_dnnl_primitive_desc_t pd)
{
    const dnnl_memory_desc_t *md = lib.primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    return md ? lib.memory_desc_get_size(md) : 0;
}

bool rf_dnnl_can(const rf_dnnl_node *n)
{
    dnnl_primitive_desc_t pd = pd_create(n);
    if (pd)
        lib.primitive_desc_destroy(pd);
    return pd != NULL;
}

size_t rf_dnnl_scratch(const rf_dnnl_node *n)
{
    dnnl_primitive_desc_t pd = pd_create(n);
    size_t bytes = pd ? scratch_of(pd) : 0;
    if (pd)
        lib.primitive_desc_destroy(pd);
    return bytes;
}

/* --- packed weights
 * ------------------------------------------------------------------------------ */

/* Names the layout of packed weights. */
static void tag_of(const dnnl_memory_desc_t *md, int64_t groups, char *text, size_t bytes)
{
    const dnnl_blocking_desc_t *b = &md->format_desc.blocking;
    int at = snprintf(text, bytes, "cpu.dnnl.%d.g%lld.", (int)md->data_type, (long long)groups);
    for (int i = 0; i < md->ndims; i++) { /* rank of each dim among the strides */
        int rank = 0;
        for (int k = 0; k < md->ndims; k++)
            rank += b->strides[k] > b->strides[i] || (b->strides[k] == b->strides[i] && k < i);
        at += snprintf(text + at, bytes - (size_t)at, "%d", rank);
    }
    for (int i = 0; i < b->inner_nblks && at < (int)bytes - 24; i++)
        at += snprintf(text + at, bytes - (size_t)at, ".%c%lld", 'a' + (int)b->inner_idxs[i],
                       (long long)b->inner_blks[i]);
}

typedef struct reorder_ctx {
    const rf_dnnl_node *node;
    const dnnl_memory_desc_t *to;
    dnnl_stream_t stream;
} reorder_ctx;

static rf_status reorder(void *ctx, void *dst, rf_error *err)
{
    const reorder_ctx *c = ctx;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t prim = NULL;
    dnnl_memory_t from = NULL, to = NULL;
    bool ok =
        lib.memory_create(&from, &c->node->weights, lib.engine, c->node->w->data) == dnnl_success &&
        lib.memory_create(&to, c->to, lib.engine, dst) == dnnl_success &&
        lib.reorder_primitive_desc_create(&pd, &c->node->weights, lib.engine, c->to, lib.engine,
                                          NULL) == dnnl_success &&
        lib.primitive_create(&prim, pd) == dnnl_success;
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
    ok = ok && lib.primitive_execute(prim, c->stream, 2, args) == dnnl_success;
    if (prim)
        lib.primitive_destroy(prim);
    if (pd)
        lib.primitive_desc_destroy(pd);
    if (from)
        lib.memory_destroy(from);
    if (to)
        lib.memory_destroy(to);
    return ok ? RF_OK : rf_fail(err, RF_ERR_MEMORY, "oneDNN could not pack weights");
}

/* --- state
 * --------------------------------------------------------------------------------------- */

enum { SRC, WEIGHTS, BIAS, DST, RES, SCRATCH, N_MEMORIES };

typedef struct dnnl_state {
    size_t bytes;
    dnnl_primitive_t prim;
    dnnl_memory_t memories[N_MEMORIES]; /* NULL: not an argument of this primitive */
    dnnl_exec_arg_t args[N_MEMORIES];
    int n_args;
    dnnl_stream_t stream;
    rf_cpu_pack weights;
    float bias[];
} dnnl_state;

void rf_dnnl_release(rf_env *env, void *state)
{
    dnnl_state *s = state;
    if (!s)
        return;
    if (s->prim)
        lib.primitive_destroy(s->prim);
    for (int i = 0; i < N_MEMORIES; i++)
        if (s->memories[i])
            lib.memory_destroy(s->memories[i]);
    if (s->stream)
        lib.stream_destroy(s->stream);
    rf_cpu_pack_release(env, &s->weights);
    rf_free(env, s, s->bytes);
}

static bool add_memory(dnnl_state *s, int which, int arg, const dnnl_memory_desc_t *md,
                       const void *handle)
{
    if (lib.memory_create(&s->memories[which], md, lib.engine, (void *)(uintptr_t)handle) !=
        dnnl_success)
        return false;
    s->args[s->n_args++] = (dnnl_exec_arg_t){arg, s->memories[which]};
    return true;
}

static rf_status pack(dnnl_state *s, const rf_dnnl_node *n, const rf_kernel_desc *desc,
                      const dnnl_memory_desc_t *md, rf_error *err)
{
    reorder_ctx ctx = {n, md, s->stream};
    char tag[RF_PACK_TAG_BYTES];
    tag_of(md, n->groups, tag, sizeof tag);
    return rf_cpu_pack_get(desc, n->w->data, tag, lib.memory_desc_get_size(md), reorder, &ctx,
                           &s->weights, err);
}

static rf_status fill_state(dnnl_state *s, const rf_dnnl_node *n, const rf_kernel_desc *desc,
                            dnnl_primitive_desc_t pd, rf_error *err)
{
    const dnnl_memory_desc_t *w = lib.primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    const dnnl_memory_desc_t *pad = lib.primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    const int res_position = !n->res_before && n->act != RF_ACT_NONE;
    bool ok =
        lib.stream_create(&s->stream, lib.engine, dnnl_stream_default_flags) == dnnl_success &&
        lib.primitive_create(&s->prim, pd) == dnnl_success;
    if (ok && n->packed)
        RF_TRY(pack(s, n, desc, w, err));
    conv_fill_bias(n->b, n->bias_n, n->bias_n, s->bias);
    ok = ok && add_memory(s, SRC, DNNL_ARG_SRC, &n->src, NULL) &&
         add_memory(s, WEIGHTS, DNNL_ARG_WEIGHTS, w, s->weights.data) &&
         add_memory(s, DST, DNNL_ARG_DST, &n->dst, NULL);
    if (n->bias_n)
        ok = ok && add_memory(s, BIAS, DNNL_ARG_BIAS, &n->bias, s->bias);
    if (n->has_res)
        ok = ok && add_memory(s, RES, DNNL_ARG_ATTR_MULTIPLE_POST_OP(res_position) | DNNL_ARG_SRC_1,
                              &n->dst, NULL);
    if (scratch_of(pd))
        ok = ok && add_memory(s, SCRATCH, DNNL_ARG_SCRATCHPAD, pad, NULL);
    return ok ? RF_OK : rf_fail(err, RF_ERR_MEMORY, "oneDNN could not create a primitive");
}

rf_status rf_dnnl_prepare(const rf_dnnl_node *n, const rf_kernel_desc *desc, void **out_state,
                          rf_error *err)
{
    dnnl_primitive_desc_t pd = pd_create(n);
    size_t bytes = sizeof(dnnl_state) + (size_t)n->bias_n * sizeof(float);
    *out_state = NULL;
    if (!pd) /* `can` saw them: only memory can be missing */
        return rf_fail(err, RF_ERR_MEMORY, "oneDNN could not describe a primitive again");
    dnnl_state *s = rf_alloc(desc->env, bytes, 64);
    rf_status status = RF_OK;
    if (!s) {
        status = rf_fail(err, RF_ERR_MEMORY, "no memory for %zu bytes of kernel state", bytes);
    } else {
        memset(s, 0, bytes);
        s->bytes = bytes;
        int saved = omp_get_max_threads();
        omp_set_num_threads(n->n_threads);
        status = fill_state(s, n, desc, pd, err);
        omp_set_num_threads(saved);
    }
    lib.primitive_desc_destroy(pd);
    if (status == RF_OK)
        *out_state = s;
    else
        rf_dnnl_release(desc->env, s);
    return status;
}

rf_status rf_dnnl_run(void *state, void *src, void *weights, void *res, void *dst, void *scratch,
                      rf_error *err)
{
    dnnl_state *s = state;
    void *const handles[N_MEMORIES] = {[SRC] = src,
                                       [WEIGHTS] = s->weights.data ? NULL : weights,
                                       [DST] = dst,
                                       [RES] = res,
                                       [SCRATCH] = scratch};
    for (int i = 0; i < N_MEMORIES; i++)
        if (handles[i] && s->memories[i])
            lib.memory_set_data_handle(s->memories[i], handles[i]);
    if (lib.primitive_execute(s->prim, s->stream, s->n_args, s->args) != dnnl_success)
        return rf_fail(err, RF_ERR_MEMORY, "oneDNN could not run a primitive");
    return RF_OK;
}
#endif
