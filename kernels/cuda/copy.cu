/* SPDX-License-Identifier: Apache-2.0
 *
 * The strided copy behind every op that only moves elements. Three kinds of kernels:
 *   units    a thread moves one unit of 1 to 16 bytes: rows that are dense on both sides in the
 *            largest units that fit, anything else element by element, neighbouring threads at
 *            neighbours of the destination
 *   convert  the same with a change of dtype, 4 elements a thread where both sides are dense
 *   turn     the two sides are dense along different dims (NCHW <-> NHWC): a tile goes through
 *            shared memory, so that warps read and write 128 bytes in a row on both sides
 *
 * A turning tile is 32 x 32 words of 4 bytes (4.2 KB, 8 blocks per SM; 1, 2 and 8 byte elements
 * have as many words of their own size); 2-byte elements go in pairs, two by two turned in
 * registers: a word of the tile then holds two neighbours of the destination. Rows of the tile are
 * 33 words apart, so neither the column writes nor the row reads meet in a bank. Every element is
 * read and written once. 256 threads, 4 words each under way; 40 registers or fewer (ptxas,
 * sm_90a).
 */
#include "kernels/cuda/copy.h"

#include "kernels/cuda/element.cuh"

/* ---- units, conversions ------------------------------------------------------------------------
 */
template <class Unit> __global__ void __launch_bounds__(256) units(const rf_cuda_copy_params p)
{
    for (int64_t i = rf_thread_index(); i < p.nd.elements; i += rf_thread_step()) {
        int64_t at[2];
        rf_nd_offsets(p.nd, i, at);
        rf_store((Unit *)p.nd.data[0] + at[0], rf_load((const Unit *)p.nd.data[1] + at[1]));
    }
}

template <class Via> __global__ void __launch_bounds__(256) convert(const rf_cuda_copy_params p)
{
    for (int64_t i = rf_thread_index(); i < p.nd.elements; i += rf_thread_step()) {
        int64_t at[2];
        rf_nd_offsets(p.nd, i, at);
        rf_store_element(p.nd.data[0], p.nd.dtype[0], at[0],
                         rf_load_element<Via>(p.nd.data[1], p.nd.dtype[1], at[1]));
    }
}

__global__ void __launch_bounds__(256) convert_integer(const rf_cuda_copy_params p)
{
    for (int64_t i = rf_thread_index(); i < p.nd.elements; i += rf_thread_step()) {
        int64_t at[2];
        rf_nd_offsets(p.nd, i, at);
        int64_t v = rf_load_integer(p.nd.data[1], p.nd.dtype[1], at[1]);
        rf_store_integer(p.nd.data[0], p.nd.dtype[0], at[0],
                         rf_saturate_integer(v, p.nd.dtype[1], p.nd.dtype[0]));
    }
}

__device__ __forceinline__ bool is_half(int32_t dtype)
{
    return dtype == RF_F16 || dtype == RF_BF16;
}

/* Four elements of up to 4 bytes in one access. */
__device__ __forceinline__ void load_4(float (&v)[4], const void *data, int32_t dtype, int64_t i)
{
    if (dtype == RF_F32) {
        rf_load_vector(v, data, dtype, i);
    } else if (is_half(dtype) || dtype == RF_I16 || dtype == RF_U16) {
        uint2 u = rf_load((const uint2 *)((const uint16_t *)data + i));
#pragma unroll
        for (int k = 0; k < 4; k++) {
            uint16_t h = (uint16_t)((k < 2 ? u.x : u.y) >> 16 * (k % 2));
            v[k] = is_half(dtype)    ? rf_widen_half(h, dtype)
                   : dtype == RF_U16 ? (float)h
                                     : (float)(int16_t)h;
        }
    } else {
        uint32_t u = rf_load((const uint32_t *)((const uint8_t *)data + i));
#pragma unroll
        for (int k = 0; k < 4; k++) {
            uint8_t b = (uint8_t)(u >> 8 * k);
            v[k] = dtype == RF_I8     ? (float)(int8_t)b
                   : dtype == RF_BOOL ? (float)(b != 0)
                                      : (float)b;
        }
    }
}

