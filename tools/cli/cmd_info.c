/* SPDX-License-Identifier: Apache-2.0
 *
 * refold info, fold and ops: what a model is, and what Refold can do.
 */
#include "tools/cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_JSON = 256, KEY_SHAPE, KEY_OPS };

struct info_options {
    struct model_options model;
    const char *shape, *out;
    bool json, ops;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct info_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->model;
        return 0;
    case KEY_JSON:
        o->json = true;
        return 0;
    case KEY_OPS:
        o->ops = true;
        return 0;
    case KEY_SHAPE:
        o->shape = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option info_list[] = {
    {"json", KEY_JSON, 0, 0, "print as JSON", 0},
    {"shape", KEY_SHAPE, "1x3xHxW", 0, "shape for the cost (open dims: 1x3x512x512)", 0},
    {"ops", KEY_OPS, 0, 0, "list every op after folding and fusion", 0},
    {0},
};
static const struct argp_child children[] = {{&model_argp, 0, 0, 0}, {0}};
static const struct argp info_argp = {info_list, parse, 0, "Shows what a model is and costs.",
                                      children,  0,     0};

static json_t *dims_json(const int64_t *dims, int rank)
{
    json_t *a = json_array();
    for (int i = 0; i < rank; i++)
        json_array_append_new(a, json_integer(dims[i]));
    return a;
}

static json_t *io_json(const rf_model *model, bool inputs)
{
    json_t *list = json_array();
    rf_error err;
    for (int i = 0, n = inputs ? rf_model_input_count(model) : rf_model_output_count(model); i < n;
         i++) {
        rf_io_info io;
        if ((inputs ? rf_model_input : rf_model_output)(model, i, &io, &err) != RF_OK)
            continue;
        json_t *one = json_pack("{s:s, s:s}", "name", io.name, "dtype", rf_dtype_name(io.dtype));
        if (inputs)
            json_object_set_new(one, "dims", dims_json(io.dims, io.rank));
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
        rf_fold_info f;
        if (rf_model_fold(model, i, &f, &err) == RF_OK)
            json_array_append_new(list, json_pack("{s:s, s:s, s:i, s:f, s:f}", "scheme", f.scheme,
                                                  "target", f.target, "inputs", f.n_in, "max_abs",
                                                  f.max_abs, "max_error", f.max_error));
    }
    return list;
}

static json_t *ops_json(const rf_model *model, int n)
{
    json_t *list = json_array();
    rf_error err;
    for (int i = 0; i < n; i++) {
        rf_op_use use;
        if (rf_model_op(model, i, &use, &err) == RF_OK)
            json_array_append_new(list, json_pack("{s:s, s:s}", "op", use.op, "name", use.name));
    }
    return list;
}

/* The shape given, or the first input's with 1, 3, 512, 512 for what is open. */
static bool cost_shape(const struct info_options *o, const rf_model *model, rf_tensor *out)
{
    static const int64_t open[4] = {1, 3, 512, 512};
    rf_io_info io;
    rf_error err;
    if (o->shape)
        return cli_shape(o->shape, out);
    if (rf_model_input(model, 0, &io, &err) != RF_OK)
        return cli_fail(&err) == EXIT_OK;
    for (int i = 0; i < io.rank; i++)
        if (io.dims[i] < 0)
            io.dims[i] = i < 4 ? open[i] : 1;
    return rf_tensor_init(out, io.dtype, io.rank, io.dims, NULL, &err) == RF_OK ||
           cli_fail(&err) == EXIT_OK;
}

static json_t *cost_json(const rf_tensor *shape, const rf_plan_info *p)
{
    return json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:i}", "shape",
                     dims_json(shape->dims, shape->rank), "macs", (json_int_t)p->macs, "peak_bytes",
                     (json_int_t)p->peak_bytes, "arena_bytes", (json_int_t)p->arena_bytes,
                     "scratch_bytes", (json_int_t)p->scratch_bytes, "weight_bytes",
                     (json_int_t)p->weight_bytes, "steps", p->n_steps);
}

