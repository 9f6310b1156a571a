/* SPDX-License-Identifier: Apache-2.0
 *
 * oneDNN as a source of kernels: the library, opened at first need, and one primitive with packed
 * weights, bias, activation and residual as the state of a kernel. Everything that knows oneDNN is
 * in dnnl_*.c; the rest of the tree sees the rows of dnnl_rows.c.
 *
 * The library is not linked but opened (dlopen): linking costs every process 1.1 ms at start and
 * libOpenCL, libstdc++ and 40 MB of file to map, whether it meets a node for oneDNN or not.
 * Where it is absent the rows accept nothing and the kernels behind them do the work.
 */
#ifndef RF_KERNELS_CPU_DNNL_PRIM_H
#define RF_KERNELS_CPU_DNNL_PRIM_H

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/pack.h"

#include <dnnl.h>

#ifdef __cplusplus
extern "C" {
#endif

/* y = act(product + bias [+ res]) [+ res], for one convolution or matrix product. */
typedef struct rf_dnnl_node {
    union {
        dnnl_convolution_desc_t conv;
        dnnl_matmul_desc_t matmul;
    } op;
    dnnl_memory_desc_t src, weights, bias, dst; /* weights: as the node has them, unpacked */
    const rf_tensor *w, *b;                     /* constants; b may be NULL */
    int64_t bias_n, groups;
    bool packed; /* weights are constant and packed in prepare; otherwise read in every run */
    bool has_res;
    rf_act act;
    float alpha, beta;
    bool res_before;
    float scale; /* of the product; other than 1 only without bias */
    int32_t n_threads;
} rf_dnnl_node;

/* Opens the library once. False if it is absent or REFOLD_CPU asks for less than AVX2.
 * Threads: safe. */
bool rf_dnnl_available(void);

/* Is there an optimised implementation (not "ref") of the node? Costs about 0.1 ms. */
bool rf_dnnl_can(const rf_dnnl_node *node);
/* Bytes of scratch for one run. */
size_t rf_dnnl_scratch(const rf_dnnl_node *node);
/* Compiles the primitive and packs the weights. Owns: release with rf_dnnl_release. */
rf_status rf_dnnl_prepare(const rf_dnnl_node *node, const rf_kernel_desc *desc, void **out_state,
                          rf_error *err);
void rf_dnnl_release(rf_env *env, void *state);
/* `weights` is looked at only if the node is not packed, `res` NULL if it has none.
 */
rf_status rf_dnnl_run(void *state, void *src, void *weights, void *res, void *dst, void *scratch,
                      rf_error *err);

/* Descriptors, so that nobody else calls the library. False: it refused. */
bool rf_dnnl_md(dnnl_memory_desc_t *out, int rank, const int64_t *dims, rf_dtype dtype,
                const int64_t *strides);
bool rf_dnnl_conv_desc(rf_dnnl_node *node, const int64_t stride[2], const int64_t dilation[2],
                       const int64_t before[2], const int64_t after[2]);
bool rf_dnnl_matmul_desc(rf_dnnl_node *node);

#ifdef __cplusplus
}
#endif
#endif
