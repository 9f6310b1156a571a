// SPDX-License-Identifier: Apache-2.0
//
// Convolutions of NHWC images by tiles: the input pixels of a tile, with their border, are brought
// to shared memory once and every filter tap reads them there at another offset. An implicit GEMM
// that gathers its operand from global memory for every tap would read each pixel kh * kw times
// from L2, which at 32 and 64 channels is the bottleneck (3x3, 32 channels, 1080p: 1.2 GB).
//
// A block takes `bm` pixels (2^log_tw wide) x `bn` output channels, walks the input channels in
// chunks of 64 bytes and, for each chunk, the filter taps: one step is one tap of one chunk. Blocks
// are persistent: they go through tiles blockIdx.x, + gridDim.x, ... and load the next tile's
// pixels while they calculate. Weights come in the very order and bytes that a step needs.
//
//   stream    weights through a ring of 4 steps, 3 ahead; pixels through a ring of 2 to 4 chunks
//   resident  all weights of the o block stay in shared memory (32 channels, 3x3: 18 KiB; 64: 72)
//   few       resident, 4 output channels: the last layer of an image network
//
// Shared memory: a pixel's 64 bytes at a pitch of 80, so that 8 consecutive pixels (the rows of an
// ldmatrix) lie in different banks, and all taps are offsets from one address per 16 pixels.
// Weights of mma: rows of 64 bytes per output channel, 16-byte pieces exchanged by (o / 2) % 4 for
// the same reason. A 16x16 tile of a 3x3 window is 324 pixels, 26 KB a chunk.
//
// MMA, x and y of one half type, weights rounded to it: a warp makes 64 pixels x 32 channels with
// mma.m16n8k16 in 64 accumulators: per 16 channels of input 4 + 2 ldmatrix.x4 (24 clocks of shared
// memory) feed 16 mma (about 26 clocks at the mma.sync rate of sm_90).
// FMA, anything else, f32 weights and arithmetic: a thread makes 8 pixels x 8 channels.
//
// The result leaves the registers through bias, activation and residual to 16-byte stores; halves
// are exchanged within quads first, so that a lane has 8 channels of one pixel. Other layouts and
// dtypes of y are stored element by element.
//
// ptxas 13.0, sm_90a, no spills (32 or 16 bytes of stack: conv_act's copy):
//   mma stream    125 registers, up to 512 threads; 3x3 to 128 channels: 256 pixels x 128 in 84,608
//                 bytes of shared memory, one block of 16 warps on an SM
//   mma resident  123 registers, up to 256 threads; 3x3 32 -> 32: 256 pixels x 32 in 70,272 bytes,
//                 3 blocks of 4 warps; 3x3 64 -> 64: 256 x 64 in 125,568 bytes, one of 8 warps
//   fma           128 registers, 256 threads; few: 79 to 89 registers, 64 threads
// Global bytes per output pixel, 3x3, C -> C halves, 16x16 tiles: 2 C * 1.27 in (border), 2 C out,
// and streamed weights 18 C * C / 256.
#include "kernels/cuda/conv.cuh"
#include "kernels/cuda/conv_tile.h"

typedef rf_cuda_conv_tile_params Params;
constexpr int CHUNK = RF_CUDA_CONV_CHUNK, PITCH = RF_CUDA_CONV_PITCH;

struct Tile {
    int32_t image, y, x; // first output pixel
};
__device__ __forceinline__ Tile tile_at(const Params &p, int32_t i)
{
    const uint32_t row = (uint32_t)i / p.tiles_x, image = row / p.tiles_y;
    return {(int32_t)image, (int32_t)(row - image * p.tiles_y) * (p.bm >> p.log_tw),
            (int32_t)(i - row * p.tiles_x) << p.log_tw};
}

// Byte offset in a patch of what pixel m of the tile reads with its first tap.
__device__ __forceinline__ uint32_t patch_at(const Params &p, int32_t m)
{
    return ((m >> p.log_tw) * p.ay.stride * p.patch_w + (m & ((1 << p.log_tw) - 1)) * p.ax.stride) *
           PITCH;
}

