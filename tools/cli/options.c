/* SPDX-License-Identifier: Apache-2.0
 *
 * Options that several commands have, numbers and shapes in them, and what is said of unknown ones.
 */
#include "tools/cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool cli_number(const char *text, int low, int high, int *out)
{
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (errno || end == text || *end || n < low || n > high)
        return false;
    *out = (int)n;
    return true;
}

static bool parse_bytes(const char *text, size_t *out)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    unsigned shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
    end += shift != 0;
    if (errno || end == text || *end || *text == '-' || !n || n > SIZE_MAX >> shift)
        return false;
    *out = (size_t)n << shift;
    return true;
}

static bool parse_precision(const char *text, rf_dtype *out)
{
    static const rf_dtype known[] = {RF_F32, RF_BF16, RF_F16};
    for (int i = 0; i < 3; i++)
        if (!strcmp(text, rf_dtype_name(known[i]))) {
            *out = known[i];
            return true;
        }
    return false;
}

static error_t parse_model_option(int key, char *arg, struct argp_state *state)
{
    struct model_options *o = state->input;
    switch (key) {
    case 'm':
        o->model = arg;
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

static const struct argp_option model_list[] = {
    {"model", 'm', "MODEL", 0, "checkpoint (.pth, .pt, .pk, .safetensors)", 1},
    {"verbose", 'v', 0, 0, "log what the library does", 1},
    {0},
};
const struct argp model_argp = {model_list, parse_model_option, 0, 0, 0, 0, 0};

static error_t parse_device_option(int key, char *arg, struct argp_state *state)
{
    struct model_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = o;
        return 0;
    case 'd':
        o->device = arg;
        return 0;
    case 'p':
        o->precision = arg;
        if (!parse_precision(arg, &o->dtype))
            argp_error(state, "--precision '%s': expected f32, bf16 or f16", arg);
        return 0;
    case 't':
        if (!cli_number(arg, 1, 1024, &o->threads))
            argp_error(state, "--threads '%s': expected a number from 1 to 1024", arg);
        return 0;
    case 'M':
        if (!parse_bytes(arg, &o->memory_cap))
            argp_error(state, "--memory-cap '%s': expected bytes, with K, M or G, like 500M", arg);
        return 0;
    case 'x':
        o->exact = true;
        return 0;
    case 'T':
        o->tune = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option device_list[] = {
    {"device", 'd', "auto|cpu|cuda|ref", 0, "where to run (auto)", 1},
    {"precision", 'p', "f32|bf16|f16", 0, "storage of activations and weights (f32)", 1},
    {"threads", 't', "N", 0, "threads (all cores)", 1},
    {"memory-cap", 'M', "BYTES", 0, "refuse what needs more, e.g. 500M (what is free)", 1},
    {"exact", 'x', 0, 0, "no Winograd: sum every product directly", 1},
    {"tune", 'T', 0, 0, "GPU: time the kernels of every node, keep the winners (~/.cache/refold)",
     1},
    {0},
};
static const struct argp_child device_children[] = {{&model_argp, 0, 0, 0}, {0}};
const struct argp device_argp = {device_list, parse_device_option, 0, 0, device_children, 0, 0};

/* Edits (insert, delete, replace, swap neighbours) that turn a into b. */
static int distance(const char *a, const char *b)
{
    enum { MAX = 24 };
    int row[3][MAX + 1], n = (int)strlen(a), m = (int)strlen(b);
    if (n > MAX || m > MAX)
        return MAX;
    for (int i = 0; i <= n; i++)
        for (int j = 0; j <= m; j++) {
            int *now = row[i % 3], *last = row[(i + 2) % 3], best = i ? i : j;
            if (i && j) {
                best = last[j - 1] + (a[i - 1] != b[j - 1]);
                best = last[j] + 1 < best ? last[j] + 1 : best;
                best = now[j - 1] + 1 < best ? now[j - 1] + 1 : best;
                if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                    row[(i + 1) % 3][j - 2] + 1 < best)
                    best = row[(i + 1) % 3][j - 2] + 1;
            }
            now[j] = best;
        }
    return row[n % 3][m];
}

const char *cli_nearest(const char *word, const char *const *known)
{
    const char *nearest = NULL;
    int best = (int)strlen(word) / 3 + 1;
    for (; *known; known++) {
        int d = distance(word, *known);
        if (d <= best && d < (int)strlen(*known)) {
            best = d - 1;
            nearest = *known;
        }
    }
    return nearest;
}

/* Names of all long options of an argp and its children. */
enum { MAX_OPTIONS = 64 };
struct option_set {
    const struct argp_option *option[MAX_OPTIONS];
    int n;
};

static void collect_options(const struct argp *argp, struct option_set *set)
{
    for (const struct argp_option *o = argp->options; o && (o->name || o->key); o++)
        if (set->n < MAX_OPTIONS)
            set->option[set->n++] = o;
    for (const struct argp_child *c = argp->children; c && c->argp; c++)
        collect_options(c->argp, set);
}

/* Like getopt, a name may be cut short; whether it is still clear is getopt's affair. */
static const struct argp_option *find_long(const struct option_set *set, const char *name, size_t n)
{
    const struct argp_option *found = NULL;
    for (int i = 0; i < set->n; i++)
        if (set->option[i]->name && !strncmp(set->option[i]->name, name, n)) {
            found = set->option[i];
            if (strlen(found->name) == n)
                break;
        }
    return found;
}

/* True if the value of this short option, or of one bundled with it, is the next argument. */
static bool short_takes_next(const struct option_set *set, const char *letters)
{
    for (; *letters; letters++)
        for (int i = 0; i < set->n; i++)
            if (set->option[i]->key == *letters && set->option[i]->arg)
                return !letters[1];
    return false;
}

static void print_unknown(const struct option_set *set, const char *command, const char *given,
                          size_t n)
{
    const char *names[MAX_OPTIONS + 1];
    char word[64];
    int count = 0;
    for (int i = 0; i < set->n; i++)
        if (set->option[i]->name)
            names[count++] = set->option[i]->name;
    names[count] = NULL;
    snprintf(word, sizeof word, "%.*s", (int)n, given);
    const char *nearest = cli_nearest(word, names);
    fprintf(stderr, "%s: unknown option '--%.*s'%s%s%s\nTry `%s --help' for the known ones.\n",
            command, (int)n, given, nearest ? ": did you mean '--" : "", nearest ? nearest : "",
            nearest ? "'?" : "", command);
}

/* argp names an unknown option but cannot say which one was meant. */
static bool options_are_known(const struct argp *argp, const char *command, int argc, char **argv)
{
    static const struct argp_option own[] = {{"help", '?', 0, 0, 0, 0}, {"usage", 0, 0, 0, 0, 0}};
    struct option_set set = {.option = {&own[0], &own[1]}, .n = 2};
    collect_options(argp, &set);
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
        const char *name = argv[i] + 2;
        if (argv[i][0] != '-')
            continue;
        if (argv[i][1] != '-') {
            i += short_takes_next(&set, argv[i] + 1);
            continue;
        }
        size_t n = strcspn(name, "=");
        const struct argp_option *o = find_long(&set, name, n);
        if (!o) {
            print_unknown(&set, command, name, n);
            return false;
        }
        i += o->arg && !(o->flags & OPTION_ARG_OPTIONAL) && !name[n];
    }
    return true;
}

int cli_parse(const struct argp *argp, const char *command, int argc, char **argv, void *input)
{
    static char name[64]; /* argp keeps it */
    snprintf(name, sizeof name, "refold %s", command);
    argv[0] = name;
    argp_err_exit_status = EXIT_USAGE;
    if (!options_are_known(argp, name, argc, argv))
        return EXIT_USAGE;
    return argp_parse(argp, argc, argv, 0, NULL, input);
}

/* "1x3x512x512" -> dims. */
static bool parse_dims(const char *text, rf_tensor *out)
{
    int64_t dims[RF_MAX_RANK];
    for (int rank = 0; rank < RF_MAX_RANK;) {
        char *end;
        errno = 0;
        long long n = strtoll(text, &end, 10);
        if (errno || end == text || n < 1)
            return false;
        dims[rank++] = n;
        if (!*end)
            return rf_tensor_init(out, RF_F32, rank, dims, NULL, NULL) == RF_OK;
        if (*end != 'x')
            return false;
        text = end + 1;
    }
    return false;
}

static const char *dims_of(const char *shape)
{
    const char *equals = strrchr(shape, '=');
    return equals ? equals + 1 : shape;
}

static void add_shape(struct shape_options *o, const char *text, struct argp_state *state)
{
    rf_tensor t;
    if (!parse_dims(dims_of(text), &t))
        argp_error(state, "--shape '%s': expected sizes like 1x3x512x512", text);
    if (o->n == MAX_IO)
        argp_error(state, "--shape '%s': expected at most %d of them", text, MAX_IO);
    o->given[o->n++] = text;
}

enum { KEY_JSON = 256, KEY_SHAPE };

static error_t parse_report_option(int key, char *arg, struct argp_state *state)
{
    struct report_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->model;
        return 0;
    case KEY_JSON:
        o->json = arg ? arg : "";
        return 0;
    case ARGP_KEY_ARG: /* getopt leaves the FILE of "--json FILE", whose value is optional */
        if (!o->json || *o->json)
            argp_error(state, "argument '%s': expected only options", arg);
        o->json = arg;
        return 0;
    case KEY_SHAPE:
        add_shape(&o->shapes, arg, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option report_list[] = {
    {"shape", KEY_SHAPE, "[NAME=]1x3xHxW", 0, "shape of an input", 0},
    {"json", KEY_JSON, "FILE", OPTION_ARG_OPTIONAL,
     "write the report as JSON (to stdout without FILE)", 0},
    {0},
};
static const struct argp_child report_children[] = {{&device_argp, 0, 0, 0}, {0}};
const struct argp report_argp = {report_list, parse_report_option, 0, 0, report_children, 0, 0};

/* The value of --shape for this input; NULL if there is none. */
static const char *shape_for(const struct shape_options *o, const char *input, bool first,
                             bool *used)
{
    const char *found = NULL;
    for (int i = 0; i < o->n; i++) {
        const char *dims = dims_of(o->given[i]);
        size_t n = dims == o->given[i] ? 0 : (size_t)(dims - o->given[i] - 1);
        if (n ? strlen(input) == n && !strncmp(o->given[i], input, n) : first) {
            found = dims;
            used[i] = true;
        }
    }
    return found;
}

bool cli_shapes(const struct shape_options *o, const rf_model *model, int64_t side,
                rf_tensor out[MAX_IO], int *out_n)
{
    const int64_t open[4] = {1, 3, side, side};
    bool used[MAX_IO] = {false};
    rf_error err;
    int n = *out_n = rf_model_input_count(model);
    if (n > MAX_IO)
        return cli_failf("the model has %d inputs, expected at most %d", n, MAX_IO) == EXIT_OK;
    for (int i = 0; i < n; i++) {
        rf_io_info io = {.size = sizeof io};
        if (rf_model_input(model, i, &io, &err) != RF_OK)
            return cli_fail(&err) == EXIT_OK;
        const char *given = shape_for(o, io.name, i == 0, used);
        for (int k = 0; k < io.rank; k++)
            io.dims[k] = io.dims[k] >= 0 ? io.dims[k] : k < 4 ? open[k] : 1;
        if (given ? !parse_dims(given, &out[i])
                  : rf_tensor_init(&out[i], io.dtype, io.rank, io.dims, NULL, &err) != RF_OK)
            return cli_failf("input '%s': no shape of %s", io.name, given ? given : err.text) ==
                   EXIT_OK;
        out[i].dtype = io.dtype;
    }
    for (int i = 0; i < o->n; i++)
        if (!used[i])
            return cli_failf("--shape '%s': the model has no input of this name", o->given[i]) ==
                   EXIT_OK;
    return true;
}
