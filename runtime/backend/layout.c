/* SPDX-License-Identifier: Apache-2.0
 *
 * The two image layouts. Apart from backend.c, because device modules need it and no list of
 * backends.
 */
#include "runtime/backend/backend.h"

void rf_tensor_set_nhwc(rf_tensor *t)
{
    int64_t c = t->dims[1], h = t->dims[2], w = t->dims[3];
    t->strides[1] = 1;
    t->strides[3] = c;
    t->strides[2] = c * w;
    t->strides[0] = c * w * h;
}

bool rf_tensor_is_nhwc(const rf_tensor *t)
{
    if (t->rank != 4)
        return false;
    rf_tensor dense = *t;
    rf_tensor_set_nhwc(&dense);
    /* A dim of one element is never stepped over, so its stride does not matter. */
    for (int i = 0; i < 4; i++)
        if (t->dims[i] != 1 && t->strides[i] != dense.strides[i])
            return false;
    return true;
}
