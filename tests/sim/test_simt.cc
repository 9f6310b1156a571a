// SPDX-License-Identifier: Apache-2.0
//
// What the emulator must see, one small kernel each, under every order of threads.
#include <algorithm>
#include <set>

#include "tests/sim/device_array.h"
#include "tests/sim/probes.h"

namespace
{

constexpr int n_floats = 1024, shared_bytes = 4096;

struct Launch {
    dim3 grid{1}, block{64};
    int n = 0;
    size_t shared = shared_bytes;
};

const simt::Kernel *find(const std::string &name)
{
    for (const rf_cuda_entry *e = probe_entries; e->name; e++)
        if (e->name == name)
            return (const simt::Kernel *)e->fn;
    ADD_FAILURE() << "no kernel " << name;
    return nullptr;
}

simt::Fault launch(const char *name, float *data, const Launch &l = {})
{
    probe_params p = {data, l.n, (int32_t)shared_bytes};
    return simt::run(find(name), l.grid, l.block, l.shared, &p);
}

// The kernel faults like this, whoever comes first.
void expect_fault(const char *name, cudaError_t error, const std::string &text,
                  const Launch &l = {})
{
    SCOPED_TRACE(name);
    DeviceArray<float> data(n_floats);
    under_every_schedule([&] {
        simt::Fault f = launch(name, data.data(), l);
        EXPECT_EQ(f.error, error) << f.text;
        EXPECT_NE(std::string(f.text).find(text), std::string::npos) << f.text;
        EXPECT_NE(std::string(f.text).find(name), std::string::npos) << f.text;
        EXPECT_STREQ(rf_sim_last_fault(), f.text);
    });
}

void expect_clean(const char *name, const Launch &l = {})
{
    SCOPED_TRACE(name);
    DeviceArray<float> data(n_floats);
    under_every_schedule([&] {
        simt::Fault f = launch(name, data.data(), l);
        EXPECT_EQ(f.error, cudaSuccess) << f.text;
    });
}

Launch with(int n)
{
    Launch l;
    l.n = n;
    return l;
}

// ---- order -------------------------------------------------------------------------------------
TEST(SimOrder, EveryBlockRunsOnce)
{
    under_every_schedule([] {
        DeviceArray<float> data(7 * 5 * 3);
        Launch l;
        l.grid = dim3(7, 5, 3);
        l.block = dim3(1);
        EXPECT_EQ(launch("visit_blocks", data.data(), l).error, cudaSuccess);
        for (int i = 0; i < 7 * 5 * 3; i++)
            EXPECT_EQ(data[i], 1) << i;
    });
}

TEST(SimOrder, EverySchedulesOrderIsAnotherAndTheSameEachTime)
{
    std::set<std::vector<float>> seen;
    for (const char *schedule : simt::schedules) {
        ASSERT_TRUE(simt::set_schedule(schedule));
        std::vector<float> first;
        for (int run = 0; run < 2; run++) {
            DeviceArray<float> data(1 + 2 * 64);
            ASSERT_EQ(launch("visit_threads", data.data()).error, cudaSuccess);
            std::vector<float> order(data.data() + 1, data.data() + 1 + 2 * 64);
            if (!run)
                first = order;
            EXPECT_EQ(order, first) << schedule;
            for (int round = 0; round < 2; round++) {
                std::set<float> threads(order.begin() + round * 64,
                                        order.begin() + round * 64 + 64);
                EXPECT_EQ(threads.size(), 64u) << schedule;
            }
        }
        seen.insert(first);
    }
    EXPECT_EQ(seen.size(), simt::schedules.size());
    ASSERT_TRUE(simt::set_schedule("ring"));
}

TEST(SimOrder, ScheduleNamesAreChecked)
{
    for (const char *bad : {"", "rings", "random", "random:", "random:x", "random:1x", "-1"})
        EXPECT_FALSE(simt::set_schedule(bad)) << bad;
    for (const char *good : {"random:0", "7", "0"})
        EXPECT_TRUE(simt::set_schedule(good)) << good;
    ASSERT_TRUE(simt::set_schedule("ring"));
}

// ---- device memory -----------------------------------------------------------------------------
TEST(SimMemory, OutOfBoundsIsAFault)
{
    expect_clean("copy", with(n_floats - 64));
    expect_fault("copy", cudaErrorIllegalAddress, "load of 4 bytes out of bounds, at byte 4",
                 with(n_floats - 63));
    expect_fault("copy", cudaErrorIllegalAddress, "load of 4 bytes out of bounds, at", with(-200));
    expect_clean("add", with(n_floats - 64));
    expect_fault("add", cudaErrorIllegalAddress, "atomic add of 4 bytes out of bounds",
                 with(n_floats));
    expect_clean("load16", with(n_floats - 4));
    expect_fault("load16", cudaErrorIllegalAddress, "load of 16 bytes out of bounds, at byte 4096",
                 with(n_floats));
}

TEST(SimMemory, TheEndOfAnAllocationIsExact)
{
    DeviceArray<float> data(67); // a row of 16-byte loads ends behind it
    EXPECT_EQ(launch("load16", data.data(), with(60)).error, cudaSuccess);
    EXPECT_EQ(launch("load16", data.data(), with(64)).error, cudaErrorIllegalAddress);
}

TEST(SimMemory, MisalignedIsAFault)
{
    expect_fault("load16", cudaErrorMisalignedAddress, "not aligned to 16", with(2));
}

TEST(SimMemory, HostAndFreedMemoryAreFaults)
{
    static float host[n_floats];
    simt::Fault f = launch("copy", host);
    EXPECT_EQ(f.error, cudaErrorIllegalAddress);
    EXPECT_NE(std::string(f.text).find("no device memory"), std::string::npos) << f.text;
    DeviceArray<float> data(n_floats);
    EXPECT_EQ(launch("copy", data.data()).error, cudaSuccess);
    data.free_on_device();
    f = launch("copy", data.data());
    EXPECT_EQ(f.error, cudaErrorIllegalAddress);
    EXPECT_NE(std::string(f.text).find("4096 bytes that was freed"), std::string::npos) << f.text;
}

TEST(SimMemory, ManyAllocationsAreToldApart)
{
    std::vector<std::unique_ptr<DeviceArray<float>>> arrays;
    for (int i = 0; i < 100; i++)
        arrays.push_back(std::make_unique<DeviceArray<float>>(65 + i % 7));
    for (int i = 0; i < 100; i += 2)
        arrays[(size_t)i]->free_on_device();
    for (int i = 0; i < 100; i++)
        EXPECT_EQ(launch("copy", arrays[(size_t)i]->data(), with(1)).error,
                  i % 2 ? cudaSuccess : cudaErrorIllegalAddress);
}

// ---- faults ------------------------------------------------------------------------------------
TEST(SimFault, IsThatOfTheFirstBlockInOrderAndStopsTheGrid)
{
    const char *first[][2] = {
        {"ring", "block (0,0,0), thread (0,0,0)"},
        {"reversed", "block (999999,0,0), thread (63,0,0)"},
        {"warp", "block (500000,0,0), thread (0,0,0)"},
    };
    DeviceArray<float> data(n_floats);
    for (auto &f : first)
        for (int late = 0; late < 2; late++) { // also when the second block is done before it
            ASSERT_TRUE(simt::set_schedule(f[0]));
            Launch l = with(n_floats + late);
            l.grid = dim3(1000000);
            simt::Fault fault = launch("every_block_faults", data.data(), l);
            std::string text = std::string("kernel every_block_faults, ") + f[1] +
                               ": store of 4 bytes out of bounds";
            EXPECT_EQ(std::string(fault.text).find(text), 0u) << f[0] << ": " << fault.text;
        }
    ASSERT_TRUE(simt::set_schedule("ring"));
    EXPECT_EQ(launch("copy", data.data()).error, cudaSuccess); // nothing lingers
}

TEST(SimFault, AbortsWhenTheEnvironmentSaysSo)
{
    testing::FLAGS_gtest_death_test_style = "threadsafe";
    EXPECT_DEATH(
        {
            setenv("REFOLD_SIM_ABORT", "1", 1);
            launch("copy", nullptr);
        },
        "sim: kernel copy, block \\(0,0,0\\), thread \\(0,0,0\\): load of 4 bytes");
}

TEST(SimFault, LaunchesThatNoCardTakes)
{
    auto error = [](dim3 grid, dim3 block, size_t shared) {
        DeviceArray<float> data(n_floats);
        Launch l;
        l.grid = grid;
        l.block = block;
        l.shared = shared;
        return launch("visit_blocks", data.data(), l).error;
    };
    EXPECT_EQ(error(dim3(1), dim3(1024), shared_bytes), cudaSuccess);
    EXPECT_EQ(error(dim3(1), dim3(1025), shared_bytes), cudaErrorInvalidConfiguration);
    EXPECT_EQ(error(dim3(1), dim3(1, 1, 65), shared_bytes), cudaErrorInvalidConfiguration);
    EXPECT_EQ(error(dim3(1, 65536), dim3(1), shared_bytes), cudaErrorInvalidConfiguration);
    EXPECT_EQ(error(dim3(0), dim3(1), shared_bytes), cudaErrorInvalidConfiguration);
    EXPECT_EQ(error(dim3(1), dim3(1), 227 * 1024), cudaSuccess);
    EXPECT_EQ(error(dim3(1), dim3(1), 227 * 1024 + 1), cudaErrorInvalidValue);
}

// ---- shared memory -----------------------------------------------------------------------------
TEST(SimShared, BoundsAndAlignment)
{
    int end = shared_bytes / 4;
    expect_clean("shared_store", with(end - 64));
    expect_fault("shared_store", cudaErrorIllegalAddress, "store of 4 bytes out of bounds, at byte",
                 with(end - 63));
    expect_fault("shared_store", cudaErrorIllegalAddress, "at byte -", with(-64));
    expect_clean("shared_store8", with(2));
    expect_fault("shared_store8", cudaErrorMisalignedAddress, "not aligned to 8", with(3));
    expect_clean("ldmatrix_at", with(512));
    expect_fault("ldmatrix_at", cudaErrorMisalignedAddress, "ldmatrix of 16 bytes", with(8));
    expect_fault("ldmatrix_at", cudaErrorIllegalAddress, "ldmatrix of 16 bytes",
                 with(shared_bytes));
}

TEST(SimShared, MoreThanTheLaunchAskedFor)
{
    Launch l;
    l.shared = shared_bytes - 1;
    expect_fault("copy", cudaErrorIllegalAddress,
                 "RF_SHARED(4096), but the launch asked for 4095 bytes", l);
}

TEST(SimShared, AsyncCopies)
{
    DeviceArray<float> data(n_floats);
    std::fill(data.data(), data.data() + n_floats, 3.0f);
    under_every_schedule([&] {
        ASSERT_EQ(launch("async_copy", data.data(), with(256)).error, cudaSuccess);
        for (int t = 0; t < 64; t++)
            EXPECT_EQ(data[(size_t)t], t % 2 ? 0 : 6) << t; // filled with zeros, or copied
    });
    expect_fault("async_copy", cudaErrorIllegalAddress, "cp.async of 16 bytes out of bounds",
                 with(n_floats - 252));
    expect_fault("async_copy", cudaErrorMisalignedAddress, "cp.async", with(1));
    expect_clean("async_to", with(shared_bytes / 4 - 256));
    expect_fault("async_to", cudaErrorIllegalAddress, "of 4096 bytes of shared memory",
                 with(shared_bytes / 4 - 252));
    expect_fault("async_to", cudaErrorMisalignedAddress, "of shared memory", with(2));
}

TEST(SimShared, AsyncCopiesThatNobodyWaitsFor)
{
    expect_fault("async_uncommitted", cudaErrorLaunchFailure, "has not waited for");
    expect_fault("async_never_committed", cudaErrorLaunchFailure, "1 cp.async under way");
    expect_fault("async_never_waited", cudaErrorLaunchFailure, "1 cp.async under way");
    expect_fault("async_twice", cudaErrorLaunchFailure, "has not waited for");
    // Which access comes second is up to the order.
    expect_fault("async_no_barrier", cudaErrorLaunchFailure, "of shared memory");
    expect_fault("async_other_warp_reads", cudaErrorLaunchFailure, "race: byte ");
}

TEST(SimRace, OrderedAccessesAreNone)
{
    expect_clean("race_none");
}

TEST(SimRace, IsFoundInAnyOrder)
{
    for (const char *name :
         {"race_read_after_write", "race_write_after_read", "race_write_after_many_reads",
          "race_last_reader_writes", "race_same_value", "race_in_warp",
          "race_write_after_read_in_warp", "race_warp_barrier_across_warps",
          "race_shuffle_is_no_barrier", "race_ldmatrix"})
        expect_fault(name, cudaErrorLaunchFailure, "race: byte ");
}

// ---- divergence --------------------------------------------------------------------------------
TEST(SimDivergence, WholeWarpsMayDiffer)
{
    expect_clean("converged");
}

TEST(SimDivergence, BarriersThatNotAllReach)
{
    expect_fault("sync_in_both_branches", cudaErrorLaunchFailure, "__syncthreads at another place");
    expect_fault("sync_in_one_branch", cudaErrorLaunchFailure,
                 "deadlock: threads at __syncthreads: 0-39,41-63; at a warp function: 40; "
                 "returned: none");
    expect_fault("warp_sync_in_one_branch", cudaErrorLaunchFailure, "deadlock");
}

TEST(SimDivergence, WarpFunctionsThatNotAllCall)
{
    expect_fault("sum_in_both_branches", cudaErrorLaunchFailure, "a shuffle at another place");
    expect_fault("sum_until_own_end", cudaErrorLaunchFailure, "a shuffle at another place");
    expect_fault("sum_after_return", cudaErrorLaunchFailure,
                 "at a warp function: 0-6,8-31; returned: 7,32-63");
    expect_fault("half_mask", cudaErrorLaunchFailure, "a shuffle with mask 0xffff");
    Launch l;
    l.block = dim3(16);
    expect_fault("converged", cudaErrorLaunchFailure, "a shuffle in a warp of 16 threads", l);
}

// ---- counters ----------------------------------------------------------------------------------
class SimCounters : public testing::Test
{
  public:
    void SetUp() override { simt::count(true); }
    void TearDown() override
    {
        simt::count(false);
        simt::counters_clear();
    }
    simt::Counters of(const char *name, int n, size_t shared = 128 * 1024)
    {
        DeviceArray<float> data(64 * 1024);
        simt::counters_clear();
        Launch l = with(n);
        l.shared = shared;
        simt::Fault f = launch(name, data.data(), l);
        EXPECT_EQ(f.error, cudaSuccess) << f.text;
        return simt::counters(name);
    }
};

TEST_F(SimCounters, BankConflicts)
{
    struct {
        const char *name;
        int n;
        uint64_t cycles, ideal; // of two warps
    } cases[] = {
        {"load_shared", 0, 2, 2},   {"load_shared", 1, 2, 2},    {"load_shared", 2, 4, 2},
        {"load_shared", 8, 16, 2},  {"load_shared", 32, 64, 2},  {"load_shared", 33, 2, 2},
        {"load_shared16", 1, 8, 8}, {"load_shared16", 2, 16, 8}, {"load_shared16", 8, 64, 8},
        {"load_shared16", 5, 8, 8},
    };
    for (auto &c : cases) {
        simt::Counters got = of(c.name, c.n);
        EXPECT_EQ(got.shared_loads, 2u) << c.name << " " << c.n;
        EXPECT_EQ(got.shared_cycles, c.cycles) << c.name << " " << c.n;
        EXPECT_EQ(got.shared_ideal, c.ideal) << c.name << " " << c.n;
    }
    // Rows of 16 bytes, n * 16 apart; two warps, four matrices each.
    EXPECT_EQ(of("load_rows", 1).ldmatrix_cycles, 8u);
    EXPECT_EQ(of("load_rows", 5).ldmatrix_cycles, 8u);
    EXPECT_EQ(of("load_rows", 4).ldmatrix_cycles, 32u);
    EXPECT_EQ(of("load_rows", 8).ldmatrix_cycles, 64u);
    EXPECT_EQ(of("load_rows", 8).ldmatrix_ideal, 8u);
}

TEST_F(SimCounters, Sectors)
{
    struct {
        int n;
        uint64_t sectors, ideal;
    } cases[] = {{0, 2, 2}, {1, 8, 8}, {2, 16, 8}, {8, 64, 8}, {512, 64, 8}};
    for (auto &c : cases) {
        simt::Counters got = of("load_global", c.n);
        EXPECT_EQ(got.global_loads, 2u) << c.n;
        EXPECT_EQ(got.sectors, c.sectors) << c.n;
        EXPECT_EQ(got.sectors_ideal, c.ideal) << c.n;
    }
}

TEST_F(SimCounters, BranchesAreRequestsOfFewerLanes)
{
    EXPECT_EQ(of("load_in_a_branch", 0).shared_loads, 4u);
}

TEST_F(SimCounters, AreOfTheKernelAndOffByDefault)
{
    of("converged", 0);
    simt::Counters c = simt::counters("converged");
    EXPECT_EQ(c.launches, 1u);
    EXPECT_EQ(c.blocks, 1u);
    EXPECT_EQ(c.block_barriers, 2u);
    EXPECT_EQ(c.shuffles, 2u * 10 + 5 + 2); // a vote counts as one
    simt::count(false);
    of("converged", 0);
    EXPECT_EQ(simt::counters("converged").launches, 0u);
}

} // namespace
