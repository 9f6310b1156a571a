// SPDX-License-Identifier: Apache-2.0
//
// The public graph builder: what it stores and what it refuses.
#include <cstring>

#include "runtime/core/graph.h"
#include "tests/support/support.h"

namespace
{

class Builder : public testing::Test
{
  protected:
    void SetUp() override { ASSERT_EQ(rf_graph_create(nullptr, &g, &err), RF_OK); }
    void TearDown() override { rf_graph_destroy(&g); }
    rf_value input(const char *name, std::vector<int64_t> dims)
    {
        rf_value v;
        EXPECT_EQ(rf_graph_input(g, name, RF_F32, (int)dims.size(), dims.data(), &v, &err), RF_OK)
            << err.text;
        return v;
    }
    rf_value constant(const char *name, std::vector<int64_t> dims)
    {
        rft::Array a(dims);
        rf_tensor t = a.view();
        rf_value v;
        EXPECT_EQ(rf_graph_const(g, name, &t, &v, &err), RF_OK) << err.text;
        return v;
    }
    rf_status add(const char *op, std::vector<rf_value> in, std::vector<rf_attr> attrs = {},
                  int n_out = 1)
    {
        return rf_graph_add(g, op, "n", in.data(), (int)in.size(), attrs.data(), (int)attrs.size(),
                            out, n_out, &err);
    }
    void expect_error(rf_status status, const char *part)
    {
        EXPECT_EQ(status, RF_ERR_ARGUMENT);
        EXPECT_NE(strstr(err.text, part), nullptr) << err.text;
    }
    rf_graph *g = nullptr;
    rf_error err = {};
    rf_value out[RF_MAX_OUT + 1];
};

TEST_F(Builder, BuildsTheExampleOfItsHeader)
{
    rf_value x = input("x", {-1, 3, -1, -1}), w = constant("w", {4, 3, 3, 3}),
             b = constant("b", {4});
    ASSERT_EQ(add("conv2d", {x, w, b}, {RF_INTS("pad", 1, 1, 1, 1), RF_ENUM("act", "relu")}), RF_OK)
        << err.text;
    ASSERT_EQ(rf_graph_output(g, "y", out[0], &err), RF_OK);
    ASSERT_EQ(rf_graph_set_min_size(g, x, 13, 14, &err), RF_OK);
    ASSERT_EQ(rf_graph_set_name(g, "tiny", &err), RF_OK);
    EXPECT_STREQ(g->name, "tiny");
    ASSERT_EQ(g->n_nodes, 1u);
    EXPECT_EQ(g->nodes[0].attrs.conv2d.pad[2], 1);
    EXPECT_EQ(g->nodes[0].attrs.conv2d.act, RF_ACT_RELU);
    EXPECT_EQ(g->nodes[0].attrs.conv2d.stride[0], 1);
    EXPECT_EQ(g->values[x].min_w, 14);
    EXPECT_EQ(g->values[x].desc.dims[0], -1);
    EXPECT_TRUE(rf_graph_is_const(g, w));
    EXPECT_TRUE(rf_graph_is_output(g, out[0]));
}

TEST_F(Builder, CopiesConstantsOfAnyStrides)
{
    float data[6] = {0, 1, 2, 3, 4, 5};
    rf_tensor t;
    const int64_t dims[] = {3, 2};
    ASSERT_EQ(rf_tensor_init(&t, RF_F32, 2, dims, data, &err), RF_OK);
    t.strides[0] = 1;
    t.strides[1] = 3;
    rf_value v;
    ASSERT_EQ(rf_graph_const(g, "t", &t, &v, &err), RF_OK);
    memset(data, 0xff, sizeof data);
    const rf_graph_value &value = g->values[v];
    EXPECT_TRUE(rf_tensor_is_contiguous(&value.desc));
    const float want[6] = {0, 3, 1, 4, 2, 5};
    EXPECT_EQ(memcmp(value.desc.data, want, sizeof want), 0);
    EXPECT_EQ(value.desc.data, rf_blob_data(value.blob));
}

TEST_F(Builder, RefusesBadConstants)
{
    float data[6];
    rf_tensor t;
    rf_value v;
    const int64_t dims[] = {3, 2};
    ASSERT_EQ(rf_tensor_init(&t, RF_F32, 2, dims, nullptr, &err), RF_OK);
    expect_error(rf_graph_const(g, "t", &t, &v, &err), "'t': data is NULL");
    t.data = data;
    t.strides[0] = -2;
    expect_error(rf_graph_const(g, "t", &t, &v, &err), "stride 0 is -2");
    EXPECT_EQ(v, RF_NONE);
    EXPECT_EQ(g->n_values, 0u);
}

TEST_F(Builder, NamesOfInputsConstantsAndOutputsAreUnique)
{
    rf_value v, x = input("x", {1}), c = constant("c", {1});
    int64_t dims[] = {1};
    expect_error(rf_graph_input(g, "x", RF_F32, 1, dims, &v, &err),
                 "'x' is already used by an input");
    expect_error(rf_graph_input(g, "c", RF_F32, 1, dims, &v, &err),
                 "'c' is already used by a constant");
    expect_error(rf_graph_input(g, "", RF_F32, 1, dims, &v, &err), "need a name");
    expect_error(rf_graph_const(g, nullptr, nullptr, &v, &err), "need a name");
    ASSERT_EQ(rf_graph_output(g, "y", x, &err), RF_OK);
    expect_error(rf_graph_output(g, "y", c, &err), "'y' is already used by an output");
    expect_error(rf_graph_output(g, "", c, &err), "need a name");
}

TEST_F(Builder, RefusesBadInputs)
{
    rf_value v;
    int64_t dims[] = {1, -2};
    expect_error(rf_graph_input(g, "x", RF_F32, 2, dims, &v, &err), "dim 1 is -2");
    expect_error(rf_graph_input(g, "x", RF_F32, 9, dims, &v, &err), "rank is 9");
    expect_error(rf_graph_input(g, "x", (rf_dtype)77, 1, dims, &v, &err), "dtype is 77");
}

TEST_F(Builder, UnknownOpsAndAttributesListTheKnownOnes)
{
    rf_value x = input("x", {1, 3, 8, 8}), w = constant("w", {4, 3, 3, 3});
    expect_error(add("conv3d", {x, w}), "no op 'conv3d', known: conv2d, conv_transpose2d, matmul");
    expect_error(add("conv2d", {x, w}, {RF_INTS("padding", 1, 1)}),
                 "node 'n': conv2d: no attribute 'padding', known: stride, pad, dilation");
    expect_error(add("conv2d", {x, w}, {RF_ENUM("act", "rely")}), "known: none, relu");
    EXPECT_EQ(g->n_nodes, 0u);
    EXPECT_EQ(g->n_values, 2u);
}

TEST_F(Builder, RefusesWrongArityAndForeignValues)
{
    rf_value x = input("x", {1, 3, 8, 8}), w = constant("w", {4, 3, 3, 3});
    expect_error(add("conv2d", {x}), "has 1 inputs, expected 2 to 4");
    expect_error(add("conv2d", {x, w, w, w, w}), "has 5 inputs, expected 2 to 4");
    expect_error(add("conv2d", {x, w}, {}, 2), "has 2 outputs, expected 1");
    expect_error(add("split", {x}, {}, 17), "has 17 outputs, expected 1 to 16");
    expect_error(add("conv2d", {x, 9}), "input 1 is value 9");
    expect_error(add("conv2d", {x, RF_NONE}), "input 1 is value -1");
    expect_error(add("concat", {x, RF_NONE}), "input 1 is value -1");
    EXPECT_EQ(add("conv2d", {x, w, RF_NONE}), RF_OK) << "an optional input may be absent";
    EXPECT_EQ(add("split", {x}, {}, 16), RF_OK);
    expect_error(rf_graph_output(g, "y", 1000, &err), "output 'y' is value 1000");
    expect_error(rf_graph_set_min_size(g, w, 1, 1, &err), "expected an input");
}

TEST_F(Builder, NodesWithoutANameGetOne)
{
    rf_value x = input("x", {1, 3, 8, 8});
    ASSERT_EQ(rf_graph_add(g, "unary", nullptr, &x, 1, nullptr, 0, out, 1, &err), RF_OK);
    EXPECT_STREQ(g->nodes[0].name, "node0");
}

// A saved graph with such a name lost the node without a word.
TEST_F(Builder, NamesThatAreNotUtf8AreRefused)
{
    rf_value x = RF_NONE, y = RF_NONE;
    const int64_t dims[1] = {4};
    rft::Array a({4});
    rf_tensor t = a.view();
    EXPECT_EQ(rf_graph_input(g, "x\xff", RF_F32, 1, dims, &x, &err), RF_ERR_ARGUMENT);
    EXPECT_NE(strstr(err.text, "UTF-8"), nullptr) << err.text;
    ASSERT_EQ(rf_graph_input(g, "x\xc3\xa9", RF_F32, 1, dims, &x, &err), RF_OK) << err.text;
    EXPECT_EQ(rf_graph_const(g, "\xff", &t, &y, &err), RF_ERR_ARGUMENT);
    EXPECT_EQ(rf_graph_add(g, "unary", "\xff", &x, 1, nullptr, 0, &y, 1, &err), RF_ERR_ARGUMENT);
    EXPECT_EQ(rf_graph_output(g, "\xff", x, &err), RF_ERR_ARGUMENT);
    EXPECT_EQ(rf_graph_set_name(g, "\xff", &err), RF_ERR_ARGUMENT);
}

TEST(BuilderMemory, EveryRefusedAllocationIsReportedAndLeaksNothing)
{
    for (int64_t refuse = 1;; refuse++) {
        rft::Memory memory;
        rf_hooks hooks = memory.hooks();
        rf_graph *g = nullptr, *copy = nullptr;
        rf_value v = RF_NONE;
        rft::Array a({4, 4});
        rf_tensor t = a.view();
        memory.refuse = refuse;
        rf_status status = rf_graph_create(&hooks, &g, nullptr);
        if (status == RF_OK)
            status = rf_graph_input(g, "x", RF_F32, 2, t.dims, &v, nullptr);
        for (int i = 0; i < 40 && status == RF_OK; i++) {
            std::string name = "c" + std::to_string(i);
            rf_value in[2] = {v, RF_NONE};
            status = rf_graph_const(g, name.c_str(), &t, &in[1], nullptr);
            if (status == RF_OK)
                status = rf_graph_add(g, "binary", name.c_str(), in, 2, nullptr, 0, &v, 1, nullptr);
        }
        if (status == RF_OK)
            status = rf_graph_output(g, "y", v, nullptr);
        if (status == RF_OK)
            status = rf_graph_sort(g, nullptr);
        if (status == RF_OK)
            status = rf_graph_clone(g, &copy, nullptr);
        rf_graph_destroy(&g);
        rf_graph_destroy(&copy);
        EXPECT_EQ(memory.bytes, 0) << refuse;
        EXPECT_EQ(memory.wrong_sizes, 0) << refuse;
        if (status == RF_OK) {
            EXPECT_GT(refuse, 100);
            break;
        }
        ASSERT_EQ(status, RF_ERR_MEMORY) << refuse;
    }
}

} // namespace
