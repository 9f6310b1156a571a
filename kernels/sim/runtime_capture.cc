// SPDX-License-Identifier: Apache-2.0
//
// Stream capture: work becomes nodes, events carry the capture to other streams. What CUDA forbids
// meanwhile fails here as it does there, and spoils the capture: only cudaStreamEndCapture is of
// use then.
#include "kernels/sim/runtime.h"

#include <algorithm>

namespace sim
{
namespace
{

void add_to_tail(CUstream_st *s, const std::vector<CUgraphNode_st *> &nodes)
{
    for (CUgraphNode_st *n : nodes)
        if (std::find(s->tail.begin(), s->tail.end(), n) == s->tail.end())
            s->tail.push_back(n);
}

// Whether everything captured on the streams that joined is before the origin's tail.
bool is_joined(const Capture *c)
{
    std::set<CUgraphNode_st *> seen;
    std::vector<CUgraphNode_st *> left = c->origin->tail;
    while (!left.empty()) {
        CUgraphNode_st *n = left.back();
        left.pop_back();
        if (seen.insert(n).second)
            left.insert(left.end(), n->after.begin(), n->after.end());
    }
    for (auto &entry : state().streams)
        if (entry.second->capture.get() == c)
            for (CUgraphNode_st *n : entry.second->tail)
                if (!seen.count(n))
                    return false;
    return true;
}

cudaError_t begin(cudaStream_t stream, cudaStreamCaptureMode mode, CUgraph_st *into,
                  std::vector<CUgraphNode_st *> tail)
{
    State &st = state();
    CUstream_st *s;
    cudaError_t e = find_stream(stream, &s);
    if (e != cudaSuccess)
        return e;
    if (mode < cudaStreamCaptureModeGlobal || mode > cudaStreamCaptureModeRelaxed)
        return cudaErrorInvalidValue;
    if (s->queue->legacy)
        return cudaErrorStreamCaptureUnsupported;
    if (s->capture)
        return cudaErrorIllegalState;
    auto c = std::make_shared<Capture>();
    c->id = ++st.n_captures;
    if (!into)
        c->owned = std::make_unique<CUgraph_st>();
    c->graph = into ? into : c->owned.get();
    c->origin = s;
    c->mode = mode;
    c->thread = std::this_thread::get_id();
    s->capture = c;
    s->tail = std::move(tail);
    st.captures.insert(c);
    return cudaSuccess;
}

void end(const std::shared_ptr<Capture> &c)
{
    c->ended = true;
    for (auto &entry : state().streams)
        if (entry.second->capture == c) {
            entry.second->capture.reset();
            entry.second->tail.clear();
        }
    state().captures.erase(c);
}

cudaStreamCaptureStatus status_of(const CUstream_st *s)
{
    if (!s->capture)
        return cudaStreamCaptureStatusNone;
    return s->capture->valid ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusInvalidated;
}

// The legacy stream has no status while a blocking stream captures; asking spoils nothing.
cudaError_t find_stream_of_capture(cudaStream_t handle, CUstream_st **out)
{
    cudaError_t e = find_stream(handle, out);
    if (e != cudaSuccess || !(*out)->queue->legacy)
        return e;
    for (auto &entry : state().streams)
        if (entry.second->capture && entry.second->queue->blocking)
            return cudaErrorStreamCaptureImplicit;
    return cudaSuccess;
}

} // namespace

cudaError_t forbid(Capture *c, cudaError_t e)
{
    c->valid = false;
    return e;
}

cudaError_t check_unsafe()
{
    cudaError_t e = cudaSuccess;
    for (auto &c : state().captures)
        if (c->mode == cudaStreamCaptureModeGlobal ||
            (c->mode == cudaStreamCaptureModeThreadLocal &&
             c->thread == std::this_thread::get_id()))
            e = forbid(c.get(), cudaErrorStreamCaptureUnsupported);
    return e;
}

cudaError_t check_legacy()
{
    cudaError_t e = cudaSuccess;
    for (auto &entry : state().streams)
        if (entry.second->capture && entry.second->queue->blocking)
            e = forbid(entry.second->capture.get(), cudaErrorStreamCaptureImplicit);
    return e;
}

cudaError_t capture_work(CUstream_st *s, Work &&w)
{
    if (!s->capture->valid)
        return cudaErrorStreamCaptureInvalidated;
    s->tail = {add_node(s->capture->graph, std::move(w), s->tail)};
    return cudaSuccess;
}

cudaError_t capture_wait(CUstream_st *s, CUevent_st *e)
{
    if (!e->capture) { // s captures, the event's work is outside
        if (!e->op)
            return cudaSuccess; // never recorded: nothing to wait for
        return forbid(s->capture.get(), cudaErrorStreamCaptureIsolation);
    }
    if (e->capture->ended)
        return s->capture ? forbid(s->capture.get(), cudaErrorStreamCaptureIsolation)
                          : cudaErrorCapturedEvent;
    if (!e->capture->valid || (s->capture && !s->capture->valid))
        return cudaErrorStreamCaptureInvalidated;
    if (s->queue->legacy)
        return forbid(e->capture.get(), cudaErrorStreamCaptureImplicit);
    if (s->capture && s->capture != e->capture) {
        forbid(s->capture.get(), cudaErrorStreamCaptureMerge);
        return forbid(e->capture.get(), cudaErrorStreamCaptureMerge);
    }
    s->capture = e->capture;
    add_to_tail(s, e->nodes);
    return cudaSuccess;
}

} // namespace sim

