// SPDX-License-Identifier: Apache-2.0
//
// The stand-in for the CUDA runtime, inside. One lock guards everything; a call that waits runs the
// work it waits for itself, holding it. Work is a value (Work) that a stream keeps as an Op, a
// graph as a node and an instantiated graph as a step of a Program.
#ifndef RF_SIM_RUNTIME_H
#define RF_SIM_RUNTIME_H

#include <cuda_runtime_api.h>

#include "kernels/sim/grid.h"
#include "kernels/sim/simt.h"

/* Members of CUDA's structs have these names. */
#undef gridDim
#undef blockDim

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace sim
{

struct Program;
struct Capture;
struct Condition;

struct alignas(64) ParamLine {
    unsigned char bytes[64];
};

// One piece of device work; `type` says which members count.
struct Work {
    cudaGraphNodeType type = cudaGraphNodeTypeEmpty;
    // kernel
    const simt::Kernel *kernel = nullptr;
    dim3 grid, block;
    size_t shared = 0;
    std::vector<ParamLine> params;
    // copy; `staged` holds the bytes of a source that need not live so long
    void *dst = nullptr;
    const void *src = nullptr;
    size_t bytes = 0;
    std::shared_ptr<std::vector<unsigned char>> staged;
    // memset: dst, and
    unsigned value = 0, element = 1;
    size_t width = 0, height = 1, pitch = 0;
    // child graph, body graphs of a conditional node
    std::vector<std::shared_ptr<Program>> programs;
    std::shared_ptr<Condition> condition;
    cudaGraphConditionalNodeType condition_type = cudaGraphCondTypeIf;
    // launch of a graph: what gets its default value first
    std::vector<std::shared_ptr<Condition>> defaults;
};

// A host buffer that a pending copy reads, as it was when the copy was enqueued. `kept` holds its
// bytes once a copy to it is enqueued as well, and so it is poisoned.
struct HostSource {
    const void *at;
    size_t bytes;
    uint64_t hash;
    std::shared_ptr<std::vector<unsigned char>> kept;
};

struct Queue;
struct Op {
    Work work;
    std::shared_ptr<Queue> queue;
    std::vector<std::shared_ptr<Op>> after; // in other queues
    std::vector<HostSource> sources;
    bool done = false;
    double at = 0; // emulated ms, when done
};
// The work of a stream. Outlives a destroyed stream until it is empty.
struct Queue {
    std::deque<std::shared_ptr<Op>> ops;
    bool blocking = false, legacy = false;
};

struct Condition {
    unsigned long long handle;
    unsigned value, default_value;
    bool assign_default;
    bool used = false;         // by a conditional node
    bool instantiated = false; // at most once at a time
};

// An instantiated graph, or one cloned into a node.
struct Program {
    struct Step {
        Work work;
        std::vector<size_t> after;
        CUgraphNode_st *node; // it was made of
    };
    std::vector<Step> steps; // every step comes after those it depends on
};

} // namespace sim

struct CUgraphNode_st {
    sim::Work work; // a conditional's programs are made of `bodies` at instantiation
    std::vector<CUgraphNode_st *> after;
    std::vector<std::unique_ptr<CUgraph_st>> bodies;
    std::vector<CUgraph_st *> body_handles; // what phGraph_out points at
};
struct CUgraph_st {
    CUgraph_st();
    ~CUgraph_st();
    std::vector<std::unique_ptr<CUgraphNode_st>> nodes;
    std::vector<std::shared_ptr<sim::Condition>> conditions;
    CUgraph_st *parent = nullptr; // of a conditional node's body
};
struct CUgraphExec_st {
    std::shared_ptr<sim::Program> program;
    std::vector<std::shared_ptr<sim::Condition>> conditions;
    std::shared_ptr<sim::Op> last; // launches of one object run one after the other
};
struct CUstream_st {
    std::shared_ptr<sim::Queue> queue;
    std::shared_ptr<sim::Op> last;
    std::shared_ptr<sim::Capture> capture;
    std::vector<CUgraphNode_st *> tail; // what the next captured node depends on
};
struct CUevent_st {
    bool timed;
    std::shared_ptr<sim::Op> op;           // NULL: never recorded
    std::shared_ptr<sim::Capture> capture; // recorded in one
    std::vector<CUgraphNode_st *> nodes;
};

