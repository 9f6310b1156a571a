/* SPDX-License-Identifier: Apache-2.0
 *
 * Launching, and the small questions that every family's `can` and `run` ask.
 */
#include "kernels/cuda/stream.h"

#include <string.h>

/* abi.h repeats the numbers of enums.def, which .cu files must not include. */
_Static_assert((int)RF_CUDA_ACT_NONE == RF_ACT_NONE && (int)RF_CUDA_ACT_RELU == RF_ACT_RELU &&
                   (int)RF_CUDA_ACT_LEAKY == RF_ACT_LEAKY &&
                   (int)RF_CUDA_ACT_CLAMP == RF_ACT_CLAMP &&
                   (int)RF_CUDA_ACT_SIGMOID == RF_ACT_SIGMOID &&
                   (int)RF_CUDA_ACT_SILU == RF_ACT_SILU && (int)RF_CUDA_ACT_GELU == RF_ACT_GELU &&
                   (int)RF_CUDA_ACT_GELU_TANH == RF_ACT_GELU_TANH &&
                   (int)RF_CUDA_ACT_TANH == RF_ACT_TANH &&
                   (int)RF_CUDA_ACT_HARDSWISH == RF_ACT_HARDSWISH,
               "activation numbers");

rf_status rf_cuda_launch(const rf_kernel_call *call, const rf_cuda_entry *entry, dim3 grid,
                         dim3 block, size_t shared_bytes, const void *params, rf_error *err)
{
    if (!grid.x || !grid.y || !grid.z)
        return RF_OK;
    return rf_stream_launch(call->stream,
                            &(rf_cuda_node){.entry = entry,
                                            .grid = grid,
                                            .block = block,
                                            .shared_bytes = shared_bytes,
                                            .params = (void *)params},
                            err);
}

/* The limit is the kernel's, not the launch's: set to what one node needs, it would refuse another
 * node that needs more. So it is always raised to what the device has. */
rf_status rf_cuda_allow_shared(const rf_kernel_desc *desc, const rf_cuda_entry *entry,
                               size_t shared_bytes, rf_error *err)
{
    if (shared_bytes <= 48 * 1024)
        return RF_OK;
    size_t most = desc->device->props.sharedMemPerBlockOptin;
    if (shared_bytes > most)
        return rf_fail(err, RF_ERR_UNSUPPORTED, "%s needs %zu bytes of shared memory, %s has %zu",
                       entry->name, shared_bytes, desc->device->props.name, most);
    RF_TRY(rf_cuda_enter(desc->device, err));
    return rf_cuda_check(
        desc->device,
        cudaFuncSetAttribute(entry->fn, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)most),
        entry->name, err);
}

dim3 rf_cuda_grid(const rf_kernel_call *call, int64_t elements, int threads)
{
    enum { WAVES = 8 };
    int64_t most = (int64_t)call->stream->device->props.multiProcessorCount * WAVES *
                   (call->stream->device->props.maxThreadsPerMultiProcessor / threads);
    int64_t blocks = (elements + threads - 1) / threads;
    return (dim3){(unsigned)(blocks < most ? blocks : most), 1, 1};
}

int64_t rf_cuda_processors(const rf_kernel_call *call)
{
    return call->stream->device->props.multiProcessorCount;
}

size_t rf_cuda_shared_limit(const rf_device *device)
{
    return device ? device->props.sharedMemPerBlockOptin : 227 * 1024;
}

rf_cuda_act rf_cuda_act_of(rf_act kind, double alpha, double beta)
{
    return (rf_cuda_act){(int32_t)kind, (float)alpha, (float)beta};
}

bool rf_cuda_is_float(const rf_tensor *t)
{
    return !t || t->dtype == RF_F32 || t->dtype == RF_F16 || t->dtype == RF_BF16;
}

bool rf_cuda_same_float(const rf_tensor *const *tensors, int n)
{
    const rf_tensor *first = NULL;
    for (int i = 0; i < n; i++) {
        if (!rf_cuda_is_float(tensors[i]))
            return false;
        if (!tensors[i])
            continue;
        if (first && first->dtype != tensors[i]->dtype)
            return false;
        first = tensors[i];
    }
    return true;
}

bool rf_cuda_aligned16(const void *p)
{
    return (uintptr_t)p % 16 == 0;
}
