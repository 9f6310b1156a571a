# SPDX-License-Identifier: Apache-2.0
"""Folded DEA-Net as a plain PyTorch module, and its export for the other runtimes.

The benchmark must give every runtime the same folded network, and must not take that network
from Refold (a mistake in Refold's fold would then be on both sides of the comparison). So the
fold is done here once more, in float64, from the unfolded training checkpoint, and the result is
checked against the golden made by the authors' own code:

    python bench/peers/dea_net.py CHECKPOINT --golden dea_b32_io.npz [--onnx OUT.onnx --size WxH]

Network and fold: cecret3350/DEA-Net, code/model/backbone.py and code/model/modules/deconv.py.
"""
import argparse
import pathlib
import sys

import torch
from torch import nn
from torch.nn import functional as F

GOLDEN_TOLERANCE = 1e-5

# The angular branch pairs each ring tap with a neighbour: folded[t] gets a[t] - a[ANGULAR[t]].
ANGULAR = [3, 0, 1, 6, 4, 2, 7, 8, 5]


# ---- fold ------------------------------------------------------------------------------------

def fold_deconv(state, prefix):
    """Five-branch difference convolution -> one 3x3 kernel and bias, in float64."""
    branches = [f"{prefix}.conv1_{i}.conv" for i in range(1, 5)] + [f"{prefix}.conv1_5"]
    missing = [b for b in branches if f"{b}.weight" not in state or f"{b}.bias" not in state]
    if missing:
        raise KeyError(f"{prefix}: branches missing from the checkpoint: {missing}")
    central, horizontal, vertical, angular, vanilla = (
        state[f"{b}.weight"].double().flatten(2) for b in branches)

    kernel = vanilla + central + angular - angular[:, :, ANGULAR]
    kernel[:, :, 4] -= central.sum(dim=2)
    kernel[:, :, [0, 3, 6]] += horizontal      # left column minus right column
    kernel[:, :, [2, 5, 8]] -= horizontal
    kernel[:, :, [0, 1, 2]] += vertical        # top row minus bottom row
    kernel[:, :, [6, 7, 8]] -= vertical
    bias = sum(state[f"{b}.bias"].double() for b in branches)
    return kernel.unflatten(2, (3, 3)), bias


def fold_state(state):
    """State dict of an unfolded (or partly folded) DEA-Net -> the folded one, in float64."""
    marker = ".conv1_5.weight"
    prefixes = {key[:-len(marker)] for key in state if key.endswith(marker)}
    folded = {key: value.double() for key, value in state.items()
              if key.split(".conv1_")[0] not in prefixes}
    for prefix in prefixes:
        folded[f"{prefix}.weight"], folded[f"{prefix}.bias"] = fold_deconv(state, prefix)
    return folded


# ---- network ---------------------------------------------------------------------------------

class Block(nn.Module):
    """DEB: two convolutions, two residuals."""

    def __init__(self, dim):
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)

    def inner(self, x):
        return self.conv2(F.relu(self.conv1(x)) + x)

    def forward(self, x):
        return self.inner(x) + x


class Named(nn.Module):
    """Holds layers under the names that the checkpoint uses (ca.ca.0, sa.sa, pa.pa2)."""

    def __init__(self, **layers):
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)


