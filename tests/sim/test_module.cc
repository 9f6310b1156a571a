// SPDX-License-Identifier: Apache-2.0
//
// The CUDA module's device verbs on the emulated runtime: uploads, recordings and their updates,
// and what is left after each call that can fail has failed.
#include "kernels/cuda/cuda.h"
#include "tests/sim/kernels.h"

#include <cstring>
#include <functional>
#include <thread>

using namespace simtest;

namespace
{

const rf_device_ops &ops = rf_cuda_device_ops;

#define RF_ASSERT(call) ASSERT_EQ(call, RF_OK) << err.text

class SimModule : public testing::Test
{
  protected:
    void SetUp() override
    {
        reset();
        open();
    }
    void TearDown() override
    {
        close();
        EXPECT_STREQ(rf_sim_leaks(), "");
        rf_sim_reset();
    }
    void open()
    {
        RF_ASSERT(ops.open(nullptr, &device, &err));
        RF_ASSERT(ops.stream_create(device, nullptr, &stream, &err));
    }
    void close()
    {
        ops.stream_destroy(&stream);
        ops.close(&device);
    }
    float *floats(const std::vector<float> &values)
    {
        void *p = nullptr;
        size_t bytes = values.size() * sizeof(float);
        EXPECT_EQ(ops.alloc(device, bytes, &p, &err), RF_OK) << err.text;
        EXPECT_EQ(ops.upload(device, p, values.data(), bytes, &err), RF_OK) << err.text;
        return (float *)p;
    }
    std::vector<float> get(const float *p, size_t n)
    {
        std::vector<float> host(n);
        EXPECT_EQ(ops.copy(stream, host.data(), p, n * sizeof(float), &err), RF_OK) << err.text;
        EXPECT_EQ(ops.wait(stream, &err), RF_OK) << err.text;
        return host;
    }
    rf_status add(float *out, const float *in, int64_t n, float delta, dim3 block = {32, 1, 1})
    {
        AddParams p = {out, in, n, delta};
        rf_kernel_call call = {};
        call.stream = stream;
        return rf_cuda_launch(&call, &add_entry, {1, 1, 1}, block, 0, &p, &err);
    }
    // out = in + 1 + 2 through `between`; what touches in and out is external.
    rf_status chain(float *out, const float *in, float *between, int64_t n)
    {
        ops.record_external(stream, true);
        rf_status status = add(between, in, n, 1);
        ops.record_external(stream, false);
        if (status == RF_OK)
            status = add(between, between, n, 2);
        ops.record_external(stream, true);
        return status == RF_OK ? add(out, between, n, 0) : status;
    }
    rf_status external_part(float *out, const float *in, float *between, int64_t n)
    {
        rf_status status = add(between, in, n, 1);
        return status == RF_OK ? add(out, between, n, 0) : status;
    }

