/* SPDX-License-Identifier: Apache-2.0
 *
 * Tensors of other libraries (PyTorch, JAX, CuPy, ...) without a copy, by the DLPack structures.
 * The struct below has the layout of DLPack's DLTensor, which has not changed since version 0.2;
 * cast a `DLTensor *` to it, so that neither side needs the other's header. Source:
 * https://dmlc.github.io/dlpack/latest/c_api.html
 */
#ifndef REFOLD_DLPACK_H
#define REFOLD_DLPACK_H

#include <refold/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rf_dl_tensor {
    void *data;
    int32_t device_type; /* 1 CPU, 2 CUDA, 3 CUDA pinned host memory, 13 CUDA managed */
    int32_t device_id;
    int32_t ndim;
    uint8_t dtype_code; /* 0 int, 1 uint, 2 float, 4 bfloat, 6 bool */
    uint8_t dtype_bits;
    uint16_t dtype_lanes;
    int64_t *shape;
    int64_t *strides; /* in elements; NULL: row-major */
    uint64_t byte_offset;
} rf_dl_tensor;

/* A view of the same elements. Whether they are in host or device memory is for the caller to see
 * (device_type): rf_session_run takes the one, rf_session_enqueue the other.
 *
 * Owns: nothing; *out lives as long as the memory that `in` points at.
 * Fails: RF_ERR_UNSUPPORTED for a dtype that rf_dtype does not have, lanes other than 1 or a
 * negative stride; RF_ERR_ARGUMENT for a rank over RF_MAX_RANK or a negative dim. */
RF_API RF_NODISCARD rf_status rf_tensor_from_dlpack(rf_tensor *out, const rf_dl_tensor *in,
                                                    rf_error *err);
/* The other way. shape and strides of *out point into *in, which must outlive it.
 * device_type, device_id: where in->data is. */
RF_API void rf_tensor_to_dlpack(rf_tensor *in, int32_t device_type, int32_t device_id,
                                rf_dl_tensor *out);

#ifdef __cplusplus
}
#endif
#endif
