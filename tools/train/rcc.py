"""Reader for Qt resource files (.rcc): yields (path, bytes) of each entry.

gcompris keeps its photographs in these files. Reading the tree instead of
scanning for JPEG markers gives each picture its own name, which is what its
copyright file refers to.
"""
import struct
import zlib

DIRECTORY, ZLIB = 2, 1


def _name(blob, offset):
    length = struct.unpack_from(">H", blob, offset)[0]
    return blob[offset + 6:offset + 6 + 2 * length].decode("utf-16-be")


def _payload(blob, offset, flags):
    size = struct.unpack_from(">I", blob, offset)[0]
    data = blob[offset + 4:offset + 4 + size]
    # Qt puts the plain size (4 bytes) before the zlib stream.
    return zlib.decompress(data[4:]) if flags & ZLIB else data


def entries(path):
    with open(path, "rb") as f:
        blob = f.read()
    if blob[:4] != b"qres":
        raise ValueError(f"{path}: not a Qt resource file")
    version, tree, data, names = struct.unpack_from(">IIII", blob, 4)
    node_size = 14 if version < 2 else 22
    todo = [(0, "")]
    while todo:
        node, prefix = todo.pop()
        at = tree + node * node_size
        name_at, flags = struct.unpack_from(">IH", blob, at)
        name = prefix + (_name(blob, names + name_at) if node else "")
        if flags & DIRECTORY:
            count, first = struct.unpack_from(">II", blob, at + 6)
            slash = name + "/" if name else ""
            todo += [(first + i, slash) for i in reversed(range(count))]
        elif flags & ~ZLIB == 0:
            where = struct.unpack_from(">I", blob, at + 10)[0]
            yield name, _payload(blob, data + where, flags)
