// SPDX-License-Identifier: Apache-2.0
//
// Checkpoints: the name index, prefixes, metadata.
#include <cstring>
#include <random>
#include <set>

#include "runtime/base/half.h"
#include "runtime/core/checkpoint.h"
#include "tests/support/support.h"

namespace
{

class Checkpoint : public testing::Test
{
  protected:
    void SetUp() override
    {
        rf_hooks hooks = memory.hooks();
        ASSERT_EQ(rf_env_create(&hooks, &env, nullptr), RF_OK);
        ASSERT_EQ(rf_checkpoint_create(env, "x.pth", &ckpt, &err), RF_OK);
        ASSERT_EQ(rf_blob_alloc(env, 64, &blob, &err), RF_OK);
        int64_t dims[] = {4};
        ASSERT_EQ(rf_tensor_init(&desc, RF_F32, 1, dims, rf_blob_mutable(blob), &err), RF_OK);
    }
    void TearDown() override
    {
        rf_blob_release(&blob);
        rf_checkpoint_destroy(&ckpt);
        rf_env_release(&env);
        EXPECT_EQ(memory.bytes, 0);
        EXPECT_EQ(memory.wrong_sizes, 0);
    }
    rf_status add(const std::string &name)
    {
        return rf_checkpoint_add(ckpt, name.data(), name.size(), &desc, blob, &err);
    }
    std::string names() const
    {
        std::string s;
        for (size_t i = 0; i < ckpt->n_entries; i++)
            s += std::string(ckpt->entries[i].name) + " ";
        return s;
    }
    rft::Memory memory;
    rf_env *env = nullptr;
    rf_checkpoint *ckpt = nullptr;
    rf_blob *blob = nullptr;
    rf_tensor desc = {};
    rf_error err = {};
};

TEST_F(Checkpoint, FindsWhatWasAdded)
{
    ASSERT_EQ(add("a.weight"), RF_OK);
    ASSERT_EQ(add("a.bias"), RF_OK);
    EXPECT_STREQ(rf_checkpoint_find(ckpt, "a.bias")->name, "a.bias");
    EXPECT_STREQ(rf_checkpoint_findf(ckpt, "%s.%s", "a", "weight")->name, "a.weight");
    EXPECT_EQ(rf_checkpoint_find(ckpt, "a"), nullptr);
    EXPECT_EQ(rf_checkpoint_find(ckpt, "a.bias2"), nullptr);
    EXPECT_EQ(rf_checkpoint_findf(ckpt, "%05000d", 1), nullptr);
}

TEST_F(Checkpoint, RefusesDuplicateAndImpossibleNames)
{
    ASSERT_EQ(add("w"), RF_OK);
    EXPECT_EQ(add("w"), RF_ERR_FORMAT);
    EXPECT_NE(strstr(err.text, "tensor 'w' is there twice"), nullptr) << err.text;
    EXPECT_EQ(add(""), RF_ERR_FORMAT);
    EXPECT_EQ(add(std::string("a\0b", 3)), RF_ERR_FORMAT);
    EXPECT_NE(strstr(err.text, "NUL"), nullptr) << err.text;
    EXPECT_EQ(add(std::string(5000, 'n')), RF_ERR_FORMAT);
    EXPECT_EQ(ckpt->n_entries, 1u);
}

TEST_F(Checkpoint, IndexSurvivesManyAddsAndRemoves)
{
    std::mt19937 random(3);
    std::set<std::string> want;
    for (int i = 0; i < 4000; i++) {
        std::string name = "layer" + std::to_string(random() % 500) + ".w";
        if (random() % 3) {
            EXPECT_EQ(add(name), want.count(name) ? RF_ERR_FORMAT : RF_OK);
            want.insert(name);
        } else {
            rf_checkpoint_remove(ckpt, name.c_str());
            want.erase(name);
        }
    }
    ASSERT_EQ(ckpt->n_entries, want.size());
    for (int i = 0; i < 500; i++) {
        std::string name = "layer" + std::to_string(i) + ".w";
        rf_checkpoint_entry *entry = rf_checkpoint_find(ckpt, name.c_str());
        ASSERT_EQ(entry != nullptr, want.count(name) == 1) << name;
        if (entry) {
            EXPECT_EQ(entry->name, name);
        }
    }
}

TEST_F(Checkpoint, RemovingKeepsTheOrder)
{
    for (const char *name : {"a", "b", "c", "d"})
        ASSERT_EQ(add(name), RF_OK);
    rf_checkpoint_remove(ckpt, "b");
    rf_checkpoint_remove(ckpt, "nothing");
    EXPECT_EQ(names(), "a c d ");
}

TEST_F(Checkpoint, StripsPrefixesThatAllKeysShare)
{
    for (const char *name : {"module._orig_mod.a.w", "module._orig_mod.module"})
        ASSERT_EQ(add(name), RF_OK);
    ASSERT_EQ(rf_checkpoint_strip_prefixes(ckpt, &err), RF_OK);
    EXPECT_EQ(names(), "a.w module ");
    EXPECT_NE(rf_checkpoint_find(ckpt, "a.w"), nullptr);
    EXPECT_EQ(rf_checkpoint_find(ckpt, "module._orig_mod.a.w"), nullptr);
}

TEST_F(Checkpoint, KeepsPrefixesThatOneKeyLacks)
{
    for (const char *name : {"base_model.model.a", "other"})
        ASSERT_EQ(add(name), RF_OK);
    ASSERT_EQ(rf_checkpoint_strip_prefixes(ckpt, &err), RF_OK);
    EXPECT_EQ(names(), "base_model.model.a other ");
}

TEST_F(Checkpoint, NeverStripsANameToNothing)
{
    ASSERT_EQ(add("module."), RF_OK);
    ASSERT_EQ(rf_checkpoint_strip_prefixes(ckpt, &err), RF_OK);
    EXPECT_EQ(names(), "module. ");
}

TEST_F(Checkpoint, KeepsMetadata)
{
    EXPECT_EQ(rf_checkpoint_get_meta(ckpt, "format"), nullptr);
    for (int i = 0; i < 20; i++)
        ASSERT_EQ(rf_checkpoint_set_meta(ckpt, std::to_string(i).c_str(), "v", &err), RF_OK);
    ASSERT_EQ(rf_checkpoint_set_meta(ckpt, "7", "other", &err), RF_OK);
    EXPECT_STREQ(rf_checkpoint_get_meta(ckpt, "7"), "other");
    EXPECT_STREQ(rf_checkpoint_get_meta(ckpt, "19"), "v");
    EXPECT_EQ(ckpt->n_meta, 20u);
}

TEST_F(Checkpoint, ConvertsToFloat64)
{
    uint16_t *h = (uint16_t *)rf_blob_mutable(blob);
    for (int i = 0; i < 6; i++)
        h[i] = rf_f32_to_bf16((float)i);
    rf_tensor src, out;
    rf_blob *wide;
    int64_t dims[] = {3, 2};
    ASSERT_EQ(rf_tensor_init(&src, RF_BF16, 2, dims, h, &err), RF_OK);
    src.strides[0] = 1;
    src.strides[1] = 3;
    ASSERT_EQ(rf_checkpoint_to_f64(env, &src, &out, &wide, &err), RF_OK);
    const double want[6] = {0, 3, 1, 4, 2, 5};
    EXPECT_EQ(memcmp(out.data, want, sizeof want), 0);
    EXPECT_EQ(out.dtype, RF_F64);
    rf_blob_release(&wide);
}

TEST_F(Checkpoint, EveryRefusedAllocationIsReportedAndLeaksNothing)
{
    for (int64_t k = 1;; k++) {
        rf_checkpoint *c = nullptr;
        memory.refuse = memory.calls + k;
        rf_status status = rf_checkpoint_create(env, "p", &c, &err);
        for (int i = 0; i < 100 && status == RF_OK; i++) {
            std::string name = std::to_string(i);
            status = rf_checkpoint_add(c, name.data(), name.size(), &desc, blob, &err);
            if (status == RF_OK)
                status = rf_checkpoint_set_meta(c, name.c_str(), "v", &err);
        }
        memory.refuse = 0;
        rf_checkpoint_destroy(&c);
        if (status == RF_OK)
            break;
        ASSERT_EQ(status, RF_ERR_MEMORY) << k;
    }
}

} // namespace
