// SPDX-License-Identifier: Apache-2.0
#include "tests/ops/tolerance.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

namespace ops
{
namespace
{

struct Format {
    int digits; // of the significand, with the hidden one
    int least;  // exponent of the smallest normal number
    double largest;
};

Format format_of(rf_dtype dtype)
{
    switch (dtype) {
    case RF_F16:
        return {11, -14, 65504};
    case RF_BF16:
        return {8, -126, 3.3895313892515355e38};
    case RF_F32:
        return {24, -126, 3.4028234663852886e38};
    default:
        return {53, -1022, 1.7976931348623157e308};
    }
}

// Distance between neighbouring numbers of the dtype at x.
double ulp(rf_dtype dtype, double x)
{
    Format f = format_of(dtype);
    int exponent = x == 0 || !std::isfinite(x) ? f.least : std::max(std::ilogb(x), f.least);
    return std::ldexp(1.0, exponent - f.digits + 1);
}

std::string describe(size_t i, double got, double want, double bound)
{
    char text[160];
    std::snprintf(text, sizeof text, "element %zu: expected %.9g +- %.3g, found %.9g", i, want,
                  bound, got);
    return text;
}

// NaN wants NaN, infinity wants itself; a value at the edge of the range may round to infinity.
bool same_special(rf_dtype dtype, double got, double want, bool *decided)
{
    *decided = true;
    if (std::isnan(want) || std::isnan(got))
        return std::isnan(want) && std::isnan(got);
    double largest = format_of(dtype).largest;
    if (std::fabs(want) >= largest)
        return std::signbit(got) == std::signbit(want) && std::fabs(got) >= largest * 0.999;
    if (std::isinf(got))
        return false;
    *decided = false;
    return false;
}

} // namespace

const std::vector<Exception> &exceptions()
{
    static const std::vector<Exception> rows = {
#define RF_EXCEPTION(kernel, OP, DTYPE, bound, reason)                                             \
    {kernel, RF_OP_##OP, RF_##DTYPE, bound, reason},
#include "tests/ops/exceptions.def"
#undef RF_EXCEPTION
    };
    return rows;
}

static double largest_sum(const Sums &sums)
{
    return std::max(sums.peak, sums.spread);
}

double sum_bound(rf_dtype dtype, const Sums &sums, double largest)
{
    double r = std::ldexp(1.0, -format_of(dtype).digits);
    switch (dtype) {
    case RF_BF16:
        return sums.spread > 0 ? 2 * r * largest + 4 * r * sums.spread : 1.6e-2 * largest;
    case RF_F16:
        return sums.spread > 0 ? 2 * r * largest + 4 * r * sums.spread : 2e-3 * largest;
    case RF_F32:
        return 2e-6 * std::max(1.0, std::sqrt((double)sums.products / 1024)) * largest_sum(sums);
    default:
        return 1e-13 * largest_sum(sums);
    }
}

static std::string compare_elementwise(rf_dtype dtype, const std::vector<double> &got,
                                       const std::vector<double> &want, double *worst)
{
    for (size_t i = 0; i < want.size(); i++) {
        bool decided;
        if (same_special(dtype, got[i], want[i], &decided))
            continue;
        double bound = dtype == RF_F64 ? 4 * ulp(dtype, want[i]) : 2e-6 + 2e-6 * std::fabs(want[i]);
        if (dtype == RF_BF16 || dtype == RF_F16)
            bound += ulp(dtype, want[i]);
        double error = std::fabs(got[i] - want[i]);
        if (decided || !(error <= bound))
            return describe(i, got[i], want[i], bound);
        *worst = std::max(*worst, error / bound);
    }
    return "";
}

static std::string compare_sums(rf_op op, const char *kernel, rf_dtype dtype, const Sums &sums,
                                const std::vector<double> &got, const std::vector<double> &want,
                                double *worst)
{
    double largest = 0, squares = 0, errors = 0;
    for (double v : want)
        if (std::isfinite(v)) {
            largest = std::max(largest, std::fabs(v));
            squares += v * v;
        }
    double bound = sum_bound(dtype, sums, largest), allowed = bound;
    for (const Exception &e : exceptions())
        if (e.op == op && e.dtype == dtype && !std::strcmp(e.kernel, kernel))
            allowed = std::max(allowed, e.bound * largest_sum(sums));
    for (size_t i = 0; i < want.size(); i++) {
        bool decided;
        if (same_special(dtype, got[i], want[i], &decided))
            continue;
        double error = std::fabs(got[i] - want[i]);
        if (decided || !(error <= allowed))
            return describe(i, got[i], want[i], allowed);
        errors += error * error;
        if (bound > 0)
            *worst = std::max(*worst, error / bound);
    }
    if (squares > 0 && errors > 1e-4 * squares)
        return "normalised mean squared error above 1e-4: " + std::to_string(errors / squares);
    return "";
}

std::string compare(rf_op op, const char *kernel, rf_dtype dtype, const Sums &sums,
                    const std::vector<double> &got, const std::vector<double> &want, double *worst)
{
    double ignored = 0;
    if (!worst)
        worst = &ignored;
    return rf_op_get(op)->tolerance == RF_TOL_ULP
               ? compare_elementwise(dtype, got, want, worst)
               : compare_sums(op, kernel, dtype, sums, got, want, worst);
}

} // namespace ops