static void print_dims(const int64_t *dims, int rank)
{
    for (int i = 0; i < rank; i++)
        dims[i] < 0 ? printf("%s?", i ? "x" : "")
                    : printf("%s%lld", i ? "x" : "", (long long)dims[i]);
}

static void print_info(const struct info_options *o, const rf_model *model,
                       const rf_model_info *info, const rf_tensor *shape, const rf_plan_info *p,
                       const char *device)
{
    rf_error err;
    printf("model          %s (%s)\n", *info->architecture ? info->architecture : "graph",
           info->format);
    for (int i = 0; i < rf_model_input_count(model); i++) {
        rf_io_info io;
        if (rf_model_input(model, i, &io, &err) != RF_OK)
            continue;
        printf("input          %s: %s ", io.name, rf_dtype_name(io.dtype));
        print_dims(io.dims, io.rank);
        if (io.min_height)
            printf(", at least %lldx%lld", (long long)io.min_height, (long long)io.min_width);
        putchar('\n');
    }
    for (int i = 0; i < rf_model_output_count(model); i++) {
        rf_io_info io;
        if (rf_model_output(model, i, &io, &err) == RF_OK)
            printf("output         %s: %s\n", io.name, rf_dtype_name(io.dtype));
    }
    printf("parameters     %lld (%lld in the file)\n", (long long)info->n_parameters,
           (long long)info->n_file_parameters);
    printf("ops            %d after folding and fusion\n", info->n_ops);
    printf("folds          %d\n", info->n_folds);
    printf("receptive      %d pixels each side%s\n", info->receptive_field,
           info->has_global_ops ? ", and global ops" : "");
    printf("device         %s\nshape          ", device);
    print_dims(shape->dims, shape->rank);
    printf("\nwork           %.3f GMAC\n", (double)p->macs * 1e-9);
    printf("peak memory    %.1f MiB: activations %.1f, scratch %.1f, weights %.1f\n",
           (double)p->peak_bytes / 1048576.0, (double)p->arena_bytes / 1048576.0,
           (double)p->scratch_bytes / 1048576.0, (double)p->weight_bytes / 1048576.0);
    for (int i = 0; i < info->n_folds; i++) {
        rf_fold_info f;
        if (rf_model_fold(model, i, &f, &err) == RF_OK)
            printf("fold           %-8s %-36s %d in, max |w| %.4g, rounding %.2g\n", f.scheme,
                   f.target, f.n_in, f.max_abs, f.max_error);
    }
    for (int i = 0; o->ops && i < info->n_ops; i++) {
        rf_op_use use;
        if (rf_model_op(model, i, &use, &err) == RF_OK)
            printf("op             %-18s %s\n", use.op, use.name);
    }
}

static bool show_info(const struct info_options *o, rf_model *model, rf_session *session)
{
    rf_tensor shape;
    rf_plan_info plan;
    rf_model_info info;
    rf_error err;
    rf_model_get_info(model, &info);
    if (!cost_shape(o, model, &shape))
        return false;
    if (rf_session_prepare(session, &shape, 1, &plan, &err) != RF_OK)
        return cli_fail(&err) == EXIT_OK;
    if (!o->json) {
        print_info(o, model, &info, &shape, &plan, rf_session_device(session));
        return true;
    }
    return cli_print_json(
        json_pack("{s:s, s:s, s:o, s:o, s:I, s:I, s:i, s:i, s:b, s:s, s:o, s:o, s:o, s:I, s:I}",
                  "architecture", info.architecture, "format", info.format, "inputs",
                  io_json(model, true), "outputs", io_json(model, false), "parameters",
                  (json_int_t)info.n_parameters, "file_parameters",
                  (json_int_t)info.n_file_parameters, "n_ops", info.n_ops, "receptive_field",
                  info.receptive_field, "global_ops", info.has_global_ops, "device",
                  rf_session_device(session), "ops", ops_json(model, info.n_ops), "folds",
                  folds_json(model, info.n_folds), "cost", cost_json(&shape, &plan), "macs",
                  (json_int_t)plan.macs, "peak_bytes", (json_int_t)plan.peak_bytes),
        NULL);
}

