// SPDX-License-Identifier: Apache-2.0
//
// What people hand over instead of a model: the message says what it looks like and what was
// expected.
#include "tests/loaders/files.h"

using namespace rft;

namespace
{

const std::vector<std::string> expected = {"expected a checkpoint of PyTorch", ".safetensors"};

TEST(NotAModel, IsCalledByItsName)
{
    const std::vector<std::pair<std::string, std::string>> cases = {
        {"", "an empty file"},
        {"\x89PNG\r\n\x1a\n....", "a PNG image"},
        {"\xff\xd8\xff\xe0....", "a JPEG image"},
        {"\x93NUMPY....", "a NumPy array"},
        {"GGUF....", "a GGUF file"},
        {"\x89HDF\r\n\x1a\n", "an HDF5 file"},
        {"\x1f\x8b\x08....", "a gzip archive"},
        {"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"},
        {"<!DOCTYPE html><title>404</title>", "a web page"},
        {std::string("\x08\x0a\x12\x07pytorch\x1a\x05", 14), "an ONNX model"},
        {"Hello world, this is no model.\n", "text"},
        {"PK\5\6" + std::string(18, '\0'), "other bytes"}, // an empty archive
        {"\x01\x02\x03", "other bytes"},
        {std::string(1000, '\0'), "other bytes"},
    };
    for (auto &[bytes, name] : cases) {
        std::vector<std::string> words = expected;
        words.push_back("found " + (name == "git lfs pull" ? "a Git LFS pointer" : name));
        expect_refused(bytes, words, name);
    }
}

TEST(NotAModel, IsRefusedThroughThePublicApiWithItsPath)
{
    TempDir dir;
    write_file(dir / "empty", "");
    write_file(dir / "text", "not a model\n");
    const struct {
        std::string name;
        rf_status status;
        std::string word;
    } cases[] = {{"empty", RF_ERR_FORMAT, "an empty file"},
                 {"text", RF_ERR_FORMAT, "found text"},
                 {"", RF_ERR_IO, "is a directory"},
                 {"missing", RF_ERR_IO, "No such file"}};
    for (auto &c : cases) {
        const std::string path = dir / c.name;
        rf_model_params params = {sizeof params, path.c_str(), nullptr, 0, false, nullptr};
        rf_model *model = nullptr;
        rf_error err = {};
        EXPECT_EQ(rf_model_load(&params, &model, &err), c.status);
        EXPECT_EQ(model, nullptr);
        EXPECT_EQ(std::string(err.text).rfind(path + ": ", 0), 0u) << err.text;
        EXPECT_NE(std::string(err.text).find(c.word), std::string::npos) << err.text;
    }
    rf_model_params params = {sizeof params, nullptr, "", 0, false, nullptr};
    rf_model *model = nullptr;
    rf_error err = {};
    EXPECT_EQ(rf_model_load(&params, &model, &err), RF_ERR_FORMAT);
    EXPECT_NE(std::string(err.text).find("<memory>: expected"), std::string::npos) << err.text;
}

} // namespace
