// SPDX-License-Identifier: Apache-2.0
//
// An op case is a line of data (cases/*.def); a variant fixes what the planner decides for a node:
// dtypes and layouts.
#ifndef RF_TESTS_OPS_CASE_H
#define RF_TESTS_OPS_CASE_H

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/core/op.h"

namespace ops
{

bool is_float(rf_dtype t);

// inputs: tokens separated by spaces, "-" for an absent one: dims "2x3x4" ("s": rank 0), then any
// of
//   *       a constant (weights)
//   ~       statistics: f32 and planar even where data is half and NHWC
//   :dtype  this dtype in every variant
//   @fill   pos (0.1 to 2), neg (-2 to -0.1), huge (1e5 to 2e6), wide (-20 to 20), special (NaN,
//           infinities, denormals, huge), idxN (-N to N-1); otherwise -1 to 1, integers -100 to 100
// attrs: key=value separated by spaces; outputs=N for ops with a variable number.
struct Case {
    rf_op op;
    const char *name, *inputs, *attrs;
    std::string full_name() const; // conv2d_3x3_c32
};
const std::vector<Case> &all_cases();

// One input of a case.
struct Token {
    bool absent = false, constant = false, statistics = false, fixed = false;
    rf_dtype dtype = RF_F32;
    std::string fill;
    int rank = 0;
    int64_t dims[RF_MAX_RANK] = {};
};
std::vector<Token> parse_inputs(const Case &c);
// Parses "key=value ..." into attributes; returns the message of a failure.
std::string parse_attrs(rf_op op, const std::string &text, rf_attrs *attrs, int *n_out);

enum class Layout { plain, nhwc, view };
struct Variant {
    rf_dtype in, out, weights;
    Layout in_layout, out_layout;
    std::string text() const;
};
// Who is asked: the reference gets every float dtype and layout, the others what a plan may give
// them.
enum class Audience { reference, cpu, device };
std::vector<Variant> variants_of(const Case &c, Audience audience);

} // namespace ops
#endif
