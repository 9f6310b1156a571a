// SPDX-License-Identifier: Apache-2.0
//
// One kernel call on a device with its own memory: every buffer goes there with its guard zones,
// and comes back with them.
#ifndef RF_TESTS_OPS_DEVICE_H
#define RF_TESTS_OPS_DEVICE_H

#include "tests/ops/harness.h"

namespace ops
{

struct OpenDevice {
    const rf_device_ops *ops = nullptr; // NULL: the backend works in host memory
    rf_device *device = nullptr;
    rf_stream *stream = nullptr;

    rf_status open(const rf_backend *backend, rf_env *env, rf_error *err);
    void close();
    // Constants that the kernel says it has packed get an address that nobody may touch.
    std::string run(const rf_kernel &kernel, rf_kernel_call *call, const std::vector<Buffer *> &in,
                    const std::vector<bool> &constant, const std::vector<Buffer *> &outputs,
                    Buffer *scratch, rf_error *err);
};

} // namespace ops
#endif
