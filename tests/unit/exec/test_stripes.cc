// SPDX-License-Identifier: Apache-2.0
//
// A plan in stripes computes what the same plan without them computes, up to rounding: kernels may
// add in another order where fewer pixels are left in a block. A wrong row is off by far more.
#include <cstring>
#include <random>

#include "kernels/cpu/cpu.h"
#include "tests/support/networks.h"

namespace
{

using rft::Array;
using rft::ints;
using rft::Net;
using rft::word;

rf_plan_params cpu(int stripe_rows, int threads = 1, rf_dtype precision = RF_F32, bool exact = true)
{
    rf_plan_params p = {};
    p.backend = &rf_backend_cpu;
    p.n_threads = threads;
    p.precision = precision;
    p.exact = exact;
    p.no_library = true;
    p.stripe_rows = stripe_rows;
    return p;
}

int n_striped;
void count_striped(const rf_plan *plan)
{
    n_striped = 0;
    for (size_t i = 0; i < plan->n_steps; i++)
        n_striped += plan->steps[i].striped && !plan->steps[i].borrowed;
}

size_t arena;
void note_arena(const rf_plan *plan)
{
    arena = plan->arena_bytes;
}

// Convolutions with residuals down to half the height and up again, then a head.
void hourglass(Net *net, int64_t c, int64_t h, int64_t w, int64_t n = 1)
{
    rf_value x = net->input("x", {n, 3, h, w});
    x = net->conv("stem", x, 3, c, 3);
    for (int i = 0; i < 2; i++) {
        std::string name = "block" + std::to_string(i);
        rf_value r = net->one("conv2d", name + ".1",
                              {x, net->weight(name + ".w1", {c, c, 3, 3}), RF_NONE, x},
                              {ints("pad", {1, 1, 1, 1}), word("act", "relu")});
        x = net->one("conv2d", name + ".2",
                     {r, net->weight(name + ".w2", {c, c, 3, 3}), RF_NONE, x},
                     {ints("pad", {1, 1, 1, 1})});
    }
    x = net->conv("down", x, c, 2 * c, 3, 2);
    rf_value low = x;
    x = net->conv("low", x, 2 * c, 2 * c, 3);
    x = net->one("conv2d", "low2", {x, net->weight("low2.w", {2 * c, 2 * c, 3, 3}), RF_NONE, low},
                 {ints("pad", {1, 1, 1, 1})});
    x = net->one("conv_transpose2d", "up", {x, net->weight("up.w", {2 * c, c, 3, 3})},
                 {ints("stride", {2, 2}), ints("pad", {1, 1, 1, 1}), ints("output_pad", {1, 1})});
    net->output("y", net->conv("head", x, c, 3, 3));
}

TEST(Stripes, GiveWhatWholeMapsGive)
{
    for (rf_dtype precision : {RF_F32, RF_BF16}) {
        Net net("hourglass");
        hourglass(&net, 16, 46, 37);
        Array x = rft::random_array("x", {1, 3, 46, 37});
        Array want = rft::run_planned(net.get(), x, cpu(-1, 1, precision));
        for (int rows : {1, 2, 5, 8, 16, 40, 64})
            for (int threads : {1, 2}) {
                Array got =
                    rft::run_planned(net.get(), x, cpu(rows, threads, precision), count_striped);
                EXPECT_EQ(n_striped, 10) << rows;
                EXPECT_LE(rft::max_abs_difference(got.data, want.data),
                          rft::max_abs(want.data) * (precision == RF_F32 ? 1e-6 : 1.6e-2))
                    << rows << " rows, " << threads << " threads";
            }
    }
}

TEST(Stripes, WorkWithWinograd)
{
    Net net("hourglass");
    hourglass(&net, 32, 64, 72);
    Array x = rft::random_array("x", {1, 3, 64, 72});
    Array want = rft::run_planned(net.get(), x, cpu(-1));
    for (int rows : {8, 12, 24}) {
        Array got = rft::run_planned(net.get(), x, cpu(rows, 2, RF_F32, false));
        EXPECT_LE(rft::max_abs_difference(got.data, want.data), 1e-5 * rft::max_abs(want.data));
    }
}

// Any sequence of convolutions: kernels, strides, dilations, paddings of every kind, residuals.
TEST(Stripes, GiveWhatWholeMapsGiveInRandomChains)
{
    std::mt19937 rng(11);
    int striped = 0;
    for (int round = 0; round < (rft::quick() ? 15 : 60); round++) {
        Net net("random");
        int64_t h = 20 + rng() % 40, w = 12 + rng() % 20, batch = 1 + rng() % 3;
        rf_value x = net.input("x", {batch, 4, h, w}), res = RF_NONE;
        int n = 2 + rng() % 6;
        for (int i = 0; i < n; i++) {
            std::string name = "c" + std::to_string(i);
            int64_t k = 1 + rng() % 4, s = 1 + rng() % 2;
            if (rng() % 4 == 0) {
                k = s + rng() % 3;
                x = net.one("conv_transpose2d", name, {x, net.weight(name + ".w", {4, 4, k, 3})},
                            {ints("stride", {s, 1}), ints("pad", {(k - 1) / 2, 1, 0, 1})});
                res = RF_NONE;
                continue;
            }
            int64_t d = 1 + rng() % 2, most = (k - 1) * d;
            int64_t top = rng() % (most + 1), bottom = rng() % (most + 1);
            const char *modes[] = {"constant", "reflect", "edge"};
            bool same = rng() % 2;
            if (same) {
                k = 3, s = d = top = bottom = 1;
            }
            std::vector<rf_value> in = {x, net.weight(name + ".w", {4, 4, k, 3})};
            if (same && rng() % 2)
                in.insert(in.end(), {RF_NONE, rng() % 2 && res != RF_NONE ? res : x});
            rf_value y = net.one(
                "conv2d", name, in,
                {ints("stride", {s, 1}), ints("dilation", {d, 1}), ints("pad", {top, 1, bottom, 1}),
                 word("pad_mode", modes[rng() % 3]), word("act", rng() % 2 ? "relu" : "none")});
            res = same ? x : RF_NONE;
            x = y;
        }
        net.output("y", x);
        if (testing::Test::HasFailure())
            return;
        Array in = rft::random_array("x", {batch, 4, h, w});
        Array want = rft::run_planned(net.get(), in, cpu(-1));
        Array got =
            rft::run_planned(net.get(), in, cpu(1 + rng() % 9, 1 + rng() % 2), count_striped);
        striped += n_striped;
        ASSERT_EQ(got.dims, want.dims);
        ASSERT_LE(rft::max_abs_difference(got.data, want.data), 1e-6 * rft::max_abs(want.data))
            << "round " << round;
    }
    EXPECT_GT(striped, 30);
}

TEST(Stripes, KeepOnlyRowsOfLargeMaps)
{
    if (rft::quick())
        GTEST_SKIP() << "large maps";
    Net net("hourglass");
    hourglass(&net, 32, 512, 512);
    Array x = rft::random_array("x", {1, 3, 512, 512});
    Array whole = rft::run_planned(net.get(), x, cpu(-1, 2, RF_F32, false), note_arena);
    const size_t whole_arena = arena;
    Array stripes = rft::run_planned(net.get(), x, cpu(0, 2, RF_F32, false), note_arena);
    // Two maps of 32 MiB before; the input, the output and windows of about 1 MiB now.
    EXPECT_GE(whole_arena, 64u << 20);
    EXPECT_LT(arena, whole_arena / 2);
    EXPECT_LE(rft::max_abs_difference(stripes.data, whole.data), 1e-5 * rft::max_abs(whole.data));
}

// Image `i` of a batch.
Array image_of(const Array &batch, int64_t i)
{
    Array one = batch;
    const size_t n = batch.data.size() / (size_t)batch.dims[0];
    one.dims[0] = 1;
    one.data.assign(batch.data.begin() + (ptrdiff_t)(n * (size_t)i),
                    batch.data.begin() + (ptrdiff_t)(n * (size_t)(i + 1)));
    return one;
}

// Images go through one after the other, so each gets the very bits that it gets alone; and what
// whole maps give, up to rounding.
TEST(Stripes, GiveEveryImageOfABatchWhatItGetsAlone)
{
    for (rf_dtype precision : {RF_F32, RF_BF16}) {
        Net one("one"), batch("batch");
        hourglass(&one, 16, 46, 37);
        hourglass(&batch, 16, 46, 37, 3);
        Array x = rft::random_array("x", {3, 3, 46, 37});
        Array whole = rft::run_planned(batch.get(), x, cpu(-1, 1, precision));
        for (int rows : {1, 8, 16, 64})
            for (int threads : {1, 2}) {
                Array got =
                    rft::run_planned(batch.get(), x, cpu(rows, threads, precision), count_striped);
                EXPECT_EQ(n_striped, 10) << rows;
                EXPECT_LE(rft::max_abs_difference(got.data, whole.data),
                          rft::max_abs(whole.data) * (precision == RF_F32 ? 1e-6 : 1.6e-2))
                    << rows << " rows, " << threads << " threads";
                for (int64_t i = 0; i < 3; i++)
                    EXPECT_EQ(
                        image_of(got, i).data,
                        rft::run_planned(one.get(), image_of(x, i), cpu(rows, 1, precision)).data)
                        << "image " << i << ", " << rows << " rows, " << threads << " threads";
            }
    }
}

// Direct convolutions add the products of a pixel in one order wherever a stripe begins: no bit
// changes. (Winograd's tiles move with the first row of a stripe.)
TEST(Stripes, OfABatchAreBitEqualToNoneInDirectConvolutions)
{
    Net net("direct");
    rf_value x = net.input("x", {4, 32, 64, 64});
    for (int i = 0; i < 4; i++)
        x = net.conv("c" + std::to_string(i), x, 32, 32, 3);
    net.output("y", x);
    Array in = rft::random_array("x", {4, 32, 64, 64});
    Array whole = rft::run_planned(net.get(), in, cpu(-1, 2));
    for (int rows : {8, 13}) {
        Array got = rft::run_planned(net.get(), in, cpu(rows, 2), count_striped);
        EXPECT_EQ(n_striped, 4);
        EXPECT_EQ(got.data, whole.data) << rows << " rows";
    }
}

// Two branches with batches of their own side by side: no run may hold both.
TEST(Stripes, KeepBatchesOfDifferentSizesApart)
{
    Net net("two");
    rf_value a = net.input("a", {2, 16, 32, 32}), b = net.input("b", {3, 16, 32, 32});
    a = net.conv("a1", a, 16, 16, 3);
    b = net.conv("b1", b, 16, 16, 3);
    a = net.conv("a2", a, 16, 16, 3);
    b = net.conv("b2", b, 16, 16, 3);
    net.output("ya", a);
    net.output("yb", b);
    rf_tensor shapes[2] = {};
    const int64_t dims[2][4] = {{2, 16, 32, 32}, {3, 16, 32, 32}};
    rf_error err = {};
    for (int i = 0; i < 2; i++)
        ASSERT_EQ(rf_tensor_init(&shapes[i], RF_F32, 4, dims[i], nullptr, &err), RF_OK);
    const rf_plan_params params = cpu(8);
    rf_plan *plan = nullptr;
    ASSERT_EQ(rf_plan_create(net.get(), shapes, 2, &params, &plan, &err), RF_OK) << err.text;
    // a1, b1, a2, b2 in turn: no two neighbours of one batch.
    count_striped(plan);
    EXPECT_EQ(n_striped, 0);
    rf_plan_destroy(&plan);
}

// Four pictures of 256x256 need their inputs and outputs and the windows of one, not four times the
// maps; with the stripes that the planner chooses by itself.
TEST(Stripes, KeepOnlyRowsOfOneImageOfABatch)
{
    if (rft::quick())
        GTEST_SKIP() << "large maps";
    size_t striped[2], whole[2];
    for (int i = 0; i < 2; i++) {
        const int64_t n = i ? 4 : 1;
        Net net("hourglass");
        hourglass(&net, 32, 256, 256, n);
        Array x = rft::random_array("x", {n, 3, 256, 256});
        Array want = rft::run_planned(net.get(), x, cpu(-1, 2, RF_F32, false), note_arena);
        whole[i] = arena;
        Array got = rft::run_planned(net.get(), x, cpu(0, 2, RF_F32, false), note_arena);
        striped[i] = arena;
        EXPECT_LE(rft::max_abs_difference(got.data, want.data), 1e-5 * rft::max_abs(want.data));
    }
    EXPECT_GE(whole[1], 64u << 20);
    // The caller owns input and output, so the arena holds windows only, which are those of one.
    EXPECT_LE(striped[1], striped[0]);
    EXPECT_LE(striped[0], whole[0]);
}

// Small pictures stay in their batch: a step for each would be too short.
TEST(Stripes, LeaveSmallPicturesAlone)
{
    for (int64_t batch : {1, 64}) {
        Net net("two");
        rf_value x = net.input("x", {batch, 16, 32, 32});
        x = net.conv("b", net.conv("a", x, 16, 16, 3), 16, 16, 3);
        net.output("y", x);
        rft::run_planned(net.get(), rft::random_array("x", {batch, 16, 32, 32}), cpu(0),
                         count_striped);
        EXPECT_EQ(n_striped, 0);
    }
}

} // namespace
