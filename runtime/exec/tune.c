/* SPDX-License-Identifier: Apache-2.0
 *
 * See tune.h. This file keeps the winners; tune_measure.c finds them.
 */
#include "runtime/exec/tune.h"

#include "runtime/base/file.h"
#include "runtime/base/str.h"
#include "runtime/exec/tune_measure.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { NAME_BYTES = 48 };

typedef struct winner {
    uint64_t key;
    char kernel[NAME_BYTES];
    double us;
} winner;

struct rf_tuner {
    rf_env *env;
    const rf_backend *backend;
    rf_device *device;
    char path[512]; /* "": in memory only */
    pthread_mutex_t lock;
    winner *winners;
    size_t n, capacity;
    bool changed;
};

static uint64_t hash(uint64_t h, const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3u;
    return h;
}

static uint64_t hash_number(uint64_t h, int64_t v)
{
    return hash(h, &v, sizeof v);
}

static uint64_t hash_tensor(uint64_t h, const rf_tensor *t)
{
    if (!t)
        return hash_number(h, -1);
    h = hash_number(hash_number(h, t->dtype), t->rank);
    for (int i = 0; i < t->rank; i++)
        h = hash_number(hash_number(h, t->dims[i]), t->strides[i]);
    return hash_number(h, t->data != NULL); /* constant */
}

static uint64_t hash_attrs(uint64_t h, rf_op op, const rf_attrs *attrs)
{
    const rf_op_info *info = rf_op_get(op);
    for (int i = 0; i < info->n_fields; i++) {
        const rf_field *f = &info->fields[i];
        const char *at = (const char *)attrs + f->offset;
        int32_t n = f->kind == RF_FIELD_LIST
                        ? *(const int32_t *)((const char *)attrs + f->count_offset)
                    : f->n > 0 ? f->n
                               : 1;
        size_t each = f->kind == RF_FIELD_LIST || f->kind == RF_FIELD_REAL ? 8 : 4;
        h = hash(hash_number(h, n), at, (size_t)n * each);
    }
    return h;
}

static uint64_t key_of(const rf_kernel_desc *d)
{
    uint64_t h = hash_number(0xcbf29ce484222325u, d->args.op);
    h = hash_attrs(h, d->args.op, d->args.attrs);
    for (int i = 0; i < d->args.n_in; i++)
        h = hash_tensor(h, d->args.in[i]);
    for (int i = 0; i < d->args.n_out; i++)
        h = hash_tensor(h, d->args.out[i]);
    return hash_number(h, d->exact);
}

static winner *find(rf_tuner *t, uint64_t key)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->winners[i].key == key)
            return &t->winners[i];
    return NULL;
}

static rf_status add(rf_tuner *t, const winner *w, rf_error *err)
{
    winner *old = find(t, w->key);
    if (!old) {
        RF_TRY(rf_grow_array(t->env, &t->winners, &t->capacity, t->n + 1, sizeof *t->winners, err));
        old = &t->winners[t->n++];
    }
    *old = *w;
    return RF_OK;
}

static void load(rf_tuner *t)
{
    char line[160];
    FILE *f = *t->path ? fopen(t->path, "r") : NULL;
    while (f && fgets(line, sizeof line, f)) {
        winner w;
        char end;
        if (sscanf(line, "%16" SCNx64 " %47s %lf%c", &w.key, w.kernel, &w.us, &end) == 4 &&
            end == '\n' && add(t, &w, NULL) != RF_OK)
            break;
    }
    if (f)
        fclose(f);
}

/* Every folder of the path; one that cannot be made shows when the file is written. */
static void make_folders(const char *dir)
{
    char part[512];
    size_t n = strlen(dir);
    for (size_t i = 1; i <= n && n < sizeof part; i++)
        if (i == n || dir[i] == '/') {
            memcpy(part, dir, i);
            part[i] = 0;
            (void)mkdir(part, 0777);
        }
}

