/* SPDX-License-Identifier: Apache-2.0
 *
 * Folds: rewrite what training needed into what inference needs, in float64, rounding once at the
 * end. Key folds work on a checkpoint before its graph exists (DEConv, RepVGG keys); graph folds
 * work on any graph (Conv+BN, parallel branches). Every fold leaves an audit record.
 */
#ifndef RF_FOLD_FOLD_H
#define RF_FOLD_FOLD_H

#include "runtime/core/checkpoint.h"
#include "runtime/core/graph.h"
#include "runtime/base/str.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rf_fold_record {
    const char *scheme; /* "deconv" */
    const char *target; /* key or node that came out */
    int32_t n_in;       /* tensors or nodes that went in */
    double max_abs;     /* max |W| of the result */
    double max_error;   /* max |float32(W) - W|: what rounding once cost */
} rf_fold_record;

typedef struct rf_fold_audit {
    rf_env *env;
    rf_arena arena;
    rf_fold_record *records;
    size_t n_records, capacity;
} rf_fold_audit;

void rf_fold_audit_init(rf_fold_audit *audit, rf_env *env);
void rf_fold_audit_free(rf_fold_audit *audit);
rf_status rf_fold_audit_add(rf_fold_audit *audit, const char *scheme, const char *target, int n_in,
                            const double *w, size_t n, rf_error *err);

/* fold == false: the branches are kept as separate tensors that the architecture builds as a sum
 * of convolutions (keys <block>.conv1.branch1..5.{weight,bias}); for `refold verify`. */
rf_status rf_fold_checkpoint(rf_checkpoint *ckpt, bool fold, rf_fold_audit *audit, rf_error *err);
/* The graph folds of fold.def, to a fixed point. Constants made on the way are float64. */
rf_status rf_fold_graph(rf_graph *graph, rf_fold_audit *audit, rf_error *err);
/* Every float constant that is not f32 becomes f32, rounded once to nearest even. NaN or Inf:
 * RF_ERR_FORMAT. */
rf_status rf_fold_round(rf_graph *graph, rf_error *err);
/* NaN and Inf in the f32 constants, which no fold and no rounding has looked at: how many, and the
 * name of the first constant that has them ("" if none). */
int64_t rf_fold_count_nonfinite(const rf_graph *graph, const char **out_first);

#ifdef __cplusplus
}
#endif
#endif
