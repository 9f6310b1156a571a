/* SPDX-License-Identifier: Apache-2.0
 *
 * Loop nests and the elementwise engine. Work is cut into tiles of at most RF_ND_TILE elements that
 * span whole rows where rows are short. Operands that already are dense f32 are used where they
 * lie; the others pass through a buffer in L1, which makes storage type and strides a matter of
 * loading only. A buffer whose source did not move (a scalar, a per-channel vector in NHWC) is
 * kept.
 */
#include "kernels/cpu/nd.h"
#include "kernels/cpu/vec.h"

void rf_nd_init(rf_nd *nd, int rank, const int64_t *dims)
{
    nd->rank = rank;
    nd->n_ops = 0;
    for (int i = 0; i < rank; i++)
        nd->dims[i] = dims[rank - 1 - i];
}

void rf_nd_operand(rf_nd *nd, int rank, const int64_t *dims, const int64_t *strides)
{
    int64_t *s = nd->strides[nd->n_ops++];
    for (int i = 0; i < nd->rank; i++)
        s[i] = i < rank && dims[rank - 1 - i] != 1 ? strides[rank - 1 - i] : 0;
}

static void swap_dims(rf_nd *nd, int a, int b)
{
    int64_t t = nd->dims[a];
    nd->dims[a] = nd->dims[b];
    nd->dims[b] = t;
    for (int o = 0; o < nd->n_ops; o++) {
        t = nd->strides[o][a];
        nd->strides[o][a] = nd->strides[o][b];
        nd->strides[o][b] = t;
    }
}

/* Does dim `outer` continue dim `inner` in every operand? */
static bool continues(const rf_nd *nd, int inner, int outer)
{
    for (int o = 0; o < nd->n_ops; o++)
        if (nd->strides[o][outer] != nd->strides[o][inner] * nd->dims[inner])
            return false;
    return true;
}

void rf_nd_order(rf_nd *nd)
{
    int rank = 0;
    for (int i = 0; i < nd->rank; i++)
        if (nd->dims[i] != 1)
            swap_dims(nd, rank++, i);
    nd->rank = rank;
    for (int i = 1; i < rank; i++)
        for (int k = i; k > 0 && nd->strides[0][k] < nd->strides[0][k - 1]; k--)
            swap_dims(nd, k, k - 1);
    int last = 0;
    for (int i = 1; i < rank; i++) {
        if (continues(nd, last, i))
            nd->dims[last] *= nd->dims[i];
        else
            swap_dims(nd, ++last, i);
    }
    if (rank)
        nd->rank = last + 1;
    for (int i = nd->rank; i < 2; i++) { /* callers need two dims */
        nd->dims[i] = 1;
        for (int o = 0; o < nd->n_ops; o++)
            nd->strides[o][i] = 0;
    }
    if (nd->rank < 2)
        nd->rank = 2;
}

static void fetch_dense(float *dst, const void *p, bool bf16, int64_t n)
{
    if (!bf16) {
        memcpy(dst, p, (size_t)n * 4);
        return;
    }
    int64_t i = 0;
    for (; i + VL <= n; i += VL)
        vstore(dst + i, vload_bf16((const uint16_t *)p + i));
    if (i < n)
        vstore_part(dst + i, vload_bf16_part((const uint16_t *)p + i, (int)(n - i)), (int)(n - i));
}

