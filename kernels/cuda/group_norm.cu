/* SPDX-License-Identifier: Apache-2.0
 *
 * Group, instance and batch norm.
 *
 * Small groups: one launch, a block of 256 for each group of each image, which reads it for the
 * mean, for the variance about it, and to write.
 *
 * Large ones would leave most of the device idle, so they take three: group_parts measures every
 * channel in parts of its space (two readings of x, the second from cache in the planar kernel; one
 * in the NHWC kernel, which sums about the part's first pixel instead of a mean not yet known),
 * group_affine joins parts and channels of a group (Chan, Golub, LeVeque 1979), apply_affine
 * writes. Memory sees x twice and y once. Sums have the same order on every run.
 *
 * group_parts_nhwc: a lane has 8 neighbouring channels (16 bytes of half) of every rows-th pixel of
 * its part; the block's rows are joined in shared memory.
 */
#include "kernels/cuda/group_norm.h"
#include "kernels/cuda/row.cuh"

__device__ __forceinline__ float channel_value(const rf_cuda_channel_vector &v, int64_t c,
                                               float absent)
{
    return v.data ? rf_load_as_float(v.data, v.dtype, c * v.stride) : absent;
}

__global__ void __launch_bounds__(256) group_norm(const rf_cuda_group_norm_params p)
{
    float *shared = (float *)RF_SHARED(8 * sizeof(float));
    const rf_cuda_nd &nd = p.group;
    int64_t image = blockIdx.x / p.groups;
    int64_t first = blockIdx.x % p.groups * (p.channels / p.groups); /* channel */
    int64_t x0 = image * p.x_strides[0] + first * p.x_strides[1];
    int64_t y0 = image * p.y_strides[0] + first * p.y_strides[1];
    float mean = 0, squares = 0;
    for (int pass = 0; pass < 2; pass++) {
        float sum = 0;
        for (int64_t i = threadIdx.x; i < nd.elements; i += 256) {
            int64_t at[2];
            rf_row_offsets(nd, i, at);
            float d = rf_load_as_float(nd.data[1], nd.dtype[1], x0 + at[1]) - mean;
            sum += pass ? d * d : d;
        }
        sum = rf_join_sum<256>(sum, shared) / (float)nd.elements;
        (pass ? squares : mean) = sum;
    }
    float scale = 1 / sqrtf(squares + p.eps);
    for (int64_t i = threadIdx.x; i < nd.elements; i += 256) {
        int64_t at[3];
        rf_row_offsets(nd, i, at);
        int64_t c = first + at[2];
        float v = (rf_load_as_float(nd.data[1], nd.dtype[1], x0 + at[1]) - mean) * scale;
        v = v * channel_value(p.w, c, 1) + channel_value(p.b, c, 0);
        rf_store_from_float(nd.data[0], nd.dtype[0], y0 + at[0], rf_apply_act(p.act, v));
    }
}

/* One part of one channel of one image, space dense or not. */
__global__ void __launch_bounds__(256) group_parts(const rf_cuda_group_parts_params p)
{
    float *shared = (float *)RF_SHARED(8 * sizeof(float));
    const rf_cuda_nd &nd = p.space;
    int64_t plane = blockIdx.x / p.parts, part = blockIdx.x % p.parts;
    int64_t x0 = plane / p.channels * p.x_strides[0] + plane % p.channels * p.x_strides[1];
    int64_t begin = part * p.part, end = begin + p.part;
    end = end < nd.elements ? end : nd.elements;
    float mean = 0, squares = 0;
    for (int pass = 0; pass < 2; pass++) {
        float sum = 0;
#pragma unroll 4
        for (int64_t i = begin + threadIdx.x; i < end; i += 256) {
            int64_t at[1];
            rf_row_offsets(nd, i, at);
            float d = rf_load_as_float(nd.data[0], nd.dtype[0], x0 + at[0]) - mean;
            sum += pass ? d * d : d;
        }
        sum = rf_join_sum<256>(sum, shared);
        if (pass)
            squares = sum;
        else
            mean = sum / (float)(end - begin);
    }
    if (threadIdx.x == 0)
        rf_store((float2 *)p.out + blockIdx.x, float2{mean, squares});
}

/* One dim of space, channels dense in pieces of 8: blockIdx.x is the part of an image, y a group of
 * 64 channels. 8 lanes by 32 pixels. */
__global__ void __launch_bounds__(256) group_parts_nhwc(const rf_cuda_group_parts_params p)
{
    float *shared = (float *)RF_SHARED(2 * 64 * 33 * sizeof(float));
    int lane = threadIdx.x % 8, row = threadIdx.x / 8;
    int64_t image = blockIdx.x / p.parts, part = blockIdx.x % p.parts;
    int64_t c = blockIdx.y * 64 + lane * 8, begin = part * p.part, end = begin + p.part;
    end = end < p.space.elements ? end : p.space.elements;
    int64_t step = p.space.rank ? p.space.strides[0][0] : 0, base = image * p.x_strides[0] + c;
    float pivot[8] = {}, sum[8] = {}, squares[8] = {};
    if (c < p.channels) {
        rf_load8(pivot, p.space.data[0], p.space.dtype[0], base + begin * step);
#pragma unroll 2
        for (int64_t i = begin + row; i < end; i += 32) {
            float v[8];
            rf_load8(v, p.space.data[0], p.space.dtype[0], base + i * step);
#pragma unroll
            for (int k = 0; k < 8; k++) {
                float d = v[k] - pivot[k];
                sum[k] += d;
                squares[k] += d * d;
            }
        }
    }
#pragma unroll
    for (int k = 0; k < 8; k++) {
        rf_shared_store(shared + (lane * 8 + k) * 33 + row, sum[k]);
        rf_shared_store(shared + (64 + lane * 8 + k) * 33 + row, squares[k]);
    }
    __syncthreads();
    int channel = threadIdx.x;
    if (channel >= 64 || blockIdx.y * 64 + channel >= p.channels)
        return;
    float s = 0, q = 0, n = (float)(end - begin);
    for (int i = 0; i < 32; i++) {
        s += rf_shared_load(shared + channel * 33 + i);
        q += rf_shared_load(shared + (64 + channel) * 33 + i);
    }
    c = blockIdx.y * 64 + channel;
    float first = rf_load_as_float(p.space.data[0], p.space.dtype[0],
                                   image * p.x_strides[0] + c + begin * step);
    q -= s * s / n;
    rf_store((float2 *)p.out + (image * p.channels + c) * p.parts + part,
             float2{first + s / n, q < 0 ? 0.0f : q});
}

