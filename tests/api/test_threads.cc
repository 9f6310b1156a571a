// SPDX-License-Identifier: Apache-2.0
//
// Many sessions of one model on many threads. `Threads.*` uses sessions of one thread only and is
// what CI runs under ThreadSanitizer (OpenMP's own locks are invisible to it); `Teams.*` uses
// larger ones.
#include "tests/support/networks.h"

#include <cstdlib>
#include <cstring>
#include <thread>

using namespace rft;

namespace
{

constexpr int N_THREADS = 8;

template <typename F> void on_threads(int n, F f)
{
    std::vector<std::thread> threads;
    for (int i = 0; i < n; i++)
        threads.emplace_back(f, i);
    for (std::thread &t : threads)
        t.join();
}

// Every thread makes its own session, so the first packing of the weights is raced for as well.
void expect_same_bits(int threads_each, int n_threads, int runs)
{
    const std::string bytes = dea_net_safetensors(8);
    Model model = load_bytes(bytes);
    const Array x = random_array("x", {1, 3, 32, 28}, 0, 1),
                z = random_array("z", {1, 3, 17, 40}, 0, 1);
    const SessionOptions options = {.threads = threads_each};
    const Model alone = load_bytes(bytes);
    const Array want_x = run(open_session(alone, options), x),
                want_z = run(open_session(alone, options), z);
    std::vector<int> wrong(static_cast<size_t>(n_threads));
    on_threads(n_threads, [&](int i) {
        Session s = open_session(model, options);
        for (int k = 0; k < runs; k++) {
            bool first = (k + i) % 2;
            wrong[static_cast<size_t>(i)] +=
                run(s, first ? x : z).data != (first ? want_x : want_z).data;
        }
    });
    EXPECT_EQ(wrong, std::vector<int>(static_cast<size_t>(n_threads)));
}

TEST(Threads, EightSessionsOfOneModelGiveTheSameBits)
{
    expect_same_bits(1, N_THREADS, quick() ? 4 : 40);
}

TEST(Threads, LoadsAndReleasesBesideEachOther)
{
    const std::string bytes = dea_net_safetensors(8);
    Memory memory;
    const rf_hooks hooks = memory.hooks();
    Model shared = load_bytes(bytes, false, &hooks);
    on_threads(N_THREADS, [&](int i) {
        for (int k = 0; k < (quick() ? 2 : 10); k++) {
            Model own =
                i % 2 ? load_bytes(bytes, false, &hooks) : Model(rf_model_retain(shared.get()));
            Session s = open_session(own);
            own.reset();
            run(s, random_array("x", {1, 3, 13 + i, 16}, 0, 1));
        }
    });
    shared.reset();
    EXPECT_EQ(memory.bytes, 0);
}

TEST(Threads, ProfilesAndExplainsPerSession)
{
    Model model = finish_graph(two_convs());
    on_threads(N_THREADS, [&](int i) {
        Session s = open_session(model);
        rf_session_profile(s.get(), true);
        for (int k = 0; k < 20; k++)
            run(s, random_array("x", {1, 3, 8 + i, 8 + k}));
        const char *text;
        EXPECT_EQ(rf_session_profile_json(s.get(), &text, nullptr), RF_OK);
        EXPECT_GE(steps(s).size(), 2u);
    });
}

// Somebody else asks again and again, so that it happens in the middle of a run.
TEST(Threads, ACancelledRunLeavesTheSessionUsable)
{
    Session s = open_session(finish_graph(two_convs()), {.device = "ref"});
    Array x = random_array("x", {1, 3, 64, 64}), want = run(s, x), y = want;
    const rf_tensor in = x.view(), out = y.view();
    std::atomic<bool> stop{false};
    std::thread other([&] {
        while (!stop)
            rf_session_cancel(s.get());
    });
    rf_error err = {};
    int n_cancelled = 0;
    for (int i = 0; i < 1000 && n_cancelled < 3; i++) {
        rf_status status = rf_session_run(s.get(), &in, 1, &out, 1, &err);
        if (status == RF_OK) // all steps had begun before the other thread got to speak
            continue;
        ASSERT_EQ(status, RF_ERR_CANCELLED) << err.text;
        EXPECT_NE(std::string(err.text).find("cancelled before step"), std::string::npos)
            << err.text;
        n_cancelled++;
    }
    stop = true;
    other.join();
    EXPECT_EQ(n_cancelled, 3);
    EXPECT_EQ(run(s, x).data, want.data);
}

TEST(Threads, CancellingNothingDoesNothing)
{
    Session s = open_session(finish_graph(two_convs()));
    const Array x = random_array("x", {1, 3, 24, 24});
    rf_session_cancel(s.get());
    const Array want = run(s, x);
    rf_session_cancel(s.get());
    rf_tensor shape = x.shape();
    EXPECT_EQ(rf_session_prepare(s.get(), &shape, 1, nullptr, nullptr), RF_OK);
    EXPECT_EQ(run(s, x).data, want.data);
}

// Whoever cancels during the first run of a shape need not wait for its steps.
TEST(Threads, ACancelDuringPlanningStopsTheRun)
{
    struct Heard {
        rf_session *session = nullptr;
        int n = 0;
    } heard;
    rf_hooks hooks = {};
    hooks.size = sizeof hooks;
    hooks.allocator = {[](void *user, size_t bytes, size_t align) {
                           Heard *h = static_cast<Heard *>(user);
                           if (h->session) { // the plan's memory: inside of the run
                               rf_session_cancel(h->session);
                               h->n++;
                           }
                           return aligned_alloc(align ? align : 64, (bytes + 63) / 64 * 64 + 64);
                       },
                       [](void *, void *p, size_t) { free(p); }, &heard};
    Session s = open_session(finish_graph(two_convs(&hooks)));
    Array x = random_array("x", {1, 3, 24, 24}), y = x;
    const rf_tensor in = x.view(), out = y.view();
    rf_error err = {};
    heard.session = s.get();
    EXPECT_EQ(rf_session_run(s.get(), &in, 1, &out, 1, &err), RF_ERR_CANCELLED);
    EXPECT_NE(strstr(err.text, "before step 1 of"), nullptr) << err.text;
    EXPECT_GT(heard.n, 0);
    EXPECT_EQ(rf_session_run(s.get(), &in, 1, &out, 1, &err), RF_OK) << err.text;
    heard.session = nullptr;
}

TEST(Teams, SessionsOfTwoThreadsGiveTheSameBits)
{
    expect_same_bits(2, 4, quick() ? 3 : 15);
}

TEST(Teams, ASessionMayMoveToAnotherThread)
{
    Session s = open_session(finish_graph(two_convs()), {.threads = 2});
    const Array x = random_array("x", {1, 3, 48, 48}), want = run(s, x);
    for (int i = 0; i < 4; i++)
        on_threads(1, [&](int) { EXPECT_EQ(run(s, x).data, want.data); });
}

} // namespace
