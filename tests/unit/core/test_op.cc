// SPDX-License-Identifier: Apache-2.0
//
// The op table and its attributes.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include <refold/model.h>

#include "runtime/core/op.h"

namespace
{

rf_attr ints(const char *key, std::vector<int64_t> values)
{
    rf_attr a = {};
    a.key = key;
    a.kind = RF_ATTR_INTS;
    a.n = (int32_t)values.size();
    std::copy(values.begin(), values.end(), a.i);
    return a;
}

rf_attr real(const char *key, double x)
{
    return RF_REAL(key, x);
}

rf_attr word(const char *key, const char *name)
{
    return RF_ENUM(key, name);
}

// Sets one attribute; returns the error's text, "" if there was none.
std::string set(rf_op op, rf_attrs *attrs, rf_attr a)
{
    rf_error err;
    rf_status status = rf_attrs_set(op, attrs, &a, &err);
    EXPECT_TRUE(status == RF_OK || status == RF_ERR_ARGUMENT);
    return status == RF_OK ? "" : err.text;
}

bool has(const std::string &text, const char *part)
{
    return text.find(part) != std::string::npos;
}

TEST(Ops, AreFoundByTheirNames)
{
    std::set<std::string> names;
    for (int op = 0; op < RF_OP_COUNT; op++) {
        const rf_op_info *info = rf_op_get((rf_op)op);
        ASSERT_NE(info->name, nullptr);
        names.insert(info->name);
        EXPECT_EQ(rf_op_find(info->name), op);
        EXPECT_STREQ(rf_op_name(op), info->name);
    }
    EXPECT_EQ(names.size(), (size_t)RF_OP_COUNT);
    EXPECT_EQ(rf_op_find("conv9d"), RF_OP_COUNT);
    EXPECT_EQ(rf_op_name(RF_OP_COUNT), nullptr);
    EXPECT_EQ(rf_op_name(-1), nullptr);
}

TEST(Ops, ReadTheTable)
{
    const rf_op_info *conv = rf_op_get(RF_OP_CONV2D);
    EXPECT_EQ(conv->n_in, 2);
    EXPECT_EQ(conv->n_opt, 2);
    EXPECT_EQ(conv->n_out, 1);
    EXPECT_EQ(conv->tolerance, RF_TOL_REDUCE);
    EXPECT_EQ(rf_op_get(RF_OP_CONCAT)->n_opt, -1);
    EXPECT_EQ(rf_op_get(RF_OP_SPLIT)->n_out, -1);
    EXPECT_EQ(rf_op_get(RF_OP_COPY)->n_fields, 0);
}

TEST(Ops, DescribeAsManyInputsAsTheyTake)
{
    for (int op = 0; op < RF_OP_COUNT; op++) {
        const rf_op_info *info = rf_op_get((rf_op)op);
        char text[1000];
        rf_op_describe(op, text, sizeof text);
        std::string inputs(text, strcspn(text, ";"));
        int optional = (int)std::count(inputs.begin(), inputs.end(), '[');
        int all = (int)std::count(inputs.begin(), inputs.end(), ',') + 1;
        EXPECT_EQ(all - optional, info->n_in) << text;
        if (info->n_opt >= 0) {
            EXPECT_EQ(optional, info->n_opt) << text;
        }
        for (int k = 0; k < info->n_fields; k++)
            EXPECT_TRUE(has(text, (std::string(" ") + info->fields[k].name + "=").c_str())) << text;
    }
}

TEST(Ops, DescribeDefaultsAndCutsToTheBuffer)
{
    char text[400], tiny[8];
    rf_op_describe(RF_OP_CONV2D, text, sizeof text);
    EXPECT_EQ(
        std::string(text).rfind("x, w, [bias], [res]; stride=1,1 pad=0,0,0,0 dilation=1,1", 0), 0u)
        << text;
    EXPECT_TRUE(has(text, "pad_mode=constant|reflect|edge")) << text;
    rf_op_describe(RF_OP_CONV2D, tiny, sizeof tiny);
    EXPECT_STREQ(tiny, "x, w, [");
    rf_op_describe(-1, tiny, sizeof tiny);
    EXPECT_STREQ(tiny, "");
    rf_op_describe(0, nullptr, 0);
}

TEST(Attrs, StartWithTheirDefaults)
{
    rf_attrs a;
    rf_attrs_default(RF_OP_CONV2D, &a);
    EXPECT_EQ(a.conv2d.stride[1], 1);
    EXPECT_EQ(a.conv2d.pad[3], 0);
    EXPECT_EQ(a.conv2d.groups, 1);
    EXPECT_EQ(a.conv2d.res_mode, RF_RES_AFTER);
    rf_attrs_default(RF_OP_GROUP_NORM, &a);
    EXPECT_EQ(a.group_norm.eps, 1e-5);
    rf_attrs_default(RF_OP_SOFTMAX, &a);
    EXPECT_EQ(a.softmax.axis, -1);
    rf_attrs_default(RF_OP_SPLIT, &a);
    EXPECT_EQ(a.split.n_sizes, 0);
}

TEST(Attrs, AreSetByKey)
{
    rf_attrs a;
    rf_attrs_default(RF_OP_CONV2D, &a);
    EXPECT_EQ(set(RF_OP_CONV2D, &a, ints("stride", {2, 3})), "");
    EXPECT_EQ(set(RF_OP_CONV2D, &a, ints("groups", {4})), "");
    EXPECT_EQ(set(RF_OP_CONV2D, &a, word("pad_mode", "reflect")), "");
    EXPECT_EQ(set(RF_OP_CONV2D, &a, real("act_alpha", 0.25)), "");
    EXPECT_EQ(set(RF_OP_CONV2D, &a, ints("act_beta", {6})), "") << "6 means 6.0";
    EXPECT_EQ(a.conv2d.stride[0], 2);
    EXPECT_EQ(a.conv2d.stride[1], 3);
    EXPECT_EQ(a.conv2d.groups, 4);
    EXPECT_EQ(a.conv2d.pad_mode, RF_PAD_REFLECT);
    EXPECT_EQ(a.conv2d.act_alpha, 0.25);
    EXPECT_EQ(a.conv2d.act_beta, 6.0);
    rf_attrs_default(RF_OP_SLICE, &a);
    EXPECT_EQ(set(RF_OP_SLICE, &a, ints("starts", {1, -(1ll << 40)})), "");
    EXPECT_EQ(a.slice.n_starts, 2);
    EXPECT_EQ(a.slice.starts[1], -(1ll << 40));
    rf_attrs_default(RF_OP_CAST, &a);
    EXPECT_EQ(set(RF_OP_CAST, &a, word("to", "bf16")), "");
    EXPECT_EQ(a.cast.to, RF_BF16);
}

TEST(Attrs, ErrorsListWhatIsKnown)
{
    rf_attrs a;
    rf_attrs_default(RF_OP_CONV2D, &a);
    std::string text = set(RF_OP_CONV2D, &a, ints("strides", {1, 1}));
    EXPECT_TRUE(has(text, "conv2d: no attribute 'strides', known: stride, pad, dilation, groups"))
        << text;
    text = set(RF_OP_CONV2D, &a, word("act", "swish"));
    EXPECT_TRUE(has(text, "'act' is 'swish', known: none, relu, leaky")) << text;
    text = set(RF_OP_COPY, &a, ints("x", {1}));
    EXPECT_TRUE(has(text, "known: none")) << text;
}

TEST(Attrs, RefuseWrongCountsKindsAndRanges)
{
    rf_attrs a;
    rf_attrs_default(RF_OP_CONV2D, &a);
    EXPECT_TRUE(has(set(RF_OP_CONV2D, &a, ints("stride", {1})), "has 1 numbers, expected 2"));
    EXPECT_TRUE(has(set(RF_OP_CONV2D, &a, ints("groups", {1ll << 33})), "expected 32 bits"));
    EXPECT_TRUE(
        has(set(RF_OP_CONV2D, &a, real("stride", 1)), "given as a number, expected integers"));
    EXPECT_TRUE(has(set(RF_OP_CONV2D, &a, ints("act", {1})), "given as integers, expected a word"));
    EXPECT_TRUE(has(set(RF_OP_CONV2D, &a, word("act", nullptr)), "'(null)'"));
    EXPECT_TRUE(has(set(RF_OP_CONV2D, &a, real("act_alpha", NAN)), "not a number"));
    EXPECT_TRUE(has(set(RF_OP_CONV2D, &a, ints(nullptr, {1})), "without a key"));
    rf_attrs_default(RF_OP_RESHAPE, &a);
    EXPECT_TRUE(has(set(RF_OP_RESHAPE, &a, ints("dims", std::vector<int64_t>(9, 1))), "at most 8"));
    rf_attr bad = ints("dims", {1});
    bad.n = -1;
    EXPECT_NE(set(RF_OP_RESHAPE, &a, bad), "");
    bad.kind = (rf_attr_kind)17;
    EXPECT_TRUE(has(set(RF_OP_RESHAPE, &a, bad), "nonsense"));
}

TEST(Attrs, AreEqualIfEveryFieldIs)
{
    rf_attrs a, b;
    for (int op = 0; op < RF_OP_COUNT; op++) {
        memset(&a, 0xaa, sizeof a);
        memset(&b, 0x55, sizeof b); // what lies behind an op's fields does not count
        rf_attrs_default((rf_op)op, &a);
        rf_attrs_default((rf_op)op, &b);
        EXPECT_TRUE(rf_attrs_equal((rf_op)op, &a, &b));
    }
    rf_attrs_default(RF_OP_SLICE, &a);
    rf_attrs_default(RF_OP_SLICE, &b);
    a.slice.starts[3] = 7; // beyond n_starts
    EXPECT_TRUE(rf_attrs_equal(RF_OP_SLICE, &a, &b));
    a.slice.n_starts = 4;
    EXPECT_FALSE(rf_attrs_equal(RF_OP_SLICE, &a, &b));
    rf_attrs_default(RF_OP_MATMUL, &a);
    rf_attrs_default(RF_OP_MATMUL, &b);
    b.matmul.alpha = 0.5;
    EXPECT_FALSE(rf_attrs_equal(RF_OP_MATMUL, &a, &b));
}

} // namespace
