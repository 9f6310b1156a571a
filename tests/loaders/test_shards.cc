// SPDX-License-Identifier: Apache-2.0
//
// Checkpoints in several .safetensors files, and indices that lie about them.
#include "tests/loaders/files.h"
#include "tests/support/networks.h"

using namespace rft;

namespace
{

bool is_down(const std::string &name)
{
    return name.rfind("down", 0) == 0;
}

std::string floats(const std::vector<std::string> &names)
{
    std::string header = "{", data;
    for (const std::string &name : names) {
        header += (data.empty() ? "\"" : ",\"") + name + R"(":{"dtype":"F32","shape":[1],)" +
                  "\"data_offsets\":[" + std::to_string(data.size()) + "," +
                  std::to_string(data.size() + 4) + "]}";
        data += little(0x3f800000, 4);
    }
    return make_safetensors(header + "}", data);
}

// A folder with two shards of two tensors each, and the index.
class Shards : public testing::Test
{
  protected:
    Shards()
    {
        write_file(dir_ / "one.safetensors", floats({"a", "b"}));
        write_file(dir_ / "two.safetensors", floats({"c", "d"}));
    }

    static std::string index(const std::string &map)
    {
        return R"({"metadata":{"total_size":16},"weight_map":{)" + map + "}}";
    }

    // What came of loading an index; the names of the tensors if it was accepted.
    std::string load_index(const std::string &text)
    {
        Memory memory;
        rf_hooks hooks = memory.hooks();
        const std::string path = dir_ / "model.safetensors.index.json";
        write_file(path, text);
        rf_env *env = nullptr;
        rf_blob *blob = nullptr;
        rf_checkpoint *ckpt = nullptr;
        rf_error err = {};
        EXPECT_EQ(rf_env_create(&hooks, &env, &err), RF_OK);
        EXPECT_EQ(rf_blob_map_file(env, path.c_str(), &blob, &err), RF_OK) << err.text;
        rf_status status = rf_load_checkpoint(env, blob, path.c_str(), &ckpt, &err);
        std::string result = status == RF_OK ? "" : err.text;
        EXPECT_TRUE(status == RF_OK || result.rfind(path + ": ", 0) == 0) << result;
        for (size_t i = 0; status == RF_OK && i < ckpt->n_entries; i++)
            result += ckpt->entries[i].name;
        rf_checkpoint_destroy(&ckpt);
        rf_blob_release(&blob);
        rf_env_release(&env);
        EXPECT_EQ(memory.bytes, 0) << result;
        return result;
    }

    void refused(const std::string &text, const std::vector<std::string> &words)
    {
        const std::string message = load_index(text);
        for (const std::string &w : words)
            EXPECT_NE(message.find(w), std::string::npos)
                << "'" << w << "' is missing in: " << message << "\nof " << text;
    }

    TempDir dir_;
    const std::string all_ = R"("a":"one.safetensors","b":"one.safetensors",)"
                             R"("c":"two.safetensors","d":"two.safetensors")";
};

TEST_F(Shards, BecomeOneCheckpoint)
{
    EXPECT_EQ(load_index(index(all_)), "abcd");
    EXPECT_EQ(load_index(" \n" + index(all_)), "abcd");
    EXPECT_EQ(load_index(index("")), "") << "no tensors, and none missing";
}

TEST_F(Shards, GiveTheSameNetworkAsOneFile)
{
    std::string map;
    for (const auto &[name, dims] : dea_net_entries(8))
        map += (map.empty() ? "\"" : ",\"") + name + "\":\"" +
               (is_down(name) ? "d.safetensors" : "r.safetensors") + "\"";
    write_file(dir_ / "d.safetensors", dea_net_safetensors(8, is_down));
    write_file(dir_ / "r.safetensors",
               dea_net_safetensors(8, [](const std::string &name) { return !is_down(name); }));
    write_file(dir_ / "index.json", index(map));
    Model sharded = load_file(dir_ / "index.json");
    EXPECT_STREQ(info_of(sharded).format, "safetensors");
    EXPECT_EQ(info_of(sharded).n_file_parameters, 513065);
    const Array x = random_array("x", {1, 3, 20, 24}, 0, 1);
    EXPECT_EQ(run(open_session(sharded), x).data,
              run(open_session(load_bytes(dea_net_safetensors(8))), x).data);
}

TEST_F(Shards, MustBeWhereTheIndexSays)
{
    refused(index(all_ + R"(,"e":"three.safetensors")"), {"three.safetensors", "No such file"});
    refused(index(R"("a":"one.safetensors","b":"two.safetensors","c":"two.safetensors")"),
            {"shard 'one.safetensors'", "'b' lies here", "'two.safetensors'"});
    refused(index(R"("a":"one.safetensors","c":"two.safetensors","d":"two.safetensors")"),
            {"shard 'one.safetensors'", "'b' lies here", "does not have it"});
    refused(index(all_ + R"(,"e":"two.safetensors")"),
            {"shard 'two.safetensors'", "has no tensor 'e'"});
    write_file(dir_ / "two.safetensors", floats({"c", "d", "a"}));
    refused(index(all_), {"shard 'two.safetensors'", "'a'", "twice"});
}

TEST_F(Shards, AreNotLookedForOutsideOfTheFolder)
{
    write_file(dir_ / "shard", floats({"a"}));
    const std::string words = "expected the plain name of a file in the folder";
    for (const std::string name : {"../x/one.safetensors", "..", ".", "", "sub/one.safetensors",
                                   "./shard", "/etc/passwd", "one.safetensors/", "a\\u0001b"})
        refused(index(R"("a":")" + name + "\""), {"'a'", words});
    refused(index(R"("a":")" + (dir_ / "shard") + "\""), {"'a'", words}); // absolute, and there
    refused(index(R"("a":")" + std::string(256, 'x') + "\""), {"'a'", words});
    EXPECT_EQ(load_index(index(R"("a":"shard")")), "a") << "the name says nothing";
}

