// SPDX-License-Identifier: Apache-2.0
//
// One op with its tensors, for tests that need a kernel in a situation that the op case list does
// not make: a chosen layout, an output in place of an input, two nodes run as one chain.
#ifndef RF_TESTS_UNIT_KERNELS_NODE_H
#define RF_TESTS_UNIT_KERNELS_NODE_H

#include "kernels/cpu/cpu.h"
#include "runtime/base/half.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace rft
{

enum Layout { NCHW, NHWC };

// A tensor that owns its elements, f32 or bf16.
class Buffer
{
  public:
    Buffer(rf_dtype dtype, std::initializer_list<int64_t> dims, Layout layout = NCHW)
    {
        view = {};
        view.dtype = dtype;
        for (int64_t d : dims)
            view.dims[view.rank++] = d;
        layout == NHWC ? rf_tensor_set_nhwc(&view) : rf_tensor_set_contiguous(&view);
        bytes.assign(rf_tensor_bytes(&view) + 64, 0xff); // NaN
        size_t misaligned = reinterpret_cast<uintptr_t>(bytes.data()) % 64;
        offset = misaligned ? 64 - misaligned : 0;
        view.data = bytes.data() + offset;
    }
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;

    int64_t size() const { return rf_tensor_elements(&view); }
    // By position in memory.
    float get(int64_t i) const
    {
        return view.dtype == RF_F32 ? static_cast<const float *>(view.data)[i]
                                    : rf_bf16_to_f32(static_cast<const uint16_t *>(view.data)[i]);
    }
    void set(int64_t i, float v)
    {
        if (view.dtype == RF_F32)
            static_cast<float *>(view.data)[i] = v;
        else
            static_cast<uint16_t *>(view.data)[i] = rf_f32_to_bf16(v);
    }
    Buffer &fill(uint32_t seed, float scale)
    {
        std::minstd_rand random(seed + 1);
        std::uniform_real_distribution<float> uniform(-scale, scale);
        for (int64_t i = 0; i < size(); i++)
            set(i, uniform(random));
        return *this;
    }
    void copy(const Buffer &from)
    {
        std::memcpy(view.data, from.view.data, rf_tensor_bytes(&view));
    }
    bool same_bytes(const Buffer &b) const
    {
        return std::memcmp(view.data, b.view.data, rf_tensor_bytes(&view)) == 0;
    }
    // Largest |a - b| / (1 + |b|); infinite if one is NaN.
    double difference(const Buffer &want) const
    {
        double most = 0;
        for (int64_t i = 0; i < size(); i++) {
            double d = std::fabs(get(i) - want.get(i)) / (1 + std::fabs(want.get(i)));
            most = d <= most ? most : std::isnan(d) ? INFINITY : d;
        }
        return most;
    }

    rf_tensor view;

  private:
    std::vector<uint8_t> bytes;
    size_t offset;
};

class Node
{
  public:
    explicit Node(rf_op op)
    {
        rf_attrs_default(op, &attrs);
        args.op = op;
    }
    Node &in(const Buffer *b)
    {
        args.in[args.n_in++] = b ? &b->view : nullptr;
        return *this;
    }
    Node &out(Buffer *b)
    {
        args.out[args.n_out++] = &b->view;
        return *this;
    }
    rf_kernel_desc desc(int threads, rf_env *env = nullptr)
    {
        args.attrs = &attrs;
        rf_kernel_desc d{};
        d.args = args;
        d.n_threads = threads;
        d.env = env;
        return d;
    }

    rf_attrs attrs;
    rf_op_args args{};
};

// A kernel prepared for a node; frees everything and checks that nothing leaked.
class Prepared
{
  public:
    Prepared(const rf_kernel *kernel, Node &node, int threads) : kernel(kernel)
    {
        rf_error err{};
        EXPECT_EQ(rf_env_create(nullptr, &env, &err), RF_OK) << err.text;
        rf_kernel_desc desc = node.desc(threads, env);
        EXPECT_TRUE(rf_kernel_takes(kernel, &desc)) << kernel->name;
        call.args = desc.args;
        call.n_threads = threads;
        if (kernel->prepare) {
            EXPECT_EQ(kernel->prepare(&desc, &call.state, &err), RF_OK) << err.text;
        }
        scratch_bytes = kernel->scratch ? kernel->scratch(&desc) : 0;
        call.scratch = rf_alloc(env, scratch_bytes, 64);
        std::memset(call.scratch, 0xff, scratch_bytes);
    }
    ~Prepared()
    {
        rf_free(env, call.scratch, scratch_bytes);
        if (kernel->release)
            kernel->release(env, call.state);
        EXPECT_EQ(rf_env_bytes(env), 0u) << kernel->name << " leaks";
        rf_env_release(&env);
    }
    void run()
    {
        rf_error err{};
        EXPECT_EQ(kernel->run(&call, &err), RF_OK) << err.text;
    }

    rf_kernel_call call{};

  private:
    const rf_kernel *kernel;
    rf_env *env = nullptr;
    size_t scratch_bytes;
};

inline void run_kernel(const rf_kernel *kernel, Node &node, int threads = 1)
{
    Prepared(kernel, node, threads).run();
}

inline void run_reference(Node &node)
{
    rf_kernel_desc desc = node.desc(1);
    run_kernel(rf_backend_choose(rf_backend_find("ref"), &desc), node);
}

// The kernel called `name` of one instruction set, or NULL.
inline const rf_kernel *find_kernel(const char *isa, rf_op op, const char *name)
{
    size_t n;
    const rf_kernel *const *rows = rf_cpu_kernels_for(isa, &n);
    for (size_t i = 0; i < n; i++)
        if (rows[i]->op == op && !std::strcmp(rows[i]->name, name))
            return rows[i];
    return nullptr;
}

} // namespace rft
#endif
