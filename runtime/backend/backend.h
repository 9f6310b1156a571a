/* SPDX-License-Identifier: Apache-2.0
 *
 * What a backend is: a sparse list of kernels. The planner asks them in order and takes the first
 * that can do the op with these shapes, dtypes and layouts; `run` is then called without any
 * further decision.
 */
#ifndef RF_BACKEND_BACKEND_H
#define RF_BACKEND_BACKEND_H

#include "runtime/base/env.h"
#include "runtime/core/shape.h"
#include "runtime/core/strided.h"
#include "runtime/base/parallel.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rf_pack_cache rf_pack_cache;
typedef struct rf_device rf_device;
typedef struct rf_stream rf_stream;
typedef struct rf_recording rf_recording;

/* A node made concrete: all dims, dtypes and strides known, constants' data set. */
typedef struct rf_kernel_desc {
    rf_op_args args;
    int32_t n_threads;
    rf_env *env;
    rf_pack_cache *packs; /* NULL: `prepare` must make private copies via rf_alloc */
    bool exact;           /* only kernels that sum every product directly (no Winograd) */
    bool no_library;      /* no kernels of external libraries */
    rf_device *device;    /* of a backend with device_ops; constants are in host memory here */
} rf_kernel_desc;

/* What run gets. Tensors have their final data pointers. */
typedef struct rf_kernel_call {
    rf_op_args args;
    int32_t n_threads;
    void *state;       /* from prepare */
    void *scratch;     /* 64-byte aligned, `scratch(desc)` bytes, contents undefined */
    rf_stream *stream; /* device backends: `run` only enqueues; all pointers are the device's */
} rf_kernel_call;

typedef struct rf_kernel {
    rf_op op;
    const char *name; /* "winograd4x4"; shown by --explain as <backend>.<name> */
    const char *why;  /* one clause for --explain: "3x3 stride 1, >= 32 channels" */
    /* Kernels of an external library only: is it likely the fastest for this node? Judged without
     * the library, which costs memory and time to open: the planner does that for plans in which
     * it would do a fair share of the work (rf_backend_wants_library). NULL: not such a kernel. */
    bool (*wanted)(const rf_kernel_desc *desc);
    /* Does this machine have what the kernel needs beyond the instruction set of its table,
     * whatever the node (AMX, an external library)? May open the library. NULL: yes. */
    bool (*usable)(void);
    /* Can this kernel, if it is usable, run the node as it is? Must check dtypes, strides and
     * attributes. NULL: always. */
    bool (*can)(const rf_kernel_desc *desc);
    /* Bytes of scratch for one run. NULL: 0. */
    size_t (*scratch)(const rf_kernel_desc *desc);
    /* Packs weights, builds tables. *out_state goes to run and release. NULL: no state. */
    rf_status (*prepare)(const rf_kernel_desc *desc, void **out_state, rf_error *err);
    void (*release)(rf_env *env, void *state);
    /* Data errors (a gather index out of range) are the only legal failures. */
    rf_status (*run)(const rf_kernel_call *call, rf_error *err);
    /* Bit i: out[0] may be the very buffer of in[i] (same dims, dtype, strides). */
    uint32_t in_place;
    /* Device backends, bit i: when in[i] is constant, the state holds what `run` needs of it, so
     * its elements need not be uploaded as they are. */
    uint32_t packed;
    /* The state serves any number of image rows: the planner may run the node in stripes, with
     * views of rows as x, res and out[0] and the top padding cut to match. Heights then follow from
     * the tensors, not from the bottom padding. */
    bool by_rows;
    /* Optional: runs n consecutive steps of this kernel depth first. can_chain says whether b,
     * whose in[0] is a's out[0], may follow a; the calls arrive in order with their final pointers.
     */
    bool (*can_chain)(const rf_kernel_desc *a, const rf_kernel_desc *b);
    rf_status (*run_chain)(const rf_kernel_call *calls, int n, rf_error *err);
} rf_kernel;

/* Weights repacked for a kernel are shared by all plans and sessions of a model. */
typedef rf_status rf_pack_fn(void *ctx, void *dst, rf_error *err);
enum { RF_PACK_TAG_BYTES = 96 };
/* Returns the packed form of constant `key` (its data pointer) under kernel tag `tag` (copied, up
 * to RF_PACK_TAG_BYTES with its end), calling `pack` once to fill `bytes` bytes. The result lives
 * as long as the model. Threads: safe; a second caller waits for the first. packs NULL is a
 * caller's error. */
rf_status rf_pack_get(rf_pack_cache *packs, const void *key, const char *tag, size_t bytes,
                      rf_pack_fn *pack, void *ctx, const void **out, rf_error *err);
/* device_ops NULL: packed forms are in host memory. Else they are filled in host memory, uploaded,
 * and rf_pack_get returns device pointers; the cache holds the device open. */
typedef struct rf_device_ops rf_device_ops;
rf_status rf_pack_cache_create(rf_env *env, const rf_device_ops *ops, rf_device *device,
                               rf_pack_cache **out, rf_error *err);
