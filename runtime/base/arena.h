/* SPDX-License-Identifier: Apache-2.0
 *
 * Arena: many small allocations of one build phase, freed together.
 */
#ifndef RF_BASE_ARENA_H
#define RF_BASE_ARENA_H

#include "runtime/base/env.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rf_arena {
    rf_env *env; /* not owned */
    struct rf_arena_block *blocks;
} rf_arena;

void rf_arena_init(rf_arena *arena, rf_env *env);
void rf_arena_free(rf_arena *arena);
/* Zeroed, 16-byte aligned; NULL when memory is refused. */
void *rf_arena_alloc(rf_arena *arena, size_t bytes);
/* Copies n bytes of s and terminates; NULL when memory is refused. */
char *rf_arena_strndup(rf_arena *arena, const char *s, size_t n);
char *rf_arena_printf(rf_arena *arena, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#ifdef __cplusplus
}
#endif
#endif
