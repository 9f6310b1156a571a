// SPDX-License-Identifier: Apache-2.0
//
// Times on a device. Launches of one kernel are recorded as one object (a CUDA graph, which is how
// sessions run) and replayed between two marks, so that neither a launch's way through the host
// nor a wait is in the time: a replay before the first mark keeps the device busy while the host
// enqueues the rest. Inputs are random numbers, never zeros: a card draws less power on zeros and
// clocks higher.
#include "bench/runner.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace bench
{
namespace
{

constexpr int rounds_per_run = 8;        // times that one run() adds
constexpr double batch_seconds = 5e-4;   // of launches between two marks
constexpr int largest_batch = 256;       // launches
constexpr size_t cold_bytes = 256 << 20; // beyond every L2 cache of today

class DeviceRunner : public Runner
{
  public:
    using Runner::Runner;
    ~DeviceRunner() override
    {
        const ops::OpenDevice &d = target_.device;
        d.ops->recording_destroy(&batch_);
        for (void *p : memories_)
            d.ops->free(d.device, p);
        if (kernel_->release && call_.state)
            kernel_->release(target_.env, call_.state);
        rf_pack_cache_destroy(&packs_);
    }
    std::string prepare() override;
    std::string warm_up() override;
    std::string run() override;

  private:
    struct Tensors {
        rf_tensor in[RF_MAX_IN], out[RF_MAX_OUT];
    };
    rf_status add_tensors(rf_error *err);
    rf_status allocate(size_t bytes, void **out, rf_error *err);
    rf_status launch(int i, rf_error *err);
    rf_status record(int launches, rf_error *err);
    rf_status replay(int times, rf_error *err);

    rf_pack_cache *packs_ = nullptr;
    rf_recording *batch_ = nullptr;
    int batch_launches_ = 1;
    std::vector<Tensors> copies_; // launch i uses copy i % size
    std::vector<void *> memories_;
};

rf_status DeviceRunner::allocate(size_t bytes, void **out, rf_error *err)
{
    RF_TRY(target_.device.ops->alloc(target_.device.device, bytes, out, err));
    memories_.push_back(*out);
    return RF_OK;
}

// Constants that the kernel has packed get an address that nobody may touch, as in plans.
rf_status DeviceRunner::add_tensors(rf_error *err)
{
    static char untouchable[16];
    const ops::OpenDevice &d = target_.device;
    Tensors t = {};
    for (int i = 0; i < desc_.args.n_in; i++) {
        const rf_tensor *host = node_.input((size_t)i);
        if (!host)
            continue;
        t.in[i] = *host;
        bool constant = desc_.args.in[i]->data != nullptr;
        if (constant && (kernel_->packed >> i & 1)) {
            t.in[i].data = untouchable;
        } else if (constant && !copies_.empty()) {
            t.in[i].data = copies_[0].in[i].data;
        } else {
            RF_TRY(allocate(rf_tensor_bytes(host), &t.in[i].data, err));
            RF_TRY(d.ops->upload(d.device, t.in[i].data, host->data, rf_tensor_bytes(host), err));
        }
    }
    for (int i = 0; i < desc_.args.n_out; i++) {
        t.out[i] = *desc_.args.out[i];
        RF_TRY(allocate(rf_tensor_bytes(&t.out[i]), &t.out[i].data, err));
    }
    copies_.push_back(t);
    return RF_OK;
}

std::string DeviceRunner::prepare()
{
    rf_error err = {};
    const ops::OpenDevice &d = target_.device;
    if (rf_pack_cache_create(target_.env, d.ops, d.device, &packs_, &err) != RF_OK)
        return err.text;
    std::string wrong = prepare_kernel(packs_);
    if (!wrong.empty())
        return wrong;
    size_t bytes = 0;
    for (int i = 0; i < desc_.args.n_in; i++)
        bytes += desc_.args.in[i] ? rf_tensor_bytes(desc_.args.in[i]) : 0;
    for (int i = 0; i < desc_.args.n_out; i++)
        bytes += rf_tensor_bytes(desc_.args.out[i]);
    size_t n = target_.cold ? std::min<size_t>(1 + cold_bytes / std::max<size_t>(bytes, 1), 64) : 1;
    for (size_t i = 0; i < n; i++)
        if (add_tensors(&err) != RF_OK)
            return err.text;
    if (kernel_->scratch && allocate(kernel_->scratch(&desc_), &call_.scratch, &err) != RF_OK)
        return err.text;
    return "";
}

rf_status DeviceRunner::launch(int i, rf_error *err)
{
    Tensors &t = copies_[(size_t)i % copies_.size()];
    for (int k = 0; k < desc_.args.n_in; k++)
        call_.args.in[k] = desc_.args.in[k] ? &t.in[k] : nullptr;
    for (int k = 0; k < desc_.args.n_out; k++)
        call_.args.out[k] = &t.out[k];
    return kernel_->run(&call_, err);
}

rf_status DeviceRunner::record(int launches, rf_error *err)
{
    const ops::OpenDevice &d = target_.device;
    d.ops->recording_destroy(&batch_);
    RF_TRY(d.ops->record_begin(d.stream, err));
    rf_status status = RF_OK;
    for (int i = 0; i < launches && status == RF_OK; i++)
        status = launch(i, err);
    rf_status ended = d.ops->record_end(d.stream, &batch_, status == RF_OK ? err : nullptr);
    batch_launches_ = launches;
    return status == RF_OK ? ended : status;
}

// One untimed replay, then `times` timed ones.
rf_status DeviceRunner::replay(int times, rf_error *err)
{
    const ops::OpenDevice &d = target_.device;
    float previous = 0, ms;
    RF_TRY(d.ops->replay(d.stream, batch_, err));
    RF_TRY(d.ops->mark(d.stream, 0, err));
    for (int i = 1; i <= times; i++) {
        RF_TRY(d.ops->replay(d.stream, batch_, err));
        RF_TRY(d.ops->mark(d.stream, i, err));
    }
    RF_TRY(d.ops->wait(d.stream, err));
    for (int i = 1; i <= times; i++) {
        RF_TRY(d.ops->mark_ms(d.stream, i, &ms, err));
        times_.push_back((double)(ms - previous) * 1e-3 / batch_launches_);
        previous = ms;
    }
    return RF_OK;
}

// The first launch loads code, and must not be recorded; then a small batch says how large one is.
std::string DeviceRunner::warm_up()
{
    const ops::OpenDevice &d = target_.device;
    rf_error err = {};
    if (launch(0, &err) != RF_OK || d.ops->wait(d.stream, &err) != RF_OK ||
        record(2, &err) != RF_OK || replay(target_.emulated() ? 1 : 4, &err) != RF_OK)
        return err.text;
    double n = target_.emulated() ? 2 : std::ceil(batch_seconds / std::max(quantile(0), 1e-7));
    int launches = (int)std::min<double>(std::max(n, 2.0), largest_batch);
    times_.clear();
    return launches == 2 || record(launches, &err) == RF_OK ? "" : err.text;
}

std::string DeviceRunner::run()
{
    rf_error err = {};
    return replay(target_.emulated() ? 1 : rounds_per_run, &err) == RF_OK ? "" : err.text;
}

// Bytes per second, read and written, of a copy between two places of the device's memory.
rf_status copy_rate(const Target &target, size_t bytes, double *out, rf_error *err)
{
    const ops::OpenDevice &d = target.device;
    const int copies = 4, rounds = target.emulated() ? 1 : 10;
    std::vector<uint32_t> random(bytes / 4);
    uint32_t state = 1;
    for (uint32_t &x : random)
        x = state = state * 1664525 + 1013904223;
    void *a = nullptr, *b = nullptr;
    float ms, previous = 0;
    double best = 0;
    rf_status status = d.ops->alloc(d.device, bytes, &a, err);
    if (status == RF_OK)
        status = d.ops->alloc(d.device, bytes, &b, err);
    if (status == RF_OK)
        status = d.ops->upload(d.device, a, random.data(), bytes, err);
    if (status == RF_OK)
        status = d.ops->copy(d.stream, b, a, bytes, err);
    for (int r = 0; r <= rounds && status == RF_OK; r++) {
        for (int i = 0; r && i < copies && status == RF_OK; i++)
            status = d.ops->copy(d.stream, b, a, bytes, err);
        if (status == RF_OK)
            status = d.ops->mark(d.stream, r, err);
    }
    if (status == RF_OK)
        status = d.ops->wait(d.stream, err);
    for (int r = 1; r <= rounds && status == RF_OK; r++) {
        status = d.ops->mark_ms(d.stream, r, &ms, err);
        best = std::max(best, 2.0 * copies * (double)bytes / ((double)(ms - previous) * 1e-3));
        previous = ms;
    }
    d.ops->free(d.device, a);
    d.ops->free(d.device, b);
    *out = best;
    return status;
}

// Multiply-adds count as two.
std::string matmul_rate(const Target &target, rf_dtype dtype, int64_t side, double *out)
{
    const std::string dims = std::to_string(side) + "x" + std::to_string(side);
    const std::string inputs = dims + " " + dims + "*";
    const ops::Case product = {RF_OP_MATMUL, "ceiling", inputs.c_str(), "trans_b=1"};
    ops::Instance node(product, {dtype, dtype, dtype, ops::Layout::plain, ops::Layout::plain},
                       false);
    *out = 0;
    std::string wrong = node.problem();
    for (const rf_kernel *k : kernels_for(node, target, true)) {
        std::unique_ptr<Runner> r = make_device_runner(k, target, node);
        for (auto step : {&Runner::prepare, &Runner::warm_up, &Runner::run})
            wrong = wrong.empty() ? ((*r).*step)() : wrong;
        if (!wrong.empty())
            return std::string(k->name) + ": " + wrong;
        *out = std::max(*out, 2.0 * (double)(side * side * side) / r->quantile(0));
    }
    return *out > 0 ? "" : "no matmul kernel for " + std::string(rf_dtype_name(dtype));
}

} // namespace

std::unique_ptr<Runner> make_device_runner(const rf_kernel *kernel, const Target &target,
                                           const ops::Instance &node)
{
    return std::make_unique<DeviceRunner>(kernel, target, node);
}

std::string measure_device_ceilings(const Target &target, bench_ceilings *out)
{
    rf_error err = {};
    const bool small = target.emulated();
    if (copy_rate(target, small ? 1 << 20 : 256 << 20, &out->copy_bytes, &err) != RF_OK)
        return std::string("copy: ") + err.text;
    std::string wrong = matmul_rate(target, RF_F32, small ? 64 : 4096, &out->f32_flops);
    return wrong.empty() ? matmul_rate(target, RF_BF16, small ? 64 : 8192, &out->bf16_flops)
                         : wrong;
}

} // namespace bench
