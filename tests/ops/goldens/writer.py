# SPDX-License-Identifier: Apache-2.0
"""What the generators of goldens share: numbers to draw, the line of a case, and one node in the
ONNX reference evaluator. The format is described in make_goldens.py.
"""
import zlib

import numpy as np
import torch
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

torch.set_default_dtype(torch.float64)

lines, reals, ints = [], [], []
random = np.random.default_rng(0)


class Typed:
    """A tensor with a dtype of its own. f16 and bf16 are held as float64 that they can hold."""

    def __init__(self, dtype, values):
        self.dtype, self.values = dtype, np.asarray(values)


def token(t):
    if t is None:
        return "-"
    if not isinstance(t, Typed):
        t = Typed("f", t.numpy() if isinstance(t, torch.Tensor) else t)
    is_real = t.dtype in ("f", "f16", "bf16", "f32", "f64")
    if is_real:
        reals.append(np.asarray(t.values, np.float64).ravel())
    else:
        ints.append(np.asarray(t.values).astype(np.uint64 if t.dtype == "u64" else np.int64)
                    .view(np.int64).ravel())
    dims = np.shape(t.values)
    return f"{t.dtype}:{'x'.join(map(str, dims)) if dims else 's'}"


def text(value):
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value)


def emit(op, name, attrs, inputs, outputs):
    """One case. `outputs` is a list, or one tensor."""
    if not isinstance(outputs, (list, tuple)):
        outputs = [outputs]
    words = " ".join(f"{key}={text(value)}" for key, value in attrs.items())
    lines.append(" | ".join([f"{op} {name}", words, " ".join(map(token, inputs)),
                             " ".join(map(token, outputs))]))


def case(op, name):
    """Seeds by the case's name, so that a new case does not change the others."""
    global random
    random = np.random.default_rng(zlib.crc32(f"{op}.{name}".encode()))


def draw(*dims, low=-2.0, high=2.0):
    return torch.tensor(random.integers(round(low * 64), round(high * 64) + 1, dims) / 64)


def draw_bytes(*dims):
    return random.integers(0, 256, dims)


def onnx(op_type, inputs, attrs, n_out=1, opset=21):
    """Runs one node in the ONNX reference evaluator. Inputs are arrays, None if absent."""
    arrays = {f"i{k}": np.asarray(x) for k, x in enumerate(inputs) if x is not None}
    names = [f"i{k}" if x is not None else "" for k, x in enumerate(inputs)]
    outs = [f"o{k}" for k in range(n_out)]
    types = {"float64": TensorProto.DOUBLE, "int64": TensorProto.INT64}
    graph = helper.make_graph(
        [helper.make_node(op_type, names, outs, **attrs)], "g",
        [helper.make_tensor_value_info(k, types[str(a.dtype)], a.shape) for k, a in arrays.items()],
        [helper.make_tensor_value_info(o, TensorProto.DOUBLE, None) for o in outs])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    found = ReferenceEvaluator(model).run(None, arrays)
    return found if n_out > 1 else found[0]
