/* SPDX-License-Identifier: Apache-2.0
 *
 * The strided copy behind every op that only moves elements. Three ways, by the merged loop nest in
 * the order of the destination:
 *   rows       both sides are dense along the innermost dim: memcpy, or a vector conversion
 *   transpose  the source is dense along another dim (NCHW <-> NHWC): VL x VL blocks in registers
 *   table      anything else (pixel shuffle, few channels): the offsets of up to TABLE elements are
 *              worked out once and used for every repetition of that block
 */
#include "kernels/cpu/nd.h"
#include "kernels/cpu/vec.h"
#include "runtime/base/half.h"

enum { TABLE = 2048, ROW_BYTES = 16384, TRANSPOSE_TILE = 4096 };

typedef enum copy_mode {
    COPY_8,
    COPY_16,
    COPY_32,
    COPY_64,
    COPY_F32_BF16,
    COPY_BF16_F32
} copy_mode;

typedef struct copy_job copy_job;
struct copy_job {
    rf_nd nd;
    copy_mode mode;
    size_t to_bytes, from_bytes;
    char *dst;
    const char *src;
    /* Copies the tile that starts at dst and src; size[] says how far it reaches in tiled dims. */
    void (*copy_tile)(const copy_job *job, char *dst, const char *src, const int64_t *size);
    int first;  /* dims below are inside copy_tile */
    int dim[2]; /* the two dims that are cut into tiles; all others are stepped through */
    int64_t tile[2];
    /* table: offsets of the block spanned by dims 0..dim[0]; `lower` elements lie below dim[0] */
    int64_t lower;
    const int64_t *to, *from; /* `to` NULL: the block is one run of the destination */
};

bool rf_cpu_can_copy(rf_dtype to, rf_dtype from)
{
    return to == from || (rf_cpu_is_float(to) && rf_cpu_is_float(from));
}

static copy_mode mode_of(rf_dtype to, rf_dtype from)
{
    if (to != from)
        return to == RF_BF16 ? COPY_F32_BF16 : COPY_BF16_F32;
    size_t bytes = rf_dtype_bytes(to);
    return bytes == 1 ? COPY_8 : bytes == 2 ? COPY_16 : bytes == 4 ? COPY_32 : COPY_64;
}

/* The bodies below take the mode as a constant; this makes one copy of a body for each. */
#define FOR_EACH_MODE(job, body, ...)                                                              \
    switch ((job)->mode) {                                                                         \
    case COPY_8:                                                                                   \
        body(__VA_ARGS__, COPY_8);                                                                 \
        break;                                                                                     \
    case COPY_16:                                                                                  \
        body(__VA_ARGS__, COPY_16);                                                                \
        break;                                                                                     \
    case COPY_32:                                                                                  \
        body(__VA_ARGS__, COPY_32);                                                                \
        break;                                                                                     \
    case COPY_64:                                                                                  \
        body(__VA_ARGS__, COPY_64);                                                                \
        break;                                                                                     \
    case COPY_F32_BF16:                                                                            \
        body(__VA_ARGS__, COPY_F32_BF16);                                                          \
        break;                                                                                     \
    case COPY_BF16_F32:                                                                            \
        body(__VA_ARGS__, COPY_BF16_F32);                                                          \
        break;                                                                                     \
    }
#define BODY static inline __attribute__((always_inline)) void

BODY copy_one(void *dst, int64_t i, const void *src, int64_t k, copy_mode mode)
{
    switch (mode) {
    case COPY_8:
        ((uint8_t *)dst)[i] = ((const uint8_t *)src)[k];
        break;
    case COPY_16:
        ((uint16_t *)dst)[i] = ((const uint16_t *)src)[k];
        break;
    case COPY_32:
        ((uint32_t *)dst)[i] = ((const uint32_t *)src)[k];
        break;
    case COPY_64:
        ((uint64_t *)dst)[i] = ((const uint64_t *)src)[k];
        break;
    case COPY_F32_BF16:
        ((uint16_t *)dst)[i] = rf_f32_to_bf16(((const float *)src)[k]);
        break;
    case COPY_BF16_F32:
        ((uint32_t *)dst)[i] = (uint32_t)((const uint16_t *)src)[k] << 16;
        break;
    }
}

