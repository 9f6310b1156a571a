// SPDX-License-Identifier: Apache-2.0
//
// Params structs of callers that are older or newer than the library.
#include <cstring>

#include <gtest/gtest.h>

#include "runtime/base/params.h"

namespace
{

struct Known {
    size_t size;
    int32_t a, b;
};
struct Newer {
    Known known;
    int64_t c;
};

TEST(Params, OfTheSameVersionAreTakenWhole)
{
    Known out = {sizeof out, 7, 8}, given = {sizeof given, 1, 0};
    ASSERT_EQ(rf_params_take(&out, sizeof out, &given, "known", nullptr), RF_OK);
    EXPECT_EQ(out.a, 1);
    EXPECT_EQ(out.b, 0) << "zero is a value like any other here";
}

TEST(Params, OfAnOlderCallerLeaveDefaults)
{
    Known out = {sizeof out, 7, 8}, given = {offsetof(Known, b), 1, 99};
    ASSERT_EQ(rf_params_take(&out, sizeof out, &given, "known", nullptr), RF_OK);
    EXPECT_EQ(out.a, 1);
    EXPECT_EQ(out.b, 8);
}

TEST(Params, OfANewerCallerMustBeZeroAtTheEnd)
{
    rf_error err;
    Known out = {sizeof out, 7, 8};
    Newer given = {{sizeof given, 1, 2}, 0};
    ASSERT_EQ(rf_params_take(&out, sizeof out, &given, "known", &err), RF_OK);
    EXPECT_EQ(out.b, 2);
    given.c = 1;
    out.b = 8;
    EXPECT_EQ(rf_params_take(&out, sizeof out, &given, "known", &err), RF_ERR_UNSUPPORTED);
    EXPECT_EQ(out.b, 8);
    EXPECT_NE(strstr(err.text, "known"), nullptr) << err.text;
    EXPECT_NE(strstr(err.text, rf_version_string()), nullptr) << err.text;
}

TEST(Params, WithoutASizeAreRefused)
{
    rf_error err;
    Known out = {sizeof out, 7, 8};
    for (size_t size : {size_t{0}, size_t{7}, size_t{4097}, ~size_t{0}}) {
        Known given = {size, 1, 2};
        EXPECT_EQ(rf_params_take(&out, sizeof out, &given, "known", &err), RF_ERR_ARGUMENT);
        EXPECT_NE(strstr(err.text, "sizeof(known) = 16"), nullptr) << err.text;
    }
    EXPECT_EQ(out.a, 7);
}

TEST(Params, AreGivenToCallersOfTheSameVersion)
{
    const Known known = {0, 1, 2};
    Known out = {sizeof out, 7, 8};
    ASSERT_EQ(rf_params_give(&known, sizeof known, &out, "known", nullptr), RF_OK);
    EXPECT_EQ(out.size, sizeof out) << "the caller's";
    EXPECT_EQ(out.a, 1);
    EXPECT_EQ(out.b, 2);
}

TEST(Params, AreGivenToOlderCallersAsFarAsTheyReach)
{
    const Known known = {0, 1, 2};
    Known out = {offsetof(Known, b), 7, 8};
    ASSERT_EQ(rf_params_give(&known, sizeof known, &out, "known", nullptr), RF_OK);
    EXPECT_EQ(out.size, offsetof(Known, b));
    EXPECT_EQ(out.a, 1);
    EXPECT_EQ(out.b, 8) << "beyond the end of the caller's struct";
}

TEST(Params, AreGivenToNewerCallersWithZerosBehind)
{
    const Known known = {0, 1, 2};
    Newer out = {{sizeof out, 7, 8}, 9};
    ASSERT_EQ(rf_params_give(&known, sizeof known, &out, "known", nullptr), RF_OK);
    EXPECT_EQ(out.known.size, sizeof out);
    EXPECT_EQ(out.known.b, 2);
    EXPECT_EQ(out.c, 0);
}

TEST(Params, AreNotGivenWithoutASize)
{
    rf_error err;
    const Known known = {0, 1, 2};
    for (size_t size : {size_t{0}, size_t{7}, size_t{4097}, ~size_t{0}}) {
        Known out = {size, 7, 8};
        EXPECT_EQ(rf_params_give(&known, sizeof known, &out, "known", &err), RF_ERR_ARGUMENT);
        EXPECT_NE(strstr(err.text, "sizeof(known) = 16"), nullptr) << err.text;
        EXPECT_EQ(out.a, 7);
    }
}

} // namespace
