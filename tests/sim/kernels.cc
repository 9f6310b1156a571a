// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/device.cuh"

#include "tests/sim/kernels.h"

#include <cstdlib>

namespace simtest
{
namespace
{

__global__ void add_kernel(const AddParams p)
{
    for (int64_t i = rf_thread_index(); i < p.n; i += rf_thread_step())
        rf_store(p.out + i, rf_load(p.in + i) + p.delta);
}
__global__ void count_kernel(const CountParams p)
{
    if (threadIdx.x)
        return;
    float n = rf_load(p.counter) + 1;
    rf_store(p.counter, n);
    if (p.handle)
        cudaGraphSetConditional(p.handle, n < p.limit);
}
__global__ void write_kernel(const WriteParams p)
{
    if (!threadIdx.x)
        *p.at = 1;
}

} // namespace

const rf_cuda_entry add_entry = RF_ENTRY("add", AddParams, add_kernel);
const rf_cuda_entry count_entry = RF_ENTRY("count", CountParams, count_kernel);
const rf_cuda_entry write_entry = RF_ENTRY("write", WriteParams, write_kernel);

cudaError_t launch(const rf_cuda_entry &entry, const void *params, cudaStream_t stream, dim3 grid,
                   dim3 block, size_t shared)
{
    void *args[] = {(void *)params};
    return cudaLaunchKernel(entry.fn, grid, block, args, shared, stream);
}
cudaError_t add(cudaStream_t stream, float *out, const float *in, int64_t n, float delta)
{
    AddParams p = {out, in, n, delta};
    return launch(add_entry, &p, stream);
}
cudaError_t count(cudaStream_t stream, float *counter, float limit, unsigned long long handle)
{
    CountParams p = {counter, limit, handle};
    return launch(count_entry, &p, stream);
}

void reset(unsigned schedule)
{
    setenv("REFOLD_SIM_SCHED", std::to_string(schedule).c_str(), 1);
    rf_sim_reset();
}

Stream::Stream(unsigned flags)
{
    EXPECT_EQ(cudaStreamCreateWithFlags(&stream_, flags), cudaSuccess);
}
Event::Event(unsigned flags)
{
    EXPECT_EQ(cudaEventCreateWithFlags(&event_, flags), cudaSuccess);
}
Floats::Floats(size_t n) : n_(n)
{
    EXPECT_EQ(cudaMalloc((void **)&p_, n * sizeof(float)), cudaSuccess);
}
Floats::Floats(size_t n, float value) : Floats(n)
{
    std::vector<float> host(n, value);
    EXPECT_EQ(cudaMemcpy(p_, host.data(), n * sizeof(float), cudaMemcpyHostToDevice), cudaSuccess);
    EXPECT_EQ(cudaStreamSynchronize(cudaStreamLegacy), cudaSuccess);
}
std::vector<float> Floats::get() const
{
    std::vector<float> host(n_);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(host.data(), p_, n_ * sizeof(float), cudaMemcpyDeviceToHost), cudaSuccess);
    return host;
}

bool is_poison(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, 4);
    return bits == 0xffffffffu;
}

} // namespace simtest
