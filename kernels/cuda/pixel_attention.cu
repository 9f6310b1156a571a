/* SPDX-License-Identifier: Apache-2.0
 *
 * Pixel attention with its gate, NHWC. conv(r; w0) + conv(s + ca; w1) is split into
 *
 *   conv(r; w0) + conv(s; w1) + ca * sum(w1)
 *
 * (reflection keeps a constant constant), so s + ca never exists. The plane s is made first, by a
 * kernel of its own: 98 multiply-adds per pixel, 8 bytes in and 2 out. Made inside the tiles it
 * would cost 1.9 times as much for the halo, once per 32 channels.
 *
 * Half tiles: both convolutions run on tensor cores. A row of a channel's window is a banded
 * matrix, b(k, n) = w[k - n]: m16n8k16 takes 16 columns of 8 image rows, twice (8 columns apart),
 * to 8 outputs each, so 7 products make a 7x7 window for 128 outputs. That is 112 multiply-adds for
 * 49, 224 for both sources, 0.17 clocks of an SM per output at 62% of the tensor peak. On CUDA
 * cores r's 49 alone take 0.38, and as many instructions per output as all of this kernel. r's
 * weights are rounded to half, as those of every convolution of a half network; s and its weights
 * are f16 with bf16 storage too, since their rounding dominates the error there. Rows j of a
 * fragment serve two rows of the window, so it is loaded once for both; those of s stay in
 * registers for 4 channels.
 *
 * A block: 16 x 16 pixels x 32 channels, 8 warps of 4 channels. r goes through registers from NHWC
 * to planes in shared memory; x and y come by cp.async meanwhile; logits go back through shared
 * memory so that x, y, r and out are touched by 4 neighbouring lanes x 16 bytes per pixel.
 *
 *   sm_90a, k = 7: 128 registers, no spills; 51,360 bytes shared (mix: 67,744): 2 blocks per SM.
 *   Some 1,400 instructions per thread (gate), 1,700 (mix), among them 112 mma, for 32 outputs:
 *   0.34 and 0.42 clocks of an SM per output, where memory at 4.3 TB/s takes 0.32 and 0.43.
 *   Bytes per pixel of memory at C = 32 / 64 / 128: gate 6C + 12 = 204 / 396 / 780, mix 8C + 12 =
 *   268 / 524 / 1036; r is read 1.9 times, and once more at the end, from L2 and L1.
 *
 * Inf and NaN: a zero weight of the band times either is NaN. One in r or s reaches outputs up to
 * 12 columns away (3 without), never other rows.
 *
 * f32 tiles do the same sums with plain multiply-adds: a lane is a channel, a warp makes two
 * columns of 16 rows, so one value from shared memory serves 14 of them. 72 registers, 64,064
 * bytes: 3 blocks per SM.
 */
#include "kernels/cuda/pixel_attention.h"
#include "kernels/cuda/row8.cuh"

constexpr int THREADS = RF_CUDA_PA_THREADS, TILE = RF_CUDA_PA_TILE, CHANNELS = RF_CUDA_PA_CHANNELS;

/* Index i of a reflected dim; what lies further out than a reflection becomes some index inside. */
__device__ __forceinline__ int reflect(int i, int n)
{
    i = i < 0 ? -i : i;
    i = i < 2 * n - 2 - i ? i : 2 * n - 2 - i;
    return i > 0 ? i : 0;
}

/* sigmoid(p) for 0 <= p <= 1, error below 7e-8: an odd minimax polynomial about (0, 1/2). */
__device__ __forceinline__ float sigmoid_of_unit(float p)
{
    float u = p * p, q = -0.00016942373f * u + 0.002053929f;
    q = q * u - 0.02082541f;
    q = q * u + 0.24999942f;
    return q * p + 0.5f;
}

/* --- s ---------------------------------------------------------------------------------------- */

