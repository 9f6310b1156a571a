/* SPDX-License-Identifier: Apache-2.0
 *
 * Images in: the format is found from the bytes, a decoder fills three planes of f32 in [0,1], EXIF
 * says which way is up. No colour management: networks are trained on the stored sRGB values.
 * Files are mapped and decoded from memory, so that their size bounds what a header may ask for.
 */
#include "loaders/image/image.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/base/file.h"

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

rf_status rf_image_begin(rf_image_decoder *d, int64_t densest, rf_error *err)
{
    const int64_t most = RF_IMAGE_MAX_PIXELS, dims[4] = {1, 3, d->height, d->width};
    if (d->width < 1 || d->height < 1 || d->width > most / d->height)
        return rf_fail(err, RF_ERR_FORMAT,
                       "%s: image of %lldx%lld pixels, expected 1 to 2^28 pixels", d->path,
                       (long long)d->width, (long long)d->height);
    if ((uint64_t)(d->width * d->height) / (uint64_t)densest > d->n)
        return rf_fail(err, RF_ERR_FORMAT,
                       "%s: image of %lldx%lld pixels, but the file has only %zu bytes", d->path,
                       (long long)d->width, (long long)d->height, d->n);
    RF_TRY(rf_tensor_init(&d->out->tensor, RF_F32, 4, dims, NULL, err));
    return rf_buffer_alloc(d->out, err);
}

void rf_image_store_row(const rf_image_decoder *d, int64_t y, const void *samples, int n_channels,
                        bool sixteen)
{
    float *planes = d->out->tensor.data;
    int64_t plane = d->width * d->height;
    for (int64_t x = 0; x < d->width; x++)
        for (int c = 0; c < 3; c++) {
            int64_t at = x * n_channels + (n_channels == 3 ? c : 0);
            float v = sixteen ? (float)((const uint16_t *)samples)[at] / 65535.0f
                              : (float)((const uint8_t *)samples)[at] / 255.0f;
            planes[c * plane + y * d->width + x] = v;
        }
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

int rf_exif_orientation(const uint8_t *p, size_t n)
{
    static const char header[] = "Exif\0";
    if (n >= sizeof header && !memcmp(p, header, sizeof header)) {
        p += sizeof header;
        n -= sizeof header;
    }
    if (n < 8 || (memcmp(p, "II*\0", 4) && memcmp(p, "MM\0*", 4)))
        return 1;
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

/* Turns the planes the way the camera was held. */
static rf_status apply_orientation(rf_image_decoder *d, rf_error *err)
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

static rf_status decode(rf_image_decoder *d, rf_error *err)
{
    if (d->n >= 8 && !memcmp(d->bytes, "\x89PNG\r\n\x1a\n", 8))
        return rf_png_decode(d, err);
    if (d->n >= 3 && !memcmp(d->bytes, "\xff\xd8\xff", 3))
        return rf_jpeg_decode(d, err);
    return rf_fail(err, RF_ERR_FORMAT, "%s: expected a PNG or JPEG image, found %s", d->path,
                   d->n ? "other bytes" : "an empty file");
}

rf_status rf_image_decode(const uint8_t *bytes, size_t n, const char *path, rf_buffer *out,
                          rf_error *err)
{
    rf_image_decoder d = {.path = path, .bytes = bytes, .n = n, .out = out, .orientation = 1};
    *out = (rf_buffer){.memory = NULL};
    rf_status status = decode(&d, err);
    if (status == RF_OK)
        status = apply_orientation(&d, err);
    if (status != RF_OK)
        rf_buffer_free(out);
    return status;
}

/* The file stays mapped until *blob is released. */
static rf_status map(const char *path, rf_blob **blob, rf_error *err)
{
    rf_env *env;
    *blob = NULL;
    RF_TRY(rf_env_create(NULL, &env, err));
    rf_status status = rf_blob_map_file(env, path, blob, err);
    rf_env_release(&env);
    return status;
}

rf_status rf_image_read(const char *path, rf_buffer *out, rf_error *err)
{
    rf_blob *blob;
    *out = (rf_buffer){.memory = NULL};
    RF_TRY(map(path, &blob, err));
    rf_status status = rf_image_decode(rf_blob_data(blob), rf_blob_bytes(blob), path, out, err);
    rf_blob_release(&blob);
    return status;
}

rf_status rf_image_size(const char *path, int64_t *out_width, int64_t *out_height, rf_error *err)
{
    rf_blob *blob;
    *out_width = *out_height = 0;
    RF_TRY(map(path, &blob, err));
    rf_image_decoder d = {
        .path = path, .bytes = rf_blob_data(blob), .n = rf_blob_bytes(blob), .orientation = 1};
    rf_status status = decode(&d, err);
    if (status == RF_OK) {
        *out_width = d.orientation >= 5 ? d.height : d.width;
        *out_height = d.orientation >= 5 ? d.width : d.height;
    }
    rf_blob_release(&blob);
    return status;
}
