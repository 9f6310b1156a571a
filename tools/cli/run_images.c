/* SPDX-License-Identifier: Apache-2.0
 *
 * Images through a model. One that fails does not stop the others.
 */
#include "tools/cli/run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One image to a file, or each to its name in a folder (as PNG if that has no ending of ours). */
static char *output_path(const struct run_options *o, const char *in)
{
    if (o->images.n == 1 && !o->has_folder && !is_directory(o->out))
        return strdup(o->out);
    return path_in(o->out, in, is_image_name(in) ? NULL : ".png");
}

/* Length of the folder part, 0 for the current one. */
static int folder_length(const char *path)
{
    return (int)(path_base(path) - path);
}

static bool check_target(const char *out)
{
    char *folder = NULL;
    bool ok = true;
    if (!is_image_name(out))
        return cli_failf("%s: expected a name ending in .png, .jpg or .jpeg", out) == EXIT_OK;
    int n = folder_length(out);
    if (asprintf(&folder, "%.*s", n ? n : 1, n ? out : ".") < 0)
        return cli_failf("out of memory") == EXIT_OK;
    if (access(folder, W_OK))
        ok = cli_failf("%s: cannot write into its folder: %s", out, strerror(errno)) == EXIT_OK;
    free(folder);
    return ok;
}

struct named {
    const char *out, *in;
};

static int by_output(const void *a, const void *b)
{
    return strcmp(((const struct named *)a)->out, ((const struct named *)b)->out);
}

static bool outputs_differ(const struct run_options *o, const struct file_list *outputs)
{
    bool ok = true;
    struct named *all = malloc((size_t)outputs->n * sizeof *all);
    if (!all)
        return cli_failf("out of memory") == EXIT_OK;
    for (int i = 0; i < outputs->n; i++)
        all[i] = (struct named){outputs->paths[i], o->images.paths[i]};
    qsort(all, (size_t)outputs->n, sizeof *all, by_output);
    for (int i = 1; i < outputs->n && ok; i++)
        if (!strcmp(all[i - 1].out, all[i].out))
            ok = cli_failf("%s: would be the output of %s and of %s, expected different names",
                           all[i].out, all[i - 1].in, all[i].in) == EXIT_OK;
    free(all);
    return ok;
}

/* Not by name only: a link to an input is the input. */
static bool no_output_is_an_input(const struct run_options *o, const struct file_list *outputs)
{
    for (int i = 0; i < outputs->n; i++) {
        if (access(outputs->paths[i], F_OK))
            continue;
        for (int k = 0; k < o->images.n; k++)
            if (is_same_file(outputs->paths[i], o->images.paths[k]))
                return cli_failf("%s: is an input, expected another output", outputs->paths[i]) ==
                       EXIT_OK;
        if (is_same_file(outputs->paths[i], o->model.model))
            return cli_failf("%s: is the model, expected another output", outputs->paths[i]) ==
                   EXIT_OK;
    }
    return true;
}

bool plan_outputs(const struct run_options *o, struct file_list *outputs)
{
    if ((o->images.n > 1 || o->has_folder) && !make_folder(o->out))
        return false;
    outputs->paths = calloc((size_t)o->images.n, sizeof *outputs->paths);
    if (!outputs->paths)
        return cli_failf("out of memory") == EXIT_OK;
    for (; outputs->n < o->images.n; outputs->n++) {
        char *out = outputs->paths[outputs->n] = output_path(o, o->images.paths[outputs->n]);
        if (!out)
            return cli_failf("out of memory") == EXIT_OK;
        if (!check_target(out))
            return outputs->n++, false;
    }
    return outputs_differ(o, outputs) && no_output_is_an_input(o, outputs);
}

static bool find_tiling(const struct run_options *o, const rf_model *model, struct tiling *out)
{
    rf_model_info info;
    if (!cli_info(model, &info))
        return false;
    if (o->tile && info.has_global_ops)
        fprintf(stderr, "refold: warning: --tile: this network looks at the whole image (global "
                        "pooling, attention or norms), so tiles are approximate\n");
    *out = (struct tiling){o->tile, info.receptive_field > 0 ? info.receptive_field : 0,
                           info.tile_align, info.has_global_ops};
    return true;
}

