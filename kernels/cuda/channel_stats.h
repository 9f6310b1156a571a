/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameters of the channel statistics (channel_stats.cu).
 */
#ifndef RF_CUDA_CHANNEL_STATS_H
#define RF_CUDA_CHANNEL_STATS_H

#include "kernels/cuda/abi.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    RF_CUDA_STATS_THREADS = 256,
    RF_CUDA_STATS_UNROLL = 4,       /* pixels that a thread of the row kernels has under way */
    RF_CUDA_STATS_CHUNK = 128,      /* pixels of a warp of the general kernel */
    RF_CUDA_STATS_MAX_PARTS = 1024, /* partial sums per image and channel of the row kernels */
};

/* Where the statistics go. Pixel i = y * w + x of the map lies at n * map_n + i * map_pixel (mean),
 * + map_channel (maximum); `partial` is [n][parts][c]. */
typedef struct rf_cuda_stats_out {
    void *map;
    int64_t map_n, map_channel, map_y, map_x;
    int32_t map_dtype;
    int32_t parts;
    float *partial;
} rf_cuda_stats_out;

/* NHWC rows: 2^lanes_log2 threads of 8 channels share a pixel; a block takes `per_block` units of
 * THREADS / lanes * UNROLL pixels. */
typedef struct rf_cuda_stats_rows_params {
    const void *x, *y; /* y, sum: NULL without the addition */
    void *sum;
    int64_t pixels; /* of an image */
    int32_t c, lanes_log2, per_block;
    rf_cuda_stats_out out;
} rf_cuda_stats_rows_params;

typedef struct rf_cuda_stats_tensor {
    void *data; /* NULL: absent */
    int64_t strides[4];
    int32_t dtype;
} rf_cuda_stats_tensor;

/* Any strides: a warp takes CHUNK pixels, which is one part. */
typedef struct rf_cuda_stats_any_params {
    rf_cuda_stats_tensor x, y, sum;
    int64_t n, pixels, w;
    int32_t c;
    rf_cuda_stats_out out;
} rf_cuda_stats_any_params;

/* The sums over the parts, divided by the pixels. */
typedef struct rf_cuda_stats_mean_params {
    const float *partial;
    void *mean;
    int64_t mean_n, mean_c, pixels;
    int32_t mean_dtype, c, parts;
} rf_cuda_stats_mean_params;
enum { RF_CUDA_STATS_SLICES = 16 }; /* of the parts, each summed by one thread per channel */

enum {
    RF_CUDA_STATS_ROWS_F32,
    RF_CUDA_STATS_ROWS_F16,
    RF_CUDA_STATS_ROWS_BF16,
    RF_CUDA_STATS_ANY,
    RF_CUDA_STATS_MEAN,
    RF_CUDA_CHANNEL_STATS_ENTRIES
};
extern const rf_cuda_entry rf_cuda_channel_stats_entries[RF_CUDA_CHANNEL_STATS_ENTRIES];

#ifdef __cplusplus
}
#endif
#endif
