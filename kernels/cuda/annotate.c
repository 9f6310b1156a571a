/* SPDX-License-Identifier: Apache-2.0
 *
 * Names for profilers. The NVTX ranges are called through whichever of the two libraries that carry
 * them is there; without one, names cost a load and a branch.
 */
#include "kernels/cuda/stream.h"

#include <dlfcn.h>
#include <pthread.h>

static int (*range_push)(const char *name);
static int (*range_pop)(void);
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void open_library(void)
{
    static const char *const names[] = {"libnvToolsExt.so.1", "libnvtx3interop.so.1"};
    for (size_t i = 0; i < sizeof names / sizeof *names && !range_push; i++) {
        void *library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
        if (!library)
            continue;
        *(void **)&range_pop = dlsym(library, "nvtxRangePop");
        *(void **)&range_push = range_pop ? dlsym(library, "nvtxRangePushA") : NULL;
    }
}

void rf_cuda_annotate(rf_stream *stream, const char *name)
{
    (void)stream; /* ranges are per thread */
    pthread_once(&once, open_library);
    if (!range_push)
        return;
    if (name)
        (void)range_push(name);
    else
        (void)range_pop();
}
