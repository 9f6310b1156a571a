/* SPDX-License-Identifier: Apache-2.0
 *
 * A run as one CUDA graph. It is captured from the stream (so library calls are recorded as well);
 * the node of each launch whose pointers may change is noted as it is made, and later runs give
 * just those nodes new parameters. Capture is thread-local: other threads may do what they like
 * meanwhile.
 */
#include "kernels/cuda/stream.h"

#include <stdlib.h>
#include <string.h>

void rf_cuda_recording_destroy(rf_recording **recording)
{
    rf_recording *r = *recording;
    if (!r)
        return;
    if (rf_cuda_enter(r->device, NULL) == RF_OK) {
        if (r->exec)
            (void)cudaGraphExecDestroy(r->exec);
        if (r->graph)
            (void)cudaGraphDestroy(r->graph);
    }
    for (size_t i = 0; i < r->n_external; i++)
        free(r->external[i].params);
    free(r->external);
    free(r);
    *recording = NULL;
}

rf_status rf_cuda_record_begin(rf_stream *s, rf_error *err)
{
    RF_TRY(rf_cuda_enter(s->device, err));
    rf_recording *r = calloc(1, sizeof *r);
    if (!r)
        return rf_fail(err, RF_ERR_MEMORY, "no memory for a recording");
    r->device = s->device;
    rf_status status = rf_cuda_check(
        s->device, cudaStreamBeginCapture(s->handle, cudaStreamCaptureModeThreadLocal),
        "cudaStreamBeginCapture", err);
    if (status != RF_OK) {
        free(r);
        return status;
    }
    s->recording = r;
    s->mode = RF_STREAM_RECORD;
    s->external = false;
    return RF_OK;
}

void rf_cuda_record_external(rf_stream *s, bool external)
{
    s->external = external;
}

/* A recording that lacks a launch must not be run, whatever CUDA thinks of it. */
static rf_status check_recorded(const rf_recording *r, rf_error *err)
{
    if (r->spoiled)
        return rf_fail(err, RF_ERR_DEVICE, "a launch or copy failed while it was recorded");
    return RF_OK;
}

static rf_status finish(rf_stream *s, rf_recording *r, rf_error *err)
{
    RF_TRY(rf_cuda_enter(s->device, err));
    RF_CUDA(s->device, cudaStreamEndCapture(s->handle, &r->graph));
    RF_TRY(check_recorded(r, err));
    RF_CUDA(s->device, cudaGraphInstantiate(&r->exec, r->graph, 0));
    return RF_OK;
}

rf_status rf_cuda_record_end(rf_stream *s, rf_recording **out, rf_error *err)
{
    rf_recording *r = s->recording;
    s->recording = NULL;
    s->mode = RF_STREAM_RUN;
    rf_status status = finish(s, r, err);
    if (status != RF_OK)
        rf_cuda_recording_destroy(&r);
    *out = r;
    return status;
}

/* The node that the launch just captured became: what the next one would depend on. */
static rf_status last_node(rf_stream *s, cudaGraphNode_t *out, rf_error *err)
{
    enum cudaStreamCaptureStatus state;
    const cudaGraphNode_t *last;
    size_t n = 0;
    RF_CUDA(s->device, cudaStreamGetCaptureInfo(s->handle, &state, NULL, NULL, &last, NULL, &n));
    if (state != cudaStreamCaptureStatusActive || n != 1)
        return rf_fail(err, RF_ERR_INTERNAL, "capture state %d with %zu last nodes, expected one",
                       (int)state, n);
    *out = last[0];
    return RF_OK;
}

rf_status rf_recording_note(rf_stream *s, const rf_cuda_node *launch, rf_error *err)
{
    rf_recording *r = s->recording;
    if (r->n_external == r->capacity) {
        size_t capacity = r->capacity ? 2 * r->capacity : 8;
        rf_cuda_node *grown = realloc(r->external, capacity * sizeof *grown);
        if (!grown)
            return rf_fail(err, RF_ERR_MEMORY, "no memory for %zu recorded launches", capacity);
        r->external = grown;
        r->capacity = capacity;
    }
    rf_cuda_node n = *launch;
    RF_TRY(last_node(s, &n.node, err));
    if (!(n.params = malloc(launch->entry->params_bytes)))
        return rf_fail(err, RF_ERR_MEMORY, "no memory for a recorded launch");
    memcpy(n.params, launch->params, launch->entry->params_bytes);
    r->external[r->n_external++] = n;
    return RF_OK;
}

rf_status rf_cuda_update_begin(rf_stream *s, rf_recording *recording, rf_error *err)
{
    RF_TRY(rf_cuda_enter(s->device, err));
    s->recording = recording;
    recording->spoiled = true;
    s->next_external = 0;
    s->mode = RF_STREAM_UPDATE;
    return RF_OK;
}

static bool same_launch(const rf_cuda_node *a, const rf_cuda_node *b)
{
    return !memcmp(&a->grid, &b->grid, sizeof a->grid) &&
           !memcmp(&a->block, &b->block, sizeof a->block) && a->shared_bytes == b->shared_bytes &&
           !memcmp(a->params, b->params, a->entry->params_bytes);
}

rf_status rf_recording_update(rf_stream *s, const rf_cuda_node *launch, rf_error *err)
{
    rf_recording *r = s->recording;
    if (s->next_external >= r->n_external || r->external[s->next_external].entry != launch->entry)
        return rf_fail(err, RF_ERR_INTERNAL, "launch %zu (%s) was not recorded", s->next_external,
                       launch->entry->name);
    rf_cuda_node *n = &r->external[s->next_external];
    size_t bytes = launch->entry->params_bytes;
    if (same_launch(n, launch)) {
        s->next_external++;
        return RF_OK;
    }
    struct cudaKernelNodeParams p = {.func = (void *)launch->entry->fn,
                                     .gridDim = launch->grid,
                                     .blockDim = launch->block,
                                     .sharedMemBytes = (unsigned)launch->shared_bytes,
                                     .kernelParams = (void *[]){launch->params}};
    RF_CUDA(s->device, cudaGraphExecKernelNodeSetParams(r->exec, n->node, &p));
    memcpy(n->params, launch->params, bytes);
    n->grid = launch->grid;
    n->block = launch->block;
    n->shared_bytes = launch->shared_bytes;
    s->next_external++;
    return RF_OK;
}

rf_status rf_cuda_update_end(rf_stream *s, rf_error *err)
{
    rf_recording *r = s->recording;
    size_t n = s->next_external;
    s->recording = NULL;
    s->mode = RF_STREAM_RUN;
    RF_TRY(rf_cuda_alive(s->device, err));
    if (n != r->n_external)
        return rf_fail(err, RF_ERR_INTERNAL, "%zu of %zu recorded launches were updated", n,
                       r->n_external);
    r->spoiled = false;
    return RF_OK;
}

rf_status rf_cuda_replay(rf_stream *s, rf_recording *recording, rf_error *err)
{
    RF_TRY(rf_cuda_enter(s->device, err));
    if (recording->spoiled)
        return rf_fail(err, RF_ERR_INTERNAL, "the recording's last update was not finished");
    RF_CUDA(s->device, cudaGraphLaunch(recording->exec, s->handle));
    return RF_OK;
}
