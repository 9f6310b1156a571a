/* SPDX-License-Identifier: Apache-2.0
 *
 * What every container reader needs: little-endian reads from unaligned bytes, checks of names, and
 * the one door through which tensors enter a checkpoint.
 */
#ifndef RF_LOADERS_COMMON_H
#define RF_LOADERS_COMMON_H

#include "runtime/base/text.h"
#include "runtime/core/checkpoint.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Limits that hold for every format; a file beyond them is refused before anything is allocated. */
enum { RF_MAX_TENSORS = 1000000, RF_MAX_NAME_BYTES = 4096 };

/* How much of a name messages show, so that what was expected and found still fits behind it. */
static inline int rf_shown(size_t name_len)
{
    return name_len < 96 ? (int)name_len : 96;
}

static inline uint16_t rf_read_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t rf_read_u32(const uint8_t *p)
{
    return (uint32_t)rf_read_u16(p) | (uint32_t)rf_read_u16(p + 2) << 16;
}

static inline uint64_t rf_read_u64(const uint8_t *p)
{
    return (uint64_t)rf_read_u32(p) | (uint64_t)rf_read_u32(p + 4) << 32;
}

/* Name of a tensor: text of 1 to RF_MAX_NAME_BYTES bytes. */
rf_status rf_check_name(const char *name, size_t n, rf_error *err);

/* Adds a tensor whose elements lie in `blob`. Elements that are strided, or not aligned to their
 * size, are copied densely to a new blob, so that readers of a checkpoint may use plain pointers.
 * `copy_budget` (may be NULL) holds the bytes that may still be copied: views let a small file
 * describe any number of large tensors. */
rf_status rf_loader_add(rf_checkpoint *ckpt, const char *name, size_t name_len,
                        const rf_tensor *tensor, rf_blob *blob, size_t *copy_budget, rf_error *err);

#ifdef __cplusplus
}
#endif
#endif
