// SPDX-License-Identifier: Apache-2.0
//
// Small kernels and owners for the tests of the emulated CUDA runtime. Each test begins with a new
// device and ends with a look at what it left behind.
#ifndef RF_TESTS_SIM_KERNELS_H
#define RF_TESTS_SIM_KERNELS_H

#include <cuda_runtime_api.h>

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/cuda/abi.h"
#include "kernels/sim/sim.h"

namespace simtest
{

// out[i] = in[i] + delta. No hidden bytes: the module compares parameters as memory.
struct AddParams {
    float *out;
    const float *in;
    int64_t n;
    float delta, zero = 0;
};
// ++*counter; with a handle, sets its condition to *counter < limit
struct CountParams {
    float *counter;
    float limit;
    unsigned long long handle;
};
// *at = 1, unchecked
struct WriteParams {
    float *at;
};
extern const rf_cuda_entry add_entry, count_entry, write_entry;

cudaError_t launch(const rf_cuda_entry &entry, const void *params, cudaStream_t stream,
                   dim3 grid = {1, 1, 1}, dim3 block = {32, 1, 1}, size_t shared = 0);
cudaError_t add(cudaStream_t stream, float *out, const float *in, int64_t n, float delta);
cudaError_t count(cudaStream_t stream, float *counter, float limit = 0,
                  unsigned long long handle = 0);

// A new device whose work is scheduled by this seed.
void reset(unsigned schedule = 0);

class RuntimeTest : public testing::Test
{
  protected:
    void SetUp() override { reset(); }
    void TearDown() override
    {
        EXPECT_STREQ(rf_sim_leaks(), "");
        rf_sim_reset();
    }
};

#define OK(call) ASSERT_EQ(call, cudaSuccess)

class Stream
{
  public:
    explicit Stream(unsigned flags = cudaStreamNonBlocking);
    ~Stream() { EXPECT_EQ(cudaStreamDestroy(stream_), cudaSuccess); }
    Stream(const Stream &) = delete;
    operator cudaStream_t() const { return stream_; }

  private:
    cudaStream_t stream_;
};
class Event
{
  public:
    explicit Event(unsigned flags = cudaEventDefault);
    ~Event() { EXPECT_EQ(cudaEventDestroy(event_), cudaSuccess); }
    Event(const Event &) = delete;
    operator cudaEvent_t() const { return event_; }

  private:
    cudaEvent_t event_;
};
// n floats on the device.
class Floats
{
  public:
    explicit Floats(size_t n);
    Floats(size_t n, float value); // all of them, at once
    ~Floats() { EXPECT_EQ(cudaFree(p_), cudaSuccess); }
    Floats(const Floats &) = delete;
    operator float *() const { return p_; }
    std::vector<float> get() const; // after everything enqueued so far

  private:
    float *p_ = nullptr;
    size_t n_;
};

bool is_poison(float v); // NaN with all bits set

} // namespace simtest
#endif
