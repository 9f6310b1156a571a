// SPDX-License-Identifier: Apache-2.0
//
// See files.h.
#include "tests/loaders/files.h"

#include <cstring>

#include <zlib.h>

#include "runtime/core/strided.h"

namespace rft
{

std::string little(uint64_t value, int bytes)
{
    std::string s;
    for (int i = 0; i < bytes; i++)
        s += static_cast<char>(value >> 8 * i);
    return s;
}

uint64_t read_little(const std::string &s, size_t at, int bytes)
{
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++)
        v |= static_cast<uint64_t>(static_cast<uint8_t>(s.at(at + static_cast<size_t>(i))))
             << 8 * i;
    return v;
}

std::string data_file(const std::string &name)
{
    return read_file(source_root() + "/tests/loaders/data/" + name);
}

static Loaded::Tensor read_tensor(const rf_checkpoint_entry &e, rf_blob *file)
{
    const rf_tensor &t = e.tensor;
    Loaded::Tensor out = {t.dtype, {t.dims, t.dims + t.rank}, {}, e.blob == file};
    EXPECT_TRUE(rf_tensor_is_contiguous(&t)) << e.name;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(t.data) % rf_dtype_bytes(t.dtype), 0u) << e.name;
    const char *begin = static_cast<const char *>(rf_blob_data(e.blob));
    const char *at = static_cast<const char *>(t.data);
    EXPECT_TRUE(at >= begin && at + rf_tensor_bytes(&t) <= begin + rf_blob_bytes(e.blob)) << e.name;
    out.values.resize(static_cast<size_t>(rf_tensor_elements(&t)));
    rf_tensor_pack_f64(&t, out.values.data());
    return out;
}

Loaded load(const std::string &bytes)
{
    Loaded out;
    Memory memory;
    rf_hooks hooks = memory.hooks();
    rf_env *env = nullptr;
    rf_blob *blob = nullptr;
    rf_checkpoint *ckpt = nullptr;
    rf_error err = {};
    EXPECT_EQ(rf_env_create(&hooks, &env, &err), RF_OK);
    EXPECT_EQ(rf_blob_copy(env, bytes.data(), bytes.size(), &blob, &err), RF_OK);
    const int64_t before = memory.bytes;
    // Values of a pickle: 130 bytes a byte (loader.h), 1 MiB for views of small files.
    memory.cap = before + (2 << 20) + 140 * static_cast<int64_t>(bytes.size());
    out.status = rf_load_checkpoint(env, blob, "file", &ckpt, &err);
    out.peak = memory.peak - before;
    EXPECT_NE(out.status, RF_ERR_MEMORY)
        << "memory is not bounded by the file's size: " << err.text;
    EXPECT_EQ(out.status == RF_OK, ckpt != nullptr);
    if (out.status != RF_OK) {
        out.text = err.text;
        EXPECT_EQ(out.text.rfind("file: ", 0), 0u) << out.text;
        EXPECT_EQ(err.code, out.status);
    } else {
        out.format = ckpt->format;
        for (size_t i = 0; i < ckpt->n_entries; i++)
            out.tensors[ckpt->entries[i].name] = read_tensor(ckpt->entries[i], blob);
    }
    rf_checkpoint_destroy(&ckpt);
    rf_blob_release(&blob);
    rf_env_release(&env);
    EXPECT_EQ(memory.bytes, 0) << "leak: " << out.text;
    EXPECT_EQ(memory.wrong_sizes, 0);
    return out;
}

void expect_refused(const std::string &bytes, const std::vector<std::string> &words,
                    const std::string &what)
{
    Loaded l = load(bytes);
    EXPECT_NE(l.status, RF_OK) << "accepted " << what;
    for (const std::string &w : words)
        EXPECT_NE(l.text.find(w), std::string::npos)
            << what << ": '" << w << "' is missing in: " << l.text;
}

void for_each_truncation(const std::string &file, const Check &check)
{
    for (size_t n = 0; n < file.size() && !testing::Test::HasFailure(); n++)
        check(file.substr(0, n), "cut to " + std::to_string(n) + " bytes");
}

void for_each_damage(const std::string &file, const Check &check)
{
    const size_t step = quick() ? 7 : 1;
    for (size_t i = 0; i < file.size() && !testing::Test::HasFailure(); i += step) {
        std::string s = file;
        const char old = s[i];
        auto with = [&](int value) {
            s[i] = static_cast<char>(value);
            check(s, "byte " + std::to_string(i) + " = " + std::to_string(value & 255));
        };
        for (int bit = 0; bit < 8; bit++)
            with(old ^ 1 << bit);
        for (int value : {0, 0x7f, 0xff})
            if (static_cast<char>(value) != old)
                with(value);
    }
}

uint32_t crc_of(const std::string &s)
{
    return static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef *>(s.data()), s.size()));
}

