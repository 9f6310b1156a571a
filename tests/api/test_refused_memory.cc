// SPDX-License-Identifier: Apache-2.0
//
// Refuses the k-th allocation of load + prepare + run for every k, and checks that the call fails
// with RF_ERR_MEMORY and a text (or does without, where memory was only for a hint), that the same
// objects give the right result when the call is made again, that nothing crashes and that every
// byte comes back.
#include "tests/support/networks.h"

#include <functional>
#include <set>

using namespace rft;

namespace
{

// A life of calls of which one may be refused memory. A call that fails is made once more, on the
// same objects: only one allocation is refused, so the second time it must succeed.
class Life
{
  public:
    template <typename F> void call(const char *what, F f)
    {
        rf_error err = {};
        rf_status status = f(&err);
        if (status == RF_OK)
            return;
        EXPECT_EQ(refused, nullptr) << refused << " failed before " << what << ": " << err.text;
        EXPECT_EQ(status, RF_ERR_MEMORY) << what << ": " << err.text;
        EXPECT_NE(err.text[0], 0) << what;
        refused = what;
        EXPECT_EQ(f(&err), RF_OK) << what << " again: " << err.text;
    }
    const char *refused = nullptr; // the call that failed
    std::vector<float> y;
};

// Session, plan, run with strided tensors (which are staged), reports, and another shape.
void use(Life &life, rf_model *model, const Array &input)
{
    rf_session_params params = {sizeof params, "cpu", RF_F32, 1, 0, 0, false};
    rf_session *s = nullptr;
    Array wide({input.dims[0], input.dims[1], input.dims[2], input.dims[3] + 3});
    rf_tensor in = wide.view(), out = {}, other = random_array("o", {1, 3, 16, 19}).shape();
    in.dims[3] -= 3;
    for (int64_t i = 0, w = input.dims[3]; i < static_cast<int64_t>(input.data.size()); i++)
        wide.data[static_cast<size_t>(i / w * (w + 3) + i % w)] =
            input.data[static_cast<size_t>(i)];
    const char *text;
    life.call("create", [&](rf_error *e) {
        rf_status status = rf_session_create(model, &params, &s, e);
        EXPECT_EQ(s != nullptr, status == RF_OK);
        return status;
    });
    life.call("prepare", [&](rf_error *e) { return rf_session_prepare(s, &in, 1, nullptr, e); });
    life.call("output", [&](rf_error *e) { return rf_session_output(s, 0, &out, e); });
    life.y.resize(static_cast<size_t>(rf_tensor_elements(&out)));
    out.data = life.y.data();
    rf_session_profile(s, true); // without memory there is no profile, and nothing else is lost
    life.call("run", [&](rf_error *e) { return rf_session_run(s, &in, 1, &out, 1, e); });
    life.call("explain", [&](rf_error *e) { return rf_session_explain(s, &text, e); });
    life.call("steps", [&](rf_error *e) { return rf_session_steps_json(s, &text, e); });
    life.call("other", [&](rf_error *e) { return rf_session_prepare(s, &other, 1, nullptr, e); });
    life.call("again", [&](rf_error *e) { return rf_session_run(s, &in, 1, &out, 1, e); });
    rf_session_destroy(&s);
}

using Lived = std::function<void(const rf_hooks *hooks, Life &life)>;

// `step` > 1 tries only every step-th allocation.
void expect_every_refusal_handled(const Lived &lived, int64_t step)
{
    int64_t n_refused = 0, n_survived = 0;
    std::set<std::string> where;
    Life whole;
    Memory unlimited;
    rf_hooks hooks = unlimited.hooks();
    lived(&hooks, whole);
    ASSERT_EQ(whole.refused, nullptr);
    for (int64_t k = 1; k <= unlimited.calls; k += step) {
        Memory memory;
        Life life;
        hooks = memory.hooks();
        memory.refuse = k;
        lived(&hooks, life);
        ASSERT_FALSE(testing::Test::HasFailure()) << "after refusing allocation " << k;
        ASSERT_EQ(memory.bytes, 0) << "leak after refusing allocation " << k;
        ASSERT_EQ(memory.wrong_sizes, 0) << "after refusing allocation " << k;
        ASSERT_EQ(life.y, whole.y) << "after refusing allocation " << k;
        n_refused++;
        n_survived += !life.refused;
        if (life.refused)
            where.insert(life.refused);
    }
    std::string calls;
    for (const std::string &w : where)
        calls += " " + w;
    printf("    %lld allocations refused, %lld of them did no harm; failed and made again:%s\n",
           static_cast<long long>(n_refused), static_cast<long long>(n_survived), calls.c_str());
    EXPECT_GT(n_refused, 10);
    EXPECT_LE(n_survived, n_refused / 10);
}

TEST(RefusedMemory, CheckpointLoadPrepareRun)
{
    const std::string bytes = dea_net_safetensors(8);
    const Array x = random_array("x", {1, 3, 14, 13}, 0, 1);
    expect_every_refusal_handled(
        [&](const rf_hooks *hooks, Life &life) {
            rf_model_params params = {sizeof params, nullptr, bytes.data(),
                                      bytes.size(),  false,   hooks};
            rf_model *model = nullptr;
            life.call("load", [&](rf_error *e) {
                rf_status status = rf_model_load(&params, &model, e);
                EXPECT_EQ(model != nullptr, status == RF_OK);
                return status;
            });
            use(life, model, x);
            rf_model_release(&model);
        },
        quick() ? 97 : 1);
}

// Refused again and again, every k-th time: calls fail, but nothing leaks and nothing crashes.
TEST(RefusedMemory, ManyTimesInOneLife)
{
    const std::string bytes = dea_net_safetensors(8);
    const Array x = random_array("x", {1, 3, 14, 13}, 0, 1);
    for (int64_t every : {2, 7, 50, 400}) {
        Memory memory;
        rf_hooks hooks = memory.hooks();
        memory.every = every;
        rf_model_params params = {sizeof params, nullptr, bytes.data(),
                                  bytes.size(),  false,   &hooks};
        for (int i = 0; i < 20; i++) {
            rf_error err = {};
            rf_model *model = nullptr;
            rf_session *s = nullptr;
            rf_tensor shape = x.shape();
            rf_status status = rf_model_load(&params, &model, &err);
            if (status == RF_OK)
                status = rf_session_create(model, nullptr, &s, &err);
            for (int64_t w = 13; w < 17 && status == RF_OK; w++) {
                shape.dims[3] = w;
                status = rf_session_prepare(s, &shape, 1, nullptr, &err);
            }
            EXPECT_TRUE(status == RF_OK || status == RF_ERR_MEMORY) << err.text;
            rf_session_destroy(&s);
            rf_model_release(&model);
            ASSERT_EQ(memory.bytes, 0) << "every " << every << ": " << err.text;
        }
    }
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

TEST(RefusedMemory, GraphBuilderPrepareRunSave)
{
    const Array x = random_array("x", {1, 3, 24, 20}, 0, 1);
    TempDir dir;
    expect_every_refusal_handled(
        [&](const rf_hooks *hooks, Life &life) {
            rf_model *model = nullptr;
            life.call("build", [&](rf_error *e) { return build_small(hooks, &model, e); });
            use(life, model, x);
            life.call("save", [&](rf_error *e) {
                return rf_model_save(model, (dir / "m.safetensors").c_str(), e);
            });
            rf_model_release(&model);
            EXPECT_EQ(dir.list(), std::vector<std::string>{"m.safetensors"});
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