    rf_device *device = nullptr;
    rf_stream *stream = nullptr;
    rf_recording *recording = nullptr;
    rf_error err = {};
};

TEST_F(SimModule, UploadIsCompleteWhenItReturns)
{
    std::vector<float> host = {1, 2, 3};
    float *a = floats(host);
    host.assign(3, 0);
    EXPECT_EQ(get(a, 3), (std::vector<float>{1, 2, 3}));
    ops.free(device, a);
}

TEST_F(SimModule, ADeviceMayHaveSeveralOwners)
{
    rf_device *again;
    RF_ASSERT(ops.open(nullptr, &again, &err));
    EXPECT_EQ(again, device);
    EXPECT_STREQ(ops.describe(device), "emulated GPU, sm_90");
    float *a = floats({1});
    ops.close(&again);
    EXPECT_EQ(get(a, 1)[0], 1);
    ops.free(device, a);
}

TEST_F(SimModule, OutOfMemoryNamesWhatIsFree)
{
    void *p;
    EXPECT_EQ(ops.alloc(device, (size_t)1 << 40, &p, &err), RF_ERR_MEMORY);
    EXPECT_NE(strstr(err.text, "no memory for 1099511627776 bytes on GPU 0 (emulated GPU)"),
              nullptr)
        << err.text;
    EXPECT_NE(strstr(err.text, "of 8589934592 are free"), nullptr) << err.text;
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

TEST_F(SimModule, ReplayGivesTheBitsOfPlainLaunches)
{
    for (unsigned seed : {0, 1, 2, 3}) {
        close();
        reset(seed);
        open();
        float *a = floats({0.1f, 1e30f, -3, 7}), *b = floats({0, 0, 0, 0});
        float *c = floats({0, 0, 0, 0}), *t = floats({0, 0, 0, 0});
        RF_ASSERT(chain(b, a, t, 4));
        RF_ASSERT(ops.record_begin(stream, &err));
        RF_ASSERT(chain(c, a, t, 4));
        RF_ASSERT(ops.record_end(stream, &recording, &err));
        EXPECT_EQ(get(c, 4), (std::vector<float>{0, 0, 0, 0}));
        RF_ASSERT(ops.replay(stream, recording, &err));
        EXPECT_EQ(get(c, 4), get(b, 4));
        ops.recording_destroy(&recording);
        for (float *p : {a, b, c, t})
            ops.free(device, p);
    }
}

TEST_F(SimModule, UpdatesGiveRecordedLaunchesOtherPointers)
{
    float *a = floats({1, 2}), *b = floats({0, 0}), *c = floats({10, 20}), *d = floats({0, 0});
    float *t = floats({0, 0});
    RF_ASSERT(ops.record_begin(stream, &err));
    RF_ASSERT(chain(b, a, t, 2));
    RF_ASSERT(ops.record_end(stream, &recording, &err));
    for (int round = 0; round < 2; round++) {
        RF_ASSERT(ops.update_begin(stream, recording, &err));
        RF_ASSERT(external_part(d, c, t, 2));
        RF_ASSERT(ops.update_end(stream, &err));
        RF_ASSERT(ops.replay(stream, recording, &err));
        EXPECT_EQ(get(d, 2), (std::vector<float>{13, 23}));
        EXPECT_EQ(get(b, 2)[0], round ? 4 : 0);
        RF_ASSERT(ops.update_begin(stream, recording, &err));
        RF_ASSERT(external_part(b, a, t, 2));
        RF_ASSERT(ops.update_end(stream, &err));
        RF_ASSERT(ops.replay(stream, recording, &err));
        EXPECT_EQ(get(b, 2), (std::vector<float>{4, 5}));
    }
    ops.recording_destroy(&recording);
    for (float *p : {a, b, c, d, t})
        ops.free(device, p);
}

TEST_F(SimModule, AnUpdateThatIsNotCompleteIsNotRun)
{
    float *a = floats({1}), *b = floats({0}), *t = floats({0});
    RF_ASSERT(ops.record_begin(stream, &err));
    RF_ASSERT(chain(b, a, t, 1));
    RF_ASSERT(ops.record_end(stream, &recording, &err));
    RF_ASSERT(ops.update_begin(stream, recording, &err));
    RF_ASSERT(add(t, b, 1, 1));
    EXPECT_EQ(ops.update_end(stream, &err), RF_ERR_INTERNAL);
    EXPECT_STREQ(err.text, "1 of 2 recorded launches were updated");
    EXPECT_EQ(ops.replay(stream, recording, &err), RF_ERR_INTERNAL);
    RF_ASSERT(ops.update_begin(stream, recording, &err));
    RF_ASSERT(external_part(b, a, t, 1));
    EXPECT_EQ(add(b, a, 1, 0), RF_ERR_INTERNAL); // one too many
    RF_ASSERT(ops.update_end(stream, &err));
    RF_ASSERT(ops.replay(stream, recording, &err));
    EXPECT_EQ(get(b, 1)[0], 4);
    ops.recording_destroy(&recording);
    for (float *p : {a, b, t})
        ops.free(device, p);
}

TEST_F(SimModule, AFailedLaunchSpoilsTheRecordingAndNotTheStream)
{
    float *a = floats({1}), *b = floats({0}), *t = floats({0});
    for (const char *how : {"shape", "copy", "call", "wait"}) {
        SCOPED_TRACE(how);
        RF_ASSERT(ops.record_begin(stream, &err));
        RF_ASSERT(add(b, a, 1, 1));
        if (!strcmp(how, "shape")) {
            EXPECT_EQ(add(b, a, 1, 1, {2000, 1, 1}), RF_ERR_DEVICE);
            EXPECT_STREQ(err.text, "add: invalid configuration argument");
        } else if (!strcmp(how, "copy")) {
            EXPECT_EQ(ops.copy(stream, b, a + 1, 4, &err), RF_ERR_DEVICE); // beyond the end
        } else if (!strcmp(how, "call")) {
            rf_sim_fail("cudaStreamGetCaptureInfo", 1, cudaErrorUnknown);
            ops.record_external(stream, true);
            EXPECT_EQ(add(b, a, 1, 1), RF_ERR_DEVICE);
        } else {
            EXPECT_EQ(ops.wait(stream, &err), RF_ERR_DEVICE);
        }
        EXPECT_EQ(ops.record_end(stream, &recording, &err), RF_ERR_DEVICE);
        EXPECT_EQ(recording, nullptr);
        EXPECT_EQ(cudaGetLastError(), cudaSuccess);
        RF_ASSERT(add(b, a, 1, 1));
        EXPECT_EQ(get(b, 1)[0], 2);
        RF_ASSERT(ops.record_begin(stream, &err));
        RF_ASSERT(chain(b, a, t, 1));
        RF_ASSERT(ops.record_end(stream, &recording, &err));
        RF_ASSERT(ops.replay(stream, recording, &err));
        EXPECT_EQ(get(b, 1)[0], 4);
        ops.recording_destroy(&recording);
    }
    for (float *p : {a, b, t})
        ops.free(device, p);
}

TEST_F(SimModule, AStreamMayBeDestroyedWhileItRecords)
{
    float *a = floats({1});
    RF_ASSERT(ops.record_begin(stream, &err));
    RF_ASSERT(add(a, a, 1, 1));
    ops.stream_destroy(&stream);
    RF_ASSERT(ops.stream_create(device, nullptr, &stream, &err));
    EXPECT_EQ(get(a, 1)[0], 1);
    ops.free(device, a);
}

TEST_F(SimModule, TheCallersStreamStaysTheCallers)
{
    Stream native;
    rf_stream *s;
    float *a = floats({1}), host;
    RF_ASSERT(ops.stream_create(device, native, &s, &err));
    std::swap(s, stream);
    RF_ASSERT(add(a, a, 1, 1));
    RF_ASSERT(ops.mark(stream, 3, &err));
    std::swap(s, stream);
    ops.stream_destroy(&s);
    OK(cudaMemcpyAsync(&host, a, 4, cudaMemcpyDefault, native));
    OK(cudaStreamSynchronize(native));
    EXPECT_EQ(host, 2);
    ops.free(device, a);
}

TEST_F(SimModule, MarksTellTime)
{
    float *a = floats({1}), ms = 0, before = 0;
    for (int i = 0; i < 100; i++) {
        RF_ASSERT(ops.mark(stream, i, &err));
        RF_ASSERT(add(a, a, 1, 1));
    }
    EXPECT_EQ(ops.mark_ms(stream, 99, &ms, &err), RF_ERR_DEVICE); // nobody has waited
    RF_ASSERT(ops.wait(stream, &err));
    for (int i = 0; i < 100; i++, before = ms) {
        RF_ASSERT(ops.mark_ms(stream, i, &ms, &err));
        EXPECT_TRUE(i ? ms > before : ms == 0);
    }
    ops.free(device, a);
}

// Another thread's capture of a blocking stream must survive what this one does.
TEST_F(SimModule, UploadsLeaveOthersCapturesAlone)
{
    Stream blocking(cudaStreamDefault);
    cudaGraph_t graph;
    OK(cudaStreamBeginCapture(blocking, cudaStreamCaptureModeThreadLocal));
    std::thread([&] {
        float *a = floats({1});
        ops.free(device, a);
    }).join();
    OK(cudaStreamEndCapture(blocking, &graph));
    OK(cudaGraphDestroy(graph));
}

// On a stream of its own.
void record_and_replay(rf_device *device, float value)
{
    rf_error err;
    rf_stream *stream;
    rf_recording *recording;
    void *a;
    float host = value;
    RF_ASSERT(ops.stream_create(device, nullptr, &stream, &err));
    RF_ASSERT(ops.alloc(device, 4, &a, &err));
    RF_ASSERT(ops.upload(device, a, &host, 4, &err));
    AddParams p = {(float *)a, (float *)a, 1, 1};
    rf_kernel_call call = {};
    call.stream = stream;
    RF_ASSERT(ops.record_begin(stream, &err));
    RF_ASSERT(rf_cuda_launch(&call, &add_entry, {1, 1, 1}, {32, 1, 1}, 0, &p, &err));
    RF_ASSERT(ops.record_end(stream, &recording, &err));
    for (int i = 1; i < 10; i++) {
        RF_ASSERT(ops.replay(stream, recording, &err));
        RF_ASSERT(ops.copy(stream, &host, a, 4, &err));
        RF_ASSERT(ops.wait(stream, &err));
        EXPECT_EQ(host, value + (float)i);
    }
    ops.recording_destroy(&recording);
    ops.stream_destroy(&stream);
    ops.free(device, a);
}

TEST_F(SimModule, ThreadsRecordAndReplayBesideEachOther)
{
    for (unsigned seed : {0, 1}) {
        close();
        reset(seed);
        open();
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; i++)
            threads.emplace_back([this, i] { record_and_replay(device, (float)i); });
        for (std::thread &t : threads)
            t.join();
    }
}

// ---- a device that is lost

TEST_F(SimModule, ALostDeviceSaysSoAtEveryLaterCall)
{
    float *a = floats({1}), host, ms;
    void *p;
    rf_stream *s;
    RF_ASSERT(ops.record_begin(stream, &err));
    ops.record_external(stream, true);
    RF_ASSERT(add(a, a, 1, 1));
    RF_ASSERT(ops.record_end(stream, &recording, &err));
    rf_sim_fail("kernel", 1, cudaErrorIllegalAddress);
    RF_ASSERT(ops.replay(stream, recording, &err));
    EXPECT_EQ(ops.wait(stream, &err), RF_ERR_DEVICE);
    EXPECT_NE(strstr(err.text, "an illegal memory access was encountered"), nullptr) << err.text;
    const std::function<rf_status()> calls[] = {
        [&] { return ops.alloc(device, 4, &p, &err); },
        [&] { return ops.upload(device, a, &host, 4, &err); },
        [&] { return ops.stream_create(device, nullptr, &s, &err); },
        [&] { return ops.copy(stream, &host, a, 4, &err); },
        [&] { return ops.wait(stream, &err); },
        [&] { return ops.record_begin(stream, &err); },
        [&] { return ops.update_begin(stream, recording, &err); },
        [&] { return ops.replay(stream, recording, &err); },
        [&] { return ops.mark(stream, 0, &err); },
        [&] { return ops.mark_ms(stream, 0, &ms, &err); },
        [&] { return add(a, a, 1, 1); },
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        EXPECT_EQ(calls[i](), RF_ERR_DEVICE) << i;
        EXPECT_STREQ(err.text, "device 0 (emulated GPU) is lost after an earlier error: an illegal "
                               "memory access was encountered; restart the process")
            << i;
    }
    ops.free(device, a);
    ops.recording_destroy(&recording);
    close();
    rf_sim_reset();
    open();
}

TEST_F(SimModule, ADeviceLostWhileRecordingOrUpdating)
{
    float *a = floats({1});
    RF_ASSERT(ops.record_begin(stream, &err));
    rf_sim_fail("cudaLaunchKernel", 1, cudaErrorLaunchFailure);
    EXPECT_EQ(add(a, a, 1, 1), RF_ERR_DEVICE);
    EXPECT_EQ(ops.record_end(stream, &recording, &err), RF_ERR_DEVICE);
    EXPECT_NE(strstr(err.text, "is lost"), nullptr) << err.text;
    EXPECT_EQ(recording, nullptr);
    close();
    rf_sim_reset();
    open();
    a = floats({1});
    RF_ASSERT(ops.record_begin(stream, &err));
    ops.record_external(stream, true);
    RF_ASSERT(add(a, a, 1, 1));
    RF_ASSERT(ops.record_end(stream, &recording, &err));
    RF_ASSERT(ops.update_begin(stream, recording, &err));
    rf_sim_fail("cudaGraphExecKernelNodeSetParams", 1, cudaErrorLaunchFailure);
    EXPECT_EQ(add(a, a, 1, 2), RF_ERR_DEVICE);
    EXPECT_EQ(ops.update_end(stream, &err), RF_ERR_DEVICE);
    EXPECT_NE(strstr(err.text, "is lost"), nullptr) << err.text;
    ops.recording_destroy(&recording);
    close();
    rf_sim_reset();
    open();
}

// ---- every call fails once

const std::string count_devices = "cudaGetDeviceCount"; // its failures are all "no device"

// All verbs in one go; each method returns whether all went well so far.
class Tour
{
  public:
    // The first failure.
    rf_status go(rf_error *err)
    {
        err_ = err;
        if (begin() && record() && update()) {
            EXPECT_EQ(host_[3], 4 + 3);
        }
        ops.recording_destroy(&recording_);
        ops.stream_destroy(&stream_);
        ops.free(device_, a_);
        ops.free(device_, b_);
        ops.close(&device_);
        return status_;
    }

