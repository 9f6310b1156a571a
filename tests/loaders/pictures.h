// SPDX-License-Identifier: Apache-2.0
//
// PNG and JPEG files of every kind, made by libpng and libjpeg for the tests.
#ifndef RF_TESTS_LOADERS_PICTURES_H
#define RF_TESTS_LOADERS_PICTURES_H

#include <string>
#include <vector>

namespace rft
{

struct Png {
    int width = 5, height = 4;
    int colour = 2; // PNG's colour types: 0 grey, 2 RGB, 3 palette, 4 grey + alpha, 6 RGBA
    int depth = 8;
    bool interlaced = false;
    int orientation = 0;      // EXIF; 0: no EXIF
    bool exif_behind = false; // the pixels; else before them
};
// Sample k of the raw rows (channels interleaved) is k * 37 modulo 2^depth, or 5 palette entries.
std::string make_png(const Png &p);
// Expected value of channel c (0..2) at x, y in [0, 1].
double png_value(const Png &p, int c, int x, int y);

struct Jpeg {
    int width = 20, height = 12;
    int channels = 3; // 1 grey, 3 RGB, 4 CMYK
    bool progressive = false, arithmetic = false, adobe = true;
    bool many_scans = false; // grey: 253 scans, each bit of each coefficient for itself
    int orientation = 0;     // EXIF; 0: no EXIF
};
// A picture of four flat quarters, which survives the compression.
std::string make_jpeg(const Jpeg &j);
// Samples (0..255) of the quarter that holds x, y.
std::vector<int> jpeg_quarter(const Jpeg &j, int x, int y);

} // namespace rft
#endif
