/* SPDX-License-Identifier: Apache-2.0
 *
 * What librefold and librefold_cuda.so agree on. Both come from one source tree and share the
 * structs of runtime/{base,core,backend} as they are, so the version is exact: the text below must
 * be the same on both sides.
 */
#ifndef RF_CUDA_MODULE_H
#define RF_CUDA_MODULE_H

#include "runtime/backend/backend.h"

#define RF_CUDA_TEXT_(x) #x
#define RF_CUDA_TEXT(x) RF_CUDA_TEXT_(x)

/* Raised when a struct that crosses the border changes. */
#define RF_CUDA_MODULE_REVISION 1
#define RF_CUDA_MODULE_ABI                                                                         \
    RF_CUDA_TEXT(RF_VERSION_MAJOR)                                                                 \
    "." RF_CUDA_TEXT(RF_VERSION_MINOR) "." RF_CUDA_TEXT(RF_CUDA_MODULE_REVISION)

#define RF_CUDA_MODULE_SYMBOL rf_cuda_module
/* Returns the backend (static), or NULL if `abi` is not RF_CUDA_MODULE_ABI. Touches no driver. */
RF_API const rf_backend *RF_CUDA_MODULE_SYMBOL(const char *abi);
typedef const rf_backend *rf_cuda_module_fn(const char *abi);

#endif
