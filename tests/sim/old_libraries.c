/* SPDX-License-Identifier: Apache-2.0
 *
 * A library that has every function of cuDNN and cuBLASLt that we call, but is of version 7.
 */
#include "kernels/cuda/library.h"

#define OLD(prefix, name)                                                                          \
    size_t old_##prefix##name(void) __asm__(#prefix #name);                                        \
    size_t old_##prefix##name(void)                                                                \
    {                                                                                              \
        return 7;                                                                                  \
    }

#ifdef RF_HAVE_CUDNN
#define X(name) OLD(cudnn, name)
RF_CUDNN_FUNCTIONS(X)
#undef X
#endif
#ifdef RF_HAVE_CUBLASLT
#define X(name) OLD(cublasLt, name)
RF_CUBLASLT_FUNCTIONS(X)
#undef X
#endif
