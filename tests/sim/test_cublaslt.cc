// SPDX-License-Identifier: Apache-2.0
//
// The stand-in for cuBLASLt (kernels/sim/cublaslt.cc): what it computes for a product small enough
// to do by hand, what it refuses; and the table of products that the library is wanted for.
#include "kernels/cuda/library.h"
#include "kernels/cuda/rows.h"
#include "kernels/sim/sim.h"

#include <functional>
#include <vector>

#include <gtest/gtest.h>

#include "runtime/backend/backend.h"

namespace
{

const rf_cublaslt &lt()
{
    const char *why;
    return *rf_cublaslt_open(&why);
}

template <class T>
cublasStatus_t set(cublasLtMatrixLayout_t l, cublasLtMatrixLayoutAttribute_t name, T value)
{
    return lt().MatrixLayoutSetAttribute(l, name, &value, sizeof value);
}
template <class T>
cublasStatus_t set(cublasLtMatmulDesc_t op, cublasLtMatmulDescAttributes_t name, T value)
{
    return lt().MatmulDescSetAttribute(op, name, &value, sizeof value);
}
template <class T>
cublasStatus_t set(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t name, T value)
{
    return lt().MatmulPreferenceSetAttribute(p, name, &value, sizeof value);
}

// D (2x3) = A (2x4) B (4x3), f32 column-major, on device memory.
struct Product {
    struct Shape {
        cudaDataType_t type = CUDA_R_32F;
        uint64_t rows, cols;
        int64_t ld;
        int32_t batches = 1;
        int64_t step = 0;
    };
    Shape a = {CUDA_R_32F, 2, 4, 2}, b = {CUDA_R_32F, 4, 3, 4}, c = {CUDA_R_32F, 2, 3, 2}, d = c;
    cublasComputeType_t compute = CUBLAS_COMPUTE_32F;
    cublasOperation_t trans_a = CUBLAS_OP_N;
    uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    uint64_t workspace_limit = 0;
    size_t workspace_given = 0, workspace_shift = 0, a_shift = 0;
    bool forged = false, in_place = false, no_bias = false;
    float alpha = 1, beta = 0;

    static constexpr size_t n = 1024;
    float *memory = nullptr;
    cublasLtMatmulDesc_t op = nullptr;
    cublasLtMatrixLayout_t layouts[4] = {};
    cublasLtMatmulPreference_t preference = nullptr;
    cublasLtHandle_t handle = nullptr;
    std::vector<float> result = {};

    float *at(int i) { return memory + 128 * i; } // A, B, C, D, bias, workspace
    void fill()
    {
        std::vector<float> host(n);
        for (size_t i = 0; i < n; i++)
            host[i] = (float)(i % 128);
        ASSERT_EQ(cudaMalloc((void **)&memory, n * sizeof(float)), cudaSuccess);
        ASSERT_EQ(cudaMemcpy(memory, host.data(), n * sizeof(float), cudaMemcpyHostToDevice),
                  cudaSuccess);
        ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    }
    void describe()
    {
        const Shape *const shapes[] = {&a, &b, &c, &d};
        ASSERT_EQ(lt().Create(&handle), CUBLAS_STATUS_SUCCESS);
        ASSERT_EQ(lt().MatmulDescCreate(&op, compute, CUDA_R_32F), CUBLAS_STATUS_SUCCESS);
        set(op, CUBLASLT_MATMUL_DESC_TRANSA, (int32_t)trans_a);
        set(op, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
        if (!no_bias)
            set(op, CUBLASLT_MATMUL_DESC_BIAS_POINTER, (const void *)at(4));
        for (int i = 0; i < 4; i++) {
            const Shape &s = *shapes[i];
            ASSERT_EQ(lt().MatrixLayoutCreate(&layouts[i], s.type, s.rows, s.cols, s.ld),
                      CUBLAS_STATUS_SUCCESS);
            set(layouts[i], CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, s.batches);
            set(layouts[i], CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, s.step);
        }
        ASSERT_EQ(lt().MatmulPreferenceCreate(&preference), CUBLAS_STATUS_SUCCESS);
        set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_limit);
        set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, (uint32_t)16);
    }
    cublasStatus_t ask(cublasLtMatmulAlgo_t *out)
    {
        cublasLtMatmulHeuristicResult_t results[4];
        int found = 0;
        cublasStatus_t status =
            lt().MatmulAlgoGetHeuristic(handle, op, layouts[0], layouts[1], layouts[2], layouts[3],
                                        preference, 4, results, &found);
        if (status == CUBLAS_STATUS_SUCCESS)
            *out = results[0].algo;
        return status;
    }
    cublasStatus_t multiply(const cublasLtMatmulAlgo_t &algo)
    {
        return lt().Matmul(handle, op, &alpha, at(0) + a_shift, layouts[0], at(1), layouts[1],
                           &beta, in_place ? at(3) : at(2), layouts[2], at(3), layouts[3], &algo,
                           at(5) + workspace_shift, workspace_given, nullptr);
    }
    // In `run` a test may still change a layout between the heuristic and the product.
    cublasStatus_t run(const std::function<void(Product &)> &between = nullptr)
    {
        cublasLtMatmulAlgo_t algo = {};
        fill();
        describe();
        cublasStatus_t status = ask(&algo);
        if (status == CUBLAS_STATUS_SUCCESS) {
            if (forged)
                algo = {};
            if (between)
                between(*this);
            status = multiply(algo);
        }
        result.resize(n);
        EXPECT_EQ(cudaMemcpy(result.data(), memory, n * sizeof(float), cudaMemcpyDeviceToHost),
                  cudaSuccess);
        result.erase(result.begin(), result.begin() + 128 * 3); // D
        return status;
    }
    ~Product()
    {
        for (cublasLtMatrixLayout_t l : layouts)
            lt().MatrixLayoutDestroy(l);
        lt().MatmulDescDestroy(op);
        lt().MatmulPreferenceDestroy(preference);
        lt().Destroy(handle);
        EXPECT_EQ(cudaFree(memory), cudaSuccess);
    }
};

