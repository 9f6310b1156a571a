/* SPDX-License-Identifier: Apache-2.0
 *
 * PNG and JPEG through libpng and libjpeg. Both report errors by longjmp, so a decoder keeps all it
 * owns in one struct that outlives the jump.
 *
 * Images become f32 planes in [0,1] without colour management: networks are trained on the stored
 * sRGB values.
 */
#include <refold/io.h>

#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <png.h>

#include "loaders/image/image.h"
#include "runtime/base/file.h"
#include "runtime/base/status.h"

enum { MAX_SIDE = 1 << 20 };
/* More pixels than this is a hostile header, not a photograph. */
static const int64_t max_pixels = (int64_t)1 << 31;

void rf_buffer_free(rf_buffer *buffer)
{
    if (!buffer)
        return;
    free(buffer->memory);
    *buffer = (rf_buffer){.memory = NULL};
}

rf_status rf_buffer_alloc(rf_buffer *buffer, rf_error *err)
{
    size_t bytes = rf_tensor_bytes(&buffer->tensor);
    void *memory;
    if (posix_memalign(&memory, 64, bytes ? bytes : 1))
        return rf_fail(err, RF_ERR_MEMORY, "no memory for %zu bytes", bytes);
    buffer->memory = buffer->tensor.data = memory;
    buffer->memory_bytes = bytes;
    return RF_OK;
}

/* A file being decoded, and rows of its pixels. */
struct decoder {
    const char *path;
    FILE *file;
    rf_buffer *out;
    void *rows;          /* decoded rows: one, or all of an interlaced PNG */
    const void *samples; /* the row to store now */
    jmp_buf jump;
    char message[200];
    png_structp png;
    png_infop info;
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr jpeg_errors;
    bool jpeg_made;
    int64_t width, height;
    int orientation; /* EXIF 1..8 */
};

static rf_status begin_planes(struct decoder *d, int64_t width, int64_t height, rf_error *err)
{
    if (width < 1 || height < 1 || width > MAX_SIDE || height > MAX_SIDE ||
        width * height > max_pixels)
        return rf_fail(err, RF_ERR_FORMAT,
                       "%s: image of %lldx%lld pixels, expected 1x1 to 2^31 pixels", d->path,
                       (long long)width, (long long)height);
    d->width = width;
    d->height = height;
    int64_t dims[4] = {1, 3, height, width};
    RF_TRY(rf_tensor_init(&d->out->tensor, RF_F32, 4, dims, NULL, err));
    return rf_buffer_alloc(d->out, err);
}

/* Writes one row of n-channel samples (1 grey, 3 RGB) into the three planes. */
static void store_row(struct decoder *d, int64_t y, int n_channels, bool sixteen)
{
    float *planes = d->out->tensor.data;
    int64_t plane = d->width * d->height;
    for (int64_t x = 0; x < d->width; x++)
        for (int c = 0; c < 3; c++) {
            int64_t at = x * n_channels + (n_channels == 3 ? c : 0);
            float v = sixteen ? (float)((const uint16_t *)d->samples)[at] / 65535.0f
                              : (float)((const uint8_t *)d->samples)[at] / 255.0f;
            planes[c * plane + y * d->width + x] = v;
        }
}

static void png_failed(png_structp png, png_const_charp text)
{
    struct decoder *d = png_get_error_ptr(png);
    snprintf(d->message, sizeof d->message, "%s", text);
    longjmp(d->jump, 1);
}

static void png_warned(png_structp png, png_const_charp text)
{
    (void)png, (void)text;
}