/* --- rows ---------------------------------------------------------------------------------------
 */

BODY repeat_mode(char *dst, const char *src, int64_t n, copy_mode mode)
{
    for (int64_t i = 0; i < n; i++)
        copy_one(dst, i, src, 0, mode);
}

static void copy_row(const copy_job *job, char *dst, const char *src, int64_t n)
{
    if (job->nd.strides[1][0] == 0) {
        FOR_EACH_MODE(job, repeat_mode, dst, src, n)
        return;
    }
    if (job->mode < COPY_F32_BF16) {
        memcpy(dst, src, (size_t)n * job->to_bytes);
        return;
    }
    bool widen = job->mode == COPY_BF16_F32;
    int64_t i = 0;
    if (widen)
        for (; i + VL <= n; i += VL)
            vstore((float *)dst + i, vload_bf16((const uint16_t *)src + i));
    else
        for (; i + VL <= n; i += VL)
            vstore_bf16((uint16_t *)dst + i, vload((const float *)src + i));
    int part = (int)(n - i);
    if (part)
        vstore_part_as(dst, i, !widen, vload_part_as(src, i, widen, part), part);
}

static void rows_tile(const copy_job *job, char *dst, const char *src, const int64_t *size)
{
    int64_t to = job->nd.strides[0][1] * (int64_t)job->to_bytes;
    int64_t from = job->nd.strides[1][1] * (int64_t)job->from_bytes;
    for (int64_t r = 0; r < size[1]; r++)
        copy_row(job, dst + r * to, src + r * from, size[0]);
}

/* --- transpose ----------------------------------------------------------------------------------
 */

static inline vu load_lanes(const void *p, copy_mode mode)
{
    if (mode == COPY_16)
        return __builtin_convertvector(*(const vh_unaligned *)p, vu);
    return (vu)vload_as(p, 0, mode == COPY_BF16_F32);
}

static inline void store_lanes(void *p, vu v, copy_mode mode)
{
    if (mode == COPY_16)
        *(vh_unaligned *)p = __builtin_convertvector(v, vh);
    else
        vstore_as(p, 0, mode == COPY_F32_BF16, (vf)v);
}

#if VL == 16
#define ZIP_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define ZIP_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif VL == 8
#define ZIP_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define ZIP_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define ZIP_LOW 0, 4, 1, 5
#define ZIP_HIGH 2, 6, 3, 7
#endif

/* log2(VL) perfect shuffles of the rows i and i + VL/2 transpose the block: each moves the top bit
 * of the row number to the bottom of the lane number. */
BODY transpose_block(vu *r)
{
    for (int step = 1; step < VL; step *= 2) {
        vu t[VL];
#pragma GCC unroll 16
        for (int i = 0; i < VL / 2; i++) {
            t[2 * i] = __builtin_shufflevector(r[i], r[i + VL / 2], ZIP_LOW);
            t[2 * i + 1] = __builtin_shufflevector(r[i], r[i + VL / 2], ZIP_HIGH);
        }
#pragma GCC unroll 16
        for (int i = 0; i < VL; i++)
            r[i] = t[i];
    }
}

