/* SPDX-License-Identifier: Apache-2.0
 *
 * Depth-first stripes against whole maps on one model and shape: what runtime/exec/stripes.c gains
 * or costs. Two sessions on one model differ in rf_plan_params.stripe_rows alone, which the product
 * has no option for. They take turns run by run, because other work on the machine changes from
 * second to second; a row is the medians of one round.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/api/api.h"

enum { MAX_RUNS = 1000 };

typedef struct options {
    const char *model;
    long long width, height, batch;
    rf_dtype precision;
    int threads, rounds, runs, rows;
} options;

static _Noreturn void usage(int code)
{
    fprintf(code ? stderr : stdout,
            "bench_stripes [OPTION...] MODEL\n"
            "  --size WxH             of the pictures (512x512)\n"
            "  --batch N              pictures in a run (1)\n"
            "  --precision f32|bf16   (f32)\n"
            "  --threads N            (all cores)\n"
            "  --rounds N, --runs N   rows of the table (3), runs of each side in a row (10)\n"
            "  --rows N               height of a stripe (0: as the planner chooses)\n");
    exit(code);
}

static int number(const char *text, int least, int most)
{
    char *end;
    long v = strtol(text, &end, 10);
    if (*end || end == text || v < least || v > most) {
        fprintf(stderr, "bench_stripes: expected a number from %d to %d, found '%s'\n", least, most,
                text);
        exit(2);
    }
    return (int)v;
}

static options parse(int argc, char **argv)
{
    static const struct option names[] = {
        {"size", 1, NULL, 's'},    {"batch", 1, NULL, 'b'},  {"precision", 1, NULL, 'p'},
        {"threads", 1, NULL, 't'}, {"rounds", 1, NULL, 'n'}, {"runs", 1, NULL, 'r'},
        {"rows", 1, NULL, 'w'},    {"help", 0, NULL, 'h'},   {0}};
    options o = {
        .width = 512, .height = 512, .batch = 1, .precision = RF_F32, .rounds = 3, .runs = 10};
    char rest;
    for (int k; (k = getopt_long(argc, argv, "h", names, NULL)) != -1;)
        switch (k) {
        case 's':
            if (sscanf(optarg, "%lldx%lld%c", &o.width, &o.height, &rest) != 2 || o.width < 1 ||
                o.height < 1)
                usage(2);
            break;
        case 'b':
            o.batch = number(optarg, 1, 1 << 16);
            break;
        case 'p':
            if (strcmp(optarg, "bf16") && strcmp(optarg, "f32"))
                usage(2);
            o.precision = strcmp(optarg, "f32") ? RF_BF16 : RF_F32;
            break;
        case 't':
            o.threads = number(optarg, 1, 1024);
            break;
        case 'n':
            o.rounds = number(optarg, 1, MAX_RUNS);
            break;
        case 'r':
            o.runs = number(optarg, 1, MAX_RUNS);
            break;
        case 'w':
            o.rows = number(optarg, 0, 1 << 20);
            break;
        default:
            usage(k == 'h' ? 0 : 2);
        }
    if (optind + 1 != argc)
        usage(2);
    o.model = argv[optind];
    return o;
}

typedef struct side {
    rf_session *session;
    rf_plan_info info;
    double seconds[MAX_RUNS];
} side;

static rf_status open_side(side *s, rf_model *model, const options *o, int stripe_rows,
                           const rf_tensor *x, rf_error *err)
{
    rf_session_params params = {
        .size = sizeof params, .device = "cpu", .precision = o->precision, .n_threads = o->threads};
    RF_TRY(rf_session_create(model, &params, &s->session, err));
    s->session->params.stripe_rows = stripe_rows;
    s->info.size = sizeof s->info;
    return rf_session_prepare(s->session, x, 1, &s->info, err);
}

static rf_status run(side *s, int i, const rf_tensor *x, const rf_tensor *y, rf_error *err)
{
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    RF_TRY(rf_session_run(s->session, x, 1, y, 1, err));
    clock_gettime(CLOCK_MONOTONIC, &b);
    s->seconds[i] = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9;
    return RF_OK;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(side *s, int runs)
{
    qsort(s->seconds, (size_t)runs, sizeof *s->seconds, by_value);
    return (s->seconds[(runs - 1) / 2] + s->seconds[runs / 2]) / 2;
}

/* sides: whole maps, stripes. */
static rf_status measure(side *sides, const options *o, const rf_tensor *x, const rf_tensor *y,
                         rf_error *err)
{
    for (int k = 0; k < 2; k++) /* pages, caches */
        RF_TRY(run(&sides[k], 0, x, y, err));
    printf("| round | whole maps, s | stripes, s | ratio |\n|---|---|---|---|\n");
    for (int round = 0; round < o->rounds; round++) {
        for (int i = 0; i < o->runs; i++)
            for (int k = 0; k < 2; k++) /* who goes first takes turns */
                RF_TRY(run(&sides[(k + i) % 2], i, x, y, err));
        double whole = median(&sides[0], o->runs), striped = median(&sides[1], o->runs);
        printf("| %d | %.4f | %.4f | %.3f |\n", round + 1, whole, striped, striped / whole);
        fflush(stdout);
    }
    return RF_OK;
}

static int count_striped(const rf_session *s)
{
    int n = 0;
    for (size_t i = 0; i < s->current->n_steps; i++)
        n += s->current->steps[i].striped;
    return n;
}

int main(int argc, char **argv)
{
    const options o = parse(argc, argv);
    static side sides[2];
    rf_model_params params = {.size = sizeof params, .path = o.model};
    rf_model *model = NULL;
    rf_buffer x = {0}, y = {0};
    rf_error error = {0}, *err = &error;
    rf_status status;
    const int64_t dims[4] = {o.batch, 3, o.height, o.width};
    RF_TRY_DONE(rf_model_load(&params, &model, err));
    RF_TRY_DONE(rf_tensor_init(&x.tensor, RF_F32, 4, dims, NULL, err));
    RF_TRY_DONE(rf_buffer_alloc(&x, err));
    for (int64_t i = 0; i < rf_tensor_elements(&x.tensor); i++)
        ((float *)x.tensor.data)[i] = (float)(i * 37 % 256) / 255;
    RF_TRY_DONE(open_side(&sides[0], model, &o, -1, &x.tensor, err));
    RF_TRY_DONE(open_side(&sides[1], model, &o, o.rows, &x.tensor, err));
    RF_TRY_DONE(rf_session_output(sides[0].session, 0, &y.tensor, err));
    RF_TRY_DONE(rf_buffer_alloc(&y, err));
    printf("%s; %s; %s %lldx3x%lldx%lld; %d runs a round\n\n", rf_session_device(sides[0].session),
           rf_build_info(), rf_dtype_name(o.precision), o.batch, o.height, o.width, o.runs);
    for (int k = 0; k < 2; k++)
        printf("%s: %.1f MiB planned, %zu steps, %d of them stripes\n",
               k ? "stripes" : "whole maps", (double)sides[k].info.peak_bytes / (1 << 20),
               sides[k].session->current->n_steps, count_striped(sides[k].session));
    printf("\n");
    RF_TRY_DONE(measure(sides, &o, &x.tensor, &y.tensor, err));
done:
    if (status != RF_OK)
        fprintf(stderr, "bench_stripes: %s\n", error.text);
    for (int k = 0; k < 2; k++)
        rf_session_destroy(&sides[k].session);
    rf_buffer_free(&x);
    rf_buffer_free(&y);
    rf_model_release(&model);
    return status != RF_OK;
}