/* A number too large for f16 becomes the largest: an infinity would make NaN of a sum of two. */
template <class T> __device__ __forceinline__ T round_s(float v)
{
    return rf_from_float<T>(v);
}
template <> __device__ __forceinline__ __half round_s<__half>(float v)
{
    bool beyond = fabsf(v) > 65504.0f && fabsf(v) < INFINITY;
    return __float2half_rn(beyond ? copysignf(65504.0f, v) : v);
}

/* A thread makes S_STEP rows of a column, so a value of the map serves S_STEP windows; the weights
 * are operands from the constant bank. */
template <class T, int K> __global__ void pa_s(const rf_cuda_pa_s_params p)
{
    constexpr int COLS = 32, ROWS = RF_CUDA_PA_S_ROWS, STEP = RF_CUDA_PA_S_STEP;
    constexpr int IN_COLS = COLS + K - 1, IN_ROWS = ROWS + K - 1, PLANE = IN_COLS * IN_ROWS;
    float *in = (float *)RF_SHARED(2 * PLANE * 4);
    const int x0 = blockIdx.x * COLS, y0 = blockIdx.y * ROWS;
    const int64_t n = blockIdx.z;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const float *map = (const float *)p.map + n * p.map_n;
    const float *left = map + reflect(x0 - K / 2 + lane, p.w) * p.map_x;
    const float *right = map + reflect(x0 - K / 2 + lane + 32, p.w) * p.map_x;
    for (int y = warp; y < IN_ROWS; y += ROWS / STEP) {
        int64_t at = reflect(y0 - K / 2 + y, p.h) * p.map_y;
        for (int ch = 0; ch < 2; ch++, at += p.map_channel) {
            float *to = in + ch * PLANE + y * IN_COLS + lane;
            rf_shared_store(to, rf_load(left + at));
            if (lane + 32 < IN_COLS)
                rf_shared_store(to + 32, rf_load(right + at));
        }
    }
    __syncthreads();
    const int row = warp * STEP;
    float sum[STEP];
    for (int i = 0; i < STEP; i++)
        sum[i] = p.bias;
#pragma unroll
    for (int ch = 0; ch < 2; ch++)
#pragma unroll
        for (int dx = 0; dx < K; dx++)
#pragma unroll
            for (int y = 0; y < STEP + K - 1; y++) {
                float v = rf_shared_load(in + ch * PLANE + (row + y) * IN_COLS + lane + dx);
#pragma unroll
                for (int i = 0; i < STEP; i++)
                    if (y - i >= 0 && y - i < K)
                        sum[i] += p.weights[ch * K * K + (y - i) * K + dx] * v;
            }
    if (x0 + lane < p.w)
        for (int i = 0; i < STEP; i++)
            if (y0 + row + i < p.h)
                rf_store((T *)p.s + (n * p.h + y0 + row + i) * p.w + x0 + lane, round_s<T>(sum[i]));
}

/* --- half tiles --------------------------------------------------------------------------------
 */

/* Shared memory of a half tile. A channel of r is a plane of 22 rows x 24 columns (the last two are
 * zeros), even rows before odd ones, 48 bytes each: 8 rows of one parity meet 8 different groups
 * of banks, and so do the 32 words that a warp stores at once (GROUP's 32 spare bytes). */
constexpr int ROWS = TILE + RF_CUDA_PA_MAX_K - 1, ROW_PAIRS = 12, ROW_BYTES = 4 * ROW_PAIRS;
constexpr int PLANE_PAIRS = ROWS * ROW_PAIRS, PLANE_BYTES = ROWS * ROW_BYTES;
constexpr int GROUP_BYTES = 8 * PLANE_BYTES + 32, R_BYTES = CHANNELS / 8 * GROUP_BYTES;
constexpr int X_BYTES = TILE * TILE * CHANNELS * 2, ITEMS = X_BYTES / 16 / THREADS;
static_assert(R_BYTES >= TILE * TILE * CHANNELS * 4, "the logits take the place of r");
static_assert(RF_CUDA_PA_HALF_SHARED == R_BYTES + PLANE_BYTES + X_BYTES, "as the host counts it");

