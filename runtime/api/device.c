/* SPDX-License-Identifier: Apache-2.0
 *
 * Models and sessions on a device with memory of its own.
 */
#include "runtime/api/api.h"

#include <string.h>

enum { POINTER_ALIGN = 16 }; /* what kernels may rely on */

static rf_status add_device(rf_model *m, const rf_backend *backend, rf_model_device **out,
                            rf_error *err)
{
    rf_model_device *d;
    RF_TRY(rf_alloc_array(m->env, 1, sizeof *d, &d, err));
    d->backend = backend;
    rf_status status = backend->device_ops->open(m->env, &d->device, err);
    if (status == RF_OK)
        status = rf_pack_cache_create(m->env, backend->device_ops, d->device, &d->packs, err);
    if (status != RF_OK) {
        backend->device_ops->close(&d->device);
        rf_free(m->env, d, sizeof *d);
        return status;
    }
    d->next = m->devices;
    *out = m->devices = d;
    return RF_OK;
}

rf_status rf_model_open_device(rf_model *m, const rf_backend *backend, const rf_model_device **out,
                               rf_error *err)
{
    rf_status status = RF_OK;
    pthread_mutex_lock(&m->device_lock);
    rf_model_device *d = m->devices;
    while (d && d->backend != backend)
        d = d->next;
    if (!d)
        status = add_device(m, backend, &d, err);
    pthread_mutex_unlock(&m->device_lock);
    *out = d;
    return status;
}

void rf_model_close_devices(rf_model *m)
{
    for (rf_model_device *d = m->devices, *next; d; d = next) {
        next = d->next;
        rf_pack_cache_destroy(&d->packs);
        d->backend->device_ops->close(&d->device);
        rf_free(m->env, d, sizeof *d);
    }
    m->devices = NULL;
}

/* The tensor's place in the arena. */
static rf_tensor end_slot(const rf_session *s, const rf_tensor *like, bool output, int i)
{
    rf_tensor t = *like;
    rf_tensor_set_contiguous(&t);
    t.data = (char *)s->arena +
             (output ? rf_plan_output_offset(s->current, i) : rf_plan_input_offset(s->current, i));
    return t;
}

rf_status rf_session_run_on_device(rf_session *s, const rf_tensor *inputs, const rf_tensor *outputs,
                                   rf_error *err)
{
    const rf_device_ops *ops = s->params.backend->device_ops;
    int n_in = (int)s->model->graph->n_inputs, n_out = (int)s->model->graph->n_outputs;
    rf_tensor in[RF_MAX_IN], out[RF_MAX_OUT];
    rf_status status = RF_OK;
    for (int i = 0; i < n_in; i++) {
        in[i] = end_slot(s, &inputs[i], false, i);
        if (rf_tensor_bytes(&in[i]))
            RF_TRY_DONE(
                ops->copy(s->stream, in[i].data, inputs[i].data, rf_tensor_bytes(&in[i]), err));
    }
    for (int i = 0; i < n_out; i++)
        out[i] = end_slot(s, &outputs[i], true, i);
    RF_TRY_DONE(rf_plan_enqueue(s->current, s->stream, s->arena, in, out, s->profile, err));
    for (int i = 0; i < n_out; i++)
        if (rf_tensor_bytes(&out[i]))
            RF_TRY_DONE(
                ops->copy(s->stream, outputs[i].data, out[i].data, rf_tensor_bytes(&out[i]), err));
done:;
    /* Also after a failure: copies may still read and write the caller's memory. */
    rf_status waited = ops->wait(s->stream, status == RF_OK ? err : NULL);
    return status != RF_OK ? status : waited;
}

static bool usable_in_place(const rf_tensor *t)
{
    return rf_tensor_is_contiguous(t) && (uintptr_t)t->data % POINTER_ALIGN == 0;
}

/* Enqueues a copy between two tensors on the device. */
static rf_status copy_on_device(rf_session *s, const rf_tensor *from, rf_tensor *to, rf_error *err)
{
    rf_kernel_call call = {
        .args = {.op = RF_OP_COPY, .n_in = 1, .n_out = 1, .in = {from}, .out = {to}},
        .stream = s->stream};
    rf_kernel_desc desc = {.args = call.args, .env = s->model->env, .device = s->params.device};
    const rf_kernel *kernel = rf_backend_choose(s->params.backend, &desc);
    if (!kernel || kernel->prepare)
        return rf_fail(err, RF_ERR_UNSUPPORTED, "device '%s' cannot copy a strided %s tensor",
                       s->params.backend->name, rf_dtype_name(from->dtype));
    return kernel->run(&call, err);
}

rf_status rf_session_enqueue(rf_session *s, const rf_tensor *inputs, int n_inputs,
                             const rf_tensor *outputs, int n_outputs, rf_error *err)
{
    rf_tensor in[RF_MAX_IN], out[RF_MAX_OUT];
    if (!s->params.device)
        return rf_fail(err, RF_ERR_UNSUPPORTED,
                       "rf_session_enqueue needs a session on a GPU, this one is on '%s'",
                       s->params.backend->name);
    RF_TRY(rf_session_select(s, inputs, n_inputs, outputs, n_outputs, err));
    for (int i = 0; i < n_inputs; i++) {
        in[i] = usable_in_place(&inputs[i]) ? inputs[i] : end_slot(s, &inputs[i], false, i);
        if (in[i].data != inputs[i].data)
            RF_TRY(copy_on_device(s, &inputs[i], &in[i], err));
    }
    for (int i = 0; i < n_outputs; i++)
        out[i] = usable_in_place(&outputs[i]) ? outputs[i] : end_slot(s, &outputs[i], true, i);
    RF_TRY(rf_plan_enqueue(s->current, s->stream, s->arena, in, out, s->profile, err));
    for (int i = 0; i < n_outputs; i++) {
        rf_tensor to = outputs[i];
        if (out[i].data != to.data)
            RF_TRY(copy_on_device(s, &out[i], &to, err));
    }
    return RF_OK;
}

rf_status rf_session_wait(rf_session *s, rf_error *err)
{
    return s->stream ? s->params.backend->device_ops->wait(s->stream, err) : RF_OK;
}