rf_status rf_tuner_create(rf_env *env, const rf_backend *backend, rf_device *device,
                          const char *dir, rf_tuner **out, rf_error *err)
{
    rf_tuner *t;
    RF_TRY(rf_alloc_array(env, 1, sizeof *t, &t, err));
    t->env = rf_env_retain(env);
    t->backend = backend;
    t->device = device;
    pthread_mutex_init(&t->lock, NULL);
    *out = t;
    if (!dir)
        return RF_OK;
    const char *versions = backend->device_ops->versions(device);
    uint64_t id = hash(0xcbf29ce484222325u, versions, strlen(versions));
    if (snprintf(t->path, sizeof t->path, "%s/tune-%016" PRIx64 ".txt", dir, id) >=
        (int)sizeof t->path) {
        rf_tuner_destroy(out);
        return rf_fail(err, RF_ERR_ARGUMENT, "tune_dir: expected at most %zu characters",
                       sizeof t->path - 32);
    }
    make_folders(dir);
    load(t);
    return RF_OK;
}

static rf_status write_winners(rf_tuner *t, rf_error *err)
{
    rf_file_writer *w = NULL;
    rf_str text = {.env = t->env};
    rf_status status;
    rf_str_printf(&text, "# Fastest kernels on %s\n", t->backend->device_ops->versions(t->device));
    for (size_t i = 0; i < t->n; i++)
        rf_str_printf(&text, "%016" PRIx64 " %s %.3f\n", t->winners[i].key, t->winners[i].kernel,
                      t->winners[i].us);
    if (text.failed)
        return rf_fail(err, RF_ERR_MEMORY, "no memory for the tuning file");
    RF_TRY_DONE(rf_file_writer_open(t->env, t->path, &w, err));
    RF_TRY_DONE(rf_file_writer_write(w, text.data, text.len, err));
    RF_TRY_DONE(rf_file_writer_commit(&w, err));
done:
    rf_file_writer_destroy(&w);
    rf_str_free(&text);
    return status;
}

void rf_tuner_save(rf_tuner *t)
{
    rf_error err;
    pthread_mutex_lock(&t->lock);
    if (t->changed && *t->path && write_winners(t, &err) != RF_OK)
        rf_log(t->env, RF_LOG_WARN, "tuning: %s", err.text);
    t->changed = false;
    pthread_mutex_unlock(&t->lock);
}

void rf_tuner_destroy(rf_tuner **tuner)
{
    rf_tuner *t = *tuner;
    if (!t)
        return;
    rf_tuner_save(t);
    rf_env *env = t->env;
    pthread_mutex_destroy(&t->lock);
    rf_free(env, t->winners, t->capacity * sizeof *t->winners);
    rf_free(env, t, sizeof *t);
    rf_env_release(&env);
    *tuner = NULL;
}

static const rf_kernel *named(const rf_kernel *const *candidates, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(candidates[i]->name, name))
            return candidates[i];
    return NULL;
}

static rf_status choose(rf_tuner *t, const rf_kernel_desc *d, const rf_kernel **kernel,
                        rf_error *err)
{
    const rf_kernel *candidates[RF_TUNE_CANDIDATES];
    int n = rf_tune_candidates(t->backend, d, candidates);
    const winner *known = find(t, key_of(d));
    const rf_kernel *best = known ? named(candidates, n, known->kernel) : NULL;
    if (best || n < 2) {
        *kernel = best ? best : *kernel;
        return RF_OK;
    }
    winner w = {.key = key_of(d)};
    int fastest;
    RF_TRY(rf_tune_measure(t->env, t->backend, d, candidates, n, &fastest, &w.us, err));
    *kernel = candidates[fastest];
    snprintf(w.kernel, sizeof w.kernel, "%s", (*kernel)->name);
    t->changed = true;
    return add(t, &w, err);
}

rf_status rf_tuner_choose(rf_tuner *t, const rf_kernel_desc *d, const rf_kernel **kernel,
                          rf_error *err)
{
    pthread_mutex_lock(&t->lock);
    rf_status status = choose(t, d, kernel, err);
    pthread_mutex_unlock(&t->lock);
    return status;
}
