# SPDX-License-Identifier: Apache-2.0
"""Resizing, and the ops that move or convert elements."""
import numpy as np
import torch
import torch.nn.functional as F

from writer import Typed, case, draw, draw_bytes, emit, onnx


def keys(distance, a=-0.75):
    """The convolution kernel of R. Keys, "Cubic convolution interpolation", 1981, equation 15."""
    s = np.abs(distance)
    near = (a + 2) * s**3 - (a + 3) * s**2 + 1
    far = a * s**3 - 5 * a * s**2 + 8 * a * s - 4 * a
    return np.where(s <= 1, near, np.where(s < 2, far, 0))


def cubic_matrix(n_in, n_out, coord, scale):
    """The ONNX reference evaluates its cubic weights in float32, so they are made here."""
    o = np.arange(n_out)
    source = {"half_pixel": (o + 0.5) / scale - 0.5, "asymmetric": o / scale,
              "align_corners": o * (n_in - 1) / max(n_out - 1, 1)}[coord]
    matrix = np.zeros((n_out, n_in))
    for row, x in enumerate(source):
        for k in range(int(np.floor(x)) - 1, int(np.floor(x)) + 3):
            matrix[row, min(max(k, 0), n_in - 1)] += keys(x - k)
    return torch.from_numpy(matrix)


def resize_cubic(x, coord, size, scales):
    size = size or [int(np.floor(n * s)) for n, s in zip(x.shape[2:], scales)]
    rows, columns = (cubic_matrix(x.shape[2 + k], size[k], coord,
                                  scales[k] if scales else size[k] / x.shape[2 + k])
                     for k in (0, 1))
    y = rows @ x @ columns.T
    if coord != "asymmetric":  # which PyTorch lacks
        other = F.interpolate(x, None if scales else size, scales, "bicubic",
                              coord == "align_corners", False if scales else None)
        assert (y - other).abs().max() < 1e-12
    return y


def resize(name, x, mode, coord, **attrs):
    """ONNX Resize; nearest of half_pixel is PyTorch's nearest-exact, which ONNX lacks."""
    case("resize", name)
    x = draw(*x)
    size = attrs.get("size")
    scales = None if size else (attrs["scale_y"], attrs["scale_x"])
    if mode == "cubic":
        y = resize_cubic(x, coord, size, scales)
    elif mode == "nearest" and coord == "half_pixel":
        y = F.interpolate(x, size, scales, "nearest-exact",
                          recompute_scale_factor=False if scales else None)
    else:
        y = onnx("Resize", [x.numpy(), None,
                            np.array([1, 1, *scales], np.float64) if scales else None,
                            np.array([*x.shape[:2], *size], np.int64) if size else None],
                 {"mode": mode, "coordinate_transformation_mode": coord, "nearest_mode": "floor"})
    emit("resize", name, {"mode": mode, "coord": coord, **attrs}, [x], y)


def resize_cases():
    for mode in ("nearest", "linear", "cubic"):
        for coord in ("half_pixel", "align_corners", "asymmetric"):
            stem = f"{mode}_{coord}"
            resize(f"{stem}_up", (2, 2, 3, 4), mode, coord, scale_y=2.0, scale_x=3.0)
            resize(f"{stem}_size", (1, 1, 5, 4), mode, coord, size=(8, 3))
            if coord != "align_corners":
                resize(f"{stem}_fraction", (1, 1, 5, 7), mode, coord, scale_y=1.5, scale_x=0.625)
    resize("linear_one", (1, 1, 4, 1), "linear", "align_corners", size=(1, 3))


