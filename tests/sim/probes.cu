/* SPDX-License-Identifier: Apache-2.0
 *
 * What test_simt.cc launches. Blocks have 64 threads unless the test says otherwise.
 */
#include "kernels/cuda/device.cuh"
#include "tests/sim/probes.h"

#define PROBE(name)                                                                                \
    __device__ __forceinline__ void name##_body(const probe_params &p, int t, float *s);           \
    __global__ void name(const probe_params p)                                                     \
    {                                                                                              \
        name##_body(p, (int)threadIdx.x, (float *)RF_SHARED(p.shared));                            \
    }                                                                                              \
    __device__ __forceinline__ void name##_body([[maybe_unused]] const probe_params &p,            \
                                                [[maybe_unused]] int t, [[maybe_unused]] float *s)

namespace
{

/* ---- order: who comes when, told by a counter in data[0] */
PROBE(visit_blocks)
{
    rf_atomic_add(p.data + blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z), 1.0f);
}
PROBE(visit_threads)
{
    for (int round = 0; round < 2; round++) {
        float when = rf_atomic_add(p.data, 1.0f);
        rf_store(p.data + 1 + (int)when, (float)t);
        __syncthreads();
    }
}

/* ---- device memory */
PROBE(copy)
{
    rf_store(p.data + t, rf_load(p.data + p.n + t));
}
PROBE(add)
{
    rf_atomic_add(p.data + p.n + t, 1.0f);
}
PROBE(load16)
{
    if (t == 0)
        rf_store(p.data, rf_load((const float4 *)(p.data + p.n)).x);
}
/* Block n - 1024 later than the others. */
PROBE(every_block_faults)
{
    for (int i = 0; i < 3000000 && (int)blockIdx.x == p.n - 1024; i++)
        rf_load(p.data + i % 64);
    rf_store(p.data + p.n + blockIdx.x, 1.0f);
}

/* ---- shared memory */
PROBE(shared_store)
{
    rf_shared_store(s + p.n + t, 1.0f);
}
PROBE(shared_store8)
{
    if (t == 0)
        rf_shared_store((float2 *)(s + p.n), make_float2(1, 1));
}
PROBE(ldmatrix_at)
{
    uint32_t r[4];
    rf_shared_store((float4 *)s + t, make_float4(0, 0, 0, 0));
    __syncthreads();
    rf_ldmatrix_x4(r, (const char *)s + t % 32 * 16 + p.n);
}

/* ---- cp.async: thread t moves 16 bytes */
PROBE(async_copy)
{
    rf_cp_async16_zfill(s + t * 4, p.data + p.n + t * 4, t % 2 == 0);
    rf_cp_commit();
    rf_cp_wait<0>();
    rf_store(p.data + t, rf_shared_load(s + t * 4) + rf_shared_load(s + t * 4 + 3));
}
PROBE(async_to)
{
    rf_cp_async16(s + p.n + t * 4, p.data + t * 4);
    rf_cp_commit();
    rf_cp_wait<0>();
}
PROBE(async_uncommitted)
{
    rf_cp_async16(s + t * 4, p.data + t * 4);
    rf_cp_wait<0>();
    rf_store(p.data + t, rf_shared_load(s + t * 4));
}
PROBE(async_never_committed)
{
    rf_cp_async16(s + t * 4, p.data + t * 4);
}
PROBE(async_never_waited)
{
    rf_cp_async16(s + t * 4, p.data + t * 4);
    rf_cp_commit();
}
PROBE(async_twice)
{
    rf_cp_async16(s + t * 4, p.data + t * 4);
    rf_cp_async16(s + t * 4, p.data + t * 4);
    rf_cp_commit();
    rf_cp_wait<0>();
}
PROBE(async_no_barrier)
{
    rf_cp_async16(s + t * 4, p.data + t * 4);
    rf_cp_commit();
    rf_cp_wait<0>();
    rf_store(p.data + t, rf_shared_load(s + (t ^ 1) * 4));
}
PROBE(async_other_warp_reads)
{
    if (t < 32) {
        rf_cp_async16(s + t * 4, p.data + t * 4);
        rf_cp_commit();
        rf_cp_wait<0>();
    } else {
        rf_store(p.data + t, rf_shared_load(s + (t - 32) * 4));
    }
}

