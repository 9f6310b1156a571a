/* SPDX-License-Identifier: Apache-2.0
 *
 * Pixel shuffle of NHWC images. The strided copy would move single elements, because what lies
 * side by side in one image (the channels of fine, the positions of coarse) is apart in the other.
 * Here a thread takes 16 bytes of fine channels at all R * R positions of one coarse pixel: R * R
 * vectors that follow each other in coarse and are one vector each at R * R pixels of fine. Between
 * the two they are turned in registers: element c * R*R + q of coarse is element c of vector q.
 *
 * Every access has 16 bytes; R * R of them are under way per thread. ptxas (sm_90a): 48 registers
 * for R = 2, up to 78 for 3, up to 128 (4 blocks of 128 threads per SM) for 4.
 */
#include "kernels/cuda/shuffle.h"

#include "kernels/cuda/image.cuh"

/* Element e of n vectors that follow each other. */
template <class U, int N>
__device__ __forceinline__ uint32_t element(const uint32_t (&words)[N], int e)
{
    return sizeof(U) == 4 ? words[e] : words[e / 2] >> 16 * (e % 2) & 0xffff;
}

/* to[i] = from[source(i)] for all elements; from and to are words of the vectors. */
template <class U, int N, class F>
__device__ __forceinline__ void permute(uint32_t (&to)[N], const uint32_t (&from)[N], F source)
{
#pragma unroll
    for (int w = 0; w < N; w++)
        to[w] = sizeof(U) == 4
                    ? element<U>(from, source(w))
                    : element<U>(from, source(2 * w)) | element<U>(from, source(2 * w + 1)) << 16;
}

template <class U>
__device__ __forceinline__ void load_words(uint32_t *words, const void *data, int64_t i)
{
    uint4 v = rf_load((const uint4 *)((const U *)data + i));
    words[0] = v.x;
    words[1] = v.y;
    words[2] = v.z;
    words[3] = v.w;
}

template <class U>
__device__ __forceinline__ void store_words(void *data, int64_t i, const uint32_t *words)
{
    uint4 v = {words[0], words[1], words[2], words[3]};
    rf_store((uint4 *)((U *)data + i), v);
}

template <class U, int R, bool TO_FINE>
__global__ void __launch_bounds__(128, 4) shuffle(const rf_cuda_shuffle_params p)
{
    enum { V = 16 / sizeof(U), POSITIONS = R * R, WORDS = 4 * POSITIONS };
    const int64_t steps = rf_image_steps<V>(p.coarse);
    for (int64_t i = rf_thread_index(); i < steps; i += rf_thread_step()) {
        const rf_pixel at = rf_image_pixel<V>(p.coarse, i, steps);
        const int64_t coarse = rf_image_offset(p.coarse, at);
        const int64_t fine = rf_image_offset(p.fine, {at.n, at.c, at.y * R, at.x * R});
        uint32_t from[WORDS], to[WORDS];
#pragma unroll
        for (int q = 0; q < POSITIONS; q++)
            if (TO_FINE)
                load_words<U>(from + 4 * q, p.coarse.data, coarse + q * V);
            else
                load_words<U>(from + 4 * q, p.fine.data,
                              fine + q / R * p.fine.strides[2] + q % R * p.fine.strides[3]);
        if (TO_FINE)
            permute<U>(to, from, [](int e) { return e % V * POSITIONS + e / V; });
        else
            permute<U>(to, from, [](int e) { return e % POSITIONS * V + e / POSITIONS; });
#pragma unroll
        for (int q = 0; q < POSITIONS; q++)
            if (TO_FINE)
                store_words<U>(p.fine.data,
                               fine + q / R * p.fine.strides[2] + q % R * p.fine.strides[3],
                               to + 4 * q);
            else
                store_words<U>(p.coarse.data, coarse + q * V, to + 4 * q);
    }
}

#define ENTRIES(name, to_fine)                                                                     \
    RF_ENTRY(name "_16_bits_2", rf_cuda_shuffle_params, shuffle<uint16_t, 2, to_fine>),            \
        RF_ENTRY(name "_16_bits_3", rf_cuda_shuffle_params, shuffle<uint16_t, 3, to_fine>),        \
        RF_ENTRY(name "_16_bits_4", rf_cuda_shuffle_params, shuffle<uint16_t, 4, to_fine>),        \
        RF_ENTRY(name "_32_bits_2", rf_cuda_shuffle_params, shuffle<uint32_t, 2, to_fine>),        \
        RF_ENTRY(name "_32_bits_3", rf_cuda_shuffle_params, shuffle<uint32_t, 3, to_fine>),        \
        RF_ENTRY(name "_32_bits_4", rf_cuda_shuffle_params, shuffle<uint32_t, 4, to_fine>)

extern "C" const rf_cuda_entry rf_cuda_shuffle_entries[RF_CUDA_SHUFFLE_ENTRIES] = {
    ENTRIES("shuffle", true),
    ENTRIES("unshuffle", false),
};
