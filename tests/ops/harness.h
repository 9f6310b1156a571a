// SPDX-License-Identifier: Apache-2.0
//
// One op case (case.h) against one kernel. Every run has guard zones round each buffer, outputs
// and scratch poisoned with NaN, inputs compared afterwards, a second run that must give the same
// bits, and the memory balance of the environment. The oracle is kernels/ref in float64 storage on
// the same (already rounded) inputs.
#ifndef RF_TESTS_OPS_HARNESS_H
#define RF_TESTS_OPS_HARNESS_H

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cpu/cpu.h"
#include "kernels/ref/ref.h"
#include "tests/ops/case.h"

namespace ops
{

// Converts v to the tensor's dtype and stores it `offset` elements from its data.
void put(const rf_tensor &t, int64_t offset, double v);

// Elements between guard zones.
class Buffer
{
  public:
    Buffer(const rf_tensor &desc, bool misaligned);
    rf_tensor tensor; // data points at the elements
    void poison();    // NaN in every float dtype
    bool guards_intact() const;
    bool gaps_intact() const; // bytes between the elements of a view are still poison
    const std::vector<uint8_t> &bytes() const { return raw_; }
    std::vector<uint8_t> &raw() { return raw_; }
    size_t begin() const { return begin_; } // of the elements in raw()

  private:
    std::vector<uint8_t> raw_;
    size_t begin_, span_; // of the elements inside raw_
};

// A case made concrete for a variant.
class Instance
{
  public:
    Instance(const Case &c, const Variant &v, bool misaligned);
    const std::string &problem() const { return problem_; } // shape function's message
    bool accepts(const rf_kernel &kernel, int n_threads) const;
    // Runs the kernel in every way; "" or what is wrong with it. *worst gets the largest error as a
    // multiple of the tolerance without exceptions.
    std::string run(const rf_kernel &kernel, const rf_backend *backend, int n_threads,
                    bool with_packs, double *worst) const;

    // The node as the planner sees it, and the data of an input (NULL: absent); bench_ops runs
    // these.
    rf_kernel_desc desc(int n_threads) const;
    const rf_tensor *input(size_t i) const { return in_[i] ? &in_[i]->tensor : nullptr; }

  private:
    friend struct Runner;
    const Case &case_;
    Variant variant_;
    rf_attrs attrs_;
    int n_out_ = 1;
    std::string problem_;
    std::vector<std::unique_ptr<Buffer>> in_; // null: absent
    std::vector<bool> constant_;
    mutable std::vector<rf_tensor>
        planned_;                        // inputs as the planner sees them: data only of constants
    mutable std::vector<rf_tensor> out_; // descriptions, no data
};

// Runs a case on every kernel of a table that accepts it, aligned on one thread and misaligned on
// two (with RF_TEST_QUICK every variant in one of these ways); "" or the first problem, with its
// trace. *n_runs counts the kernels.
std::string run_case(const Case &c, const rf_backend *backend, const rf_kernel *const *kernels,
                     size_t n_kernels, Audience audience, int *n_runs, double *worst = nullptr);

} // namespace ops
#endif