// Starts loading a chunk of the tile's input pixels; what is padding becomes zero.
__device__ __forceinline__ void load_patch(const Params &p, const Tile &tile, int32_t group,
                                           int32_t chunk, unsigned char *to)
{
    const int32_t y0 = tile.y * p.ay.stride + p.ay.start, x0 = tile.x * p.ax.stride + p.ax.start;
    const int32_t q = threadIdx.x % 4, at = chunk * CHUNK + q * 16;
    const char *from = (const char *)p.x + group * (int64_t)p.group_bytes + at +
                       (int64_t)tile.image * p.ay.in * p.ax.in * p.pixel_bytes;
    const bool inside = at < p.group_bytes;
    for (int32_t i = threadIdx.x / 4; i < p.patch_pixels; i += blockDim.x / 4) {
        const int32_t row = (int32_t)((uint64_t)(uint32_t)i * p.patch_magic >> 32);
        int32_t y = y0 + row, x = x0 + i - row * p.patch_w;
        const bool valid =
            inside && conv_map(p.pad_mode, y, p.ay.in) && conv_map(p.pad_mode, x, p.ax.in);
        rf_cp_async16_zfill(to + i * PITCH + q * 16,
                            valid ? from + (int64_t)(y * p.ax.in + x) * p.pixel_bytes : p.x, valid);
    }
}

// Starts loading bytes (a multiple of 16) that lie as they are needed.
__device__ __forceinline__ void load_weights(const char *from, unsigned char *to, int32_t bytes)
{
    for (int32_t i = threadIdx.x * 16; i < bytes; i += blockDim.x * 16)
        rf_cp_async16(to + i, from + i);
}

// Where the results of a thread belong.
struct Place {
    Tile tile;
    int32_t channel, end; // first of the block, end of the group
    const float *bias;    // of the block, or NULL
};
struct Pixel {
    int32_t y, x;
    bool inside;
};
__device__ __forceinline__ Pixel pixel_at(const Params &p, const Tile &tile, int32_t m)
{
    Pixel at = {tile.y + (m >> p.log_tw), tile.x + (m & ((1 << p.log_tw) - 1)), false};
    at.inside = at.y < p.ay.out && at.x < p.ax.out;
    return at;
}

template <class T> __device__ __forceinline__ uint32_t pack2(float a, float b);
template <> __device__ __forceinline__ uint32_t pack2<__half>(float a, float b)
{
    const __half2 h = __floats2half2_rn(a, b);
    uint32_t r;
    memcpy(&r, &h, 4);
    return r;
}
template <> __device__ __forceinline__ uint32_t pack2<__nv_bfloat16>(float a, float b)
{
    const __nv_bfloat162 h = __floats2bfloat162_rn(a, b);
    uint32_t r;
    memcpy(&r, &h, 4);
    return r;
}
template <class T> __device__ __forceinline__ void unpack2(uint32_t pair, float &a, float &b)
{
    T h[2];
    memcpy((void *)h, &pair, 4);
    a = rf_to_float(h[0]);
    b = rf_to_float(h[1]);
}

// 4x4 transpose within quads: lane t's r[k] becomes lane k's r[t].
__device__ __forceinline__ void quad_transpose(uint32_t (&r)[4])
{
    const bool odd = threadIdx.x & 1, high = threadIdx.x & 2;
#pragma unroll
    for (int k = 0; k < 4; k += 2) {
        const uint32_t got = __shfl_xor_sync(RF_FULL_MASK, odd ? r[k] : r[k + 1], 1);
        r[k] = odd ? got : r[k];
        r[k + 1] = odd ? r[k + 1] : got;
    }
#pragma unroll
    for (int k = 0; k < 2; k++) {
        const uint32_t got = __shfl_xor_sync(RF_FULL_MASK, high ? r[k] : r[k + 2], 2);
        r[k] = high ? got : r[k];
        r[k + 2] = high ? r[k + 2] : got;
    }
}