// A = 0 2 4 6 / 1 3 5 7, B's columns are 0..3, 4..7 and 8..11; at = 28 34 / 76 98 / 124 162.
TEST(CublasLtStandIn, MultipliesColumns)
{
    Product p;
    ASSERT_EQ(p.run(), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(std::vector<float>(p.result.begin(), p.result.begin() + 7),
              (std::vector<float>{28, 34, 76, 98, 124, 162, 6}));
}

TEST(CublasLtStandIn, AddsCAndABiasPerRowThenActs)
{
    Product p;
    p.alpha = -1;
    p.beta = 10; // C = 0 2 4 / 1 3 5, the bias 0 1
    p.epilogue = CUBLASLT_EPILOGUE_RELU_BIAS;
    p.workspace_limit = p.workspace_given = 1024;
    ASSERT_EQ(p.run(), CUBLAS_STATUS_SUCCESS);
    p.result.resize(6);
    EXPECT_EQ(p.result, (std::vector<float>{0, 0, 0, 0, 0, 0}));
    Product plus;
    plus.beta = 10;
    plus.epilogue = CUBLASLT_EPILOGUE_RELU_BIAS;
    ASSERT_EQ(plus.run(), CUBLAS_STATUS_SUCCESS);
    plus.result.resize(6);
    EXPECT_EQ(plus.result, (std::vector<float>{28, 45, 96, 129, 164, 213}));
}

TEST(CublasLtStandIn, RefusesWhatTheLibraryRefuses)
{
    struct Wrong {
        const char *what;
        std::function<void(Product &)> make;
    };
    const Wrong all[] = {
        {"leading dimension below the rows", [](Product &p) { p.a.ld = 1; }},
        {"no rows", [](Product &p) { p.a.rows = p.d.rows = p.c.rows = 0; }},
        {"inner dims that differ", [](Product &p) { p.b.rows = 3; }},
        {"a transposition that does not fit", [](Product &p) { p.trans_a = CUBLAS_OP_T; }},
        {"C unlike D", [](Product &p) { p.c.cols = 2; }},
        {"batches in one operand only", [](Product &p) { p.a.batches = 2; }},
        {"batches of D on top of each other",
         [](Product &p) { p.a.batches = p.b.batches = p.c.batches = p.d.batches = 2; }},
        {"operands of two types", [](Product &p) { p.b.type = CUDA_R_16F; }},
        {"a type nobody has", [](Product &p) { p.a.type = p.b.type = CUDA_R_8I; }},
        {"sums in f16", [](Product &p) { p.compute = CUBLAS_COMPUTE_16F; }},
        {"an epilogue that we never ask for",
         [](Product &p) { p.epilogue = CUBLASLT_EPILOGUE_RELU_AUX; }},
        {"a bias epilogue without a bias",
         [](Product &p) {
             p.epilogue = CUBLASLT_EPILOGUE_BIAS;
             p.no_bias = true;
         }},
        {"an algorithm from nowhere", [](Product &p) { p.forged = true; }},
        {"a pointer less aligned than promised", [](Product &p) { p.a_shift = 1; }},
        {"less workspace than the algorithm needs",
         [](Product &p) {
             p.workspace_limit = 4096;
             p.workspace_given = 512;
         }},
        {"workspace that is not aligned",
         [](Product &p) {
             p.workspace_limit = p.workspace_given = 1024;
             p.workspace_shift = 16;
         }},
        {"C in place of D in another layout",
         [](Product &p) {
             p.in_place = true;
             p.c.ld = 3;
         }},
    };
    for (const Wrong &w : all) {
        Product p;
        w.make(p);
        EXPECT_NE(p.run(), CUBLAS_STATUS_SUCCESS) << w.what;
        EXPECT_EQ(p.result[1], 1) << w.what << ": wrote all the same";
    }
}

TEST(CublasLtStandIn, RefusesTheAlgorithmOfAnotherProduct)
{
    Product p;
    EXPECT_EQ(p.run([](Product &q) {
        set(q.layouts[0], CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, (int64_t)64);
    }),
              CUBLAS_STATUS_INVALID_VALUE);
}

TEST(CublasLtStandIn, RefusesAttributesOfAnotherSize)
{
    Product p;
    ASSERT_EQ(p.run(), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(set(p.op, CUBLASLT_MATMUL_DESC_TRANSA, (int64_t)0), CUBLAS_STATUS_INVALID_VALUE);
    EXPECT_EQ(set(p.layouts[0], CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, (int64_t)1),
              CUBLAS_STATUS_INVALID_VALUE);
    EXPECT_EQ(set(p.preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, (uint32_t)1),
              CUBLAS_STATUS_INVALID_VALUE);
}

// ---- the table
struct Node {
    std::vector<int64_t> a, b, y;
    rf_dtype dtype = RF_F16;
    rf_act act = RF_ACT_NONE;
    bool res = false;
    bool trans_b = false;
};

rf_tensor tensor(rf_dtype dtype, const std::vector<int64_t> &dims)
{
    rf_tensor t;
    EXPECT_EQ(rf_tensor_init(&t, dtype, (int)dims.size(), dims.data(), nullptr, nullptr), RF_OK);
    return t;
}

bool wanted(const Node &n)
{
    const rf_tensor a = tensor(n.dtype, n.a), b = tensor(n.dtype, n.b), y = tensor(n.dtype, n.y);
    rf_attrs attrs = {};
    attrs.matmul.alpha = 1;
    attrs.matmul.act = n.act;
    attrs.matmul.trans_b = n.trans_b;
    rf_kernel_desc d = {};
    d.args.op = RF_OP_MATMUL;
    d.args.attrs = &attrs;
    d.args.n_in = n.res ? 4 : 2;
    d.args.in[0] = &a;
    d.args.in[1] = &b;
    d.args.in[3] = n.res ? &y : nullptr;
    d.args.n_out = 1;
    d.args.out[0] = const_cast<rf_tensor *>(&y);
    return rf_cuda_rows_cublaslt_matmul[0]->wanted(&d);
}

TEST(CublasLtTable, WantsLargeProductsBoundByArithmetic)
{
    EXPECT_TRUE(wanted({{4096, 1024}, {1024, 1024}, {4096, 1024}}));
    EXPECT_TRUE(wanted({{4096, 1024}, {1024, 1024}, {4096, 1024}, RF_BF16, RF_ACT_RELU}));
    EXPECT_TRUE(wanted({{4096, 1024}, {1024, 1024}, {4096, 1024}, RF_F16, RF_ACT_GELU_TANH}));
    EXPECT_TRUE(wanted({{2, 2048, 1024}, {1024, 1024}, {2, 2048, 1024}})); // joined to 4096 rows
    EXPECT_TRUE(wanted({{16, 1024, 512}, {16, 512, 512}, {16, 1024, 512}}));
    EXPECT_TRUE(wanted({{8192, 320}, {320, 320}, {8192, 320}, RF_F16, RF_ACT_NONE, true}));
}

TEST(CublasLtTable, LeavesTheRestToOurOwnRows)
{
    EXPECT_FALSE(wanted({{4096, 1024}, {1024, 1024}, {4096, 1024}, RF_F32})); // the same FFMA
    EXPECT_FALSE(wanted({{128, 1024}, {1024, 1024}, {128, 1024}}));           // 8 tiles
    EXPECT_FALSE(wanted({{65536, 128}, {128, 128}, {65536, 128}}));           // bound by memory
    EXPECT_FALSE(wanted({{4096, 16}, {16, 4096}, {4096, 4096}}));             // the same
    // What the library does not have.
    EXPECT_FALSE(wanted({{4096, 1024}, {1024, 1024}, {4096, 1024}, RF_F16, RF_ACT_GELU}));
    EXPECT_FALSE(wanted({{4096, 1024}, {1024, 1024}, {4096, 1024}, RF_F16, RF_ACT_SILU}));
    EXPECT_FALSE(wanted({{4096, 1024}, {1024, 1024}, {4096, 1024}, RF_F16, RF_ACT_RELU, true}));
}

} // namespace