class Attention(nn.Module):
    """CGA: one weight in (0,1) per pixel and channel, from channel, spatial and pixel parts."""

    def __init__(self, dim, reduction):
        super().__init__()
        self.ca = Named(ca=nn.Sequential(nn.Conv2d(dim, dim // reduction, 1), nn.ReLU(),
                                         nn.Conv2d(dim // reduction, dim, 1)))
        self.sa = Named(sa=nn.Conv2d(2, 1, 7))
        self.pa = Named(pa2=nn.Conv2d(2 * dim, dim, 7, groups=dim))

    def attend(self, r):
        channel = self.ca.ca(r.mean(dim=(2, 3), keepdim=True))
        stats = torch.cat([r.mean(dim=1, keepdim=True), r.amax(dim=1, keepdim=True)], dim=1)
        spatial = self.sa.sa(F.pad(stats, (3, 3, 3, 3), mode="reflect"))
        both = torch.stack([r, spatial + channel], dim=2).flatten(1, 2)   # r0, A0, r1, A1, ...
        return torch.sigmoid(self.pa.pa2(F.pad(both, (3, 3, 3, 3), mode="reflect")))


class AttentionBlock(Block, Attention):
    """DEAB: the same body, gated by its own attention before the outer residual."""

    def __init__(self, dim, reduction=8):
        nn.Module.__init__(self)
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)
        gate = Attention(dim, reduction)
        self.ca, self.sa, self.pa = gate.ca, gate.sa, gate.pa

    def forward(self, x):
        r = self.inner(x)
        return r * self.attend(r) + x


class Mix(Attention):
    """Fusion of a skip x with the decoder's y; the second sigmoid is the authors' own."""

    def __init__(self, dim, reduction):
        super().__init__(dim, reduction)
        self.conv = nn.Conv2d(dim, dim, 1)

    def forward(self, x, y):
        total = x + y
        p = torch.sigmoid(self.attend(total))
        return self.conv(total + p * x + (1 - p) * y)


class DeaNet(nn.Module):
    """(N,3,H,W) -> (N,3,H,W), H and W multiples of 4, output not clamped."""

    def __init__(self, base=32):
        super().__init__()
        d1, d2, d3 = base, 2 * base, 4 * base
        up = dict(kernel_size=3, stride=2, padding=1, output_padding=1)
        self.down1 = nn.Sequential(nn.Conv2d(3, d1, 3, padding=1))
        self.down2 = nn.Sequential(nn.Conv2d(d1, d2, 3, stride=2, padding=1), nn.ReLU())
        self.down3 = nn.Sequential(nn.Conv2d(d2, d3, 3, stride=2, padding=1), nn.ReLU())
        self.fe_level_2 = nn.Conv2d(d2, d2, 3, padding=1)
        self.fe_level_3 = nn.Conv2d(d3, d3, 3, padding=1)
        self.up1 = nn.Sequential(nn.ConvTranspose2d(d3, d2, **up), nn.ReLU())
        self.up2 = nn.Sequential(nn.ConvTranspose2d(d2, d1, **up), nn.ReLU())
        self.up3 = nn.Sequential(nn.Conv2d(d1, 3, 3, padding=1))
        self.mix1 = Mix(d3, reduction=8)
        self.mix2 = Mix(d2, reduction=4)
        self._add_level("down_level1_block", 4, lambda: Block(d1))
        self._add_level("down_level2_block", 4, lambda: Block(d2))
        self._add_level("level3_block", 8, lambda: AttentionBlock(d3))
        self._add_level("up_level2_block", 4, lambda: Block(d2))
        self._add_level("up_level1_block", 4, lambda: Block(d1))

    def _add_level(self, name, count, make):
        for i in range(1, count + 1):
            self.add_module(f"{name}{i}", make())

    def _level(self, name, count, x):
        for i in range(1, count + 1):
            x = getattr(self, f"{name}{i}")(x)
        return x

    def forward(self, x):
        t1 = self._level("down_level1_block", 4, self.down1(x))
        d2 = self.down2(t1)
        t2 = self._level("down_level2_block", 4, self.fe_level_2(d2))
        d3 = self.down3(t2)
        t3 = self._level("level3_block", 8, self.fe_level_3(d3))
        u2 = self._level("up_level2_block", 4, self.up1(self.mix1(d3, t3)))
        u1 = self._level("up_level1_block", 4, self.up2(self.mix2(d2, u2)))
        return self.up3(u1)


# ---- load, check, export ---------------------------------------------------------------------

def read_state(path):
    """State dict of a .pk/.pth/.pt checkpoint; pickles are read with weights_only."""
    data = torch.load(path, map_location="cpu", weights_only=True)
    for wrapper in ("state_dict", "model", "params"):
        if wrapper in data and isinstance(data[wrapper], dict):
            data = data[wrapper]
    if data and all(key.startswith("module.") for key in data):
        data = {key[len("module."):]: value for key, value in data.items()}
    return data


def load(path, dtype=torch.float32):
    """Folded network in eval mode; the fold is in float64 and is rounded to dtype once."""
    state = fold_state(read_state(path))
    if "down1.0.weight" not in state:
        raise KeyError(f"{path}: no key down1.0.weight, so this is not a DEA-Net checkpoint")
    net = DeaNet(base=state["down1.0.weight"].shape[0]).to(dtype)
    net.load_state_dict({key: value.to(dtype) for key, value in state.items()}, strict=True)
    return net.eval()


def load_folded(path):
    """Float32 network from an already folded state dict, the quick way: no weight is initialised,
    copied or converted, so that a cold-start measurement is fair to PyTorch."""
    state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    with torch.device("meta"):
        net = DeaNet(base=state["down1.0.weight"].shape[0])
    net.load_state_dict(state, strict=True, assign=True)
    return net.eval()


def pad_to_4(x):
    height, width = x.shape[2:]
    return F.pad(x, (0, -width % 4, 0, -height % 4), mode="reflect")


def check_golden(path, golden):
    """Largest error of the float64 and float32 network against the authors' float64 output."""
    import numpy as np
    data = np.load(golden)
    x = torch.from_numpy(data["x"])
    expected = torch.from_numpy(data["y_raw_padded_f64"])
    errors = {}
    for dtype in (torch.float64, torch.float32):
        with torch.inference_mode():
            y = load(path, dtype)(pad_to_4(x.to(dtype)))
        errors[str(dtype).removeprefix("torch.")] = (y.double() - expected).abs().max().item()
    return errors


def export_onnx(net, height, width, path):
    """One fixed-shape ONNX file, weights inside: fixed shapes give each runtime its best plan."""
    import onnx
    program = torch.onnx.export(net, (torch.rand(1, 3, height, width),), dynamo=True,
                                input_names=["x"], output_names=["y"], opset_version=18,
                                verbose=False)
    program.save(str(path), external_data=False)
    onnx.checker.check_model(str(path))


def main():
    parser = argparse.ArgumentParser(description="check and export the folded DEA-Net")
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("--golden", type=pathlib.Path, help=".npz with x and y_raw_padded_f64")
    parser.add_argument("--onnx", type=pathlib.Path, help="write an ONNX file")
    parser.add_argument("--size", default="512x512", help="WxH of the ONNX file")
    args = parser.parse_args()
    if args.golden:
        errors = check_golden(args.checkpoint, args.golden)
        print("max error against the golden:", errors)
        if max(errors.values()) > GOLDEN_TOLERANCE:
            sys.exit(f"the folded network misses the golden (tolerance {GOLDEN_TOLERANCE})")
    if args.onnx:
        width, height = map(int, args.size.split("x"))
        export_onnx(load(args.checkpoint), height, width, args.onnx)
        print(f"wrote {args.onnx}")


if __name__ == "__main__":
    main()
