// SPDX-License-Identifier: Apache-2.0
//
// What the tests of folds share: graphs and checkpoints in float64. A graph runs node by node on
// the reference kernels, so that a fold has to agree with the unfolded arithmetic to 1e-12 of the
// largest result (T1 of reparam.md), borders included.
#ifndef RF_TESTS_FOLDS_H
#define RF_TESTS_FOLDS_H

#include <string>
#include <vector>

#include "runtime/fold/fold.h"
#include "tests/support/networks.h"

namespace folds
{

using Doubles = std::vector<double>;
using Dims = std::vector<int64_t>;

constexpr double T1 = 1e-12; // float64 against float64
constexpr double T2 = 2e-6;  // rounded once, calculated in float32: one layer

Doubles random_doubles(const std::string &name, size_t n, double low = -1, double high = 1);
// Every element within bound * max |want|.
void expect_close(const Doubles &want, const Doubles &got, double bound = T1);

// A graph with one input and one output of interest.
class Net64
{
  public:
    Net64();
    ~Net64();
    Net64(const Net64 &) = delete;
    rf_value input(Dims dims);
    rf_value constant(const std::string &name, Dims dims, double low = -1, double high = 1);
    rf_value constant(const std::string &name, Dims dims, const Doubles &values);
    rf_value add(const char *op, const std::string &name, std::vector<rf_value> in,
                 std::vector<rf_attr> attrs = {});
    rf_value conv(const std::string &name, rf_value x, Dims weight,
                  std::vector<rf_attr> attrs = {});
    // Variances over twelve decades, scales of both signs.
    rf_value norm(const std::string &name, rf_value x, int64_t channels,
                  std::vector<rf_attr> attrs = {});
    rf_value sum(const std::string &name, rf_value a, rf_value b);
    rf_value relu(const std::string &name, rf_value x);
    void output(rf_value v, const char *name = "y");

    // Runs it with its values stored as f64 or f32.
    Doubles run(rf_dtype storage = RF_F64);
    // Folds, compares with the result before, returns the ops that are left.
    std::string fold();
    // Folds without comparing: the error's text, "" if there was none.
    std::string refused();
    std::string ops() const;

    rf_graph *g = nullptr;
    rf_fold_audit audit = {};
    rf_error err = {};

  private:
    Dims x_dims_;
};

class Checkpoint64
{
  public:
    Checkpoint64();
    ~Checkpoint64();
    Checkpoint64(const Checkpoint64 &) = delete;
    void put(const std::string &name, Dims dims, double low = -1, double high = 1);
    void put(const std::string &name, Dims dims, const Doubles &values);
    // `count` keys that share one storage.
    void put_tied(const std::vector<std::string> &names, Dims dims);
    void remove(const std::string &name);
    // The ten tensors of a DEConv of c channels, or the branches of a RepVGG block.
    void put_deconv(const std::string &stem, int64_t c);
    void put_norm(const std::string &stem, int64_t c);
    void put_repvgg(const std::string &stem, int64_t out, int64_t in, bool identity);
    // Elements of a tensor; fails the test if it is not there.
    Doubles get(const std::string &name) const;
    Dims dims(const std::string &name) const;
    bool has(const std::string &name) const;
    std::vector<std::string> names() const;
    // Folds: the error's text, "" if there was none.
    std::string fold(bool fold = true);

    rf_env *env = nullptr;
    rf_checkpoint *ckpt = nullptr;
    rf_fold_audit audit = {};
    rf_error err = {};
};
// "<stem>.conv1.conv1_3.conv.weight"
std::string deconv_key(const std::string &stem, int branch, const char *what);

} // namespace folds
#endif
