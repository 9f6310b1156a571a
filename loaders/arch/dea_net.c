/* SPDX-License-Identifier: Apache-2.0
 *
 * DEA-Net: dehazing by detail-enhanced convolution and content-guided attention (arXiv 2301.04805,
 * cecret3350/DEA-Net: code/model/backbone.py, modules/{deconv,cga,fusion}.py). A U-Net of three
 * levels of width C, 2C, 4C; C and the number of blocks of each level come from the keys.
 *
 * Built from general ops only: planner and passes find what can be fused in any graph that has
 * these forms. Weights stay where the checkpoint has them; only the attention weight is copied,
 * because its two input maps become two depthwise convolutions.
 */
#include "loaders/arch/arch.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "runtime/core/strided.h"

enum { MAX_BLOCKS = 64, MIN_SIZE = 13, MIN_PADDED = 16, MULTIPLE = 4 };

#define COUNT(attrs) (int)(sizeof(attrs) / sizeof(attrs)[0])

/* What every step needs. After a failure `status` is kept and every further step does nothing, so
 * that the network below reads as the paper writes it. */
typedef struct builder {
    rf_checkpoint *ckpt;
    rf_graph *graph;
    rf_error *err;
    rf_status status;
} builder;

typedef struct name {
    char text[128];
} name;

__attribute__((format(printf, 1, 2))) static name named(const char *fmt, ...)
{
    name n;
    va_list args;
    va_start(args, fmt);
    vsnprintf(n.text, sizeof n.text, fmt, args);
    va_end(args);
    return n;
}

static rf_value add(builder *b, const char *op, const char *node, const rf_value *in, int n_in,
                    const rf_attr *attrs, int n_attrs)
{
    rf_value out = RF_NONE;
    if (b->status == RF_OK)
        b->status = rf_graph_add(b->graph, op, node, in, n_in, attrs, n_attrs, &out, 1, b->err);
    return out;
}

static rf_value unary(builder *b, const char *kind, const char *node, rf_value x)
{
    return add(b, "unary", node, &x, 1, (rf_attr[]){RF_ENUM("kind", kind)}, 1);
}

static rf_value binary(builder *b, const char *kind, const char *node, rf_value x, rf_value y)
{
    return add(b, "binary", node, (rf_value[]){x, y}, 2, (rf_attr[]){RF_ENUM("kind", kind)}, 1);
}

/* ---- weights --------------------------------------------------------------------------------- */

/* The entry of a key if its dims are as expected (-1: any), marked as used. */
static rf_checkpoint_entry *take(builder *b, const char *key, int rank, const int64_t *dims)
{
    rf_checkpoint_entry *e = b->status == RF_OK ? rf_checkpoint_find(b->ckpt, key) : NULL;
    if (b->status != RF_OK)
        return NULL;
    if (!e) {
        b->status = rf_fail(b->err, RF_ERR_FORMAT, "dea_net: key '%s' is missing", key);
        return NULL;
    }
    rf_tensor expected = {.rank = rank};
    bool same = e->tensor.rank == rank;
    for (int i = 0; i < rank; i++) {
        expected.dims[i] = dims[i];
        same = same && (dims[i] < 0 ? e->tensor.dims[i] > 0 : e->tensor.dims[i] == dims[i]);
    }
    if (!same) {
        char want[96], have[160];
        b->status = rf_fail(b->err, RF_ERR_FORMAT, "dea_net: key '%s' has shape %s, expected %s",
                            key, rf_tensor_dims_text(&e->tensor, have, sizeof have),
                            rf_tensor_dims_text(&expected, want, sizeof want));
        return NULL;
    }
    if (e->tensor.dtype > RF_BF16) {
        b->status = rf_fail(b->err, RF_ERR_FORMAT, "dea_net: key '%s' holds %s, expected floats",
                            key, rf_dtype_name(e->tensor.dtype));
        return NULL;
    }
    e->consumed = true;
    return e;
}

static rf_value constant(builder *b, const char *key, int rank, const int64_t *dims)
{
    rf_value out = RF_NONE;
    rf_checkpoint_entry *e = take(b, key, rank, dims);
    if (e)
        b->status = rf_graph_new_const(b->graph, e->name, &e->tensor, e->blob, &out, b->err);
    return out;
}

