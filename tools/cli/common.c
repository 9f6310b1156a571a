/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages, models and sessions: what every command needs.
 */
#include "tools/cli/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int cli_failf(const char *fmt, ...)
{
    va_list args;
    progress_hide();
    fputs("refold: ", stderr);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    return EXIT_FAILED;
}

int cli_fail(const rf_error *err)
{
    return cli_failf("%s", err->text);
}

static void log_line(void *user, rf_log_level level, const char *text)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    (void)user;
    progress_hide();
    fprintf(stderr, "refold: %s: %s\n", names[level], text);
}

/* Who asks for "auto" by name is told what it became. */
static rf_log_level log_level(const struct model_options *o)
{
    if (o->verbose)
        return RF_LOG_DEBUG;
    return o->device && !strcmp(o->device, "auto") ? RF_LOG_INFO : RF_LOG_WARN;
}

bool cli_load(const struct model_options *o, bool unfolded, rf_model **out)
{
    rf_hooks hooks = {.size = sizeof hooks, .logger = {log_line, NULL, log_level(o)}};
    rf_model_params params = {
        .size = sizeof params, .path = o->model, .unfolded = unfolded, .hooks = &hooks};
    rf_error err;
    return rf_model_load(&params, out, &err) == RF_OK || cli_fail(&err) == EXIT_OK;
}

bool cli_info(const rf_model *model, rf_model_info *out)
{
    rf_error err;
    out->size = sizeof *out;
    return rf_model_get_info(model, out, &err) == RF_OK || cli_fail(&err) == EXIT_OK;
}

/* $XDG_CACHE_HOME/refold, else ~/.cache/refold; NULL without a home. */
static const char *tune_dir(char *path, size_t bytes)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache && *cache == '/')
        snprintf(path, bytes, "%s/refold", cache);
    else if (home && *home == '/')
        snprintf(path, bytes, "%s/.cache/refold", home);
    else
        return NULL;
    return path;
}

/* What is free in this machine's memory limits what runs in it, not what runs on a GPU. */
static size_t default_cap(const char *device)
{
    bool gpu = device && (!strcmp(device, "cuda") || !strcmp(device, "sim"));
    return gpu ? 0 : cli_free_bytes();
}

bool cli_session(const struct model_options *o, rf_model *model, rf_session **out)
{
    char dir[480];
    rf_session_params params = {.size = sizeof params,
                                .device = o->device,
                                .precision = o->dtype,
                                .n_threads = o->threads,
                                .memory_cap =
                                    o->memory_cap ? o->memory_cap : default_cap(o->device),
                                .exact = o->exact,
                                .tune = o->tune,
                                .tune_dir = o->tune ? tune_dir(dir, sizeof dir) : NULL};
    rf_error err;
    return rf_session_create(model, &params, out, &err) == RF_OK || cli_fail(&err) == EXIT_OK;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void cli_sort(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, by_value);
}

double cli_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