static float load_one(const void *p, int64_t i, bool bf16)
{
    if (!bf16)
        return ((const float *)p)[i];
    uint32_t u = (uint32_t)((const uint16_t *)p)[i] << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static void splat(float *dst, float x, int64_t n)
{
    vf v = vset1(x);
    int64_t i = 0;
    for (; i + VL <= n; i += VL)
        vstore(dst + i, v);
    for (; i < n; i++)
        dst[i] = x;
}

void rf_nd_fetch(float *dst, const void *p, bool bf16, int64_t rows, int64_t row_stride,
                 int64_t cols, int64_t col_stride)
{
    if (rows == 1 || row_stride == cols * col_stride) {
        cols *= rows;
        rows = 1;
    }
    for (int64_t r = 0; r < rows; r++, dst += cols) {
        const void *row = rf_nd_at(p, r * row_stride, bf16 ? 2 : 4);
        if (col_stride == 1)
            fetch_dense(dst, row, bf16, cols);
        else if (col_stride == 0)
            splat(dst, load_one(row, 0, bf16), cols);
        else
            for (int64_t i = 0; i < cols; i++)
                dst[i] = load_one(row, i * col_stride, bf16);
    }
}

static void store_dense(void *p, bool bf16, const float *src, int64_t n)
{
    if (!bf16) {
        memcpy(p, src, (size_t)n * 4);
        return;
    }
    int64_t i = 0;
    for (; i + VL <= n; i += VL)
        vstore_bf16((uint16_t *)p + i, vload(src + i));
    if (i < n)
        vstore_bf16_part((uint16_t *)p + i, vload_part(src + i, (int)(n - i)), (int)(n - i));
}

void rf_nd_store(void *p, bool bf16, const float *src, int64_t rows, int64_t row_stride,
                 int64_t cols, int64_t col_stride)
{
    if (rows == 1 || row_stride == cols * col_stride) {
        cols *= rows;
        rows = 1;
    }
    for (int64_t r = 0; r < rows; r++, src += cols) {
        void *row = rf_nd_at(p, r * row_stride, bf16 ? 2 : 4);
        if (col_stride == 1)
            store_dense(row, bf16, src, cols);
        else if (bf16)
            for (int64_t i = 0; i < cols; i++)
                vstore_bf16_part((uint16_t *)row + i * col_stride, vset1(src[i]), 1);
        else
            for (int64_t i = 0; i < cols; i++)
                ((float *)row)[i * col_stride] = src[i];
    }
}

typedef struct map_job {
    rf_nd nd;
    rf_map_fn *fn;
    const void *ctx;
    void *data[RF_ND_OPS];
    bool bf16[RF_ND_OPS];
    int64_t tile_cols, tile_rows; /* of a full tile */
    int64_t n_col_tiles, n_row_tiles;
} map_job;

/* What the buffer of an input holds, so that a standing source is loaded once. */
typedef struct map_cache {
    int64_t offset, rows, cols;
} map_cache;

static void map_tile(const map_job *job, const int64_t *offset, int64_t rows, int64_t cols,
                     float (*buffer)[RF_ND_TILE], map_cache *cache)
{
    const rf_nd *nd = &job->nd;
    const float *in[RF_ND_OPS - 1];
    for (int o = 1; o < nd->n_ops; o++) {
        int64_t cs = nd->strides[o][0], rs = nd->strides[o][1];
        const void *p = rf_nd_at(job->data[o], offset[o], job->bf16[o] ? 2 : 4);
        bool dense = (cs == 1 || cols == 1) && (rows == 1 || rs == cols);
        if (dense && !job->bf16[o]) {
            in[o - 1] = p;
            continue;
        }
        map_cache *c = &cache[o];
        in[o - 1] = buffer[o];
        if (c->offset == offset[o] && c->cols == cols && c->rows >= rows)
            continue;
        rf_nd_fetch(buffer[o], p, job->bf16[o], rows, rs, cols, cs);
        *c = (map_cache){offset[o], rows, cols};
    }
    int64_t cs = nd->strides[0][0], rs = nd->strides[0][1];
    void *p = rf_nd_at(job->data[0], offset[0], job->bf16[0] ? 2 : 4);
    bool direct = !job->bf16[0] && (cs == 1 || cols == 1) && (rows == 1 || rs == cols);
    float *y = direct ? p : buffer[0];
    job->fn(job->ctx, y, in, rows * cols);
    if (!direct)
        rf_nd_store(p, job->bf16[0], y, rows, rs, cols, cs);
}

static void map_range(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    const map_job *job = ctx;
    const rf_nd *nd = &job->nd;
    float buffer[RF_ND_OPS][RF_ND_TILE] __attribute__((aligned(64)));
    map_cache cache[RF_ND_OPS];
    for (int o = 0; o < RF_ND_OPS; o++)
        cache[o].offset = -1;
    for (int64_t u = begin; u < end; u++) {
        int64_t col = u % job->n_col_tiles * job->tile_cols, rest = u / job->n_col_tiles;
        int64_t row = rest % job->n_row_tiles * job->tile_rows;
        rest /= job->n_row_tiles;
        int64_t offset[RF_ND_OPS];
        for (int o = 0; o < nd->n_ops; o++)
            offset[o] = col * nd->strides[o][0] + row * nd->strides[o][1];
        for (int d = 2; d < nd->rank; d++) {
            int64_t i = rest % nd->dims[d];
            rest /= nd->dims[d];
            for (int o = 0; o < nd->n_ops; o++)
                offset[o] += i * nd->strides[o][d];
        }
        int64_t cols = nd->dims[0] - col, rows = nd->dims[1] - row;
        map_tile(job, offset, rows < job->tile_rows ? rows : job->tile_rows,
                 cols < job->tile_cols ? cols : job->tile_cols, buffer, cache);
    }
}

void rf_cpu_map(int n_threads, rf_map_fn *fn, const void *ctx, const rf_tensor *out,
                const rf_tensor *const *in, int n_in)
{
    int64_t n = rf_tensor_elements(out);
    if (n == 0)
        return;
    map_job job = {.fn = fn, .ctx = ctx};
    rf_nd_init(&job.nd, out->rank, out->dims);
    for (int o = 0; o <= n_in; o++) {
        const rf_tensor *t = o ? in[o - 1] : out;
        rf_nd_operand(&job.nd, t->rank, t->dims, t->strides);
        job.data[o] = t->data;
        job.bf16[o] = t->dtype == RF_BF16;
    }
    rf_nd_order(&job.nd);
    const int64_t *dims = job.nd.dims;
    job.tile_cols = dims[0] < RF_ND_TILE ? dims[0] : RF_ND_TILE;
    job.tile_rows = RF_ND_TILE / job.tile_cols;
    if (job.tile_rows > dims[1])
        job.tile_rows = dims[1];
    job.n_col_tiles = rf_nd_ceil_div(dims[0], job.tile_cols);
    job.n_row_tiles = rf_nd_ceil_div(dims[1], job.tile_rows);
    int64_t units = job.n_col_tiles * job.n_row_tiles;
    for (int d = 2; d < job.nd.rank; d++)
        units *= dims[d];
    rf_parallel_for(rf_nd_threads(n_threads, n), units, 1, map_range, &job);
}
