/* SPDX-License-Identifier: Apache-2.0
 *
 * A list of blocks, each twice the one before it up to a limit; a request that does not fit the
 * newest block opens another one. What is left in the old block is given up: names and small arrays
 * are all that comes here, so the waste stays below one request a block.
 */
#include "runtime/base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { FIRST_BLOCK = 4096, LAST_BLOCK = 65536, ALIGN = 16 };

typedef struct rf_arena_block {
    struct rf_arena_block *next;
    size_t bytes, used; /* of this block, header included */
} block;

static size_t aligned(size_t n)
{
    return (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

void rf_arena_init(rf_arena *arena, rf_env *env)
{
    arena->env = env;
    arena->blocks = NULL;
}

void rf_arena_free(rf_arena *arena)
{
    while (arena->blocks) {
        block *b = arena->blocks;
        arena->blocks = b->next;
        rf_free(arena->env, b, b->bytes);
    }
}

void *rf_arena_alloc(rf_arena *arena, size_t bytes)
{
    const size_t header = aligned(sizeof(block));
    block *b = arena->blocks;
    if (bytes > PTRDIFF_MAX - 2 * header)
        return NULL;
    bytes = aligned(bytes ? bytes : 1);
    if (!b || b->bytes - b->used < bytes) {
        size_t size = !b ? FIRST_BLOCK : b->bytes < LAST_BLOCK ? 2 * b->bytes : LAST_BLOCK;
        if (size < header + bytes)
            size = header + bytes;
        b = rf_alloc(arena->env, size, 0);
        if (!b)
            return NULL;
        *b = (block){arena->blocks, size, header};
        arena->blocks = b;
    }
    void *ptr = (char *)b + b->used;
    b->used += bytes;
    return memset(ptr, 0, bytes);
}

char *rf_arena_strndup(rf_arena *arena, const char *s, size_t n)
{
    if (n == SIZE_MAX)
        return NULL;
    char *copy = rf_arena_alloc(arena, n + 1);
    if (copy)
        memcpy(copy, s, n);
    return copy;
}

char *rf_arena_printf(rf_arena *arena, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *text = n < 0 ? NULL : rf_arena_alloc(arena, (size_t)n + 1);
    if (!text)
        return NULL;
    va_start(args, fmt);
    vsnprintf(text, (size_t)n + 1, fmt, args);
    va_end(args);
    return text;
}
