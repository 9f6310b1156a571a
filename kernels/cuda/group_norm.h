/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameters of the group and batch norm kernels (group_norm.cu).
 */
#ifndef RF_CUDA_GROUP_NORM_H
#define RF_CUDA_GROUP_NORM_H

#include "kernels/cuda/abi.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A vector of one number for each channel; data NULL: absent. */
typedef struct rf_cuda_channel_vector {
    const void *data;
    int64_t stride;
    int32_t dtype;
} rf_cuda_channel_vector;

/* How a channel's elements turn into y: act((x - mean) * scale + bias). */
typedef struct rf_cuda_affine {
    float mean, scale, bias, unused; /* 16 bytes */
} rf_cuda_affine;

typedef struct rf_cuda_group_norm_params {
    /* One group of one image. Operand 0: y, 1: x, 2: the channel's index in the group. */
    rf_cuda_nd group;
    int64_t y_strides[2], x_strides[2]; /* of image and channel */
    int64_t images, channels;
    int32_t groups;
    rf_cuda_channel_vector w, b;
    float eps;
    rf_cuda_act act;
} rf_cuda_group_norm_params;

/* The first of three steps: mean and sum of squares about it of every channel of every part of an
 * image's space. */
typedef struct rf_cuda_group_parts_params {
    rf_cuda_nd space;                            /* operand 0: x, of one image and channel */
    int64_t x_strides[2], channels, part, parts; /* part: elements of one */
    float *out;                                  /* [image][channel][part][mean, squares] */
} rf_cuda_group_parts_params;

/* The second: [image][channel] affine. */
typedef struct rf_cuda_group_affine_params {
    const float *parts_of;
    rf_cuda_affine *out;
    int64_t space, part, parts, channels;
    int32_t groups;
    rf_cuda_channel_vector w, b;
    float eps;
} rf_cuda_group_affine_params;

/* The third, and all of batch norm. Operand 0: y, 1: x, 2: the channel, 3: the image. */
typedef struct rf_cuda_apply_affine_params {
    rf_cuda_nd nd;
    const rf_cuda_affine *affine; /* [image][channel] */
    int64_t channels;
    int32_t by8; /* the walk goes in whole pieces of 8 of y and x */
    rf_cuda_act act;
} rf_cuda_apply_affine_params;

typedef struct rf_cuda_batch_norm_params {
    rf_cuda_nd nd; /* operand 0: y, 1: x, 2: the channel */
    rf_cuda_channel_vector scale, bias, mean, variance;
    float eps;
} rf_cuda_batch_norm_params;

enum {
    RF_CUDA_GROUP_NORM,
    RF_CUDA_GROUP_PARTS,
    RF_CUDA_GROUP_PARTS_NHWC,
    RF_CUDA_GROUP_AFFINE,
    RF_CUDA_APPLY_AFFINE,
    RF_CUDA_BATCH_NORM,
    RF_CUDA_GROUP_NORM_ENTRIES
};
extern const rf_cuda_entry rf_cuda_group_norm_entries[RF_CUDA_GROUP_NORM_ENTRIES];

#ifdef __cplusplus
}
#endif
#endif
