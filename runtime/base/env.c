/* SPDX-License-Identifier: Apache-2.0
 *
 * Every byte that Refold takes passes through rf_alloc, so that a caller's allocator sees all of
 * it, tests can refuse any single allocation, and a leak shows as a count that is not zero.
 */
#include "runtime/base/env.h"

#include "runtime/base/params.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rf_env {
    rf_allocator allocator;
    rf_logger logger;
    atomic_int n_owners;
    atomic_size_t bytes, peak_bytes;
};

static void *libc_alloc(void *user, size_t bytes, size_t align)
{
    void *ptr;
    (void)user;
    return posix_memalign(&ptr, align, bytes) ? NULL : ptr;
}

static void libc_free(void *user, void *ptr, size_t bytes)
{
    (void)user, (void)bytes;
    free(ptr);
}

rf_status rf_env_create(const rf_hooks *hooks, rf_env **out, rf_error *err)
{
    rf_hooks used = {.size = sizeof used};
    *out = NULL;
    if (hooks)
        RF_TRY(rf_params_take(&used, sizeof used, hooks, "rf_hooks", err));
    if (!used.allocator.alloc != !used.allocator.free)
        return rf_fail(err, RF_ERR_ARGUMENT,
                       "rf_hooks: allocator has only %s, expected both or none",
                       used.allocator.alloc ? "alloc" : "free");
    if (!used.allocator.alloc) {
        used.allocator.alloc = libc_alloc;
        used.allocator.free = libc_free;
    }
    rf_env *env = used.allocator.alloc(used.allocator.user, sizeof *env, 64);
    if (!env)
        return rf_fail(err, RF_ERR_MEMORY, "no memory for %zu bytes", sizeof *env);
    memset(env, 0, sizeof *env);
    env->allocator = used.allocator;
    env->logger = used.logger;
    atomic_init(&env->n_owners, 1);
    atomic_init(&env->bytes, 0);
    atomic_init(&env->peak_bytes, 0);
    *out = env;
    return RF_OK;
}

rf_env *rf_env_retain(rf_env *env)
{
    atomic_fetch_add_explicit(&env->n_owners, 1, memory_order_relaxed);
    return env;
}

void rf_env_release(rf_env **env)
{
    rf_env *e = *env;
    *env = NULL;
    if (!e || atomic_fetch_sub_explicit(&e->n_owners, 1, memory_order_acq_rel) != 1)
        return;
    rf_allocator allocator = e->allocator;
    allocator.free(allocator.user, e, sizeof *e);
}

/* What is really asked of the allocator: some return NULL for 0 bytes, which means refusal here. */
static size_t asked(size_t bytes)
{
    return bytes ? bytes : 1;
}

void *rf_alloc(rf_env *env, size_t bytes, size_t align)
{
    if (bytes > PTRDIFF_MAX)
        return NULL;
    void *ptr = env->allocator.alloc(env->allocator.user, asked(bytes), align > 64 ? align : 64);
    if (!ptr)
        return NULL;
    size_t now = atomic_fetch_add_explicit(&env->bytes, asked(bytes), memory_order_relaxed);
    size_t peak = atomic_load_explicit(&env->peak_bytes, memory_order_relaxed);
    now += asked(bytes);
    while (peak < now &&
           !atomic_compare_exchange_weak_explicit(&env->peak_bytes, &peak, now,
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
    return ptr;
}

void rf_free(rf_env *env, void *ptr, size_t bytes)
{
    if (!ptr)
        return;
    atomic_fetch_sub_explicit(&env->bytes, asked(bytes), memory_order_relaxed);
    env->allocator.free(env->allocator.user, ptr, asked(bytes));
}

rf_status rf_alloc_array(rf_env *env, size_t n, size_t item_bytes, void *out_ptr, rf_error *err)
{
    size_t bytes;
    void *ptr = NULL;
    memcpy(out_ptr, &ptr, sizeof ptr);
    if (__builtin_mul_overflow(n, item_bytes, &bytes))
        return rf_fail(err, RF_ERR_MEMORY, "%zu items of %zu bytes pass the address space", n,
                       item_bytes);
    ptr = rf_alloc(env, bytes, 0);
    if (!ptr)
        return rf_fail(err, RF_ERR_MEMORY, "no memory for %zu bytes", bytes);
    memset(ptr, 0, bytes);
    memcpy(out_ptr, &ptr, sizeof ptr);
    return RF_OK;
}

rf_status rf_grow_array(rf_env *env, void *ptr, size_t *capacity, size_t need, size_t item_bytes,
                        rf_error *err)
{
    void *old, *grown;
    if (need <= *capacity)
        return RF_OK;
    size_t n = need < 8 ? 8 : need;
    if (n < 2 * *capacity)
        n = 2 * *capacity;
    RF_TRY(rf_alloc_array(env, n, item_bytes, &grown, err));
    memcpy(&old, ptr, sizeof old);
    if (old)
        memcpy(grown, old, *capacity * item_bytes);
    rf_free(env, old, *capacity * item_bytes);
    memcpy(ptr, &grown, sizeof grown);
    *capacity = n;
    return RF_OK;
}

size_t rf_env_bytes(const rf_env *env)
{
    return atomic_load_explicit(&env->bytes, memory_order_relaxed);
}

size_t rf_env_peak_bytes(const rf_env *env)
{
    return atomic_load_explicit(&env->peak_bytes, memory_order_relaxed);
}

bool rf_log_enabled(const rf_env *env, rf_log_level level)
{
    return env->logger.log && level <= env->logger.max_level;
}

void rf_log(rf_env *env, rf_log_level level, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    if (!rf_log_enabled(env, level))
        return;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (n >= 0)
        env->logger.log(env->logger.user, level, text);
}
