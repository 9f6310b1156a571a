/* SPDX-License-Identifier: Apache-2.0
 *
 * RepVGG blocks by their keys (DingXiaoH/RepVGG, repvgg.py): a k x k and a 1x1 convolution, each
 * with batch norm, and where shapes allow a batch norm alone, summed: <blk>.rbr_dense.{conv.weight,
 * bn.*}  <blk>.rbr_1x1.{conv.weight, bn.*}  <blk>.rbr_identity.* become
 * <blk>.rbr_reparam.{weight,bias}. A checkpoint does not hold eps; RepVGG leaves it at PyTorch's
 * default, 1e-5, for every block.
 */
#include "runtime/core/strided.h"
#include "runtime/fold/scheme.h"

#include <stdio.h>
#include <string.h>

enum { STEM_BYTES = 4100, KEY_BYTES = 4160, N_FIELDS = 4 };

static const double repvgg_eps = 1e-5;

typedef struct block {
    rf_checkpoint *ckpt;
    char stem[STEM_BYTES]; /* "<blk>" */
    rf_f64 weight, bias;   /* the sum */
    int n_in;              /* tensors taken */
} block;

/* Length of "<blk>" if the key is a branch of RepVGG, with its dot; otherwise 0. */
static size_t match_stem(const char *key)
{
    static const char *const marks[] = {".rbr_dense.", ".rbr_1x1.", ".rbr_identity."};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        const char *at = strstr(key, marks[i]);
        if (at && at > key)
            return (size_t)(at - key);
    }
    return 0;
}

/* Takes "<blk>.<part>.<field>" out of the checkpoint as float64. Absent: *out stays zero. */
static rf_status take(block *b, const char *part, const char *field, rf_f64 *out, rf_error *err)
{
    char key[KEY_BYTES];
    snprintf(key, sizeof key, "%s.%s.%s", b->stem, part, field);
    const rf_checkpoint_entry *entry = rf_checkpoint_find(b->ckpt, key);
    if (!entry)
        return RF_OK;
    if (!rf_is_float(entry->tensor.dtype))
        return rf_fail(err, RF_ERR_FORMAT, "%s: '%s' is %s, expected a float type", b->ckpt->path,
                       key, rf_dtype_name(entry->tensor.dtype));
    RF_TRY(rf_f64_read(b->ckpt->env, &entry->tensor, out, err));
    rf_checkpoint_remove(b->ckpt, key);
    b->n_in++;
    return RF_OK;
}

/* scale and shift of the batch norm <blk>.<part>; both stay zero if it has no statistics and
 * `optional`. */
static rf_status take_norm(block *b, const char *part, bool optional, int64_t n, rf_f64 *scale,
                           rf_f64 *shift, rf_error *err)
{
    static const char *const fields[N_FIELDS] = {"weight", "bias", "running_mean", "running_var"};
    char what[KEY_BYTES];
    rf_f64 f[N_FIELDS] = {0};
    rf_status status = RF_OK;
    for (int k = 0; k < N_FIELDS; k++)
        RF_TRY_DONE(take(b, part, fields[k], &f[k], err));
    snprintf(what, sizeof what, "%s.%s.num_batches_tracked", b->stem, part);
    rf_checkpoint_remove(b->ckpt, what); /* a counter of training */
    if (optional && !f[0].data && !f[1].data && !f[2].data && !f[3].data)
        goto done;
    for (int k = 0; k < N_FIELDS; k++) {
        /* weight and bias are both absent from a norm without affine part */
        bool may_lack = k < 2 && !f[0].data && !f[1].data;
        if (f[k].data ? f[k].n != n : !may_lack) {
            status = rf_fail(err, RF_ERR_FORMAT, "%s: '%s.%s.%s' has %lld elements, expected %lld",
                             b->ckpt->path, b->stem, part, fields[k],
                             (long long)(f[k].data ? f[k].n : 0), (long long)n);
            goto done;
        }
    }
    snprintf(what, sizeof what, "%s.%s", b->stem, part);
    RF_TRY_DONE(rf_f64_zeros(b->ckpt->env, 1, &n, scale, err));
    RF_TRY_DONE(rf_f64_zeros(b->ckpt->env, 1, &n, shift, err));
    RF_TRY_DONE(rf_fold_affine(what, f[0].data, f[1].data, f[2].data, f[3].data, repvgg_eps, n,
                               scale->data, shift->data, err));
done:
    for (int k = 0; k < N_FIELDS; k++)
        rf_f64_free(&f[k]);
    return status;
}

