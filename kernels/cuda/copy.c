/* SPDX-License-Identifier: Apache-2.0
 *
 * Which kernel of copy.cu a strided copy gets, and the rows of copy and cast.
 */
#include "kernels/cuda/copy.h"

#include "kernels/cuda/rows.h"

enum { THREADS = 256, SIDE = 32, SECTOR = 32 /* bytes: the least that memory moves */ };

int rf_cuda_copy_units(rf_cuda_nd *nd, size_t item, int64_t *also)
{
    int last = nd->rank - 1;
    uint64_t bits = (uint64_t)(uintptr_t)nd->data[0] | (uint64_t)(uintptr_t)nd->data[1] | 16;
    if (last < 0 || nd->strides[0][last] != 1 || nd->strides[1][last] != 1)
        return __builtin_ctz((unsigned)item);
    for (int d = 0; d < last; d++)
        bits |= (uint64_t)(nd->strides[0][d] | nd->strides[1][d]) * item;
    bits |= (uint64_t)(nd->dims[last] | (also ? *also : 0)) * item;
    int unit = __builtin_ctzll(bits), n = (1 << unit) / (int)item;
    nd->dims[last] /= n;
    nd->elements /= n;
    for (int k = 0; k < 2; k++)
        for (int d = 0; d < last; d++)
            nd->strides[k][d] /= n;
    if (also)
        *also /= n;
    return unit;
}

/* ---- turns -------------------------------------------------------------------------------------
 */

/* Can operand k be read in pairs along dim d? */
static bool in_pairs(const rf_cuda_nd *nd, int k, int d)
{
    int64_t odd = nd->dims[d] | (int64_t)((uintptr_t)nd->data[k] / 2);
    for (int i = 0; i < nd->rank; i++)
        odd |= i == d ? 0 : nd->strides[k][i];
    return odd % 2 == 0;
}

/* The kernel that turns dim b of the source into dim a of the destination, or -1. */
static int turn_entry(const rf_cuda_nd *nd, int a, int b)
{
    int to = nd->dtype[0], from = nd->dtype[1];
    size_t item = rf_dtype_bytes((rf_dtype)to);
    if (to == from)
        return item == 1                                  ? RF_CUDA_TURN_8
               : item == 4                                ? RF_CUDA_TURN_32
               : item == 8                                ? RF_CUDA_TURN_64
               : in_pairs(nd, 0, a) && in_pairs(nd, 1, b) ? RF_CUDA_TURN_16_PAIRS
                                                          : RF_CUDA_TURN_16;
    if (from == RF_F32 && (to == RF_F16 || to == RF_BF16) && in_pairs(nd, 0, a))
        return to == RF_F16 ? RF_CUDA_TURN_F32_F16 : RF_CUDA_TURN_F32_BF16;
    if (to == RF_F32 && (from == RF_F16 || from == RF_BF16) && in_pairs(nd, 1, b))
        return from == RF_F16 ? RF_CUDA_TURN_F16_F32 : RF_CUDA_TURN_BF16_F32;
    return -1;
}

/* Along which dim, other than the destination's innermost, the source is dense; -1: none, or one of
 * the two is shorter than what memory moves at once anyway. */
static int turned_dim(const rf_cuda_nd *nd)
{
    int a = nd->rank - 1;
    if (a < 1 || nd->strides[0][a] != 1 || nd->strides[1][a] <= 1 ||
        nd->dims[a] * (int64_t)rf_dtype_bytes((rf_dtype)nd->dtype[0]) < SECTOR)
        return -1;
    for (int b = 0; b < a; b++)
        if (nd->strides[1][b] == 1 &&
            nd->dims[b] * (int64_t)rf_dtype_bytes((rf_dtype)nd->dtype[1]) >= SECTOR)
            return b;
    return -1;
}

static rf_status launch_turn(const rf_kernel_call *call, const rf_cuda_nd *nd, int b, int entry,
                             rf_error *err)
{
    int a = nd->rank - 1;
    bool narrow = entry == RF_CUDA_TURN_F32_F16 || entry == RF_CUDA_TURN_F32_BF16;
    bool widen = entry == RF_CUDA_TURN_F16_F32 || entry == RF_CUDA_TURN_BF16_F32;
    bool pairs = entry == RF_CUDA_TURN_16_PAIRS;
    int per_to = narrow || pairs ? 2 : 1, per_from = widen || pairs ? 2 : 1;
    rf_cuda_turn_params p = {.outer = *nd,
                             .a = nd->dims[a],
                             .b = nd->dims[b],
                             .to_b = nd->strides[0][b],
                             .from_a = nd->strides[1][a]};
    p.outer.rank = 0;
    p.outer.elements = 1;
    for (int d = 0; d < nd->rank; d++)
        if (d != a && d != b) {
            int to = p.outer.rank++;
            p.outer.dims[to] = nd->dims[d];
            p.outer.elements *= nd->dims[d];
            for (int k = 0; k < 2; k++)
                p.outer.strides[k][to] = nd->strides[k][d];
        }
    p.tiles_a = (p.a + SIDE * per_to - 1) / (SIDE * per_to);
    p.tiles_b = (p.b + SIDE * per_from - 1) / (SIDE * per_from);
    size_t word = (size_t)per_to * rf_dtype_bytes((rf_dtype)nd->dtype[0]);
    int64_t tiles = p.outer.elements * p.tiles_a * p.tiles_b;
    return rf_cuda_launch(call, &rf_cuda_copy_entries[entry],
                          rf_cuda_grid(call, tiles * THREADS, THREADS), (dim3){SIDE, 8, 1},
                          (size_t)(per_from * SIDE * (SIDE + 1)) * word, &p, err);
}

