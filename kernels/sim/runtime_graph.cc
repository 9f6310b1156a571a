// SPDX-License-Identifier: Apache-2.0
//
// Graphs. A node's parameters are copied when it is made; instantiation clones the whole graph
// into a Program, so later changes of the graph, and of the program while a launch of it is
// pending, touch nothing that was enqueued.
#include "kernels/sim/runtime.h"

CUgraph_st::CUgraph_st()
{
    sim::graph_handles.insert(this);
}
CUgraph_st::~CUgraph_st()
{
    sim::graph_handles.erase(this);
}

namespace sim
{

std::set<CUgraph_st *> graph_handles;

namespace
{

cudaError_t find_graph(cudaGraph_t handle, CUgraph_st **out)
{
    *out = graph_handles.count(handle) ? handle : nullptr;
    return *out ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t find_exec(cudaGraphExec_t handle, CUgraphExec_st **out)
{
    auto found = state().execs.find(handle);
    *out = found == state().execs.end() ? nullptr : found->second.get();
    return *out ? cudaSuccess : cudaErrorInvalidValue;
}

bool has_node(const CUgraph_st *graph, const CUgraphNode_st *node)
{
    for (auto &n : graph->nodes)
        if (n.get() == node)
            return true;
    return false;
}

// Nodes are made after those they depend on, so their order is one in which they can run.
std::shared_ptr<Program> compile(const CUgraph_st &graph)
{
    auto p = std::make_shared<Program>();
    std::map<const CUgraphNode_st *, size_t> index;
    for (auto &n : graph.nodes) {
        Program::Step step = {n->work, {}, n.get()};
        for (auto &body : n->bodies)
            step.work.programs.push_back(compile(*body));
        for (CUgraphNode_st *before : n->after)
            step.after.push_back(index.at(before));
        index[n.get()] = p->steps.size();
        p->steps.push_back(std::move(step));
    }
    return p;
}

void collect_conditions(const CUgraph_st &graph, std::vector<std::shared_ptr<Condition>> *out)
{
    out->insert(out->end(), graph.conditions.begin(), graph.conditions.end());
    for (auto &n : graph.nodes)
        for (auto &body : n->bodies)
            collect_conditions(*body, out);
}

std::shared_ptr<Condition> find_condition(const CUgraph_st &graph, unsigned long long handle)
{
    for (const CUgraph_st *g = &graph; g; g = g->parent)
        for (auto &c : g->conditions)
            if (c->handle == handle)
                return c;
    return nullptr;
}

cudaError_t make_kernel(Work *w, const cudaKernelNodeParamsV2 &k)
{
    cudaError_t e = check_launch(k.func, k.gridDim, k.blockDim, k.sharedMemBytes);
    if (e != cudaSuccess)
        return e;
    if (!k.kernelParams || k.extra)
        return cudaErrorInvalidValue;
    set_params(w, k.func, k.gridDim, k.blockDim, k.sharedMemBytes, k.kernelParams);
    return cudaSuccess;
}

// A copy of one row: what the module can ask for.
cudaError_t make_copy_node(Work *w, const cudaMemcpyNodeParams &node)
{
    const cudaMemcpy3DParms &c = node.copyParams;
    if (node.flags || c.srcArray || c.dstArray || c.srcPos.x || c.srcPos.y || c.srcPos.z ||
        c.dstPos.x || c.dstPos.y || c.dstPos.z || c.extent.height != 1 || c.extent.depth != 1)
        return cudaErrorInvalidValue;
    return make_copy(w, c.dstPtr.ptr, c.srcPtr.ptr, c.extent.width, c.kind);
}

cudaError_t make_child(Work *w, const cudaChildGraphNodeParams &node)
{
    CUgraph_st *child;
    cudaError_t e = find_graph(node.graph, &child);
    if (e != cudaSuccess)
        return e;
    std::vector<std::shared_ptr<Condition>> conditions;
    collect_conditions(*child, &conditions);
    if (node.ownership != cudaGraphChildGraphOwnershipClone || !conditions.empty())
        return cudaErrorNotSupported;
    w->type = cudaGraphNodeTypeGraph;
    w->programs = {compile(*child)};
    return cudaSuccess;
}

cudaError_t make_conditional(Work *w, CUgraph_st *graph, const cudaConditionalNodeParams &c)
{
    bool is_while = c.type == cudaGraphCondTypeWhile;
    if (!is_while && c.type != cudaGraphCondTypeIf)
        return cudaErrorNotSupported;
    if (c.size < 1 || c.size > (is_while ? 1u : 2u))
        return cudaErrorInvalidValue;
    w->type = cudaGraphNodeTypeConditional;
    w->condition = find_condition(*graph, c.handle);
    w->condition_type = c.type;
    if (!w->condition || w->condition->used)
        return cudaErrorInvalidValue;
    w->condition->used = true;
    return cudaSuccess;
}

cudaError_t make_work(Work *w, CUgraph_st *graph, const cudaGraphNodeParams &p)
{
    switch (p.type) {
    case cudaGraphNodeTypeKernel:
        return make_kernel(w, p.kernel);
    case cudaGraphNodeTypeMemcpy:
        return make_copy_node(w, p.memcpy);
    case cudaGraphNodeTypeMemset:
        return make_set(w, p.memset.dst, p.memset.value, p.memset.elementSize, p.memset.width,
                        p.memset.height, p.memset.pitch);
    case cudaGraphNodeTypeGraph:
        return make_child(w, p.graph);
    case cudaGraphNodeTypeConditional:
        return make_conditional(w, graph, p.conditional);
    case cudaGraphNodeTypeEmpty:
        return cudaSuccess;
    default:
        return cudaErrorNotSupported;
    }
}

void add_bodies(CUgraph_st *graph, CUgraphNode_st *node, cudaConditionalNodeParams *c)
{
    for (unsigned i = 0; i < c->size; i++) {
        node->bodies.push_back(std::make_unique<CUgraph_st>());
        node->bodies.back()->parent = graph;
        node->body_handles.push_back(node->bodies.back().get());
    }
    c->phGraph_out = node->body_handles.data();
}

// For changes: a program that a pending launch holds stays as it is.
Program *own_program(CUgraphExec_st *exec)
{
    if (exec->program.use_count() > 1)
        exec->program = std::make_shared<Program>(*exec->program);
    return exec->program.get();
}

Program::Step *find_step(Program *p, const CUgraphNode_st *node)
{
    for (Program::Step &s : p->steps)
        if (s.node == node)
            return &s;
    return nullptr;
}

// What keeps a step from becoming another; success: nothing.
cudaGraphExecUpdateResult compare(const Program &have, const Program &want, size_t *at)
{
    *at = have.steps.size();
    if (have.steps.size() != want.steps.size())
        return cudaGraphExecUpdateErrorTopologyChanged;
    for (*at = 0; *at < have.steps.size(); ++*at) {
        const Program::Step &a = have.steps[*at], &b = want.steps[*at];
        if (a.after != b.after)
            return cudaGraphExecUpdateErrorTopologyChanged;
        if (a.work.type != b.work.type)
            return cudaGraphExecUpdateErrorNodeTypeChanged;
        if (is_device(a.work.dst) != is_device(b.work.dst) ||
            is_device(a.work.src) != is_device(b.work.src) ||
            a.work.condition_type != b.work.condition_type ||
            a.work.programs.size() != b.work.programs.size())
            return cudaGraphExecUpdateErrorParametersChanged;
        size_t inner;
        for (size_t i = 0; i < a.work.programs.size(); i++) {
            auto r = compare(*a.work.programs[i], *b.work.programs[i], &inner);
            if (r != cudaGraphExecUpdateSuccess)
                return r;
        }
    }
    return cudaGraphExecUpdateSuccess;
}

// Conditions stay those of the first instantiation.
void take_work(Program *have, const Program &want)
{
    for (size_t i = 0; i < have->steps.size(); i++) {
        Work *w = &have->steps[i].work;
        std::vector<std::shared_ptr<Program>> programs = w->programs;
        std::shared_ptr<Condition> condition = w->condition;
        *w = want.steps[i].work;
        w->condition = condition;
        for (size_t k = 0; k < programs.size(); k++) {
            programs[k] = std::make_shared<Program>(*programs[k]);
            take_work(programs[k].get(), *want.steps[i].work.programs[k]);
        }
        w->programs = programs;
    }
}

} // namespace

CUgraphNode_st *add_node(CUgraph_st *graph, Work &&w, const std::vector<CUgraphNode_st *> &after)
{
    auto node = std::make_unique<CUgraphNode_st>();
    node->work = std::move(w);
    node->after = after;
    graph->nodes.push_back(std::move(node));
    return graph->nodes.back().get();
}

} // namespace sim

using namespace sim;

extern "C" {

cudaError_t cudaGraphCreate(cudaGraph_t *out, unsigned flags)
{
    return call(__func__, [&] {
        if (flags)
            return cudaErrorInvalidValue;
        auto g = std::make_unique<CUgraph_st>();
        *out = g.get();
        state().graphs.emplace(*out, std::move(g));
        return cudaSuccess;
    });
}

// Body graphs belong to their nodes, graphs being captured to their captures.
cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    return call(__func__, [&] {
        for (auto &c : state().captures)
            for (CUgraph_st *g = c->graph; g; g = g->parent)
                if (g == graph)
                    return cudaErrorInvalidValue;
        return state().graphs.erase(graph) ? cudaSuccess : cudaErrorInvalidValue;
    });
}

cudaError_t cudaGraphGetNodes(cudaGraph_t handle, cudaGraphNode_t *nodes, size_t *n)
{
    return call(__func__, [&] {
        CUgraph_st *g;
        cudaError_t e = find_graph(handle, &g);
        if (e != cudaSuccess)
            return e;
        for (size_t i = 0; nodes && i < *n; i++)
            nodes[i] = i < g->nodes.size() ? g->nodes[i].get() : nullptr;
        if (!nodes || *n > g->nodes.size())
            *n = g->nodes.size();
        return cudaSuccess;
    });
}

cudaError_t cudaGraphNodeGetDependencies(cudaGraphNode_t node, cudaGraphNode_t *after,
                                         cudaGraphEdgeData *, size_t *n)
{
    return call(__func__, [&] {
        for (size_t i = 0; after && i < *n; i++)
            after[i] = i < node->after.size() ? node->after[i] : nullptr;
        if (!after || *n > node->after.size())
            *n = node->after.size();
        return cudaSuccess;
    });
}

cudaError_t cudaGraphConditionalHandleCreate(cudaGraphConditionalHandle *out, cudaGraph_t graph,
                                             unsigned value, unsigned flags)
{
    return call(__func__, [&] {
        CUgraph_st *g;
        cudaError_t e = find_graph(graph, &g);
        if (e != cudaSuccess)
            return e;
        if (flags & ~(unsigned)cudaGraphCondAssignDefault)
            return cudaErrorInvalidValue;
        auto c = std::make_shared<Condition>();
        *c = {++state().n_conditions, value, value, flags == cudaGraphCondAssignDefault};
        g->conditions.push_back(c);
        register_condition(c);
        *out = c->handle;
        return cudaSuccess;
    });
}

cudaError_t cudaGraphAddNode(cudaGraphNode_t *out, cudaGraph_t graph, const cudaGraphNode_t *after,
                             const cudaGraphEdgeData *, size_t n, cudaGraphNodeParams *params)
{
    return call(__func__, [&] {
        CUgraph_st *g;
        cudaError_t e = find_graph(graph, &g);
        for (size_t i = 0; e == cudaSuccess && i < n; i++)
            if (!has_node(g, after[i]))
                e = cudaErrorInvalidValue;
        Work w;
        if (e != cudaSuccess || (e = make_work(&w, g, *params)) != cudaSuccess)
            return e;
        *out = add_node(g, std::move(w), {after, after + n});
        if (params->type == cudaGraphNodeTypeConditional)
            add_bodies(g, *out, &params->conditional);
        return cudaSuccess;
    });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long flags)
{
    return call(__func__, [&] {
        CUgraph_st *g;
        cudaError_t e = find_graph(graph, &g);
        if (e != cudaSuccess || flags || g->parent)
            return cudaErrorInvalidValue;
        auto exec = std::make_unique<CUgraphExec_st>();
        collect_conditions(*g, &exec->conditions);
        for (auto &c : exec->conditions)
            if (!c->used)
                return cudaErrorInvalidValue;
        for (auto &c : exec->conditions)
            if (c->instantiated)
                return cudaErrorNotSupported;
        for (auto &c : exec->conditions)
            c->instantiated = true;
        exec->program = compile(*g);
        *out = exec.get();
        state().execs.emplace(*out, std::move(exec));
        return cudaSuccess;
    });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t handle)
{
    return call(__func__, [&] {
        CUgraphExec_st *exec;
        cudaError_t e = find_exec(handle, &exec);
        if (e != cudaSuccess)
            return e;
        for (auto &c : exec->conditions)
            c->instantiated = false;
        state().execs.erase(handle);
        return cudaSuccess;
    });
}

cudaError_t cudaGraphExecKernelNodeSetParams(cudaGraphExec_t handle, cudaGraphNode_t node,
                                             const cudaKernelNodeParams *p)
{
    return call(__func__, [&] {
        CUgraphExec_st *exec;
        cudaError_t e = find_exec(handle, &exec);
        if (e != cudaSuccess)
            return e;
        Work w;
        e = make_kernel(
            &w, {p->func, p->gridDim, p->blockDim, p->sharedMemBytes, p->kernelParams, p->extra});
        if (e != cudaSuccess)
            return e;
        Program::Step *step = find_step(own_program(exec), node);
        if (!step || step->work.type != cudaGraphNodeTypeKernel)
            return cudaErrorInvalidValue;
        step->work = std::move(w);
        return cudaSuccess;
    });
}

cudaError_t cudaGraphExecUpdate(cudaGraphExec_t handle, cudaGraph_t graph,
                                cudaGraphExecUpdateResultInfo *info)
{
    return call(__func__, [&] {
        *info = {cudaGraphExecUpdateError, nullptr, nullptr};
        CUgraphExec_st *exec;
        CUgraph_st *g;
        cudaError_t e = find_exec(handle, &exec);
        if (e != cudaSuccess || (e = find_graph(graph, &g)) != cudaSuccess)
            return e;
        std::shared_ptr<Program> want = compile(*g);
        size_t at;
        info->result = compare(*exec->program, *want, &at);
        if (info->result != cudaGraphExecUpdateSuccess) {
            info->errorNode = at < want->steps.size() ? want->steps[at].node : nullptr;
            return cudaErrorGraphExecUpdateFailure;
        }
        take_work(own_program(exec), *want);
        return cudaSuccess;
    });
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t handle, cudaStream_t stream)
{
    return call(__func__, [&] {
        CUgraphExec_st *exec;
        CUstream_st *s;
        cudaError_t e = find_exec(handle, &exec);
        if (e != cudaSuccess || (e = find_stream(stream, &s)) != cudaSuccess)
            return e;
        if (s->capture && !exec->conditions.empty())
            return forbid(s->capture.get(), cudaErrorStreamCaptureUnsupported);
        Work w;
        w.type = cudaGraphNodeTypeGraph;
        w.programs = {exec->program};
        w.defaults = exec->conditions;
        return submit(s, std::move(w), &exec->last, exec->last);
    });
}
}
