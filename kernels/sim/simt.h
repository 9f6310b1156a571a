/* SPDX-License-Identifier: Apache-2.0
 *
 * The emulated GPU's side of kernels/cuda/device.cuh: what nvcc and the hardware supply, for g++.
 * Every CUDA thread is a fiber; a block runs on one OS thread, blocks run beside each other. A
 * fiber runs until it meets a barrier (block or warp), so the order of threads between barriers is
 * the scheduler's choice. Warp operations are an exchange through a slot per lane between two
 * points where the whole warp meets.
 *
 * Where a card would fail, hang or read something else on another day, a thread faults: it stops
 * the grid and names itself (grid.h). Call sites are told apart by return addresses, hence
 * functions that must be inlined and others that must not.
 */
#ifndef RF_SIM_SIMT_H
#define RF_SIM_SIMT_H

#include <cstring>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <immintrin.h>
#include <type_traits>

#include "kernels/sim/grid.h"

/* CUDA's headers define these as nothing for a host compiler. */
#undef __global__
#undef __device__
#undef __shared__
#undef __launch_bounds__
#undef __forceinline__
#define __global__
#define __device__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))

namespace simt
{

template <class P, void (*K)(P)> void call(const void *params)
{
    K(*static_cast<const P *>(params));
}

struct Copy {
    void *to;
    const void *from;
    uint8_t bytes;
    bool valid;
};
struct Fiber {
    void *sp;
    char *stack; /* its lowest address */
    uint3 tid;
    uint32_t index, lane, warp, parity;
    void *asan_stack;
    std::vector<Copy> copies;      /* cp.async under way, in order */
    std::vector<size_t> group_end; /* per committed group: how many copies it ends at */
};
/* Masks are of lanes, `ready` excepted (simt.cc). */
struct Warp {
    alignas(64) unsigned char slot[2][32][64];
    uint32_t all, ready, at_block, at_warp, exited;
    int32_t time;         /* of the last barrier that it passed */
    const void *meeting;  /* call site of the warp function that lanes wait at */
    const char *function; /* and its name */
};
struct Requests;
/* Who touched which shared memory, and when (memory.cc). */
struct Shadow {
    static constexpr size_t n = 227 * 1024 / 2 + 4;
    int32_t now = 1, block_time = 1;
    int32_t written[n] = {}, read[n] = {}, read_elsewhere[n] = {};
};
struct Range {
    uintptr_t begin;
    size_t bytes;
};
struct Block {
    static constexpr size_t n_ranges = 64;
    ~Block();
    Range ranges[n_ranges]; /* live allocations, by page; empty while counting */
    dim3 block_dim, grid_dim;
    uint3 index;
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    uint32_t n_threads, n_warps, n_arrived, n_exited, ready_warps;
    int schedule_order;     /* simt.cc */
    uint32_t schedule_flip; /* 31: backwards */
    uint64_t random;
    const void *meeting; /* call site of the __syncthreads that threads wait at */
    void *scheduler_sp;
    unsigned char *shared;
    size_t shared_bytes;
    Shadow *shadow;
    Requests *requests; /* NULL: not counting */
    const Kernel *kernel;
    const void *params;
    Fault fault;
    char *stacks;
};
/* __thread, not thread_local: no wrapper function, which UBSan would report. */
#define RF_SIM_THREAD __thread __attribute__((tls_model("initial-exec")))
extern RF_SIM_THREAD Block *block;
extern RF_SIM_THREAD Fiber *self;

enum Access : uint8_t {
    LOAD,
    STORE,
    ATOMIC,
    COPY,       /* cp.async: source or destination */
    LOAD_MATRIX /* a row that the whole warp reads */
};
__attribute__((noinline)) void global_access(const void *p, uint32_t bytes, uint32_t align,
                                             Access kind);
__attribute__((noinline)) void shared_access(const void *p, uint32_t bytes, uint32_t align,
                                             Access kind);
template <class T> __forceinline__ void check_global(const T *p, Access kind)
{
    static_assert(sizeof(T) <= 16, "a thread moves at most 16 bytes at once");
    uintptr_t at = (uintptr_t)p;
    const Range &r = block->ranges[at / 4096 % Block::n_ranges];
    if (__builtin_expect(
            at - r.begin >= r.bytes || r.bytes - (at - r.begin) < sizeof(T) || at % alignof(T), 0))
        global_access(p, sizeof(T), alignof(T), kind);
}

void *shared_memory(size_t bytes);
__attribute__((noinline)) void block_wait();
__attribute__((noinline)) void warp_wait();
__attribute__((noreturn, format(printf, 2, 3))) void fault(cudaError_t error, const char *format,
                                                           ...);

/* All lanes meet here; returns their values, [32][64]. */
typedef unsigned char Slots[32][64];
__attribute__((noinline)) const Slots &meet(const char *function, unsigned mask, const void *value,
                                            size_t bytes);
/* The value that lane `src` gives. */
template <class T> __forceinline__ T exchange(unsigned mask, T v, uint32_t src)
{
    static_assert(std::is_arithmetic<T>::value, "nvcc has shuffles of numbers only");
    const Slots &slots = meet("a shuffle", mask, &v, sizeof v);
    T r;
    memcpy(&r, slots[src < 32 ? src : self->lane], sizeof r);
    return r;
}
__attribute__((noinline)) void ldmatrix_x4(uint32_t (&r)[4], const void *row, bool transposed);
__attribute__((noinline)) void mma_16816(float (&d)[4], const float (&a)[8], const float (&b)[4]);
__attribute__((noinline)) void cp_async(void *shared, const void *global, int bytes, bool valid);
void cp_commit();
void cp_wait(int n);

} // namespace simt

