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

/* Options of every command that runs a model; `model_argp` parses them into this. */
struct model_options {
    const char *model, *device, *precision;
    int threads;
    size_t memory_cap;
    bool exact, verbose;
    rf_dtype dtype; /* of precision */
};
extern const struct argp model_argp;

/* Runs argp with exit code 2 on usage errors. `input` is the command's own struct, whose first
 * member is a struct model_options if the command uses model_argp. */
int cli_parse(const struct argp *argp, const char *command, int argc, char **argv, void *input);

/* Prints "refold: <text>" to stderr and returns EXIT_FAILED. */
int cli_fail(const rf_error *err);
int cli_failf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Loads the model; unfolded keeps training branches. On failure prints and returns false. */
bool cli_load(const struct model_options *o, bool unfolded, rf_model **out);
bool cli_session(const struct model_options *o, rf_model *model, rf_session **out);
bool cli_precision(const char *text, rf_dtype *out);

/* "1x3x512x512" -> dims; false (with a message) if malformed. */
bool cli_shape(const char *text, rf_tensor *out);
/* Uniform random floats in [0,1) from a fixed seed. */
void cli_fill_random(rf_tensor *t, uint32_t seed);

/* Monotonic seconds. */
double cli_now(void);
/* Machine, library and build in one JSON object. New reference. */
json_t *cli_env_json(const struct model_options *o);
/* Prints and frees. `path` NULL: stdout. false (with a message) if the file cannot be written. */
bool cli_print_json(json_t *json, const char *path);
/* Resident set now and at its highest, in bytes (0 where /proc is missing). */
size_t cli_resident_bytes(void);
size_t cli_peak_resident_bytes(void);

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

/* Image files in a folder (png, jpg, jpeg), sorted; or the file itself. Owned strings. */
struct file_list {
    char **paths;
    int n;
};
bool files_collect(const char *path, struct file_list *list);
void files_free(struct file_list *list);
bool is_directory(const char *path);
/* dir + "/" + base name of path (with another ending if ext is given). Caller frees. */
char *path_in(const char *dir, const char *path, const char *ext);
const char *path_base(const char *path);

/* Runs an image through the session, whole (tile 0) or in tiles. */
struct tiling {
    int tile, halo, align;
};
rf_status run_image(rf_session *session, const rf_tensor *image, const struct tiling *tiling,
                    bool show_progress, rf_buffer *out, rf_error *err);

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