/* The grid: channel blocks, then columns of tiles; rows of tiles; images. */
struct Block {
    int64_t image; /* pixels before it */
    int c0, x0, y0;
    __device__ explicit Block(const rf_cuda_pa_tile_params &p)
    {
        int column = blockIdx.x / p.c_blocks;
        c0 = (blockIdx.x - column * p.c_blocks) * CHANNELS;
        x0 = column * TILE;
        y0 = blockIdx.y * TILE;
        image = (int64_t)blockIdx.z * p.h * p.w;
    }
};

/* Row of the window that is stored as row `stored` of a plane. */
__device__ __forceinline__ int row_of(int stored)
{
    return stored < ROWS / 2 ? 2 * stored : 2 * stored - ROWS + 1;
}

/* r's window of the tile from NHWC to planes: 4 lanes read the 64 bytes of a pixel, and each puts
 * its channels of two neighbouring pixels together. A thread stays in its pair of columns. All
 * loads are under way before the first use; those past the window meet zero weights or no reader.
 */
template <class T, int K>
__device__ __forceinline__ void fill_r(const rf_cuda_pa_tile_params &p, const Block &b,
                                       unsigned char *planes)
{
    constexpr int STEP = THREADS / 4 / ROW_PAIRS, N = (ROWS + STEP - 1) / STEP;
    const int place = threadIdx.x / 4, quad = threadIdx.x % 4, first = place / ROW_PAIRS;
    const int channel = b.c0 + quad * 8, x = b.x0 - K / 2 + place % ROW_PAIRS * 2;
    if (first >= STEP || channel >= p.c) /* 4 of 64 threads are left over */
        return;
    const T *r = (const T *)p.r + b.image * p.c + channel;
    const T *even_column = r + (int64_t)reflect(x, p.w) * p.c;
    const T *odd_column = r + (int64_t)reflect(x + 1, p.w) * p.c;
    const int line = p.w * p.c;
    uint4 even[N], odd[N];
#pragma unroll
    for (int i = 0; i < N; i++) {
        int64_t at = (int64_t)reflect(b.y0 - K / 2 + row_of(first + i * STEP), p.h) * line;
        even[i] = rf_load((const uint4 *)(even_column + at));
        odd[i] = rf_load((const uint4 *)(odd_column + at));
    }
    unsigned char *to = planes + quad * GROUP_BYTES + place * 4;
#pragma unroll
    for (int i = 0; i < N; i++) {
        if (first + i * STEP >= ROWS)
            continue;
        const uint32_t a[4] = {even[i].x, even[i].y, even[i].z, even[i].w};
        const uint32_t c[4] = {odd[i].x, odd[i].y, odd[i].z, odd[i].w};
#pragma unroll
        for (int k = 0; k < 4; k++) {
            unsigned char *at = to + 2 * k * PLANE_BYTES + i * STEP * ROW_BYTES;
            rf_shared_store((uint32_t *)at, rf_join_low(a[k], c[k]));
            rf_shared_store((uint32_t *)(at + PLANE_BYTES), rf_join_high(a[k], c[k]));
        }
    }
}

template <int K>
__device__ __forceinline__ void fill_s(const rf_cuda_pa_tile_params &p, const Block &b,
                                       unsigned char *plane)
{
    for (int i = threadIdx.x; i < PLANE_PAIRS; i += THREADS) {
        int y = reflect(b.y0 - K / 2 + row_of(i / ROW_PAIRS), p.h);
        int x = b.x0 - K / 2 + i % ROW_PAIRS * 2;
        const uint16_t *line = (const uint16_t *)p.s + b.image + (int64_t)y * p.w;
        uint32_t even = rf_load(line + reflect(x, p.w)), odd = rf_load(line + reflect(x + 1, p.w));
        rf_shared_store((uint32_t *)plane + i, even | odd << 16);
    }
}

