// SPDX-License-Identifier: Apache-2.0
//
// Batch norm into its neighbours: BN-1 of reparam.md 2.2 (variances from 1e-8 to 1e4, scales of
// both signs), and what must stay as it is.
#include <cmath>
#include <cstring>

#include "tests/fold/folds.h"

namespace
{

using folds::Doubles;
using folds::Net64;
using rft::ints;
using rft::real;
using rft::word;

TEST(FoldBn, AfterConvolutionOfAnyGroupsAndDilation)
{
    Net64 net;
    rf_value y = net.input({2, 8, 9, 7});
    int k = 0;
    for (int64_t groups : {1, 2, 8}) {
        std::string name = "c" + std::to_string(k++);
        y = net.norm(name + ".bn",
                     net.conv(name, y, {8, 8 / groups, 3, 3},
                              {ints("pad", {2, 2, 2, 2}), ints("dilation", {2, 2}),
                               ints("groups", {groups})}),
                     8);
    }
    net.output(y);
    EXPECT_EQ(net.fold(), "conv2d conv2d conv2d");
    ASSERT_EQ(net.audit.n_records, 3u);
    EXPECT_STREQ(net.audit.records[0].scheme, "bn");
    EXPECT_STREQ(net.audit.records[0].target, "c0");
    EXPECT_EQ(net.audit.records[0].n_in, 2);
    EXPECT_EQ(net.refused(), "");
    EXPECT_EQ(net.audit.n_records, 3u) << "folding again changes nothing";
}

// T2: what comes out is rounded once and calculated in float32.
TEST(FoldBn, RoundedOnceStaysWithinT2OfTheUnfoldedLayer)
{
    for (int64_t groups : {1, 2, 8})
        for (bool transposed : {false, true})
            for (int64_t dilation : {1, 2}) {
                Net64 net;
                rf_value x = net.input({1, 8, 9, 8}), y;
                std::vector<rf_attr> attrs = {ints("pad", {1, 1, 1, 1}), ints("groups", {groups}),
                                              ints("dilation", {dilation, dilation})};
                y = transposed
                        ? net.add("conv_transpose2d", "c",
                                  {x, net.constant("c.weight", {8, 8 / groups, 3, 3})}, attrs)
                        : net.conv("c", x, {8, 8 / groups, 3, 3}, attrs);
                net.output(net.norm("bn", y, 8));
                Doubles want = net.run();
                ASSERT_EQ(net.refused(), "");
                ASSERT_EQ(rf_fold_round(net.g, &net.err), RF_OK) << net.err.text;
                SCOPED_TRACE(testing::Message() << "groups " << groups << ", dilation " << dilation
                                                << (transposed ? ", transposed" : ""));
                EXPECT_EQ(net.g->n_nodes, 1u);
                folds::expect_close(want, net.run(RF_F32), folds::T2);
            }
}

TEST(FoldBn, LeavesTheExactNumbersInItsRecord)
{
    Net64 net;
    net.output(net.norm("bn", net.conv("c", net.input({1, 3, 4, 4}), {5, 3, 2, 2}), 5));
    net.fold();
    ASSERT_EQ(net.audit.n_records, 1u);
    const rf_tensor &w = net.g->values[net.g->nodes[0].in[1]].desc;
    double largest = 0, error = 0;
    for (int64_t i = 0; i < rf_tensor_elements(&w); i++) {
        double v = ((const double *)w.data)[i];
        largest = std::fmax(largest, std::fabs(v));
        error = std::fmax(error, std::fabs(v - (double)(float)v));
    }
    EXPECT_EQ(net.audit.records[0].max_abs, largest);
    EXPECT_EQ(net.audit.records[0].max_error, error);
    EXPECT_GT(error, 0);
}

TEST(FoldBn, UsesTheEpsOfTheNode)
{
    Net64 net;
    net.output(net.norm("bn", net.conv("c", net.input({1, 3, 4, 4}), {5, 3, 1, 1}), 5,
                        {real("eps", 0.25)}));
    EXPECT_EQ(net.fold(), "conv2d");
}

TEST(FoldBn, AfterTransposedConvolutionScalesItsSecondAxisInEachGroup)
{
    for (int64_t groups : {1, 2, 4}) {
        Net64 net;
        rf_value y = net.input({1, 4, 5, 6});
        y = net.add("conv_transpose2d", "up", {y, net.constant("up.weight", {4, 3, 3, 3})},
                    {ints("stride", {2, 2}), ints("groups", {groups}), ints("output_pad", {1, 1}),
                     ints("pad", {1, 1, 1, 1})});
        net.output(net.norm("bn", y, 3 * groups));
        EXPECT_EQ(net.fold(), "conv_transpose2d");
    }
}

TEST(FoldBn, AfterMatmulOfMatrices)
{
    for (bool transposed : {false, true}) {
        Net64 net;
        rf_value y = net.input({7, 5});
        folds::Dims w = transposed ? folds::Dims{9, 5} : folds::Dims{5, 9};
        y = net.add("matmul", "fc", {y, net.constant("fc.weight", w), net.constant("b", {9})},
                    {ints("trans_b", {transposed}), real("alpha", -0.5)});
        net.output(net.norm("bn", y, 9));
        EXPECT_EQ(net.fold(), "matmul");
    }
}

// There dim 1, which the norm scales, is not the matmul's columns.
TEST(FoldBn, NotAfterMatmulOfBatches)
{
    Net64 net;
    rf_value y = net.input({2, 4, 5});
    y = net.add("matmul", "fc", {y, net.constant("fc.weight", {5, 4})});
    net.output(net.norm("bn", y, 4));
    EXPECT_EQ(net.fold(), "matmul batch_norm");
}

TEST(FoldBn, BeforeConvolutionWithoutABorderOfZeros)
{
    for (const char *mode : {"none", "crop", "reflect", "edge"}) {
        Net64 net;
        std::vector<rf_attr> attrs = {ints("groups", {2})};
        if (!strcmp(mode, "crop"))
            attrs.push_back(ints("pad", {-1, 0, 0, -2}));
        else if (strcmp(mode, "none")) {
            attrs.push_back(ints("pad", {2, 1, 0, 2}));
            attrs.push_back(word("pad_mode", mode));
        }
        rf_value y = net.conv("a", net.norm("bn", net.input({1, 4, 8, 8}), 4), {6, 2, 3, 3}, attrs);
        net.output(y);
        EXPECT_EQ(net.fold(), "conv2d") << mode;
    }
}

TEST(FoldBn, NotBeforeConvolutionThatReadsZerosOutside)
{
    Net64 net;
    rf_value y = net.norm("bn", net.input({1, 6, 8, 8}), 6);
    net.output(net.conv("b", y, {3, 6, 3, 3}, {ints("pad", {0, 1, 0, 0})}));
    EXPECT_EQ(net.fold(), "batch_norm conv2d");
    EXPECT_EQ(net.audit.n_records, 0u);
}

// The unfolded arithmetic differs at that border, and only there: what a fold would do wrong.
TEST(FoldBn, BorderOfZerosIsWhereAFoldWouldBeWrong)
{
    Doubles results[2];
    for (bool before : {false, true}) {
        Net64 net;
        rf_value x = net.input({1, 2, 5, 5});
        rf_attr pad = ints("pad", {1, 1, 1, 1});
        rf_value scale = net.constant("s", {2}, 2, 2), shift = net.constant("t", {2}, 1, 1),
                 mean = net.constant("m", {2}, 0, 0), var = net.constant("v", {2}, 1, 1),
                 w = net.constant("w", {1, 2, 3, 3});
        if (before) { // norm, then zeros around it
            x = net.add("batch_norm", "bn", {x, scale, shift, mean, var}, {real("eps", 0)});
            x = net.add("conv2d", "c", {x, w}, {pad});
        } else { // zeros first, which the norm then shifts
            x = net.add("pad", "p", {x}, {ints("pads", {0, 0, 1, 1, 0, 0, 1, 1})});
            x = net.add("batch_norm", "bn", {x, scale, shift, mean, var}, {real("eps", 0)});
            x = net.add("conv2d", "c", {x, w});
        }
        net.output(x);
        results[before] = net.run();
        EXPECT_EQ(net.fold(), before ? "batch_norm conv2d" : "pad conv2d");
    }
    for (int y = 0; y < 5; y++)
        for (int x = 0; x < 5; x++) {
            bool border = y == 0 || x == 0 || y == 4 || x == 4;
            double d = std::fabs(results[0][(size_t)(5 * y + x)] - results[1][(size_t)(5 * y + x)]);
            EXPECT_EQ(d > 1e-6, border) << y << "," << x;
        }
}

TEST(FoldBn, NothingThatSomebodyElseReads)
{
    Net64 net;
    rf_value x = net.input({1, 4, 8, 8}), c = net.conv("c", x, {4, 4, 1, 1});
    net.output(net.norm("bn", c, 4));
    net.output(c, "also");
    EXPECT_EQ(net.fold(), "conv2d batch_norm");
    EXPECT_EQ(net.audit.n_records, 0u);
}

TEST(FoldBn, NotAcrossAnActivationOrAResidual)
{
    for (bool residual : {false, true}) {
        Net64 net;
        rf_value x = net.input({1, 4, 8, 8}), w = net.constant("w", {4, 4, 1, 1});
        rf_value c = residual ? net.add("conv2d", "c", {x, w, net.constant("b", {4}), x})
                              : net.add("conv2d", "c", {x, w}, {word("act", "relu")});
        net.output(net.norm("bn", c, 4));
        EXPECT_EQ(net.fold(), "conv2d batch_norm");
    }
}

TEST(FoldBn, NotWithStatisticsThatAreComputed)
{
    Net64 net;
    rf_value x = net.input({1, 4, 1, 1}), c = net.conv("c", x, {4, 4, 1, 1});
    rf_value mean = net.add("reshape", "mean", {x}, {ints("dims", {4})});
    net.output(net.add(
        "batch_norm", "bn",
        {c, net.constant("s", {4}), net.constant("b", {4}), mean, net.constant("v", {4}, 1, 2)}));
    EXPECT_EQ(net.fold(), "conv2d reshape batch_norm");
}

TEST(FoldBn, ATiedWeightIsUntiedFromTheOpThatKeepsIt)
{
    Net64 net;
    rf_value x = net.input({1, 4, 8, 8}), w = net.constant("w", {4, 4, 1, 1});
    net.output(net.sum("s", net.relu("r", net.norm("bn", net.add("conv2d", "a", {x, w}), 4)),
                       net.relu("q", net.add("conv2d", "b", {x, w}))));
    EXPECT_EQ(net.fold(), "conv2d unary conv2d unary binary");
    rf_value a = net.g->nodes[0].in[1], b = net.g->nodes[2].in[1];
    EXPECT_NE(a, b);
    EXPECT_STRNE(net.g->values[a].name, net.g->values[b].name);
}

TEST(FoldBn, ATiedWeightOfTwoNormsFoldsOnceForEach)
{
    Net64 net;
    rf_value x = net.input({1, 4, 8, 8}), w = net.constant("w", {4, 4, 3, 3});
    rf_value a = net.relu("r", net.norm("bn1", net.add("conv2d", "a", {x, w}), 4));
    net.output(net.sum("s", a, net.relu("q", net.norm("bn2", net.add("conv2d", "b", {x, w}), 4))));
    EXPECT_EQ(net.fold(), "conv2d unary conv2d unary binary");
    EXPECT_EQ(net.audit.n_records, 2u);
    EXPECT_NE(net.g->nodes[0].in[1], net.g->nodes[2].in[1]);
}

// A norm with constants {scale, bias, mean, var} after a 1x1 convolution of two channels.
std::string verdict(const Doubles &scale, const Doubles &var, double eps)
{
    Net64 net;
    rf_value c = net.conv("c", net.input({1, 2, 4, 4}), {2, 2, 1, 1});
    net.output(net.add("batch_norm", "bn",
                       {c, net.constant("s", {2}, scale), net.constant("b", {2}),
                        net.constant("m", {2}), net.constant("v", {2}, var)},
                       {real("eps", eps)}));
    return net.refused();
}

TEST(FoldBn, RefusesImpossibleVariances)
{
    EXPECT_EQ(verdict({1, 1}, {0.5, -1}, 1e-5),
              "batch_norm 'bn': variance of channel 1 is -1 (eps 1e-05), expected 0 or more and a "
              "positive sum");
    EXPECT_EQ(verdict({1, 1}, {0, 1}, 0),
              "batch_norm 'bn': variance of channel 0 is 0 (eps 0), expected 0 or more and a "
              "positive sum");
    EXPECT_EQ(verdict({1, 1}, {NAN, 1}, 1e-5),
              "batch_norm 'bn': variance of channel 0 is nan (eps 1e-05), expected 0 or more and a "
              "positive sum");
    EXPECT_EQ(verdict({1, 1}, {0, 1}, 1e-5), "");
}

TEST(FoldBn, RefusesResultsThatAreNotFiniteInFloat32)
{
    EXPECT_NE(verdict({1e38, 1}, {1e-8, 1}, 0).find("fold bn: 'c' gets "), std::string::npos);
    EXPECT_NE(verdict({NAN, 1}, {1, 1}, 0).find("'c' gets nan at element 0, expected finite"),
              std::string::npos);
    EXPECT_NE(verdict({1, INFINITY}, {1, 1}, 0).find("at element 2, expected finite"),
              std::string::npos);
}

TEST(FoldRound, RoundsOnceAndRefusesWhatDoesNotFit)
{
    Net64 net;
    rf_value c = net.constant("c", {3}, {1.0 / 3, 1 + 0x1p-24, 1 + 3 * 0x1p-24});
    ASSERT_EQ(rf_fold_round(net.g, &net.err), RF_OK) << net.err.text;
    const rf_tensor &t = net.g->values[c].desc;
    ASSERT_EQ(t.dtype, RF_F32);
    EXPECT_EQ(((float *)t.data)[0], (float)(1.0 / 3));
    EXPECT_EQ(((float *)t.data)[1], 1.0f) << "ties to even";
    EXPECT_EQ(((float *)t.data)[2], 1 + 0x1p-22f) << "ties to even";
    net.constant("huge", {2}, {0, 1e300});
    EXPECT_EQ(rf_fold_round(net.g, &net.err), RF_ERR_FORMAT);
    EXPECT_STREQ(net.err.text, "constant 'huge' is 1e+300 at element 1, expected a finite f32");
}

} // namespace
