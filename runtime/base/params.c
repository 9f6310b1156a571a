/* SPDX-License-Identifier: Apache-2.0
 *
 * See params.h.
 */
#include "runtime/base/params.h"

#include <string.h>

/* A size member that was never set holds anything: nothing beyond this is read. */
enum { MAX_PARAMS = 4096 };

static rf_status check_size(size_t size, size_t known_bytes, const char *type, rf_error *err)
{
    if (size < sizeof size || size > MAX_PARAMS)
        return rf_fail(err, RF_ERR_ARGUMENT, "%s: size is %zu, expected sizeof(%s) = %zu", type,
                       size, type, known_bytes);
    return RF_OK;
}

rf_status rf_params_take(void *known, size_t known_bytes, const void *given, const char *type,
                         rf_error *err)
{
    size_t size;
    memcpy(&size, given, sizeof size);
    RF_TRY(check_size(size, known_bytes, type, err));
    const unsigned char *bytes = given;
    for (size_t i = known_bytes; i < size; i++)
        if (bytes[i])
            return rf_fail(err, RF_ERR_UNSUPPORTED,
                           "%s: byte %zu of %zu is set by a newer caller; this library (%s) knows "
                           "%zu, expected zeros after them",
                           type, i, size, rf_version_string(), known_bytes);
    memcpy(known, given, size < known_bytes ? size : known_bytes);
    return RF_OK;
}

rf_status rf_params_give(const void *known, size_t known_bytes, void *out, const char *type,
                         rf_error *err)
{
    size_t size;
    memcpy(&size, out, sizeof size);
    RF_TRY(check_size(size, known_bytes, type, err));
    memset(out, 0, size);
    memcpy(out, known, size < known_bytes ? size : known_bytes);
    memcpy(out, &size, sizeof size);
    return RF_OK;
}
