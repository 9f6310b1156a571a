/* SPDX-License-Identifier: Apache-2.0
 *
 * A loaded server against one request at a time: eight threads with sessions of one thread each,
 * and one session that uses all cores, on the same model and shape. Both are measured in turns,
 * because other work on the machine changes from second to second; the ratio of each round is what
 * counts.
 *
 *   bench_threads MODEL [SIZE [SECONDS [ROUNDS]]]     size 256, 4 s each way, 5 rounds
 */
#include <refold/refold.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { N_CLIENTS = 8, MAX_ROUNDS = 64 };

static double now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* A session that runs until a deadline. */
struct client {
    rf_model *model;
    int n_threads;
    int64_t size;
    rf_session *session;
    rf_buffer in, out;
    double deadline, end;
    int64_t runs;
    rf_error err;
    rf_status status;
};

static rf_status client_open(struct client *c)
{
    rf_session_params params = {.size = sizeof params, .n_threads = c->n_threads};
    const int64_t dims[4] = {1, 3, c->size, c->size};
    rf_status status = rf_session_create(c->model, &params, &c->session, &c->err);
    if (status == RF_OK)
        status = rf_tensor_init(&c->in.tensor, RF_F32, 4, dims, NULL, &c->err);
    if (status == RF_OK)
        status = rf_buffer_alloc(&c->in, &c->err);
    for (int64_t i = 0; status == RF_OK && i < rf_tensor_elements(&c->in.tensor); i++)
        ((float *)c->in.tensor.data)[i] = (float)(i * 37 % 256) / 255;
    if (status == RF_OK)
        status = rf_session_prepare(c->session, &c->in.tensor, 1, NULL, &c->err);
    if (status == RF_OK)
        status = rf_session_output(c->session, 0, &c->out.tensor, &c->err);
    if (status == RF_OK)
        status = rf_buffer_alloc(&c->out, &c->err);
    return status == RF_OK /* touches the arena */
               ? rf_session_run(c->session, &c->in.tensor, 1, &c->out.tensor, 1, &c->err)
               : status;
}

static void client_close(struct client *c)
{
    rf_session_destroy(&c->session);
    rf_buffer_free(&c->in);
    rf_buffer_free(&c->out);
}

static void *client_run(void *arg)
{
    struct client *c = arg;
    c->runs = 0;
    do {
        c->status = rf_session_run(c->session, &c->in.tensor, 1, &c->out.tensor, 1, &c->err);
        c->runs += c->status == RF_OK;
        c->end = now(CLOCK_MONOTONIC);
    } while (c->status == RF_OK && c->end < c->deadline);
    return NULL;
}

/* Runs for each second on the wall, and of processor time. */
struct rate {
    double wall, cpu;
    bool failed;
};

static struct rate throughput(struct client *c, int n, double seconds)
{
    pthread_t threads[N_CLIENTS];
    double begin = now(CLOCK_MONOTONIC), end = begin, cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    struct rate rate = {0, 0, false};
    int64_t runs = 0;
    for (int i = 0; i < n; i++) {
        c[i].deadline = begin + seconds;
        if (pthread_create(&threads[i], NULL, client_run, &c[i]))
            abort(); /* a benchmark without its threads measures nothing */
    }
    for (int i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
        runs += c[i].runs;
        rate.failed |= c[i].status != RF_OK;
        end = c[i].end > end ? c[i].end : end;
    }
    rate.wall = (double)runs / (end - begin);
    rate.cpu = (double)runs / (now(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    return rate;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int measure(struct client *one, struct client *many, double seconds, int rounds)
{
    double wall[MAX_ROUNDS], cpu[MAX_ROUNDS];
    printf(
        "| round | one session: runs/s | runs/CPU s | %d sessions: runs/s | runs/CPU s | ratio of "
        "runs/s | of runs/CPU s |\n|---|---|---|---|---|---|---|\n",
        N_CLIENTS);
    for (int i = 0; i < rounds; i++) {
        struct rate a, b;
        if (i % 2) { /* who goes first takes turns */
            b = throughput(many, N_CLIENTS, seconds);
            a = throughput(one, 1, seconds);
        } else {
            a = throughput(one, 1, seconds);
            b = throughput(many, N_CLIENTS, seconds);
        }
        if (a.failed || b.failed)
            return fprintf(stderr, "%s\n", a.failed ? one->err.text : "a client failed"), 1;
        wall[i] = b.wall / a.wall;
        cpu[i] = b.cpu / a.cpu;
        printf("| %d | %.2f | %.2f | %.2f | %.2f | %.3f | %.3f |\n", i + 1, a.wall, a.cpu, b.wall,
               b.cpu, wall[i], cpu[i]);
        fflush(stdout);
    }
    qsort(wall, (size_t)rounds, sizeof *wall, by_value);
    qsort(cpu, (size_t)rounds, sizeof *cpu, by_value);
    printf("\nMedian ratio: %.3f of runs/s, %.3f of runs/CPU s.\n", wall[rounds / 2],
           cpu[rounds / 2]);
    return 0;
}

int main(int argc, char **argv)
{
    rf_error err;
    rf_model *model = NULL;
    struct client one = {.n_threads = 0}, many[N_CLIENTS] = {{.n_threads = 0}};
    int rounds = argc > 4 ? atoi(argv[4]) : 5, status = 1;
    double seconds = argc > 3 ? atof(argv[3]) : 4;
    int64_t size = argc > 2 ? atoll(argv[2]) : 256;
    if (argc < 2 || argc > 5 || rounds < 1 || rounds > MAX_ROUNDS || size < 1 || !(seconds > 0)) {
        fprintf(stderr, "usage: %s MODEL [SIZE [SECONDS [ROUNDS]]]\n", argv[0]);
        return 2;
    }
    rf_model_params params = {.size = sizeof params, .path = argv[1]};
    if (rf_model_load(&params, &model, &err) != RF_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    one.model = model;
    one.size = size;
    rf_status opened = client_open(&one);
    for (int i = 0; i < N_CLIENTS; i++) {
        many[i] = (struct client){.model = model, .size = size, .n_threads = 1};
        if (opened == RF_OK && (opened = client_open(&many[i])) != RF_OK)
            one.err = many[i].err;
    }
    if (opened == RF_OK) {
        printf("%s; %s; f32 1x3x%lldx%lld; %.0f s each way\n\n", rf_session_device(one.session),
               rf_build_info(), (long long)size, (long long)size, seconds);
        status = measure(&one, many, seconds, rounds);
    } else {
        fprintf(stderr, "%s\n", one.err.text);
    }
    client_close(&one);
    for (int i = 0; i < N_CLIENTS; i++)
        client_close(&many[i]);
    rf_model_release(&model);
    return status;
}
