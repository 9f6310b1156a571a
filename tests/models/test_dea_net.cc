// SPDX-License-Identifier: Apache-2.0
//
// DEA-Net through the whole stack against PyTorch: the official code's goldens in
// shared/golden/dea_net, and a small one of the project's own (tests/data/models/make_goldens.py).
// The raw network (no padding, clamp, crop) is compared with float64 outputs, because a clamp hides
// errors. The program runs once per instruction set (REFOLD_CPU, see tests/meson.build).
#include "tests/support/networks.h"

#include <algorithm>
#include <cstdlib>

#include "loaders/arch/arch.h"
#include "loaders/loader.h"
#include "runtime/fold/fold.h"

using namespace rft;

namespace
{

constexpr double F32_BOUND = 1e-5;   // of max |reference|: T2 of reparam.md, whole network
constexpr double BF16_BOUND = 0.015; // rms over the standard deviation: cpu.md section 1
constexpr double F16_BOUND = 0.002;  // three bits more of mantissa

rf_status build_raw(rf_env *env, rf_blob *blob, bool fold, rf_graph **out, rf_error *err)
{
    rf_checkpoint *ckpt = nullptr;
    rf_fold_audit audit;
    rf_fold_audit_init(&audit, env);
    rf_status status = rf_load_checkpoint(env, blob, nullptr, &ckpt, err);
    if (status == RF_OK)
        status = rf_fold_checkpoint(ckpt, fold, &audit, err);
    if (status == RF_OK)
        status = rf_graph_create_env(env, out, err);
    if (status == RF_OK)
        status = rf_arch_dea_net_build_raw(ckpt, *out, false, err);
    rf_checkpoint_destroy(&ckpt);
    rf_fold_audit_free(&audit);
    return status;
}

// The network between padding and clamp.
Model load_raw(const std::string &file_bytes, bool fold)
{
    rf_env *env = nullptr;
    rf_blob *blob = nullptr;
    rf_graph *graph = nullptr;
    rf_error err;
    rf_status status = rf_env_create(nullptr, &env, &err);
    if (status == RF_OK)
        status = rf_blob_copy(env, file_bytes.data(), file_bytes.size(), &blob, &err);
    if (status == RF_OK)
        status = build_raw(env, blob, fold, &graph, &err);
    EXPECT_EQ(status, RF_OK) << err.text;
    rf_blob_release(&blob);
    rf_env_release(&env);
    if (status != RF_OK) {
        rf_graph_destroy(&graph);
        return nullptr;
    }
    return finish_graph(Graph(graph), !fold);
}

// Reflection without the edge, at the right and bottom, to multiples of 4.
Array pad_to_4(const Array &x)
{
    int64_t h = x.dims[2], w = x.dims[3];
    Array p({x.dims[0], x.dims[1], (h + 3) / 4 * 4, (w + 3) / 4 * 4});
    size_t at = 0;
    for (int64_t c = 0; c < x.dims[0] * x.dims[1]; c++)
        for (int64_t i = 0; i < p.dims[2]; i++)
            for (int64_t j = 0; j < p.dims[3]; j++) {
                int64_t y = i < h ? i : 2 * h - 2 - i, z = j < w ? j : 2 * w - 2 - j;
                p.data[at++] = x.data[static_cast<size_t>((c * h + y) * w + z)];
            }
    return p;
}

Array image(const Array &batch, int64_t i)
{
    Array one({1, batch.dims[1], batch.dims[2], batch.dims[3]});
    auto begin = batch.data.begin() + i * static_cast<int64_t>(one.data.size());
    std::copy(begin, begin + static_cast<int64_t>(one.data.size()), one.data.begin());
    return one;
}

std::string tiny()
{
    return dea_net_safetensors(8);
}

// One checkpoint with its inputs and outputs. `rows`: how many images are compared.
struct Golden {
    std::string checkpoint;
    Array x, raw, y;
};

Golden own_golden()
{
    auto io = read_npz(source_root() + "/tests/data/models/dea_tiny.npz");
    Array x = random_array("x", {1, 3, 21, 18}, 0, 1);
    return {tiny(), x, io["y_raw_padded_f64"].to_array(), io["y"].to_array()};
}

Golden official_golden(const std::string &checkpoint, const std::string &io_name, bool first_only)
{
    std::string dir = golden_dir("dea_net");
    auto io = read_npz(dir + "/" + io_name);
    Golden g = {read_file(dir + "/" + checkpoint), io["x"].to_array(),
                io["y_raw_padded_f64"].to_array(), io["y"].to_array()};
    if (first_only)
        g = {g.checkpoint, image(g.x, 0), image(g.raw, 0), image(g.y, 0)};
    return g;
}

void expect_f32(const Golden &g, const SessionOptions &options, bool unfolded = false)
{
    Array raw = run(open_session(load_raw(g.checkpoint, !unfolded), options), pad_to_4(g.x));
    EXPECT_EQ(raw.dims, g.raw.dims);
    double bound = F32_BOUND * max_abs(g.raw.data), d = max_abs_difference(raw.data, g.raw.data);
    EXPECT_LE(d, bound);
    Array y = run(open_session(load_bytes(g.checkpoint, unfolded), options), g.x);
    EXPECT_EQ(y.dims, g.y.dims);
    double dy = max_abs_difference(y.data, g.y.data);
    EXPECT_LE(dy, F32_BOUND);
    printf("    %s: raw %.2g of %.2g, whole %.2g\n", options.device, d, bound, dy);
}

void expect_half(const Golden &g, rf_dtype precision = RF_BF16, const char *device = "cpu")
{
    SessionOptions options;
    options.device = device;
    options.precision = precision;
    Array raw = run(open_session(load_raw(g.checkpoint, true), options), pad_to_4(g.x));
    double rms = relative_rms(raw.data, g.raw.data);
    EXPECT_LE(rms, precision == RF_F16 ? F16_BOUND : BF16_BOUND);
    printf("    %s %s: rms %.2g of the standard deviation\n", device, rf_dtype_name(precision),
           rms);
}

SessionOptions on(const char *device, int threads = 2, bool exact = false)
{
    SessionOptions o;
    o.device = device;
    o.threads = threads;
    o.exact = exact;
    return o;
}

TEST(DeaNet, OwnGoldenOnCpu)
{
    expect_f32(own_golden(), on("cpu"));
}
TEST(DeaNet, OwnGoldenOnRef)
{
    expect_f32(own_golden(), on("ref"));
}
TEST(DeaNet, OwnGoldenUnfolded)
{
    expect_f32(own_golden(), on("cpu"), true);
}
TEST(DeaNet, OwnGoldenWithOneThread)
{
    expect_f32(own_golden(), on("cpu", 1));
}
TEST(DeaNet, OwnGoldenWithExactKernels)
{
    expect_f32(own_golden(), on("cpu", 2, true));
}
TEST(DeaNet, OwnGoldenInBf16)
{
    expect_half(own_golden());
}

class OfficialGolden : public testing::Test
{
  protected:
    void SetUp() override
    {
        if (golden_dir("dea_net").empty())
            GTEST_SKIP() << "no goldens of the official code on this machine: set RF_GOLDEN_DIR";
    }
};

TEST_F(OfficialGolden, TrainingCheckpointOfWidth8)
{
    Golden g = official_golden("dea_b8_train.pk", "dea_b8_io.npz", false);
    expect_f32(g, on("cpu"));
    expect_f32(g, on("cpu", 1, true));
    expect_f32(g, on("cpu"), true);
    expect_f32(g, on("ref"));
    expect_half(g);
}

TEST_F(OfficialGolden, LegacyStreamOfWidth8)
{
    expect_f32(official_golden("dea_b8_legacy.pth", "dea_b8_io.npz", false), on("cpu"));
}

TEST_F(OfficialGolden, FoldedCheckpointOfWidth8)
{
    Golden g = official_golden("dea_b8_folded.pth", "dea_b8_io.npz", false);
    expect_f32(g, on("cpu"));
    expect_f32(g, on("ref"));
}

TEST_F(OfficialGolden, TrainingCheckpointOfWidth32)
{
    Golden g = official_golden("dea_b32_train.pk", "dea_b32_io.npz", false);
    expect_f32(g, on("cpu"));
    expect_f32(g, on("cpu", 2, true));
    expect_f32(g, on("cpu"), true);
    expect_half(g);
}

TEST_F(OfficialGolden, TrainingCheckpointOfWidth32OnRef)
{
    if (quick())
        GTEST_SKIP() << "minutes under a sanitizer";
    expect_f32(official_golden("dea_b32_train.pk", "dea_b32_io.npz", true), on("ref"));
}

TEST(DeaNet, BatchOfTwoEqualsTwoRuns)
{
    Model model = load_bytes(tiny());
    for (rf_dtype precision : {RF_F32, RF_BF16}) {
        SessionOptions o;
        o.precision = precision;
        Array x = random_array("two", {2, 3, 37, 29}, 0, 1);
        Array both = run(open_session(model, o), x);
        for (int64_t i = 0; i < 2; i++)
            EXPECT_LE(max_abs_difference(run(open_session(model, o), image(x, i)).data,
                                         image(both, i).data),
                      precision == RF_F32 ? 1e-6 : 1e-2);
    }
}

TEST(DeaNet, FoldingLeavesNoTraceInTheGraph)
{
    Model with_folds = load_bytes(tiny()), without = load_bytes(tiny(), true);
    const rf_model_info folded = info_of(with_folds), unfolded = info_of(without);
    EXPECT_EQ(folded.n_folds, 24);
    EXPECT_EQ(unfolded.n_folds, 0);
    EXPECT_EQ(folded.n_file_parameters, 513065);
    EXPECT_LT(folded.n_parameters, unfolded.n_parameters);
    EXPECT_STREQ(folded.architecture, "dea_net");
    // 72 convolutions, two of them transposed, and 10 attentions with their statistics and 1x1
    // pairs
    EXPECT_LT(folded.n_ops, unfolded.n_ops);
}

TEST(DeaNet, SavedFormGivesTheSameBits)
{
    TempDir dir;
    rf_error err;
    Model model = load_bytes(tiny());
    ASSERT_EQ(rf_model_save(model.get(), (dir / "folded.safetensors").c_str(), &err), RF_OK)
        << err.text;
    Model again = load_file(dir / "folded.safetensors");
    Array x = random_array("saved", {1, 3, 33, 21}, 0, 1);
    EXPECT_EQ(run(open_session(model), x).data, run(open_session(again), x).data);
    EXPECT_STREQ(info_of(again).format, "refold");
}

TEST(DeaNet, RunsAtEverySizeFrom13)
{
    Model model = load_bytes(tiny());
    Session cpu = open_session(model), ref = open_session(model, on("ref", 1));
    for (int64_t h : {13, 14, 15, 16, 19})
        for (int64_t w : {13, 18, 31}) {
            Array x = random_array("size", {1, 3, h, w}, 0, 1);
            EXPECT_LE(max_abs_difference(run(cpu, x).data, run(ref, x).data), F32_BOUND)
                << h << "x" << w;
        }
}

// $RF_TEST_DEVICE ("sim": the emulated GPU, "cuda"): the same goldens there.
class OnDevice : public testing::Test
{
  protected:
    void SetUp() override
    {
        device_ = std::getenv("RF_TEST_DEVICE");
        if (!device_)
            GTEST_SKIP() << "RF_TEST_DEVICE is not set";
    }
    // The first run launches step by step, the second records, the third replays.
    void expect_replays_to_be_equal(const Golden &g, rf_dtype precision)
    {
        SessionOptions options;
        options.device = device_;
        options.precision = precision;
        Session s = open_session(load_bytes(g.checkpoint), options);
        const Array first = run(s, g.x);
        for (int i = 0; i < 2; i++)
            EXPECT_EQ(run(s, g.x).data, first.data) << "replay " << i;
    }
    void expect_all(const Golden &g)
    {
        expect_f32(g, on(device_));
        for (rf_dtype precision : {RF_F16, RF_BF16})
            expect_half(g, precision, device_);
        for (rf_dtype precision : {RF_F32, RF_F16})
            expect_replays_to_be_equal(g, precision);
    }
    const char *device_ = nullptr;
};

TEST_F(OnDevice, OwnGolden)
{
    expect_all(own_golden());
    expect_f32(own_golden(), on(device_), true);
}

TEST_F(OnDevice, OfficialGoldens)
{
    if (golden_dir("dea_net").empty())
        GTEST_SKIP() << "no goldens of the official code on this machine: set RF_GOLDEN_DIR";
    expect_all(official_golden("dea_b8_train.pk", "dea_b8_io.npz", true));
    expect_all(official_golden("dea_b32_train.pk", "dea_b32_io.npz", true));
}

} // namespace
