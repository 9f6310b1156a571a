// SPDX-License-Identifier: Apache-2.0
#include "tests/ops/harness.h"

#include "tests/ops/device.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sstream>

#include "runtime/base/half.h"
#include "runtime/core/strided.h"
#include "tests/ops/tolerance.h"
#include "tests/support/support.h"

namespace ops
{
namespace
{

constexpr size_t guard_bytes = 256;
constexpr uint8_t guard = 0xa5, poisoned = 0xff;

// SplitMix64: the same numbers on every machine.
struct Random {
    uint64_t state;
    uint64_t next()
    {
        uint64_t z = state += 0x9e3779b97f4a7c15u;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        return z ^ z >> 31;
    }
    double uniform() { return (double)(next() >> 11) * 0x1p-53; }
};

uint64_t hash(const std::string &s)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (unsigned char c : s)
        h = (h ^ c) * 0x100000001b3u;
    return h;
}

double special_value(uint64_t i)
{
    static const double values[] = {0.0,  -0.0,  INFINITY, -INFINITY, NAN,   1e-40,   -1e-40,
                                    1e30, -1e30, 1e-30,    88.0,      -88.0, 104.0,   -104.0,
                                    1.0,  -1.0,  0.5,      2.5,       -2.5,  65504.0, 3.0e38};
    return values[i % (sizeof values / sizeof values[0])];
}

double draw(const Token &t, Random &random)
{
    double u = random.uniform();
    if (t.fill == "pos")
        return 0.1 + 1.9 * u;
    if (t.fill == "neg")
        return -0.1 - 1.9 * u;
    if (t.fill == "huge")
        return 1e5 + 1.9e6 * u;
    if (t.fill == "wide")
        return 40 * u - 20;
    if (t.fill == "special")
        return special_value(random.next());
    if (t.fill.compare(0, 3, "idx") == 0) {
        double n = std::atof(t.fill.c_str() + 3);
        return std::floor(u * 2 * n) - n;
    }
    return is_float(t.dtype) ? 2 * u - 1 : std::floor(u * 201) - 100;
}

// Calls fn(offset) for every element in row-major order.
template <typename Fn> void each_offset(const rf_tensor &t, Fn fn)
{
    int64_t n = rf_tensor_elements(&t), at[RF_MAX_RANK] = {};
    for (int64_t i = 0; i < n; i++) {
        int64_t offset = 0;
        for (int k = 0; k < t.rank; k++)
            offset += at[k] * t.strides[k];
        fn(offset);
        for (int k = t.rank - 1; k >= 0 && ++at[k] == t.dims[k]; k--)
            at[k] = 0;
    }
}

void set_layout(rf_tensor *t, Layout layout)
{
    rf_tensor_set_contiguous(t);
    if (layout == Layout::nhwc && t->rank == 4)
        rf_tensor_set_nhwc(t);
    int64_t stride = 1;
    for (int i = t->rank - 1; layout == Layout::view && i >= 0; i--) {
        t->strides[i] = stride;
        stride *= t->dims[i] + 1;
    }
}

std::vector<double> elements(const rf_tensor &t)
{
    std::vector<double> values((size_t)rf_tensor_elements(&t));
    rf_tensor_pack_f64(&t, values.data());
    return values;
}

double largest(const std::vector<double> &values)
{
    double most = 0;
    for (double v : values)
        most = std::isfinite(v) ? std::max(most, std::fabs(v)) : most;
    return most;
}

std::vector<uint8_t> element_bytes(const rf_tensor &t)
{
    std::vector<uint8_t> bytes(rf_tensor_bytes(&t));
    rf_tensor_pack(&t, bytes.data());
    return bytes;
}

} // namespace