// A warp's 64 pixels x 32 channels on tensor cores.
template <class T> struct MmaTile {
    static constexpr bool FMA = false;
    float sum[4][4][4];
    uint32_t a_at[4], b_at[2]; // this lane's rows for ldmatrix, from the start of patch and step
    int32_t m0, n0;

    __device__ __forceinline__ explicit MmaTile(const Params &p)
    {
        const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        const uint32_t warps_n = p.bn / 32;
        m0 = warp / warps_n * 64;
        n0 = warp % warps_n * 32;
#pragma unroll
        for (int i = 0; i < 4; i++)
            a_at[i] = patch_at(p, m0 + i * 16 + lane % 16) + lane / 16 * 16;
        const uint32_t o = n0 + lane % 8 + lane / 16 * 8, piece = lane / 8 % 2;
#pragma unroll
        for (int k = 0; k < 2; k++)
            b_at[k] = o * CHUNK + ((2 * k + piece) ^ (o / 2 % 4)) * 16;
    }

    __device__ __forceinline__ void clear()
    {
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    sum[i][j][e] = 0;
    }

    // One step; `pieces` of 16 bytes of every pixel are not only zeros.
    __device__ __forceinline__ void step(const Params &p, const unsigned char *a,
                                         const unsigned char *b, int32_t pieces)
    {
#pragma unroll
        for (int k = 0; k < 2; k++) {
            if (2 * k >= pieces)
                break;
            uint32_t weights[4][2];
#pragma unroll
            for (int j = 0; j < 4; j += 2) {
                uint32_t r[4];
                rf_ldmatrix_x4(r, b + b_at[k] + j * 8 * CHUNK);
                weights[j][0] = r[0];
                weights[j][1] = r[1];
                weights[j + 1][0] = r[2];
                weights[j + 1][1] = r[3];
            }
#pragma unroll
            for (int i = 0; i < 4; i++) {
                uint32_t pixels[4];
                rf_ldmatrix_x4(pixels, a + a_at[i] + k * 32);
#pragma unroll
                for (int j = 0; j < 4; j++)
                    rf_mma<T>(sum[i][j], pixels, weights[j]);
            }
        }
    }

    // 8 channels of a pixel: 8j + 2t, + 1 of each block j of eight.
    __device__ __forceinline__ void row(const Params &p, const Place &at, int i, int half,
                                        float (&v)[8])
    {
        const int32_t t = threadIdx.x % 4;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            float2 bias = {0, 0};
            if (at.bias)
                bias = rf_load((const float2 *)(at.bias + n0 + 8 * j + 2 * t));
            v[2 * j] = sum[i][j][2 * half] + bias.x;
            v[2 * j + 1] = sum[i][j][2 * half + 1] + bias.y;
        }
    }

    // The residual of row(), from channels 8t.. of the lane's pixel.
    __device__ __forceinline__ void load_res(const rf_cuda_conv_image &res, const Place &at,
                                             const Pixel &pixel, int32_t c, float (&r)[8])
    {
        uint32_t pairs[4] = {0, 0, 0, 0};
        if (pixel.inside && c < at.end) {
            const uint4 raw =
                rf_load((const uint4 *)((const T *)res.data +
                                        conv_offset(res, at.tile.image, c, pixel.y, pixel.x)));
            memcpy(pairs, &raw, 16);
        }
        quad_transpose(pairs);
#pragma unroll
        for (int j = 0; j < 4; j++)
            unpack2<T>(pairs[j], r[2 * j], r[2 * j + 1]);
    }

    __device__ __forceinline__ void store_vectors(const rf_cuda_conv_image &y, const Place &at,
                                                  const Pixel &pixel, int32_t c,
                                                  const float (&v)[8])
    {
        uint32_t pairs[4];
#pragma unroll
        for (int j = 0; j < 4; j++)
            pairs[j] = pack2<T>(v[2 * j], v[2 * j + 1]);
        quad_transpose(pairs);
        if (pixel.inside && c < at.end)
            rf_store((uint4 *)((T *)y.data + conv_offset(y, at.tile.image, c, pixel.y, pixel.x)),
                     make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]));
    }

    // Any strides and dtypes; a loop that stays one, because it is rare.
    __device__ __forceinline__ void store_strided(const Params &p, const Place &at,
                                                  const Pixel &pixel, int32_t c,
                                                  const float (&v)[8])
    {
        float copy[8];
#pragma unroll
        for (int k = 0; k < 8; k++)
            copy[k] = v[k];
#pragma unroll 1
        for (int k = 0; k < 8; k++) {
            float one[1] = {copy[k]};
            if (pixel.inside)
                conv_output(p.out, at.tile.image, c + k / 2 * 8 + k % 2, at.end, pixel.y, pixel.x,
                            one);
        }
    }

    __device__ __forceinline__ void store(const Params &p, const Place &at)
    {
        const int32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, c = at.channel + n0;
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const Pixel pixel = pixel_at(p, at.tile, m0 + i * 16 + half * 8 + g);
                float v[8], r[8] = {0, 0, 0, 0, 0, 0, 0, 0};
                row(p, at, i, half, v);
                if (!p.out.vectors) {
                    store_strided(p, at, pixel, c + 2 * t, v);
                    continue;
                }
                if (p.out.res.data)
                    load_res(p.out.res, at, pixel, c + 8 * t, r);
                conv_finish(p.out, v, r);
                store_vectors(p.out.y, at, pixel, c + 8 * t, v);
            }
    }
};

