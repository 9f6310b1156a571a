/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole files: a private read-only mapping, and atomic writes (a file without a name, or with a
 * temporary one where the system has no such files, renamed when complete), so that no output is
 * ever seen half-written.
 */
#ifndef RF_BASE_FILE_H
#define RF_BASE_FILE_H

#include "runtime/base/env.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A reference-counted run of bytes: a file mapping, memory of an rf_env, or memory of the caller.
 * Tensors of checkpoints and graphs point into blobs. */
typedef struct rf_blob rf_blob;

/* Maps a regular file. Fails: RF_ERR_IO naming the path and the reason (missing, directory, ...).
 */
rf_status rf_blob_map_file(rf_env *env, const char *path, rf_blob **out, rf_error *err);
/* Fresh writable zeroed memory. */
rf_status rf_blob_alloc(rf_env *env, size_t bytes, rf_blob **out, rf_error *err);
/* Copies bytes (used for memory that a caller hands over). */
rf_status rf_blob_copy(rf_env *env, const void *bytes, size_t n, rf_blob **out, rf_error *err);
rf_blob *rf_blob_retain(rf_blob *blob);
void rf_blob_release(rf_blob **blob);
const void *rf_blob_data(const rf_blob *blob);
void *rf_blob_mutable(rf_blob *blob); /* NULL for mappings */
size_t rf_blob_bytes(const rf_blob *blob);
/* Gives the pages of a mapped file back to the system, which reads them again when they are next
 * looked at: what was only read to be folded or packed need not stay in memory. Contents and
 * address do not change. No effect on memory of the process.
 * Threads: may run beside readers. */
void rf_blob_forget(const rf_blob *blob);
bool rf_blob_is_mapping(const rf_blob *blob);

/* Atomic writer: write any number of times, then commit; destroy without commit leaves nothing. */
typedef struct rf_file_writer rf_file_writer;
rf_status rf_file_writer_open(rf_env *env, const char *path, rf_file_writer **out, rf_error *err);
rf_status rf_file_writer_write(rf_file_writer *w, const void *bytes, size_t n, rf_error *err);
rf_status rf_file_writer_commit(rf_file_writer **w, rf_error *err);
void rf_file_writer_destroy(rf_file_writer **w);

#ifdef __cplusplus
}
#endif
#endif
