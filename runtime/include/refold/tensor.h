/* SPDX-License-Identifier: Apache-2.0
 *
 * rf_tensor: a view of typed elements with sizes and strides. It owns nothing.
 */
#ifndef REFOLD_TENSOR_H
#define REFOLD_TENSOR_H

#include <refold/base.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RF_MAX_RANK 8

/* Element (i0, i1, ...) lies at data + (i0 * strides[0] + i1 * strides[1] + ...) elements.
 * dims of 0 are legal (no elements); rank 0 is one element. Strides are never negative. */
typedef struct rf_tensor {
    void *data;
    rf_dtype dtype;
    int32_t rank;
    int64_t dims[RF_MAX_RANK];
    int64_t strides[RF_MAX_RANK];
} rf_tensor;

/* A contiguous row-major tensor over caller-owned memory (`data` may be NULL: only a shape).
 * Fails: RF_ERR_ARGUMENT for rank > RF_MAX_RANK, a negative dim, a bad dtype or a byte size that
 * does not fit in 63 bits. */
RF_API RF_NODISCARD rf_status rf_tensor_init(rf_tensor *out, rf_dtype dtype, int rank,
                                             const int64_t *dims, void *data, rf_error *err);
/* Number of elements: the product of dims. */
RF_API int64_t rf_tensor_elements(const rf_tensor *t);
/* Bytes of the elements laid out densely. */
RF_API size_t rf_tensor_bytes(const rf_tensor *t);
/* True if the elements are dense and row-major (dims of size 1 may have any stride). */
RF_API bool rf_tensor_is_contiguous(const rf_tensor *t);

#ifdef __cplusplus
}
#endif
#endif
