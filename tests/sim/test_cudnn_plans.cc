// SPDX-License-Identifier: Apache-2.0
//
// The real cuDNN plans our graphs for the stored properties of an H200 and an H100, without a card:
// that it accepts a graph, which engine it takes, and whether that needs a compiler at run time.
// Skipped where the library is absent.
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>

#include <gtest/gtest.h>

#include "kernels/cuda/cudnn_graph.h"
#include "tests/ops/harness.h"
#include "tests/support/support.h"

namespace
{

std::string properties(const char *card)
{
    return rft::read_file(rft::source_root() + "/tests/data/cuda/" + card + ".json");
}

struct Planner {
    const rf_cudnn *lib;
    std::string device;
    // "engine 41", or "" with the reason in *why.
    std::string plan(const rf_cudnn_conv &conv, std::string *why) const
    {
        rf_cudnn_plan p;
        rf_error err;
        if (rf_cudnn_plan_make(lib, &conv, device.c_str(), &p, &err) != RF_OK) {
            *why = err.text;
            return "";
        }
        std::ostringstream text;
        text << "engine " << p.engine << (p.compiled_at_run_time ? " (compiled at run time)" : "");
        rf_cudnn_plan_free(lib, &p);
        return text.str();
    }
};

class CudnnPlans : public testing::TestWithParam<const char *>
{
  protected:
    void SetUp() override
    {
        const char *why;
        planner_.lib = rf_cudnn_open(&why);
        if (!planner_.lib)
            GTEST_SKIP() << why;
        planner_.device = properties(GetParam());
        ASSERT_FALSE(planner_.device.empty());
    }
    void expect_plan(const std::string &name, const rf_cudnn_conv &conv)
    {
        std::string why, got = planner_.plan(conv, &why);
        std::cout << "    " << name << ": " << (got.empty() ? "refused: " + why : got) << "\n";
        if (rf_cudnn_wins(&conv)) {
            EXPECT_FALSE(got.empty()) << name << ": " << why;
        }
    }
    Planner planner_;
};

// conv, residual and bias, activation: the forms that DEA-Net's levels take.
TEST_P(CudnnPlans, TakeTheConvolutionsOfDeaNet)
{
    struct Level {
        int64_t c, h, w;
    };
    const Level levels[] = {{32, 1080, 1920}, {64, 540, 960}, {128, 270, 480}, {128, 128, 128}};
    for (const Level &l : levels)
        for (cudnnDataType_t type : {CUDNN_DATA_HALF, CUDNN_DATA_BFLOAT16})
            for (int form = 0; form < 3; form++) { // bias; bias + relu; residual + bias
                rf_cudnn_conv c = {};
                c.type = type;
                const int64_t x[] = {1, l.c, l.h, l.w}, w[] = {l.c, l.c, 3, 3};
                std::copy(x, x + 4, c.x);
                std::copy(x, x + 4, c.y);
                std::copy(w, w + 4, c.w);
                for (int i = 0; i < 2; i++)
                    c.pre[i] = c.post[i] = c.stride[i] = c.dilation[i] = 1;
                c.bias = true;
                c.relu = form == 1;
                c.res = form == 2;
                const char *const forms[] = {" bias", " bias relu", " residual bias"};
                std::string why, name = std::to_string(l.c) + "@" + std::to_string(l.h) + "x" +
                                        std::to_string(l.w) +
                                        (type == CUDNN_DATA_HALF ? " f16" : " bf16") + forms[form];
                std::string got = planner_.plan(c, &why);
                std::cout << "    " << name << ": " << got << "\n";
                EXPECT_FALSE(got.empty()) << name << ": " << why;
                EXPECT_EQ(got.find("run time"), std::string::npos) << name << ": " << got;
            }
}

TEST_P(CudnnPlans, TakeWhatTheTableGivesThemOfTheOpCases)
{
    int n = 0;
    for (const ops::Case &c : ops::all_cases()) {
        if (c.op != RF_OP_CONV2D)
            continue;
        for (const ops::Variant &v : ops::variants_of(c, ops::Audience::device)) {
            ops::Instance instance(c, v, false);
            rf_kernel_desc d = instance.desc(1);
            rf_cudnn_conv conv;
            if (!rf_cudnn_describe(&d.args, &conv))
                continue;
            n++;
            expect_plan(c.full_name() + " " + v.text(), conv);
        }
    }
    EXPECT_GT(n, 10);
}

// A mistake in a descriptor must not pass as "no engine".
TEST_P(CudnnPlans, SayWhyAGraphIsImpossible)
{
    rf_cudnn_conv c = {};
    c.type = CUDNN_DATA_HALF;
    const int64_t x[] = {1, 32, 16, 16}, w[] = {32, 32, 3, 3}, y[] = {1, 32, 99, 16};
    std::copy(x, x + 4, c.x);
    std::copy(w, w + 4, c.w);
    std::copy(y, y + 4, c.y);
    for (int i = 0; i < 2; i++)
        c.pre[i] = c.post[i] = c.stride[i] = c.dilation[i] = 1;
    std::string why;
    EXPECT_EQ(planner_.plan(c, &why), "");
    EXPECT_NE(why.find("cuDNN"), std::string::npos) << why;
}

INSTANTIATE_TEST_SUITE_P(Cards, CudnnPlans, testing::Values("h200", "h100"),
                         [](const auto &info) { return std::string(info.param); });

} // namespace
