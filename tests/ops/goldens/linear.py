# SPDX-License-Identifier: Apache-2.0
"""Convolutions, products and pooling."""
import torch
import torch.nn.functional as F

from activations import ACTS, act_attrs, apply_act
from writer import case, draw, emit


def pad_image(x, pad, mode, value=0.0):
    """pad: top, left, bottom, right; negative crops."""
    top, left, bottom, right = pad
    if mode == "constant":
        return F.pad(x, (left, right, top, bottom), value=value)
    x = F.pad(x, tuple(max(p, 0) for p in (left, right, top, bottom)),
              mode={"reflect": "reflect", "edge": "replicate"}[mode])
    return F.pad(x, tuple(min(p, 0) for p in (left, right, top, bottom)))


def conv2d(name, x, w, bias=True, res=False, **attrs):
    case("conv2d", name)
    x, w = draw(*x), draw(*w)
    b = draw(w.shape[0]) if bias else None
    y = pad_image(x, attrs.get("pad", (0, 0, 0, 0)), attrs.get("pad_mode", "constant"))
    y = F.conv2d(y, w, b, attrs.get("stride", 1), 0, attrs.get("dilation", 1),
                 attrs.get("groups", 1))
    r = draw(*y.shape) if res else None
    if res and attrs.get("res_mode") == "before":
        y = apply_act(attrs, y + r)
    else:
        y = apply_act(attrs, y) + (r if res else 0)
    emit("conv2d", name, attrs, [x, w, b, r] if res else [x, w, b] if bias else [x, w], y)


def conv2d_cases():
    conv2d("plain", (2, 3, 5, 6), (4, 3, 3, 3))
    conv2d("no_bias", (1, 3, 4, 4), (2, 3, 1, 1), bias=False)
    conv2d("zeros", (1, 2, 5, 4), (3, 2, 3, 3), pad=(1, 1, 1, 1))
    conv2d("reflect", (1, 2, 5, 6), (2, 2, 3, 5), pad=(1, 2, 3, 4), pad_mode="reflect")
    conv2d("edge", (1, 2, 4, 3), (2, 2, 3, 3), pad=(2, 1, 0, 5), pad_mode="edge")
    conv2d("uneven", (1, 2, 6, 7), (2, 2, 3, 2), pad=(0, 2, 1, 0), stride=(2, 3))
    conv2d("crop", (1, 2, 7, 8), (2, 2, 2, 2), pad=(-1, -2, 1, -1))
    conv2d("crop_rows_reflect_columns", (1, 1, 7, 5), (1, 1, 3, 3), pad=(-1, 2, -2, 1),
           pad_mode="reflect")
    conv2d("dilated", (1, 2, 8, 9), (2, 2, 3, 2), dilation=(2, 3), pad=(1, 1, 2, 0))
    conv2d("groups", (2, 6, 4, 5), (9, 2, 3, 3), groups=3, pad=(1, 1, 1, 1))
    conv2d("depthwise_times2", (1, 3, 5, 5), (6, 1, 3, 3), groups=3)
    conv2d("res_after", (1, 2, 4, 4), (3, 2, 3, 3), res=True, pad=(1, 1, 1, 1), act="relu",
           res_mode="after")
    conv2d("res_before", (1, 2, 4, 4), (3, 2, 3, 3), res=True, pad=(1, 1, 1, 1), act="silu",
           res_mode="before")
    for act in ACTS:
        conv2d(f"act_{act}", (1, 2, 3, 4), (2, 2, 2, 2), **act_attrs(act))