/* Dim `i` of a key that must be there. */
static int64_t dim_of(builder *b, const char *key, int i)
{
    rf_checkpoint_entry *e = b->status == RF_OK ? rf_checkpoint_find(b->ckpt, key) : NULL;
    if (b->status == RF_OK && (!e || e->tensor.rank <= i || e->tensor.dims[i] < 1))
        b->status = e ? rf_fail(b->err, RF_ERR_FORMAT, "dea_net: key '%s' has no dim %d", key, i)
                      : rf_fail(b->err, RF_ERR_FORMAT, "dea_net: key '%s' is missing", key);
    return b->status == RF_OK ? e->tensor.dims[i] : 1;
}

/* ---- layers ---------------------------------------------------------------------------------- */

/* A k x k convolution with bias and "same" padding. */
static rf_value conv(builder *b, const char *key, rf_value x, int64_t cin, int64_t cout, int64_t k,
                     int64_t stride, const char *pad_mode)
{
    const rf_attr attrs[] = {RF_INTS("pad", k / 2, k / 2, k / 2, k / 2),
                             RF_INTS("stride", stride, stride), RF_ENUM("pad_mode", pad_mode)};
    rf_value w = constant(b, named("%s.weight", key).text, 4, (int64_t[]){cout, cin, k, k});
    rf_value bias = constant(b, named("%s.bias", key).text, 1, &cout);
    return add(b, "conv2d", key, (rf_value[]){x, w, bias}, 3, attrs, COUNT(attrs));
}

static rf_value conv3x3(builder *b, const char *key, rf_value x, int64_t cin, int64_t cout)
{
    return conv(b, key, x, cin, cout, 3, 1, "constant");
}

static rf_value down(builder *b, const char *key, rf_value x, int64_t cin, int64_t cout)
{
    return unary(b, "relu", named("%s.relu", key).text,
                 conv(b, key, x, cin, cout, 3, 2, "constant"));
}

/* Doubles the size. */
static rf_value up(builder *b, const char *key, rf_value x, int64_t cin, int64_t cout)
{
    const rf_attr attrs[] = {RF_INTS("stride", 2, 2), RF_INTS("pad", 1, 1, 1, 1),
                             RF_INTS("output_pad", 1, 1)};
    rf_value w = constant(b, named("%s.weight", key).text, 4, (int64_t[]){cin, cout, 3, 3});
    rf_value bias = constant(b, named("%s.bias", key).text, 1, &cout);
    x = add(b, "conv_transpose2d", key, (rf_value[]){x, w, bias}, 3, attrs, COUNT(attrs));
    return unary(b, "relu", named("%s.relu", key).text, x);
}

/* The detail-enhanced convolution: one kernel after the key fold, or the sum of five convolutions
 * where the fold left its branches (runtime/fold/deconv.c). */
static rf_value deconv(builder *b, const char *key, rf_value x, int64_t c)
{
    bool folded = rf_checkpoint_findf(b->ckpt, "%s.weight", key) != NULL;
    if (folded || !rf_checkpoint_findf(b->ckpt, "%s.branch1.weight", key))
        return conv3x3(b, key, x, c, c);
    rf_value sum = RF_NONE;
    for (int i = 1; i <= 5; i++) {
        rf_value y = conv3x3(b, named("%s.branch%d", key, i).text, x, c, c);
        sum = i == 1 ? y : binary(b, "add", named("%s.sum%d", key, i).text, sum, y);
    }
    return sum;
}

/* r of a block: conv2(relu(conv1(x)) + x). */
static rf_value body(builder *b, const char *key, rf_value x, int64_t c)
{
    rf_value r = deconv(b, named("%s.conv1", key).text, x, c);
    r = unary(b, "relu", named("%s.relu", key).text, r);
    r = binary(b, "add", named("%s.add1", key).text, r, x);
    return conv3x3(b, named("%s.conv2", key).text, r, c, c);
}

static rf_value reduce(builder *b, const char *kind, const char *node, rf_value x,
                       const rf_attr axes)
{
    return add(b, "reduce", node, &x, 1,
               (rf_attr[]){RF_ENUM("kind", kind), axes, RF_INTS("keepdims", 1)}, 3);
}

/* ---- attention ------------------------------------------------------------------------------- */

