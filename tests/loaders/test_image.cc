// SPDX-License-Identifier: Apache-2.0
//
// Images: every kind that cameras and programs write comes out right side up, truncated and damaged
// ones are refused, headers that promise too much cost nothing.
#include "loaders/image/image.h"
#include "tests/loaders/files.h"
#include "tests/loaders/pictures.h"

#include <sys/stat.h>

using namespace rft;

namespace
{

struct Read {
    rf_status status;
    std::string text;
    Array image;
};

Read read(const std::string &bytes)
{
    // A copy of exactly the file's size, so that sanitizers see every byte read past it.
    std::vector<uint8_t> file(bytes.begin(), bytes.end());
    rf_buffer buffer;
    rf_error err = {};
    Read r = {rf_image_decode(file.data(), file.size(), "a.png", &buffer, &err), err.text, Array()};
    if (r.status == RF_OK) {
        const rf_tensor &t = buffer.tensor;
        r.image = Array(std::vector<int64_t>(t.dims, t.dims + t.rank));
        const float *data = static_cast<const float *>(t.data);
        r.image.data.assign(data, data + r.image.data.size());
    } else {
        EXPECT_EQ(buffer.memory, nullptr);
        EXPECT_EQ(r.text.rfind("a.png: ", 0), 0u) << r.text;
    }
    rf_buffer_free(&buffer);
    return r;
}

void refused(const std::string &bytes, const std::vector<std::string> &words,
             const std::string &what = "")
{
    Read r = read(bytes);
    EXPECT_NE(r.status, RF_OK) << what;
    for (const std::string &w : words)
        EXPECT_NE(r.text.find(w), std::string::npos) << "'" << w << "' is missing in: " << r.text;
}

float at(const Array &image, int c, int x, int y)
{
    return image.data[static_cast<size_t>((c * image.dims[2] + y) * image.dims[3] + x)];
}

TEST(Png, EveryColourTypeDepthAndInterlace)
{
    const std::map<int, std::vector<int>> depths = {
        {0, {1, 2, 4, 8, 16}}, {2, {8, 16}}, {3, {4, 8}}, {4, {8, 16}}, {6, {8, 16}}};
    for (auto &[colour, list] : depths)
        for (int depth : list)
            for (bool interlaced : {false, true}) {
                Png p;
                p.colour = colour;
                p.depth = depth;
                p.interlaced = interlaced;
                p.width = 11;
                p.height = 9;
                Read r = read(make_png(p));
                ASSERT_EQ(r.status, RF_OK) << r.text;
                ASSERT_EQ(r.image.dims, (std::vector<int64_t>{1, 3, 9, 11}));
                for (int c = 0; c < 3; c++)
                    for (int y = 0; y < 9; y++)
                        for (int x = 0; x < 11; x++)
                            ASSERT_FLOAT_EQ(at(r.image, c, x, y),
                                            static_cast<float>(png_value(p, c, x, y)))
                                << "colour " << colour << " depth " << depth << " interlaced "
                                << interlaced;
            }
}

TEST(Png, RefusesEveryTruncation)
{
    for (bool interlaced : {false, true}) {
        Png p;
        p.interlaced = interlaced;
        for_each_truncation(make_png(p), [](const std::string &bytes, const std::string &what) {
            refused(bytes, {}, what);
        });
    }
}

TEST(Png, DamageIsRefusedOrHarmless)
{
    for (int colour : {2, 3}) {
        Png p;
        p.colour = colour;
        const std::string whole = make_png(p);
        const Array image = read(whole).image;
        size_t n_refused = 0, n = 0;
        for_each_damage(whole, [&](const std::string &bytes, const std::string &what) {
            Read r = read(bytes);
            n++;
            n_refused += r.status != RF_OK;
            if (r.status == RF_OK) { // checksums cover all that matters
                ASSERT_EQ(r.image.data, image.data) << what;
            }
        });
        EXPECT_GT(n_refused, n * 3 / 4);
    }
}

// Where pixel x, y of the picture as shown lies in the one of w x h that is stored.
std::pair<int, int> stored(int orientation, int w, int h, int x, int y)
{
    switch (orientation) {
    case 2:
        return {w - 1 - x, y};
    case 3:
        return {w - 1 - x, h - 1 - y};
    case 4:
        return {x, h - 1 - y};
    case 5:
        return {y, x};
    case 6:
        return {y, h - 1 - x};
    case 7:
        return {w - 1 - y, h - 1 - x};
    case 8:
        return {w - 1 - y, x};
    default:
        return {x, y};
    }
}

TEST(Png, ExifOrientationTurnsThePicture)
{
    TempDir dir;
    for (int o = 0; o <= 8; o++)
        for (bool behind : {false, true})
            for (bool interlaced : {false, true}) {
                Png p;
                p.width = 7;
                p.orientation = o;
                p.exif_behind = behind;
                p.interlaced = interlaced;
                Read r = read(make_png(p));
                ASSERT_EQ(r.status, RF_OK) << r.text;
                const int w = o >= 5 ? p.height : p.width, h = o >= 5 ? p.width : p.height;
                ASSERT_EQ(r.image.dims, (std::vector<int64_t>{1, 3, h, w})) << "orientation " << o;
                for (int y = 0; y < h; y++)
                    for (int x = 0; x < w; x++) {
                        auto [sx, sy] = stored(o, p.width, p.height, x, y);
                        for (int c = 0; c < 3; c++)
                            ASSERT_NEAR(at(r.image, c, x, y), png_value(p, c, sx, sy), 1e-6)
                                << "orientation " << o << " at " << x << ", " << y;
                    }
                const std::string path = dir / "o.png";
                write_file(path, make_png(p));
                int64_t width = 0, height = 0;
                rf_error err = {};
                ASSERT_EQ(rf_image_size(path.c_str(), &width, &height, &err), RF_OK) << err.text;
                EXPECT_EQ(width, w) << "orientation " << o << ", behind " << behind;
                EXPECT_EQ(height, h);
            }
}

// No pixel needs the chunk: the picture is shown as it is stored.
TEST(Png, DamagedExifIsIgnored)
{
    Png p;
    p.orientation = 6;
    const std::string good = make_png(p);
    std::string wrong = good, beyond = good, late = good;
    const size_t type = good.find("eXIf");
    wrong[type + 4 + 19] = 8; // the orientation, under the old checksum
    EXPECT_EQ(read(wrong).image.dims, (std::vector<int64_t>{1, 3, 4, 5}));
    late = make_png({}) + good.substr(type - 4, 26 + 12);
    EXPECT_EQ(read(late).image.dims, (std::vector<int64_t>{1, 3, 4, 5})) << "behind the end";
    beyond[type - 4] = 0x7f; // longer than the file
    EXPECT_NE(read(beyond).status, RF_OK);
}

std::string png_with_size(uint32_t width, uint32_t height)
{
    std::string s = make_png({});
    for (int i = 0; i < 4; i++) {
        s[static_cast<size_t>(16 + i)] = static_cast<char>(width >> (24 - 8 * i));
        s[static_cast<size_t>(20 + i)] = static_cast<char>(height >> (24 - 8 * i));
    }
    const uint32_t crc = crc_of(s.substr(12, 17));
    for (int i = 0; i < 4; i++)
        s[static_cast<size_t>(29 + i)] = static_cast<char>(crc >> (24 - 8 * i));
    return s;
}

TEST(Png, HeadersThatPromiseTooMuchCostNothing)
{
    ASSERT_EQ(read(png_with_size(5, 4)).status, RF_OK);
    refused(png_with_size(1000000, 1000000), {"1000000x1000000 pixels", "2^28"});
    refused(png_with_size(16384, 16385), {"2^28"});
    refused(png_with_size(16384, 16384), {"16384x16384 pixels, but the file has only"});
    refused(png_with_size(0, 4), {"PNG: Invalid IHDR"});
    refused(png_with_size(0xffffffff, 4), {"PNG: PNG unsigned integer out of range"});
    refused(png_with_size(6, 4), {"PNG:"});
}

TEST(Jpeg, ColourGreyCmykAndProgressive)
{
    for (int channels : {1, 3, 4})
        for (bool progressive : {false, true})
            for (bool arithmetic : {false, true})
                for (bool adobe : {false, true}) {
                    Jpeg j;
                    j.channels = channels;
                    j.progressive = progressive;
                    j.arithmetic = arithmetic;
                    j.adobe = adobe;
                    j.width = 48;
                    j.height = 32;
                    Read r = read(make_jpeg(j));
                    ASSERT_EQ(r.status, RF_OK) << r.text;
                    ASSERT_EQ(r.image.dims, (std::vector<int64_t>{1, 3, 32, 48}));
                    for (int x : {4, 40})
                        for (int y : {4, 28}) {
                            std::vector<int> q = jpeg_quarter(j, x, y);
                            for (int c = 0; c < 3; c++) {
                                double want = q[channels == 1 ? 0 : static_cast<size_t>(c)] / 255.0;
                                if (channels == 4) {
                                    double k = q[3] / 255.0;
                                    want = adobe ? want * k : (1 - want) * (1 - k);
                                }
                                ASSERT_NEAR(at(r.image, c, x, y), want, 0.02)
                                    << channels << " channels, progressive " << progressive
                                    << ", adobe " << adobe;
                            }
                        }
                }
}

// Corners of the picture, as stored: 0 1 / 2 3. What a viewer shows for each orientation.
TEST(Jpeg, ExifOrientationTurnsThePicture)
{
    static const int corners[9][4] = {{0, 1, 2, 3}, {0, 1, 2, 3}, {1, 0, 3, 2},
                                      {3, 2, 1, 0}, {2, 3, 0, 1}, {0, 2, 1, 3},
                                      {2, 0, 3, 1}, {3, 1, 2, 0}, {1, 3, 0, 2}};
    TempDir dir;
    for (int o = 0; o <= 8; o++) {
        Jpeg j;
        j.channels = 1;
        j.orientation = o;
        j.width = 48;
        j.height = 32;
        const std::string path = dir / "o.jpg";
        write_file(path, make_jpeg(j));
        Read r = read(make_jpeg(j));
        ASSERT_EQ(r.status, RF_OK) << r.text;
        const int64_t w = o >= 5 ? 32 : 48, h = o >= 5 ? 48 : 32;
        ASSERT_EQ(r.image.dims, (std::vector<int64_t>{1, 3, h, w})) << "orientation " << o;
        for (int k = 0; k < 4; k++) {
            const int from = corners[o][k];
            const int want = jpeg_quarter(j, from % 2 ? 47 : 0, from / 2 ? 31 : 0)[0];
            const int x = k % 2 ? static_cast<int>(w) - 2 : 1,
                      y = k / 2 ? static_cast<int>(h) - 2 : 1;
            EXPECT_NEAR(at(r.image, 0, x, y), want / 255.0, 0.02)
                << "orientation " << o << " corner " << k;
        }
        int64_t width = 0, height = 0;
        rf_error err = {};
        ASSERT_EQ(rf_image_size(path.c_str(), &width, &height, &err), RF_OK) << err.text;
        EXPECT_EQ(width, w);
        EXPECT_EQ(height, h);
    }
}

TEST(Jpeg, ExifIsReadWithinItsBounds)
{
    const std::string good("Exif\0\0II*\0\10\0\0\0\1\0\22\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0", 32);
    auto orientation = [](const std::string &s) {
        std::vector<uint8_t> copy(s.begin(), s.end());
        return rf_exif_orientation(copy.data(), copy.size());
    };
    EXPECT_EQ(orientation(good), 6);
    EXPECT_EQ(orientation(good.substr(6)), 6) << "as in PNG";
    EXPECT_EQ(orientation(good.substr(6).replace(0, 4, "II+")), 1) << "no TIFF";
    for (size_t n = 0; n < good.size(); n++) {
        int o = orientation(good.substr(0, n));
        EXPECT_TRUE(o == 1 || o == 6) << n;
    }
    for (size_t i = 0; i < good.size(); i++)
        for (int v : {0, 1, 9, 0x7f, 0x80, 0xff}) {
            std::string s = good;
            s[i] = static_cast<char>(v);
            int o = orientation(s);
            EXPECT_TRUE(o >= 1 && o <= 8) << i;
        }
}

TEST(Jpeg, RefusesEveryTruncation)
{
    for (bool progressive : {false, true}) {
        Jpeg j;
        j.progressive = progressive;
        for_each_truncation(make_jpeg(j), [](const std::string &bytes, const std::string &what) {
            refused(bytes, {}, what);
        });
    }
}

TEST(Jpeg, DamageIsRefusedOrHarmless)
{
    for (bool progressive : {false, true}) {
        Jpeg j;
        j.progressive = progressive;
        j.orientation = 6;
        for_each_damage(make_jpeg(j),
                        [](const std::string &bytes, const std::string &) { read(bytes); });
    }
}

// Some cameras write a few bytes too many behind the scan; every viewer shows their pictures.
TEST(Jpeg, BytesTooManyBehindTheScanAreNoDamage)
{
    std::string s = make_jpeg({});
    s.insert(s.size() - 2, "\x01\x02\x03");
    EXPECT_EQ(read(s).status, RF_OK) << read(s).text;
}

std::string jpeg_with_size(const Jpeg &j, int width, int height)
{
    std::string s = make_jpeg(j);
    size_t sof = s.find(std::string(j.progressive || j.many_scans ? "\xff\xc2" : "\xff\xc0"));
    for (int i = 0; i < 2; i++) {
        s[sof + 5 + static_cast<size_t>(i)] = static_cast<char>(height >> (8 - 8 * i));
        s[sof + 7 + static_cast<size_t>(i)] = static_cast<char>(width >> (8 - 8 * i));
    }
    return s;
}

TEST(Jpeg, HeadersThatPromiseTooMuchCostNothing)
{
    for (bool progressive : {false, true}) {
        Jpeg j;
        j.progressive = progressive;
        refused(jpeg_with_size(j, 65500, 65500), {"65500x65500 pixels", "2^28"});
        refused(jpeg_with_size(j, 16000, 16000), {"16000x16000 pixels, but the file has only"});
        refused(jpeg_with_size(j, 0, 0), {"JPEG:"});
    }
}

TEST(Jpeg, ScansAreCounted)
{
    Jpeg j;
    j.channels = 1;
    j.many_scans = true;
    refused(make_jpeg(j), {"more than 100 scans"});
}

TEST(Image, OtherFilesAreNamed)
{
    refused("", {"PNG or JPEG", "an empty file"});
    refused("GIF89a", {"PNG or JPEG", "other bytes"});
    refused("\x89PNG\r\n", {"other bytes"});
    refused("\xff\xd8\xff", {"JPEG:"});
    refused("\x89PNG\r\n\x1a\n", {"PNG:", "truncated"});
    TempDir dir;
    rf_buffer buffer;
    rf_error err = {};
    int64_t width, height;
    ASSERT_EQ(mkfifo((dir / "pipe").c_str(), 0600), 0); // would block for ever if it were read
    for (const std::string &path : {dir / "none.png", dir.path(), dir / "pipe"}) {
        EXPECT_EQ(rf_image_read(path.c_str(), &buffer, &err), RF_ERR_IO);
        EXPECT_EQ(std::string(err.text).rfind(path + ": ", 0), 0u) << err.text;
        EXPECT_EQ(rf_image_size(path.c_str(), &width, &height, &err), RF_ERR_IO);
        EXPECT_EQ(width, 0);
    }
}

} // namespace
