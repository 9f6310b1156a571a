// SPDX-License-Identifier: Apache-2.0
//
// Every case on every kernel: the reference in all dtypes and layouts, and each instruction set of
// the CPU backend that this machine has, with every row that accepts the case (not only the first).
#include <cstring>
#include <functional>
#include <set>

#include <gtest/gtest.h>

#include "tests/ops/harness.h"
#include "tests/ops/tolerance.h"

namespace
{

struct Table {
    const char *name, *isa; // isa NULL: the reference
    const rf_backend *backend;
    const rf_kernel *const *kernels(size_t *n) const
    {
        if (isa && !std::strcmp(isa, "oneDNN")) {
            for (*n = 0; rf_cpu_dnnl_any[*n];)
                ++*n;
            return *n ? rf_cpu_dnnl_any : nullptr;
        }
        return isa ? rf_cpu_kernels_for(isa, n) : rf_backend_ref.kernels(n);
    }
};

const Table tables[] = {
    {"ref", nullptr, &rf_backend_ref},       {"cpu_baseline", "baseline", &rf_backend_cpu},
    {"cpu_avx2", "avx2", &rf_backend_cpu},   {"cpu_avx512", "avx512", &rf_backend_cpu},
    {"cpu_dnnl", "oneDNN", &rf_backend_cpu}, // on every shape, not only where it wins
};

ops::Audience audience(const Table &table)
{
    return table.isa ? ops::Audience::cpu : ops::Audience::reference;
}

class KernelTest : public testing::Test
{
  public:
    KernelTest(const Table &table, const ops::Case &c) : table_(table), case_(c) {}
    void TestBody() override
    {
        size_t n;
        int n_runs = 0;
        const rf_kernel *const *kernels = table_.kernels(&n);
        if (!kernels)
            GTEST_SKIP() << "this machine has no " << table_.isa;
        EXPECT_EQ(ops::run_case(case_, table_.backend, kernels, n, audience(table_), &n_runs), "");
        if (!table_.isa) {
            EXPECT_GT(n_runs, 0);
        }
    }

