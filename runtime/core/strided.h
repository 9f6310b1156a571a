/* SPDX-License-Identifier: Apache-2.0
 *
 * Elements of tensors with any strides, for the cold paths (constants, checkpoints, files).
 */
#ifndef RF_CORE_STRIDED_H
#define RF_CORE_STRIDED_H

#include <refold/tensor.h>
#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Copies the elements of src row-major and dense to dst (rf_tensor_bytes(src) bytes). */
void rf_tensor_pack(const rf_tensor *src, void *dst);
/* The same, converting any dtype to float64 (dst: rf_tensor_elements(src) numbers). */
void rf_tensor_pack_f64(const rf_tensor *src, double *dst);
/* Strides of a dense row-major tensor. */
void rf_tensor_set_contiguous(rf_tensor *t);
/* Checks a tensor that a caller handed over: dtype, rank, dims and strides not negative, size in
 * range, data present. `what` starts the message. */
rf_status rf_tensor_check(const rf_tensor *t, const char *what, rf_error *err);
/* "(1,3,?,?)", open dims as ?. Always terminated; returns buf. */
const char *rf_tensor_dims_text(const rf_tensor *t, char *buf, size_t buf_bytes);

#ifdef __cplusplus
}
#endif
#endif
