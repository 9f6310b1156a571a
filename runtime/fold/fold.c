/* SPDX-License-Identifier: Apache-2.0
 *
 * The fold driver, its audit, and the one rounding at the end. Everything before the rounding is
 * float64, so that a chain of folds costs no more accuracy than one.
 */
#include "runtime/fold/scheme.h"

#include <math.h>
#include <string.h>

void rf_fold_audit_init(rf_fold_audit *audit, rf_env *env)
{
    *audit = (rf_fold_audit){.env = env};
    rf_arena_init(&audit->arena, env);
}

void rf_fold_audit_free(rf_fold_audit *audit)
{
    rf_free(audit->env, audit->records, audit->capacity * sizeof *audit->records);
    rf_arena_free(&audit->arena);
    audit->records = NULL;
    audit->n_records = audit->capacity = 0;
}

rf_status rf_fold_audit_add(rf_fold_audit *audit, const char *scheme, const char *target, int n_in,
                            const double *w, size_t n, rf_error *err)
{
    rf_fold_record record = {.scheme = scheme, .n_in = n_in};
    for (size_t i = 0; i < n; i++) {
        if (!isfinite((float)w[i]))
            return rf_fail(err, RF_ERR_FORMAT,
                           "fold %s: '%s' gets %g at element %zu, expected finite", scheme, target,
                           w[i], i);
        record.max_abs = fmax(record.max_abs, fabs(w[i]));
        record.max_error = fmax(record.max_error, fabs((double)(float)w[i] - w[i]));
    }
    record.target = rf_arena_strndup(&audit->arena, target, strlen(target));
    if (!record.target)
        return rf_fail(err, RF_ERR_MEMORY, "no memory for the fold audit");
    RF_TRY(rf_grow_array(audit->env, &audit->records, &audit->capacity, audit->n_records + 1,
                         sizeof record, err));
    audit->records[audit->n_records++] = record;
    return RF_OK;
}

rf_status rf_f64_zeros(rf_env *env, int rank, const int64_t *dims, rf_f64 *out, rf_error *err)
{
    RF_TRY(rf_tensor_init(&out->tensor, RF_F64, rank, dims, NULL, err));
    RF_TRY(rf_blob_alloc(env, rf_tensor_bytes(&out->tensor), &out->blob, err));
    out->data = out->tensor.data = rf_blob_mutable(out->blob);
    out->n = rf_tensor_elements(&out->tensor);
    return RF_OK;
}

rf_status rf_f64_read(rf_env *env, const rf_tensor *src, rf_f64 *out, rf_error *err)
{
    RF_TRY(rf_checkpoint_to_f64(env, src, &out->tensor, &out->blob, err));
    out->data = out->tensor.data;
    out->n = rf_tensor_elements(&out->tensor);
    return RF_OK;
}

void rf_f64_free(rf_f64 *x)
{
    rf_blob_release(&x->blob);
    x->data = NULL;
}

bool rf_is_float(rf_dtype dtype)
{
    return dtype == RF_F32 || dtype == RF_F64 || dtype == RF_F16 || dtype == RF_BF16;
}

rf_status rf_fold_expect_taken(const rf_checkpoint *ckpt, size_t (*match)(const char *key),
                               const char *stem, const char *what, rf_error *err)
{
    size_t n = strlen(stem);
    for (size_t i = 0; i < ckpt->n_entries; i++) {
        const char *name = ckpt->entries[i].name;
        if (match(name) == n && !strncmp(name, stem, n))
            return rf_fail(err, RF_ERR_FORMAT, "%s: '%s' is not part of a %s", ckpt->path, name,
                           what);
    }
    return RF_OK;
}

rf_status rf_fold_put(rf_checkpoint *ckpt, const char *name, const rf_f64 *x, rf_error *err)
{
    rf_error why;
    rf_status status = rf_checkpoint_add(ckpt, name, strlen(name), &x->tensor, x->blob, &why);
    return status == RF_OK ? RF_OK : rf_fail(err, status, "%s: %s", ckpt->path, why.text);
}

rf_status rf_fold_const(rf_graph *graph, const char *weight_name, bool is_bias, const rf_f64 *x,
                        rf_value *out, rf_error *err)
{
    static const char suffix[] = ".weight";
    size_t n = strlen(weight_name), cut = sizeof suffix - 1;
    if (is_bias) {
        bool has = n > cut && !strcmp(weight_name + n - cut, suffix);
        weight_name =
            rf_arena_printf(&graph->arena, "%.*s.bias", (int)(has ? n - cut : n), weight_name);
        if (!weight_name)
            return rf_fail(err, RF_ERR_MEMORY, "no memory for a constant's name");
    }
    return rf_graph_new_const(graph, weight_name, &x->tensor, x->blob, out, err);
}

rf_status rf_fold_affine(const char *what, const double *gamma, const double *beta,
                         const double *mean, const double *var, double eps, int64_t n,
                         double *scale, double *shift, rf_error *err)
{
    for (int64_t i = 0; i < n; i++) {
        if (!(var[i] >= 0 && var[i] + eps > 0))
            return rf_fail(err, RF_ERR_FORMAT,
                           "%s: variance of channel %lld is %g (eps %g), expected 0 or more and a "
                           "positive sum",
                           what, (long long)i, var[i], eps);
        scale[i] = (gamma ? gamma[i] : 1) / sqrt(var[i] + eps);
        shift[i] = (beta ? beta[i] : 0) - mean[i] * scale[i];
    }
    return RF_OK;
}

