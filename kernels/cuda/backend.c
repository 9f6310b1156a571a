/* SPDX-License-Identifier: Apache-2.0
 *
 * The CUDA backend: its rows, and the one symbol that the module exports.
 */
#include "kernels/cuda/cuda.h"

#include "kernels/cuda/module.h"
#include "kernels/cuda/rows.h"

#include <pthread.h>
#include <string.h>

enum { MAX_ROWS = 128 };

static const rf_kernel *const *const lists[] = {
#define RF_ROWS(name) rf_cuda_rows_##name,
#include "kernels/cuda/rows.def"
#undef RF_ROWS
};
static const rf_kernel *rows[MAX_ROWS];
static size_t n_rows;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fill(void)
{
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        for (size_t k = 0; lists[i][k] && n_rows < MAX_ROWS; k++)
            rows[n_rows++] = lists[i][k];
}

static const rf_kernel *const *kernels(size_t *out_n)
{
    pthread_once(&once, fill);
    *out_n = n_rows;
    return rows;
}

static const char *describe(void)
{
    return "CUDA " RF_CUDA_TEXT(CUDART_VERSION);
}

const rf_backend rf_backend_cuda = {
    .name = RF_CUDA_BACKEND_NAME,
    .kernels = kernels,
    .describe = describe,
    .precisions = 1u << RF_F32 | 1u << RF_F16 | 1u << RF_BF16,
    .nhwc = true,
    .device_ops = &rf_cuda_device_ops,
};

const rf_backend *RF_CUDA_MODULE_SYMBOL(const char *abi)
{
    return strcmp(abi, RF_CUDA_MODULE_ABI) ? NULL : &rf_backend_cuda;
}
