// SPDX-License-Identifier: Apache-2.0
//
// Resizing is the only op here whose preparation takes memory: what happens when it gets none.
#include <gtest/gtest.h>

#include "kernels/cuda/cuda.h"
#include "tests/ops/device.h"
#include "tests/support/support.h"

namespace
{

TEST(CudaResize, ReportsRefusedMemoryAndKeepsNone)
{
    rft::Memory memory;
    rf_hooks hooks = memory.hooks();
    rf_env *env = nullptr;
    rf_error err = {};
    ops::OpenDevice device;
    ASSERT_EQ(rf_env_create(&hooks, &env, &err), RF_OK) << err.text;
    if (device.open(&rf_backend_cuda, env, &err) != RF_OK) {
        rf_env_release(&env);
        GTEST_SKIP() << err.text;
    }
    rf_attrs attrs;
    rf_attrs_default(RF_OP_RESIZE, &attrs);
    rf_tensor x = {}, y = {};
    const int64_t small[] = {1, 8, 3, 4}, large[] = {1, 8, 5, 9};
    ASSERT_EQ(rf_tensor_init(&x, RF_F32, 4, small, nullptr, &err), RF_OK);
    ASSERT_EQ(rf_tensor_init(&y, RF_F32, 4, large, nullptr, &err), RF_OK);
    rf_kernel_desc desc = {};
    desc.args.op = RF_OP_RESIZE;
    desc.args.attrs = &attrs;
    desc.args.n_in = desc.args.n_out = 1;
    desc.args.in[0] = &x;
    desc.args.out[0] = &y;
    desc.env = env;
    desc.device = device.device;
    const rf_kernel *kernel = rf_backend_choose(&rf_backend_cuda, &desc);
    ASSERT_NE(kernel, nullptr);
    const size_t before = rf_env_bytes(env);
    for (int64_t k = 1; k <= 2; k++) {
        void *state = nullptr;
        memory.refuse = memory.calls + k;
        EXPECT_EQ(kernel->prepare(&desc, &state, &err), RF_ERR_MEMORY);
        EXPECT_EQ(state, nullptr);
        EXPECT_EQ(rf_env_bytes(env), before);
    }
    memory.refuse = 0;
    void *state = nullptr;
    ASSERT_EQ(kernel->prepare(&desc, &state, &err), RF_OK) << err.text;
    kernel->release(env, state);
    EXPECT_EQ(rf_env_bytes(env), before);
    device.close();
    rf_env_release(&env);
}

} // namespace
