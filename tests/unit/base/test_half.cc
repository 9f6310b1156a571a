// SPDX-License-Identifier: Apache-2.0
//
// Half conversions against arithmetic that shares nothing with them: values from their definition,
// nearest neighbours found by comparing distances.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>

#include <gtest/gtest.h>

#include "runtime/base/half.h"

namespace
{

struct Format {
    int exponent_bits, mantissa_bits;
    float (*widen)(uint16_t);
    uint16_t (*narrow)(float);
    uint16_t (*narrow_double)(double);

    bool is_nan(uint16_t h) const
    {
        int m = mantissa_bits;
        return (h >> m & ((1 << exponent_bits) - 1)) == (1 << exponent_bits) - 1 &&
               h & ((1 << m) - 1);
    }
    // From the definition: sign * mantissa * 2^exponent; infinity stands for the next power of two.
    double value(uint16_t h) const
    {
        int bias = (1 << (exponent_bits - 1)) - 1, man = h & ((1 << mantissa_bits) - 1);
        int exp = h >> mantissa_bits & ((1 << exponent_bits) - 1);
        double v = exp ? std::ldexp(man | 1 << mantissa_bits, exp - bias - mantissa_bits)
                       : std::ldexp(man, 1 - bias - mantissa_bits);
        return h & 0x8000 ? -v : v;
    }
    uint16_t infinity() const { return (uint16_t)(((1 << exponent_bits) - 1) << mantissa_bits); }
    // Nearest by search over all positive values, ties to even.
    uint16_t nearest(double f) const
    {
        double a = std::fabs(f);
        int low = 0, high = infinity();
        while (low < high) { // last value <= a
            int mid = (low + high + 1) / 2;
            if (value((uint16_t)mid) <= a)
                low = mid;
            else
                high = mid - 1;
        }
        if (low < infinity()) {
            double below = a - value((uint16_t)low), above = value((uint16_t)(low + 1)) - a;
            low += above < below || (above == below && low % 2);
        }
        return (uint16_t)(low | (std::signbit(f) ? 0x8000 : 0));
    }
};

const Format f16 = {5, 10, rf_f16_to_f32, rf_f32_to_f16, rf_f64_to_f16};
const Format bf16 = {8, 7, rf_bf16_to_f32, rf_f32_to_bf16, rf_f64_to_bf16};

uint32_t bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

void check_all_values(const Format &format)
{
    for (uint32_t i = 0; i < 65536; i++) {
        uint16_t h = (uint16_t)i;
        float f = format.widen(h);
        if (format.is_nan(h)) {
            ASSERT_TRUE(std::isnan(f)) << i;
            ASSERT_TRUE(format.is_nan(format.narrow(f))) << i;
            continue;
        }
        if ((h & 0x7fff) == format.infinity())
            ASSERT_TRUE(std::isinf(f)) << i;
        else
            ASSERT_EQ((double)f, format.value(h)) << i;
        ASSERT_EQ(std::signbit(f), h >> 15) << i;
        ASSERT_EQ(format.narrow(f), h) << i << ": a round trip changes nothing";
    }
}

// The borders between neighbours are where rounding goes wrong: the middle and its two neighbours.
void check_all_borders(const Format &format)
{
    for (uint32_t h = 0; h < format.infinity(); h++) {
        double middle = (format.value((uint16_t)h) + format.value((uint16_t)(h + 1))) / 2;
        float m = (float)middle;
        for (float f : {m, std::nextafter(m, 0.0f), std::nextafter(m, INFINITY), -m})
            ASSERT_EQ(format.narrow(f), format.nearest(f)) << h << " " << f;
        // A float on the way would lose these distances from the middle.
        for (double d : {middle, std::nextafter(middle, 0.0), std::nextafter(middle, INFINITY)})
            for (double v : {d, -d})
                ASSERT_EQ(format.narrow_double(v), format.nearest(v)) << h << " " << v;
    }
}

TEST(Half, F16WidensExactlyForAllValues)
{
    check_all_values(f16);
}

TEST(Half, Bf16WidensExactlyForAllValues)
{
    check_all_values(bf16);
}

TEST(Half, F16RoundsToNearestEvenAtEveryBorder)
{
    check_all_borders(f16);
}

TEST(Half, Bf16RoundsToNearestEvenAtEveryBorder)
{
    check_all_borders(bf16);
}

TEST(Half, RoundsRandomFloatsToTheNearest)
{
    std::mt19937 random(1);
    for (int i = 0; i < 200000; i++) {
        uint32_t u = random();
        float f;
        memcpy(&f, &u, 4);
        if (std::isnan(f)) {
            EXPECT_TRUE(f16.is_nan(rf_f32_to_f16(f)));
            EXPECT_TRUE(bf16.is_nan(rf_f32_to_bf16(f)));
        } else {
            ASSERT_EQ(rf_f32_to_f16(f), f16.nearest(f)) << f;
            ASSERT_EQ(rf_f32_to_bf16(f), bf16.nearest(f)) << f;
        }
    }
}

TEST(Half, RoundsDoublesOutsideOfTheFloatsToo)
{
    for (const Format &format : {f16, bf16}) {
        EXPECT_EQ(format.narrow_double(1e300), format.infinity());
        EXPECT_EQ(format.narrow_double(-1e300), format.infinity() | 0x8000);
        EXPECT_EQ(format.narrow_double(1e-300), 0);
        EXPECT_EQ(format.narrow_double(-1e-300), 0x8000);
        EXPECT_TRUE(format.is_nan(format.narrow_double(NAN)));
    }
}

TEST(Half, KeepsTheSignOfZeroAndOfInfinity)
{
    EXPECT_EQ(bits(rf_f16_to_f32(rf_f32_to_f16(-0.0f))), 0x80000000u);
    EXPECT_EQ(bits(rf_bf16_to_f32(rf_f32_to_bf16(-0.0f))), 0x80000000u);
    EXPECT_EQ(rf_f16_to_f32(rf_f32_to_f16(-INFINITY)), -INFINITY);
    EXPECT_EQ(rf_bf16_to_f32(rf_f32_to_bf16(-INFINITY)), -INFINITY);
}

} // namespace
