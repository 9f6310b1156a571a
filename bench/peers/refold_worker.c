/* SPDX-License-Identifier: Apache-2.0
 *
 * The Refold contender of peers.py: one session in one process, driven by line JSON on stdin and
 * stdout (README.md lists the requests). Built on the public headers only, as any embedder would.
 *
 *   refold_worker f32|bf16 THREADS
 */
#include <refold/refold.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct worker {
    rf_session_params params;
    rf_session *session;
    rf_tensor x, y;
    rf_plan_info plan;
} worker;

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Prints one answer line and releases it. A NULL answer means that jansson had no memory. */
static void reply(json_t *answer)
{
    if (answer)
        json_dumpf(answer, stdout, JSON_COMPACT);
    putchar('\n');
    fflush(stdout);
    json_decref(answer);
}

static void reply_ok(void)
{
    reply(json_pack("{s:b}", "ok", 1));
}

static void reply_error(const char *text)
{
    reply(json_pack("{s:b, s:s}", "ok", 0, "error", text));
}

static rf_status io_error(rf_error *err, const char *path, const char *what)
{
    err->code = RF_ERR_IO;
    snprintf(err->text, sizeof err->text, "%s: %s", path, what);
    return RF_ERR_IO;
}

/* A float32 tensor of the given dims over fresh memory, which belongs to the tensor's owner. */
static rf_status allocate(rf_tensor *out, int rank, const int64_t *dims, rf_error *err)
{
    rf_status status = rf_tensor_init(out, RF_F32, rank, dims, NULL, err);
    if (status != RF_OK)
        return status;
    out->data = malloc(rf_tensor_bytes(out));
    if (out->data)
        return RF_OK;
    err->code = RF_ERR_MEMORY;
    snprintf(err->text, sizeof err->text, "no memory for %zu bytes", rf_tensor_bytes(out));
    return RF_ERR_MEMORY;
}

static rf_status read_raw(const char *path, const rf_tensor *t, rf_error *err)
{
    size_t bytes = rf_tensor_bytes(t);
    FILE *file = fopen(path, "rb");
    if (!file)
        return io_error(err, path, "cannot be opened");
    size_t got = fread(t->data, 1, bytes, file);
    fclose(file);
    return got == bytes ? RF_OK : io_error(err, path, "shorter than 3 x height x width floats");
}

static rf_status write_raw(const char *path, const rf_tensor *t, rf_error *err)
{
    size_t bytes = rf_tensor_bytes(t);
    FILE *file = fopen(path, "wb");
    if (!file)
        return io_error(err, path, "cannot be created");
    size_t put = fwrite(t->data, 1, bytes, file);
    int closed = fclose(file);
    return put == bytes && closed == 0 ? RF_OK : io_error(err, path, "cannot be written");
}

/* Session for the model; it keeps the model alive, so the own reference goes at once. */
static rf_status open_session(worker *w, const char *path, rf_error *err)
{
    rf_model_params params = {.size = sizeof params, .path = path};
    rf_model *model = NULL;
    rf_status status = rf_model_load(&params, &model, err);
    if (status != RF_OK)
        return status;
    status = rf_session_create(model, &w->params, &w->session, err);
    rf_model_release(&model);
    return status;
}

static rf_status load(worker *w, const json_t *request, rf_error *err)
{
    const char *model = json_string_value(json_object_get(request, "model"));
    const char *input = json_string_value(json_object_get(request, "input"));
    int64_t height = json_integer_value(json_object_get(request, "height"));
    int64_t width = json_integer_value(json_object_get(request, "width"));
    if (!model || !input || height <= 0 || width <= 0 || w->session) {
        err->code = RF_ERR_ARGUMENT;
        snprintf(err->text, sizeof err->text,
                 "load: expected once, with model, input, width and height");
        return RF_ERR_ARGUMENT;
    }
    rf_tensor y;
    rf_status status = open_session(w, model, err);
    if (status == RF_OK)
        status = allocate(&w->x, 4, (int64_t[]){1, 3, height, width}, err);
    if (status == RF_OK)
        status = read_raw(input, &w->x, err);
    w->plan.size = sizeof w->plan;
    if (status == RF_OK)
        status = rf_session_prepare(w->session, &w->x, 1, &w->plan, err);
    if (status == RF_OK)
        status = rf_session_output(w->session, 0, &y, err);
    if (status == RF_OK)
        status = allocate(&w->y, y.rank, y.dims, err);
    return status;
}