def pad(name, x, **attrs):
    case("pad", name)
    x = draw(*x).numpy() if isinstance(x, tuple) else x
    values = x.values if isinstance(x, Typed) else x
    rank = values.ndim
    pads = list(attrs.get("pads", [0] * 2 * rank))
    for k, m in enumerate(attrs.get("multiple", (1, 1))):
        if m > 1:
            pads[2 * rank - 2 + k] = -values.shape[rank - 2 + k] % m
    mode = attrs.get("mode", "constant")
    options = {"constant_values": attrs.get("value", 0)} if mode == "constant" else {}
    y = np.pad(values, [(max(pads[k], 0), max(pads[rank + k], 0)) for k in range(rank)], mode,
               **options)
    y = y[tuple(slice(-min(pads[k], 0), y.shape[k] + min(pads[rank + k], 0)) for k in range(rank))]
    emit("pad", name, attrs, [x], Typed(x.dtype, y) if isinstance(x, Typed) else y)


def pad_cases():
    pad("nothing", (2, 3))
    pad("zeros", (2, 3, 2), pads=(1, 0, 2, 0, 1, 3))
    pad("value", (2, 3), pads=(1, 2, 0, 1), value=-0.5)
    pad("reflect", (1, 4, 5), pads=(0, 3, 1, 0, 2, 4), mode="reflect")
    pad("edge", (2, 3, 2), pads=(2, 0, 5, 1, 4, 0), mode="edge")
    pad("crop", (4, 5), pads=(-1, 2, -2, -1))
    pad("multiple", (1, 2, 5, 6), multiple=(4, 4))
    pad("multiple_reflect", (1, 2, 5, 7), multiple=(4, 3), mode="reflect")
    pad("multiple_edge", (2, 5, 8), multiple=(1, 3), mode="edge", pads=(0, 0, 0, 0, 0, 0))
    pad("i64", Typed("i64", [[2**62, -5], [3, -2**63]]), pads=(0, 1, 1, 0), value=7)


def movement(op, name, dims, attrs, fn, dtype=None):
    """fn gets the arrays; dims is a list of shapes. Everything has one dtype."""
    case(op, name)
    arrays = [draw(*d).numpy() for d in dims] if dtype is None else \
        [draw_bytes(*d) for d in dims]
    found = fn(*arrays)
    found = list(found) if isinstance(found, (list, tuple)) else [found]
    if len(found) > 1:
        attrs = {**attrs, "outputs": len(found)}
    if dtype:
        arrays, found = [[Typed(dtype, t) for t in s] for s in (arrays, found)]
    emit(op, name, attrs, arrays, found)


def shuffle_cases():
    def shuffle(factor):
        return lambda x: F.pixel_shuffle(torch.from_numpy(x), factor).numpy()

    def unshuffle(factor):
        return lambda x: F.pixel_unshuffle(torch.from_numpy(x), factor).numpy()

    movement("pixel_shuffle", "r2", [(2, 8, 2, 3)], {}, shuffle(2))
    movement("pixel_shuffle", "r3", [(1, 18, 2, 2)], {"factor": 3}, shuffle(3))
    movement("pixel_shuffle", "u8", [(1, 4, 3, 2)], {"factor": 2}, shuffle(2), "u8")
    movement("pixel_unshuffle", "r2", [(2, 2, 4, 6)], {}, unshuffle(2))
    movement("pixel_unshuffle", "r3", [(1, 2, 6, 3)], {"factor": 3}, unshuffle(3))
    movement("crop_like", "image", [(1, 2, 8, 8), (3, 5, 6)], {}, lambda x, r: x[..., :5, :6])
    movement("crop_like", "none", [(2, 4, 4), (2, 0, 3)], {}, lambda x, r: x[..., :0, :3])
    movement("copy", "image", [(2, 3, 4, 5)], {}, lambda x: x)
    movement("copy", "i16", [(5, 3)], {}, lambda x: x, "i16")


def slice_attrs(**lists):
    """NumPy's own reading of starts, ends, steps and axes."""
    def fn(x):
        index = [slice(None)] * x.ndim
        for k, start in enumerate(lists["starts"]):
            step = lists["steps"][k] if "steps" in lists else 1
            axis = lists["axes"][k] if "axes" in lists else k
            index[axis] = slice(start, lists["ends"][k], step)
        return x[tuple(index)]
    return lists, fn


