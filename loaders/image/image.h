/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the image files: what every decoder fills, and the parser of EXIF that tests call.
 */
#ifndef RF_LOADERS_IMAGE_H
#define RF_LOADERS_IMAGE_H

#include <refold/io.h>
#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* More pixels than this (3 GiB of planes) is a hostile header: no network here could run on them.
 */
enum { RF_IMAGE_MAX_PIXELS = 1 << 28 };

/* A file in memory that is being decoded. */
typedef struct rf_image_decoder {
    const char *path; /* for messages */
    const uint8_t *bytes;
    size_t n;
    rf_buffer *out; /* NULL: only the size is wanted */
    int64_t width, height;
    int orientation; /* EXIF, 1 to 8 */
} rf_image_decoder;

rf_status rf_png_decode(rf_image_decoder *d, rf_error *err);
rf_status rf_jpeg_decode(rf_image_decoder *d, rf_error *err);

/* Allocates the planes for d->width x d->height pixels. `densest` is how many pixels one byte of a
 * file of this kind can hold at the very most: headers that promise more are refused before they
 * cost memory. */
rf_status rf_image_begin(rf_image_decoder *d, int64_t densest, rf_error *err);
/* Stores row y: samples of 8 or 16 bits, of 1 channel (repeated) or 3. */
void rf_image_store_row(const rf_image_decoder *d, int64_t y, const void *samples, int n_channels,
                        bool sixteen);

/* What rf_image_read does with the bytes of a file. */
rf_status rf_image_decode(const uint8_t *bytes, size_t n, const char *path, rf_buffer *out,
                          rf_error *err);
/* Orientation 1..8 in the first directory of EXIF data, as they stand in a JPEG APP1 segment
 * (behind "Exif\0\0") or in a PNG eXIf chunk (without, in most files); 1 where there is none. */
int rf_exif_orientation(const uint8_t *bytes, size_t n);

#ifdef __cplusplus
}
#endif
#endif
