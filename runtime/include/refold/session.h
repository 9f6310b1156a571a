/* SPDX-License-Identifier: Apache-2.0
 *
 * Sessions: one stream of runs of a model on a device. Planning happens in prepare (or in the first
 * run of a shape); runs of a known shape only execute.
 *
 * Threads: one session belongs to one thread at a time (but for rf_session_cancel); any number of
 * sessions of one model may run on different threads. Fork: safe before the first session of the
 * process; afterwards the child must exec (OpenMP's pool does not survive a fork).
 */
#ifndef REFOLD_SESSION_H
#define REFOLD_SESSION_H

#include <refold/model.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rf_session rf_session;

typedef struct rf_session_params {
    size_t size;        /* sizeof(rf_session_params) */
    const char *device; /* "auto" (or NULL): the fastest there is, logged; "cpu", "ref", "cuda" */
    rf_dtype precision; /* storage of activations and weights: RF_F32 (default), RF_BF16; on a GPU
                           also RF_F16 */
    int32_t n_threads;  /* 0: all cores this process may use; at most 1024 */
    size_t memory_cap;  /* bytes for weights, arena and scratch together; 0: none. What is too large
                           even without packed weights is refused before they are made */
    int32_t max_plans;  /* shapes kept prepared; 0: 8 */
    bool exact;         /* only kernels that sum every product directly (no Winograd) */
    bool tune; /* GPU: prepare times every kernel that can run a node (seconds per shape) and
                  takes the fastest; false: a table decides at once */
    const char *tune_dir; /* folder where winners are kept for other processes; NULL: nowhere */
    void *stream;         /* GPU: the caller's cudaStream_t to enqueue on; NULL: one of its own */
} rf_session_params;

/* Owns: *out belongs to the caller (rf_session_destroy); it holds an owner of the model.
 * Fails: RF_ERR_DEVICE if a demanded device is missing, RF_ERR_UNSUPPORTED for a precision that the
 * device does not have, RF_ERR_ARGUMENT. */
RF_API RF_NODISCARD rf_status rf_session_create(rf_model *model, const rf_session_params *params,
                                                rf_session **out, rf_error *err);
RF_API void rf_session_destroy(rf_session **session);

/* What a prepared shape costs. Known before anything runs. */
typedef struct rf_plan_info {
    size_t size;        /* sizeof(rf_plan_info) */
    size_t peak_bytes;  /* weights + arena + scratch: all that runs of this shape need */
    size_t arena_bytes; /* activations, after reuse */
    size_t scratch_bytes;
    size_t weight_bytes; /* constants and their packed forms */
    int64_t macs;        /* multiply-adds of convolutions and matmuls */
    int32_t n_steps;
    bool cached; /* the shape was prepared before */
} rf_plan_info;

/* Plans for the dims of `inputs` (data is not read), one tensor per model input in order.
 * Fails: RF_ERR_ARGUMENT naming input, expected and found for a wrong rank, dtype or size;
 * RF_ERR_MEMORY if the peak passes memory_cap (with both numbers). `out` may be NULL. */
RF_API RF_NODISCARD rf_status rf_session_prepare(rf_session *session, const rf_tensor *inputs,
                                                 int n_inputs, rf_plan_info *out, rf_error *err);
/* Dtype and dims of output i under the shapes of the last prepare or run; data NULL, contiguous. */
RF_API RF_NODISCARD rf_status rf_session_output(const rf_session *session, int i, rf_tensor *out,
                                                rf_error *err);
/* Runs. `outputs` are caller-owned with data set, dims as rf_session_output says; any strides.
 * Inputs are only read, and must not overlap outputs. Prepares first if the shape is new (so
 * prepare beforehand to keep planning out of the latency). On failure outputs hold undefined
 * elements. Fails: as rf_session_prepare, RF_ERR_ARGUMENT for outputs that do not fit,
 * RF_ERR_CANCELLED after rf_session_cancel. */
RF_API RF_NODISCARD rf_status rf_session_run(rf_session *session, const rf_tensor *inputs,
                                             int n_inputs, const rf_tensor *outputs, int n_outputs,
                                             rf_error *err);

/* GPU only: enqueues a run on the session's stream and returns without waiting for it. `inputs` and
 * `outputs` are in the device's memory, with any strides; dense ones that are 16-byte aligned are
 * used where they lie, others pass through copies on the device.
 *
 * What is asynchronous: everything on the device. The tensors must stay valid, inputs unchanged
 * and outputs untouched, until the stream has passed this point (rf_session_wait, or an event of
 * the caller's on the same stream). Work that the caller enqueued on that stream before is ordered
 * before the run, what comes later after it; other streams must be ordered by events of the
 * caller's. Nothing here synchronises, with these exceptions: a shape that was not prepared is
 * prepared (and may then wait, as freeing and allocating device memory does), and a session that
 * profiles waits for the end of the run. The `rf_tensor` structs themselves are read before the
 * call returns. Errors of the device that happen later are reported by a later call.
 *
 * Fails: as rf_session_run; RF_ERR_UNSUPPORTED for a session that is not on a GPU. */
RF_API RF_NODISCARD rf_status rf_session_enqueue(rf_session *session, const rf_tensor *inputs,
                                                 int n_inputs, const rf_tensor *outputs,
                                                 int n_outputs, rf_error *err);
/* Waits for all that was enqueued on the session's stream; returns at once on other devices.
 * Fails: RF_ERR_DEVICE with what went wrong on the device since the last call. */
RF_API RF_NODISCARD rf_status rf_session_wait(rf_session *session, rf_error *err);
/* Stops the run of this session that is going on: it returns RF_ERR_CANCELLED before its next step
 * (one op, or some rows of one; planning inside of a run is finished first). A run is going on from
 * the call of rf_session_run to its return (on a GPU its steps are enqueued at once and finish).
 * With no run going on, or when its last step has begun, nothing happens, and later runs are not
 * touched. The session stays as usable as before. Threads: any, beside any call on the session but
 * rf_session_destroy; also from a signal handler.
 */
RF_API void rf_session_cancel(rf_session *session);

/* Which kernel each step of the last prepared shape got and why, one line each. The text belongs
 * to the session and lives until the next call on it. */
RF_API RF_NODISCARD rf_status rf_session_explain(rf_session *session, const char **out,
                                                 rf_error *err);
/* The same for programs: a JSON array with op, name, kernel, macs, scratch_bytes, in and out of
 * every step; of each tensor dtype, dims, bytes, where it is stored (const, input, output, arena)
 * and the number of its memory, which views and tensors written in place share. Same lifetime rule.
 */
RF_API RF_NODISCARD rf_status rf_session_steps_json(rf_session *session, const char **out,
                                                    rf_error *err);
/* Instruction set or device in words: "cpu avx512, 2 threads". Lives as long as the session. */
RF_API const char *rf_session_device(const rf_session *session);

/* From now on every step is timed (a few hundred ns each). */
RF_API void rf_session_profile(rf_session *session, bool on);
/* What was recorded so far as Chrome trace JSON (chrome://tracing, Perfetto); same lifetime rule
 * as explain. */
RF_API RF_NODISCARD rf_status rf_session_profile_json(rf_session *session, const char **out,
                                                      rf_error *err);

#ifdef __cplusplus
}
#endif
#endif