__device__ __forceinline__ void store_4(void *data, int32_t dtype, int64_t i, const float (&v)[4])
{
    if (dtype == RF_F32) {
        rf_store_vector(data, dtype, i, v);
    } else if (is_half(dtype) || dtype == RF_I16 || dtype == RF_U16) {
        uint32_t h[4];
#pragma unroll
        for (int k = 0; k < 4; k++)
            h[k] =
                is_half(dtype) ? rf_narrow_half(v[k], dtype) : (uint16_t)rf_to_integer(v[k], dtype);
        uint2 u = {h[0] | h[1] << 16, h[2] | h[3] << 16};
        rf_store((uint2 *)((uint16_t *)data + i), u);
    } else {
        uint32_t u = 0;
#pragma unroll
        for (int k = 0; k < 4; k++)
            u |= (uint32_t)(uint8_t)rf_to_integer(v[k], dtype) << 8 * k;
        rf_store((uint32_t *)((uint8_t *)data + i), u);
    }
}

/* A step is four elements, dense on both sides. */
__global__ void __launch_bounds__(256) convert_4(const rf_cuda_copy_params p)
{
    for (int64_t i = rf_thread_index(); i < p.nd.elements; i += rf_thread_step()) {
        int64_t at[2];
        float v[4];
        rf_nd_offsets(p.nd, i, at);
        load_4(v, p.nd.data[1], p.nd.dtype[1], at[1]);
        store_4(p.nd.data[0], p.nd.dtype[0], at[0], v);
    }
}

/* ---- turns -------------------------------------------------------------------------------------
 * How words are turned: a source word holds FROM neighbours along b, a destination word TO
 * neighbours along a; `turn` makes FROM destination words out of TO source words. */
template <class W> struct Whole {
    typedef W Source;
    typedef W Dest;
    enum { FROM = 1, TO = 1 };
    static __device__ __forceinline__ void turn(const W (&s)[1], W (&d)[1]) { d[0] = s[0]; }
};

struct Pairs {
    typedef uint32_t Source;
    typedef uint32_t Dest;
    enum { FROM = 2, TO = 2 };
    static __device__ __forceinline__ void turn(const uint32_t (&s)[2], uint32_t (&d)[2])
    {
        d[0] = (s[0] & 0xffff) | s[1] << 16;
        d[1] = s[0] >> 16 | (s[1] & 0xffff0000u);
    }
};

template <int DTYPE> struct Narrow {
    typedef float Source;
    typedef uint32_t Dest;
    enum { FROM = 1, TO = 2 };
    static __device__ __forceinline__ void turn(const float (&s)[2], uint32_t (&d)[1])
    {
        d[0] = rf_narrow_half(s[0], DTYPE) | (uint32_t)rf_narrow_half(s[1], DTYPE) << 16;
    }
};

template <int DTYPE> struct Widen {
    typedef uint32_t Source;
    typedef float Dest;
    enum { FROM = 2, TO = 1 };
    static __device__ __forceinline__ void turn(const uint32_t (&s)[1], float (&d)[2])
    {
        d[0] = rf_widen_half((uint16_t)s[0], DTYPE);
        d[1] = rf_widen_half((uint16_t)(s[0] >> 16), DTYPE);
    }
};

enum { SIDE = 32, ROWS = 8, PITCH = SIDE + 1 };

/* Tile row k * SIDE + j holds b = j * FROM + k, so that the lanes of a warp, which have
 * neighbouring source words, write to neighbouring rows. */
template <class T>
__device__ __forceinline__ void read_tile(const rf_cuda_turn_params &p, int64_t from, int64_t a0,
                                          int64_t b0, typename T::Dest *tile)
{
    const int lane = threadIdx.x;
    const int64_t b = b0 + lane * T::FROM;
    typename T::Source s[SIDE / ROWS][T::TO];
#pragma unroll
    for (int j = 0; j < SIDE / ROWS; j++)
#pragma unroll
        for (int k = 0; k < T::TO; k++) {
            int64_t a = a0 + (j * ROWS + threadIdx.y) * T::TO + k;
            s[j][k] = {};
            if (a < p.a && b < p.b)
                s[j][k] = rf_load((const typename T::Source *)p.outer.data[1] +
                                  (from + a * p.from_a + b) / T::FROM);
        }
#pragma unroll
    for (int j = 0; j < SIDE / ROWS; j++) {
        typename T::Dest d[T::FROM];
        T::turn(s[j], d);
#pragma unroll
        for (int k = 0; k < T::FROM; k++)
            rf_shared_store(tile + (k * SIDE + lane) * PITCH + j * ROWS + threadIdx.y, d[k]);
    }
}

