/* SPDX-License-Identifier: Apache-2.0
 *
 * refold bench: times and memory of a model on random input.
 */
#include "tools/cli/cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_RUNS = 256, KEY_SECONDS, NEW_SHAPES = 5 };

struct bench_options {
    struct report_options report;
    int runs;
    double seconds;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct bench_options *o = state->input;
    char *end;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->report;
        return 0;
    case KEY_RUNS:
        if (!cli_number(arg, 1, 1 << 30, &o->runs))
            argp_error(state, "--runs '%s': expected a number from 1", arg);
        return 0;
    case KEY_SECONDS:
        o->seconds = strtod(arg, &end);
        if (end == arg || *end || !(o->seconds >= 0 && o->seconds < 1e6))
            argp_error(state, "--seconds '%s': expected a number from 0", arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option bench_list[] = {
    {"runs", KEY_RUNS, "N", 0, "at least N warm runs (10)", 0},
    {"seconds", KEY_SECONDS, "S", 0, "and at least S seconds of them (3)", 0},
    {0},
};
static const struct argp_child children[] = {{&report_argp, 0, 0, 0}, {0}};
static const struct argp bench_argp = {bench_list,
                                       parse,
                                       0,
                                       "Measures a model on random input (1x3x512x512): cold load, "
                                       "first run, new shapes, warm runs, memory.",
                                       children,
                                       0,
                                       0};

/* Nearest-rank percentiles of n times in seconds; sorts them. */
static json_t *stats_json(double *t, int n)
{
    cli_sort(t, n);
#define RANK(p) (t[(int)ceil((p)*n) - 1] * 1e3)
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:i}", "p50_ms", RANK(0.5), "p90_ms", RANK(0.9),
                     "p99_ms", RANK(0.99), "min_ms", t[0] * 1e3, "max_ms", t[n - 1] * 1e3, "n", n);
#undef RANK
}

/* What is measured: one model on one set of shapes. */
struct subject {
    rf_model *model;
    rf_session *session;
    rf_tensor shapes[MAX_IO];
    int n;
    struct sample sample;
};

/* Load, session, plan and first run, as a process meets them. */
static bool bench_cold(const struct bench_options *o, struct subject *s, json_t *report)
{
    rf_error err;
    double t0 = cli_now(), run;
    if (!cli_load(&o->report.model, false, &s->model) ||
        !cli_session(&o->report.model, s->model, &s->session) ||
        !cli_shapes(&o->report.shapes, s->model, 512, s->shapes, &s->n))
        return false;
    double load = cli_now() - t0;
    if (sample_make(s->session, s->model, s->shapes, &s->sample, &err) != RF_OK ||
        sample_run(s->session, &s->sample, &run, &err) != RF_OK)
        return cli_fail(&err) == EXIT_OK;
    double cold = cli_now() - t0, first = cold - load;
    json_object_set_new(report, "cold", stats_json(&cold, 1));
    json_object_set_new(report, "load", stats_json(&load, 1));
    json_object_set_new(report, "first_run", stats_json(&first, 1));
    return true;
}

