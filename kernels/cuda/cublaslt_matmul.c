/* SPDX-License-Identifier: Apache-2.0
 *
 * Matrix products by cuBLASLt. The library's matrices are column-major, which is ours transposed,
 * and its bias has one value per row: so it is given y' = b' a', whose rows are the columns of y.
 *
 * Fused are a bias row, relu and gelu_tanh (its GELU is the tanh form; the exact one is refused),
 * and a residual where no activation comes before it: that is the library's beta * C. Sums are in
 * f32 throughout: partial sums of a split product are not rounded to the output's dtype between.
 *
 * The algorithm is chosen in `prepare`. Scratch is asked for before that, so it is a fixed amount:
 * room for the counters and partial sums of the algorithms that divide one large product evenly
 * among the processors; for all others none.
 */
#include "kernels/cuda/library.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/rows.h"
#include "kernels/cuda/stream.h"

#include <pthread.h>

enum { WORKSPACE = 4 << 20, WORKSPACE_ALIGNMENT = 256, MAX_ALGORITHMS = 8 };

/* A matrix as the library sees it: columns of `rows` neighbouring elements. */
typedef struct columns {
    int64_t rows, cols, ld;
    int64_t step;    /* from one batch to the next, if there are several */
    bool transposed; /* it is the transpose of what is multiplied */
} columns;

typedef struct product {
    rf_dtype dtype;
    columns b, a, res, y;
    int64_t batches;
    cublasLtEpilogue_t epilogue;
    bool has_bias, has_res;
    float alpha;
} product;

typedef struct lt_state {
    const rf_cublaslt *lib;
    cublasLtHandle_t handle; /* the device's */
    cublasLtMatmulDesc_t op;
    cublasLtMatrixLayout_t b, a, res, y;
    cublasLtMatmulAlgo_t algorithm;
    size_t workspace_bytes;
    const void *packed_b, *packed_bias; /* NULL: not constant */
    bool has_bias, has_res;
    float alpha;
} lt_state;

/* ---- the node as a product of columns ----------------------------------------------------------
 */
static bool set_columns(columns *c, int64_t rows, int64_t stride, int64_t cols, int64_t ld)
{
    c->rows = rows;
    c->cols = cols;
    c->ld = cols > 1 ? ld : rows;
    return (stride == 1 || rows == 1) && c->ld >= rows && c->step >= 0;
}

static bool dense_rows(columns *c, const rf_cuda_matrix *t, int64_t rows, int64_t cols)
{
    c->step = t->batch[0];
    c->transposed = false;
    return set_columns(c, cols, t->col, rows, t->row);
}

/* Our rows are the library's columns, unless the elements of our columns are the neighbours. */
static bool operand(columns *c, const rf_cuda_matrix *t, int64_t rows, int64_t cols)
{
    c->step = t->batch[0];
    c->transposed = true;
    return (t->col != 1 && set_columns(c, rows, t->row, cols, t->col)) ||
           dense_rows(c, t, rows, cols);
}

static bool epilogue_of(rf_act act, bool bias, cublasLtEpilogue_t *out)
{
    switch (act) {
    case RF_ACT_NONE:
        *out = bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
        return true;
    case RF_ACT_RELU:
        *out = bias ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_RELU;
        return true;
    case RF_ACT_GELU_TANH:
        *out = bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
        return true;
    default:
        return false;
    }
}

/* One dtype everywhere, but for constants that are packed. */
static bool dtypes_fit(const rf_op_args *args)
{
    rf_dtype dtype = args->in[0]->dtype;
    bool fit = rf_cuda_is_float(args->in[0]) && args->out[0]->dtype == dtype;
    for (int i = 1; i < args->n_in; i++) {
        const rf_tensor *t = args->in[i];
        bool packed = t && i < 3 && t->data;
        fit = fit && (packed ? rf_cuda_is_float(t) : !t || t->dtype == dtype);
    }
    return fit;
}

/* One row of n values for all of y. */
static bool bias_fits(const rf_cuda_matmul_params *p, const rf_tensor *bias)
{
    bool row = p->bias.row == 0 && (p->batches == 1 || p->bias.batch[0] == 0);
    return !bias || (row && (bias->data || p->bias.col == 1 || p->n == 1));
}

