/* SPDX-License-Identifier: Apache-2.0
 *
 * Binary operations on integers: index arithmetic and masks of a network, and whatever else a graph
 * does outside of floats. Any strides and broadcasting, by the loop nest of nd.c; a row of it is
 * one loop over plain elements of the dtype, which the compiler turns into vectors where the
 * operands lie dense or stand still.
 *
 * Sums and products wrap: they are formed in unsigned arithmetic at least as wide as the dtype, in
 * which signed and unsigned have the same bits. Only min and max care for the sign.
 */
#include "kernels/cpu/nd.h"

/* A row of n elements: y = a op b, at distances of so many elements. */
typedef void row_fn(void *y, int64_t y_step, const void *a, int64_t a_step, const void *b,
                    int64_t b_step, int64_t n);

#define LOOP(y_step, a_step, b_step)                                                               \
    for (int64_t i = 0; i < n; i++) {                                                              \
        wide u = a[i * (a_step)], v = b[i * (b_step)];                                             \
        y[i * (y_step)] = (elem)OP(u, v);                                                          \
    }
/* y may be a or b, element by element. */
#define ROW(name, type, wide_type)                                                                 \
    static void name##_##type(void *y_ptr, int64_t ys, const void *a_ptr, int64_t as,              \
                              const void *b_ptr, int64_t bs, int64_t n)                            \
    {                                                                                              \
        typedef type elem;                                                                         \
        typedef wide_type wide;                                                                    \
        elem *y = y_ptr;                                                                           \
        const elem *a = a_ptr, *b = b_ptr;                                                         \
        if (ys == 1 && as == 1 && bs == 1)                                                         \
            LOOP(1, 1, 1)                                                                          \
        else if (ys == 1 && as == 1 && bs == 0)                                                    \
            LOOP(1, 1, 0)                                                                          \
        else                                                                                       \
            LOOP(ys, as, bs)                                                                       \
    }
#define ROWS_BY_SIZE(name)                                                                         \
    ROW(name, uint8_t, uint32_t)                                                                   \
    ROW(name, uint16_t, uint32_t)                                                                  \
    ROW(name, uint32_t, uint32_t)                                                                  \
    ROW(name, uint64_t, uint64_t)

#define OP(u, v) ((u) + (v))
ROWS_BY_SIZE(add)
#undef OP
#define OP(u, v) ((u) - (v))
ROWS_BY_SIZE(sub)
#undef OP
#define OP(u, v) ((u) * (v))
ROWS_BY_SIZE(mul)
#undef OP

#define ROWS_BY_TYPE(name)                                                                         \
    ROW(name, int8_t, int8_t)                                                                      \
    ROW(name, uint8_t, uint8_t)                                                                    \
    ROW(name, int16_t, int16_t)                                                                    \
    ROW(name, uint16_t, uint16_t)                                                                  \
    ROW(name, int32_t, int32_t)                                                                    \
    ROW(name, uint32_t, uint32_t)                                                                  \
    ROW(name, int64_t, int64_t)                                                                    \
    ROW(name, uint64_t, uint64_t)

#define OP(u, v) ((u) < (v) ? (u) : (v))
ROWS_BY_TYPE(min)
#undef OP
#define OP(u, v) ((u) > (v) ? (u) : (v))
ROWS_BY_TYPE(max)
#undef OP

#define BY_SIZE(name)                                                                              \
    {                                                                                              \
        [RF_I8] = name##_uint8_t, [RF_U8] = name##_uint8_t, [RF_I16] = name##_uint16_t,            \
        [RF_U16] = name##_uint16_t, [RF_I32] = name##_uint32_t, [RF_U32] = name##_uint32_t,        \
        [RF_I64] = name##_uint64_t, [RF_U64] = name##_uint64_t                                     \
    }
#define BY_TYPE(name)                                                                              \
    {                                                                                              \
        [RF_I8] = name##_int8_t, [RF_U8] = name##_uint8_t, [RF_I16] = name##_int16_t,              \
        [RF_U16] = name##_uint16_t, [RF_I32] = name##_int32_t, [RF_U32] = name##_uint32_t,         \
        [RF_I64] = name##_int64_t, [RF_U64] = name##_uint64_t                                      \
    }
static row_fn *const rows[][RF_DTYPE_COUNT] = {
    [RF_BINARY_ADD] = BY_SIZE(add), [RF_BINARY_SUB] = BY_SIZE(sub), [RF_BINARY_MUL] = BY_SIZE(mul),
    [RF_BINARY_MIN] = BY_TYPE(min), [RF_BINARY_MAX] = BY_TYPE(max),
};

static row_fn *row_of(const rf_op_args *args)
{
    const rf_binary_kind kind = args->attrs->binary.kind;
    return (size_t)kind < sizeof rows / sizeof rows[0] ? rows[kind][args->out[0]->dtype] : NULL;
}

typedef struct job {
    rf_nd nd;
    row_fn *fn;
    const void *data[3]; /* y, a, b */
    size_t bytes;
    int64_t n_tiles; /* of RF_ND_TILE elements, in a row */
} job;

static void run_range(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const job *j = ctx;
    const rf_nd *nd = &j->nd;
    for (int64_t u = begin; u < end; u++) {
        const int64_t col = u % j->n_tiles * RF_ND_TILE, left = nd->dims[0] - col;
        int64_t rest = u / j->n_tiles;
        int64_t offset[3];
        for (int o = 0; o < 3; o++)
            offset[o] = col * nd->strides[o][0];
        for (int d = 1; d < nd->rank; d++) {
            for (int o = 0; o < 3; o++)
                offset[o] += rest % nd->dims[d] * nd->strides[o][d];
            rest /= nd->dims[d];
        }
        j->fn(rf_nd_at(j->data[0], offset[0], j->bytes), nd->strides[0][0],
              rf_nd_at(j->data[1], offset[1], j->bytes), nd->strides[1][0],
              rf_nd_at(j->data[2], offset[2], j->bytes), nd->strides[2][0],
              left < RF_ND_TILE ? left : RF_ND_TILE);
    }
}

static rf_status run(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_tensor *y = call->args.out[0];
    const rf_tensor *const t[3] = {y, call->args.in[0], call->args.in[1]};
    const int64_t n = rf_tensor_elements(y);
    if (n == 0)
        return RF_OK;
    job j = {.fn = row_of(&call->args), .bytes = rf_dtype_bytes(y->dtype)};
    rf_nd_init(&j.nd, y->rank, y->dims);
    for (int o = 0; o < 3; o++) {
        rf_nd_operand(&j.nd, t[o]->rank, t[o]->dims, t[o]->strides);
        j.data[o] = t[o]->data;
    }
    rf_nd_order(&j.nd);
    j.n_tiles = rf_nd_ceil_div(j.nd.dims[0], RF_ND_TILE);
    int64_t units = j.n_tiles;
    for (int d = 1; d < j.nd.rank; d++)
        units *= j.nd.dims[d];
    rf_parallel_for(rf_nd_threads(call->n_threads, n), units, 1, run_range, &j);
    return RF_OK;
}

static bool can(const rf_kernel_desc *desc)
{
    return row_of(&desc->args) != NULL;
}

static const rf_kernel integer_row = {
    .op = RF_OP_BINARY,
    .name = "integer",
    .why = "any integer dtype",
    .can = can,
    .run = run,
    .in_place = 3,
};

const rf_kernel *const RF_CPU_ROWS(integer)[] = {&integer_row, NULL};
