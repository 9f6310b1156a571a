/* SPDX-License-Identifier: Apache-2.0
 *
 * Eight neighbouring channels of an NHWC tensor as one thread's unit of work: 16 bytes of a half
 * dtype, 32 of f32. Loading and converting are apart, so that loads can be under way together.
 */
#ifndef RF_CUDA_ROW8_CUH
#define RF_CUDA_ROW8_CUH

#include "kernels/cuda/device.cuh"

template <class T> struct rf_row8 {
    static constexpr int QUADS = sizeof(T) / 2;
    uint4 q[QUADS];
};

template <class T> __device__ __forceinline__ rf_row8<T> rf_row8_load(const T *p)
{
    rf_row8<T> v;
    for (int i = 0; i < rf_row8<T>::QUADS; i++)
        v.q[i] = rf_load((const uint4 *)p + i);
    return v;
}
template <class T>
__device__ __forceinline__ void rf_row8_unpack(const rf_row8<T> &v, float (&f)[8])
{
    T h[8];
    memcpy((void *)h, &v, sizeof h);
    for (int i = 0; i < 8; i++)
        f[i] = rf_to_float(h[i]);
}
template <class T> __device__ __forceinline__ void rf_row8_store(T *p, const float (&f)[8])
{
    T h[8];
    rf_row8<T> v;
    for (int i = 0; i < 8; i++)
        h[i] = rf_from_float<T>(f[i]);
    memcpy((void *)&v, h, sizeof v);
    for (int i = 0; i < rf_row8<T>::QUADS; i++)
        rf_store((uint4 *)p + i, v.q[i]);
}
#endif