  private:
    const Table &table_;
    const ops::Case &case_;
};

// Registered by hand, so that a test's name is table and case: cpu_avx512_conv2d_3x3_c32.
const bool registered = [] {
    for (const Table &table : tables)
        for (const ops::Case &c : ops::all_cases())
            testing::RegisterTest(
                "Kernels", (std::string(table.name) + "_" + c.full_name()).c_str(), nullptr,
                nullptr, __FILE__, __LINE__,
                [&table, &c]() -> testing::Test * { return new KernelTest(table, c); });
    return true;
}();

// --- the list itself
// --------------------------------------------------------------------------------

TEST(Cases, NameEveryOpAndNoneTwice)
{
    ASSERT_TRUE(registered);
    std::set<std::string> names;
    std::set<rf_op> seen;
    for (const ops::Case &c : ops::all_cases()) {
        ASSERT_LT(c.op, RF_OP_COUNT) << c.name;
        EXPECT_TRUE(names.insert(c.full_name()).second) << c.full_name();
        seen.insert(c.op);
    }
    for (int op = 0; op < RF_OP_COUNT; op++)
        EXPECT_TRUE(seen.count((rf_op)op)) << "no case for " << rf_op_get((rf_op)op)->name;
}

// Rows that only an absent instruction set would accept cannot be hit here.
bool is_out_of_reach(const rf_kernel &kernel)
{
    const rf_cpu_features *f = rf_cpu_get_features();
    return (!f->avx2 && std::strstr(kernel.name, "dnnl")) ||
           (!f->amx_bf16 && std::strstr(kernel.name, "amx")) ||
           (!f->avx512_bf16 && std::strstr(kernel.name, "bf16"));
}

TEST(Cases, ReachEveryRowOfTheCpuTables)
{
    for (const Table &table : tables) {
        size_t n;
        const rf_kernel *const *kernels = table.kernels(&n);
        std::set<size_t> missed;
        for (size_t k = 0; kernels && k < n; k++)
            if (!is_out_of_reach(*kernels[k]))
                missed.insert(k);
        for (const ops::Case &c : ops::all_cases())
            for (const ops::Variant &v : ops::variants_of(c, audience(table))) {
                ops::Instance instance(c, v, false);
                for (auto k = missed.begin(); k != missed.end();)
                    k = instance.accepts(*kernels[*k], 1) ? missed.erase(k) : std::next(k);
            }
        for (size_t k : missed)
            ADD_FAILURE() << table.name << "." << kernels[k]->name << " ("
                          << rf_op_get(kernels[k]->op)->name << "): no case is accepted";
    }
}

// A form in which a plan may hold a node: one float dtype, images either way.
bool is_planned(const ops::Variant &v, rf_dtype precision)
{
    return v.in == precision && v.out == precision && v.in_layout != ops::Layout::view &&
           v.out_layout != ops::Layout::view;
}

bool has_row(const Table &table, const ops::Case &c, rf_dtype precision)
{
    size_t n;
    const rf_kernel *const *kernels = table.kernels(&n);
    for (const ops::Variant &v : ops::variants_of(c, ops::Audience::cpu)) {
        if (!is_planned(v, precision))
            continue;
        ops::Instance instance(c, v, false);
        for (size_t k = 0; k < n; k++)
            if (instance.accepts(*kernels[k], 1))
                return true;
    }
    return false;
}

struct LeftToRef {
    const char *name, *reason;
};
const LeftToRef left_to_ref[] = {
#define RF_LEFT_TO_REF(op, name, reason) {#op "_" #name, reason},
#include "tests/ops/left_to_ref.def"
#undef RF_LEFT_TO_REF
};

bool is_left_to_ref(const std::string &name)
{
    for (const LeftToRef &row : left_to_ref)
        if (name == row.name)
            return true;
    return false;
}

// What no row takes runs on the reference, one element at a time on one thread.
TEST(Cases, HaveARowInEveryCpuTable)
{
    for (const LeftToRef &row : left_to_ref) {
        bool found = false;
        for (const ops::Case &c : ops::all_cases())
            found = found || c.full_name() == row.name;
        EXPECT_TRUE(found) << "left_to_ref.def: no case " << row.name;
    }
    for (const Table &table : tables) {
        size_t n;
        if (!table.isa || !std::strcmp(table.isa, "oneDNN") || !table.kernels(&n))
            continue;
        for (const ops::Case &c : ops::all_cases()) {
            bool floats = false;
            for (const ops::Token &t : ops::parse_inputs(c))
                floats = floats || (!t.absent && !t.fixed);
            for (rf_dtype precision : {RF_F32, RF_BF16}) {
                if (precision == RF_BF16 && !floats)
                    continue;
                EXPECT_EQ(has_row(table, c, precision), !is_left_to_ref(c.full_name()))
                    << table.name << ": " << c.full_name() << " in " << rf_dtype_name(precision)
                    << " and left_to_ref.def disagree";
            }
        }
    }
}

TEST(Tables, HaveRoomForMoreRows)
{
    for (const Table &table : tables) {
        size_t n;
        if (!table.kernels(&n))
            continue;
        EXPECT_LT(n, (size_t)RF_CPU_MAX_ROWS) << table.name << ": raise RF_CPU_MAX_ROWS";
    }
}

// The plan takes the first row that accepts a node: one name must mean one kernel.
TEST(Tables, NameTheKernelsOfAnOpDifferently)
{
    for (const Table &table : tables) {
        size_t n;
        const rf_kernel *const *kernels = table.kernels(&n);
        std::set<std::pair<rf_op, std::string>> names;
        for (size_t k = 0; kernels && k < n; k++)
            EXPECT_TRUE(names.insert({kernels[k]->op, kernels[k]->name}).second)
                << table.name << "." << kernels[k]->name;
    }
}

TEST(Cases, HaveNoExceptionThatIsNotNeeded)
{
    for (const ops::Exception &e : ops::exceptions()) {
        double worst = 0;
        bool found = false;
        for (const Table &table : tables) {
            size_t n;
            const rf_kernel *const *kernels = table.kernels(&n);
            for (size_t k = 0; kernels && k < n; k++)
                for (const ops::Case &c : ops::all_cases()) {
                    if (std::strcmp(kernels[k]->name, e.kernel) || kernels[k]->op != e.op ||
                        c.op != e.op)
                        continue;
                    int n_runs = 0;
                    found = true;
                    EXPECT_EQ(ops::run_case(c, table.backend, &kernels[k], 1, ops::Audience::cpu,
                                            &n_runs, &worst),
                              "");
                }
        }
        EXPECT_TRUE(found) << e.kernel << ": no such kernel";
        EXPECT_GT(worst, 1) << e.kernel << " meets the bound of its class: remove its row";
    }
}

// --- the harness itself: planted mistakes must be found
// -----------------------------------------------

std::function<void(const rf_kernel_call *)> mistake;

rf_status run_with_mistake(const rf_kernel_call *call, rf_error *err)
{
    rf_status status = rf_ref_unary(call, err);
    mistake(call);
    return status;
}

// What the harness says about a relu that makes this mistake.
std::string verdict(std::function<void(const rf_kernel_call *)> fn, uint32_t in_place = 0)
{
    static const ops::Case relu = {RF_OP_UNARY, "planted", "4x37@wide", "kind=relu"};
    rf_kernel kernel = {};
    kernel.op = RF_OP_UNARY;
    kernel.name = "planted";
    kernel.run = run_with_mistake;
    kernel.in_place = in_place;
    const rf_kernel *const row = &kernel;
    int n_runs = 0;
    mistake = std::move(fn);
    return ops::run_case(relu, nullptr, &row, 1, ops::Audience::cpu, &n_runs);
}

void add_to_element(const rf_tensor *t, int64_t i, float by)
{
    if (t->dtype == RF_F32)
        ((float *)t->data)[i] += by;
}

TEST(Harness, AcceptsACorrectKernel)
{
    EXPECT_EQ(verdict([](const rf_kernel_call *) {}), "");
}

TEST(Harness, FindsAWrongElement)
{
    EXPECT_NE(verdict([](const rf_kernel_call *c) {
                  add_to_element(c->args.out[0], 40, 1e-3f);
              }).find("element 40"),
              std::string::npos);
}

TEST(Harness, FindsAnElementThatWasNotWritten)
{
    EXPECT_NE(verdict([](const rf_kernel_call *c) {
                  std::memset(c->args.out[0]->data, 0xff, 2);
              }).find("element 0"),
              std::string::npos);
}

TEST(Harness, FindsWritesBeyondTheOutput)
{
    EXPECT_NE(verdict([](const rf_kernel_call *c) {
                  add_to_element(c->args.out[0], 4 * 37 + 1, 1);
              }).find("outside"),
              std::string::npos);
    EXPECT_NE(verdict([](const rf_kernel_call *c) {
                  add_to_element(c->args.out[0], -1, 1);
              }).find("outside"),
              std::string::npos);
}

TEST(Harness, FindsWritesBetweenTheRowsOfAView)
{
    auto fill_gap = [](const rf_kernel_call *c) {
        if (c->args.out[0]->strides[0] > 37 && c->args.out[0]->dtype == RF_F32)
            ((float *)c->args.out[0]->data)[37] = 0;
    };
    EXPECT_NE(verdict(fill_gap).find("between"), std::string::npos);
}

TEST(Harness, FindsAChangedInput)
{
    EXPECT_NE(verdict([](const rf_kernel_call *c) {
                  add_to_element(c->args.in[0], 3, 1);
              }).find("changed input"),
              std::string::npos);
}

TEST(Harness, FindsADifferentSecondRun)
{
    int calls = 0;
    auto drift = [&calls](const rf_kernel_call *c) {
        add_to_element(c->args.out[0], 0, calls++ % 2 ? 1e-6f : 0);
    };
    EXPECT_NE(verdict(drift).find("second run"), std::string::npos);
}

TEST(Harness, FindsAKernelThatMayNotRunInPlace)
{
    // Reads its input again after it has written the output.
    auto late_read = [](const rf_kernel_call *c) {
        if (c->args.in[0]->dtype == RF_F32 && ((float *)c->args.in[0]->data)[1] >= 0)
            add_to_element(c->args.out[0], 0,
                           c->args.in[0]->data == c->args.out[0]->data ? 1.0f : 0.0f);
    };
    EXPECT_NE(verdict(late_read, 1).find("in place"), std::string::npos);
}

} // namespace
