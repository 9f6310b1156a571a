// SPDX-License-Identifier: Apache-2.0
//
// The graph functions that passes rely on.
#include <cstring>

#include "runtime/core/graph.h"
#include "tests/support/support.h"

namespace
{

class GraphTest : public testing::Test
{
  protected:
    void SetUp() override
    {
        ASSERT_EQ(rf_graph_create(nullptr, &g, &err), RF_OK);
        x = input("x");
    }
    void TearDown() override { rf_graph_destroy(&g); }
    rf_value input(const char *name)
    {
        rf_value v;
        int64_t dims[] = {4};
        EXPECT_EQ(rf_graph_input(g, name, RF_F32, 1, dims, &v, &err), RF_OK);
        return v;
    }
    rf_value constant(const char *name)
    {
        rft::Array a({4});
        rf_tensor t = a.view();
        rf_value v;
        EXPECT_EQ(rf_graph_const(g, name, &t, &v, &err), RF_OK);
        return v;
    }
    rf_value value(const char *name)
    {
        rf_value v;
        EXPECT_EQ(rf_graph_new_value(g, name, &v, &err), RF_OK);
        return v;
    }
    // A node in the internal way, with outputs that exist already.
    void node(const char *name, std::vector<rf_value> in, std::vector<rf_value> out)
    {
        rf_graph_node *n;
        ASSERT_EQ(rf_graph_new_node(g, in.size() == 2 ? RF_OP_BINARY : RF_OP_UNARY, name, &n, &err),
                  RF_OK);
        for (rf_value v : in)
            n->in[n->n_in++] = v;
        for (rf_value v : out)
            n->out[n->n_out++] = v;
    }
    void output(rf_value v)
    {
        ASSERT_EQ(rf_graph_output(g, ("y" + std::to_string(v)).c_str(), v, &err), RF_OK);
    }
    std::string order() const
    {
        std::string s;
        for (size_t i = 0; i < g->n_nodes; i++)
            s += g->nodes[i].name;
        return s;
    }
    rf_graph *g = nullptr;
    rf_error err = {};
    rf_value x = RF_NONE;
};

TEST_F(GraphTest, AnswersWhoMakesAndWhoReads)
{
    rf_value a = value("a"), b = value("b"), c = constant("c");
    node("A", {x}, {a});
    node("B", {a, a}, {b});
    output(b);
    int user;
    EXPECT_EQ(rf_graph_producer(g, b), 1);
    EXPECT_EQ(rf_graph_producer(g, x), -1);
    EXPECT_EQ(rf_graph_producer(g, RF_NONE), -1);
    EXPECT_EQ(rf_graph_uses(g, a, &user), 2);
    EXPECT_EQ(user, 1);
    EXPECT_EQ(rf_graph_uses(g, b, &user), 1);
    EXPECT_EQ(user, -1);
    EXPECT_EQ(rf_graph_uses(g, c, nullptr), 0);
    EXPECT_TRUE(rf_graph_is_const(g, c));
    EXPECT_FALSE(rf_graph_is_const(g, RF_NONE));
}

TEST_F(GraphTest, ReplacesInNodesAndOutputs)
{
    rf_value a = value("a"), b = value("b");
    node("A", {x}, {a});
    node("B", {a, x}, {b});
    output(b);
    output(a);
    rf_graph_replace(g, a, x);
    EXPECT_EQ(g->nodes[1].in[0], x);
    EXPECT_EQ(g->outputs[1], x);
    EXPECT_EQ(rf_graph_uses(g, a, nullptr), 0);
}

TEST_F(GraphTest, PruneDropsDeadChainsAndTheirConstants)
{
    rf_value a = value("a"), b = value("b"), d1 = value("d1"), d2 = value("d2");
    rf_value used = constant("used"), unused = constant("unused");
    node("A", {x, used}, {a});
    node("1", {a, unused}, {d1});
    node("2", {d1}, {d2});
    node("B", {a}, {b});
    output(b);
    size_t before = rf_env_bytes(g->env);
    rf_graph_prune(g);
    EXPECT_EQ(order(), "AB");
    EXPECT_TRUE(rf_graph_is_const(g, used));
    EXPECT_FALSE(rf_graph_is_const(g, unused));
    EXPECT_LT(rf_env_bytes(g->env), before);
    EXPECT_TRUE(g->values[x].is_input);
}

TEST_F(GraphTest, PruneWorksOnUnsortedNodesAndRemovesMarkedOnes)
{
    rf_value a = value("a"), b = value("b"), c = value("c");
    node("C", {b}, {c});
    node("B", {a}, {b});
    node("A", {x}, {a});
    node("X", {x}, {});
    output(c);
    rf_graph_prune(g);
    EXPECT_EQ(order(), "CBA");
}

TEST_F(GraphTest, PruneKeepsANodeWithOneLiveOutput)
{
    rf_value a = value("a"), b = value("b");
    node("S", {x}, {a, b});
    output(b);
    rf_graph_prune(g);
    EXPECT_EQ(order(), "S");
}

TEST_F(GraphTest, SortPutsAppendedNodesBeforeTheirReadersAndKeepsTheRest)
{
    rf_value a = value("a"), b = value("b"), c = value("c"), late = value("late"),
             later = value("later");
    node("A", {x}, {a});
    node("B", {later}, {b});
    node("C", {b, a}, {c});
    node("2", {late}, {later});
    node("1", {x}, {late});
    output(c);
    ASSERT_EQ(rf_graph_sort(g, &err), RF_OK) << err.text;
    EXPECT_EQ(order(), "A12BC");
    ASSERT_EQ(rf_graph_sort(g, &err), RF_OK);
    EXPECT_EQ(order(), "A12BC") << "sorted stays sorted";
}

TEST_F(GraphTest, SortSurvivesADeepReversedChain)
{
    const int depth = 20000;
    std::vector<rf_value> v(depth + 1);
    for (int i = 0; i <= depth; i++)
        v[(size_t)i] = i ? value("") : x;
    for (int i = depth; i > 0; i--)
        node("", {v[(size_t)i - 1]}, {v[(size_t)i]});
    output(v[depth]);
    ASSERT_EQ(rf_graph_sort(g, &err), RF_OK) << err.text;
    EXPECT_EQ(g->nodes[0].in[0], x);
    EXPECT_EQ(g->nodes[depth - 1].out[0], v[depth]);
}

TEST_F(GraphTest, SortRefusesCyclesOrphansAndTwoProducers)
{
    rf_value a = value("a"), b = value("b"), orphan = value("lost");
    node("A", {b}, {a});
    node("B", {a}, {b});
    EXPECT_EQ(rf_graph_sort(g, &err), RF_ERR_FORMAT);
    EXPECT_NE(strstr(err.text, "cycle"), nullptr) << err.text;
    g->nodes[0].in[0] = orphan;
    EXPECT_EQ(rf_graph_sort(g, &err), RF_ERR_FORMAT);
    EXPECT_NE(strstr(err.text, "'A': nothing produces input 0 ('lost')"), nullptr) << err.text;
    g->nodes[0].in[0] = x;
    g->nodes[1].out[0] = a;
    EXPECT_EQ(rf_graph_sort(g, &err), RF_ERR_FORMAT);
    EXPECT_NE(strstr(err.text, "another producer"), nullptr) << err.text;
    g->nodes[1].out[0] = x;
    EXPECT_EQ(rf_graph_sort(g, &err), RF_ERR_FORMAT);
    g->nodes[1].out[0] = b;
    output(orphan);
    EXPECT_EQ(rf_graph_sort(g, &err), RF_ERR_FORMAT);
    EXPECT_NE(strstr(err.text, "nothing produces output"), nullptr) << err.text;
}

TEST_F(GraphTest, CloneSharesConstantsAndNothingElse)
{
    rf_value a = value("a"), c = constant("c");
    node("A", {x, c}, {a});
    output(a);
    ASSERT_EQ(rf_graph_set_name(g, "net", &err), RF_OK);
    rf_graph *copy;
    ASSERT_EQ(rf_graph_clone(g, &copy, &err), RF_OK) << err.text;
    EXPECT_EQ(copy->values[c].desc.data, g->values[c].desc.data);
    EXPECT_NE(copy->values[c].name, g->values[c].name);
    rf_graph_destroy(&g);
    EXPECT_STREQ(copy->name, "net");
    EXPECT_STREQ(copy->nodes[0].name, "A");
    EXPECT_STREQ(copy->values[c].name, "c");
    EXPECT_EQ(copy->n_inputs, 1u);
    EXPECT_EQ(copy->outputs[0], a);
    EXPECT_EQ(((const float *)copy->values[c].desc.data)[0], 0.f);
    rf_graph_node *n;
    EXPECT_EQ(rf_graph_new_node(copy, RF_OP_UNARY, "more", &n, &err), RF_OK) << "a clone can grow";
    g = copy;
}

} // namespace
