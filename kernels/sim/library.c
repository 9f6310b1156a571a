/* SPDX-License-Identifier: Apache-2.0
 *
 * In the emulated module cuDNN and cuBLASLt are the stand-ins of cudnn.cc and cublaslt.cc, linked
 * in; REFOLD_SIM_CUDNN=0 and REFOLD_SIM_CUBLASLT=0 take them away. (The opening of real files is
 * tested in tests/sim/test_library.cc.)
 */
#include "kernels/cuda/library.h"

#include <stdlib.h>
#include <string.h>

static bool is_there(const char *variable)
{
    const char *given = getenv(variable);
    return !given || strcmp(given, "0");
}

#ifdef RF_HAVE_CUDNN
const rf_cudnn *rf_cudnn_open(const char **why)
{
    static const rf_cudnn linked = {
#define X(name) .name = cudnn##name,
        RF_CUDNN_FUNCTIONS(X)
#undef X
    };
    *why = "taken away by REFOLD_SIM_CUDNN=0";
    return is_there("REFOLD_SIM_CUDNN") ? &linked : NULL;
}
#endif

#ifdef RF_HAVE_CUBLASLT
const rf_cublaslt *rf_cublaslt_open(const char **why)
{
    static const rf_cublaslt linked = {
#define X(name) .name = cublasLt##name,
        RF_CUBLASLT_FUNCTIONS(X)
#undef X
    };
    *why = "taken away by REFOLD_SIM_CUBLASLT=0";
    return is_there("REFOLD_SIM_CUBLASLT") ? &linked : NULL;
}
#endif
