// SPDX-License-Identifier: Apache-2.0
//
// What the case list cannot say about copies on a device: every pair of dtypes with hard values,
// and indices that are out of range.
#include <cmath>
#include <cstring>
#include <memory>
#include <random>

#include <gtest/gtest.h>

#include "kernels/cuda/cuda.h"
#include "tests/ops/device.h"

namespace
{

// One node on the device and on the reference.
class CudaMovement : public testing::Test
{
  protected:
    void SetUp() override
    {
        ASSERT_EQ(rf_env_create(nullptr, &env_, &err_), RF_OK) << err_.text;
        if (device_.open(&rf_backend_cuda, env_, &err_) != RF_OK)
            GTEST_SKIP() << err_.text;
    }
    void TearDown() override
    {
        device_.close();
        rf_env_release(&env_);
    }

    rf_kernel_call call_of(rf_op op, const std::vector<ops::Buffer *> &in, ops::Buffer *out)
    {
        rf_kernel_call call = {};
        call.args.op = op;
        call.args.attrs = &attrs_;
        call.args.n_in = (int32_t)in.size();
        call.args.n_out = 1;
        for (size_t i = 0; i < in.size(); i++)
            call.args.in[i] = &in[i]->tensor;
        call.args.out[0] = &out->tensor;
        call.n_threads = 1;
        return call;
    }

    std::string on_device(rf_op op, const std::vector<ops::Buffer *> &in, ops::Buffer *out)
    {
        rf_kernel_call call = call_of(op, in, out);
        rf_kernel_desc desc = {};
        desc.args = call.args;
        const rf_kernel *kernel = rf_backend_choose(&rf_backend_cuda, &desc);
        if (!kernel)
            return "no row takes it";
        rf_tensor none = {};
        none.dtype = RF_U8;
        none.rank = 1;
        ops::Buffer scratch(none, false);
        return device_.run(*kernel, &call, in, std::vector<bool>(in.size()), {out}, &scratch,
                           &err_);
    }

    std::string on_reference(rf_op op, const std::vector<ops::Buffer *> &in, ops::Buffer *out)
    {
        size_t n;
        const rf_kernel *const *rows = rf_backend_ref.kernels(&n);
        rf_kernel_call call = call_of(op, in, out);
        return rows[op]->run(&call, &err_) == RF_OK ? "" : err_.text;
    }

    rf_attrs attrs_ = {};
    rf_env *env_ = nullptr;
    rf_error err_ = {};
    ops::OpenDevice device_;
};

rf_tensor tensor_of(rf_dtype dtype, std::vector<int64_t> dims)
{
    rf_tensor t = {};
    t.dtype = dtype;
    t.rank = (int32_t)dims.size();
    std::copy(dims.begin(), dims.end(), t.dims);
    rf_tensor_set_contiguous(&t);
    return t;
}

// Any bits, then numbers at the edges of the dtypes.
void fill_hard(ops::Buffer *b)
{
    std::mt19937_64 random(b->tensor.dtype);
    int64_t n = rf_tensor_elements(&b->tensor);
    size_t item = rf_dtype_bytes(b->tensor.dtype);
    for (int64_t i = 0; i < n; i++) {
        uint64_t bits = random();
        std::memcpy((char *)b->tensor.data + (size_t)i * item, &bits, item);
    }
    static const double edges[] = {0,  7,  8,   15,  16,  31,  32,   53, 62,
                                   63, 64, 127, -14, -24, -25, -126, -1, -149};
    int64_t at = 0;
    if (b->tensor.dtype > RF_BF16)
        return;
    for (double e : edges)
        for (double off : {-1.0, -0.5, 0.0, 0.25, 1.0})
            for (double sign : {1.0, -1.0})
                ops::put(b->tensor, at++, sign * (std::ldexp(1.0, (int)e) + off));
    for (double v : {65504.0, 65519.99, 65520.0, 2049.0, 2051.0, 1 + 0x1p-11, 1 + 0x1p-11 + 0x1p-40,
                     1 + 0x1p-8 + 0x1p-40, 3e38, (double)INFINITY, -(double)INFINITY, (double)NAN})
        ops::put(b->tensor, at++, v);
    ASSERT_LT(at, n);
}

TEST_F(CudaMovement, CastsEveryPairOfDtypesLikeTheReference)
{
    for (int from = 0; from < RF_DTYPE_COUNT; from++)
        for (int to = 0; to < RF_DTYPE_COUNT; to++) {
            attrs_.cast.to = (rf_dtype)to;
            ops::Buffer x(tensor_of((rf_dtype)from, {8, 128}), false);
            fill_hard(&x);
            rf_tensor y_desc = tensor_of((rf_dtype)to, {8, 128}), view = y_desc;
            view.strides[0] = 131;
            for (const rf_tensor &desc : {y_desc, view}) {
                ops::Buffer got(desc, false), want(desc, false);
                ASSERT_EQ(on_device(RF_OP_CAST, {&x}, &got), "");
                ASSERT_EQ(on_reference(RF_OP_CAST, {&x}, &want), "");
                EXPECT_EQ(got.bytes().size(), want.bytes().size());
                EXPECT_EQ(
                    std::memcmp(got.tensor.data, want.tensor.data,
                                (size_t)(7 * desc.strides[0] + 128) * rf_dtype_bytes(desc.dtype)),
                    0)
                    << rf_dtype_name((rf_dtype)from) << " to " << rf_dtype_name((rf_dtype)to);
            }
        }
}

TEST_F(CudaMovement, GathersNanOrZeroWhereTheIndexIsOutOfRange)
{
    const int64_t indices[] = {2, -3, 3, -4, INT64_MAX, INT64_MIN, 0};
    const bool legal[] = {true, true, false, false, false, false, true};
    for (rf_dtype dtype : {RF_F32, RF_F16, RF_BF16, RF_F64, RF_I32, RF_U8})
        for (int64_t width : {1, 3, 16}) {
            ops::Buffer x(tensor_of(dtype, {3, width}), false);
            ops::Buffer index(tensor_of(RF_I64, {7}), false);
            ops::Buffer y(tensor_of(dtype, {7, width}), false);
            for (int64_t i = 0; i < 3 * width; i++)
                ops::put(x.tensor, i, (double)(i + 1));
            std::memcpy(index.tensor.data, indices, sizeof indices);
            ASSERT_EQ(on_device(RF_OP_GATHER, {&x, &index}, &y), "");
            std::vector<double> got((size_t)(7 * width));
            rf_tensor_pack_f64(&y.tensor, got.data());
            for (int64_t i = 0; i < 7 * width; i++) {
                double v = got[(size_t)i];
                int64_t row = (indices[i / width] + 3) % 3;
                if (legal[i / width])
                    EXPECT_EQ(v, (double)(row * width + i % width + 1));
                else
                    EXPECT_TRUE(dtype <= RF_BF16 ? std::isnan(v) : v == 0)
                        << rf_dtype_name(dtype) << " element " << i << ": " << v;
            }
        }
}

} // namespace