/* Spatial part: 7x7 convolution of mean and maximum over the channels, (N,1,H,W). */
static rf_value spatial(builder *b, const char *key, rf_value r)
{
    const rf_attr channels = RF_INTS("axes", 1);
    rf_value mean = reduce(b, "mean", named("%s.sa.mean", key).text, r, channels);
    rf_value max = reduce(b, "max", named("%s.sa.max", key).text, r, channels);
    rf_value both = add(b, "concat", named("%s.sa.concat", key).text, (rf_value[]){mean, max}, 2,
                        (rf_attr[]){RF_INTS("axis", 1)}, 1);
    return conv(b, named("%s.sa.sa", key).text, both, 2, 1, 7, 1, "reflect");
}

/* Channel part: two 1x1 convolutions of the mean over the image, (N,C,1,1). */
static rf_value channel(builder *b, const char *key, rf_value r, int64_t c)
{
    const rf_attr image = RF_INTS("axes", 2, 3);
    int64_t narrow = dim_of(b, named("%s.ca.ca.0.weight", key).text, 0);
    rf_value x = reduce(b, "mean", named("%s.ca.mean", key).text, r, image);
    x = conv(b, named("%s.ca.ca.0", key).text, x, c, narrow, 1, 1, "constant");
    x = unary(b, "relu", named("%s.ca.ca.1", key).text, x);
    return conv(b, named("%s.ca.ca.2", key).text, x, narrow, c, 1, 1, "constant");
}

/* One input map of the pixel attention's weight (C,2,7,7) as a depthwise weight. */
static rf_value pixel_weight(builder *b, const char *key, int64_t c, int map)
{
    rf_value out = RF_NONE;
    rf_checkpoint_entry *e = take(b, key, 4, (int64_t[]){c, 2, 7, 7});
    if (!e)
        return out;
    rf_tensor half = e->tensor;
    half.dims[1] = 1;
    half.data = (char *)half.data + (size_t)(map * half.strides[1]) * rf_dtype_bytes(half.dtype);
    b->status = rf_graph_const(b->graph, named("%s.%d", key, map).text, &half, &out, b->err);
    return out;
}

/* Content-guided attention of r: sigmoid of the depthwise 7x7 convolution over pairs of channels
 * (r, a), written as the sum of one convolution of r and one of a. */
static rf_value attention(builder *b, const char *key, rf_value r, int64_t c)
{
    const rf_attr attrs[] = {RF_INTS("pad", 3, 3, 3, 3), RF_INTS("groups", c),
                             RF_ENUM("pad_mode", "reflect")};
    rf_value s = spatial(b, key, r);
    rf_value ca = channel(b, key, r, c);
    rf_value a = binary(b, "add", named("%s.pattern", key).text, s, ca);
    name weight = named("%s.pa.pa2.weight", key);
    rf_value w0 = pixel_weight(b, weight.text, c, 0), w1 = pixel_weight(b, weight.text, c, 1);
    rf_value bias = constant(b, named("%s.pa.pa2.bias", key).text, 1, &c);
    rf_value of_r = add(b, "conv2d", named("%s.pa.pa2.0", key).text, (rf_value[]){r, w0}, 2, attrs,
                        COUNT(attrs));
    rf_value of_a = add(b, "conv2d", named("%s.pa.pa2.1", key).text, (rf_value[]){a, w1, bias}, 3,
                        attrs, COUNT(attrs));
    rf_value p = binary(b, "add", named("%s.pa.sum", key).text, of_r, of_a);
    return unary(b, "sigmoid", named("%s.pa.sigmoid", key).text, p);
}

/* r + x, with attention r*p + x. */
static rf_value block(builder *b, const char *key, rf_value x, int64_t c, bool attends)
{
    rf_value r = body(b, key, x, c);
    if (attends)
        r = binary(b, "mul", named("%s.gate", key).text, r, attention(b, key, r, c));
    return binary(b, "add", named("%s.add2", key).text, r, x);
}

/* Fusion of a skip x with y from below. The sigmoid of the sigmoid is the authors' own. */
static rf_value mix(builder *b, const char *key, rf_value x, rf_value y, int64_t c)
{
    const rf_attr invert[] = {RF_ENUM("kind", "scale"), RF_REAL("alpha", -1), RF_REAL("beta", 1)};
    rf_value i = binary(b, "add", named("%s.sum", key).text, x, y);
    rf_value p = attention(b, key, i, c);
    p = unary(b, "sigmoid", named("%s.sigmoid", key).text, p);
    rf_value q = add(b, "unary", named("%s.invert", key).text, &p, 1, invert, COUNT(invert));
    rf_value px = binary(b, "mul", named("%s.px", key).text, p, x);
    rf_value qy = binary(b, "mul", named("%s.qy", key).text, q, y);
    rf_value z = binary(b, "add", named("%s.add1", key).text, i, px);
    z = binary(b, "add", named("%s.add2", key).text, z, qy);
    return conv(b, named("%s.conv", key).text, z, c, c, 1, 1, "constant");
}

