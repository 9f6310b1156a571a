// SPDX-License-Identifier: Apache-2.0
//
// Memory that kernels may touch, without the CUDA runtime around it.
#ifndef RF_TESTS_SIM_DEVICE_ARRAY_H
#define RF_TESTS_SIM_DEVICE_ARRAY_H

#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/sim/grid.h"

template <class T> class DeviceArray
{
  public:
    explicit DeviceArray(size_t n) : bytes_(n * sizeof(T))
    {
        data_ = (T *)aligned_alloc(256, (bytes_ + 255) / 256 * 256);
        memset((void *)data_, 0, bytes_);
        simt::memory_add(data_, bytes_);
    }
    ~DeviceArray()
    {
        free_on_device();
        free(data_);
    }
    DeviceArray(const DeviceArray &) = delete;
    DeviceArray &operator=(const DeviceArray &) = delete;
    // Kernels must not touch it any more; tests may.
    void free_on_device() { simt::memory_remove(data_); }
    T *data() { return data_; }
    T &operator[](size_t i) { return data_[i]; }

  private:
    size_t bytes_;
    T *data_;
};

// `body` under every schedule, the default one at last.
inline void under_every_schedule(const std::function<void()> &body)
{
    std::vector<std::string> all(simt::schedules.begin(), simt::schedules.end());
    for (int seed = 2; seed < 10; seed++)
        all.push_back("random:" + std::to_string(seed));
    for (const std::string &s : all) {
        SCOPED_TRACE("schedule " + s);
        ASSERT_TRUE(simt::set_schedule(s.c_str()));
        body();
    }
    ASSERT_TRUE(simt::set_schedule("ring"));
}

#endif
