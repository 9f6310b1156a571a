/* SPDX-License-Identifier: Apache-2.0
 *
 * refold eval: PSNR and SSIM of a folder of images against references of the same names.
 */
#include "tools/cli/cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_REF = 256, KEY_IN, KEY_JSON };

struct eval_options {
    const char *ref, *in;
    bool json;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct eval_options *o = state->input;
    switch (key) {
    case KEY_REF:
        o->ref = arg;
        return 0;
    case KEY_IN:
        o->in = arg;
        return 0;
    case KEY_JSON:
        o->json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "argument '%s': expected only options", arg);
        return 0;
    case ARGP_KEY_END:
        if (!o->ref || !o->in)
            argp_error(state, "expected --ref DIR and --in DIR");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option option_list[] = {
    {"ref", KEY_REF, "DIR", 0, "reference images (or one image)", 0},
    {"in", KEY_IN, "DIR", 0, "images to judge, same base names", 0},
    {"json", KEY_JSON, 0, 0, "print as JSON", 0},
    {0},
};
static const struct argp eval_argp = {
    option_list, parse, 0, "PSNR (dB, peak 1) and SSIM against references.", 0, 0, 0};

/* The judged image of the same stem: .png, .jpg or .jpeg. */
static char *find_twin(const char *in, const char *ref)
{
    static const char *const endings[] = {".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG"};
    if (!is_directory(in))
        return strdup(in); /* one image each */
    for (int i = 0; i < 6; i++) {
        char *path = path_in(in, ref, endings[i]);
        FILE *f = path ? fopen(path, "rb") : NULL;
        if (f) {
            fclose(f);
            return path;
        }
        free(path);
    }
    return NULL;
}

static bool eval_one(const char *ref_path, const char *in_path, double *psnr, double *ssim)
{
    rf_buffer ref = {0}, in = {0};
    rf_error err;
    bool ok = true;
    if (rf_image_read(ref_path, &ref, &err) != RF_OK || rf_image_read(in_path, &in, &err) != RF_OK)
        ok = cli_fail(&err) == EXIT_OK;
    else if (memcmp(ref.tensor.dims, in.tensor.dims, 4 * sizeof(int64_t)))
        ok = cli_failf("%s is %lldx%lld, its reference %s is %lldx%lld", in_path,
                       (long long)in.tensor.dims[3], (long long)in.tensor.dims[2], ref_path,
                       (long long)ref.tensor.dims[3], (long long)ref.tensor.dims[2]) == EXIT_OK;
    if (ok) {
        *psnr = metric_psnr(&in.tensor, &ref.tensor);
        *ssim = metric_ssim(&in.tensor, &ref.tensor);
    }
    rf_buffer_free(&ref);
    rf_buffer_free(&in);
    return ok;
}

static bool eval_all(const struct eval_options *o, const struct file_list *refs, json_t *images,
                     double mean[2])
{
    struct progress bar;
    bool ok = true;
    progress_begin(&bar, "images", refs->n);
    for (int i = 0; i < refs->n && ok; i++) {
        double psnr, ssim;
        char *twin = find_twin(o->in, refs->paths[i]);
        ok = twin ? eval_one(refs->paths[i], twin, &psnr, &ssim)
                  : cli_failf("%s: no image with the name of %s", o->in,
                              path_base(refs->paths[i])) == EXIT_OK;
        if (ok) {
            mean[0] += psnr / refs->n;
            mean[1] += ssim / refs->n;
            json_array_append_new(images,
                                  json_pack("{s:o, s:o, s:o}", "image",
                                            cli_json_text(path_base(refs->paths[i])), "psnr_db",
                                            cli_json_real(psnr), "ssim", cli_json_real(ssim)));
            progress_hide();
            if (!o->json)
                printf("%-40s %7.3f dB  SSIM %.4f\n", path_base(refs->paths[i]), psnr, ssim);
        }
        free(twin);
        progress_step(&bar);
    }
    progress_end(&bar);
    return ok;
}

/* Two images, or two folders. An image judges no folder of others. */
static bool same_kind(const struct eval_options *o)
{
    bool ref = is_directory(o->ref), in = is_directory(o->in);
    return ref == in || cli_failf("--ref %s is %s and --in %s is %s, expected two of a kind",
                                  o->ref, ref ? "a folder" : "no folder", o->in,
                                  in ? "a folder" : "no folder") == EXIT_OK;
}

int cmd_eval(int argc, char **argv)
{
    struct eval_options o = {0};
    struct file_list refs = {0};
    double mean[2] = {0, 0};
    if (cli_parse(&eval_argp, "eval", argc, argv, &o))
        return EXIT_USAGE;
    json_t *images = json_array();
    bool ok = same_kind(&o) && files_collect(o.ref, &refs) && eval_all(&o, &refs, images, mean);
    if (ok && !o.json)
        printf("%-40s %7.3f dB  SSIM %.4f  (%d images)\n", "mean", mean[0], mean[1], refs.n);
    if (ok && o.json)
        ok = cli_print_json(json_pack("{s:O, s:o, s:o, s:i}", "images", images, "mean_psnr_db",
                                      cli_json_real(mean[0]), "mean_ssim", cli_json_real(mean[1]),
                                      "n", refs.n),
                            NULL);
    json_decref(images);
    files_free(&refs);
    return ok ? EXIT_OK : EXIT_FAILED;
}
