/* SPDX-License-Identifier: Apache-2.0
 *
 * DEConv (DEA-Net, arXiv 2301.04805, code/model/modules/deconv.py): four difference convolutions
 * and a plain one, summed. Each difference is linear in its weights, so each branch is a 3x3 kernel
 * and the five add up to one:
 *
 *   1 central     every tap, minus the sum of all at the centre
 *   2 horizontal  left column w, right column -w (three weights, a Conv1d)
 *   3 vertical    top row w, bottom row -w (three weights, a Conv1d)
 *   4 angular     every ring tap minus its neighbour on the ring
 *   5 vanilla     as it is
 *
 * Keys: <block>.conv1.conv1_{1..4}.conv.{weight,bias}, <block>.conv1.conv1_5.{weight,bias} become
 * <block>.conv1.{weight,bias}; a file may mix folded and unfolded blocks.
 */
#include "runtime/core/strided.h"
#include "runtime/fold/scheme.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { N_BRANCHES = 5, VANILLA = 4, TAPS = 9, STEM_BYTES = 4100, KEY_BYTES = 4160 };

static const int branch_weights[N_BRANCHES] = {9, 3, 3, 9, 9};

typedef struct block {
    rf_checkpoint *ckpt;
    char stem[STEM_BYTES]; /* "<block>.conv1" */
    int64_t n_out, n_in;
    rf_f64 weight[N_BRANCHES], bias[N_BRANCHES];
} block;

/* "<block>.conv1" if the key is a branch of a DEConv: the length of that part, otherwise 0. */
static size_t match_stem(const char *key)
{
    static const char mark[] = "conv1.conv1_";
    for (const char *at = strstr(key, mark); at; at = strstr(at + 1, mark)) {
        const char *end = at + sizeof mark - 1;
        if ((at == key || at[-1] == '.') && *end >= '1' && *end <= '5' && end[1] == '.')
            return (size_t)(at - key) + 5;
    }
    return 0;
}

static void branch_key(const block *b, int branch, const char *what, char *out)
{
    snprintf(out, KEY_BYTES, "%s.conv1_%d%s.%s", b->stem, branch + 1,
             branch == VANILLA ? "" : ".conv", what);
}

static int count_present(const block *b)
{
    char key[KEY_BYTES];
    int n = 0;
    for (int k = 0; k < 2 * N_BRANCHES; k++) {
        branch_key(b, k / 2, k % 2 ? "bias" : "weight", key);
        n += rf_checkpoint_find(b->ckpt, key) != NULL;
    }
    return n;
}

static rf_status find_entry(const block *b, int branch, const char *what, rf_tensor *out,
                            rf_error *err)
{
    char key[KEY_BYTES];
    branch_key(b, branch, what, key);
    const rf_checkpoint_entry *entry = rf_checkpoint_find(b->ckpt, key);
    if (!entry)
        return rf_fail(err, RF_ERR_FORMAT,
                       "%s: difference convolution lacks '%s': expected 10 tensors, found %d",
                       b->ckpt->path, key, count_present(b));
    *out = entry->tensor;
    if (!rf_is_float(out->dtype))
        return rf_fail(err, RF_ERR_FORMAT, "%s: '%s' is %s, expected a float type", b->ckpt->path,
                       key, rf_dtype_name(out->dtype));
    return RF_OK;
}

/* Reads one tensor as float64 after checking its dims. */
static rf_status read_entry(const block *b, int branch, const char *what, int rank,
                            const int64_t *dims, rf_f64 *out, rf_error *err)
{
    char key[KEY_BYTES], found[96], wanted[96];
    rf_tensor t, expected;
    RF_TRY(find_entry(b, branch, what, &t, err));
    if (t.rank != rank || memcmp(t.dims, dims, (size_t)rank * sizeof *dims)) {
        branch_key(b, branch, what, key);
        RF_TRY(rf_tensor_init(&expected, t.dtype, rank, dims, NULL, err));
        return rf_fail(err, RF_ERR_FORMAT, "%s: '%s' is %s, expected %s", b->ckpt->path, key,
                       rf_tensor_dims_text(&t, found, sizeof found),
                       rf_tensor_dims_text(&expected, wanted, sizeof wanted));
    }
    return rf_f64_read(b->ckpt->env, &t, out, err);
}

static rf_status read_block(block *b, rf_error *err)
{
    char found[96];
    rf_tensor vanilla, other;
    /* First that all are there: a missing branch is a clearer message than a wrong shape. */
    for (int k = 0; k < 2 * N_BRANCHES; k++)
        RF_TRY(find_entry(b, k / 2, k % 2 ? "bias" : "weight", &other, err));
    RF_TRY(find_entry(b, VANILLA, "weight", &vanilla, err));
    if (vanilla.rank != 4 || vanilla.dims[2] != 3 || vanilla.dims[3] != 3)
        return rf_fail(err, RF_ERR_FORMAT, "%s: '%s.conv1_5.weight' is %s, expected (out,in,3,3)",
                       b->ckpt->path, b->stem, rf_tensor_dims_text(&vanilla, found, sizeof found));
    b->n_out = vanilla.dims[0];
    b->n_in = vanilla.dims[1];
    for (int k = 0; k < N_BRANCHES; k++) {
        int64_t dims[4] = {b->n_out, b->n_in, 3, 3};
        RF_TRY(
            read_entry(b, k, "weight", branch_weights[k] == 9 ? 4 : 3, dims, &b->weight[k], err));
        RF_TRY(read_entry(b, k, "bias", 1, &b->n_out, &b->bias[k], err));
    }
    return RF_OK;
}

