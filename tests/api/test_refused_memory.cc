// SPDX-License-Identifier: Apache-2.0
//
// Refuses the k-th allocation of load + prepare + run for every k, and checks that the call fails
// with RF_ERR_MEMORY and a text (or does without, where memory was only for a hint), that nothing
// crashes and that every byte comes back.
#include "tests/support/networks.h"

#include <functional>

using namespace rft;

namespace
{

// One whole life; the first failure ends it.
rf_status run_once(rf_model *model, const Array &input, rf_error *err)
{
    rf_session_params params = {sizeof params, "cpu", RF_F32, 1, 0, 0, false};
    rf_session *s = nullptr;
    Array x = input;
    std::vector<float> y;
    rf_tensor in = x.view(), out;
    const char *text;
    rf_status status = rf_session_create(model, &params, &s, err);
    if (status != RF_OK) {
        EXPECT_EQ(s, nullptr);
        return status;
    }
    status = rf_session_prepare(s, &in, 1, nullptr, err);
    if (status == RF_OK)
        status = rf_session_output(s, 0, &out, err);
    if (status == RF_OK) {
        y.resize(static_cast<size_t>(rf_tensor_elements(&out)));
        out.data = y.data();
        status = rf_session_run(s, &in, 1, &out, 1, err);
    }
    if (status == RF_OK)
        status = rf_session_explain(s, &text, err);
    rf_session_destroy(&s);
    return status;
}

using Life = std::function<rf_status(const rf_hooks *hooks, rf_error *err)>;

// `step` > 1 tries only every step-th allocation.
void expect_every_refusal_handled(const Life &life, int64_t step)
{
    int64_t n_refused = 0, n_survived = 0;
    for (int64_t k = 1;; k += step) {
        Memory memory;
        rf_hooks hooks = memory.hooks();
        memory.refuse = k;
        rf_error err = {};
        rf_status status = life(&hooks, &err);
        ASSERT_EQ(memory.bytes, 0) << "leak after refusing allocation " << k << ": " << err.text;
        ASSERT_EQ(memory.wrong_sizes, 0) << "after refusing allocation " << k;
        if (memory.calls < k) {
            ASSERT_EQ(status, RF_OK) << err.text;
            break;
        }
        n_refused++;
        n_survived += status == RF_OK;
        if (status != RF_OK) {
            ASSERT_EQ(status, RF_ERR_MEMORY) << "allocation " << k << ": " << err.text;
            ASSERT_NE(err.text[0], 0) << "allocation " << k;
        }
    }
    printf("    %lld allocations refused, %lld of them did no harm\n",
           static_cast<long long>(n_refused), static_cast<long long>(n_survived));
    EXPECT_GT(n_refused, 10);
    EXPECT_LE(n_survived, n_refused / 10);
}

TEST(RefusedMemory, CheckpointLoadPrepareRun)
{
    const std::string bytes = dea_net_safetensors(8);
    const Array x = random_array("x", {1, 3, 14, 13}, 0, 1);
    expect_every_refusal_handled(
        [&](const rf_hooks *hooks, rf_error *err) {
            rf_model_params params = {sizeof params, nullptr, bytes.data(),
                                      bytes.size(),  false,   hooks};
            rf_model *model = nullptr;
            rf_status status = rf_model_load(&params, &model, err);
            if (status == RF_OK)
                status = run_once(model, x, err);
            rf_model_release(&model);
            return status;
        },
        quick() ? 23 : 1);
}

// The builder's helpers insist on success, so this network is built by hand.
rf_status build_small(const rf_hooks *hooks, rf_model **model, rf_error *err)
{
    rf_graph *g = nullptr;
    rf_value x, w, y, z;
    Array weights = random_array("w", {32, 3, 3, 3});
    rf_tensor t = weights.view();
    const int64_t dims[4] = {1, 3, -1, -1};
    const rf_attr pad = ints("pad", {1, 1, 1, 1}), relu = word("kind", "relu");
    *model = nullptr;
    rf_status status = rf_graph_create(hooks, &g, err);
    if (status == RF_OK)
        status = rf_graph_set_name(g, "small", err);
    if (status == RF_OK)
        status = rf_graph_input(g, "x", RF_F32, 4, dims, &x, err);
    if (status == RF_OK)
        status = rf_graph_const(g, "w", &t, &w, err);
    const rf_value in[2] = {x, w};
    if (status == RF_OK)
        status = rf_graph_add(g, "conv2d", "c", in, 2, &pad, 1, &y, 1, err);
    if (status == RF_OK)
        status = rf_graph_add(g, "unary", "r", &y, 1, &relu, 1, &z, 1, err);
    if (status == RF_OK)
        status = rf_graph_output(g, "y", z, err);
    if (status == RF_OK)
        return rf_model_from_graph(&g, nullptr, model, err);
    rf_graph_destroy(&g);
    return status;
}

TEST(RefusedMemory, GraphBuilderPrepareRun)
{
    const Array x = random_array("x", {1, 3, 24, 20}, 0, 1);
    expect_every_refusal_handled(
        [&](const rf_hooks *hooks, rf_error *err) {
            rf_model *model = nullptr;
            rf_status status = build_small(hooks, &model, err);
            if (status == RF_OK)
                status = run_once(model, x, err);
            rf_model_release(&model);
            return status;
        },
        1);
}

// A session that was refused memory for one shape goes on with others.
TEST(RefusedMemory, ASessionSurvivesARefusedShape)
{
    Memory memory;
    rf_hooks hooks = memory.hooks();
    rf_model *raw = nullptr;
    rf_error err = {};
    ASSERT_EQ(build_small(&hooks, &raw, &err), RF_OK) << err.text;
    Model model(raw);
    Session s = open_session(model);
    const Array x = random_array("x", {1, 3, 24, 20}), want = run(s, x);
    Array big = random_array("big", {1, 3, 90, 80});
    rf_tensor shape = big.shape();
    for (int64_t k = 1;; k++) {
        memory.calls = 0;
        memory.refuse = k;
        rf_status status = rf_session_prepare(s.get(), &shape, 1, nullptr, &err);
        memory.refuse = 0;
        ASSERT_EQ(run(s, x).data, want.data) << "after refusal " << k;
        if (status == RF_OK)
            break;
        ASSERT_EQ(status, RF_ERR_MEMORY) << err.text;
    }
    EXPECT_FALSE(run(s, big).data.empty());
}

} // namespace