static std::string local_record(const ZipRecord &r)
{
    const std::string name = r.local_name.empty() ? r.name : r.local_name;
    const uint64_t n = r.data.size();
    const uint32_t crc = crc_of(r.data) ^ r.crc_xor;
    const int flag = r.descriptor ? 8 : 0;
    std::string s = "PK\3\4" + little(20, 2) + little(r.flags | r.local_flags | flag, 2) +
                    little(r.method | r.local_method, 2) + little(0, 4) +
                    little(r.descriptor ? 0 : crc, 4) + little(r.descriptor ? 0 : n, 4) +
                    little(r.descriptor ? 0 : n, 4) + little(name.size(), 2) +
                    little(r.local_extra.size(), 2) + name + r.local_extra + r.data;
    if (r.descriptor)
        s += "PK\7\10" + little(crc, 4) + little(n, 4) + little(n, 4);
    return s;
}

static std::string central_record(const ZipRecord &r, uint64_t at)
{
    const uint64_t n = r.data.size() + static_cast<uint64_t>(r.size_add);
    return "PK\1\2" + little(20, 2) + little(20, 2) + little(r.flags | (r.descriptor ? 8 : 0), 2) +
           little(r.method, 2) + little(0, 4) + little(crc_of(r.data) ^ r.crc_xor, 4) +
           little(n + static_cast<uint64_t>(r.packed_add), 4) + little(n, 4) +
           little(r.name.size(), 2) + little(r.extra.size(), 2) + little(0, 2) + little(r.disk, 2) +
           little(0, 6) + little(at + static_cast<uint64_t>(r.place_add), 4) + r.name + r.extra;
}

std::string make_zip(const std::vector<ZipRecord> &records, const ZipOptions &o)
{
    std::string zip = o.prefix, directory;
    for (const ZipRecord &r : records) {
        directory += central_record(r, zip.size());
        zip += local_record(r);
    }
    const uint64_t at = zip.size(), n = records.size(), bytes = directory.size();
    auto plus = [](uint64_t v, int64_t add) { return v + static_cast<uint64_t>(add); };
    zip += directory;
    if (o.zip64) {
        const uint64_t end64 = zip.size();
        zip += "PK\6\6" + little(44, 8) + little(45, 2) + little(45, 2) + little(0, 8) +
               little(plus(n, o.count64_add), 8) + little(plus(n, o.count64_add), 8) +
               little(bytes, 8) + little(plus(at, o.directory64_add), 8);
        zip += "PK\6\7" + little(0, 4) + little(plus(end64, o.end64_add), 8) + little(1, 4);
    }
    const uint64_t count = plus(n, o.count_add);
    return zip + "PK\5\6" + little(0, 4) + little(count, 2) + little(count, 2) +
           little(plus(bytes, o.bytes_add), 4) + little(plus(at, o.directory_add), 4) +
           little(o.comment.size(), 2) + o.comment;
}

std::vector<ZipRecord> torch_records(const std::string &pickle,
                                     const std::map<std::string, std::string> &storages)
{
    std::vector<ZipRecord> records(3);
    records[0].name = "archive/data.pkl";
    records[0].data = pickle;
    records[1].name = "archive/byteorder";
    records[1].data = "little";
    records[2].name = "archive/version";
    records[2].data = "3\n";
    for (const auto &[key, data] : storages) {
        records.emplace_back();
        records.back().name = "archive/data/" + key;
        records.back().data = data;
    }
    return records;
}

std::string make_pth(const std::string &pickle, const std::map<std::string, std::string> &storages)
{
    return make_zip(torch_records(pickle, storages));
}

namespace pickle
{

std::string global(const std::string &module, const std::string &name)
{
    return "c" + module + "\n" + name + "\n";
}

std::string str(const std::string &s)
{
    return "X" + little(s.size(), 4) + s;
}

std::string num(int64_t i)
{
    if (i >= INT32_MIN && i <= INT32_MAX)
        return "J" + little(static_cast<uint64_t>(i), 4);
    return std::string("\x8a\x08") + little(static_cast<uint64_t>(i), 8);
}

std::string tuple(const std::vector<std::string> &items)
{
    std::string s = mark;
    for (const std::string &item : items)
        s += item;
    return s + "t";
}

std::string dict(const std::vector<std::pair<std::string, std::string>> &items)
{
    std::string s = "}(";
    for (const auto &[key, value] : items)
        s += str(key) + value;
    return s + "u";
}

std::string ordered_dict()
{
    return global("collections", "OrderedDict") + ")R";
}

std::string storage(const std::string &type, const std::string &key, int64_t n)
{
    return tuple({str("storage"), global("torch", type), str(key), str("cpu"), num(n)}) + "Q";
}

static std::string ints(const std::vector<int64_t> &values)
{
    std::vector<std::string> items;
    for (int64_t v : values)
        items.push_back(num(v));
    return tuple(items);
}

std::string tensor(const std::string &storage, int64_t offset, const std::vector<int64_t> &dims,
                   const std::vector<int64_t> &strides)
{
    return global("torch._utils", "_rebuild_tensor_v2") +
           tuple({storage, num(offset), ints(dims), ints(strides), "\x89", ordered_dict()}) + "R";
}

std::string call(const std::string &module, const std::string &name, const std::string &argument)
{
    return global(module, name) + tuple({argument}) + "R";
}

} // namespace pickle

std::string make_safetensors(const std::string &header, const std::string &data)
{
    return little(header.size(), 8) + header + data;
}

} // namespace rft