/* ---- races; `far` is in the other warp */
PROBE(race_none)
{
    int far = t ^ 32, near = t ^ 1;
    rf_shared_store(s + t, (float)t);
    rf_shared_store(s + t, rf_shared_load(s + t) + 1);
    __syncthreads();
    float v = rf_shared_load(s + far) + rf_shared_load(s + near);
    __syncthreads();
    rf_shared_store(s + far, v);
    __syncwarp();
    float w = rf_shared_load(s + (far ^ 1));
    __syncwarp();
    rf_shared_store(s + (far ^ 2), w);
    rf_shared_store((__half *)(s + 64) + t, __float2half(w)); /* two threads to a word */
    __syncthreads();
    w = rf_shared_load(s + 5);
    __syncthreads();
    if (t == 5)
        rf_shared_store(s + 5, rf_shared_load(s + 5) + w);
}
PROBE(race_read_after_write)
{
    rf_shared_store(s + t, 1.0f);
    rf_store(p.data + t, rf_shared_load(s + (t ^ 32)));
}
PROBE(race_write_after_read)
{
    rf_shared_store(s + t, 1.0f);
    __syncthreads();
    rf_store(p.data + t, rf_shared_load(s + (t ^ 32)));
    rf_shared_store(s + t, 2.0f);
}
PROBE(race_write_after_many_reads)
{
    rf_shared_store(s + t, 1.0f);
    __syncthreads();
    float v = t % 32 != 5 ? rf_shared_load(s) : 0;
    if (t == 5 || t == 32)
        v += rf_shared_load(s + 1);
    __syncwarp();
    if (t == 5)
        rf_shared_store(s, v);
}
PROBE(race_last_reader_writes)
{
    if (t < 32)
        rf_store(p.data + t, rf_shared_load(s));
    if (t == 31)
        rf_shared_store(s, 1.0f);
}
PROBE(race_same_value)
{
    rf_shared_store(s, 1.0f);
}
PROBE(race_in_warp)
{
    rf_shared_store(s + t, 1.0f);
    rf_store(p.data + t, rf_shared_load(s + (t ^ 1)));
}
PROBE(race_write_after_read_in_warp)
{
    rf_shared_store(s + t, 1.0f);
    __syncwarp();
    rf_store(p.data + t, rf_shared_load(s + (t ^ 1)));
    rf_shared_store(s + t, 2.0f);
}
PROBE(race_warp_barrier_across_warps)
{
    rf_shared_store(s + t, 1.0f);
    __syncwarp();
    rf_store(p.data + t, rf_shared_load(s + (t ^ 32)));
}
PROBE(race_shuffle_is_no_barrier)
{
    rf_shared_store(s + t, 1.0f);
    float v = rf_warp_sum((float)t);
    rf_store(p.data + t, v + rf_shared_load(s + (t ^ 1)));
}
PROBE(race_ldmatrix)
{
    uint32_t r[4];
    rf_shared_store((float4 *)s + t, make_float4(0, 0, 0, 0));
    rf_ldmatrix_x4(r, (float4 *)s + t);
}

