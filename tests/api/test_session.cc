// SPDX-License-Identifier: Apache-2.0
//
// Sessions through the public API: strides, several inputs and outputs, explain, profile, hooks.
#include "tests/support/networks.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include <jansson.h>

using namespace rft;

namespace
{

// The same elements with the channels innermost, and with gaps between the rows.
rf_tensor strided(const Array &a, std::vector<float> &store, bool channels_last)
{
    rf_tensor t = a.shape();
    const int64_t c = a.dims[1], h = a.dims[2], w = a.dims[3], pitch = w + 5;
    if (channels_last) {
        const int64_t s[4] = {h * w * c, 1, w * c, c};
        std::copy(s, s + 4, t.strides);
    } else {
        const int64_t s[4] = {c * h * pitch, h * pitch, pitch, 1};
        std::copy(s, s + 4, t.strides);
    }
    store.assign(static_cast<size_t>(a.dims[0] * t.strides[0]), -77.0f);
    t.data = store.data();
    return t;
}

float &element(const rf_tensor &t, int64_t n, int64_t c, int64_t y, int64_t x)
{
    return static_cast<float *>(
        t.data)[n * t.strides[0] + c * t.strides[1] + y * t.strides[2] + x * t.strides[3]];
}

template <typename F> void for_each(const Array &a, F f)
{
    size_t i = 0;
    for (int64_t n = 0; n < a.dims[0]; n++)
        for (int64_t c = 0; c < a.dims[1]; c++)
            for (int64_t y = 0; y < a.dims[2]; y++)
                for (int64_t x = 0; x < a.dims[3]; x++)
                    f(i++, n, c, y, x);
}

TEST(Session, TakesAndGivesTensorsOfAnyStrides)
{
    Session s = open_session(finish_graph(two_convs()));
    Array x = random_array("x", {2, 3, 19, 23}), want = run(s, x);
    for (bool last : {false, true}) {
        std::vector<float> in_store, out_store;
        rf_tensor in = strided(x, in_store, last), out = strided(want, out_store, !last);
        for_each(x, [&](size_t i, int64_t n, int64_t c, int64_t y, int64_t z) {
            element(in, n, c, y, z) = x.data[i];
        });
        std::vector<float> in_before = in_store, expected = out_store;
        rf_error err;
        ASSERT_EQ(rf_session_run(s.get(), &in, 1, &out, 1, &err), RF_OK) << err.text;
        EXPECT_EQ(in_store, in_before);
        rf_tensor filled = out;
        filled.data = expected.data();
        for_each(want, [&](size_t i, int64_t n, int64_t c, int64_t y, int64_t z) {
            element(filled, n, c, y, z) = want.data[i];
        });
        EXPECT_EQ(out_store, expected) << "elements differ, or gaps were written";
    }
}

TEST(Session, HandsInputsThroughAndOutputsTwice)
{
    Net n("ends");
    rf_value x = n.input("x", {1, 3, -1, -1}), z = n.input("z", {1, 3, -1, -1});
    rf_value y = n.sum("y", n.conv("c", x, 3, 3, 3), z);
    n.output("first", y);
    n.output("input", x);
    n.output("again", y);
    Model model = finish_graph(n.take());
    Session s = open_session(model);
    Array a = random_array("a", {1, 3, 9, 8}), b = random_array("b", {1, 3, 9, 8}),
          got[3] = {a, b, a};
    rf_tensor in[2] = {a.view(), b.view()};
    rf_tensor out[3] = {got[0].view(), got[1].view(), got[2].view()};
    rf_error err;
    ASSERT_EQ(rf_session_run(s.get(), in, 2, out, 3, &err), RF_OK) << err.text;
    EXPECT_EQ(got[1].data, a.data);
    EXPECT_EQ(got[0].data, got[2].data);
    EXPECT_NE(got[0].data, a.data);
    EXPECT_EQ(rf_model_input_count(model.get()), 2);
    EXPECT_EQ(rf_model_output_count(model.get()), 3);
    rf_io_info info = {sizeof info};
    ASSERT_EQ(rf_model_output(model.get(), 2, &info, &err), RF_OK) << err.text;
    EXPECT_STREQ(info.name, "again");
    EXPECT_EQ(rf_model_output(model.get(), 3, &info, &err), RF_ERR_ARGUMENT);
}

TEST(Session, GivesTheSameBitsEveryTimeAndAfterOtherShapes)
{
    Session s = open_session(load_bytes(dea_net_safetensors(8)), {.threads = 2});
    Array x = random_array("x", {1, 3, 40, 36}, 0, 1), first = run(s, x);
    run(s, random_array("other", {1, 3, 64, 20}, 0, 1));
    for (int i = 0; i < 5; i++)
        EXPECT_EQ(run(s, x).data, first.data);
}

TEST(Session, OutlivesTheHandleOfItsModel)
{
    Model model = finish_graph(two_convs());
    Session s = open_session(model);
    Array x = random_array("x", {1, 3, 12, 12}), want = run(s, x);
    model.reset();
    EXPECT_EQ(run(s, x).data, want.data);
}

TEST(Session, ExplainsEveryStepOfTheLastShape)
{
    Session s = open_session(finish_graph(two_convs()));
    const char *text;
    rf_error err = {};
    EXPECT_EQ(rf_session_explain(s.get(), &text, &err), RF_ERR_ARGUMENT)
        << "nothing is prepared yet";
    EXPECT_EQ(rf_session_steps_json(s.get(), &text, &err), RF_ERR_ARGUMENT);
    run(s, random_array("x", {1, 3, 24, 20}));
    std::vector<Step> all = steps(s);
    ASSERT_GE(all.size(), 2u);
    EXPECT_EQ(all[0].name, "first");
    EXPECT_NE(all[0].line.find("1x8x24x20"), std::string::npos) << all[0].line;
    EXPECT_NE(explain(s).find("GMAC"), std::string::npos);
}

TEST(Session, ProfileIsAChromeTraceOfEveryStep)
{
    Session s = open_session(finish_graph(two_convs()));
    const char *text;
    rf_error err = {};
    EXPECT_EQ(rf_session_profile_json(s.get(), &text, &err), RF_ERR_ARGUMENT);
    rf_session_profile(s.get(), true);
    Array x = random_array("x", {1, 3, 24, 20});
    run(s, x);
    run(s, x);
    rf_session_profile(s.get(), false);
    run(s, x);
    size_t n_steps = steps(s).size();
    ASSERT_EQ(rf_session_profile_json(s.get(), &text, &err), RF_OK) << err.text;
    json_error_t where;
    json_t *root = json_loads(text, 0, &where);
    ASSERT_NE(root, nullptr) << where.text;
    json_t *events = json_object_get(root, "traceEvents");
    EXPECT_EQ(json_array_size(events), 2 * n_steps);
    double last = -1;
    for (size_t i = 0; i < json_array_size(events); i++) {
        json_t *e = json_array_get(events, i);
        EXPECT_STREQ(json_string_value(json_object_get(e, "ph")), "X");
        EXPECT_GE(json_number_value(json_object_get(e, "dur")), 0);
        EXPECT_GE(json_number_value(json_object_get(e, "ts")), last);
        last = json_number_value(json_object_get(e, "ts"));
    }
    json_decref(root);
}

TEST(Session, ProfilesCutLongNamesBetweenCharacters)
{
    rft::Net net("long");
    rf_value x = net.input("x", {1, 3, 8, 8});
    std::string name; // 3 bytes each: 63 of them fit, 64 end inside a character
    for (int i = 0; i < 30; i++)
        name += "\xe6\xbc\xa2";
    net.output("y", net.relu(name, x));
    Session s = open_session(finish_graph(net.take()));
    const char *text;
    rf_error err = {};
    rf_session_profile(s.get(), true);
    run(s, random_array("x", {1, 3, 8, 8}));
    ASSERT_EQ(rf_session_profile_json(s.get(), &text, &err), RF_OK) << err.text;
    json_error_t where;
    json_t *root = json_loads(text, 0, &where);
    ASSERT_NE(root, nullptr) << where.text;
    json_t *event = json_array_get(json_object_get(root, "traceEvents"), 0);
    EXPECT_EQ(json_string_value(json_object_get(event, "name")), name.substr(0, 63));
    json_decref(root);
}

TEST(Session, TensorsThatMakeNoSenseAreRefusedByName)
{
    Session s = open_session(finish_graph(two_convs()));
    rf_error err = {};
    rf_tensor t = Array({1, 3, 9, 8}).shape();
    auto refused = [&](const rf_tensor *inputs, int n, const char *word) {
        EXPECT_EQ(rf_session_prepare(s.get(), inputs, n, nullptr, &err), RF_ERR_ARGUMENT);
        EXPECT_NE(strstr(err.text, word), nullptr) << err.text;
    };
    refused(nullptr, 1, "input");
    refused(&t, 0, "1 inputs");
    refused(&t, -1, "1 inputs");
    t.rank = 1000; // beyond its own arrays
    refused(&t, 1, "rank is 1000");
    t = Array({1, 3, 9, 8}).shape();
    t.dims[2] = t.dims[3] = int64_t{1} << 40;
    refused(&t, 1, "63 bits");
    t = Array({1, 3, 9, 8}).shape();
    t.dtype = static_cast<rf_dtype>(77);
    refused(&t, 1, "dtype is 77");
}

rf_model_info info_of(Net &n, rf_value y)
{
    n.output("y", y);
    return info_of(finish_graph(n.take()));
}

// What a tile must know: how far a pixel sees, where tiles may start, and whether that is all.
TEST(Info, ReceptiveFieldGrowsWithWindowsAndStrides)
{
    Net n("local");
    rf_value x = n.input("x", {1, 3, -1, -1});
    rf_value half = n.conv("down", n.conv("a", x, 3, 8, 3), 8, 8, 3, 2); // 1 + 1
    rf_value deep = n.conv("b", half, 8, 8, 5);                          // + 2 * 2
    rf_model_info info =
        info_of(n, n.one("pixel_shuffle", "up", {n.conv("c", deep, 8, 12, 1)}, {}));
    EXPECT_EQ(info.receptive_field, 6);
    EXPECT_EQ(info.tile_align, 2);
    EXPECT_FALSE(info.has_global_ops);
}

TEST(Info, OpsThatMixOrMovePixelsAreGlobal)
{
    using Build = rf_value (*)(Net &, rf_value);
    const std::pair<const char *, Build> global[] = {
        {"mean",
         [](Net &n, rf_value x) {
             return n.one("reduce", "r", {x}, {ints("axes", {2, 3})});
         }},
        {"all", [](Net &n, rf_value x) { return n.one("reduce", "r", {x}); }},
        {"norm", [](Net &n, rf_value x) { return n.one("group_norm", "r", {x}); }},
        {"last", [](Net &n, rf_value x) { return n.one("softmax", "r", {x}); }},
        {"turn",
         [](Net &n, rf_value x) {
             return n.one("transpose", "r", {x}, {ints("perm", {0, 1, 3, 2})});
         }},
        {"flat",
         [](Net &n, rf_value x) {
             return n.one("reshape", "r", {x}, {ints("dims", {0, 0, -1})});
         }},
        {"halves",
         [](Net &n, rf_value x) { return n.add("split", "r", {x}, {ints("axis", {3})}, 2)[0]; }},
        {"beside",
         [](Net &n, rf_value x) {
             return n.one("concat", "r", {x, x}, {ints("axis", {-1})});
         }},
        {"sized",
         [](Net &n, rf_value x) {
             return n.one("resize", "r", {x}, {ints("size", {9, 9})});
         }},
    };
    for (const auto &[name, build] : global) {
        Net n(name);
        rf_value x = n.input("x", {1, 4, -1, -1});
        EXPECT_TRUE(info_of(n, build(n, x)).has_global_ops) << name;
    }
    const std::pair<const char *, Build> local[] = {
        {"channels",
         [](Net &n, rf_value x) { return n.one("reduce", "r", {x}, {ints("axes", {1})}); }},
        {"classes",
         [](Net &n, rf_value x) { return n.one("softmax", "r", {x}, {ints("axis", {1})}); }},
        {"skip",
         [](Net &n, rf_value x) {
             return n.one("concat", "r", {x, x}, {ints("axis", {1})});
         }},
        {"pooled",
         [](Net &n, rf_value x) {
             return n.one("pool2d", "r", {x}, {ints("kernel", {2, 2}), ints("stride", {2, 2})});
         }},
        {"scaled",
         [](Net &n, rf_value x) {
             return n.one("resize", "r", {x}, {real("scale_y", 2), real("scale_x", 2)});
         }},
    };
    for (const auto &[name, build] : local) {
        Net n(name);
        rf_value x = n.input("x", {1, 4, -1, -1});
        EXPECT_FALSE(info_of(n, build(n, x)).has_global_ops) << name;
    }
}

TEST(Session, DeviceAndVersionAreInWords)
{
    Session s = open_session(finish_graph(two_convs()), {.threads = 2});
    std::string device = rf_session_device(s.get());
    EXPECT_EQ(device.rfind("cpu ", 0), 0u) << device;
    EXPECT_NE(device.find("2 threads"), std::string::npos) << device;
    EXPECT_EQ(rf_version(), static_cast<uint32_t>(RF_VERSION_MAJOR << 16 | RF_VERSION_MINOR << 8 |
                                                  RF_VERSION_PATCH));
    EXPECT_STREQ(rf_version_string(), "0.1.0");
    for (const char *part : {"libpng ", "zlib "})
        EXPECT_NE(strstr(rf_build_info(), part), nullptr) << rf_build_info();
}

struct LogLine {
    rf_log_level level;
    std::string text;
};

void collect(void *user, rf_log_level level, const char *text)
{
    static_cast<std::vector<LogLine> *>(user)->push_back({level, text});
}

TEST(Hooks, LoggerHearsOnlyWhatItAskedFor)
{
    for (rf_log_level level : {RF_LOG_WARN, RF_LOG_DEBUG}) {
        std::vector<LogLine> lines;
        rf_hooks hooks = {};
        hooks.size = sizeof hooks;
        hooks.logger = {collect, &lines, level};
        Net n("needs a size", &hooks); // a reshape to one size: fusion gives up, and says so
        rf_value x = n.input("x", {1, 3, -1, -1});
        n.output("y", n.one("reshape", "flat", {n.relu("r", x)}, {ints("dims", {1, 192})}));
        Session s = open_session(finish_graph(n.take()));
        run(s, random_array("x", {1, 3, 8, 8}));
        for (const LogLine &line : lines) {
            EXPECT_LE(line.level, level);
            EXPECT_EQ(line.text.find('\n'), std::string::npos);
        }
        EXPECT_EQ(lines.empty(), level == RF_LOG_WARN);
    }
}

TEST(Hooks, LoggerHearsWhichDeviceAutoTook)
{
    std::vector<LogLine> lines;
    rf_hooks hooks = {};
    hooks.size = sizeof hooks;
    hooks.logger = {collect, &lines, RF_LOG_INFO};
    Model model = finish_graph(two_convs(&hooks));
    SessionOptions o;
    o.device = "cpu";
    Session named = open_session(model, o);
    EXPECT_TRUE(lines.empty()) << lines[0].text;
    o.device = "auto";
    Session any = open_session(model, o);
    ASSERT_EQ(lines.size(), 1u);
    EXPECT_EQ(lines[0].level, RF_LOG_INFO);
    EXPECT_NE(lines[0].text.find("auto"), std::string::npos) << lines[0].text;
    EXPECT_STREQ(rf_session_device(any.get()), rf_session_device(named.get()));
}

TEST(Hooks, HalfAnAllocatorIsRefused)
{
    Memory memory;
    rf_hooks hooks = memory.hooks();
    hooks.allocator.free = nullptr;
    rf_graph *g = nullptr;
    rf_error err = {};
    EXPECT_EQ(rf_graph_create(&hooks, &g, &err), RF_ERR_ARGUMENT);
    EXPECT_EQ(g, nullptr);
    hooks = memory.hooks();
    hooks.size = 1;
    EXPECT_EQ(rf_graph_create(&hooks, &g, &err), RF_ERR_ARGUMENT);
}

// A caller that was compiled against an older header passes shorter structs.
TEST(Params, ShorterOnesMeanDefaultsForTheRest)
{
    Model model = finish_graph(two_convs());
    struct {
        size_t size;
        const char *device;
    } old = {sizeof old, "ref"};
    rf_session_params params;
    memset(&params, 0xee, sizeof params);
    memcpy(&params, &old, sizeof old);
    rf_session *s = nullptr;
    rf_error err = {};
    ASSERT_EQ(rf_session_create(model.get(), &params, &s, &err), RF_OK) << err.text;
    EXPECT_EQ(std::string(rf_session_device(s)).rfind("ref", 0), 0u);
    rf_session_destroy(&s);

    const std::string bytes = dea_net_safetensors(8);
    rf_model_params load;
    memset(&load, 0xee, sizeof load); // `unfolded` and `hooks` are not there yet
    load.size = offsetof(rf_model_params, unfolded);
    load.path = nullptr;
    load.data = bytes.data();
    load.data_bytes = bytes.size();
    rf_model *m = nullptr;
    ASSERT_EQ(rf_model_load(&load, &m, &err), RF_OK) << err.text;
    rf_model_info info = {sizeof info};
    ASSERT_EQ(rf_model_get_info(m, &info, &err), RF_OK) << err.text;
    EXPECT_EQ(info.n_folds, 24) << "the default is to fold";
    rf_model_release(&m);
}

// One that was compiled against a newer header passes longer ones.
TEST(Params, LongerOnesMustBeZeroAtTheEnd)
{
    const std::string bytes = dea_net_safetensors(8);
    struct {
        rf_model_params known;
        int32_t future, more;
    } load = {{sizeof load, nullptr, bytes.data(), bytes.size(), false, nullptr}, 0, 0};
    struct {
        rf_session_params known;
        int32_t future, more;
    } open = {{sizeof open, "cpu", RF_F32, 1, 0, 0, false}, 0, 0};
    rf_model *m = nullptr;
    rf_session *s = nullptr;
    rf_error err = {};
    ASSERT_EQ(rf_model_load(&load.known, &m, &err), RF_OK) << err.text;
    Model model(m);
    ASSERT_EQ(rf_session_create(m, &open.known, &s, &err), RF_OK) << err.text;
    rf_session_destroy(&s);

    load.future = open.future = 1;
    EXPECT_EQ(rf_session_create(m, &open.known, &s, &err), RF_ERR_UNSUPPORTED);
    EXPECT_NE(strstr(err.text, "rf_session_params"), nullptr) << err.text;
    EXPECT_EQ(s, nullptr);
    EXPECT_EQ(rf_model_load(&load.known, &m, &err), RF_ERR_UNSUPPORTED);
    EXPECT_NE(strstr(err.text, "rf_model_params"), nullptr) << err.text;
    EXPECT_EQ(m, nullptr);
    rf_graph *g = two_convs().release();
    EXPECT_EQ(rf_model_from_graph(&g, &load.known, &m, &err), RF_ERR_UNSUPPORTED);
    EXPECT_EQ(g, nullptr) << "taken also on failure";
    EXPECT_EQ(m, nullptr);
}

TEST(Params, AForgottenSizeIsRefused)
{
    Model model = finish_graph(two_convs());
    rf_session_params open = {};
    rf_model_params load = {};
    load.path = "/nowhere";
    rf_session *s = nullptr;
    rf_model *m = nullptr;
    rf_error err = {};
    EXPECT_EQ(rf_session_create(model.get(), &open, &s, &err), RF_ERR_ARGUMENT);
    EXPECT_NE(strstr(err.text, "sizeof(rf_session_params)"), nullptr) << err.text;
    EXPECT_EQ(rf_model_load(&load, &m, &err), RF_ERR_ARGUMENT);
    EXPECT_NE(strstr(err.text, "sizeof(rf_model_params)"), nullptr) << err.text;
    EXPECT_EQ(rf_model_load(nullptr, &m, &err), RF_ERR_ARGUMENT);
    load = {sizeof load, "/nowhere", "both", 4, false, nullptr};
    EXPECT_EQ(rf_model_load(&load, &m, &err), RF_ERR_ARGUMENT);
    EXPECT_NE(strstr(err.text, "path and data"), nullptr) << err.text;
}

TEST(Params, NumbersThatNoMachineHasAreRefused)
{
    Model model = finish_graph(two_convs());
    rf_session *s = nullptr;
    rf_error err = {};
    rf_session_params p = {sizeof p, "cpu", RF_F32, 1025, 0, 0, false};
    EXPECT_EQ(rf_session_create(model.get(), &p, &s, &err), RF_ERR_ARGUMENT);
    EXPECT_NE(strstr(err.text, "n_threads is 1025"), nullptr) << err.text;
    p.n_threads = 1;
    p.max_plans = -1;
    EXPECT_EQ(rf_session_create(model.get(), &p, &s, &err), RF_ERR_ARGUMENT);
    EXPECT_NE(strstr(err.text, "max_plans is -1"), nullptr) << err.text;
    EXPECT_EQ(s, nullptr);
}

// Calls `fill` with a struct of its own size, of an older caller's, of a newer one's, and with
// none.
template <typename Info, typename Fill> void expect_versions(const char *name, Fill fill)
{
    rf_error err = {};
    struct {
        Info info;
        int64_t future[2];
    } whole, cut, longer;
    memset(&whole, 0xee, sizeof whole);
    whole.info.size = sizeof whole.info;
    ASSERT_EQ(fill(&whole.info, &err), RF_OK) << name << ": " << err.text;
    EXPECT_EQ(whole.info.size, sizeof whole.info) << name;
    EXPECT_NE(whole.future[0], 0) << name << " was written beyond its end";

    memset(&cut, 0xee, sizeof cut);
    const size_t old = cut.info.size = 2 * sizeof(size_t); // the first member after the size
    ASSERT_EQ(fill(&cut.info, &err), RF_OK) << name << ": " << err.text;
    const char *bytes = reinterpret_cast<const char *>(&cut);
    EXPECT_EQ(memcmp(bytes + sizeof(size_t),
                     reinterpret_cast<const char *>(&whole) + sizeof(size_t), sizeof(size_t)),
              0)
        << name;
    for (size_t i = old; i < sizeof cut; i++)
        ASSERT_EQ(static_cast<unsigned char>(bytes[i]), 0xee) << name << " at byte " << i;

    memset(&longer, 0xee, sizeof longer);
    longer.info.size = sizeof longer;
    ASSERT_EQ(fill(&longer.info, &err), RF_OK) << name << ": " << err.text;
    EXPECT_EQ(longer.future[0], 0) << name;
    EXPECT_EQ(longer.future[1], 0) << name;

    longer.info.size = 0;
    EXPECT_EQ(fill(&longer.info, &err), RF_ERR_ARGUMENT) << name;
    EXPECT_NE(strstr(err.text, name), nullptr) << err.text;
}

TEST(Params, InfoStructsOfAnyVersionAreFilled)
{
    Model m = load_bytes(dea_net_safetensors(8));
    Session s = open_session(m);
    const rf_tensor shape = Array({1, 3, 16, 16}).shape();
    ASSERT_EQ(rf_session_prepare(s.get(), &shape, 1, nullptr, nullptr), RF_OK);
    expect_versions<rf_io_info>(
        "rf_io_info", [&](rf_io_info *i, rf_error *e) { return rf_model_input(m.get(), 0, i, e); });
    expect_versions<rf_io_info>("rf_io_info", [&](rf_io_info *i, rf_error *e) {
        return rf_model_output(m.get(), 0, i, e);
    });
    expect_versions<rf_model_info>("rf_model_info", [&](rf_model_info *i, rf_error *e) {
        return rf_model_get_info(m.get(), i, e);
    });
    expect_versions<rf_fold_info>("rf_fold_info", [&](rf_fold_info *i, rf_error *e) {
        return rf_model_fold(m.get(), 3, i, e);
    });
    expect_versions<rf_op_use>(
        "rf_op_use", [&](rf_op_use *i, rf_error *e) { return rf_model_op(m.get(), 2, i, e); });
    expect_versions<rf_plan_info>("rf_plan_info", [&](rf_plan_info *i, rf_error *e) {
        return rf_session_prepare(s.get(), &shape, 1, i, e);
    });
}

// Weights that are NaN or Inf where no fold looks at them.
TEST(Hooks, LoggerHearsOfWeightsThatAreNotFinite)
{
    std::vector<LogLine> lines;
    rf_hooks hooks = {};
    hooks.size = sizeof hooks;
    hooks.logger = {collect, &lines, RF_LOG_WARN};
    std::string bytes = dea_net_safetensors(8);
    EXPECT_EQ(info_of(load_bytes(bytes, false, &hooks)).n_nonfinite, 0);
    EXPECT_STREQ(info_of(load_bytes(bytes, false, &hooks)).first_nonfinite, "");
    EXPECT_TRUE(lines.empty()) << lines[0].text;
    overwrite(bytes, "up3.0.weight", 3, NAN);
    overwrite(bytes, "up3.0.bias", 1, -INFINITY);
    Model m = load_bytes(bytes, false, &hooks);
    EXPECT_EQ(info_of(m).n_nonfinite, 4);
    EXPECT_STREQ(info_of(m).first_nonfinite, "up3.0.weight");
    ASSERT_EQ(lines.size(), 1u);
    EXPECT_EQ(lines[0].level, RF_LOG_WARN);
    for (const char *word : {"4 weights", "NaN", "'up3.0.weight'"})
        EXPECT_NE(lines[0].text.find(word), std::string::npos) << lines[0].text;
    TempDir dir;
    rf_error err = {};
    ASSERT_EQ(rf_model_save(m.get(), (dir / "m").c_str(), &err), RF_OK) << err.text;
    EXPECT_EQ(info_of(load_file(dir / "m")).n_nonfinite, -1) << "mapped, not looked at";
}

} // namespace
