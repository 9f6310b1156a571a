/* SPDX-License-Identifier: Apache-2.0
 *
 * NVIDIA's libraries, opened at first need and never linked: without them the own kernels do
 * everything. A library that is there but lacks a function, or is of another version than the
 * headers that we were built with can speak to, counts as absent, and says so.
 */
#ifndef RF_CUDA_LIBRARY_H
#define RF_CUDA_LIBRARY_H

#ifdef RF_HAVE_CUDNN
#include <cudnn_graph.h>
#endif
#ifdef RF_HAVE_CUBLASLT
#include <cublasLt.h>
#endif

#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* In every list below: field = name without the library's prefix, GetVersion first. */
#ifdef RF_HAVE_CUDNN
/* Functions of the cuDNN backend graph API that we call. */
#define RF_CUDNN_FUNCTIONS(X)                                                                      \
    X(GetVersion)                                                                                  \
    X(GetErrorString)                                                                              \
    X(GetLastErrorString)                                                                          \
    X(Create)                                                                                      \
    X(Destroy)                                                                                     \
    X(SetStream)                                                                                   \
    X(BackendCreateDescriptor)                                                                     \
    X(BackendDestroyDescriptor)                                                                    \
    X(BackendSetAttribute)                                                                         \
    X(BackendGetAttribute)                                                                         \
    X(BackendFinalize)                                                                             \
    X(BackendExecute)

typedef struct rf_cudnn {
#define X(name) __typeof__(cudnn##name) *name;
    RF_CUDNN_FUNCTIONS(X)
#undef X
} rf_cudnn;

/* NULL if cuDNN 9 is not on this machine; *why then says what was tried. $REFOLD_CUDNN names
 * another file than libcudnn.so.9. Threads: safe; opened once per process. */
const rf_cudnn *rf_cudnn_open(const char **why);
#endif

#ifdef RF_HAVE_CUBLASLT
#define RF_CUBLASLT_FUNCTIONS(X)                                                                   \
    X(GetVersion)                                                                                  \
    X(GetStatusString)                                                                             \
    X(Create)                                                                                      \
    X(Destroy)                                                                                     \
    X(MatmulDescCreate)                                                                            \
    X(MatmulDescDestroy)                                                                           \
    X(MatmulDescSetAttribute)                                                                      \
    X(MatrixLayoutCreate)                                                                          \
    X(MatrixLayoutDestroy)                                                                         \
    X(MatrixLayoutSetAttribute)                                                                    \
    X(MatmulPreferenceCreate)                                                                      \
    X(MatmulPreferenceDestroy)                                                                     \
    X(MatmulPreferenceSetAttribute)                                                                \
    X(MatmulAlgoGetHeuristic)                                                                      \
    X(Matmul)

typedef struct rf_cublaslt {
#define X(name) __typeof__(cublasLt##name) *name;
    RF_CUBLASLT_FUNCTIONS(X)
#undef X
} rf_cublaslt;

/* The same for cuBLASLt of the toolkit's major version; $REFOLD_CUBLASLT names another file. */
const rf_cublaslt *rf_cublaslt_open(const char **why);
#endif

#ifdef __cplusplus
}
#endif

#endif