static rf_status read_png(struct decoder *d, bool size_only, rf_error *err)
{
    if (setjmp(d->jump))
        return rf_fail(err, RF_ERR_FORMAT, "%s: PNG: %s", d->path, d->message);
    d->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, d, png_failed, png_warned);
    d->info = d->png ? png_create_info_struct(d->png) : NULL;
    if (!d->info)
        return rf_fail(err, RF_ERR_MEMORY, "%s: no memory for a PNG decoder", d->path);
    png_init_io(d->png, d->file);
    png_read_info(d->png, d->info);
    d->width = png_get_image_width(d->png, d->info);
    d->height = png_get_image_height(d->png, d->info);
    if (size_only)
        return RF_OK;
    bool sixteen = png_get_bit_depth(d->png, d->info) == 16;
    png_set_expand(d->png); /* palettes, 1-4 bit grey, tRNS */
    png_set_strip_alpha(d->png);
    png_set_gray_to_rgb(d->png);
    if (sixteen)
        png_set_swap(d->png); /* little-endian samples */
    int passes = png_set_interlace_handling(d->png);
    png_read_update_info(d->png, d->info);
    RF_TRY(begin_planes(d, d->width, d->height, err));
    size_t row_bytes = png_get_rowbytes(d->png, d->info);
    /* Interlaced rows are refined in place, so all of them are kept. */
    size_t rows = passes > 1 ? (size_t)d->height : 1;
    d->rows = malloc(row_bytes * rows);
    if (!d->rows)
        return rf_fail(err, RF_ERR_MEMORY, "%s: no memory for %zu bytes of pixels", d->path,
                       row_bytes * rows);
    for (int pass = 0; pass < passes; pass++)
        for (int64_t y = 0; y < d->height; y++) {
            uint8_t *row = (uint8_t *)d->rows + (rows > 1 ? (size_t)y * row_bytes : 0);
            png_read_row(d->png, row, NULL);
            d->samples = row;
            if (pass == passes - 1)
                store_row(d, y, 3, sixteen);
        }
    return RF_OK;
}

static void jpeg_failed(j_common_ptr info)
{
    struct decoder *d = info->client_data;
    char text[JMSG_LENGTH_MAX];
    info->err->format_message(info, text);
    snprintf(d->message, sizeof d->message, "%s", text);
    longjmp(d->jump, 1);
}

/* A warning means damaged data: what would be shown is not the picture. */
static void jpeg_message(j_common_ptr info, int level)
{
    if (level < 0)
        jpeg_failed(info);
}

static unsigned exif_u16(const uint8_t *p, bool big)
{
    return big ? p[0] << 8 | p[1] : p[1] << 8 | p[0];
}

static unsigned exif_u32(const uint8_t *p, bool big)
{
    return big ? exif_u16(p, big) << 16 | exif_u16(p + 2, big)
               : exif_u16(p + 2, big) << 16 | exif_u16(p, big);
}

/* Orientation tag of the first IFD of an APP1 Exif segment; 1 if there is none. */
int rf_exif_orientation(const uint8_t *p, size_t n)
{
    if (n < 14 || memcmp(p, "Exif\0\0", 6))
        return 1;
    p += 6;
    n -= 6;
    bool big = p[0] == 'M';
    size_t ifd = exif_u32(p + 4, big);
    if (ifd > n - 2)
        return 1;
    unsigned entries = exif_u16(p + ifd, big);
    for (unsigned i = 0; i < entries && ifd + 2 + (size_t)(i + 1) * 12 <= n; i++) {
        const uint8_t *e = p + ifd + 2 + (size_t)i * 12;
        if (exif_u16(e, big) == 0x0112) {
            unsigned o = exif_u16(e + 8, big);
            return o >= 1 && o <= 8 ? (int)o : 1;
        }
    }
    return 1;
}

static rf_status read_jpeg(struct decoder *d, bool size_only, rf_error *err)
{
    if (setjmp(d->jump))
        return rf_fail(err, RF_ERR_FORMAT, "%s: JPEG: %s", d->path, d->message);
    d->jpeg.err = jpeg_std_error(&d->jpeg_errors);
    d->jpeg_errors.error_exit = jpeg_failed;
    d->jpeg_errors.emit_message = jpeg_message;
    d->jpeg.client_data = d;
    jpeg_create_decompress(&d->jpeg);
    d->jpeg_made = true;
    jpeg_save_markers(&d->jpeg, JPEG_APP0 + 1, 0xffff);
    jpeg_stdio_src(&d->jpeg, d->file);
    jpeg_read_header(&d->jpeg, TRUE);
    d->orientation = 1;
    for (jpeg_saved_marker_ptr m = d->jpeg.marker_list; m; m = m->next)
        if (d->orientation == 1)
            d->orientation = rf_exif_orientation(m->data, m->data_length);
    d->width = d->jpeg.image_width;
    d->height = d->jpeg.image_height;
    if (size_only)
        return RF_OK;
    if (d->jpeg.jpeg_color_space == JCS_CMYK || d->jpeg.jpeg_color_space == JCS_YCCK)
        return rf_fail(err, RF_ERR_UNSUPPORTED, "%s: JPEG in CMYK, expected RGB or grey", d->path);
    d->jpeg.out_color_space = d->jpeg.num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_start_decompress(&d->jpeg);
    RF_TRY(begin_planes(d, d->jpeg.output_width, d->jpeg.output_height, err));
    d->samples = d->rows = malloc((size_t)d->width * 3);
    if (!d->rows)
        return rf_fail(err, RF_ERR_MEMORY, "%s: no memory for a row of %lld pixels", d->path,
                       (long long)d->width);
    while (d->jpeg.output_scanline < d->jpeg.output_height) {
        JSAMPROW row = d->rows;
        int64_t y = d->jpeg.output_scanline;
        jpeg_read_scanlines(&d->jpeg, &row, 1);
        store_row(d, y, d->jpeg.output_components == 1 ? 1 : 3, false);
    }
    jpeg_finish_decompress(&d->jpeg);
    return RF_OK;
}

