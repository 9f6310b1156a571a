/* SPDX-License-Identifier: Apache-2.0
 *
 * Models: file -> checkpoint -> key folds -> graph -> graph folds -> one rounding -> fusion.
 */
#include "runtime/api/api.h"

#include "loaders/loader.h"
#include "runtime/base/params.h"
#include "runtime/exec/passes.h"

#include <stdio.h>
#include <string.h>

static rf_status model_new(rf_env *env, rf_model **out, rf_error *err)
{
    rf_model *m;
    RF_TRY(rf_alloc_array(env, 1, sizeof *m, &m, err));
    m->env = rf_env_retain(env);
    atomic_init(&m->refs, 1);
    rf_fold_audit_init(&m->audit, env);
    pthread_mutex_init(&m->device_lock, NULL);
    *out = m;
    rf_status status = rf_pack_cache_create(env, NULL, NULL, &m->packs, err);
    if (status != RF_OK)
        rf_model_release(out);
    return status;
}

/* A network with such weights runs, and gives NaN: a mistake of training that should be heard of.
 */
static void look_for_nonfinite(rf_model *m)
{
    const char *first;
    m->info.n_nonfinite = rf_fold_count_nonfinite(m->graph, &first);
    m->info.first_nonfinite = first;
    if (m->info.n_nonfinite)
        rf_log(m->env, RF_LOG_WARN, "%lld weights are NaN or Inf, the first in '%.128s'",
               (long long)m->info.n_nonfinite, first);
}

/* From a built graph to one that sessions can plan. */
static rf_status finish(rf_model *m, bool unfolded, bool own_form, const char *format,
                        rf_error *err)
{
    if (!m->graph->n_outputs)
        return rf_fail(err, RF_ERR_ARGUMENT, "graph '%s' has no output",
                       m->graph->name ? m->graph->name : "");
    RF_TRY(rf_graph_sort(m->graph, err));
    if (!unfolded)
        RF_TRY(rf_fold_graph(m->graph, &m->audit, err));
    RF_TRY(rf_fold_round(m->graph, err));
    if (own_form) {
        m->info.n_nonfinite = -1; /* to look at all would be to read all */
        m->info.first_nonfinite = "";
    } else
        look_for_nonfinite(m);
    RF_TRY(rf_exec_optimise(m->graph, err));
    snprintf(m->format, sizeof m->format, "%s", format);
    m->info.format = m->format;
    rf_model_measure(m);
    return RF_OK;
}

static rf_status build(rf_model *m, rf_checkpoint *ckpt, bool unfolded, rf_error *err)
{
    bool own_form = rf_checkpoint_get_meta(ckpt, "refold") != NULL;
    for (size_t i = 0; i < ckpt->n_entries; i++)
        m->info.n_file_parameters += rf_tensor_elements(&ckpt->entries[i].tensor);
    const char *report = own_form ? rf_checkpoint_get_meta(ckpt, RF_META_FOLDS) : NULL;
    if (report && !(m->folded_before = rf_arena_strndup(&m->audit.arena, report, strlen(report))))
        return rf_fail(err, RF_ERR_MEMORY, "no memory for the fold report");
    if (!own_form)
        RF_TRY(rf_fold_checkpoint(ckpt, !unfolded, &m->audit, err));
    RF_TRY(rf_load_graph(ckpt, &m->graph, err));
    return finish(m, unfolded, own_form, own_form ? "refold" : ckpt->format, err);
}

