/* SPDX-License-Identifier: Apache-2.0
 *
 * Tensors through a model: .npy files by input name, .npy files by output name.
 */
#include "tools/cli/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Buffers of a run, and tensors that look into them. */
struct ends {
    rf_buffer in[MAX_IO], out[MAX_IO];
    rf_tensor inputs[MAX_IO], outputs[MAX_IO];
    int n_in, n_out;
};

/* The file given for this input; NULL if none was. */
static const char *file_for(const struct run_options *o, const char *input)
{
    size_t n = strlen(input);
    for (int k = 0; k < o->n_npy; k++)
        if (!strncmp(o->npy[k], input, n) && o->npy[k][n] == '=')
            return o->npy[k] + n + 1;
    return NULL;
}

static bool names_are_known(const struct run_options *o, const rf_model *model)
{
    rf_io_info io = {.size = sizeof io};
    char known[160] = "";
    for (int k = 0; k < o->n_npy; k++) {
        bool found = false;
        size_t at = 0;
        for (int i = 0; rf_model_input(model, i, &io, NULL) == RF_OK; i++) {
            size_t n = strlen(io.name);
            found |= !strncmp(o->npy[k], io.name, n) && o->npy[k][n] == '=';
            if (at < sizeof known)
                at +=
                    (size_t)snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "", io.name);
        }
        if (!found)
            return cli_failf("--input '%s': the model has no such input, expected: %s", o->npy[k],
                             known) == EXIT_OK;
    }
    return true;
}

static bool read_inputs(const struct run_options *o, const rf_model *model, struct ends *e)
{
    rf_error err;
    for (; e->n_in < rf_model_input_count(model); e->n_in++) {
        rf_io_info io = {.size = sizeof io};
        if (rf_model_input(model, e->n_in, &io, &err) != RF_OK)
            return cli_fail(&err) == EXIT_OK;
        const char *path = file_for(o, io.name);
        if (!path)
            return cli_failf("input '%s' of the model is not given, expected --input %s=FILE.npy",
                             io.name, io.name) == EXIT_OK;
        if (rf_npy_read(path, &e->in[e->n_in], &err) != RF_OK)
            return cli_fail(&err) == EXIT_OK;
        e->inputs[e->n_in] = e->in[e->n_in].tensor;
    }
    return true;
}

static rf_status run(rf_session *session, const rf_model *model, struct ends *e, rf_error *err)
{
    rf_status status = rf_session_prepare(session, e->inputs, e->n_in, NULL, err);
    for (; e->n_out < rf_model_output_count(model) && status == RF_OK; e->n_out++) {
        rf_buffer *out = &e->out[e->n_out];
        status = rf_session_output(session, e->n_out, &out->tensor, err);
        if (status == RF_OK)
            status = rf_buffer_alloc(out, err);
        e->outputs[e->n_out] = out->tensor;
    }
    return status == RF_OK ? cli_run(session, e->inputs, e->n_in, e->outputs, e->n_out, err)
                           : status;
}

/* DIR/NAME.npy; a slash in a name is no folder. */
static char *output_file(const char *dir, const char *name)
{
    char *path = NULL;
    if (asprintf(&path, "%s/%s.npy", dir, name) < 0)
        return NULL;
    for (char *c = path + strlen(dir) + 1; *c; c++)
        if (*c == '/')
            *c = '_';
    return path;
}

static bool write_outputs(const struct run_options *o, const rf_model *model, const struct ends *e,
                          json_t *done)
{
    rf_error err;
    bool ok = true;
    for (int i = 0; i < e->n_out && ok; i++) {
        rf_io_info io = {.size = sizeof io};
        if (rf_model_output(model, i, &io, &err) != RF_OK)
            return cli_fail(&err) == EXIT_OK;
        char *path = output_file(o->output_dir, io.name);
        if (!path)
            return cli_failf("out of memory") == EXIT_OK;
        for (int k = 0; k < e->n_in && ok; k++)
            if (is_same_file(path, strchr(o->npy[k], '=') + 1))
                ok = cli_failf("%s: is an input, expected another --output-dir", path) == EXIT_OK;
        if (ok && rf_npy_write(path, &e->outputs[i], &err) != RF_OK)
            ok = cli_fail(&err) == EXIT_OK;
        if (ok)
            json_array_append_new(
                done, json_pack("{s:o, s:o, s:s, s:o}", "name", cli_json_text(io.name), "output",
                                cli_json_text(path), "dtype", rf_dtype_name(e->outputs[i].dtype),
                                "dims", cli_json_dims(e->outputs[i].dims, e->outputs[i].rank)));
        free(path);
    }
    return ok;
}

bool run_npy(const struct run_options *o, rf_model *model, rf_session *session, json_t *done)
{
    struct ends e = {.n_in = 0};
    rf_error err;
    int n_in = rf_model_input_count(model), n_out = rf_model_output_count(model);
    if (n_in > MAX_IO || n_out > MAX_IO)
        return cli_failf("the model has %d inputs and %d outputs, expected at most %d", n_in, n_out,
                         MAX_IO) == EXIT_OK;
    bool ok = names_are_known(o, model) && make_folder(o->output_dir) && read_inputs(o, model, &e);
    if (ok && run(session, model, &e, &err) != RF_OK)
        ok = cli_fail(&err) == EXIT_OK;
    ok = ok && write_outputs(o, model, &e, done);
    for (int i = 0; i < MAX_IO; i++) {
        rf_buffer_free(&e.in[i]);
        rf_buffer_free(&e.out[i]);
    }
    return ok;
}
