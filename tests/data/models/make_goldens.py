#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes dea_tiny.npz: what PyTorch in float64 says about a DEA-Net of base width 8 whose weights
are functions of their names (tests/support/networks.cc makes the same ones), so that a golden of
the whole stack is a few kilobytes. The network is tools/train/model.py, which check_model.py holds
against outputs of the official code.

    python3 tests/data/models/make_goldens.py      (PyTorch and NumPy)
"""
import pathlib
import sys

import numpy as np
import torch

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here.parents[2] / "tools" / "train"))
import model  # noqa: E402

BASE, HEIGHT, WIDTH = 8, 21, 18


def named_random(name, n):
    """n numbers in [-1, 1): FNV-1a of the name, then splitmix64 of the index."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return ((z >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1).astype(np.float32)


def weight(name, shape):
    fan_in = int(np.prod(shape[1:]))
    bound = np.float32(0.1 if len(shape) == 1 else 1.0 / np.sqrt(fan_in))
    return torch.from_numpy((named_random(name, int(np.prod(shape))) * bound).reshape(shape))


@torch.no_grad()
def main():
    net = model.DEANet(BASE)
    net.load_state_dict({k: weight(k, v.shape) for k, v in net.state_dict().items()})
    net.double().eval()
    x = (named_random("x", 3 * HEIGHT * WIDTH) + np.float32(1)) * np.float32(0.5)
    x = torch.from_numpy(x.reshape(1, 3, HEIGHT, WIDTH)).double()
    padded = torch.nn.functional.pad(x, (0, -WIDTH % 4, 0, -HEIGHT % 4), "reflect")
    raw = net(padded).numpy()
    y = model.restore(net, x).numpy()
    np.savez_compressed(here / "dea_tiny.npz", y_raw_padded_f64=raw, y=y.astype(np.float32))
    print(f"{len(net.state_dict())} tensors, raw {raw.shape}, max |raw| {np.abs(raw).max():.3f}, "
          f"std {raw.std():.3f}, {np.mean((y > 0) & (y < 1)):.0%} of y inside (0, 1)")


if __name__ == "__main__":
    main()