/* A block for each group of each image. */
__global__ void __launch_bounds__(256) group_affine(const rf_cuda_group_affine_params p)
{
    float *shared = (float *)RF_SHARED(8 * sizeof(float));
    int64_t of_group = p.channels / p.groups, n = of_group * p.parts;
    int64_t first = (int64_t)blockIdx.x * of_group; /* image * channels + channel */
    const float2 *from = (const float2 *)p.parts_of + first * p.parts;
    int64_t last = p.space - (p.parts - 1) * p.part; /* elements of an image's last part */
    float total = (float)(of_group * p.space), mean = 0, squares = 0;
    for (int pass = 0; pass < 2; pass++) {
        float sum = 0;
        for (int64_t i = threadIdx.x; i < n; i += 256) {
            float2 v = rf_load(from + i);
            float count = (float)(i % p.parts == p.parts - 1 ? last : p.part);
            float d = v.x - mean;
            sum += pass ? v.y + count * d * d : count * d;
        }
        sum = rf_join_sum<256>(sum, shared) / total;
        (pass ? squares : mean) = sum;
    }
    float scale = 1 / sqrtf(squares + p.eps);
    for (int64_t i = threadIdx.x; i < of_group; i += 256) {
        int64_t c = first % p.channels + i;
        rf_store((float4 *)(p.out + first + i),
                 float4{mean, scale * channel_value(p.w, c, 1), channel_value(p.b, c, 0), 0});
    }
}

__device__ __forceinline__ float affine(const rf_cuda_apply_affine_params &p, int64_t channel,
                                        float v)
{
    float4 a = rf_load((const float4 *)(p.affine + channel));
    return rf_apply_act(p.act, (v - a.x) * a.y + a.z);
}

__global__ void __launch_bounds__(256) apply_affine(const rf_cuda_apply_affine_params p)
{
    const rf_cuda_nd &nd = p.nd;
    if (p.by8) {
        int64_t along =
            nd.strides[2][nd.rank - 1]; /* 1: neighbours are channels, 0: they are not */
        for (int64_t i = rf_thread_index(); i < nd.elements / 8; i += rf_thread_step()) {
            int64_t at[4];
            rf_row_offsets(nd, i * 8, at);
            int64_t channel = at[3] * p.channels + at[2];
            float v[8];
            rf_load8(v, nd.data[1], nd.dtype[1], at[1]);
#pragma unroll
            for (int k = 0; k < 8; k++)
                v[k] = affine(p, channel + k * along, v[k]);
            rf_store8(nd.data[0], nd.dtype[0], at[0], v);
        }
        return;
    }
    for (int64_t i = rf_thread_index(); i < nd.elements; i += rf_thread_step()) {
        int64_t at[4];
        rf_row_offsets(nd, i, at);
        float v = rf_load_as_float(nd.data[1], nd.dtype[1], at[1]);
        rf_store_from_float(nd.data[0], nd.dtype[0], at[0],
                            affine(p, at[3] * p.channels + at[2], v));
    }
}

__global__ void __launch_bounds__(256) batch_norm(const rf_cuda_batch_norm_params p)
{
    const rf_cuda_nd &nd = p.nd;
    for (int64_t i = rf_thread_index(); i < nd.elements; i += rf_thread_step()) {
        int64_t at[3];
        rf_row_offsets(nd, i, at);
        float v = rf_load_as_float(nd.data[1], nd.dtype[1], at[1]);
        v = (v - channel_value(p.mean, at[2], 0)) /
            sqrtf(channel_value(p.variance, at[2], 0) + p.eps);
        v = v * channel_value(p.scale, at[2], 0) + channel_value(p.bias, at[2], 0);
        rf_store_from_float(nd.data[0], nd.dtype[0], at[0], v);
    }
}

extern "C" const rf_cuda_entry rf_cuda_group_norm_entries[RF_CUDA_GROUP_NORM_ENTRIES] = {
    RF_ENTRY("group_norm", rf_cuda_group_norm_params, group_norm),
    RF_ENTRY("group_parts", rf_cuda_group_parts_params, group_parts),
    RF_ENTRY("group_parts_nhwc", rf_cuda_group_parts_params, group_parts_nhwc),
    RF_ENTRY("group_affine", rf_cuda_group_affine_params, group_affine),
    RF_ENTRY("apply_affine", rf_cuda_apply_affine_params, apply_affine),
    RF_ENTRY("batch_norm", rf_cuda_batch_norm_params, batch_norm),
};
