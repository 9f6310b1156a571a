/* SPDX-License-Identifier: Apache-2.0
 *
 * Convolutions as cuDNN graphs: the description of one, and its execution plan. Needs no device:
 * with the properties of one as JSON a plan is made for it (which is how CI checks that the library
 * takes every graph that the table would give it).
 *
 * Source: cuDNN backend API; the order of operations matters (design/cuda.md section 1): a residual
 * added before the bias gets precompiled engines, after it only engines compiled at run time.
 */
#ifndef RF_CUDA_CUDNN_GRAPH_H
#define RF_CUDA_CUDNN_GRAPH_H

#include "kernels/cuda/library.h"
#include "runtime/backend/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* y = act(conv(x, w) + res + b), NHWC, weights [K][R][S][C/groups]; sums in f32. */
typedef struct rf_cudnn_conv {
    cudnnDataType_t type;     /* of x, w, b, res and y */
    int64_t x[4], w[4], y[4]; /* N C H W and K C/g R S and N K H W */
    int64_t pre[2], post[2], stride[2], dilation[2];
    bool bias, res;
    bool relu;
} rf_cudnn_conv;

enum { RF_CUDNN_X = 1, RF_CUDNN_W, RF_CUDNN_B, RF_CUDNN_R, RF_CUDNN_Y }; /* unique ids */

typedef struct rf_cudnn_plan {
    cudnnBackendDescriptor_t plan;
    int64_t engine; /* global index */
    bool compiled_at_run_time;
    int64_t n_tried; /* configurations refused before this one */
} rf_cudnn_plan;

/* Can the node be such a graph? Fills *out. */
bool rf_cudnn_describe(const rf_op_args *args, rf_cudnn_conv *out);
/* The first configuration that the library can execute without workspace, with full precision and
 * the same bits each time. device_json NULL: for the current device. Owns: *out,
 * rf_cudnn_plan_free. */
rf_status rf_cudnn_plan_make(const rf_cudnn *lib, const rf_cudnn_conv *conv,
                             const char *device_json, rf_cudnn_plan *out, rf_error *err);
void rf_cudnn_plan_free(const rf_cudnn *lib, rf_cudnn_plan *plan);
/* The table: is cuDNN likely the fastest for this graph? */
bool rf_cudnn_wins(const rf_cudnn_conv *conv);

#ifdef __cplusplus
}
#endif

#endif
