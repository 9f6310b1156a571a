/* SPDX-License-Identifier: Apache-2.0
 *
 * What the libFuzzer targets share. A target aborts (and so reports the input) on whatever a test
 * would fail on: a leak of Refold's own memory, a failure without a text, a result that cannot be
 * used.
 */
#ifndef RF_TESTS_FUZZ_H
#define RF_TESTS_FUZZ_H

#include <stdint.h>
#include <stdlib.h>

#include "runtime/base/env.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static inline void fuzz_require(bool ok)
{
    if (!ok)
        abort();
}

static inline rf_env *fuzz_begin(void)
{
    rf_env *env;
    fuzz_require(rf_env_create(NULL, &env, NULL) == RF_OK);
    return env;
}

static inline void fuzz_end(rf_env *env)
{
    fuzz_require(rf_env_bytes(env) == 0);
    rf_env_release(&env);
}

/* A failure says why, and not that memory ran out: that is bounded by the input. */
static inline void fuzz_check_failure(rf_status status, const rf_error *err)
{
    fuzz_require(status == RF_OK ||
                 (status != RF_ERR_MEMORY && status != RF_ERR_INTERNAL && err->text[0]));
}

#endif