#define threadIdx (simt::self->tid)
#define blockIdx (simt::block->index)
#define blockDim (simt::block->block_dim)
#define gridDim (simt::block->grid_dim)

/* The Kernel lives as long as the table it is in. */
#define RF_ENTRY(name, P, ...)                                                                     \
    {                                                                                              \
        name, new simt::Kernel{name, simt::call<P, __VA_ARGS__>, sizeof(P)}, sizeof(P)             \
    }
#define RF_SHARED(bytes) ((unsigned char *)simt::shared_memory(bytes))

__forceinline__ void __syncthreads()
{
    simt::block_wait();
}
__forceinline__ void __syncwarp(unsigned mask = 0xffffffffu)
{
    simt::meet("__syncwarp", mask, nullptr, 0);
}
template <class T> __forceinline__ T __shfl_xor_sync(unsigned mask, T v, int m)
{
    return simt::exchange(mask, v, simt::self->lane ^ (uint32_t)m);
}
template <class T> __forceinline__ T __shfl_sync(unsigned mask, T v, int src)
{
    return simt::exchange(mask, v, (uint32_t)src & 31);
}
template <class T> __forceinline__ T __shfl_down_sync(unsigned mask, T v, unsigned d)
{
    return simt::exchange(mask, v, simt::self->lane + d);
}
template <class T> __forceinline__ T __shfl_up_sync(unsigned mask, T v, unsigned d)
{
    return simt::exchange(mask, v, simt::self->lane >= d ? simt::self->lane - d : simt::self->lane);
}
__attribute__((noinline)) unsigned __ballot_sync(unsigned mask, int predicate);
__forceinline__ int __any_sync(unsigned mask, int predicate)
{
    return __ballot_sync(mask, predicate) != 0;
}

template <class T> __forceinline__ T rf_load(const T *p)
{
    simt::check_global(p, simt::LOAD);
    return *p;
}
template <class T> __forceinline__ void rf_store(T *p, T v)
{
    simt::check_global(p, simt::STORE);
    *p = v;
}
template <class T> __forceinline__ T rf_shared_load(const T *p)
{
    simt::shared_access(p, sizeof(T), alignof(T), simt::LOAD);
    return *p;
}
template <class T> __forceinline__ void rf_shared_store(T *p, T v)
{
    simt::shared_access(p, sizeof(T), alignof(T), simt::STORE);
    *p = v;
}
float rf_atomic_add(float *p, float v);
inline float rf_max_nan(float a, float b)
{
    return a > b || a != a ? a : b;
}
inline float rf_exp2_fast(float x)
{
    return __builtin_exp2f(x);
}
inline float rf_rcp_fast(float x)
{
    return 1.0f / x;
}
inline uint32_t rf_join_low(uint32_t a, uint32_t b)
{
    return (a & 0xffff) | b << 16;
}
inline uint32_t rf_join_high(uint32_t a, uint32_t b)
{
    return a >> 16 | (b & 0xffff0000u);
}
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
__forceinline__ void rf_ldmatrix_x4(uint32_t (&r)[4], const void *row)
{
    simt::ldmatrix_x4(r, row, false);
}
__forceinline__ void rf_ldmatrix_x4_trans(uint32_t (&r)[4], const void *row)
{
    simt::ldmatrix_x4(r, row, true);
}
template <class T> float rf_half_bits(uint32_t bits);
template <> inline float rf_half_bits<__half>(uint32_t bits)
{
    return _cvtsh_ss((uint16_t)bits);
}
template <> inline float rf_half_bits<__nv_bfloat16>(uint32_t bits)
{
    float f;
    bits <<= 16;
    memcpy(&f, &bits, 4);
    return f;
}
template <class T>
__forceinline__ void rf_mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
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
/* Kernels of a graph set the condition of its WHILE and IF nodes (runtime_capture.cc). */
extern "C" void cudaGraphSetConditional(unsigned long long handle, unsigned int value);

#endif
