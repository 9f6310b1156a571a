/* SPDX-License-Identifier: Apache-2.0
 *
 * Error records and their texts. An error is plain data of the caller, so that reporting one can
 * neither fail nor race: no heap, no thread-local state. Texts quote hostile files, so they are
 * made printable here, in the one place through which all of them go.
 */
#include "runtime/base/status.h"

#include "runtime/base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MAX_TEXT = 5000 }; /* a path and some words */

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

uint32_t rf_version(void)
{
    return RF_VERSION_MAJOR << 16 | RF_VERSION_MINOR << 8 | RF_VERSION_PATCH;
}

const char *rf_version_string(void)
{
    return TEXT(RF_VERSION_MAJOR) "." TEXT(RF_VERSION_MINOR) "." TEXT(RF_VERSION_PATCH);
}

const char *rf_status_text(rf_status status)
{
    switch (status) {
    case RF_OK:
        return "success";
    case RF_ERR_ARGUMENT:
        return "wrong argument";
    case RF_ERR_FORMAT:
        return "malformed file";
    case RF_ERR_UNSUPPORTED:
        return "not supported";
    case RF_ERR_MEMORY:
        return "out of memory";
    case RF_ERR_IO:
        return "input or output failed";
    case RF_ERR_DEVICE:
        return "device not available";
    case RF_ERR_CANCELLED:
        return "cancelled";
    case RF_ERR_INTERNAL:
        return "internal error";
    }
    return "unknown status";
}

/* Texts begin with where and end with what was found, and a path between may be 4 KiB long: what is
 * too long loses its middle. No piece of a UTF-8 sequence is kept. */
static void copy_elided(char *out, size_t out_bytes, const char *text)
{
    size_t n = strlen(text), head = out_bytes / 3;
    if (n < out_bytes) {
        memcpy(out, text, n + 1);
        return;
    }
    const char *tail = text + n - (out_bytes - head - 4);
    while (head && ((unsigned char)text[head] & 0xc0) == 0x80)
        head--;
    while (((unsigned char)*tail & 0xc0) == 0x80)
        tail++;
    snprintf(out, out_bytes, "%.*s...%s", (int)head, text, tail);
}

/* What is not text, an escape sequence for the user's terminal for one, becomes question marks. */
static void make_printable(char *text)
{
    for (size_t left = strlen(text); left;) {
        size_t step = rf_text_step((const uint8_t *)text, left);
        if (!step)
            *text = '?';
        text += step ? step : 1;
        left -= step ? step : 1;
    }
}

rf_status rf_fail_at(rf_error *err, const char *file, int line, rf_status code, const char *fmt,
                     ...)
{
    if (!err)
        return code;
    /* Through a second buffer: callers prefix err->text by passing it as an argument. */
    char text[MAX_TEXT];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (n < 0)
        snprintf(text, sizeof text, "%s", rf_status_text(code));
    make_printable(text);
    err->code = code;
    err->file = file;
    err->line = line;
    copy_elided(err->text, sizeof err->text, text);
    return code;
}
