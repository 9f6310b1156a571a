// SPDX-License-Identifier: Apache-2.0
//
// A stand-in for cuBLASLt as far as the module uses it: it keeps the descriptors, checks what the
// library checks, and multiplies by walking the layouts that it was given. So a wrong leading
// dimension, a swapped operand or a bias along the wrong side gives wrong numbers here. What the
// library leaves undefined is refused: an algorithm that the heuristic gave for another product, a
// pointer less aligned than was promised. It runs as a kernel of the emulated GPU: in stream order,
// on device memory only, and recorded like any other launch.
#include <cublasLt.h>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "kernels/cuda/device.cuh"

struct cublasLtContext {
    int unused;
};

namespace
{

struct Layout {
    cudaDataType_t type;
    uint64_t rows, cols;
    int64_t ld;
    int32_t order = CUBLASLT_ORDER_COL, batches = 1;
    int64_t step = 0;
    int64_t at(int64_t batch, int64_t row, int64_t col) const
    {
        return batch * step + (order == CUBLASLT_ORDER_COL ? row + col * ld : row * ld + col);
    }
};
struct Operation {
    cublasComputeType_t compute;
    cudaDataType_t scale;
    int32_t trans_a = CUBLAS_OP_N, trans_b = CUBLAS_OP_N;
    uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    const void *bias = nullptr;
    int32_t bias_type = -1; // as D
};
struct Preference {
    uint64_t workspace = 0;
    uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_MASK;
    uint32_t alignment[4] = {256, 256, 256, 256}; // of A, B, C, D
};
struct Product {
    Operation op;
    Layout a, b, c, d;
};
// What lies in a cublasLtMatmulAlgo_t.
struct Algorithm {
    uint64_t magic, problem, workspace;
    uint32_t alignment[4];
};
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t), "");
constexpr uint64_t magic = 0x746c736c62756375u, workspace_bytes = 1024;

