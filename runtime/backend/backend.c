/* SPDX-License-Identifier: Apache-2.0
 *
 * Kernel choice.
 */
#include "runtime/backend/backend.h"

#include <string.h>

const rf_backend *rf_backend_find(const char *name)
{
    for (int i = 0; rf_backends[i]; i++)
        if (!strcmp(rf_backends[i]->name, name))
            return rf_backends[i];
    return NULL;
}

const rf_kernel *rf_backend_choose(const rf_backend *backend, const rf_kernel_desc *desc)
{
    size_t n;
    const rf_kernel *const *kernels = backend->kernels(&n);
    for (size_t i = 0; i < n; i++)
        if (!(kernels[i]->wanted && desc->no_library) && rf_kernel_takes(kernels[i], desc))
            return kernels[i];
    return NULL;
}

bool rf_backend_wants_library(const rf_backend *backend, const rf_kernel_desc *desc)
{
    size_t n;
    const rf_kernel *const *kernels = backend->kernels(&n);
    for (size_t i = 0; i < n; i++)
        if (kernels[i]->op == desc->args.op &&
            (kernels[i]->wanted ? kernels[i]->wanted(desc) : rf_kernel_takes(kernels[i], desc)))
            return kernels[i]->wanted != NULL;
    return false;
}
