/* SPDX-License-Identifier: Apache-2.0
 *
 * PSNR and SSIM as scikit-image computes them with gaussian_weights: window 11, sigma 1.5, K1 0.01,
 * K2 0.03, population covariance, borders of 5 pixels left out of the mean.
 */
#include "tools/cli/cli.h"

#include <math.h>
#include <stdlib.h>

enum { RADIUS = 5, WINDOW = 2 * RADIUS + 1 };

double metric_psnr(const rf_tensor *a, const rf_tensor *b)
{
    const float *x = a->data, *y = b->data;
    int64_t n = rf_tensor_elements(a);
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
    return sum > 0 ? -10 * log10(sum / (double)n) : INFINITY;
}

/* Five moments of a row filtered horizontally, kept for WINDOW rows. */
struct moments {
    double x, y, xx, yy, xy;
};

static void filter_row(const float *x, const float *y, int64_t w, const double *g,
                       struct moments *out)
{
    for (int64_t j = RADIUS; j < w - RADIUS; j++) {
        struct moments m = {0};
        for (int k = 0; k < WINDOW; k++) {
            double a = x[j + k - RADIUS], b = y[j + k - RADIUS];
            m.x += g[k] * a;
            m.y += g[k] * b;
            m.xx += g[k] * a * a;
            m.yy += g[k] * b * b;
            m.xy += g[k] * a * b;
        }
        out[j] = m;
    }
}

static double ssim_at(struct moments *const *rows, int64_t j, const double *g)
{
    const double c1 = 0.01 * 0.01, c2 = 0.03 * 0.03;
    struct moments m = {0};
    for (int k = 0; k < WINDOW; k++) {
        m.x += g[k] * rows[k][j].x;
        m.y += g[k] * rows[k][j].y;
        m.xx += g[k] * rows[k][j].xx;
        m.yy += g[k] * rows[k][j].yy;
        m.xy += g[k] * rows[k][j].xy;
    }
    double vx = m.xx - m.x * m.x, vy = m.yy - m.y * m.y, cov = m.xy - m.x * m.y;
    return (2 * m.x * m.y + c1) * (2 * cov + c2) / ((m.x * m.x + m.y * m.y + c1) * (vx + vy + c2));
}

static double ssim_plane(const float *x, const float *y, int64_t h, int64_t w, const double *g,
                         struct moments *store)
{
    struct moments *rows[WINDOW];
    double sum = 0;
    for (int64_t i = 0; i < h; i++) {
        filter_row(x + i * w, y + i * w, w, g, store + i % WINDOW * w);
        if (i < WINDOW - 1)
            continue;
        for (int k = 0; k < WINDOW; k++)
            rows[k] = store + (i - (WINDOW - 1) + k) % WINDOW * w;
        for (int64_t j = RADIUS; j < w - RADIUS; j++)
            sum += ssim_at(rows, j, g);
    }
    return sum / (double)((h - 2 * RADIUS) * (w - 2 * RADIUS));
}

double metric_ssim(const rf_tensor *a, const rf_tensor *b)
{
    const int64_t c = a->dims[1], h = a->dims[2], w = a->dims[3];
    double g[WINDOW], total = 0, sum = 0;
    if (h < WINDOW || w < WINDOW)
        return NAN;
    for (int k = 0; k < WINDOW; k++)
        total += g[k] = exp(-0.5 * (k - RADIUS) * (k - RADIUS) / (1.5 * 1.5));
    for (int k = 0; k < WINDOW; k++)
        g[k] /= total;
    struct moments *store = malloc((size_t)w * WINDOW * sizeof *store);
    if (!store)
        return NAN;
    for (int64_t k = 0; k < c; k++)
        sum += ssim_plane((const float *)a->data + k * h * w, (const float *)b->data + k * h * w, h,
                          w, g, store);
    free(store);
    return sum / (double)c;
}