/* What a thread finishes: 8 channels of ITEMS pixels, ITEM_ROWS apart. A warp has 8 neighbours in a
 * row; the order among them lets the logits be read without conflicts. */
constexpr int ITEM_ROWS = TILE / ITEMS;
struct Items {
    int x, y, last; /* pixel of the first in the tile; last item in the image, -1: none */
    int64_t at;     /* element of item 0 */
    int step;       /* elements from one to the next */
    __device__ Items(const rf_cuda_pa_tile_params &p, const Block &b)
    {
        int lane = threadIdx.x % 32, run = threadIdx.x / 32, j = lane / 4;
        int channel = b.c0 + lane % 4 * 8;
        x = run % 2 * 8 + ((j & 4) | (j & 1) << 1 | (j & 2) >> 1);
        y = run / 2;
        bool on = b.x0 + x < p.w && b.y0 + y < p.h && channel < p.c;
        last = on ? (p.h - 1 - b.y0 - y) / ITEM_ROWS : -1;
        step = ITEM_ROWS * p.w * p.c;
        at = on ? (b.image + (int64_t)(b.y0 + y) * p.w + b.x0 + x) * p.c + channel : step;
    }
    /* Where item i begins; if it is not there, some other element. */
    __device__ int64_t element(int i) const { return at + (int64_t)(i < last ? i : last) * step; }
};

template <class T>
__device__ __forceinline__ void copy_items(const Items &items, const void *from, unsigned char *to)
{
#pragma unroll
    for (int i = 0; i < ITEMS; i++)
        rf_cp_async16(to + (i * THREADS + threadIdx.x) * 16, (const T *)from + items.element(i));
}

/* A fragments of a plane: f[j] = rows j, j + 2 .. j + 14, its lower half of columns 0 .. 15, its
 * upper half of columns 8 .. 23. */
__device__ __forceinline__ void load_fragment(uint32_t (&f)[4], const unsigned char *plane, int j)
{
    const int lane = threadIdx.x % 32, matrix = lane / 8;
    rf_ldmatrix_x4(f, plane + lane % 8 * ROW_BYTES + (matrix + 1) / 2 * 16 +
                          (j % 2 * (ROWS / 2) + j / 2) * ROW_BYTES);
}

/* A lane's B registers are (w[i], w[i + 1]) and (w[i + 8], w[i + 9]) with -7 <= i <= 6: one of the
 * two is zero, as a window has no more than 7 columns. */
struct Band {
    int pair; /* word of the other in a source's pairs */
    bool low;
    __device__ Band()
    {
        int i = (int)threadIdx.x % 4 * 2 - (int)threadIdx.x % 32 / 4;
        low = i >= -1;
        i += low ? 0 : 8;
        pair = (i % 2 ? 4 + (i + 1) / 2 : i / 2) * RF_CUDA_PA_PAIR_ROWS;
    }
};

/* acc[i] += the window of one channel over rows 2g + i (g = lane / 4) of a plane: registers 0, 1
 * are columns 2t, 2t + 1 (t = lane % 4), 2, 3 are columns 8 further. */
template <class T, int K>
__device__ __forceinline__ void convolve(float (&acc)[2][4], const uint32_t (&f)[K + 1][4],
                                         const Band &band, const uint32_t *weights)
{
    uint4 w0 = rf_load((const uint4 *)(weights + band.pair));
    uint4 w1 = rf_load((const uint4 *)(weights + band.pair) + 1);
    const uint32_t w[8] = {w0.x, w0.y, w0.z, w0.w, w1.x, w1.y, w1.z, w1.w};
#pragma unroll
    for (int j = 0; j <= K; j++)
#pragma unroll
        for (int i = 0; i < 2; i++)
            if (j - i >= 0 && j - i < K) {
                const uint32_t b[2] = {band.low ? w[j - i] : 0, band.low ? 0 : w[j - i]};
                rf_mma<T>(acc[i], f[j], b);
            }
}

