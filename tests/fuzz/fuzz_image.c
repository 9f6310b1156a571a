/* SPDX-License-Identifier: Apache-2.0
 *
 * A PNG or JPEG image.
 */
#include "tests/fuzz/fuzz.h"

#include "loaders/image/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    rf_buffer image;
    rf_error err;
    rf_status status = rf_image_decode(bytes, n, "x", &image, &err);
    fuzz_check_failure(status, &err);
    fuzz_require((status == RF_OK) == (image.memory != NULL));
    const float *v = image.tensor.data;
    for (int64_t i = 0; status == RF_OK && i < rf_tensor_elements(&image.tensor); i++)
        fuzz_require(v[i] >= 0 && v[i] <= 1);
    rf_buffer_free(&image);
    return 0;
}