void put(const rf_tensor &t, int64_t offset, double v)
{
    char *p = (char *)t.data + (size_t)offset * rf_dtype_bytes(t.dtype);
    float f = (float)v;
    uint16_t h = t.dtype == RF_F16 ? rf_f32_to_f16(f) : rf_f32_to_bf16(f);
    int64_t n = is_float(t.dtype) ? 0 : (int64_t)v;
    if (t.dtype == RF_BOOL)
        n = n & 1;
    if (t.dtype == RF_F32)
        std::memcpy(p, &f, 4);
    else if (t.dtype == RF_F64)
        std::memcpy(p, &v, 8);
    else if (is_float(t.dtype))
        std::memcpy(p, &h, 2);
    else
        std::memcpy(p, &n, rf_dtype_bytes(t.dtype)); // little endian
}

Buffer::Buffer(const rf_tensor &desc, bool misaligned) : tensor(desc)
{
    size_t item = rf_dtype_bytes(desc.dtype);
    int64_t last = 0;
    for (int i = 0; i < desc.rank; i++)
        last += (desc.dims[i] - 1) * desc.strides[i];
    span_ = rf_tensor_elements(&desc) ? ((size_t)last + 1) * item : 0;
    raw_.assign(span_ + 2 * guard_bytes + 64 + item, guard);
    size_t address = (size_t)(raw_.data() + guard_bytes);
    begin_ = guard_bytes + ((64 - address % 64) % 64) + (misaligned ? item : 0);
    tensor.data = raw_.data() + begin_;
    poison();
}

void Buffer::poison()
{
    std::memset(raw_.data() + begin_, poisoned, span_);
}

bool Buffer::guards_intact() const
{
    auto is_guard = [](uint8_t b) { return b == guard; };
    return std::all_of(raw_.begin(), raw_.begin() + (ptrdiff_t)begin_, is_guard) &&
           std::all_of(raw_.begin() + (ptrdiff_t)(begin_ + span_), raw_.end(), is_guard);
}

bool Buffer::gaps_intact() const
{
    std::vector<uint8_t> seen(raw_);
    size_t item = rf_dtype_bytes(tensor.dtype);
    each_offset(tensor, [&](int64_t offset) {
        std::memset(seen.data() + begin_ + (size_t)offset * item, poisoned, item);
    });
    return std::all_of(seen.begin() + (ptrdiff_t)begin_, seen.begin() + (ptrdiff_t)(begin_ + span_),
                       [](uint8_t b) { return b == poisoned; });
}

Instance::Instance(const Case &c, const Variant &v, bool misaligned) : case_(c), variant_(v)
{
    Random random = {hash(c.full_name())};
    problem_ = parse_attrs(c.op, c.attrs, &attrs_, &n_out_);
    for (const Token &t : parse_inputs(c)) {
        rf_tensor desc = {};
        desc.rank = t.rank;
        std::copy(t.dims, t.dims + t.rank, desc.dims);
        desc.dtype = t.fixed                          ? t.dtype
                     : t.constant                     ? v.weights
                     : t.statistics && v.in != RF_F64 ? RF_F32
                                                      : v.in;
        set_layout(&desc, t.constant || t.statistics ? Layout::plain : v.in_layout);
        in_.push_back(t.absent ? nullptr : std::make_unique<Buffer>(desc, misaligned));
        constant_.push_back(t.constant);
        if (!t.absent)
            each_offset(desc,
                        [&](int64_t offset) { put(in_.back()->tensor, offset, draw(t, random)); });
    }
    for (size_t i = 0; i < in_.size(); i++) {
        planned_.push_back(in_[i] ? in_[i]->tensor : rf_tensor{});
        if (!constant_[i])
            planned_.back().data = nullptr;
    }
    out_.resize((size_t)n_out_);
    rf_kernel_desc d = desc(1);
    rf_error err;
    if (problem_.empty() && rf_shape_infer(&d.args, &err) != RF_OK)
        problem_ = err.text;
    for (int i = 0; i < n_out_ && problem_.empty(); i++) {
        bool statistics = c.op == RF_OP_CHANNEL_STATS && i < 2;
        if (is_float(out_[i].dtype) && c.op != RF_OP_CAST)
            out_[i].dtype = statistics && v.out != RF_F64 ? RF_F32 : v.out;
        set_layout(&out_[i], statistics && i == 0 ? Layout::plain : v.out_layout);
    }
}

