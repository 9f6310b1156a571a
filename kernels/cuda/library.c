/* SPDX-License-Identifier: Apache-2.0
 *
 * Opens cuDNN and cuBLASLt. See library.h.
 */
#include "kernels/cuda/library.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct wanted_library {
    const char *title;           /* "cuDNN 9" */
    const char *variable, *file; /* the environment's choice comes first */
    const char *const *names;    /* of functions, the one that tells the version first */
    size_t n_names;
    size_t oldest, too_new; /* versions: oldest <= it < too_new */
} wanted_library;

typedef struct opened_library {
    bool found;
    char reason[512];
} opened_library;

/* Fills `table`, a struct of nothing but function pointers in the order of the names. */
static void open_library(const wanted_library *w, void *table, opened_library *out)
{
    const char *given = getenv(w->variable);
    const char *file = given && *given ? given : w->file;
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        snprintf(out->reason, sizeof out->reason, "%s is not there: %s", w->title, dlerror());
        return;
    }
    for (size_t i = 0; i < w->n_names; i++) {
        void *function = dlsym(library, w->names[i]);
        if (!function) {
            snprintf(out->reason, sizeof out->reason, "%s has no %s", file, w->names[i]);
            dlclose(library);
            return;
        }
        memcpy((char *)table + i * sizeof function, &function, sizeof function);
    }
    size_t (*get_version)(void);
    memcpy(&get_version, table, sizeof get_version);
    size_t version = get_version();
    if (version < w->oldest || version >= w->too_new) {
        snprintf(out->reason, sizeof out->reason, "%s is version %zu, expected %zu to %zu", file,
                 version, w->oldest, w->too_new - 1);
        dlclose(library);
        return;
    }
    out->found = true;
}

#define COUNT(list) (sizeof(list) / sizeof *(list))
#define TEXT(x) TEXT_OF(x)
#define TEXT_OF(x) #x

#ifdef RF_HAVE_CUDNN
static rf_cudnn cudnn;
static opened_library cudnn_opened;

static void open_cudnn(void)
{
    static const char *const names[] = {
#define X(name) "cudnn" #name,
        RF_CUDNN_FUNCTIONS(X)
#undef X
    };
    _Static_assert(sizeof cudnn == sizeof names, "a name for every function");
    /* 9.8: plans without a handle; 9.19 is what was tried. */
    const wanted_library w = {.title = "cuDNN 9",
                              .variable = "REFOLD_CUDNN",
                              .file = "libcudnn.so.9",
                              .names = names,
                              .n_names = COUNT(names),
                              .oldest = 90800,
                              .too_new = 100000};
    open_library(&w, &cudnn, &cudnn_opened);
}

const rf_cudnn *rf_cudnn_open(const char **why)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, open_cudnn);
    *why = cudnn_opened.reason;
    return cudnn_opened.found ? &cudnn : NULL;
}
#endif

#ifdef RF_HAVE_CUBLASLT
static rf_cublaslt cublaslt;
static opened_library cublaslt_opened;

static void open_cublaslt(void)
{
    static const char *const names[] = {
#define X(name) "cublasLt" #name,
        RF_CUBLASLT_FUNCTIONS(X)
#undef X
    };
    _Static_assert(sizeof cublaslt == sizeof names, "a name for every function");
    /* The file's number is the ABI's. */
    const wanted_library w = {.title = "cuBLASLt " TEXT(CUBLAS_VER_MAJOR),
                              .variable = "REFOLD_CUBLASLT",
                              .file = "libcublasLt.so." TEXT(CUBLAS_VER_MAJOR),
                              .names = names,
                              .n_names = COUNT(names),
                              .oldest = CUBLAS_VER_MAJOR * 10000,
                              .too_new = (CUBLAS_VER_MAJOR + 1) * 10000};
    open_library(&w, &cublaslt, &cublaslt_opened);
}

const rf_cublaslt *rf_cublaslt_open(const char **why)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, open_cublaslt);
    *why = cublaslt_opened.reason;
    return cublaslt_opened.found ? &cublaslt : NULL;
}
#endif
