/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of `refold run`.
 */
#ifndef RF_CLI_RUN_H
#define RF_CLI_RUN_H

#include "tools/cli/cli.h"

struct run_options {
    struct model_options model;
    struct file_list images;
    bool has_folder; /* one of the images was given as a folder */
    const char *out, *output_dir, *profile;
    const char *npy[MAX_IO]; /* name=path */
    int n_npy, tile;
    bool json, explain;
};

/* Decides the name of every output, before anything is computed, and refuses those that cannot be
 * written, that two images would share, or that are an input. On failure prints. */
bool plan_outputs(const struct run_options *o, struct file_list *outputs);
/* Both append what was done to `done`. */
bool run_images(const struct run_options *o, const struct file_list *outputs, rf_model *model,
                rf_session *session, json_t *done);
bool run_npy(const struct run_options *o, rf_model *model, rf_session *session, json_t *done);

#endif
