// SPDX-License-Identifier: Apache-2.0
//
// Sessions on a GPU through the public API, the way a caller with CUDA code of its own uses them.
// On the emulated one librefold_sim.so is opened by the library, and its CUDA runtime by this
// program; test_gpu_session is the same program with cudart, RF_TEST_DEVICE=cuda and a real one.
#include <cstdlib>
#include <thread>

#include <cuda_runtime_api.h>

#include "tests/support/networks.h"
#include "tests/support/support.h"

using namespace rft;

namespace
{

const char *device_name()
{
    const char *given = std::getenv("RF_TEST_DEVICE");
    return given ? given : "sim";
}

rf_session_params device_params()
{
    rf_session_params p = {};
    p.size = sizeof p;
    p.device = device_name();
    return p;
}

Session open_on_device(const Model &model, const rf_session_params &params)
{
    rf_session *s = nullptr;
    rf_error err;
    EXPECT_EQ(rf_session_create(model.get(), &params, &s, &err), RF_OK) << err.text;
    return Session(s);
}

// y = relu(relu(x)): two steps, one reads the caller's tensor, one writes it.
Model two_relus()
{
    rf_error err;
    rf_graph *g = nullptr;
    EXPECT_EQ(rf_graph_create(nullptr, &g, &err), RF_OK) << err.text;
    Graph graph(g);
    const int64_t open[] = {1, 4, -1, -1};
    rf_value x, a, b;
    EXPECT_EQ(rf_graph_input(g, "x", RF_F32, 4, open, &x, &err), RF_OK);
    EXPECT_EQ(rf_graph_add(g, "unary", "a", &x, 1, nullptr, 0, &a, 1, &err), RF_OK) << err.text;
    EXPECT_EQ(rf_graph_add(g, "unary", "b", &a, 1, nullptr, 0, &b, 1, &err), RF_OK) << err.text;
    EXPECT_EQ(rf_graph_output(g, "y", b, &err), RF_OK) << err.text;
    return finish_graph(std::move(graph));
}

// A machine without the device skips, visibly; the emulated GPU is always there.
class DeviceSession : public testing::Test
{
  protected:
    void SetUp() override
    {
        rf_session *s = nullptr;
        rf_error err;
        const rf_session_params params = device_params();
        Model model = two_relus();
        rf_status status = rf_session_create(model.get(), &params, &s, &err);
        rf_session_destroy(&s);
        if (status == RF_ERR_DEVICE && device_name() != std::string("sim"))
            GTEST_SKIP() << err.text;
        ASSERT_EQ(status, RF_OK) << err.text;
    }
};

// Elements in device memory.
struct DeviceArray {
    explicit DeviceArray(size_t n) : n(n)
    {
        EXPECT_EQ(cudaMalloc((void **)&data, n * sizeof(float)), cudaSuccess);
    }
    ~DeviceArray() { cudaFree(data); }
    DeviceArray(const DeviceArray &) = delete;
    void set(const std::vector<float> &v)
    {
        EXPECT_EQ(cudaMemcpy(data, v.data(), v.size() * sizeof(float), cudaMemcpyHostToDevice),
                  cudaSuccess);
        // From pageable memory the call returns when the bytes are staged, not when they are there.
        EXPECT_EQ(cudaStreamSynchronize(nullptr), cudaSuccess);
    }
    std::vector<float> get() const
    {
        std::vector<float> v(n);
        EXPECT_EQ(cudaMemcpy(v.data(), data, n * sizeof(float), cudaMemcpyDeviceToHost),
                  cudaSuccess);
        return v;
    }
    size_t n;
    float *data = nullptr;
};

rf_tensor on(const DeviceArray &d, std::vector<int64_t> dims)
{
    rf_tensor t;
    EXPECT_EQ(rf_tensor_init(&t, RF_F32, (int)dims.size(), dims.data(), d.data, nullptr), RF_OK);
    return t;
}

std::vector<float> relu(std::vector<float> v)
{
    for (float &x : v)
        x = x < 0 ? 0 : x;
    return v;
}

TEST_F(DeviceSession, RunsWithTensorsOfTheHost)
{
    Model model = two_relus();
    Session s = open_on_device(model, device_params());
    for (int run_number = 0; run_number < 4; run_number++) { // plain, recorded, replayed
        Array x = random_array("x" + std::to_string(run_number), {1, 4, 9, 7});
        EXPECT_EQ(run(s, x).data, relu(x.data)) << run_number;
    }
    Array other = random_array("other", {1, 4, 3, 5});
    EXPECT_EQ(run(s, other).data, relu(other.data));
}

TEST_F(DeviceSession, EnqueuesOnTheCallersStreamAndPointers)
{
    Model model = two_relus();
    cudaStream_t stream;
    ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
    {
        rf_session_params params = device_params();
        params.stream = stream;
        Session s = open_on_device(model, params);
        const std::vector<int64_t> dims = {1, 4, 8, 8};
        for (int i = 0; i < 5; i++) { // new pointers every time: updates of the recording
            Array x = random_array("e" + std::to_string(i), dims);
            DeviceArray in(x.data.size()), out(x.data.size());
            in.set(x.data);
            rf_tensor ti = on(in, dims), to = on(out, dims);
            rf_error err;
            ASSERT_EQ(rf_session_enqueue(s.get(), &ti, 1, &to, 1, &err), RF_OK) << err.text;
            ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
            EXPECT_EQ(out.get(), relu(x.data)) << i;
        }
    }
    EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
}

TEST_F(DeviceSession, RefusesToEnqueueOnTheCpuAndAStreamWithoutAGpu)
{
    Model model = two_relus();
    Session cpu = open_session(model);
    Array x = random_array("x", {1, 4, 8, 8}), y = x;
    rf_tensor tx = x.view(), ty = y.view();
    rf_error err;
    EXPECT_EQ(rf_session_enqueue(cpu.get(), &tx, 1, &ty, 1, &err), RF_ERR_UNSUPPORTED);
    EXPECT_NE(std::string(err.text).find("'cpu'"), std::string::npos) << err.text;
    EXPECT_EQ(rf_session_wait(cpu.get(), &err), RF_OK);
    rf_session_params params = {};
    params.size = sizeof params;
    params.device = "cpu";
    params.stream = &x;
    rf_session *s;
    EXPECT_EQ(rf_session_create(model.get(), &params, &s, &err), RF_ERR_ARGUMENT);
}

TEST_F(DeviceSession, CountsMemoryBeforeTheRunAndKeepsTheCap)
{
    Model model = two_relus();
    rf_session_params params = device_params();
    Session s = open_on_device(model, params);
    Array x = random_array("x", {1, 4, 64, 64});
    rf_tensor shape = x.shape();
    rf_plan_info info = {};
    info.size = sizeof info;
    rf_error err;
    ASSERT_EQ(rf_session_prepare(s.get(), &shape, 1, &info, &err), RF_OK) << err.text;
    EXPECT_GE(info.peak_bytes, 2 * x.data.size() * sizeof(float)); // both ends on the device
    params.memory_cap = info.peak_bytes - 1;
    Session capped = open_on_device(model, params);
    EXPECT_EQ(rf_session_prepare(capped.get(), &shape, 1, &info, &err), RF_ERR_MEMORY);
}

TEST_F(DeviceSession, ProfilesEveryStep)
{
    Model model = two_relus();
    Session s = open_on_device(model, device_params());
    rf_session_profile(s.get(), true);
    run(s, random_array("x", {1, 4, 8, 8}));
    const char *json;
    rf_error err;
    ASSERT_EQ(rf_session_profile_json(s.get(), &json, &err), RF_OK) << err.text;
    EXPECT_NE(std::string(json).find(std::string(device_name()) + ".unary"), std::string::npos)
        << json;
}

TEST_F(DeviceSession, ServesManyThreadsOnOneDevice)
{
    Model model = two_relus();
    std::vector<int> wrong(4);
    std::vector<std::thread> threads;
    for (size_t t = 0; t < wrong.size(); t++)
        threads.emplace_back([&, t] {
            Session s = open_on_device(model, device_params());
            for (int i = 0; i < 6; i++) {
                Array x = random_array(std::to_string(t) + "." + std::to_string(i),
                                       {1, 4, 5 + (int64_t)t, 6});
                wrong[t] += run(s, x).data != relu(x.data);
            }
        });
    for (std::thread &t : threads)
        t.join();
    EXPECT_EQ(wrong, std::vector<int>(wrong.size()));
}

// ---- NVIDIA's libraries: stand-ins that REFOLD_SIM_CUDNN=0 and REFOLD_SIM_CUBLASLT=0 take away

class Variable
{
  public:
    Variable(const char *name, const char *value) : name_(name) { setenv(name, value, 1); }
    ~Variable() { unsetenv(name_); }

