// SPDX-License-Identifier: Apache-2.0
//
// How far a result may be from the oracle: by the op's class and the output's dtype. A looser bound
// for one kernel is a row of exceptions.def, with its reason.
#ifndef RF_TESTS_OPS_TOLERANCE_H
#define RF_TESTS_OPS_TOLERANCE_H

#include <string>
#include <vector>

#include "runtime/core/op.h"

namespace ops
{

struct Exception {
    const char *kernel;
    rf_op op;
    rf_dtype dtype;
    double bound; // of the normalised maximum error
    const char *reason;
};
const std::vector<Exception> &exceptions();

// Bound of the normalised maximum error of a sum of `terms` products, stored as dtype: f32 sums
// drift with the square root of their length.
double reduce_bound(rf_dtype dtype, int64_t terms);

// Compares row-major elements. Returns "" or the first element that is wrong; *worst is raised to
// the largest error as a multiple of the bound without exceptions.
std::string compare(rf_op op, const char *kernel, rf_dtype dtype, int64_t terms,
                    const std::vector<double> &got, const std::vector<double> &want, double *worst);

} // namespace ops
#endif
