// SPDX-License-Identifier: Apache-2.0
//
// Times kernels one node at a time: the shapes of real networks (network_shapes.def) or the cases
// of the tests, on the row that the planner would choose or on every row that accepts the node.
//
// Kernels of one node are run in turn, round after round, so that what else the machine does hits
// all of them; the shortest run is what a kernel can do, the median what it did today. The share is
// of the time that the node needs at the ceilings measured at start: its multiply-adds at the peak
// of the arithmetic or its bytes (each tensor once) at the speed of a large copy, whichever takes
// longer. Small nodes live in cache and may pass 100% of a copy.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <getopt.h>
#include <jansson.h>

#include "bench/ceilings.h"
#include "runtime/exec/plan.h"
#include "tests/ops/harness.h"

namespace
{

struct Options {
    std::string filter, backend = "cpu", dtype, json;
    int threads = rf_cpu_count();
    double seconds = 0.3; // for each kernel of a node
    bool all_kernels = false, test_cases = false;
};

const std::vector<ops::Case> &network_shapes()
{
    static const std::vector<ops::Case> shapes = {
#define RF_CASE(op, name, inputs, attrs) {rf_op_find(#op), #name, inputs, attrs},
#include "bench/network_shapes.def"
#undef RF_CASE
    };
    return shapes;
}

double now()
{
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

struct Free {
    void operator()(void *p) const { free(p); }
};
using Memory = std::unique_ptr<void, Free>;

Memory allocate(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 127) / 64 * 64);
    if (p)
        memset(p, 0, bytes);
    return Memory(p);
}

// One kernel ready to run on one node, and its times.
class Runner
{
  public:
    Runner(const rf_kernel *kernel, const rf_backend *backend, const ops::Instance &node,
           int threads)
        : kernel_(kernel), backend_(backend), node_(node), desc_(node.desc(threads))
    {
    }
    Runner(const Runner &) = delete;
    ~Runner()
    {
        if (kernel_->release && call_.state)
            kernel_->release(env_, call_.state);
        rf_env_release(&env_);
    }
    // "" or why it cannot run.
    std::string prepare()
    {
        rf_error err = {};
        if (rf_env_create(nullptr, &env_, &err) != RF_OK)
            return err.text;
        desc_.env = env_;
        call_.args = desc_.args;
        call_.n_threads = desc_.n_threads;
        size_t bytes = kernel_->scratch ? kernel_->scratch(&desc_) : 0;
        scratch_ = allocate(bytes);
        call_.scratch = scratch_.get();
        double begin = now();
        if (kernel_->prepare && kernel_->prepare(&desc_, &call_.state, &err) != RF_OK)
            return err.text;
        prepare_seconds = now() - begin;
        for (int i = 0; i < desc_.args.n_in; i++)
            call_.args.in[i] = node_.input((size_t)i);
        for (int i = 0; i < desc_.args.n_out; i++) {
            outputs_.push_back(*desc_.args.out[i]);
            memories_.push_back(allocate(rf_tensor_bytes(desc_.args.out[i])));
            outputs_.back().data = memories_.back().get();
        }
        for (int i = 0; i < desc_.args.n_out; i++)
            call_.args.out[i] = &outputs_[(size_t)i];
        return "";
    }
    std::string run()
    {
        rf_error err = {};
        int saved = 0;
        if (backend_->enter)
            backend_->enter(desc_.n_threads, &saved);
        double begin = now();
        rf_status status = kernel_->run(&call_, &err);
        times_.push_back(now() - begin);
        if (backend_->leave)
            backend_->leave(saved);
        return status == RF_OK ? "" : err.text;
    }
    void forget() { times_.clear(); }
    double quantile(double q) const
    {
        std::vector<double> sorted = times_;
        std::sort(sorted.begin(), sorted.end());
        return sorted[(size_t)(q * (double)(sorted.size() - 1))];
    }
    size_t runs() const { return times_.size(); }
    const char *name() const { return kernel_->name; }
    double prepare_seconds = 0;

  private:
    const rf_kernel *kernel_;
    const rf_backend *backend_;
    const ops::Instance &node_;
    rf_kernel_desc desc_;
    rf_kernel_call call_ = {};
    rf_env *env_ = nullptr;
    Memory scratch_;
    std::vector<rf_tensor> outputs_;
    std::vector<Memory> memories_;
    std::vector<double> times_;
};

// What a node costs at least.
struct Work {
    double flops, bytes, roof_seconds;
};

