// SPDX-License-Identifier: Apache-2.0
//
// Fusion passes: what they merge, and what they must leave alone.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "refold/graph.h"
#include "runtime/exec/passes.h"

namespace
{

struct Net {
    rf_graph *g = nullptr;
    rf_error err{};
    int n_consts = 0, n_ops = 0;
    Net() { EXPECT_EQ(rf_graph_create(nullptr, &g, &err), RF_OK); }
    ~Net() { rf_graph_destroy(&g); }
    rf_value input(const char *name, std::vector<int64_t> dims)
    {
        rf_value v = RF_NONE;
        EXPECT_EQ(rf_graph_input(g, name, RF_F32, (int)dims.size(), dims.data(), &v, &err), RF_OK)
            << err.text;
        return v;
    }
    rf_value constant(std::vector<int64_t> dims)
    {
        rf_tensor t;
        EXPECT_EQ(rf_tensor_init(&t, RF_F32, (int)dims.size(), dims.data(), nullptr, &err), RF_OK);
        std::vector<float> data((size_t)rf_tensor_elements(&t), 0.25f);
        t.data = data.data();
        rf_value v = RF_NONE;
        std::string name = "c" + std::to_string(n_consts++);
        EXPECT_EQ(rf_graph_const(g, name.c_str(), &t, &v, &err), RF_OK) << err.text;
        return v;
    }
    rf_value op(const char *kind, std::vector<rf_value> in, std::vector<rf_attr> attrs = {})
    {
        rf_value v = RF_NONE;
        std::string name = kind + std::to_string(n_ops++);
        EXPECT_EQ(rf_graph_add(g, kind, name.c_str(), in.data(), (int)in.size(), attrs.data(),
                               (int)attrs.size(), &v, 1, &err),
                  RF_OK)
            << err.text;
        return v;
    }
    rf_value conv(rf_value x, int64_t in, int64_t out)
    {
        return op("conv2d", {x, constant({out, in, 3, 3}), constant({out})},
                  {RF_INTS("pad", 1, 1, 1, 1)});
    }
    void optimise(rf_value y)
    {
        ASSERT_EQ(rf_graph_output(g, "y", y, &err), RF_OK) << err.text;
        ASSERT_EQ(rf_exec_optimise(g, &err), RF_OK) << err.text;
    }
    std::string ops() const
    {
        std::string s;
        for (size_t i = 0; i < g->n_nodes; i++)
            s += std::string(i ? " " : "") + rf_op_get(g->nodes[i].op)->name;
        return s;
    }
};

const std::vector<int64_t> image = {-1, 32, -1, -1};

TEST(FuseConv, TakesActivationThenResidual)
{
    Net n;
    rf_value x = n.input("x", image);
    n.optimise(n.op("binary", {n.op("unary", {n.conv(x, 32, 32)}), x}));
    ASSERT_EQ(n.ops(), "conv2d");
    const rf_graph_node &c = n.g->nodes[0];
    EXPECT_EQ(c.attrs.conv2d.act, RF_ACT_RELU);
    EXPECT_EQ(c.attrs.conv2d.res_mode, RF_RES_AFTER);
    EXPECT_EQ(c.in[3], x);
}

TEST(FuseConv, TakesResidualThenActivation)
{
    Net n;
    rf_value x = n.input("x", image);
    n.optimise(n.op("unary", {n.op("binary", {x, n.conv(x, 32, 32)})}));
    ASSERT_EQ(n.ops(), "conv2d");
    EXPECT_EQ(n.g->nodes[0].attrs.conv2d.res_mode, RF_RES_BEFORE);
}

TEST(FuseConv, KeepsAResultThatIsUsedTwice)
{
    Net n;
    rf_value x = n.input("x", image), y = n.conv(x, 32, 32);
    n.optimise(n.op("binary", {n.op("unary", {y}), y}));
    EXPECT_EQ(n.ops(), "conv2d unary binary");
}

TEST(FuseConv, KeepsABroadcastSumApart)
{
    Net n;
    rf_value x = n.input("x", image), bias = n.input("b", {-1, 32, 1, 1});
    n.optimise(n.op("binary", {n.conv(x, 32, 32), bias}));
    EXPECT_EQ(n.ops(), "conv2d binary");
}

TEST(FuseConv, LaterConvolutionTakesTheEarlierOne)
{
    Net n;
    rf_value x = n.input("x", image), a = n.conv(x, 32, 32), b = n.conv(x, 32, 32);
    n.optimise(n.op("binary", {a, b}));
    ASSERT_EQ(n.ops(), "conv2d conv2d");
    EXPECT_EQ(n.g->nodes[1].in[3], n.g->nodes[0].out[0]);
}

TEST(FuseConv, TakesReflectPaddingInFront)
{
    Net n;
    rf_value x = n.input("x", image);
    rf_value p =
        n.op("pad", {x}, {RF_INTS("pads", 0, 0, 1, 2, 0, 0, 1, 2), RF_ENUM("mode", "reflect")});
    n.optimise(n.op("conv2d", {p, n.constant({8, 32, 3, 5})}));
    ASSERT_EQ(n.ops(), "conv2d");
    const rf_conv2d_attrs &a = n.g->nodes[0].attrs.conv2d;
    EXPECT_EQ(a.pad_mode, RF_PAD_REFLECT);
    EXPECT_EQ(a.pad[0], 1);
    EXPECT_EQ(a.pad[3], 2);
}

TEST(FuseConv, MatmulTakesBiasActivationAndResidual)
{
    Net n;
    rf_value x = n.input("x", {-1, 16, 64});
    rf_value y = n.op("binary", {n.op("matmul", {x, n.constant({64, 64})}), n.constant({64})});
    n.optimise(n.op("binary", {x, n.op("unary", {y}, {RF_ENUM("kind", "gelu")})}));
    ASSERT_EQ(n.ops(), "matmul");
    const rf_graph_node &m = n.g->nodes[0];
    EXPECT_EQ(m.attrs.matmul.act, RF_ACT_GELU);
    ASSERT_EQ(m.n_in, 4);
    EXPECT_EQ(m.in[3], x);
}

TEST(ConstFold, EvaluatesNodesOfConstants)
{
    Net n;
    rf_value x = n.input("x", {4, 8});
    rf_value w = n.op("transpose", {n.op("unary", {n.constant({8, 8})},
                                         {RF_ENUM("kind", "scale"), RF_REAL("alpha", 2)})});
    n.optimise(n.op("matmul", {x, w}));
    ASSERT_EQ(n.ops(), "matmul");
    const rf_tensor &folded = n.g->values[n.g->nodes[0].in[1]].desc;
    EXPECT_FLOAT_EQ(((const float *)folded.data)[5], 0.5f);
}

// Content-guided attention with other names than DEA-Net's.
struct Attention {
    rf_value r, p;
    Attention(Net &n, rf_value feature, int64_t c, int64_t k, const char *pad_mode)
    {
        int64_t q = k / 2;
        std::vector<rf_attr> same = {RF_INTS("pad", q, q, q, q), RF_ENUM("pad_mode", pad_mode)};
        std::vector<rf_attr> depthwise = same;
        depthwise.push_back(RF_INTS("groups", c));
        r = feature;
        rf_value mean = n.op("reduce", {r}, {RF_ENUM("kind", "mean"), RF_INTS("axes", 1)});
        rf_value max = n.op("reduce", {r}, {RF_ENUM("kind", "max"), RF_INTS("axes", 1)});
        rf_value s =
            n.op("conv2d", {n.op("concat", {mean, max}), n.constant({1, 2, k, k}), n.constant({1})},
                 same);
        rf_value gap = n.op("reduce", {r}, {RF_ENUM("kind", "mean"), RF_INTS("axes", 2, 3)});
        rf_value ca = n.op("conv2d", {gap, n.constant({c, c, 1, 1}), n.constant({c})});
        rf_value a = n.op("binary", {s, ca});
        rf_value d0 = n.op("conv2d", {r, n.constant({c, 1, k, k})}, depthwise);
        rf_value d1 = n.op("conv2d", {a, n.constant({c, 1, k, k}), n.constant({c})}, depthwise);
        p = n.op("unary", {n.op("binary", {d0, d1})}, {RF_ENUM("kind", "sigmoid")});
    }
};

TEST(FuseAttention, FindsTheGateForm)
{
    Net n;
    rf_value x = n.input("x", image);
    Attention a(n, n.conv(x, 32, 32), 32, 5, "reflect");
    n.optimise(n.op("binary", {x, n.op("binary", {a.p, a.r}, {RF_ENUM("kind", "mul")})}));
    EXPECT_EQ(n.ops(), "conv2d channel_stats conv2d pixel_attention");
}

TEST(FuseAttention, FindsTheMixFormAndItsSum)
{
    Net n;
    rf_value x = n.input("x", image), y = n.conv(x, 32, 32);
    Attention a(n, n.op("binary", {x, y}), 32, 7, "reflect");
    rf_value q = n.op("unary", {a.p}, {RF_ENUM("kind", "sigmoid")});
    rf_value inv =
        n.op("unary", {q}, {RF_ENUM("kind", "scale"), RF_REAL("alpha", -1), RF_REAL("beta", 1)});
    rf_value first = n.op("binary", {a.r, n.op("binary", {q, x}, {RF_ENUM("kind", "mul")})});
    n.optimise(n.op("binary", {first, n.op("binary", {inv, y}, {RF_ENUM("kind", "mul")})}));
    EXPECT_EQ(n.ops(), "conv2d channel_stats conv2d pixel_attention");
    for (size_t i = 0; i < n.g->n_nodes; i++)
        if (n.g->nodes[i].op == RF_OP_CHANNEL_STATS) {
            EXPECT_EQ(n.g->nodes[i].n_out, 3);
        }
}

TEST(FuseAttention, LeavesZeroPaddingAlone)
{
    Net n;
    rf_value x = n.input("x", image);
    Attention a(n, n.conv(x, 32, 32), 32, 7, "constant");
    n.optimise(n.op("binary", {x, n.op("binary", {a.p, a.r}, {RF_ENUM("kind", "mul")})}));
    EXPECT_EQ(n.ops().find("pixel_attention"), std::string::npos) << n.ops();
}

TEST(ConstFold, EvaluatesConstantsButNotIntoAnyAmountOfMemory)
{
    for (int64_t n : {64, 1 << 20}) {
        Net net;
        rf_value x = net.input("x", {1, 1, 1, n});
        rf_value wide =
            net.op("expand", {net.constant({1, 1, 1, 1})}, {RF_INTS("dims", 1, 1, 1, n)});
        net.optimise(net.op("binary", {x, wide}, {RF_ENUM("kind", "add")}));
        bool folded = net.ops().find("expand") == std::string::npos;
        EXPECT_EQ(folded, n == 64) << "a constant of 4 bytes becomes one of " << 4 * n;
    }
}

} // namespace