rf_kernel_desc Instance::desc(int n_threads) const
{
    rf_kernel_desc d = {};
    d.args.op = case_.op;
    d.args.attrs = &attrs_;
    d.args.n_in = (int32_t)in_.size();
    d.args.n_out = n_out_;
    for (size_t i = 0; i < in_.size(); i++)
        d.args.in[i] = in_[i] ? &planned_[i] : nullptr;
    for (int i = 0; i < n_out_; i++)
        d.args.out[i] = &out_[i];
    d.n_threads = n_threads;
    return d;
}

bool Instance::accepts(const rf_kernel &kernel, int n_threads) const
{
    rf_kernel_desc d = desc(n_threads);
    return rf_kernel_takes(&kernel, &d);
}

// One kernel on one instance: prepare, the runs, the checks.
struct Runner {
    const Instance &self;
    const rf_kernel &kernel;
    const rf_backend *backend;
    int n_threads;
    rf_env *env = nullptr;
    OpenDevice device = {};
    rf_pack_cache *packs = nullptr;
    void *state = nullptr;
    std::vector<std::unique_ptr<Buffer>> out = {};
    rf_error err = {};

    std::string prepare(bool with_packs);
    std::string execute(const std::vector<Buffer *> &outputs, Buffer *replaced, int replaced_in);
    std::string call_kernel(rf_kernel_call *call, const std::vector<Buffer *> &in,
                            const std::vector<Buffer *> &outputs, Buffer *scratch);
    std::string check_inputs(const std::vector<std::vector<uint8_t>> &before);
    std::string check_outputs(double *worst);
    std::string inputs_key() const;
    int64_t products() const;
    const Sums &sums(size_t output);
    std::vector<std::vector<double>> run_in_f64(const rf_attrs &attrs, bool squared);
    std::string check_in_place();
    std::string all(double *worst);
    const std::vector<std::vector<double>> &oracle();
    const std::vector<std::vector<uint8_t>> &exact_oracle();
    void run_reference(const rf_attrs &attrs, const std::vector<rf_tensor> &in,
                       const std::vector<rf_tensor> &outs);
};

std::string Runner::prepare(bool with_packs)
{
    rf_kernel_desc d = self.desc(n_threads);
    d.env = env;
    if (backend && backend->device_ops && device.open(backend, env, &err) != RF_OK)
        return err.text;
    d.device = device.device;
    if ((with_packs || device.ops) &&
        rf_pack_cache_create(env, device.ops, device.device, &packs, &err) != RF_OK)
        return err.text;
    d.packs = packs;
    if (kernel.prepare && kernel.prepare(&d, &state, &err) != RF_OK)
        return std::string("prepare: ") + err.text;
    return "";
}

// Runs once; input `replaced_in` (if any) is read from the buffer `replaced` instead of its own.
std::string Runner::execute(const std::vector<Buffer *> &outputs, Buffer *replaced, int replaced_in)
{
    rf_kernel_desc d = self.desc(n_threads);
    rf_kernel_call call = {};
    call.args = d.args;
    call.n_threads = n_threads;
    call.state = state;
    std::vector<Buffer *> in;
    for (size_t i = 0; i < self.in_.size(); i++)
        in.push_back(replaced && (int)i == replaced_in ? replaced : self.in_[i].get());
    rf_tensor bytes = {};
    bytes.dtype = RF_U8;
    bytes.rank = 1;
    bytes.dims[0] = kernel.scratch ? (int64_t)kernel.scratch(&d) : 0;
    bytes.strides[0] = 1;
    Buffer scratch(bytes, false);
    std::string wrong = call_kernel(&call, in, outputs, &scratch);
    if (wrong.empty() && !scratch.guards_intact())
        wrong = "wrote outside of its scratch";
    return wrong;
}

