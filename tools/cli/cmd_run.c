/* SPDX-License-Identifier: Apache-2.0
 *
 * refold run: images in, images out; or .npy tensors by input name.
 */
#include "tools/cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    MAX_NPY = 16,
    KEY_INPUT = 256,
    KEY_OUTPUT_DIR,
    KEY_TILE,
    KEY_JSON,
    KEY_EXPLAIN,
    KEY_PROFILE
};

struct run_options {
    struct model_options model;
    struct file_list images;
    const char *out, *output_dir, *profile;
    const char *npy[MAX_NPY]; /* name=path */
    int n_npy, tile;
    bool json, explain;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct run_options *o = state->input;
    char *end;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->model;
        return 0;
    case 'o':
        o->out = arg;
        return 0;
    case KEY_INPUT:
        if (!strchr(arg, '=') || o->n_npy == MAX_NPY)
            argp_error(state, "--input '%s': expected NAME=FILE.npy, at most %d times", arg,
                       MAX_NPY);
        o->npy[o->n_npy++] = arg;
        return 0;
    case KEY_OUTPUT_DIR:
        o->output_dir = arg;
        return 0;
    case KEY_TILE:
        o->tile = (int)strtol(arg, &end, 10);
        if (*end || o->tile < 16 || o->tile > 1 << 20)
            argp_error(state, "--tile '%s': expected pixels, at least 16", arg);
        return 0;
    case KEY_JSON:
        o->json = true;
        return 0;
    case KEY_EXPLAIN:
        o->explain = true;
        return 0;
    case KEY_PROFILE:
        o->profile = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (!files_collect(arg, &o->images))
            exit(EXIT_FAILED);
        return 0;
    case ARGP_KEY_END:
        if (o->n_npy ? !o->output_dir || o->images.n : !o->images.n || !o->out)
            argp_error(state,
                       "expected images and -o OUT, or --input NAME=FILE.npy and --output-dir DIR");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option option_list[] = {
    {"output", 'o', "OUT", 0, "image to write (.png, .jpg), or a folder for several", 0},
    {"input", KEY_INPUT, "NAME=FILE.npy", 0, "tensor for an input, instead of images", 0},
    {"output-dir", KEY_OUTPUT_DIR, "DIR", 0, "folder for the outputs as NAME.npy", 0},
    {"tile", KEY_TILE, "N", 0, "run in tiles of N pixels (less memory)", 0},
    {"json", KEY_JSON, 0, 0, "print what was done as JSON", 0},
    {"explain", KEY_EXPLAIN, 0, 0, "print which kernel each op got and why", 0},
    {"profile", KEY_PROFILE, "FILE", 0, "write a Chrome trace of every op", 0},
    {0},
};
static const struct argp_child children[] = {{&model_argp, 0, 0, 0}, {0}};
static const struct argp run_argp = {
    option_list,
    parse,
    "IMAGE|FOLDER... -o OUT\n--input NAME=FILE.npy... --output-dir DIR",
    "Runs a model. Training checkpoints are folded at load.",
    children,
    0,
    0};

static bool make_dir(const char *path)
{
    if (is_directory(path) || mkdir(path, 0777) == 0)
        return true;
    cli_failf("%s: cannot create this folder", path);
    return false;
}

/* Several images, or a folder as OUT: each keeps its name. */
static char *output_path(const struct run_options *o, const char *in)
{
    if (o->images.n == 1 && !is_directory(o->out))
        return strdup(o->out);
    const char *dot = strrchr(path_base(in), '.');
    return path_in(o->out, in, dot ? NULL : ".png");
}

static struct tiling tiling_of(const struct run_options *o, const rf_model *model)
{
    rf_model_info info;
    rf_model_get_info(model, &info);
    if (o->tile && info.has_global_ops)
        fprintf(stderr, "refold: warning: --tile: this network pools over the whole image, so "
                        "tiles are approximate\n");
    return (struct tiling){o->tile, info.receptive_field > 0 ? info.receptive_field : 0,
                           info.tile_align};
}

/* One image; `done` (may be NULL) collects a line for --json. */
static bool run_one(rf_session *session, const char *in, const char *out,
                    const struct tiling *tiling, bool tiles_shown, json_t *done)
{
    rf_buffer image = {0}, result = {0};
    rf_error err;
    double t0 = cli_now();
    rf_status status = rf_image_read(in, &image, &err);
    double t1 = cli_now();
    if (status == RF_OK)
        status = run_image(session, &image.tensor, tiling, tiles_shown, &result, &err);
    double t2 = cli_now();
    if (status == RF_OK)
        status = rf_image_write(out, &result.tensor, &err);
    if (status != RF_OK)
        cli_failf("%s: %s", in, err.text);
    else if (done)
        json_array_append_new(
            done, json_pack("{s:s, s:s, s:I, s:I, s:f, s:f, s:f}", "input", in, "output", out,
                            "width", (json_int_t)image.tensor.dims[3], "height",
                            (json_int_t)image.tensor.dims[2], "read_ms", (t1 - t0) * 1e3, "run_ms",
                            (t2 - t1) * 1e3, "write_ms", (cli_now() - t2) * 1e3));
    rf_buffer_free(&image);
    rf_buffer_free(&result);
    return status == RF_OK;
}

static bool run_images(const struct run_options *o, rf_model *model, rf_session *session,
                       json_t *done)
{
    rf_io_info in;
    rf_error err;
    struct progress bar;
    struct tiling tiling = tiling_of(o, model);
    if (rf_model_input_count(model) != 1 || rf_model_input(model, 0, &in, &err) != RF_OK ||
        in.rank != 4) {
        cli_failf("this model does not take one image: use --input NAME=FILE.npy");
        return false;
    }
    if (o->images.n > 1 && !make_dir(o->out))
        return false;
    bool ok = true;
    progress_begin(&bar, "images", o->images.n);
    for (int i = 0; i < o->images.n; i++) {
        char *out = output_path(o, o->images.paths[i]);
        ok &= out && run_one(session, o->images.paths[i], out, &tiling, o->images.n == 1, done);
        free(out);
        progress_step(&bar);
    }
    progress_end(&bar);
    return ok;
}

static rf_status read_named(const struct run_options *o, rf_model *model, rf_buffer *buffers,
                            rf_tensor *inputs, rf_error *err)
{
    for (int i = 0; i < rf_model_input_count(model); i++) {
        rf_io_info info;
        const char *path = NULL;
        rf_status status = rf_model_input(model, i, &info, err);
        size_t n = status == RF_OK ? strlen(info.name) : 0;
        for (int k = 0; k < o->n_npy && status == RF_OK; k++)
            if (!strncmp(o->npy[k], info.name, n) && o->npy[k][n] == '=')
                path = o->npy[k] + n + 1;
        if (status == RF_OK && !path) {
            snprintf(err->text, sizeof err->text,
                     "input '%s' of the model is not given: --input %s=FILE.npy", info.name,
                     info.name);
            status = err->code = RF_ERR_ARGUMENT;
        }
        if (status == RF_OK)
            status = rf_npy_read(path, &buffers[i], err);
        if (status != RF_OK)
            return status;
        inputs[i] = buffers[i].tensor;
    }
    return RF_OK;
}

static rf_status write_named(rf_model *model, const rf_tensor *outputs, const char *dir,
                             rf_error *err)
{
    rf_status status = RF_OK;
    for (int i = 0; i < rf_model_output_count(model) && status == RF_OK; i++) {
        rf_io_info info;
        status = rf_model_output(model, i, &info, err);
        char *path = status == RF_OK ? path_in(dir, info.name, NULL) : NULL, *full = NULL;
        if (path && asprintf(&full, "%s.npy", path) > 0)
            status = rf_npy_write(full, &outputs[i], err);
        free(path);
        free(full);
    }
    return status;
}

static bool run_npy(const struct run_options *o, rf_model *model, rf_session *session)
{
    rf_buffer in_buffers[MAX_NPY] = {{.memory = NULL}}, out_buffers[MAX_NPY] = {{.memory = NULL}};
    rf_tensor inputs[MAX_NPY], outputs[MAX_NPY];
    int n_in = rf_model_input_count(model), n_out = rf_model_output_count(model);
    rf_error err = {0};
    if (n_in > MAX_NPY || n_out > MAX_NPY)
        return cli_failf("the model has %d inputs and %d outputs: at most %d", n_in, n_out,
                         MAX_NPY),
               false;
    if (!make_dir(o->output_dir))
        return false;
    rf_status status = read_named(o, model, in_buffers, inputs, &err);
    if (status == RF_OK)
        status = rf_session_prepare(session, inputs, n_in, NULL, &err);
    for (int i = 0; i < n_out && status == RF_OK; i++) {
        status = rf_session_output(session, i, &out_buffers[i].tensor, &err);
        if (status == RF_OK)
            status = rf_buffer_alloc(&out_buffers[i], &err);
        outputs[i] = out_buffers[i].tensor;
    }
    if (status == RF_OK)
        status = rf_session_run(session, inputs, n_in, outputs, n_out, &err);
    if (status == RF_OK)
        status = write_named(model, outputs, o->output_dir, &err);
    for (int i = 0; i < MAX_NPY; i++) {
        rf_buffer_free(&in_buffers[i]);
        rf_buffer_free(&out_buffers[i]);
    }
    return status == RF_OK || cli_fail(&err) == EXIT_OK;
}

static bool write_profile(rf_session *session, const char *path)
{
    const char *text;
    rf_error err;
    if (rf_session_profile_json(session, &text, &err) != RF_OK)
        return cli_fail(&err) == EXIT_OK;
    FILE *f = fopen(path, "w");
    bool ok = f && fputs(text, f) >= 0;
    ok = f && fclose(f) == 0 && ok;
    return ok || cli_failf("%s: cannot write the profile", path) == EXIT_OK;
}

static bool finish(const struct run_options *o, rf_session *session, json_t *done)
{
    const char *text;
    rf_error err;
    if (o->profile && !write_profile(session, o->profile))
        return false;
    if (o->explain) {
        if (rf_session_explain(session, &text, &err) != RF_OK)
            return cli_fail(&err) == EXIT_OK;
        fprintf(o->json ? stderr : stdout, "%s\n%s", rf_session_device(session), text);
    }
    return !o->json ||
           cli_print_json(json_pack("{s:s, s:O, s:o}", "device", rf_session_device(session),
                                    "images", done, "env", cli_env_json(&o->model)),
                          NULL);
}

int cmd_run(int argc, char **argv)
{
    struct run_options o = {0};
    rf_model *model = NULL;
    rf_session *session = NULL;
    json_t *done = NULL;
    bool ok = false;
    if (cli_parse(&run_argp, "run", argc, argv, &o))
        return EXIT_USAGE;
    done = json_array();
    if (cli_load(&o.model, false, &model) && cli_session(&o.model, model, &session)) {
        if (o.profile)
            rf_session_profile(session, true);
        ok = o.n_npy ? run_npy(&o, model, session) : run_images(&o, model, session, done);
        ok = ok && finish(&o, session, done);
    }
    json_decref(done);
    rf_session_destroy(&session);
    rf_model_release(&model);
    files_free(&o.images);
    return ok ? EXIT_OK : EXIT_FAILED;
}
