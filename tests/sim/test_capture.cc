// SPDX-License-Identifier: Apache-2.0
//
// Stream capture of the emulated CUDA runtime: what becomes a graph, and what CUDA forbids
// meanwhile.
#include "tests/sim/kernels.h"

#include <functional>
#include <set>
#include <thread>

using namespace simtest;

namespace
{

const cudaStreamCaptureMode by_thread = cudaStreamCaptureModeThreadLocal;

class SimCapture : public RuntimeTest
{
  protected:
    // Ends the capture and runs what it gave `times` times.
    void end_and_run(cudaStream_t s, int times = 1)
    {
        cudaGraph_t graph;
        cudaGraphExec_t exec;
        OK(cudaStreamEndCapture(s, &graph));
        OK(cudaGraphInstantiate(&exec, graph, 0));
        OK(cudaGraphDestroy(graph));
        for (int i = 0; i < times; i++)
            OK(cudaGraphLaunch(exec, s));
        OK(cudaGraphExecDestroy(exec));
        OK(cudaStreamSynchronize(s));
    }
    static cudaStreamCaptureStatus status(cudaStream_t s)
    {
        cudaStreamCaptureStatus status;
        EXPECT_EQ(cudaStreamIsCapturing(s, &status), cudaSuccess);
        return status;
    }
    // The capture is spoiled, ends without a graph, and leaves s usable.
    void expect_spoiled(cudaStream_t s, float *a)
    {
        cudaGraph_t graph = (cudaGraph_t)1;
        EXPECT_EQ(status(s), cudaStreamCaptureStatusInvalidated);
        EXPECT_EQ(add(s, a, a, 1, 1), cudaErrorStreamCaptureInvalidated);
        EXPECT_EQ(cudaStreamEndCapture(s, &graph), cudaErrorStreamCaptureInvalidated);
        EXPECT_EQ(graph, nullptr);
        EXPECT_EQ(status(s), cudaStreamCaptureStatusNone);
        OK(add(s, a, a, 1, 1));
        OK(cudaStreamSynchronize(s));
    }
};

TEST_F(SimCapture, RecordsAndRunsNothing)
{
    Stream s;
    Floats a(1, 1);
    EXPECT_EQ(status(s), cudaStreamCaptureStatusNone);
    OK(cudaStreamBeginCapture(s, by_thread));
    EXPECT_EQ(status(s), cudaStreamCaptureStatusActive);
    OK(add(s, a, a, 1, 1));
    OK(cudaMemcpyAsync(a, a, 0, cudaMemcpyDefault, s));
    OK(add(s, a, a, 1, 1));
    end_and_run(s, 3);
    EXPECT_EQ(a.get()[0], 7);
}

TEST_F(SimCapture, ParametersAreThoseOfTheCapture)
{
    Stream s;
    Floats a(1, 1);
    AddParams p = {a, a, 1, 5};
    OK(cudaStreamBeginCapture(s, by_thread));
    OK(launch(add_entry, &p, s));
    p.delta = 100;
    end_and_run(s);
    EXPECT_EQ(a.get()[0], 6);
}

TEST_F(SimCapture, CopiesReadAndWriteTheHostAtEachLaunch)
{
    Stream s;
    Floats a(1, 1);
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    float in = 1, out = 0;
    OK(cudaStreamBeginCapture(s, by_thread));
    OK(cudaMemcpyAsync(a, &in, 4, cudaMemcpyHostToDevice, s));
    OK(add(s, a, a, 1, 1));
    OK(cudaMemcpyAsync(&out, a, 4, cudaMemcpyDeviceToHost, s));
    OK(cudaStreamEndCapture(s, &graph));
    EXPECT_EQ(out, 0);
    OK(cudaGraphInstantiate(&exec, graph, 0));
    for (in = 10; in < 13; in++) {
        OK(cudaGraphLaunch(exec, s));
        EXPECT_TRUE(is_poison(out));
        OK(cudaStreamSynchronize(s));
        EXPECT_EQ(out, in + 1);
    }
    OK(cudaGraphExecDestroy(exec));
    OK(cudaGraphDestroy(graph));
}

TEST_F(SimCapture, TellsTheNodesThatTheNextWillDependOn)
{
    Stream s, t;
    Event fork, join;
    Floats a(1, 1), b(1, 1);
    cudaStreamCaptureStatus state;
    const cudaGraphNode_t *tail;
    cudaGraph_t graph, ended;
    unsigned long long id, id_t;
    size_t n = 7;
    OK(cudaStreamBeginCapture(s, by_thread));
    OK(cudaStreamGetCaptureInfo(s, &state, &id, &graph, &tail, nullptr, &n));
    EXPECT_EQ(n, 0u);
    OK(add(s, a, a, 1, 1));
    OK(cudaStreamGetCaptureInfo(s, &state, &id, &graph, &tail, nullptr, &n));
    ASSERT_EQ(n, 1u);
    cudaGraphNode_t first = tail[0];
    OK(cudaEventRecord(fork, s));
    OK(cudaStreamWaitEvent(t, fork, 0));
    OK(cudaStreamGetCaptureInfo(t, &state, &id_t, &graph, &tail, nullptr, &n));
    EXPECT_EQ(id, id_t);
    ASSERT_EQ(n, 1u);
    EXPECT_EQ(tail[0], first);
    OK(add(t, b, b, 1, 1));
    OK(cudaEventRecord(join, t));
    OK(add(s, a, a, 1, 1));
    OK(cudaStreamWaitEvent(s, join, 0));
    OK(cudaStreamWaitEvent(s, join, 0));
    OK(cudaStreamGetCaptureInfo(s, &state, &id, &graph, &tail, nullptr, &n));
    EXPECT_EQ(n, 2u);
    OK(add(s, a, a, 1, 1));
    OK(cudaStreamGetCaptureInfo(s, &state, &id, &graph, &tail, nullptr, &n));
    ASSERT_EQ(n, 1u);
    size_t before = 0, nodes = 0;
    OK(cudaGraphNodeGetDependencies(tail[0], nullptr, nullptr, &before));
    EXPECT_EQ(before, 2u);
    OK(cudaStreamEndCapture(s, &ended));
    EXPECT_EQ(graph, ended);
    OK(cudaGraphGetNodes(graph, nullptr, &nodes));
    EXPECT_EQ(nodes, 4u);
    EXPECT_EQ(status(t), cudaStreamCaptureStatusNone);
    OK(cudaGraphDestroy(graph));
}

TEST_F(SimCapture, BranchesRunInAnyOrder)
{
    std::set<float> seen;
    for (unsigned seed = 0; seed < 20; seed++) {
        reset(seed);
        Stream s, t;
        Event fork, join;
        Floats a(1, 1);
        OK(cudaStreamBeginCapture(s, by_thread));
        OK(cudaEventRecord(fork, s));
        OK(cudaStreamWaitEvent(t, fork, 0));
        OK(add(s, a, a, 1, 1)); // races with the memset
        OK(cudaMemsetAsync(a, 0, 4, t));
        OK(cudaEventRecord(join, t));
        OK(cudaStreamWaitEvent(s, join, 0));
        OK(add(s, a, a, 1, 10));
        end_and_run(s);
        seen.insert(a.get()[0]);
    }
    EXPECT_EQ(seen, (std::set<float>{10, 11}));
}

TEST_F(SimCapture, MustBeJoinedAndEndedWhereItBegan)
{
    Stream s, t;
    Event fork;
    Floats a(1, 1);
    cudaGraph_t graph;
    EXPECT_EQ(cudaStreamEndCapture(s, &graph), cudaErrorIllegalState);
    EXPECT_EQ(cudaStreamBeginCapture(nullptr, by_thread), cudaErrorStreamCaptureUnsupported);
    OK(cudaStreamBeginCapture(s, by_thread));
    EXPECT_EQ(cudaStreamBeginCapture(s, by_thread), cudaErrorIllegalState);
    OK(cudaEventRecord(fork, s));
    OK(cudaStreamWaitEvent(t, fork, 0));
    OK(add(t, a, a, 1, 1));
    EXPECT_EQ(cudaStreamEndCapture(s, &graph), cudaErrorStreamCaptureUnjoined);
    EXPECT_EQ(status(t), cudaStreamCaptureStatusNone);

    OK(cudaStreamBeginCapture(s, by_thread));
    OK(cudaEventRecord(fork, s));
    OK(cudaStreamWaitEvent(t, fork, 0));
    EXPECT_EQ(cudaStreamEndCapture(t, &graph), cudaErrorStreamCaptureUnmatched);
    expect_spoiled(s, a);

    OK(cudaStreamBeginCapture(s, by_thread));
    std::thread([&] {
        EXPECT_EQ(cudaStreamEndCapture(s, &graph), cudaErrorStreamCaptureWrongThread);
    }).join();
    expect_spoiled(s, a);

    OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeRelaxed));
    std::thread([&] { OK(cudaStreamEndCapture(s, &graph)); }).join();
    OK(cudaGraphDestroy(graph));
}

