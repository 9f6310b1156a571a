// SPDX-License-Identifier: Apache-2.0
//
// Writes tests/fuzz/corpus/image: image_seeds FOLDER. One file for every path through the decoders.
#include "tests/loaders/pictures.h"

#include <fstream>

static void write(const std::string &path, const std::string &bytes)
{
    std::ofstream(path, std::ios::binary) << bytes;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    const std::string folder = std::string(argv[1]) + "/";
    const int kinds[][2] = {{0, 1}, {0, 16}, {2, 8}, {2, 16}, {3, 4}, {4, 8}, {6, 8}};
    for (auto &[colour, depth] : kinds)
        for (bool interlaced : {false, true}) {
            rft::Png p;
            p.colour = colour;
            p.depth = depth;
            p.interlaced = interlaced;
            p.orientation = interlaced ? 6 : 0;
            write(folder + "png_" + std::to_string(colour) + "_" + std::to_string(depth) +
                      (interlaced ? "_adam7" : ""),
                  rft::make_png(p));
        }
    for (int channels : {1, 3, 4})
        for (int mode : {0, 1, 2}) {
            rft::Jpeg j;
            j.channels = channels;
            j.progressive = mode == 1;
            j.arithmetic = mode == 2;
            j.orientation = mode == 0 ? 6 : 0;
            j.width = j.height = 9;
            write(folder + "jpeg_" + std::to_string(channels) + "_" + std::to_string(mode),
                  rft::make_jpeg(j));
        }
    return 0;
}
