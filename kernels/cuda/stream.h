/* SPDX-License-Identifier: Apache-2.0
 *
 * Device, streams and recordings. Kernels only know rf_cuda_launch; whether a launch runs, is
 * recorded or replaces the parameters of a recorded one is the stream's business.
 */
#ifndef RF_CUDA_STREAM_H
#define RF_CUDA_STREAM_H

#include "kernels/cuda/cuda.h"

struct rf_device {
    int n_owners; /* under the lock of device.c */
    int ordinal;
    struct cudaDeviceProp props;
    char description[320];
    char versions[1536];  /* with what is missing, and why */
    _Atomic int lost;     /* the cudaError_t after which the context is of no more use */
    cudaStream_t uploads; /* made at the first upload, under the lock of device.c */
    void *cublaslt;       /* cublasLtHandle_t, made by the first kernel that needs it */
    void (*close_cublaslt)(rf_device *device);
};

/* One launch; of a recording also its node in the CUDA graph. */
typedef struct rf_cuda_node {
    const rf_cuda_entry *entry;
    dim3 grid, block;
    size_t shared_bytes;
    void *params; /* recordings own a copy */
    cudaGraphNode_t node;
} rf_cuda_node;

typedef enum rf_stream_mode { RF_STREAM_RUN, RF_STREAM_RECORD, RF_STREAM_UPDATE } rf_stream_mode;

struct rf_recording {
    rf_device *device;
    cudaGraph_t graph; /* kept: its nodes are the handles for updates */
    cudaGraphExec_t exec;
    rf_cuda_node *external; /* launches whose pointers may change, in order */
    size_t n_external, capacity;
    /* While recorded: a launch failed. Afterwards: an update was not finished, so that the launches
     * have pointers of two runs. */
    bool spoiled;
};

struct rf_stream {
    rf_device *device;
    cudaStream_t handle;
    bool owned;
    rf_stream_mode mode;
    bool external;           /* record: mark what comes */
    rf_recording *recording; /* being recorded or updated */
    size_t next_external;    /* update: the node that the next launch is */
    void *cudnn;             /* cudnnHandle_t of this stream, made by its first cuDNN kernel */
    void (*close_cudnn)(rf_stream *stream);
    cudaEvent_t *marks;
    size_t n_marks, marks_capacity;
};

/* Runs, records or updates, as the stream's mode says. */
rf_status rf_stream_launch(rf_stream *stream, const rf_cuda_node *launch, rf_error *err);

/* Remembers the launch just captured as one whose parameters may change. */
rf_status rf_recording_note(rf_stream *stream, const rf_cuda_node *launch, rf_error *err);
/* Gives the next remembered launch these parameters. */
rf_status rf_recording_update(rf_stream *stream, const rf_cuda_node *launch, rf_error *err);

/* The verbs of rf_device_ops (stream.c, recording.c). */
rf_status rf_cuda_stream_create(rf_device *device, void *native, rf_stream **out, rf_error *err);
void rf_cuda_stream_destroy(rf_stream **stream);
rf_status rf_cuda_copy(rf_stream *stream, void *dst, const void *src, size_t bytes, rf_error *err);
rf_status rf_cuda_wait(rf_stream *stream, rf_error *err);
rf_status rf_cuda_mark(rf_stream *stream, int32_t i, rf_error *err);
rf_status rf_cuda_mark_ms(rf_stream *stream, int32_t i, float *out, rf_error *err);
void rf_cuda_annotate(rf_stream *stream, const char *name);
rf_status rf_cuda_record_begin(rf_stream *stream, rf_error *err);
void rf_cuda_record_external(rf_stream *stream, bool external);
rf_status rf_cuda_record_end(rf_stream *stream, rf_recording **out, rf_error *err);
rf_status rf_cuda_update_begin(rf_stream *stream, rf_recording *recording, rf_error *err);
rf_status rf_cuda_update_end(rf_stream *stream, rf_error *err);
rf_status rf_cuda_replay(rf_stream *stream, rf_recording *recording, rf_error *err);
void rf_cuda_recording_destroy(rf_recording **recording);

#endif
