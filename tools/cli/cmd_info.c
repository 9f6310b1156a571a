/* SPDX-License-Identifier: Apache-2.0
 *
 * refold info: what a model is, and what a run of it costs.
 */
#include "tools/cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_OPS = 256, KEY_EXPLAIN };

struct info_options {
    struct report_options report;
    bool ops, explain;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct info_options *o = state->input;
    (void)arg;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->report;
        return 0;
    case KEY_OPS:
        o->ops = true;
        return 0;
    case KEY_EXPLAIN:
        o->explain = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option info_list[] = {
    {"ops", KEY_OPS, 0, 0, "list every op after folding and fusion", 0},
    {"explain", KEY_EXPLAIN, 0, 0, "which kernel each op got and why; of --json: 'steps'", 0},
    {0},
};
static const struct argp_child children[] = {{&report_argp, 0, 0, 0}, {0}};
static const struct argp info_argp = {info_list,
                                      parse,
                                      0,
                                      "Shows what a model is: inputs, ops, parameters, folds, and "
                                      "what a run of one shape (1x3x512x512) costs.",
                                      children,
                                      0,
                                      0};

static json_t *io_json(const rf_model *model, bool inputs)
{
    json_t *list = json_array();
    rf_error err;
    for (int i = 0, n = inputs ? rf_model_input_count(model) : rf_model_output_count(model); i < n;
         i++) {
        rf_io_info io = {.size = sizeof io};
        if ((inputs ? rf_model_input : rf_model_output)(model, i, &io, &err) != RF_OK)
            continue;
        json_t *one = json_pack("{s:o, s:s}", "name", cli_json_text(io.name), "dtype",
                                rf_dtype_name(io.dtype));
        if (inputs)
            json_object_set_new(one, "dims", cli_json_dims(io.dims, io.rank));
        if (io.min_height)
            json_object_set_new(
                one, "min_size",
                json_pack("[I, I]", (json_int_t)io.min_height, (json_int_t)io.min_width));
        json_array_append_new(list, one);
    }
    return list;
}

static json_t *folds_json(const rf_model *model, int n)
{
    json_t *list = json_array();
    rf_error err;
    for (int i = 0; i < n; i++) {
        rf_fold_info f = {.size = sizeof f};
        if (rf_model_fold(model, i, &f, &err) == RF_OK)
            json_array_append_new(list,
                                  json_pack("{s:s, s:o, s:i, s:f, s:f}", "scheme", f.scheme,
                                            "target", cli_json_text(f.target), "inputs", f.n_in,
                                            "max_abs", f.max_abs, "max_error", f.max_error));
    }
    return list;
}

static json_t *ops_json(const rf_model *model, int n)
{
    json_t *list = json_array();
    rf_error err;
    for (int i = 0; i < n; i++) {
        rf_op_use use = {.size = sizeof use};
        if (rf_model_op(model, i, &use, &err) == RF_OK)
            json_array_append_new(
                list, json_pack("{s:s, s:o}", "op", use.op, "name", cli_json_text(use.name)));
    }
    return list;
}

/* What a run of some shapes needs. */
struct cost {
    rf_tensor shapes[MAX_IO];
    int n;
    rf_plan_info plan;
};

static json_t *cost_json(const struct cost *c)
{
    const rf_plan_info *p = &c->plan;
    json_t *shapes = json_array();
    for (int i = 0; i < c->n; i++)
        json_array_append_new(shapes, cli_json_dims(c->shapes[i].dims, c->shapes[i].rank));
    return json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:i}", "shapes", shapes, "macs",
                     (json_int_t)p->macs, "peak_bytes", (json_int_t)p->peak_bytes, "arena_bytes",
                     (json_int_t)p->arena_bytes, "scratch_bytes", (json_int_t)p->scratch_bytes,
                     "weight_bytes", (json_int_t)p->weight_bytes, "steps", p->n_steps);
}

static void print_dims(const int64_t *dims, int rank)
{
    for (int i = 0; i < rank; i++)
        dims[i] < 0 ? printf("%s?", i ? "x" : "")
                    : printf("%s%lld", i ? "x" : "", (long long)dims[i]);
}

static void print_ends(const rf_model *model)
{
    rf_io_info io = {.size = sizeof io};
    for (int i = 0; rf_model_input(model, i, &io, NULL) == RF_OK; i++) {
        printf("input          %s: %s ", io.name, rf_dtype_name(io.dtype));
        print_dims(io.dims, io.rank);
        if (io.min_height)
            printf(", at least %lldx%lld", (long long)io.min_height, (long long)io.min_width);
        putchar('\n');
    }
    for (int i = 0; rf_model_output(model, i, &io, NULL) == RF_OK; i++)
        printf("output         %s: %s\n", io.name, rf_dtype_name(io.dtype));
}

static void print_cost(const struct cost *c)
{
    const rf_plan_info *p = &c->plan;
    for (int i = 0; i < c->n; i++) {
        printf("shape          ");
        print_dims(c->shapes[i].dims, c->shapes[i].rank);
        putchar('\n');
    }
    printf("work           %.3f GMAC\n", (double)p->macs * 1e-9);
    printf("peak memory    %.1f MiB: activations %.1f, scratch %.1f, weights %.1f\n",
           (double)p->peak_bytes / 1048576.0, (double)p->arena_bytes / 1048576.0,
           (double)p->scratch_bytes / 1048576.0, (double)p->weight_bytes / 1048576.0);
}

