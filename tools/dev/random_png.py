#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An RGB picture of random bytes, written without any library: random_png.py WIDTH HEIGHT FILE."""
import os
import struct
import sys
import zlib


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height):
    rows = b"".join(b"\0" + os.urandom(3 * width) for _ in range(height))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b""))


def main():
    if len(sys.argv) != 4 or not (sys.argv[1] + sys.argv[2]).isdigit():
        sys.exit(__doc__)
    with open(sys.argv[3], "wb") as file:
        file.write(png(int(sys.argv[1]), int(sys.argv[2])))


if __name__ == "__main__":
    main()
