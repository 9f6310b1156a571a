/* SPDX-License-Identifier: Apache-2.0
 *
 * Reports are built by hundreds of small appends; the writer checks `failed` once at the end
 * instead of each of them.
 */
#include "runtime/base/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Room for n more bytes and the terminator. */
static bool reserve(rf_str *s, size_t n)
{
    size_t need;
    if (s->failed)
        return false;
    if (__builtin_add_overflow(s->len, n, &need) || __builtin_add_overflow(need, 1, &need) ||
        rf_grow_array(s->env, &s->data, &s->capacity, need, 1, NULL) != RF_OK)
        s->failed = true;
    return !s->failed;
}

void rf_str_append(rf_str *s, const char *bytes, size_t n)
{
    if (!reserve(s, n))
        return;
    memcpy(s->data + s->len, bytes, n);
    s->len += n;
    s->data[s->len] = 0;
}

void rf_str_printf(rf_str *s, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0)
        s->failed = true;
    if (!reserve(s, n < 0 ? 0 : (size_t)n))
        return;
    va_start(args, fmt);
    vsnprintf(s->data + s->len, (size_t)n + 1, fmt, args);
    va_end(args);
    s->len += (size_t)n;
}

void rf_str_append_escaped(rf_str *s, const char *text)
{
    for (; *text; text++)
        if (*text == '"' || *text == '\\')
            rf_str_printf(s, "\\%c", *text);
        else if ((unsigned char)*text < 0x20)
            rf_str_printf(s, "\\u%04x", (unsigned char)*text);
        else
            rf_str_append(s, text, 1);
}

void rf_str_free(rf_str *s)
{
    rf_free(s->env, s->data, s->capacity);
    *s = (rf_str){.env = s->env};
}
