/* SPDX-License-Identifier: Apache-2.0
 *
 * refold verify: the unfolded and the folded network on the same random input. The judge is the
 * unfolded network on the reference backend, which sums in float64.
 */
#include "tools/cli/cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RUNS = 5 };

static const struct argp_child children[] = {{&report_argp, 0, 0, 0}, {0}};
static const struct argp verify_argp = {0,
                                        0, /* no options of its own: the child gets the input */
                                        0,
                                        "Runs the unfolded and the folded network on the same "
                                        "random input (1x3x64x64), and compares both "
                                        "with the unfolded one on the reference backend.",
                                        children,
                                        0,
                                        0};

/* One way to run the network: median time of a few runs, and the outputs. */
struct side {
    rf_model *model;
    rf_session *session;
    struct sample sample;
    double p50;
};

static bool run_side(const struct report_options *o, bool unfolded, bool judge, struct side *s)
{
    struct model_options m = o->model;
    rf_tensor shapes[MAX_IO];
    rf_error err;
    double t[RUNS];
    int n_inputs, n = judge ? 1 : RUNS;
    if (judge) {
        m.device = "ref";
        m.dtype = RF_F32;
    }
    if (!cli_load(&m, unfolded, &s->model) || !cli_session(&m, s->model, &s->session) ||
        !cli_shapes(&o->shapes, s->model, 64, shapes, &n_inputs))
        return false;
    rf_status status = sample_make(s->session, s->model, shapes, &s->sample, &err);
    for (int i = 0; i < n && status == RF_OK; i++)
        status = sample_run(s->session, &s->sample, &t[i], &err);
    if (status != RF_OK)
        return cli_fail(&err) == EXIT_OK;
    cli_sort(t, n);
    s->p50 = t[n / 2];
    return true;
}

/* The largest difference to the judge over all outputs; NaN if there is one on any side. */
static bool compare(const struct side *s, const struct side *judge, double *error, double *max_ref)
{
    *error = *max_ref = 0;
    for (int k = 0; k < s->sample.n_out; k++) {
        const rf_tensor *a = &s->sample.outputs[k], *b = &judge->sample.outputs[k];
        const float *x = a->data, *y = b->data;
        if (a->dtype != RF_F32 || b->dtype != RF_F32)
            return cli_failf("output %d is %s, expected f32", k, rf_dtype_name(a->dtype)) ==
                   EXIT_OK;
        for (int64_t i = 0, n = rf_tensor_elements(a); i < n; i++) {
            double d = fabs((double)x[i] - y[i]);
            *error = d <= *error ? *error : d; /* NaN is not <= and stays */
            *max_ref = fmax(*max_ref, fabs((double)y[i]));
        }
    }
    return true;
}

static bool report(const struct report_options *o, const struct side *judge,
                   const struct side *unfolded, const struct side *folded)
{
    double ref, unfolded_error, folded_error;
    if (!compare(unfolded, judge, &unfolded_error, &ref) ||
        !compare(folded, judge, &folded_error, &ref))
        return false;
    double bound = (o->model.dtype == RF_F32 ? 1e-5 : 5e-2) * ref;
    bool good = folded_error <= bound && unfolded_error <= bound;
    if (cli_wants_text(o)) {
        printf("%-10s max error %.3g, %8.2f ms\n", "unfolded", unfolded_error, unfolded->p50 * 1e3);
        printf("%-10s max error %.3g, %8.2f ms\n", "folded", folded_error, folded->p50 * 1e3);
        printf("judge: the unfolded network on the reference backend (float64 sums), max |y| %.3g, "
               "bound %.3g: %s\n",
               ref, bound, good ? "ok" : "FAILED");
    }
    if (o->json)
        return cli_print_json(json_pack("{s:b, s:o, s:o, s:f, s:f, s:f, s:f, s:o}", "ok", good,
                                        "unfolded_error", cli_json_real(unfolded_error),
                                        "folded_error", cli_json_real(folded_error), "max_ref", ref,
                                        "bound", bound, "unfolded_ms", unfolded->p50 * 1e3,
                                        "folded_ms", folded->p50 * 1e3, "env",
                                        cli_env_json(&o->model)),
                              o->json) &&
               good;
    return good;
}

int cmd_verify(int argc, char **argv)
{
    struct report_options o = {.json = NULL};
    struct side judge = {.model = NULL}, unfolded = judge, folded = judge;
    struct side *const all[] = {&judge, &unfolded, &folded};
    if (cli_parse(&verify_argp, "verify", argc, argv, &o))
        return EXIT_USAGE;
    bool ok = run_side(&o, true, true, &judge) && run_side(&o, true, false, &unfolded) &&
              run_side(&o, false, false, &folded) && report(&o, &judge, &unfolded, &folded);
    for (int i = 0; i < 3; i++) {
        sample_free(&all[i]->sample);
        rf_session_destroy(&all[i]->session);
        rf_model_release(&all[i]->model);
    }
    return ok ? EXIT_OK : EXIT_FAILED;
}
