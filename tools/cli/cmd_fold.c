/* SPDX-License-Identifier: Apache-2.0
 *
 * refold fold: a checkpoint becomes one file that holds the folded network and its graph.
 */
#include "tools/cli/cli.h"

#include <stdio.h>

struct fold_options {
    struct model_options model;
    const char *out;
};

static const struct argp_child children[] = {{&model_argp, 0, 0, 0}, {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct fold_options *o = state->input;
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
    fold_list,
    parse,
    0,
    "Folds a training checkpoint and writes the network with its graph as one .safetensors file, "
    "which is mapped when it is loaded.",
    children,
    0,
    0};

int cmd_fold(int argc, char **argv)
{
    struct fold_options o = {.out = NULL};
    rf_model *model = NULL;
    rf_model_info info;
    rf_error err;
    if (cli_parse(&fold_argp, "fold", argc, argv, &o))
        return EXIT_USAGE;
    if (is_same_file(o.model.model, o.out))
        return cli_failf("%s: is the model itself, expected another output", o.out);
    bool ok = cli_load(&o.model, false, &model);
    if (ok && rf_model_save(model, o.out, &err) != RF_OK)
        ok = cli_fail(&err) == EXIT_OK;
    ok = ok && cli_info(model, &info);
    if (ok)
        printf("%s: %d folds, %lld parameters (%lld in the checkpoint)\n", o.out, info.n_folds,
               (long long)info.n_parameters, (long long)info.n_file_parameters);
    rf_model_release(&model);
    return ok ? EXIT_OK : EXIT_FAILED;
}
