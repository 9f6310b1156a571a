// SPDX-License-Identifier: Apache-2.0
//
// Splitting work, barriers, nesting, and the promise that one thread never starts the pool.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <vector>

#include <gtest/gtest.h>

#include "runtime/base/parallel.h"

namespace
{

using Body = std::function<void(int, int)>;

void parallel(int n_threads, Body body)
{
    rf_parallel(
        n_threads, [](void *ctx, int thread, int n) { (*(Body *)ctx)(thread, n); }, &body);
}

TEST(Split, GivesEveryIndexOnceInMultiplesOfTheGrain)
{
    for (int64_t n : {0, 1, 7, 16, 17, 100, 1023})
        for (int64_t grain : {0, 1, 3, 16, 2000})
            for (int threads : {1, 2, 3, 8, 64}) {
                int64_t next = 0, unit = grain < 1 ? 1 : grain;
                int64_t smallest = INT64_MAX, largest = 0;
                for (int t = 0; t < threads; t++) {
                    int64_t begin, end;
                    rf_split(n, grain, t, threads, &begin, &end);
                    ASSERT_EQ(begin, next) << n << " " << grain << " " << t << "/" << threads;
                    ASSERT_LE(begin, end);
                    if (begin < end) {
                        EXPECT_EQ(begin % unit, 0);
                        EXPECT_TRUE(end % unit == 0 || end == n);
                    }
                    int64_t pieces = (end - begin + unit - 1) / unit;
                    smallest = std::min(smallest, pieces);
                    largest = std::max(largest, pieces);
                    next = end;
                }
                EXPECT_EQ(next, n);
                EXPECT_LE(largest - smallest, 1) << "equal shares";
            }
}

TEST(Split, DoesNotOverflowNearTheLimit)
{
    int64_t begin, end, n = INT64_MAX;
    rf_split(n, 3, 63, 64, &begin, &end);
    EXPECT_EQ(end, n);
    EXPECT_GT(begin, n / 64 * 62);
}

TEST(Parallel, CallsEveryThreadOnce)
{
    for (int n : {1, 2, 4}) {
        std::vector<std::atomic<int>> calls(8);
        std::atomic<int> team{0};
        parallel(n, [&](int thread, int n_threads) {
            calls[(size_t)thread]++;
            team = n_threads;
        });
        ASSERT_GE(team, 1);
        ASSERT_LE(team, n);
        for (int t = 0; t < 8; t++)
            EXPECT_EQ(calls[(size_t)t], t < team ? 1 : 0);
    }
}

TEST(Parallel, ForVisitsEachIndexOnce)
{
    for (int threads : {1, 3}) {
        std::vector<std::atomic<int>> seen(1000);
        rf_parallel_for(
            threads, 1000, 7,
            [](void *ctx, int64_t begin, int64_t end, int) {
                for (int64_t i = begin; i < end; i++)
                    (*(std::vector<std::atomic<int>> *)ctx)[(size_t)i]++;
            },
            &seen);
        for (auto &s : seen)
            ASSERT_EQ(s, 1);
    }
    rf_parallel_for(
        4, 0, 1, [](void *, int64_t, int64_t, int) { FAIL() << "nothing to do"; }, nullptr);
}

TEST(Parallel, BarrierSeparatesPhases)
{
    constexpr int rounds = 200;
    std::atomic<int> arrived{0}, early{0};
    parallel(4, [&](int, int n) {
        for (int i = 0; i < rounds; i++) {
            arrived++;
            rf_parallel_barrier();
            if (arrived < n * (i + 1))
                early++;
            rf_parallel_barrier();
        }
    });
    EXPECT_EQ(early, 0);
}

TEST(Parallel, NestedCallRunsAloneAndItsBarrierDoesNotWait)
{
    std::atomic<int> inner{0}, teams{0};
    parallel(3, [&](int thread, int) {
        // Only one thread goes in: waiting for the others would hang.
        if (thread == 0)
            parallel(3, [&](int t, int n) {
                inner++;
                teams += n;
                EXPECT_EQ(t, 0);
                rf_parallel_barrier();
            });
        rf_parallel_barrier();
    });
    EXPECT_EQ(inner, 1);
    EXPECT_EQ(teams, 1);
}

TEST(Parallel, BarrierOutsideIsNoWait)
{
    rf_parallel_barrier();
    parallel(1, [](int, int) { rf_parallel_barrier(); });
}

TEST(Parallel, OneThreadStaysUsableInAForkedChild)
{
    parallel(1, [](int, int) {});
    pid_t child = fork();
    ASSERT_GE(child, 0);
    if (!child) {
        int calls = 0;
        parallel(1, [&](int, int) { calls++; });
        _exit(calls == 1 ? 0 : 1);
    }
    int status;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
}

TEST(Parallel, CountsAtLeastOneCore)
{
    EXPECT_GE(rf_cpu_count(), 1);
}

} // namespace
