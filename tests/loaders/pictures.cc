// SPDX-License-Identifier: Apache-2.0
//
// See pictures.h.
#include "tests/loaders/pictures.h"

#include <cstdio>
#include <cstdlib>

#include <jpeglib.h>
#include <png.h>

namespace rft
{

static int png_channels(const Png &p)
{
    return p.colour == 2 ? 3 : p.colour == 4 ? 2 : p.colour == 6 ? 4 : 1;
}

static int png_sample(const Png &p, int k)
{
    return p.colour == 3 ? k % 5 : k * 37 % (1 << p.depth);
}

static png_color palette_entry(int i)
{
    png_color c = {static_cast<png_byte>(50 * i), static_cast<png_byte>(255 - 50 * i),
                   static_cast<png_byte>(7 * i)};
    return c;
}

double png_value(const Png &p, int c, int x, int y)
{
    int n = png_channels(p), first = (y * p.width + x) * n;
    if (p.colour == 3) {
        png_color e = palette_entry(png_sample(p, first));
        return (c == 0 ? e.red : c == 1 ? e.green : e.blue) / 255.0;
    }
    return png_sample(p, first + (n >= 3 ? c : 0)) / static_cast<double>((1 << p.depth) - 1);
}

static std::vector<png_byte> png_row(const Png &p, int y)
{
    const int n = p.width * png_channels(p);
    std::vector<png_byte> row(static_cast<size_t>((n * p.depth + 7) / 8));
    for (int i = 0; i < n; i++) {
        int v = png_sample(p, y * n + i);
        size_t at = static_cast<size_t>(i * p.depth / 8);
        if (p.depth == 16) {
            row[at] = static_cast<png_byte>(v >> 8);
            row[at + 1] = static_cast<png_byte>(v);
        } else {
            row[at] = static_cast<png_byte>(row[at] | v << (8 - p.depth - i * p.depth % 8));
        }
    }
    return row;
}

static void append(png_structp png, png_bytep bytes, size_t n)
{
    static_cast<std::string *>(png_get_io_ptr(png))->append(reinterpret_cast<char *>(bytes), n);
}

// Big-endian TIFF, one directory of one entry: orientation, a short.
static std::string exif(int orientation)
{
    return std::string("MM\0*\0\0\0\10\0\1\1\22\0\3\0\0\0\1\0", 19) +
           static_cast<char>(orientation) + std::string(6, '\0');
}

static void write_exif(png_structp png, int orientation)
{
    const std::string s = exif(orientation);
    png_write_chunk(png, reinterpret_cast<const png_byte *>("eXIf"),
                    reinterpret_cast<const png_byte *>(s.data()), s.size());
}

std::string make_png(const Png &p)
{
    std::string out;
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
    png_infop info = png_create_info_struct(png);
    png_set_write_fn(png, &out, append, nullptr);
    png_set_IHDR(png, info, static_cast<png_uint_32>(p.width), static_cast<png_uint_32>(p.height),
                 p.depth, p.colour, p.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_BASE, PNG_FILTER_TYPE_BASE);
    png_color palette[5];
    for (int i = 0; i < 5; i++)
        palette[i] = palette_entry(i);
    if (p.colour == 3)
        png_set_PLTE(png, info, palette, p.depth < 4 ? 1 << p.depth : 5);
    png_write_info(png, info);
    if (p.orientation && !p.exif_behind)
        write_exif(png, p.orientation);
    for (int pass = png_set_interlace_handling(png); pass > 0; pass--)
        for (int y = 0; y < p.height; y++)
            png_write_row(png, png_row(p, y).data());
    if (p.orientation && p.exif_behind)
        write_exif(png, p.orientation);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    return out;
}

std::vector<int> jpeg_quarter(const Jpeg &j, int x, int y)
{
    static const int quarters[4][4] = {
        {30, 60, 200, 10}, {220, 40, 90, 120}, {128, 250, 5, 60}, {5, 9, 14, 250}};
    const int *q = quarters[(y >= j.height / 2) * 2 + (x >= j.width / 2)];
    return std::vector<int>(q, q + j.channels);
}

static void write_exif(jpeg_compress_struct *c, int orientation)
{
    const std::string s = std::string("Exif\0\0", 6) + exif(orientation);
    jpeg_write_marker(c, JPEG_APP0 + 1, reinterpret_cast<const JOCTET *>(s.data()),
                      static_cast<unsigned>(s.size()));
}

std::string make_jpeg(const Jpeg &j)
{
    jpeg_compress_struct c = {};
    jpeg_error_mgr errors;
    unsigned char *bytes = nullptr;
    unsigned long n = 0;
    c.err = jpeg_std_error(&errors);
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &bytes, &n);
    c.image_width = static_cast<JDIMENSION>(j.width);
    c.image_height = static_cast<JDIMENSION>(j.height);
    c.input_components = j.channels;
    c.in_color_space = j.channels == 1 ? JCS_GRAYSCALE : j.channels == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&c);
    jpeg_set_quality(&c, 98, TRUE);
    c.write_Adobe_marker = j.channels == 4 && j.adobe;
    c.arith_code = j.arithmetic;
    if (j.progressive)
        jpeg_simple_progression(&c);
    std::vector<jpeg_scan_info> scans;
    if (j.many_scans) { // DC once, then AC coefficient after coefficient, again and again refined
        scans.push_back({1, {0, 0, 0, 0}, 0, 0, 0, 0});
        for (int k = 1; k < 64; k++)
            for (int bits = 3; bits >= 0; bits--)
                scans.push_back({1, {0, 0, 0, 0}, k, k, bits == 3 ? 0 : bits + 1, bits});
        c.scan_info = scans.data();
        c.num_scans = static_cast<int>(scans.size());
    }
    jpeg_start_compress(&c, TRUE);
    if (j.orientation)
        write_exif(&c, j.orientation);
    for (int y = 0; y < j.height; y++) {
        std::vector<JSAMPLE> row;
        for (int x = 0; x < j.width; x++)
            for (int v : jpeg_quarter(j, x, y))
                row.push_back(static_cast<JSAMPLE>(v));
        JSAMPROW rows[] = {row.data()};
        jpeg_write_scanlines(&c, rows, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    std::string out(reinterpret_cast<char *>(bytes), n);
    free(bytes);
    return out;
}

} // namespace rft
