# SPDX-License-Identifier: Apache-2.0
"""Elementwise maths, reductions and norms."""
import numpy as np
import torch
import torch.nn.functional as F

from activations import ACTS, act_attrs, apply_act
from movement import RANGES
from writer import Typed, case, draw, emit

UNARY = {
    "relu": F.relu, "sigmoid": torch.sigmoid, "silu": F.silu, "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "tanh": torch.tanh,
    "hardswish": F.hardswish, "hardsigmoid": F.hardsigmoid,
    "softplus": lambda x: torch.logaddexp(x, torch.zeros(())),
    "mish": lambda x: x * torch.tanh(torch.logaddexp(x, torch.zeros(()))),
    "exp": torch.exp, "square": torch.square, "abs": torch.abs, "neg": torch.neg,
    "sign": lambda x: torch.from_numpy(np.sign(x.numpy())),  # NaN stays; PyTorch makes it 0
    "floor": torch.floor, "ceil": torch.ceil, "round": torch.round,
    "sin": torch.sin, "cos": torch.cos, "erf": torch.erf,
}
UNARY_POSITIVE = {"log": torch.log, "sqrt": torch.sqrt, "rsqrt": torch.rsqrt,
                  "reciprocal": torch.reciprocal}
UNARY_ALPHA = {
    "leaky": ({"alpha": 0.125}, lambda x: F.leaky_relu(x, 0.125)),
    "clamp": ({"alpha": -0.5, "beta": 1.25}, lambda x: torch.clamp(x, -0.5, 1.25)),
    "elu": ({"alpha": 1.5}, lambda x: F.elu(x, 1.5)),
    "scale": ({"alpha": -0.75, "beta": 0.5}, lambda x: -0.75 * x + 0.5),
}


def unary_cases():
    for kind, fn in UNARY.items():
        case("unary", kind)
        halves = torch.arange(-9, 10) / 2  # ties of round, zero, both sides of every knee
        x = torch.cat([halves, draw(20, low=-6, high=6)])
        emit("unary", kind, {"kind": kind}, [x], fn(x))
    for kind, fn in UNARY_POSITIVE.items():
        case("unary", kind)
        x = draw(3, 7, low=1 / 64, high=4)
        emit("unary", kind, {"kind": kind}, [x], fn(x))
    for kind, (attrs, fn) in UNARY_ALPHA.items():
        case("unary", kind)
        x = draw(2, 3, 5, low=-3, high=3)
        emit("unary", kind, {"kind": kind, **attrs}, [x], fn(x))
    x = torch.tensor([np.nan, np.inf, -np.inf, -0.0])
    for kind in ("relu", "abs", "neg", "floor", "square", "sign"):
        emit("unary", f"{kind}_special", {"kind": kind}, [x], UNARY[kind](x))


BINARY = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div,
    "min": torch.minimum, "max": torch.maximum, "pow": torch.pow,
    "prelu": lambda a, b: torch.where(a < 0, a * b, a),
}
INTEGER = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "min": np.minimum,
           "max": np.maximum}
NUMPY = {"i8": np.int8, "u8": np.uint8, "i32": np.int32, "i64": np.int64, "u64": np.uint64}


def binary(name, a, b, **attrs):
    case("binary", name)
    positive = attrs.get("kind") in ("div", "pow")
    a = draw(*a, low=1 / 64 if attrs.get("kind") == "pow" else -2)
    b = draw(*b, low=1 / 64 if positive else -2)
    y = BINARY[attrs.get("kind", "add")](a, b)
    emit("binary", name, attrs, [a, b], apply_act(attrs, y))


def binary_cases():
    for kind in BINARY:
        binary(kind, (2, 3, 4), (2, 3, 4), kind=kind)
    binary("channels", (2, 3, 2, 2), (3, 1, 1), kind="mul")
    binary("both_ways", (2, 1, 4), (3, 1), kind="sub")
    binary("scalar", (), (2, 3), kind="div")
    binary("none", (0, 3), (1, 3))
    for act in ACTS:
        binary(f"act_{act}", (2, 5), (5,), kind="sub", **act_attrs(act))
    for dtype, kind in NUMPY.items():
        low, high = RANGES[dtype]
        a = np.array([low, high, high, low + 5, 7], kind)
        b = np.array([high, high, 1, 3, low], kind)
        for name, fn in INTEGER.items():  # overflow wraps
            with np.errstate(over="ignore"):
                y = fn(a, b)
            emit("binary", f"{dtype}_{name}", {"kind": name}, [Typed(dtype, a), Typed(dtype, b)],
                 Typed(dtype, y))


# --- reductions and norms ------------------------------------------------------------------------

