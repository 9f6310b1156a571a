/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameters of the kernel for few input channels (conv_stem.cu).
 */
#ifndef RF_CUDA_CONV_STEM_H
#define RF_CUDA_CONV_STEM_H

#include "kernels/cuda/conv.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    RF_CUDA_STEM_THREADS = 256,
    RF_CUDA_STEM_PIXELS = 4,   /* of a thread */
    RF_CUDA_STEM_CHANNELS = 8, /* of a thread */
    RF_CUDA_STEM_WIDTH = 32    /* of a tile */
};

typedef struct rf_cuda_conv_stem_params {
    rf_cuda_conv_axis ay, ax;
    rf_cuda_conv_image x;
    const float *weights; /* [ic][ky][kx][oc_padded] */
    const float *bias;    /* [oc_padded] or NULL */
    rf_cuda_conv_out out;
    int32_t ic, oc, oc_padded, pad_mode; /* oc padded to whole rounds of a block */
    int32_t lanes_o;                     /* threads side by side along the channels: 1, 2, 4 */
    int32_t tile_h, patch_h, patch_w, tiles_x, tiles_y;
} rf_cuda_conv_stem_params;

enum { RF_CUDA_CONV_STEM, RF_CUDA_CONV_STEM_ENTRIES };
extern const rf_cuda_entry rf_cuda_conv_stem_entries[RF_CUDA_CONV_STEM_ENTRIES];

#ifdef __cplusplus
}
#endif
#endif
