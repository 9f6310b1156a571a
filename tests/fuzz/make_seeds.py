#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seeds in tests/fuzz/corpus that are not images (image_seeds.cc makes those): pickles
taken out of tests/loaders/data, and small arrays, safetensors files and graphs. The pth target uses
tests/loaders/data itself."""
import json
import pathlib
import struct
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parent / "loaders" / "data"


def write(target, name, data):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def pickles():
    for path in sorted(DATA.iterdir()):
        if zipfile.is_zipfile(path) and path.name != "script.pt":
            archive = zipfile.ZipFile(path)
            name = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
            write("pickle", path.stem, b"\0" + archive.read(name))
    legacy = (DATA / "legacy_training.pk").read_bytes()
    write("pickle", "legacy", b"\1" + legacy[15:])


def arrays():
    for descr, shape, order, data in [("<f4", "(2, 3)", False, 24), (">i2", "(2, 2)", True, 8), ("|b1", "()", False, 1),
                                      ("<f8", "(0, 3)", False, 0)]:
        text = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}"
        text += " " * ((64 - (len(text) + 11) % 64) % 64) + "\n"
        write("npy", descr[1:], b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode() + bytes(data))


GRAPH = {
    "version": 1, "name": "g", "values": 7,
    "inputs": [{"value": 0, "name": "x", "dtype": "f32", "dims": [1, 3, -1, -1], "min_h": 4, "min_w": 4}],
    "constants": [{"value": 1, "tensor": "w"}, {"value": 2, "tensor": "b"}],
    "nodes": [
        {"op": "conv2d", "name": "c", "in": [0, 1, 2], "out": [3], "attrs": {"pad": [1, 1, 1, 1], "act": "relu"}},
        {"op": "pad", "name": "p", "in": [3], "out": [4], "attrs": {"pads": [0, 0, 1, 1, 0, 0, 1, 1], "value": "-inf"}},
        {"op": "split", "name": "s", "in": [4], "out": [5, 6], "attrs": {"axis": 1}},
    ],
    "outputs": [{"value": 5, "name": "y"}, {"value": 6, "name": "z"}],
}


def one_op(op, attrs, dims=(1, 4, 8, 8), n_in=1, n_out=1, each=None, dtypes={}):
    """One node over inputs of `dims`, or of the dims in `each`."""
    n_in = len(each) if each else n_in
    n = n_in + n_out
    return {
        "version": 1, "name": op, "values": n,
        "inputs": [{"value": i, "name": f"x{i}", "dtype": dtypes.get(i, "f32"), "dims": list(each[i] if each else dims),
                    "min_h": 0, "min_w": 0}
                   for i in range(n_in)],
        "constants": [],
        "nodes": [{"op": op, "name": "n", "in": list(range(n_in)), "out": list(range(n_in, n)), "attrs": attrs}],
        "outputs": [{"value": n - 1, "name": "y"}],
    }


def graphs():
    graphs = {
        "conv": GRAPH,
        "resize": one_op("resize", {"mode": "cubic", "scale_y": 1.5, "size": [3, 5]}),
        "pool2d": one_op("pool2d", {"kernel": [3, 3], "stride": [2, 2], "pad": [1, 1, 1, 1], "ceil_mode": 1}),
        "slice": one_op("slice", {"starts": [1, -2], "ends": [9, 7], "axes": [2, 3], "steps": [1, 2]}),
        "reshape": one_op("reshape", {"dims": [0, -1, 16]}),
        "transpose": one_op("transpose", {"perm": [0, 2, 3, 1]}),
        "expand": one_op("expand", {"dims": [2, 3, 4, 8, 8]}, dims=(4, 1, 1)),
        "reduce": one_op("reduce", {"kind": "mean", "axes": [-1, 2], "keepdims": 0}),
        "pixel_shuffle": one_op("pixel_shuffle", {"factor": 2}),
        "pixel_unshuffle": one_op("pixel_unshuffle", {"factor": 4}),
        "concat": one_op("concat", {"axis": 1}, n_in=3),
        "binary": one_op("binary", {"kind": "div"}, n_in=2),
        "matmul": one_op("matmul", {"trans_a": 1, "alpha": 0.5}, n_in=2),
        "attention": one_op("attention", {"causal": 1}, n_in=3),
        "layer_norm": one_op("layer_norm", {"axis": 2, "eps": 1e-6}),
        "group_norm": one_op("group_norm", {"groups": 2}),
        "softmax": one_op("softmax", {"axis": 1, "log": 1}),
        "cast": one_op("cast", {"to": "u8"}),
        "crop_like": one_op("crop_like", {}, n_in=2),
        "conv_transpose2d": one_op("conv_transpose2d", {"stride": [2, 2], "pad": [1, 1, 1, 1], "output_pad": [1, 1]},
                                   each=[(1, 4, 8, 8), (4, 2, 3, 3), (2,)]),
        "unary": one_op("unary", {"kind": "leaky", "alpha": 0.2}),
        "batch_norm": one_op("batch_norm", {"eps": 1e-3}, each=[(1, 4, 8, 8)] + 4 * [(4,)]),
        "gather": one_op("gather", {"axis": 1}, each=[(1, 4, 8, 8), (2, 3)], dtypes={1: "i64"}),
        "copy": one_op("copy", {}),
        "pixel_attention": one_op("pixel_attention", {"mode": "mix"}, each=[
            (1, 4, 8, 8), (1, 2, 8, 8), (1, 4, 1, 1), (1, 2, 7, 7), (1,), (4, 2, 7, 7), (4,), (1, 4, 8, 8), (1, 4, 8, 8)]),
        "channel_stats": one_op("channel_stats", {}, n_in=2, n_out=3),
    }
    for name, graph in graphs.items():
        write("graph", name, json.dumps(graph, separators=(",", ":")).encode())


def safetensors(header, data):
    text = json.dumps(header, separators=(",", ":"))
    return struct.pack("<Q", len(text)) + text.encode() + data


def files():
    tensors = {"w": {"dtype": "F32", "shape": [4, 3, 3, 3], "data_offsets": [0, 432]},
               "b": {"dtype": "F32", "shape": [4], "data_offsets": [432, 448]}}
    own = {"__metadata__": {"format": "pt", "refold": json.dumps(GRAPH, separators=(",", ":"))}, **tensors}
    write("safetensors", "own", safetensors(own, bytes(448)))
    write("safetensors", "plain", safetensors(tensors, bytes(448)))
    small = {"a": {"dtype": "BF16", "shape": [], "data_offsets": [0, 2]},
             "e": {"dtype": "U8", "shape": [0, 3], "data_offsets": [2, 2]},
             "z": {"dtype": "BOOL", "shape": [1], "data_offsets": [2, 3]}}
    write("safetensors", "small", safetensors(small, b"\x80\x3f\x01"))
    write("safetensors", "index", json.dumps({"metadata": {"total_size": 8}, "weight_map": {
        "a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}).encode())


def recipes():
    """Of fuzz_fold.c: which checkpoint, then edits (what, which tensor, two arguments)."""
    for kind, name in enumerate(["dea_net", "repvgg", "graph"]):
        write("fold", name, bytes([kind]))
        write("fold", name + "_unfolded", bytes([0x80 + (kind - 0x80) % 3]))
        for edit in range(7):
            write("fold", f"{name}_{edit}", bytes([kind, edit, 7 + edit, 3, 2]))
    write("fold", "graph_text", bytes([2, 7, 0, 200, 17]))


if __name__ == "__main__":
    pickles()
    arrays()
    graphs()
    files()
    recipes()