/* n[0] elements dense in dst (step in src: `from`), n[1] dense in src (step in dst: `to`). */
BODY transpose_tile_mode(const copy_job *job, char *dst, const char *src, const int64_t *n,
                         int64_t to, int64_t from, copy_mode mode)
{
    int64_t tb = (int64_t)job->to_bytes, fb = (int64_t)job->from_bytes;
    int64_t full0 = 0, full1 = 0;
    if (mode != COPY_8 && mode != COPY_64) {
        full0 = n[0] / VL * VL;
        full1 = full0 ? n[1] / VL * VL : 0;
    }
    for (int64_t b = 0; b < full1; b += VL)
        for (int64_t a = 0; a < full0; a += VL) {
            vu r[VL];
#pragma GCC unroll 16
            for (int i = 0; i < VL; i++)
                r[i] = load_lanes(src + ((a + i) * from + b) * fb, mode);
            transpose_block(r);
#pragma GCC unroll 16
            for (int i = 0; i < VL; i++)
                store_lanes(dst + ((b + i) * to + a) * tb, r[i], mode);
        }
    /* What is left: the ends of the rows that had blocks, and whole rows; the long way inside. */
    if (n[0] < n[1]) {
        for (int64_t a = 0; a < n[0]; a++)
            for (int64_t b = a < full0 ? full1 : 0; b < n[1]; b++)
                copy_one(dst, b * to + a, src, a * from + b, mode);
    } else {
        for (int64_t b = 0; b < n[1]; b++)
            for (int64_t a = b < full1 ? full0 : 0; a < n[0]; a++)
                copy_one(dst, b * to + a, src, a * from + b, mode);
    }
}

static void transpose_tile(const copy_job *job, char *dst, const char *src, const int64_t *size)
{
    int64_t to = job->nd.strides[0][job->dim[1]], from = job->nd.strides[1][0];
    FOR_EACH_MODE(job, transpose_tile_mode, job, dst, src, size, to, from)
}

/* --- table --------------------------------------------------------------------------------------
 */

BODY table_tile_mode(const copy_job *job, char *dst, const char *src, int64_t n, copy_mode mode)
{
    const int64_t *to = job->to, *from = job->from;
    if (to)
        for (int64_t i = 0; i < n; i++)
            copy_one(dst, to[i], src, from[i], mode);
    else
        for (int64_t i = 0; i < n; i++)
            copy_one(dst, i, src, from[i], mode);
}

static void table_tile(const copy_job *job, char *dst, const char *src, const int64_t *size)
{
    int64_t n = job->lower * size[0];
    FOR_EACH_MODE(job, table_tile_mode, job, dst, src, n)
}

/* Fills the tables for dims 0..last, where only `count` of the last dim take part. */
static int64_t fill_table(const rf_nd *nd, int last, int64_t count, int64_t *to, int64_t *from)
{
    int64_t n = 1;
    to[0] = from[0] = 0;
    for (int d = 0; d <= last; d++) {
        int64_t dim = d == last ? count : nd->dims[d], below = n;
        for (int64_t i = 1; i < dim; i++)
            for (int64_t k = 0; k < below; k++, n++) {
                to[n] = to[k] + i * nd->strides[0][d];
                from[n] = from[k] + i * nd->strides[1][d];
            }
    }
    return n;
}

/* --- driver -------------------------------------------------------------------------------------
 */

static void copy_range(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const copy_job *job = ctx;
    const rf_nd *nd = &job->nd;
    for (int64_t u = begin; u < end; u++) {
        int64_t rest = u, to = 0, from = 0, size[2] = {1, 1};
        for (int d = job->first; d < nd->rank; d++) {
            int64_t i, dim = nd->dims[d];
            int k = d == job->dim[0] ? 0 : d == job->dim[1] ? 1 : -1;
            if (k < 0) {
                i = rest % dim;
                rest /= dim;
            } else {
                int64_t n_tiles = rf_nd_ceil_div(dim, job->tile[k]);
                i = rest % n_tiles * job->tile[k];
                rest /= n_tiles;
                size[k] = dim - i < job->tile[k] ? dim - i : job->tile[k];
            }
            to += i * nd->strides[0][d];
            from += i * nd->strides[1][d];
        }
        job->copy_tile(job, job->dst + to * (int64_t)job->to_bytes,
                       job->src + from * (int64_t)job->from_bytes, size);
    }
}

static void run_job(copy_job *job, int n_threads, int64_t n)
{
    int64_t units = 1;
    for (int d = job->first; d < job->nd.rank; d++) {
        int k = d == job->dim[0] ? 0 : d == job->dim[1] ? 1 : -1;
        units *= k < 0 ? job->nd.dims[d] : rf_nd_ceil_div(job->nd.dims[d], job->tile[k]);
    }
    /* A copy does little with an element: threads pay from a few times more of them. */
    rf_parallel_for(rf_nd_threads(n_threads, n / 4), units, 1, copy_range, job);
}

