// SPDX-License-Identifier: Apache-2.0
//
// The memory plan: values that live at the same time never share bytes, whatever the graph.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "refold/graph.h"
#include "runtime/exec/passes.h"
#include "runtime/exec/plan.h"

namespace
{

struct Planned {
    rf_graph *g = nullptr;
    rf_plan *plan = nullptr;
    rf_pack_cache *packs = nullptr;
    rf_error err{};
    ~Planned()
    {
        rf_plan_destroy(&plan);
        rf_pack_cache_destroy(&packs);
        rf_graph_destroy(&g);
    }
    void make(std::vector<int64_t> dims, const char *backend = "cpu")
    {
        rf_tensor in;
        ASSERT_EQ(rf_tensor_init(&in, RF_F32, (int)dims.size(), dims.data(), nullptr, &err), RF_OK);
        ASSERT_EQ(rf_pack_cache_create(g->env, NULL, NULL, &packs, &err), RF_OK);
        rf_plan_params params{};
        params.backend = rf_backend_find(backend);
        params.n_threads = 1;
        params.packs = packs;
        ASSERT_EQ(rf_plan_create(g, &in, 1, &params, &plan, &err), RF_OK) << err.text;
    }
};

// What a step reads or writes must be disjoint from every other value alive in that step.
void expect_disjoint(const rf_plan *p)
{
    for (size_t a = 0; a < p->n_values; a++)
        for (size_t b = 0; b < a; b++) {
            const rf_plan_value &x = p->values[a], &y = p->values[b];
            if (x.storage != RF_STORE_ARENA || y.storage != RF_STORE_ARENA ||
                x.root != (rf_value)a || y.root != (rf_value)b)
                continue;
            if (x.last < 0 || y.last < 0 || x.last < y.first || y.last < x.first)
                continue;
            EXPECT_TRUE(x.offset + x.bytes <= y.offset || y.offset + y.bytes <= x.offset)
                << "values " << a << " and " << b;
        }
}

TEST(Plan, NeverOverlapsLiveValuesInRandomGraphs)
{
    std::mt19937 rng(7);
    for (int round = 0; round < 200; round++) {
        Planned p;
        const int64_t dims[4] = {1, 4, -1, -1};
        std::vector<rf_value> values(1);
        ASSERT_EQ(rf_graph_create(nullptr, &p.g, &p.err), RF_OK);
        ASSERT_EQ(rf_graph_input(p.g, "x", RF_F32, 4, dims, &values[0], &p.err), RF_OK);
        int n = 3 + (int)(rng() % 30);
        for (int i = 0; i < n; i++) {
            rf_value in[2] = {values[rng() % values.size()], values[rng() % values.size()]}, out;
            bool binary = rng() % 3;
            ASSERT_EQ(rf_graph_add(p.g, binary ? "binary" : "unary",
                                   ("op" + std::to_string(i)).c_str(), in, binary ? 2 : 1, nullptr,
                                   0, &out, 1, &p.err),
                      RF_OK);
            values.push_back(out);
        }
        ASSERT_EQ(rf_graph_output(p.g, "y", values.back(), &p.err), RF_OK);
        rf_graph_prune(p.g);
        p.make({1, 4, 8, 8});
        if (HasFatalFailure())
            return;
        expect_disjoint(p.plan);
    }
}

TEST(Plan, RunsAChainOfElementwiseOpsInOneBuffer)
{
    Planned p;
    const int64_t dims[2] = {64, -1};
    rf_value v;
    ASSERT_EQ(rf_graph_create(nullptr, &p.g, &p.err), RF_OK);
    ASSERT_EQ(rf_graph_input(p.g, "x", RF_F32, 2, dims, &v, &p.err), RF_OK);
    for (int i = 0; i < 6; i++)
        ASSERT_EQ(rf_graph_add(p.g, "unary", ("relu" + std::to_string(i)).c_str(), &v, 1, nullptr,
                               0, &v, 1, &p.err),
                  RF_OK);
    ASSERT_EQ(rf_graph_output(p.g, "y", v, &p.err), RF_OK);
    p.make({64, 100});
    EXPECT_EQ(p.plan->arena_bytes, 64u * 100 * 4);
}

TEST(Plan, GivesEveryOutputItsOwnCopy)
{
    Planned p;
    const int64_t dims[1] = {8};
    rf_value x, y;
    ASSERT_EQ(rf_graph_create(nullptr, &p.g, &p.err), RF_OK);
    ASSERT_EQ(rf_graph_input(p.g, "x", RF_F32, 1, dims, &x, &p.err), RF_OK);
    ASSERT_EQ(rf_graph_add(p.g, "unary", "relu", &x, 1, nullptr, 0, &y, 1, &p.err), RF_OK);
    ASSERT_EQ(rf_graph_output(p.g, "same", x, &p.err), RF_OK);
    ASSERT_EQ(rf_graph_output(p.g, "a", y, &p.err), RF_OK);
    ASSERT_EQ(rf_graph_output(p.g, "b", y, &p.err), RF_OK);
    p.make({8});
    float in[8] = {-1, 2, -3, 4, 5, 6, 7, 8}, out[3][8];
    rf_tensor ti, to[3];
    ASSERT_EQ(rf_tensor_init(&ti, RF_F32, 1, dims, in, &p.err), RF_OK);
    for (int i = 0; i < 3; i++)
        ASSERT_EQ(rf_tensor_init(&to[i], RF_F32, 1, dims, out[i], &p.err), RF_OK);
    alignas(64) static char arena[4096];
    ASSERT_LE(rf_plan_memory(p.plan), sizeof arena);
    ASSERT_EQ(rf_plan_run(p.plan, arena, &ti, to, nullptr, nullptr, &p.err), RF_OK) << p.err.text;
    EXPECT_EQ(out[0][0], -1);
    EXPECT_EQ(out[1][0], 0);
    EXPECT_EQ(out[2][3], 4);
}

} // namespace