/* The logits of a warp's 4 channels, `unit` of the block's 8. `start`: bias + ca * sum of the
 * window over s, of channel lane % 4. */
template <class T, int K>
__device__ __forceinline__ void make_logits(float (&acc)[4][2][4], float start, int unit,
                                            const unsigned char *planes, const uint32_t *weights)
{
    const Band band;
    uint32_t f[K + 1][4];
#pragma unroll
    for (int j = 0; j <= K; j++)
        load_fragment(f[j], planes + R_BYTES, j);
#pragma unroll
    for (int k = 0; k < 4; k++) {
        float value = __shfl_sync(RF_FULL_MASK, start, k);
        for (int i = 0; i < 4; i++)
            acc[k][0][i] = acc[k][1][i] = value;
        convolve<__half, K>(acc[k], f, band, weights + (2 * k + 1) * RF_CUDA_PA_SOURCE_WORDS);
    }
    planes += unit / 2 * GROUP_BYTES + unit % 2 * 4 * PLANE_BYTES;
#pragma unroll
    for (int k = 0; k < 4; k++) {
#pragma unroll
        for (int j = 0; j <= K; j++)
            load_fragment(f[j], planes + k * PLANE_BYTES, j);
        convolve<T, K>(acc[k], f, band, weights + 2 * k * RF_CUDA_PA_SOURCE_WORDS);
    }
}

/* Logits go through shared memory from a warp per 4 channels to a lane per 8: [pixel][8 units of 4
 * channels], the units swizzled so that neither side has conflicts. */
__device__ __forceinline__ int swizzle(int unit, int x, int y)
{
    return unit ^ (x / 2 % 4 | y / 2 % 2 * 4);
}

__device__ __forceinline__ void store_logits(float4 *logits, const float (&acc)[4][2][4], int unit)
{
    const int lane = threadIdx.x % 32, x = lane % 4 * 2, y = lane / 4 * 2;
    logits += (y * TILE + x) * 8 + swizzle(unit, x, y);
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int k = 0; k < 4; k++)
            rf_shared_store(logits + (i * TILE + k / 2 * 8 + k % 2) * 8,
                            float4{acc[0][i][k], acc[1][i][k], acc[2][i][k], acc[3][i][k]});
}

