/* SPDX-License-Identifier: Apache-2.0
 *
 * refold bench and verify: times, memory, errors of a model on random input.
 */
#include "tools/cli/cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_JSON = 256, KEY_SHAPE, KEY_RUNS, KEY_SECONDS, NEW_SHAPES = 5 };

struct bench_options {
    struct model_options model;
    const char *shape, *json;
    int runs;
    double seconds;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct bench_options *o = state->input;
    char *end;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->model;
        return 0;
    case KEY_JSON:
        o->json = arg ? arg : "";
        return 0;
    case KEY_SHAPE:
        o->shape = arg;
        return 0;
    case KEY_RUNS:
        o->runs = (int)strtol(arg, &end, 10);
        if (*end || o->runs < 1)
            argp_error(state, "--runs '%s': expected a number from 1", arg);
        return 0;
    case KEY_SECONDS:
        o->seconds = strtod(arg, &end);
        if (*end || !(o->seconds > 0))
            argp_error(state, "--seconds '%s': expected a positive number", arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option bench_list[] = {
    {"shape", KEY_SHAPE, "1x3xHxW", 0, "input shape (1x3x512x512)", 0},
    {"json", KEY_JSON, "FILE", OPTION_ARG_OPTIONAL,
     "write the report as JSON (to stdout without FILE)", 0},
    {"runs", KEY_RUNS, "N", 0, "at least N warm runs (10)", 0},
    {"seconds", KEY_SECONDS, "S", 0, "and at least S seconds of them (3)", 0},
    {0},
};
static const struct argp_child children[] = {{&model_argp, 0, 0, 0}, {0}};
static const struct argp bench_argp = {bench_list, parse, 0, "Measures a model on random input.",
                                       children,   0,     0};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Nearest-rank percentiles of n times in seconds; sorts them. */
static json_t *stats_json(double *t, int n)
{
    qsort(t, (size_t)n, sizeof *t, by_value);
#define RANK(p) (t[(int)ceil((p)*n) - 1] * 1e3)
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:i}", "p50_ms", RANK(0.5), "p90_ms", RANK(0.9),
                     "p99_ms", RANK(0.99), "min_ms", t[0] * 1e3, "max_ms", t[n - 1] * 1e3, "n", n);
#undef RANK
}

/* One input and output pair of a shape, with random input. */
struct io {
    rf_buffer in, out;
};

static void io_free(struct io *io)
{
    rf_buffer_free(&io->in);
    rf_buffer_free(&io->out);
}

static rf_status io_make(rf_session *s, const rf_tensor *shape, struct io *io, rf_error *err)
{
    memset(io, 0, sizeof *io);
    io->in.tensor = *shape;
    rf_status status = rf_buffer_alloc(&io->in, err);
    if (status != RF_OK)
        return status;
    cli_fill_random(&io->in.tensor, 1);
    status = rf_session_prepare(s, shape, 1, NULL, err);
    if (status == RF_OK)
        status = rf_session_output(s, 0, &io->out.tensor, err);
    return status == RF_OK ? rf_buffer_alloc(&io->out, err) : status;
}

static rf_status io_run(rf_session *s, struct io *io, double *seconds, rf_error *err)
{
    double t0 = cli_now();
    rf_status status = rf_session_run(s, &io->in.tensor, 1, &io->out.tensor, 1, err);
    *seconds = cli_now() - t0;
    return status;
}

/* Load, session, plan and first run, as a process meets them. */
static bool bench_cold(const struct bench_options *o, const rf_tensor *shape, rf_model **model,
                       rf_session **session, struct io *io, json_t *report)
{
    rf_error err;
    double t0 = cli_now(), run;
    if (!cli_load(&o->model, false, model) || !cli_session(&o->model, *model, session))
        return false;
    double load = cli_now() - t0;
    if (io_make(*session, shape, io, &err) != RF_OK || io_run(*session, io, &run, &err) != RF_OK)
        return cli_fail(&err) == EXIT_OK;
    double cold = cli_now() - t0, first = cold - load;
    json_object_set_new(report, "cold", stats_json(&cold, 1));
    json_object_set_new(report, "load", stats_json(&load, 1));
    json_object_set_new(report, "first_run", stats_json(&first, 1));
    return true;
}

static bool bench_warm(const struct bench_options *o, rf_session *session, struct io *io,
                       double *p50, json_t *report)
{
    rf_error err;
    int n = 0, capacity = 0;
    double *t = NULL, begin = cli_now();
    while (n < o->runs || cli_now() - begin < o->seconds) {
        if (n == capacity) {
            double *grown = realloc(t, (size_t)(capacity = capacity * 2 + 64) * sizeof *t);
            if (!grown) {
                free(t);
                return cli_failf("out of memory") == EXIT_OK;
            }
            t = grown;
        }
        if (io_run(session, io, &t[n++], &err) != RF_OK) {
            free(t);
            return cli_fail(&err) == EXIT_OK;
        }
    }
    json_t *warm = stats_json(t, n);
    *p50 = json_real_value(json_object_get(warm, "p50_ms")) * 1e-3;
    json_object_set_new(report, "warm", warm);
    free(t);
    return true;
}

