/* SPDX-License-Identifier: Apache-2.0
 *
 * A .npy array.
 */
#include "tests/fuzz/fuzz.h"

#include "loaders/npz/npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    rf_buffer buffer;
    rf_error err;
    rf_status status = rf_npy_decode(bytes, n, "x", &buffer, &err);
    fuzz_check_failure(status, &err);
    fuzz_require(status == RF_OK ? buffer.memory_bytes <= n : !buffer.memory);
    rf_buffer_free(&buffer);
    return 0;
}
