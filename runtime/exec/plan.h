/* SPDX-License-Identifier: Apache-2.0
 *
 * A plan: one graph made concrete for one set of input shapes on one backend. It holds a flat array
 * of steps whose arguments are complete but for the addresses of the arena and of the caller's
 * tensors; rf_plan_bind fills those, rf_plan_run calls one function after the other.
 *
 *   plan.c    builds: infer shapes, storage dtypes, layouts (layout.c), kernels (place.c),
 *             depth-first stripes (stripes.c), memory (memory.c)
 *   run.c     bind, run, profile
 *   device.c  the same on a device: enqueue, record, replay
 *   explain.c text for people
 */
#ifndef RF_EXEC_PLAN_H
#define RF_EXEC_PLAN_H

#include "runtime/backend/backend.h"
#include "runtime/base/str.h"
#include "runtime/core/graph.h"
#include "runtime/exec/tune.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Where a value's elements live during a run. */
typedef enum rf_storage {
    RF_STORE_NONE, /* value is not used by any step */
    RF_STORE_CONST,
    RF_STORE_INPUT,  /* the caller's tensor, or its dense copy; index = which input */
    RF_STORE_OUTPUT, /* likewise */
    RF_STORE_ARENA   /* index = root value; offset in the arena is the root's */
} rf_storage;

typedef struct rf_plan_value {
    rf_tensor tensor; /* bound to memory by rf_plan_bind */
    rf_storage storage;
    bool plain; /* stays row-major (layout.c) */
    int32_t index;
    rf_value root; /* value whose bytes these are (itself unless a view or in place) */
    size_t bytes, offset;
    int32_t first, last; /* steps during which the root's bytes are taken */
} rf_plan_value;

typedef struct rf_plan_step {
    const rf_kernel *kernel;
    const rf_backend *backend;
    const char *name; /* node's name */
    rf_attrs attrs;
    int64_t macs;
    rf_value in[RF_MAX_IN], out[RF_MAX_OUT];
    size_t scratch_bytes;
    int32_t chain;      /* > 1: this and the next chain - 1 steps run as one call */
    bool external;      /* reads or writes a tensor of the caller */
    bool striped;       /* some rows of a node: its tensors are views */
    bool borrowed;      /* the kernel's state, if it has one, belongs to another step */
    int32_t owner;      /* borrowed: that step, an earlier one; -1: there is no state */
    int32_t first_view; /* striped: a view for every bit of view_inputs, then one for out[0] */
    uint32_t view_inputs;
} rf_plan_step;

/* Rows of one image of a value. */
typedef struct rf_plan_view {
    rf_tensor tensor; /* bound to memory together with the value's */
    rf_value of;
    int64_t offset; /* bytes from the value's first element */
} rf_plan_view;

typedef struct rf_plan_params {
    const rf_backend *backend;
    rf_dtype precision;
    int32_t n_threads;
    bool exact;
    size_t memory_cap;
    rf_pack_cache *packs;
    rf_tuner *tuner;   /* chooses kernels by measurement; NULL: by the table */
    rf_device *device; /* of a backend with device_ops, else NULL */
    bool no_library;   /* only own kernels; the planner sets it where a library would do little */
    /* 0: stripes where they pay, > 0: of so many rows wherever possible, < 0: none */
    int32_t stripe_rows;
} rf_plan_params;

typedef struct rf_plan {
    rf_env *env;
    rf_graph *graph; /* own copy: the planner inserts layout copies */
    rf_plan_params params;
    rf_plan_value *values;
    size_t n_values, values_capacity;
    rf_plan_step *steps;
    size_t n_steps, steps_capacity;
    rf_kernel_call *calls; /* one per step, so that a chain's calls lie side by side */
    size_t calls_capacity;
    rf_plan_view *views;
    size_t n_views, views_capacity;
    size_t arena_bytes; /* activations; scratch follows at this offset */
    size_t scratch_bytes;
    size_t ends_bytes; /* device: copies of the caller's host tensors, behind the scratch */
    size_t const_bytes;
    int64_t macs;
    const char *bound_arena;
    rf_recording *recording; /* device: all steps as one launch, for bound_arena */
    int64_t n_runs;          /* device: since the arena was bound */
    bool fixed_ends;         /* a library's kernel touches the caller's tensors: no updates */
    uint64_t stamp;          /* last use, for the LRU */
} rf_plan;

/* `inputs`: one shape per graph input. Fails as rf_session_prepare says. */
rf_status rf_plan_create(const rf_graph *graph, const rf_tensor *inputs, int n_inputs,
                         const rf_plan_params *params, rf_plan **out, rf_error *err);
