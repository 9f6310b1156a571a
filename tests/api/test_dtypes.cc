// SPDX-License-Identifier: Apache-2.0
//
// Graph inputs of other float dtypes than f32: the network must see exactly the numbers that they
// hold, on the kernels that f32 inputs get.
#include "tests/support/networks.h"

#include <cstring>
#include <functional>

#include "runtime/base/half.h"

using namespace rft;

namespace
{

// A tensor of another dtype and the f32 numbers that it holds.
struct Narrow {
    rf_dtype dtype;
    Array exact;
    std::vector<char> bytes;

    Narrow(rf_dtype d, const Array &values) : dtype(d), exact(values)
    {
        bytes.resize(values.data.size() * rf_dtype_bytes(d));
        for (size_t i = 0; i < values.data.size(); i++) {
            float x = values.data[i];
            uint16_t h = d == RF_F16 ? rf_f32_to_f16(x) : rf_f32_to_bf16(x);
            double wide = x;
            if (d == RF_F64)
                memcpy(&bytes[i * 8], &wide, 8);
            else
                memcpy(&bytes[i * 2], &h, 2);
            exact.data[i] = d == RF_F64 ? x : d == RF_F16 ? rf_f16_to_f32(h) : rf_bf16_to_f32(h);
        }
    }
    rf_tensor view()
    {
        rf_tensor t = exact.shape();
        t.dtype = dtype;
        t.data = bytes.data();
        return t;
    }
};

using Build = std::function<rf_value(Net &, rf_value)>;

Model network(rf_dtype dtype, const Build &build)
{
    Net n("dtypes");
    const int64_t dims[4] = {1, 3, -1, -1};
    rf_value x = RF_NONE;
    rf_error err = {};
    EXPECT_EQ(rf_graph_input(n.get(), "x", dtype, 4, dims, &x, &err), RF_OK) << err.text;
    n.output("y", build(n, x));
    return finish_graph(n.take());
}

Array run_narrow(const Session &s, const rf_tensor &in)
{
    rf_error err = {};
    rf_tensor out = {};
    EXPECT_EQ(rf_session_prepare(s.get(), &in, 1, nullptr, &err), RF_OK) << err.text;
    EXPECT_EQ(rf_session_output(s.get(), 0, &out, &err), RF_OK) << err.text;
    EXPECT_EQ(out.dtype, RF_F32) << "float results are f32, whatever goes in";
    Array y(std::vector<int64_t>(out.dims, out.dims + out.rank));
    rf_tensor to = y.view();
    EXPECT_EQ(rf_session_run(s.get(), &in, 1, &to, 1, &err), RF_OK) << err.text;
    return y;
}

const std::pair<const char *, Build> NETWORKS[] = {
    {"convolutions",
     [](Net &n, rf_value x) {
         return n.conv("b", n.relu("r", n.conv("a", x, 3, 32, 3)), 32, 3, 3);
     }},
    {"residual", [](Net &n, rf_value x) { return n.sum("s", n.conv("a", x, 3, 3, 3), x); }},
    {"elementwise", [](Net &n, rf_value x) { return n.relu("r", x); }},
    {"handed through", [](Net &, rf_value x) { return x; }},
    {"cast by the graph",
     [](Net &n, rf_value x) { return n.relu("r", n.one("cast", "c", {x}, {word("to", "f32")})); }},
    {"mean",
     [](Net &n, rf_value x) {
         return n.one("reduce", "m", {x}, {word("kind", "mean"), ints("axes", {2, 3})});
     }},
};

TEST(Dtypes, InputsOfOtherFloatsGiveTheResultOfTheirNumbers)
{
    for (const auto &[name, build] : NETWORKS)
        for (rf_dtype dtype : {RF_F16, RF_BF16, RF_F64})
            for (rf_dtype precision : {RF_F32, RF_BF16})
                for (const char *device : {"cpu", "ref"}) {
                    Narrow x(dtype, random_array("x", {1, 3, 21, 34}));
                    SessionOptions o;
                    o.device = device;
                    o.precision = precision;
                    Session s = open_session(network(dtype, build), o);
                    Array got = run_narrow(s, x.view());
                    Array want = run(open_session(network(RF_F32, build), o), x.exact);
                    ASSERT_EQ(got.dims, want.dims);
                    EXPECT_LE(relative_rms(got.data, want.data), precision == RF_F32 ? 1e-6 : 1e-2)
                        << name << ", " << rf_dtype_name(dtype) << " on " << device << " in "
                        << rf_dtype_name(precision);
                }
}

// Casting the input once is all that an f16 input may cost.
TEST(Dtypes, InputsOfF16KeepTheFastKernels)
{
    Narrow x(RF_F16, random_array("x", {1, 3, 24, 40}));
    Session s = open_session(network(RF_F16, NETWORKS[0].second));
    Session plain = open_session(network(RF_F32, NETWORKS[0].second));
    EXPECT_EQ(run_narrow(s, x.view()).data, run(plain, x.exact).data) << "bit by bit";
    std::vector<Step> want = steps(plain), got = steps(s);
    ASSERT_EQ(got.size(), want.size() + 1) << explain(s);
    EXPECT_EQ(got[0].kernel, "cpu.cast") << explain(s);
    for (size_t i = 0; i < want.size(); i++)
        EXPECT_EQ(got[i + 1].kernel, want[i].kernel) << explain(s);
    Session cast = open_session(network(RF_F16, NETWORKS[4].second));
    run_narrow(cast, x.view());
    EXPECT_EQ(steps(cast).size(), 2u) << "the graph's own cast is enough\n" << explain(cast);
}

TEST(Dtypes, InputsOfF16MayBeStrided)
{
    Narrow x(RF_F16, random_array("x", {1, 3, 20, 24}));
    Session s = open_session(network(RF_F16, NETWORKS[0].second));
    const Array whole = run_narrow(s, x.view());
    std::vector<char> wide(3 * 20 * 29 * 2, 0x55);
    rf_tensor t = x.view();
    for (size_t row = 0; row < 3 * 20; row++)
        memcpy(&wide[row * 29 * 2], &x.bytes[row * 24 * 2], 24 * 2);
    t.data = wide.data();
    t.strides[2] = 29;
    t.strides[1] = 20 * 29;
    t.strides[0] = 3 * 20 * 29;
    EXPECT_EQ(run_narrow(s, t).data, whole.data);
}

TEST(Dtypes, InputsOfAnotherDtypeThanTheGraphSaysAreRefused)
{
    Session s = open_session(network(RF_F16, NETWORKS[0].second));
    rf_error err = {};
    const rf_tensor wrong = Array({1, 3, 20, 20}).shape();
    EXPECT_EQ(rf_session_prepare(s.get(), &wrong, 1, nullptr, &err), RF_ERR_ARGUMENT);
    EXPECT_NE(strstr(err.text, "expected f16, found f32"), nullptr) << err.text;
}

TEST(Dtypes, AnF16InputSurvivesSaving)
{
    TempDir dir;
    rf_error err = {};
    Narrow x(RF_F16, random_array("x", {1, 3, 20, 24}));
    Model m = network(RF_F16, NETWORKS[0].second);
    ASSERT_EQ(rf_model_save(m.get(), (dir / "m").c_str(), &err), RF_OK) << err.text;
    rf_io_info io = {sizeof io};
    Model again = load_file(dir / "m");
    ASSERT_EQ(rf_model_input(again.get(), 0, &io, &err), RF_OK) << err.text;
    EXPECT_EQ(io.dtype, RF_F16);
    EXPECT_EQ(run_narrow(open_session(again), x.view()).data,
              run_narrow(open_session(m), x.view()).data);
}

} // namespace
