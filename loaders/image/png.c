/* SPDX-License-Identifier: Apache-2.0
 *
 * PNG through libpng, which reports errors by longjmp: everything that a decoder owns is in one
 * struct that outlives the jump.
 */
#include "loaders/image/image.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>
#include <zlib.h>

/* Deflate packs 258 bytes into 2 bits at best: 1032 to 1 (zlib's technical notes). */
enum { DEFLATE_RATIO = 1032 };

struct png_decoder {
    rf_image_decoder *image;
    size_t at; /* bytes read */
    png_structp png;
    png_infop info;
    uint8_t *rows; /* decoded rows: one, or all of an interlaced image */
    jmp_buf jump;
    char message[160];
};

static void failed(png_structp png, png_const_charp text)
{
    struct png_decoder *p = png_get_error_ptr(png);
    snprintf(p->message, sizeof p->message, "%s", text);
    longjmp(p->jump, 1);
}

static void warned(png_structp png, png_const_charp text)
{
    (void)png, (void)text;
}

static void read_bytes(png_structp png, png_bytep out, size_t n)
{
    struct png_decoder *p = png_get_io_ptr(png);
    if (n > p->image->n - p->at)
        png_error(png, "the file is truncated");
    memcpy(out, p->image->bytes + p->at, n);
    p->at += n;
}

static size_t read_length(const uint8_t *p)
{
    return (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
}

/* As with every chunk that is not needed for the pixels, a damaged one is as good as none. */
static bool is_intact(const uint8_t *chunk, size_t length)
{
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
    (void)chunk, (void)length;
    return true;
#else
    return crc32(0, chunk + 4, (uInt)length + 4) == read_length(chunk + 8 + length);
#endif
}

/* eXIf may stand behind the pixels, and the size of the picture is wanted without decoding those:
 * so the chunks are walked here. */
static int find_orientation(const rf_image_decoder *d)
{
    size_t at = 8; /* behind the signature */
    while (d->n - at >= 12) {
        const uint8_t *chunk = d->bytes + at;
        size_t length = read_length(chunk);
        if (length > d->n - at - 12 || !memcmp(chunk + 4, "IEND", 4))
            break;
        if (!memcmp(chunk + 4, "eXIf", 4))
            return is_intact(chunk, length) ? rf_exif_orientation(chunk + 8, length) : 1;
        at += length + 12;
    }
    return 1;
}

static rf_status read_rows(struct png_decoder *p, int passes, bool sixteen, rf_error *err)
{
    rf_image_decoder *d = p->image;
    size_t row_bytes = png_get_rowbytes(p->png, p->info);
    /* Interlaced rows are refined in place, so all of them are kept. */
    size_t rows = passes > 1 ? (size_t)d->height : 1;
    p->rows = malloc(row_bytes * rows);
    if (!p->rows)
        return rf_fail(err, RF_ERR_MEMORY, "%s: no memory for %zu bytes of pixels", d->path,
                       row_bytes * rows);
    for (int pass = 0; pass < passes; pass++)
        for (int64_t y = 0; y < d->height; y++) {
            uint8_t *row = p->rows + (rows > 1 ? (size_t)y * row_bytes : 0);
            png_read_row(p->png, row, NULL);
            if (pass == passes - 1)
                rf_image_store_row(d, y, row, 3, sixteen);
        }
    png_read_end(p->png, NULL); /* a missing end means that the file was cut */
    return RF_OK;
}

static rf_status decode(struct png_decoder *p, rf_error *err)
{
    rf_image_decoder *d = p->image;
    if (setjmp(p->jump))
        return rf_fail(err, RF_ERR_FORMAT, "%s: PNG: %s", d->path, p->message);
    p->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, p, failed, warned);
    p->info = p->png ? png_create_info_struct(p->png) : NULL;
    if (!p->info)
        return rf_fail(err, RF_ERR_MEMORY, "%s: no memory for a PNG decoder", d->path);
    png_set_read_fn(p->png, p, read_bytes);
    /* find_orientation reads it; libpng would allocate what the chunk claims to hold, up to 2 GiB.
     */
    png_set_keep_unknown_chunks(p->png, PNG_HANDLE_CHUNK_NEVER, (png_const_bytep) "eXIf", 1);
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
    png_set_crc_action(p->png, PNG_CRC_QUIET_USE,
                       PNG_CRC_QUIET_USE); /* fuzzers do not guess them */
#endif
    png_read_info(p->png, p->info);
    d->width = png_get_image_width(p->png, p->info);
    d->height = png_get_image_height(p->png, p->info);
    d->orientation = find_orientation(d);
    if (!d->out)
        return RF_OK;
    int bits = png_get_bit_depth(p->png, p->info) * png_get_channels(p->png, p->info);
    bool sixteen = png_get_bit_depth(p->png, p->info) == 16;
    RF_TRY(rf_image_begin(d, DEFLATE_RATIO * 8 / bits, err));
    png_set_expand(p->png); /* palettes, 1-4 bit grey, tRNS */
    png_set_strip_alpha(p->png);
    png_set_gray_to_rgb(p->png);
    if (sixteen)
        png_set_swap(p->png); /* little-endian samples */
    int passes = png_set_interlace_handling(p->png);
    png_read_update_info(p->png, p->info);
    return read_rows(p, passes, sixteen, err);
}

rf_status rf_png_decode(rf_image_decoder *d, rf_error *err)
{
    struct png_decoder p = {.image = d};
    rf_status status = decode(&p, err);
    if (p.png)
        png_destroy_read_struct(&p.png, &p.info, NULL);
    free(p.rows);
    return status;
}
