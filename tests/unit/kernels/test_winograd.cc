// SPDX-License-Identifier: Apache-2.0
//
// Winograd's filters between bf16 maps are kept in f16 with a power of two beside them. That must
// hold for weights of any size: at 1e-40 the power's inverse is no float, at 1e38 the filters are
// larger than f16 by far.
#include <cmath>

#include "tests/unit/kernels/node.h"

namespace
{

using rft::Buffer;
using rft::NHWC;
using rft::Node;

// y of a 3x3 convolution of 32 channels with weights of this size, its inputs such that |y| is
// about 1; the largest error against a float64 sum, relative to the largest |y|.
double worst_error(const rf_kernel *kernel, float weight, rf_dtype weight_dtype)
{
    const int64_t c = 32, h = 12, w = 40;
    Buffer x(RF_BF16, {1, c, h, w}, NHWC), filters(weight_dtype, {c, c, 3, 3}),
        y(RF_BF16, {1, c, h, w}, NHWC);
    x.fill(1, 0.1f / weight < 1e35f ? 0.1f / weight : 1e35f);
    filters.fill(2, weight);
    Node node(RF_OP_CONV2D);
    node.in(&x).in(&filters).out(&y);
    for (auto &pad : node.attrs.conv2d.pad)
        pad = 1;
    rft::run_kernel(kernel, node);
    double worst = 0, most = 0;
    for (int64_t i = 0; i < y.size(); i++) {
        const int64_t o = i % c, col = i / c % w, row = i / c / w;
        double sum = 0;
        for (int64_t k = 0; k < c * 9; k++) {
            const int64_t ch = k / 9, py = row + k % 9 / 3 - 1, px = col + k % 3 - 1;
            if (py >= 0 && py < h && px >= 0 && px < w)
                sum += (double)x.get((py * w + px) * c + ch) * (double)filters.get(o * c * 9 + k);
        }
        const double error = std::fabs(sum - (double)y.get(i));
        worst = error <= worst ? worst : std::isnan(error) ? INFINITY : error;
        most = std::fmax(most, std::fabs(sum));
    }
    EXPECT_GT(most, 0);
    return worst / most;
}

class Winograd : public testing::TestWithParam<const char *>
{
};

TEST_P(Winograd, KeepsFiltersOfAnySizeBetweenBf16Maps)
{
    const rf_kernel *kernel = rft::find_kernel(GetParam(), RF_OP_CONV2D, "winograd4x4");
    if (!kernel)
        GTEST_SKIP() << "this machine has no " << GetParam();
    for (float weight : {1e-2f, 1.0f, 1e4f, 1e37f, 3e-36f, 1e-38f, 1e-40f})
        for (rf_dtype dtype : {RF_F32, RF_BF16})
            EXPECT_LE(worst_error(kernel, weight, dtype), 0.012) << weight;
}

INSTANTIATE_TEST_SUITE_P(Isa, Winograd, testing::Values("baseline", "avx2", "avx512"));

} // namespace
