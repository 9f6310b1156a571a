// SPDX-License-Identifier: Apache-2.0
//
// See networks.h.
#include "tests/support/networks.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "kernels/ref/ref.h"
#include "runtime/exec/plan.h"

namespace rft
{

using Entries = std::vector<std::pair<std::string, std::vector<int64_t>>>;

static void add_pair(Entries &e, const std::string &name, std::vector<int64_t> dims, int64_t biases)
{
    e.push_back({name + ".weight", std::move(dims)});
    e.push_back({name + ".bias", {biases}});
}

static void add_conv(Entries &e, const std::string &name, int64_t in, int64_t out, int64_t k)
{
    add_pair(e, name, {out, in, k, k}, out);
}

static void add_attention(Entries &e, const std::string &name, int64_t c, int64_t reduction)
{
    add_conv(e, name + ".sa.sa", 2, 1, 7);
    add_conv(e, name + ".ca.ca.0", c, c / reduction, 1);
    add_conv(e, name + ".ca.ca.2", c / reduction, c, 1);
    add_conv(e, name + ".pa.pa2", 2, c, 7);
}

static void add_blocks(Entries &e, const std::string &name, int n, int64_t c, bool attention)
{
    for (int i = 1; i <= n; i++) {
        std::string block = name + "_block" + std::to_string(i);
        for (int branch = 1; branch <= 4; branch++) {
            std::string key = block + ".conv1.conv1_" + std::to_string(branch) + ".conv";
            bool line = branch == 2 || branch == 3; // horizontal and vertical are one-dimensional
            add_pair(e, key,
                     line ? std::vector<int64_t>{c, c, 3} : std::vector<int64_t>{c, c, 3, 3}, c);
        }
        add_conv(e, block + ".conv1.conv1_5", c, c, 3);
        add_conv(e, block + ".conv2", c, c, 3);
        if (attention)
            add_attention(e, block, c, 8);
    }
}

Entries dea_net_entries(int base)
{
    Entries e;
    const int64_t a = base, b = 2 * a, c = 4 * a;
    add_conv(e, "down1.0", 3, a, 3);
    add_conv(e, "down2.0", a, b, 3);
    add_conv(e, "down3.0", b, c, 3);
    add_blocks(e, "down_level1", 4, a, false);
    add_blocks(e, "down_level2", 4, b, false);
    add_blocks(e, "up_level2", 4, b, false);
    add_blocks(e, "up_level1", 4, a, false);
    add_blocks(e, "level3", 8, c, true);
    add_conv(e, "fe_level_2", b, b, 3);
    add_conv(e, "fe_level_3", c, c, 3);
    add_pair(e, "up1.0", {c, b, 3, 3}, b);
    add_pair(e, "up2.0", {b, a, 3, 3}, a);
    add_conv(e, "up3.0", a, 3, 3);
    add_attention(e, "mix1", c, 8);
    add_conv(e, "mix1.conv", c, c, 1);
    add_attention(e, "mix2", b, 4);
    add_conv(e, "mix2.conv", b, b, 1);
    return e;
}

static int64_t product(const std::vector<int64_t> &dims, size_t from)
{
    int64_t n = 1;
    for (size_t i = from; i < dims.size(); i++)
        n *= dims[i];
    return n;
}

// Uniform in +-1/sqrt(fan-in); vectors (biases) in +-0.1.
static std::vector<float> scaled_random(const std::string &name, const std::vector<int64_t> &dims)
{
    float bound = dims.size() == 1
                      ? 0.1f
                      : static_cast<float>(1 / std::sqrt(static_cast<double>(product(dims, 1))));
    std::vector<float> v(static_cast<size_t>(product(dims, 0)));
    for (size_t i = 0; i < v.size(); i++)
        v[i] = named_random(name, i) * bound;
    return v;
}

std::string dea_net_safetensors(int base, bool (*keep)(const std::string &name))
{
    std::string header = "{", data;
    for (const auto &[name, dims] : dea_net_entries(base)) {
        if (keep && !keep(name))
            continue;
        size_t begin = data.size();
        std::vector<float> values = scaled_random(name, dims);
        data.append(reinterpret_cast<const char *>(values.data()), values.size() * sizeof(float));
        std::ostringstream entry;
        entry << (begin ? "," : "") << '"' << name << "\":{\"dtype\":\"F32\",\"shape\":[";
        for (size_t i = 0; i < dims.size(); i++)
            entry << (i ? "," : "") << dims[i];
        entry << "],\"data_offsets\":[" << begin << ',' << data.size() << "]}";
        header += entry.str();
    }
    header += "}";
    header.resize((header.size() + 7) / 8 * 8, ' ');
    uint64_t n = header.size();
    std::string length(8, 0);
    memcpy(length.data(), &n, 8);
    return length + header + data;
}

void overwrite(std::string &file, const std::string &name, size_t n, float value)
{
    uint64_t header;
    memcpy(&header, file.data(), 8);
    const char *const offsets = "\"data_offsets\":[";
    size_t at = file.find(offsets, file.find("\"" + name + "\":{"));
    ASSERT_LT(at, 8 + header) << name;
    at = 8 + header + std::stoull(file.substr(at + strlen(offsets)));
    for (size_t i = 0; i < n; i++)
        memcpy(&file[at + i * sizeof value], &value, sizeof value);
}

rf_attr ints(const char *key, std::vector<int64_t> values)
{
    rf_attr a = {};
    a.key = key;
    a.kind = RF_ATTR_INTS;
    a.n = static_cast<int32_t>(values.size());
    std::copy(values.begin(), values.end(), a.i);
    return a;
}

rf_attr real(const char *key, double value)
{
    rf_attr a = {};
    a.key = key;
    a.kind = RF_ATTR_REAL;
    a.real = value;
    return a;
}

rf_attr word(const char *key, const char *value)
{
    rf_attr a = {};
    a.key = key;
    a.kind = RF_ATTR_ENUM;
    a.name = value;
    return a;
}

Net::Net(const char *name, const rf_hooks *hooks)
{
    rf_graph *g = nullptr;
    rf_error err;
    EXPECT_EQ(rf_graph_create(hooks, &g, &err), RF_OK) << err.text;
    graph_.reset(g);
    EXPECT_EQ(rf_graph_set_name(g, name, &err), RF_OK) << err.text;
}

rf_value Net::input(const char *name, std::vector<int64_t> dims)
{
    rf_value v = RF_NONE;
    rf_error err;
    EXPECT_EQ(
        rf_graph_input(get(), name, RF_F32, static_cast<int>(dims.size()), dims.data(), &v, &err),
        RF_OK)
        << err.text;
    return v;
}

static rf_value add_constant(rf_graph *g, const std::string &name, Array values)
{
    rf_value v = RF_NONE;
    rf_error err;
    rf_tensor t = values.view();
    EXPECT_EQ(rf_graph_const(g, name.c_str(), &t, &v, &err), RF_OK) << err.text;
    return v;
}

rf_value Net::constant(const std::string &name, std::vector<int64_t> dims, float low, float high)
{
    return add_constant(get(), name, random_array(name, std::move(dims), low, high));
}

rf_value Net::weight(const std::string &name, std::vector<int64_t> dims)
{
    Array a(dims);
    a.data = scaled_random(name, dims);
    return add_constant(get(), name, a);
}

std::vector<rf_value> Net::add(const char *op, const std::string &name, std::vector<rf_value> in,
                               std::vector<rf_attr> attrs, int n_out)
{
    std::vector<rf_value> out(static_cast<size_t>(n_out), RF_NONE);
    rf_error err;
    EXPECT_EQ(rf_graph_add(get(), op, name.c_str(), in.data(), static_cast<int>(in.size()),
                           attrs.data(), static_cast<int>(attrs.size()), out.data(), n_out, &err),
              RF_OK)
        << err.text;
    return out;
}

rf_value Net::one(const char *op, const std::string &name, std::vector<rf_value> in,
                  std::vector<rf_attr> attrs)
{
    return add(op, name, std::move(in), std::move(attrs))[0];
}

rf_value Net::conv(const std::string &name, rf_value x, int64_t in, int64_t out, int64_t k,
                   int64_t stride, int64_t groups, const char *pad_mode)
{
    int64_t p = k / 2;
    return one("conv2d", name,
               {x, weight(name + ".w", {out, in / groups, k, k}), weight(name + ".b", {out})},
               {ints("pad", {p, p, p, p}), ints("stride", {stride, stride}),
                ints("groups", {groups}), word("pad_mode", pad_mode)});
}

rf_value Net::batch_norm(const std::string &name, rf_value x, int64_t c)
{
    return one(
        "batch_norm", name,
        {x, constant(name + ".scale", {c}, 0.5f, 1.5f), constant(name + ".bias", {c}, -0.2f, 0.2f),
         constant(name + ".mean", {c}, -0.2f, 0.2f), constant(name + ".var", {c}, 0.5f, 2.0f)});
}

rf_value Net::relu(const std::string &name, rf_value x)
{
    return one("unary", name, {x}, {word("kind", "relu")});
}

rf_value Net::sum(const std::string &name, rf_value a, rf_value b)
{
    return one("binary", name, {a, b}, {word("kind", "add")});
}

void Net::output(const char *name, rf_value v)
{
    rf_error err;
    EXPECT_EQ(rf_graph_output(get(), name, v, &err), RF_OK) << err.text;
}

static rf_value conv_bn_relu(Net &n, const std::string &name, rf_value x, int64_t in, int64_t out)
{
    rf_value y = n.batch_norm(name + ".norm", n.conv(name, x, in, out, 3), out);
    return n.relu(name + ".relu", y);
}

static rf_value upsample(Net &n, const std::string &name, rf_value x, int64_t in, int64_t out)
{
    rf_value y =
        n.one("conv_transpose2d", name,
              {x, n.weight(name + ".w", {in, out, 3, 3}), n.weight(name + ".b", {out})},
              {ints("stride", {2, 2}), ints("pad", {1, 1, 1, 1}), ints("output_pad", {1, 1})});
    return n.relu(name + ".relu", y);
}

Graph unet(int64_t w)
{
    Net n("unet");
    const std::vector<rf_attr> pool = {word("kind", "max"), ints("kernel", {2, 2}),
                                       ints("stride", {2, 2})};
    rf_value x = n.input("picture", {-1, 3, -1, -1});
    rf_value e0 = conv_bn_relu(n, "enc0.b", conv_bn_relu(n, "enc0.a", x, 3, w), w, w);
    rf_value p0 = n.one("pool2d", "pool0", {e0}, pool);
    rf_value e1 = conv_bn_relu(n, "enc1.b", conv_bn_relu(n, "enc1.a", p0, w, 2 * w), 2 * w, 2 * w);
    rf_value p1 = n.one("pool2d", "pool1", {e1}, pool);
    rf_value m = conv_bn_relu(n, "mid.a", p1, 2 * w, 4 * w);
    m = n.sum("mid.skip", conv_bn_relu(n, "mid.b", m, 4 * w, 4 * w), m);
    rf_value u1 = upsample(n, "up1", m, 4 * w, 2 * w);
    rf_value d1 = conv_bn_relu(n, "dec1", n.one("concat", "join1", {e1, u1}), 4 * w, 2 * w);
    rf_value u0 = upsample(n, "up0", d1, 2 * w, w);
    rf_value d0 = conv_bn_relu(n, "dec0", n.one("concat", "join0", {e0, u0}), 2 * w, w);
    n.output("mask", n.conv("head", d0, w, 3, 1));
    return n.take();
}

static rf_value rep_block(Net &n, const std::string &name, rf_value x, int64_t in, int64_t out,
                          int64_t stride)
{
    rf_value y = n.batch_norm(name + ".bn3", n.conv(name + ".conv3", x, in, out, 3, stride), out);
    rf_value z = n.batch_norm(name + ".bn1", n.conv(name + ".conv1", x, in, out, 1, stride), out);
    y = n.sum(name + ".add1", y, z);
    if (in == out && stride == 1)
        y = n.sum(name + ".add0", y, n.batch_norm(name + ".bn0", x, in));
    return n.relu(name + ".relu", y);
}

Graph repvgg(int64_t w)
{
    Net n("repvgg");
    rf_value x = n.input("image", {-1, 3, -1, -1});
    x = rep_block(n, "stem", x, 3, w, 2);
    x = rep_block(n, "stage1", x, w, w, 1);
    x = rep_block(n, "stage2", x, w, 2 * w, 2);
    x = rep_block(n, "stage3", x, 2 * w, 2 * w, 1);
    x = n.one("reduce", "mean", {x},
              {word("kind", "mean"), ints("axes", {2, 3}), ints("keepdims", {0})});
    x = n.one("matmul", "linear", {x, n.weight("linear.w", {2 * w, 10})});
    n.output("scores", n.sum("linear.bias", x, n.weight("linear.b", {10})));
    return n.take();
}

// p = sigmoid(...) of the map r, whose channel weights come from a squeeze to c / 4.
static rf_value attention_map(Net &n, rf_value r, int64_t c)
{
    rf_value mean = n.one("reduce", "over.mean", {r}, {word("kind", "mean"), ints("axes", {1})});
    rf_value max = n.one("reduce", "over.max", {r}, {word("kind", "max"), ints("axes", {1})});
    rf_value gap = n.one("reduce", "squeeze", {r}, {word("kind", "mean"), ints("axes", {2, 3})});
    rf_value ca = n.conv("excite.b", n.relu("excite.relu", n.conv("excite.a", gap, c, c / 4, 1)),
                         c / 4, c, 1);
    rf_value s = n.conv("where", n.one("concat", "both", {mean, max}), 2, 1, 7, 1, 1, "reflect");
    rf_value of_r = n.conv("local.r", r, c, c, 7, 1, c, "reflect");
    rf_value of_s = n.conv("local.s", n.sum("where.what", s, ca), c, c, 7, 1, c, "reflect");
    return n.one("unary", "gate", {n.sum("local", of_r, of_s)}, {word("kind", "sigmoid")});
}

Graph content_attention(int64_t c, bool mix)
{
    Net n("attention");
    rf_value in = n.input("features", {-1, 3, -1, -1});
    rf_value x = n.conv("left", in, 3, c, 3), y = n.conv("right", in, 3, c, 3), out;
    auto product_of = [&](const char *name, rf_value a, rf_value b) {
        return n.one("binary", name, {a, b}, {word("kind", "mul")});
    };
    if (mix) {
        rf_value r = n.sum("both.sides", x, y);
        rf_value q = n.one("unary", "again", {attention_map(n, r, c)}, {word("kind", "sigmoid")});
        rf_value rest = n.one("unary", "rest", {q},
                              {word("kind", "scale"), real("alpha", -1), real("beta", 1)});
        out = n.sum("mix", n.sum("part", r, product_of("qx", q, x)), product_of("qy", rest, y));
    } else {
        out = n.sum("gated", product_of("scaled", x, attention_map(n, x, c)), y);
    }
    n.output("result", n.conv("last", out, c, 4, 1));
    return n.take();
}

Graph two_convs(const rf_hooks *hooks)
{
    Net n("two_convs", hooks);
    rf_value x = n.input("x", {-1, 3, -1, -1});
    n.output("y", n.conv("second", n.relu("relu", n.conv("first", x, 3, 8, 3)), 8, 3, 3));
    return n.take();
}

std::vector<Step> steps(const Session &session)
{
    std::vector<Step> found;
    std::istringstream text(explain(session));
    for (std::string line; std::getline(text, line);) {
        std::istringstream words(line);
        size_t index;
        Step s;
        if (words >> index >> s.op >> s.name >> s.kernel && index == found.size()) {
            s.line = line;
            found.push_back(s);
        }
    }
    return found;
}

Array run_unoptimised(const Graph &graph, Array input)
{
    rf_plan_params params = {};
    params.backend = &rf_backend_ref;
    params.n_threads = 1;
    return run_planned(graph.get(), std::move(input), params);
}

Array run_planned(const rf_graph *graph, Array input, const rf_plan_params &params,
                  void (*look)(const rf_plan *))
{
    rf_plan *plan = nullptr;
    rf_error err;
    rf_tensor in = input.view();
    EXPECT_EQ(rf_plan_create(graph, &in, 1, &params, &plan, &err), RF_OK) << err.text;
    if (!plan)
        return Array();
    if (look)
        look(plan);
    const rf_tensor *shape = rf_plan_output(plan, 0);
    Array out(std::vector<int64_t>(shape->dims, shape->dims + shape->rank));
    rf_tensor y = out.view();
    void *arena = aligned_alloc(64, (rf_plan_memory(plan) + 64) / 64 * 64);
    EXPECT_EQ(rf_plan_run(plan, arena, &in, &y, nullptr, nullptr, &err), RF_OK) << err.text;
    free(arena);
    rf_plan_destroy(&plan);
    return out;
}

} // namespace rft
