/* SPDX-License-Identifier: Apache-2.0
 *
 * Opens cuDNN. See library.h.
 */
#include "kernels/cuda/library.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { OLDEST_CUDNN = 90800 }; /* plans without a handle; 9.19 is what was tried */

static rf_cudnn cudnn;
static bool found;
static char reason[256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void open_cudnn(void)
{
    const char *given = getenv("REFOLD_CUDNN");
    const char *file = given && *given ? given : "libcudnn.so.9";
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        snprintf(reason, sizeof reason, "cuDNN 9 is not there: %s", dlerror());
        return;
    }
#define X(name)                                                                                    \
    if (!(*(void **)&cudnn.name = dlsym(library, "cudnn" #name))) {                                \
        snprintf(reason, sizeof reason, "%s has no cudnn" #name, file);                            \
        return;                                                                                    \
    }
    RF_CUDNN_FUNCTIONS(X)
#undef X
    if (cudnn.GetVersion() < OLDEST_CUDNN) {
        snprintf(reason, sizeof reason, "%s is version %zu, expected %d or newer", file,
                 cudnn.GetVersion(), OLDEST_CUDNN);
        return;
    }
    found = true;
}

const rf_cudnn *rf_cudnn_open(const char **why)
{
    pthread_once(&once, open_cudnn);
    *why = reason;
    return found ? &cudnn : NULL;
}
