# SPDX-License-Identifier: Apache-2.0
"""Activations that other ops fuse, by PyTorch."""
import torch
import torch.nn.functional as F

ACTS = {
    "none": lambda x, a, b: x,
    "relu": lambda x, a, b: F.relu(x),
    "leaky": lambda x, a, b: F.leaky_relu(x, a),
    "clamp": lambda x, a, b: torch.clamp(x, a, b),
    "sigmoid": lambda x, a, b: torch.sigmoid(x),
    "silu": lambda x, a, b: F.silu(x),
    "gelu": lambda x, a, b: F.gelu(x),
    "gelu_tanh": lambda x, a, b: F.gelu(x, approximate="tanh"),
    "tanh": lambda x, a, b: torch.tanh(x),
    "hardswish": lambda x, a, b: F.hardswish(x),
}
ALPHAS = {"leaky": {"act_alpha": 0.2}, "clamp": {"act_alpha": -0.5, "act_beta": 1.25}}


def act_attrs(act):
    return {"act": act, **ALPHAS.get(act, {})}


def apply_act(attrs, x):
    return ACTS[attrs.get("act", "none")](x, attrs.get("act_alpha", 0), attrs.get("act_beta", 0))
