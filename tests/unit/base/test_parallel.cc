// SPDX-License-Identifier: Apache-2.0
//
// Splitting work, barriers, nesting, and the promise that one thread never starts the pool.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>
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

void in_team(int n_threads, std::function<void()> body)
{
    rf_parallel_team(
        n_threads, [](void *ctx) { (*(std::function<void()> *)ctx)(); }, &body);
}

void parallel_for(int n_threads, int64_t n, int64_t grain,
                  std::function<void(int64_t, int64_t, int)> body)
{
    rf_parallel_for(
        n_threads, n, grain,
        [](void *ctx, int64_t begin, int64_t end, int thread) {
            (*(std::function<void(int64_t, int64_t, int)> *)ctx)(begin, end, thread);
        },
        &body);
}

// Thousands of short calls one after the other, on more threads than cores too: late threads meet
// calls that are over, and whoever has nothing to do takes parts of others.
TEST(Team, GivesEveryPieceOfEveryCallOnceAndUnderItsNumber)
{
    for (int threads : {1, 2, 3, 9})
        in_team(threads, [&] {
            for (int round = 0; round < 3000; round++) {
                const int64_t n = 1 + round % 23;
                std::vector<int> seen((size_t)n, 0); // plain: a call's writes are seen when it ends
                std::vector<int> pieces(9, 0);
                parallel_for(1 + round % threads, n, 1 + round % 3,
                             [&](int64_t begin, int64_t end, int thread) {
                                 int64_t first, last;
                                 rf_split(n, 1 + round % 3, thread, 1 + round % threads, &first,
                                          &last);
                                 if (begin == first)
                                     pieces[(size_t)thread]++;
                                 for (int64_t i = begin; i < end; i++)
                                     seen[(size_t)i]++;
                             });
                for (int64_t i = 0; i < n; i++)
                    ASSERT_EQ(seen[(size_t)i], 1) << "call " << round << ", index " << i;
                for (int p : pieces)
                    ASSERT_LE(p, 1);
            }
        });
}

TEST(Team, HoldsEveryThreadAtABarrier)
{
    for (int threads : {2, 5})
        in_team(threads, [&] {
            for (int round = 0; round < 300; round++) {
                std::vector<int> a(8, 0), b(8, 0);
                int team = 0;
                parallel(threads, [&](int thread, int n) {
                    for (int phase = 1; phase <= 3; phase++) {
                        a[(size_t)thread] = phase;
                        rf_parallel_barrier();
                        for (int t = 0; t < n; t++)
                            b[(size_t)thread] += a[(size_t)t] == phase;
                        rf_parallel_barrier();
                    }
                    if (thread == 0)
                        team = n;
                });
                ASSERT_GE(team, 1);
                for (int t = 0; t < team; t++)
                    ASSERT_EQ(b[(size_t)t], 3 * team) << "round " << round;
            }
        });
}

TEST(Team, RunsCallsInsideOfAPartAlone)
{
    std::atomic<int> calls{0}, wrong{0};
    in_team(3, [&] {
        parallel(3, [&](int, int) {
            parallel(3, [&](int thread, int n) {
                calls++;
                wrong += thread != 0 || n != 1;
                rf_parallel_barrier();
            });
            in_team(2, [&] { parallel(2, [&](int, int n) { wrong += n != 1; }); });
        });
        in_team(3, [&] { parallel(2, [&](int, int n) { wrong += n > 2; }); }); // joins this one
    });
    EXPECT_GE(calls, 1);
    EXPECT_EQ(wrong, 0);
}

TEST(Team, IsNoLargerThanItsThreads)
{
    std::atomic<int> most{0}, after{0};
    in_team(2, [&] { parallel(7, [&](int, int n) { most = n; }); });
    EXPECT_GE(most, 1);
    EXPECT_LE(most, 2);
    parallel(2, [&](int, int) { after++; }); // an ordinary call again
    EXPECT_GE(after, 1);
    EXPECT_LE(after, 2);
}

// Longer pauses than a waiting thread spins: it has gone to sleep and must be woken.
TEST(Team, WakesThreadsThatSleep)
{
    in_team(3, [&] {
        for (int round = 0; round < 20; round++) {
            usleep(3000);
            std::atomic<int> parts{0};
            parallel(3, [&](int thread, int) {
                if (thread == round % 3)
                    usleep(3000);
                rf_parallel_barrier();
                parts++;
            });
            ASSERT_GE(parts, 1);
        }
    });
}

TEST(Team, BelongsToTheThreadThatMadeIt)
{
    std::atomic<int64_t> sum{0};
    std::vector<std::thread> users;
    for (int u = 0; u < 3; u++)
        users.emplace_back([&] {
            in_team(2, [&] {
                for (int round = 0; round < 500; round++)
                    parallel_for(2, 10, 1,
                                 [&](int64_t begin, int64_t end, int) { sum += end - begin; });
            });
        });
    for (std::thread &t : users)
        t.join();
    EXPECT_EQ(sum, 3 * 500 * 10);
}

} // namespace