int cmd_info(int argc, char **argv)
{
    struct info_options o = {0};
    rf_model *model = NULL;
    rf_session *session = NULL;
    if (cli_parse(&info_argp, "info", argc, argv, &o))
        return EXIT_USAGE;
    bool ok = cli_load(&o.model, false, &model) && cli_session(&o.model, model, &session) &&
              show_info(&o, model, session);
    rf_session_destroy(&session);
    rf_model_release(&model);
    return ok ? EXIT_OK : EXIT_FAILED;
}

static error_t parse_fold(int key, char *arg, struct argp_state *state)
{
    struct info_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->model;
        return 0;
    case 'o':
        o->out = arg;
        return 0;
    case ARGP_KEY_END:
        if (!o->out)
            argp_error(state, "no output given: -o OUT.safetensors");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option fold_list[] = {
    {"output", 'o', "OUT.safetensors", 0, "file to write", 0}, {0}};
static const struct argp fold_argp = {
    fold_list, parse_fold, 0, "Writes the folded model with its graph.", children, 0, 0};

int cmd_fold(int argc, char **argv)
{
    struct info_options o = {0};
    rf_model *model = NULL;
    rf_model_info info;
    rf_error err;
    if (cli_parse(&fold_argp, "fold", argc, argv, &o))
        return EXIT_USAGE;
    bool ok = cli_load(&o.model, false, &model);
    if (ok && rf_model_save(model, o.out, &err) != RF_OK)
        ok = cli_fail(&err) == EXIT_OK;
    if (ok) {
        rf_model_get_info(model, &info);
        printf("%s: %d folds, %lld parameters (%lld in the checkpoint)\n", o.out, info.n_folds,
               (long long)info.n_parameters, (long long)info.n_file_parameters);
    }
    rf_model_release(&model);
    return ok ? EXIT_OK : EXIT_FAILED;
}

static const struct argp_option ops_list[] = {{"json", KEY_JSON, 0, 0, "print as JSON", 0}, {0}};
static error_t parse_ops(int key, char *arg, struct argp_state *state)
{
    (void)arg;
    if (key != KEY_JSON)
        return ARGP_ERR_UNKNOWN;
    *(bool *)state->input = true;
    return 0;
}
static const struct argp ops_argp = {
    ops_list, parse_ops, 0, "Lists ops, their inputs and attributes, and backends.", 0, 0, 0};

int cmd_ops(int argc, char **argv)
{
    static const char *const backends[] = {"ref", "cpu", "cuda"};
    bool json = false;
    char form[512], kernels[512];
    if (cli_parse(&ops_argp, "ops", argc, argv, &json))
        return EXIT_USAGE;
    const char *device = rf_backend_device("cpu");
    json_t *list = json_object();
    if (!json)
        printf("%-18s %-4s %-5s kernels of cpu on %s, in order of preference\n", "op", "ref",
               "cuda", device ? device : "-");
    for (int k = 0; rf_op_name(k); k++) {
        json_t *one = json_object();
        rf_op_describe(k, form, sizeof form);
        rf_op_kernels(k, "cpu", kernels, sizeof kernels);
        for (int b = 0; b < 3; b++)
            json_object_set_new(one, backends[b], json_boolean(rf_op_supported(k, backends[b])));
        if (!json)
            printf("%-18s %-4s %-5s %s\n%18s %s\n", rf_op_name(k),
                   rf_op_supported(k, "ref") ? "yes" : "-",
                   rf_op_supported(k, "cuda") ? "yes" : "-", *kernels ? kernels : "-", "", form);
        json_object_set_new(one, "form", json_string(form));
        json_object_set_new(one, "cpu_kernels", json_string(kernels));
        json_object_set_new(list, rf_op_name(k), one);
    }
    if (json)
        return cli_print_json(list, NULL) ? EXIT_OK : EXIT_FAILED;
    json_decref(list);
    return EXIT_OK;
}
