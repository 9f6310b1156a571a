/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory that a tensor with any strides lies in, for what is copied to a device as it is.
 */
#ifndef RF_EXEC_SPAN_H
#define RF_EXEC_SPAN_H

#include <refold/tensor.h>

/* Bytes from the first to the end of the last element; 0 if there is none. */
static inline size_t rf_tensor_span_bytes(const rf_tensor *t)
{
    int64_t last = 0;
    for (int i = 0; i < t->rank; i++)
        last += (t->dims[i] - 1) * t->strides[i];
    return rf_tensor_elements(t) ? ((size_t)last + 1) * rf_dtype_bytes(t->dtype) : 0;
}

#endif
