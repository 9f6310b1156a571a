/* SPDX-License-Identifier: Apache-2.0
 *
 * Devices: found once per process and shared by all who open them, because the CUDA runtime keeps
 * one primary context per device anyway. After a sticky error nothing works in that context any
 * more, so the device remembers the first one and every later call names it.
 */
#include "kernels/cuda/stream.h"

#include "kernels/cuda/library.h"
#include "kernels/cuda/module.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What our fatbins hold begins at sm_80: tensor cores with bf16 and cp.async. */
enum { OLDEST_MAJOR = 8, MAX_DEVICES = 16 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static rf_device *devices[MAX_DEVICES];

static bool is_sticky(cudaError_t e)
{
    switch (e) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorLaunchTimeout:
    case cudaErrorContextIsDestroyed:
        return true;
    default:
        return false;
    }
}

rf_status rf_cuda_check(rf_device *device, cudaError_t e, const char *what, rf_error *err)
{
    if (e == cudaSuccess)
        return RF_OK;
    (void)cudaGetLastError(); /* a call that failed must not fail the next one */
    if (is_sticky(e)) {
        int none = cudaSuccess;
        atomic_compare_exchange_strong(&device->lost, &none, (int)e);
    }
    return rf_fail(err, e == cudaErrorMemoryAllocation ? RF_ERR_MEMORY : RF_ERR_DEVICE, "%s: %s",
                   what, cudaGetErrorString(e));
}

rf_status rf_cuda_alive(rf_device *device, rf_error *err)
{
    int lost = atomic_load(&device->lost);
    if (lost)
        return rf_fail(err, RF_ERR_DEVICE,
                       "device %d (%s) is lost after an earlier error: %s; restart the process",
                       device->ordinal, device->props.name, cudaGetErrorString((cudaError_t)lost));
    return RF_OK;
}

rf_status rf_cuda_enter(rf_device *device, rf_error *err)
{
    RF_TRY(rf_cuda_alive(device, err));
    return rf_cuda_check(device, cudaSetDevice(device->ordinal), "cudaSetDevice", err);
}

static rf_status count_devices(int *n, rf_error *err)
{
    cudaError_t e = cudaGetDeviceCount(n);
    if (e != cudaSuccess)
        (void)cudaGetLastError();
    if (e == cudaErrorInsufficientDriver) {
        int driver = 0;
        (void)cudaDriverGetVersion(&driver);
        if (!driver)
            return rf_fail(err, RF_ERR_DEVICE,
                           "no NVIDIA driver (libcuda.so.1) on this machine: install one, at least "
                           "for CUDA %d",
                           CUDART_VERSION / 1000);
        return rf_fail(err, RF_ERR_DEVICE,
                       "the NVIDIA driver is for CUDA %d.%d, this module needs %d.%d or newer: "
                       "update the driver",
                       driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000,
                       CUDART_VERSION % 1000 / 10);
    }
    if (e == cudaErrorNoDevice || (e == cudaSuccess && !*n))
        return rf_fail(err, RF_ERR_DEVICE,
                       "the NVIDIA driver sees no GPU (is CUDA_VISIBLE_DEVICES empty?)");
    if (e != cudaSuccess)
        return rf_fail(err, RF_ERR_DEVICE, "cudaGetDeviceCount: %s", cudaGetErrorString(e));
    return RF_OK;
}

static rf_status describe_device(rf_device *d, rf_error *err)
{
    RF_CUDA(d, cudaGetDeviceProperties(&d->props, d->ordinal));
    if (d->props.major < OLDEST_MAJOR)
        return rf_fail(err, RF_ERR_DEVICE, "GPU %d (%s) is sm_%d%d, expected sm_%d0 or newer",
                       d->ordinal, d->props.name, d->props.major, d->props.minor, OLDEST_MAJOR);
    snprintf(d->description, sizeof d->description, "%s, sm_%d%d", d->props.name, d->props.major,
             d->props.minor);
    return RF_OK;
}

static void describe_versions(rf_device *d)
{
    int driver = 0;
    const char *why = "built without its header";
    char cudnn[560], cublaslt[560];
    (void)cudaDriverGetVersion(&driver);
    snprintf(cudnn, sizeof cudnn, "no cuDNN (%s)", why);
    snprintf(cublaslt, sizeof cublaslt, "no cuBLASLt (%s)", why);
#ifdef RF_HAVE_CUDNN
    const rf_cudnn *nn = rf_cudnn_open(&why);
    if (nn)
        snprintf(cudnn, sizeof cudnn, "cuDNN %zu", nn->GetVersion());
    else
        snprintf(cudnn, sizeof cudnn, "no cuDNN (%s)", why);
#endif
#ifdef RF_HAVE_CUBLASLT
    const rf_cublaslt *lt = rf_cublaslt_open(&why);
    if (lt)
        snprintf(cublaslt, sizeof cublaslt, "cuBLASLt %zu", lt->GetVersion());
    else
        snprintf(cublaslt, sizeof cublaslt, "no cuBLASLt (%s)", why);
#endif
    snprintf(d->versions, sizeof d->versions, "%s, driver %d, CUDA %d, %s, %s, Refold %s",
             d->description, driver, CUDART_VERSION, cudnn, cublaslt, RF_CUDA_MODULE_ABI);
}

