/* SPDX-License-Identifier: Apache-2.0
 *
 * Structs of the public API across versions of the library. The caller says how large his struct
 * is. Of params, what an older one lacks keeps its default, and what a newer one has beyond the end
 * must be zero, because a setting that this library does not know must not be dropped in silence.
 */
#ifndef RF_BASE_PARAMS_H
#define RF_BASE_PARAMS_H

#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Copies `given`, whose first member is its size_t size, to `known` of known_bytes, which holds the
 * defaults. Fails: RF_ERR_ARGUMENT naming `type` for a size that no version ever had,
 * RF_ERR_UNSUPPORTED for unknown settings that are in use. */
rf_status rf_params_take(void *known, size_t known_bytes, const void *given, const char *type,
                         rf_error *err);
/* The other way: fills the caller's `out`, whose first member is its size_t size, from `known`. An
 * older caller gets the members that he knows, a newer one zeros in those that this library does
 * not. Fails as rf_params_take for a wrong size; nothing is written then. */
rf_status rf_params_give(const void *known, size_t known_bytes, void *out, const char *type,
                         rf_error *err);

#ifdef __cplusplus
}
#endif
#endif
