/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameters of pixel attention: the kernels of pixel_attention.cu, and the packed weights that
 * they share with pixel_attention.c.
 */
#ifndef RF_CUDA_PIXEL_ATTENTION_H
#define RF_CUDA_PIXEL_ATTENTION_H

#include "kernels/cuda/abi.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    RF_CUDA_PA_THREADS = 256,
    RF_CUDA_PA_TILE = 16,     /* rows and columns of a block */
    RF_CUDA_PA_CHANNELS = 32, /* of a block */
    RF_CUDA_PA_MAX_K = 7,
    /* Shared memory: planes of r and s, and x; as much again as x for y */
    RF_CUDA_PA_HALF_SHARED = 4 * (8 * 22 * 48 + 32) + 22 * 48 + 16384,
    RF_CUDA_PA_HALF_SHARED_Y = 16384,
    RF_CUDA_PA_F32_SHARED = 22 * 22 * 32 * 4 + 22 * 24 * 4,
    /* s: a block's columns (a warp) and rows, and rows per thread */
    RF_CUDA_PA_S_COLS = 32,
    RF_CUDA_PA_S_ROWS = 16,
    RF_CUDA_PA_S_STEP = 4,
};

/* The window weights of one channel and source (0: r, 1: s) for B fragments of m16n8k16, banded:
 * b(k, n) = w[k - n], where w is a row of the window. A register holds two neighbours of w: 4 pairs
 * begin at an even place, (w0,w1) (w2,w3) (w4,w5) (w6,0), 4 at an odd one, (0,w0) (w1,w2) (w3,w4)
 * (w5,w6). Of each pair all rows of the window lie together. Those of s are f16, those of r have
 * r's dtype. */
enum {
    RF_CUDA_PA_PAIRS = 8,
    RF_CUDA_PA_PAIR_ROWS = 8, /* 7 and one of zeros: two uint4 */
    RF_CUDA_PA_SOURCE_WORDS = RF_CUDA_PA_PAIRS * RF_CUDA_PA_PAIR_ROWS,
};

typedef struct rf_cuda_pa_tensor {
    void *data; /* NULL: absent */
    int64_t strides[4];
    int32_t dtype;
} rf_cuda_pa_tensor;

/* s = conv(map; w) + b, into a dense plane per image: f32 for f32 tiles, f16 for both halves. */
typedef struct rf_cuda_pa_s_params {
    const void *map; /* f32 */
    int64_t map_n, map_channel, map_y, map_x;
    void *s;
    int32_t h, w;
    float bias, weights[2 * RF_CUDA_PA_MAX_K * RF_CUDA_PA_MAX_K];
} rf_cuda_pa_s_params;

/* NHWC tiles: TILE x TILE pixels x CHANNELS. r, x, y and out have one dtype. */
typedef struct rf_cuda_pa_tile_params {
    const void *r, *x, *y; /* y NULL: mode gate */
    void *out;
    const void *s;
    const void *weights; /* half: [c][2][SOURCE_WORDS] words; f32: [2][k * k][c] */
    const float *sums;   /* [c]: of the window over s */
    const void *bias;
    rf_cuda_pa_tensor ca;
    int32_t bias_dtype;
    int32_t c, h, w, c_blocks;
} rf_cuda_pa_tile_params;

/* Any strides and any k; s is a dense f32 plane per image, made by the same parameters. */
typedef struct rf_cuda_pa_any_params {
    rf_cuda_pa_tensor r, map, ca, sa_w, sa_b, pa_w, pa_b, x, y, out;
    float *s;
    int64_t n, c, h, w;
    int32_t k;
    int32_t channels_last; /* order of the walk: out's innermost dim is the channel */
} rf_cuda_pa_any_params;

/* Of the kernels made per dtype and window: + (k / 2 - 1). */
enum {
    RF_CUDA_PA_S_F32 = 0,
    RF_CUDA_PA_S_F16 = 3,
    RF_CUDA_PA_F32 = 6,
    RF_CUDA_PA_F16 = 9,
    RF_CUDA_PA_BF16 = 12,
    RF_CUDA_PA_ANY_S = 15,
    RF_CUDA_PA_ANY,
    RF_CUDA_PIXEL_ATTENTION_ENTRIES
};
extern const rf_cuda_entry rf_cuda_pixel_attention_entries[RF_CUDA_PIXEL_ATTENTION_ENTRIES];

#ifdef __cplusplus
}
#endif
#endif
