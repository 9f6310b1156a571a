// SPDX-License-Identifier: Apache-2.0
#include "bench/runner.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>

namespace bench
{

double now()
{
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

Target::~Target()
{
    device.close();
    rf_env_release(&env);
}

std::string Target::open(const std::string &name)
{
    rf_error err = {};
    if (rf_backend_open(name.c_str(), &backend, &err) != RF_OK ||
        rf_env_create(nullptr, &env, &err) != RF_OK)
        return err.text;
    if (backend->device_ops && device.open(backend, env, &err) != RF_OK)
        return err.text;
    if (backend->device_ops)
        threads = 1;
    return "";
}

bool Target::emulated() const
{
    return !strcmp(backend->name, "sim");
}

const char *Target::describe() const
{
    return on_device() ? device.ops->versions(device.device) : backend->describe();
}

double Runner::quantile(double q) const
{
    std::vector<double> sorted = times_;
    std::sort(sorted.begin(), sorted.end());
    return sorted[(size_t)(q * (double)(sorted.size() - 1))];
}

std::string Runner::prepare_kernel(rf_pack_cache *packs)
{
    rf_error err = {};
    desc_.env = target_.env;
    desc_.packs = packs;
    desc_.device = target_.device.device;
    call_.args = desc_.args;
    call_.n_threads = desc_.n_threads;
    call_.stream = target_.device.stream;
    double begin = now();
    if (kernel_->prepare && kernel_->prepare(&desc_, &call_.state, &err) != RF_OK)
        return err.text;
    prepare_seconds = now() - begin;
    return "";
}

namespace
{

struct Free {
    void operator()(void *p) const { free(p); }
};
using Memory = std::unique_ptr<void, Free>;

Memory allocate(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 127) / 64 * 64);
    if (p)
        memset(p, 0, bytes);
    return Memory(p);
}

class HostRunner : public Runner
{
  public:
    using Runner::Runner;
    ~HostRunner() override
    {
        if (kernel_->release && call_.state)
            kernel_->release(target_.env, call_.state);
    }
    std::string prepare() override
    {
        std::string wrong = prepare_kernel(nullptr);
        if (!wrong.empty())
            return wrong;
        scratch_ = allocate(kernel_->scratch ? kernel_->scratch(&desc_) : 0);
        call_.scratch = scratch_.get();
        for (int i = 0; i < desc_.args.n_in; i++)
            call_.args.in[i] = node_.input((size_t)i);
        for (int i = 0; i < desc_.args.n_out; i++) {
            outputs_.push_back(*desc_.args.out[i]);
            memories_.push_back(allocate(rf_tensor_bytes(desc_.args.out[i])));
            outputs_.back().data = memories_.back().get();
        }
        for (int i = 0; i < desc_.args.n_out; i++)
            call_.args.out[i] = &outputs_[(size_t)i];
        return "";
    }
    std::string warm_up() override
    {
        std::string wrong = run();
        times_.clear();
        return wrong;
    }
    std::string run() override
    {
        rf_error err = {};
        int saved = 0;
        if (target_.backend->enter)
            target_.backend->enter(desc_.n_threads, &saved);
        double begin = now();
        rf_status status = kernel_->run(&call_, &err);
        times_.push_back(now() - begin);
        if (target_.backend->leave)
            target_.backend->leave(saved);
        return status == RF_OK ? "" : err.text;
    }

  private:
    Memory scratch_;
    std::vector<rf_tensor> outputs_;
    std::vector<Memory> memories_;
};

// The row of a device's library without its opinion about where it pays; kept for the process.
const rf_kernel *unasked(const rf_kernel *row)
{
    static std::map<const rf_kernel *, rf_kernel> copies;
    static std::map<const rf_kernel *, std::string> names;
    auto found = copies.find(row);
    if (found == copies.end()) {
        found = copies.emplace(row, *row).first;
        found->second.wanted = nullptr;
        found->second.name = (names[row] = std::string(row->name) + "_any").c_str();
    }
    return &found->second;
}

} // namespace

std::unique_ptr<Runner> make_runner(const rf_kernel *kernel, const Target &target,
                                    const ops::Instance &node)
{
    if (target.on_device())
        return make_device_runner(kernel, target, node);
    return std::make_unique<HostRunner>(kernel, target, node);
}

std::vector<const rf_kernel *> kernels_for(const ops::Instance &node, const Target &target,
                                           bool all)
{
    std::vector<const rf_kernel *> rows;
    size_t n;
    const rf_kernel *const *table = target.backend->kernels(&n);
    for (size_t i = 0; i < n && (all || rows.empty()); i++)
        if (node.accepts(*table[i], target.threads))
            rows.push_back(table[i]);
        else if (all && target.on_device() && table[i]->wanted &&
                 node.accepts(*unasked(table[i]), target.threads))
            rows.push_back(unasked(table[i]));
    bool has_dnnl = false;
    for (const rf_kernel *k : rows)
        has_dnnl = has_dnnl || !strcmp(k->name, "dnnl");
    for (size_t i = 0; all && !has_dnnl && rf_cpu_dnnl_any[i]; i++)
        if (target.backend == &rf_backend_cpu && node.accepts(*rf_cpu_dnnl_any[i], target.threads))
            rows.push_back(rf_cpu_dnnl_any[i]);
    return rows;
}

} // namespace bench