static bool bench_warm(const struct bench_options *o, struct subject *s, double *p50,
                       json_t *report)
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
        if (sample_run(s->session, &s->sample, &t[n++], &err) != RF_OK) {
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

/* Prepare + run of a shape that this session has not seen, 8 * i wider than the given one. */
static rf_status run_wider(const struct subject *s, int i, double *seconds, rf_error *err)
{
    rf_tensor shapes[MAX_IO];
    struct sample sample = {.n_in = 0};
    double run, t0 = cli_now();
    rf_status status = RF_OK;
    for (int k = 0; k < s->n && status == RF_OK; k++) {
        rf_io_info io = {.size = sizeof io};
        int64_t dims[RF_MAX_RANK];
        int last = s->shapes[k].rank - 1;
        memcpy(dims, s->shapes[k].dims, sizeof dims);
        status = rf_model_input(s->model, k, &io, err);
        if (status == RF_OK && last >= 0 && io.dims[last] < 0)
            dims[last] += 8 * i;
        if (status == RF_OK)
            status = rf_tensor_init(&shapes[k], s->shapes[k].dtype, last + 1, dims, NULL, err);
    }
    if (status == RF_OK)
        status = sample_make(s->session, s->model, shapes, &sample, err);
    if (status == RF_OK)
        status = sample_run(s->session, &sample, &run, err);
    *seconds = cli_now() - t0;
    sample_free(&sample);
    return status;
}

/* A network of fixed sizes has no other shape: that is no failure of the benchmark. */
static bool has_open_width(const rf_model *model)
{
    rf_io_info io = {.size = sizeof io};
    return rf_model_input_count(model) > 0 && rf_model_input(model, 0, &io, NULL) == RF_OK &&
           io.rank > 0 && io.dims[io.rank - 1] < 0;
}

static bool bench_new_shapes(const struct subject *s, json_t *report)
{
    double t[NEW_SHAPES];
    rf_error err;
    if (!has_open_width(s->model)) {
        json_object_set_new(report, "new_shape", json_null());
        return true;
    }
    for (int i = 0; i < NEW_SHAPES; i++)
        if (run_wider(s, i + 1, &t[i], &err) != RF_OK)
            return cli_fail(&err) == EXIT_OK;
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

static json_t *shapes_json(const struct subject *s)
{
    json_t *all = json_array();
    for (int i = 0; i < s->n; i++)
        json_array_append_new(all, cli_json_dims(s->shapes[i].dims, s->shapes[i].rank));
    return all;
}

static bool bench_all(const struct bench_options *o, struct subject *s, json_t *report)
{
    rf_plan_info plan = {.size = sizeof plan};
    rf_error err;
    size_t idle = cli_resident_bytes();
    double p50 = 0;
    if (!bench_cold(o, s, report) || !bench_warm(o, s, &p50, report))
        return false;
    if (rf_session_prepare(s->session, s->shapes, s->n, &plan, &err) != RF_OK)
        return cli_fail(&err) == EXIT_OK;
    size_t high = cli_peak_resident_bytes();
    double batch = s->n && s->shapes[0].rank ? (double)s->shapes[0].dims[0] : 1;
    json_object_set_new(report, "images_per_s", json_real(batch / p50));
    json_object_set_new(report, "gflops", json_real(2e-9 * (double)plan.macs / p50));
    json_object_set_new(report, "macs", json_integer(plan.macs));
    json_object_set_new(report, "peak_bytes", json_integer((json_int_t)plan.peak_bytes));
    json_object_set_new(report, "resident_bytes", json_integer((json_int_t)high));
    json_object_set_new(report, "resident_above_start_bytes",
                        json_integer((json_int_t)(high > idle ? high - idle : 0)));
    json_object_set_new(report, "device", json_string(rf_session_device(s->session)));
    json_object_set_new(report, "model", cli_json_text(o->report.model.model));
    json_object_set_new(report, "shapes", shapes_json(s));
    json_object_set_new(report, "precision", json_string(rf_dtype_name(o->report.model.dtype)));
    json_object_set_new(report, "env", cli_env_json(&o->report.model));
    return bench_new_shapes(s, report);
}

int cmd_bench(int argc, char **argv)
{
    struct bench_options o = {.runs = 10, .seconds = 3};
    struct subject s = {.model = NULL};
    if (cli_parse(&bench_argp, "bench", argc, argv, &o))
        return EXIT_USAGE;
    json_t *report = json_object();
    bool ok = bench_all(&o, &s, report);
    if (ok && cli_wants_text(&o.report))
        print_report(report);
    if (ok && o.report.json)
        ok = cli_print_json(json_incref(report), o.report.json);
    json_decref(report);
    sample_free(&s.sample);
    rf_session_destroy(&s.session);
    rf_model_release(&s.model);
    return ok ? EXIT_OK : EXIT_FAILED;
}