  private:
    const char *name_;
};

void collect(void *user, rf_log_level, const char *text)
{
    static_cast<std::vector<std::string> *>(user)->push_back(text);
}

int count(const std::vector<std::string> &lines, const std::string &what)
{
    int n = 0;
    for (const std::string &line : lines)
        n += line.find(what) != std::string::npos;
    return n;
}

struct Library {
    const char *kernel, *variable;
    Model (*make)(std::vector<std::string> *lines);
    std::vector<int64_t> dims; // of x; the library is wanted for few smaller ones
};

Net logged(const char *name, std::vector<std::string> *lines)
{
    rf_hooks hooks = {};
    hooks.size = sizeof hooks;
    hooks.logger = {collect, lines, RF_LOG_INFO};
    return Net(name, &hooks);
}

// Nodes of the library between two that are not, so that it reads and writes half storage.
const Library libraries[] = {
    {"sim.cudnn_conv",
     "REFOLD_SIM_CUDNN",
     [](std::vector<std::string> *lines) {
         Net n = logged("convolutions", lines);
         rf_value x = n.conv("before", n.input("x", {1, 4, -1, -1}), 4, 128, 3);
         x = n.relu("act", n.conv("one", x, 128, 128, 3));
         n.output("y", n.conv("after", x, 128, 4, 3));
         return finish_graph(n.take());
     },
     {1, 4, 5, 6}},
    {"sim.cublaslt",
     "REFOLD_SIM_CUBLASLT",
     [](std::vector<std::string> *lines) {
         Net n = logged("products", lines);
         rf_value x = n.input("x", {-1, 8});
         x = n.one("matmul", "before", {x, n.weight("u", {8, 320})});
         x = n.one("matmul", "one", {x, n.weight("w", {320, 320}), n.weight("b", {320})});
         n.output("y", n.one("softmax", "after", {x}, {ints("axis", {1})}));
         return finish_graph(n.take());
     },
     {44 * 128, 8}},
};

rf_session_params half_params()
{
    rf_session_params p = device_params();
    p.precision = RF_F16;
    return p;
}

TEST(SimLibraries, AreUsedWhereTheTableWantsThemAndNotMissedWhereTheyAreAbsent)
{
    for (const Library &library : libraries) {
        std::vector<std::string> lines;
        Array x = random_array("x", library.dims);
        Array with, without;
        Model model = library.make(&lines);
        {
            Session s = open_on_device(model, half_params());
            with = run(s, x);
            EXPECT_EQ(run(s, x).data, with.data) << library.kernel << ": recorded";
            EXPECT_NE(explain(s).find(library.kernel), std::string::npos) << explain(s);
            EXPECT_EQ(count(lines, "is left out"), 0) << lines[0];
        }
        Variable gone(library.variable, "0");
        Session s = open_on_device(model, half_params());
        without = run(s, x);
        EXPECT_EQ(explain(s).find(library.kernel), std::string::npos) << explain(s);
        EXPECT_EQ(count(lines, std::string(library.kernel) + " is left out"), 1);
        EXPECT_EQ(count(lines, library.variable), 1) << "the reason is not named";
        EXPECT_LT(relative_rms(without.data, with.data), 2e-3);
    }
}

TEST(SimLibraries, ThatRefuseInPrepareLeaveTheNodeToTheNextRow)
{
    const Library &library = libraries[1];
    std::vector<std::string> lines;
    Model model = library.make(&lines);
    Variable none(library.variable, "none"); // its heuristic has no algorithm
    Session s = open_on_device(model, half_params());
    rf_tensor shape = Array(library.dims).shape();
    rf_error err;
    ASSERT_EQ(rf_session_prepare(s.get(), &shape, 1, nullptr, &err), RF_OK) << err.text;
    EXPECT_NE(explain(s).find("sim.mma"), std::string::npos) << explain(s);
    EXPECT_EQ(explain(s).find(library.kernel), std::string::npos) << explain(s);
    EXPECT_EQ(count(lines, "matmul 'one': sim.cublaslt refused: cuBLASLt: "
                           "cublasLtMatmulAlgoGetHeuristic: not supported"),
              1);
}

} // namespace