/* One item: x and y point at the thread's 8 values of each (y may be NULL). */
template <class T>
__device__ __forceinline__ void finish(T *out, const rf_row8<T> &r_row, const uint4 *x_row,
                                       const uint4 *y_row, float4 low, float4 high)
{
    const float l[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
    float r[8], x[8], y[8], v[8];
    rf_row8<T> row = {{rf_shared_load(x_row)}};
    rf_row8_unpack(r_row, r);
    rf_row8_unpack(row, x);
#pragma unroll
    for (int k = 0; k < 8; k++)
        v[k] = rf_sigmoid_fast(l[k]);
    if (y_row) {
        row.q[0] = rf_shared_load(y_row);
        rf_row8_unpack(row, y);
#pragma unroll
        for (int k = 0; k < 8; k++) {
            float q = sigmoid_of_unit(v[k]);
            v[k] = r[k] + q * x[k] + (1.0f - q) * y[k];
        }
    } else {
#pragma unroll
        for (int k = 0; k < 8; k++)
            v[k] = r[k] * v[k] + x[k];
    }
    rf_row8_store(out, v);
}

template <class T, int K>
__global__ void __launch_bounds__(THREADS, 2) pa_half(const rf_cuda_pa_tile_params p)
{
    unsigned char *planes = RF_SHARED(RF_CUDA_PA_HALF_SHARED + X_BYTES);
    unsigned char *xs = planes + R_BYTES + PLANE_BYTES, *ys = xs + X_BYTES;
    const Block b(p);
    const Items items(p, b);
    copy_items<T>(items, p.x, xs);
    if (p.y)
        copy_items<T>(items, p.y, ys);
    rf_cp_commit();
    const int unit = threadIdx.x / 32, first = b.c0 + unit * 4, c = first + threadIdx.x % 4;
    const bool on = first < p.c; /* whole warps */
    float start = 0;
    if (on) {
        int64_t at = blockIdx.z * p.ca.strides[0] + c * p.ca.strides[1];
        start = rf_load_as_float(p.bias, p.bias_dtype, c) +
                rf_load_as_float(p.ca.data, p.ca.dtype, at) * rf_load(p.sums + c);
    }
    fill_r<T, K>(p, b, planes);
    fill_s<K>(p, b, planes + R_BYTES);
    __syncthreads();

    float acc[4][2][4];
    if (on)
        make_logits<T, K>(acc, start, unit, planes,
                          (const uint32_t *)p.weights +
                              (int64_t)first * 2 * RF_CUDA_PA_SOURCE_WORDS);
    __syncthreads();
    rf_row8<T> r[ITEMS];
#pragma unroll
    for (int i = 0; i < ITEMS; i++)
        r[i] = rf_row8_load((const T *)p.r + items.element(i));
    float4 *logits = (float4 *)planes;
    if (on)
        store_logits(logits, acc, unit);
    rf_cp_wait<0>();
    __syncthreads();
    logits += (items.y * TILE + items.x) * 8;
    const int quad = threadIdx.x % 4 * 2;
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        if (i > items.last)
            continue;
        const float4 *l = logits + i * ITEM_ROWS * TILE * 8;
        const uint4 *x_row = (const uint4 *)xs + i * THREADS + threadIdx.x;
        const uint4 *y_row = p.y ? (const uint4 *)ys + i * THREADS + threadIdx.x : nullptr;
        finish<T>((T *)p.out + items.element(i), r[i], x_row, y_row,
                  rf_shared_load(l + swizzle(quad, items.x, items.y)),
                  rf_shared_load(l + swizzle(quad + 1, items.x, items.y)));
    }
}

/* --- f32 tiles ---------------------------------------------------------------------------------
 */

constexpr int F32_COLS = TILE + RF_CUDA_PA_MAX_K - 1, F32_S_PITCH = 24;

/* Adds one input column to two columns of outputs: A of them through weights wa, B through wb.
 * The rows of v come from `row(y)`. */
template <int K, bool A, bool B, class Row>
__device__ __forceinline__ void add_column(float (&a)[TILE], float (&b)[TILE], const float (&wa)[K],
                                           const float (&wb)[K], Row row)
{
#pragma unroll
    for (int y = 0; y < TILE + K - 1; y++) {
        float v = row(y);
#pragma unroll
        for (int dy = 0; dy < K; dy++)
            if (y - dy >= 0 && y - dy < TILE) {
                if (A)
                    a[y - dy] += wa[dy] * v;
                if (B)
                    b[y - dy] += wb[dy] * v;
            }
    }
}

/* Two columns of outputs from K + 1 columns of inputs, which are `pitch` apart from `first`. */
template <int K, int STEP, int PITCH>
__device__ __forceinline__ void add_window(float (&a)[TILE], float (&b)[TILE], const float *first,
                                           const float *weights, int64_t c)
{
    float wa[K] = {}, wb[K];
#pragma unroll 1
    for (int x = 0; x <= K; x++, first += PITCH) {
        auto row = [&](int y) { return rf_shared_load(first + y * STEP); };
#pragma unroll
        for (int dy = 0; dy < K; dy++) {
            wb[dy] = wa[dy];
            if (x < K)
                wa[dy] = rf_load(weights + (dy * K + x) * c);
        }
        if (x == 0)
            add_column<K, true, false>(a, b, wa, wb, row);
        else if (x == K)
            add_column<K, false, true>(a, b, wa, wb, row);
        else
            add_column<K, true, true>(a, b, wa, wb, row);
    }
}

