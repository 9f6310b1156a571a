/* SPDX-License-Identifier: Apache-2.0
 *
 * Options, messages, model and session, paths: what every command needs.
 */
#include "tools/cli/cli.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

int cli_failf(const char *fmt, ...)
{
    va_list args;
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

bool cli_precision(const char *text, rf_dtype *out)
{
    static const rf_dtype known[] = {RF_F32, RF_BF16, RF_F16};
    for (int i = 0; i < 3; i++)
        if (!strcmp(text, rf_dtype_name(known[i]))) {
            *out = known[i];
            return true;
        }
    return false;
}

static bool parse_bytes(const char *text, size_t *out)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    unsigned shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
    end += shift != 0;
    if (errno || end == text || *end || *text == '-' || n > SIZE_MAX >> shift)
        return false;
    *out = (size_t)n << shift;
    return true;
}

static bool parse_int(const char *text, int low, int *out)
{
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (errno || end == text || *end || n < low || n > 1 << 20)
        return false;
    *out = (int)n;
    return true;
}

static error_t parse_model_option(int key, char *arg, struct argp_state *state)
{
    struct model_options *o = state->input;
    switch (key) {
    case 'm':
        o->model = arg;
        return 0;
    case 'd':
        o->device = arg;
        return 0;
    case 'p':
        o->precision = arg;
        if (!cli_precision(arg, &o->dtype))
            argp_error(state, "--precision '%s': expected f32, bf16 or f16", arg);
        return 0;
    case 't':
        if (!parse_int(arg, 1, &o->threads))
            argp_error(state, "--threads '%s': expected a number from 1", arg);
        return 0;
    case 'M':
        if (!parse_bytes(arg, &o->memory_cap))
            argp_error(state, "--memory-cap '%s': expected bytes, with K, M or G", arg);
        return 0;
    case 'x':
        o->exact = true;
        return 0;
    case 'v':
        o->verbose = true;
        return 0;
    case ARGP_KEY_END:
        if (!o->model)
            argp_error(state, "no model given: expected -m MODEL");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option model_option_list[] = {
    {"model", 'm', "MODEL", 0, "checkpoint (.pth, .pt, .pk, .safetensors)", 1},
    {"device", 'd', "auto|cpu|cuda|ref", 0, "where to run (auto)", 1},
    {"precision", 'p', "f32|bf16|f16", 0, "storage of activations and weights (f32)", 1},
    {"threads", 't', "N", 0, "threads (all cores)", 1},
    {"memory-cap", 'M', "BYTES", 0, "refuse what needs more, e.g. 500M", 1},
    {"exact", 'x', 0, 0, "no Winograd: sum every product directly", 1},
    {"verbose", 'v', 0, 0, "log what the library does", 1},
    {0},
};
const struct argp model_argp = {model_option_list, parse_model_option, 0, 0, 0, 0, 0};

int cli_parse(const struct argp *argp, const char *command, int argc, char **argv, void *input)
{
    char name[64];
    snprintf(name, sizeof name, "refold %s", command);
    argv[0] = name;
    argp_err_exit_status = EXIT_USAGE;
    return argp_parse(argp, argc, argv, 0, NULL, input);
}

static void log_line(void *user, rf_log_level level, const char *text)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    (void)user;
    fprintf(stderr, "refold: %s: %s\n", names[level], text);
}

bool cli_load(const struct model_options *o, bool unfolded, rf_model **out)
{
    rf_hooks hooks = {.size = sizeof hooks,
                      .logger = {log_line, NULL, o->verbose ? RF_LOG_DEBUG : RF_LOG_WARN}};
    rf_model_params params = {
        .size = sizeof params, .path = o->model, .unfolded = unfolded, .hooks = &hooks};
    rf_error err;
    if (rf_model_load(&params, out, &err) == RF_OK)
        return true;
    cli_fail(&err);
    return false;
}

bool cli_session(const struct model_options *o, rf_model *model, rf_session **out)
{
    rf_session_params params = {.size = sizeof params,
                                .device = o->device,
                                .precision = o->dtype,
                                .n_threads = o->threads,
                                .memory_cap = o->memory_cap,
                                .exact = o->exact};
    rf_error err;
    if (rf_session_create(model, &params, out, &err) == RF_OK)
        return true;
    cli_fail(&err);
    return false;
}

bool cli_shape(const char *text, rf_tensor *out)
{
    int64_t dims[RF_MAX_RANK];
    int rank = 0;
    const char *at = text;
    rf_error err;
    while (rank < RF_MAX_RANK) {
        char *end;
        errno = 0;
        long long n = strtoll(at, &end, 10);
        if (errno || end == at || n < 1)
            break;
        dims[rank++] = n;
        if (!*end) {
            if (rf_tensor_init(out, RF_F32, rank, dims, NULL, &err) == RF_OK)
                return true;
            break;
        }
        if (*end != 'x')
            break;
        at = end + 1;
    }
    cli_failf("--shape '%s': expected sizes like 1x3x512x512", text);
    return false;
}

void cli_fill_random(rf_tensor *t, uint32_t seed)
{
    float *x = t->data;
    for (int64_t i = 0, n = rf_tensor_elements(t); i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)(seed >> 8) * 0x1p-24f;
    }
}

double cli_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

bool is_directory(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

const char *path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

char *path_in(const char *dir, const char *path, const char *ext)
{
    const char *base = path_base(path), *dot = ext ? strrchr(base, '.') : NULL;
    int stem = dot ? (int)(dot - base) : (int)strlen(base);
    char *out = NULL;
    if (asprintf(&out, "%s/%.*s%s", dir, stem, base, ext ? ext : "") < 0)
        return NULL;
    return out;
}

static int is_image_name(const struct dirent *e)
{
    const char *dot = strrchr(e->d_name, '.');
    return dot &&
           (!strcasecmp(dot, ".png") || !strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg"));
}

static bool append(struct file_list *list, char *path)
{
    char **grown = path ? realloc(list->paths, (size_t)(list->n + 1) * sizeof *grown) : NULL;
    if (!grown) {
        free(path);
        cli_failf("out of memory");
        return false;
    }
    list->paths = grown;
    list->paths[list->n++] = path;
    return true;
}

bool files_collect(const char *path, struct file_list *list)
{
    if (!is_directory(path))
        return append(list, strdup(path));
    struct dirent **entries;
    int n = scandir(path, &entries, is_image_name, alphasort);
    if (n < 0) {
        cli_failf("%s: %s", path, strerror(errno));
        return false;
    }
    bool ok = true;
    for (int i = 0; i < n; i++) {
        char *full = NULL;
        ok = ok && asprintf(&full, "%s/%s", path, entries[i]->d_name) > 0 && append(list, full);
        free(entries[i]);
    }
    free(entries);
    if (ok && !n)
        cli_failf("%s: no .png, .jpg or .jpeg file in this folder", path);
    return ok && n > 0;
}

void files_free(struct file_list *list)
{
    for (int i = 0; i < list->n; i++)
        free(list->paths[i]);
    free(list->paths);
    *list = (struct file_list){0};
}
