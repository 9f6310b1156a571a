// SPDX-License-Identifier: Apache-2.0
//
// .npy arrays: what NumPy writes is read, everything else is refused, nothing is evaluated.
#include "loaders/npz/npy.h"
#include "runtime/core/strided.h"
#include "tests/loaders/files.h"

using namespace rft;

namespace
{

std::string npy(const std::string &header, const std::string &data, int version = 1)
{
    std::string text = header;
    text += std::string((64 - (text.size() + 11) % 64) % 64, ' ') + "\n";
    return "\x93NUMPY" + little(static_cast<uint64_t>(version), 2) +
           little(text.size(), version == 1 ? 2 : 4) + text + data;
}

std::string dict(const std::string &descr, const std::string &shape,
                 const std::string &fortran = "False")
{
    return "{'descr': '" + descr + "', 'fortran_order': " + fortran + ", 'shape': " + shape + ", }";
}

struct Read {
    rf_status status;
    std::string text;
    rf_dtype dtype = RF_F32;
    std::vector<int64_t> dims;
    std::vector<double> values;
};

Read read(const std::string &bytes)
{
    // A copy of exactly the file's size, so that sanitizers see every byte read past it.
    std::vector<uint8_t> file(bytes.begin(), bytes.end());
    rf_buffer buffer;
    rf_error err = {};
    Read r = {
        rf_npy_decode(file.data(), file.size(), "a.npy", &buffer, &err), err.text, RF_F32, {}, {}};
    if (r.status == RF_OK) {
        const rf_tensor &t = buffer.tensor;
        r.dtype = t.dtype;
        r.dims.assign(t.dims, t.dims + t.rank);
        r.values.resize(static_cast<size_t>(rf_tensor_elements(&t)));
        EXPECT_LE(buffer.memory_bytes, bytes.size());
        rf_tensor_pack_f64(&t, r.values.data());
    } else {
        EXPECT_EQ(buffer.memory, nullptr);
        EXPECT_EQ(r.text.rfind("a.npy: ", 0), 0u) << r.text;
    }
    rf_buffer_free(&buffer);
    return r;
}

void refused(const std::string &bytes, const std::vector<std::string> &words)
{
    Read r = read(bytes);
    EXPECT_NE(r.status, RF_OK) << bytes;
    for (const std::string &w : words)
        EXPECT_NE(r.text.find(w), std::string::npos) << "'" << w << "' is missing in: " << r.text;
}

TEST(Npy, ReadsEveryDtypeInBothByteOrders)
{
    const struct {
        const char *code;
        rf_dtype dtype;
        uint64_t bits;
        int bytes;
        double value;
    } types[] = {{"f8", RF_F64, 0xc004000000000000, 8, -2.5},
                 {"f4", RF_F32, 0xc0200000, 4, -2.5},
                 {"f2", RF_F16, 0xc100, 2, -2.5},
                 {"i8", RF_I64, 0xfffffffffffffffe, 8, -2},
                 {"i4", RF_I32, 0xfffffffe, 4, -2},
                 {"i2", RF_I16, 0xfffe, 2, -2},
                 {"i1", RF_I8, 0xfe, 1, -2},
                 {"u8", RF_U64, 0x8000000000000000, 8, 0x1p63},
                 {"u4", RF_U32, 0xfffffffe, 4, 4294967294.0},
                 {"u2", RF_U16, 0xfffe, 2, 65534},
                 {"u1", RF_U8, 0xfe, 1, 254},
                 {"b1", RF_BOOL, 1, 1, 1}};
    for (auto &t : types) {
        std::string le = little(t.bits, t.bytes), be(le.rbegin(), le.rend());
        for (const char *order : {"<", ">", "|", "="}) {
            Read r = read(npy(dict(order + std::string(t.code), "(1,)"), *order == '>' ? be : le));
            ASSERT_EQ(r.status, RF_OK) << r.text;
            EXPECT_EQ(r.dtype, t.dtype);
            EXPECT_EQ(r.values, std::vector<double>{t.value}) << order << t.code;
        }
    }
}

TEST(Npy, ReadsShapesOrdersAndVersions)
{
    const std::string six("\0\1\2\3\4\5", 6);
    Read r = read(npy(dict("|u1", "(2, 3)"), six));
    EXPECT_EQ(r.dims, (std::vector<int64_t>{2, 3}));
    EXPECT_EQ(r.values, (std::vector<double>{0, 1, 2, 3, 4, 5}));
    r = read(npy(dict("|u1", "(2, 3)", "True"), six));
    EXPECT_EQ(r.values, (std::vector<double>{0, 2, 4, 1, 3, 5}));
    r = read(npy(dict("|u1", "(6L,)", "True"), six));
    EXPECT_EQ(r.values, (std::vector<double>{0, 1, 2, 3, 4, 5}));
    r = read(npy(dict("|u1", "()"), "\7"));
    EXPECT_TRUE(r.dims.empty());
    EXPECT_EQ(r.values, std::vector<double>{7});
    r = read(npy(dict("<f8", "(3, 0, 9223372036854775807)"), ""));
    EXPECT_EQ(r.status, RF_ERR_FORMAT) << "the other dims alone pass 63 bits";
    r = read(npy(dict("<f8", "(3, 0, 5)"), ""));
    EXPECT_EQ(r.dims, (std::vector<int64_t>{3, 0, 5})) << r.text;
    for (int version : {1, 2, 3})
        EXPECT_EQ(read(npy(dict("|u1", "(6,)"), six, version)).status, RF_OK);
    EXPECT_EQ(read(npy("{\"shape\":(1,),\"fortran_order\":False,\"descr\":\"|u1\"}", "x")).status,
              RF_OK);
    r = read(npy(dict(">i2", "(2, 2)", "True"), std::string("\0\1\0\2\0\3\0\4", 8)));
    EXPECT_EQ(r.values, (std::vector<double>{1, 3, 2, 4})) << "swapped and transposed";
}

TEST(Npy, RefusesTypesThatAreNoNumbers)
{
    for (const char *descr :
         {"|O", "O", "<c8", "<c16", "<M8", "|V2", "<U3", "|S3", "<f16", "<i16", "f4", "", "<"})
        refused(npy(dict(descr, "(1,)"), std::string(16, 'x')),
                {std::string("npy dtype '") + descr + "'"});
    refused(npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", "xxxx"),
            {"expected a quoted string"});
    refused(npy(dict(std::string(100, '<'), "(1,)"), "xxxx"), {"a short quoted string"});
}

TEST(Npy, RefusesHeadersThatAreNotTheDict)
{
    const std::string f = "'fortran_order': False", d = "'descr': '|u1'", s = "'shape': (1,)";
    for (const std::string &header :
         {"{" + d + ", " + f + "}", "{" + d + ", " + f + ", " + s + ", 'x': 1}",
          "{" + d + ", " + d + ", " + f + ", " + s + "}", "{" + d + ", " + f + ", " + s + "} x",
          "{" + d + " " + f + " " + s + "}", d + ", " + f + ", " + s, std::string("{}"),
          std::string(""), std::string("__import__('os').system('id')"),
          "{" + d + ", " + f + ", " + s, "{'descr' '|u1', " + f + ", " + s + "}",
          "{" + d + ", 'fortran_order': false, " + s + "}",
          "{" + d + ", 'fortran_order': 0, " + s + "}", "{'descr: '|u1', " + f + ", " + s + "}"})
        refused(npy(header, "x"), {"npy header: expected"});
    for (const char *shape : {"(1)", "1", "[1]", "(-1,)", "(1.0,)", "(,)", "(1,,)", "(1 1)", "(1",
                              "(0x1,)", "(a,)", "(99999999999999999999,)", "(1,1,1,1,1,1,1,1,1)"})
        refused(npy(dict("|u1", shape), "x"), {"npy header: expected"});
}

TEST(Npy, RefusesSizesThatDoNotFit)
{
    refused(npy(dict("<f4", "(2,)"), std::string(7, 'x')), {"data is 7 bytes, its shape needs 8"});
    refused(npy(dict("<f4", "(2,)"), std::string(9, 'x')), {"data is 9 bytes, its shape needs 8"});
    refused(npy(dict("<f4", "(4611686018427387904,)"), ""), {"63 bits"});
    refused(npy(dict("<f4", "(4294967296, 4294967296)"), ""), {"63 bits"});
    std::string wrong = npy(dict("|u1", "(1,)"), "x");
    refused("\x93NUMPX" + wrong.substr(6), {"expected a .npy file, found other bytes"});
    refused("", {"fewer than 12 bytes"});
    for (int major : {0, 4, 255})
        refused(wrong.substr(0, 6) + static_cast<char>(major) + wrong.substr(7),
                {"version " + std::to_string(major) + ".0", "1.0 to 3.0"});
    wrong[7] = 1;
    refused(wrong, {"version 1.1"});
    refused(npy(dict("|u1", "(1,)") + std::string(10000, ' '), "x"), {"at most 10000"});
    refused("\x93NUMPY\1" + std::string(1, '\0') + "\xff\xff{}", {"header of 65535 bytes"});
    refused("\x93NUMPY\2" + std::string(1, '\0') + "\xff\xff\xff\xff{}",
            {"header of 4294967295 bytes"});
    refused("\x93NUMPY\1" + std::string(3, '\0') + "{}", {"header of 0 bytes", "newline"});
    std::string open = npy(dict("|u1", "(1,)"), "x");
    open[open.size() - 2] = ' ';
    refused(open, {"newline"});
}

TEST(Npy, TruncationIsRefusedAndDamageHarmless)
{
    const std::string file = npy(dict(">i2", "(2, 2)", "True"), std::string("\0\1\0\2\0\3\0\4", 8));
    for_each_truncation(file,
                        [](const std::string &bytes, const std::string &) { refused(bytes, {}); });
    for_each_damage(file, [](const std::string &bytes, const std::string &) { read(bytes); });
}

TEST(Npy, MessagesNameThePath)
{
    TempDir dir;
    rf_buffer buffer;
    rf_error err = {};
    write_file(dir / "x.npy", "PK\3\4");
    for (const std::string &path : {dir / "x.npy", dir / "none.npy", dir.path()}) {
        EXPECT_NE(rf_npy_read(path.c_str(), &buffer, &err), RF_OK);
        EXPECT_EQ(std::string(err.text).rfind(path + ": ", 0), 0u) << err.text;
    }
    const std::string path = dir / "y.npy";
    Array a = random_array("a", {2, 3, 1});
    rf_tensor t = a.view();
    ASSERT_EQ(rf_npy_write(path.c_str(), &t, &err), RF_OK) << err.text;
    Read r = read(read_file(path));
    EXPECT_EQ(r.dims, a.dims);
    EXPECT_EQ(r.values, std::vector<double>(a.data.begin(), a.data.end()));
}

} // namespace
