/* SPDX-License-Identifier: Apache-2.0
 *
 * Refold inside a C program: loads a checkpoint once, then cleans every picture named on the
 * command line. Shows what an application needs: one model, one session, the cost before the first
 * run, and messages instead of crashes.
 *
 *   cc embed.c $(pkg-config --cflags --libs refold) -o embed
 *   ./embed model.pth hazy1.png clear1.png hazy2.jpg clear2.jpg
 */
#include <refold/refold.h>

#include <stdio.h>

/* One picture. The session keeps what it prepared for each size, so pictures of one size cost no
 * planning after the first. */
static rf_status clean(rf_session *session, const char *from, const char *to, rf_error *err)
{
    rf_buffer in = {0}, out = {0};
    rf_plan_info plan = {.size = sizeof plan};
    rf_status status = rf_image_read(from, &in, err);
    if (status == RF_OK)
        status = rf_session_prepare(session, &in.tensor, 1, &plan, err);
    if (status == RF_OK)
        status = rf_session_output(session, 0, &out.tensor, err);
    if (status == RF_OK)
        status = rf_buffer_alloc(&out, err);
    if (status == RF_OK)
        status = rf_session_run(session, &in.tensor, 1, &out.tensor, 1, err);
    if (status == RF_OK)
        status = rf_image_write(to, &out.tensor, err);
    if (status == RF_OK)
        printf("%s -> %s: %lldx%lld, %.1f MiB%s\n", from, to, (long long)in.tensor.dims[3],
               (long long)in.tensor.dims[2], (double)plan.peak_bytes / 1048576.0,
               plan.cached ? " (size seen before)" : "");
    rf_buffer_free(&in);
    rf_buffer_free(&out);
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 4 || argc % 2) {
        fprintf(stderr, "usage: %s MODEL IN OUT [IN OUT]...\n", argv[0]);
        return 2;
    }
    rf_model *model = NULL;
    rf_session *session = NULL;
    rf_error err;
    rf_model_params load = {.size = sizeof load, .path = argv[1]};
    rf_session_params params = {.size = sizeof params, .memory_cap = (size_t)2 << 30};

    rf_status status = rf_model_load(&load, &model, &err);
    if (status == RF_OK)
        status = rf_session_create(model, &params, &session, &err);
    if (status == RF_OK)
        printf("Refold %s on %s\n", rf_version_string(), rf_session_device(session));
    for (int i = 2; i < argc && status == RF_OK; i += 2)
        status = clean(session, argv[i], argv[i + 1], &err);
    if (status != RF_OK)
        fprintf(stderr, "%s: %s\n", rf_status_text(status), err.text);
    rf_session_destroy(&session);
    rf_model_release(&model);
    return status == RF_OK ? 0 : 1;
}