static int64_t clamp64(int64_t x, int64_t lo, int64_t hi)
{
    return x < lo ? lo : x > hi ? hi : x;
}

/* Tiles of about `elements`: as much of `a` as fits, then of `b`. */
static void set_tiles(copy_job *job, int a, int b, int64_t elements)
{
    job->dim[0] = a;
    job->dim[1] = b;
    job->tile[0] = clamp64(elements, 1, job->nd.dims[a]);
    job->tile[1] = clamp64(elements / job->tile[0], 1, job->nd.dims[b]);
}

static void run_rows(copy_job *job, int n_threads, int64_t n)
{
    job->copy_tile = rows_tile;
    set_tiles(job, 0, 1, ROW_BYTES / (int64_t)job->to_bytes);
    run_job(job, n_threads, n);
}

static void run_transpose(copy_job *job, int across, int n_threads, int64_t n)
{
    job->copy_tile = transpose_tile;
    set_tiles(job, 0, across, TRANSPOSE_TILE);
    /* Square if both dims are long, so that whole cache lines are used on both sides. */
    int64_t n0 = job->nd.dims[0], n1 = job->nd.dims[across];
    job->tile[0] = clamp64(TRANSPOSE_TILE / (n1 < 64 ? n1 : 64), 1, n0);
    job->tile[1] = clamp64(TRANSPOSE_TILE / (n0 < 64 ? n0 : 64) / 64 * 64, 1, n1);
    run_job(job, n_threads, n);
}

static void run_table(copy_job *job, int n_threads, int64_t n)
{
    int64_t to[TABLE], from[TABLE];
    const rf_nd *nd = &job->nd;
    int split = 0;
    int64_t lower = 1;
    while (split + 1 < nd->rank && lower * nd->dims[split] <= TABLE)
        lower *= nd->dims[split++];
    job->copy_tile = table_tile;
    job->first = job->dim[0] = split;
    job->dim[1] = -1;
    job->tile[0] = clamp64(TABLE / lower, 1, nd->dims[split]);
    job->lower = lower;
    int64_t filled = fill_table(nd, split, job->tile[0], to, from);
    job->from = from;
    job->to = to[filled - 1] == filled - 1 ? NULL : to;
    run_job(job, n_threads, n);
}

void rf_cpu_copy(int n_threads, int rank, const int64_t *dims, void *dst, rf_dtype to,
                 const int64_t *dst_strides, const void *src, rf_dtype from,
                 const int64_t *src_strides)
{
    int64_t n = 1;
    for (int i = 0; i < rank; i++)
        n *= dims[i];
    if (n == 0)
        return;
    copy_job job = {
        .mode = mode_of(to, from),
        .to_bytes = rf_dtype_bytes(to),
        .from_bytes = rf_dtype_bytes(from),
        .dst = dst,
        .src = src,
    };
    rf_nd *nd = &job.nd;
    rf_nd_init(nd, rank, dims);
    rf_nd_operand(nd, rank, dims, dst_strides);
    rf_nd_operand(nd, rank, dims, src_strides);
    rf_nd_order(nd);
    int across = 0; /* along which the source is dense */
    for (int d = 0; d < nd->rank; d++)
        if (nd->strides[1][d] == 1 && nd->dims[d] > 1)
            across = d;
    bool dst_dense = nd->strides[0][0] == 1;
    if (dst_dense && nd->strides[1][0] <= 1 && nd->dims[0] * (int64_t)job.to_bytes >= 32)
        run_rows(&job, n_threads, n);
    else if (dst_dense && across && nd->dims[0] * nd->dims[across] >= 512)
        run_transpose(&job, across, n_threads, n);
    else
        run_table(&job, n_threads, n);
}

void rf_cpu_copy_tensor(int n_threads, const rf_tensor *dst, const rf_tensor *src)
{
    rf_cpu_copy(n_threads, dst->rank, dst->dims, dst->data, dst->dtype, dst->strides, src->data,
                src->dtype, src->strides);
}
