/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams: ordered work of one thread. An own stream is non-blocking, so that the legacy default
 * stream of other code in the process never serialises with ours.
 */
#include "kernels/cuda/stream.h"

#include <stdlib.h>
#include <string.h>

rf_status rf_cuda_stream_create(rf_device *device, void *native, rf_stream **out, rf_error *err)
{
    *out = NULL;
    RF_TRY(rf_cuda_enter(device, err));
    rf_stream *s = calloc(1, sizeof *s);
    if (!s)
        return rf_fail(err, RF_ERR_MEMORY, "no memory for a stream");
    s->device = device;
    s->handle = native;
    if (!native) {
        rf_status status =
            rf_cuda_check(device, cudaStreamCreateWithFlags(&s->handle, cudaStreamNonBlocking),
                          "cudaStreamCreateWithFlags", err);
        if (status != RF_OK) {
            free(s);
            return status;
        }
        s->owned = true;
    }
    *out = s;
    return RF_OK;
}

void rf_cuda_stream_destroy(rf_stream **stream)
{
    rf_stream *s = *stream;
    if (!s)
        return;
    if (s->mode == RF_STREAM_RECORD) { /* a stream that captures cannot be destroyed */
        rf_recording *unfinished;
        (void)rf_cuda_record_end(s, &unfinished, NULL);
        rf_cuda_recording_destroy(&unfinished);
    }
    bool alive = rf_cuda_enter(s->device, NULL) == RF_OK;
    if (alive && s->close_cudnn)
        s->close_cudnn(s);
    for (size_t i = 0; alive && i < s->n_marks; i++)
        (void)cudaEventDestroy(s->marks[i]);
    if (alive && s->owned) {
        (void)cudaStreamSynchronize(s->handle);
        (void)cudaStreamDestroy(s->handle);
    }
    free(s->marks);
    free(s);
    *stream = NULL;
}

rf_status rf_cuda_copy(rf_stream *s, void *dst, const void *src, size_t bytes, rf_error *err)
{
    RF_TRY(rf_cuda_enter(s->device, err));
    rf_status status =
        rf_cuda_check(s->device, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDefault, s->handle),
                      "cudaMemcpyAsync", err);
    if (s->mode == RF_STREAM_RECORD)
        s->recording->spoiled |= status != RF_OK;
    return status;
}

rf_status rf_cuda_wait(rf_stream *s, rf_error *err)
{
    RF_TRY(rf_cuda_enter(s->device, err));
    RF_CUDA(s->device, cudaStreamSynchronize(s->handle));
    return RF_OK;
}

static rf_status need_marks(rf_stream *s, size_t n, rf_error *err)
{
    if (n > s->marks_capacity) {
        size_t capacity = n + 64;
        cudaEvent_t *grown = realloc(s->marks, capacity * sizeof *grown);
        if (!grown)
            return rf_fail(err, RF_ERR_MEMORY, "no memory for %zu events", n);
        s->marks = grown;
        s->marks_capacity = capacity;
    }
    for (; s->n_marks < n; s->n_marks++)
        RF_CUDA(s->device, cudaEventCreate(&s->marks[s->n_marks]));
    return RF_OK;
}

rf_status rf_cuda_mark(rf_stream *s, int32_t i, rf_error *err)
{
    RF_TRY(rf_cuda_enter(s->device, err));
    RF_TRY(need_marks(s, (size_t)i + 1, err));
    RF_CUDA(s->device, cudaEventRecord(s->marks[i], s->handle));
    return RF_OK;
}

rf_status rf_cuda_mark_ms(rf_stream *s, int32_t i, float *out, rf_error *err)
{
    RF_TRY(rf_cuda_enter(s->device, err));
    RF_CUDA(s->device, cudaEventElapsedTime(out, s->marks[0], s->marks[i]));
    return RF_OK;
}

static rf_status launch_now(rf_stream *s, const rf_cuda_node *l, rf_error *err)
{
    void *args[] = {l->params};
    return rf_cuda_check(
        s->device,
        cudaLaunchKernel(l->entry->fn, l->grid, l->block, args, l->shared_bytes, s->handle),
        l->entry->name, err);
}

rf_status rf_stream_launch(rf_stream *s, const rf_cuda_node *launch, rf_error *err)
{
    RF_TRY(rf_cuda_alive(s->device, err));
    if (s->mode == RF_STREAM_UPDATE)
        return rf_recording_update(s, launch, err);
    rf_status status = launch_now(s, launch, err);
    if (s->mode != RF_STREAM_RECORD)
        return status;
    if (status == RF_OK && s->external)
        status = rf_recording_note(s, launch, err);
    s->recording->spoiled |= status != RF_OK;
    return status;
}