TEST_F(SimCapture, DoesNotMixWithOtherWork)
{
    Stream s, t, u;
    Event outside, in_s, in_t, never;
    Floats a(1, 1);
    cudaGraph_t graph;
    OK(cudaEventRecord(outside, u));
    OK(cudaStreamBeginCapture(s, by_thread));
    OK(cudaStreamWaitEvent(s, never, 0));
    EXPECT_EQ(cudaStreamWaitEvent(s, outside, 0), cudaErrorStreamCaptureIsolation);
    expect_spoiled(s, a);

    OK(cudaStreamBeginCapture(s, by_thread));
    OK(cudaStreamBeginCapture(t, by_thread));
    OK(cudaEventRecord(in_s, s));
    EXPECT_EQ(cudaStreamWaitEvent(t, in_s, 0), cudaErrorStreamCaptureMerge);
    EXPECT_EQ(cudaStreamEndCapture(t, &graph), cudaErrorStreamCaptureInvalidated);
    expect_spoiled(s, a);

    OK(cudaStreamBeginCapture(t, by_thread));
    OK(cudaEventRecord(in_t, t));
    EXPECT_EQ(cudaStreamWaitEvent(nullptr, in_t, 0), cudaErrorStreamCaptureImplicit);
    expect_spoiled(t, a);
    EXPECT_EQ(cudaStreamWaitEvent(u, in_t, 0), cudaErrorCapturedEvent); // its capture is over
}

