/* SPDX-License-Identifier: Apache-2.0
 *
 * What counts as text that may be shown to people and written to files: well-formed UTF-8 (no
 * overlong forms, no surrogates) without control characters.
 */
#ifndef RF_BASE_TEXT_H
#define RF_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of the character at p, of which n > 0 can be read; 0 if they are not text. */
size_t rf_text_step(const uint8_t *p, size_t n);
bool rf_is_text(const void *bytes, size_t n);

#ifdef __cplusplus
}
#endif
#endif
