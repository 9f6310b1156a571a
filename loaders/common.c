/* SPDX-License-Identifier: Apache-2.0
 *
 * See common.h. Names are checked here because they end in messages, in saved files and in
 * terminals.
 */
#include "loaders/common.h"

#include "runtime/core/strided.h"

rf_status rf_check_name(const char *name, size_t n, rf_error *err)
{
    if (!n || n > RF_MAX_NAME_BYTES)
        return rf_fail(err, RF_ERR_FORMAT, "a tensor's name has %zu bytes, expected 1 to %d", n,
                       RF_MAX_NAME_BYTES);
    if (!rf_is_text(name, n))
        return rf_fail(err, RF_ERR_FORMAT, "a tensor's name of %zu bytes is not UTF-8 text", n);
    return RF_OK;
}

static rf_status copy_dense(rf_checkpoint *ckpt, const char *name, size_t name_len,
                            const rf_tensor *tensor, size_t *copy_budget, rf_error *err)
{
    rf_tensor dense;
    rf_blob *copy;
    RF_TRY(rf_tensor_init(&dense, tensor->dtype, tensor->rank, tensor->dims, NULL, err));
    size_t bytes = rf_tensor_bytes(&dense);
    if (copy_budget) {
        if (bytes > *copy_budget)
            return rf_fail(err, RF_ERR_FORMAT,
                           "tensor '%.*s' has %zu bytes, far more than its file can hold",
                           rf_shown(name_len), name, bytes);
        *copy_budget -= bytes;
    }
    RF_TRY(rf_blob_alloc(ckpt->env, bytes, &copy, err));
    dense.data = rf_blob_mutable(copy);
    rf_tensor_pack(tensor, dense.data);
    rf_status status = rf_checkpoint_add(ckpt, name, name_len, &dense, copy, err);
    rf_blob_release(&copy);
    return status;
}

rf_status rf_loader_add(rf_checkpoint *ckpt, const char *name, size_t name_len,
                        const rf_tensor *tensor, rf_blob *blob, size_t *copy_budget, rf_error *err)
{
    RF_TRY(rf_check_name(name, name_len, err));
    if (ckpt->n_entries >= RF_MAX_TENSORS)
        return rf_fail(err, RF_ERR_FORMAT, "more than %d tensors", RF_MAX_TENSORS);
    if ((uintptr_t)tensor->data % rf_dtype_bytes(tensor->dtype) || !rf_tensor_is_contiguous(tensor))
        return copy_dense(ckpt, name, name_len, tensor, copy_budget, err);
    /* Dims of size 1 may carry any stride; dense ones are what readers expect. */
    rf_tensor dense;
    RF_TRY(rf_tensor_init(&dense, tensor->dtype, tensor->rank, tensor->dims, tensor->data, err));
    return rf_checkpoint_add(ckpt, name, name_len, &dense, blob, err);
}