template <int N> struct Bytes;
template <> struct Bytes<4> {
    typedef uint32_t Vector;
};
template <> struct Bytes<8> {
    typedef uint2 Vector;
};
template <> struct Bytes<16> {
    typedef uint4 Vector;
};

// A thread's PX pixels x 4 G channels in f32, K input channels at a time (with 8 x 8 results 4
// would spill registers). lanes_o lanes lie side by side along the channels (16-byte reads of
// weights without conflicts), the others along consecutive pixels.
template <class T, int G, int PX, int K> struct FmaTile {
    static constexpr bool FMA = true;
    typedef typename Bytes<K * sizeof(T)>::Vector Vector;
    float sum[PX][4 * G];
    uint32_t a_at[PX];
    int32_t m0, m_step, n0, n_step; // pixels m0 + i * m_step; channels n0 + g * n_step + 0..3

    __device__ __forceinline__ explicit FmaTile(const Params &p)
    {
        const int32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, lanes_o = p.bn / (4 * G);
        m_step = 32 / lanes_o;
        m0 = warp * m_step * PX + lane / lanes_o;
        n_step = lanes_o * 4;
        n0 = lane % lanes_o * 4;
#pragma unroll
        for (int i = 0; i < PX; i++)
            a_at[i] = patch_at(p, m0 + i * m_step);
    }

    __device__ __forceinline__ void clear()
    {
#pragma unroll
        for (int i = 0; i < PX; i++)
#pragma unroll
            for (int o = 0; o < 4 * G; o++)
                sum[i][o] = 0;
    }

    __device__ __forceinline__ static void load(const unsigned char *from, float (&x)[K])
    {
        const Vector raw = rf_shared_load((const Vector *)from);
        T part[K];
        memcpy((void *)part, &raw, sizeof raw);
#pragma unroll
        for (int e = 0; e < K; e++)
            x[e] = rf_to_float(part[e]);
    }

    __device__ __forceinline__ void step(const Params &p, const unsigned char *a,
                                         const unsigned char *b, int32_t pieces)
    {
#pragma unroll 1
        for (int32_t k = 0; k < pieces * 16 / (int)sizeof(T); k += K) {
            float x[PX][K];
#pragma unroll
            for (int i = 0; i < PX; i++)
                load(a + a_at[i] + k * sizeof(T), x[i]);
#pragma unroll
            for (int e = 0; e < K; e++)
#pragma unroll
                for (int g = 0; g < G; g++) {
                    const float4 w = rf_shared_load((const float4 *)b + (k + e) * (p.bn / 4) +
                                                    (n0 + g * n_step) / 4);
#pragma unroll
                    for (int i = 0; i < PX; i++) {
                        sum[i][4 * g] += x[i][e] * w.x;
                        sum[i][4 * g + 1] += x[i][e] * w.y;
                        sum[i][4 * g + 2] += x[i][e] * w.z;
                        sum[i][4 * g + 3] += x[i][e] * w.w;
                    }
                }
        }
    }

    __device__ __forceinline__ void store_four(const Params &p, const Place &at, const Pixel &pixel,
                                               int32_t n, float (&v)[4])
    {
        const int32_t c = at.channel + n;
        if (!pixel.inside || c >= at.end)
            return;
        if (at.bias) {
            const float4 bias = rf_load((const float4 *)(at.bias + n));
            v[0] += bias.x;
            v[1] += bias.y;
            v[2] += bias.z;
            v[3] += bias.w;
        }
        conv_output(p.out, at.tile.image, c, at.end, pixel.y, pixel.x, v);
    }

    __device__ __forceinline__ void store(const Params &p, const Place &at)
    {
#pragma unroll
        for (int i = 0; i < PX; i++) {
            const Pixel pixel = pixel_at(p, at.tile, m0 + i * m_step);
#pragma unroll
            for (int g = 0; g < G; g++) {
                float v[4] = {sum[i][4 * g], sum[i][4 * g + 1], sum[i][4 * g + 2],
                              sum[i][4 * g + 3]};
                store_four(p, at, pixel, n0 + g * n_step, v);
            }
        }
    }
};

