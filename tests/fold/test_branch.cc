// SPDX-License-Identifier: Apache-2.0
//
// Sums of parallel branches: REP-1 and the legality rules of reparam.md 2.3.
#include "tests/fold/folds.h"

namespace
{

using folds::Dims;
using folds::Doubles;
using folds::Net64;
using rft::ints;
using rft::word;

const rf_attr pad1 = ints("pad", {1, 1, 1, 1});

// dense 3x3, 1x1 and (if inputs are as many) identity, each with its norm, then relu
rf_value repvgg_block(Net64 &net, rf_value x, int64_t in, int64_t out, int64_t groups,
                      int64_t stride)
{
    rf_attr g = ints("groups", {groups}), s = ints("stride", {stride, stride});
    rf_value w3 = net.constant("w3", {out, in / groups, 3, 3});
    rf_value w1 = net.constant("w1", {out, in / groups, 1, 1});
    rf_value a = net.norm("bn3", net.add("conv2d", "c3", {x, w3}, {pad1, g, s}), out);
    rf_value b = net.norm("bn1", net.add("conv2d", "c1", {x, w1}, {g, s}), out);
    rf_value y = net.sum("s1", a, b);
    if (in == out && stride == 1)
        y = net.sum("s2", y, net.norm("bn0", x, out));
    return net.relu("relu", y);
}

TEST(FoldBranch, RepVggBlocksBecomeOneConvolution)
{
    for (int64_t groups : {1, 2, 6}) {
        Net64 net;
        net.output(repvgg_block(net, net.input({2, 6, 7, 9}), 6, 6, groups, 1));
        EXPECT_EQ(net.fold(), "conv2d unary");
        ASSERT_EQ(net.audit.n_records, 3u) << "two norms, one sum";
        EXPECT_STREQ(net.audit.records[2].scheme, "branch");
        EXPECT_EQ(net.audit.records[2].n_in, 3);
        EXPECT_GT(net.audit.records[2].max_abs, 0);
    }
}

TEST(FoldBranch, StridedRepVggBlocksHaveNoIdentity)
{
    Net64 net;
    net.output(repvgg_block(net, net.input({1, 4, 9, 8}), 4, 6, 2, 2));
    EXPECT_EQ(net.fold(), "conv2d unary");
}

TEST(FoldBranch, RoundedOnceStaysWithinT2OfTheUnfoldedBlock)
{
    for (int64_t groups : {1, 2}) {
        Net64 net;
        net.output(repvgg_block(net, net.input({1, 6, 7, 9}), 6, 6, groups, 1));
        Doubles want = net.run();
        ASSERT_EQ(net.refused(), "");
        ASSERT_EQ(rf_fold_round(net.g, &net.err), RF_OK) << net.err.text;
        EXPECT_EQ(net.ops(), "conv2d unary");
        folds::expect_close(want, net.run(RF_F32), folds::T2);
    }
}

TEST(FoldBranch, StridedBranchesPoolsAndForeignTermsKeepTheirPlace)
{
    Net64 net;
    rf_value x = net.input({1, 4, 9, 9});
    rf_attr s2 = ints("stride", {2, 2});
    rf_value other = net.relu("o", net.conv("p", x, {4, 4, 1, 1}, {s2}));
    rf_value a = net.conv("c5", x, {4, 4, 5, 5}, {s2, ints("pad", {2, 2, 2, 2})});
    rf_value b = net.conv("c3", x, {4, 4, 3, 3}, {s2, pad1});
    rf_value p = net.add(
        "pool2d", "pool", {x},
        {s2, ints("kernel", {3, 3}), pad1, ints("count_include_pad", {1}), word("kind", "avg")});
    net.output(net.sum("s3", net.sum("s2", net.sum("s1", a, other), b), p));
    EXPECT_EQ(net.fold(), "conv2d unary conv2d binary");
}

TEST(FoldBranch, AnAveragePoolIsADiagonalKernelInEachGroup)
{
    for (int64_t groups : {1, 2}) {
        Net64 net;
        rf_value x = net.input({1, 4, 7, 6});
        rf_value a = net.conv("c", x, {4, 4 / groups, 3, 3}, {pad1, ints("groups", {groups})});
        rf_value p = net.add(
            "pool2d", "pool", {x},
            {ints("kernel", {3, 3}), pad1, ints("count_include_pad", {1}), word("kind", "avg")});
        net.output(net.sum("s", a, p));
        EXPECT_EQ(net.fold(), "conv2d");
    }
}

TEST(FoldBranch, AcNetArmsJoin)
{
    Net64 net;
    rf_value x = net.input({1, 4, 9, 9});
    rf_value a = net.conv("a", x, {4, 4, 3, 3}, {pad1});
    rf_value b = net.conv("b", x, {4, 4, 1, 3}, {ints("pad", {0, 1, 0, 1})});
    rf_value c = net.conv("d", x, {4, 4, 3, 1}, {ints("pad", {1, 0, 1, 0})});
    net.output(net.sum("s2", net.sum("s1", a, b), c));
    EXPECT_EQ(net.fold(), "conv2d");
}

TEST(FoldBranch, AnEvenBranchJoinsWhereItsOffsetFits)
{
    Net64 net;
    rf_value x = net.input({1, 2, 6, 7});
    rf_value a = net.conv("a", x, {2, 2, 3, 3}, {pad1});
    rf_value b = net.conv("b", x, {2, 2, 2, 2}, {ints("pad", {1, 0, 0, 1})});
    net.output(net.sum("s", a, b));
    EXPECT_EQ(net.fold(), "conv2d");
}

TEST(FoldBranch, DilatedBranchesJoinOnTheirTaps)
{
    Net64 net;
    rf_value x = net.input({1, 2, 8, 9});
    rf_attr d2 = ints("dilation", {2, 2});
    rf_value a = net.conv("a", x, {2, 2, 3, 3}, {ints("pad", {2, 2, 2, 2}), d2});
    rf_value b = net.conv("b", x, {2, 2, 3, 1}, {ints("pad", {2, 0, 2, 0}), d2});
    net.output(net.sum("s", a, net.sum("t", b, net.norm("bn", x, 2))));
    EXPECT_EQ(net.fold(), "conv2d");
}

TEST(FoldBranch, ReflectAndEdgeBordersJoinIfAllShareThem)
{
    for (const char *mode : {"reflect", "edge"}) {
        Net64 net;
        rf_value x = net.input({1, 2, 6, 7});
        rf_value a = net.conv("a", x, {2, 2, 3, 3}, {pad1, word("pad_mode", mode)});
        rf_value b =
            net.conv("b", x, {2, 2, 5, 5}, {ints("pad", {2, 2, 2, 2}), word("pad_mode", mode)});
        net.output(net.sum("s", net.sum("t", a, b), net.conv("c", x, {2, 2, 1, 1})));
        EXPECT_EQ(net.fold(), "conv2d") << mode;
    }
}

TEST(FoldBranch, TheSumsActivationStays)
{
    Net64 net;
    rf_value x = net.input({1, 3, 6, 7});
    rf_value a = net.conv("a", x, {3, 3, 3, 3}, {pad1}), b = net.conv("b", x, {3, 3, 1, 1});
    net.output(net.add("binary", "s", {a, b}, {word("act", "tanh")}));
    EXPECT_EQ(net.fold(), "conv2d");
    EXPECT_EQ(net.g->nodes[0].attrs.conv2d.act, RF_ACT_TANH);
}

// As fast as one convolution, and it rounds less.
TEST(FoldBranch, APlainResidualStays)
{
    Net64 net;
    rf_value x = net.input({1, 4, 9, 9});
    net.output(net.sum("res", net.conv("c", x, {4, 4, 3, 3}, {pad1}), x));
    EXPECT_EQ(net.fold(), "conv2d binary");
    EXPECT_EQ(net.audit.n_records, 0u);
}

// A 3x3 convolution of x (1,4,9,9) plus this branch: which ops are left.
std::string beside(const char *op, Dims weight, std::vector<rf_attr> attrs,
                   std::vector<rf_attr> dense = {pad1})
{
    Net64 net;
    rf_value x = net.input({1, 4, 9, 9});
    rf_value a = net.conv("a", x, {4, 4, 3, 3}, dense);
    rf_value b = weight.empty() ? net.add(op, "b", {x}, attrs) : net.conv("b", x, weight, attrs);
    net.output(net.sum("s", a, b));
    return net.fold();
}

TEST(FoldBranch, IllegalBranchesStayUnfolded)
{
    const std::string kept = "conv2d conv2d binary", pooled = "conv2d pool2d binary";
    rf_attr reflect = word("pad_mode", "reflect"), avg = word("kind", "avg"),
            k3 = ints("kernel", {3, 3}), include = ints("count_include_pad", {1});
    EXPECT_EQ(beside("conv2d", {4, 4, 1, 1}, {}), "conv2d") << "the legal one";
    EXPECT_EQ(beside("conv2d", {4, 2, 1, 1}, {ints("groups", {2})}), kept) << "groups";
    EXPECT_EQ(beside("conv2d", {4, 4, 3, 3}, {pad1, reflect}), kept) << "border";
    EXPECT_EQ(beside("conv2d", {4, 4, 3, 3}, {ints("pad", {2, 2, 2, 2}), ints("dilation", {2, 2})}),
              kept)
        << "dilation";
    EXPECT_EQ(beside("conv2d", {4, 4, 1, 1}, {word("act", "relu")}), kept) << "activation";
    EXPECT_EQ(beside("conv2d", {4, 4, 1, 1}, {ints("pad", {1, 0, -1, 0})},
                     {ints("pad", {2, 2, 2, 2}), ints("dilation", {2, 2})}),
              kept)
        << "a tap between the dilated taps";
    EXPECT_EQ(beside("pool2d", {}, {k3, pad1, avg}), pooled)
        << "pool that counts its window inside";
    EXPECT_EQ(beside("pool2d", {}, {k3, pad1, avg, include}), "conv2d") << "the legal one";
    EXPECT_EQ(beside("pool2d", {}, {k3, pad1, avg, include}, {pad1, reflect}), pooled) << "border";
    EXPECT_EQ(beside("pool2d", {}, {k3, pad1}), pooled) << "maximum";
}

// One pixel is all that both strides see, but the graph may be asked for more.
TEST(FoldBranch, BranchesOfOtherStridesStayEvenWhereOutputsAreEqual)
{
    Net64 net;
    rf_value x = net.input({1, 4, 1, 1});
    net.output(net.sum("s", net.conv("a", x, {4, 4, 3, 3}, {pad1}),
                       net.conv("b", x, {4, 4, 1, 1}, {ints("stride", {2, 2})})));
    EXPECT_EQ(net.fold(), "conv2d conv2d binary");
}

TEST(FoldBranch, BranchesOfOtherTensorsOrWithOtherReadersStay)
{
    Net64 net;
    rf_value x = net.input({1, 4, 9, 9}), r = net.relu("r", x);
    net.output(
        net.sum("s", net.conv("a", x, {4, 4, 3, 3}, {pad1}), net.conv("b", r, {4, 4, 1, 1})));
    EXPECT_EQ(net.fold(), "unary conv2d conv2d binary");
    Net64 shared;
    x = shared.input({1, 4, 9, 9});
    rf_value b = shared.conv("b", x, {4, 4, 1, 1});
    shared.output(shared.sum("s", shared.conv("a", x, {4, 4, 3, 3}, {pad1}), b));
    shared.output(b, "also");
    EXPECT_EQ(shared.fold(), "conv2d conv2d binary");
}

TEST(FoldBranch, ATiedKernelIsUntied)
{
    Net64 net;
    rf_value x = net.input({1, 4, 9, 9}), w = net.constant("w", {4, 4, 3, 3});
    rf_value y =
        net.sum("s", net.add("conv2d", "a", {x, w}, {pad1}), net.conv("b", x, {4, 4, 1, 1}));
    net.output(net.add("conv2d", "c", {net.relu("r", y), w}, {pad1}));
    EXPECT_EQ(net.fold(), "conv2d unary conv2d");
    EXPECT_NE(net.g->nodes[0].in[1], net.g->nodes[2].in[1]);
}

TEST(FoldBranch, RefusesSumsThatAreNotFiniteInFloat32)
{
    Net64 net;
    rf_value x = net.input({1, 2, 3, 3});
    rf_value a = net.add("conv2d", "a", {x, net.constant("wa", {1, 2, 1, 1}, 3e38, 3e38)});
    rf_value b = net.add("conv2d", "b", {x, net.constant("wb", {1, 2, 1, 1}, 3e38, 3e38)});
    net.output(net.sum("s", a, b));
    EXPECT_EQ(net.refused(), "fold branch: 'a' gets 6e+38 at element 0, expected finite");
}

} // namespace