std::string Runner::call_kernel(rf_kernel_call *call, const std::vector<Buffer *> &in,
                                const std::vector<Buffer *> &outputs, Buffer *scratch)
{
    if (device.ops)
        return device.run(kernel, call, in, self.constant_, outputs, scratch, &err);
    for (size_t i = 0; i < in.size(); i++)
        call->args.in[i] = in[i] ? &in[i]->tensor : nullptr;
    for (size_t i = 0; i < outputs.size(); i++)
        call->args.out[i] = &outputs[i]->tensor;
    call->scratch = scratch->tensor.data;
    int saved = 0;
    if (backend && backend->enter)
        backend->enter(n_threads, &saved);
    rf_status status = kernel.run(call, &err);
    if (backend && backend->leave)
        backend->leave(saved);
    return status == RF_OK ? "" : std::string("run: ") + err.text;
}

std::string Runner::check_inputs(const std::vector<std::vector<uint8_t>> &before)
{
    for (size_t i = 0; i < self.in_.size(); i++)
        if (self.in_[i] && self.in_[i]->bytes() != before[i])
            return "changed input " + std::to_string(i) + " or wrote beside it";
    return "";
}

void Runner::run_reference(const rf_attrs &attrs, const std::vector<rf_tensor> &in,
                           const std::vector<rf_tensor> &outs)
{
    size_t n;
    const rf_kernel *const *rows = rf_backend_ref.kernels(&n);
    rf_kernel_desc d = self.desc(1);
    d.args.attrs = &attrs;
    std::vector<rf_tensor> out_copy = outs;
    for (size_t i = 0; i < in.size(); i++)
        d.args.in[i] = self.in_[i] ? &in[i] : nullptr;
    for (size_t i = 0; i < outs.size(); i++)
        d.args.out[i] = &out_copy[i];
    std::vector<double> scratch(rows[self.case_.op]->scratch(&d) / sizeof(double) + 1);
    rf_kernel_call call = {};
    call.args = d.args;
    call.n_threads = 1;
    call.scratch = scratch.data();
    if (rows[self.case_.op]->run(&call, &err) != RF_OK)
        std::abort(); // a case that its own oracle refuses
}

// The reference in float64 on the inputs as they are stored, or on their squares.
std::vector<std::vector<double>> Runner::run_in_f64(const rf_attrs &attrs, bool squared)
{
    std::vector<std::vector<double>> in(self.in_.size()), results(self.out_.size());
    std::vector<rf_tensor> in_desc(in.size()), out_desc(results.size());
    for (size_t i = 0; i < in.size(); i++)
        if (self.in_[i]) {
            in[i] = elements(self.in_[i]->tensor);
            for (double &x : in[i])
                x = squared ? x * x : x;
            in_desc[i] = self.in_[i]->tensor;
            in_desc[i].dtype = RF_F64;
            in_desc[i].data = in[i].data();
            rf_tensor_set_contiguous(&in_desc[i]);
        }
    for (size_t i = 0; i < results.size(); i++) {
        out_desc[i] = self.out_[i];
        out_desc[i].dtype = RF_F64;
        rf_tensor_set_contiguous(&out_desc[i]);
        results[i].resize((size_t)rf_tensor_elements(&out_desc[i]));
        out_desc[i].data = results[i].data();
    }
    run_reference(attrs, in_desc, out_desc);
    return results;
}

// What is the same for all layouts and results of a case.
std::string Runner::inputs_key() const
{
    const Variant &v = self.variant_;
    return self.case_.full_name() + " " + std::to_string(v.in) + " " + std::to_string(v.weights);
}

const std::vector<std::vector<double>> &Runner::oracle()
{
    static std::map<std::string, std::vector<std::vector<double>>> cache;
    auto found = cache.find(inputs_key());
    if (found == cache.end())
        found = cache.emplace(inputs_key(), run_in_f64(self.attrs_, false)).first;
    return found->second;
}

