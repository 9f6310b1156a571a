// SPDX-License-Identifier: Apache-2.0
//
// The command line on networks of other kinds than DEA-Net, saved in Refold's own form: several
// inputs and outputs, networks whose tiles are exact, that enlarge, that shrink, that fail.
#include "tests/cli/fixture.h"

#include <cstring>

using namespace rft;

namespace
{

// a + b and a - b under names that are no file names.
Graph two_by_two()
{
    Net n("two by two");
    rf_value a = n.input("left/a", {1, 3, -1, -1}), b = n.input("b", {1, 3, -1, -1});
    n.output("out/sum", n.sum("s", a, b));
    n.output("difference", n.one("binary", "d", {a, b}, {word("kind", "sub")}));
    return n.take();
}

std::vector<float> elements(const std::string &path)
{
    rf_buffer b = {};
    rf_error err;
    EXPECT_EQ(rf_npy_read(path.c_str(), &b, &err), RF_OK) << err.text;
    const float *x = static_cast<const float *>(b.tensor.data);
    std::vector<float> v(x, x ? x + rf_tensor_elements(&b.tensor) : x);
    rf_buffer_free(&b);
    return v;
}

TEST_F(Cli, RunsOnSeveralInputsAndWritesSeveralOutputs)
{
    std::string m = saved("two.safetensors", two_by_two()), out = dir_ / "out";
    Array a = random_array("a", {1, 3, 5, 6}), b = random_array("b", {1, 3, 5, 6});
    std::string in_a = "left/a=" + tensor("a.npy", a), in_b = "b=" + tensor("b.npy", b);
    CommandResult r = expect(
        0, {"run", "-m", m, "--input", in_b, "--input", in_a, "--output-dir", out, "--json"});
    EXPECT_EQ(list(out), (std::vector<std::string>{"difference.npy", "out_sum.npy"}));
    std::vector<float> sum = elements(out + "/out_sum.npy");
    for (size_t i = 0; i < sum.size(); i++)
        ASSERT_EQ(sum[i], a.data[i] + b.data[i]);
    Json j = parse(r.out);
    json_t *first = json_array_get(at(j, "outputs"), 0);
    EXPECT_STREQ(json_string_value(json_object_get(first, "name")), "out/sum");
    EXPECT_EQ(json_array_size(json_object_get(first, "dims")), 4u);
}

TEST_F(Cli, InputsThatDoNotFitAreNamed)
{
    std::string m = saved("two.safetensors", two_by_two()), out = dir_ / "out";
    std::string a = tensor("a.npy", Array({1, 3, 5, 6})), b = tensor("b.npy", Array({1, 4, 5, 6}));
    auto refused = [&](int code, std::vector<std::string> inputs, std::vector<std::string> words) {
        std::vector<std::string> args = {"run", "-m", m, "--output-dir", out};
        for (const std::string &i : inputs)
            args.insert(args.end(), {"--input", i});
        expect_refusal(code, args, words);
        EXPECT_FALSE(file_exists(out + "/difference.npy"));
    };
    refused(1, {"left/a=" + a}, {"'b'", "--input b="});
    refused(1, {"left/a=" + a, "b=" + a, "c=" + a}, {"'c=", "left/a, b"});
    refused(1, {"left/a=" + a, "b=" + b}, {"'b'", "1x3x?x?", "1x4x5x6"});
    refused(1, {"left/a=" + a, "b=/nowhere.npy"}, {"/nowhere.npy"});
    refused(1, {"left/a=" + a, "b=" + m}, {"two.safetensors", "npy"});
    refused(2, {"left/a=" + a, "b=" + a, "b=" + a}, {"twice"});
    refused(2, {"left/a"}, {"left/a", "NAME=FILE.npy"});
    expect_refusal(1, {"run", "-m", m, picture("p.png", 9, 9), "-o", dir_ / "o.png"},
                   {"two.safetensors", "--input"});
    expect_refusal(2, {"run", "-m", m, "--input", "b=" + a, "-o", out}, {"--output-dir"});
}

TEST_F(Cli, AnOutputTensorNeverReplacesAnInput)
{
    std::string m = saved("two.safetensors", two_by_two());
    std::string b = tensor("difference.npy", random_array("b", {1, 3, 5, 6})),
                before = read_file(b);
    expect_refusal(1,
                   {"run", "-m", m, "--input", "left/a=" + b, "--input", "b=" + b, "--output-dir",
                    dir_.path()},
                   {"difference.npy", "is an input"});
    EXPECT_EQ(read_file(b), before);
}

TEST_F(Cli, InfoBenchAndVerifyTakeEveryInput)
{
    std::string m = saved("two.safetensors", two_by_two());
    std::vector<std::string> shapes = {"-m", m, "--shape", "1x3x20x30", "--shape", "b=1x3x20x30"};
    auto with = [&](std::vector<std::string> args) {
        args.insert(args.begin() + 1, shapes.begin(), shapes.end());
        return args;
    };
    Json j = parse(expect(0, with({"info", "--json"})).out);
    EXPECT_EQ(json_array_size(at(j, "inputs")), 2u);
    EXPECT_EQ(json_array_size(at(j, "cost.shapes")), 2u);
    j = parse(expect(0, with({"bench", "--json", "--runs", "1", "--seconds", "0"})).out);
    EXPECT_EQ(number(j, "new_shape.n"), 5);
    EXPECT_TRUE(json_is_true(at(parse(expect(0, with({"verify", "--json"})).out), "ok")));
    expect_refusal(1, {"info", "-m", m, "--shape", "c=1x3x20x30"}, {"'c=1x3x20x30'"});
    expect_refusal(1, {"info", "-m", m, "--shape", "1x3x20x30"}, {"s"}); // b keeps 512x512
}

TEST_F(Cli, VerifyFailsWhereANetworkGivesNoNumbers)
{
    Net n("nan");
    rf_value x = n.input("x", {1, 3, -1, -1});
    rf_value negative =
        n.one("unary", "minus", {x}, {word("kind", "scale"), real("alpha", -1), real("beta", -1)});
    n.output("y", n.one("unary", "root", {negative}, {word("kind", "sqrt")}));
    std::string m = saved("nan.safetensors", n.take());
    CommandResult r = expect(1, {"verify", "-m", m, "--json"});
    Json j = parse(r.out);
    EXPECT_TRUE(json_is_false(at(j, "ok")));
    EXPECT_TRUE(json_is_null(at(j, "folded_error"))) << r.out;
}

class Tiles : public Cli
{
  protected:
    // Whole and in tiles; gives the warning of the second.
    std::string run_both(const std::string &m, int64_t h, int64_t w, const std::string &tile)
    {
        std::string in = picture("in.png", h, w);
        expect(0, {"run", "-m", m, in, "-o", dir_ / "whole.png"});
        return expect(0, {"run", "-m", m, in, "-o", dir_ / "tiled.png", "--tile", tile}).err;
    }
};

TEST_F(Tiles, EqualTheWholeImageWhereTheNetworkIsLocal)
{
    Net n("local"); // strides, a skip, a transposed convolution
    rf_value x = n.input("x", {1, 3, -1, -1});
    rf_value half = n.relu("r", n.conv("down", x, 3, 16, 3, 2));
    rf_value up = n.one("conv_transpose2d", "up", {half, n.weight("w", {16, 8, 4, 4})},
                        {ints("stride", {2, 2}), ints("pad", {1, 1, 1, 1})});
    n.output("y", n.sum("s", x, n.conv("last", up, 8, 3, 3)));
    std::string m = saved("local.safetensors", n.take());
    for (const char *tile : {"16", "33", "64"}) {
        EXPECT_EQ(run_both(m, 78, 116, tile), "");
        EXPECT_EQ(read_file(dir_ / "tiled.png"), read_file(dir_ / "whole.png")) << tile;
    }
}

TEST_F(Tiles, OfANetworkThatEnlargesFitTogether)
{
    Net n("twice");
    rf_value x = n.input("x", {1, 3, -1, -1});
    n.output("y", n.one("pixel_shuffle", "p", {n.conv("c", x, 3, 12, 3)}, {ints("factor", {2})}));
    std::string m = saved("twice.safetensors", n.take());
    EXPECT_EQ(run_both(m, 50, 70, "32"), "");
    expect_size(dir_ / "tiled.png", 100, 140);
    EXPECT_EQ(read_file(dir_ / "tiled.png"), read_file(dir_ / "whole.png"));
}

TEST_F(Tiles, OfANetworkThatShrinksAreRefused)
{
    Net n("half");
    rf_value x = n.input("x", {1, 3, -1, -1});
    n.output("y", n.conv("c", x, 3, 3, 3, 2));
    std::string m = saved("half.safetensors", n.take()), in = picture("in.png", 64, 64);
    expect_refusal(1, {"run", "-m", m, in, "-o", dir_ / "o.png", "--tile", "32"},
                   {"--tile", "whole multiple"});
    EXPECT_FALSE(file_exists(dir_ / "o.png"));
    expect(0, {"run", "-m", m, in, "-o", dir_ / "o.png"});
    expect_size(dir_ / "o.png", 32, 32);
}

// A network with a global mean, on an image whose halves differ: tiles differ in tone, but no line
// may show at their border. The image is flat in each half, so every step is the tiles' own.
TEST_F(Tiles, ThatAreInexactShowNoBorder)
{
    Net n("toned");
    rf_value x = n.input("x", {1, 3, -1, -1});
    rf_value mean = n.one("reduce", "mean", {x},
                          {word("kind", "mean"), ints("axes", {2, 3}), ints("keepdims", {1})});
    rf_value c = n.conv("wide", x, 3, 3, 65); // a halo of 32
    rf_value none =
        n.one("unary", "none", {c}, {word("kind", "scale"), real("alpha", 0), real("beta", 0.25)});
    n.output("y", n.sum("s", none, mean));
    std::string m = saved("toned.safetensors", n.take());
    Array a({1, 3, 96, 384});
    for (size_t i = 0; i < a.data.size(); i++)
        a.data[i] = i % 384 < 192 ? 0.1f : 0.6f;
    rf_tensor t = a.view();
    rf_error err;
    ASSERT_EQ(rf_image_write((dir_ / "in.png").c_str(), &t, &err), RF_OK) << err.text;
    CommandResult r =
        expect(0, {"run", "-m", m, dir_ / "in.png", "-o", dir_ / "out.png", "--tile", "128"});
    EXPECT_NE(r.err.find("approximate"), std::string::npos) << r.err;
    rf_buffer out = {};
    ASSERT_EQ(rf_image_read((dir_ / "out.png").c_str(), &out, &err), RF_OK) << err.text;
    const float *row = static_cast<const float *>(out.tensor.data) + 48 * 384;
    EXPECT_LT(row[0] + 0.2f, row[383]) << "tiles do see other means";
    for (int i = 1; i < 384; i++)
        ASSERT_LE(std::abs(row[i] - row[i - 1]), 3.5f / 255) << "a line at column " << i;
    rf_buffer_free(&out);
}

} // namespace
