// SPDX-License-Identifier: Apache-2.0
//
// A real kernel, and what the emulator says when one thing in it is broken.
#include <cmath>

#include <cuda_fp16.h>

#include "tests/sim/device_array.h"
#include "tests/sim/gemm.h"

namespace
{

class Gemm
{
  public:
    static constexpr int m = 128, n = 64, k = 96;
    Gemm() : a_(m * k), b_(n * k), c_(m * n), row_sum_(m), exact_(m * n)
    {
        uint32_t state = 1;
        auto next = [&] {
            state = state * 1664525u + 1013904223u;
            return __float2half((float)(state >> 24) / 64.0f - 2.0f);
        };
        for (int i = 0; i < m * k; i++)
            a_[(size_t)i] = next();
        for (int i = 0; i < n * k; i++)
            b_[(size_t)i] = next();
        for (int r = 0; r < m; r++)
            for (int c = 0; c < n; c++)
                for (int i = 0; i < k; i++)
                    exact_[(size_t)(r * n + c)] += __half2float(a_[(size_t)(r * k + i)]) *
                                                   __half2float(b_[(size_t)(c * k + i)]);
    }
    simt::Fault run(gemm_mutation mutation, size_t shared = GEMM_SHARED)
    {
        memset((void *)c_.data(), 0xff, m * n * 2);
        memset((void *)row_sum_.data(), 0, m * 4);
        gemm_params p = {a_.data(), b_.data(), c_.data(), row_sum_.data(), m, n, k};
        return simt::run((const simt::Kernel *)gemm_entries[mutation].fn,
                         dim3(n / GEMM_TILE, m / GEMM_TILE), dim3(GEMM_THREADS), shared, &p);
    }
    bool is_right()
    {
        bool right = true;
        for (int r = 0; r < m; r++) {
            float sum = 0;
            for (int c = 0; c < n; c++) {
                float got = __half2float(c_[(size_t)(r * n + c)]);
                sum += fabsf(got);
                right = right && fabsf(got - exact_[(size_t)(r * n + c)]) <= 0.06f;
            }
            right = right && fabsf(row_sum_[(size_t)r] - sum) <= 1e-4f * sum;
        }
        return right;
    }
    DeviceArray<__half> &a() { return a_; }

  private:
    DeviceArray<__half> a_, b_, c_;
    DeviceArray<float> row_sum_;
    std::vector<float> exact_;
};

TEST(SimGemm, IsRightInAnyOrder)
{
    Gemm gemm;
    under_every_schedule([&] {
        simt::Fault f = gemm.run(GEMM_SOUND);
        EXPECT_EQ(f.error, cudaSuccess) << f.text;
        EXPECT_TRUE(gemm.is_right());
    });
}

TEST(SimGemm, MutationsFaultInAnyOrder)
{
    struct {
        gemm_mutation mutation;
        cudaError_t error;
    } cases[] = {
        {GEMM_NO_SYNC_BEFORE_USE, cudaErrorLaunchFailure},
        {GEMM_NO_SYNC_BEFORE_REFILL, cudaErrorLaunchFailure},
        {GEMM_NO_WAIT, cudaErrorLaunchFailure},
        {GEMM_WAIT_ONE_SHORT, cudaErrorLaunchFailure},
        {GEMM_NO_COMMIT, cudaErrorLaunchFailure},
        {GEMM_ONE_TILE_TOO_MANY, cudaErrorIllegalAddress},
        {GEMM_MISALIGNED_STORE, cudaErrorMisalignedAddress},
        {GEMM_SYNC_IN_HALF_A_BLOCK, cudaErrorLaunchFailure},
        {GEMM_SHUFFLE_IN_HALF_A_WARP, cudaErrorLaunchFailure},
        {GEMM_HALF_MASK, cudaErrorLaunchFailure},
        {GEMM_EARLY_EXIT, cudaErrorLaunchFailure},
    };
    Gemm gemm;
    for (auto &c : cases) {
        SCOPED_TRACE(gemm_entries[c.mutation].name);
        under_every_schedule([&] {
            simt::Fault f = gemm.run(c.mutation);
            EXPECT_EQ(f.error, c.error) << f.text;
        });
    }
}

TEST(SimGemm, RowsThatRunIntoTheNextTileAreOutOfBoundsOrARace)
{
    Gemm gemm;
    under_every_schedule([&] {
        cudaError_t error = gemm.run(GEMM_LONG_ROWS).error;
        EXPECT_TRUE(error == cudaErrorIllegalAddress || error == cudaErrorLaunchFailure) << error;
    });
}

TEST(SimGemm, MutationsOfTheArithmeticGiveAWrongResult)
{
    Gemm gemm;
    for (gemm_mutation mutation : {GEMM_LDMATRIX_LANE, GEMM_SWAPPED_A, GEMM_SWAPPED_B})
        under_every_schedule([&] {
            EXPECT_EQ(gemm.run(mutation).error, cudaSuccess);
            EXPECT_FALSE(gemm.is_right()) << gemm_entries[mutation].name;
        });
}

TEST(SimGemm, MistakesOfTheHostAreFaults)
{
    Gemm gemm;
    EXPECT_EQ(gemm.run(GEMM_SOUND, GEMM_SHARED - 16).error, cudaErrorIllegalAddress);
    gemm.a().free_on_device();
    EXPECT_EQ(gemm.run(GEMM_SOUND).error, cudaErrorIllegalAddress);
}

TEST(SimGemm, IsCounted)
{
    Gemm gemm;
    simt::count(true);
    EXPECT_EQ(gemm.run(GEMM_SOUND).error, cudaSuccess);
    simt::count(false);
    simt::Counters c = simt::counters("GEMM_SOUND");
    simt::counters_clear();
    EXPECT_TRUE(gemm.is_right());
    EXPECT_EQ(c.mma, (uint64_t)(Gemm::m / 16) * (Gemm::n / 8) * (Gemm::k / 16));
    EXPECT_EQ(c.ldmatrix, c.mma / 2);
    EXPECT_EQ(c.ldmatrix_cycles, c.ldmatrix_ideal);
    // cp.async: 8 lanes fill two rows of 64 bytes, 80 bytes apart, so 16 bytes of them collide.
    EXPECT_EQ(c.shared_cycles, 2 * c.shared_ideal);
    EXPECT_EQ(c.cp_async * 512, 2u * (64 * 96 * 2 * 2)); // bytes: two blocks, two tiles each
    EXPECT_EQ(c.atomics, 2u * 4 * 4);
}

} // namespace
