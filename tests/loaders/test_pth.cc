// SPDX-License-Identifier: Apache-2.0
//
// Checkpoints that PyTorch wrote (tests/loaders/data/make_pth.py): every value arrives, cut or
// damaged files are refused or harmless.
#include "tests/loaders/files.h"

#include <cmath>
#include <numeric>

using namespace rft;

namespace
{

const double two40 = 1099511627776.0;

void expect_tensor(const Loaded &l, const std::string &name, rf_dtype dtype,
                   const std::vector<int64_t> &dims, const std::vector<double> &values)
{
    ASSERT_EQ(l.status, RF_OK) << l.text;
    ASSERT_EQ(l.tensors.count(name), 1u) << name;
    const Loaded::Tensor &t = l.tensors.at(name);
    EXPECT_EQ(t.dtype, dtype) << name;
    EXPECT_EQ(t.dims, dims) << name;
    EXPECT_EQ(t.values, values) << name;
}

void expect_small(const std::string &file)
{
    SCOPED_TRACE(file);
    Loaded l = load(data_file(file));
    expect_tensor(l, "w", RF_F32, {2, 2}, {1, -2, 3, 0.5});
    expect_tensor(l, "b", RF_F32, {2}, {4, -8});
    EXPECT_EQ(l.tensors.size(), 2u);
    EXPECT_EQ(l.format, "pth");
}

std::vector<double> count(int from, int n, int step = 1)
{
    std::vector<double> v;
    for (int i = 0; i < n; i++)
        v.push_back(from + i * step);
    return v;
}

TEST(Pth, ReadsEveryDtype)
{
    Loaded l = load(data_file("dtypes.pth"));
    for (auto [name, dtype] : std::map<std::string, rf_dtype>{
             {"f32", RF_F32}, {"f64", RF_F64}, {"f16", RF_F16}, {"bf16", RF_BF16}})
        expect_tensor(l, name, dtype, {3}, {1, -2.5, 96});
    expect_tensor(l, "i64", RF_I64, {3}, {two40, -2 * two40, 100 * two40});
    expect_tensor(l, "i32", RF_I32, {3}, {1048576, -2097152, 104857600});
    expect_tensor(l, "i16", RF_I16, {3}, {1, -2, 100});
    expect_tensor(l, "i8", RF_I8, {3}, {1, -2, 100});
    expect_tensor(l, "u8", RF_U8, {3}, {1, 2, 100});
    expect_tensor(l, "bool", RF_BOOL, {3}, {1, 0, 1});
    expect_tensor(l, "scalar", RF_F32, {}, {7.25});
    expect_tensor(l, "empty", RF_F32, {0, 3}, {});
    expect_tensor(l, "hollow", RF_F32, {2, 0, 3}, {});
    EXPECT_EQ(l.tensors.size(), 13u);
    l = load(data_file("unsigned.pth"));
    expect_tensor(l, "u16", RF_U16, {2}, {1, 65535});
    expect_tensor(l, "u32", RF_U32, {2}, {1, 4294967295.0});
    expect_tensor(l, "u64", RF_U64, {2}, {1, 9223372036854775808.0});
}

TEST(Pth, HonoursStridesAndSharedStorage)
{
    for (const char *file : {"strides.pth", "legacy.pth"}) {
        SCOPED_TRACE(file);
        Loaded l = load(data_file(file));
        expect_tensor(l, "plain", RF_F32, {2, 3, 4}, count(0, 24));
        std::vector<double> permuted;
        for (int k = 0; k < 4; k++)
            for (int i = 0; i < 2; i++)
                for (int j = 0; j < 3; j++)
                    permuted.push_back(12 * i + 4 * j + k);
        expect_tensor(l, "permuted", RF_F32, {4, 2, 3}, permuted);
        expect_tensor(l, "part", RF_F32, {2, 4}, count(16, 8));
        expect_tensor(l, "channels_last", RF_F32, {1, 3, 2, 4}, count(0, 24));
        expect_tensor(l, "every_third", RF_F32, {3}, {2, 5, 8});
        expect_tensor(l, "expanded", RF_F32, {3, 2}, {5, 5, 5, 5, 5, 5});
        expect_tensor(l, "tied_a", RF_F32, {2}, {1, 2});
        expect_tensor(l, "tied_b", RF_F32, {2}, {1, 2});
        EXPECT_FALSE(l.tensors["permuted"].in_file);
    }
    Loaded l = load(data_file("strides.pth"));
    for (const char *name : {"plain", "part", "tied_a", "tied_b"})
        EXPECT_TRUE(l.tensors[name].in_file) << name << " was copied";
}

TEST(Pth, FindsTheStateDictInWhateverHoldsIt)
{
    for (const char *file : {"plain.pth", "params_ema.pth", "module.pth", "parameters.pth",
                             "training.pk", "legacy_training.pk"})
        expect_small(file);
}

TEST(Pth, RefusesWhatItCannotReadAndSaysWhatThatIs)
{
    struct {
        const char *file;
        std::vector<std::string> words;
    } cases[] = {
        {"protocol4.pth", {"protocol 2", "found 4"}},
        {"module_object.pth", {"torch.nn.modules.linear Linear", "state_dict"}},
        {"complex.pth", {"torch ComplexFloatStorage"}},
        {"sparse.pth", {"no tensors", "w: an object of", "_rebuild_sparse_tensor"}},
        {"quantized.pth", {"QInt8Storage"}},
        {"pickle_dump.pkl", {"plain pickle", "torch.save"}},
        {"script.pt", {"TorchScript", "script/", "state dict"}},
    };
    for (auto &c : cases)
        expect_refused(data_file(c.file), c.words, c.file);
}

const char *const small_files[] = {"plain.pth",  "training.pk", "unsigned.pth",
                                   "legacy.pth", "module.pth",  "legacy_training.pk"};

TEST(Pth, RefusesEveryTruncation)
{
    for (const char *file : small_files)
        for_each_truncation(data_file(file),
                            [&](const std::string &bytes, const std::string &what) {
                                expect_refused(bytes, {}, file + (": " + what));
                            });
}

TEST(Pth, DamageIsRefusedOrHarmless)
{
    for (const char *file : small_files) {
        const std::string whole = data_file(file);
        const Loaded before = load(whole);
        const bool checked = whole[0] == 'P'; // checksums: what loads is what was written
        for_each_damage(whole, [&](const std::string &bytes, const std::string &what) {
            Loaded l = load(bytes);
            if (l.status != RF_OK || !checked)
                return;
            ASSERT_EQ(l.tensors.size(), before.tensors.size()) << file << ": " << what;
            for (const auto &[name, t] : before.tensors) {
                ASSERT_EQ(l.tensors.count(name), 1u) << file << ": " << what;
                ASSERT_EQ(l.tensors[name].values, t.values) << file << ": " << what;
            }
        });
    }
}

// The same through the public API, from a file.
TEST(Pth, LoadsAndRefusesThroughTheModel)
{
    TempDir dir;
    write_file(dir / "m.pth", data_file("plain.pth"));
    rf_model_params params = {sizeof params, nullptr, nullptr, 0, false, nullptr};
    rf_model *model = nullptr;
    rf_error err = {};
    std::string path = dir / "m.pth";
    params.path = path.c_str();
    EXPECT_EQ(rf_model_load(&params, &model, &err), RF_ERR_UNSUPPORTED);
    EXPECT_NE(std::string(err.text).find(path + ": no architecture"), std::string::npos)
        << err.text;
    EXPECT_NE(std::string(err.text).find("'w', 'b'"), std::string::npos) << err.text;
    write_file(path, data_file("plain.pth").substr(0, 900));
    EXPECT_EQ(rf_model_load(&params, &model, &err), RF_ERR_FORMAT);
    EXPECT_NE(std::string(err.text).find(path), std::string::npos) << err.text;
    EXPECT_EQ(model, nullptr);
}

} // namespace
