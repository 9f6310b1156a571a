// SPDX-License-Identifier: Apache-2.0
//
// What the suites that work through the public API share: owners for the C handles, arrays, random
// numbers that a Python script can make as well, counting allocators, temporary folders, commands.
#ifndef RF_TESTS_SUPPORT_H
#define RF_TESTS_SUPPORT_H

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include <gtest/gtest.h>

#include <refold/refold.h>

namespace rft
{

struct ModelDeleter {
    void operator()(rf_model *m) const { rf_model_release(&m); }
};
struct SessionDeleter {
    void operator()(rf_session *s) const { rf_session_destroy(&s); }
};
struct GraphDeleter {
    void operator()(rf_graph *g) const { rf_graph_destroy(&g); }
};
using Model = std::unique_ptr<rf_model, ModelDeleter>;
using Session = std::unique_ptr<rf_session, SessionDeleter>;
using Graph = std::unique_ptr<rf_graph, GraphDeleter>;

// Dense float32 elements with their dims.
struct Array {
    std::vector<int64_t> dims;
    std::vector<float> data;
    Array() = default;
    explicit Array(std::vector<int64_t> d);
    rf_tensor view();
    rf_tensor shape() const; // without data
};

// Element i of the tensor called `name`: uniform in [-1, 1), a function of name and i alone
// (FNV-1a, then splitmix64). tests/data/models/make_goldens.py makes the same numbers.
float named_random(const std::string &name, uint64_t i);
Array random_array(const std::string &name, std::vector<int64_t> dims, float low = -1,
                   float high = 1);

double max_abs(const std::vector<float> &a);
double max_abs_difference(const std::vector<float> &a, const std::vector<float> &b);
// Root of the mean squared difference over the standard deviation of `want`.
double relative_rms(const std::vector<float> &got, const std::vector<float> &want);

// Helpers that fail the running test with the error's text when the call fails; the result is then
// empty.
Model load_file(const std::string &path, bool unfolded = false, const rf_hooks *hooks = nullptr);
Model load_bytes(const std::string &bytes, bool unfolded = false, const rf_hooks *hooks = nullptr);
Model finish_graph(Graph graph, bool unfolded = false);
struct SessionOptions {
    const char *device = "cpu";
    rf_dtype precision = RF_F32;
    int threads = 1;
    bool exact = false;
    size_t memory_cap = 0;
    int max_plans = 0;
};
Session open_session(const Model &model, const SessionOptions &options = {});
rf_model_info info_of(const Model &model); // its strings live as long as the model
// Runs a model of one input and one output.
Array run(const Session &session, Array input);
std::string explain(const Session &session);

// An allocator that counts, and can refuse the k-th request (from 1), every k-th, or what passes a
// cap.
class Memory
{
  public:
    rf_hooks hooks();
    std::atomic<int64_t> bytes{0}, calls{0}, wrong_sizes{0};
    std::atomic<int64_t> peak{0};
    std::atomic<int64_t> refuse{0}, every{0}, cap{0}; // 0: never, none

  private:
    static void *alloc(void *user, size_t n, size_t align);
    static void release(void *user, void *p, size_t n);
    std::mutex lock_;
    std::unordered_map<void *, size_t> sizes_;
};

// A folder of its own, removed at the end.
class TempDir
{
  public:
    TempDir();
    ~TempDir();
    std::string operator/(const std::string &name) const { return path_ + "/" + name; }
    const std::string &path() const { return path_; }
    std::vector<std::string> list() const; // sorted names

  private:
    std::string path_;
};

std::string read_file(const std::string &path);
void write_file(const std::string &path, const std::string &bytes);
bool file_exists(const std::string &path);

struct CommandResult {
    int code; // exit code, or 128 + signal
    std::string out, err;
};
// Runs argv[0] with these arguments, nothing on stdin; kills it after `seconds`.
CommandResult run_command(const std::vector<std::string> &argv,
                          const std::map<std::string, std::string> &env = {}, int seconds = 300);

std::string source_root();
// Folder of goldens for `what` ("dea_net"), or "" if this machine has none.
std::string golden_dir(const std::string &what);
// $RF_TEST_QUICK is set: sanitizers make everything ten times slower.
bool quick();
// Resident set of this process in bytes.
size_t resident_bytes();

// Arrays of a .npz by name; empty if the file cannot be read.
struct NpzArray {
    std::vector<int64_t> dims;
    std::vector<double> data;  // of float arrays
    std::vector<int64_t> ints; // of integer arrays
    Array to_array() const;
};
std::map<std::string, NpzArray> read_npz(const std::string &path);

} // namespace rft
#endif
