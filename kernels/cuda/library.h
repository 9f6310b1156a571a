/* SPDX-License-Identifier: Apache-2.0
 *
 * NVIDIA's libraries, opened at first need and never linked: without them the own kernels do
 * everything. A library that is there but lacks a function counts as absent, and says so.
 */
#ifndef RF_CUDA_LIBRARY_H
#define RF_CUDA_LIBRARY_H

#include <cudnn_graph.h>

#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Functions of the cuDNN backend graph API that we call: field = name without "cudnn". */
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

#ifdef __cplusplus
}
#endif

#endif
