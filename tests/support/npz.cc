// SPDX-License-Identifier: Apache-2.0
//
// A reader of NumPy's .npz for goldens: the central directory of a zip, stored or deflated members,
// .npy version 1 with float32, float64, uint8 or int64 in C order. Written for tests, which trust
// their files; a golden that it cannot read fails the test that wanted it.
#include "tests/support/support.h"

#include <cstring>
#include <stdexcept>

#include <zlib.h>

namespace rft
{

static uint32_t little(const std::string &s, size_t at, int n)
{
    uint32_t v = 0;
    for (int i = 0; i < n; i++)
        v |= static_cast<uint32_t>(static_cast<unsigned char>(s.at(at + static_cast<size_t>(i))))
             << 8 * i;
    return v;
}

static std::string inflate_raw(const std::string &in, size_t n_out)
{
    std::string out(n_out, 0);
    z_stream z = {};
    z.next_in = reinterpret_cast<Bytef *>(const_cast<char *>(in.data()));
    z.avail_in = static_cast<uInt>(in.size());
    z.next_out = reinterpret_cast<Bytef *>(out.data());
    z.avail_out = static_cast<uInt>(n_out);
    bool ok = inflateInit2(&z, -15) == Z_OK && inflate(&z, Z_FINISH) == Z_STREAM_END;
    inflateEnd(&z);
    if (!ok)
        throw std::runtime_error("bad deflate data");
    return out;
}

template <typename T> static T element(const std::string &s, size_t at)
{
    T v;
    if (at + sizeof v > s.size())
        throw std::runtime_error("fewer elements than its shape");
    memcpy(&v, s.data() + at, sizeof v);
    return v;
}

static NpzArray parse_npy(const std::string &s)
{
    NpzArray a;
    size_t header = 10, body = header + little(s, 8, 2);
    std::string text = s.substr(header, body - header);
    auto is = [&](const char *descr) { return text.find(descr) != std::string::npos; };
    bool f32 = is("'<f4'"), f64 = is("'<f8'"), u8 = is("'|u1'"), i64 = is("'<i8'");
    if (!(f32 || f64 || u8 || i64) || !is("'fortran_order': False"))
        throw std::runtime_error("not a C-ordered array of f4, f8, u1 or i8: " + text);
    size_t n = 1;
    const char *p = strchr(strstr(text.c_str(), "'shape'"), '(') + 1;
    while (*p != ')') {
        char *end;
        a.dims.push_back(strtoll(p, &end, 10));
        n *= static_cast<size_t>(a.dims.back());
        p = end + strspn(end, ", ");
    }
    for (size_t i = 0; i < n; i++)
        if (f32)
            a.data.push_back(element<float>(s, body + 4 * i));
        else if (f64)
            a.data.push_back(element<double>(s, body + 8 * i));
        else if (u8)
            a.ints.push_back(element<uint8_t>(s, body + i));
        else
            a.ints.push_back(element<int64_t>(s, body + 8 * i));
    return a;
}

Array NpzArray::to_array() const
{
    Array a(dims);
    for (size_t i = 0; i < data.size(); i++)
        a.data[i] = static_cast<float>(data[i]);
    return a;
}

static std::map<std::string, NpzArray> parse_zip(const std::string &zip)
{
    std::map<std::string, NpzArray> arrays;
    size_t end = zip.rfind("PK\5\6");
    if (end == std::string::npos)
        throw std::runtime_error("no zip directory");
    size_t at = little(zip, end + 16, 4);
    for (uint32_t left = little(zip, end + 10, 2); left > 0; left--) {
        uint32_t method = little(zip, at + 10, 2), packed = little(zip, at + 20, 4);
        uint32_t bytes = little(zip, at + 24, 4), name_n = little(zip, at + 28, 2);
        size_t local = little(zip, at + 42, 4);
        std::string name = zip.substr(at + 46, name_n);
        size_t data = local + 30 + little(zip, local + 26, 2) + little(zip, local + 28, 2);
        std::string member = zip.substr(data, packed);
        arrays[name.substr(0, name.rfind(".npy"))] =
            parse_npy(method ? inflate_raw(member, bytes) : member);
        at += 46 + name_n + little(zip, at + 30, 2) + little(zip, at + 32, 2);
    }
    return arrays;
}

std::map<std::string, NpzArray> read_npz(const std::string &path)
{
    try {
        return parse_zip(read_file(path));
    } catch (const std::exception &e) {
        ADD_FAILURE() << path << ": " << e.what();
        return {};
    }
}

} // namespace rft
