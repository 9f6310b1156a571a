// SPDX-License-Identifier: Apache-2.0
//
// Memory: what a plan promises, the cap, the bounded cache of plans, and that ten thousand sizes
// leave nothing behind.
#include "tests/support/networks.h"

using namespace rft;

namespace
{

rf_plan_info prepare(const Session &s, const Array &x, rf_status expected = RF_OK,
                     rf_error *err = nullptr)
{
    rf_plan_info info = {sizeof info};
    rf_error mine;
    rf_tensor shape = x.shape();
    rf_status status = rf_session_prepare(s.get(), &shape, 1, &info, err ? err : &mine);
    EXPECT_EQ(status, expected) << (err ? err : &mine)->text;
    return info;
}

TEST(Memory, PlannedPeakOfDeaNetIsTwoMapsOfTheTopLevel)
{
    Model model = load_bytes(dea_net_safetensors(32));
    for (rf_dtype precision : {RF_F32, RF_BF16}) {
        SessionOptions o;
        o.precision = precision;
        o.threads = 2;
        rf_plan_info info = prepare(open_session(model, o), Array({1, 3, 512, 512}));
        double map = 32.0 * 512 * 512 * static_cast<double>(rf_dtype_bytes(precision));
        printf("  %s 1x3x512x512: activations %.1f MiB (two maps are %.1f), scratch %.1f, weights "
               "%.1f\n",
               rf_dtype_name(precision), static_cast<double>(info.arena_bytes) / 1048576,
               2 * map / 1048576, static_cast<double>(info.scratch_bytes) / 1048576,
               static_cast<double>(info.weight_bytes) / 1048576);
        EXPECT_LE(static_cast<double>(info.arena_bytes), 2.2 * map);
        EXPECT_EQ(info.macs / (512 * 512), 491711)
            << "cost of reparam.md 2.1, without the channel maps";
        EXPECT_GE(info.peak_bytes, info.arena_bytes + info.scratch_bytes + info.weight_bytes);
    }
}

TEST(Memory, HoldsNoMoreThanThePlanSaid)
{
    Memory memory;
    rf_hooks hooks = memory.hooks();
    Model model = load_bytes(dea_net_safetensors(8), false, &hooks);
    int64_t before = memory.bytes;
    Session session = open_session(model);
    Array x = random_array("x", {1, 3, 96, 96}, 0, 1);
    run(session, x);
    rf_plan_info info = prepare(session, x);
    // The plan's own tables are the only thing beside what it counts.
    EXPECT_LE(memory.bytes - before, static_cast<int64_t>(info.peak_bytes) + (1 << 20));
    session.reset();
    model.reset();
    EXPECT_EQ(memory.bytes, 0);
    EXPECT_EQ(memory.wrong_sizes, 0);
}

TEST(Memory, CapIsHonouredBeforeAnythingRuns)
{
    Model model = finish_graph(two_convs());
    Array x = random_array("x", {1, 3, 256, 256}, 0, 1);
    size_t need = prepare(open_session(model), x).peak_bytes;
    SessionOptions o;
    o.memory_cap = need;
    Session enough = open_session(model, o);
    EXPECT_EQ(run(enough, x).data.size(), x.data.size());
    o.memory_cap = need - 1;
    Session less = open_session(model, o);
    rf_error err;
    prepare(less, x, RF_ERR_MEMORY, &err);
    EXPECT_NE(std::string(err.text).find(std::to_string(need)), std::string::npos) << err.text;
    EXPECT_NE(std::string(err.text).find(std::to_string(need - 1)), std::string::npos) << err.text;
    // A refused shape does not spoil the session for smaller ones.
    EXPECT_EQ(run(less, random_array("x", {1, 3, 16, 16}, 0, 1)).data.size(), 3u * 16 * 16);
}

// What does not fit without its packed weights is refused before they are made.
TEST(Memory, CapRefusesBeforeWeightsArePacked)
{
    Memory memory;
    rf_hooks hooks = memory.hooks();
    Model model = load_bytes(dea_net_safetensors(8), false, &hooks);
    Array small({1, 3, 16, 16}), large({1, 3, 1024, 1024});
    rf_plan_info info = prepare(open_session(load_bytes(dea_net_safetensors(8))), small);
    SessionOptions o;
    o.memory_cap = 2 * info.peak_bytes; // far below the activations of the large picture
    Session session = open_session(model, o);
    const int64_t before = memory.bytes;
    rf_error err;
    prepare(session, large, RF_ERR_MEMORY, &err);
    EXPECT_EQ(memory.bytes, before) << "packed weights stay with the model";
    EXPECT_NE(std::string(err.text).find("at least"), std::string::npos) << err.text;
    // Packed weights alone may pass the cap too: then it is found out once they are there.
    o.memory_cap = info.peak_bytes - 1;
    Session tight = open_session(model, o);
    prepare(tight, small, RF_ERR_MEMORY, &err);
    EXPECT_EQ(std::string(err.text).find("at least"), std::string::npos) << err.text;
    EXPECT_NE(std::string(err.text).find(std::to_string(info.peak_bytes)), std::string::npos)
        << err.text;
    prepare(session, small);
}

TEST(Memory, KeepsAsManyPlansAsAsked)
{
    Model model = finish_graph(two_convs());
    SessionOptions o;
    o.max_plans = 3;
    Session s = open_session(model, o);
    for (int64_t w = 10; w < 13; w++)
        EXPECT_FALSE(prepare(s, Array({1, 3, 10, w})).cached);
    for (int64_t w = 10; w < 13; w++)
        EXPECT_TRUE(prepare(s, Array({1, 3, 10, w})).cached);
    prepare(s, Array({1, 3, 10, 10}));
    EXPECT_FALSE(prepare(s, Array({1, 3, 10, 13})).cached); // evicts 11, the oldest
    EXPECT_TRUE(prepare(s, Array({1, 3, 10, 10})).cached);
    EXPECT_TRUE(prepare(s, Array({1, 3, 10, 12})).cached);
    EXPECT_FALSE(prepare(s, Array({1, 3, 10, 11})).cached);
}

TEST(Memory, TenThousandSizesLeaveNothingBehind)
{
    Memory memory;
    rf_hooks hooks = memory.hooks();
    Model model = finish_graph(two_convs(&hooks));
    Session session = open_session(model);
    const int n = quick() ? 1000 : 10000;
    auto random_size = [](int i) {
        return 8 + static_cast<int64_t>(12 * (named_random("size", static_cast<uint64_t>(i)) + 1));
    };
    int64_t warm_bytes = 0;
    size_t warm_resident = 0;
    Array largest = random_array("x", {1, 3, 32, 32}, 0, 1);
    for (int i = 0; i < n; i++) {
        Array x({1, 3, random_size(2 * i), random_size(2 * i + 1)});
        ASSERT_EQ(run(session, x).data.size(), x.data.size());
        if (i == n / 10)
            warm_resident = resident_bytes();
        if (i <= n / 10) // the arena and the tables of eight plans reach their largest
            warm_bytes = std::max<int64_t>(warm_bytes, memory.bytes);
    }
    EXPECT_LE(memory.bytes, warm_bytes + 65536);
    EXPECT_LE(resident_bytes(), warm_resident + (quick() ? 64u << 20 : 2u << 20));
    session.reset();
    model.reset();
    EXPECT_EQ(memory.bytes, 0);
}

} // namespace
