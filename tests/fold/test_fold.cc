// SPDX-License-Identifier: Apache-2.0
//
// Folds against the unfolded arithmetic in float64: DEA-1, BN-1 and REP-1 of design/reparam.md.
// Graphs are float64 throughout and run node by node on the reference kernels, so that a fold has
// to agree to 1e-12 (T1), borders included.
#include <cmath>
#include <cstring>
#include <memory>

#include "kernels/ref/ref.h"
#include "runtime/fold/fold.h"
#include "tests/support/support.h"

namespace
{

using Doubles = std::vector<double>;

Doubles random_doubles(const std::string &name, size_t n, double low, double high)
{
    Doubles d(n);
    for (size_t i = 0; i < n; i++)
        d[i] = low + (high - low) * (rft::named_random(name, i) + 1) / 2;
    return d;
}

size_t count(const std::vector<int64_t> &dims)
{
    size_t n = 1;
    for (int64_t d : dims)
        n *= (size_t)d;
    return n;
}

rf_attr ints(const char *key, std::vector<int64_t> values)
{
    rf_attr a = {};
    a.key = key;
    a.kind = RF_ATTR_INTS;
    a.n = (int32_t)values.size();
    std::copy(values.begin(), values.end(), a.i);
    return a;
}

class Fold : public testing::Test
{
  protected:
    void SetUp() override
    {
        ASSERT_EQ(rf_graph_create(nullptr, &g, &err), RF_OK);
        rf_fold_audit_init(&audit, g->env);
    }
    void TearDown() override
    {
        rf_fold_audit_free(&audit);
        rf_graph_destroy(&g);
    }
    rf_value input(std::vector<int64_t> dims)
    {
        rf_value v;
        x_dims = dims;
        EXPECT_EQ(rf_graph_input(g, "x", RF_F64, (int)dims.size(), dims.data(), &v, &err), RF_OK);
        return v;
    }
    rf_value constant(const std::string &name, std::vector<int64_t> dims, double low = -1,
                      double high = 1)
    {
        Doubles d = random_doubles(name, count(dims), low, high);
        rf_tensor t;
        rf_value v;
        EXPECT_EQ(rf_tensor_init(&t, RF_F64, (int)dims.size(), dims.data(), d.data(), &err), RF_OK);
        EXPECT_EQ(rf_graph_const(g, name.c_str(), &t, &v, &err), RF_OK) << err.text;
        return v;
    }
    rf_value add(const char *op, const std::string &name, std::vector<rf_value> in,
                 std::vector<rf_attr> attrs = {})
    {
        rf_value v = RF_NONE;
        EXPECT_EQ(rf_graph_add(g, op, name.c_str(), in.data(), (int)in.size(), attrs.data(),
                               (int)attrs.size(), &v, 1, &err),
                  RF_OK)
            << err.text;
        return v;
    }
    rf_value conv(const std::string &name, rf_value x, std::vector<int64_t> w,
                  std::vector<rf_attr> attrs)
    {
        return add("conv2d", name,
                   {x, constant(name + ".weight", w), constant(name + ".bias", {w[0]})}, attrs);
    }
    // Variances over twelve decades, gammas of both signs.
    rf_value norm(const std::string &name, rf_value x, int64_t c)
    {
        Doubles var = random_doubles(name + ".var", (size_t)c, -8, 4);
        for (double &v : var)
            v = std::pow(10, v);
        rf_tensor t;
        rf_value v;
        EXPECT_EQ(rf_tensor_init(&t, RF_F64, 1, &c, var.data(), &err), RF_OK);
        EXPECT_EQ(rf_graph_const(g, (name + ".var").c_str(), &t, &v, &err), RF_OK);
        return add("batch_norm", name,
                   {x, constant(name + ".weight", {c}), constant(name + ".bias", {c}),
                    constant(name + ".mean", {c}), v});
    }
    rf_value sum(const std::string &name, rf_value a, rf_value b)
    {
        return add("binary", name, {a, b});
    }
    void output(rf_value v, const char *name = "y")
    {
        ASSERT_EQ(rf_graph_output(g, name, v, &err), RF_OK);
    }