static void print_info(const struct info_options *o, const rf_model *model,
                       const rf_model_info *info, const struct cost *cost, const char *device)
{
    rf_fold_info f = {.size = sizeof f};
    rf_op_use use = {.size = sizeof use};
    printf("model          %s (%s)\n", *info->architecture ? info->architecture : "graph",
           info->format);
    print_ends(model);
    printf("parameters     %lld (%lld in the file)\n", (long long)info->n_parameters,
           (long long)info->n_file_parameters);
    if (info->n_nonfinite > 0)
        printf("NaN or Inf     %lld parameters, the first in %s\n", (long long)info->n_nonfinite,
               info->first_nonfinite);
    printf("ops            %d after folding and fusion\n", info->n_ops);
    printf("folds          %d\n", info->n_folds);
    printf("receptive      %d pixels each side%s\n", info->receptive_field,
           info->has_global_ops ? ", and global ops" : "");
    printf("device         %s\n", device);
    print_cost(cost);
    for (int i = 0; rf_model_fold(model, i, &f, NULL) == RF_OK; i++)
        printf("fold           %-8s %-36s %d in, max |w| %.4g, rounding %.2g\n", f.scheme, f.target,
               f.n_in, f.max_abs, f.max_error);
    for (int i = 0; o->ops && rf_model_op(model, i, &use, NULL) == RF_OK; i++)
        printf("op             %-18s %s\n", use.op, use.name);
}

static json_t *info_json(const rf_model *model, const rf_model_info *info, const struct cost *cost,
                         const char *device)
{
    json_t *count = info->n_nonfinite < 0 ? json_null() : json_integer(info->n_nonfinite);
    json_t *first = *info->first_nonfinite ? cli_json_text(info->first_nonfinite) : json_null();
    return json_pack(
        "{s:s, s:s, s:o, s:o, s:I, s:I, s:o, s:o, s:i, s:i, s:b, s:s, s:o, s:o, s:o, "
        "s:I, s:I}",
        "architecture", info->architecture, "format", info->format, "inputs", io_json(model, true),
        "outputs", io_json(model, false), "parameters", (json_int_t)info->n_parameters,
        "file_parameters", (json_int_t)info->n_file_parameters, "nonfinite", count,
        "first_nonfinite", first, "n_ops", info->n_ops, "receptive_field", info->receptive_field,
        "global_ops", info->has_global_ops, "device", device, "ops", ops_json(model, info->n_ops),
        "folds", folds_json(model, info->n_folds), "cost", cost_json(cost), "macs",
        (json_int_t)cost->plan.macs, "peak_bytes", (json_int_t)cost->plan.peak_bytes);
}

static bool print_explanation(rf_session *session)
{
    const char *text;
    rf_error err;
    if (rf_session_explain(session, &text, &err) != RF_OK)
        return cli_fail(&err) == EXIT_OK;
    return fputs(text, stdout) >= 0;
}

static bool add_steps(rf_session *session, json_t *report)
{
    const char *text;
    rf_error err;
    if (rf_session_steps_json(session, &text, &err) != RF_OK)
        return cli_fail(&err) == EXIT_OK;
    return !json_object_set_new(report, "steps", json_loads(text, 0, NULL));
}

static bool show_info(const struct info_options *o, rf_model *model, rf_session *session)
{
    struct cost cost = {.plan = {.size = sizeof cost.plan}};
    rf_model_info info;
    rf_error err;
    if (!cli_info(model, &info))
        return false;
    if (!cli_shapes(&o->report.shapes, model, 512, cost.shapes, &cost.n))
        return false;
    if (rf_session_prepare(session, cost.shapes, cost.n, &cost.plan, &err) != RF_OK)
        return cli_fail(&err) == EXIT_OK;
    if (cli_wants_text(&o->report)) {
        print_info(o, model, &info, &cost, rf_session_device(session));
        if (o->explain && !print_explanation(session))
            return false;
    }
    if (!o->report.json)
        return true;
    json_t *report = info_json(model, &info, &cost, rf_session_device(session));
    if (!o->explain || add_steps(session, report))
        return cli_print_json(report, o->report.json);
    json_decref(report);
    return false;
}

int cmd_info(int argc, char **argv)
{
    struct info_options o = {.ops = false};
    struct model_options *m = &o.report.model;
    rf_model *model = NULL;
    rf_session *session = NULL;
    if (cli_parse(&info_argp, "info", argc, argv, &o))
        return EXIT_USAGE;
    if (!m->memory_cap)
        m->memory_cap = SIZE_MAX; /* nothing runs: what does not fit is told all the same */
    bool ok = cli_load(m, false, &model) && cli_session(m, model, &session) &&
              show_info(&o, model, session);
    rf_session_destroy(&session);
    rf_model_release(&model);
    return ok ? EXIT_OK : EXIT_FAILED;
}
