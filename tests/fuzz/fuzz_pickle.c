/* SPDX-License-Identifier: Apache-2.0
 *
 * The pickle machine alone: inside an archive, names, sizes and places around the pickle would have
 * to stay right as well. The first byte chooses the kind of persistent ids.
 */
#include "tests/fuzz/fuzz.h"

#include "loaders/pth/unpickle.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    if (!n)
        return 0;
    rf_env *env = fuzz_begin();
    rf_unpickler u;
    rf_pickle_value *value;
    rf_error err;
    size_t used;
    char text[64];
    rf_unpickler_init(&u, env, bytes[0] & 1);
    rf_status status = rf_unpickle(&u, bytes + 1, n - 1, &value, &used, &err);
    fuzz_check_failure(status, &err);
    fuzz_require(used <= n - 1);
    if (status == RF_OK) {
        rf_pickle_get(value, "model");
        fuzz_require(rf_pickle_describe(value, text, sizeof text)[0]);
    }
    /* As promised in loader.h, and the first blocks. */
    fuzz_require(rf_env_peak_bytes(env) <= 130 * n + (64 << 10));
    rf_unpickler_free(&u);
    fuzz_end(env);
    return 0;
}