TEST_F(SimCapture, IsSpoiledByWhatCudaForbids)
{
    Stream s, other;
    Event inside, outside;
    Floats a(1, 1), b(1, 1);
    float host, ms;
    void *p;
    OK(cudaEventRecord(outside, other));
    OK(cudaDeviceSynchronize());
    const cudaError_t unsupported = cudaErrorStreamCaptureUnsupported;
    const struct {
        const char *what;
        std::function<cudaError_t()> call;
        cudaError_t want;
    } calls[] = {
        {"wait for it", [&] { return cudaStreamSynchronize(s); }, unsupported},
        {"ask it", [&] { return cudaStreamQuery(s); }, unsupported},
        {"destroy it", [&] { return cudaStreamDestroy(s); }, unsupported},
        {"wait for the device", [&] { return cudaDeviceSynchronize(); }, unsupported},
        {"malloc", [&] { return cudaMalloc(&p, 4); }, unsupported},
        {"free", [&] { return cudaFree(b); }, unsupported},
        {"copy", [&] { return cudaMemcpy(&host, b, 4, cudaMemcpyDefault); }, unsupported},
        {"memset", [&] { return cudaMemset(b, 0, 4); }, unsupported},
        {"ask outside", [&] { return cudaEventQuery(outside); }, unsupported},
        {"ask inside", [&] { return cudaEventQuery(inside); }, cudaErrorCapturedEvent},
        {"wait inside", [&] { return cudaEventSynchronize(inside); }, cudaErrorCapturedEvent},
        {"time inside", [&] { return cudaEventElapsedTime(&ms, inside, inside); },
         cudaErrorCapturedEvent},
    };
    for (auto &c : calls) {
        SCOPED_TRACE(c.what);
        OK(cudaStreamBeginCapture(s, by_thread));
        OK(add(s, a, a, 1, 1));
        OK(cudaEventRecord(inside, s));
        EXPECT_EQ(c.call(), c.want);
        expect_spoiled(s, a);
    }
    EXPECT_EQ(b.get()[0], 1);
}

