/* SPDX-License-Identifier: Apache-2.0
 *
 * refold run: images in, images out (run_images.c); or .npy tensors by input name (run_npy.c).
 */
#include "tools/cli/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_INPUT = 256, KEY_OUTPUT_DIR, KEY_TILE, KEY_JSON, KEY_EXPLAIN, KEY_PROFILE };

static void add_npy(struct run_options *o, const char *arg, struct argp_state *state)
{
    const char *equals = strchr(arg, '=');
    if (!equals || equals == arg || !equals[1] || o->n_npy == MAX_IO)
        argp_error(state, "--input '%s': expected NAME=FILE.npy, at most %d times", arg, MAX_IO);
    size_t n = (size_t)(equals - arg) + 1;
    for (int i = 0; i < o->n_npy; i++)
        if (!strncmp(o->npy[i], arg, n))
            argp_error(state, "--input '%s': this input is given twice", arg);
    o->npy[o->n_npy++] = arg;
}

static void check_arguments(const struct run_options *o, struct argp_state *state)
{
    if (o->n_npy ? !o->output_dir || o->images.n || o->out : !o->images.n || !o->out)
        argp_error(state,
                   "expected images and -o OUT, or --input NAME=FILE.npy and --output-dir DIR");
    if (!o->n_npy && o->output_dir)
        argp_error(state, "--output-dir '%s': expected -o OUT with images", o->output_dir);
    if (o->n_npy && o->tile)
        argp_error(state, "--tile: expected images, not --input");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct run_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->model;
        return 0;
    case 'o':
        o->out = arg;
        return 0;
    case KEY_INPUT:
        add_npy(o, arg, state);
        return 0;
    case KEY_OUTPUT_DIR:
        o->output_dir = arg;
        return 0;
    case KEY_TILE:
        if (!cli_number(arg, 16, 1 << 20, &o->tile))
            argp_error(state, "--tile '%s': expected pixels, 16 to %d", arg, 1 << 20);
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
        o->has_folder |= is_directory(arg);
        if (!files_collect(arg, &o->images))
            exit(EXIT_FAILED);
        return 0;
    case ARGP_KEY_END:
        check_arguments(o, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option option_list[] = {
    {"output", 'o', "OUT", 0,
     "image to write (.png, .jpg); or the folder for several, which keep their names", 0},
    {"input", KEY_INPUT, "NAME=FILE.npy", 0, "tensor for an input, instead of images", 0},
    {"output-dir", KEY_OUTPUT_DIR, "DIR", 0, "folder for the outputs as NAME.npy", 0},
    {"tile", KEY_TILE, "N", 0,
     "run in tiles of about N pixels, which takes less memory and more time", 0},
    {"json", KEY_JSON, 0, 0, "print what was done as JSON", 0},
    {"explain", KEY_EXPLAIN, 0, 0, "print which kernel each op got and why", 0},
    {"profile", KEY_PROFILE, "FILE", 0, "write a Chrome trace of every op", 0},
    {0},
};
static const struct argp_child children[] = {{&device_argp, 0, 0, 0}, {0}};
static const struct argp run_argp = {
    option_list,
    parse,
    "IMAGE|FOLDER... -o OUT\n--input NAME=FILE.npy... --output-dir DIR",
    "Runs a model. Training checkpoints are folded at load.",
    children,
    0,
    0};

static bool write_profile(rf_session *session, const char *path)
{
    const char *text;
    rf_error err;
    if (rf_session_profile_json(session, &text, &err) != RF_OK)
        return cli_fail(&err) == EXIT_OK;
    return write_text(path, text);
}

static bool print_explanation(rf_session *session, FILE *f)
{
    const char *text;
    rf_error err;
    if (rf_session_explain(session, &text, &err) != RF_OK)
        return cli_fail(&err) == EXIT_OK;
    return fprintf(f, "%s\n%s", rf_session_device(session), text) > 0;
}

/* The report is printed also when some images failed: it says which. */
static bool print_report(const struct run_options *o, rf_session *session, json_t *done)
{
    return cli_print_json(json_pack("{s:s, s:O, s:o}", "device", rf_session_device(session),
                                    o->n_npy ? "outputs" : "images", done, "env",
                                    cli_env_json(&o->model)),
                          NULL);
}

int cmd_run(int argc, char **argv)
{
    struct run_options o = {.out = NULL};
    rf_model *model = NULL;
    rf_session *session = NULL;
    bool ok = false;
    if (cli_parse(&run_argp, "run", argc, argv, &o))
        return EXIT_USAGE;
    cli_catch_interrupts();
    json_t *done = json_array();
    struct file_list outputs = {.n = 0};
    if ((o.n_npy || plan_outputs(&o, &outputs)) && cli_load(&o.model, false, &model) &&
        cli_session(&o.model, model, &session)) {
        cli_cancel_on_interrupt(session);
        rf_session_profile(session, o.profile != NULL);
        ok = o.n_npy ? run_npy(&o, model, session, done)
                     : run_images(&o, &outputs, model, session, done);
        if (ok && o.profile)
            ok = write_profile(session, o.profile);
        if (ok && o.explain)
            ok = print_explanation(session, o.json ? stderr : stdout);
        if (o.json)
            ok &= print_report(&o, session, done);
    }
    json_decref(done);
    cli_cancel_on_interrupt(NULL);
    rf_session_destroy(&session);
    rf_model_release(&model);
    files_free(&outputs);
    files_free(&o.images);
    return ok ? EXIT_OK : cli_interrupted() ? cli_interrupted() : EXIT_FAILED;
}
