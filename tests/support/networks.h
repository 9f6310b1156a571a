// SPDX-License-Identifier: Apache-2.0
//
// Networks for tests: a small DEA-Net checkpoint with weights that are functions of their names,
// and a thin wrapper of the graph builder with which tests define networks of other kinds.
#ifndef RF_TESTS_NETWORKS_H
#define RF_TESTS_NETWORKS_H

#include "runtime/exec/plan.h"
#include "tests/support/support.h"

namespace rft
{

// Entries of an unfolded DEA-Net training checkpoint: name and dims, in the order of PyTorch.
std::vector<std::pair<std::string, std::vector<int64_t>>> dea_net_entries(int base);
// The same as a .safetensors file, with the weights of tests/data/models/make_goldens.py. Entries
// for which `keep` is false are left out.
std::string dea_net_safetensors(int base, bool (*keep)(const std::string &name) = nullptr);

// Overwrites the first `n` elements of an f32 tensor of a .safetensors file with `value`.
void overwrite(std::string &safetensors, const std::string &name, size_t n, float value);

// Builds one graph; a failing call fails the test. Constants are random, scaled by their fan-in.
class Net
{
  public:
    explicit Net(const char *name, const rf_hooks *hooks = nullptr);
    Graph take() { return std::move(graph_); }
    rf_graph *get() { return graph_.get(); }

    rf_value input(const char *name, std::vector<int64_t> dims);
    rf_value constant(const std::string &name, std::vector<int64_t> dims, float low, float high);
    rf_value weight(const std::string &name, std::vector<int64_t> dims);
    std::vector<rf_value> add(const char *op, const std::string &name, std::vector<rf_value> in,
                              std::vector<rf_attr> attrs = {}, int n_out = 1);
    rf_value one(const char *op, const std::string &name, std::vector<rf_value> in,
                 std::vector<rf_attr> attrs = {});
    // k x k, "same" padding at stride 1, with bias.
    rf_value conv(const std::string &name, rf_value x, int64_t in, int64_t out, int64_t k,
                  int64_t stride = 1, int64_t groups = 1, const char *pad_mode = "constant");
    rf_value batch_norm(const std::string &name, rf_value x, int64_t channels);
    rf_value relu(const std::string &name, rf_value x);
    rf_value sum(const std::string &name, rf_value a, rf_value b);
    void output(const char *name, rf_value v);

  private:
    Graph graph_;
};
rf_attr ints(const char *key, std::vector<int64_t> values);
rf_attr real(const char *key, double value);
rf_attr word(const char *key, const char *value);

// A U-Net of `width` channels at the top level (3 levels, batch norms, skips by concatenation, one
// residual block), for images of any multiple of 4.
Graph unet(int64_t width);
// A RepVGG classifier: three-branch blocks with batch norms, global mean, linear head of 10.
Graph repvgg(int64_t width);
// Content-guided attention as DEA-Net has it, out of generic ops: gate (r*p + x) or mix.
Graph content_attention(int64_t channels, bool mix);
// 3 -> 8 -> 3 channels, two 3x3 convolutions: microseconds per run.
Graph two_convs(const rf_hooks *hooks = nullptr);

// A line of rf_session_explain.
struct Step {
    std::string op, name, kernel, line;
};
std::vector<Step> steps(const Session &session);
// Runs a graph on the reference backend without any pass over it: the judge of fusion.
Array run_unoptimised(const Graph &graph, Array input);
// Plans a graph as it is with these parameters and runs it; `look` sees the plan.
Array run_planned(const rf_graph *graph, Array input, const rf_plan_params &params,
                  void (*look)(const rf_plan *) = nullptr);

} // namespace rft
#endif
