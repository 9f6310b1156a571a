/* SPDX-License-Identifier: Apache-2.0
 *
 * Images out: encoded in memory, then written in one atomic step, so that a failure never leaves
 * half a picture.
 */
#include <refold/io.h>

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <jpeglib.h>
#include <png.h>

#include "runtime/base/file.h"
#include "runtime/core/strided.h"

enum { JPEG_QUALITY = 95 };

struct encoder {
    const char *path;
    uint8_t *pixels; /* interleaved rows */
    int64_t width, height, channels;
    uint8_t *bytes; /* the encoded file */
    size_t n_bytes;
    jmp_buf jump;
    char message[200];
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr jpeg_errors;
    unsigned char *jpeg_bytes;
    unsigned long n_jpeg_bytes;
};

static uint8_t to_byte(float v)
{
    if (!(v > 0)) /* NaN too */
        return 0;
    return v >= 1 ? 255 : (uint8_t)(v * 255.0f + 0.5f);
}

static rf_status interleave(struct encoder *e, const rf_tensor *t, rf_error *err)
{
    if (t->dtype != RF_F32 || t->rank != 4 || t->dims[0] != 1 ||
        (t->dims[1] != 1 && t->dims[1] != 3) || t->dims[2] < 1 || t->dims[3] < 1 ||
        t->dims[2] > 65500 * 16 || t->dims[3] > 65500 * 16)
        return rf_fail(err, RF_ERR_ARGUMENT,
                       "%s: expected an f32 image of shape 1x3xHxW or 1x1xHxW", e->path);
    e->channels = t->dims[1];
    e->height = t->dims[2];
    e->width = t->dims[3];
    e->pixels = malloc((size_t)(e->channels * e->height * e->width));
    if (!e->pixels)
        return rf_fail(err, RF_ERR_MEMORY, "%s: no memory for %lldx%lld pixels", e->path,
                       (long long)e->width, (long long)e->height);
    uint8_t *at = e->pixels;
    const float *data = t->data;
    for (int64_t y = 0; y < e->height; y++)
        for (int64_t x = 0; x < e->width; x++)
            for (int64_t c = 0; c < e->channels; c++)
                *at++ = to_byte(data[c * t->strides[1] + y * t->strides[2] + x * t->strides[3]]);
    return RF_OK;
}

static rf_status encode_png(struct encoder *e, rf_error *err)
{
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = (png_uint_32)e->width,
                       .height = (png_uint_32)e->height,
                       .format = e->channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY};
    png_alloc_size_t bound = PNG_IMAGE_PNG_SIZE_MAX(image);
    e->bytes = malloc(bound);
    if (!e->bytes)
        return rf_fail(err, RF_ERR_MEMORY, "%s: no memory for %zu bytes of PNG", e->path,
                       (size_t)bound);
    if (!png_image_write_to_memory(&image, e->bytes, &bound, 0, e->pixels, 0, NULL))
        return rf_fail(err, RF_ERR_INTERNAL, "%s: PNG: %s", e->path, image.message);
    e->n_bytes = bound;
    return RF_OK;
}

static void jpeg_failed(j_common_ptr info)
{
    struct encoder *e = info->client_data;
    char text[JMSG_LENGTH_MAX];
    info->err->format_message(info, text);
    snprintf(e->message, sizeof e->message, "%s", text);
    longjmp(e->jump, 1);
}

static rf_status encode_jpeg(struct encoder *e, rf_error *err)
{
    if (e->width > JPEG_MAX_DIMENSION || e->height > JPEG_MAX_DIMENSION)
        return rf_fail(err, RF_ERR_ARGUMENT,
                       "%s: JPEG holds at most %ld pixels a side, found %lldx%lld", e->path,
                       JPEG_MAX_DIMENSION, (long long)e->width, (long long)e->height);
    if (setjmp(e->jump)) {
        jpeg_destroy_compress(&e->jpeg);
        return rf_fail(err, RF_ERR_INTERNAL, "%s: JPEG: %s", e->path, e->message);
    }
    e->jpeg.err = jpeg_std_error(&e->jpeg_errors);
    e->jpeg_errors.error_exit = jpeg_failed;
    e->jpeg.client_data = e;
    jpeg_create_compress(&e->jpeg);
    jpeg_mem_dest(&e->jpeg, &e->jpeg_bytes, &e->n_jpeg_bytes);
    e->jpeg.image_width = (JDIMENSION)e->width;
    e->jpeg.image_height = (JDIMENSION)e->height;
    e->jpeg.input_components = (int)e->channels;
    e->jpeg.in_color_space = e->channels == 3 ? JCS_RGB : JCS_GRAYSCALE;
    jpeg_set_defaults(&e->jpeg);
    jpeg_set_quality(&e->jpeg, JPEG_QUALITY, TRUE);
    jpeg_start_compress(&e->jpeg, TRUE);
    while (e->jpeg.next_scanline < e->jpeg.image_height) {
        JSAMPROW row = e->pixels + (size_t)(e->jpeg.next_scanline * e->width * e->channels);
        jpeg_write_scanlines(&e->jpeg, &row, 1);
    }
    jpeg_finish_compress(&e->jpeg);
    jpeg_destroy_compress(&e->jpeg);
    e->bytes = e->jpeg_bytes;
    e->n_bytes = e->n_jpeg_bytes;
    e->jpeg_bytes = NULL;
    return RF_OK;
}

static rf_status encode(struct encoder *e, const rf_tensor *image, rf_error *err)
{
    const char *dot = strrchr(e->path, '.');
    bool png = dot && !strcasecmp(dot, ".png");
    if (!png && !(dot && (!strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg"))))
        return rf_fail(err, RF_ERR_ARGUMENT, "%s: expected a name ending in .png, .jpg or .jpeg",
                       e->path);
    RF_TRY(interleave(e, image, err));
    return png ? encode_png(e, err) : encode_jpeg(e, err);
}

static rf_status write_bytes(const struct encoder *e, rf_error *err)
{
    rf_env *env;
    rf_file_writer *writer = NULL;
    rf_status status;
    RF_TRY(rf_env_create(NULL, &env, err));
    RF_TRY_DONE(rf_file_writer_open(env, e->path, &writer, err));
    RF_TRY_DONE(rf_file_writer_write(writer, e->bytes, e->n_bytes, err));
    RF_TRY_DONE(rf_file_writer_commit(&writer, err));
done:
    rf_file_writer_destroy(&writer);
    rf_env_release(&env);
    return status;
}

rf_status rf_image_write(const char *path, const rf_tensor *image, rf_error *err)
{
    struct encoder e = {.path = path};
    RF_TRY(rf_tensor_check(image, path, err));
    rf_status status = encode(&e, image, err);
    if (status == RF_OK)
        status = write_bytes(&e, err);
    free(e.pixels);
    free(e.bytes);
    free(e.jpeg_bytes);
    return status;
}
