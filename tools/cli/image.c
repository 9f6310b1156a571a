/* SPDX-License-Identifier: Apache-2.0
 *
 * One image through a session, whole or in overlapping tiles.
 *
 * A tile is computed from a window that reaches `halo` pixels further on each side; window and tile
 * starts are multiples of `align`, so strided layers see the same phase as in the whole image. With
 * a halo of the receptive field, tiles equal the whole image except where the network pools
 * globally. There neighbours differ a little in tone, and a border would show as a line: they are
 * mixed across it, with weights that add up to 1 everywhere.
 *
 * Tiles are made equal, so that no sliver is left at the end and few shapes are planned.
 */
#include "tools/cli/cli.h"

#include <stdio.h>
#include <string.h>

enum { BLEND = 32 }; /* pixels on each side of a border */

static rf_status run_once(rf_session *session, const rf_tensor *in, rf_buffer *out, rf_error *err)
{
    rf_status status = rf_session_prepare(session, in, 1, NULL, err);
    if (status == RF_OK)
        status = rf_session_output(session, 0, &out->tensor, err);
    if (status == RF_OK)
        status = rf_buffer_alloc(out, err);
    return status == RF_OK ? cli_run(session, in, 1, &out->tensor, 1, err) : status;
}

static int64_t round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}
static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Tiles along one side of the image. */
struct side {
    int64_t size, tile, halo, blend;
    int64_t n;
};

static struct side divide(int64_t size, const struct tiling *t)
{
    int64_t align = most(t->align, 1), count = (size + t->tile - 1) / t->tile;
    struct side s = {.size = size,
                     .tile = least(round_up((size + count - 1) / count, align), size),
                     .halo = round_up(t->halo, align)};
    s.n = (size + s.tile - 1) / s.tile;
    /* Inside the halo, where both neighbours are good, and no pixel lies in two borders. */
    s.blend = t->blend && s.n > 1 ? least(least(BLEND, s.halo), s.tile / 2) : 0;
    return s;
}

/* Tile k: what it is computed from, and which part of that is used. */
struct span {
    int64_t from, to, use_from, use_to;
};

static struct span span_of(const struct side *s, int64_t k)
{
    int64_t begin = k * s->tile, end = least(begin + s->tile, s->size);
    return (struct span){most(begin - s->halo, 0), least(end + s->halo, s->size),
                         most(begin - s->blend, 0), least(end + s->blend, s->size)};
}

/* Share of tile k in position x of an image that is `scale` times as large: 1 inside, and a ramp
 * across each border that ends where the neighbour's begins. */
static float share(const struct side *s, int64_t k, int64_t x, int64_t scale)
{
    const float width = 2.0f * (float)(s->blend * scale);
    float left = 1, right = 1;
    if (!s->blend)
        return 1;
    if (k > 0)
        left = ((float)(x - (k * s->tile - s->blend) * scale) + 0.5f) / width;
    if (k + 1 < s->n)
        right = ((float)(((k + 1) * s->tile + s->blend) * scale - x) - 0.5f) / width;
    left = left < 0 ? 0 : left > 1 ? 1 : left;
    right = right < 0 ? 0 : right > 1 ? 1 : right;
    return left + right - 1 > 0 ? left + right - 1 : 0;
}

static void add_tile(const struct side side[2], const int64_t k[2], const struct span span[2],
                     int64_t scale, const rf_tensor *part, const rf_tensor *out)
{
    for (int64_t c = 0; c < out->dims[1]; c++)
        for (int64_t y = span[0].use_from * scale; y < span[0].use_to * scale; y++) {
            float row_share = share(&side[0], k[0], y, scale);
            const float *from = (const float *)part->data + c * part->strides[1] +
                                (y - span[0].from * scale) * part->strides[2];
            float *to = (float *)out->data + c * out->strides[1] + y * out->strides[2];
            for (int64_t x = span[1].use_from * scale; x < span[1].use_to * scale; x++)
                to[x] +=
                    row_share * share(&side[1], k[1], x, scale) * from[x - span[1].from * scale];
        }
}

/* Pixels of the result per pixel of the image, found from the first tile, which also makes the
 * result. */
static rf_status begin_result(const rf_tensor *window, const rf_tensor *part,
                              const struct side side[2], int64_t *scale, rf_buffer *out,
                              rf_error *err)
{
    *scale = window->dims[2] ? part->dims[2] / window->dims[2] : 0;
    if (part->rank != 4 || part->dtype != RF_F32 || *scale < 1 ||
        part->dims[2] != window->dims[2] * *scale || part->dims[3] != window->dims[3] * *scale) {
        *err = (rf_error){.code = RF_ERR_UNSUPPORTED};
        snprintf(err->text, sizeof err->text,
                 "--tile: the network makes %lldx%lld of a tile of %lldx%lld, expected a whole "
                 "multiple",
                 (long long)part->dims[3], (long long)part->dims[2], (long long)window->dims[3],
                 (long long)window->dims[2]);
        return err->code;
    }
    const int64_t dims[4] = {1, part->dims[1], side[0].size * *scale, side[1].size * *scale};
    rf_status status = rf_tensor_init(&out->tensor, RF_F32, 4, dims, NULL, err);
    if (status == RF_OK)
        status = rf_buffer_alloc(out, err);
    if (status == RF_OK)
        memset(out->tensor.data, 0, out->memory_bytes);
    return status;
}

static rf_status run_tile(rf_session *session, const rf_tensor *image, const struct side side[2],
                          const int64_t k[2], int64_t *scale, rf_buffer *out, rf_error *err)
{
    struct span span[2] = {span_of(&side[0], k[0]), span_of(&side[1], k[1])};
    rf_tensor window = *image;
    rf_buffer part = {.memory = NULL};
    window.data = (float *)image->data + span[0].from * image->strides[2] + span[1].from;
    window.dims[2] = span[0].to - span[0].from;
    window.dims[3] = span[1].to - span[1].from;
    rf_status status = run_once(session, &window, &part, err);
    if (status == RF_OK && !out->memory)
        status = begin_result(&window, &part.tensor, side, scale, out, err);
    if (status == RF_OK)
        add_tile(side, k, span, *scale, &part.tensor, &out->tensor);
    rf_buffer_free(&part);
    return status;
}

rf_status run_image(rf_session *session, const rf_tensor *image, const struct tiling *t,
                    bool show_progress, rf_buffer *out, rf_error *err)
{
    if (!t->tile || (image->dims[2] <= t->tile && image->dims[3] <= t->tile))
        return run_once(session, image, out, err);
    const struct side side[2] = {divide(image->dims[2], t), divide(image->dims[3], t)};
    int64_t scale = 1;
    rf_status status = RF_OK;
    struct progress bar;
    progress_begin(&bar, "tiles", show_progress ? (int)(side[0].n * side[1].n) : 1);
    for (int64_t y = 0; y < side[0].n && status == RF_OK; y++)
        for (int64_t x = 0; x < side[1].n && status == RF_OK; x++) {
            const int64_t k[2] = {y, x};
            status = run_tile(session, image, side, k, &scale, out, err);
            progress_step(&bar);
        }
    progress_end(&bar);
    return status;
}
