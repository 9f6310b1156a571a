// SPDX-License-Identifier: Apache-2.0
//
// Times kernels one node at a time: the shapes of real networks (network_shapes.def) or the cases
// of the tests, on the row that the planner would choose or on every row that accepts the node.
//
// Kernels of one node are run in turn, round after round, so that what else the machine does hits
// all of them; the shortest run is what a kernel can do, the median what it did today. The share is
// of the time that the node needs at the ceilings measured at start (or given by --ceilings): its
// multiply-adds at the peak of the arithmetic or its bytes (each tensor once) at the speed of a
// large copy, whichever takes longer. Small nodes live in cache and may pass 100% of a copy.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <getopt.h>
#include <jansson.h>

#include "bench/runner.h"
#include "runtime/exec/plan.h"

namespace
{

struct Options {
    std::string filter, backend = "cpu", dtype, json;
    int threads = rf_cpu_count();
    double seconds = 0.3; // for each kernel of a node
    bool all_kernels = false, test_cases = false, cold = false;
    bench_ceilings ceilings = {}; // given: copy_bytes > 0
};

using bench::Runner;
using bench::Target;

const std::vector<ops::Case> &network_shapes()
{
    static const std::vector<ops::Case> shapes = {
#define RF_CASE(op, name, inputs, attrs) {rf_op_find(#op), #name, inputs, attrs},
#include "bench/network_shapes.def"
#undef RF_CASE
    };
    return shapes;
}

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
    bool half = d.args.in[0] && rf_dtype_bytes(d.args.in[0]->dtype) == 2;
    w.roof_seconds =
        std::max(w.flops / (half ? top.bf16_flops : top.f32_flops), w.bytes / top.copy_bytes);
    return w;
}

// The forms in which a plan holds the node: images NHWC, the rest plain; in every dtype.
std::vector<ops::Variant> forms_of(const ops::Case &c, const Options &o, const Target &target)
{
    const char *const matrix[] = {"matmul", "attention", "softmax", "layer_norm", "transpose"};
    const std::vector<ops::Variant> all =
        ops::variants_of(c, target.on_device() ? ops::Audience::device : ops::Audience::cpu);
    bool plain = false, images = false;
    for (const char *name : matrix)
        plain = plain || !strcmp(name, rf_op_get(c.op)->name);
    for (const ops::Variant &v : all)
        images = images || v.in_layout == ops::Layout::nhwc;
    std::vector<ops::Variant> forms;
    for (const ops::Variant &v : all) {
        bool nhwc = v.in_layout == ops::Layout::nhwc;
        bool wanted = v.in == v.out && v.in_layout == v.out_layout &&
                      v.in_layout != ops::Layout::view && nhwc == (images && !plain);
        if (wanted && (o.dtype.empty() || o.dtype == rf_dtype_name(v.in)))
            forms.push_back(v);
    }
    return forms;
}

