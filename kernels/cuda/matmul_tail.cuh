/* SPDX-License-Identifier: Apache-2.0
 *
 * What all matrix product kernels do around the sum: where a batch lies, and the fused tail.
 */
#ifndef RF_CUDA_MATMUL_TAIL_CUH
#define RF_CUDA_MATMUL_TAIL_CUH

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/matmul.h"

/* Offsets of one batch in the five matrices. */
struct batch_offsets {
    int64_t a, b, bias, res, y;
};
__device__ __forceinline__ batch_offsets batch_at(const rf_cuda_matmul_params &p, int64_t z)
{
    batch_offsets at = {0, 0, 0, 0, 0};
    for (int d = p.batch_rank - 1; d >= 0; d--) {
        int64_t q = z / p.batch_dims[d], r = z - q * p.batch_dims[d];
        at.a += r * p.a.batch[d];
        at.b += r * p.b.batch[d];
        at.bias += r * p.bias.batch[d];
        at.res += r * p.res.batch[d];
        at.y += r * p.y.batch[d];
        z = q;
    }
    return at;
}

/* One element of y out of its sum. */
__device__ __forceinline__ void finish(const rf_cuda_matmul_params &p, const batch_offsets &at,
                                       int64_t row, int64_t col, float sum)
{
    float v = p.alpha * sum;
    if (p.bias.data)
        v += rf_load_as_float(p.bias.data, p.bias.dtype,
                              at.bias + row * p.bias.row + col * p.bias.col);
    v = rf_apply_act(p.act, v);
    if (p.res.data)
        v += rf_load_as_float(p.res.data, p.res.dtype, at.res + row * p.res.row + col * p.res.col);
    rf_store_from_float((void *)p.y.data, p.y.dtype, at.y + row * p.y.row + col * p.y.col, v);
}
#endif