template <class T> cublasStatus_t assign(T *field, const void *value, size_t bytes)
{
    if (bytes != sizeof *field)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(field, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

// ---- checks
size_t bytes_of(int32_t type)
{
    return type == CUDA_R_32F ? 4 : type == CUDA_R_16F || type == CUDA_R_16BF ? 2 : 0;
}

bool is_possible(const Layout &l)
{
    uint64_t along = l.order == CUBLASLT_ORDER_COL ? l.rows : l.cols;
    return bytes_of(l.type) && l.rows && l.cols && l.ld > 0 && (uint64_t)l.ld >= along &&
           (l.order == CUBLASLT_ORDER_COL || l.order == CUBLASLT_ORDER_ROW) && l.batches > 0 &&
           l.step >= 0;
}

bool has_bias(uint32_t epilogue)
{
    return epilogue & CUBLASLT_EPILOGUE_BIAS;
}

bool is_known_epilogue(uint32_t e)
{
    return e == CUBLASLT_EPILOGUE_DEFAULT || e == CUBLASLT_EPILOGUE_BIAS ||
           e == CUBLASLT_EPILOGUE_RELU || e == CUBLASLT_EPILOGUE_RELU_BIAS ||
           e == CUBLASLT_EPILOGUE_GELU || e == CUBLASLT_EPILOGUE_GELU_BIAS;
}

bool same_place(const Layout &c, const Layout &d)
{
    return c.ld == d.ld && c.step == d.step && c.order == d.order;
}

// The order of both: rows and columns of what is multiplied.
cublasStatus_t check(const Product &p)
{
    const Operation &o = p.op;
    for (const Layout *l : {&p.a, &p.b, &p.c, &p.d})
        if (!is_possible(*l) || l->batches != p.d.batches)
            return CUBLAS_STATUS_INVALID_VALUE;
    bool ta = o.trans_a == CUBLAS_OP_T, tb = o.trans_b == CUBLAS_OP_T;
    uint64_t m = ta ? p.a.cols : p.a.rows, k = ta ? p.a.rows : p.a.cols;
    uint64_t k_too = tb ? p.b.cols : p.b.rows, n = tb ? p.b.rows : p.b.cols;
    if (k != k_too || m != p.d.rows || n != p.d.cols || m != p.c.rows || n != p.c.cols ||
        (p.d.batches > 1 && p.d.step == 0) || (has_bias(o.epilogue) && !o.bias))
        return CUBLAS_STATUS_INVALID_VALUE;
    bool one_type = p.a.type == p.b.type && p.a.type == p.c.type && p.a.type == p.d.type &&
                    (o.bias_type < 0 || o.bias_type == p.d.type);
    if (!one_type || o.compute != CUBLAS_COMPUTE_32F || o.scale != CUDA_R_32F ||
        !is_known_epilogue(o.epilogue))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    return CUBLAS_STATUS_SUCCESS;
}

// Of all but the bias pointer.
uint64_t hash(const Product &p)
{
    uint64_t h = 0xcbf29ce484222325u;
    auto mix = [&h](uint64_t v) { h = (h ^ v) * 0x100000001b3u; };
    for (const Layout *l : {&p.a, &p.b, &p.c, &p.d}) {
        for (uint64_t v : {l->rows, l->cols, (uint64_t)l->ld, (uint64_t)l->step})
            mix(v);
        for (int64_t v : {(int64_t)l->type, (int64_t)l->order, (int64_t)l->batches})
            mix((uint64_t)v);
    }
    for (int64_t v : {(int64_t)p.op.trans_a, (int64_t)p.op.trans_b, (int64_t)p.op.epilogue})
        mix((uint64_t)v);
    return h;
}

// ---- execution
struct MatmulParams {
    Product p;
    float alpha, beta;
    const void *a, *b, *c;
    void *d;
    uint64_t *workspace; // NULL: none
};

float get(int32_t type, const void *data, int64_t at)
{
    return type == CUDA_R_16F    ? __half2float(rf_load((const __half *)data + at))
           : type == CUDA_R_16BF ? __bfloat162float(rf_load((const __nv_bfloat16 *)data + at))
                                 : rf_load((const float *)data + at);
}

void put(int32_t type, void *data, int64_t at, float v)
{
    if (type == CUDA_R_16F)
        rf_store((__half *)data + at, __float2half_rn(v));
    else if (type == CUDA_R_16BF)
        rf_store((__nv_bfloat16 *)data + at, __float2bfloat16_rn(v));
    else
        rf_store((float *)data + at, v);
}

// One batch of an operand: its `lines` (rows of A, columns of B) of k elements each.
std::vector<float> lines_of(const Layout &l, const void *data, int64_t batch, bool by_rows)
{
    int64_t lines = (int64_t)(by_rows ? l.rows : l.cols), k = (int64_t)(by_rows ? l.cols : l.rows);
    std::vector<float> values((size_t)(lines * k));
    for (int64_t i = 0; i < lines; i++)
        for (int64_t j = 0; j < k; j++)
            values[(size_t)(i * k + j)] =
                get(l.type, data, by_rows ? l.at(batch, i, j) : l.at(batch, j, i));
    return values;
}

double finish(const MatmulParams &m, double sum, int64_t batch, int64_t row, int64_t col)
{
    const Operation &op = m.p.op;
    double v = m.alpha * sum;
    if (m.beta != 0)
        v += (double)m.beta * get(m.p.c.type, m.c, m.p.c.at(batch, row, col));
    if (has_bias(op.epilogue))
        v += get(op.bias_type < 0 ? m.p.d.type : op.bias_type, op.bias, row);
    if (op.epilogue & CUBLASLT_EPILOGUE_RELU)
        return v < 0 ? 0 : v;
    if (op.epilogue & CUBLASLT_EPILOGUE_GELU)
        return 0.5 * v * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
    return v;
}

void multiply(const MatmulParams m)
{
    const Product &p = m.p;
    const bool ta = p.op.trans_a == CUBLAS_OP_T, tb = p.op.trans_b == CUBLAS_OP_T;
    const int64_t k = (int64_t)(ta ? p.a.rows : p.a.cols);
    for (uint64_t i = 0; m.workspace && i < workspace_bytes / sizeof *m.workspace; i++)
        rf_store(m.workspace + i, ~(uint64_t)0); // NaN for whoever shares it
    for (int64_t batch = 0; batch < p.d.batches; batch++) {
        const std::vector<float> a = lines_of(p.a, m.a, batch, !ta);
        const std::vector<float> b = lines_of(p.b, m.b, batch, tb);
        for (int64_t col = 0; col < (int64_t)p.d.cols; col++)
            for (int64_t row = 0; row < (int64_t)p.d.rows; row++) {
                const float *x = &a[(size_t)(row * k)], *y = &b[(size_t)(col * k)];
                double sum = 0;
                for (int64_t i = 0; i < k; i++)
                    sum += (double)x[i] * y[i];
                put(p.d.type, m.d, p.d.at(batch, row, col), (float)finish(m, sum, batch, row, col));
            }
    }
}

bool knows_none()
{
    const char *given = getenv("REFOLD_SIM_CUBLASLT");
    return given && !strcmp(given, "none");
}

const rf_cuda_entry entry = RF_ENTRY("cublaslt_stand_in", MatmulParams, multiply);

cublasStatus_t check_pointers(const MatmulParams &m, const Algorithm &a, const void *workspace,
                              size_t bytes)
{
    const void *const pointers[] = {m.a, m.b, m.c, m.d};
    for (int i = 0; i < 4; i++)
        if (!pointers[i] || (uintptr_t)pointers[i] % a.alignment[i])
            return CUBLAS_STATUS_INVALID_VALUE;
    if (has_bias(m.p.op.epilogue) && (uintptr_t)m.p.op.bias % 16)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (m.c == m.d && !same_place(m.p.c, m.p.d))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (bytes < a.workspace || (a.workspace && (!workspace || (uintptr_t)workspace % 256)))
        return CUBLAS_STATUS_INVALID_VALUE;
    return CUBLAS_STATUS_SUCCESS;
}

} // namespace

extern "C" {

size_t cublasLtGetVersion(void)
{
    return CUBLAS_VERSION;
}
const char *cublasLtGetStatusString(cublasStatus_t s)
{
    return s == CUBLAS_STATUS_SUCCESS         ? "success"
           : s == CUBLAS_STATUS_NOT_SUPPORTED ? "not supported by the stand-in"
                                              : "an invalid value for the stand-in";
}
cublasStatus_t cublasLtCreate(cublasLtHandle_t *out)
{
    *out = new cublasLtContext{};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *out, cudaDataType_t type,
                                          uint64_t rows, uint64_t cols, int64_t ld)
{
    *out = (cublasLtMatrixLayout_t) new Layout{type, rows, cols, ld};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l)
{
    delete (Layout *)l;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t name,
                                                const void *value, size_t bytes)
{
    Layout *l = (Layout *)layout;
    switch (name) {
    case CUBLASLT_MATRIX_LAYOUT_ORDER:
        return assign(&l->order, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
        return assign(&l->batches, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET:
        return assign(&l->step, value, bytes);
    default:
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *out, cublasComputeType_t compute,
                                        cudaDataType_t scale)
{
    *out = (cublasLtMatmulDesc_t) new Operation{compute, scale};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t op)
{
    delete (Operation *)op;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t op,
                                              cublasLtMatmulDescAttributes_t name,
                                              const void *value, size_t bytes)
{
    Operation *o = (Operation *)op;
    switch (name) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
        return assign(&o->trans_a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
        return assign(&o->trans_b, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
        return assign(&o->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
        return assign(&o->bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
        return assign(&o->bias_type, value, bytes);
    default:
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *out)
{
    *out = (cublasLtMatmulPreference_t) new Preference{};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p)
{
    delete (Preference *)p;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t name,
                                                    const void *value, size_t bytes)
{
    Preference *p = (Preference *)preference;
    switch (name) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
        return assign(&p->workspace, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
        return assign(&p->reductions, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
        return assign(&p->alignment[name - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value,
                      bytes);
    default:
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}

// Two algorithms, the first of which needs workspace, if that much is allowed and partial sums may
// stay in the compute type. REFOLD_SIM_CUBLASLT=none: none.
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t op,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int room,
                                              cublasLtMatmulHeuristicResult_t results[], int *n)
{
    const Product p = {*(Operation *)op, *(Layout *)a, *(Layout *)b, *(Layout *)c, *(Layout *)d};
    const Preference *wish = (const Preference *)preference;
    cublasStatus_t status = knows_none() ? CUBLAS_STATUS_NOT_SUPPORTED : check(p);
    *n = 0;
    if (status != CUBLAS_STATUS_SUCCESS || room <= 0)
        return status != CUBLAS_STATUS_SUCCESS ? status : CUBLAS_STATUS_INVALID_VALUE;
    Algorithm algorithm = {magic, hash(p), 0, {}};
    std::copy(wish->alignment, wish->alignment + 4, algorithm.alignment);
    bool split = wish->workspace >= workspace_bytes &&
                 (wish->reductions & CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
    for (uint64_t workspace : {workspace_bytes, (uint64_t)0}) {
        if ((workspace && !split) || *n == room)
            continue;
        cublasLtMatmulHeuristicResult_t *r = &results[(*n)++];
        *r = {};
        algorithm.workspace = r->workspaceSize = workspace;
        r->state = CUBLAS_STATUS_SUCCESS;
        memcpy(&r->algo, &algorithm, sizeof algorithm);
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t op, const void *alpha,
                              const void *a, cublasLtMatrixLayout_t a_layout, const void *b,
                              cublasLtMatrixLayout_t b_layout, const void *beta, const void *c,
                              cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algo,
                              void *workspace, size_t workspace_size, cudaStream_t stream)
{
    if (!handle || !algo)
        return CUBLAS_STATUS_INVALID_VALUE;
    MatmulParams m = {{*(Operation *)op, *(Layout *)a_layout, *(Layout *)b_layout,
                       *(Layout *)c_layout, *(Layout *)d_layout},
                      *(const float *)alpha,
                      *(const float *)beta,
                      a,
                      b,
                      c,
                      d,
                      nullptr};
    Algorithm algorithm;
    memcpy(&algorithm, algo, sizeof algorithm);
    cublasStatus_t status = check(m.p);
    if (status == CUBLAS_STATUS_SUCCESS &&
        (algorithm.magic != magic || algorithm.problem != hash(m.p)))
        status = CUBLAS_STATUS_INVALID_VALUE;
    if (status == CUBLAS_STATUS_SUCCESS)
        status = check_pointers(m, algorithm, workspace, workspace_size);
    if (status != CUBLAS_STATUS_SUCCESS)
        return status;
    m.workspace = algorithm.workspace ? (uint64_t *)workspace : nullptr;
    void *args[] = {&m};
    cudaError_t e = cudaLaunchKernel(entry.fn, dim3(1), dim3(1), args, 0, stream);
    return e == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
} // extern "C"
