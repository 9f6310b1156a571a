/* SPDX-License-Identifier: Apache-2.0
 *
 * See text.h.
 */
#include "runtime/base/text.h"

size_t rf_text_step(const uint8_t *p, size_t n)
{
    static const struct {
        uint8_t mask, lead;
        uint32_t least; /* smaller values have a shorter form */
    } forms[] = {{0x80, 0, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
    for (size_t k = 0; k < 4; k++) {
        if ((p[0] & forms[k].mask) != forms[k].lead)
            continue;
        uint32_t code = p[0] & (uint8_t)~forms[k].mask;
        if (k >= n)
            return 0;
        for (size_t i = 1; i <= k; i++) {
            if ((p[i] & 0xc0) != 0x80)
                return 0;
            code = code << 6 | (p[i] & 0x3f);
        }
        bool surrogate = code >= 0xd800 && code < 0xe000;
        bool control = code < 0x20 || (code >= 0x7f && code < 0xa0);
        return code < forms[k].least || code > 0x10ffff || surrogate || control ? 0 : k + 1;
    }
    return 0;
}

bool rf_is_text(const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    for (size_t i = 0; i < n;) {
        size_t step = rf_text_step(p + i, n - i);
        if (!step)
            return false;
        i += step;
    }
    return true;
}