/* ---- network --------------------------------------------------------------------------------- */

/* Blocks <level>_block1, 2, ... as many as there are keys for; at least the first. */
static rf_value level(builder *b, const char *key, rf_value x, int64_t c, bool attends)
{
    for (int i = 1; i <= MAX_BLOCKS; i++) {
        name next = named("%s_block%d", key, i);
        if (i > 1 && !rf_checkpoint_findf(b->ckpt, "%s.conv2.weight", next.text))
            break;
        x = block(b, next.text, x, c, attends);
    }
    return x;
}

static rf_value network(builder *b, rf_value x)
{
    int64_t c = dim_of(b, "down1.0.weight", 0);
    if (b->status == RF_OK && c > INT32_MAX / 4)
        b->status = rf_fail(b->err, RF_ERR_FORMAT, "dea_net: width is %lld", (long long)c);
    if (b->status != RF_OK)
        return RF_NONE;
    rf_value t1 = level(b, "down_level1", conv3x3(b, "down1.0", x, 3, c), c, false);
    rf_value d2 = down(b, "down2.0", t1, c, 2 * c);
    rf_value t2 = conv3x3(b, "fe_level_2", d2, 2 * c, 2 * c);
    t2 = level(b, "down_level2", t2, 2 * c, false);
    rf_value d3 = down(b, "down3.0", t2, 2 * c, 4 * c);
    rf_value t3 = conv3x3(b, "fe_level_3", d3, 4 * c, 4 * c);
    t3 = level(b, "level3", t3, 4 * c, true);
    rf_value u = up(b, "up1.0", mix(b, "mix1", d3, t3, 4 * c), 4 * c, 2 * c);
    u = level(b, "up_level2", u, 2 * c, false);
    u = up(b, "up2.0", mix(b, "mix2", d2, u, 2 * c), 2 * c, c);
    u = level(b, "up_level1", u, c, false);
    return conv3x3(b, "up3.0", u, c, 3);
}

rf_status rf_arch_dea_net_build_raw(rf_checkpoint *ckpt, rf_graph *graph, bool with_border,
                                    rf_error *err)
{
    builder b = {ckpt, graph, err, RF_OK};
    const rf_attr pad[] = {RF_ENUM("mode", "reflect"), RF_INTS("multiple", MULTIPLE, MULTIPLE)};
    const rf_attr clamp[] = {RF_ENUM("kind", "clamp"), RF_REAL("alpha", 0), RF_REAL("beta", 1)};
    const int64_t least = with_border ? MIN_SIZE : MIN_PADDED;
    rf_value x;
    RF_TRY(rf_graph_set_name(graph, "dea_net", err));
    RF_TRY(rf_graph_input(graph, "x", RF_F32, 4, (int64_t[]){-1, 3, -1, -1}, &x, err));
    RF_TRY(rf_graph_set_min_size(graph, x, least, least, err));
    rf_value y = network(&b, with_border ? add(&b, "pad", "border", &x, 1, pad, COUNT(pad)) : x);
    if (with_border) {
        y = add(&b, "unary", "clamp", &y, 1, clamp, COUNT(clamp));
        y = add(&b, "crop_like", "crop", (rf_value[]){y, x}, 2, NULL, 0);
    }
    RF_TRY(b.status);
    return rf_graph_output(graph, "y", y, err);
}

/* Few keys are enough to call it a DEA-Net: if others are missing, the message should name them. */
static bool probe(rf_checkpoint *ckpt)
{
    static const char *const keys[] = {"down1.0.weight",     "fe_level_2.weight",
                                       "fe_level_3.weight",  "mix1.pa.pa2.weight",
                                       "mix2.pa.pa2.weight", "up3.0.weight"};
    int found = 0;
    for (int i = 0; i < COUNT(keys); i++)
        found += rf_checkpoint_find(ckpt, keys[i]) != NULL;
    return found >= 3;
}

static rf_status build(rf_checkpoint *ckpt, rf_graph *graph, rf_error *err)
{
    return rf_arch_dea_net_build_raw(ckpt, graph, true, err);
}

const rf_arch rf_arch_dea_net = {.name = "dea_net", .probe = probe, .build = build};
