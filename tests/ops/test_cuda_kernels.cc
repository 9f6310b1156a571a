// SPDX-License-Identifier: Apache-2.0
//
// The op case list on every row of the CUDA backend: on the emulated GPU, or (suite gpu) on a real
// one. Absent device: visibly skipped.
#include <set>

#include <gtest/gtest.h>

#include "kernels/cuda/cuda.h"
#include "tests/ops/harness.h"

namespace
{

// NULL, or why there is no device.
const char *missing_device()
{
    static rf_error err;
    static const bool found = [] {
        rf_device *device;
        if (rf_backend_cuda.device_ops->open(nullptr, &device, &err) != RF_OK)
            return false;
        rf_backend_cuda.device_ops->close(&device);
        return true;
    }();
    return found ? nullptr : err.text;
}

class CudaKernelTest : public testing::Test
{
  public:
    explicit CudaKernelTest(const ops::Case &c) : case_(c) {}
    void TestBody() override
    {
        if (missing_device())
            GTEST_SKIP() << missing_device();
        size_t n;
        int n_runs = 0;
        const rf_kernel *const *kernels = rf_backend_cuda.kernels(&n);
        EXPECT_EQ(
            ops::run_case(case_, &rf_backend_cuda, kernels, n, ops::Audience::device, &n_runs), "");
        for (size_t k = 0; k < n; k++) { // a library's rows on every shape, not only where they win
            if (kernels[k]->op != case_.op || !kernels[k]->wanted)
                continue;
            rf_kernel any = *kernels[k];
            const rf_kernel *const row = &any;
            any.wanted = nullptr;
            EXPECT_EQ(
                ops::run_case(case_, &rf_backend_cuda, &row, 1, ops::Audience::device, &n_runs),
                "");
        }
    }

  private:
    const ops::Case &case_;
};

const bool registered = [] {
    for (const ops::Case &c : ops::all_cases())
        testing::RegisterTest("CudaKernels", (RF_CUDA_BACKEND_NAME "_" + c.full_name()).c_str(),
                              nullptr, nullptr, __FILE__, __LINE__,
                              [&c]() -> testing::Test * { return new CudaKernelTest(c); });
    return true;
}();

// What a plan may hand to the backend, some row must take: a network never falls back to the host.
TEST(CudaTables, HaveARowForEveryCaseAndVariant)
{
    ASSERT_TRUE(registered);
    size_t n;
    const rf_kernel *const *kernels = rf_backend_cuda.kernels(&n);
    for (const ops::Case &c : ops::all_cases())
        for (const ops::Variant &v : ops::variants_of(c, ops::Audience::device)) {
            ops::Instance instance(c, v, false);
            bool taken = false;
            for (size_t k = 0; k < n && !taken; k++)
                taken = instance.accepts(*kernels[k], 1);
            EXPECT_TRUE(taken) << c.full_name() << " " << v.text();
        }
}

TEST(CudaTables, HaveNoRowThatNoCaseReaches)
{
    size_t n;
    const rf_kernel *const *kernels = rf_backend_cuda.kernels(&n);
    std::set<size_t> missed;
    for (size_t k = 0; k < n; k++)
        missed.insert(k);
    for (const ops::Case &c : ops::all_cases())
        for (const ops::Variant &v : ops::variants_of(c, ops::Audience::device)) {
            ops::Instance instance(c, v, false);
            for (auto k = missed.begin(); k != missed.end();) {
                rf_kernel any = *kernels[*k]; // where a library wins may be too large for a case
                any.wanted = nullptr;
                k = instance.accepts(any, 1) ? missed.erase(k) : std::next(k);
            }
        }
    for (size_t k : missed)
        ADD_FAILURE() << kernels[k]->name << " (" << rf_op_get(kernels[k]->op)->name
                      << "): no case is accepted";
}

} // namespace
