/* SPDX-License-Identifier: Apache-2.0
 *
 * refold: the command line. One file per command; see cli.h.
 */
#include "tools/cli/cli.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"run", cmd_run, "run a model on images or .npy tensors"},
    {"info", cmd_info, "inputs, ops, parameters, folds, cost of a model"},
    {"fold", cmd_fold, "write the folded model as one .safetensors file"},
    {"verify", cmd_verify, "compare the folded network with the unfolded one"},
    {"bench", cmd_bench, "measure latency, throughput and memory"},
    {"eval", cmd_eval, "PSNR and SSIM of images against references"},
    {"ops", cmd_ops, "which backend runs which op"},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static void usage(FILE *f)
{
    fprintf(f, "Usage: refold COMMAND [OPTIONS]\n\nCommands:\n");
    for (int i = 0; i < N_COMMANDS; i++)
        fprintf(f, "  %-8s %s\n", commands[i].name, commands[i].help);
    fprintf(f, "\n`refold COMMAND --help` explains one. Version %s.\n", rf_version_string());
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
        usage(stdout);
        return EXIT_OK;
    }
    if (!strcmp(name, "--version")) {
        printf("refold %s\n", rf_version_string());
        return EXIT_OK;
    }
    for (int i = 0; i < N_COMMANDS; i++)
        if (!strcmp(name, commands[i].name))
            return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "refold: unknown command '%s'\n", name);
    usage(stderr);
    return EXIT_USAGE;
}