static bool describe(const rf_op_args *args, product *out)
{
    const rf_matmul_attrs *at = &args->attrs->matmul;
    const rf_tensor *bias = args->n_in > 2 ? args->in[2] : NULL,
                    *res = args->n_in > 3 ? args->in[3] : NULL;
    if (!dtypes_fit(args) || rf_tensor_elements(args->out[0]) == 0 ||
        rf_tensor_elements(args->in[0]) == 0)
        return false;
    rf_cuda_matmul_params p = args->in[1]->data ? rf_cuda_matmul_describe_packed(args, NULL)
                                                : rf_cuda_matmul_describe(args);
    *out = (product){.dtype = args->in[0]->dtype,
                     .batches = p.batches,
                     .has_bias = bias,
                     .has_res = res,
                     .alpha = p.alpha};
    return p.batch_rank <= 1 && p.batches <= INT32_MAX && bias_fits(&p, bias) &&
           epilogue_of(at->act, bias, &out->epilogue) && (!res || at->act == RF_ACT_NONE) &&
           operand(&out->b, &p.b, p.k, p.n) && operand(&out->a, &p.a, p.m, p.k) &&
           dense_rows(&out->y, &p.y, p.m, p.n) && (!res || dense_rows(&out->res, &p.res, p.m, p.n));
}

/* Our own row uses mma.sync, which on sm_90 reaches about 62% of the rate of wgmma; that can only
 * show where arithmetic is what takes the time. An H200 does 495e12 multiply-adds a second by
 * wgmma and reads 4.8e12 bytes, so a product that mma.sync makes bound by arithmetic has at least
 * 0.62 * 495 / 4.8 = 64 multiply-adds per byte: with many rows, n and k of 256. And there must be a
 * wave of tiles, one of 128x128 for each of 132 processors, or both leave processors idle. No GPU
 * has confirmed the border yet. In f32 both use the same instructions. */
static bool wins(const product *p)
{
    const int64_t m = p->y.cols, n = p->y.rows, k = p->b.transposed ? p->b.rows : p->b.cols;
    double products = (double)m * (double)n * (double)k;
    double bytes = 2 * ((double)m * (double)n + (double)m * (double)k + (double)n * (double)k);
    int64_t tiles = (m + 127) / 128 * ((n + 127) / 128) * p->batches;
    return p->dtype != RF_F32 && products >= 64 * bytes && tiles >= 132;
}

static bool wanted(const rf_kernel_desc *d)
{
    product p;
    return describe(&d->args, &p) && wins(&p);
}

static bool usable(void)
{
    const char *why;
    return rf_cublaslt_open(&why);
}

static bool can(const rf_kernel_desc *d)
{
    product p;
    return describe(&d->args, &p);
}

/* Scratch is 64-byte aligned, the library's workspace more. */
static size_t scratch(const rf_kernel_desc *d)
{
    (void)d;
    return WORKSPACE + WORKSPACE_ALIGNMENT;
}

/* ---- preparing ---------------------------------------------------------------------------------
 */
