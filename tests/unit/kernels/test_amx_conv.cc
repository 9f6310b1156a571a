// SPDX-License-Identifier: Apache-2.0
//
// The AMX convolution on emulated tiles against the reference: most machines that build Refold have
// no AMX, most that run it do.
#include "tests/unit/kernels/node.h"

extern "C" {
extern const rf_kernel *const rf_cpu_rows_amx_conv_amx_emulated[];
extern int amx_emulated_errors;
void amx_emulated_product(const uint16_t *a, const uint16_t *b, float *c);
void amx_emulated_misuse(void *p);
}

namespace
{

using rft::Buffer;
using rft::NHWC;
using rft::Node;
using rft::Prepared;

// Only AVX512-BF16 is needed: the tiles are emulated, the end of a block is not.
class AmxConv : public testing::Test
{
  protected:
    void SetUp() override
    {
        if (!kernel->usable())
            GTEST_SKIP() << "no AVX512-BF16 on this machine (or REFOLD_CPU forbids it)";
        amx_emulated_errors = 0;
    }
    void TearDown() override { EXPECT_EQ(amx_emulated_errors, 0) << "the hardware would fault"; }
    const rf_kernel *kernel = rf_cpu_rows_amx_conv_amx_emulated[0];
};

struct Shape {
    int n, ic, oc, h, w, kh, kw;
    int stride[2], pad[4], dilation[2];
    rf_pad_mode pad_mode;
    rf_act act;
    int residual; // 0 none, 1 after, 2 before the activation
};

const Shape shapes[] = {
    {1, 32, 32, 8, 8, 3, 3, {1, 1}, {1, 1, 1, 1}, {1, 1}, RF_PAD_ZEROS, RF_ACT_RELU, 1},
    {2, 32, 64, 7, 29, 3, 3, {1, 1}, {1, 1, 1, 1}, {1, 1}, RF_PAD_ZEROS, RF_ACT_NONE, 2},
    {1, 64, 32, 5, 33, 3, 3, {1, 1}, {1, 1, 1, 1}, {1, 1}, RF_PAD_ZEROS, RF_ACT_RELU, 2},
    {1, 64, 64, 9, 96, 3, 3, {1, 1}, {1, 1, 1, 1}, {1, 1}, RF_PAD_ZEROS, RF_ACT_CLAMP, 2},
    {1, 96, 32, 2, 65, 3, 3, {1, 1}, {1, 1, 1, 1}, {1, 1}, RF_PAD_ZEROS, RF_ACT_NONE, 0},
    {1, 32, 32, 1, 1, 3, 3, {1, 1}, {1, 1, 1, 1}, {1, 1}, RF_PAD_ZEROS, RF_ACT_NONE, 0},
    {1, 32, 32, 4, 64, 3, 3, {1, 1}, {1, 1, 1, 1}, {1, 1}, RF_PAD_ZEROS, RF_ACT_GELU, 1},
    {1, 64, 96, 6, 40, 3, 3, {2, 2}, {1, 1, 1, 1}, {1, 1}, RF_PAD_ZEROS, RF_ACT_RELU, 0},
    {1, 32, 64, 3, 70, 1, 1, {1, 1}, {0, 0, 0, 0}, {1, 1}, RF_PAD_ZEROS, RF_ACT_NONE, 1},
    {1, 32, 32, 11, 12, 5, 3, {2, 1}, {2, 1, 2, 1}, {1, 1}, RF_PAD_REFLECT, RF_ACT_NONE, 1},
    {1, 32, 32, 10, 25, 3, 5, {1, 2}, {1, 2, 1, 2}, {1, 1}, RF_PAD_EDGE, RF_ACT_RELU, 2},
    {1, 32, 32, 13, 40, 3, 3, {1, 1}, {2, 2, 2, 2}, {2, 2}, RF_PAD_REFLECT, RF_ACT_NONE, 0},
    {1, 32, 32, 13, 30, 3, 3, {1, 2}, {3, 0, 1, 4}, {2, 3}, RF_PAD_ZEROS, RF_ACT_RELU, 1},
    {1, 32, 32, 6, 9, 3, 3, {1, 1}, {-1, -1, 0, -2}, {1, 1}, RF_PAD_ZEROS, RF_ACT_NONE, 0},
};

void set_attrs(Node &node, const Shape &s)
{
    rf_conv2d_attrs &a = node.attrs.conv2d;
    for (int i = 0; i < 4; i++)
        a.pad[i] = s.pad[i];
    for (int i = 0; i < 2; i++) {
        a.stride[i] = s.stride[i];
        a.dilation[i] = s.dilation[i];
    }
    a.pad_mode = s.pad_mode;
    a.act = s.act;
    a.act_alpha = -0.3;
    a.act_beta = 0.7;
    a.res_mode = s.residual == 2 ? RF_RES_BEFORE : RF_RES_AFTER;
}

// Rounding of a bf16 result, and sums in another order than the reference's.
const double bf16_tolerance = 4.5e-3;

void check_shape(const rf_kernel *kernel, const Shape &s, int threads, bool in_place)
{
    int64_t oh = (s.h + s.pad[0] + s.pad[2] - s.dilation[0] * (s.kh - 1) - 1) / s.stride[0] + 1;
    int64_t ow = (s.w + s.pad[1] + s.pad[3] - s.dilation[1] * (s.kw - 1) - 1) / s.stride[1] + 1;
    Buffer x(RF_BF16, {s.n, s.ic, s.h, s.w}, NHWC), w(RF_BF16, {s.oc, s.ic, s.kh, s.kw});
    Buffer bias(RF_F32, {s.oc}), res(RF_BF16, {s.n, s.oc, oh, ow}, NHWC);
    Buffer want(RF_BF16, {s.n, s.oc, oh, ow}, NHWC), got(RF_BF16, {s.n, s.oc, oh, ow}, NHWC);
    x.fill(1, 1);
    w.fill(2, 1.7f / std::sqrt(static_cast<float>(s.ic * s.kh * s.kw)));
    bias.fill(3, 0.5);
    res.fill(4, 1);
    Node reference(RF_OP_CONV2D), node(RF_OP_CONV2D);
    set_attrs(reference, s);
    set_attrs(node, s);
    reference.in(&x).in(&w).in(&bias).in(s.residual ? &res : nullptr).out(&want);
    node.in(&x).in(&w).in(&bias).in(s.residual ? &res : nullptr).out(in_place ? &res : &got);
    rft::run_reference(reference);
    rft::run_kernel(kernel, node, threads);
    EXPECT_LE((in_place ? res : got).difference(want), bf16_tolerance)
        << s.ic << "->" << s.oc << " " << s.h << "x" << s.w << " k" << s.kh << "x" << s.kw
        << " residual " << s.residual << " threads " << threads << " in place " << in_place;
}

TEST_F(AmxConv, EmulatedTilesAgreeWithTheReference)
{
    for (const Shape &s : shapes)
        for (int threads = 1; threads <= 3; threads++)
            for (int in_place = 0; in_place <= (s.residual > 0); in_place++)
                check_shape(kernel, s, threads, in_place);
}

TEST_F(AmxConv, WeightsMayBeFloat)
{
    Buffer x(RF_BF16, {1, 32, 6, 6}, NHWC), w(RF_F32, {32, 32, 3, 3}),
        rounded(RF_BF16, {32, 32, 3, 3});
    Buffer a(RF_BF16, {1, 32, 6, 6}, NHWC), b(RF_BF16, {1, 32, 6, 6}, NHWC);
    x.fill(1, 1);
    w.fill(2, 0.1f);
    for (int64_t i = 0; i < w.size(); i++)
        rounded.set(i, w.get(i));
    Node node_a(RF_OP_CONV2D), node_b(RF_OP_CONV2D);
    set_attrs(node_a, shapes[0]);
    set_attrs(node_b, shapes[0]);
    rft::run_kernel(kernel, node_a.in(&x).in(&w).out(&a));
    rft::run_kernel(kernel, node_b.in(&x).in(&rounded).out(&b));
    EXPECT_TRUE(a.same_bytes(b));
}

// r = relu(conv x + b) + x; x = conv r + b + x, the second in place.
struct ResidualBlock {
    ResidualBlock(int n, int c, int mid, int h, int w)
        : x(RF_BF16, {n, c, h, w}, NHWC), r(RF_BF16, {n, mid, h, w}, NHWC),
          w1(RF_BF16, {mid, c, 3, 3}), w2(RF_BF16, {c, mid, 3, 3}), b1(RF_F32, {mid}),
          b2(RF_F32, {c})
    {
        x.fill(1, 1);
        w1.fill(2, 1.7f / std::sqrt(9.0f * static_cast<float>(c)));
        w2.fill(3, 1.7f / std::sqrt(9.0f * static_cast<float>(mid)));
        b1.fill(4, 0.5);
        b2.fill(5, 0.5);
        set_attrs(first, shapes[0]);
        set_attrs(second, shapes[0]);
        second.attrs.conv2d.act = RF_ACT_NONE;
        first.in(&x).in(&w1).in(&b1).in(mid == c ? &x : nullptr).out(&r);
        second.in(&r).in(&w2).in(&b2).in(&x).out(&x);
    }
    void run_chain(const rf_kernel *kernel, int threads)
    {
        Prepared a(kernel, first, threads), b(kernel, second, threads);
        rf_kernel_call calls[] = {a.call, b.call};
        rf_error err{};
        EXPECT_EQ(kernel->run_chain(calls, 2, &err), RF_OK);
    }
    Buffer x, r, w1, w2, b1, b2;
    Node first{RF_OP_CONV2D}, second{RF_OP_CONV2D};
};

TEST_F(AmxConv, ChainsInPlaceGiveTheBytesOfSingleRuns)
{
    const int sizes[][2] = {{1, 32}, {2, 33}, {3, 64}, {4, 96}, {7, 100}, {12, 160}, {5, 3}};
    for (auto &size : sizes)
        for (int threads = 1; threads <= 3; threads++)
            for (int mid : {32, 64}) {
                ResidualBlock one(2, 32, mid, size[0], size[1]), two(2, 32, mid, size[0], size[1]);
                rft::run_kernel(kernel, one.first, threads);
                rft::run_kernel(kernel, one.second, threads);
                two.run_chain(kernel, threads);
                EXPECT_TRUE(one.r.same_bytes(two.r)) << size[0] << "x" << size[1] << " " << threads;
                EXPECT_TRUE(one.x.same_bytes(two.x)) << size[0] << "x" << size[1] << " " << threads;
            }
}

TEST_F(AmxConv, ChainsOnlyWhatAddsBackItsInput)
{
    ResidualBlock block(1, 32, 32, 6, 128);
    rf_kernel_desc a = block.first.desc(2), b = block.second.desc(2);
    EXPECT_TRUE(kernel->can_chain(&a, &b));
    a.n_threads = b.n_threads = 3; // four blocks of columns do not share out among three threads
    EXPECT_FALSE(kernel->can_chain(&a, &b));
    a.n_threads = b.n_threads = 2;
    EXPECT_FALSE(kernel->can_chain(&b, &a)) << "the input of a is not the output of b's input";
    b.args.in[3] = nullptr;
    EXPECT_FALSE(kernel->can_chain(&a, &b));
    b.args.in[3] = &block.x.view;
    block.second.attrs.conv2d.pad_mode = RF_PAD_REFLECT;
    EXPECT_FALSE(kernel->can_chain(&a, &b));
}

TEST_F(AmxConv, RefusesWhatTilesCannotHold)
{
    Buffer x(RF_BF16, {1, 48, 6, 6}, NHWC), w(RF_BF16, {32, 48, 1, 1}),
        y(RF_BF16, {1, 32, 6, 6}, NHWC);
    w.fill(1, 1);
    Node node(RF_OP_CONV2D);
    node.in(&x).in(&w).out(&y);
    rf_kernel_desc desc = node.desc(1);
    EXPECT_FALSE(kernel->can(&desc)) << "48 input channels";
    Buffer planar(RF_BF16, {1, 32, 6, 6}), w32(RF_BF16, {32, 32, 1, 1});
    w32.fill(1, 1);
    Node other(RF_OP_CONV2D);
    other.in(&planar).in(&w32).out(&y);
    desc = other.desc(1);
    EXPECT_FALSE(kernel->can(&desc)) << "an NCHW input";
}

TEST(AmxEmulator, MultipliesPairsAndFlushesDenormals)
{
    std::vector<uint16_t> a(512), b(512);
    std::vector<float> c(256);
    for (int i = 0; i < 512; i++) { // small integers: every sum is exact
        a[i] = rf_f32_to_bf16(static_cast<float>(i * 7 % 11 - 5));
        b[i] = rf_f32_to_bf16(static_cast<float>(i * 5 % 13 - 6));
    }
    for (int i = 0; i < 256; i++)
        c[i] = static_cast<float>(i);
    amx_emulated_product(a.data(), b.data(), c.data());
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < 16; n++) {
            float want = static_cast<float>(m * 16 + n);
            for (int k = 0; k < 32; k++)
                want +=
                    rf_bf16_to_f32(a[m * 32 + k]) * rf_bf16_to_f32(b[k / 2 * 32 + n * 2 + k % 2]);
            ASSERT_EQ(c[m * 16 + n], want) << m << ", " << n;
        }
    std::fill(a.begin(), a.end(), uint16_t{1}); // the least denormal
    std::fill(b.begin(), b.end(), rf_f32_to_bf16(3e38f));
    std::fill(c.begin(), c.end(), 1e-40f);
    amx_emulated_product(a.data(), b.data(), c.data());
    for (float v : c)
        ASSERT_EQ(v, 0.0f);
}

TEST(AmxEmulator, CountsUseWithoutAConfiguration)
{
    float out[256];
    amx_emulated_errors = 0;
    amx_emulated_misuse(out);
    EXPECT_EQ(amx_emulated_errors, 1);
    amx_emulated_errors = 0;
}

} // namespace