Work work_of(const rf_kernel_desc &d, const bench_ceilings &top)
{
    Work w = {2.0 * (double)rf_plan_macs(&d.args), 0, 0};
    for (int i = 0; i < d.args.n_in; i++)
        if (d.args.in[i])
            w.bytes += (double)rf_tensor_bytes(d.args.in[i]);
    for (int i = 0; i < d.args.n_out; i++)
        w.bytes += (double)rf_tensor_bytes(d.args.out[i]);
    bool half = d.args.in[0] && d.args.in[0]->dtype == RF_BF16;
    w.roof_seconds =
        std::max(w.flops / (half ? top.bf16_flops : top.f32_flops), w.bytes / top.copy_bytes);
    return w;
}

// The forms in which a plan holds the node: images NHWC, the rest plain; in either dtype.
std::vector<ops::Variant> forms_of(const ops::Case &c, const Options &o)
{
    const char *const matrix[] = {"matmul", "attention", "softmax", "layer_norm", "transpose"};
    bool plain = false;
    for (const char *name : matrix)
        plain = plain || !strcmp(name, rf_op_get(c.op)->name);
    std::vector<ops::Variant> forms;
    for (const ops::Variant &v : ops::variants_of(c, ops::Audience::cpu)) {
        bool nhwc = v.in_layout == ops::Layout::nhwc;
        bool images = false;
        for (const ops::Variant &other : ops::variants_of(c, ops::Audience::cpu))
            images = images || other.in_layout == ops::Layout::nhwc;
        bool wanted = v.in == v.out && v.in_layout == v.out_layout &&
                      v.in_layout != ops::Layout::view && nhwc == (images && !plain);
        if (wanted && (o.dtype.empty() || o.dtype == rf_dtype_name(v.in)))
            forms.push_back(v);
    }
    return forms;
}

std::vector<const rf_kernel *> kernels_for(const ops::Instance &node, const rf_backend *backend,
                                           const Options &o)
{
    std::vector<const rf_kernel *> rows;
    size_t n;
    const rf_kernel *const *table = backend->kernels(&n);
    for (size_t i = 0; i < n && (o.all_kernels || rows.empty()); i++)
        if (node.accepts(*table[i], o.threads))
            rows.push_back(table[i]);
    bool has_dnnl = false;
    for (const rf_kernel *k : rows)
        has_dnnl = has_dnnl || !strcmp(k->name, "dnnl");
    for (size_t i = 0; o.all_kernels && !has_dnnl && rf_cpu_dnnl_any[i]; i++)
        if (backend == &rf_backend_cpu && node.accepts(*rf_cpu_dnnl_any[i], o.threads))
            rows.push_back(rf_cpu_dnnl_any[i]);
    return rows;
}

json_t *report(const ops::Case &c, const ops::Variant &v, const Runner &r, const Work &w)
{
    double best = r.quantile(0), p50 = r.quantile(0.5);
    printf("%-34s %-5s %-12s %10.1f %10.1f", c.full_name().c_str(), rf_dtype_name(v.in), r.name(),
           best * 1e6, p50 * 1e6);
    if (w.flops > 0)
        printf(" %9.1f", w.flops / best * 1e-9);
    else
        printf(" %9s", "-");
    printf(" %8.1f %6.0f%%\n", w.bytes / best * 1e-9, 100 * w.roof_seconds / best);
    fflush(stdout);
    return json_pack("{s:s, s:s, s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:I}", "node",
                     c.full_name().c_str(), "form", v.text().c_str(), "kernel", r.name(), "min_us",
                     best * 1e6, "p50_us", p50 * 1e6, "prepare_us", r.prepare_seconds * 1e6,
                     "gflops", w.flops / best * 1e-9, "gbytes", w.bytes / best * 1e-9, "share",
                     w.roof_seconds / best, "n", (json_int_t)r.runs());
}

// Times all kernels of one node; false if one fails.
bool bench_node(const ops::Case &c, const ops::Variant &v, const rf_backend *backend,
                const Options &o, const bench_ceilings &top, json_t *results)
{
    ops::Instance node(c, v, false);
    std::vector<std::unique_ptr<Runner>> runners;
    std::string wrong = node.problem();
    for (const rf_kernel *k :
         wrong.empty() ? kernels_for(node, backend, o) : std::vector<const rf_kernel *>()) {
        runners.push_back(std::make_unique<Runner>(k, backend, node, o.threads));
        wrong = wrong.empty() ? runners.back()->prepare() : wrong;
    }
    const double budget = o.seconds * (double)runners.size();
    for (auto &r : runners) { // pages, clocks, caches
        wrong = wrong.empty() ? r->run() : wrong;
        r->forget();
    }
    double begin = now();
    for (int round = 0; round < 3 || (now() - begin < budget && round < 10000); round++)
        for (auto &r : runners)
            wrong = wrong.empty() ? r->run() : wrong;
    if (!wrong.empty()) {
        fprintf(stderr, "%s, %s: %s\n", c.full_name().c_str(), v.text().c_str(), wrong.c_str());
        return false;
    }
    const Work w = work_of(node.desc(o.threads), top);
    for (auto &r : runners)
        json_array_append_new(results, report(c, v, *r, w));
    if (runners.empty())
        printf("%-34s %-5s no kernel of %s takes it\n", c.full_name().c_str(), rf_dtype_name(v.in),
               backend->name);
    return true;
}