namespace sim
{

struct Capture {
    unsigned long long id;
    CUgraph_st *graph;
    std::unique_ptr<CUgraph_st> owned; // NULL: begun by cudaStreamBeginCaptureToGraph
    CUstream_st *origin;
    cudaStreamCaptureMode mode;
    std::thread::id thread;
    bool valid = true, ended = false;
};

struct State {
    State();
    cudaError_t sticky = cudaSuccess;
    uint64_t schedule;
    std::mt19937_64 random;
    double clock = 0;
    size_t memory_limit;
    std::map<std::string, std::pair<int, cudaError_t>> orders; // of rf_sim_fail
    std::map<const void *, int> max_shared;                    // cudaFuncSetAttribute

    CUstream_st legacy;
    std::vector<std::shared_ptr<Queue>> queues; // all, the legacy stream's too
    std::map<cudaStream_t, std::unique_ptr<CUstream_st>> streams;
    std::map<cudaEvent_t, std::unique_ptr<CUevent_st>> events;
    std::set<std::shared_ptr<Capture>> captures;
    unsigned long long n_captures = 0, n_conditions = 0;
    std::map<cudaGraph_t, std::unique_ptr<CUgraph_st>> graphs;
    std::map<cudaGraphExec_t, std::unique_ptr<CUgraphExec_st>> execs;
};
extern std::mutex lock;
extern std::set<CUgraph_st *> graph_handles; // all, bodies too
State &state();

// ---- calls (runtime_device.cc)
cudaError_t enter(const char *fn); // sticky and ordered errors
cudaError_t leave(cudaError_t e);  // remembers it as the thread's last
bool is_ordered(const char *fn, cudaError_t *out);
cudaError_t set_sticky(cudaError_t e); // all pending work is dropped
[[noreturn]] void undefined(const char *format, ...) __attribute__((format(printf, 1, 2)));

template <class F> cudaError_t call(const char *fn, F body)
{
    std::lock_guard<std::mutex> hold(lock);
    cudaError_t e = enter(fn);
    return leave(e == cudaSuccess ? body() : e);
}

// ---- memory (runtime_memory.cc)
// Device memory can be touched only while one of these lives.
class Access
{
  public:
    Access();
    ~Access();
    Access(const Access &) = delete;
    Access &operator=(const Access &) = delete;
};
bool is_device(const void *p);
// Whether [p, p + bytes) lies within one live allocation.
bool is_live(const void *p, size_t bytes);
void check_guards();
void kernels_ran(); // guards may have changed
void free_all();
size_t live_bytes(size_t *n);

// ---- work (runtime_work.cc)
cudaError_t check_launch(const void *fn, dim3 grid, dim3 block, size_t shared);
void set_params(Work *w, const void *fn, dim3 grid, dim3 block, size_t shared, void **args);
// cudaErrorInvalidValue unless the pointers are what `kind` says.
cudaError_t make_copy(Work *w, void *dst, const void *src, size_t bytes, cudaMemcpyKind kind);
cudaError_t make_set(Work *w, void *dst, unsigned value, unsigned element, size_t width,
                     size_t height, size_t pitch);
// At enqueuing: poisons what will be written on the host, notes what will be read.
void prepare_host(const Work &w, std::vector<HostSource> *sources);
// Needs an Access. `sources`: of the op that w is.
cudaError_t execute_op(const Work &w, const std::vector<HostSource> &sources);
// So that kernels find it by its handle.
void register_condition(const std::shared_ptr<Condition> &c);

// ---- streams (runtime_stream.cc)
cudaError_t find_stream(cudaStream_t handle, CUstream_st **out);
cudaError_t find_event(cudaEvent_t handle, CUevent_st **out);
// Enqueues (behind `after` as well), or captures if the stream does; *out only when enqueued.
cudaError_t submit(CUstream_st *s, Work &&w, std::shared_ptr<Op> *out = nullptr,
                   std::shared_ptr<Op> after = nullptr);
// Runs until the op (all ops, NULL) is done; returns the error that sticks.
cudaError_t run_until(const std::shared_ptr<Op> &op);
cudaError_t run_all();
void drop_all(); // pending work

// ---- capture (runtime_capture.cc)
cudaError_t capture_work(CUstream_st *s, Work &&w);
cudaError_t capture_wait(CUstream_st *s, CUevent_st *e);
// A call that is legal on no capturing stream: spoils its capture.
cudaError_t forbid(Capture *c, cudaError_t e);
// For calls that might wait behind the capture's back; see cudaThreadExchangeStreamCaptureMode.
cudaError_t check_unsafe();
// For use of the legacy stream, which a capturing blocking stream rules out.
cudaError_t check_legacy();

// ---- graphs (runtime_graph.cc)
CUgraphNode_st *add_node(CUgraph_st *graph, Work &&w, const std::vector<CUgraphNode_st *> &after);

} // namespace sim
#endif