TEST_F(Shards, MustBePlainSafetensorsFiles)
{
    write_file(dir_ / "text", "no tensors");
    refused(index(R"("a":"text")"), {"shard 'text'", "expected a .safetensors file"});
    write_file(dir_ / "empty", "");
    refused(index(R"("a":"empty")"), {"shard 'empty'", "expected a .safetensors file"});
    refused(index(R"("a":"model.safetensors.index.json")"), {"expected a .safetensors file"});
    write_file(dir_ / "cut", floats({"a"}).substr(0, 60));
    refused(index(R"("a":"cut")"), {"shard 'cut'", "header"});
    ASSERT_EQ(run_command({"mkdir", dir_ / "folder"}).code, 0);
    refused(index(R"("a":"folder")"), {"folder", "is a directory"});
    rf_error err = {};
    Model own = finish_graph(two_convs());
    ASSERT_EQ(rf_model_save(own.get(), (dir_ / "own").c_str(), &err), RF_OK) << err.text;
    refused(index(R"("first.weight":"own")"), {"shard 'own'", "a graph of its own"});
}

TEST_F(Shards, NeedAnIndexThatIsOne)
{
    refused("{", {"JSON text, line 1"});
    refused("{}", {"without a 'weight_map'"});
    refused(R"({"weight_map":["one.safetensors"]})", {"without a 'weight_map'"});
    refused(R"({"architectures":["x"]})", {"expected the index of a sharded"});
    refused(index(R"("a":1)"), {"'a'", "not given as a string"});
    refused(index(R"("a":null)"), {"'a'", "not given as a string"});
    refused(index(R"("":"one.safetensors")"), {"name has 0 bytes"});
    refused(index(R"("a":"one.safetensors","a":"two.safetensors")"), {"JSON text", "duplicate"});
    refused(index(all_) + "x", {"JSON text"});
    std::string many;
    for (int i = 0; i < 4097; i++)
        many += (i ? ",\"t" : "\"t") + std::to_string(i) + "\":\"f" + std::to_string(i) + "\"";
    refused(index(many), {"4097 files"});
}

TEST_F(Shards, CannotBeFoundFromMemory)
{
    const std::string text = index(all_);
    rf_model_params params = {sizeof params, nullptr, text.data(), text.size(), false, nullptr};
    rf_model *model = nullptr;
    rf_error err = {};
    EXPECT_EQ(rf_model_load(&params, &model, &err), RF_ERR_UNSUPPORTED);
    EXPECT_NE(std::string(err.text).find("must be given as a path"), std::string::npos) << err.text;
}

TEST_F(Shards, SurviveEveryDamageOfTheIndex)
{
    int accepted = 0, refusals = 0;
    auto check = [&](const std::string &text, const std::string &) {
        const std::string result = load_index(text);
        (result == "abcd" ? accepted : refusals)++;
        EXPECT_FALSE(result.empty()) << text;
    };
    for_each_damage(index(all_), check);
    EXPECT_GT(accepted, 0) << "some bytes do not matter";
    EXPECT_GT(refusals, accepted);
    for_each_truncation(index(all_), [&](const std::string &text, const std::string &what) {
        EXPECT_NE(load_index(text), "abcd") << what;
    });
}

} // namespace
