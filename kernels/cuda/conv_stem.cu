// SPDX-License-Identifier: Apache-2.0
//
// The first layer of image networks: up to 4 channels in, any layout (usually the caller's planar
// f32), many channels out, usually NHWC halves. The sum is short (27 products for RGB and 3x3), so
// writing the output bounds it, and x is read from global memory once: a block keeps its tile of x
// with the border as f32 in shared memory, beside all weights, and makes every output channel of
// its pixels. Products are f32: pixels are not rounded to halves.
//
// A thread makes 4 pixels x 8 channels (32 FFMA per 2 LDS.128 and 4 LDS); up to 4 neighbouring
// threads share pixels, which makes 64-byte stores of halves. The tile is 32 pixels wide and 8 (32
// and more output channels) to 32 high. RGB, 3x3, 32 channels: 7.5 KB of shared memory a block.
//
// ptxas 13.0, sm_90a: 116 registers, no spills, 2 blocks (16 warps) on an SM. RGB f32 to 32 halves
// moves 12 * 1.33 + 64 bytes per pixel.
#include "kernels/cuda/conv.cuh"
#include "kernels/cuda/conv_stem.h"

constexpr int PIXELS = RF_CUDA_STEM_PIXELS, CHANNELS = RF_CUDA_STEM_CHANNELS,
              WIDTH = RF_CUDA_STEM_WIDTH;

__device__ __forceinline__ void load_patch(const rf_cuda_conv_stem_params &p, int64_t n, int32_t y0,
                                           int32_t x0, float *patch)
{
    const int32_t plane = p.patch_h * p.patch_w;
    for (int32_t i = threadIdx.x; i < p.ic * plane; i += blockDim.x) {
        const int32_t c = i / plane, row = (i - c * plane) / p.patch_w;
        int32_t y = y0 + row, x = x0 + i - c * plane - row * p.patch_w;
        float v = 0;
        if (conv_map(p.pad_mode, y, p.ay.in) && conv_map(p.pad_mode, x, p.ax.in))
            v = rf_load_as_float(p.x.data, p.x.dtype, conv_offset(p.x, n, c, y, x));
        rf_shared_store(patch + i, v);
    }
}

// Adds all products of 8 channels (from `weights`) and this thread's pixels.
__device__ __forceinline__ void sum_window(const rf_cuda_conv_stem_params &p, const float *patch,
                                           const int32_t (&at)[PIXELS], const float *weights,
                                           float (&sum)[PIXELS][CHANNELS])
{
    for (int32_t c = 0; c < p.ic; c++)
        for (int32_t ky = 0; ky < p.ay.taps; ky++) {
            const float *row = patch + (c * p.patch_h + ky * p.ay.step) * p.patch_w;
            for (int32_t kx = 0; kx < p.ax.taps; kx++, weights += p.oc_padded) {
                const float4 a = rf_shared_load((const float4 *)weights);
                const float4 b = rf_shared_load((const float4 *)weights + 1);
                const float w[CHANNELS] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
#pragma unroll
                for (int i = 0; i < PIXELS; i++) {
                    const float x = rf_shared_load(row + at[i] + kx * p.ax.step);
#pragma unroll
                    for (int o = 0; o < CHANNELS; o++)
                        sum[i][o] += x * w[o];
                }
            }
        }
}

__global__ void __launch_bounds__(RF_CUDA_STEM_THREADS, 2)
    conv_stem(const rf_cuda_conv_stem_params p)
{
    const int32_t n_weights = p.ic * p.ay.taps * p.ax.taps * p.oc_padded;
    float *weights =
        (float *)RF_SHARED((n_weights + p.ic * p.patch_h * p.patch_w) * (int)sizeof(float));
    float *patch = weights + n_weights;
    const int32_t tile_row = blockIdx.x / p.tiles_x, image = tile_row / p.tiles_y;
    const int32_t y0 = (tile_row - image * p.tiles_y) * p.tile_h;
    const int32_t x0 = ((int32_t)blockIdx.x - tile_row * p.tiles_x) * WIDTH;
    const int32_t o0 = threadIdx.x % p.lanes_o * CHANNELS, pixel0 = threadIdx.x / p.lanes_o;
    for (int32_t i = threadIdx.x * 4; i < n_weights; i += blockDim.x * 4)
        rf_shared_store((float4 *)(weights + i), rf_load((const float4 *)(p.weights + i)));
    load_patch(p, image, y0 * p.ay.stride + p.ay.start, x0 * p.ax.stride + p.ax.start, patch);
    __syncthreads();

    int32_t at[PIXELS], m[PIXELS];
#pragma unroll
    for (int i = 0; i < PIXELS; i++) {
        m[i] = pixel0 + i * (RF_CUDA_STEM_THREADS / p.lanes_o);
        at[i] = m[i] / WIDTH * p.ay.stride * p.patch_w + m[i] % WIDTH * p.ax.stride;
    }
    for (int32_t o = o0; o < p.oc; o += p.lanes_o * CHANNELS) {
        float sum[PIXELS][CHANNELS];
#pragma unroll
        for (int i = 0; i < PIXELS; i++)
#pragma unroll
            for (int k = 0; k < CHANNELS; k++)
                sum[i][k] = p.bias ? rf_load(p.bias + o + k) : 0.0f;
        sum_window(p, patch, at, weights + o, sum);
#pragma unroll
        for (int i = 0; i < PIXELS; i++) {
            const int32_t y = y0 + m[i] / WIDTH, x = x0 + m[i] % WIDTH;
            if (y >= p.ay.out || x >= p.ax.out)
                continue;
            conv_output(p.out, image, o, p.oc, y, x, sum[i]);
        }
    }
}

extern "C" const rf_cuda_entry rf_cuda_conv_stem_entries[RF_CUDA_CONV_STEM_ENTRIES] = {
    RF_ENTRY("conv_stem", rf_cuda_conv_stem_params, conv_stem),
};