/* Turns the planes the way the camera was held. */
static rf_status apply_orientation(struct decoder *d, rf_error *err)
{
    int o = d->orientation;
    if (o <= 1)
        return RF_OK;
    bool swap = o >= 5;
    int64_t w = d->width, h = d->height, ow = swap ? h : w, oh = swap ? w : h;
    int64_t dims[4] = {1, 3, oh, ow};
    rf_buffer turned = {.memory = NULL};
    RF_TRY(rf_tensor_init(&turned.tensor, RF_F32, 4, dims, NULL, err));
    RF_TRY(rf_buffer_alloc(&turned, err));
    const float *from = d->out->tensor.data;
    float *to = turned.tensor.data;
    bool flip_x = o == 2 || o == 3 || o == 7 || o == 8,
         flip_y = o == 3 || o == 4 || o == 6 || o == 7;
    for (int64_t c = 0; c < 3; c++)
        for (int64_t y = 0; y < oh; y++)
            for (int64_t x = 0; x < ow; x++) {
                int64_t sx = swap ? y : x, sy = swap ? x : y;
                sx = flip_x ? w - 1 - sx : sx;
                sy = flip_y ? h - 1 - sy : sy;
                to[(c * oh + y) * ow + x] = from[(c * h + sy) * w + sx];
            }
    rf_buffer_free(d->out);
    *d->out = turned;
    return RF_OK;
}

static rf_status decode(struct decoder *d, bool size_only, rf_error *err)
{
    uint8_t magic[8] = {0};
    d->file = fopen(d->path, "rb");
    if (!d->file)
        return rf_fail(err, RF_ERR_IO, "%s: %s", d->path, strerror(errno));
    size_t n = fread(magic, 1, sizeof magic, d->file);
    if (ferror(d->file))
        return rf_fail(err, RF_ERR_IO, "%s: %s", d->path, strerror(errno));
    rewind(d->file);
    if (n == 8 && !png_sig_cmp(magic, 0, 8))
        return read_png(d, size_only, err);
    if (n >= 3 && magic[0] == 0xff && magic[1] == 0xd8 && magic[2] == 0xff)
        return read_jpeg(d, size_only, err);
    return rf_fail(err, RF_ERR_FORMAT, "%s: expected a PNG or JPEG image, found other bytes",
                   d->path);
}

static void end_decoder(struct decoder *d)
{
    if (d->png)
        png_destroy_read_struct(&d->png, &d->info, NULL);
    if (d->jpeg_made)
        jpeg_destroy_decompress(&d->jpeg);
    free(d->rows);
    if (d->file)
        fclose(d->file);
}

rf_status rf_image_read(const char *path, rf_buffer *out, rf_error *err)
{
    struct decoder d = {.path = path, .out = out};
    *out = (rf_buffer){.memory = NULL};
    rf_status status = decode(&d, false, err);
    if (status == RF_OK)
        status = apply_orientation(&d, err);
    end_decoder(&d);
    if (status != RF_OK)
        rf_buffer_free(out);
    return status;
}

rf_status rf_image_size(const char *path, int64_t *out_width, int64_t *out_height, rf_error *err)
{
    struct decoder d = {.path = path};
    rf_status status = decode(&d, true, err);
    end_decoder(&d);
    *out_width = status != RF_OK ? 0 : d.orientation >= 5 ? d.height : d.width;
    *out_height = status != RF_OK ? 0 : d.orientation >= 5 ? d.width : d.height;
    return status;
}