rf_status rf_model_load(const rf_model_params *given, rf_model **out, rf_error *err)
{
    rf_model_params params = {.size = sizeof params};
    rf_env *env = NULL;
    rf_blob *blob = NULL;
    rf_checkpoint *ckpt = NULL;
    rf_model *m = NULL;
    rf_status status;
    *out = NULL;
    if (!given)
        return rf_fail(err, RF_ERR_ARGUMENT, "rf_model_params is NULL, expected path or data");
    RF_TRY(rf_params_take(&params, sizeof params, given, "rf_model_params", err));
    if (!params.path == !params.data)
        return rf_fail(err, RF_ERR_ARGUMENT, "rf_model_params: %s, expected path or data",
                       params.path ? "path and data are set" : "neither path nor data is set");
    RF_TRY(rf_env_create(params.hooks, &env, err));
    if (params.path)
        RF_TRY_DONE(rf_blob_map_file(env, params.path, &blob, err));
    else
        RF_TRY_DONE(rf_blob_copy(env, params.data, params.data_bytes, &blob, err));
    RF_TRY_DONE(model_new(env, &m, err));
    RF_TRY_DONE(rf_load_checkpoint(env, blob, params.path, &ckpt, err));
    RF_TRY_DONE(build(m, ckpt, params.unfolded, err));
    rf_model_forget_files(m);
    *out = m;
    m = NULL;
done:
    rf_checkpoint_destroy(&ckpt);
    rf_blob_release(&blob);
    rf_model_release(&m);
    rf_env_release(&env);
    return status;
}

rf_status rf_model_from_graph(rf_graph **graph, const rf_model_params *given, rf_model **out,
                              rf_error *err)
{
    rf_model_params params = {.size = sizeof params};
    rf_model *m = NULL;
    *out = NULL;
    if (!graph || !*graph)
        return rf_fail(err, RF_ERR_ARGUMENT, "graph is NULL");
    rf_status status =
        given ? rf_params_take(&params, sizeof params, given, "rf_model_params", err) : RF_OK;
    if (status == RF_OK)
        status = model_new((*graph)->env, &m, err);
    if (status == RF_OK) {
        m->graph = *graph;
        *graph = NULL;
        for (size_t v = 0; v < m->graph->n_values; v++)
            if (m->graph->values[v].blob)
                m->info.n_file_parameters += rf_tensor_elements(&m->graph->values[v].desc);
        status = finish(m, params.unfolded, false, "graph", err);
    }
    rf_graph_destroy(graph);
    if (status == RF_OK)
        *out = m;
    else
        rf_model_release(&m);
    return status;
}

void rf_model_forget_files(const rf_model *model)
{
    const rf_blob *last = NULL;
    for (size_t v = 0; v < model->graph->n_values; v++) {
        const rf_blob *blob = model->graph->values[v].blob;
        if (blob && blob != last)
            rf_blob_forget(last = blob);
    }
}

rf_model *rf_model_retain(rf_model *model)
{
    atomic_fetch_add_explicit(&model->refs, 1, memory_order_relaxed);
    return model;
}

void rf_model_release(rf_model **model_ptr)
{
    rf_model *m = *model_ptr;
    *model_ptr = NULL;
    if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
        return;
    rf_model_close_devices(m);
    pthread_mutex_destroy(&m->device_lock);
    rf_graph_destroy(&m->graph);
    rf_pack_cache_destroy(&m->packs);
    rf_fold_audit_free(&m->audit);
    rf_env *env = m->env;
    rf_free(env, m, sizeof *m);
    rf_env_release(&env);
}

rf_status rf_model_save(const rf_model *model, const char *path, rf_error *err)
{
    rf_str report = {.env = model->env};
    if (model->folded_before)
        rf_str_append(&report, model->folded_before, strlen(model->folded_before));
    for (size_t i = 0; i < model->audit.n_records; i++) {
        const rf_fold_record *r = &model->audit.records[i];
        rf_str_printf(&report, "%s %s n_in=%d max_abs=%.9g max_error=%.3g\n", r->scheme, r->target,
                      r->n_in, r->max_abs, r->max_error);
    }
    rf_status status = report.failed ? rf_fail(err, RF_ERR_MEMORY, "no memory for the fold report")
                                     : rf_save_graph(model->graph, report.data, path, err);
    rf_str_free(&report);
    return status;
}

int rf_model_input_count(const rf_model *model)
{
    return (int)model->graph->n_inputs;
}
int rf_model_output_count(const rf_model *model)
{
    return (int)model->graph->n_outputs;
}

