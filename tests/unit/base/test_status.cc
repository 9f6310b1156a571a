// SPDX-License-Identifier: Apache-2.0
//
// Errors, versions, names of dtypes.
#include <cstring>
#include <string>

#include <gtest/gtest.h>

#include "runtime/base/status.h"

namespace
{

TEST(Status, EveryStatusHasItsOwnText)
{
    for (int a = RF_OK; a <= RF_ERR_INTERNAL; a++)
        for (int b = RF_OK; b < a; b++)
            EXPECT_STRNE(rf_status_text((rf_status)a), rf_status_text((rf_status)b));
    EXPECT_NE(rf_status_text((rf_status)99), nullptr);
}

TEST(Status, FillsTheErrorAndReturnsTheCode)
{
    rf_error err;
    EXPECT_EQ(rf_fail(&err, RF_ERR_IO, "%s: is %d", "x.pth", 3), RF_ERR_IO);
    EXPECT_EQ(err.code, RF_ERR_IO);
    EXPECT_STREQ(err.text, "x.pth: is 3");
    EXPECT_NE(strstr(err.file, "test_status"), nullptr);
    EXPECT_GT(err.line, 0);
    EXPECT_EQ(rf_fail(nullptr, RF_ERR_FORMAT, "nobody listens"), RF_ERR_FORMAT);
}

// Where it happened stands first and what was found last: both survive a path of any length.
TEST(Status, LongTextsLoseTheirMiddle)
{
    rf_error err;
    std::string path(3000, 'y');
    EXPECT_EQ(rf_fail(&err, RF_ERR_IO, "/root/%s: expected 3, found 4", path.c_str()), RF_ERR_IO);
    std::string text = err.text;
    EXPECT_EQ(text.size(), sizeof err.text - 1);
    EXPECT_EQ(text.rfind("/root/yyy", 0), 0u) << text;
    EXPECT_NE(text.find("y...y"), std::string::npos) << text;
    EXPECT_EQ(text.substr(text.size() - 21), ": expected 3, found 4");
    std::string fits(sizeof err.text - 1, 'z');
    EXPECT_EQ(rf_fail(&err, RF_ERR_IO, "%s", fits.c_str()), RF_ERR_IO);
    EXPECT_EQ(err.text, fits);
}

TEST(Status, NoCharacterIsCutInTwo)
{
    std::string accents;
    for (int i = 0; i < 300; i++)
        accents += "\u00e9"; // two bytes in UTF-8
    for (const char *start : {"", "a"}) {
        rf_error err;
        EXPECT_EQ(rf_fail(&err, RF_ERR_IO, "%s%s", start, accents.c_str()), RF_ERR_IO);
        std::string text = err.text, rest = text;
        EXPECT_GT(text.size(), 200u);
        for (size_t i; (i = rest.find("\u00e9")) != std::string::npos;)
            rest.erase(i, 2);
        EXPECT_EQ(rest, start + std::string("..."));
    }
}

// File names, keys and op names come from files: none may move a terminal's cursor.
TEST(Status, TextsAreAlwaysPrintable)
{
    rf_error err;
    EXPECT_EQ(rf_fail(&err, RF_ERR_IO, "%s", "a\x1b[2Jb\nc\x7f"), RF_ERR_IO);
    EXPECT_STREQ(err.text, "a?[2Jb?c?");
    EXPECT_EQ(rf_fail(&err, RF_ERR_IO, "%s", "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8c\xab"), RF_ERR_IO);
    EXPECT_STREQ(err.text, "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8c\xab") << "UTF-8 stays";
    // A C1 control, a surrogate, an overlong slash, a cut sequence.
    EXPECT_EQ(rf_fail(&err, RF_ERR_IO, "%s", "\xc2\x9b|\xed\xa0\x80|\xc0\xaf|\xe2\x82"), RF_ERR_IO);
    EXPECT_STREQ(err.text, "??|???|??|??");
}

TEST(Status, AnErrorCanBePrefixedInPlace)
{
    rf_error err;
    EXPECT_EQ(rf_fail(&err, RF_ERR_FORMAT, "inner"), RF_ERR_FORMAT);
    EXPECT_EQ(rf_fail(&err, err.code, "outer: %s", err.text), RF_ERR_FORMAT);
    EXPECT_STREQ(err.text, "outer: inner");
}

TEST(Version, NumberAndTextAgree)
{
    uint32_t v = rf_version();
    EXPECT_EQ(std::to_string(v >> 16) + "." + std::to_string(v >> 8 & 255) + "." +
                  std::to_string(v & 255),
              rf_version_string());
}

TEST(Dtype, HasNameAndSize)
{
    EXPECT_STREQ(rf_dtype_name(RF_BF16), "bf16");
    EXPECT_STREQ(rf_dtype_name(RF_BOOL), "bool");
    EXPECT_EQ(rf_dtype_bytes(RF_F64), 8u);
    EXPECT_EQ(rf_dtype_bytes(RF_BF16), 2u);
    for (int d = 0; d < RF_DTYPE_COUNT; d++) {
        EXPECT_NE(rf_dtype_name((rf_dtype)d), nullptr);
        EXPECT_NE(rf_dtype_bytes((rf_dtype)d), 0u);
    }
    for (int d : {-1, (int)RF_DTYPE_COUNT}) {
        EXPECT_EQ(rf_dtype_name((rf_dtype)d), nullptr);
        EXPECT_EQ(rf_dtype_bytes((rf_dtype)d), 0u);
    }
}

} // namespace
