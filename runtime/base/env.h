/* SPDX-License-Identifier: Apache-2.0
 *
 * rf_env: the caller's allocator and logger, resolved once and shared by everything that is made
 * from one graph or model. Reference counted, because sessions may outlive the handle of the model.
 * Also the only place where Refold takes memory.
 */
#ifndef RF_BASE_ENV_H
#define RF_BASE_ENV_H

#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rf_env rf_env;

rf_status rf_env_create(const rf_hooks *hooks, rf_env **out, rf_error *err);
rf_env *rf_env_retain(rf_env *env);
void rf_env_release(rf_env **env);

/* 64-byte aligned unless `align` asks for more. NULL when refused. bytes 0 gives a valid pointer.
 */
void *rf_alloc(rf_env *env, size_t bytes, size_t align);
/* `bytes` as given to rf_alloc; NULL is accepted. */
void rf_free(rf_env *env, void *ptr, size_t bytes);
/* Zeroed array with overflow check; fills err. */
rf_status rf_alloc_array(rf_env *env, size_t n, size_t item_bytes, void *out_ptr, rf_error *err);
/* Grows *ptr (of *capacity items) to hold at least `need` items, keeping the contents. */
rf_status rf_grow_array(rf_env *env, void *ptr, size_t *capacity, size_t need, size_t item_bytes,
                        rf_error *err);

/* Bytes now taken through rf_alloc, and the most so far. */
size_t rf_env_bytes(const rf_env *env);
size_t rf_env_peak_bytes(const rf_env *env);

bool rf_log_enabled(const rf_env *env, rf_log_level level);
void rf_log(rf_env *env, rf_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#ifdef __cplusplus
}
#endif
#endif
