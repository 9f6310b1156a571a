// SPDX-License-Identifier: Apache-2.0
//
// A process may load a model and fork; parent and children then make sessions of several threads.
// The order matters (fork is safe before the first session only), so this is a program of its own
// with one test.
#include "tests/support/networks.h"

#include <csignal>

#include <sys/wait.h>
#include <unistd.h>

using namespace rft;

namespace
{

int wait_seconds(pid_t pid, int seconds)
{
    int status = 0;
    for (int i = 0; i < seconds * 100; i++) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return status;
        usleep(10000);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return -1;
}

// Writes the result of a run to `fd`; what a child of a pre-forking server does.
[[noreturn]] void child(const Model &model, const Array &x, int fd)
{
    Array y = run(open_session(model, {.threads = 2}), x);
    size_t bytes = y.data.size() * sizeof(float);
    bool ok = bytes && write(fd, y.data.data(), bytes) == static_cast<ssize_t>(bytes);
    _exit(ok ? 0 : 1);
}

TEST(Fork, BeforeTheFirstSessionIsSafeOnBothSides)
{
    Model model = load_bytes(dea_net_safetensors(8));
    ASSERT_TRUE(model);
    const Array x = random_array("x", {1, 3, 32, 32}, 0, 1);
    pid_t pids[2];
    int fds[2][2];
    for (int i = 0; i < 2; i++) {
        ASSERT_EQ(pipe(fds[i]), 0);
        pids[i] = fork();
        if (pids[i] == 0)
            child(model, x, fds[i][1]);
        ASSERT_GT(pids[i], 0);
        close(fds[i][1]);
    }
    Array want = run(open_session(model, {.threads = 2}), x);
    for (int i = 0; i < 2; i++) {
        int status = wait_seconds(pids[i], 120);
        EXPECT_EQ(status, 0) << (status == -1 ? "the child hung" : "the child failed");
        Array got(want.dims);
        ssize_t bytes = static_cast<ssize_t>(got.data.size() * sizeof(float));
        EXPECT_EQ(read(fds[i][0], got.data.data(), static_cast<size_t>(bytes)), bytes);
        EXPECT_EQ(got.data, want.data);
        close(fds[i][0]);
    }
}

} // namespace
