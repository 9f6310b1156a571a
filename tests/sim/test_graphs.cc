// SPDX-License-Identifier: Apache-2.0
//
// Graphs of the emulated CUDA runtime: made by hand, updated, with loops and branches inside.
#include "tests/sim/kernels.h"

using namespace simtest;

namespace
{

const cudaStreamCaptureMode by_thread = cudaStreamCaptureModeThreadLocal;

class SimGraphs : public RuntimeTest
{
  protected:
    void SetUp() override
    {
        RuntimeTest::SetUp();
        OK(cudaGraphCreate(&graph, 0));
    }
    void TearDown() override
    {
        if (exec) {
            EXPECT_EQ(cudaGraphExecDestroy(exec), cudaSuccess);
        }
        EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
        RuntimeTest::TearDown();
    }
    cudaError_t node(cudaGraphNodeParams *p, std::vector<cudaGraphNode_t> after = {})
    {
        return cudaGraphAddNode(&last, graph, after.data(), nullptr, after.size(), p);
    }
    cudaError_t add_node(float *a, float delta, std::vector<cudaGraphNode_t> after = {})
    {
        AddParams params = {a, a, 1, delta};
        void *args[] = {&params};
        cudaGraphNodeParams p = {};
        p.type = cudaGraphNodeTypeKernel;
        p.kernel.func = (void *)add_entry.fn;
        p.kernel.gridDim = {1, 1, 1};
        p.kernel.blockDim = {32, 1, 1};
        p.kernel.kernelParams = args;
        return node(&p, after);
    }
    // A conditional node; its first body graph comes back in `body`, its second in `other`.
    void conditional(cudaGraphConditionalNodeType type, unsigned size, unsigned start)
    {
        OK(cudaGraphConditionalHandleCreate(&handle, graph, start, cudaGraphCondAssignDefault));
        cudaGraphNodeParams p = {};
        p.type = cudaGraphNodeTypeConditional;
        p.conditional.handle = handle;
        p.conditional.type = type;
        p.conditional.size = size;
        OK(node(&p, last ? std::vector<cudaGraphNode_t>{last} : std::vector<cudaGraphNode_t>{}));
        body = p.conditional.phGraph_out[0];
        other = size > 1 ? p.conditional.phGraph_out[1] : nullptr;
    }
    void begin_body(cudaStream_t s, cudaGraph_t into)
    {
        OK(cudaStreamBeginCaptureToGraph(s, into, nullptr, nullptr, 0, by_thread));
    }
    void end_body(cudaStream_t s, cudaGraph_t into)
    {
        cudaGraph_t ended;
        OK(cudaStreamEndCapture(s, &ended));
        EXPECT_EQ(ended, into);
    }
    cudaGraph_t graph, body, other;
    cudaGraphExec_t exec = nullptr;
    cudaGraphNode_t last = nullptr;
    cudaGraphConditionalHandle handle;
};

TEST_F(SimGraphs, OfAllKindsOfNodes)
{
    Stream s;
    Floats a(4, 1);
    float host = 0;
    OK(add_node(a, 4));
    cudaGraphNode_t first = last;
    cudaGraphNodeParams set = {};
    set.type = cudaGraphNodeTypeMemset;
    set.memset.dst = a + 1;
    set.memset.value = 0x40400000; // 3.0f
    set.memset.elementSize = 4;
    set.memset.width = 3;
    set.memset.height = 1;
    OK(node(&set));
    cudaGraphNode_t second = last;
    cudaGraphNodeParams empty = {};
    empty.type = cudaGraphNodeTypeEmpty;
    OK(node(&empty, {first, second}));
    cudaGraphNodeParams copy = {};
    copy.type = cudaGraphNodeTypeMemcpy;
    copy.memcpy.copyParams.dstPtr.ptr = &host;
    copy.memcpy.copyParams.srcPtr.ptr = a + 3;
    copy.memcpy.copyParams.extent = {4, 1, 1};
    copy.memcpy.copyParams.kind = cudaMemcpyDeviceToHost;
    OK(node(&copy, {last}));
    OK(cudaGraphInstantiate(&exec, graph, 0));
    OK(cudaGraphLaunch(exec, s));
    OK(cudaStreamSynchronize(s));
    EXPECT_EQ(host, 3);
    EXPECT_EQ(a.get(), (std::vector<float>{5, 3, 3, 3}));
}

TEST_F(SimGraphs, AMemsetOfRowsLeavesWhatIsBetweenThem)
{
    Stream s;
    Floats a(6, 1);
    cudaGraphNodeParams set = {};
    set.type = cudaGraphNodeTypeMemset;
    set.memset = {a, 12, 0, 4, 2, 2};
    OK(node(&set));
    OK(cudaGraphInstantiate(&exec, graph, 0));
    OK(cudaGraphLaunch(exec, s));
    EXPECT_EQ(a.get(), (std::vector<float>{0, 0, 1, 0, 0, 1}));
}

TEST_F(SimGraphs, RefuseNodesThatCannotBe)
{
    Floats a(4, 1);
    float host;
    OK(add_node(a, 1));
    cudaGraphNode_t own = last;
    cudaGraph_t foreign;
    OK(cudaGraphCreate(&foreign, 0));
    cudaGraphNodeParams p = {};
    p.type = cudaGraphNodeTypeEmpty;
    EXPECT_EQ(cudaGraphAddNode(&last, foreign, &own, nullptr, 1, &p), cudaErrorInvalidValue);
    OK(cudaGraphDestroy(foreign));
    EXPECT_EQ(cudaGraphDestroy(foreign), cudaErrorInvalidValue);
    EXPECT_EQ(cudaGraphAddNode(&last, foreign, nullptr, nullptr, 0, &p), cudaErrorInvalidValue);
    p.type = cudaGraphNodeTypeHost;
    EXPECT_EQ(node(&p), cudaErrorNotSupported);
    p = {};
    p.type = cudaGraphNodeTypeMemset;
    p.memset = {a, 0, 0, 3, 1, 1};
    EXPECT_EQ(node(&p), cudaErrorInvalidValue); // elements of 3 bytes
    p.memset = {a, 0, 0, 4, 5, 1};
    EXPECT_EQ(node(&p), cudaErrorInvalidValue); // beyond the end
    p.memset = {&host, 0, 0, 4, 1, 1};
    EXPECT_EQ(node(&p), cudaErrorInvalidValue);
    p = {};
    p.type = cudaGraphNodeTypeConditional;
    p.conditional = {77, cudaGraphCondTypeIf, 1, nullptr};
    EXPECT_EQ(node(&p), cudaErrorInvalidValue); // no such handle
    EXPECT_EQ(cudaGraphInstantiate(&exec, foreign, 0), cudaErrorInvalidValue);
    EXPECT_EQ(cudaGraphLaunch((cudaGraphExec_t)&host, nullptr), cudaErrorInvalidValue);
    exec = nullptr;
}

TEST_F(SimGraphs, CloneTheirChildren)
{
    Stream s;
    Floats a(1, 1);
    cudaGraph_t child;
    OK(cudaStreamBeginCapture(s, by_thread));
    OK(add(s, a, a, 1, 1));
    OK(cudaStreamEndCapture(s, &child));
    cudaGraphNodeParams p = {};
    p.type = cudaGraphNodeTypeGraph;
    p.graph.graph = child;
    OK(node(&p));
    OK(node(&p, {last}));
    OK(cudaGraphDestroy(child));
    OK(cudaGraphInstantiate(&exec, graph, 0));
    OK(cudaGraphLaunch(exec, s));
    EXPECT_EQ(a.get()[0], 3);
}

TEST_F(SimGraphs, NewParametersConcernLaterLaunchesOnly)
{
    Stream s;
    Floats a(1, 1), b(1, 1);
    OK(add_node(a, 1));
    OK(cudaGraphInstantiate(&exec, graph, 0));
    OK(cudaGraphLaunch(exec, s));
    AddParams params = {b, b, 1, 10};
    void *args[] = {&params};
    cudaKernelNodeParams p = {};
    p.func = (void *)add_entry.fn;
    p.gridDim = {1, 1, 1};
    p.blockDim = {32, 1, 1};
    p.kernelParams = args;
    OK(cudaGraphExecKernelNodeSetParams(exec, last, &p));
    params.delta = 99; // it was copied
    OK(cudaGraphLaunch(exec, s));
    EXPECT_EQ(a.get()[0], 2);
    EXPECT_EQ(b.get()[0], 11);
    p.blockDim = {2000, 1, 1};
    EXPECT_EQ(cudaGraphExecKernelNodeSetParams(exec, last, &p), cudaErrorInvalidConfiguration);
    p.blockDim = {32, 1, 1};
    EXPECT_EQ(cudaGraphExecKernelNodeSetParams(exec, nullptr, &p), cudaErrorInvalidValue);
}

TEST_F(SimGraphs, LaunchesOfOneObjectDoNotOverlap)
{
    for (unsigned seed = 1; seed < 10; seed++) {
        Floats a(1, 0);
        Stream s, t;
        OK(add_node(a, 1));
        OK(cudaGraphInstantiate(&exec, graph, 0));
        float first, second;
        OK(cudaGraphLaunch(exec, s));
        OK(cudaMemcpyAsync(&first, a, 4, cudaMemcpyDeviceToHost, s));
        OK(cudaGraphLaunch(exec, t));
        OK(cudaMemcpyAsync(&second, a, 4, cudaMemcpyDeviceToHost, t));
        OK(cudaStreamSynchronize(t));
        EXPECT_EQ(second, 2);
        OK(cudaStreamSynchronize(s));
        OK(cudaGraphExecDestroy(exec));
        exec = nullptr;
        OK(cudaGraphDestroy(graph));
        OK(cudaDeviceSynchronize());
        if (seed > 1) {
            EXPECT_TRUE(first == 1 || first == 2);
        }
        OK(cudaGraphCreate(&graph, 0));
    }
}

TEST_F(SimGraphs, AreUpdatedAsAWholeIfTheirShapeIsTheSame)
{
    Stream s;
    Floats a(1, 1), b(1, 1);
    cudaGraph_t next;
    cudaGraphExecUpdateResultInfo info;
    OK(add_node(a, 1));
    OK(add_node(a, 1, {last}));
    OK(cudaGraphInstantiate(&exec, graph, 0));
    OK(cudaGraphLaunch(exec, s));
    auto capture = [&](auto body) {
        OK(cudaStreamBeginCapture(s, by_thread));
        body();
        OK(cudaStreamEndCapture(s, &next));
    };
    capture([&] {
        OK(add(s, b, b, 1, 5));
        OK(add(s, b, b, 1, 5));
    });
    OK(cudaGraphExecUpdate(exec, next, &info));
    EXPECT_EQ(info.result, cudaGraphExecUpdateSuccess);
    OK(cudaGraphDestroy(next));
    OK(cudaGraphLaunch(exec, s));
    EXPECT_EQ(a.get()[0], 3);
    EXPECT_EQ(b.get()[0], 11);

    capture([&] { OK(add(s, b, b, 1, 5)); });
    EXPECT_EQ(cudaGraphExecUpdate(exec, next, &info), cudaErrorGraphExecUpdateFailure);
    EXPECT_EQ(info.result, cudaGraphExecUpdateErrorTopologyChanged);
    OK(cudaGraphDestroy(next));
    capture([&] {
        OK(add(s, b, b, 1, 5));
        OK(cudaMemsetAsync(b, 0, 4, s));
    });
    EXPECT_EQ(cudaGraphExecUpdate(exec, next, &info), cudaErrorGraphExecUpdateFailure);
    EXPECT_EQ(info.result, cudaGraphExecUpdateErrorNodeTypeChanged);
    EXPECT_NE(info.errorNode, nullptr);
    OK(cudaGraphDestroy(next));
    cudaGraph_t chain = graph;
    OK(cudaGraphCreate(&graph, 0)); // as many nodes, but side by side
    OK(add_node(b, 1));
    OK(add_node(a, 1));
    EXPECT_EQ(cudaGraphExecUpdate(exec, graph, &info), cudaErrorGraphExecUpdateFailure);
    EXPECT_EQ(info.result, cudaGraphExecUpdateErrorTopologyChanged);
    EXPECT_EQ(info.errorNode, last);
    OK(cudaGraphDestroy(chain));
    OK(cudaGraphLaunch(exec, s)); // as it was
    EXPECT_EQ(b.get()[0], 21);
}

TEST_F(SimGraphs, AWhileNodeRunsUntilItsKernelSaysStop)
{
    for (unsigned seed : {0, 5}) {
        setenv("REFOLD_SIM_SCHED", std::to_string(seed).c_str(), 1);
        Stream s;
        Floats counter(1, 0), a(1, 0);
        cudaGraphNodeParams set = {}; // the counter begins anew with each launch
        set.type = cudaGraphNodeTypeMemset;
        set.memset = {counter, 0, 0, 4, 1, 1};
        OK(node(&set));
        conditional(cudaGraphCondTypeWhile, 1, 1);
        begin_body(s, body);
        OK(add(s, a, a, 1, 1));
        OK(count(s, counter, 5, handle));
        end_body(s, body);
        OK(cudaGraphInstantiate(&exec, graph, 0));
        cudaGraphExec_t again;
        EXPECT_EQ(cudaGraphInstantiate(&again, graph, 0), cudaErrorNotSupported);
        OK(cudaGraphLaunch(exec, s));
        OK(cudaGraphLaunch(exec, s));
        EXPECT_EQ(a.get()[0], 10);
        EXPECT_EQ(counter.get()[0], 5);
        OK(cudaGraphExecDestroy(exec));
        OK(cudaGraphDestroy(graph));
        OK(cudaGraphCreate(&graph, 0));
        exec = nullptr;
        last = nullptr;
    }
}

TEST_F(SimGraphs, AnIfNodeTakesOneOfItsBodies)
{
    for (float limit : {0.0f, 2.0f}) {
        Stream s;
        Floats counter(1, 0), a(1, 0);
        cudaGraphConditionalHandle outer;
        OK(cudaGraphConditionalHandleCreate(&outer, graph, 0, 0));
        CountParams params = {counter, limit, outer};
        void *args[] = {&params};
        cudaGraphNodeParams p = {};
        p.type = cudaGraphNodeTypeKernel;
        p.kernel.func = (void *)count_entry.fn;
        p.kernel.gridDim = {1, 1, 1};
        p.kernel.blockDim = {32, 1, 1};
        p.kernel.kernelParams = args;
        OK(node(&p));
        p = {};
        p.type = cudaGraphNodeTypeConditional;
        p.conditional = {outer, cudaGraphCondTypeIf, 2, nullptr};
        EXPECT_EQ(cudaGraphInstantiate(&exec, graph, 0), cudaErrorInvalidValue); // unused handle
        OK(node(&p, {last}));
        for (int i = 0; i < 2; i++) {
            cudaGraph_t b = p.conditional.phGraph_out[i];
            begin_body(s, b);
            OK(add(s, a, a, 1, i ? 100 : 7));
            end_body(s, b);
        }
        OK(cudaGraphInstantiate(&exec, graph, 0));
        OK(cudaGraphLaunch(exec, s));
        EXPECT_EQ(a.get()[0], limit > 0 ? 7 : 100);
        OK(cudaGraphExecDestroy(exec));
        exec = nullptr;
        OK(cudaGraphDestroy(graph));
        OK(cudaGraphCreate(&graph, 0));
    }
}

TEST_F(SimGraphs, ConditionalsNest)
{
    Stream s;
    Floats outer(1, 0), inner(1, 0), a(1, 0);
    conditional(cudaGraphCondTypeWhile, 1, 1);
    cudaGraphConditionalHandle outer_handle = handle, inner_handle;
    cudaGraph_t outer_body = body;
    EXPECT_EQ(cudaGraphDestroy(outer_body), cudaErrorInvalidValue); // its node's
    OK(cudaGraphConditionalHandleCreate(&inner_handle, graph, 0, 0));
    begin_body(s, outer_body);
    EXPECT_EQ(cudaGraphDestroy(graph), cudaErrorInvalidValue); // being captured into
    OK(cudaMemsetAsync(inner, 0, 4, s));
    OK(count(s, inner, 3, inner_handle)); // 1 < 3: go
    const cudaGraphNode_t *tail;
    cudaStreamCaptureStatus state;
    size_t n;
    OK(cudaStreamGetCaptureInfo(s, &state, nullptr, nullptr, &tail, nullptr, &n));
    cudaGraphNode_t before = tail[0];
    OK(count(s, outer, 2, outer_handle));
    end_body(s, outer_body);
    cudaGraphNodeParams p = {};
    p.type = cudaGraphNodeTypeConditional;
    p.conditional = {inner_handle, cudaGraphCondTypeWhile, 1, nullptr};
    OK(cudaGraphAddNode(&last, outer_body, &before, nullptr, 1, &p));
    begin_body(s, p.conditional.phGraph_out[0]);
    OK(add(s, a, a, 1, 1));
    OK(count(s, inner, 3, inner_handle));
    end_body(s, p.conditional.phGraph_out[0]);
    OK(cudaGraphInstantiate(&exec, graph, 0));
    OK(cudaGraphLaunch(exec, s));
    EXPECT_EQ(outer.get()[0], 2);
    EXPECT_EQ(a.get()[0], 4); // two rounds of two
}

TEST_F(SimGraphs, LeftBehindAreCounted)
{
    OK(cudaGraphInstantiate(&exec, graph, 0));
    EXPECT_STREQ(rf_sim_leaks(), "1 graph, 1 instantiated graph");
}

// What a recorded copy reads must still be there when it runs.
TEST_F(SimGraphs, ThatUseFreedMemoryEndTheContext)
{
    Stream *s = new Stream;
    Floats *a = new Floats(1, 1);
    float host;
    cudaGraphNodeParams copy = {};
    copy.type = cudaGraphNodeTypeMemcpy;
    copy.memcpy.copyParams.dstPtr.ptr = &host;
    copy.memcpy.copyParams.srcPtr.ptr = *a;
    copy.memcpy.copyParams.extent = {4, 1, 1};
    copy.memcpy.copyParams.kind = cudaMemcpyDefault;
    OK(node(&copy));
    OK(cudaGraphInstantiate(&exec, graph, 0));
    delete a;
    OK(cudaGraphLaunch(exec, *s));
    EXPECT_EQ(cudaStreamSynchronize(*s), cudaErrorIllegalAddress);
    EXPECT_TRUE(is_poison(host));
    rf_sim_reset();
    operator delete(s);
    exec = nullptr;
    OK(cudaGraphCreate(&graph, 0));
}

} // namespace