/* ---- divergence */
PROBE(converged)
{
    float v = rf_warp_sum((float)t) + rf_warp_max((float)t);
    if (t < 32) /* whole warps */
        v += rf_warp_sum(1.0f);
    __syncthreads();
    rf_store(p.data + t, v + __ballot_sync(RF_FULL_MASK, t % 2));
}
PROBE(sync_in_both_branches)
{
    if (t < 32) {
        rf_store(p.data + t, 1.0f);
        __syncthreads();
    } else {
        rf_store(p.data + t, 2.0f);
        __syncthreads();
    }
}
PROBE(sync_in_one_branch)
{
    if (t != 40)
        __syncthreads();
    rf_warp_sum(1.0f);
}
PROBE(sum_in_both_branches)
{
    if (t % 2)
        rf_store(p.data + t, rf_warp_sum(1.0f));
    else
        rf_store(p.data + t, rf_warp_sum(2.0f));
}
PROBE(sum_until_own_end)
{
    float v = 0;
    for (int i = 0; i < t % 3; i++)
        v += rf_warp_sum(1.0f);
    rf_store(p.data + t, rf_warp_sum(v));
}
PROBE(sum_after_return)
{
    if (t == 7)
        return;
    rf_store(p.data + t, rf_warp_sum(1.0f));
}
PROBE(warp_sync_in_one_branch)
{
    if (t % 2)
        __syncwarp();
    __syncthreads();
}
PROBE(half_mask)
{
    if (t < 16)
        rf_store(p.data + t, __shfl_xor_sync(0xffffu, 1.0f, 1));
}

/* ---- requests: n is the distance between neighbours, in elements */
PROBE(load_shared)
{
    rf_shared_load(s + t * p.n);
}
PROBE(load_shared16)
{
    rf_shared_load((const float4 *)s + t * p.n);
}
PROBE(load_global)
{
    rf_load(p.data + t * p.n);
}
PROBE(load_rows)
{
    uint32_t r[4];
    rf_ldmatrix_x4(r, (const char *)s + t * p.n * 16);
}
PROBE(load_in_a_branch)
{
    for (int i = 0; i < t % 2 + 1; i++)
        rf_shared_load(s + t);
}

} // namespace

#define PROBE_ENTRY(name) RF_ENTRY(#name, probe_params, name)
extern "C" const rf_cuda_entry probe_entries[] = {
    PROBE_ENTRY(visit_blocks),
    PROBE_ENTRY(visit_threads),
    PROBE_ENTRY(copy),
    PROBE_ENTRY(add),
    PROBE_ENTRY(load16),
    PROBE_ENTRY(every_block_faults),
    PROBE_ENTRY(shared_store),
    PROBE_ENTRY(shared_store8),
    PROBE_ENTRY(ldmatrix_at),
    PROBE_ENTRY(async_copy),
    PROBE_ENTRY(async_to),
    PROBE_ENTRY(async_uncommitted),
    PROBE_ENTRY(async_never_committed),
    PROBE_ENTRY(async_never_waited),
    PROBE_ENTRY(async_twice),
    PROBE_ENTRY(async_no_barrier),
    PROBE_ENTRY(async_other_warp_reads),
    PROBE_ENTRY(race_none),
    PROBE_ENTRY(race_read_after_write),
    PROBE_ENTRY(race_write_after_read),
    PROBE_ENTRY(race_write_after_many_reads),
    PROBE_ENTRY(race_last_reader_writes),
    PROBE_ENTRY(race_same_value),
    PROBE_ENTRY(race_in_warp),
    PROBE_ENTRY(race_write_after_read_in_warp),
    PROBE_ENTRY(race_warp_barrier_across_warps),
    PROBE_ENTRY(race_shuffle_is_no_barrier),
    PROBE_ENTRY(race_ldmatrix),
    PROBE_ENTRY(converged),
    PROBE_ENTRY(sync_in_both_branches),
    PROBE_ENTRY(sync_in_one_branch),
    PROBE_ENTRY(sum_in_both_branches),
    PROBE_ENTRY(sum_until_own_end),
    PROBE_ENTRY(sum_after_return),
    PROBE_ENTRY(warp_sync_in_one_branch),
    PROBE_ENTRY(half_mask),
    PROBE_ENTRY(load_shared),
    PROBE_ENTRY(load_shared16),
    PROBE_ENTRY(load_global),
    PROBE_ENTRY(load_rows),
    PROBE_ENTRY(load_in_a_branch),
    {},
};