REDUCE = {
    "sum": torch.sum, "mean": torch.mean, "max": torch.amax, "min": torch.amin,
    "l2": lambda x, axes, keepdim: torch.linalg.vector_norm(x, 2, axes, keepdim),
    "sumsq": lambda x, axes, keepdim: torch.sum(x * x, axes, keepdim),
}


def product(x, axes, keepdim):
    for axis in sorted((a % x.ndim for a in axes), reverse=True):
        x = torch.prod(x, axis, keepdim)
    return x


def reduce(name, x, **attrs):
    case("reduce", name)
    x = draw(*x)
    axes = list(attrs.get("axes", range(x.ndim)))
    fn = {**REDUCE, "prod": product}[attrs.get("kind", "sum")]
    emit("reduce", name, attrs, [x], fn(x, axes, keepdim=bool(attrs.get("keepdims", 1))))


def reduce_cases():
    for kind in (*REDUCE, "prod"):
        reduce(f"{kind}_all", (2, 3, 4), kind=kind)
        reduce(f"{kind}_image", (2, 3, 2, 4), kind=kind, axes=(2, 3), keepdims=0)
        reduce(f"{kind}_channels", (2, 5, 3), kind=kind, axes=(1,))
        reduce(f"{kind}_ends", (2, 3, 4), kind=kind, axes=(-1, 0), keepdims=0)
    reduce("sum_none", (0, 3), axes=(0,))
    reduce("scalar", (), kind="sumsq")


def softmax(name, x, **attrs):
    case("softmax", name)
    x = draw(*x, low=-8, high=8)
    fn = torch.log_softmax if attrs.get("log") else torch.softmax
    emit("softmax", name, attrs, [x], fn(x, attrs.get("axis", -1)))


def layer_norm(name, x, w=True, b=True, **attrs):
    case("layer_norm", name)
    x = draw(*x)
    dims = x.shape[attrs.get("axis", -1):]
    w, b = draw(*dims) if w else None, draw(*dims) if b else None
    eps = attrs.get("eps", 1e-5)
    if attrs.get("rms"):
        y = F.rms_norm(x, dims, w, eps) + (b if b is not None else 0)
    else:
        y = F.layer_norm(x, dims, w, b, eps)
    emit("layer_norm", name, attrs, [x, w, b], y)


def group_norm(name, x, affine=True, **attrs):
    case("group_norm", name)
    x = draw(*x)
    w, b = (draw(x.shape[1]), draw(x.shape[1])) if affine else (None, None)
    groups = attrs.get("groups", 0)
    if groups:
        y = F.group_norm(x, groups, w, b, attrs.get("eps", 1e-5))
    else:
        y = F.instance_norm(x, weight=w, bias=b, eps=attrs.get("eps", 1e-5))
    emit("group_norm", name, attrs, [x, w, b] if affine else [x], apply_act(attrs, y))


def batch_norm(name, x, **attrs):
    case("batch_norm", name)
    x, c = draw(*x), x[1]
    scale, bias, mean, var = draw(c), draw(c), draw(c), draw(c, low=0, high=2)
    y = F.batch_norm(x, mean, var, scale, bias, False, 0, attrs.get("eps", 1e-5))
    emit("batch_norm", name, attrs, [x, scale, bias, mean, var], y)


def norm_cases():
    softmax("last", (2, 3, 5))
    softmax("channels", (2, 4, 3), axis=1)
    softmax("first", (5, 3), axis=0)
    softmax("log", (3, 6), log=1)
    softmax("log_channels", (2, 4, 3), axis=-2, log=1)
    layer_norm("last", (2, 3, 6))
    layer_norm("two_dims", (2, 3, 4), axis=1, eps=0.25)
    layer_norm("negative_axis", (2, 3, 4), axis=-2)
    layer_norm("no_affine", (3, 5), w=False, b=False)
    layer_norm("bias_only", (3, 5), w=False)
    layer_norm("rms", (2, 3, 6), b=False, rms=1, eps=0.01)
    layer_norm("rms_bias", (3, 4), rms=1)
    group_norm("groups", (2, 6, 3, 2), groups=3)
    group_norm("one_group", (2, 4, 5), groups=1, eps=0.1)
    group_norm("instance", (2, 3, 4, 3))
    group_norm("instance_plain", (1, 3, 4, 3), affine=False, eps=0.01)
    group_norm("vectors", (3, 6), groups=2)
    for act in ACTS:
        group_norm(f"act_{act}", (1, 4, 2, 2), groups=2, **act_attrs(act))
    batch_norm("image", (2, 3, 2, 3))
    batch_norm("vectors", (4, 5), eps=0.125)
    batch_norm("sequence", (2, 3, 4))