/* A lane is a channel, a warp makes two columns of TILE rows. */
template <int K> __global__ void __launch_bounds__(THREADS) pa_f32(const rf_cuda_pa_tile_params p)
{
    constexpr int COLS = TILE + K - 1;
    float *rs = (float *)RF_SHARED(RF_CUDA_PA_F32_SHARED),
          *ss = rs + F32_COLS * F32_COLS * CHANNELS;
    const Block b(p);
    for (int i = threadIdx.x; i < COLS * COLS * (CHANNELS / 4); i += THREADS) {
        int quad = i % (CHANNELS / 4), x = i / (CHANNELS / 4) % COLS, y = i / (CHANNELS / 4) / COLS;
        int64_t pixel = b.image + (int64_t)reflect(b.y0 - K / 2 + y, p.h) * p.w +
                        reflect(b.x0 - K / 2 + x, p.w);
        int channel = b.c0 + quad * 4;
        const float *r = (const float *)p.r + pixel * p.c;
        rf_cp_async16_zfill(rs + (y * F32_COLS + x) * CHANNELS + quad * 4,
                            r + (channel < p.c ? channel : 0), channel < p.c);
    }
    rf_cp_commit();
    for (int i = threadIdx.x; i < COLS * COLS; i += THREADS) { /* by columns */
        int64_t line = b.image + (int64_t)reflect(b.y0 - K / 2 + i / COLS, p.h) * p.w;
        float v = rf_load((const float *)p.s + line + reflect(b.x0 - K / 2 + i % COLS, p.w));
        rf_shared_store(ss + i % COLS * F32_S_PITCH + i / COLS, v);
    }
    rf_cp_wait<0>();
    __syncthreads();
    const int lane = threadIdx.x % 32, col = threadIdx.x / 32 * 2, c = b.c0 + lane;
    if (c >= p.c) /* no barrier follows */
        return;
    const float *weights = (const float *)p.weights + c;
    float acc[2][TILE];
    float ca =
        rf_load_as_float(p.ca.data, p.ca.dtype, blockIdx.z * p.ca.strides[0] + c * p.ca.strides[1]);
    float start = rf_load_as_float(p.bias, p.bias_dtype, c) + ca * rf_load(p.sums + c);
    for (int y = 0; y < TILE; y++)
        acc[0][y] = acc[1][y] = start;
    add_window<K, 1, F32_S_PITCH>(acc[0], acc[1], ss + col * F32_S_PITCH,
                                  weights + (int64_t)K * K * p.c, p.c);
    add_window<K, F32_COLS * CHANNELS, CHANNELS>(acc[0], acc[1], rs + col * CHANNELS + lane,
                                                 weights, p.c);
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int y = 0; y < TILE; y++) {
            if (b.x0 + col + i >= p.w || b.y0 + y >= p.h)
                continue;
            int64_t at = (b.image + (int64_t)(b.y0 + y) * p.w + b.x0 + col + i) * p.c + c;
            float r =
                rf_shared_load(rs + ((y + K / 2) * F32_COLS + col + i + K / 2) * CHANNELS + lane);
            float x = rf_load((const float *)p.x + at), gate = rf_sigmoid(acc[i][y]);
            float v = r * gate + x;
            if (p.y) {
                gate = rf_sigmoid(gate);
                v = r + gate * x + (1.0f - gate) * rf_load((const float *)p.y + at);
            }
            rf_store((float *)p.out + at, v);
        }
}

/* --- any strides -------------------------------------------------------------------------------
 */

__device__ __forceinline__ float load4(const rf_cuda_pa_tensor &t, int64_t a, int64_t b, int64_t c,
                                       int64_t d)
{
    return rf_load_as_float(
        t.data, t.dtype, a * t.strides[0] + b * t.strides[1] + c * t.strides[2] + d * t.strides[3]);
}
__device__ __forceinline__ int64_t reflect_once(int64_t i, int64_t n)
{
    return i < 0 ? -i : i >= n ? 2 * n - 2 - i : i;
}

