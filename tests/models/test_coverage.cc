// SPDX-License-Identifier: Apache-2.0
//
// Networks of the kinds that Refold is for (a vision transformer, a diffusion U-Net, restoration
// networks with transformers and without) run without a single reference kernel, in f32 and bf16,
// and give what the reference gives.
#include "tests/support/networks.h"

using namespace rft;

namespace
{

using Attrs = std::vector<rf_attr>;

struct Builder : Net {
    using Net::Net;
    rf_value linear(const std::string &name, rf_value x, int64_t in, int64_t out, Attrs attrs = {})
    {
        attrs.push_back(ints("trans_b", {1}));
        return one("matmul", name, {x, weight(name + ".w", {out, in}), weight(name + ".b", {out})},
                   attrs);
    }
    rf_value layer_norm(const std::string &name, rf_value x, int64_t n)
    {
        return one("layer_norm", name,
                   {x, constant(name + ".w", {n}, 0.5f, 1.5f), constant(name + ".b", {n}, -1, 1)});
    }
    rf_value group_norm(const std::string &name, rf_value x, int64_t channels, int64_t groups)
    {
        return one("group_norm", name,
                   {x, constant(name + ".w", {channels}, 0.5f, 1.5f),
                    constant(name + ".b", {channels}, -0.2f, 0.2f)},
                   {ints("groups", {groups})});
    }
    rf_value unary(const std::string &name, rf_value x, const char *kind)
    {
        return one("unary", name, {x}, {word("kind", kind)});
    }
    rf_value mul(const std::string &name, rf_value a, rf_value b)
    {
        return one("binary", name, {a, b}, {word("kind", "mul")});
    }
    rf_value reshape(const std::string &name, rf_value x, std::vector<int64_t> dims)
    {
        return one("reshape", name, {x}, {ints("dims", std::move(dims))});
    }
    rf_value permute(const std::string &name, rf_value x, std::vector<int64_t> perm)
    {
        return one("transpose", name, {x}, {ints("perm", std::move(perm))});
    }
    // (N, L, C) -> (N, L, C) by `heads` heads of attention.
    rf_value attend(const std::string &name, rf_value x, int64_t c, int64_t heads)
    {
        rf_value qkv = reshape(name + ".heads", linear(name + ".qkv", x, c, 3 * c),
                               {0, 0, 3 * heads, c / heads});
        std::vector<rf_value> parts =
            add("split", name + ".split", {permute(name + ".perm", qkv, {0, 2, 1, 3})},
                {ints("axis", {1})}, 3);
        rf_value y = one("attention", name, parts);
        return linear(name + ".proj",
                      reshape(name + ".join", permute(name + ".back", y, {0, 2, 1, 3}), {0, 0, c}),
                      c, c);
    }
};

Graph vit()
{
    const int64_t c = 64;
    Builder n("vit");
    rf_value x = n.input("image", {1, 3, 32, 32});
    x = n.one("conv2d", "patches",
              {x, n.weight("patches.w", {c, 3, 4, 4}), n.weight("patches.b", {c})},
              {ints("stride", {4, 4})});
    x = n.permute("tokens", n.reshape("flat", x, {0, c, -1}), {0, 2, 1});
    rf_value cls =
        n.one("expand", "class", {n.weight("class.token", {1, 1, c})}, {ints("dims", {1, 1, c})});
    x = n.one("concat", "with_class", {cls, x}, {ints("axis", {1})});
    x = n.sum("position", x, n.constant("position.table", {1, 65, c}, -1, 1));
    for (int i = 0; i < 2; i++) {
        std::string b = "block" + std::to_string(i);
        x = n.sum(b + ".add0", x,
                  n.attend(b + ".attention", n.layer_norm(b + ".norm0", x, c), c, 4));
        rf_value h = n.linear(b + ".up", n.layer_norm(b + ".norm1", x, c), c, 4 * c);
        x = n.sum(b + ".add1", x, n.linear(b + ".down", n.unary(b + ".gelu", h, "gelu"), 4 * c, c));
    }
    x = n.one("slice", "first", {n.layer_norm("norm", x, c)},
              {ints("starts", {0}), ints("ends", {1}), ints("axes", {1})});
    x = n.linear("classes", n.reshape("vector", x, {0, c}), c, 20);
    n.output("scores", n.one("softmax", "softmax", {x}));
    return n.take();
}

rf_value res_block(Builder &n, const std::string &name, rf_value x, int64_t in, int64_t out)
{
    rf_value y = n.unary(name + ".silu0", n.group_norm(name + ".norm0", x, in, 8), "silu");
    y = n.conv(name + ".conv0", y, in, out, 3);
    y = n.unary(name + ".silu1", n.group_norm(name + ".norm1", y, out, 8), "silu");
    y = n.conv(name + ".conv1", y, out, out, 3);
    return n.sum(name + ".add", y, in == out ? x : n.conv(name + ".skip", x, in, out, 1));
}

Graph diffusion_unet()
{
    const int64_t c = 32;
    Builder n("diffusion_unet");
    rf_value in = n.input("image", {1, 3, 30, 27});
    rf_value x = n.one("pad", "even", {in}, {word("mode", "reflect"), ints("multiple", {4, 4})});
    rf_value e0 = res_block(n, "enc0", n.conv("stem", x, 3, c, 3), c, c);
    rf_value e1 = res_block(n, "enc1", n.conv("down0", e0, c, 2 * c, 3, 2), 2 * c, 2 * c);
    rf_value m = n.one("pool2d", "down1", {e1},
                       {word("kind", "avg"), ints("kernel", {2, 2}), ints("stride", {2, 2})});
    m = res_block(n, "mid0", m, 2 * c, 2 * c);
    rf_value t = n.permute(
        "mid.tokens", n.reshape("mid.flat", n.group_norm("mid.norm", m, 2 * c, 8), {0, 2 * c, -1}),
        {0, 2, 1});
    t = n.permute("mid.image", n.attend("mid.attention", t, 2 * c, 2), {0, 2, 1});
    m = n.sum("mid.add", m, n.reshape("mid.shape", t, {0, 2 * c, 8, 7}));
    const Attrs twice = {word("mode", "nearest"), word("coord", "asymmetric"), real("scale_y", 2),
                         real("scale_x", 2)};
    rf_value d1 = n.one("concat", "join1", {n.one("resize", "up1", {m}, twice), e1});
    d1 = res_block(n, "dec1", d1, 4 * c, c);
    rf_value up = n.one("resize", "up0", {d1},
                        {word("mode", "linear"), real("scale_y", 2), real("scale_x", 2)});
    rf_value d0 = res_block(n, "dec0", n.one("concat", "join0", {up, e0}), 2 * c, c);
    n.output("noise", n.one("crop_like", "crop", {n.conv("head", d0, c, 3, 3), in}));
    return n.take();
}

// A block of NAFNet: layer norm over channels, depthwise, simple gate, channel attention.
rf_value naf_block(Builder &n, const std::string &name, rf_value x, int64_t c)
{
    rf_value y = n.permute(name + ".last", x, {0, 2, 3, 1});
    y = n.permute(name + ".first", n.layer_norm(name + ".norm", y, c), {0, 3, 1, 2});
    y = n.conv(name + ".up", y, c, 2 * c, 1);
    y = n.conv(name + ".depth", y, 2 * c, 2 * c, 3, 1, 2 * c);
    std::vector<rf_value> half = n.add("split", name + ".half", {y}, {ints("axis", {1})}, 2);
    y = n.mul(name + ".gate", half[0], half[1]);
    rf_value s = n.one("reduce", name + ".mean", {y}, {word("kind", "mean"), ints("axes", {2, 3})});
    y = n.mul(name + ".scale", y, n.conv(name + ".squeeze", s, c, c, 1));
    return n.sum(name + ".add", x, n.conv(name + ".down", y, c, c, 1));
}

Graph nafnet()
{
    const int64_t c = 24;
    Builder n("nafnet");
    rf_value in = n.input("image", {1, 3, 33, 26});
    rf_value x = n.one("pad", "even", {in}, {ints("multiple", {2, 2})});
    rf_value e = naf_block(n, "enc", n.conv("stem", x, 3, c, 3), c);
    e = n.one("pool2d", "smooth", {e},
              {word("kind", "avg"), ints("kernel", {3, 3}), ints("pad", {1, 1, 1, 1})});
    rf_value m = n.one("conv2d", "down", {e, n.weight("down.w", {2 * c, c, 2, 2})},
                       {ints("stride", {2, 2})});
    m = naf_block(n, "mid", m, 2 * c);
    m = n.one("pixel_shuffle", "up", {n.conv("up.conv", m, 2 * c, 4 * c, 1)},
              {ints("factor", {2})});
    rf_value y = naf_block(n, "dec", n.sum("skip", m, e), c);
    y = n.sum("result", n.conv("head", y, c, 3, 3), x);
    y = n.one("unary", "clamp", {y}, {word("kind", "clamp"), real("alpha", 0), real("beta", 1)});
    n.output("clear", n.one("crop_like", "crop", {y, in}));
    return n.take();
}

// Restormer's attention between channels, an SRCNN-like tail, and the odd ops of older networks.
Graph restormer()
{
    const int64_t c = 48, h = 16, w = 20;
    Builder n("restormer");
    rf_value x = n.conv("stem", n.input("image", {1, 3, h, w}), 3, c, 3, 1, 1, "reflect");
    rf_value qkv = n.conv("qkv.depth", n.conv("qkv", x, c, 3 * c, 1), 3 * c, 3 * c, 3, 1, 3 * c);
    std::vector<rf_value> p = n.add("split", "qkv.split", {qkv}, {ints("axis", {1})}, 3);
    for (int i = 0; i < 3; i++)
        p[(size_t)i] = n.reshape("head" + std::to_string(i), p[(size_t)i], {0, 2, c / 2, h * w});
    for (int i = 0; i < 2; i++) {
        std::string s = std::to_string(i);
        rf_value l2 =
            n.one("reduce", "l2." + s, {p[(size_t)i]}, {word("kind", "l2"), ints("axes", {3})});
        p[(size_t)i] = n.one("binary", "unit." + s, {p[(size_t)i], l2}, {word("kind", "div")});
    }
    rf_value a = n.one("matmul", "scores", {p[0], p[1]}, {ints("trans_b", {1})});
    a = n.mul("temperature", a, n.constant("temperature.t", {2, 1, 1}, 1, 2));
    a = n.one("matmul", "values", {n.one("softmax", "softmax", {a}), p[2]});
    x = n.sum("add", x, n.conv("proj", n.reshape("image", a, {0, c, h, w}), c, c, 1));
    rf_value y = n.one("pixel_unshuffle", "fold", {x}, {ints("factor", {2})});
    y = n.conv("mix", y, 4 * c, c, 3, 1, 1, "edge");
    y = n.one("binary", "prelu", {y, n.constant("slopes", {c, 1, 1}, 0, 0.5f)},
              {word("kind", "prelu")});
    y = n.one("group_norm", "instance", {y});
    y = n.one("conv_transpose2d", "up", {y, n.weight("up.w", {c, c, 4, 4}), n.weight("up.b", {c})},
              {ints("stride", {2, 2}), ints("pad", {1, 1, 1, 1})});
    y = n.conv("wide", n.sum("join", y, x), c, 16, 5, 1, 4);
    y = n.one("resize", "bicubic", {y}, {word("mode", "cubic"), ints("size", {2 * h, 2 * w})});
    y = n.one("pool2d", "local", {y},
              {word("kind", "max"), ints("kernel", {3, 3}), ints("pad", {1, 1, 1, 1})});
    n.output("large", n.unary("tanh", n.conv("head", y, 16, 3, 3), "tanh"));
    return n.take();
}

void expect_fast_and_right(Graph graph, std::vector<int64_t> dims, double half_rms)
{
    Model model = finish_graph(std::move(graph));
    Array x = random_array("coverage", std::move(dims), 0, 1);
    Array want = run(open_session(model, {.device = "ref"}), x);
    for (rf_dtype precision : {RF_F32, RF_BF16}) {
        SessionOptions o;
        o.precision = precision;
        Session s = open_session(model, o);
        Array got = run(s, x);
        EXPECT_GT(steps(s).size(), 10u);
        for (const Step &step : steps(s))
            EXPECT_NE(step.kernel.rfind("ref.", 0), 0u) << step.line;
        if (precision == RF_F32)
            EXPECT_LE(max_abs_difference(got.data, want.data), 1e-5 * max_abs(want.data));
        else
            EXPECT_LE(relative_rms(got.data, want.data), half_rms);
    }
}

TEST(Coverage, VisionTransformer)
{
    expect_fast_and_right(vit(), {1, 3, 32, 32}, 0.03);
}

TEST(Coverage, DiffusionUnet)
{
    expect_fast_and_right(diffusion_unet(), {1, 3, 30, 27}, 0.03);
}

TEST(Coverage, Nafnet)
{
    expect_fast_and_right(nafnet(), {1, 3, 33, 26}, 0.03);
}

TEST(Coverage, RestormerAndOlderOps)
{
    expect_fast_and_right(restormer(), {1, 3, 16, 20}, 0.03);
}

} // namespace
