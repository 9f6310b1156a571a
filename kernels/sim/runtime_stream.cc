// SPDX-License-Identifier: Apache-2.0
//
// Streams and events. Work waits in its stream's queue until somebody waits for it, or for work
// behind it; then what is needed runs, and with a schedule seed also other work that could. The
// legacy stream waits for what blocking streams hold before it, and they for it.
#include "kernels/sim/runtime.h"

namespace sim
{
namespace
{

bool can_run(const Op &op)
{
    for (auto &before : op.after)
        if (!before->done)
            return false;
    return true;
}

void finish(Op *op)
{
    op->done = true;
    op->at = state().clock;
    op->work = Work();
    op->after.clear();
    op->sources.clear();
    op->queue.reset();
}

// The first op of a queue.
cudaError_t run_first(const std::shared_ptr<Queue> &queue)
{
    std::shared_ptr<Op> op = queue->ops.front();
    cudaError_t e = execute_op(op->work, op->sources);
    if (e != cudaSuccess)
        return set_sticky(e);
    queue->ops.pop_front();
    finish(op.get());
    return cudaSuccess;
}

// The queue whose first op must run before `op` can; its own if nothing else is missing.
std::shared_ptr<Queue> needed_for(const Op *op)
{
    for (;;) {
        const Op *first = op->queue->ops.front().get();
        const Op *missing = nullptr;
        for (auto &before : first->after)
            if (!before->done)
                missing = before.get();
        if (!missing)
            return first->queue;
        op = missing;
    }
}

// Some queue that could go on; NULL: none.
std::shared_ptr<Queue> any_ready()
{
    State &s = state();
    std::vector<std::shared_ptr<Queue>> ready;
    for (auto &q : s.queues)
        if (!q->ops.empty() && can_run(*q->ops.front()))
            ready.push_back(q);
    return ready.empty() ? nullptr : ready[s.schedule ? s.random() % ready.size() : 0];
}

// Queues of destroyed streams, once empty.
void remove_orphans()
{
    auto &queues = state().queues;
    for (auto q = queues.begin(); q != queues.end();)
        q = (*q)->ops.empty() && q->use_count() == 1 ? queues.erase(q) : std::next(q);
}

void enqueue(CUstream_st *s, Work &&w, const std::shared_ptr<Op> &after, std::shared_ptr<Op> *out)
{
    auto op = std::make_shared<Op>();
    prepare_host(w, &op->sources);
    op->work = std::move(w);
    op->queue = s->queue;
    if (after && !after->done)
        op->after.push_back(after);
    for (auto &q : state().queues)
        if (!q->ops.empty() &&
            ((s->queue->legacy && q->blocking) || (s->queue->blocking && q->legacy)))
            op->after.push_back(q->ops.back());
    s->queue->ops.push_back(op);
    s->last = op;
    if (out)
        *out = op;
}

} // namespace

cudaError_t find_stream(cudaStream_t handle, CUstream_st **out)
{
    State &s = state();
    if (!handle || handle == cudaStreamLegacy) {
        *out = &s.legacy;
        return cudaSuccess;
    }
    auto found = s.streams.find(handle);
    *out = found == s.streams.end() ? nullptr : found->second.get();
    return *out ? cudaSuccess : cudaErrorInvalidResourceHandle;
}

cudaError_t find_event(cudaEvent_t handle, CUevent_st **out)
{
    auto found = state().events.find(handle);
    *out = found == state().events.end() ? nullptr : found->second.get();
    return *out ? cudaSuccess : cudaErrorInvalidResourceHandle;
}

cudaError_t submit(CUstream_st *s, Work &&w, std::shared_ptr<Op> *out, std::shared_ptr<Op> after)
{
    if (s->capture)
        return capture_work(s, std::move(w));
    if (s->queue->legacy) {
        cudaError_t e = check_legacy();
        if (e != cudaSuccess)
            return e;
    }
    enqueue(s, std::move(w), after, out);
    return cudaSuccess;
}

cudaError_t run_until(const std::shared_ptr<Op> &op)
{
    State &s = state();
    cudaError_t e = s.sticky;
    if (op && !op->done) {
        Access access;
        while (e == cudaSuccess && !op->done)
            e = run_first(s.schedule ? any_ready() : needed_for(op.get()));
        // Others may have come any distance meanwhile.
        while (e == cudaSuccess && s.schedule && s.random() % 4)
            if (auto q = any_ready())
                e = run_first(q);
            else
                break;
    }
    check_guards();
    return e;
}

cudaError_t run_all()
{
    State &s = state();
    cudaError_t e = s.sticky;
    Access access;
    while (e == cudaSuccess) {
        auto q = any_ready();
        if (!q)
            break;
        e = run_first(q);
    }
    check_guards();
    return e;
}

void drop_all()
{
    for (auto &q : state().queues)
        while (!q->ops.empty()) {
            finish(q->ops.front().get());
            q->ops.pop_front();
        }
}

namespace
{

cudaError_t create_event(cudaEvent_t *out, unsigned flags)
{
    if (flags & ~(unsigned)(cudaEventDisableTiming | cudaEventBlockingSync))
        return cudaErrorInvalidValue;
    auto e = std::make_unique<CUevent_st>();
    e->timed = !(flags & cudaEventDisableTiming);
    *out = e.get();
    state().events.emplace(*out, std::move(e));
    return cudaSuccess;
}

// For the calls that ask whether an event has happened.
cudaError_t find_askable(cudaEvent_t handle, CUevent_st **out)
{
    cudaError_t e = find_event(handle, out);
    if (e != cudaSuccess)
        return e;
    if ((*out)->capture)
        return forbid((*out)->capture.get(), cudaErrorCapturedEvent);
    return check_unsafe();
}

// One step, so that whoever polls gets there.
cudaError_t poll(const std::shared_ptr<Op> &op)
{
    if (!op || op->done)
        return cudaSuccess;
    Access access;
    cudaError_t e = run_first(state().schedule ? any_ready() : needed_for(op.get()));
    return e != cudaSuccess ? e : cudaErrorNotReady;
}

cudaError_t find_waitable(cudaStream_t handle, CUstream_st **out)
{
    cudaError_t e = find_stream(handle, out);
    if (e != cudaSuccess)
        return e;
    if ((*out)->capture)
        return forbid((*out)->capture.get(), cudaErrorStreamCaptureUnsupported);
    if ((*out)->queue->legacy && (e = check_legacy()) != cudaSuccess)
        return e;
    return check_unsafe();
}

} // namespace

} // namespace sim