// What to load next: steps in the order in which they are calculated, AHEAD of them.
template <bool RESIDENT> struct Loader {
    const Params &p;
    const char *weights;
    unsigned char *ring, *patches;
    int32_t group, tile, patch_bytes, step_bytes;
    int32_t chunk = 0, tap = 0, weight_slot = 0, patch_slot = 0;

    __device__ __forceinline__ void next()
    {
        const int32_t taps = p.ay.taps * p.ax.taps;
        if (taps && tile < p.n_tiles) {
            if (!RESIDENT) {
                load_weights(weights + (int64_t)(chunk * taps + tap) * step_bytes,
                             ring + weight_slot * step_bytes, step_bytes);
                weight_slot = weight_slot == RF_CUDA_CONV_AHEAD ? 0 : weight_slot + 1;
            }
            if (tap == 0) {
                load_patch(p, tile_at(p, tile), group, chunk, patches + patch_slot * patch_bytes);
                patch_slot = patch_slot == p.patches - 1 ? 0 : patch_slot + 1;
            }
            if (RESIDENT || ++tap == taps) {
                tap = 0;
                if (++chunk == p.chunks) {
                    chunk = 0;
                    tile += gridDim.x;
                }
            }
        }
        rf_cp_commit();
    }
};

template <class Core, bool RESIDENT> __device__ __forceinline__ void conv_tile(const Params &p)
{
    constexpr int AHEAD = RESIDENT ? 1 : RF_CUDA_CONV_AHEAD;
    const int32_t taps = p.ay.taps * p.ax.taps, step_bytes = p.step_bytes;
    const int32_t weight_bytes = (RESIDENT ? p.chunks * taps : AHEAD + 1) * step_bytes;
    const int32_t patch_bytes = p.patch_pixels * PITCH;
    unsigned char *shared = RF_SHARED(weight_bytes + p.patches * patch_bytes);
    const int32_t group = blockIdx.y / p.o_blocks, o_block = blockIdx.y - group * p.o_blocks;
    const Place block = {{0, 0, 0},
                         group * p.group_oc + o_block * p.bn,
                         (group + 1) * p.group_oc,
                         p.bias ? p.bias + (int64_t)blockIdx.y * p.bn : p.bias};
    Loader<RESIDENT> loader = {
        p,           (const char *)p.weights + (int64_t)blockIdx.y * p.chunks * taps * step_bytes,
        shared,      shared + weight_bytes,
        group,       (int32_t)blockIdx.x,
        patch_bytes, step_bytes};
    if (RESIDENT)
        load_weights(loader.weights, shared, weight_bytes);
    for (int i = 0; i < AHEAD; i++)
        loader.next();

    Core core(p);
    int32_t weight_slot = 0, patch_slot = 0;
    for (int32_t tile = blockIdx.x; tile < p.n_tiles; tile += gridDim.x) {
        core.clear();
        for (int32_t chunk = 0; chunk < p.chunks && taps; chunk++) {
            const int32_t left = (p.group_bytes - chunk * CHUNK) / 16, pieces = left < 4 ? left : 4;
            const unsigned char *patch = loader.patches + patch_slot * patch_bytes;
            const unsigned char *weights = shared + chunk * taps * step_bytes;
            for (int32_t ky = 0; ky < p.ay.taps; ky++)
                for (int32_t kx = 0; kx < p.ax.taps; kx++) {
                    if (!RESIDENT || (ky == 0 && kx == 0)) {
                        // All have the step's bytes, and none still reads those of the step before.
                        rf_cp_wait<AHEAD - 1>();
                        __syncthreads();
                        loader.next();
                    }
                    if (!RESIDENT)
                        weights = shared + weight_slot * step_bytes;
                    core.step(p, patch + (ky * p.ay.step * p.patch_w + kx * p.ax.step) * PITCH,
                              weights, pieces);
                    weights += step_bytes;
                    weight_slot = weight_slot == AHEAD ? 0 : weight_slot + 1;
                }
            patch_slot = patch_slot == p.patches - 1 ? 0 : patch_slot + 1;
        }
        Place at = block;
        at.tile = tile_at(p, tile);
        core.store(p, at);
    }
}