__global__ void pa_any_s(const rf_cuda_pa_any_params p)
{
    for (int64_t i = rf_thread_index(); i < p.n * p.h * p.w; i += rf_thread_step()) {
        int64_t x = i % p.w, y = i / p.w % p.h, n = i / p.w / p.h;
        float sum = rf_load_as_float(p.sa_b.data, p.sa_b.dtype, 0);
        for (int dy = 0; dy < p.k; dy++)
            for (int dx = 0; dx < p.k; dx++) {
                int64_t iy = reflect_once(y + dy - p.k / 2, p.h);
                int64_t ix = reflect_once(x + dx - p.k / 2, p.w);
                for (int ch = 0; ch < 2; ch++)
                    sum += load4(p.map, n, ch, iy, ix) * load4(p.sa_w, 0, ch, dy, dx);
            }
        rf_store(p.s + i, sum);
    }
}

__global__ void pa_any(const rf_cuda_pa_any_params p)
{
    for (int64_t i = rf_thread_index(); i < p.n * p.c * p.h * p.w; i += rf_thread_step()) {
        int64_t rest = p.channels_last ? i / p.c : i, x = rest % p.w, y = rest / p.w % p.h;
        rest = rest / p.w / p.h;
        int64_t c = p.channels_last ? i % p.c : rest % p.c, n = p.channels_last ? rest : rest / p.c;
        float sum = rf_load_as_float(p.pa_b.data, p.pa_b.dtype, c * p.pa_b.strides[0]);
        float ca = load4(p.ca, n, c, 0, 0);
        const float *s = p.s + n * p.h * p.w;
        for (int dy = 0; dy < p.k; dy++)
            for (int dx = 0; dx < p.k; dx++) {
                int64_t iy = reflect_once(y + dy - p.k / 2, p.h);
                int64_t ix = reflect_once(x + dx - p.k / 2, p.w);
                sum += load4(p.r, n, c, iy, ix) * load4(p.pa_w, c, 0, dy, dx);
                sum += (rf_load(s + iy * p.w + ix) + ca) * load4(p.pa_w, c, 1, dy, dx);
            }
        float gate = rf_sigmoid(sum), r = load4(p.r, n, c, y, x), v = load4(p.x, n, c, y, x);
        if (p.y.data) {
            gate = rf_sigmoid(gate);
            v = r + gate * v + (1.0f - gate) * load4(p.y, n, c, y, x);
        } else {
            v = r * gate + v;
        }
        rf_store_from_float(p.out.data, p.out.dtype,
                            n * p.out.strides[0] + c * p.out.strides[1] + y * p.out.strides[2] +
                                x * p.out.strides[3],
                            v);
    }
}

#define BY_WINDOW(name, P, ...)                                                                    \
    RF_ENTRY(name "_k3", P, __VA_ARGS__ 3 >), RF_ENTRY(name "_k5", P, __VA_ARGS__ 5 >),            \
        RF_ENTRY(name "_k7", P, __VA_ARGS__ 7 >)
extern "C" const rf_cuda_entry rf_cuda_pixel_attention_entries[RF_CUDA_PIXEL_ATTENTION_ENTRIES] = {
    BY_WINDOW("pa_s_f32", rf_cuda_pa_s_params, pa_s < float, ),
    BY_WINDOW("pa_s_f16", rf_cuda_pa_s_params, pa_s < __half, ),
    BY_WINDOW("pa_f32", rf_cuda_pa_tile_params, pa_f32 <),
    BY_WINDOW("pa_f16", rf_cuda_pa_tile_params, pa_half < __half, ),
    BY_WINDOW("pa_bf16", rf_cuda_pa_tile_params, pa_half < __nv_bfloat16, ),
    RF_ENTRY("pa_any_s", rf_cuda_pa_any_params, pa_any_s),
    RF_ENTRY("pa_any", rf_cuda_pa_any_params, pa_any),
};
