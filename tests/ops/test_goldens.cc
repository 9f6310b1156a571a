// SPDX-License-Identifier: Apache-2.0
//
// kernels/ref, the oracle of every other kernel, against results of PyTorch, NumPy and the ONNX
// reference evaluator (goldens/make_goldens.py, which also describes the file). Each case runs
// twice, with its floats stored as f64 and as f32:
//   f64   1e-12 of the largest result: a few hundred operations of 2^-53 on both sides
//   f32   that, and half a unit in the last place: ref calculates in f64 and rounds once
// Integers, and dtypes that the case itself sets, must be equal.
#include <cmath>
#include <cstring>
#include <set>
#include <sstream>

#include <gtest/gtest.h>

#include "runtime/core/strided.h"
#include "tests/ops/harness.h"
#include "tests/support/support.h"

namespace
{

struct Tensor {
    bool absent = false, any_float = false;
    rf_dtype dtype = RF_F64;
    std::vector<int64_t> dims;
    std::vector<double> reals; // elements of float dtypes
    std::vector<int64_t> ints; // of the others; u64 keeps its bits
    size_t count() const { return ops::is_float(dtype) ? reals.size() : ints.size(); }
};

struct Golden {
    rf_op op;
    std::string name, attrs;
    std::vector<Tensor> in, out;
};

// Reads tokens in the order of the file: the elements follow each other.
struct Reader {
    std::map<std::string, rft::NpzArray> npz;
    size_t next_real = 0, next_int = 0;

    Tensor tensor(const std::string &token)
    {
        Tensor t;
        size_t colon = token.find(':'), n = 1;
        t.absent = token == "-";
        if (t.absent)
            return t;
        std::string dtype = token.substr(0, colon), dims = token.substr(colon + 1);
        t.any_float = dtype == "f";
        for (int d = 0; d < RF_DTYPE_COUNT; d++)
            if (dtype == rf_dtype_name((rf_dtype)d))
                t.dtype = (rf_dtype)d;
        std::istringstream parts(dims == "s" ? "" : dims);
        for (std::string part; std::getline(parts, part, 'x');) {
            t.dims.push_back(std::stoll(part));
            n *= (size_t)t.dims.back();
        }
        if (ops::is_float(t.dtype))
            take(npz["reals"].data, &next_real, n, &t.reals);
        else
            take(npz["ints"].ints, &next_int, n, &t.ints);
        return t;
    }
    template <typename T>
    static void take(const std::vector<T> &from, size_t *next, size_t n, std::vector<T> *to)
    {
        to->assign(from.begin() + (ptrdiff_t)*next, from.begin() + (ptrdiff_t)(*next + n));
        *next += n;
    }
    std::vector<Tensor> tensors(const std::string &tokens)
    {
        std::vector<Tensor> all;
        std::istringstream in(tokens);
        for (std::string token; in >> token;)
            all.push_back(tensor(token));
        return all;
    }
};

std::vector<Golden> read_goldens()
{
    Reader reader;
    std::vector<Golden> all;
    reader.npz = rft::read_npz(rft::source_root() + "/tests/ops/goldens/goldens.npz");
    const std::vector<int64_t> &text = reader.npz["cases"].ints;
    std::istringstream lines(std::string(text.begin(), text.end()));
    for (std::string line; std::getline(lines, line);) {
        std::string part[4];
        for (size_t i = 0, at = 0; i < 4; i++) {
            size_t bar = line.find(" |", at);
            part[i] = line.substr(at, bar - at);
            at = bar + 2;
        }
        size_t space = part[0].find(' ');
        Golden g;
        g.op = rf_op_find(part[0].substr(0, space).c_str());
        g.name = part[0].substr(0, space) + "_" + part[0].substr(space + 1);
        g.attrs = part[1];
        g.in = reader.tensors(part[2]);
        g.out = reader.tensors(part[3]);
        all.push_back(std::move(g));
    }
    return all;
}

const std::vector<Golden> &goldens()
{
    static const std::vector<Golden> all = read_goldens();
    return all;
}

// A golden tensor in storage of one dtype.
struct Stored {
    rf_tensor desc = {};
    std::vector<uint8_t> bytes;