static rf_status check(const rf_cublaslt *lib, cublasStatus_t s, rf_status kind, const char *what,
                       rf_error *err)
{
    return s == CUBLAS_STATUS_SUCCESS
               ? RF_OK
               : rf_fail(err, kind, "cuBLASLt: %s: %s", what, lib->GetStatusString(s));
}
/* What fails here is a refusal: the planner takes the next kernel. */
#define LT(function, ...)                                                                          \
    RF_TRY(check(lib, lib->function(__VA_ARGS__), RF_ERR_UNSUPPORTED, "cublasLt" #function, err))
#define SET(Function, object, NAME, type, value)                                                   \
    LT(Function##SetAttribute, object, NAME, &(type){value}, sizeof(type))

static void close_handle(rf_device *device)
{
    const char *why;
    (void)rf_cublaslt_open(&why)->Destroy(device->cublaslt);
    device->cublaslt = NULL;
    device->close_cublaslt = NULL;
}

/* Any number of threads may use it at once. */
static rf_status get_handle(const rf_cublaslt *lib, rf_device *device, cublasLtHandle_t *out,
                            rf_error *err)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    rf_status status = RF_OK;
    pthread_mutex_lock(&lock);
    if (!device->cublaslt) {
        cublasLtHandle_t handle = NULL;
        status = check(lib, lib->Create(&handle), RF_ERR_UNSUPPORTED, "cublasLtCreate", err);
        if (status == RF_OK) {
            device->cublaslt = handle;
            device->close_cublaslt = close_handle;
        }
    }
    *out = device->cublaslt;
    pthread_mutex_unlock(&lock);
    return status;
}

static cudaDataType_t type_of(rf_dtype dtype)
{
    return dtype == RF_F32 ? CUDA_R_32F : dtype == RF_F16 ? CUDA_R_16F : CUDA_R_16BF;
}

static rf_status make_layout(const rf_cublaslt *lib, const product *p, const columns *c,
                             cublasLtMatrixLayout_t *out, rf_error *err)
{
    LT(MatrixLayoutCreate, out, type_of(p->dtype), (uint64_t)c->rows, (uint64_t)c->cols, c->ld);
    SET(MatrixLayout, *out, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, int32_t, (int32_t)p->batches);
    SET(MatrixLayout, *out, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, int64_t, c->step);
    return RF_OK;
}

static rf_status make_op(lt_state *s, const product *p, rf_error *err)
{
    const rf_cublaslt *lib = s->lib;
    LT(MatmulDescCreate, &s->op, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    SET(MatmulDesc, s->op, CUBLASLT_MATMUL_DESC_TRANSA, int32_t,
        p->b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    SET(MatmulDesc, s->op, CUBLASLT_MATMUL_DESC_TRANSB, int32_t,
        p->a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    SET(MatmulDesc, s->op, CUBLASLT_MATMUL_DESC_EPILOGUE, uint32_t, (uint32_t)p->epilogue);
    if (!p->has_bias)
        return RF_OK;
    SET(MatmulDesc, s->op, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, int32_t,
        (int32_t)type_of(p->dtype));
    /* The heuristic wants to know how it is aligned, and does not read it. */
    SET(MatmulDesc, s->op, CUBLASLT_MATMUL_DESC_BIAS_POINTER, const void *, (const void *)16);
    return RF_OK;
}

/* What all columns of all batches are aligned to, up to the 16 bytes of a tensor. */
static uint32_t alignment_of(const product *p, const columns *c)
{
    const int64_t item = (int64_t)rf_dtype_bytes(p->dtype);
    uint32_t bytes = 16;
    while ((c->cols > 1 && c->ld * item % bytes) || (p->batches > 1 && c->step * item % bytes))
        bytes /= 2;
    return bytes;
}

static rf_status set_preference(const rf_cublaslt *lib, const product *p,
                                cublasLtMatmulPreference_t to, rf_error *err)
{
    SET(MatmulPreference, to, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t, WORKSPACE);
    SET(MatmulPreference, to, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t,
        CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
    SET(MatmulPreference, to, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, uint32_t,
        alignment_of(p, &p->b));
    SET(MatmulPreference, to, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, uint32_t,
        alignment_of(p, &p->a));
    SET(MatmulPreference, to, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, uint32_t,
        alignment_of(p, p->has_res ? &p->res : &p->y));
    SET(MatmulPreference, to, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, uint32_t,
        alignment_of(p, &p->y));
    return RF_OK;
}

static cublasLtMatrixLayout_t c_layout(const lt_state *s)
{
    return s->has_res ? s->res : s->y;
}

static rf_status ask(lt_state *s, const product *p, cublasLtMatmulPreference_t preference,
                     rf_error *err)
{
    const rf_cublaslt *lib = s->lib;
    cublasLtMatmulHeuristicResult_t results[MAX_ALGORITHMS];
    int n = 0;
    RF_TRY(set_preference(lib, p, preference, err));
    LT(MatmulAlgoGetHeuristic, s->handle, s->op, s->b, s->a, c_layout(s), s->y, preference,
       MAX_ALGORITHMS, results, &n);
    for (int i = 0; i < n; i++)
        if (results[i].state == CUBLAS_STATUS_SUCCESS && results[i].workspaceSize <= WORKSPACE) {
            s->algorithm = results[i].algo;
            s->workspace_bytes = results[i].workspaceSize;
            return RF_OK;
        }
    return rf_fail(err, RF_ERR_UNSUPPORTED, "cuBLASLt: none of %d algorithms fits", n);
}

static rf_status choose_algorithm(lt_state *s, const product *p, rf_error *err)
{
    const rf_cublaslt *lib = s->lib;
    cublasLtMatmulPreference_t preference;
    LT(MatmulPreferenceCreate, &preference);
    rf_status status = ask(s, p, preference, err);
    (void)lib->MatmulPreferenceDestroy(preference);
    return status;
}

static rf_status fill(lt_state *s, const rf_kernel_desc *d, const product *p, rf_error *err)
{
    const rf_cublaslt *lib = s->lib;
    RF_TRY(rf_cuda_enter(d->device, err));
    RF_TRY(get_handle(lib, d->device, &s->handle, err));
    RF_TRY(make_op(s, p, err));
    RF_TRY(make_layout(lib, p, &p->b, &s->b, err));
    RF_TRY(make_layout(lib, p, &p->a, &s->a, err));
    RF_TRY(make_layout(lib, p, &p->y, &s->y, err));
    if (p->has_res)
        RF_TRY(make_layout(lib, p, &p->res, &s->res, err));
    RF_TRY(choose_algorithm(s, p, err));
    if (d->args.in[1]->data)
        RF_TRY(rf_cuda_matmul_pack_b(d, &s->packed_b, err));
    if (p->has_bias && d->args.in[2]->data)
        RF_TRY(rf_cuda_matmul_pack_bias(d, &s->packed_bias, err));
    return RF_OK;
}

static void release(rf_env *env, void *state)
{
    lt_state *s = state;
    const cublasLtMatrixLayout_t layouts[] = {s->b, s->a, s->res, s->y};
    for (int i = 0; i < 4; i++)
        if (layouts[i])
            (void)s->lib->MatrixLayoutDestroy(layouts[i]);
    if (s->op)
        (void)s->lib->MatmulDescDestroy(s->op);
    rf_free(env, s, sizeof *s);
}

static rf_status prepare(const rf_kernel_desc *d, void **out_state, rf_error *err)
{
    const char *why;
    const rf_cublaslt *lib = rf_cublaslt_open(&why);
    product p;
    lt_state *s;
    (void)describe(&d->args, &p);
    RF_TRY(rf_alloc_array(d->env, 1, sizeof *s, &s, err));
    *s = (lt_state){.lib = lib, .has_bias = p.has_bias, .has_res = p.has_res, .alpha = p.alpha};
    rf_status status = fill(s, d, &p, err);
    if (status == RF_OK)
        *out_state = s;
    else
        release(d->env, s);
    return status;
}

/* ---- running -----------------------------------------------------------------------------------
 */
static rf_status run(const rf_kernel_call *call, rf_error *err)
{
    const lt_state *s = call->state;
    const rf_cublaslt *lib = s->lib;
    const rf_op_args *args = &call->args;
    const float beta = s->has_res;
    void *y = args->out[0]->data;
    if (s->has_bias) { /* a state belongs to one plan, which one thread runs at a time */
        const void *bias = s->packed_bias ? s->packed_bias : args->in[2]->data;
        SET(MatmulDesc, s->op, CUBLASLT_MATMUL_DESC_BIAS_POINTER, const void *, bias);
    }
    uintptr_t workspace = (uintptr_t)call->scratch + WORKSPACE_ALIGNMENT - 1;
    workspace -= workspace % WORKSPACE_ALIGNMENT;
    cublasStatus_t e = lib->Matmul(
        s->handle, s->op, &s->alpha, s->packed_b ? s->packed_b : args->in[1]->data, s->b,
        args->in[0]->data, s->a, &beta, s->has_res ? args->in[3]->data : y, c_layout(s), y, s->y,
        &s->algorithm, (void *)workspace, s->workspace_bytes, call->stream->handle);
    return check(lib, e, RF_ERR_DEVICE, "cublasLtMatmul", err);
}

static const rf_kernel cublaslt = {
    .op = RF_OP_MATMUL,
    .name = "cublaslt",
    .why = "cuBLASLt: f16 or bf16 in rows, bound by arithmetic, a wave of tiles or more",
    .wanted = wanted,
    .usable = usable,
    .can = can,
    .scratch = scratch,
    .prepare = prepare,
    .release = release,
    .run = run,
    .packed = 1u << 1 | 1u << 2,
};

const rf_kernel *const rf_cuda_rows_cublaslt_matmul[] = {&cublaslt, NULL};