/* Prepare + run of shapes that this session has not seen, near the given one. */
static bool bench_new_shapes(rf_session *session, const rf_tensor *shape, json_t *report)
{
    double t[NEW_SHAPES], run;
    rf_error err;
    for (int i = 0; i < NEW_SHAPES; i++) {
        rf_tensor other;
        struct io io;
        int64_t dims[RF_MAX_RANK];
        memcpy(dims, shape->dims, sizeof dims);
        dims[shape->rank - 1] += 8 * (i + 1);
        rf_status status = rf_tensor_init(&other, shape->dtype, shape->rank, dims, NULL, &err);
        double t0 = cli_now();
        if (status == RF_OK)
            status = io_make(session, &other, &io, &err);
        if (status == RF_OK)
            status = io_run(session, &io, &run, &err);
        t[i] = cli_now() - t0;
        io_free(&io);
        if (status != RF_OK) {
            /* A network with fixed sizes has no other shape: that is no failure of the benchmark.
             */
            json_object_set_new(report, "new_shape", json_null());
            return true;
        }
    }
    json_object_set_new(report, "new_shape", stats_json(t, NEW_SHAPES));
    return true;
}

static void print_report(json_t *report)
{
    static const char *const parts[] = {"cold", "load", "first_run", "new_shape", "warm"};
    printf("device      %s\n", json_string_value(json_object_get(report, "device")));
    printf("%-11s %9s %9s %9s %9s %9s %5s\n", "ms", "p50", "p90", "p99", "min", "max", "n");
    for (int i = 0; i < 5; i++) {
        json_t *s = json_object_get(report, parts[i]);
        if (!json_is_object(s))
            continue;
#define MS(k) json_real_value(json_object_get(s, k))
        printf("%-11s %9.2f %9.2f %9.2f %9.2f %9.2f %5d\n", parts[i], MS("p50_ms"), MS("p90_ms"),
               MS("p99_ms"), MS("min_ms"), MS("max_ms"),
               (int)json_integer_value(json_object_get(s, "n")));
#undef MS
    }
    printf("throughput  %.3f images/s, %.1f GFLOP/s\n",
           json_real_value(json_object_get(report, "images_per_s")),
           json_real_value(json_object_get(report, "gflops")));
    printf("peak        %.1f MiB planned; resident %.1f MiB at most, %.1f above start\n",
           (double)json_integer_value(json_object_get(report, "peak_bytes")) / 1048576.0,
           (double)json_integer_value(json_object_get(report, "resident_bytes")) / 1048576.0,
           (double)json_integer_value(json_object_get(report, "resident_above_start_bytes")) /
               1048576.0);
}

static bool bench_all(const struct bench_options *o, const rf_tensor *shape, rf_model **model,
                      rf_session **session, struct io *io, json_t *report)
{
    rf_plan_info plan;
    rf_error err;
    size_t idle = cli_resident_bytes();
    double p50 = 0;
    if (!bench_cold(o, shape, model, session, io, report) ||
        !bench_warm(o, *session, io, &p50, report))
        return false;
    if (rf_session_prepare(*session, shape, 1, &plan, &err) != RF_OK)
        return cli_fail(&err) == EXIT_OK;
    size_t high = cli_peak_resident_bytes();
    json_object_set_new(report, "images_per_s", json_real((double)shape->dims[0] / p50));
    json_object_set_new(report, "gflops", json_real(2e-9 * (double)plan.macs / p50));
    json_object_set_new(report, "macs", json_integer(plan.macs));
    json_object_set_new(report, "peak_bytes", json_integer((json_int_t)plan.peak_bytes));
    json_object_set_new(report, "resident_bytes", json_integer((json_int_t)high));
    json_object_set_new(report, "resident_above_start_bytes",
                        json_integer((json_int_t)(high > idle ? high - idle : 0)));
    json_object_set_new(report, "device", json_string(rf_session_device(*session)));
    json_object_set_new(report, "shape", json_string(o->shape));
    json_object_set_new(report, "precision", json_string(rf_dtype_name(o->model.dtype)));
    json_object_set_new(report, "env", cli_env_json(&o->model));
    return bench_new_shapes(*session, shape, report);
}