/* ---- the choice --------------------------------------------------------------------------------
 */

static bool is_float(rf_dtype t)
{
    return t <= RF_BF16;
}

/* bool to bool too: it makes 1 of what is not 0. */
static int convert_entry(rf_dtype to, rf_dtype from)
{
    if (!is_float(to) && !is_float(from))
        return RF_CUDA_COPY_INTEGER;
    bool wide = rf_dtype_bytes(to) == 8 || rf_dtype_bytes(from) == 8 ||
                (!is_float(to) && rf_dtype_bytes(to) == 4) ||
                (!is_float(from) && rf_dtype_bytes(from) == 4);
    return wide ? RF_CUDA_COPY_DOUBLE : RF_CUDA_COPY_FLOAT;
}

static bool aligned_4(const rf_cuda_nd *nd)
{
    for (int k = 0; k < 2; k++)
        if ((uintptr_t)nd->data[k] % (4 * rf_dtype_bytes((rf_dtype)nd->dtype[k])))
            return false;
    return nd->rank && nd->strides[1][nd->rank - 1] == 1;
}

static rf_status launch_convert(const rf_kernel_call *call, rf_cuda_copy_params *p, rf_error *err)
{
    rf_cuda_nd *nd = &p->nd;
    int32_t tail;
    int entry = convert_entry((rf_dtype)nd->dtype[0], (rf_dtype)nd->dtype[1]);
    if (entry == RF_CUDA_COPY_FLOAT && aligned_4(nd) && nd->dims[nd->rank - 1] % 4 == 0 &&
        rf_cuda_nd_widen(nd, 4, &tail))
        entry = RF_CUDA_COPY_FLOAT_4;
    return rf_cuda_launch(call, &rf_cuda_copy_entries[entry],
                          rf_cuda_grid(call, nd->elements, THREADS), (dim3){THREADS, 1, 1}, 0, p,
                          err);
}

rf_status rf_cuda_copy_tensor(const rf_kernel_call *call, const rf_tensor *to,
                              const rf_tensor *from, rf_error *err)
{
    rf_cuda_copy_params p = {.nd = rf_cuda_nd_make((const rf_tensor *[]){to, from}, 2)};
    int b = turned_dim(&p.nd), entry = b < 0 ? -1 : turn_entry(&p.nd, p.nd.rank - 1, b);
    if (entry >= 0)
        return launch_turn(call, &p.nd, b, entry, err);
    if (to->dtype != from->dtype)
        return launch_convert(call, &p, err);
    entry = RF_CUDA_COPY_UNITS + rf_cuda_copy_units(&p.nd, rf_dtype_bytes(to->dtype), NULL);
    return rf_cuda_launch(call, &rf_cuda_copy_entries[entry],
                          rf_cuda_grid(call, p.nd.elements, THREADS), (dim3){THREADS, 1, 1}, 0, &p,
                          err);
}

/* ---- rows --------------------------------------------------------------------------------------
 */

static rf_status run(const rf_kernel_call *call, rf_error *err)
{
    if (call->args.op == RF_OP_CAST && call->args.in[0]->dtype == RF_BOOL &&
        call->args.out[0]->dtype == RF_BOOL) {
        rf_cuda_copy_params p = {
            .nd = rf_cuda_nd_make((const rf_tensor *[]){call->args.out[0], call->args.in[0]}, 2)};
        return launch_convert(call, &p, err);
    }
    return rf_cuda_copy_tensor(call, call->args.out[0], call->args.in[0], err);
}

static const rf_kernel copy = {
    .op = RF_OP_COPY,
    .name = "copy",
    .why = "any strides, any two dtypes",
    .run = run,
};
static const rf_kernel cast = {
    .op = RF_OP_CAST,
    .name = "copy",
    .why = "any strides, any two dtypes",
    .run = run,
};

const rf_kernel *const rf_cuda_rows_copy[] = {&copy, &cast, NULL};
