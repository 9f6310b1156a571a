// SPDX-License-Identifier: Apache-2.0
//
// Nothing in the planner knows a network by name: a U-Net, a RepVGG and an attention block that the
// graph builder made get the same fusions and kernels as DEA-Net. What each op got is printed.
#include "tests/support/networks.h"

#include "runtime/core/graph.h"

using namespace rft;

namespace
{

bool machine_has(const Session &s, const char *isa)
{
    return std::string(rf_session_device(s.get())).find(isa) != std::string::npos;
}

// The steps for this shape, printed.
std::vector<Step> show(const char *what, const Session &s, const Array &x)
{
    rf_error err;
    rf_tensor shape = x.shape();
    EXPECT_EQ(rf_session_prepare(s.get(), &shape, 1, nullptr, &err), RF_OK) << err.text;
    std::vector<Step> all = steps(s);
    printf("  %s on %s\n", what, rf_session_device(s.get()));
    for (const Step &step : all)
        printf("  %s\n", step.line.c_str());
    return all;
}

int count_op(const std::vector<Step> &all, const std::string &op)
{
    int n = 0;
    for (const Step &s : all)
        n += s.op == op;
    return n;
}

int count_kernel(const std::vector<Step> &all, const std::string &part)
{
    int n = 0;
    for (const Step &s : all)
        n += s.kernel.find(part) != std::string::npos;
    return n;
}

void expect_no_reference_kernel(const std::vector<Step> &all)
{
    for (const Step &s : all)
        EXPECT_NE(s.kernel.rfind("ref.", 0), 0u) << s.line;
}

struct Networks {
    Model model;
    Session f32, bf16, ref;
    Array x;
};

Networks prepare(Graph graph, Array x)
{
    Networks n;
    n.model = finish_graph(std::move(graph));
    SessionOptions o;
    n.f32 = open_session(n.model, o);
    o.precision = RF_BF16;
    n.bf16 = open_session(n.model, o);
    n.ref = open_session(n.model, {.device = "ref"});
    n.x = std::move(x);
    return n;
}

// Runs all three; the float32 result within 1e-5 of max |ref|, bf16 within 3% of the deviation.
void expect_agreement(const Networks &n)
{
    Array ref = run(n.ref, n.x);
    EXPECT_LE(max_abs_difference(run(n.f32, n.x).data, ref.data), 1e-5 * max_abs(ref.data));
    EXPECT_LE(relative_rms(run(n.bf16, n.x).data, ref.data), 0.03);
}

TEST(Fusion, UnetGetsFastKernelsAndNothingElse)
{
    // Kernels are chosen by shape, and at 64x64 the lowest level is too small for Winograd: what is
    // run may be smaller, what is planned may not.
    const Array planned({1, 3, 128, 128});
    int64_t size = quick() ? 64 : 128;
    Networks n = prepare(unet(32), random_array("unet", {1, 3, size, size}, 0, 1));
    expect_agreement(n);
    std::vector<Step> f32 = show("U-Net f32", n.f32, planned),
                      bf16 = show("U-Net bf16", n.bf16, planned);
    for (const auto *all : {&f32, &bf16}) {
        expect_no_reference_kernel(*all);
        EXPECT_EQ(count_op(*all, "batch_norm"), 0);
        EXPECT_EQ(count_op(*all, "unary"), 0) << "activations belong into the convolutions";
        EXPECT_EQ(count_op(*all, "binary"), 0) << "the residual belongs into the convolution";
        EXPECT_EQ(count_op(*all, "conv2d"), 9);
        EXPECT_EQ(count_op(*all, "conv_transpose2d"), 2);
    }
    EXPECT_GE(count_kernel(f32, "winograd"), 6);
    if (machine_has(n.bf16, "+bf16")) {
        EXPECT_GE(count_kernel(bf16, "bf16") + count_kernel(bf16, "amx") +
                      count_kernel(bf16, "winograd"),
                  6);
    }
}

TEST(Fusion, RepvggFoldsToPlainConvolutions)
{
    Networks n = prepare(repvgg(32), random_array("repvgg", {2, 3, 128, 96}, 0, 1));
    expect_agreement(n);
    std::vector<Step> all = show("RepVGG f32", n.f32, n.x);
    expect_no_reference_kernel(all);
    EXPECT_EQ(count_op(all, "conv2d"), 4);
    EXPECT_EQ(count_op(all, "batch_norm") + count_op(all, "unary") + count_op(all, "binary"), 0);
    EXPECT_GE(count_kernel(all, "winograd"), 1);
    EXPECT_GE(info_of(n.model).n_folds, 4);
}

TEST(Fusion, RepvggUnfoldedGivesTheSame)
{
    Array x = random_array("repvgg", {1, 3, 64, 48}, 0, 1);
    Array folded = run(open_session(finish_graph(repvgg(32))), x);
    Array unfolded = run(open_session(finish_graph(repvgg(32), true)), x);
    EXPECT_LE(max_abs_difference(folded.data, unfolded.data), 1e-5 * max_abs(unfolded.data));
}

class Attention : public testing::TestWithParam<bool>
{
};

TEST_P(Attention, IsFoundInItsGenericFormAndEqualsIt)
{
    Array x = random_array("attention", {1, 3, 40, 36});
    Graph graph = content_attention(32, GetParam());
    Array judge = run_unoptimised(graph, x);
    Networks n = prepare(std::move(graph), x);
    expect_agreement(n);
    EXPECT_LE(max_abs_difference(run(n.ref, x).data, judge.data), 2e-6 * max_abs(judge.data));
    EXPECT_LE(max_abs_difference(run(n.f32, x).data, judge.data), 1e-5 * max_abs(judge.data));
    std::vector<Step> all = show(GetParam() ? "attention, mix" : "attention, gate", n.f32, n.x);
    expect_no_reference_kernel(all);
    EXPECT_EQ(count_op(all, "channel_stats"), 1);
    EXPECT_EQ(count_op(all, "pixel_attention"), 1);
    EXPECT_EQ(count_op(all, "reduce") + count_op(all, "concat") + count_op(all, "unary"), 0);
    EXPECT_EQ(count_op(all, "conv2d"), 5) << "left, right, excite.a, excite.b, last";
}

INSTANTIATE_TEST_SUITE_P(, Attention, testing::Values(false, true),
                         [](const auto &p) { return p.param ? "Mix" : "Gate"; });

// A relu that somebody else reads as well, or a sum with an operand that broadcasts, must stay.
TEST(Fusion, ValuesWithOtherReadersStayAsTheyAre)
{
    Net n("readers");
    rf_value x = n.input("x", {1, 3, 16, 16});
    rf_value c = n.conv("c", x, 3, 32, 3), r = n.relu("r", c);
    rf_value narrow = n.conv("narrow", x, 3, 1, 1);
    n.output("y", n.sum("wide", n.conv("d", r, 32, 32, 3), n.sum("both", c, narrow)));
    Graph graph = n.take();
    Array in = random_array("readers", {1, 3, 16, 16}), judge = run_unoptimised(graph, in);
    Networks all = prepare(std::move(graph), in);
    EXPECT_LE(max_abs_difference(run(all.f32, in).data, judge.data), 1e-5 * max_abs(judge.data));
    EXPECT_LE(max_abs_difference(run(all.ref, in).data, judge.data), 1e-5 * max_abs(judge.data));
}

} // namespace
