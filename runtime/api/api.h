/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside of the public handles.
 */
#ifndef RF_API_API_H
#define RF_API_API_H

#include <refold/refold.h>

#include <pthread.h>
#include <stdatomic.h>

#include "runtime/backend/backend.h"
#include "runtime/exec/plan.h"
#include "runtime/fold/fold.h"

/* One device that sessions of a model use, with the model's weights on it. */
typedef struct rf_model_device {
    struct rf_model_device *next;
    const rf_backend *backend;
    rf_device *device;
    rf_pack_cache *packs;
} rf_model_device;

struct rf_model {
    rf_env *env;
    atomic_int refs;
    rf_graph *graph; /* folded, fused; never changes */
    rf_fold_audit audit;
    const char *folded_before; /* report of a file that was saved folded, or NULL; in audit.arena */
    rf_pack_cache *packs;      /* in host memory */
    pthread_mutex_t device_lock;
    rf_model_device *devices; /* those that were asked for; the list only grows */
    rf_model_info info;
    char format[32];
};

struct rf_session {
    rf_model *model; /* one owner held */
    rf_plan_params params;
    char device[96];
    rf_plan **plans; /* most recently used anywhere; `stamp` orders them */
    int n_plans, max_plans;
    rf_plan *current;
    rf_tuner *tuner;   /* owned; params.tuner */
    rf_stream *stream; /* device backends */
    uint64_t clock;
    void *arena;
    size_t arena_bytes;
    int run_state; /* RF_RUN_*; other threads change it (rf_session_cancel) */
    rf_profile *profile, *paused_profile;
    rf_str text; /* what explain and profile_json returned last */
};

/* Gives the pages of the files in which constants lie back to the system: they are read to be
 * folded and packed, and by few kernels. */
void rf_model_forget_files(const rf_model *model);
/* Fills the numbers of rf_model_info that follow from the graph. */
void rf_model_measure(rf_model *model);

/* ---- devices (device.c) ---- */
/* The model's weights on the backend's device, opened at first need. Threads: safe. */
rf_status rf_model_open_device(rf_model *model, const rf_backend *backend,
                               const rf_model_device **out, rf_error *err);
void rf_model_close_devices(rf_model *model);
/* A run of the current plan with dense tensors in host memory, complete when it returns. */
rf_status rf_session_run_on_device(rf_session *session, const rf_tensor *inputs,
                                   const rf_tensor *outputs, rf_error *err);
/* Checks the number of tensors, their dtypes and dims, and makes their plan current. */
rf_status rf_session_select(rf_session *session, const rf_tensor *inputs, int n_inputs,
                            const rf_tensor *outputs, int n_outputs, rf_error *err);

#endif