def conv_transpose2d(name, x, w, bias=True, **attrs):
    """The full result without padding, cropped: PyTorch itself knows only symmetric padding."""
    case("conv_transpose2d", name)
    x, w = draw(*x), draw(*w)
    stride, pad = attrs.get("stride", (1, 1)), attrs.get("pad", (0, 0, 0, 0))
    extra, groups = attrs.get("output_pad", (0, 0)), attrs.get("groups", 1)
    dilation = attrs.get("dilation", (1, 1))
    b = draw(w.shape[1] * groups) if bias else None
    y = F.conv_transpose2d(x, w, None, stride, 0, 0, groups, dilation)
    y = pad_image(y, (-pad[0], -pad[1], extra[0] - pad[2], extra[1] - pad[3]), "constant")
    y = y if b is None else y + b[:, None, None]
    if pad[:2] == pad[2:]:
        other = F.conv_transpose2d(x, w, b, stride, pad[:2], extra, groups, dilation)
        assert other.shape == y.shape and (other - y).abs().max() < 1e-12, name
    emit("conv_transpose2d", name, attrs, [x, w, b] if bias else [x, w], apply_act(attrs, y))


def conv_transpose2d_cases():
    conv_transpose2d("plain", (2, 3, 3, 4), (3, 2, 3, 3))
    conv_transpose2d("no_bias", (1, 2, 3, 3), (2, 2, 2, 2), bias=False, stride=(2, 2))
    conv_transpose2d("doubling", (1, 3, 3, 4), (3, 2, 3, 3), stride=(2, 2), pad=(1, 1, 1, 1),
                     output_pad=(1, 1))
    conv_transpose2d("uneven", (1, 2, 4, 3), (2, 3, 4, 2), stride=(3, 2), pad=(2, 0, 1, 1),
                     output_pad=(2, 0))
    conv_transpose2d("dilated", (1, 2, 3, 4), (2, 2, 3, 2), stride=(2, 1), dilation=(2, 3),
                     pad=(1, 2, 1, 2), output_pad=(1, 2))
    conv_transpose2d("groups", (1, 6, 3, 3), (6, 2, 3, 3), groups=3, stride=(2, 2))
    conv_transpose2d("stride_above_kernel", (1, 2, 3, 2), (2, 2, 2, 1), stride=(3, 4),
                     output_pad=(1, 3))
    for act in ACTS:
        conv_transpose2d(f"act_{act}", (1, 2, 2, 3), (2, 2, 2, 2), **act_attrs(act))


def matmul(name, a, b, bias=None, res=False, **attrs):
    case("matmul", name)
    a, b = draw(*a), draw(*b)
    left = a.transpose(-1, -2) if attrs.get("trans_a") else a
    right = b.transpose(-1, -2) if attrs.get("trans_b") else b
    y = attrs.get("alpha", 1) * torch.matmul(left, right)
    c = draw(*bias) if bias is not None else None
    y = apply_act(attrs, y + c if bias is not None else y)
    r = draw(*y.shape) if res else None
    inputs = [a, b, c, r] if res else [a, b, c] if bias is not None else [a, b]
    emit("matmul", name, attrs, inputs, y + r if res else y)


def matmul_cases():
    matmul("plain", (3, 5), (5, 4))
    matmul("batch", (2, 3, 4), (2, 4, 5))
    matmul("broadcast", (2, 1, 3, 4), (3, 4, 2))
    matmul("trans_a", (5, 3), (5, 4), trans_a=1)
    matmul("trans_b", (2, 3, 5), (4, 5), trans_b=1)
    matmul("both", (2, 5, 3), (2, 4, 5), trans_a=1, trans_b=1, alpha=0.25)
    matmul("bias", (2, 3, 5), (5, 4), bias=(4,), alpha=-1.5)
    matmul("bias_of_rows", (3, 5), (5, 4), bias=(3, 1))
    matmul("res", (3, 5), (5, 4), bias=(), res=True, act="relu")
    matmul("res_only", (2, 2, 3), (3, 2), res=True)
    matmul("no_inner", (3, 0), (0, 4), bias=(4,))
    for act in ACTS:
        matmul(f"act_{act}", (2, 4), (4, 3), bias=(3,), **act_attrs(act))