def movement_cases():
    movement("concat", "channels", [(2, 3, 2), (2, 1, 2), (2, 2, 2)], {},
             lambda *x: np.concatenate(x, 1))
    movement("concat", "last", [(2, 3), (2, 4)], {"axis": -1}, lambda *x: np.concatenate(x, -1))
    movement("concat", "first", [(2, 3), (0, 3), (1, 3)], {"axis": 0},
             lambda *x: np.concatenate(x, 0), "i32")
    movement("split", "equal", [(2, 6, 2)], {}, lambda x: np.split(x, 3, 1))
    movement("split", "sizes", [(2, 7)], {"axis": -1, "sizes": (4, 0, 3)},
             lambda x: np.split(x, [4, 4], -1))
    movement("split", "first", [(4, 3)], {"axis": 0}, lambda x: np.split(x, 2, 0), "u8")
    movement("slice", "box", [(3, 5, 6)], *slice_attrs(starts=(1, 0, 2), ends=(3, 4, 5)))
    movement("slice", "steps", [(7, 8)], *slice_attrs(starts=(1, 0), ends=(7, 100), steps=(2, 3)))
    movement("slice", "negative", [(6, 5)], *slice_attrs(starts=(-4, -100), ends=(-1, -2)))
    movement("slice", "axes", [(2, 4, 6)],
             *slice_attrs(starts=(-5, 1), ends=(6, 3), steps=(2, 1), axes=(-1, 1)))
    movement("slice", "beyond", [(4, 5)], *slice_attrs(starts=(3, 9), ends=(1, 12)))
    movement("slice", "all", [(2, 3)], {}, lambda x: x)
    movement("slice", "i64", [(3, 7)], *slice_attrs(starts=(2,), ends=(-1,), steps=(2,), axes=(1,)),
             "i64")
    movement("transpose", "reversed", [(2, 3, 4)], {}, lambda x: x.transpose())
    movement("transpose", "perm", [(2, 3, 4, 2)], {"perm": (2, 0, 3, 1)},
             lambda x: x.transpose(2, 0, 3, 1))
    movement("transpose", "scalar", [()], {}, lambda x: x)

    def reshape(*dims):
        return {"dims": dims}, lambda x: onnx("Reshape", [x, np.array(dims, np.int64)], {})

    movement("reshape", "copies_and_infers", [(2, 3, 4)], *reshape(0, -1))
    movement("reshape", "grows", [(6, 4)], *reshape(3, 2, 2, 2))
    movement("reshape", "last_copied", [(4, 6, 2)], *reshape(-1, 3, 0))
    movement("reshape", "scalar", [(1, 1)], {}, lambda x: x.reshape(()))

    def expand(*dims):
        return {"dims": dims}, lambda x: onnx("Expand", [x, np.array(dims, np.int64)], {})

    movement("expand", "ones", [(2, 1, 3, 1)], *expand(2, 4, 3, 2))
    movement("expand", "keeps", [(3, 1, 2)], *expand(1, 4, 1))
    movement("expand", "more_dims", [(3,)], *expand(2, 2, 3))
    movement("expand", "fewer_dims", [(2, 3, 1)], *expand(4))


def gather(name, x, index, dtype, axis):
    case("gather", name)
    x = draw(*x).numpy()
    index = np.array(index)
    emit("gather", name, {"axis": axis}, [x, Typed(dtype, index)], np.take(x, index, axis))


def gather_cases():
    gather("rows", (4, 3), [3, 0, 0, 2], "i64", 0)
    gather("negative", (4, 3), [-1, 1, -3], "i32", 1)
    gather("matrix", (2, 5, 3), [[0, -1, 2], [4, 3, -5]], "i64", 1)
    gather("last", (2, 5), [[4], [-2]], "i32", -1)
    gather("scalar", (3, 4), -2, "i64", 0)
    gather("none", (3, 4), np.zeros((0, 2), int), "i64", 0)