using namespace sim;

extern "C" {

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode)
{
    return call(__func__, [&] { return begin(stream, mode, nullptr, {}); });
}

cudaError_t cudaStreamBeginCaptureToGraph(cudaStream_t stream, cudaGraph_t graph,
                                          const cudaGraphNode_t *after, const cudaGraphEdgeData *,
                                          size_t n, cudaStreamCaptureMode mode)
{
    return call(__func__, [&] {
        if (!graph_handles.count(graph))
            return cudaErrorInvalidValue;
        return begin(stream, mode, graph, {after, after + n});
    });
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *out)
{
    return call(__func__, [&] {
        *out = nullptr;
        CUstream_st *s;
        cudaError_t e = find_stream(stream, &s);
        if (e != cudaSuccess)
            return e;
        std::shared_ptr<Capture> c = s->capture;
        if (!c)
            return cudaErrorIllegalState;
        if (c->origin != s)
            return forbid(c.get(), cudaErrorStreamCaptureUnmatched);
        if (c->mode != cudaStreamCaptureModeRelaxed && c->thread != std::this_thread::get_id())
            return forbid(c.get(), cudaErrorStreamCaptureWrongThread);
        if (!c->valid)
            e = cudaErrorStreamCaptureInvalidated;
        else if (!is_joined(c.get()))
            e = cudaErrorStreamCaptureUnjoined;
        end(c);
        if (e != cudaSuccess)
            return e;
        *out = c->graph;
        if (c->owned)
            state().graphs.emplace(c->graph, std::move(c->owned));
        return cudaSuccess;
    });
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus *out)
{
    return call(__func__, [&] {
        CUstream_st *s;
        cudaError_t e = find_stream_of_capture(stream, &s);
        if (e == cudaSuccess)
            *out = status_of(s);
        return e;
    });
}

cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, cudaStreamCaptureStatus *status,
                                     unsigned long long *id, cudaGraph_t *graph,
                                     const cudaGraphNode_t **tail, const cudaGraphEdgeData **edges,
                                     size_t *n)
{
    return call(__func__, [&] {
        CUstream_st *s;
        cudaError_t e = find_stream_of_capture(stream, &s);
        if (e != cudaSuccess)
            return e;
        if (edges && !tail)
            return cudaErrorInvalidValue;
        if ((*status = status_of(s)) != cudaStreamCaptureStatusActive)
            return cudaSuccess;
        if (id)
            *id = s->capture->id;
        if (graph)
            *graph = s->capture->graph;
        if (tail)
            *tail = s->tail.data();
        if (edges)
            *edges = nullptr; // all are plain
        if (n)
            *n = s->tail.size();
        return cudaSuccess;
    });
}
}