void rf_plan_destroy(rf_plan **plan);
/* Same input dims? */
bool rf_plan_matches(const rf_plan *plan, const rf_tensor *inputs, int n_inputs);
/* Bytes of arena + scratch that a run needs. */
size_t rf_plan_memory(const rf_plan *plan);

typedef struct rf_profile rf_profile;
/* Whether a run is going on, and wanted. Another thread may change it: an int, read and written
 * with
 * __atomic builtins, because C++ of this age cannot include <stdatomic.h>. */
enum { RF_RUN_NONE, RF_RUN_GOING_ON, RF_RUN_CANCELLED };
/* `arena` holds rf_plan_memory(plan) bytes, 64-byte aligned. Tensors must be dense (strides of the
 * plan's own tensors). profile may be NULL. `state` is looked at before every step; may be NULL.
 * Fails: RF_ERR_CANCELLED when it has become RF_RUN_CANCELLED, and as kernels do. */
rf_status rf_plan_run(rf_plan *plan, void *arena, const rf_tensor *inputs, const rf_tensor *outputs,
                      rf_profile *profile, const int *state, rf_error *err);
/* Device backends: enqueues a run and returns; tensors are dense and in device memory. The second
 * and later runs with one arena are replays of a recording. With a profile every step runs on its
 * own and the call waits for the end. */
rf_status rf_plan_enqueue(rf_plan *plan, rf_stream *stream, void *arena, const rf_tensor *inputs,
                          const rf_tensor *outputs, rf_profile *profile, rf_error *err);
/* Device backends: where in the arena the copy of input (output) i lies. */
size_t rf_plan_input_offset(const rf_plan *plan, int i);
size_t rf_plan_output_offset(const rf_plan *plan, int i);
/* Shape of graph output i (contiguous). */
const rf_tensor *rf_plan_output(const rf_plan *plan, int i);
void rf_plan_explain(const rf_plan *plan, rf_str *out);
/* The steps as a JSON array, for programs; rf_session_steps_json says what is in it. */
void rf_plan_steps_json(const rf_plan *plan, rf_str *out);

/* Recorded step times, written as Chrome trace JSON. */
rf_status rf_profile_create(rf_env *env, rf_profile **out, rf_error *err);
void rf_profile_destroy(rf_profile **profile);
void rf_profile_json(const rf_profile *profile, rf_str *out);

/* ---- between the files of the planner ---- */
typedef struct rf_planner {
    rf_plan *plan;
    bool *nhwc; /* per value: image layout wanted (layout.c) */
    size_t nhwc_capacity;
} rf_planner;

/* Marks values that should be stored NHWC. */
void rf_planner_layouts(rf_planner *p);
/* Sets storage dtype and strides of every value of the graph. */
void rf_planner_descs(rf_planner *p);
/* Adds a value with the description of `like`. */
rf_status rf_planner_new_value(rf_planner *p, const rf_tensor *like, rf_value *out, rf_error *err);
/* Chooses kernels and emits the steps, inserting layout copies where nobody can do without. Their
 * states are made later (rf_planner_prepare). */
rf_status rf_planner_place(rf_planner *p, rf_error *err);
/* Replaces runs of steps on large maps by stripes (stripes.c). */
rf_status rf_planner_stripes(rf_planner *p, rf_error *err);
/* A node with these arguments, under the plan's parameters. */
rf_kernel_desc rf_plan_desc(const rf_plan *plan, const rf_op_args *args);
/* Points the arguments of a striped step at its views. */
void rf_plan_step_views(rf_plan *plan, const rf_plan_step *step, rf_op_args *args);
/* Lifetimes, in-place reuse, offsets. */
rf_status rf_planner_memory(rf_planner *p, rf_error *err);
/* Makes the kernels' states, which is where weights are packed: last, when all else is known to fit
 * into the memory cap. */
rf_status rf_planner_prepare(rf_planner *p, rf_error *err);

/* Replaces pointers to constants by pointers to device memory (device.c). */
rf_status rf_planner_upload(rf_planner *p, rf_error *err);

/* Points tensors and views at the arena and at the caller's memory (run.c). */
void rf_plan_bind(rf_plan *plan, void *arena, const rf_tensor *inputs, const rf_tensor *outputs);
/* Adds a step's time to a profile. */
void rf_profile_add(rf_profile *profile, const rf_plan_step *step, int64_t begin_ns,
                    int64_t end_ns);
int64_t rf_profile_now(void);

/* Multiply-adds of one node. */
int64_t rf_plan_macs(const rf_op_args *args);

#ifdef __cplusplus
}
#endif
#endif
