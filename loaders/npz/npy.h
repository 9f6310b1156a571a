/* SPDX-License-Identifier: Apache-2.0
 *
 * A .npy file that lies in memory.
 */
#ifndef RF_LOADERS_NPY_H
#define RF_LOADERS_NPY_H

#include <refold/io.h>
#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rf_npy_header {
    rf_dtype dtype;
    int32_t rank;
    int64_t dims[RF_MAX_RANK];
    bool fortran, swap; /* column-major; big-endian */
    size_t data;        /* offset of the elements */
} rf_npy_header;

/* `bytes` is the whole file; the element bytes are checked to fill it exactly. */
rf_status rf_npy_parse(const uint8_t *bytes, size_t n, const char *where, rf_npy_header *out,
                       rf_error *err);
/* The array as rf_npy_read gives it. `where` starts the messages. Takes as much memory as the
 * elements in the file. */
rf_status rf_npy_decode(const uint8_t *bytes, size_t n, const char *where, rf_buffer *out,
                        rf_error *err);

#ifdef __cplusplus
}
#endif
#endif
