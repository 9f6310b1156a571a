/* SPDX-License-Identifier: Apache-2.0
 *
 * Backends that are modules, opened when somebody asks for them, so that a machine without their
 * libraries runs the same binary. A module stays open until the process ends: its backend is static
 * data that models keep pointers to.
 *
 * The driver is looked for before the module: on a machine without one, `auto` costs one failed
 * dlopen.
 */
#include "kernels/cuda/module.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENTRY_NAME RF_CUDA_TEXT(RF_CUDA_MODULE_SYMBOL)

typedef struct module {
    const char *backend, *file;
    const char *variable; /* environment: path of the file, before any other place */
    const char *driver;   /* library without which the module is of no use, or NULL */
    const rf_backend *opened;
} module;

/* `sim` is the emulated GPU of the test build; nothing installs its file. */
static module modules[] = {
    {"cuda", "librefold_cuda.so", "REFOLD_CUDA_MODULE", "libcuda.so.1", NULL},
    {"sim", "librefold_sim.so", "REFOLD_SIM_MODULE", NULL, NULL},
};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* The folder of a path, with its slash; "" if it has none. */
static void cut_to_folder(char *path)
{
    char *slash = strrchr(path, '/');
    path[slash ? slash - path + 1 : 0] = 0;
}

/* Candidate i for the module's path; false after the last. */
static bool candidate(const module *m, int i, char *path, size_t bytes)
{
    char folder[512] = "";
    const char *given = getenv(m->variable);
    if (given && *given)
        return i == 0 && snprintf(path, bytes, "%s", given) < (int)bytes;
    Dl_info self;
    if (i < 2 && dladdr((void *)rf_backend_open, &self) && self.dli_fname)
        snprintf(folder, sizeof folder, "%s", self.dli_fname);
    else if (i == 2) {
        ssize_t n = readlink("/proc/self/exe", folder, sizeof folder - 1);
        folder[n > 0 ? n : 0] = 0;
    }
    cut_to_folder(folder);
    if (i == 3)
        snprintf(folder, sizeof folder, "%s/", RF_MODULE_DIR);
    return i < 4 &&
           snprintf(path, bytes, "%s%s%s", folder, i == 1 ? "refold/" : "", m->file) < (int)bytes;
}

static rf_status open_file(module *m, rf_error *err)
{
    char path[1024], places[1024] = "";
    void *library = NULL;
    for (int i = 0; !library && candidate(m, i, path, sizeof path); i++) {
        if (strlen(places) + strlen(path) + 3 < sizeof places)
            strcat(strcat(places, *places ? ", " : ""), path);
        if (access(path, F_OK))
            continue;
        if (!(library = dlopen(path, RTLD_NOW | RTLD_LOCAL)))
            return rf_fail(err, RF_ERR_DEVICE, "device '%s': %s", m->backend, dlerror());
    }
    if (!library)
        return rf_fail(err, RF_ERR_DEVICE,
                       "device '%s': no %s (built where nvcc is found); looked for %s", m->backend,
                       m->file, places);
    rf_cuda_module_fn *entry;
    *(void **)&entry = dlsym(library, ENTRY_NAME);
    if (entry)
        m->opened = entry(RF_CUDA_MODULE_ABI);
    if (m->opened)
        return RF_OK;
    dlclose(library);
    return rf_fail(err, RF_ERR_DEVICE,
                   "device '%s': %s belongs to another version of Refold, expected %s", m->backend,
                   path, RF_CUDA_MODULE_ABI);
}

static rf_status open_module(module *m, rf_error *err)
{
    if (m->opened)
        return RF_OK;
    void *driver = m->driver ? dlopen(m->driver, RTLD_LAZY | RTLD_LOCAL) : NULL;
    if (m->driver && !driver)
        return rf_fail(err, RF_ERR_DEVICE,
                       "device '%s': no NVIDIA driver (%s) on this machine; install one, or use "
                       "'cpu'",
                       m->backend, m->driver);
    rf_status status = open_file(m, err);
    if (driver)
        dlclose(driver); /* the module holds it from here on */
    return status;
}

rf_status rf_backend_open(const char *name, const rf_backend **out, rf_error *err)
{
    if ((*out = rf_backend_find(name)))
        return RF_OK;
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
        module *m = &modules[i];
        if (strcmp(m->backend, name))
            continue;
        pthread_mutex_lock(&lock);
        rf_status status = open_module(m, err);
        *out = m->opened;
        pthread_mutex_unlock(&lock);
        return status;
    }
    return rf_fail(err, RF_ERR_ARGUMENT, "device '%s': expected auto, cpu, cuda or ref", name);
}