    void allocate()
    {
        bytes.assign(rf_tensor_bytes(&desc) + 1, 0xff);
        rf_tensor_set_contiguous(&desc);
        desc.data = bytes.data();
    }
    void fill(const Tensor &t)
    {
        for (size_t i = 0; i < t.reals.size(); i++)
            ops::put(desc, (int64_t)i, t.reals[i]);
        size_t item = rf_dtype_bytes(desc.dtype);
        for (size_t i = 0; i < t.ints.size(); i++) // little endian
            std::memcpy(bytes.data() + i * item, &t.ints[i], item);
    }
};

void compare_reals(const std::vector<double> &want, const rf_tensor &t)
{
    std::vector<double> got(want.size());
    rf_tensor_pack_f64(&t, got.data());
    double largest = 0;
    for (double v : want)
        largest = std::isfinite(v) ? std::fmax(largest, std::fabs(v)) : largest;
    for (size_t i = 0; i < want.size(); i++) {
        double half_ulp = t.dtype == RF_F32 ? 0x1p-24 * std::fabs(want[i]) : 0;
        if (std::isfinite(want[i]))
            EXPECT_NEAR(got[i], want[i], 1e-12 * largest + half_ulp) << "element " << i;
        else if (std::isnan(want[i]))
            EXPECT_TRUE(std::isnan(got[i])) << "element " << i << ": " << got[i];
        else
            EXPECT_EQ(got[i], want[i]) << "element " << i;
    }
}

void compare(const Tensor &want, const Stored &got)
{
    std::vector<int64_t> dims(got.desc.dims, got.desc.dims + got.desc.rank);
    ASSERT_EQ(dims, want.dims);
    ASSERT_TRUE(want.any_float || want.dtype == got.desc.dtype);
    if (want.any_float) {
        compare_reals(want.reals, got.desc);
        return;
    }
    Stored exact;
    exact.desc = got.desc;
    exact.allocate();
    exact.fill(want);
    size_t item = rf_dtype_bytes(got.desc.dtype);
    for (size_t i = 0; i < want.count(); i++)
        EXPECT_EQ(std::memcmp(&exact.bytes[i * item], &got.bytes[i * item], item), 0)
            << "element " << i;
}

void run(const Golden &golden, rf_dtype floats)
{
    std::vector<Stored> in(golden.in.size()), out(golden.out.size());
    rf_attrs attrs;
    rf_error err = {};
    int n_out = 1;
    ASSERT_LT(golden.op, RF_OP_COUNT);
    ASSERT_EQ(ops::parse_attrs(golden.op, golden.attrs, &attrs, &n_out), "");
    ASSERT_EQ(n_out, (int)out.size());
    rf_kernel_desc d = {};
    d.args.op = golden.op;
    d.args.attrs = &attrs;
    d.args.n_in = (int32_t)in.size();
    d.args.n_out = n_out;
    for (size_t i = 0; i < in.size(); i++)
        if (!golden.in[i].absent) {
            const Tensor &t = golden.in[i];
            in[i].desc.dtype = t.any_float ? floats : t.dtype;
            in[i].desc.rank = (int32_t)t.dims.size();
            std::copy(t.dims.begin(), t.dims.end(), in[i].desc.dims);
            in[i].allocate();
            in[i].fill(t);
            d.args.in[i] = &in[i].desc;
        }
    for (size_t i = 0; i < out.size(); i++)
        d.args.out[i] = &out[i].desc;
    ASSERT_EQ(rf_shape_infer(&d.args, &err), RF_OK) << err.text;
    for (Stored &s : out)
        s.allocate();
    size_t n;
    const rf_kernel *kernel = rf_backend_ref.kernels(&n)[golden.op];
    std::vector<double> scratch(kernel->scratch(&d) / sizeof(double) + 1);
    rf_kernel_call call = {d.args, 1, nullptr, scratch.data()};
    ASSERT_EQ(kernel->run(&call, &err), RF_OK) << err.text;
    for (size_t i = 0; i < out.size(); i++)
        compare(golden.out[i], out[i]);
}

class GoldenTest : public testing::Test
{
  public:
    explicit GoldenTest(const Golden &g) : golden_(g) {}
    void TestBody() override
    {
        for (rf_dtype dtype : {RF_F64, RF_F32}) {
            SCOPED_TRACE(rf_dtype_name(dtype));
            run(golden_, dtype);
        }
    }

  private:
    const Golden &golden_;
};

const bool registered = [] {
    for (const Golden &g : goldens())
        testing::RegisterTest("Goldens", g.name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
                              [&g]() -> testing::Test * { return new GoldenTest(g); });
    return true;
}();

// --- the list itself -----------------------------------------------------------------------------

TEST(GoldenList, HasEveryOpAndNoCaseTwice)
{
    ASSERT_TRUE(registered);
    std::set<std::string> names;
    std::set<rf_op> seen;
    for (const Golden &g : goldens()) {
        EXPECT_LT(g.op, RF_OP_COUNT) << g.name;
        EXPECT_TRUE(names.insert(g.name).second) << g.name;
        seen.insert(g.op);
    }
    for (int op = 0; op < RF_OP_COUNT; op++)
        EXPECT_TRUE(seen.count((rf_op)op)) << "no golden for " << rf_op_get((rf_op)op)->name;
}

template <typename T> T at(const rf_attrs &attrs, size_t offset)
{
    T v;
    std::memcpy(&v, (const char *)&attrs + offset, sizeof v);
    return v;
}

// An attribute that no golden changes could be ignored by the reference unseen.
TEST(GoldenList, HasEveryValueOfEveryWordAndChangesEveryNumber)
{
    for (int op = 0; op < RF_OP_COUNT; op++)
        for (int k = 0; k < rf_op_get((rf_op)op)->n_fields; k++) {
            const rf_op_info *info = rf_op_get((rf_op)op);
            const rf_field &f = info->fields[k];
            std::set<int32_t> words;
            bool changed = false;
            for (const Golden &g : goldens()) {
                rf_attrs attrs, plain;
                int n_out;
                if (g.op != op || !ops::parse_attrs(g.op, g.attrs, &attrs, &n_out).empty())
                    continue;
                rf_attrs_default(g.op, &plain);
                words.insert(at<int32_t>(attrs, f.offset));
                size_t item = f.kind == RF_FIELD_REAL ? sizeof(double) : sizeof(int32_t);
                changed = changed ||
                          (f.kind == RF_FIELD_LIST ? at<int32_t>(attrs, f.count_offset) > 0
                                                   : std::memcmp((const char *)&attrs + f.offset,
                                                                 (const char *)&plain + f.offset,
                                                                 (size_t)f.n * item) != 0);
            }
            EXPECT_TRUE(changed) << info->name << "." << f.name << " always has its default";
            for (int32_t v = 0; f.kind == RF_FIELD_ENUM && v < f.n_texts; v++)
                EXPECT_TRUE(words.count(v)) << info->name << "." << f.name << "=" << f.texts[v];
        }
}

} // namespace
