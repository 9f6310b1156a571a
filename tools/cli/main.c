/* SPDX-License-Identifier: Apache-2.0
 *
 * refold: the command line. One file per command; see cli.h.
 */
#include "tools/cli/cli.h"

#include <errno.h>
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
    fprintf(f,
            "\n`refold COMMAND --help` explains one.\n"
            "Exit codes: 0 success, 1 failure, 2 usage, 128 + N stopped by signal N. Version "
            "%s.\n",
            rf_version_string());
}

/* A report that did not reach a full disk is a failure. */
static int check_stdout(int code)
{
    if (fflush(stdout) || ferror(stdout))
        return cli_failf("stdout: cannot write: %s", strerror(errno));
    return code;
}

static int unknown_command(const char *name)
{
    const char *names[N_COMMANDS + 1] = {NULL};
    for (int i = 0; i < N_COMMANDS; i++)
        names[i] = commands[i].name;
    const char *nearest = cli_nearest(name, names);
    fprintf(stderr, "refold: unknown command '%s'%s%s%s\n", name, nearest ? ": did you mean '" : "",
            nearest ? nearest : "", nearest ? "'?" : "");
    usage(stderr);
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    bool help = !strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help");
    if (help && argc == 2) {
        usage(stdout);
        return check_stdout(EXIT_OK);
    }
    if (help) { /* refold help COMMAND */
        static char option[] = "--help";
        name = argv[1] = argv[2];
        argv[2] = option;
        argc = 3;
    }
    if (!strcmp(name, "--version")) {
        printf("refold %s (%s)\n", rf_version_string(), rf_build_info());
        return check_stdout(EXIT_OK);
    }
    for (int i = 0; i < N_COMMANDS; i++)
        if (!strcmp(name, commands[i].name))
            return check_stdout(commands[i].run(argc - 1, argv + 1));
    return unknown_command(name);
}