/* The dense kernel sets the size of the sum, so it is read first. */
static rf_status add_conv(block *b, const char *part, bool dense, rf_f64 *w, rf_f64 *conv_bias,
                          rf_f64 *scale, rf_f64 *shift, rf_error *err)
{
    char name[64], found[96];
    snprintf(name, sizeof name, "%s.conv", part);
    RF_TRY(take(b, name, "weight", w, err));
    RF_TRY(take(b, name, "bias", conv_bias, err));
    if (!w->data)
        return rf_fail(err, RF_ERR_FORMAT,
                       "%s: block '%s' lacks '%s.weight', expected rbr_dense and "
                       "rbr_1x1",
                       b->ckpt->path, b->stem, name);
    const int64_t *d = w->tensor.dims;
    const rf_tensor *sum = &b->weight.tensor;
    bool fits = dense ? w->tensor.rank == 4 && d[2] % 2 && d[3] % 2
                      : w->tensor.rank == 4 && d[0] == sum->dims[0] && d[1] == sum->dims[1] &&
                            d[2] == 1 && d[3] == 1;
    if (!fits)
        return rf_fail(err, RF_ERR_FORMAT, "%s: '%s.%s.weight' is %s, expected %s", b->ckpt->path,
                       b->stem, name, rf_tensor_dims_text(&w->tensor, found, sizeof found),
                       dense ? "(out,in,k,k) with odd k" : "1x1 with the channels of rbr_dense");
    if (conv_bias->data && conv_bias->n != d[0])
        return rf_fail(err, RF_ERR_FORMAT, "%s: '%s.%s.bias' has %lld elements, expected %lld",
                       b->ckpt->path, b->stem, name, (long long)conv_bias->n, (long long)d[0]);
    if (dense) {
        RF_TRY(rf_f64_zeros(b->ckpt->env, 4, d, &b->weight, err));
        RF_TRY(rf_f64_zeros(b->ckpt->env, 1, d, &b->bias, err));
    }
    snprintf(name, sizeof name, "%s.bn", part);
    RF_TRY(take_norm(b, name, false, d[0], scale, shift, err));
    int64_t taps = sum->dims[2] * sum->dims[3], small = d[2] * d[3], centre = (taps - small) / 2;
    for (int64_t i = 0; i < w->n; i++) {
        int64_t pair = i / small, o = pair / d[1];
        b->weight.data[pair * taps + centre + i % small] += scale->data[o] * w->data[i];
    }
    for (int64_t o = 0; o < d[0]; o++)
        b->bias.data[o] +=
            shift->data[o] + (conv_bias->data ? scale->data[o] * conv_bias->data[o] : 0);
    return RF_OK;
}

static rf_status add_conv_branch(block *b, const char *part, bool dense, rf_error *err)
{
    rf_f64 w = {0}, conv_bias = {0}, scale = {0}, shift = {0};
    rf_status status = add_conv(b, part, dense, &w, &conv_bias, &scale, &shift, err);
    rf_f64_free(&w);
    rf_f64_free(&conv_bias);
    rf_f64_free(&scale);
    rf_f64_free(&shift);
    return status;
}

static rf_status add_identity(block *b, rf_error *err)
{
    rf_f64 scale = {0}, shift = {0};
    const int64_t *d = b->weight.tensor.dims;
    int64_t taps = d[2] * d[3];
    rf_status status;
    RF_TRY_DONE(take_norm(b, "rbr_identity", true, d[0], &scale, &shift, err));
    if (!scale.data)
        goto done;
    if (!d[1] || d[0] % d[1]) {
        status =
            rf_fail(err, RF_ERR_FORMAT,
                    "%s: '%s.rbr_identity' needs as many outputs as inputs, found %lld outputs "
                    "and groups of %lld inputs",
                    b->ckpt->path, b->stem, (long long)d[0], (long long)d[1]);
        goto done;
    }
    for (int64_t o = 0; o < d[0]; o++) {
        b->weight.data[(o * d[1] + o % d[1]) * taps + taps / 2] += scale.data[o];
        b->bias.data[o] += shift.data[o];
    }
done:
    rf_f64_free(&scale);
    rf_f64_free(&shift);
    return status;
}

static rf_status fold_block(block *b, rf_fold_audit *audit, rf_error *err)
{
    char key[KEY_BYTES];
    RF_TRY(add_conv_branch(b, "rbr_dense", true, err));
    RF_TRY(add_conv_branch(b, "rbr_1x1", false, err));
    RF_TRY(add_identity(b, err));
    RF_TRY(rf_fold_expect_taken(b->ckpt, match_stem, b->stem, "RepVGG block", err));
    snprintf(key, sizeof key, "%s.rbr_reparam.weight", b->stem);
    RF_TRY(
        rf_fold_audit_add(audit, "repvgg", key, b->n_in, b->weight.data, (size_t)b->weight.n, err));
    RF_TRY(rf_fold_put(b->ckpt, key, &b->weight, err));
    snprintf(key, sizeof key, "%s.rbr_reparam.bias", b->stem);
    return rf_fold_put(b->ckpt, key, &b->bias, err);
}

rf_status rf_fold_repvgg(rf_checkpoint *ckpt, bool fold, rf_fold_audit *audit, rf_error *err)
{
    if (!fold) /* no architecture is built of these branches */
        return RF_OK;
    /* Folding removes entries from i on and appends others that do not match: i stays. */
    for (size_t i = 0; i < ckpt->n_entries;) {
        block b = {.ckpt = ckpt};
        size_t n = match_stem(ckpt->entries[i].name);
        if (!n) {
            i++;
            continue;
        }
        snprintf(b.stem, sizeof b.stem, "%.*s", (int)n, ckpt->entries[i].name);
        rf_status status = fold_block(&b, audit, err);
        rf_f64_free(&b.weight);
        rf_f64_free(&b.bias);
        RF_TRY(status);
    }
    return RF_OK;
}
