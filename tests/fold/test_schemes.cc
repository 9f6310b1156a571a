// SPDX-License-Identifier: Apache-2.0
//
// What holds for every fold of the table, and for whole files: each has a case in which the folded
// network equals the unfolded one, loading is deterministic, and folding a folded file is identity
// (A3 of reparam.md).
#include <functional>
#include <map>

#include "tests/fold/folds.h"

namespace
{

using folds::Checkpoint64;
using folds::Doubles;
using folds::Net64;
using rft::ints;

const rf_attr pad1 = ints("pad", {1, 1, 1, 1});

rf_value conv_of(Net64 &net, rf_value x, const Checkpoint64 &file, const std::string &stem,
                 std::vector<rf_attr> attrs, bool bias = true)
{
    std::vector<rf_value> in = {
        x, net.constant(stem + ".weight", file.dims(stem + ".weight"), file.get(stem + ".weight"))};
    if (bias)
        in.push_back(
            net.constant(stem + ".bias", file.dims(stem + ".bias"), file.get(stem + ".bias")));
    return net.add("conv2d", stem, in, attrs);
}

rf_value norm_of(Net64 &net, rf_value x, const Checkpoint64 &file, const std::string &stem)
{
    std::vector<rf_value> in = {x};
    for (const char *what : {".weight", ".bias", ".running_mean", ".running_var"})
        in.push_back(net.constant(stem + what, file.dims(stem + what), file.get(stem + what)));
    return net.add("batch_norm", stem, in);
}

// Each returns the scheme of the record that the fold left, after comparing both networks.
std::string deconv()
{
    Doubles result[2];
    std::string scheme;
    for (bool fold : {false, true}) {
        Checkpoint64 file;
        Net64 net;
        file.put_deconv("a", 4);
        EXPECT_EQ(file.fold(fold), "");
        rf_value x = net.input({2, 4, 6, 5}), y;
        if (fold) {
            y = conv_of(net, x, file, "a.conv1", {pad1});
        } else {
            y = conv_of(net, x, file, "a.conv1.branch1", {pad1});
            for (int k = 2; k <= 5; k++)
                y = net.sum("s", y,
                            conv_of(net, x, file, "a.conv1.branch" + std::to_string(k), {pad1}));
        }
        net.output(y);
        result[fold] = net.run();
        EXPECT_EQ(file.audit.n_records, (size_t)fold);
        if (fold)
            scheme = file.audit.records[0].scheme;
    }
    folds::expect_close(result[0], result[1]);
    return scheme;
}

std::string repvgg()
{
    Checkpoint64 file;
    Net64 unfolded, folded;
    rf_attr groups = ints("groups", {2});
    file.put_repvgg("s", 4, 2, true);
    rf_value x = unfolded.input({2, 4, 6, 5});
    rf_value a =
        norm_of(unfolded, conv_of(unfolded, x, file, "s.rbr_dense.conv", {pad1, groups}, false),
                file, "s.rbr_dense.bn");
    rf_value b = norm_of(unfolded, conv_of(unfolded, x, file, "s.rbr_1x1.conv", {groups}, false),
                         file, "s.rbr_1x1.bn");
    unfolded.output(
        unfolded.sum("t", unfolded.sum("s", a, b), norm_of(unfolded, x, file, "s.rbr_identity")));
    EXPECT_EQ(file.fold(), "");
    folded.output(
        conv_of(folded, folded.input({2, 4, 6, 5}), file, "s.rbr_reparam", {pad1, groups}));
    folds::expect_close(unfolded.run(), folded.run());
    return file.audit.n_records ? file.audit.records[0].scheme : "";
}

std::string bn()
{
    Net64 net;
    net.output(net.norm("n", net.conv("c", net.input({2, 4, 6, 5}), {6, 4, 3, 3}, {pad1}), 6));
    EXPECT_EQ(net.fold(), "conv2d");
    return net.audit.n_records ? net.audit.records[0].scheme : "";
}

std::string branch()
{
    Net64 net;
    rf_value x = net.input({2, 4, 6, 5});
    net.output(
        net.sum("s", net.conv("a", x, {4, 4, 3, 3}, {pad1}), net.conv("b", x, {4, 4, 1, 1})));
    EXPECT_EQ(net.fold(), "conv2d");
    return net.audit.n_records ? net.audit.records[0].scheme : "";
}

// A scheme of the table without a function of its name does not compile.
TEST(FoldTable, EverySchemeHasACaseInWhichFoldedEqualsUnfolded)
{
#define RF_FOLD_KEYS(scheme) EXPECT_EQ(scheme(), #scheme);
#define RF_FOLD_GRAPH(scheme) EXPECT_EQ(scheme(), #scheme);
#include "runtime/fold/fold.def"
#undef RF_FOLD_KEYS
#undef RF_FOLD_GRAPH
}

std::string saved(const rft::Model &model, const rft::TempDir &dir, const char *name)
{
    rf_error err;
    EXPECT_EQ(rf_model_save(model.get(), (dir / name).c_str(), &err), RF_OK) << err.text;
    return rft::read_file(dir / name);
}

TEST(FoldedFiles, LoadingTwiceGivesIdenticalBytes)
{
    rft::TempDir dir;
    std::string file = rft::dea_net_safetensors(8);
    EXPECT_TRUE(saved(rft::load_bytes(file), dir, "a") == saved(rft::load_bytes(file), dir, "b"));
    EXPECT_TRUE(saved(rft::finish_graph(rft::repvgg(8)), dir, "c") ==
                saved(rft::finish_graph(rft::repvgg(8)), dir, "d"));
}

TEST(FoldedFiles, FoldingOnceMoreIsIdentity)
{
    rft::TempDir dir;
    const std::map<std::string, std::function<rft::Model()>> models = {
        {"dea_net", [] { return rft::load_bytes(rft::dea_net_safetensors(8)); }},
        {"repvgg", [] { return rft::finish_graph(rft::repvgg(8)); }},
        {"unet", [] { return rft::finish_graph(rft::unet(8)); }},
    };
    for (const auto &[name, make] : models) {
        rft::Model first = make();
        std::string once = saved(first, dir, "once");
        rft::Model again = rft::load_file(dir / "once");
        const rf_model_info before = rft::info_of(first), after = rft::info_of(again);
        EXPECT_GT(before.n_folds, 0) << name;
        EXPECT_EQ(after.n_folds, 0) << name;
        EXPECT_EQ(after.n_ops, before.n_ops) << name;
        EXPECT_TRUE(saved(again, dir, "twice") == once) << name;
    }
}

TEST(FoldedFiles, TellHowTheyWereFolded)
{
    rft::TempDir dir;
    std::string file = saved(rft::load_bytes(rft::dea_net_safetensors(8)), dir, "folded");
    EXPECT_NE(file.find("refold.folds"), std::string::npos);
    EXPECT_NE(file.find("deconv down_level1_block1.conv1.weight n_in=10 max_abs="),
              std::string::npos);
}

} // namespace