void rf_pack_cache_destroy(rf_pack_cache **packs);
size_t rf_pack_cache_bytes(const rf_pack_cache *packs);

/* A device with memory and a clock of its own. Threads: a device may be used from any thread, a
 * stream from one at a time. A sticky error marks the device lost: every later call says so. */
struct rf_device_ops {
    /* The first usable device; RF_ERR_DEVICE says what is missing and what to do. Opening the same
     * device again gives another owner of the same object. */
    rf_status (*open)(rf_env *env, rf_device **out, rf_error *err);
    void (*close)(rf_device **device);
    const char *(*describe)(const rf_device *device); /* "NVIDIA H200, sm_90" */
    /* The same with all that timings depend on: driver, runtime, libraries (which this opens). */
    const char *(*versions)(const rf_device *device);

    /* 256-byte aligned. Waits for nothing that runs; `free` waits for all that runs. */
    rf_status (*alloc)(rf_device *device, size_t bytes, void **out, rf_error *err);
    void (*free)(rf_device *device, void *ptr);
    /* Complete when it returns. */
    rf_status (*upload)(rf_device *device, void *dst, const void *src, size_t bytes, rf_error *err);

    /* native: the caller's stream (cudaStream_t), or NULL for a new one. */
    rf_status (*stream_create)(rf_device *device, void *native, rf_stream **out, rf_error *err);
    void (*stream_destroy)(rf_stream **stream);
    /* Enqueues a copy between any two places; host memory must stay as it is until `wait`. */
    rf_status (*copy)(rf_stream *stream, void *dst, const void *src, size_t bytes, rf_error *err);
    rf_status (*wait)(rf_stream *stream, rf_error *err);

    /* Recording: between begin and end kernels are not run but become one launchable object.
     * `record_external(true)` marks the kernels that follow as ones whose pointers may change:
     * `update_begin`, the same kernels' run functions in the same order, `update_end` give them new
     * parameters without recording again. A kernel that fails in between spoils the recording. */
    rf_status (*record_begin)(rf_stream *stream, rf_error *err);
    void (*record_external)(rf_stream *stream, bool external);
    rf_status (*record_end)(rf_stream *stream, rf_recording **out, rf_error *err);
    rf_status (*update_begin)(rf_stream *stream, rf_recording *recording, rf_error *err);
    rf_status (*update_end)(rf_stream *stream, rf_error *err);
    rf_status (*replay)(rf_stream *stream, rf_recording *recording, rf_error *err);
    void (*recording_destroy)(rf_recording **recording);

    /* Times between marks: mark 0..n-1 while enqueuing, then (after wait) ms from mark 0. */
    rf_status (*mark)(rf_stream *stream, int32_t i, rf_error *err);
    rf_status (*mark_ms)(rf_stream *stream, int32_t i, float *out, rf_error *err);
    /* Names the launches that follow, for profilers; NULL ends. */
    void (*annotate)(rf_stream *stream, const char *name);
};

typedef struct rf_backend {
    const char *name; /* "ref", "cpu" */
    /* Kernels in order of preference; decided once per process by what the machine has. */
    const rf_kernel *const *(*kernels)(size_t *out_n);
    /* Instruction set or device in words, for reports: "avx512". */
    const char *(*describe)(void);
    /* Storage dtypes for activations (bit per rf_dtype) and the preferred image layout. */
    uint32_t precisions;
    bool nhwc;
    /* Brackets every run on the calling thread (thread-count state of libraries). May be NULL. */
    void (*enter)(int n_threads, int *saved);
    void (*leave)(int saved);
    const rf_device_ops *device_ops; /* NULL: works in host memory, `run` returns when done */
} rf_backend;

/* Defined in kernels/backends.c; terminated by NULL. Order = preference of `auto`. */
extern const rf_backend *const rf_backends[];
const rf_backend *rf_backend_find(const char *name);
/* The same, and those that are modules ("cuda"): opened at first need, kept until the process ends.
 * RF_ERR_DEVICE says what is missing; RF_ERR_ARGUMENT for a name that nobody has. Threads: safe. */
rf_status rf_backend_open(const char *name, const rf_backend **out, rf_error *err);
/* Whether the kernel may be given the node: wanted, if that is a question, usable, and able. */
static inline bool rf_kernel_takes(const rf_kernel *kernel, const rf_kernel_desc *desc)
{
    return kernel->op == desc->args.op && (!kernel->wanted || kernel->wanted(desc)) &&
           (!kernel->usable || kernel->usable()) && (!kernel->can || kernel->can(desc));
}
/* Would the first kernel for desc come from an external library? Opens none. */
bool rf_backend_wants_library(const rf_backend *backend, const rf_kernel_desc *desc);
/* First kernel of the backend that can run desc, or NULL. */
const rf_kernel *rf_backend_choose(const rf_backend *backend, const rf_kernel_desc *desc);

/* Layout helpers shared by planner and kernels. */
/* True if t is rank 4 and its memory order is dense N, H, W, C. */
bool rf_tensor_is_nhwc(const rf_tensor *t);
void rf_tensor_set_nhwc(rf_tensor *t); /* layout.c */

#ifdef __cplusplus
}
#endif
#endif
