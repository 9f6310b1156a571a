/* SPDX-License-Identifier: Apache-2.0
 *
 * rf_str: a growing byte string for reports and JSON text.
 */
#ifndef RF_BASE_STR_H
#define RF_BASE_STR_H

#include "runtime/base/env.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Zero-initialise with .env set. After a refused allocation `failed` is true and appends do
 * nothing. */
typedef struct rf_str {
    rf_env *env;
    char *data; /* terminated; NULL while empty */
    size_t len, capacity;
    bool failed;
} rf_str;

void rf_str_append(rf_str *s, const char *bytes, size_t n);
void rf_str_printf(rf_str *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* What stands for the text between the quotes of a JSON string. */
void rf_str_append_escaped(rf_str *s, const char *text);
void rf_str_free(rf_str *s);

#ifdef __cplusplus
}
#endif
#endif
