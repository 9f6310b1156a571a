// SPDX-License-Identifier: Apache-2.0
//
// What the op cases cannot see: that the number of threads changes no bit, and that one bad query
// of an attention leaves the others alone.
#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/cpu/cpu.h"

namespace
{

struct Tensor {
    rf_tensor t = {};
    std::vector<float> f32;
    std::vector<uint16_t> bf16;
    Tensor(rf_dtype dtype, std::vector<int64_t> dims, bool nhwc)
    {
        rf_error err = {};
        EXPECT_EQ(rf_tensor_init(&t, dtype, (int)dims.size(), dims.data(), nullptr, &err), RF_OK);
        if (nhwc)
            rf_tensor_set_nhwc(&t);
        auto n = (size_t)rf_tensor_elements(&t);
        f32.resize(n);
        bf16.resize(n);
    }
    rf_tensor *view() // with the data where it is now
    {
        t.data = t.dtype == RF_BF16 ? (void *)bf16.data() : (void *)f32.data();
        return &t;
    }
    void fill(unsigned seed)
    {
        for (size_t i = 0; i < f32.size(); i++) {
            seed = seed * 1664525u + 1013904223u;
            f32[i] = (float)(seed >> 8) * 0x1p-23f - 1;
            uint32_t u;
            memcpy(&u, &f32[i], 4);
            bf16[i] = (uint16_t)(u >> 16);
        }
    }
    std::vector<char> bytes()
    {
        const char *p = (const char *)view()->data;
        return std::vector<char>(p, p + rf_tensor_bytes(&t));
    }
};

// A node with its data; `constant` marks inputs that the planner sees.
struct Node {
    rf_op op;
    rf_attrs attrs;
    std::vector<Tensor> in;
    unsigned constant;
    Tensor out;
};

rf_kernel_desc describe(Node &node, std::vector<rf_tensor> &planned, int n_threads)
{
    rf_kernel_desc d = {};
    d.args.op = node.op;
    d.args.attrs = &node.attrs;
    d.args.n_in = (int32_t)node.in.size();
    d.args.n_out = 1;
    d.args.out[0] = node.out.view();
    d.n_threads = n_threads;
    planned.clear();
    for (size_t i = 0; i < node.in.size(); i++) {
        planned.push_back(*node.in[i].view());
        if (!(node.constant >> i & 1))
            planned.back().data = nullptr;
    }
    for (size_t i = 0; i < node.in.size(); i++)
        d.args.in[i] = &planned[i];
    return d;
}

// The output's bytes, or empty if the kernel does not take the node.
std::vector<char> run(const rf_kernel &kernel, Node &node, int n_threads)
{
    std::vector<rf_tensor> planned;
    rf_kernel_desc d = describe(node, planned, n_threads);
    rf_error err = {};
    rf_kernel_call call = {};
    int saved = 0;
    if (!rf_kernel_takes(&kernel, &d))
        return {};
    EXPECT_EQ(rf_env_create(nullptr, &d.env, &err), RF_OK);
    size_t bytes = kernel.scratch ? kernel.scratch(&d) : 0;
    void *scratch = aligned_alloc(64, (bytes + 127) / 64 * 64);
    if (kernel.prepare) {
        EXPECT_EQ(kernel.prepare(&d, &call.state, &err), RF_OK) << err.text;
    }
    call.args = d.args;
    call.n_threads = n_threads;
    call.scratch = scratch;
    for (size_t i = 0; i < node.in.size(); i++)
        call.args.in[i] = node.in[i].view();
    rf_backend_cpu.enter(n_threads, &saved);
    EXPECT_EQ(kernel.run(&call, &err), RF_OK) << err.text;
    rf_backend_cpu.leave(saved);
    if (kernel.release)
        kernel.release(d.env, call.state);
    free(scratch);
    rf_env_release(&d.env);
    return node.out.bytes();
}

Node attention(rf_dtype dtype, int64_t queries, int64_t keys, bool causal)
{
    Node n = {RF_OP_ATTENTION,
              {},
              {Tensor(dtype, {1, 3, queries, 40}, false), Tensor(dtype, {1, 3, keys, 40}, false),
               Tensor(dtype, {1, 3, keys, 24}, false)},
              0,
              Tensor(dtype, {1, 3, queries, 24}, false)};
    rf_attrs_default(n.op, &n.attrs);
    n.attrs.attention.causal = causal;
    for (unsigned i = 0; i < 3; i++)
        n.in[i].fill(i);
    return n;
}

Node conv(rf_dtype dtype, int64_t in, int64_t out, int64_t size, int64_t k, int64_t groups)
{
    Node n = {RF_OP_CONV2D,
              {},
              {Tensor(dtype, {1, in, size, size}, true),
               Tensor(RF_F32, {out, in / groups, k, k}, false), Tensor(RF_F32, {out}, false)},
              6,
              Tensor(dtype, {1, out, size, size}, true)};
    rf_attrs_default(n.op, &n.attrs);
    for (int i = 0; i < 4; i++)
        n.attrs.conv2d.pad[i] = (int32_t)(k / 2);
    n.attrs.conv2d.groups = (int32_t)groups;
    for (unsigned i = 0; i < 3; i++)
        n.in[i].fill(i);
    return n;
}

Node matmul(rf_dtype dtype, int64_t m, int64_t n_cols, int64_t k, bool constant)
{
    Node n = {RF_OP_MATMUL,
              {},
              {Tensor(dtype, {m, k}, false), Tensor(dtype, {k, n_cols}, false)},
              constant ? 2u : 0u,
              Tensor(dtype, {m, n_cols}, false)};
    rf_attrs_default(n.op, &n.attrs);
    n.in[0].fill(1);
    n.in[1].fill(2);
    return n;
}

// Every kernel of this machine's table, on any number of threads. What oneDNN can do beyond the
// shapes that its row takes is left out: there it does depend on the number of threads.
void expect_same_bits(const std::function<Node()> &make)
{
    size_t n;
    const rf_kernel *const *table = rf_backend_cpu.kernels(&n);
    std::vector<const rf_kernel *> rows(table, table + n);
    int n_runs = 0;
    for (const rf_kernel *k : rows) {
        Node node = make();
        std::vector<char> one = run(*k, node, 1);
        for (int threads : {2, 3, 5}) {
            Node other = make();
            std::vector<char> many = one.empty() ? one : run(*k, other, threads);
            if (many.empty()) // a kernel may want more work for so many threads
                continue;
            n_runs++;
            EXPECT_TRUE(many == one)
                << k->name << " on " << threads << " threads, " << rf_dtype_name(node.out.t.dtype)
                << ", k " << node.in[1].t.dims[node.op == RF_OP_MATMUL ? 0 : 1];
        }
    }
    EXPECT_GT(n_runs, 0);
}

TEST(CpuKernels, GiveTheSameBitsOnAnyNumberOfThreads)
{
    for (rf_dtype dtype : {RF_F32, RF_BF16}) {
        expect_same_bits([=] { return attention(dtype, 150, 170, false); });
        expect_same_bits([=] { return attention(dtype, 150, 170, true); });
        expect_same_bits([=] { return conv(dtype, 64, 96, 13, 1, 1); });
        expect_same_bits([=] { return conv(dtype, 512, 16, 3, 1, 1); });
        expect_same_bits([=] { return conv(dtype, 48, 48, 21, 3, 1); });
        expect_same_bits([=] { return conv(dtype, 256, 64, 5, 3, 1); });
        expect_same_bits([=] { return conv(dtype, 512, 64, 5, 3, 1); });
        expect_same_bits([=] { return conv(dtype, 24, 24, 5, 5, 1); });
        expect_same_bits([=] { return conv(dtype, 64, 64, 15, 5, 64); });
        expect_same_bits([=] { return conv(dtype, 64, 32, 9, 3, 4); });
        for (bool constant : {false, true}) {
            expect_same_bits([=] { return matmul(dtype, 4, 16, 6000, constant); });
            expect_same_bits([=] { return matmul(dtype, 1, 640, 1500, constant); });
            expect_same_bits([=] { return matmul(dtype, 130, 70, 257, constant); });
        }
    }
}

TEST(Attention, KeepsTheNanOfOneQueryFromTheOthers)
{
    for (const char *isa : {"baseline", "avx2", "avx512"}) {
        size_t n;
        const rf_kernel *const *rows = rf_cpu_kernels_for(isa, &n);
        for (size_t i = 0; rows && i < n; i++) {
            if (rows[i]->op != RF_OP_ATTENTION)
                continue;
            Node good = attention(RF_F32, 40, 300, false), bad = attention(RF_F32, 40, 300, false);
            bad.in[0].f32[7 * 40] = NAN;
            run(*rows[i], good, 1);
            run(*rows[i], bad, 1);
            for (size_t k = 0; k < good.out.f32.size(); k++) {
                if (k / 24 == 7)
                    ASSERT_TRUE(std::isnan(bad.out.f32[k])) << isa << ", element " << k;
                else
                    ASSERT_EQ(bad.out.f32[k], good.out.f32[k]) << isa << ", element " << k;
            }
        }
    }
}

// Our own: oneDNN's relu and clip give their lower bound for a NaN (kernels/README.md).
TEST(CpuConvolutions, KeepANanThroughAnActivation)
{
    for (rf_act act : {RF_ACT_RELU, RF_ACT_LEAKY, RF_ACT_CLAMP, RF_ACT_GELU, RF_ACT_HARDSWISH}) {
        size_t n;
        const rf_kernel *const *rows = rf_backend_cpu.kernels(&n);
        for (size_t i = 0; i < n; i++) {
            const rf_kernel *k = rows[i];
            if (!strcmp(k->name, "dnnl"))
                continue;
            Node node = conv(RF_F32, 32, 32, 12, 3, 1);
            node.attrs.conv2d.act = act;
            node.attrs.conv2d.act_beta = 1;
            node.in[0].f32[32 * (12 * 5 + 5)] = NAN;
            if (run(*k, node, 1).empty())
                continue;
            EXPECT_TRUE(std::isnan(node.out.f32[32 * (12 * 5 + 5) + 3]))
                << k->name << ", " << RF_ENUM_TEXT(act, act);
        }
    }
}

} // namespace
