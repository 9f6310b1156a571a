// SPDX-License-Identifier: Apache-2.0
#include <cstddef>

#include <gtest/gtest.h>
#include <refold/refold.h>

namespace
{

// The layout that DLPack's header gives its DLTensor on every 64-bit machine.
TEST(Dlpack, HasTheLayoutOfDLTensor)
{
    EXPECT_EQ(offsetof(rf_dl_tensor, data), 0u);
    EXPECT_EQ(offsetof(rf_dl_tensor, device_type), 8u);
    EXPECT_EQ(offsetof(rf_dl_tensor, device_id), 12u);
    EXPECT_EQ(offsetof(rf_dl_tensor, ndim), 16u);
    EXPECT_EQ(offsetof(rf_dl_tensor, dtype_code), 20u);
    EXPECT_EQ(offsetof(rf_dl_tensor, dtype_bits), 21u);
    EXPECT_EQ(offsetof(rf_dl_tensor, dtype_lanes), 22u);
    EXPECT_EQ(offsetof(rf_dl_tensor, shape), 24u);
    EXPECT_EQ(offsetof(rf_dl_tensor, strides), 32u);
    EXPECT_EQ(offsetof(rf_dl_tensor, byte_offset), 40u);
    EXPECT_EQ(sizeof(rf_dl_tensor), 48u);
}

TEST(Dlpack, ComesBackAsItWentForEveryDtype)
{
    for (int d = 0; d < RF_DTYPE_COUNT; d++) {
        const int64_t dims[] = {2, 3, 5};
        char data[1];
        rf_tensor t, back;
        rf_error err;
        ASSERT_EQ(rf_tensor_init(&t, (rf_dtype)d, 3, dims, data, &err), RF_OK) << err.text;
        std::swap(t.strides[0], t.strides[2]);
        rf_dl_tensor dl;
        rf_tensor_to_dlpack(&t, 2, 1, &dl);
        EXPECT_EQ(dl.device_type, 2);
        EXPECT_EQ(dl.device_id, 1);
        ASSERT_EQ(rf_tensor_from_dlpack(&back, &dl, &err), RF_OK) << err.text;
        EXPECT_EQ(back.dtype, t.dtype);
        EXPECT_EQ(back.data, t.data);
        for (int i = 0; i < 3; i++) {
            EXPECT_EQ(back.dims[i], t.dims[i]);
            EXPECT_EQ(back.strides[i], t.strides[i]);
        }
    }
}

TEST(Dlpack, TakesRowMajorStridesAndAnOffset)
{
    float data[8];
    int64_t shape[] = {2, 3};
    rf_dl_tensor dl = {data, 1, 0, 2, 2, 32, 1, shape, nullptr, 8};
    rf_tensor t;
    ASSERT_EQ(rf_tensor_from_dlpack(&t, &dl, nullptr), RF_OK);
    EXPECT_EQ(t.data, data + 2);
    EXPECT_EQ(t.strides[0], 3);
    EXPECT_EQ(t.strides[1], 1);
}

TEST(Dlpack, RefusesWhatATensorCannotBe)
{
    float data[8];
    int64_t shape[9] = {2, 3}, strides[] = {3, -1};
    rf_dl_tensor good = {data, 1, 0, 2, 2, 32, 1, shape, strides, 0};
    rf_tensor t;
    rf_error err;
    EXPECT_EQ(rf_tensor_from_dlpack(&t, &good, &err), RF_ERR_UNSUPPORTED);
    EXPECT_NE(std::string(err.text).find("stride -1 in dim 1"), std::string::npos) << err.text;
    good.strides = nullptr;
    rf_dl_tensor bad = good;
    bad.dtype_lanes = 4;
    EXPECT_EQ(rf_tensor_from_dlpack(&t, &bad, &err), RF_ERR_UNSUPPORTED);
    bad = good;
    bad.dtype_code = 5; // complex
    bad.dtype_bits = 64;
    EXPECT_EQ(rf_tensor_from_dlpack(&t, &bad, &err), RF_ERR_UNSUPPORTED);
    bad = good;
    bad.ndim = 9;
    EXPECT_EQ(rf_tensor_from_dlpack(&t, &bad, &err), RF_ERR_ARGUMENT);
    shape[0] = -1;
    EXPECT_EQ(rf_tensor_from_dlpack(&t, &good, &err), RF_ERR_ARGUMENT);
}

} // namespace
