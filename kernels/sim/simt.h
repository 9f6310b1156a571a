/* SPDX-License-Identifier: Apache-2.0
 *
 * The emulated GPU's side of kernels/cuda/device.cuh: what nvcc and the hardware supply, for g++.
 * Every CUDA thread is a fiber; a block runs on one OS thread, blocks run beside each other. A
 * fiber runs until it meets a barrier (block or warp), so the order of threads between barriers is
 * the scheduler's choice. Warp operations are an exchange through a slot per lane between two
 * points where the whole warp meets.
 */
#ifndef RF_SIM_SIMT_H
#define RF_SIM_SIMT_H

#include <atomic>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

/* CUDA's headers define these as nothing for a host compiler. */
#undef __global__
#undef __device__
#undef __shared__
#undef __launch_bounds__
#undef __forceinline__
#define __global__
#define __device__
#define __launch_bounds__(...)
#define __forceinline__ inline

namespace simt
{

/* What rf_cuda_entry.fn points at: how to call a kernel with its parameter block. */
struct Kernel {
    void (*call)(const void *params);
    size_t params_bytes;
};
template <class P, void (*K)(P)> struct KernelOf {
    static void call(const void *params) { K(*static_cast<const P *>(params)); }
    static constexpr Kernel object = {call, sizeof(P)};
};

enum State : uint8_t { READY, AT_BLOCK, AT_WARP, DONE };
struct Copy {
    void *to;
    const void *from;
    uint8_t bytes;
    bool valid;
};
struct Fiber {
    void *sp;
    char *stack;
    uint3 tid;
    uint32_t lane, warp, parity;
    State state;
    std::vector<Copy> copies;      /* cp.async under way, in order */
    std::vector<size_t> group_end; /* per committed group: how many copies it ends at */
};
struct Warp {
    alignas(64) unsigned char slot[2][32][64];
    uint32_t arrived, size, done;
};
struct Block {
    dim3 block_dim, grid_dim;
    uint3 index;
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    uint32_t arrived, done;
    void *scheduler_sp;
    unsigned char *shared;
    size_t shared_bytes;
    const Kernel *kernel;
    const void *params;
};
/* __thread, not thread_local: no wrapper function, which UBSan would report. */
extern __thread Block *block;
extern __thread Fiber *self;

void block_wait();
void warp_wait();
/* Runs a whole grid; returns when it is done. */
void run(const Kernel *kernel, const char *name, dim3 grid, dim3 block_dim, size_t shared_bytes,
         const void *params);
[[noreturn]] void fault(const char *what);

/* The value that lane `src` gives; all lanes meet here. */
template <class T> T exchange(unsigned mask, T v, uint32_t src)
{
    static_assert(std::is_trivially_copyable<T>::value && sizeof(T) <= 64, "");
    if (mask != 0xffffffffu)
        fault("warp function with a mask that is not full");
    Warp &w = block->warps[self->warp];
    uint32_t p = self->parity;
    self->parity ^= 1;
    memcpy(w.slot[p][self->lane], &v, sizeof v);
    warp_wait();
    T r;
    memcpy(&r, w.slot[p][src < w.size ? src : self->lane], sizeof r);
    return r;
}
void ldmatrix_x4(uint32_t (&r)[4], const void *row, bool transposed);
void mma_16816(float (&d)[4], const float (&a)[8], const float (&b)[4]);
void cp_async(void *shared, const void *global, int bytes, bool valid);
void cp_commit();
void cp_wait(int n);

} // namespace simt

#define threadIdx (simt::self->tid)
#define blockIdx (simt::block->index)
#define blockDim (simt::block->block_dim)
#define gridDim (simt::block->grid_dim)

#define RF_ENTRY(name, P, ...)                                                                     \
    {                                                                                              \
        name, &simt::KernelOf<P, __VA_ARGS__>::object, sizeof(P)                                   \
    }
#define RF_SHARED(bytes) (simt::block->shared)

inline void __syncthreads()
{
    simt::block_wait();
}
inline void __syncwarp(unsigned = 0xffffffffu)
{
    simt::warp_wait();
}
template <class T> T __shfl_xor_sync(unsigned mask, T v, int m)
{
    return simt::exchange(mask, v, simt::self->lane ^ (uint32_t)m);
}
template <class T> T __shfl_sync(unsigned mask, T v, int src)
{
    return simt::exchange(mask, v, (uint32_t)src & 31);
}
template <class T> T __shfl_down_sync(unsigned mask, T v, unsigned d)
{
    return simt::exchange(mask, v, simt::self->lane + d);
}
template <class T> T __shfl_up_sync(unsigned mask, T v, unsigned d)
{
    return simt::exchange(mask, v, simt::self->lane >= d ? simt::self->lane - d : simt::self->lane);
}
unsigned __ballot_sync(unsigned mask, int predicate);
inline int __any_sync(unsigned mask, int predicate)
{
    return __ballot_sync(mask, predicate) != 0;
}

template <class T> T rf_load(const T *p)
{
    return *p;
}
template <class T> void rf_store(T *p, T v)
{
    *p = v;
}
template <class T> T rf_shared_load(const T *p)
{
    return *p;
}
template <class T> void rf_shared_store(T *p, T v)
{
    *p = v;
}
float rf_atomic_add(float *p, float v);
inline void rf_cp_async16(void *shared, const void *global)
{
    simt::cp_async(shared, global, 16, true);
}
inline void rf_cp_async16_zfill(void *shared, const void *global, bool valid)
{
    simt::cp_async(shared, global, 16, valid);
}
inline void rf_cp_async4_zfill(void *shared, const void *global, bool valid)
{
    simt::cp_async(shared, global, 4, valid);
}
inline void rf_cp_commit()
{
    simt::cp_commit();
}
template <int N> void rf_cp_wait()
{
    simt::cp_wait(N);
}
inline void rf_ldmatrix_x4(uint32_t (&r)[4], const void *row)
{
    simt::ldmatrix_x4(r, row, false);
}
inline void rf_ldmatrix_x4_trans(uint32_t (&r)[4], const void *row)
{
    simt::ldmatrix_x4(r, row, true);
}
template <class T> float rf_half_bits(uint32_t bits)
{
    uint16_t low = (uint16_t)bits;
    T h;
    memcpy((void *)&h, &low, 2);
    return (float)h;
}
template <class T> void rf_mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
    float fa[8], fb[4];
    for (int r = 0; r < 4; r++) {
        fa[2 * r] = rf_half_bits<T>(a[r]);
        fa[2 * r + 1] = rf_half_bits<T>(a[r] >> 16);
    }
    for (int r = 0; r < 2; r++) {
        fb[2 * r] = rf_half_bits<T>(b[r]);
        fb[2 * r + 1] = rf_half_bits<T>(b[r] >> 16);
    }
    simt::mma_16816(d, fa, fb);
}
#endif
