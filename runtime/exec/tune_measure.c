/* SPDX-License-Identifier: Apache-2.0
 *
 * One node, its candidates in turn on the same random data. The first of our own kernels is the
 * judge of the others. Times are of RUNS launches between two events, the shortest of ROUNDS such
 * runs, so that the host's part is hidden as it is in a recording.
 */
#include "runtime/exec/tune_measure.h"

#include "runtime/base/half.h"
#include "runtime/exec/span.h"

#include <math.h>
#include <string.h>

enum { ROUNDS = 5, RUNS = 10, WARM_UP = 2 };

int rf_tune_candidates(const rf_backend *backend, const rf_kernel_desc *d, const rf_kernel **out)
{
    size_t n_rows;
    int n = 0;
    const rf_kernel *const *rows = backend->kernels(&n_rows);
    bool comparable = rf_op_get(d->args.op)->tolerance == RF_TOL_REDUCE;
    for (size_t i = 0; i < n_rows && n < (comparable ? RF_TUNE_CANDIDATES : 1); i++)
        if (rows[i]->op == d->args.op && !(rows[i]->wanted && d->no_library) &&
            (!rows[i]->usable || rows[i]->usable()) && (!rows[i]->can || rows[i]->can(d)))
            out[n++] = rows[i];
    return n;
}

/* The node's tensors on the device. */
typedef struct bed {
    rf_env *env;
    const rf_device_ops *ops;
    const rf_kernel_desc *desc;
    rf_stream *stream;
    rf_tensor in[RF_MAX_IN], out[RF_MAX_OUT];
    void *memory[RF_MAX_IN + RF_MAX_OUT];
    float *want, *got; /* first output of the judge and of the one judged */
    size_t n_elements;
} bed;

static float uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (float)(*state >> 40) * 0x1p-23f - 1.0f;
}

/* Random numbers in [-1, 1); constants are what they are. */
static void fill(const rf_tensor *t, void *dst, size_t bytes, uint64_t *state)
{
    size_t n = bytes / rf_dtype_bytes(t->dtype);
    if (t->data)
        memcpy(dst, t->data, bytes);
    else if (t->dtype == RF_F32)
        for (size_t i = 0; i < n; i++)
            ((float *)dst)[i] = uniform(state);
    else if (t->dtype == RF_F16 || t->dtype == RF_BF16)
        for (size_t i = 0; i < n; i++)
            ((uint16_t *)dst)[i] =
                t->dtype == RF_F16 ? rf_f32_to_f16(uniform(state)) : rf_f32_to_bf16(uniform(state));
    else
        memset(dst, 0, bytes);
}

static rf_status place(bed *b, const rf_tensor *t, int slot, bool random, uint64_t *state,
                       rf_tensor *out, rf_error *err)
{
    size_t bytes = rf_tensor_span_bytes(t);
    *out = *t;
    RF_TRY(b->ops->alloc(b->desc->device, bytes, &b->memory[slot], err));
    out->data = b->memory[slot];
    if (!random || !bytes)
        return RF_OK;
    void *host = rf_alloc(b->env, bytes, 64);
    if (!host)
        return rf_fail(err, RF_ERR_MEMORY, "no memory for %zu bytes of tuning data", bytes);
    fill(t, host, bytes, state);
    rf_status status = b->ops->upload(b->desc->device, out->data, host, bytes, err);
    rf_free(b->env, host, bytes);
    return status;
}

static rf_status make_bed(bed *b, rf_error *err)
{
    uint64_t state = 1;
    const rf_op_args *a = &b->desc->args;
    RF_TRY(b->ops->stream_create(b->desc->device, NULL, &b->stream, err));
    for (int i = 0; i < a->n_in; i++)
        if (a->in[i])
            RF_TRY(place(b, a->in[i], i, true, &state, &b->in[i], err));
    for (int i = 0; i < a->n_out; i++)
        RF_TRY(place(b, a->out[i], RF_MAX_IN + i, false, NULL, &b->out[i], err));
    b->n_elements = (size_t)rf_tensor_elements(a->out[0]);
    RF_TRY(rf_alloc_array(b->env, b->n_elements, sizeof *b->want, &b->want, err));
    return rf_alloc_array(b->env, b->n_elements, sizeof *b->got, &b->got, err);
}

static void clear_bed(bed *b)
{
    for (int i = 0; i < RF_MAX_IN + RF_MAX_OUT; i++)
        b->ops->free(b->desc->device, b->memory[i]);
    b->ops->stream_destroy(&b->stream);
    rf_free(b->env, b->want, b->n_elements * sizeof *b->want);
    rf_free(b->env, b->got, b->n_elements * sizeof *b->got);
}

