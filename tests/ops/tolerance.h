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
    double bound; // of the error, as a part of the largest sum (Sums)
    const char *reason;
};
const std::vector<Exception> &exceptions();

// How large the sums are that an output was made of: errors are relative to them, not to what an
// activation leaves of them.
struct Sums {
    int64_t products; // in the sum of one element
    double peak;      // largest |sum| of all elements, before the activation
    double spread;    // largest sqrt(sum of squared products); 0: not a sum of products
};

// How far an element may be from the oracle; `largest` is the largest |result|.
//
// f32: the partial sums of K products of random signs grow like spread * sqrt(k / K), those of one
// sign like peak * k / K. Each addition rounds by at most u = 2^-24 of the partial sum it makes,
// and these errors add up like a random walk (Higham and Mary, SIAM J. Sci. Comput. 41, 2019): in
// all about u * sqrt(K / 2) * max(peak, spread), whatever cancels at the end. An activation's slope
// is at most 1.5. Together that is 2e-6 (T2) at K = 1024; longer sums get sqrt(K / 1024) of it.
//
// f16, bf16 with unit roundoff r: the result is rounded once (2r instead of r: it may round the
// other way where the f32 sum is near a tie), and a kernel may round constant weights, which moves
// the sum by a random walk of K steps, r / sqrt(3) of each product: 4r * spread is six deviations.
// Where there is no sum of products, T3 of the largest result.
double sum_bound(rf_dtype dtype, const Sums &sums, double largest);

// Compares row-major elements. Returns "" or the first element that is wrong; *worst is raised to
// the largest error as a multiple of the bound without exceptions. `sums` is for ops of class
// REDUCE.
std::string compare(rf_op op, const char *kernel, rf_dtype dtype, const Sums &sums,
                    const std::vector<double> &got, const std::vector<double> &want, double *worst);

} // namespace ops
#endif
