/* SPDX-License-Identifier: Apache-2.0
 *
 * refold ops: which backend runs which op.
 */
#include "tools/cli/cli.h"

#include <stdio.h>

enum { KEY_JSON = 256 };

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
    char form[512], kernels[512], unusable[512];
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
        rf_op_kernels(k, "cpu", true, kernels, sizeof kernels);
        rf_op_kernels(k, "cpu", false, unusable, sizeof unusable);
        for (int b = 0; b < 3; b++)
            json_object_set_new(one, backends[b], json_boolean(rf_op_supported(k, backends[b])));
        if (!json)
            printf("%-18s %-4s %-5s %s%s%s%s\n%18s %s\n", rf_op_name(k),
                   rf_op_supported(k, "ref") ? "yes" : "-",
                   rf_op_supported(k, "cuda") ? "yes" : "-", *kernels ? kernels : "-",
                   *unusable ? " (not on this machine: " : "", unusable, *unusable ? ")" : "", "",
                   form);
        json_object_set_new(one, "form", json_string(form));
        json_object_set_new(one, "cpu_kernels", json_string(kernels));
        json_object_set_new(one, "cpu_unusable", json_string(unusable));
        json_object_set_new(list, rf_op_name(k), one);
    }
    if (json)
        return cli_print_json(list, NULL) ? EXIT_OK : EXIT_FAILED;
    json_decref(list);
    return EXIT_OK;
}