rf_graph_node *rf_fold_sole(rf_graph *graph, rf_value v, rf_op op)
{
    int i = rf_graph_producer(graph, v);
    if (i < 0 || graph->nodes[i].op != op || rf_graph_uses(graph, v, NULL) != 1)
        return NULL;
    return &graph->nodes[i];
}

bool rf_fold_has_weights(const rf_graph *graph, const rf_graph_node *node)
{
    return rf_graph_is_const(graph, node->in[1]) &&
           rf_is_float(graph->values[node->in[1]].desc.dtype) &&
           (node->n_in < 3 || node->in[2] == RF_NONE ||
            (rf_graph_is_const(graph, node->in[2]) &&
             rf_is_float(graph->values[node->in[2]].desc.dtype)));
}

rf_status rf_fold_checkpoint(rf_checkpoint *ckpt, bool fold, rf_fold_audit *audit, rf_error *err)
{
#define RF_FOLD_KEYS(scheme) RF_TRY(rf_fold_##scheme(ckpt, fold, audit, err));
#define RF_FOLD_GRAPH(scheme)
#include "runtime/fold/fold.def"
#undef RF_FOLD_KEYS
#undef RF_FOLD_GRAPH
    return RF_OK;
}

/* A fold of a tied constant leaves the original under the same name; files need unique ones. */
static rf_status make_names_unique(rf_graph *graph, rf_error *err)
{
    for (size_t v = 1; v < graph->n_values; v++) {
        rf_graph_value *value = &graph->values[v];
        bool taken = false;
        for (size_t u = 0; u < v && value->blob && !taken; u++)
            taken = graph->values[u].blob && !strcmp(graph->values[u].name, value->name);
        if (!taken)
            continue;
        value->name = rf_arena_printf(&graph->arena, "%s#%zu", value->name, v);
        if (!value->name)
            return rf_fail(err, RF_ERR_MEMORY, "no memory for a constant's name");
    }
    return RF_OK;
}

rf_status rf_fold_graph(rf_graph *graph, rf_fold_audit *audit, rf_error *err)
{
    bool changed = true;
    RF_TRY(rf_graph_sort(graph, err));
    while (changed) {
        changed = false;
#define RF_FOLD_KEYS(scheme)
#define RF_FOLD_GRAPH(scheme) RF_TRY(rf_fold_##scheme(graph, audit, &changed, err));
#include "runtime/fold/fold.def"
#undef RF_FOLD_KEYS
#undef RF_FOLD_GRAPH
        if (changed) {
            rf_graph_prune(graph);
            RF_TRY(rf_graph_sort(graph, err));
        }
    }
    return make_names_unique(graph, err);
}

static rf_status round_value(rf_graph *graph, rf_graph_value *value, rf_error *err)
{
    rf_f64 x = {0};
    rf_blob *blob = NULL;
    rf_tensor desc;
    rf_status status;
    RF_TRY_DONE(rf_f64_read(graph->env, &value->desc, &x, err));
    RF_TRY_DONE(rf_tensor_init(&desc, RF_F32, value->desc.rank, value->desc.dims, NULL, err));
    RF_TRY_DONE(rf_blob_alloc(graph->env, rf_tensor_bytes(&desc), &blob, err));
    float *to = desc.data = rf_blob_mutable(blob);
    for (int64_t i = 0; i < x.n; i++) {
        to[i] = (float)x.data[i];
        if (!isfinite(to[i])) {
            status = rf_fail(err, RF_ERR_FORMAT,
                             "constant '%s' is %g at element %lld, expected a finite f32",
                             value->name, x.data[i], (long long)i);
            goto done;
        }
    }
    rf_blob_release(&value->blob);
    value->blob = blob;
    value->desc = desc;
    blob = NULL;
done:
    rf_blob_release(&blob);
    rf_f64_free(&x);
    return status;
}

rf_status rf_fold_round(rf_graph *graph, rf_error *err)
{
    for (size_t v = 0; v < graph->n_values; v++) {
        rf_graph_value *value = &graph->values[v];
        if (value->blob && value->desc.dtype != RF_F32 && rf_is_float(value->desc.dtype))
            RF_TRY(round_value(graph, value, err));
    }
    return RF_OK;
}

/* All bits of the exponent are set. The loop has no branch, so that it runs at memory speed. */
static int64_t count_nonfinite(const float *x, int64_t n)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        count += (bits & 0x7f800000u) == 0x7f800000u;
    }
    return count;
}

int64_t rf_fold_count_nonfinite(const rf_graph *graph, const char **out_first)
{
    int64_t all = 0;
    *out_first = "";
    for (size_t v = 0; v < graph->n_values; v++) {
        const rf_graph_value *value = &graph->values[v];
        if (!value->blob || value->desc.dtype != RF_F32)
            continue;
        int64_t n = count_nonfinite(value->desc.data, rf_tensor_elements(&value->desc));
        if (n && !all)
            *out_first = value->name;
        all += n;
    }
    return all;
}