/* What the session chose, for the report; the explanation has one line per step. */
static rf_status describe(worker *w, rf_error *err)
{
    const char *text = NULL;
    rf_status status = rf_session_explain(w->session, &text, err);
    if (status != RF_OK)
        return status;
    json_t *lines = json_array();
    while (lines && *text) {
        size_t length = strcspn(text, "\n");
        if (length > 0)
            json_array_append_new(lines, json_stringn(text, length));
        text += length + (text[length] == '\n');
    }
    reply(json_pack("{s:b, s:s, s:I, s:I, s:I, s:I, s:o}", "ok", 1, "device",
                    rf_session_device(w->session), "planned_peak_bytes",
                    (json_int_t)w->plan.peak_bytes, "arena_bytes", (json_int_t)w->plan.arena_bytes,
                    "scratch_bytes", (json_int_t)w->plan.scratch_bytes, "weight_bytes",
                    (json_int_t)w->plan.weight_bytes, "steps", lines));
    return RF_OK;
}

static rf_status run(worker *w, rf_error *err)
{
    double start = seconds();
    rf_status status = rf_session_run(w->session, &w->x, 1, &w->y, 1, err);
    double taken = seconds() - start;
    if (status == RF_OK)
        reply(json_pack("{s:b, s:f}", "ok", 1, "s", taken));
    return status;
}

/* Answers one request; false ends the worker. */
static bool answer(worker *w, const json_t *request)
{
    rf_error err = {0};
    rf_status status = RF_OK;
    const char *command = json_string_value(json_object_get(request, "cmd"));
    if (!command)
        command = "";
    if (strcmp(command, "quit") == 0)
        return false;
    if (strcmp(command, "load") == 0) {
        status = load(w, request, &err);
        if (status == RF_OK)
            reply_ok();
    } else if (!w->y.data) {
        reply_error("expected load first");
    } else if (strcmp(command, "run") == 0) {
        status = run(w, &err);
    } else if (strcmp(command, "save") == 0) {
        const char *path = json_string_value(json_object_get(request, "output"));
        status = write_raw(path ? path : "", &w->y, &err);
        if (status == RF_OK)
            reply_ok();
    } else if (strcmp(command, "describe") == 0) {
        status = describe(w, &err);
    } else {
        reply_error("unknown command");
    }
    if (status != RF_OK)
        reply_error(err.text);
    return true;
}

int main(int argc, char **argv)
{
    bool bf16 = argc == 3 && strcmp(argv[1], "bf16") == 0;
    int threads = argc == 3 ? atoi(argv[2]) : 0;
    if (threads < 1 || (!bf16 && strcmp(argv[1], "f32") != 0)) {
        fprintf(stderr, "usage: refold_worker f32|bf16 THREADS\n");
        return 2;
    }
    worker w = {.plan = {.size = sizeof w.plan},
                .params = {.size = sizeof w.params,
                           .device = "cpu",
                           .precision = bf16 ? RF_BF16 : RF_F32,
                           .n_threads = threads}};
    reply(json_pack("{s:b, s:s}", "ready", 1, "version", rf_version_string()));

    char *line = NULL;
    size_t capacity = 0;
    bool going = true;
    while (going && getline(&line, &capacity, stdin) > 0) {
        json_t *request = json_loads(line, 0, NULL);
        going = answer(&w, request);
        json_decref(request);
    }
    free(line);
    rf_session_destroy(&w.session);
    free(w.x.data);
    free(w.y.data);
    return 0;
}
