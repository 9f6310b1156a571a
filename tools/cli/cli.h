/* SPDX-License-Identifier: Apache-2.0
 *
 * What the commands of `refold` share. The tool uses the public API only.
 */
#ifndef RF_CLI_H
#define RF_CLI_H

#include <argp.h>
#include <jansson.h>
#include <refold/refold.h>

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };
enum { MAX_IO = 16 }; /* inputs, and outputs, of a model that commands can handle */

/* ---- options (options.c) ---- */
struct model_options {
    const char *model, *device, *precision;
    int threads;
    size_t memory_cap;
    bool exact, tune, verbose;
    rf_dtype dtype; /* of precision */
};
/* -m and -v; and with those, where and how the model runs. Both parse into a struct
 * model_options, which is the child input of a command's own parser. */
extern const struct argp model_argp, device_argp;

/* Runs argp with exit code 2 on usage errors; an unknown option is named, with the nearest one. */
int cli_parse(const struct argp *argp, const char *command, int argc, char **argv, void *input);
/* The word of the list (NULL at its end) that `word` is most likely meant to be; NULL if none. */
const char *cli_nearest(const char *word, const char *const *known);
/* A whole decimal number of [low, high], and nothing behind it. */
bool cli_number(const char *text, int low, int high, int *out);

/* Values of --shape: DIMS for the first input, or NAME=DIMS. */
struct shape_options {
    const char *given[MAX_IO];
    int n;
};
/* Commands that report on a model for some shapes: device_argp with --shape and --json [FILE]. */
struct report_options {
    struct model_options model;
    struct shape_options shapes;
    const char *json; /* file, "" or "-" for stdout, NULL for text */
};
/* Parses into a struct report_options, which is the child input of a command's own parser. */
extern const struct argp report_argp;
/* One tensor without data for each input of the model: what was given, else the model's dims with
 * 1, 3, `side`, `side` for open ones. On failure prints and returns false. */
bool cli_shapes(const struct shape_options *o, const rf_model *model, int64_t side,
                rf_tensor out[MAX_IO], int *out_n);

/* ---- messages, model, session (common.c) ---- */
/* Prints "refold: <text>" to stderr and returns EXIT_FAILED. */
int cli_fail(const rf_error *err);
int cli_failf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Loads the model; unfolded keeps training branches. On failure prints and returns false. */
bool cli_load(const struct model_options *o, bool unfolded, rf_model **out);
bool cli_info(const rf_model *model, rf_model_info *out);
/* Without --memory-cap, the memory that is free now is the cap: a refusal is better than a process
 * that the kernel kills. */
bool cli_session(const struct model_options *o, rf_model *model, rf_session **out);
/* Sorts n numbers, smallest first. */
void cli_sort(double *x, int n);
/* Monotonic seconds. */
double cli_now(void);

/* ---- signals (interrupt.c) ---- */
/* From now on SIGINT and SIGTERM set a mark and cancel the session's run instead of killing. */
void cli_catch_interrupts(void);
/* The session whose runs they cancel; NULL: none (before it is destroyed). */
void cli_cancel_on_interrupt(rf_session *session);
/* 0, or the exit code of a command that was stopped: 128 + the signal. */
int cli_interrupted(void);
/* rf_session_run, unless the command was stopped: then RF_ERR_CANCELLED. */
rf_status cli_run(rf_session *session, const rf_tensor *inputs, int n_in, const rf_tensor *outputs,
                  int n_out, rf_error *err);

/* ---- files (files.c) ---- */
struct file_list {
    char **paths;
    int n;
};
/* Adds image files of a folder (png, jpg, jpeg; sorted), or the file itself. */
bool files_collect(const char *path, struct file_list *list);
void files_free(struct file_list *list);
bool is_directory(const char *path);
bool is_image_name(const char *name);
/* Both exist and are one file, through whatever links. */
bool is_same_file(const char *a, const char *b);
/* dir + "/" + base name of path (with another ending if ext is given). Caller frees. */
char *path_in(const char *dir, const char *path, const char *ext);
const char *path_base(const char *path);
/* Makes the folder if it is not there. */
bool make_folder(const char *path);
/* Writes a text file: regular ones appear complete or not at all. */
bool write_text(const char *path, const char *text);

/* ---- reports (report.c) ---- */
/* A JSON string of bytes that need not be UTF-8, as file names: wrong ones become U+FFFD. */
json_t *cli_json_text(const char *text);
json_t *cli_json_dims(const int64_t *dims, int rank);
/* null for what JSON has no number for. */
json_t *cli_json_real(double x);
/* Machine, library and build in one JSON object. New reference. */
json_t *cli_env_json(const struct model_options *o);
/* Whether text goes to stdout beside, or instead of, the JSON. */
bool cli_wants_text(const struct report_options *o);
/* Prints and frees. `path` NULL, "" or "-": stdout. false (with a message) if the file cannot be
 * written. */
bool cli_print_json(json_t *json, const char *path);
/* Resident set now and at its highest, in bytes (0 where /proc is missing). */
size_t cli_resident_bytes(void);
size_t cli_peak_resident_bytes(void);
/* What this process may still take without swapping; SIZE_MAX if unknown. */
size_t cli_free_bytes(void);

/* A bar on stderr when it is a terminal and there is more than one thing to do. */
struct progress {
    const char *what;
    int total, done;
    double start;
    bool shown;
};
void progress_begin(struct progress *p, const char *what, int total);
void progress_step(struct progress *p);
void progress_end(struct progress *p);
/* Clears the line of the bar before a message; the next step draws it again. */
void progress_hide(void);

/* ---- running (image.c, sample.c) ---- */
/* Runs an image through the session, whole (tile 0) or in tiles. `blend`: neighbours are mixed
 * along their borders, for networks whose tiles are not exact. */
struct tiling {
    int tile, halo, align;
    bool blend;
};
rf_status run_image(rf_session *session, const rf_tensor *image, const struct tiling *tiling,
                    bool show_progress, rf_buffer *out, rf_error *err);

/* Random inputs from a fixed seed (of integers: zeros), and room for the outputs. */
struct sample {
    rf_buffer in[MAX_IO], out[MAX_IO];
    rf_tensor inputs[MAX_IO], outputs[MAX_IO];
    int n_in, n_out;
};
/* Plans first, so that a shape that needs too much is refused before memory is taken. */
rf_status sample_make(rf_session *session, const rf_model *model, const rf_tensor *shapes,
                      struct sample *out, rf_error *err);
rf_status sample_run(rf_session *session, struct sample *sample, double *seconds, rf_error *err);
void sample_free(struct sample *sample);

/* PSNR in dB (peak 1) and SSIM (Gaussian window 11, sigma 1.5, mean over channels) of two images of
 * equal size in [0,1]. Source of SSIM: Wang et al., IEEE TIP 13(4), 2004. */
double metric_psnr(const rf_tensor *a, const rf_tensor *b);
double metric_ssim(const rf_tensor *a, const rf_tensor *b);

int cmd_run(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_fold(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_ops(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_eval(int argc, char **argv);

#endif
