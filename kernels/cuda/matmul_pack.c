/* SPDX-License-Identifier: Apache-2.0
 *
 * Constants of matrix products, packed once for all rows that multiply on tensor cores: right
 * operands dense along the sum, so that 16-byte pieces are whole whatever the given strides and
 * dtype; biases dense along the row.
 */
#include "kernels/cuda/matmul.h"

#include "runtime/base/half.h"

#include <stdio.h>

typedef struct packing {
    const rf_tensor *b;
    bool trans;
    rf_dtype dtype;
    int64_t k, n, pitch, matrices;
} packing;

static packing packing_of(const rf_op_args *args)
{
    const rf_tensor *b = args->in[1];
    bool trans = args->attrs->matmul.trans_b;
    packing p = {.b = b,
                 .trans = trans,
                 .dtype = args->in[0]->dtype,
                 .k = b->dims[b->rank - (trans ? 1 : 2)],
                 .n = b->dims[b->rank - (trans ? 2 : 1)],
                 .matrices = 1};
    int64_t piece = 16 / (int64_t)rf_dtype_bytes(p.dtype);
    p.pitch = (p.k + piece - 1) / piece * piece;
    for (int i = 0; i < b->rank - 2; i++)
        p.matrices *= b->dims[i];
    return p;
}

static float element(const rf_tensor *t, int64_t at)
{
    return t->dtype == RF_F32   ? ((const float *)t->data)[at]
           : t->dtype == RF_F16 ? rf_f16_to_f32(((const uint16_t *)t->data)[at])
                                : rf_bf16_to_f32(((const uint16_t *)t->data)[at]);
}

static void put(void *dst, int64_t at, rf_dtype dtype, float v)
{
    if (dtype == RF_F32)
        ((float *)dst)[at] = v;
    else
        ((uint16_t *)dst)[at] = dtype == RF_BF16 ? rf_f32_to_bf16(v) : rf_f32_to_f16(v);
}

static rf_status pack(void *ctx, void *dst, rf_error *err)
{
    const packing *p = ctx;
    const rf_tensor *b = p->b;
    const int64_t last = b->strides[b->rank - 1], before = b->strides[b->rank - 2],
                  k_stride = p->trans ? last : before, n_stride = p->trans ? before : last;
    int64_t to = 0;
    (void)err;
    for (int64_t i = 0; i < p->matrices; i++) {
        int64_t from = 0, left = i;
        for (int d = b->rank - 3; d >= 0; d--) {
            from += left % b->dims[d] * b->strides[d];
            left /= b->dims[d];
        }
        for (int64_t n = 0; n < p->n; n++)
            for (int64_t k = 0; k < p->pitch; k++)
                put(dst, to++, p->dtype,
                    k < p->k ? element(b, from + n * n_stride + k * k_stride) : 0);
    }
    return RF_OK;
}

rf_status rf_cuda_matmul_pack_b(const rf_kernel_desc *desc, const void **out, rf_error *err)
{
    packing p = packing_of(&desc->args);
    char tag[RF_PACK_TAG_BYTES];
    snprintf(tag, sizeof tag, "cuda matmul %s [n][k] trans %d", rf_dtype_name(p.dtype), p.trans);
    size_t bytes = (size_t)(p.matrices * p.n * p.pitch) * rf_dtype_bytes(p.dtype);
    return rf_pack_get(desc->packs, p.b->data, tag, bytes, pack, &p, out, err);
}

typedef struct bias_packing {
    const rf_tensor *bias;
    rf_dtype dtype;
    int64_t stride, n;
} bias_packing;

static rf_status pack_bias(void *ctx, void *dst, rf_error *err)
{
    const bias_packing *p = ctx;
    (void)err;
    for (int64_t i = 0; i < p->n; i++)
        put(dst, i, p->dtype, element(p->bias, i * p->stride));
    return RF_OK;
}

rf_status rf_cuda_matmul_pack_bias(const rf_kernel_desc *desc, const void **out, rf_error *err)
{
    const rf_cuda_matmul_params params = rf_cuda_matmul_describe(&desc->args);
    bias_packing p = {.bias = desc->args.in[2],
                      .dtype = desc->args.in[0]->dtype,
                      .stride = params.bias.col,
                      .n = params.n};
    char tag[RF_PACK_TAG_BYTES];
    snprintf(tag, sizeof tag, "cuda matmul bias %s %lld by %lld", rf_dtype_name(p.dtype),
             (long long)p.n, (long long)p.stride);
    return rf_pack_get(desc->packs, p.bias->data, tag, (size_t)p.n * rf_dtype_bytes(p.dtype),
                       pack_bias, &p, out, err);
}

rf_cuda_matmul_params rf_cuda_matmul_describe_packed(const rf_op_args *args, const void *b)
{
    const packing p = packing_of(args);
    rf_op_args with = *args;
    rf_tensor t = *p.b;
    t.data = (void *)b;
    t.dtype = p.dtype;
    t.strides[t.rank - (p.trans ? 1 : 2)] = 1;
    t.strides[t.rank - (p.trans ? 2 : 1)] = p.pitch;
    int64_t stride = p.n * p.pitch;
    for (int d = t.rank - 3; d >= 0; d--) {
        t.strides[d] = stride;
        stride *= t.dims[d];
    }
    with.in[1] = &t;
    rf_cuda_matmul_params params = rf_cuda_matmul_describe(&with);
    params.b.row = 1; /* dims of 1 have lost their strides */
    params.b.col = p.pitch;
    return params;
}
