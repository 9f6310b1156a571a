/* SPDX-License-Identifier: Apache-2.0
 *
 * One image through a session, whole or in overlapping tiles.
 *
 * A tile is computed from a window that reaches `halo` pixels further on each side; window and tile
 * starts are multiples of `align`, so strided layers see the same phase as in the whole image. With
 * a halo of the receptive field, tiles equal the whole image except where the network pools
 * globally.
 */
#include "tools/cli/cli.h"

#include <stdlib.h>
#include <string.h>

static rf_status buffer_for(const rf_tensor *like, rf_buffer *out, rf_error *err)
{
    rf_status status = rf_tensor_init(&out->tensor, like->dtype, like->rank, like->dims, NULL, err);
    if (status != RF_OK)
        return status;
    return rf_buffer_alloc(out, err);
}

static rf_status run_once(rf_session *session, const rf_tensor *in, rf_buffer *out, rf_error *err)
{
    rf_tensor want;
    rf_status status = rf_session_prepare(session, in, 1, NULL, err);
    if (status == RF_OK)
        status = rf_session_output(session, 0, &want, err);
    if (status == RF_OK)
        status = buffer_for(&want, out, err);
    return status == RF_OK ? rf_session_run(session, in, 1, &out->tensor, 1, err) : status;
}

/* The part [y0,y1) x [x0,x1) of an image, sharing its memory. */
static rf_tensor view(const rf_tensor *image, int64_t y0, int64_t y1, int64_t x0, int64_t x1)
{
    rf_tensor v = *image;
    v.data = (float *)image->data + y0 * image->strides[2] + x0 * image->strides[3];
    v.dims[2] = y1 - y0;
    v.dims[3] = x1 - x0;
    return v;
}

static void copy_image(const rf_tensor *from, const rf_tensor *to)
{
    for (int64_t c = 0; c < from->dims[1]; c++)
        for (int64_t y = 0; y < from->dims[2]; y++)
            memcpy((float *)to->data + c * to->strides[1] + y * to->strides[2],
                   (const float *)from->data + c * from->strides[1] + y * from->strides[2],
                   (size_t)from->dims[3] * sizeof(float));
}

static int64_t window_end(int64_t tile_end, int64_t halo, int64_t size)
{
    return tile_end + halo < size ? tile_end + halo : size;
}

static rf_status run_tile(rf_session *session, const rf_tensor *image, int64_t y, int64_t x,
                          int64_t tile, int64_t halo, rf_tensor *out, rf_error *err)
{
    const int64_t h = image->dims[2], w = image->dims[3];
    int64_t ye = y + tile < h ? y + tile : h, xe = x + tile < w ? x + tile : w;
    int64_t wy = y > halo ? y - halo : 0, wx = x > halo ? x - halo : 0;
    rf_tensor window = view(image, wy, window_end(ye, halo, h), wx, window_end(xe, halo, w));
    rf_buffer part = {0};
    rf_status status = run_once(session, &window, &part, err);
    if (status == RF_OK) {
        rf_tensor from = view(&part.tensor, y - wy, ye - wy, x - wx, xe - wx),
                  to = view(out, y, ye, x, xe);
        copy_image(&from, &to);
    }
    rf_buffer_free(&part);
    return status;
}

static int64_t round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

rf_status run_image(rf_session *session, const rf_tensor *image, const struct tiling *t,
                    bool show_progress, rf_buffer *out, rf_error *err)
{
    const int64_t h = image->dims[2], w = image->dims[3];
    if (!t->tile || (h <= t->tile && w <= t->tile))
        return run_once(session, image, out, err);
    int64_t align = t->align > 0 ? t->align : 1, tile = round_up(t->tile, align),
            halo = round_up(t->halo, align);
    rf_status status = buffer_for(image, out, err);
    struct progress bar;
    progress_begin(&bar, "tiles",
                   show_progress ? (int)((h + tile - 1) / tile * ((w + tile - 1) / tile)) : 1);
    for (int64_t y = 0; y < h && status == RF_OK; y += tile)
        for (int64_t x = 0; x < w && status == RF_OK; x += tile) {
            status = run_tile(session, image, y, x, tile, halo, &out->tensor, err);
            progress_step(&bar);
        }
    progress_end(&bar);
    return status;
}
