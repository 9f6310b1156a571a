/* SPDX-License-Identifier: Apache-2.0
 *
 * Scaled dot-product attention and the pixel attention of DEA-Net.
 */
#include "kernels/ref/element.h"

/* softmax(scale * q @ k^T + bias) of one query over the keys it may see; returns how many. */
static int64_t attend(const rf_op_args *args, const int64_t *at, int64_t kv_head, double *weights)
{
    const rf_attention_attrs *a = &args->attrs->attention;
    const rf_tensor *q = args->in[0], *k = args->in[1], *bias = ref_in(args, 3);
    int64_t keys = k->dims[2], seen = a->causal ? at[2] + keys - q->dims[2] + 1 : keys;
    double scale = rf_normal_attention_scale(a, q->dims[3]), max = -INFINITY, sum = 0;
    for (int64_t j = 0; j < seen; j++) {
        double dot = 0;
        for (int64_t d = 0; d < q->dims[3]; d++)
            dot += ref_load4(q, at[0], at[1], at[2], d) * ref_load4(k, at[0], kv_head, j, d);
        weights[j] = scale * dot;
        if (bias)
            weights[j] +=
                ref_load(bias, ref_offset_broadcast(bias, 4, (int64_t[]){at[0], at[1], at[2], j}));
        max = fmax(max, weights[j]);
    }
    for (int64_t j = 0; j < seen; j++)
        sum += weights[j] = exp(weights[j] - max);
    for (int64_t j = 0; j < seen; j++)
        weights[j] /= sum;
    return seen;
}

rf_status rf_ref_attention(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_tensor *q = call->args.in[0], *v = call->args.in[2], *y = call->args.out[0];
    int64_t at[4], n_queries = q->dims[0] * q->dims[1] * q->dims[2];
    double *weights = call->scratch;
    for (int64_t i = 0; i < n_queries; i++) {
        ref_coords(3, q->dims, i, at);
        int64_t kv_head = at[1] / (q->dims[1] / v->dims[1]),
                seen = attend(&call->args, at, kv_head, weights);
        for (int64_t d = 0; d < v->dims[3]; d++) {
            double sum = 0;
            for (int64_t j = 0; j < seen; j++)
                sum += weights[j] * ref_load4(v, at[0], kv_head, j, d);
            ref_store4(y, at[0], at[1], at[2], d, sum);
        }
    }
    return RF_OK;
}

/* s = conv(map; sa_w) + sa_b of image n, with reflected edges. */
static void spatial_attention(const rf_op_args *args, int64_t n, double *s)
{
    const rf_tensor *map = args->in[1], *w = args->in[3];
    int64_t height = map->dims[2], width = map->dims[3], k = w->dims[2];
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++) {
            double sum = ref_load(args->in[4], 0);
            for (int64_t ky = 0; ky < k; ky++)
                for (int64_t kx = 0; kx < k; kx++) {
                    int64_t iy = rf_normal_padded(RF_PAD_REFLECT, y + ky - k / 2, height);
                    int64_t ix = rf_normal_padded(RF_PAD_REFLECT, x + kx - k / 2, width);
                    for (int64_t c = 0; c < 2; c++)
                        sum += ref_load4(map, n, c, iy, ix) * ref_load4(w, 0, c, ky, kx);
                }
            s[y * width + x] = sum;
        }
}

/* p = sigmoid(conv(r; pa_w[:,0]) + conv(s + ca; pa_w[:,1]) + pa_b) at one element. */
static double pixel_gate(const rf_op_args *args, const int64_t *at, const double *s)
{
    const rf_tensor *r = args->in[0], *ca = args->in[2], *w = args->in[5];
    int64_t k = w->dims[2];
    double sum = ref_load1(args->in[6], at[1], 0), channel = ref_load4(ca, at[0], at[1], 0, 0);
    for (int64_t ky = 0; ky < k; ky++)
        for (int64_t kx = 0; kx < k; kx++) {
            int64_t iy = rf_normal_padded(RF_PAD_REFLECT, at[2] + ky - k / 2, r->dims[2]);
            int64_t ix = rf_normal_padded(RF_PAD_REFLECT, at[3] + kx - k / 2, r->dims[3]);
            sum += ref_load4(r, at[0], at[1], iy, ix) * ref_load4(w, at[1], 0, ky, kx);
            sum += (s[iy * r->dims[3] + ix] + channel) * ref_load4(w, at[1], 1, ky, kx);
        }
    return ref_sigmoid(sum);
}

rf_status rf_ref_pixel_attention(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_op_args *args = &call->args;
    const rf_tensor *r = args->in[0], *x = args->in[7], *y = ref_in(args, 8), *out = args->out[0];
    int64_t at[4], per_image = r->dims[1] * r->dims[2] * r->dims[3];
    for (int64_t i = 0; i < rf_tensor_elements(out); i++) {
        ref_coords(4, r->dims, i, at);
        if (i % per_image == 0)
            spatial_attention(args, at[0], call->scratch);
        double p = pixel_gate(args, at, call->scratch), v = ref_load(r, ref_offset(r, at));
        double xv = ref_load(x, ref_offset(x, at));
        if (args->attrs->pixel_attention.mode == RF_PA_MIX) {
            double q = ref_sigmoid(p);
            v += q * xv + (1 - q) * ref_load(y, ref_offset(y, at));
        } else {
            v = v * p + xv;
        }
        ref_store(out, ref_offset(out, at), v);
    }
    return RF_OK;
}
