// SPDX-License-Identifier: Apache-2.0
//
// Shape functions, which check everything that kernels rely on: what they give and what they refuse
// (shapes.def), and the arity of every op.
#include <set>

#include <gtest/gtest.h>

#include "runtime/core/shape.h"
#include "runtime/core/strided.h"
#include "tests/ops/case.h"

namespace
{

struct Row {
    ops::Case node;
    const char *outputs, *refused; // one of them is NULL
    std::string name() const { return (refused ? "refuses_" : "gives_") + node.full_name(); }
};

const std::vector<Row> &rows()
{
    static const std::vector<Row> all = {
#define RF_SHAPE(op, name, inputs, attrs, outputs)                                                 \
    {{rf_op_find(#op), #name, inputs, attrs}, outputs, nullptr},
#define RF_REFUSED(op, name, inputs, attrs, text)                                                  \
    {{rf_op_find(#op), #name, inputs, attrs}, nullptr, text},
#include "tests/ops/shapes.def"
#undef RF_SHAPE
#undef RF_REFUSED
    };
    return all;
}

std::vector<rf_tensor> tensors(const char *tokens)
{
    std::vector<rf_tensor> all;
    for (const ops::Token &t : ops::parse_inputs({RF_OP_COPY, "", tokens, ""})) {
        rf_tensor x = {};
        x.dtype = t.dtype;
        x.rank = t.absent ? -1 : t.rank;
        std::copy(t.dims, t.dims + t.rank, x.dims);
        all.push_back(x);
    }
    return all;
}

std::string text_of(const rf_tensor &t)
{
    char dims[256];
    return rf_dtype_name(t.dtype) + std::string(" ") + rf_tensor_dims_text(&t, dims, sizeof dims);
}

// A node of a row.
struct Node {
    rf_attrs attrs;
    std::vector<rf_tensor> in, out;
    rf_op_args args = {};
    rf_error err = {};

    explicit Node(const ops::Case &c)
    {
        int n_out = 1;
        EXPECT_EQ(ops::parse_attrs(c.op, c.attrs, &attrs, &n_out), "");
        in = tensors(c.inputs);
        out.resize((size_t)n_out);
        args.op = c.op;
        args.attrs = &attrs;
        args.n_in = (int32_t)in.size();
        args.n_out = n_out;
        for (size_t i = 0; i < in.size(); i++)
            args.in[i] = in[i].rank < 0 ? nullptr : &in[i];
        for (size_t i = 0; i < out.size(); i++)
            args.out[i] = &out[i];
    }
    std::string refused()
    {
        return rf_shape_infer(&args, &err) == RF_ERR_ARGUMENT ? err.text : "accepted";
    }
};

class ShapeTest : public testing::Test
{
  public:
    explicit ShapeTest(const Row &row) : row_(row) {}
    void TestBody() override
    {
        Node node(row_.node);
        if (row_.refused) {
            EXPECT_EQ(node.refused(),
                      std::string(rf_op_get(row_.node.op)->name) + ": " + row_.refused);
            return;
        }
        ASSERT_EQ(rf_shape_infer(&node.args, &node.err), RF_OK) << node.err.text;
        std::vector<rf_tensor> want = tensors(row_.outputs);
        ASSERT_EQ(node.out.size(), want.size());
        for (size_t i = 0; i < want.size(); i++)
            EXPECT_EQ(text_of(node.out[i]), text_of(want[i])) << "output " << i;
    }

  private:
    const Row &row_;
};

const bool registered = [] {
    for (const Row &row : rows())
        testing::RegisterTest("Shapes", row.name().c_str(), nullptr, nullptr, __FILE__, __LINE__,
                              [&row]() -> testing::Test * { return new ShapeTest(row); });
    return true;
}();

TEST(ShapeList, GivesAndRefusesForEveryOp)
{
    ASSERT_TRUE(registered);
    std::set<std::string> names;
    std::set<rf_op> given, refused;
    for (const Row &row : rows()) {
        EXPECT_LT(row.node.op, RF_OP_COUNT) << row.node.name;
        EXPECT_TRUE(names.insert(row.name()).second) << row.name();
        (row.refused ? refused : given).insert(row.node.op);
    }
    for (int op = 0; op < RF_OP_COUNT; op++) {
        EXPECT_TRUE(given.count((rf_op)op)) << rf_op_get((rf_op)op)->name;
        EXPECT_TRUE(refused.count((rf_op)op)) << rf_op_get((rf_op)op)->name;
    }
}

TEST(ShapeList, EveryRefusalSaysWhatWasExpectedAndFound)
{
    for (const Row &row : rows())
        if (row.refused) {
            EXPECT_NE(std::string(row.refused).find("expected "), std::string::npos) << row.name();
            EXPECT_NE(std::string(row.refused).find("found "), std::string::npos) << row.name();
        }
}

TEST(ShapeArity, IsCheckedForEveryOp)
{
    for (const Row &row : rows()) {
        if (row.refused)
            continue;
        const rf_op_info *op = rf_op_get(row.node.op);
        std::string stem = std::string(op->name) + ": ";
        Node few(row.node), many(row.node), hole(row.node), no_out(row.node), outs(row.node);
        int most = op->n_opt < 0 ? RF_MAX_IN : op->n_in + op->n_opt;
        std::string expected =
            "expected " + std::to_string(op->n_in) + " to " + std::to_string(most);
        few.args.n_in = op->n_in - 1;
        EXPECT_EQ(few.refused(),
                  stem + expected + " inputs, found " + std::to_string(few.args.n_in));
        many.args.n_in = most + 1;
        EXPECT_EQ(many.refused(), stem + expected + " inputs, found " + std::to_string(most + 1));
        hole.args.in[op->n_in - 1] = nullptr;
        EXPECT_EQ(hole.refused(), stem + "input " + std::to_string(op->n_in - 1) +
                                      ": expected a tensor, found none");
        no_out.args.n_out = 0;
        EXPECT_NE(no_out.refused().find(" outputs, found 0"), std::string::npos);
        outs.args.n_out = RF_MAX_OUT + 1;
        EXPECT_NE(outs.refused().find(" outputs, found 17"), std::string::npos);
    }
}

TEST(ShapeArity, UnknownOpsAreRefused)
{
    rf_op_args args = {};
    rf_error err;
    args.op = RF_OP_COUNT;
    EXPECT_EQ(rf_shape_infer(&args, &err), RF_ERR_INTERNAL);
}

} // namespace
