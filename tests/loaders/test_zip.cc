// SPDX-License-Identifier: Apache-2.0
//
// Zip archives on which readers could disagree, or which lie about sizes and places.
#include "tests/loaders/files.h"

using namespace rft;

namespace
{

const std::string floats = little(0x3f800000, 4) + little(0xc0000000, 4); // 1, -2

std::string state_dict()
{
    namespace p = pickle;
    return p::proto + p::dict({{"w", p::tensor(p::storage("FloatStorage", "0", 2), 0, {2}, {1})}}) +
           p::stop;
}

std::vector<ZipRecord> records()
{
    return torch_records(state_dict(), {{"0", floats}});
}

void expect_accepted(const std::string &bytes)
{
    Loaded l = load(bytes);
    ASSERT_EQ(l.status, RF_OK) << l.text;
    EXPECT_EQ(l.tensors["w"].values, (std::vector<double>{1, -2}));
}

// What one change of a good archive leads to.
template <typename F> void expect_change_refused(F change, const std::vector<std::string> &words)
{
    std::vector<ZipRecord> r = records();
    change(r);
    expect_refused(make_zip(r), words);
}

TEST(Zip, AcceptsDescriptorsZip64CommentsAndPadding)
{
    expect_accepted(make_zip(records()));
    ZipOptions o;
    o.zip64 = true;
    o.comment = "PK\5\6 a comment that holds the signature of the end record";
    expect_accepted(make_zip(records(), o));
    std::vector<ZipRecord> r = records();
    for (ZipRecord &record : r) {
        record.descriptor = true;
        record.local_extra = "FB" + little(3, 2) + "ZZZ"; // PyTorch's padding
    }
    expect_accepted(make_zip(r));
}

TEST(Zip, FieldsOf64BitsAreUsed)
{
    std::vector<ZipRecord> r = records();
    // Where the size is all ones, the extra field has it.
    ZipRecord &last = r.back();
    last.extra = little(1, 2) + little(16, 2) + little(8, 8) + little(8, 8);
    last.size_add = 0xffffffff - 8;
    expect_accepted(make_zip(r));
    last.extra = little(1, 2) + little(16, 2) + little(7, 8) + little(7, 8);
    expect_refused(make_zip(r), {"archive/data/0", "differ in the local header"});
    last.extra =
        little(1, 2) + little(16, 2) + little(UINT64_MAX - 3, 8) + little(UINT64_MAX - 3, 8);
    expect_refused(make_zip(r), {"archive/data/0", "pass the directory"});
    last.extra = little(1, 2) + little(8, 2) + little(8, 8);
    expect_refused(make_zip(r), {"ZIP64 extra field is too short"});
    last.extra = little(1, 2) + little(17, 2) + little(8, 8) + little(8, 8);
    expect_refused(make_zip(r), {"an extra field passes the end"});
    last.extra = little(1, 2) + little(16, 2) + little(8, 8) + little(8, 8);
    last.extra += last.extra;
    expect_refused(make_zip(r), {"two ZIP64 extra fields"});
}

TEST(Zip, RefusesDuplicateNames)
{
    expect_change_refused([](auto &r) { r.push_back(r[3]); },
                          {"two entries are called 'archive/data/0'"});
}

TEST(Zip, RefusesOverlappingRecords)
{
    // The directory points twice to one record, under two names.
    std::vector<ZipRecord> r = records();
    r.push_back(r[3]);
    r[4].name = "archive/data/1";
    r[4].local_name = "archive/data/0";
    std::string zip = make_zip(r);
    expect_refused(zip, {"archive/data/1", "called otherwise"});
    r = records();
    r.push_back(r[3]);
    const int64_t record_bytes = 30 + 14 + 8;
    r[4].name = "archive/data/0";
    r[4].place_add = -record_bytes;
    expect_refused(make_zip(r), {"'archive/data/0' and 'archive/data/0' overlap"});
    // A record inside the data of another one.
    r = records();
    r[3].data = make_zip({records()[2]}).substr(0, 30 + 15 + 2) + floats;
    ZipRecord inner = records()[2];
    inner.name = "archive/version";
    inner.place_add = -static_cast<int64_t>(r[3].data.size());
    r.erase(r.begin() + 2);
    r.push_back(inner);
    expect_refused(make_zip(r), {"overlap"});
}

TEST(Zip, RefusesHeadersThatDisagree)
{
    expect_change_refused([](auto &r) { r[3].local_name = "archive/data/1"; },
                          {"'archive/data/0' is called otherwise in its local header"});
    expect_change_refused([](auto &r) { r[3].local_name = "archive/data/00"; },
                          {"'archive/data/0' is called otherwise"});
    expect_change_refused([](auto &r) { r[0].local_flags = 1; }, {"data.pkl", "flags or method"});
    expect_change_refused([](auto &r) { r[0].local_method = 8; }, {"data.pkl", "flags or method"});
    expect_change_refused([](auto &r) { r[3].size_add = -4; },
                          {"archive/data/0", "size or checksum differ"});
    expect_change_refused([](auto &r) { r[3].packed_add = 1; },
                          {"archive/data/0", "stored in 9 bytes, but is 8 long"});
    expect_change_refused([](auto &r) { r[3].descriptor = true, r[3].size_add = -1; },
                          {"archive/data/0", "descriptor", "is wrong"});
}

TEST(Zip, RefusesCompressionEncryptionAndDisks)
{
    expect_change_refused([](auto &r) { r[3].method = 8; },
                          {"archive/data/0", "compressed by method 8", "stored (0)"});
    for (int flag : {1, 1 << 5, 1 << 6, 1 << 13})
        expect_change_refused([&](auto &r) { r[0].flags = static_cast<uint16_t>(flag); },
                              {"archive/data.pkl", "encrypted or patched"});
    expect_change_refused([](auto &r) { r[1].disk = 1; }, {"several disks"});
}

TEST(Zip, RefusesUnsafeNames)
{
    for (const char *name : {"archive/../data/0", "../archive/0", "/archive/0", "archive\\0",
                             "C:/archive/0", "archive/data/.."})
        expect_change_refused([&](auto &r) { r[3].name = name; }, {"unsafe name", name});
    expect_change_refused([](auto &r) { r[3].name = ""; }, {"name has 0 bytes"});
    expect_change_refused([](auto &r) { r[3].name = std::string(5000, 'n'); }, {"5000 bytes"});
    expect_change_refused([](auto &r) { r[3].name = std::string("archive/data/0\0", 15); },
                          {"not UTF-8 text"});
    expect_change_refused([](auto &r) { r[3].name = "archive/\xff"; }, {"not UTF-8 text"});
    std::vector<ZipRecord> r = records();
    for (ZipRecord &record : r)
        record.name.replace(0, 7, "a..b");
    expect_accepted(make_zip(r));
}

TEST(Zip, RefusesBadChecksums)
{
    for (size_t i : {0, 1, 2, 3})
        expect_change_refused([&](auto &r) { r[i].crc_xor = 1; }, {"checksum is", "damaged"});
}

TEST(Zip, RefusesCountsAndPlacesThatLie)
{
    auto refused = [](ZipOptions o, const std::vector<std::string> &words) {
        expect_refused(make_zip(records(), o), words);
    };
    for (int64_t add : {1, -1, 1000})
        refused({false, add}, {"zip:"});
    for (int64_t add : {1, -1, 1 << 20}) {
        refused({false, 0, add}, {"directory at"});
        refused({false, 0, 0, add}, {"directory at"});
    }
    for (int64_t add : {int64_t{1}, int64_t{-1}, int64_t{1} << 40, INT64_MAX})
        refused({true, 0xffff - 4, 0, 0, add}, {"zip:", "entr"});
    refused({true, 1}, {"the two end records differ"});
    refused({true, 0, 0, 0, 0, 4}, {"the two end records differ"});
    for (int64_t add : {int64_t{1}, int64_t{-1}, int64_t{1} << 40, INT64_MIN, int64_t{-2000}})
        refused({true, 0, 0, 0, 0, 0, add}, {"64-bit end record expected at"});
    ZipOptions prefixed;
    prefixed.prefix = "#!/bin/sh\n";
    refused(prefixed, {"found other bytes"}); // no longer begins with a record
    prefixed.prefix = "PK\3\4 something else";
    refused(prefixed, {"bytes before the first record"});
    expect_refused(make_zip({}, {}), {});
    expect_change_refused([](auto &r) { r[3].place_add = 1; }, {"no local header at"});
    expect_change_refused([](auto &r) { r[3].place_add = 0x7fffffff; }, {"no local header at"});
}

// 65535 entries of no bytes that all point to one place: 3 MB that cost no more than that.
TEST(Zip, ManyEntriesCostNoMoreThanTheFile)
{
    std::vector<ZipRecord> r = records();
    const size_t n = quick() ? 2000 : 60000;
    for (size_t i = 0; i < n; i++) {
        r.emplace_back();
        r.back().name = "archive/data/x" + std::to_string(i);
    }
    const std::string zip = make_zip(r);
    Loaded l = load(zip);
    EXPECT_EQ(l.status, RF_OK) << l.text;
    EXPECT_LT(l.peak, static_cast<int64_t>(zip.size() * 2));
}

TEST(Zip, RefusesArchivesThatAreNotPyTorchs)
{
    auto refused = [](const std::vector<ZipRecord> &r, const std::vector<std::string> &words) {
        expect_refused(make_zip(r), words);
    };
    std::vector<ZipRecord> r = records();
    r[1].name = "other/byteorder";
    refused(r, {"'other/byteorder' is outside of folder 'archive'"});
    r = records();
    r[0].name = "mimetype";
    refused(r, {"'mimetype' is in no folder"});
    r = records();
    r[0].name = "archive/data.txt";
    refused(r, {"no record 'data.pkl'"});
    r = records();
    r[0].name = "archive/constants.pkl";
    refused(r, {"TorchScript", "archive/constants.pkl"});
    r = records();
    r[1].data = "big";
    refused(r, {"byteorder is not 'little'"});
    r = records();
    r[2].data = "three";
    refused(r, {"'version' is not a number"});
    r[2].data = "";
    refused(r, {"'version' is empty"});
    r = records();
    r.erase(r.begin() + 2);
    refused(r, {"no record 'version'"});
    r = records();
    r.pop_back();
    refused(r, {"no record 'data/0'"});
    r = records();
    r[3].data += "x";
    refused(r, {"'archive/data/0' has 9 bytes, its storage 8"});
}

TEST(Zip, DamageOfEveryHeaderByteIsRefusedOrHarmless)
{
    ZipOptions o;
    o.zip64 = true;
    std::vector<ZipRecord> r = records();
    r[0].descriptor = r[3].descriptor = true;
    r[3].extra = little(1, 2) + little(8, 2) + little(0, 8);
    for_each_damage(make_zip(r, o), [](const std::string &bytes, const std::string &what) {
        Loaded l = load(bytes);
        if (l.status == RF_OK) {
            ASSERT_EQ(l.tensors["w"].values, (std::vector<double>{1, -2})) << what;
        }
    });
}

} // namespace