int cmd_bench(int argc, char **argv)
{
    struct bench_options o = {.shape = "1x3x512x512", .runs = 10, .seconds = 3};
    rf_tensor shape;
    rf_model *model = NULL;
    rf_session *session = NULL;
    struct io io = {0};
    if (cli_parse(&bench_argp, "bench", argc, argv, &o))
        return EXIT_USAGE;
    if (!cli_shape(o.shape, &shape))
        return EXIT_USAGE;
    json_t *report = json_object();
    bool ok = bench_all(&o, &shape, &model, &session, &io, report);
    if (ok && (!o.json || *o.json))
        print_report(report);
    if (ok && o.json)
        ok = cli_print_json(json_incref(report), *o.json ? o.json : NULL);
    json_decref(report);
    io_free(&io);
    rf_session_destroy(&session);
    rf_model_release(&model);
    return ok ? EXIT_OK : EXIT_FAILED;
}

/* Median time of a few runs of one model, and its output. */
struct verify_side {
    rf_model *model;
    rf_session *session;
    struct io io;
    double p50;
};

static bool verify_side(const struct bench_options *o, const rf_tensor *shape, bool unfolded,
                        const char *device, struct verify_side *v)
{
    struct model_options m = o->model;
    rf_error err;
    double t[5];
    if (device) {
        m.device = device;
        m.dtype = RF_F32;
    }
    if (!cli_load(&m, unfolded, &v->model) || !cli_session(&m, v->model, &v->session))
        return false;
    rf_status status = io_make(v->session, shape, &v->io, &err);
    int n = device ? 1 : 5;
    for (int i = 0; i < n && status == RF_OK; i++)
        status = io_run(v->session, &v->io, &t[i], &err);
    if (status != RF_OK)
        return cli_fail(&err) == EXIT_OK;
    qsort(t, (size_t)n, sizeof *t, by_value);
    v->p50 = t[n / 2];
    return true;
}

static double max_difference(const rf_tensor *a, const rf_tensor *b, double *max_ref)
{
    const float *x = a->data, *y = b->data;
    double d = 0;
    *max_ref = 0;
    for (int64_t i = 0, n = rf_tensor_elements(a); i < n; i++) {
        d = fmax(d, fabs((double)x[i] - y[i]));
        *max_ref = fmax(*max_ref, fabs((double)y[i]));
    }
    return d;
}

/* `side` 0: unfolded on the reference backend (the judge), 1: unfolded, 2: folded on the device. */
static bool verify_report(const struct bench_options *o, struct verify_side *side)
{
    double ref, unfolded = max_difference(&side[1].io.out.tensor, &side[0].io.out.tensor, &ref);
    double folded = max_difference(&side[2].io.out.tensor, &side[0].io.out.tensor, &ref);
    double bound = (o->model.dtype == RF_F32 ? 1e-5 : 5e-2) * ref;
    bool good = folded <= bound && unfolded <= bound;
    if (o->json)
        return cli_print_json(json_pack("{s:b, s:f, s:f, s:f, s:f, s:f, s:f}", "ok", good,
                                        "unfolded_error", unfolded, "folded_error", folded,
                                        "max_ref", ref, "bound", bound, "unfolded_ms",
                                        side[1].p50 * 1e3, "folded_ms", side[2].p50 * 1e3),
                              *o->json ? o->json : NULL) &&
               good;
    printf("%-10s max error %.3g, %8.2f ms\n", "unfolded", unfolded, side[1].p50 * 1e3);
    printf("%-10s max error %.3g, %8.2f ms\n", "folded", folded, side[2].p50 * 1e3);
    printf("judge: the unfolded network on the reference backend (float64 sums), max |y| %.3g, "
           "bound %.3g: %s\n",
           ref, bound, good ? "ok" : "FAILED");
    return good;
}

int cmd_verify(int argc, char **argv)
{
    struct bench_options o = {.shape = "1x3x64x64"};
    static const struct argp argp = {
        bench_list, parse, 0, "Runs the unfolded and the folded network on one random input.",
        children,   0,     0};
    rf_tensor shape;
    struct verify_side side[3] = {{.model = NULL}};
    if (cli_parse(&argp, "verify", argc, argv, &o))
        return EXIT_USAGE;
    if (!cli_shape(o.shape, &shape))
        return EXIT_USAGE;
    bool ok = verify_side(&o, &shape, true, "ref", &side[0]) &&
              verify_side(&o, &shape, true, NULL, &side[1]) &&
              verify_side(&o, &shape, false, NULL, &side[2]) && verify_report(&o, side);
    for (int i = 0; i < 3; i++) {
        io_free(&side[i].io);
        rf_session_destroy(&side[i].session);
        rf_model_release(&side[i].model);
    }
    return ok ? EXIT_OK : EXIT_FAILED;
}
