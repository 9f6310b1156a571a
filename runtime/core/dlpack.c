/* SPDX-License-Identifier: Apache-2.0
 *
 * rf_tensor from and to DLPack's structures.
 */
#include <refold/dlpack.h>

#include "runtime/core/strided.h"

#include <string.h>

enum { DL_INT, DL_UINT, DL_FLOAT, DL_BFLOAT = 4, DL_BOOL = 6 };

static const struct {
    uint8_t code, bits;
} types[RF_DTYPE_COUNT] = {
    [RF_F32] = {DL_FLOAT, 32},   [RF_F64] = {DL_FLOAT, 64}, [RF_F16] = {DL_FLOAT, 16},
    [RF_BF16] = {DL_BFLOAT, 16}, [RF_I8] = {DL_INT, 8},     [RF_U8] = {DL_UINT, 8},
    [RF_I16] = {DL_INT, 16},     [RF_U16] = {DL_UINT, 16},  [RF_I32] = {DL_INT, 32},
    [RF_U32] = {DL_UINT, 32},    [RF_I64] = {DL_INT, 64},   [RF_U64] = {DL_UINT, 64},
    [RF_BOOL] = {DL_BOOL, 8},
};

static rf_status find_dtype(const rf_dl_tensor *in, rf_dtype *out, rf_error *err)
{
    for (int t = 0; t < RF_DTYPE_COUNT && in->dtype_lanes == 1; t++)
        if (types[t].code == in->dtype_code && types[t].bits == in->dtype_bits) {
            *out = (rf_dtype)t;
            return RF_OK;
        }
    return rf_fail(err, RF_ERR_UNSUPPORTED,
                   "DLPack dtype code %u, %u bits, %u lanes: expected one that rf_dtype has",
                   in->dtype_code, in->dtype_bits, in->dtype_lanes);
}

rf_status rf_tensor_from_dlpack(rf_tensor *out, const rf_dl_tensor *in, rf_error *err)
{
    rf_dtype dtype = RF_F32;
    if (in->ndim < 0 || in->ndim > RF_MAX_RANK)
        return rf_fail(err, RF_ERR_ARGUMENT, "DLPack tensor of rank %d, expected 0 to %d", in->ndim,
                       RF_MAX_RANK);
    RF_TRY(find_dtype(in, &dtype, err));
    rf_tensor t;
    RF_TRY(rf_tensor_init(&t, dtype, in->ndim, in->shape,
                          in->data ? (char *)in->data + in->byte_offset : NULL, err));
    for (int i = 0; in->strides && i < in->ndim; i++) {
        if (in->strides[i] < 0 && in->shape[i] > 1)
            return rf_fail(err, RF_ERR_UNSUPPORTED,
                           "DLPack tensor with stride %lld in dim %d, expected none negative",
                           (long long)in->strides[i], i);
        t.strides[i] = in->strides[i] < 0 ? 0 : in->strides[i];
    }
    *out = t;
    return RF_OK;
}

void rf_tensor_to_dlpack(rf_tensor *in, int32_t device_type, int32_t device_id, rf_dl_tensor *out)
{
    *out = (rf_dl_tensor){.data = in->data,
                          .device_type = device_type,
                          .device_id = device_id,
                          .ndim = in->rank,
                          .dtype_code = types[in->dtype].code,
                          .dtype_bits = types[in->dtype].bits,
                          .dtype_lanes = 1,
                          .shape = in->dims,
                          .strides = in->strides};
}