def windows(x, attrs, fill):
    """Sliding windows (..., taps) over the padded image, from unfold."""
    x = pad_image(x, attrs.get("pad", (0, 0, 0, 0)), "constant", fill)
    kernel, stride = attrs["kernel"], attrs.get("stride", (1, 1))
    dilation = attrs.get("dilation", (1, 1))
    size = [(x.shape[2 + k] - dilation[k] * (kernel[k] - 1) - 1) // stride[k] + 1 for k in (0, 1)]
    n, c = x.shape[:2]
    # unfold multiplies by a one-hot kernel, where inf would become NaN
    columns = F.unfold(torch.nan_to_num(x, neginf=-1e9), kernel, dilation, 0, stride)
    return columns.reshape(n, c, kernel[0] * kernel[1], *size)


def pool2d(name, x, **attrs):
    case("pool2d", name)
    x = draw(*x)
    pad = attrs.get("pad", (0, 0, 0, 0))
    arguments = {"kernel_size": attrs["kernel"], "stride": attrs.get("stride", 1),
                 "padding": pad[:2], "ceil_mode": bool(attrs.get("ceil_mode", 0))}
    if attrs.get("kind", "max") == "max" and pad[:2] == pad[2:]:
        y = F.max_pool2d(x, dilation=attrs.get("dilation", 1), **arguments)
    elif attrs.get("kind", "max") == "max":
        y = windows(x, attrs, -torch.inf).amax(2)
    elif pad[:2] == pad[2:] and "dilation" not in attrs:
        y = F.avg_pool2d(x, count_include_pad=bool(attrs.get("count_include_pad", 0)), **arguments)
    else:
        inside = torch.ones_like(x) if not attrs.get("count_include_pad") else None
        n = windows(inside, attrs, 0).sum(2) if inside is not None else \
            attrs["kernel"][0] * attrs["kernel"][1]
        y = windows(x, attrs, 0).sum(2) / n
    emit("pool2d", name, attrs, [x], y)


def pool2d_cases():
    for kind in ("max", "avg"):
        pool2d(f"{kind}_2x2", (2, 3, 4, 6), kind=kind, kernel=(2, 2), stride=(2, 2))
        pool2d(f"{kind}_pad", (1, 2, 5, 5), kind=kind, kernel=(3, 3), pad=(1, 1, 1, 1))
        pool2d(f"{kind}_uneven", (1, 2, 5, 6), kind=kind, kernel=(3, 2), stride=(2, 1),
               pad=(0, 1, 2, 0))
        pool2d(f"{kind}_dilated", (1, 2, 7, 8), kind=kind, kernel=(2, 3), dilation=(3, 2),
               pad=(1, 1, 1, 1))
        pool2d(f"{kind}_ceil", (1, 2, 6, 8), kind=kind, kernel=(3, 3), stride=(2, 2), ceil_mode=1)
        pool2d(f"{kind}_ceil_pad", (1, 1, 5, 6), kind=kind, kernel=(3, 3), stride=(3, 2),
               pad=(1, 1, 1, 1), ceil_mode=1)
        # the last window would start in the trailing padding: dropped
        pool2d(f"{kind}_ceil_drops_edge", (1, 1, 5, 5), kind=kind, kernel=(2, 2), stride=(3, 3),
               pad=(1, 1, 1, 1), ceil_mode=1)
        pool2d(f"{kind}_ceil_drops", (1, 1, 4, 4), kind=kind, kernel=(2, 2), stride=(3, 3),
               pad=(1, 1, 1, 1), ceil_mode=1)
    pool2d("avg_include", (1, 2, 4, 5), kind="avg", kernel=(3, 3), stride=(2, 2), pad=(1, 1, 1, 1),
           count_include_pad=1)
    pool2d("avg_include_uneven", (1, 2, 4, 5), kind="avg", kernel=(3, 2), pad=(0, 1, 1, 0),
           count_include_pad=1)
    pool2d("avg_include_ceil", (1, 1, 6, 5), kind="avg", kernel=(3, 3), stride=(2, 3),
           pad=(1, 1, 1, 1), ceil_mode=1, count_include_pad=1)