// Bytes that ref gives in the same dtypes: for ops that only move elements, and for integers.
const std::vector<std::vector<uint8_t>> &Runner::exact_oracle()
{
    static std::map<std::string, std::vector<std::vector<uint8_t>>> cache;
    std::string key = inputs_key() + " " + std::to_string(self.variant_.out);
    auto found = cache.find(key);
    if (found != cache.end())
        return found->second;
    std::vector<std::vector<uint8_t>> results;
    std::vector<rf_tensor> in_desc, out_desc;
    for (const auto &b : self.in_)
        in_desc.push_back(b ? b->tensor : rf_tensor{});
    for (const rf_tensor &t : self.out_) {
        results.emplace_back(rf_tensor_bytes(&t));
        out_desc.push_back(t);
        rf_tensor_set_contiguous(&out_desc.back());
        out_desc.back().data = results.back().data();
    }
    run_reference(self.attrs_, in_desc, out_desc);
    return cache[key] = std::move(results);
}

// Products in the sum of one element; 0: the op is not linear in its first input.
int64_t Runner::products() const
{
    const rf_op op = self.case_.op;
    const rf_tensor &x = self.in_[0]->tensor;
    if (op == RF_OP_MATMUL)
        return x.dims[x.rank - (self.attrs_.matmul.trans_a ? 2 : 1)];
    if (op != RF_OP_CONV2D && op != RF_OP_CONV_TRANSPOSE2D)
        return 0;
    const rf_tensor &w = self.in_[1]->tensor;
    return (op == RF_OP_CONV2D ? w.dims[1] : w.dims[0] / self.attrs_.conv_transpose2d.groups) *
           w.dims[2] * w.dims[3];
}

// The reference without activation, on the inputs and on their squares.
const Sums &Runner::sums(size_t output)
{
    static std::map<std::string, Sums> cache;
    std::string key = inputs_key() + " " + std::to_string(output);
    auto found = cache.find(key);
    if (found != cache.end())
        return found->second;
    Sums s = {products(), 0, 0};
    if (!s.products) {
        s.peak = largest(oracle()[output]);
        return cache[key] = s;
    }
    rf_attrs attrs = self.attrs_;
    (self.case_.op == RF_OP_MATMUL             ? attrs.matmul.act
     : self.case_.op == RF_OP_CONV_TRANSPOSE2D ? attrs.conv_transpose2d.act
                                               : attrs.conv2d.act) = RF_ACT_NONE;
    s.peak = largest(run_in_f64(attrs, false)[output]);
    if (self.case_.op == RF_OP_MATMUL)
        attrs.matmul.alpha *= attrs.matmul.alpha;
    s.spread = std::sqrt(largest(run_in_f64(attrs, true)[output]));
    return cache[key] = s;
}

std::string Runner::check_outputs(double *worst)
{
    for (size_t i = 0; i < out.size(); i++) {
        std::string where = out.size() > 1 ? "output " + std::to_string(i) + ": " : "";
        if (!out[i]->guards_intact())
            return where + "wrote outside of it";
        if (!out[i]->gaps_intact())
            return where + "wrote between the elements of a view";
        bool exact =
            rf_op_get(self.case_.op)->tolerance == RF_TOL_EXACT || !is_float(out[i]->tensor.dtype);
        if (exact && element_bytes(out[i]->tensor) != exact_oracle()[i])
            return where + "elements differ from those of the reference";
        std::string wrong = exact ? ""
                                  : compare(self.case_.op, kernel.name, out[i]->tensor.dtype,
                                            sums(i), elements(out[i]->tensor), oracle()[i], worst);
        if (!wrong.empty())
            return where + wrong;
    }
    return "";
}

std::string Runner::check_in_place()
{
    for (size_t i = 0; i < self.in_.size(); i++) {
        if (!(kernel.in_place >> i & 1) || !self.in_[i] || self.constant_[i])
            continue;
        const rf_tensor &a = self.in_[i]->tensor, &b = out[0]->tensor;
        bool same = a.dtype == b.dtype && a.rank == b.rank &&
                    std::equal(a.dims, a.dims + a.rank, b.dims) &&
                    std::equal(a.strides, a.strides + a.rank, b.strides);
        if (!same)
            continue;
        Buffer shared(b, false);
        each_offset(a, [&](int64_t offset) {
            size_t item = rf_dtype_bytes(a.dtype), at = (size_t)offset * item;
            std::memcpy((char *)shared.tensor.data + at, (const char *)a.data + at, item);
        });
        std::vector<Buffer *> outputs = {&shared};
        for (size_t k = 1; k < out.size(); k++)
            outputs.push_back(out[k].get());
        std::string wrong = execute(outputs, &shared, (int)i);
        if (wrong.empty() && !shared.guards_intact())
            wrong = "wrote outside of the output";
        if (wrong.empty() && element_bytes(shared.tensor) != element_bytes(b))
            wrong = "gives other bits than out of place";
        if (!wrong.empty())
            return "in place of input " + std::to_string(i) + ": " + wrong;
    }
    return "";
}