template <class T> __global__ void __launch_bounds__(512, 1) mma_stream(const Params p)
{
    conv_tile<MmaTile<T>, false>(p);
}
template <class T> __global__ void __launch_bounds__(256, 2) mma_resident(const Params p)
{
    conv_tile<MmaTile<T>, true>(p);
}
template <class T> __global__ void __launch_bounds__(256, 2) fma_stream(const Params p)
{
    conv_tile<FmaTile<T, 2, 8, 2>, false>(p);
}
template <class T> __global__ void __launch_bounds__(64, 8) fma_few(const Params p)
{
    conv_tile<FmaTile<T, 1, 4, 4>, true>(p);
}

extern "C" const rf_cuda_entry rf_cuda_conv_tile_entries[RF_CUDA_CONV_TILE_ENTRIES] = {
    RF_ENTRY("conv_fma_f32", Params, fma_stream<float>),
    RF_ENTRY("conv_fma_f32_few", Params, fma_few<float>),
    RF_ENTRY("conv_fma_f16", Params, fma_stream<__half>),
    RF_ENTRY("conv_fma_f16_few", Params, fma_few<__half>),
    RF_ENTRY("conv_fma_bf16", Params, fma_stream<__nv_bfloat16>),
    RF_ENTRY("conv_fma_bf16_few", Params, fma_few<__nv_bfloat16>),
    RF_ENTRY("conv_mma_f16", Params, mma_stream<__half>),
    RF_ENTRY("conv_mma_f16_resident", Params, mma_resident<__half>),
    RF_ENTRY("conv_mma_bf16", Params, mma_stream<__nv_bfloat16>),
    RF_ENTRY("conv_mma_bf16_resident", Params, mma_resident<__nv_bfloat16>),
};
