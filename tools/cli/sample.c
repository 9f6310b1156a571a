/* SPDX-License-Identifier: Apache-2.0
 *
 * Random inputs for a model, and room for its outputs: what bench and verify run.
 */
#include "tools/cli/cli.h"

#include <stdio.h>
#include <string.h>

/* f32 and f64 in [0,1), f16 and bf16 in [0.5,1), where random bits are a random fraction. Integer
 * inputs stay zero, which is an index that every table has. */
static void fill_random(rf_tensor *t, uint32_t seed)
{
    memset(t->data, 0, rf_tensor_bytes(t));
    for (int64_t i = 0, n = t->dtype <= RF_BF16 ? rf_tensor_elements(t) : 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        if (t->dtype == RF_F32)
            ((float *)t->data)[i] = (float)(seed >> 8) * 0x1p-24f;
        else if (t->dtype == RF_F64)
            ((double *)t->data)[i] = seed * 0x1p-32;
        else
            ((uint16_t *)t->data)[i] =
                (uint16_t)(t->dtype == RF_F16 ? 0x3800 | seed >> 22 : 0x3f00 | seed >> 25);
    }
}

rf_status sample_make(rf_session *session, const rf_model *model, const rf_tensor *shapes,
                      struct sample *s, rf_error *err)
{
    memset(s, 0, sizeof *s);
    int n_in = rf_model_input_count(model), n_out = rf_model_output_count(model);
    if (n_out > MAX_IO) {
        *err = (rf_error){.code = RF_ERR_UNSUPPORTED};
        snprintf(err->text, sizeof err->text, "the model has %d outputs, expected at most %d",
                 n_out, MAX_IO);
        return err->code;
    }
    rf_status status = rf_session_prepare(session, shapes, n_in, NULL, err);
    for (; s->n_in < n_in && status == RF_OK; s->n_in++) {
        s->in[s->n_in].tensor = shapes[s->n_in];
        status = rf_buffer_alloc(&s->in[s->n_in], err);
        if (status == RF_OK)
            fill_random(&s->in[s->n_in].tensor, (uint32_t)s->n_in + 1);
        s->inputs[s->n_in] = s->in[s->n_in].tensor;
    }
    for (; s->n_out < n_out && status == RF_OK; s->n_out++) {
        status = rf_session_output(session, s->n_out, &s->out[s->n_out].tensor, err);
        if (status == RF_OK)
            status = rf_buffer_alloc(&s->out[s->n_out], err);
        s->outputs[s->n_out] = s->out[s->n_out].tensor;
    }
    return status;
}

rf_status sample_run(rf_session *session, struct sample *s, double *seconds, rf_error *err)
{
    double t0 = cli_now();
    rf_status status = rf_session_run(session, s->inputs, s->n_in, s->outputs, s->n_out, err);
    *seconds = cli_now() - t0;
    return status;
}

void sample_free(struct sample *s)
{
    for (int i = 0; i < MAX_IO; i++) {
        rf_buffer_free(&s->in[i]);
        rf_buffer_free(&s->out[i]);
    }
}
