/* SPDX-License-Identifier: Apache-2.0
 *
 * Models: loaded, folded, immutable, shared by any number of sessions on any threads.
 */
#ifndef REFOLD_MODEL_H
#define REFOLD_MODEL_H

#include <refold/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rf_model rf_model;

typedef struct rf_model_params {
    size_t size;      /* sizeof(rf_model_params) */
    const char *path; /* file to load, or NULL: bytes below */
    const void *data; /* a whole file in memory; copied */
    size_t data_bytes;
    bool unfolded;         /* keep training branches as they are (for comparison) */
    const rf_hooks *hooks; /* may be NULL */
} rf_model_params;

/* Loads a model and folds it for inference. The format is found from the bytes, not the name:
 * PyTorch checkpoints (.pth, .pt, .pk; zip and legacy), safetensors, Refold's own form. The path of
 * a model.safetensors.index.json loads the shards beside it.
 *
 * Owns:    on RF_OK, *out belongs to the caller (rf_model_release). On failure *out is NULL.
 * Fails:   RF_ERR_IO, RF_ERR_FORMAT for malformed files, RF_ERR_UNSUPPORTED if no architecture
 *          recognises the keys; the text names file, key, expected and found.
 * Threads: may run beside any other call. Uses one thread, so a process may fork afterwards. */
RF_API RF_NODISCARD rf_status rf_model_load(const rf_model_params *params, rf_model **out,
                                            rf_error *err);
/* Turns a graph into a model (folds it like a loaded one). Takes *graph and sets it to NULL, also
 * on failure. params may be NULL; only `unfolded` is read. */
RF_API RF_NODISCARD rf_status rf_model_from_graph(rf_graph **graph, const rf_model_params *params,
                                                  rf_model **out, rf_error *err);
/* One more owner. */
RF_API rf_model *rf_model_retain(rf_model *model);
/* One owner less; the last one frees. Sets the pointer to NULL, accepts NULL. Sessions hold an
 * owner of their own. */
RF_API void rf_model_release(rf_model **model);

/* Writes the folded model in Refold's own form: a .safetensors file with the graph as JSON in
 * __metadata__. Mapped, not copied, when loaded. The file appears complete or not at all. */
RF_API RF_NODISCARD rf_status rf_model_save(const rf_model *model, const char *path, rf_error *err);

/* Name, dtype and dims of input or output i; dims of -1 are open (of outputs: unknown until a
 * session is prepared). Strings live as long as the model. */
typedef struct rf_io_info {
    size_t size; /* sizeof(rf_io_info) */
    const char *name;
    rf_dtype dtype;
    int32_t rank;
    int64_t dims[RF_MAX_RANK];
    int64_t min_height, min_width; /* of inputs; 0: no limit */
} rf_io_info;
RF_API int rf_model_input_count(const rf_model *model);
RF_API int rf_model_output_count(const rf_model *model);
RF_API RF_NODISCARD rf_status rf_model_input(const rf_model *model, int i, rf_io_info *out,
                                             rf_error *err);
RF_API RF_NODISCARD rf_status rf_model_output(const rf_model *model, int i, rf_io_info *out,
                                              rf_error *err);

/* Strings live as long as the model. */
typedef struct rf_model_info {
    size_t size;              /* sizeof(rf_model_info) */
    const char *architecture; /* "dea_net", or "" */
    const char *format;       /* "pth", "safetensors", "refold", "graph" */
    int32_t n_ops;
    int64_t n_parameters;      /* elements of all constants */
    int64_t n_file_parameters; /* elements in the file, before folding */
    int32_t n_folds;
    int32_t receptive_field; /* input pixels that one output pixel depends on, each side, global ops
                                left aside; -1: unknown */
    int32_t tile_align;      /* tiles must start at multiples of this many pixels */
    bool has_global_ops;     /* global pooling, attention or norms: tiles are inexact */
    int64_t n_nonfinite; /* NaN and Inf in the constants; -1: not looked for, in Refold's own form,
                            which is mapped and was looked at when it was folded */
    const char *first_nonfinite; /* the first constant that has them, or "" */
} rf_model_info;
RF_API RF_NODISCARD rf_status rf_model_get_info(const rf_model *model, rf_model_info *out,
                                                rf_error *err);

/* One line of the audit: what was folded into what. */
typedef struct rf_fold_info {
    size_t size; /* sizeof(rf_fold_info) */
    const char *scheme, *target;
    int32_t n_in;
    double max_abs, max_error;
} rf_fold_info;
RF_API RF_NODISCARD rf_status rf_model_fold(const rf_model *model, int i, rf_fold_info *out,
                                            rf_error *err);

/* Ops of the network after folding and fusion. */
typedef struct rf_op_use {
    size_t size; /* sizeof(rf_op_use) */
    const char *op, *name;
} rf_op_use;
RF_API RF_NODISCARD rf_status rf_model_op(const rf_model *model, int i, rf_op_use *out,
                                          rf_error *err);

/* Ops that Refold knows, for tools: text line k ("conv2d" ...), NULL at the end; and whether the
 * backend ("ref", "cpu") has a kernel for it that this machine can run. */
RF_API const char *rf_op_name(int k);
/* "x, w, [bias], [res]; stride=1,1 pad=0,0,0,0 ..." written to buf, always terminated. */
RF_API void rf_op_describe(int k, char *buf, size_t buf_bytes);
RF_API bool rf_op_supported(int k, const char *backend);
/* The kernels that the backend has for op k, in order of preference: "winograd4x4 direct".
 * `usable`: those that this machine can run; else those that it cannot (no AMX, no oneDNN), whose
 * place is taken by others. Written to buf, always terminated; empty if there are none. */
RF_API void rf_op_kernels(int k, const char *backend, bool usable, char *buf, size_t buf_bytes);
/* Instruction set or device of a backend ("avx512+bf16"); NULL if this build has no such backend.
 */
RF_API const char *rf_backend_device(const char *backend);

#ifdef __cplusplus
}
#endif
#endif