static rf_status give_io(const rf_graph_value *v, const char *name, rf_io_info *out, rf_error *err)
{
    rf_io_info io = {.name = name,
                     .dtype = v->desc.dtype,
                     .rank = v->desc.rank,
                     .min_height = v->min_h,
                     .min_width = v->min_w};
    memcpy(io.dims, v->desc.dims, sizeof io.dims);
    return rf_params_give(&io, sizeof io, out, "rf_io_info", err);
}

static rf_status check_index(const char *what, int i, size_t n, rf_error *err)
{
    if (i < 0 || (size_t)i >= n)
        return rf_fail(err, RF_ERR_ARGUMENT, "%s %d: the model has %zu", what, i, n);
    return RF_OK;
}

rf_status rf_model_input(const rf_model *model, int i, rf_io_info *out, rf_error *err)
{
    const rf_graph *g = model->graph;
    RF_TRY(check_index("input", i, g->n_inputs, err));
    return give_io(&g->values[g->inputs[i]], g->values[g->inputs[i]].name, out, err);
}

rf_status rf_model_output(const rf_model *model, int i, rf_io_info *out, rf_error *err)
{
    const rf_graph *g = model->graph;
    RF_TRY(check_index("output", i, g->n_outputs, err));
    return give_io(&g->values[g->outputs[i]], g->output_names[i], out, err);
}

rf_status rf_model_get_info(const rf_model *model, rf_model_info *out, rf_error *err)
{
    return rf_params_give(&model->info, sizeof model->info, out, "rf_model_info", err);
}

rf_status rf_model_fold(const rf_model *model, int i, rf_fold_info *out, rf_error *err)
{
    RF_TRY(check_index("fold", i, model->audit.n_records, err));
    const rf_fold_record *r = &model->audit.records[i];
    const rf_fold_info fold = {0, r->scheme, r->target, r->n_in, r->max_abs, r->max_error};
    return rf_params_give(&fold, sizeof fold, out, "rf_fold_info", err);
}

rf_status rf_model_op(const rf_model *model, int i, rf_op_use *out, rf_error *err)
{
    RF_TRY(check_index("op", i, model->graph->n_nodes, err));
    const rf_graph_node *n = &model->graph->nodes[i];
    const rf_op_use use = {0, rf_op_get(n->op)->name, n->name};
    return rf_params_give(&use, sizeof use, out, "rf_op_use", err);
}

static bool is_usable(const rf_kernel *kernel)
{
    return !kernel->usable || kernel->usable();
}

bool rf_op_supported(int k, const char *backend_name)
{
    const rf_backend *backend = rf_backend_find(backend_name);
    size_t n;
    if (!backend || k < 0 || k >= RF_OP_COUNT)
        return false;
    const rf_kernel *const *kernels = backend->kernels(&n);
    for (size_t i = 0; i < n; i++)
        if ((int)kernels[i]->op == k && is_usable(kernels[i]))
            return true;
    return false;
}

void rf_op_kernels(int k, const char *backend_name, bool usable, char *buf, size_t buf_bytes)
{
    const rf_backend *backend = rf_backend_find(backend_name);
    size_t n = 0, used = 0;
    const rf_kernel *const *kernels = backend ? backend->kernels(&n) : NULL;
    if (buf_bytes)
        buf[0] = 0;
    for (size_t i = 0; i < n; i++) {
        if ((int)kernels[i]->op != k || used >= buf_bytes || is_usable(kernels[i]) != usable)
            continue;
        int wrote =
            snprintf(buf + used, buf_bytes - used, "%s%s", used ? " " : "", kernels[i]->name);
        used += wrote > 0 ? (size_t)wrote : 0;
    }
}

const char *rf_backend_device(const char *backend_name)
{
    const rf_backend *backend = rf_backend_find(backend_name);
    return !backend ? NULL : backend->describe ? backend->describe() : backend->name;
}