static rf_status fetch(bed *b, float *dst, rf_error *err)
{
    const rf_tensor *t = &b->out[0];
    size_t bytes = rf_tensor_span_bytes(t), item = rf_dtype_bytes(t->dtype);
    char *host = rf_alloc(b->env, bytes, 64);
    if (!host)
        return rf_fail(err, RF_ERR_MEMORY, "no memory for %zu bytes of tuning data", bytes);
    rf_status status = b->ops->copy(b->stream, host, t->data, bytes, err);
    if (status == RF_OK)
        status = b->ops->wait(b->stream, err);
    int64_t at[RF_MAX_RANK] = {0};
    for (size_t i = 0; i < b->n_elements && status == RF_OK; i++) {
        int64_t offset = 0;
        for (int k = 0; k < t->rank; k++)
            offset += at[k] * t->strides[k];
        const void *p = host + (size_t)offset * item;
        dst[i] = t->dtype == RF_F32   ? *(const float *)p
                 : t->dtype == RF_F16 ? rf_f16_to_f32(*(const uint16_t *)p)
                                      : rf_bf16_to_f32(*(const uint16_t *)p);
        for (int k = t->rank - 1; k >= 0 && ++at[k] == t->dims[k]; k--)
            at[k] = 0;
    }
    rf_free(b->env, host, bytes);
    return status;
}

/* Within rounding of the storage: a few units of the largest element; f32 leaves no room for tf32.
 */
static bool agrees(const bed *b)
{
    double most = 0, worst = 0;
    rf_dtype t = b->out[0].dtype, in = b->in[0].dtype;
    bool f32 = t == RF_F32 && in == RF_F32, bf16 = t == RF_BF16 || in == RF_BF16;
    double unit = f32 ? 0x1p-18 : bf16 ? 0x1p-6 : 0x1p-9;
    for (size_t i = 0; i < b->n_elements; i++) {
        double want = b->want[i], d = fabs(want - b->got[i]);
        if (!(d <= worst))
            worst = d; /* a NaN stays */
        most = fabs(want) > most ? fabs(want) : most;
    }
    return worst <= unit * most;
}

static rf_status time_runs(bed *b, const rf_kernel *k, rf_kernel_call *call, double *us,
                           rf_error *err)
{
    *us = INFINITY;
    for (int i = 0; i < WARM_UP; i++)
        RF_TRY(k->run(call, err));
    for (int round = 0; round < ROUNDS; round++) {
        float ms;
        RF_TRY(b->ops->mark(b->stream, 0, err));
        for (int i = 0; i < RUNS; i++)
            RF_TRY(k->run(call, err));
        RF_TRY(b->ops->mark(b->stream, 1, err));
        RF_TRY(b->ops->wait(b->stream, err));
        RF_TRY(b->ops->mark_ms(b->stream, 1, &ms, err));
        if (1e3 * (double)ms / RUNS < *us)
            *us = 1e3 * (double)ms / RUNS;
    }
    return RF_OK;
}

static rf_status try_one(bed *b, const rf_kernel *k, float *result, double *us, rf_error *err)
{
    const rf_kernel_desc *d = b->desc;
    void *scratch = NULL;
    rf_kernel_call call = {.args = d->args, .n_threads = d->n_threads, .stream = b->stream};
    rf_status status;
    for (int i = 0; i < d->args.n_in; i++)
        call.args.in[i] = d->args.in[i] ? &b->in[i] : NULL;
    for (int i = 0; i < d->args.n_out; i++)
        call.args.out[i] = &b->out[i];
    if (k->prepare)
        RF_TRY(k->prepare(d, &call.state, err));
    RF_TRY_DONE(b->ops->alloc(d->device, k->scratch ? k->scratch(d) : 0, &scratch, err));
    call.scratch = scratch;
    RF_TRY_DONE(time_runs(b, k, &call, us, err));
    RF_TRY_DONE(fetch(b, result, err));
done:
    b->ops->free(d->device, scratch);
    if (k->release && call.state)
        k->release(d->env, call.state);
    return status;
}

static int first_own(const rf_kernel *const *candidates, int n)
{
    for (int i = 0; i < n; i++)
        if (!candidates[i]->wanted)
            return i;
    return 0;
}

/* A candidate that fails or disagrees is left out and logged; only the judge must work. */
static rf_status compete(bed *b, const rf_backend *backend, const rf_kernel *const *candidates,
                         int n, int *fastest, double *us, rf_error *err)
{
    int judge = first_own(candidates, n);
    const char *op = rf_op_get(b->desc->args.op)->name;
    RF_TRY(try_one(b, candidates[judge], b->want, us, err));
    *fastest = judge;
    for (int i = 0; i < n; i++) {
        rf_error why;
        double t = 0;
        if (i == judge)
            continue;
        if (try_one(b, candidates[i], b->got, &t, &why) != RF_OK)
            rf_log(b->env, RF_LOG_INFO, "tuning %s: %s.%s left out: %s", op, backend->name,
                   candidates[i]->name, why.text);
        else if (!agrees(b))
            rf_log(b->env, RF_LOG_WARN, "tuning %s: %s.%s left out: it disagrees with %s", op,
                   backend->name, candidates[i]->name, candidates[judge]->name);
        else if (t < *us) {
            *us = t;
            *fastest = i;
        }
    }
    return RF_OK;
}

rf_status rf_tune_measure(rf_env *env, const rf_backend *backend, const rf_kernel_desc *desc,
                          const rf_kernel *const *candidates, int n, int *out_fastest,
                          double *out_us, rf_error *err)
{
    bed b = {.env = env, .ops = backend->device_ops, .desc = desc};
    *out_fastest = 0;
    rf_status status = make_bed(&b, err);
    if (status == RF_OK)
        status = compete(&b, backend, candidates, n, out_fastest, out_us, err);
    clear_bed(&b);
    return status;
}
