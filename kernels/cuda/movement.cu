/* SPDX-License-Identifier: Apache-2.0
 *
 * Pad and gather: copies whose source is found element by element, or is a fill value. As in
 * copy.cu a thread moves a unit of 1 to 16 bytes, neighbouring threads at neighbours of the
 * output; 16 bytes for NHWC images padded in H and W, and for rows of an embedding table. Each byte
 * of the output is written once, each of the input read once (repeats come out of L1).
 */
#include "kernels/cuda/movement.h"

#include "kernels/cuda/element.cuh"

/* Where coordinate i of a dim of length n is read from; -1: the fill value. */
__device__ __forceinline__ int64_t padded(int mode, int64_t i, int64_t n)
{
    if (i >= 0 && i < n)
        return i;
    if (mode == RF_CUDA_PAD_ZEROS)
        return -1;
    if (mode == RF_CUDA_PAD_EDGE)
        return i < 0 ? 0 : n - 1;
    return i < 0 ? -i : 2 * (n - 1) - i;
}

/* Offsets of step i in the output and in the source; false: it is a fill value. */
__device__ __forceinline__ bool find(const rf_cuda_pad_params &p, int64_t i, int64_t *to,
                                     int64_t *from)
{
    const bool small = p.nd.elements <= INT32_MAX;
    bool inside = true;
    *to = *from = 0;
    for (int d = p.nd.rank - 1; d >= 0; d--) {
        int64_t dim = p.nd.dims[d], q = 0, at = i;
        if (d > 0) {
            q = small ? (uint32_t)i / (uint32_t)dim : i / dim;
            at = i - q * dim;
        }
        int64_t source = padded(p.mode, at - p.begin[d], p.size[d]);
        inside = inside && source >= 0;
        *to += at * p.nd.strides[0][d];
        *from += source * p.nd.strides[1][d];
        i = q;
    }
    return inside;
}

__device__ __forceinline__ bool find(const rf_cuda_gather_params &p, int64_t i, int64_t *to,
                                     int64_t *from)
{
    int64_t at[3];
    rf_nd_offsets(p.nd, i, at);
    int64_t index = rf_load_integer(p.nd.data[2], p.nd.dtype[2], at[2]);
    bool inside = index >= -p.n && index < p.n;
    *to = at[0];
    *from = inside ? at[1] + (index < 0 ? index + p.n : index) * p.step : 0;
    return inside;
}

template <class Unit, class P> __global__ void __launch_bounds__(256) units(const P p)
{
    Unit fill;
    memcpy(&fill, p.fill, sizeof fill);
    for (int64_t i = rf_thread_index(); i < p.nd.elements; i += rf_thread_step()) {
        int64_t to, from;
        Unit v = fill;
        if (find(p, i, &to, &from))
            v = rf_load((const Unit *)p.nd.data[1] + from);
        rf_store((Unit *)p.nd.data[0] + to, v);
    }
}

/* f32 to a half or back. */
template <class P> __global__ void __launch_bounds__(256) convert(const P p)
{
    for (int64_t i = rf_thread_index(); i < p.nd.elements; i += rf_thread_step()) {
        int64_t to, from;
        if (find(p, i, &to, &from))
            rf_store_element(p.nd.data[0], p.nd.dtype[0], to,
                             rf_load_element<float>(p.nd.data[1], p.nd.dtype[1], from));
        else if (p.nd.dtype[0] == RF_F32)
            rf_store((uint32_t *)p.nd.data[0] + to, p.fill[0]);
        else
            rf_store((uint16_t *)p.nd.data[0] + to, (uint16_t)p.fill[0]);
    }
}

#define ENTRIES(name, P)                                                                           \
    RF_ENTRY(name "_1_byte", P, units<uint8_t, P>),                                                \
        RF_ENTRY(name "_2_bytes", P, units<uint16_t, P>),                                          \
        RF_ENTRY(name "_4_bytes", P, units<uint32_t, P>),                                          \
        RF_ENTRY(name "_8_bytes", P, units<uint2, P>),                                             \
        RF_ENTRY(name "_16_bytes", P, units<uint4, P>), RF_ENTRY(name "_convert", P, convert<P>)

extern "C" const rf_cuda_entry rf_cuda_movement_entries[RF_CUDA_MOVEMENT_ENTRIES] = {
    ENTRIES("pad", rf_cuda_pad_params),
    ENTRIES("gather", rf_cuda_gather_params),
};