    Doubles run()
    {
        std::vector<rf_tensor> desc(g->n_values);
        std::vector<Doubles> data(g->n_values);
        for (size_t v = 0; v < g->n_values; v++)
            desc[v] = g->values[v].desc;
        data[(size_t)g->inputs[0]] = random_doubles("x", count(x_dims), -1, 1);
        EXPECT_EQ(rf_tensor_init(&desc[(size_t)g->inputs[0]], RF_F64, (int)x_dims.size(),
                                 x_dims.data(), data[(size_t)g->inputs[0]].data(), &err),
                  RF_OK);
        for (size_t i = 0; i < g->n_nodes; i++) {
            const rf_graph_node &n = g->nodes[i];
            rf_kernel_desc k = {};
            rf_tensor &out = desc[(size_t)n.out[0]];
            k.args = {n.op, &n.attrs, n.n_in, n.n_out, {}, {&out}};
            for (int j = 0; j < n.n_in; j++)
                k.args.in[j] = n.in[j] == RF_NONE ? nullptr : &desc[(size_t)n.in[j]];
            EXPECT_EQ(rf_shape_infer(&k.args, &err), RF_OK) << n.name << ": " << err.text;
            Doubles &to = data[(size_t)n.out[0]];
            to.resize((size_t)rf_tensor_elements(&out));
            rf_tensor dense;
            EXPECT_EQ(rf_tensor_init(&dense, out.dtype, out.rank, out.dims, to.data(), &err),
                      RF_OK);
            out = dense;
            size_t n_kernels;
            const rf_kernel *kernel = rf_backend_ref.kernels(&n_kernels)[n.op];
            rf_kernel_call call = {k.args, 1, nullptr, nullptr};
            EXPECT_EQ(kernel->run(&call, &err), RF_OK) << err.text;
        }
        return data[(size_t)g->outputs[0]];
    }
    std::string ops() const
    {
        std::string s;
        for (size_t i = 0; i < g->n_nodes; i++)
            s += std::string(i ? " " : "") + rf_op_get(g->nodes[i].op)->name;
        return s;
    }
    // Folds and compares; returns the ops that are left.
    std::string fold()
    {
        Doubles before = run();
        EXPECT_EQ(rf_fold_graph(g, &audit, &err), RF_OK) << err.text;
        compare(before, run());
        return ops();
    }
    static void compare(const Doubles &want, const Doubles &got)
    {
        ASSERT_EQ(want.size(), got.size());
        double peak = 0, worst = 0;
        for (size_t i = 0; i < want.size(); i++) {
            peak = std::fmax(peak, std::fabs(want[i]));
            worst = std::fmax(worst, std::fabs(want[i] - got[i]));
        }
        EXPECT_LE(worst, 1e-12 * peak);
        EXPECT_GT(peak, 0);
    }
    rf_graph *g = nullptr;
    rf_fold_audit audit = {};
    rf_error err = {};
    std::vector<int64_t> x_dims;
};

TEST_F(Fold, NormAfterConvolutionOfAnyGroupsAndDilation)
{
    rf_value y = input({2, 8, 9, 7});
    int k = 0;
    for (int64_t groups : {1, 2, 8}) {
        std::string name = "c" + std::to_string(k++);
        y = norm(
            name + ".bn",
            conv(name, y, {8, 8 / groups, 3, 3},
                 {ints("pad", {2, 2, 2, 2}), ints("dilation", {2, 2}), ints("groups", {groups})}),
            8);
    }
    output(y);
    EXPECT_EQ(fold(), "conv2d conv2d conv2d");
    ASSERT_EQ(audit.n_records, 3u);
    EXPECT_STREQ(audit.records[0].scheme, "bn");
    EXPECT_STREQ(audit.records[0].target, "c0");
    EXPECT_GT(audit.records[0].max_abs, 0);
    EXPECT_EQ(rf_fold_graph(g, &audit, &err), RF_OK);
    EXPECT_EQ(audit.n_records, 3u) << "folding again changes nothing";
}

TEST_F(Fold, NormAfterTransposedConvolutionAndMatmul)
{
    rf_value y = input({1, 4, 5, 6});
    y = norm("bn",
             add("conv_transpose2d", "up", {y, constant("up.weight", {4, 3, 3, 3})},
                 {ints("stride", {2, 2}), ints("groups", {2})}),
             6);
    y = add("reshape", "flat", {y}, {ints("dims", {-1, 143})});
    y = norm("bn2",
             add("matmul", "fc", {y, constant("fc.weight", {9, 143})}, {ints("trans_b", {1})}), 9);
    output(y);
    EXPECT_EQ(fold(), "conv_transpose2d reshape matmul");
}

TEST_F(Fold, NormBeforeConvolutionOnlyWithoutABorderOfZeros)
{
    rf_value y = input({1, 4, 8, 8});
    y = conv("a", norm("bn", y, 4), {6, 2, 3, 3}, {ints("groups", {2})});
    y = conv("b", norm("bn2", add("unary", "relu", {y}), 6), {3, 6, 3, 3},
             {ints("pad", {1, 1, 1, 1})});
    output(y);
    EXPECT_EQ(fold(), "conv2d unary batch_norm conv2d");
}

TEST_F(Fold, NothingThatSomebodyElseReads)
{
    rf_value x = input({1, 4, 8, 8}), c = conv("c", x, {4, 4, 1, 1}, {});
    output(norm("bn", c, 4));
    output(c, "also");
    EXPECT_EQ(fold(), "conv2d batch_norm");
    EXPECT_EQ(audit.n_records, 0u);
}

TEST_F(Fold, ATiedWeightKeepsItsOriginal)
{
    rf_value x = input({1, 4, 8, 8}), w = constant("w", {4, 4, 1, 1});
    output(sum("s", add("unary", "r", {norm("bn", add("conv2d", "a", {x, w}), 4)}),
               add("unary", "q", {add("conv2d", "b", {x, w})})));
    EXPECT_EQ(fold(), "conv2d unary conv2d unary binary");
    EXPECT_NE(g->nodes[0].in[1], g->nodes[2].in[1]);
    EXPECT_STRNE(g->values[g->nodes[0].in[1]].name, g->values[g->nodes[2].in[1]].name);
}

TEST_F(Fold, RepVggBlocksBecomeOneConvolution)
{
    for (int64_t groups : {1, 2}) {
        TearDown();
        SetUp();
        rf_value x = input({2, 6, 7, 9});
        rf_value a = norm("bn3",
                          add("conv2d", "c3", {x, constant("w3", {6, 6 / groups, 3, 3})},
                              {ints("pad", {1, 1, 1, 1}), ints("groups", {groups})}),
                          6);
        rf_value b = norm("bn1",
                          add("conv2d", "c1", {x, constant("w1", {6, 6 / groups, 1, 1})},
                              {ints("groups", {groups})}),
                          6);
        output(add("unary", "relu", {sum("s2", sum("s1", a, b), norm("bn0", x, 6))}));
        EXPECT_EQ(fold(), "conv2d unary");
        EXPECT_EQ(audit.n_records, 3u);
    }
}

TEST_F(Fold, StridedBranchesPoolsAndForeignTermsKeepTheirPlace)
{
    rf_value x = input({1, 4, 9, 9});
    rf_attr s2 = ints("stride", {2, 2});
    rf_value other = add("unary", "o", {conv("p", x, {4, 4, 1, 1}, {s2})});
    rf_value a = conv("c5", x, {4, 4, 5, 5}, {s2, ints("pad", {2, 2, 2, 2})});
    rf_value b = conv("c3", x, {4, 4, 3, 3}, {s2, ints("pad", {1, 1, 1, 1})});
    rf_value p = add("pool2d", "pool", {x},
                     {s2, ints("kernel", {3, 3}), ints("pad", {1, 1, 1, 1}),
                      ints("count_include_pad", {1}), RF_ENUM("kind", "avg")});
    output(sum("s3", sum("s2", sum("s1", a, other), b), p));
    EXPECT_EQ(fold(), "conv2d unary conv2d binary");
}

TEST_F(Fold, APlainResidualStaysAndAcNetArmsJoin)
{
    rf_value x = input({1, 4, 9, 9});
    rf_value y = sum("res", conv("c", x, {4, 4, 3, 3}, {ints("pad", {1, 1, 1, 1})}), x);
    rf_value a = conv("a", y, {4, 4, 3, 3}, {ints("pad", {1, 1, 1, 1})});
    rf_value b = conv("b", y, {4, 4, 1, 3}, {ints("pad", {0, 1, 0, 1})});
    rf_value c = conv("d", y, {4, 4, 3, 1}, {ints("pad", {1, 0, 1, 0})});
    output(sum("s2", sum("s1", a, b), c));
    EXPECT_EQ(fold(), "conv2d binary conv2d");
}

TEST_F(Fold, RefusesImpossibleVariances)
{
    rf_value x = input({1, 2, 4, 4}), c = conv("c", x, {2, 2, 1, 1}, {});
    output(add("batch_norm", "bn",
               {c, constant("s", {2}), constant("b", {2}), constant("m", {2}),
                constant("v", {2}, -2, -1)}));
    EXPECT_EQ(rf_fold_graph(g, &audit, &err), RF_ERR_FORMAT);
    EXPECT_NE(strstr(err.text, "batch_norm 'bn': variance of channel 0"), nullptr) << err.text;
}

TEST_F(Fold, RoundsOnceAndRefusesWhatDoesNotFit)
{
    rf_value c = constant("c", {3});
    double *d = (double *)g->values[c].desc.data;
    d[0] = 1.0 / 3;
    ASSERT_EQ(rf_fold_round(g, &err), RF_OK) << err.text;
    EXPECT_EQ(g->values[c].desc.dtype, RF_F32);
    EXPECT_EQ(((float *)g->values[c].desc.data)[0], (float)(1.0 / 3));
    rf_value huge = constant("huge", {1});
    ((double *)g->values[huge].desc.data)[0] = 1e300;
    EXPECT_EQ(rf_fold_round(g, &err), RF_ERR_FORMAT);
    EXPECT_NE(strstr(err.text, "'huge' is 1e+300"), nullptr) << err.text;
}

class KeyFold : public testing::Test
{
  protected:
    void SetUp() override
    {
        ASSERT_EQ(rf_env_create(nullptr, &env, nullptr), RF_OK);
        ASSERT_EQ(rf_checkpoint_create(env, "x.pth", &ckpt, &err), RF_OK);
        rf_fold_audit_init(&audit, env);
    }
    void TearDown() override
    {
        rf_fold_audit_free(&audit);
        rf_checkpoint_destroy(&ckpt);
        EXPECT_EQ(rf_env_bytes(env), 0u);
        rf_env_release(&env);
    }
    const double *put(const std::string &name, std::vector<int64_t> dims, double low = -1,
                      double high = 1)
    {
        Doubles d = random_doubles(name, count(dims), low, high);
        rf_blob *blob;
        rf_tensor t;
        EXPECT_EQ(rf_blob_copy(env, d.data(), d.size() * sizeof(double), &blob, &err), RF_OK);
        EXPECT_EQ(
            rf_tensor_init(&t, RF_F64, (int)dims.size(), dims.data(), rf_blob_mutable(blob), &err),
            RF_OK);
        EXPECT_EQ(rf_checkpoint_add(ckpt, name.data(), name.size(), &t, blob, &err), RF_OK)
            << err.text;
        rf_blob_release(&blob);
        return (const double *)t.data;
    }
    void put_block(const std::string &stem)
    {
        for (int k = 1; k <= 5; k++) {
            std::string key = stem + ".conv1.conv1_" + std::to_string(k) + (k < 5 ? ".conv" : "");
            if (k == 2 || k == 3)
                put(key + ".weight", {C, C, 3});
            else
                put(key + ".weight", {C, C, 3, 3});
            put(key + ".bias", {C});
        }
    }
    Doubles get(const std::string &name)
    {
        rf_checkpoint_entry *e = rf_checkpoint_find(ckpt, name.c_str());
        EXPECT_NE(e, nullptr) << name;
        if (!e)
            return {};
        const double *d = (const double *)e->tensor.data;
        return Doubles(d, d + rf_tensor_elements(&e->tensor));
    }
    static constexpr int64_t C = 3;
    rf_env *env = nullptr;
    rf_checkpoint *ckpt = nullptr;
    rf_fold_audit audit = {};
    rf_error err = {};
};

// What the branches do to pixels, written without kernels: differences of neighbours, zeros
// outside.
double literal(const Doubles *w, const Doubles &x, int64_t pair, int64_t c, int y0, int x0,
               int size)
{
    static const int ring[8] = {0, 1, 2, 5, 8, 7, 6, 3}; // clockwise
    double p[9], v = 0;
    for (int t = 0; t < 9; t++) {
        int y = y0 + t / 3 - 1, xx = x0 + t % 3 - 1;
        p[t] = y < 0 || xx < 0 || y >= size || xx >= size ? 0
                                                          : x[(size_t)((c * size + y) * size + xx)];
    }
    const double *w9[5] = {&w[0][(size_t)pair * 9], &w[1][(size_t)pair * 3],
                           &w[2][(size_t)pair * 3], &w[3][(size_t)pair * 9],
                           &w[4][(size_t)pair * 9]};
    for (int t = 0; t < 9; t++)
        v += w9[0][t] * (p[t] - p[4]) + w9[4][t] * p[t];
    for (int i = 0; i < 3; i++)
        v += w9[1][i] * (p[3 * i] - p[3 * i + 2]) + w9[2][i] * (p[i] - p[6 + i]);
    for (int i = 0; i < 8; i++)
        v += w9[3][ring[i]] * (p[ring[i]] - p[ring[(i + 1) % 8]]);
    return v;
}

TEST_F(KeyFold, DeconvTapsAreTheBranchesArithmetic)
{
    put_block("level1");
    Doubles w[5], x = random_doubles("image", C * 25, -1, 1);
    for (int k = 0; k < 5; k++)
        w[k] =
            get("level1.conv1.conv1_" + std::to_string(k + 1) + (k < 4 ? ".conv" : "") + ".weight");
    ASSERT_EQ(rf_fold_checkpoint(ckpt, true, &audit, &err), RF_OK) << err.text;
    EXPECT_EQ(ckpt->n_entries, 2u);
    Doubles folded = get("level1.conv1.weight");
    double peak = 0, worst = 0;
    for (int64_t o = 0; o < C; o++)
        for (int y = 0; y < 5; y++)
            for (int xx = 0; xx < 5; xx++) {
                double want = 0, got = 0;
                for (int64_t c = 0; c < C; c++) {
                    want += literal(w, x, o * C + c, c, y, xx, 5);
                    for (int t = 0; t < 9; t++) {
                        int iy = y + t / 3 - 1, ix = xx + t % 3 - 1;
                        if (iy >= 0 && ix >= 0 && iy < 5 && ix < 5)
                            got += folded[(size_t)((o * C + c) * 9 + t)] *
                                   x[(size_t)((c * 5 + iy) * 5 + ix)];
                    }
                }
                peak = std::fmax(peak, std::fabs(want));
                worst = std::fmax(worst, std::fabs(want - got));
            }
    EXPECT_LE(worst, 1e-12 * peak);
    ASSERT_EQ(audit.n_records, 1u);
    EXPECT_STREQ(audit.records[0].target, "level1.conv1.weight");
    EXPECT_EQ(audit.records[0].n_in, 10);
    ASSERT_EQ(rf_fold_checkpoint(ckpt, true, &audit, &err), RF_OK);
    EXPECT_EQ(audit.n_records, 1u) << "a folded file has nothing to fold";
}

TEST_F(KeyFold, UnfoldedBranchesAddUpToTheFoldedKernel)
{
    put_block("a");
    ASSERT_EQ(rf_fold_checkpoint(ckpt, false, &audit, &err), RF_OK) << err.text;
    EXPECT_EQ(ckpt->n_entries, 10u);
    EXPECT_EQ(audit.n_records, 0u);
    Doubles sum(C * C * 9), bias(C);
    for (int k = 1; k <= 5; k++) {
        Doubles w = get("a.conv1.branch" + std::to_string(k) + ".weight");
        Doubles b = get("a.conv1.branch" + std::to_string(k) + ".bias");
        for (size_t i = 0; i < w.size(); i++)
            sum[i] += w[i];
        for (size_t i = 0; i < b.size(); i++)
            bias[i] += b[i];
    }
    TearDown();
    SetUp();
    put_block("a");
    ASSERT_EQ(rf_fold_checkpoint(ckpt, true, &audit, &err), RF_OK);
    EXPECT_EQ(get("a.conv1.weight"), sum);
    EXPECT_EQ(get("a.conv1.bias"), bias);
}

TEST_F(KeyFold, EachMissingBranchIsNamed)
{
    for (int k = 0; k < 10; k++) {
        std::string key = "b.conv1.conv1_" + std::to_string(k / 2 + 1) +
                          (k / 2 < 4 ? ".conv" : "") + (k % 2 ? ".bias" : ".weight");
        TearDown();
        SetUp();
        put_block("b");
        rf_checkpoint_remove(ckpt, key.c_str());
        EXPECT_EQ(rf_fold_checkpoint(ckpt, true, &audit, &err), RF_ERR_FORMAT);
        EXPECT_NE(strstr(err.text, key.c_str()), nullptr) << err.text;
        EXPECT_NE(strstr(err.text, "expected 10 tensors, found 9"), nullptr) << err.text;
    }
}

TEST_F(KeyFold, WrongShapesNameKeyFoundAndExpected)
{
    put_block("b");
    rf_checkpoint_remove(ckpt, "b.conv1.conv1_3.conv.weight");
    put("b.conv1.conv1_3.conv.weight", {C, C, 4});
    EXPECT_EQ(rf_fold_checkpoint(ckpt, true, &audit, &err), RF_ERR_FORMAT);
    EXPECT_NE(strstr(err.text, "'b.conv1.conv1_3.conv.weight' is (3,3,4), expected (3,3,3)"),
              nullptr)
        << err.text;
}

TEST_F(KeyFold, RepVggKeysBecomeOneKernel)
{
    put("s.rbr_dense.conv.weight", {4, 2, 3, 3});
    put("s.rbr_1x1.conv.weight", {4, 2, 1, 1});
    for (const char *bn : {"s.rbr_dense.bn", "s.rbr_1x1.bn", "s.rbr_identity"}) {
        std::string n = bn;
        put(n + ".weight", {4});
        put(n + ".bias", {4});
        put(n + ".running_mean", {4});
        put(n + ".running_var", {4}, 0.1, 2);
        put(n + ".num_batches_tracked", {});
    }
    auto scale = [&](const char *bn, size_t o) {
        std::string n = bn;
        return get(n + ".weight")[o] / std::sqrt(get(n + ".running_var")[o] + 1e-5);
    };
    Doubles want(4 * 2 * 9), w3 = get("s.rbr_dense.conv.weight"), w1 = get("s.rbr_1x1.conv.weight");
    for (size_t o = 0; o < 4; o++)
        for (size_t i = 0; i < 2; i++)
            for (size_t t = 0; t < 9; t++)
                want[(o * 2 + i) * 9 + t] =
                    scale("s.rbr_dense.bn", o) * w3[(o * 2 + i) * 9 + t] +
                    (t == 4 ? scale("s.rbr_1x1.bn", o) * w1[o * 2 + i] : 0) +
                    (t == 4 && i == o % 2 ? scale("s.rbr_identity", o) : 0);
    ASSERT_EQ(rf_fold_checkpoint(ckpt, true, &audit, &err), RF_OK) << err.text;
    EXPECT_EQ(ckpt->n_entries, 2u);
    Doubles got = get("s.rbr_reparam.weight");
    for (size_t i = 0; i < want.size(); i++)
        EXPECT_NEAR(got[i], want[i], 1e-12);
}

TEST_F(KeyFold, HalfARepVggBlockIsAnError)
{
    put("s.rbr_1x1.conv.weight", {4, 4, 1, 1});
    EXPECT_EQ(rf_fold_checkpoint(ckpt, true, &audit, &err), RF_ERR_FORMAT);
    EXPECT_NE(strstr(err.text, "lacks 'rbr_dense.conv.weight'"), nullptr) << err.text;
}

} // namespace
