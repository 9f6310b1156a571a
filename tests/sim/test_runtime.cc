// SPDX-License-Identifier: Apache-2.0
//
// Streams, memory, errors and launches of the emulated CUDA runtime: what CUDA promises holds, and
// what it does not promise does not happen.
#include "tests/sim/kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>
#include <thread>

using namespace simtest;

namespace
{

// ---- streams

class SimStreams : public RuntimeTest
{
};

TEST_F(SimStreams, WorkRunsAtTheWaitAndNotBefore)
{
    Stream s;
    Floats a(4, 1);
    float host[4] = {7, 7, 7, 7};
    OK(add(s, a, a, 4, 2));
    OK(cudaMemcpyAsync(host, a, sizeof host, cudaMemcpyDeviceToHost, s));
    EXPECT_TRUE(is_poison(host[0]) && is_poison(host[3]));
    OK(cudaStreamSynchronize(s));
    EXPECT_EQ(host[0], 3);
    EXPECT_EQ(host[3], 3);
}

TEST_F(SimStreams, AMissingWaitReadsPoison)
{
    Stream make, use;
    Floats a(4, 1), b(4), c(4);
    float host[4];
    OK(add(make, b, a, 4, 1));
    OK(add(use, c, b, 4, 1));
    OK(cudaMemcpyAsync(host, c, sizeof host, cudaMemcpyDeviceToHost, use));
    OK(cudaStreamSynchronize(use));
    EXPECT_TRUE(std::isnan(host[0]));
}

TEST_F(SimStreams, AnEventOrdersTwoStreamsUnderEverySchedule)
{
    for (unsigned seed = 0; seed < 20; seed++) {
        reset(seed);
        Stream make, use;
        Event made(cudaEventDisableTiming);
        Floats a(4, 1), b(4), c(4);
        float host[4];
        OK(add(make, b, a, 4, 1));
        OK(cudaEventRecord(made, make));
        OK(add(make, a, a, 4, 100)); // behind the event: concerns nobody
        OK(cudaStreamWaitEvent(use, made, 0));
        OK(add(use, c, b, 4, 1));
        OK(cudaMemcpyAsync(host, c, sizeof host, cudaMemcpyDeviceToHost, use));
        OK(cudaStreamSynchronize(use));
        EXPECT_EQ(host[3], 3) << seed;
    }
}

TEST_F(SimStreams, UnorderedStreamsInterleaveByTheSeed)
{
    std::set<float> seen;
    for (unsigned seed = 1; seed < 30; seed++) {
        reset(seed);
        Stream s, t;
        Floats a(1, 1);
        OK(add(s, a, a, 1, 1));
        OK(cudaMemsetAsync(a, 0, sizeof(float), t));
        OK(add(s, a, a, 1, 1));
        seen.insert(a.get()[0]);
    }
    EXPECT_EQ(seen, (std::set<float>{0, 1, 2}));
}

TEST_F(SimStreams, TheSameSeedGivesTheSameOrder)
{
    for (unsigned seed = 1; seed < 10; seed++) {
        std::set<float> seen;
        for (int again = 0; again < 3; again++) {
            reset(seed);
            Stream s, t, u;
            Floats a(1, 1);
            for (cudaStream_t stream : {(cudaStream_t)s, (cudaStream_t)t, (cudaStream_t)u})
                for (int i = 0; i < 3; i++) {
                    OK(add(stream, a, a, 1, 1));
                    OK(cudaMemsetAsync(a, 1 << i, 1, stream));
                }
            seen.insert(a.get()[0]);
        }
        EXPECT_EQ(seen.size(), 1u) << seed;
    }
}

// cudaMemcpy is work of the legacy stream.
TEST_F(SimStreams, ACopyOrdersWithBlockingStreamsOnly)
{
    for (bool blocking : {false, true}) {
        Stream s(blocking ? cudaStreamDefault : cudaStreamNonBlocking);
        Floats a(1, 1), b(1);
        float host;
        OK(add(s, b, a, 1, 1));
        OK(cudaMemcpy(&host, b, sizeof host, cudaMemcpyDeviceToHost));
        if (blocking)
            EXPECT_EQ(host, 2);
        else
            EXPECT_TRUE(is_poison(host));
    }
}

TEST_F(SimStreams, BlockingStreamsWaitForTheLegacyStream)
{
    for (unsigned seed = 0; seed < 10; seed++) {
        reset(seed);
        Stream s(cudaStreamDefault);
        Floats a(1, 1), b(1);
        float host;
        OK(add(cudaStreamLegacy, b, a, 1, 1));
        OK(add(s, b, b, 1, 1));
        OK(cudaMemcpyAsync(&host, b, sizeof host, cudaMemcpyDeviceToHost, s));
        OK(cudaStreamSynchronize(s));
        EXPECT_EQ(host, 3) << seed;
    }
}

TEST_F(SimStreams, WaitingForTheLegacyStreamWaitsForBlockingOnes)
{
    Stream s(cudaStreamDefault);
    Floats a(1, 1);
    float host;
    OK(cudaMemcpyAsync(&host, a, sizeof host, cudaMemcpyDeviceToHost, s));
    OK(cudaStreamSynchronize(nullptr));
    EXPECT_EQ(host, 1);
}

// CUDA's own words: it returns once the bytes are staged, "but the DMA to final destination may
// not have completed".
TEST_F(SimStreams, ACopyFromTheHostMayLandAfterItReturns)
{
    Stream s;
    Floats a(1), b(1), c(1);
    float host = 5;
    OK(cudaMemcpy(a, &host, sizeof host, cudaMemcpyHostToDevice));
    host = 6; // it has been read
    OK(add(s, b, a, 1, 0));
    OK(cudaStreamSynchronize(s));
    OK(add(cudaStreamLegacy, c, a, 1, 0));
    EXPECT_TRUE(std::isnan(b.get()[0]));
    EXPECT_EQ(c.get()[0], 5);
}

TEST_F(SimStreams, AHostBufferMayGoToTheDeviceAndBeFilledFromThere)
{
    Stream s;
    Floats a(4);
    float host[4] = {1, 2, 3, 4};
    OK(cudaMemcpyAsync(a, host, sizeof host, cudaMemcpyHostToDevice, s));
    OK(add(s, a, a, 4, 10));
    OK(cudaMemcpyAsync(host, a, sizeof host, cudaMemcpyDeviceToHost, s));
    EXPECT_TRUE(is_poison(host[2]));
    OK(cudaStreamSynchronize(s));
    EXPECT_EQ(host[2], 13);
}

TEST_F(SimStreams, WorkOfADestroyedStreamRuns)
{
    Floats a(1, 1);
    {
        Stream s;
        OK(add(s, a, a, 1, 1));
    }
    EXPECT_EQ(a.get()[0], 2);
}

TEST_F(SimStreams, EventsTellTimeWhenTheyHaveHappened)
{
    Stream s;
    Event start, end, never, plain(cudaEventDisableTiming);
    Floats a(1, 1);
    float ms = -1;
    OK(cudaEventRecord(start, s));
    OK(add(s, a, a, 1, 1));
    OK(cudaEventRecord(end, s));
    OK(cudaEventRecord(plain, s));
    EXPECT_EQ(cudaEventElapsedTime(&ms, start, end), cudaErrorNotReady);
    OK(cudaEventSynchronize(end));
    OK(cudaEventElapsedTime(&ms, start, end));
    EXPECT_GT(ms, 0);
    EXPECT_EQ(cudaEventElapsedTime(&ms, start, never), cudaErrorInvalidResourceHandle);
    EXPECT_EQ(cudaEventElapsedTime(&ms, start, plain), cudaErrorInvalidResourceHandle);
    OK(cudaEventSynchronize(never));
}

TEST_F(SimStreams, WhoPollsGetsThere)
{
    for (unsigned seed : {0, 3}) {
        reset(seed);
        Stream s;
        Event e;
        Floats a(1, 1);
        for (int i = 0; i < 5; i++)
            OK(add(s, a, a, 1, 1));
        OK(cudaEventRecord(e, s));
        EXPECT_EQ(cudaEventQuery(e), cudaErrorNotReady);
        EXPECT_EQ(cudaStreamQuery(s), cudaErrorNotReady);
        int polls = 0;
        while (cudaEventQuery(e) == cudaErrorNotReady)
            ASSERT_LT(polls++, 10);
        OK(cudaStreamQuery(s));
        OK(cudaStreamQuery(nullptr));
        EXPECT_EQ(cudaGetLastError(), cudaErrorNotReady);
    }
}

TEST_F(SimStreams, HandlesThatAreNoneAreRefused)
{
    cudaStream_t s;
    cudaEvent_t e;
    OK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
    OK(cudaEventCreate(&e));
    OK(cudaStreamDestroy(s));
    OK(cudaEventDestroy(e));
    EXPECT_EQ(cudaStreamSynchronize(s), cudaErrorInvalidResourceHandle);
    EXPECT_EQ(cudaStreamDestroy(s), cudaErrorInvalidResourceHandle);
    EXPECT_EQ(cudaStreamDestroy(cudaStreamLegacy), cudaErrorInvalidResourceHandle);
    EXPECT_EQ(cudaEventRecord(e, nullptr), cudaErrorInvalidResourceHandle);
    EXPECT_EQ(cudaEventDestroy(e), cudaErrorInvalidResourceHandle);
    EXPECT_EQ(cudaStreamCreateWithFlags(&s, 17), cudaErrorInvalidValue);
    Event good;
    EXPECT_EQ(cudaStreamWaitEvent(nullptr, good, 4), cudaErrorInvalidValue);
}

// ---- memory

class SimMemory : public RuntimeTest
{
};

TEST_F(SimMemory, BeginsAsPoisonAtTheAlignmentThatCudaPromises)
{
    Floats a(3), b(1000);
    EXPECT_EQ((uintptr_t)(float *)a % 256, 0u);
    EXPECT_NE((uintptr_t)(float *)a % 512, 0u);
    for (float v : b.get())
        EXPECT_TRUE(is_poison(v));
}

TEST_F(SimMemory, FreedAddressesAreNotGivenOutAgainAtOnce)
{
    std::set<void *> seen;
    for (int i = 0; i < 100; i++) {
        void *p;
        OK(cudaMalloc(&p, 1 << 20));
        EXPECT_TRUE(seen.insert(p).second);
        OK(cudaFree(p));
    }
}

TEST_F(SimMemory, OfADeviceIsLimited)
{
    setenv("REFOLD_SIM_MEMORY", "1000000", 1);
    rf_sim_reset();
    size_t left, all;
    void *p, *q;
    OK(cudaMalloc(&p, 600000));
    OK(cudaMemGetInfo(&left, &all));
    EXPECT_EQ(all, 1000000u);
    EXPECT_LE(left, 400000u);
    EXPECT_GT(left, 399000u);
    EXPECT_EQ(cudaMalloc(&q, 500000), cudaErrorMemoryAllocation);
    EXPECT_EQ(q, nullptr);
    EXPECT_EQ(cudaMalloc(&q, ~(size_t)0), cudaErrorMemoryAllocation);
    OK(cudaFree(p));
    OK(cudaMalloc(&q, 999936));
    OK(cudaFree(q));
    OK(cudaFree(nullptr));
    OK(cudaMalloc(&q, 0));
    EXPECT_EQ(q, nullptr);
    unsetenv("REFOLD_SIM_MEMORY");
}

TEST_F(SimMemory, CopiesCheckWhatTheirPointersAre)
{
    Floats a(4, 1), b(4, 2);
    float host[4] = {};
    const size_t n = sizeof host;
    EXPECT_EQ(cudaMemcpy(host, host, n, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    EXPECT_EQ(cudaMemcpy(a, b, n, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    EXPECT_EQ(cudaMemcpy(host, host, n, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
    EXPECT_EQ(cudaMemcpy(a, host, n, cudaMemcpyDeviceToDevice), cudaErrorInvalidValue);
    EXPECT_EQ(cudaMemcpy(a, host, n, (cudaMemcpyKind)7), cudaErrorInvalidMemcpyDirection);
    EXPECT_EQ(cudaMemcpy(a, nullptr, n, cudaMemcpyDefault), cudaErrorInvalidValue);
    EXPECT_EQ(cudaMemcpy(a, host, n + 1, cudaMemcpyDefault), cudaErrorInvalidValue);
    EXPECT_EQ(cudaMemcpyAsync(a + 1, b, n, cudaMemcpyDefault, nullptr), cudaErrorInvalidValue);
    EXPECT_EQ(cudaMemset(host, 0, n), cudaErrorInvalidValue);
    EXPECT_EQ(cudaMemsetAsync(a + 3, 0, 8, nullptr), cudaErrorInvalidValue);
    EXPECT_EQ(cudaMemsetAsync(a + 3, 0, 8, (cudaStream_t)host), cudaErrorInvalidResourceHandle);
    OK(cudaMemcpy(a, host, 0, cudaMemcpyHostToDevice));
    OK(cudaMemcpy(a, b, n, cudaMemcpyDefault));
    OK(cudaMemcpy(host, a, n, cudaMemcpyDefault));
    EXPECT_EQ(host[3], 2);
    OK(cudaMemset(a, 0, n));
    EXPECT_EQ(a.get()[3], 0);
}

TEST_F(SimMemory, PointersAreKnownByTheirRange)
{
    cudaPointerAttributes at;
    float *gone;
    Floats a(4);
    OK(cudaPointerGetAttributes(&at, a + 3));
    EXPECT_EQ(at.type, cudaMemoryTypeDevice);
    EXPECT_EQ(at.devicePointer, a + 3);
    OK(cudaPointerGetAttributes(&at, &at));
    EXPECT_EQ(at.type, cudaMemoryTypeUnregistered);
    EXPECT_EQ(cudaPointerGetAttributes(&at, a + 4), cudaErrorInvalidValue);
    OK(cudaMalloc((void **)&gone, 64));
    EXPECT_EQ(cudaFree(gone + 1), cudaErrorInvalidValue);
    OK(cudaFree(gone));
    EXPECT_EQ(cudaFree(gone), cudaErrorInvalidValue);
    EXPECT_EQ(cudaFree(&at), cudaErrorInvalidValue);
    EXPECT_EQ(cudaMemset(gone, 0, 4), cudaErrorInvalidValue);
}

TEST_F(SimMemory, FreeWaitsForAllThatRuns)
{
    Stream s;
    Floats a(1, 1);
    float host;
    void *other;
    OK(cudaMalloc(&other, 4));
    OK(cudaMemcpyAsync(&host, a, sizeof host, cudaMemcpyDeviceToHost, s));
    OK(cudaFree(other));
    EXPECT_EQ(host, 1);
}

TEST_F(SimMemory, LeaksAreCounted)
{
    cudaStream_t s;
    void *p, *q;
    OK(cudaMalloc(&p, 100));
    EXPECT_STREQ(rf_sim_leaks(), "1 allocation (100 bytes)");
    OK(cudaMalloc(&q, 20));
    OK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
    OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeRelaxed));
    EXPECT_STREQ(rf_sim_leaks(), "2 allocations (120 bytes), 1 stream, 1 capture");
    rf_sim_reset();
}

using SimMemoryDeathTest = SimMemory;

TEST_F(SimMemoryDeathTest, TheHostCannotTouchIt)
{
    Floats a(4, 1);
    EXPECT_DEATH(((volatile float *)(float *)a)[0] = 2, "");
    EXPECT_DEATH((void)((volatile float *)(float *)a)[0], "");
}

TEST_F(SimMemoryDeathTest, WritesBesideAnAllocationAreFoundAtTheNextWait)
{
    for (ptrdiff_t at : {-1, 5, 60}) {
        Stream s;
        Floats a(5, 1);
        WriteParams p = {a + at};
        EXPECT_DEATH(
            {
                launch(write_entry, &p, s);
                cudaStreamSynchronize(s);
            },
            "write out of bounds: byte .* of an allocation of 20 bytes");
    }
}

TEST_F(SimMemoryDeathTest, FreedMemoryIsOutOfAKernelsReach)
{
    Stream s;
    WriteParams p;
    OK(cudaMalloc((void **)&p.at, 64));
    OK(cudaFree(p.at));
    EXPECT_DEATH(
        {
            launch(write_entry, &p, s);
            cudaStreamSynchronize(s);
        },
        "");
}

TEST_F(SimMemoryDeathTest, AHostBufferMustStayAsItIsUntilItWasRead)
{
    Stream s;
    Floats a(4);
    std::vector<float> host(4, 1);
    EXPECT_DEATH(
        {
            cudaMemcpyAsync(a, host.data(), 16, cudaMemcpyHostToDevice, s);
            host[2] = 0;
            cudaStreamSynchronize(s);
        },
        "16 bytes of host memory at .* were changed while a copy from them was pending");
}

// ---- errors

class SimErrors : public RuntimeTest
{
};

TEST_F(SimErrors, StayWithTheirThreadUntilAskedFor)
{
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
    EXPECT_EQ(cudaSetDevice(3), cudaErrorInvalidDevice);
    OK(cudaSetDevice(0));
    std::thread([] { EXPECT_EQ(cudaGetLastError(), cudaSuccess); }).join();
    EXPECT_EQ(cudaPeekAtLastError(), cudaErrorInvalidDevice);
    EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidDevice);
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

TEST_F(SimErrors, HaveCudasNamesAndTexts)
{
    EXPECT_STREQ(cudaGetErrorName(cudaErrorIllegalAddress), "cudaErrorIllegalAddress");
    EXPECT_STREQ(cudaGetErrorString(cudaErrorIllegalAddress),
                 "an illegal memory access was encountered");
    EXPECT_STREQ(cudaGetErrorString(cudaSuccess), "no error");
    EXPECT_STREQ(cudaGetErrorString((cudaError_t)12345), "unrecognized error code");
}

TEST_F(SimErrors, CanBeOrderedForTheKthCall)
{
    void *p[3];
    EXPECT_EQ(rf_sim_fail("cudaMalloc", 2, cudaErrorMemoryAllocation), 0);
    OK(cudaMalloc(&p[0], 1));
    EXPECT_EQ(cudaMalloc(&p[1], 1), cudaErrorMemoryAllocation);
    OK(cudaMalloc(&p[1], 1));
    EXPECT_EQ(rf_sim_fail("*", 3, cudaErrorUnknown), 0);
    OK(cudaFree(p[0]));
    OK(cudaFree(p[1]));
    EXPECT_EQ(cudaDeviceSynchronize(), cudaErrorUnknown);
    EXPECT_EQ(rf_sim_fail("cudaFree", 5, cudaErrorUnknown), 0);
    EXPECT_EQ(rf_sim_fail("cudaFree", 0, cudaSuccess), 1);
}

TEST_F(SimErrors, OfAKernelSurfaceAtTheWaitAndStick)
{
    cudaStream_t s, t;
    cudaEvent_t e;
    float *a, host;
    size_t n;
    OK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
    OK(cudaStreamCreateWithFlags(&t, cudaStreamNonBlocking));
    OK(cudaMalloc((void **)&a, 4));
    EXPECT_EQ(rf_sim_fail("kernel", 1, cudaErrorIllegalAddress), 0);
    OK(add(s, a, a, 1, 1));
    OK(add(t, a, a, 1, 1));
    OK(cudaGetLastError());
    const cudaError_t sticks = cudaErrorIllegalAddress;
    EXPECT_EQ(cudaStreamSynchronize(s), sticks);
    EXPECT_EQ(cudaStreamSynchronize(t), sticks);
    EXPECT_EQ(add(t, a, a, 1, 1), sticks);
    EXPECT_EQ(cudaMalloc((void **)&a, 1), sticks);
    EXPECT_EQ(cudaMemGetInfo(&n, &n), sticks);
    EXPECT_EQ(cudaMemcpy(&host, a, 4, cudaMemcpyDeviceToHost), sticks);
    EXPECT_EQ(cudaEventCreate(&e), sticks);
    EXPECT_EQ(cudaFree(a), sticks);
    EXPECT_EQ(cudaStreamDestroy(s), sticks);
    EXPECT_EQ(cudaGetLastError(), sticks);
    EXPECT_EQ(cudaGetLastError(), sticks);
    EXPECT_EQ(cudaPeekAtLastError(), sticks);
    rf_sim_reset(); // the process ended; the handles are gone with it
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
    OK(cudaDeviceSynchronize());
}

// ---- launches

class SimLaunches : public RuntimeTest
{
};

TEST_F(SimLaunches, AreCheckedAsTheDeviceChecksThem)
{
    Stream s;
    Floats a(1, 1);
    AddParams p = {a, a, 1, 0};
    auto run = [&](dim3 grid, dim3 block, size_t shared = 0) {
        return launch(add_entry, &p, s, grid, block, shared);
    };
    OK(run({1, 1, 1}, {1024, 1, 1}));
    OK(run({1, 1, 1}, {4, 4, 64}));
    OK(run({1, 1, 1}, {32, 1, 1}, 48 * 1024));
    EXPECT_EQ(run({0, 1, 1}, {1, 1, 1}), cudaErrorInvalidConfiguration);
    EXPECT_EQ(run({1, 1, 0}, {1, 1, 1}), cudaErrorInvalidConfiguration);
    EXPECT_EQ(run({1, 1, 1}, {1, 0, 1}), cudaErrorInvalidConfiguration);
    EXPECT_EQ(run({0x80000000u, 1, 1}, {1, 1, 1}), cudaErrorInvalidConfiguration);
    EXPECT_EQ(run({1, 65536, 1}, {1, 1, 1}), cudaErrorInvalidConfiguration);
    EXPECT_EQ(run({1, 1, 65536}, {1, 1, 1}), cudaErrorInvalidConfiguration);
    EXPECT_EQ(run({1, 1, 1}, {1025, 1, 1}), cudaErrorInvalidConfiguration);
    EXPECT_EQ(run({1, 1, 1}, {32, 33, 1}), cudaErrorInvalidConfiguration);
    EXPECT_EQ(run({1, 1, 1}, {1, 1, 65}), cudaErrorInvalidConfiguration);
    EXPECT_EQ(run({1, 1, 1}, {32, 1, 1}, 48 * 1024 + 1), cudaErrorInvalidValue);
    void *args[] = {&p};
    EXPECT_EQ(cudaLaunchKernel(nullptr, {1, 1, 1}, {1, 1, 1}, args, 0, s),
              cudaErrorInvalidDeviceFunction);
}

TEST_F(SimLaunches, NeedLeaveForMuchSharedMemory)
{
    const auto most = cudaFuncAttributeMaxDynamicSharedMemorySize;
    Stream s;
    Floats a(1, 1);
    AddParams p = {a, a, 1, 0};
    EXPECT_EQ(cudaFuncSetAttribute(add_entry.fn, most, 227 * 1024 + 1), cudaErrorInvalidValue);
    OK(cudaFuncSetAttribute(add_entry.fn, most, 227 * 1024));
    OK(launch(add_entry, &p, s, {1, 1, 1}, {32, 1, 1}, 227 * 1024));
    OK(cudaFuncSetAttribute(add_entry.fn, most, 60000));
    OK(launch(add_entry, &p, s, {1, 1, 1}, {32, 1, 1}, 60000));
    EXPECT_EQ(launch(add_entry, &p, s, {1, 1, 1}, {32, 1, 1}, 60001), cudaErrorInvalidValue);
    WriteParams w = {a};
    EXPECT_EQ(launch(write_entry, &w, s, {1, 1, 1}, {32, 1, 1}, 60000), cudaErrorInvalidValue);
}

TEST_F(SimLaunches, CopyTheirParameters)
{
    Stream s;
    Floats a(1, 1);
    AddParams p = {a, a, 1, 5};
    OK(launch(add_entry, &p, s));
    p.delta = 50;
    p.out = nullptr;
    EXPECT_EQ(a.get()[0], 6);
}

// ---- threads

TEST_F(SimStreams, OfSeveralThreadsDoNotDisturbEachOther)
{
    for (unsigned seed : {0, 1, 2}) {
        reset(seed);
        std::vector<std::thread> threads;
        for (int t = 0; t < 4; t++)
            threads.emplace_back([t] {
                Stream s;
                Event e;
                Floats a(8, (float)t);
                std::vector<float> host(8);
                for (int i = 0; i < 10; i++) {
                    OK(add(s, a, a, 8, 1));
                    OK(cudaEventRecord(e, s));
                    OK(cudaMemcpyAsync(host.data(), a, 32, cudaMemcpyDeviceToHost, s));
                    OK(cudaStreamSynchronize(s));
                    EXPECT_EQ(host[7], (float)(t + i + 1));
                }
            });
        for (std::thread &t : threads)
            t.join();
    }
}

} // namespace
