// SPDX-License-Identifier: Apache-2.0
//
// Folds on checkpoints: DEA-1 of reparam.md 2.1 and the RepVGG keys of 2.3, with every way in which
// a file can hold half of a block.
#include <cmath>

#include "tests/fold/folds.h"

namespace
{

using folds::Checkpoint64;
using folds::deconv_key;
using folds::Dims;
using folds::Doubles;

constexpr size_t C = 3, SIZE = 5; // channels, rows and columns

// What the branches do to the pixels round (y0, x0), written without kernels: differences of
// neighbours, zeros outside. `pair` is the pair of output and input channel c.
double literal(const Doubles *w, const Doubles &x, size_t pair, size_t c, int y0, int x0)
{
    static const int ring[8] = {0, 1, 2, 5, 8, 7, 6, 3}; // clockwise
    double p[9], v = 0;
    for (int t = 0; t < 9; t++) {
        int y = y0 + t / 3 - 1, xx = x0 + t % 3 - 1;
        bool outside = y < 0 || xx < 0 || y >= (int)SIZE || xx >= (int)SIZE;
        p[t] = outside ? 0 : x[(c * SIZE + (size_t)y) * SIZE + (size_t)xx];
    }
    const double *central = &w[0][pair * 9], *horizontal = &w[1][pair * 3],
                 *vertical = &w[2][pair * 3], *angular = &w[3][pair * 9], *plain = &w[4][pair * 9];
    for (int t = 0; t < 9; t++)
        v += central[t] * (p[t] - p[4]) + plain[t] * p[t];
    for (int i = 0; i < 3; i++)
        v += horizontal[i] * (p[3 * i] - p[3 * i + 2]) + vertical[i] * (p[i] - p[6 + i]);
    for (int i = 0; i < 8; i++)
        v += angular[ring[i]] * (p[ring[i]] - p[ring[(i + 1) % 8]]);
    return v;
}

// One output channel at one pixel, by a plain 3x3 kernel.
double convolved(const Doubles &k, const Doubles &x, size_t o, int y0, int x0)
{
    double v = 0;
    for (size_t c = 0; c < C; c++)
        for (int t = 0; t < 9; t++) {
            int y = y0 + t / 3 - 1, xx = x0 + t % 3 - 1;
            if (y >= 0 && xx >= 0 && y < (int)SIZE && xx < (int)SIZE)
                v += k[(o * C + c) * 9 + (size_t)t] * x[(c * SIZE + (size_t)y) * SIZE + (size_t)xx];
        }
    return v;
}

TEST(FoldDeconv, TapsAreTheBranchesArithmeticUpToTheBorder)
{
    Checkpoint64 file;
    file.put_deconv("level1", C);
    Doubles w[5], bias(C), x = folds::random_doubles("image", C * SIZE * SIZE), want, got;
    for (int k = 1; k <= 5; k++) {
        w[k - 1] = file.get(deconv_key("level1", k, "weight"));
        Doubles b = file.get(deconv_key("level1", k, "bias"));
        for (size_t o = 0; o < C; o++)
            bias[o] += b[o];
    }
    ASSERT_EQ(file.fold(), "");
    EXPECT_EQ(file.names(), (std::vector<std::string>{"level1.conv1.weight", "level1.conv1.bias"}));
    EXPECT_EQ(file.dims("level1.conv1.weight"), (Dims{C, C, 3, 3}));
    Doubles folded = file.get("level1.conv1.weight");
    for (size_t o = 0; o < C; o++)
        for (int y = 0; y < (int)SIZE; y++)
            for (int xx = 0; xx < (int)SIZE; xx++) {
                double sum = 0;
                for (size_t c = 0; c < C; c++)
                    sum += literal(w, x, o * C + c, c, y, xx);
                want.push_back(sum);
                got.push_back(convolved(folded, x, o, y, xx));
            }
    folds::expect_close(want, got);
    folds::expect_close(bias, file.get("level1.conv1.bias"), 1e-15);
}

TEST(FoldDeconv, LeavesARecordAndNothingToFold)
{
    Checkpoint64 file;
    file.put_deconv("a", C);
    ASSERT_EQ(file.fold(), "");
    ASSERT_EQ(file.audit.n_records, 1u);
    const rf_fold_record &r = file.audit.records[0];
    EXPECT_STREQ(r.scheme, "deconv");
    EXPECT_STREQ(r.target, "a.conv1.weight");
    EXPECT_EQ(r.n_in, 10);
    double largest = 0, error = 0;
    for (double v : file.get("a.conv1.weight")) {
        largest = std::fmax(largest, std::fabs(v));
        error = std::fmax(error, std::fabs(v - (double)(float)v));
    }
    EXPECT_EQ(r.max_abs, largest);
    EXPECT_EQ(r.max_error, error);
    Doubles before = file.get("a.conv1.weight");
    EXPECT_EQ(file.fold(), "");
    EXPECT_EQ(file.audit.n_records, 1u);
    EXPECT_EQ(file.get("a.conv1.weight"), before);
}

TEST(FoldDeconv, BlocksThatShareTheirStorageFoldAlike)
{
    Checkpoint64 file;
    for (int k = 1; k <= 5; k++) {
        bool short_kernel = k == 2 || k == 3;
        file.put_tied({deconv_key("a", k, "weight"), deconv_key("b", k, "weight")},
                      short_kernel ? Dims{C, C, 3} : Dims{C, C, 3, 3});
        file.put_tied({deconv_key("a", k, "bias"), deconv_key("b", k, "bias")}, {C});
    }
    ASSERT_EQ(file.fold(), "");
    EXPECT_EQ(file.names().size(), 4u);
    EXPECT_EQ(file.get("a.conv1.weight"), file.get("b.conv1.weight"));
    EXPECT_EQ(file.get("a.conv1.bias"), file.get("b.conv1.bias"));
}

TEST(FoldDeconv, FoldedAndUnfoldedBlocksMayMix)
{
    Checkpoint64 file;
    file.put("a.conv1.weight", {C, C, 3, 3});
    file.put("a.conv1.bias", {C});
    file.put_deconv("b", C);
    Doubles a = file.get("a.conv1.weight");
    ASSERT_EQ(file.fold(), "");
    EXPECT_EQ(file.audit.n_records, 1u);
    EXPECT_EQ(file.get("a.conv1.weight"), a);
    EXPECT_TRUE(file.has("b.conv1.weight"));
}

TEST(FoldDeconv, ABlockThatIsBothIsAnError)
{
    Checkpoint64 file;
    file.put("a.conv1.weight", {C, C, 3, 3});
    file.put_deconv("a", C);
    EXPECT_EQ(file.fold(), "x.pth: 'a.conv1' has its five branches and a folded weight, expected "
                           "one of them");
}

TEST(FoldDeconv, EachMissingTensorIsNamed)
{
    for (bool fold : {true, false})
        for (int k = 0; k < 10; k++) {
            Checkpoint64 file;
            std::string key = deconv_key("b", k / 2 + 1, k % 2 ? "bias" : "weight");
            file.put_deconv("b", C);
            file.remove(key);
            EXPECT_EQ(file.fold(fold), "x.pth: difference convolution lacks '" + key +
                                           "': expected 10 tensors, found 9");
        }
}

TEST(FoldDeconv, FourOfFiveBranchesAreAnError)
{
    for (int k = 1; k <= 5; k++) {
        Checkpoint64 file;
        file.put_deconv("b", C);
        file.remove(deconv_key("b", k, "weight"));
        file.remove(deconv_key("b", k, "bias"));
        EXPECT_EQ(file.fold(), "x.pth: difference convolution lacks '" +
                                   deconv_key("b", k, "weight") +
                                   "': expected 10 tensors, found 8");
    }
}

TEST(FoldDeconv, KeysThatItDoesNotTakeAreAnError)
{
    for (const char *key :
         {"b.conv1.conv1_1.weight", "b.conv1.conv1_5.conv.weight", "b.conv1.conv1_2.conv.scale"}) {
        Checkpoint64 file;
        file.put_deconv("b", C);
        file.put(key, {C});
        EXPECT_EQ(file.fold(),
                  std::string("x.pth: '") + key + "' is not part of a difference convolution");
    }
}

TEST(FoldDeconv, WrongShapesNameKeyFoundAndExpected)
{
    const struct {
        int branch;
        const char *what;
        Dims dims;
        std::string text;
    } rows[] = {
        {1, "weight", {C, C, 3, 2}, "is (3,3,3,2), expected (3,3,3,3)"},
        {2, "weight", {C, C, 3, 3}, "is (3,3,3,3), expected (3,3,3)"},
        {3, "weight", {C, C, 4}, "is (3,3,4), expected (3,3,3)"},
        {4, "weight", {C, 4, 3, 3}, "is (3,4,3,3), expected (3,3,3,3)"},
        {5, "weight", {C, C, 5, 5}, "is (3,3,5,5), expected (out,in,3,3)"},
        {4, "bias", {4}, "is (4), expected (3)"},
    };
    for (const auto &row : rows) {
        Checkpoint64 file;
        std::string key = deconv_key("b", row.branch, row.what);
        file.put_deconv("b", C);
        file.remove(key);
        file.put(key, row.dims);
        EXPECT_EQ(file.fold(), "x.pth: '" + key + "' " + row.text);
    }
}

TEST(FoldDeconv, RefusesWhatIsNotFinite)
{
    for (int k = 1; k <= 5; k++)
        for (double bad : Doubles{NAN, INFINITY, 1e300}) {
            Checkpoint64 file;
            file.put_deconv("b", C);
            std::string key = deconv_key("b", k, "weight");
            Dims dims = file.dims(key);
            Doubles w = file.get(key);
            w[0] = bad;
            file.remove(key);
            file.put(key, dims, w);
            EXPECT_NE(file.fold(), "") << key << " " << bad;
        }
}

// --- RepVGG
// ----------------------------------------------------------------------------------------

// Folds a block and compares with scale * kernel of each branch, by the formula of 2.2.
void check_repvgg(int64_t out, int64_t in, bool identity)
{
    Checkpoint64 file;
    file.put_repvgg("s", out, in, identity);
    Doubles want((size_t)(out * in * 9)), bias((size_t)out);
    auto add = [&](const std::string &conv, const std::string &bn, size_t o) {
        double s = file.get(bn + ".weight")[o] / std::sqrt(file.get(bn + ".running_var")[o] + 1e-5);
        bias[o] += file.get(bn + ".bias")[o] - s * file.get(bn + ".running_mean")[o];
        for (size_t i = 0; i < (size_t)in; i++)
            for (size_t t = 0; t < 9; t++) {
                double w = conv.empty() ? t == 4 && i == o % (size_t)in
                           : conv == "s.rbr_1x1.conv.weight"
                               ? (t == 4 ? file.get(conv)[o * (size_t)in + i] : 0)
                               : file.get(conv)[(o * (size_t)in + i) * 9 + t];
                want[(o * (size_t)in + i) * 9 + t] += s * w;
            }
    };
    for (size_t o = 0; o < (size_t)out; o++) {
        add("s.rbr_dense.conv.weight", "s.rbr_dense.bn", o);
        add("s.rbr_1x1.conv.weight", "s.rbr_1x1.bn", o);
        if (identity)
            add("", "s.rbr_identity", o);
    }
    ASSERT_EQ(file.fold(), "");
    EXPECT_EQ(file.names(),
              (std::vector<std::string>{"s.rbr_reparam.weight", "s.rbr_reparam.bias"}));
    EXPECT_EQ(file.dims("s.rbr_reparam.weight"), (Dims{out, in, 3, 3}));
    folds::expect_close(want, file.get("s.rbr_reparam.weight"));
    folds::expect_close(bias, file.get("s.rbr_reparam.bias"));
    ASSERT_EQ(file.audit.n_records, 1u);
    EXPECT_STREQ(file.audit.records[0].scheme, "repvgg");
    EXPECT_STREQ(file.audit.records[0].target, "s.rbr_reparam.weight");
    EXPECT_EQ(file.audit.records[0].n_in, identity ? 14 : 10);
    EXPECT_EQ(file.fold(), "");
    EXPECT_EQ(file.audit.n_records, 1u) << "a folded file has nothing to fold";
}

TEST(FoldRepVgg, BranchesOfOneGroupBecomeOneKernel)
{
    check_repvgg(4, 4, true);
}

TEST(FoldRepVgg, TheIdentityCountsInsideItsGroup)
{
    check_repvgg(4, 2, true);
    check_repvgg(6, 1, true);
}

TEST(FoldRepVgg, BlocksThatChangeTheWidthHaveNoIdentity)
{
    check_repvgg(6, 4, false);
}

TEST(FoldRepVgg, EachMissingTensorIsNamed)
{
    const struct {
        const char *key, *text;
    } rows[] = {
        {"rbr_dense.conv.weight", "x.pth: block 's' lacks 'rbr_dense.conv.weight', expected "
                                  "rbr_dense and rbr_1x1"},
        {"rbr_1x1.conv.weight", "x.pth: block 's' lacks 'rbr_1x1.conv.weight', expected rbr_dense "
                                "and rbr_1x1"},
        {"rbr_dense.bn.running_var", "x.pth: 's.rbr_dense.bn.running_var' has 0 elements, expected "
                                     "4"},
        {"rbr_1x1.bn.weight", "x.pth: 's.rbr_1x1.bn.weight' has 0 elements, expected 4"},
        {"rbr_identity.running_mean", "x.pth: 's.rbr_identity.running_mean' has 0 elements, "
                                      "expected 4"},
    };
    for (const auto &row : rows) {
        Checkpoint64 file;
        file.put_repvgg("s", 4, 4, true);
        file.remove(std::string("s.") + row.key);
        EXPECT_EQ(file.fold(), row.text);
    }
}

TEST(FoldRepVgg, KeysThatItDoesNotTakeAreAnError)
{
    Checkpoint64 file;
    file.put_repvgg("s", 4, 4, true);
    file.put("s.rbr_dense.conv.scale", {4});
    EXPECT_EQ(file.fold(), "x.pth: 's.rbr_dense.conv.scale' is not part of a RepVGG block");
}

TEST(FoldRepVgg, WrongShapesAndImpossibleIdentitiesAreRefused)
{
    Checkpoint64 even;
    even.put_repvgg("s", 4, 4, false);
    even.remove("s.rbr_dense.conv.weight");
    even.put("s.rbr_dense.conv.weight", {4, 4, 2, 3});
    EXPECT_EQ(even.fold(),
              "x.pth: 's.rbr_dense.conv.weight' is (4,4,2,3), expected (out,in,k,k) with odd k");
    Checkpoint64 other;
    other.put_repvgg("s", 4, 4, false);
    other.remove("s.rbr_1x1.conv.weight");
    other.put("s.rbr_1x1.conv.weight", {4, 2, 1, 1});
    EXPECT_EQ(other.fold(), "x.pth: 's.rbr_1x1.conv.weight' is (4,2,1,1), expected 1x1 with the "
                            "channels of rbr_dense");
    Checkpoint64 wide;
    wide.put_repvgg("s", 6, 4, true);
    EXPECT_EQ(wide.fold(), "x.pth: 's.rbr_identity' needs as many outputs as inputs, found 6 "
                           "outputs and groups of 4 inputs");
}

TEST(FoldRepVgg, RefusesNegativeVariancesAndWhatIsNotFinite)
{
    Checkpoint64 negative;
    negative.put_repvgg("s", 2, 2, true);
    negative.remove("s.rbr_1x1.bn.running_var");
    negative.put("s.rbr_1x1.bn.running_var", {2}, {1, -0.5});
    EXPECT_EQ(negative.fold(),
              "s.rbr_1x1.bn: variance of channel 1 is -0.5 (eps 1e-05), expected 0 "
              "or more and a positive sum");
    Checkpoint64 endless;
    endless.put_repvgg("s", 2, 2, true);
    endless.remove("s.rbr_identity.weight");
    endless.put("s.rbr_identity.weight", {2}, {1, INFINITY});
    EXPECT_EQ(endless.fold().substr(0, 42), "fold repvgg: 's.rbr_reparam.weight' gets i");
}

} // namespace
