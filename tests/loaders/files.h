// SPDX-License-Identifier: Apache-2.0
//
// Makers of well-formed and malformed files, and what all formats are put through: loading with
// counted memory, truncation at every byte, flipped bits.
#ifndef RF_TESTS_LOADERS_FILES_H
#define RF_TESTS_LOADERS_FILES_H

#include <functional>

#include "loaders/loader.h"
#include "tests/support/support.h"

namespace rft
{

std::string little(uint64_t value, int bytes);
uint64_t read_little(const std::string &s, size_t at, int bytes);
// tests/loaders/data/<name>
std::string data_file(const std::string &name);

// What came of loading a file in memory.
struct Loaded {
    rf_status status = RF_OK;
    std::string text;   // of the error
    std::string format; // "pth", "safetensors"
    int64_t peak = 0;   // bytes that the loader took at most, the file's own left out
    struct Tensor {
        rf_dtype dtype;
        std::vector<int64_t> dims;
        std::vector<double> values;
        bool in_file; // its elements lie in the file's memory
    };
    std::map<std::string, Tensor> tensors;
};
// Also checks that memory comes back, that tensors are dense and aligned, that a failure has a text
// which begins with the file's name, and that memory was bounded by the file's size.
Loaded load(const std::string &bytes);
// Expects a refusal whose message holds all the words.
void expect_refused(const std::string &bytes, const std::vector<std::string> &words,
                    const std::string &what = "");

using Check = std::function<void(const std::string &bytes, const std::string &what)>;
// Calls `check` with every proper prefix of the file.
void for_each_truncation(const std::string &file, const Check &check);
// Calls `check` with one byte changed, for every byte: each bit flipped, and 0, 0x7f, 0xff.
// Fewer when tests are to be quick.
void for_each_damage(const std::string &file, const Check &check);

// A zip archive record by record; every field can be made wrong.
struct ZipRecord {
    std::string name, data;
    std::string local_name; // if not empty: instead of name in the local header
    uint16_t flags = 0, method = 0, local_flags = 0, local_method = 0;
    bool descriptor = false; // sizes and checksum behind the data, as PyTorch writes
    uint32_t crc_xor = 0;    // damages the checksum in both headers
    std::string extra, local_extra;
    int64_t size_add = 0;   // damages both sizes of the directory
    int64_t packed_add = 0; // only the compressed size
    int64_t place_add = 0;  // the place of the local header
    uint16_t disk = 0;
};
struct ZipOptions {
    bool zip64 = false;
    int64_t count_add = 0, directory_add = 0, bytes_add = 0;
    int64_t count64_add = 0, directory64_add = 0, end64_add = 0;
    std::string prefix, comment;
};
std::string make_zip(const std::vector<ZipRecord> &records, const ZipOptions &options = {});
uint32_t crc_of(const std::string &s);

// Records of an archive as torch.save makes it: data.pkl, byteorder, version, and data/<key>.
std::vector<ZipRecord> torch_records(const std::string &pickle,
                                     const std::map<std::string, std::string> &storages = {});
std::string make_pth(const std::string &pickle,
                     const std::map<std::string, std::string> &storages = {});

// Pieces of pickles, protocol 2.
namespace pickle
{
const std::string proto = "\x80\x02", stop = ".", mark = "(", reduce = "R";
std::string global(const std::string &module, const std::string &name);
std::string str(const std::string &s);
std::string num(int64_t i);
std::string tuple(const std::vector<std::string> &items);
std::string dict(const std::vector<std::pair<std::string, std::string>> &items); // values pickled
std::string ordered_dict();
std::string storage(const std::string &type, const std::string &key, int64_t n);
std::string tensor(const std::string &storage, int64_t offset, const std::vector<int64_t> &dims,
                   const std::vector<int64_t> &strides);
// A call of module.name(argument).
std::string call(const std::string &module, const std::string &name, const std::string &argument);
} // namespace pickle

// A safetensors file: header text and data.
std::string make_safetensors(const std::string &header, const std::string &data = "");

} // namespace rft
#endif