RANGES = {"i8": (-2**7, 2**7 - 1), "u8": (0, 2**8 - 1), "i16": (-2**15, 2**15 - 1),
          "u16": (0, 2**16 - 1), "i32": (-2**31, 2**31 - 1), "u32": (0, 2**32 - 1),
          "i64": (-2**63, 2**63 - 1), "u64": (0, 2**64 - 1)}


def saturate(values, to):
    """Truncated towards zero, at most the ends of the range; in Python's integers, so exact."""
    low, high = RANGES[to]
    found = [0 if v != v else high if v == np.inf else low if v == -np.inf
             else min(max(int(v), low), high) for v in values]
    return np.array(found, np.uint64 if to == "u64" else np.int64)


def cast(name, source, values, to):
    case("cast", name)
    x = Typed(source, values)
    if to == "bool":
        y = np.array([int(v != 0) for v in values])
    elif to in RANGES:
        y = saturate(values, to)
    else:  # nearest, ties to even
        kind = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32,
                "f64": torch.float64}[to]
        y = torch.tensor([float(v) for v in values], dtype=torch.float64)
        y = (y.float() if source == "f32" else y).to(kind).double().numpy()
    emit("cast", name, {"to": to}, [x], Typed(to, y))


def cast_cases():
    far = [0.0, -0.0, 0.9, -0.9, 1.5, -1.5, 127.5, 128.0, -128.5, -129.0, 255.75, 256.0, 32768.0,
           -32769.0, 65536.0, 2.0**31, -2.0**31 - 1, 2.0**32, 2.0**63, -2.0**63, 2.0**64, 1e30,
           -1e30, np.inf, -np.inf, np.nan]
    for to in (*RANGES, "bool"):
        cast(f"f64_to_{to}", "f64", far, to)
    cast("f32_to_i32", "f32", [2.0**31 - 128, 2.0**31, -2.0**31, -7.99, 7.99], "i32")
    cast("bf16_to_u8", "bf16", [254.0, 256.0, -1.0, 3.140625, 0.0], "u8")
    ties = [1 + 2.0**-11, 1 + 3 * 2.0**-11, 65519.0, 65520.0, -1e30, 2.0**-25, 3 * 2.0**-26,
            2.0**-14 - 2.0**-25, 0.1, np.inf, -0.0]
    cast("f32_to_f16", "f32", np.float32(ties), "f16")
    cast("f32_to_bf16", "f32", np.float32([1 + 2.0**-8, 1 + 3 * 2.0**-8, 3.4e38, 1e-40, 0.1, -7.3]),
         "bf16")
    cast("f64_to_f32", "f64", [0.1, 1 + 2.0**-24, 1 + 3 * 2.0**-24, 1e39, -1e-50], "f32")
    cast("f16_to_f64", "f16", [65504.0, 2.0**-24, -1.5], "f64")
    cast("i64_to_f64", "i64", [2**53, -2**60, 7, -1], "f64")
    cast("u64_to_f64", "u64", np.array([2**63, 2**64 - 2048, 0], np.uint64), "f64")
    cast("i8_to_f32", "i8", [-128, 127, 0], "f32")
    big = [2**63 - 1, -2**63, 2**31, -2**31 - 1, 300, -300, 255, 0, 1]
    for to in (*RANGES, "bool"):
        cast(f"i64_to_{to}", "i64", big, to)
    cast("u64_to_i64", "u64", np.array([2**64 - 1, 2**63, 2**63 - 1, 5], np.uint64), "i64")
    cast("u64_to_u8", "u64", np.array([2**64 - 1, 256, 255, 5], np.uint64), "u8")
    cast("bool_to_f32", "bool", [0, 1], "f32")