using namespace sim;

extern "C" {

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned flags)
{
    return call(__func__, [&] {
        if (flags != cudaStreamDefault && flags != cudaStreamNonBlocking)
            return cudaErrorInvalidValue;
        remove_orphans();
        auto s = std::make_unique<CUstream_st>();
        s->queue = std::make_shared<Queue>();
        s->queue->blocking = flags == cudaStreamDefault;
        state().queues.push_back(s->queue);
        *out = s.get();
        state().streams.emplace(*out, std::move(s));
        return cudaSuccess;
    });
}

// Returns at once; what the stream still holds will run.
cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    return call(__func__, [&] {
        CUstream_st *s;
        cudaError_t e = find_stream(stream, &s);
        if (e != cudaSuccess || s->queue->legacy)
            return cudaErrorInvalidResourceHandle;
        if (s->capture)
            return forbid(s->capture.get(), cudaErrorStreamCaptureUnsupported);
        state().streams.erase(stream);
        return cudaSuccess;
    });
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    return call(__func__, [&] {
        CUstream_st *s;
        cudaError_t e = find_waitable(stream, &s);
        if (e != cudaSuccess)
            return e;
        std::shared_ptr<Op> last;
        if (s->queue->legacy) // which waits for blocking streams even when it holds nothing
            e = submit(s, Work(), &last);
        return e == cudaSuccess ? run_until(last ? last : s->last) : e;
    });
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    return call(__func__, [&] {
        CUstream_st *s;
        cudaError_t e = find_waitable(stream, &s);
        return e == cudaSuccess ? poll(s->last) : e;
    });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags)
{
    return call(__func__, [&] {
        CUstream_st *s;
        CUevent_st *ev;
        cudaError_t e = find_stream(stream, &s);
        if (e != cudaSuccess || (e = find_event(event, &ev)) != cudaSuccess)
            return e;
        if (flags)
            return cudaErrorInvalidValue;
        if (s->capture || ev->capture)
            return capture_wait(s, ev);
        if (s->queue->legacy && (e = check_legacy()) != cudaSuccess)
            return e;
        if (ev->op && !ev->op->done)
            enqueue(s, Work(), ev->op, nullptr);
        return cudaSuccess;
    });
}

cudaError_t cudaEventCreate(cudaEvent_t *out)
{
    return call(__func__, [&] { return create_event(out, cudaEventDefault); });
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned flags)
{
    return call(__func__, [&] { return create_event(out, flags); });
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    return call(__func__, [&] {
        return state().events.erase(event) ? cudaSuccess : cudaErrorInvalidResourceHandle;
    });
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    return call(__func__, [&] {
        CUstream_st *s;
        CUevent_st *ev;
        cudaError_t e = find_stream(stream, &s);
        if (e != cudaSuccess || (e = find_event(event, &ev)) != cudaSuccess)
            return e;
        if (s->capture) {
            if (!s->capture->valid)
                return cudaErrorStreamCaptureInvalidated;
            ev->op.reset();
            ev->capture = s->capture;
            ev->nodes = s->tail;
            return cudaSuccess;
        }
        std::shared_ptr<Op> op;
        if ((e = submit(s, Work(), &op)) != cudaSuccess)
            return e;
        ev->capture.reset();
        ev->op = op;
        return cudaSuccess;
    });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    return call(__func__, [&] {
        CUevent_st *ev;
        cudaError_t e = find_askable(event, &ev);
        return e == cudaSuccess ? run_until(ev->op) : e;
    });
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    return call(__func__, [&] {
        CUevent_st *ev;
        cudaError_t e = find_askable(event, &ev);
        return e == cudaSuccess ? poll(ev->op) : e;
    });
}

// Waits for nothing: cudaErrorNotReady until both have happened.
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t end)
{
    return call(__func__, [&] {
        CUevent_st *a, *b;
        cudaError_t e = find_askable(start, &a);
        if (e != cudaSuccess || (e = find_askable(end, &b)) != cudaSuccess)
            return e;
        if (!a->op || !b->op || !a->timed || !b->timed)
            return cudaErrorInvalidResourceHandle;
        if (!a->op->done || !b->op->done)
            return cudaErrorNotReady;
        *ms = (float)(b->op->at - a->op->at);
        return cudaSuccess;
    });
}
}