/* The 3x3 kernel of one branch for one pair of channels. */
static void expand(int branch, const double *w, double *k)
{
    static const int neighbour[TAPS] = {3, 0, 1, 6, 4, 2, 7, 8, 5};
    double sum = 0;
    switch (branch) {
    case 0:
        for (int t = 0; t < TAPS; t++)
            sum += k[t] = w[t];
        k[4] -= sum;
        break;
    case 1:
        for (int row = 0; row < 3; row++) {
            k[3 * row] = w[row];
            k[3 * row + 1] = 0;
            k[3 * row + 2] = -w[row];
        }
        break;
    case 2:
        for (int col = 0; col < 3; col++) {
            k[col] = w[col];
            k[3 + col] = 0;
            k[6 + col] = -w[col];
        }
        break;
    case 3:
        for (int t = 0; t < TAPS; t++)
            k[t] = w[t] - w[neighbour[t]];
        break;
    default:
        memcpy(k, w, TAPS * sizeof *k);
    }
}

/* A difference of pixels gives 0 on a flat image: the taps cancel. Catches a wrong table, NaN, Inf.
 */
static rf_status check_cancels(const block *b, int branch, const double *k, rf_error *err)
{
    double sum = 0, sum_abs = 0;
    for (int t = 0; t < TAPS; t++) {
        sum += k[t];
        sum_abs += fabs(k[t]);
    }
    if (branch != VANILLA && !(fabs(sum) <= 1e-5 * sum_abs))
        return rf_fail(err, RF_ERR_FORMAT, "%s: taps of '%s.conv1_%d' sum to %g, expected 0",
                       b->ckpt->path, b->stem, branch + 1, sum);
    return RF_OK;
}

/* Adds branches [first, last) into *weight and *bias. */
static rf_status sum_branches(const block *b, int first, int last, rf_f64 *weight, rf_f64 *bias,
                              rf_error *err)
{
    double k[TAPS];
    RF_TRY(rf_f64_zeros(b->ckpt->env, 4, (int64_t[]){b->n_out, b->n_in, 3, 3}, weight, err));
    RF_TRY(rf_f64_zeros(b->ckpt->env, 1, &b->n_out, bias, err));
    for (int branch = first; branch < last; branch++) {
        const double *w = b->weight[branch].data;
        for (int64_t pair = 0; pair < b->n_out * b->n_in; pair++, w += branch_weights[branch]) {
            expand(branch, w, k);
            RF_TRY(check_cancels(b, branch, k, err));
            for (int t = 0; t < TAPS; t++)
                weight->data[pair * TAPS + t] += k[t];
        }
        for (int64_t i = 0; i < b->n_out; i++)
            bias->data[i] += b->bias[branch].data[i];
    }
    return RF_OK;
}

static rf_status put_sum(block *b, int first, int last, const char *stem, rf_fold_audit *audit,
                         rf_error *err)
{
    char key[KEY_BYTES + 16];
    rf_f64 weight = {0}, bias = {0};
    rf_status status;
    RF_TRY_DONE(sum_branches(b, first, last, &weight, &bias, err));
    snprintf(key, sizeof key, "%s.weight", stem);
    if (audit)
        RF_TRY_DONE(rf_fold_audit_add(audit, "deconv", key, 2 * N_BRANCHES, weight.data,
                                      (size_t)weight.n, err));
    RF_TRY_DONE(rf_fold_put(b->ckpt, key, &weight, err));
    snprintf(key, sizeof key, "%s.bias", stem);
    RF_TRY_DONE(rf_fold_put(b->ckpt, key, &bias, err));
done:
    rf_f64_free(&weight);
    rf_f64_free(&bias);
    return status;
}

static rf_status put_results(block *b, bool fold, rf_fold_audit *audit, rf_error *err)
{
    char stem[KEY_BYTES];
    if (fold)
        return put_sum(b, 0, N_BRANCHES, b->stem, audit, err);
    for (int k = 0; k < N_BRANCHES; k++) {
        snprintf(stem, sizeof stem, "%s.branch%d", b->stem, k + 1);
        RF_TRY(put_sum(b, k, k + 1, stem, NULL, err));
    }
    return RF_OK;
}

static rf_status fold_block(block *b, bool fold, rf_fold_audit *audit, rf_error *err)
{
    char key[KEY_BYTES];
    rf_status status;
    if (rf_checkpoint_findf(b->ckpt, "%s.weight", b->stem))
        return rf_fail(err, RF_ERR_FORMAT,
                       "%s: '%s' has its five branches and a folded weight, expected one of them",
                       b->ckpt->path, b->stem);
    RF_TRY_DONE(read_block(b, err));
    for (int k = 0; k < 2 * N_BRANCHES; k++) {
        branch_key(b, k / 2, k % 2 ? "bias" : "weight", key);
        rf_checkpoint_remove(b->ckpt, key);
    }
    RF_TRY_DONE(rf_fold_expect_taken(b->ckpt, match_stem, b->stem, "difference convolution", err));
    RF_TRY_DONE(put_results(b, fold, audit, err));
done:
    for (int k = 0; k < N_BRANCHES; k++) {
        rf_f64_free(&b->weight[k]);
        rf_f64_free(&b->bias[k]);
    }
    return status;
}

rf_status rf_fold_deconv(rf_checkpoint *ckpt, bool fold, rf_fold_audit *audit, rf_error *err)
{
    /* Folding removes entries from i on and appends others that do not match: i stays. */
    for (size_t i = 0; i < ckpt->n_entries;) {
        block b = {.ckpt = ckpt};
        size_t n = match_stem(ckpt->entries[i].name);
        if (!n) {
            i++;
            continue;
        }
        snprintf(b.stem, sizeof b.stem, "%.*s", (int)n, ckpt->entries[i].name);
        RF_TRY(fold_block(&b, fold, audit, err));
    }
    return RF_OK;
}
