// SPDX-License-Identifier: Apache-2.0
#include "tests/fold/folds.h"

#include <cmath>
#include <cstring>

#include "kernels/ref/ref.h"
#include "runtime/core/strided.h"

namespace folds
{

Doubles random_doubles(const std::string &name, size_t n, double low, double high)
{
    Doubles d(n);
    for (size_t i = 0; i < n; i++)
        d[i] = low + (high - low) * (rft::named_random(name, i) + 1) / 2;
    return d;
}

void expect_close(const Doubles &want, const Doubles &got, double bound)
{
    ASSERT_EQ(want.size(), got.size());
    double peak = 0, worst = 0;
    for (size_t i = 0; i < want.size(); i++) {
        double error = std::fabs(want[i] - got[i]);
        peak = std::fmax(peak, std::fabs(want[i]));
        worst = error <= worst ? worst : error; // NaN sticks
    }
    EXPECT_LE(worst, bound * peak);
    EXPECT_GT(peak, 0);
}

static size_t count(const Dims &dims)
{
    size_t n = 1;
    for (int64_t d : dims)
        n *= (size_t)d;
    return n;
}

Net64::Net64()
{
    EXPECT_EQ(rf_graph_create(nullptr, &g, &err), RF_OK) << err.text;
    rf_fold_audit_init(&audit, g->env);
}

Net64::~Net64()
{
    rf_fold_audit_free(&audit);
    rf_graph_destroy(&g);
}

rf_value Net64::input(Dims dims)
{
    rf_value v = RF_NONE;
    x_dims_ = dims;
    EXPECT_EQ(rf_graph_input(g, "x", RF_F64, (int)dims.size(), dims.data(), &v, &err), RF_OK);
    return v;
}

rf_value Net64::constant(const std::string &name, Dims dims, double low, double high)
{
    return constant(name, dims, random_doubles(name, count(dims), low, high));
}

rf_value Net64::constant(const std::string &name, Dims dims, const Doubles &values)
{
    rf_tensor t;
    rf_value v = RF_NONE;
    EXPECT_EQ(values.size(), count(dims)) << name;
    EXPECT_EQ(
        rf_tensor_init(&t, RF_F64, (int)dims.size(), dims.data(), (void *)values.data(), &err),
        RF_OK);
    EXPECT_EQ(rf_graph_const(g, name.c_str(), &t, &v, &err), RF_OK) << err.text;
    return v;
}

rf_value Net64::add(const char *op, const std::string &name, std::vector<rf_value> in,
                    std::vector<rf_attr> attrs)
{
    rf_value v = RF_NONE;
    EXPECT_EQ(rf_graph_add(g, op, name.c_str(), in.data(), (int)in.size(), attrs.data(),
                           (int)attrs.size(), &v, 1, &err),
              RF_OK)
        << err.text;
    return v;
}

rf_value Net64::conv(const std::string &name, rf_value x, Dims weight, std::vector<rf_attr> attrs)
{
    return add("conv2d", name,
               {x, constant(name + ".weight", weight), constant(name + ".bias", {weight[0]})},
               attrs);
}

rf_value Net64::norm(const std::string &name, rf_value x, int64_t channels,
                     std::vector<rf_attr> attrs)
{
    Doubles var = random_doubles(name + ".var", (size_t)channels, -8, 4);
    for (double &v : var)
        v = std::pow(10, v);
    return add("batch_norm", name,
               {x, constant(name + ".weight", {channels}), constant(name + ".bias", {channels}),
                constant(name + ".mean", {channels}), constant(name + ".var", {channels}, var)},
               attrs);
}

rf_value Net64::sum(const std::string &name, rf_value a, rf_value b)
{
    return add("binary", name, {a, b});
}

rf_value Net64::relu(const std::string &name, rf_value x)
{
    return add("unary", name, {x});
}

void Net64::output(rf_value v, const char *name)
{
    EXPECT_EQ(rf_graph_output(g, name, v, &err), RF_OK) << err.text;
}

static void allocate(rf_tensor *t, Doubles *storage)
{
    storage->resize((size_t)rf_tensor_elements(t)); // room for the widest dtype
    rf_tensor_set_contiguous(t);
    t->data = storage->data();
}

Doubles Net64::run(rf_dtype storage)
{
    std::vector<rf_tensor> desc(g->n_values);
    std::vector<Doubles> data(g->n_values);
    for (size_t v = 0; v < g->n_values; v++)
        desc[v] = g->values[v].desc;
    rf_tensor &x = desc[(size_t)g->inputs[0]];
    x.dtype = storage;
    allocate(&x, &data[(size_t)g->inputs[0]]);
    Doubles pixels = random_doubles("x", count(x_dims_)); // exact in f32
    for (size_t i = 0; i < pixels.size(); i++)
        if (storage == RF_F32)
            ((float *)x.data)[i] = (float)pixels[i];
        else
            ((double *)x.data)[i] = pixels[i];
    for (size_t i = 0; i < g->n_nodes; i++) {
        const rf_graph_node &n = g->nodes[i];
        rf_kernel_desc k = {};
        rf_tensor &out = desc[(size_t)n.out[0]];
        k.args = {n.op, &n.attrs, n.n_in, n.n_out, {}, {&out}};
        for (int j = 0; j < n.n_in; j++)
            k.args.in[j] = n.in[j] == RF_NONE ? nullptr : &desc[(size_t)n.in[j]];
        EXPECT_EQ(rf_shape_infer(&k.args, &err), RF_OK) << n.name << ": " << err.text;
        allocate(&out, &data[(size_t)n.out[0]]);
        size_t n_kernels;
        const rf_kernel *kernel = rf_backend_ref.kernels(&n_kernels)[n.op];
        rf_kernel_call call = {k.args, 1, nullptr, nullptr};
        EXPECT_EQ(kernel->run(&call, &err), RF_OK) << err.text;
    }
    const rf_tensor &y = desc[(size_t)g->outputs[0]];
    Doubles result((size_t)rf_tensor_elements(&y));
    rf_tensor_pack_f64(&y, result.data());
    return result;
}

std::string Net64::fold()
{
    Doubles before = run();
    EXPECT_EQ(refused(), "");
    expect_close(before, run());
    return ops();
}

std::string Net64::refused()
{
    return rf_fold_graph(g, &audit, &err) == RF_OK ? "" : err.text;
}

std::string Net64::ops() const
{
    std::string s;
    for (size_t i = 0; i < g->n_nodes; i++)
        s += std::string(i ? " " : "") + rf_op_get(g->nodes[i].op)->name;
    return s;
}

Checkpoint64::Checkpoint64()
{
    EXPECT_EQ(rf_env_create(nullptr, &env, nullptr), RF_OK);
    EXPECT_EQ(rf_checkpoint_create(env, "x.pth", &ckpt, &err), RF_OK);
    rf_fold_audit_init(&audit, env);
}

Checkpoint64::~Checkpoint64()
{
    rf_fold_audit_free(&audit);
    rf_checkpoint_destroy(&ckpt);
    EXPECT_EQ(rf_env_bytes(env), 0u);
    rf_env_release(&env);
}

void Checkpoint64::put(const std::string &name, Dims dims, double low, double high)
{
    put(name, dims, random_doubles(name, count(dims), low, high));
}

void Checkpoint64::put(const std::string &name, Dims dims, const Doubles &values)
{
    rf_blob *blob = nullptr;
    rf_tensor t;
    EXPECT_EQ(rf_blob_copy(env, values.data(), values.size() * sizeof(double), &blob, &err), RF_OK);
    EXPECT_EQ(
        rf_tensor_init(&t, RF_F64, (int)dims.size(), dims.data(), rf_blob_mutable(blob), &err),
        RF_OK);
    EXPECT_EQ(rf_checkpoint_add(ckpt, name.data(), name.size(), &t, blob, &err), RF_OK) << err.text;
    rf_blob_release(&blob);
}

void Checkpoint64::put_tied(const std::vector<std::string> &names, Dims dims)
{
    put(names[0], dims);
    rf_checkpoint_entry first = *rf_checkpoint_find(ckpt, names[0].c_str());
    for (size_t i = 1; i < names.size(); i++)
        EXPECT_EQ(rf_checkpoint_add(ckpt, names[i].data(), names[i].size(), &first.tensor,
                                    first.blob, &err),
                  RF_OK)
            << err.text;
}

void Checkpoint64::remove(const std::string &name)
{
    EXPECT_TRUE(has(name)) << name;
    rf_checkpoint_remove(ckpt, name.c_str());
}

std::string deconv_key(const std::string &stem, int branch, const char *what)
{
    return stem + ".conv1.conv1_" + std::to_string(branch) + (branch < 5 ? ".conv." : ".") + what;
}

void Checkpoint64::put_deconv(const std::string &stem, int64_t c)
{
    for (int k = 1; k <= 5; k++) {
        put(deconv_key(stem, k, "weight"), k == 2 || k == 3 ? Dims{c, c, 3} : Dims{c, c, 3, 3});
        put(deconv_key(stem, k, "bias"), {c});
    }
}

void Checkpoint64::put_norm(const std::string &stem, int64_t c)
{
    put(stem + ".weight", {c});
    put(stem + ".bias", {c});
    put(stem + ".running_mean", {c});
    put(stem + ".running_var", {c}, 1e-4, 2);
    put(stem + ".num_batches_tracked", {});
}

void Checkpoint64::put_repvgg(const std::string &stem, int64_t out, int64_t in, bool identity)
{
    put(stem + ".rbr_dense.conv.weight", {out, in, 3, 3});
    put_norm(stem + ".rbr_dense.bn", out);
    put(stem + ".rbr_1x1.conv.weight", {out, in, 1, 1});
    put_norm(stem + ".rbr_1x1.bn", out);
    if (identity)
        put_norm(stem + ".rbr_identity", out);
}

bool Checkpoint64::has(const std::string &name) const
{
    return rf_checkpoint_find(ckpt, name.c_str()) != nullptr;
}

Doubles Checkpoint64::get(const std::string &name) const
{
    const rf_checkpoint_entry *e = rf_checkpoint_find(ckpt, name.c_str());
    EXPECT_NE(e, nullptr) << name;
    if (!e)
        return {};
    const double *d = (const double *)e->tensor.data;
    return Doubles(d, d + rf_tensor_elements(&e->tensor));
}

Dims Checkpoint64::dims(const std::string &name) const
{
    const rf_checkpoint_entry *e = rf_checkpoint_find(ckpt, name.c_str());
    EXPECT_NE(e, nullptr) << name;
    return e ? Dims(e->tensor.dims, e->tensor.dims + e->tensor.rank) : Dims();
}

std::vector<std::string> Checkpoint64::names() const
{
    std::vector<std::string> all;
    for (size_t i = 0; i < ckpt->n_entries; i++)
        all.push_back(ckpt->entries[i].name);
    return all;
}

std::string Checkpoint64::fold(bool fold)
{
    return rf_fold_checkpoint(ckpt, fold, &audit, &err) == RF_OK ? "" : err.text;
}

} // namespace folds