TEST_F(SimCapture, LetsHarmlessCallsThrough)
{
    Stream s, other;
    Event e;
    Floats a(1, 1), b(1, 1);
    size_t n;
    OK(cudaStreamBeginCapture(s, by_thread));
    OK(add(s, a, a, 1, 1));
    OK(add(other, b, b, 1, 1));
    OK(cudaEventRecord(e, other));
    OK(cudaMemGetInfo(&n, &n));
    OK(cudaFuncSetAttribute(add_entry.fn, cudaFuncAttributeMaxDynamicSharedMemorySize, 65536));
    EXPECT_EQ(launch(add_entry, &n, s, {0, 1, 1}), cudaErrorInvalidConfiguration);
    EXPECT_EQ(status(s), cudaStreamCaptureStatusActive);
    end_and_run(s);
    EXPECT_EQ(a.get()[0], 2);
}

// Whom a capture hinders depends on its mode.
TEST_F(SimCapture, ModesSayWhoMayNotAllocate)
{
    Stream s;
    Floats a(1, 1);
    const struct {
        cudaStreamCaptureMode mode;
        bool own, others;
    } modes[] = {{cudaStreamCaptureModeGlobal, false, false},
                 {cudaStreamCaptureModeThreadLocal, false, true},
                 {cudaStreamCaptureModeRelaxed, true, true}};
    for (auto &m : modes)
        for (bool own : {true, false}) {
            bool allowed = own ? m.own : m.others;
            auto try_it = [&] {
                void *p;
                cudaError_t e = cudaMalloc(&p, 4);
                EXPECT_EQ(e, allowed ? cudaSuccess : cudaErrorStreamCaptureUnsupported);
                if (e == cudaSuccess) {
                    EXPECT_EQ(cudaFree(p), cudaSuccess);
                }
            };
            OK(cudaStreamBeginCapture(s, m.mode));
            if (own)
                try_it();
            else
                std::thread(try_it).join();
            if (allowed)
                end_and_run(s);
            else
                expect_spoiled(s, a);
        }
    EXPECT_EQ(cudaStreamBeginCapture(s, (cudaStreamCaptureMode)3), cudaErrorInvalidValue);
}

TEST_F(SimCapture, OfABlockingStreamBarsTheLegacyStream)
{
    Stream s(cudaStreamDefault);
    Floats a(1, 1);
    cudaStreamCaptureStatus state;
    float host;
    OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeRelaxed));
    EXPECT_EQ(cudaStreamIsCapturing(nullptr, &state), cudaErrorStreamCaptureImplicit);
    EXPECT_EQ(status(s), cudaStreamCaptureStatusActive);
    EXPECT_EQ(add(nullptr, a, a, 1, 1), cudaErrorStreamCaptureImplicit);
    expect_spoiled(s, a);
    OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeRelaxed));
    EXPECT_EQ(cudaMemcpy(&host, a, 4, cudaMemcpyDefault), cudaErrorStreamCaptureImplicit);
    expect_spoiled(s, a);
    Stream free;
    OK(cudaStreamBeginCapture(free, cudaStreamCaptureModeRelaxed));
    OK(add(nullptr, a, a, 1, 1));
    end_and_run(free);
}

TEST_F(SimCapture, OfALaunchedGraphMakesItAChild)
{
    Stream s;
    Floats a(1, 1);
    cudaGraph_t inner;
    cudaGraphExec_t exec;
    OK(cudaStreamBeginCapture(s, by_thread));
    OK(add(s, a, a, 1, 1));
    OK(cudaStreamEndCapture(s, &inner));
    OK(cudaGraphInstantiate(&exec, inner, 0));
    OK(cudaStreamBeginCapture(s, by_thread));
    OK(cudaGraphLaunch(exec, s));
    OK(cudaGraphLaunch(exec, s));
    OK(cudaGraphExecDestroy(exec));
    OK(cudaGraphDestroy(inner));
    end_and_run(s);
    EXPECT_EQ(a.get()[0], 3);
}

} // namespace
