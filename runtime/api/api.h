/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside of the public handles.
 */
#ifndef RF_API_API_H
#define RF_API_API_H

#include <refold/refold.h>

#include <stdatomic.h>

#include "runtime/backend/backend.h"
#include "runtime/exec/plan.h"
#include "runtime/fold/fold.h"

struct rf_model {
    rf_env *env;
    atomic_int refs;
    rf_graph *graph; /* folded, fused; never changes */
    rf_fold_audit audit;
    const char *folded_before; /* report of a file that was saved folded, or NULL; in audit.arena */
    rf_pack_cache *packs;
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

#endif