json_t *report(const ops::Case &c, const ops::Variant &v, const Runner &r, const Work &w)
{
    double best = r.quantile(0), p50 = r.quantile(0.5);
    printf("%-34s %-5s %-14s %10.1f %10.1f", c.full_name().c_str(), rf_dtype_name(v.in), r.name(),
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
bool bench_node(const ops::Case &c, const ops::Variant &v, const Target &target, const Options &o,
                const bench_ceilings &top, json_t *results)
{
    ops::Instance node(c, v, false);
    std::vector<std::unique_ptr<Runner>> runners;
    std::string wrong = node.problem();
    for (const rf_kernel *k : wrong.empty() ? bench::kernels_for(node, target, o.all_kernels)
                                            : std::vector<const rf_kernel *>()) {
        runners.push_back(bench::make_runner(k, target, node));
        wrong = wrong.empty() ? runners.back()->prepare() : wrong;
    }
    const double budget = o.seconds * (double)runners.size();
    for (auto &r : runners)
        wrong = wrong.empty() ? r->warm_up() : wrong;
    const int least = target.emulated() ? 1 : 3;
    double begin = bench::now();
    for (int round = 0; round < least || (bench::now() - begin < budget && round < 10000); round++)
        for (auto &r : runners)
            wrong = wrong.empty() ? r->run() : wrong;
    if (!wrong.empty()) {
        fprintf(stderr, "%s, %s: %s\n", c.full_name().c_str(), v.text().c_str(), wrong.c_str());
        return false;
    }
    const Work w = work_of(node.desc(target.threads), top);
    for (auto &r : runners)
        json_array_append_new(results, report(c, v, *r, w));
    if (runners.empty())
        printf("%-34s %-5s no kernel of %s takes it\n", c.full_name().c_str(), rf_dtype_name(v.in),
               target.backend->name);
    return true;
}

[[noreturn]] void usage(int code)
{
    fprintf(code ? stderr : stdout,
            "bench_ops [--filter TEXT] [--backend cpu|ref|cuda|sim] [--threads N]\n"
            "          [--dtype f32|f16|bf16] [--all-kernels] [--tests] [--seconds S] [--cold]\n"
            "          [--ceilings F32_GFLOPS,BF16_GFLOPS,COPY_GBS] [--json FILE]\n"
            "  --all-kernels   every row that accepts a node, in turn, not only the first\n"
            "  --tests         the op cases of the tests instead of the shapes of networks\n"
            "  --seconds S     for each kernel of a node (default 0.3)\n"
            "  --cold          devices: tensors out of the cache, by taking turns at copies\n"
            "  --ceilings ...  instead of measuring what the machine can do at best\n");
    exit(code);
}

bool parse_ceilings(const char *text, bench_ceilings *out)
{
    double f32, bf16, copy;
    int end = 0;
    if (sscanf(text, "%lf,%lf,%lf%n", &f32, &bf16, &copy, &end) != 3 || text[end] ||
        !(f32 > 0 && bf16 > 0 && copy > 0)) {
        fprintf(stderr,
                "--ceilings '%s': expected three positive numbers, F32_GFLOPS,BF16_GFLOPS,"
                "COPY_GBS\n",
                text);
        return false;
    }
    *out = {f32 * 1e9, bf16 * 1e9, copy * 1e9};
    return true;
}

Options parse(int argc, char **argv)
{
    static const option names[] = {{"filter", 1, nullptr, 'f'},  {"backend", 1, nullptr, 'b'},
                                   {"threads", 1, nullptr, 't'}, {"dtype", 1, nullptr, 'd'},
                                   {"json", 1, nullptr, 'j'},    {"all-kernels", 0, nullptr, 'a'},
                                   {"tests", 0, nullptr, 'c'},   {"seconds", 1, nullptr, 's'},
                                   {"cold", 0, nullptr, 'C'},    {"ceilings", 1, nullptr, 'r'},
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
        case 'C':
            o.cold = true;
            break;
        case 'r':
            if (!parse_ceilings(optarg, &o.ceilings))
                exit(2);
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

// Where the ceilings come from; "" after a message if they cannot be measured.
std::string find_ceilings(const Options &o, const Target &target, bench_ceilings *out)
{
    *out = o.ceilings;
    if (out->copy_bytes > 0)
        return "given";
    if (!target.on_device()) {
        bench_measure_ceilings(o.threads, out);
        return "measured, arithmetic in registers";
    }
    std::string wrong = bench::measure_device_ceilings(target, out);
    if (wrong.empty())
        return "measured, arithmetic by own matmul";
    fprintf(stderr, "bench_ops: ceilings: %s\n", wrong.c_str());
    return "";
}

json_t *header(const Target &target, const bench_ceilings &top, const std::string &source,
               json_t *results)
{
    return json_pack("{s:s, s:s, s:b, s:b, s:i, s:{s:f, s:f, s:f, s:s}, s:o}", "backend",
                     target.backend->name, "isa", target.describe(), "emulated", target.emulated(),
                     "cold", target.cold, "threads", target.threads, "ceilings", "f32_gflops",
                     top.f32_flops * 1e-9, "bf16_gflops", top.bf16_flops * 1e-9, "copy_gbytes",
                     top.copy_bytes * 1e-9, "source", source.c_str(), "results", results);
}

} // namespace

int main(int argc, char **argv)
{
    const Options o = parse(argc, argv);
    Target target;
    target.threads = o.threads;
    target.cold = o.cold;
    std::string wrong = target.open(o.backend);
    if (!wrong.empty()) {
        fprintf(stderr, "bench_ops: %s\n", wrong.c_str());
        return 2;
    }
    bench_ceilings top;
    const std::string source = find_ceilings(o, target, &top);
    if (source.empty())
        return 1;
    printf("%s (%s), %d threads; ceilings (%s): f32 %.0f GFLOP/s, bf16 %.0f GFLOP/s, copy %.1f "
           "GB/s\n%s",
           target.backend->name, target.describe(), target.threads, source.c_str(),
           top.f32_flops * 1e-9, top.bf16_flops * 1e-9, top.copy_bytes * 1e-9,
           target.emulated() ? "EMULATED: times and rates mean nothing\n" : "");
    printf("%-34s %-5s %-14s %10s %10s %9s %8s %7s\n", "node", "dtype", "kernel", "min us",
           "p50 us", "GFLOP/s", "GB/s", "share");
    json_t *results = json_array();
    bool ok = true;
    for (const ops::Case &c : o.test_cases ? ops::all_cases() : network_shapes())
        if (c.full_name().find(o.filter) != std::string::npos)
            for (const ops::Variant &v : forms_of(c, o, target))
                ok = bench_node(c, v, target, o, top, results) && ok;
    json_t *all = header(target, top, source, results);
    if (!o.json.empty() && json_dump_file(all, o.json.c_str(), JSON_INDENT(1)) != 0) {
        fprintf(stderr, "bench_ops: cannot write %s\n", o.json.c_str());
        ok = false;
    }
    json_decref(all);
    return ok ? 0 : 1;
}