std::string Runner::all(double *worst)
{
    std::vector<std::vector<uint8_t>> inputs, first;
    std::vector<Buffer *> outputs;
    for (const auto &b : self.in_)
        inputs.push_back(b ? b->bytes() : std::vector<uint8_t>());
    for (const auto &b : out)
        outputs.push_back(b.get());
    for (int again = 0; again < 2; again++) {
        for (Buffer *b : outputs)
            b->poison();
        std::string wrong = execute(outputs, nullptr, -1);
        if (wrong.empty())
            wrong = check_inputs(inputs);
        if (wrong.empty() && !again)
            wrong = check_outputs(worst);
        for (size_t i = 0; wrong.empty() && i < out.size(); i++)
            if (!again)
                first.push_back(out[i]->bytes());
            else if (out[i]->bytes() != first[i])
                wrong = "the second run gives other bits";
        if (!wrong.empty())
            return wrong;
    }
    std::string wrong = check_in_place();
    return wrong.empty() ? check_inputs(inputs) : wrong;
}

std::string Instance::run(const rf_kernel &kernel, const rf_backend *backend, int n_threads,
                          bool with_packs, double *worst) const
{
    Runner runner = {*this, kernel, backend, n_threads};
    if (rf_env_create(nullptr, &runner.env, &runner.err) != RF_OK)
        return runner.err.text;
    // As in the plan: alignment of inputs and outputs is the same accident.
    bool misaligned = !in_.empty() && in_[0] && (size_t)in_[0]->tensor.data % 64 != 0;
    for (const rf_tensor &t : out_)
        runner.out.push_back(std::make_unique<Buffer>(t, misaligned));
    size_t bytes = rf_env_bytes(runner.env);
    std::string wrong = runner.prepare(with_packs);
    if (wrong.empty())
        wrong = runner.all(worst);
    if (kernel.release && runner.state)
        kernel.release(runner.env, runner.state);
    rf_pack_cache_destroy(&runner.packs);
    runner.device.close();
    if (wrong.empty() && rf_env_bytes(runner.env) != bytes)
        wrong = "leaks " + std::to_string(rf_env_bytes(runner.env) - bytes) + " bytes";
    rf_env_release(&runner.env);
    return wrong;
}

std::string run_case(const Case &c, const rf_backend *backend, const rf_kernel *const *kernels,
                     size_t n_kernels, Audience audience, int *n_runs, double *worst)
{
    double ignored = 0;
    int n_variants = 0;
    for (const Variant &v : variants_of(c, audience)) {
        const bool only = n_variants++ % 2;
        for (bool misaligned : {false, true}) {
            if (audience == Audience::device ? misaligned // never happens there
                                             : std::getenv("RF_TEST_QUICK") && misaligned != only)
                continue;
            Instance instance(c, v, misaligned);
            if (!instance.problem().empty())
                return v.text() + ": " + instance.problem();
            int n_threads = misaligned ? 2 : 1;
            for (size_t k = 0; k < n_kernels; k++) {
                if (!instance.accepts(*kernels[k], n_threads))
                    continue;
                ++*n_runs;
                std::string wrong = instance.run(*kernels[k], backend, n_threads, !misaligned,
                                                 worst ? worst : &ignored);
                if (!wrong.empty())
                    return std::string(kernels[k]->name) + ", " + v.text() +
                           (misaligned ? ", misaligned, 2 threads: " : ", 1 thread: ") + wrong;
            }
        }
    }
    return "";
}

} // namespace ops
