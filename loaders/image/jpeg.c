/* SPDX-License-Identifier: Apache-2.0
 *
 * JPEG through libjpeg, which reports errors by longjmp: everything that a decoder owns is in one
 * struct that outlives the jump.
 */
#include "loaders/image/image.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

/* A block of 64 pixels takes at least one bit (a DC code of a progressive scan): 512 pixels a byte,
 * doubled for what arithmetic coding may still gain. Photographs have 4 to 60. */
enum { MAX_PIXELS_PER_BYTE = 1024 };
/* Encoders write about 10 scans. Each one costs time as the image is large and may take a few
 * bytes of file only. */
enum { MAX_SCANS = 100 };

struct jpeg_decoder {
    rf_image_decoder *image;
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    uint8_t *row;
    jmp_buf jump;
    char message[JMSG_LENGTH_MAX];
};

static void failed(j_common_ptr info)
{
    struct jpeg_decoder *j = info->client_data;
    info->err->format_message(info, j->message);
    longjmp(j->jump, 1);
}

/* A warning means damaged data: what would be shown is not the picture. Bytes too many behind a
 * scan and odd notes in headers leave it whole; some cameras write them. */
static void message(j_common_ptr info, int level)
{
    int code = info->err->msg_code;
    if (level < 0 && code != JWRN_EXTRANEOUS_DATA && code != JWRN_JFIF_MAJOR &&
        code != JWRN_ADOBE_XFORM)
        failed(info);
}

static void count_scans(j_common_ptr info)
{
    struct jpeg_decoder *j = info->client_data;
    if (j->jpeg.input_scan_number <= MAX_SCANS)
        return;
    snprintf(j->message, sizeof j->message, "more than %d scans", MAX_SCANS);
    longjmp(j->jump, 1);
}

/* CMYK without colour management, as browsers show it; Adobe's files hold it inverted. In place. */
static void cmyk_to_rgb(uint8_t *row, int64_t width, bool inverted)
{
    uint8_t *rgb = row;
    for (int64_t x = 0; x < width; x++, row += 4, rgb += 3) {
        int k = inverted ? row[3] : 255 - row[3];
        for (int c = 0; c < 3; c++)
            rgb[c] = (uint8_t)(((inverted ? row[c] : 255 - row[c]) * k + 127) / 255);
    }
}

static rf_status read_rows(struct jpeg_decoder *j, rf_error *err)
{
    rf_image_decoder *d = j->image;
    const bool cmyk = j->jpeg.num_components == 4, grey = j->jpeg.num_components == 1;
    j->jpeg.out_color_space = cmyk ? JCS_CMYK : grey ? JCS_GRAYSCALE : JCS_RGB;
    j->progress.progress_monitor = count_scans;
    j->jpeg.progress = &j->progress;
    jpeg_start_decompress(&j->jpeg);
    j->row = malloc((size_t)d->width * 4);
    if (!j->row)
        return rf_fail(err, RF_ERR_MEMORY, "%s: no memory for a row of %lld pixels", d->path,
                       (long long)d->width);
    while (j->jpeg.output_scanline < j->jpeg.output_height) {
        int64_t y = j->jpeg.output_scanline;
        jpeg_read_scanlines(&j->jpeg, &j->row, 1);
        if (cmyk)
            cmyk_to_rgb(j->row, d->width, j->jpeg.saw_Adobe_marker);
        rf_image_store_row(d, y, j->row, grey ? 1 : 3, false);
    }
    jpeg_finish_decompress(&j->jpeg);
    return RF_OK;
}

static rf_status decode(struct jpeg_decoder *j, rf_error *err)
{
    rf_image_decoder *d = j->image;
    j->jpeg.err = jpeg_std_error(&j->errors);
    j->errors.error_exit = failed;
    j->errors.emit_message = message;
    j->jpeg.client_data = j;
    if (setjmp(j->jump))
        return rf_fail(err, RF_ERR_FORMAT, "%s: JPEG: %s", d->path, j->message);
    jpeg_create_decompress(&j->jpeg);
    jpeg_save_markers(&j->jpeg, JPEG_APP0 + 1, 0xffff);
    jpeg_mem_src(&j->jpeg, d->bytes, d->n);
    jpeg_read_header(&j->jpeg, TRUE);
    for (jpeg_saved_marker_ptr m = j->jpeg.marker_list; m; m = m->next)
        if (d->orientation == 1)
            d->orientation = rf_exif_orientation(m->data, m->data_length);
    d->width = j->jpeg.image_width;
    d->height = j->jpeg.image_height;
    if (!d->out)
        return RF_OK;
    RF_TRY(rf_image_begin(d, MAX_PIXELS_PER_BYTE, err));
    return read_rows(j, err);
}

rf_status rf_jpeg_decode(rf_image_decoder *d, rf_error *err)
{
    struct jpeg_decoder j = {.image = d};
    rf_status status = decode(&j, err);
    jpeg_destroy_decompress(&j.jpeg);
    free(j.row);
    return status;
}
