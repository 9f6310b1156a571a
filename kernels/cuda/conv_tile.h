/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameters of the tiled convolution kernels (conv_tile.cu). conv_tile.c chooses the numbers.
 */
#ifndef RF_CUDA_CONV_TILE_H
#define RF_CUDA_CONV_TILE_H

#include "kernels/cuda/conv.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    RF_CUDA_CONV_CHUNK = 64, /* bytes of one pixel's channels in a step: 32 halves or 16 floats */
    RF_CUDA_CONV_PITCH = 80, /* bytes from pixel to pixel in shared memory */
    RF_CUDA_CONV_AHEAD = 3   /* steps that are loaded ahead when weights are streamed */
};

typedef struct rf_cuda_conv_tile_params {
    rf_cuda_conv_axis ay, ax;
    const void *x;       /* dense NHWC, channels of a group in whole 16-byte pieces */
    const void *weights; /* [group][o block][chunk][tap][step_bytes] */
    const float *bias;   /* [group][o block][bn] or NULL */
    rf_cuda_conv_out out;
    int32_t pixel_bytes, group_bytes;     /* of x: of all channels, of those of one group */
    int32_t group_oc, o_blocks, pad_mode; /* o blocks of one group */
    int32_t bm, bn, log_tw;               /* tile: pixels, channels, log2 of its width */
    int32_t chunks;                       /* of a group's channels */
    int32_t step_bytes;                   /* weights of one tap and chunk */
    int32_t patch_w, patch_pixels;        /* input pixels that a tile needs */
    uint32_t patch_magic;                 /* i / patch_w = i * magic >> 32 */
    int32_t patches;                      /* that fit the ring in shared memory */
    int32_t tiles_x, tiles_y, n_tiles;    /* n_tiles: of all images */
} rf_cuda_conv_tile_params;

/* f32 arithmetic for each dtype of x: weights streamed, few output channels; tensor cores: weights
 * streamed, resident. */
enum {
    RF_CUDA_CONV_FMA_F32 = 0,
    RF_CUDA_CONV_FMA_F16 = 2,
    RF_CUDA_CONV_FMA_BF16 = 4,
    RF_CUDA_CONV_MMA_F16 = 6,
    RF_CUDA_CONV_MMA_BF16 = 8,
    RF_CUDA_CONV_TILE_ENTRIES = 10
};
extern const rf_cuda_entry rf_cuda_conv_tile_entries[RF_CUDA_CONV_TILE_ENTRIES];

#ifdef __cplusplus
}
#endif
#endif
