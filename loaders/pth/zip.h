/* SPDX-License-Identifier: Apache-2.0
 *
 * The directory of a zip archive that lies in memory, with the strictness that weights need:
 * nothing is compressed, every record lies where both of its headers say, records do not overlap,
 * and names are unique. Archives on which two readers could disagree are refused (scanners were
 * bypassed by local names and flags that differ from the central ones).
 */
#ifndef RF_LOADERS_PTH_ZIP_H
#define RF_LOADERS_PTH_ZIP_H

#include "runtime/base/env.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rf_zip_entry {
    const char *name; /* not terminated; points into the archive */
    size_t name_len;
    const uint8_t *data;
    uint64_t bytes, packed_bytes; /* equal where rf_zip_check agrees */
    uint32_t crc;
    uint16_t flags, method, disk;
    uint64_t header_at, end_at; /* range of the record in the archive */
} rf_zip_entry;

typedef struct rf_zip {
    rf_env *env;
    const uint8_t *bytes;
    uint64_t directory_at;
    rf_zip_entry *entries; /* as the directory lists them; sorted by name after rf_zip_check */
    size_t n_entries;
    const char *first_name; /* of the entry that the directory lists first; not terminated */
    size_t first_name_len;
} rf_zip;

/* Reads the directory and checks it and the names. The archive must outlive *out. Takes about as
 * much memory as the directory in the file.
 * Owns: free with rf_zip_free, also after a failure. */
rf_status rf_zip_open(rf_env *env, const uint8_t *bytes, size_t n, rf_zip *out, rf_error *err);
/* Checks everything else: methods, local headers, places. Nothing may be read before. */
rf_status rf_zip_check(rf_zip *zip, rf_error *err);
void rf_zip_free(rf_zip *zip);
/* NULL if absent. */
const rf_zip_entry *rf_zip_find(const rf_zip *zip, const char *name, size_t name_len);
/* Compares the record's bytes with its checksum. */
rf_status rf_zip_verify(const rf_zip_entry *entry, rf_error *err);

#ifdef __cplusplus
}
#endif
#endif