[[noreturn]] void usage(int code)
{
    fprintf(code ? stderr : stdout,
            "bench_ops [--filter TEXT] [--backend cpu|ref] [--threads N] [--dtype f32|bf16]\n"
            "          [--all-kernels] [--tests] [--seconds S] [--json FILE]\n"
            "  --all-kernels   every row that accepts a node, in turn, not only the first\n"
            "  --tests         the op cases of the tests instead of the shapes of networks\n"
            "  --seconds S     for each kernel of a node (default 0.3)\n");
    exit(code);
}

Options parse(int argc, char **argv)
{
    static const option names[] = {{"filter", 1, nullptr, 'f'},  {"backend", 1, nullptr, 'b'},
                                   {"threads", 1, nullptr, 't'}, {"dtype", 1, nullptr, 'd'},
                                   {"json", 1, nullptr, 'j'},    {"all-kernels", 0, nullptr, 'a'},
                                   {"tests", 0, nullptr, 'c'},   {"seconds", 1, nullptr, 's'},
                                   {"help", 0, nullptr, 'h'},    {}};
    Options o;
    for (int k; (k = getopt_long(argc, argv, "h", names, nullptr)) != -1;)
        switch (k) {
        case 'f':
            o.filter = optarg;
            break;
        case 'b':
            o.backend = optarg;
            break;
        case 't':
            o.threads = atoi(optarg);
            break;
        case 'd':
            o.dtype = optarg;
            break;
        case 'j':
            o.json = optarg;
            break;
        case 'a':
            o.all_kernels = true;
            break;
        case 'c':
            o.test_cases = true;
            break;
        case 's':
            o.seconds = atof(optarg);
            break;
        default:
            usage(k == 'h' ? 0 : 2);
        }
    if (optind != argc || o.threads < 1)
        usage(2);
    return o;
}

} // namespace

int main(int argc, char **argv)
{
    const Options o = parse(argc, argv);
    const rf_backend *backend = rf_backend_find(o.backend.c_str());
    if (!backend) {
        fprintf(stderr, "bench_ops: no backend '%s' in this build\n", o.backend.c_str());
        return 2;
    }
    bench_ceilings top;
    bench_measure_ceilings(o.threads, &top);
    printf("%s (%s), %d threads; ceilings: f32 %.0f GFLOP/s, bf16 %.0f GFLOP/s, copy %.1f GB/s\n",
           backend->name, backend->describe(), o.threads, top.f32_flops * 1e-9,
           top.bf16_flops * 1e-9, top.copy_bytes * 1e-9);
    printf("%-34s %-5s %-12s %10s %10s %9s %8s %7s\n", "node", "dtype", "kernel", "min us",
           "p50 us", "GFLOP/s", "GB/s", "share");
    json_t *results = json_array();
    bool ok = true;
    for (const ops::Case &c : o.test_cases ? ops::all_cases() : network_shapes())
        if (c.full_name().find(o.filter) != std::string::npos)
            for (const ops::Variant &v : forms_of(c, o))
                ok = bench_node(c, v, backend, o, top, results) && ok;
    json_t *all =
        json_pack("{s:s, s:s, s:i, s:{s:f, s:f, s:f}, s:o}", "backend", backend->name, "isa",
                  backend->describe(), "threads", o.threads, "ceilings", "f32_gflops",
                  top.f32_flops * 1e-9, "bf16_gflops", top.bf16_flops * 1e-9, "copy_gbytes",
                  top.copy_bytes * 1e-9, "results", results);
    if (!o.json.empty() && json_dump_file(all, o.json.c_str(), JSON_INDENT(1)) != 0) {
        fprintf(stderr, "bench_ops: cannot write %s\n", o.json.c_str());
        ok = false;
    }
    json_decref(all);
    return ok ? 0 : 1;
}
