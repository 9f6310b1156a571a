/* SPDX-License-Identifier: Apache-2.0
 *
 * What the fold schemes share: the entry of each, and float64 arrays that become constants.
 */
#ifndef RF_FOLD_SCHEME_H
#define RF_FOLD_SCHEME_H

#include "runtime/fold/fold.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Schemes on checkpoints: every block that has their keys is folded, or (fold false) brought into
 * the form in which an architecture builds it unfolded. */
#define RF_FOLD_KEYS(scheme)                                                                       \
    rf_status rf_fold_##scheme(rf_checkpoint *ckpt, bool fold, rf_fold_audit *audit, rf_error *err);
/* Schemes on graphs: one sweep; *changed is set if anything was folded. */
#define RF_FOLD_GRAPH(scheme)                                                                      \
    rf_status rf_fold_##scheme(rf_graph *graph, rf_fold_audit *audit, bool *changed, rf_error *err);
#include "runtime/fold/fold.def"
#undef RF_FOLD_KEYS
#undef RF_FOLD_GRAPH

/* Owned float64 elements, row-major. Zero-initialise; release with rf_f64_free. */
typedef struct rf_f64 {
    rf_tensor tensor;
    rf_blob *blob;
    double *data;
    int64_t n;
} rf_f64;

rf_status rf_f64_zeros(rf_env *env, int rank, const int64_t *dims, rf_f64 *out, rf_error *err);
rf_status rf_f64_read(rf_env *env, const rf_tensor *src, rf_f64 *out, rf_error *err);
void rf_f64_free(rf_f64 *x);

bool rf_is_float(rf_dtype dtype);
/* After a scheme took what it knows of a block: no key is left for which `match` gives that stem
 * (its length, 0 for foreign keys). `what` names the block's kind. */
rf_status rf_fold_expect_taken(const rf_checkpoint *ckpt, size_t (*match)(const char *key),
                               const char *stem, const char *what, rf_error *err);
/* Stores x in the checkpoint. */
rf_status rf_fold_put(rf_checkpoint *ckpt, const char *name, const rf_f64 *x, rf_error *err);
/* Adds x as a constant, named after the weight that it replaces: <weight>, or <weight's stem>.bias.
 */
rf_status rf_fold_const(rf_graph *graph, const char *weight_name, bool is_bias, const rf_f64 *x,
                        rf_value *out, rf_error *err);

/* Normalisation by fixed statistics as y = scale * x + shift, per channel (both of n elements).
 * Fails for var < 0 or var + eps <= 0: RF_ERR_FORMAT starting with `what`. gamma and beta may be
 * NULL: 1 and 0. */
rf_status rf_fold_affine(const char *what, const double *gamma, const double *beta,
                         const double *mean, const double *var, double eps, int64_t n,
                         double *scale, double *shift, rf_error *err);
/* The same of a batch_norm node whose statistics are constant; *foldable is false if they are not.
 */
rf_status rf_fold_norm_node(const rf_graph *graph, const rf_graph_node *node, rf_f64 *scale,
                            rf_f64 *shift, bool *foldable, rf_error *err);
/* The only producer of v, if v has exactly one use and that op; NULL otherwise. */
rf_graph_node *rf_fold_sole(rf_graph *graph, rf_value v, rf_op op);
/* conv2d, conv_transpose2d, matmul with constant weight and absent or constant bias. */
bool rf_fold_has_weights(const rf_graph *graph, const rf_graph_node *node);

#ifdef __cplusplus
}
#endif
#endif
