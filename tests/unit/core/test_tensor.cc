// SPDX-License-Identifier: Apache-2.0
//
// Tensor views: size checks, contiguity, packing of strided elements.
#include <cmath>
#include <cstring>
#include <numeric>

#include <gtest/gtest.h>

#include "runtime/base/half.h"
#include "runtime/core/strided.h"

namespace
{

rf_tensor shape(std::vector<int64_t> dims, rf_dtype dtype = RF_F32)
{
    rf_tensor t;
    rf_error err;
    EXPECT_EQ(rf_tensor_init(&t, dtype, (int)dims.size(), dims.data(), nullptr, &err), RF_OK)
        << err.text;
    return t;
}

TEST(Tensor, InitIsRowMajor)
{
    rf_tensor t = shape({2, 3, 5}, RF_F64);
    EXPECT_EQ(t.strides[0], 15);
    EXPECT_EQ(t.strides[1], 5);
    EXPECT_EQ(t.strides[2], 1);
    EXPECT_EQ(rf_tensor_elements(&t), 30);
    EXPECT_EQ(rf_tensor_bytes(&t), 240u);
    EXPECT_TRUE(rf_tensor_is_contiguous(&t));
}

TEST(Tensor, RankZeroIsOneElementAndADimOfZeroIsNone)
{
    rf_tensor scalar = shape({}), none = shape({3, 0, 7});
    EXPECT_EQ(rf_tensor_elements(&scalar), 1);
    EXPECT_EQ(rf_tensor_elements(&none), 0);
    EXPECT_EQ(rf_tensor_bytes(&none), 0u);
    EXPECT_TRUE(rf_tensor_is_contiguous(&none));
}

// PyTorch files may hold any stride there, and hostile ones do.
TEST(Tensor, PackIgnoresStridesOfSizeOneHoweverLarge)
{
    float from[8] = {0, 1, 2, 3, 4, 5, 6, 7}, to[8];
    rf_tensor t = shape({2, 1, 2, 2});
    t.data = from;
    const int64_t strides[] = {4, INT64_MAX, 1, 2};
    std::copy(strides, strides + 4, t.strides);
    rf_tensor_pack(&t, to);
    EXPECT_EQ(std::vector<float>(to, to + 8), (std::vector<float>{0, 2, 1, 3, 4, 6, 5, 7}));
}

TEST(Tensor, RefusesWhatCannotBe)
{
    rf_tensor t;
    rf_error err;
    int64_t negative[] = {2, -1}, huge[] = {INT64_MAX / 2, 3}, hidden[] = {INT64_MAX, 0, INT64_MAX};
    int64_t ones[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    EXPECT_EQ(rf_tensor_init(&t, RF_F32, 2, negative, nullptr, &err), RF_ERR_ARGUMENT);
    EXPECT_NE(strstr(err.text, "dim 1 is -1"), nullptr) << err.text;
    EXPECT_EQ(rf_tensor_init(&t, RF_F32, 2, huge, nullptr, &err), RF_ERR_ARGUMENT);
    EXPECT_EQ(rf_tensor_init(&t, RF_F32, 1, huge, nullptr, &err), RF_ERR_ARGUMENT);
    EXPECT_EQ(rf_tensor_init(&t, RF_U8, 1, huge, nullptr, &err), RF_OK);
    EXPECT_EQ(rf_tensor_init(&t, RF_F32, 3, hidden, nullptr, &err), RF_ERR_ARGUMENT);
    EXPECT_EQ(rf_tensor_init(&t, RF_F32, 9, ones, nullptr, &err), RF_ERR_ARGUMENT);
    EXPECT_EQ(rf_tensor_init(&t, RF_F32, -1, ones, nullptr, &err), RF_ERR_ARGUMENT);
    EXPECT_EQ(rf_tensor_init(&t, RF_DTYPE_COUNT, 1, ones, nullptr, &err), RF_ERR_ARGUMENT);
}

TEST(Tensor, ContiguityIgnoresStridesOfSizeOne)
{
    rf_tensor t = shape({4, 1, 6});
    t.strides[1] = 999;
    EXPECT_TRUE(rf_tensor_is_contiguous(&t));
    t.strides[0] = 7;
    EXPECT_FALSE(rf_tensor_is_contiguous(&t));
}

TEST(Tensor, CheckFindsBadStridesAndMissingData)
{
    rf_error err;
    rf_tensor t = shape({4, 5});
    EXPECT_EQ(rf_tensor_check(nullptr, "x", &err), RF_ERR_ARGUMENT);
    EXPECT_EQ(rf_tensor_check(&t, "input 'x'", &err), RF_ERR_ARGUMENT);
    EXPECT_NE(strstr(err.text, "input 'x': data is NULL, expected 80 bytes"), nullptr) << err.text;
    float data[20];
    t.data = data;
    EXPECT_EQ(rf_tensor_check(&t, "x", &err), RF_OK);
    t.strides[1] = -1;
    EXPECT_EQ(rf_tensor_check(&t, "x", &err), RF_ERR_ARGUMENT);
    t.strides[1] = INT64_MAX / 2;
    EXPECT_EQ(rf_tensor_check(&t, "x", &err), RF_ERR_ARGUMENT);
}

TEST(Tensor, PacksAnyStrides)
{
    std::vector<float> data(2 * 3 * 4 * 5);
    std::iota(data.begin(), data.end(), 0.f);
    rf_tensor t = shape({5, 3, 2}); // transposed view of (2,3,4,5) at index 1 of dim 2
    t.data = data.data() + 5;
    t.strides[0] = 1;
    t.strides[1] = 20;
    t.strides[2] = 60;
    std::vector<float> packed(30);
    std::vector<double> wide(30);
    rf_tensor_pack(&t, packed.data());
    rf_tensor_pack_f64(&t, wide.data());
    for (int i = 0, n = 0; i < 5; i++)
        for (int j = 0; j < 3; j++)
            for (int k = 0; k < 2; k++, n++) {
                EXPECT_EQ(packed[(size_t)n], (float)(5 + i + 20 * j + 60 * k));
                EXPECT_EQ(wide[(size_t)n], packed[(size_t)n]);
            }
}

TEST(Tensor, PacksRepeatedElementsAndNothing)
{
    uint16_t one = rf_f32_to_f16(1.5f);
    rf_tensor t = shape({3, 2}, RF_F16), none = shape({0, 4});
    t.data = &one;
    t.strides[0] = t.strides[1] = 0;
    double wide[6] = {};
    rf_tensor_pack_f64(&t, wide);
    for (double w : wide)
        EXPECT_EQ(w, 1.5);
    rf_tensor_pack(&none, nullptr);
}

TEST(Tensor, WidensEveryDtype)
{
    union {
        float f32;
        double f64;
        uint16_t u16;
        int8_t i8;
        uint8_t u8;
        int16_t i16;
        int32_t i32;
        uint32_t u32;
        int64_t i64;
        uint64_t u64;
    } x;
    auto widen = [&](rf_dtype dtype) {
        rf_tensor t = shape({1}, dtype);
        double d = NAN;
        t.data = &x;
        rf_tensor_pack_f64(&t, &d);
        return d;
    };
    x.f32 = -1.25f;
    EXPECT_EQ(widen(RF_F32), -1.25);
    x.f64 = 1e300;
    EXPECT_EQ(widen(RF_F64), 1e300);
    x.u16 = rf_f32_to_f16(-3.5f);
    EXPECT_EQ(widen(RF_F16), -3.5);
    x.u16 = rf_f32_to_bf16(-3.5f);
    EXPECT_EQ(widen(RF_BF16), -3.5);
    x.i8 = -5;
    EXPECT_EQ(widen(RF_I8), -5);
    x.u8 = 250;
    EXPECT_EQ(widen(RF_U8), 250);
    EXPECT_EQ(widen(RF_BOOL), 1);
    x.i16 = -30000;
    EXPECT_EQ(widen(RF_I16), -30000);
    x.u16 = 60000;
    EXPECT_EQ(widen(RF_U16), 60000);
    x.i32 = INT32_MIN;
    EXPECT_EQ(widen(RF_I32), INT32_MIN);
    x.u32 = UINT32_MAX;
    EXPECT_EQ(widen(RF_U32), UINT32_MAX);
    x.i64 = -(1ll << 40);
    EXPECT_EQ(widen(RF_I64), -(double)(1ll << 40));
    x.u64 = 1ull << 63;
    EXPECT_EQ(widen(RF_U64), 9223372036854775808.0);
}

TEST(Tensor, WritesDimsForMessages)
{
    char text[32];
    rf_tensor t = shape({1, 3, 7, 9});
    t.dims[2] = -1;
    EXPECT_STREQ(rf_tensor_dims_text(&t, text, sizeof text), "(1,3,?,9)");
    rf_tensor scalar = shape({});
    EXPECT_STREQ(rf_tensor_dims_text(&scalar, text, sizeof text), "()");
    EXPECT_EQ(strlen(rf_tensor_dims_text(&t, text, 5)), 4u);
}

} // namespace
