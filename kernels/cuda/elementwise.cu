/* SPDX-License-Identifier: Apache-2.0
 *
 * Elementwise maths over any strides and float dtypes. One thread per element in a grid-stride
 * loop: these kernels are bound by memory, so the arithmetic is written for exactness, not for
 * speed.
 */
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/elementwise.h"

__global__ void unary(const rf_cuda_unary_params p)
{
    for (int64_t i = rf_thread_index(); i < p.nd.elements; i += rf_thread_step()) {
        int64_t at[2];
        rf_nd_offsets(p.nd, i, at);
        float x = rf_load_as_float(p.nd.data[1], p.nd.dtype[1], at[1]);
        rf_store_from_float(p.nd.data[0], p.nd.dtype[0], at[0],
                            rf_apply_act({p.kind, p.alpha, p.beta}, x));
    }
}

extern "C" const rf_cuda_entry rf_cuda_elementwise_entries[RF_CUDA_ELEMENTWISE_ENTRIES] = {
    RF_ENTRY("unary", rf_cuda_unary_params, unary),
};
