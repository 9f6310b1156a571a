// SPDX-License-Identifier: Apache-2.0
//
// safetensors: what the format says, what the reference leaves open, and what attacks use.
#include "tests/loaders/files.h"

using namespace rft;

namespace
{

std::string entry(const std::string &name, const std::string &dtype, const std::string &shape,
                  const std::string &offsets)
{
    return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
           ",\"data_offsets\":" + offsets + "}";
}

// Two floats, 1 and -2.
const std::string floats = little(0x3f800000, 4) + little(0xc0000000, 4);
const std::string one_tensor = "{" + entry("w", "F32", "[2]", "[0,8]") + "}";

void refused(const std::string &header, const std::vector<std::string> &words,
             const std::string &data = floats)
{
    expect_refused(make_safetensors(header, data), words, header.substr(0, 100));
}

TEST(Safetensors, ReadsEveryDtype)
{
    const struct {
        const char *name;
        rf_dtype dtype;
        std::string bytes; // of 1 and of the largest or smallest number
        double second;
    } types[] = {
        {"F64", RF_F64, little(0x3ff0000000000000, 8) + little(0xffefffffffffffff, 8),
         -1.7976931348623157e308},
        {"I64", RF_I64, little(1, 8) + little(uint64_t{1} << 63, 8), -9223372036854775808.0},
        {"U64", RF_U64, little(1, 8) + little(uint64_t{1} << 63, 8), 9223372036854775808.0},
        {"F32", RF_F32, little(0x3f800000, 4) + little(0xff7fffff, 4), -3.4028234663852886e38},
        {"I32", RF_I32, little(1, 4) + little(0x80000000, 4), -2147483648.0},
        {"U32", RF_U32, little(1, 4) + little(0xffffffff, 4), 4294967295.0},
        {"F16", RF_F16, little(0x3c00, 2) + little(0xfbff, 2), -65504},
        {"BF16", RF_BF16, little(0x3f80, 2) + little(0xc000, 2), -2},
        {"I16", RF_I16, little(1, 2) + little(0x8000, 2), -32768},
        {"U16", RF_U16, little(1, 2) + little(0xffff, 2), 65535},
        {"I8", RF_I8, little(0x8001, 2), -128},
        {"U8", RF_U8, little(0xff01, 2), 255},
        {"BOOL", RF_BOOL, little(0x0001, 2), 0},
    };
    for (auto &t : types) {
        const std::string n = std::to_string(t.bytes.size());
        Loaded l = load(
            make_safetensors("{" + entry("x", t.name, "[2,1]", "[0," + n + "]") + "}", t.bytes));
        ASSERT_EQ(l.status, RF_OK) << l.text;
        EXPECT_EQ(l.format, "safetensors");
        EXPECT_EQ(l.tensors["x"].dtype, t.dtype) << t.name;
        EXPECT_EQ(l.tensors["x"].dims, (std::vector<int64_t>{2, 1})) << t.name;
        EXPECT_EQ(l.tensors["x"].values, (std::vector<double>{1, t.second})) << t.name;
    }
    for (const char *name : {"F8_E4M3", "F8_E5M2", "F4", "C64", "f32", "", "F32 "})
        refused("{" + entry("w", name, "[2]", "[0,8]") + "}",
                {"'w'", std::string("dtype '") + name + "'", "F32"});
}

TEST(Safetensors, ReadsScalarsAndEmptyTensorsWhereverTheyLie)
{
    Loaded l = load(make_safetensors(
        "{" + entry("b", "F32", "[0,3]", "[4,4]") + "," + entry("a", "F32", "[]", "[0,4]") + "," +
            entry("c", "F32", "[1]", "[4,8]") + "," + entry("d", "F64", "[0]", "[8,8]") + "}   ",
        floats));
    ASSERT_EQ(l.status, RF_OK) << l.text;
    EXPECT_EQ(l.tensors["a"].values, (std::vector<double>{1}));
    EXPECT_TRUE(l.tensors["a"].dims.empty());
    EXPECT_EQ(l.tensors["b"].dims, (std::vector<int64_t>{0, 3}));
    EXPECT_EQ(l.tensors["c"].values, (std::vector<double>{-2}));
    EXPECT_TRUE(l.tensors["d"].values.empty());
    l = load(make_safetensors("{}"));
    EXPECT_EQ(l.status, RF_OK) << l.text;
}

// 8 + N is a multiple of no more than the writer wanted; old files are not aligned.
TEST(Safetensors, CopiesOnlyWhatIsNotAligned)
{
    for (size_t pad = 0; pad < 16; pad++) {
        const std::string header = one_tensor + std::string(pad, ' ');
        Loaded l = load(make_safetensors(header, floats));
        ASSERT_EQ(l.status, RF_OK) << l.text;
        EXPECT_EQ(l.tensors["w"].values, (std::vector<double>{1, -2}));
        EXPECT_EQ(l.tensors["w"].in_file, header.size() % 4 == 0) << header.size();
    }
}

// 0x80 begins a pickle, and 1 header length of 32.
TEST(Safetensors, IsRecognisedWhateverTheHeadersLength)
{
    for (size_t n = 64; n < 1400; n++) {
        Loaded l =
            load(make_safetensors(one_tensor + std::string(n - one_tensor.size(), ' '), floats));
        ASSERT_EQ(l.status, RF_OK) << n << ": " << l.text;
    }
}

TEST(Safetensors, RefusesDuplicateKeysAfterUnescaping)
{
    const std::string two = entry("w", "F32", "[1]", "[0,4]") + ",",
                      b = entry("v", "F32", "[1]", "[4,8]");
    refused("{" + two + entry("w", "F32", "[1]", "[4,8]") + "}", {"duplicate"});
    refused("{" + two + entry("\\u0077", "F32", "[1]", "[4,8]") + "}", {"duplicate"});
    refused("{" + two +
                "\"v\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
            {"duplicate"});
    refused("{\"__metadata__\":{},\"__metadata__\":{}," + two + b + "}", {"duplicate"});
    refused("{\"__metadata__\":{\"a\":\"x\",\"\\u0061\":\"y\"}," + two + b + "}", {"duplicate"});
}

TEST(Safetensors, RefusesGapsOverlapsAndTrailers)
{
    const std::string a = entry("a", "F32", "[1]", "[0,4]");
    refused("{" + entry("w", "F32", "[1]", "[4,8]") + "}",
            {"'w'", "starts at 4, expected 0 (hole)"});
    refused("{" + a + "}", {"tensors end at 4", "8 bytes"});
    refused("{" + a + "," + entry("b", "F32", "[1]", "[0,4]") + "}", {"'b'", "overlap"});
    refused("{" + a + "," + entry("b", "F32", "[1]", "[2,6]") + "}",
            {"'b'", "starts at 2, expected 4"});
    refused("{" + a + "," + entry("b", "F32", "[1]", "[8,12]") + "}", {"'b'", "hole"},
            floats + floats);
    refused(one_tensor, {"end at 8", "holds 9 bytes"}, floats + "x");
    refused("{}", {"end at 0", "holds 8"});
    refused("{" + a + "," + entry("e", "F32", "[0]", "[2,2]") + "," +
                entry("b", "F32", "[1]", "[4,8]") + "}",
            {"'e'", "starts at 2"});
}

TEST(Safetensors, RefusesRangesThatDoNotFit)
{
    refused("{" + entry("w", "F32", "[2]", "[8,0]") + "}", {"'w'", "lies at 8 to 0"});
    refused("{" + entry("w", "F32", "[3]", "[0,12]") + "}", {"'w'", "lies at 0 to 12", "holds 8"});
    refused("{" + entry("w", "F32", "[1]", "[0,8]") + "}",
            {"'w'", "has 8 bytes, its shape needs 4"});
    refused("{" + entry("w", "F64", "[2]", "[0,8]") + "}",
            {"'w'", "has 8 bytes, its shape needs 16"});
    refused("{" + entry("w", "F32", "[2]", "[0,9223372036854775807]") + "}", {"'w'", "lies at"});
    refused("{" + entry("w", "F32", "[4611686018427387904,4]", "[0,0]") + "}", {"'w'", "63 bits"},
            "");
    refused("{" + entry("w", "F32", "[4294967296,4294967296]", "[0,0]") + "}", {"'w'", "63 bits"},
            "");
    refused("{" + entry("w", "F32", "[0,9223372036854775807,2]", "[0,0]") + "}", {"'w'", "63 bits"},
            "");
    refused("{" + entry("w", "F32", "[1,1,1,1,1,1,1,1,2]", "[0,8]") + "}", {"'w'", "9 dims"});
}

TEST(Safetensors, TakesOnlyIntegersForIntegers)
{
    for (const char *shape : {"[2.0]", "[2e0]", "[\"2\"]", "[null]", "[true]", "[[2]]", "[{}]"})
        refused("{" + entry("w", "F32", shape, "[0,8]") + "}",
                {"'w'", "shape holds something else"});
    for (const char *range : {"[0,8.0]", "[0,8e0]", "[0.0,8]", "[0,\"8\"]", "[null,8]"})
        refused("{" + entry("w", "F32", "[2]", range) + "}",
                {"'w'", "data_offsets holds something else"});
    refused("{" + entry("w", "F32", "[-2]", "[0,8]") + "}", {"'w'", "shape holds -2"});
    refused("{" + entry("w", "F32", "[2]", "[-8,0]") + "}", {"'w'", "data_offsets holds -8"});
    for (const char *number : {"18446744073709551616", "02", "+2", "0x2", "2.", "NaN", "Infinity"})
        refused("{" + entry("w", "F32", std::string("[") + number + "]", "[0,8]") + "}",
                {"header, byte"});
}

TEST(Safetensors, RefusesUnknownAndMissingMembers)
{
    const std::string exactly = "expected exactly dtype, shape and data_offsets";
    refused("{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}",
            {"'w'", exactly});
    refused("{\"w\":{\"dtype\":\"F32\",\"shape\":[2]}}", {"'w'", exactly});
    refused("{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"offsets\":[0,8]}}",
            {"'w'", "'data_offsets'"});
    refused("{\"w\":{\"type\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", {"'w'", "'dtype'"});
    refused("{\"w\":{\"dtype\":\"F32\",\"dims\":[2],\"data_offsets\":[0,8]}}", {"'w'", "'shape'"});
    refused("{\"w\":{\"dtype\":5,\"shape\":[2],\"data_offsets\":[0,8]}}", {"'w'", "'dtype'"});
    refused("{\"w\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", {"'w'", "'shape'"});
    for (const char *range : {"8", "[8]", "[0,4,8]", "{}", "[]"})
        refused("{" + entry("w", "F32", "[2]", range) + "}",
                {"'w'", "'data_offsets'", "list of two"});
    for (const char *value : {"1", "null", "[]", "\"x\"", "{}"})
        refused(std::string("{\"w\":") + value + "}", {"'w'", exactly});
    for (const char *meta : {"1", "null", "[]", "\"x\""})
        refused(std::string("{\"__metadata__\":") + meta + "}",
                {"'__metadata__' is not an object"});
    for (const char *value : {"1", "null", "[]", "{}", "{\"b\":{\"c\":1}}"})
        refused(std::string("{\"__metadata__\":{\"a\":") + value + "}}",
                {"entry 'a' is not a string"});
}

TEST(Safetensors, NamesAreText)
{
    refused("{" + entry("", "F32", "[2]", "[0,8]") + "}", {"name has 0 bytes"});
    refused("{" + entry(std::string(4097, 'n'), "F32", "[2]", "[0,8]") + "}", {"4097 bytes"});
    refused("{" + entry("a\\u001b", "F32", "[2]", "[0,8]") + "}", {"not UTF-8 text"});
    refused("{" + entry("a\\u0000b", "F32", "[2]", "[0,8]") + "}", {"header, byte"});
    refused("{" + entry("\\ud800", "F32", "[2]", "[0,8]") + "}", {"header, byte"});
    refused("{" + entry("\\udc00\\ud800", "F32", "[2]", "[0,8]") + "}", {"header, byte"});
    refused("{" + entry("\xff", "F32", "[2]", "[0,8]") + "}", {"header, byte"});
    refused("{" + entry("\xed\xa0\x80", "F32", "[2]", "[0,8]") + "}", {"header, byte"});
    Loaded l = load(make_safetensors(
        "{" + entry("\\ud83c\\udf2b \xc3\xa9", "F32", "[2]", "[0,8]") + "}", floats));
    EXPECT_EQ(l.tensors.count("\xf0\x9f\x8c\xab \xc3\xa9"), 1u) << l.text;
}

TEST(Safetensors, RefusesHeadersThatAreNotJsonObjects)
{
    for (const std::string &header :
         {std::string("{"), std::string("{\"w\""), std::string("{} x"), std::string("{}{}"),
          std::string("{},"), std::string("{'w':1}"), "{}" + std::string(1, '\0'),
          std::string("{//\n}")})
        refused(header, {"header, byte"}, "");
    std::string deep = "{\"w\":" + std::string(100000, '[') + std::string(100000, ']') + "}";
    refused(deep, {"header, byte", "depth"}, "");
    refused("{\"w\":" + std::string(1000, '[') + std::string(1000, ']') + "}", {"'w'"}, "");
    expect_refused(make_safetensors(" {}"), {"expected a checkpoint"});
    expect_refused(make_safetensors("[]"), {"expected a checkpoint"});
}

TEST(Safetensors, HeaderLengthIsBoundedByTheFile)
{
    const std::string rest = one_tensor + floats;
    for (uint64_t n : {one_tensor.size() + 9, size_t{1000}, size_t{100000000}})
        expect_refused(little(n, 8) + rest, {"header has " + std::to_string(n) + " bytes"});
    for (uint64_t n : {uint64_t{100000001}, uint64_t{1} << 40, UINT64_MAX, UINT64_MAX - 7})
        expect_refused(little(n, 8) + rest, {"safetensors", "impossible header length"});
    expect_refused(little(0, 8) + rest, {"header has 0 bytes"});
    expect_refused(little(one_tensor.size() - 1, 8) + rest, {"header, byte"});
    expect_refused(little(one_tensor.size() + 1, 8) + rest, {"header, byte"});
}

TEST(Safetensors, MuchMetadataIsRefused)
{
    std::string many;
    for (int i = 0; i < 10001; i++)
        many += (i ? ",\"" : "\"") + std::to_string(i) + "\":\"\"";
    refused("{\"__metadata__\":{" + many + "}}", {"10001 entries"}, "");
}

std::string typical()
{
    const std::string header = "{\"__metadata__\":{\"format\":\"pt\"}," +
                               entry("w", "F32", "[2]", "[0,8]") + "," +
                               entry("b", "BF16", "[1,2]", "[8,12]") + "}  ";
    return make_safetensors(header, floats + little(0x3f80c000, 4));
}

TEST(Safetensors, RefusesEveryTruncation)
{
    ASSERT_EQ(load(typical()).status, RF_OK);
    for_each_truncation(typical(), [](const std::string &bytes, const std::string &what) {
        expect_refused(bytes, {}, what);
    });
}

TEST(Safetensors, DamageIsRefusedOrHarmless)
{
    for_each_damage(typical(), [](const std::string &bytes, const std::string &) { load(bytes); });
}

} // namespace
