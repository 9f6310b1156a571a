/* SPDX-License-Identifier: Apache-2.0
 *
 * Files around a model: images and .npy arrays. Writers are atomic: a complete file or none.
 */
#ifndef REFOLD_IO_H
#define REFOLD_IO_H

#include <refold/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An owned tensor: release with rf_buffer_free. Its memory is the C library's, because it belongs
 * to no object that hooks could have been given to. */
typedef struct rf_buffer {
    rf_tensor tensor; /* contiguous */
    void *memory;     /* private */
    size_t memory_bytes;
} rf_buffer;
RF_API void rf_buffer_free(rf_buffer *buffer);
/* Gives buffer->tensor (made by rf_tensor_init, data NULL) memory of its own, uninitialised. */
RF_API RF_NODISCARD rf_status rf_buffer_alloc(rf_buffer *buffer, rf_error *err);

/* Reads a PNG or JPEG (found from its bytes) as f32 (1,3,H,W), RGB in [0,1]. Grey is repeated, 16
 * bit keeps its precision, palettes are expanded, alpha is dropped, CMYK is converted without
 * colour management, EXIF orientation is applied. Up to 2^28 pixels, and no more than the
 * bytes of the file can hold. Truncated and damaged files are refused. Fails: RF_ERR_IO,
 * RF_ERR_FORMAT, RF_ERR_MEMORY; the text names the file. */
RF_API RF_NODISCARD rf_status rf_image_read(const char *path, rf_buffer *out, rf_error *err);
/* Width and height without decoding the pixels. */
RF_API RF_NODISCARD rf_status rf_image_size(const char *path, int64_t *out_width,
                                            int64_t *out_height, rf_error *err);
/* Writes f32 (1,3,H,W) or (1,1,H,W), clamped to [0,1] and rounded to 8 bits, as PNG or JPEG by the
 * name's ending (.png, .jpg, .jpeg; quality 95). */
RF_API RF_NODISCARD rf_status rf_image_write(const char *path, const rf_tensor *image,
                                             rf_error *err);

/* NumPy .npy, versions 1-3; any real dtype of rf_dtype (bf16 is written as f32). */
RF_API RF_NODISCARD rf_status rf_npy_read(const char *path, rf_buffer *out, rf_error *err);
RF_API RF_NODISCARD rf_status rf_npy_write(const char *path, const rf_tensor *tensor,
                                           rf_error *err);

#ifdef __cplusplus
}
#endif
#endif