  private:
    bool step(rf_status s)
    {
        if (status_ == RF_OK)
            status_ = s;
        return s == RF_OK;
    }
    bool add(float delta)
    {
        AddParams p = {(float *)b_, (float *)a_, 4, delta};
        rf_kernel_call call = {};
        call.stream = stream_;
        return step(rf_cuda_launch(&call, &add_entry, {1, 1, 1}, {32, 1, 1}, 0, &p, err_));
    }
    bool fetch() { return step(ops.copy(stream_, host_, b_, 16, err_)); }
    bool begin()
    {
        float ms;
        return step(ops.open(nullptr, &device_, err_)) && step(ops.alloc(device_, 16, &a_, err_)) &&
               step(ops.alloc(device_, 16, &b_, err_)) &&
               step(ops.upload(device_, a_, host_, 16, err_)) &&
               step(ops.stream_create(device_, nullptr, &stream_, err_)) &&
               step(ops.mark(stream_, 0, err_)) && add(1) && step(ops.mark(stream_, 1, err_)) &&
               fetch() && step(ops.wait(stream_, err_)) && step(ops.mark_ms(stream_, 1, &ms, err_));
    }
    bool record()
    {
        if (!step(ops.record_begin(stream_, err_)))
            return false;
        ops.record_external(stream_, true);
        bool good = add(2);
        ops.record_external(stream_, false);
        good = good && add(3) && fetch();
        rf_error later; // the first failure's text stays
        return step(ops.record_end(stream_, &recording_, good ? err_ : &later)) && good &&
               step(ops.replay(stream_, recording_, err_));
    }
    bool update()
    {
        if (!step(ops.update_begin(stream_, recording_, err_)))
            return false;
        bool good = add(4);
        rf_error later;
        return step(ops.update_end(stream_, good ? err_ : &later)) && good &&
               step(ops.replay(stream_, recording_, err_)) && step(ops.wait(stream_, err_));
    }
    rf_error *err_ = nullptr;
    rf_status status_ = RF_OK;
    rf_device *device_ = nullptr;
    rf_stream *stream_ = nullptr;
    rf_recording *recording_ = nullptr;
    void *a_ = nullptr, *b_ = nullptr;
    float host_[4] = {1, 2, 3, 4};
};

class SimModuleFailures : public testing::TestWithParam<const char *>
{
};

TEST_P(SimModuleFailures, OfEveryKthCallLeakNothing)
{
    for (cudaError_t e : {cudaErrorMemoryAllocation, cudaErrorUnknown, cudaErrorIllegalAddress}) {
        int k = 1;
        for (;; k++) {
            reset();
            rf_error err = {};
            rf_sim_fail(GetParam(), k, e);
            rf_status status = Tour().go(&err);
            if (rf_sim_fail(GetParam(), 0, cudaSuccess)) { // fewer calls than k
                EXPECT_EQ(status, RF_OK) << err.text;
                break;
            }
            bool memory = e == cudaErrorMemoryAllocation && GetParam() != count_devices;
            EXPECT_EQ(status, memory ? RF_ERR_MEMORY : RF_ERR_DEVICE) << k << " " << err.text;
            if (e != cudaErrorIllegalAddress) {
                EXPECT_STREQ(rf_sim_leaks(), "") << k;
                EXPECT_EQ(cudaGetLastError(), cudaSuccess) << k;
            }
        }
        EXPECT_GT(k, 1) << "the tour does not call it";
    }
    rf_sim_reset();
}

// Not those that give back: what they fail to give back is lost.
INSTANTIATE_TEST_SUITE_P(Calls, SimModuleFailures,
                         testing::Values("cudaMalloc", "cudaStreamCreateWithFlags",
                                         "cudaMemcpyAsync", "cudaLaunchKernel", "cudaEventCreate",
                                         "cudaEventRecord", "cudaStreamBeginCapture",
                                         "cudaStreamGetCaptureInfo", "cudaGraphInstantiate",
                                         "cudaGraphLaunch", "cudaGraphExecKernelNodeSetParams",
                                         "cudaEventElapsedTime", "cudaGetDeviceProperties",
                                         "cudaGetDeviceCount"),
                         [](auto &info) { return std::string(info.param); });

} // namespace
