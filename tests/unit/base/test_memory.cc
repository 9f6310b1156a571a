// SPDX-License-Identifier: Apache-2.0
//
// Allocation: accounting, refusal, hooks, and what is built on it (arena, string).
#include <cstring>
#include <string>

#include "runtime/base/arena.h"
#include "runtime/base/str.h"
#include "runtime/base/text.h"
#include "tests/support/support.h"

namespace
{

// An env on a counting allocator; fails the test if something is left at the end.
struct Env {
    rft::Memory memory;
    rf_env *env = nullptr;
    Env()
    {
        rf_hooks hooks = memory.hooks();
        EXPECT_EQ(rf_env_create(&hooks, &env, nullptr), RF_OK);
    }
    ~Env()
    {
        memory.refuse = 0;
        EXPECT_EQ(rf_env_bytes(env), 0u);
        rf_env_release(&env);
        EXPECT_EQ(env, nullptr);
        EXPECT_EQ(memory.bytes, 0);
        EXPECT_EQ(memory.wrong_sizes, 0);
    }
};

TEST(Env, CountsBytesAndRemembersThePeak)
{
    Env e;
    void *a = rf_alloc(e.env, 1000, 0), *b = rf_alloc(e.env, 24, 0);
    EXPECT_EQ(rf_env_bytes(e.env), 1024u);
    rf_free(e.env, a, 1000);
    EXPECT_EQ(rf_env_bytes(e.env), 24u);
    EXPECT_EQ(rf_env_peak_bytes(e.env), 1024u);
    rf_free(e.env, b, 24);
    rf_free(e.env, nullptr, 7);
}

TEST(Env, AlignsTo64OrMore)
{
    Env e;
    for (size_t align : {size_t(0), size_t(16), size_t(64), size_t(4096)}) {
        void *p = rf_alloc(e.env, 100, align);
        ASSERT_NE(p, nullptr);
        EXPECT_EQ((uintptr_t)p % (align < 64 ? 64 : align), 0u);
        rf_free(e.env, p, 100);
    }
}

TEST(Env, GivesAPointerForNoBytes)
{
    Env e;
    void *p = rf_alloc(e.env, 0, 0);
    EXPECT_NE(p, nullptr);
    rf_free(e.env, p, 0);
}

TEST(Env, LivesAsLongAsItsLastOwner)
{
    rft::Memory memory;
    rf_hooks hooks = memory.hooks();
    rf_env *a, *b, *none = nullptr;
    ASSERT_EQ(rf_env_create(&hooks, &a, nullptr), RF_OK);
    b = rf_env_retain(a);
    rf_env_release(&a);
    EXPECT_GT(memory.bytes, 0);
    rf_env_release(&b);
    EXPECT_EQ(memory.bytes, 0);
    rf_env_release(&none);
}

TEST(Env, RefusesHalfAnAllocatorAndASizeOfZero)
{
    rft::Memory memory;
    rf_hooks hooks = memory.hooks();
    rf_error err;
    rf_env *env;
    hooks.allocator.free = nullptr;
    EXPECT_EQ(rf_env_create(&hooks, &env, &err), RF_ERR_ARGUMENT);
    EXPECT_EQ(env, nullptr);
    EXPECT_NE(strstr(err.text, "only alloc"), nullptr) << err.text;
    hooks = memory.hooks();
    hooks.size = 0;
    EXPECT_EQ(rf_env_create(&hooks, &env, &err), RF_ERR_ARGUMENT);
}

TEST(Env, AcceptsHooksOfAnOlderCaller)
{
    rft::Memory memory;
    rf_hooks hooks = memory.hooks();
    hooks.size = offsetof(rf_hooks, logger);
    hooks.logger.log = [](void *, rf_log_level, const char *) { FAIL() << "not part of size"; };
    hooks.logger.max_level = RF_LOG_DEBUG;
    rf_env *env;
    ASSERT_EQ(rf_env_create(&hooks, &env, nullptr), RF_OK);
    EXPECT_FALSE(rf_log_enabled(env, RF_LOG_ERROR));
    rf_log(env, RF_LOG_ERROR, "unheard");
    rf_env_release(&env);
}

TEST(Env, LogsOnlyUpToTheLevel)
{
    std::string lines;
    rf_hooks hooks = {};
    hooks.size = sizeof hooks;
    hooks.logger.user = &lines;
    hooks.logger.max_level = RF_LOG_WARN;
    hooks.logger.log = [](void *user, rf_log_level level, const char *text) {
        *(std::string *)user += std::to_string(level) + text + ";";
    };
    rf_env *env;
    ASSERT_EQ(rf_env_create(&hooks, &env, nullptr), RF_OK);
    rf_log(env, RF_LOG_ERROR, "a%d", 1);
    rf_log(env, RF_LOG_WARN, "b");
    rf_log(env, RF_LOG_INFO, "c");
    EXPECT_EQ(lines, "0a1;1b;");
    rf_env_release(&env);
}

TEST(Env, ArraysAreZeroedAndOverflowIsOutOfMemory)
{
    Env e;
    rf_error err;
    int *a;
    ASSERT_EQ(rf_alloc_array(e.env, 100, sizeof *a, &a, &err), RF_OK);
    for (int i = 0; i < 100; i++)
        EXPECT_EQ(a[i], 0);
    rf_free(e.env, a, 100 * sizeof *a);
    EXPECT_EQ(rf_alloc_array(e.env, SIZE_MAX / 2, 4, &a, &err), RF_ERR_MEMORY);
    EXPECT_EQ(a, nullptr);
    EXPECT_EQ(rf_alloc_array(e.env, SIZE_MAX / 2, 1, &a, &err), RF_ERR_MEMORY);
}

TEST(Env, GrowingKeepsContentsAndARefusalKeepsTheArray)
{
    Env e;
    rf_error err;
    int *a = nullptr;
    size_t capacity = 0;
    for (int i = 0; i < 1000; i++) {
        ASSERT_EQ(rf_grow_array(e.env, &a, &capacity, (size_t)i + 1, sizeof *a, &err), RF_OK);
        a[i] = i;
    }
    int64_t calls = e.memory.calls;
    EXPECT_LT(calls, 12) << "grows by doubling";
    e.memory.refuse = calls + 1;
    EXPECT_EQ(rf_grow_array(e.env, &a, &capacity, capacity + 1, sizeof *a, &err), RF_ERR_MEMORY);
    for (int i = 0; i < 1000; i++)
        EXPECT_EQ(a[i], i);
    rf_free(e.env, a, capacity * sizeof *a);
}

TEST(Arena, GivesZeroedAlignedMemoryInFewBlocks)
{
    Env e;
    rf_arena arena;
    rf_arena_init(&arena, e.env);
    for (int i = 0; i < 10000; i++) {
        char *p = (char *)rf_arena_alloc(&arena, (size_t)i % 40);
        ASSERT_NE(p, nullptr);
        EXPECT_EQ((uintptr_t)p % 16, 0u);
        for (int k = 0; k < i % 40; k++)
            ASSERT_EQ(p[k], 0);
        memset(p, 0xff, (size_t)i % 40);
    }
    EXPECT_LT(e.memory.calls, 16);
    rf_arena_free(&arena);
    EXPECT_EQ(rf_env_bytes(e.env), 0u);
}

TEST(Arena, CanBeUsedAgainAfterFree)
{
    Env e;
    rf_arena arena;
    rf_arena_init(&arena, e.env);
    EXPECT_NE(rf_arena_alloc(&arena, 10), nullptr);
    rf_arena_free(&arena);
    EXPECT_NE(rf_arena_alloc(&arena, 1 << 20), nullptr) << "larger than any block";
    EXPECT_NE(rf_arena_alloc(&arena, 10), nullptr);
    rf_arena_free(&arena);
}

TEST(Arena, CopiesAndFormatsText)
{
    Env e;
    rf_arena arena;
    rf_arena_init(&arena, e.env);
    EXPECT_STREQ(rf_arena_strndup(&arena, "conv1.weight", 5), "conv1");
    EXPECT_STREQ(rf_arena_printf(&arena, "%s#%d", "w", 12), "w#12");
    std::string longer(100000, 'x');
    EXPECT_EQ(longer, rf_arena_printf(&arena, "%s", longer.c_str()));
    rf_arena_free(&arena);
}

TEST(Arena, ReturnsNullWhenMemoryIsRefused)
{
    Env e;
    rf_arena arena;
    rf_arena_init(&arena, e.env);
    e.memory.refuse = e.memory.calls + 1;
    EXPECT_EQ(rf_arena_alloc(&arena, 10), nullptr);
    EXPECT_EQ(rf_arena_alloc(&arena, SIZE_MAX - 8), nullptr);
    rf_arena_free(&arena);
}

TEST(Str, AppendsBytesAndFormats)
{
    Env e;
    rf_str s = {};
    s.env = e.env;
    std::string want;
    for (int i = 0; i < 500; i++) {
        rf_str_append(&s, "ab\0c", 4);
        rf_str_printf(&s, "%d,", i);
        want += std::string("ab\0c", 4) + std::to_string(i) + ",";
    }
    EXPECT_FALSE(s.failed);
    EXPECT_EQ(want, std::string(s.data, s.len));
    EXPECT_EQ(s.data[s.len], 0);
    rf_str_free(&s);
    EXPECT_EQ(s.data, nullptr);
    rf_str_free(&s);
}

TEST(Text, TakesWhatJsonTakes)
{
    for (const char *good : {"", "plain", "caf\xc3\xa9", "\xe6\xbc\xa2", "\xf0\x9f\x8c\xab",
                             "\xed\x9f\xbf", "\xee\x80\x80", "\xf4\x8f\xbf\xbf"})
        EXPECT_TRUE(rf_is_text(good, strlen(good))) << good;
    for (const char *bad :
         {"\xff", "a\x80", "\xc3", "\xc3(", "\xc0\x80", "\xe0\x9f\xbf", "\xed\xa0\x80",
          "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xe6\xbc"})
        EXPECT_FALSE(rf_is_text(bad, strlen(bad))) << bad;
}

TEST(Str, StaysFailedAfterARefusal)
{
    Env e;
    rf_str s = {};
    s.env = e.env;
    rf_str_append(&s, "kept", 4);
    e.memory.refuse = e.memory.calls + 1;
    rf_str_printf(&s, "%0100d", 1);
    EXPECT_TRUE(s.failed);
    rf_str_append(&s, "x", 1);
    EXPECT_EQ(s.len, 4u);
    rf_str_free(&s);
}

} // namespace