static rf_status open_locked(rf_device **out, rf_error *err)
{
    int n = 0, ordinal = 0; /* CUDA_VISIBLE_DEVICES says which is the first */
    RF_TRY(count_devices(&n, err));
    if (!devices[ordinal]) {
        rf_device *d = calloc(1, sizeof *d); /* outlives every env */
        if (!d)
            return rf_fail(err, RF_ERR_MEMORY, "no memory for a device");
        d->ordinal = ordinal;
        rf_status status = describe_device(d, err);
        if (status != RF_OK) {
            free(d);
            return status;
        }
        devices[ordinal] = d;
    }
    devices[ordinal]->n_owners++;
    *out = devices[ordinal];
    return RF_OK;
}

static rf_status open_device(rf_env *env, rf_device **out, rf_error *err)
{
    (void)env;
    *out = NULL;
    pthread_mutex_lock(&lock);
    rf_status status = open_locked(out, err);
    pthread_mutex_unlock(&lock);
    return status;
}

static void close_device(rf_device **device)
{
    rf_device *d = *device;
    if (!d)
        return;
    pthread_mutex_lock(&lock);
    if (!--d->n_owners) {
        devices[d->ordinal] = NULL;
        if (d->close_cublaslt && rf_cuda_enter(d, NULL) == RF_OK)
            d->close_cublaslt(d);
        if (d->uploads && rf_cuda_enter(d, NULL) == RF_OK)
            (void)rf_cuda_check(d, cudaStreamDestroy(d->uploads), "cudaStreamDestroy", NULL);
        free(d);
    }
    pthread_mutex_unlock(&lock);
    *device = NULL;
}

static const char *describe(const rf_device *device)
{
    return device->description;
}

static const char *versions(const rf_device *device)
{
    pthread_mutex_lock(&lock);
    if (!*device->versions)
        describe_versions((rf_device *)device);
    pthread_mutex_unlock(&lock);
    return device->versions;
}

static rf_status alloc(rf_device *device, size_t bytes, void **out, rf_error *err)
{
    *out = NULL;
    RF_TRY(rf_cuda_enter(device, err));
    cudaError_t e = cudaMalloc(out, bytes ? bytes : 1);
    if (e == cudaErrorMemoryAllocation) {
        size_t free_bytes = 0, all = 0;
        (void)cudaGetLastError();
        (void)cudaMemGetInfo(&free_bytes, &all);
        return rf_fail(err, RF_ERR_MEMORY,
                       "no memory for %zu bytes on GPU %d (%s): %zu of %zu are free", bytes,
                       device->ordinal, device->props.name, free_bytes, all);
    }
    return rf_cuda_check(device, e, "cudaMalloc", err);
}

static void free_memory(rf_device *device, void *ptr)
{
    if (ptr && rf_cuda_enter(device, NULL) == RF_OK)
        (void)rf_cuda_check(device, cudaFree(ptr), "cudaFree", NULL);
}

static rf_status upload_stream(rf_device *device, cudaStream_t *out, rf_error *err)
{
    rf_status status = RF_OK;
    pthread_mutex_lock(&lock);
    if (!device->uploads)
        status = rf_cuda_check(device,
                               cudaStreamCreateWithFlags(&device->uploads, cudaStreamNonBlocking),
                               "cudaStreamCreateWithFlags", err);
    *out = device->uploads;
    pthread_mutex_unlock(&lock);
    return status;
}

/* Not cudaMemcpy: that may return before the bytes are there, and orders only with the legacy
 * stream, whose use would also spoil what other threads capture from blocking streams. */
static rf_status upload(rf_device *device, void *dst, const void *src, size_t bytes, rf_error *err)
{
    cudaStream_t stream;
    RF_TRY(rf_cuda_enter(device, err));
    RF_TRY(upload_stream(device, &stream, err));
    RF_CUDA(device, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice, stream));
    RF_CUDA(device, cudaStreamSynchronize(stream));
    return RF_OK;
}

const rf_device_ops rf_cuda_device_ops = {
    .open = open_device,
    .close = close_device,
    .describe = describe,
    .versions = versions,
    .alloc = alloc,
    .free = free_memory,
    .upload = upload,
    .stream_create = rf_cuda_stream_create,
    .stream_destroy = rf_cuda_stream_destroy,
    .copy = rf_cuda_copy,
    .wait = rf_cuda_wait,
    .record_begin = rf_cuda_record_begin,
    .record_external = rf_cuda_record_external,
    .record_end = rf_cuda_record_end,
    .update_begin = rf_cuda_update_begin,
    .update_end = rf_cuda_update_end,
    .replay = rf_cuda_replay,
    .recording_destroy = rf_cuda_recording_destroy,
    .mark = rf_cuda_mark,
    .mark_ms = rf_cuda_mark_ms,
    .annotate = rf_cuda_annotate,
};
