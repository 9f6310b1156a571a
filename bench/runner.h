// SPDX-License-Identifier: Apache-2.0
//
// One kernel on one node, ready to be timed: in host memory by a clock, on a device by its own
// marks.
#ifndef RF_BENCH_RUNNER_H
#define RF_BENCH_RUNNER_H

#include <memory>
#include <string>
#include <vector>

#include "bench/ceilings.h"
#include "tests/ops/device.h"

namespace bench
{

double now(); // seconds

// Where kernels run.
struct Target {
    const rf_backend *backend = nullptr;
    int threads = 1;
    bool cold = false; // device: launches take turns at copies of the node's tensors, see README.md
    rf_env *env = nullptr;
    ops::OpenDevice device = {};

    Target() = default;
    Target(const Target &) = delete;
    ~Target();
    std::string open(const std::string &name); // "" or why there is no such backend or device
    bool emulated() const;                     // times mean nothing
    bool on_device() const { return device.ops != nullptr; }
    const char *describe() const; // instruction set, or device with driver and libraries
};

class Runner
{
  public:
    Runner(const rf_kernel *kernel, const Target &target, const ops::Instance &node)
        : kernel_(kernel), target_(target), node_(node), desc_(node.desc(target.threads))
    {
    }
    Runner(const Runner &) = delete;
    virtual ~Runner() = default;
    virtual std::string prepare() = 0; // "" or why it cannot run
    virtual std::string warm_up() = 0; // pages, clocks, caches
    virtual std::string run() = 0;     // one round, which adds one or more times
    double quantile(double q) const;   // of the times, in seconds
    size_t runs() const { return times_.size(); }
    const char *name() const { return kernel_->name; }
    double prepare_seconds = 0;

  protected:
    std::string prepare_kernel(rf_pack_cache *packs);
    const rf_kernel *kernel_;
    const Target &target_;
    const ops::Instance &node_;
    rf_kernel_desc desc_;
    rf_kernel_call call_ = {};
    std::vector<double> times_;
};

std::unique_ptr<Runner> make_runner(const rf_kernel *kernel, const Target &target,
                                    const ops::Instance &node);
std::unique_ptr<Runner> make_device_runner(const rf_kernel *kernel, const Target &target,
                                           const ops::Instance &node);

// Kernels of the backend that accept the node, in the planner's order: the first, or all, then with
// those of an external library also where they are left out of plans.
std::vector<const rf_kernel *> kernels_for(const ops::Instance &node, const Target &target,
                                           bool all);

// What the device can do, by its own means: copies within its memory, and the best of its kernels
// for a large matrix product.
std::string measure_device_ceilings(const Target &target, bench_ceilings *out);

} // namespace bench
#endif
