/* SPDX-License-Identifier: Apache-2.0
 *
 * Walks over several tensors at once: broadcasting, then as few dims as will do. Fewer dims are
 * fewer divisions per element, and the dim that is innermost in operand 0's memory comes last, so
 * that neighbouring threads touch neighbouring elements whatever the layout.
 */
#include "kernels/cuda/cuda.h"

#include <string.h>

static void broadcast(const rf_tensor *t, const rf_tensor *to, int64_t *strides)
{
    for (int d = 0; d < to->rank; d++) {
        int own = d - (to->rank - t->rank);
        strides[d] = own < 0 || t->dims[own] == 1 ? 0 : t->strides[own];
    }
}

static void swap_dims(rf_cuda_nd *nd, int a, int b)
{
    int64_t dim = nd->dims[a];
    nd->dims[a] = nd->dims[b];
    nd->dims[b] = dim;
    for (int k = 0; k < nd->n; k++) {
        int64_t stride = nd->strides[k][a];
        nd->strides[k][a] = nd->strides[k][b];
        nd->strides[k][b] = stride;
    }
}

static void remove_dim(rf_cuda_nd *nd, int d)
{
    for (int i = d; i + 1 < nd->rank; i++)
        swap_dims(nd, i, i + 1);
    nd->rank--;
}

/* Whether stepping dim d once is stepping dim d + 1 to its end, in every operand. */
static bool joins(const rf_cuda_nd *nd, int d)
{
    for (int k = 0; k < nd->n; k++)
        if (nd->strides[k][d] != nd->strides[k][d + 1] * nd->dims[d + 1])
            return false;
    return true;
}

rf_cuda_nd rf_cuda_nd_make(const rf_tensor *const *operands, int n)
{
    const rf_tensor *first = operands[0];
    rf_cuda_nd nd = {.rank = first->rank, .n = n, .elements = rf_tensor_elements(first)};
    memcpy(nd.dims, first->dims, sizeof nd.dims);
    for (int k = 0; k < n; k++) {
        broadcast(operands[k], first, nd.strides[k]);
        nd.data[k] = operands[k]->data;
        nd.dtype[k] = (int32_t)operands[k]->dtype;
    }
    for (int d = nd.rank - 1; d >= 0; d--)
        if (nd.dims[d] == 1)
            remove_dim(&nd, d);
    for (int i = 1; i < nd.rank; i++) /* insertion sort by operand 0's strides, largest first */
        for (int d = i; d > 0 && nd.strides[0][d - 1] < nd.strides[0][d]; d--)
            swap_dims(&nd, d - 1, d);
    for (int d = nd.rank - 2; d >= 0; d--)
        if (joins(&nd, d)) {
            nd.dims[d + 1] *= nd.dims[d];
            remove_dim(&nd, d);
        }
    return nd;
}

bool rf_cuda_nd_widen(rf_cuda_nd *nd, int n, int32_t *out_tail)
{
    int last = nd->rank - 1;
    if (last < 0 || nd->elements < n || (last && nd->dims[last] % n))
        return false;
    for (int k = 0; k < nd->n; k++) {
        if (nd->strides[k][last] != 1 && (!k || nd->strides[k][last]))
            return false;
        for (int d = 0; nd->strides[k][last] && d < last; d++)
            if (nd->strides[k][d] % n)
                return false;
    }
    *out_tail = (int32_t)(nd->dims[last] % n);
    nd->dims[last] /= n;
    nd->elements = last ? nd->elements / n : nd->dims[0];
    for (int k = 0; k < nd->n; k++)
        nd->strides[k][last] *= n;
    return true;
}

rf_tensor rf_cuda_select_dims(const rf_tensor *t, uint32_t mask)
{
    rf_tensor part = *t;
    part.rank = 0;
    for (int d = 0; d < t->rank; d++)
        if (mask >> d & 1) {
            part.dims[part.rank] = t->dims[d];
            part.strides[part.rank++] = t->strides[d];
        }
    return part;
}

bool rf_cuda_nd_steps_by(const rf_cuda_nd *nd, int64_t piece)
{
    for (int k = 0; k < nd->n; k++)
        for (int d = 0; d < nd->rank; d++)
            if (nd->strides[k][d] % piece)
                return false;
    return true;
}