/* What decoding and the result take, beside what the session counts. */
static rf_status check_memory(const char *path, rf_error *err)
{
    int64_t width, height;
    rf_status status = rf_image_size(path, &width, &height, err);
    size_t room = cli_free_bytes();
    double need = 2.0 * 3 * sizeof(float) * (double)width * (double)height;
    if (status != RF_OK || need <= (double)room)
        return status;
    snprintf(err->text, sizeof err->text,
             "%s: %lldx%lld pixels need %.1f MiB before anything is computed, %.1f are free", path,
             (long long)width, (long long)height, need / 1048576, (double)room / 1048576);
    return err->code = RF_ERR_MEMORY;
}

/* Prints what failed, and says it in JSON. Errors of the session do not know the file; those of
 * reading and writing name it. */
static json_t *report_failure(const struct run_options *o, const char *in, const rf_error *err,
                              bool ran)
{
    char *text = NULL;
    const char *hint =
        err->code == RF_ERR_MEMORY && !o->tile ? "; --tile or --precision bf16 need less" : "";
    if (asprintf(&text, "%s%s%s%s", ran ? in : "", ran ? ": " : "", err->text, hint) < 0)
        text = NULL;
    cli_failf("%s", text ? text : err->text);
    json_t *line = json_pack("{s:o, s:o}", "input", cli_json_text(in), "error",
                             cli_json_text(text ? text : err->text));
    free(text);
    return line;
}

/* One image; a line of the report either way. */
static json_t *run_one(const struct run_options *o, rf_session *session, const char *in,
                       const char *out, const struct tiling *tiling, bool *ok)
{
    rf_buffer image = {.memory = NULL}, result = {.memory = NULL};
    rf_error err;
    json_t *line;
    bool ran = false;
    double t0 = cli_now(), t1 = t0, t2 = t0;
    rf_status status = check_memory(in, &err);
    if (status == RF_OK)
        status = rf_image_read(in, &image, &err);
    if (status == RF_OK) {
        t1 = cli_now();
        status = run_image(session, &image.tensor, tiling, o->images.n == 1, &result, &err);
        t2 = cli_now();
        ran = status != RF_OK;
    }
    if (status == RF_OK)
        status = rf_image_write(out, &result.tensor, &err);
    *ok &= status == RF_OK;
    if (status == RF_OK)
        line = json_pack("{s:o, s:o, s:I, s:I, s:f, s:f, s:f}", "input", cli_json_text(in),
                         "output", cli_json_text(out), "width", (json_int_t)image.tensor.dims[3],
                         "height", (json_int_t)image.tensor.dims[2], "read_ms", (t1 - t0) * 1e3,
                         "run_ms", (t2 - t1) * 1e3, "write_ms", (cli_now() - t2) * 1e3);
    else
        line = report_failure(o, in, &err, ran);
    rf_buffer_free(&image);
    rf_buffer_free(&result);
    return line;
}

bool run_images(const struct run_options *o, const struct file_list *outputs, rf_model *model,
                rf_session *session, json_t *done)
{
    rf_io_info in = {.size = sizeof in};
    struct progress bar;
    bool ok = true;
    if (rf_model_input_count(model) != 1 || rf_model_output_count(model) != 1 ||
        rf_model_input(model, 0, &in, NULL) != RF_OK || in.rank != 4)
        return cli_failf("%s: does not turn one image into one image, expected --input "
                         "NAME=FILE.npy and --output-dir DIR",
                         o->model.model) == EXIT_OK;
    struct tiling tiling;
    if (!find_tiling(o, model, &tiling))
        return false;
    progress_begin(&bar, "images", o->images.n);
    for (int i = 0; i < o->images.n; i++) {
        if (cli_interrupted()) {
            ok = cli_failf("interrupted: %d of %d images were not run", o->images.n - i,
                           o->images.n) == EXIT_OK;
            break;
        }
        json_array_append_new(
            done, run_one(o, session, o->images.paths[i], outputs->paths[i], &tiling, &ok));
        progress_step(&bar);
    }
    progress_end(&bar);
    return ok;
}
