/* SPDX-License-Identifier: Apache-2.0
 *
 * What the CUDA runtime says about the first device, as JSON. With --cudnn: the one line from which
 * cuDNN plans for that device on a machine without it (tests/data/cuda/<card>.json; keys and types
 * are cuDNN's, and its parser wants integers where others would write true). Linked with the
 * emulator's runtime (sim_gpu_props) it is tested on machines without a GPU.
 */
#include <cuda_runtime_api.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int fail(const char *what, cudaError_t e)
{
    fprintf(stderr, "gpu_props: %s: %s\n", what, cudaGetErrorString(e));
    return 1;
}

/* Values that are in the attributes only; -1: this runtime does not know. */
static int attribute(enum cudaDeviceAttr which)
{
    int value = -1;
    if (cudaDeviceGetAttribute(&value, which, 0) != cudaSuccess) {
        (void)cudaGetLastError();
        return -1;
    }
    return value;
}

static json_t *triple(const int v[3])
{
    return json_pack("[i, i, i]", v[0], v[1], v[2]);
}

static json_t *cudnn_form(const struct cudaDeviceProp *p, int driver)
{
    json_t *o = json_pack("{s:i, s:i, s:i, s:I, s:o, s:o}", "cudaDeviceId", 0, "deviceVer",
                          p->major * 100 + p->minor * 10, "driverVer", driver, "totalGlobalMem",
                          (json_int_t)p->totalGlobalMem, "maxGridSize", triple(p->maxGridSize),
                          "maxBlockSize", triple(p->maxThreadsDim));
    const struct {
        const char *key;
        json_int_t value;
    } numbers[] = {
        {"regsPerBlock", p->regsPerBlock},
        {"multiProcessorCount", p->multiProcessorCount},
        {"warpSize", p->warpSize},
        {"maxSharedMemoryPerBlock", (json_int_t)p->sharedMemPerBlock},
        {"maxSharedMemoryPerBlockOptin", (json_int_t)p->sharedMemPerBlockOptin},
        {"reservedSharedMemoryPerBlock", (json_int_t)p->reservedSharedMemPerBlock},
        {"maxRegistersPerSM", p->regsPerMultiprocessor},
        {"maxCtasPerSM", p->maxBlocksPerMultiProcessor},
        {"maxThreadsPerBlock", p->maxThreadsPerBlock},
        {"maxThreadsPerSM", p->maxThreadsPerMultiProcessor},
        {"pciDeviceId", p->pciDeviceID},
        {"isTccDriver", p->tccDriver},
        {"supportCoopLaunch", attribute(cudaDevAttrCooperativeLaunch)},
        {"smClockRateKHz", attribute(cudaDevAttrClockRate)},
        {"memClockRateKHz", attribute(cudaDevAttrMemoryClockRate)},
        {"l2CacheSize", p->l2CacheSize},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        json_object_set_new(o, numbers[i].key, json_integer(numbers[i].value));
    json_object_set_new(o, "deviceName", json_string(p->name));
    return o;
}

/* The rest of cudaDeviceProp that decides about speed. */
static json_t *all_form(const struct cudaDeviceProp *p, int driver)
{
    json_t *o = cudnn_form(p, driver);
    const struct {
        const char *key;
        json_int_t value;
    } numbers[] = {
        {"runtimeVer", CUDART_VERSION},
        {"sharedMemPerMultiprocessor", (json_int_t)p->sharedMemPerMultiprocessor},
        {"totalConstMem", (json_int_t)p->totalConstMem},
        {"persistingL2CacheMaxSize", p->persistingL2CacheMaxSize},
        {"accessPolicyMaxWindowSize", p->accessPolicyMaxWindowSize},
        {"memoryBusWidth", p->memoryBusWidth},
        {"asyncEngineCount", p->asyncEngineCount},
        {"ECCEnabled", p->ECCEnabled},
        {"concurrentKernels", p->concurrentKernels},
        {"unifiedAddressing", p->unifiedAddressing},
        {"managedMemory", p->managedMemory},
        {"pageableMemoryAccess", p->pageableMemoryAccess},
        {"memoryPoolsSupported", p->memoryPoolsSupported},
        {"clusterLaunch", p->clusterLaunch},
        {"integrated", p->integrated},
        {"pciBusId", p->pciBusID},
        {"pciDomainId", p->pciDomainID},
        {"computeMode", attribute(cudaDevAttrComputeMode)},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        json_object_set_new(o, numbers[i].key, json_integer(numbers[i].value));
    return o;
}

int main(int argc, char **argv)
{
    bool cudnn = argc == 2 && !strcmp(argv[1], "--cudnn");
    struct cudaDeviceProp p;
    int driver = 0;
    if (argc > 1 && !cudnn) {
        fprintf(stderr, "gpu_props [--cudnn]\n");
        return 2;
    }
    cudaError_t e = cudaDriverGetVersion(&driver);
    if (e != cudaSuccess)
        return fail("cudaDriverGetVersion", e);
    if ((e = cudaGetDeviceProperties(&p, 0)) != cudaSuccess)
        return fail("cudaGetDeviceProperties", e);
    json_t *o = cudnn ? cudnn_form(&p, driver) : all_form(&p, driver);
    bool ok = json_dumpf(o, stdout, cudnn ? JSON_COMPACT : JSON_INDENT(1)) == 0 && puts("") >= 0;
    json_decref(o);
    return ok ? 0 : 1;
}