template <class T>
__device__ __forceinline__ void write_tile(const rf_cuda_turn_params &p, int64_t to, int64_t a0,
                                           int64_t b0, const typename T::Dest *tile)
{
    const int lane = threadIdx.x;
    const int64_t a = a0 + lane * T::TO;
#pragma unroll
    for (int j = 0; j < SIDE / ROWS * T::FROM; j++) {
        const int row = j * ROWS + threadIdx.y;
        int64_t b = b0 + row % SIDE * T::FROM + row / SIDE;
        if (a < p.a && b < p.b)
            rf_store((typename T::Dest *)p.outer.data[0] + (to + b * p.to_b + a) / T::TO,
                     rf_shared_load(tile + row * PITCH + lane));
    }
}

template <class T> __global__ void __launch_bounds__(256) turn(const rf_cuda_turn_params p)
{
    auto *tile = (typename T::Dest *)RF_SHARED(T::FROM * SIDE * PITCH * sizeof(typename T::Dest));
    const int64_t per = p.tiles_a * p.tiles_b, n = p.outer.elements * per;
    for (int64_t i = blockIdx.x; i < n; i += gridDim.x) {
        int64_t at[2], left = i % per;
        rf_nd_offsets(p.outer, i / per, at);
        const int64_t a0 = left % p.tiles_a * (SIDE * T::TO);
        const int64_t b0 = left / p.tiles_a * (SIDE * T::FROM);
        read_tile<T>(p, at[1], a0, b0, tile);
        __syncthreads();
        write_tile<T>(p, at[0], a0, b0, tile);
        __syncthreads();
    }
}

extern "C" const rf_cuda_entry rf_cuda_copy_entries[RF_CUDA_COPY_ENTRIES] = {
    RF_ENTRY("copy_1_byte", rf_cuda_copy_params, units<uint8_t>),
    RF_ENTRY("copy_2_bytes", rf_cuda_copy_params, units<uint16_t>),
    RF_ENTRY("copy_4_bytes", rf_cuda_copy_params, units<uint32_t>),
    RF_ENTRY("copy_8_bytes", rf_cuda_copy_params, units<uint2>),
    RF_ENTRY("copy_16_bytes", rf_cuda_copy_params, units<uint4>),
    RF_ENTRY("convert", rf_cuda_copy_params, convert<float>),
    RF_ENTRY("convert_4", rf_cuda_copy_params, convert_4),
    RF_ENTRY("convert_f64", rf_cuda_copy_params, convert<double>),
    RF_ENTRY("convert_integer", rf_cuda_copy_params, convert_integer),
    RF_ENTRY("turn_8", rf_cuda_turn_params, turn<Whole<uint8_t>>),
    RF_ENTRY("turn_16", rf_cuda_turn_params, turn<Whole<uint16_t>>),
    RF_ENTRY("turn_32", rf_cuda_turn_params, turn<Whole<uint32_t>>),
    RF_ENTRY("turn_64", rf_cuda_turn_params, turn<Whole<uint64_t>>),
    RF_ENTRY("turn_16_pairs", rf_cuda_turn_params, turn<Pairs>),
    RF_ENTRY("turn_f32_f16", rf_cuda_turn_params, turn<Narrow<RF_F16>>),
    RF_ENTRY("turn_f32_bf16", rf_cuda_turn_params, turn<Narrow<RF_BF16>>),
    RF_ENTRY("turn_f16_f32", rf_cuda_turn_params, turn<Widen<RF_F16>>),
    RF_ENTRY("turn_bf16_f32", rf_cuda_turn_params, turn<Widen<RF_BF16>>),
};
