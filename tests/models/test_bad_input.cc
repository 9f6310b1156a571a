// SPDX-License-Identifier: Apache-2.0
//
// What a session refuses, and that the message names the input, what was expected and what was
// found.
#include "tests/support/networks.h"

using namespace rft;

namespace
{

std::string refusal(const Session &s, const rf_tensor &shape, int n = 1)
{
    rf_error err = {};
    rf_tensor inputs[2] = {shape, shape};
    EXPECT_EQ(rf_session_prepare(s.get(), inputs, n, nullptr, &err), RF_ERR_ARGUMENT);
    return err.text;
}

void expect_words(const std::string &text, std::vector<std::string> words)
{
    for (const std::string &w : words)
        EXPECT_NE(text.find(w), std::string::npos) << "'" << w << "' is missing in: " << text;
}

TEST(BadInput, TooSmallImageNamesTheNetworkAndTheLimit)
{
    Model model = load_bytes(dea_net_safetensors(8));
    Session s = open_session(model);
    expect_words(refusal(s, Array({1, 3, 12, 40}).shape()), {"dea_net", "13", "12"});
    expect_words(refusal(s, Array({1, 3, 40, 12}).shape()), {"dea_net", "13", "12"});
    EXPECT_EQ(run(s, random_array("x", {1, 3, 13, 13}, 0, 1)).data.size(), 3u * 13 * 13);
}

TEST(BadInput, WrongRankChannelsDtypeAndCountAreNamed)
{
    Session s = open_session(load_bytes(dea_net_safetensors(8)));
    expect_words(refusal(s, Array({3, 40, 40}).shape()), {"expected", "3", "40", "found"});
    expect_words(refusal(s, Array({1, 4, 40, 40}).shape()), {"expected", "found", "4"});
    rf_tensor half = Array({1, 3, 40, 40}).shape();
    half.dtype = RF_F16;
    expect_words(refusal(s, half), {"f32", "f16"});
    expect_words(refusal(s, Array({1, 3, 40, 40}).shape(), 2), {"1", "2"});
}

TEST(BadInput, OutputsMustHaveTheDimsOfTheSession)
{
    Session s = open_session(finish_graph(two_convs()));
    Array x = random_array("x", {1, 3, 20, 20}), small({1, 3, 20, 19}), right({1, 3, 20, 20});
    rf_tensor in = x.view(), out = small.view();
    rf_error err = {};
    EXPECT_EQ(rf_session_run(s.get(), &in, 1, &out, 1, &err), RF_ERR_ARGUMENT);
    expect_words(err.text, {"y"});
    out = right.view();
    out.data = nullptr;
    EXPECT_EQ(rf_session_run(s.get(), &in, 1, &out, 1, &err), RF_ERR_ARGUMENT);
    out = right.view();
    in.data = nullptr;
    EXPECT_EQ(rf_session_run(s.get(), &in, 1, &out, 1, &err), RF_ERR_ARGUMENT);
    in = x.view();
    EXPECT_EQ(rf_session_run(s.get(), &in, 1, &out, 1, &err), RF_OK) << err.text;
}

TEST(BadInput, NodeIsNamedWhenShapesDoNotFit)
{
    Net n("misfit");
    rf_value x = n.input("x", {1, 3, -1, -1});
    n.output("y", n.sum("sum.of.two", n.conv("a", x, 3, 8, 3), n.conv("b", x, 3, 8, 3, 2)));
    Session s = open_session(finish_graph(n.take()));
    expect_words(refusal(s, Array({1, 3, 16, 16}).shape()), {"sum.of.two"});
}

TEST(BadInput, DeviceAndPrecisionAreNamed)
{
    Model model = finish_graph(two_convs());
    rf_error err = {};
    rf_session *s = nullptr;
    rf_session_params p = {sizeof p, "tpu", RF_F32, 1, 0, 0, false};
    EXPECT_EQ(rf_session_create(model.get(), &p, &s, &err), RF_ERR_ARGUMENT);
    expect_words(err.text, {"tpu", "cpu"});
    p.device = "cuda";
    EXPECT_EQ(rf_session_create(model.get(), &p, &s, &err), RF_ERR_DEVICE);
    expect_words(err.text, {"cuda"});
    p.device = "cpu";
    p.precision = RF_F16;
    EXPECT_EQ(rf_session_create(model.get(), &p, &s, &err), RF_ERR_UNSUPPORTED);
    expect_words(err.text, {"f16", "cpu", "f32, bf16"});
    p.device = "ref"; // which has it
    p.precision = RF_I32;
    EXPECT_EQ(rf_session_create(model.get(), &p, &s, &err), RF_ERR_UNSUPPORTED);
    expect_words(err.text, {"i32", "ref", "f32, f64, f16, bf16"});
    p.device = "cpu";
    p.precision = RF_F32;
    p.n_threads = -1;
    EXPECT_EQ(rf_session_create(model.get(), &p, &s, &err), RF_ERR_ARGUMENT);
    EXPECT_EQ(s, nullptr);
}

TEST(BadInput, IncompleteCheckpointNamesTheKey)
{
    auto four_of_five = [](const std::string &name) {
        return name.rfind("level3_block2.conv1.conv1_4", 0) != 0;
    };
    std::string bytes = dea_net_safetensors(8, four_of_five);
    rf_model_params params = {sizeof params, nullptr, bytes.data(), bytes.size(), false, nullptr};
    rf_model *model = nullptr;
    rf_error err = {};
    EXPECT_NE(rf_model_load(&params, &model, &err), RF_OK);
    EXPECT_EQ(model, nullptr);
    expect_words(err.text, {"level3_block2"});
}

} // namespace
