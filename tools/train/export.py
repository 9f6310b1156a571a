"""Turns a training result into the file that is shipped.

    python3 export.py WORK/run/final.pth ../demo/dea_net_demo.pth

Writes {"model": unfolded float32 state dict, ...plain facts} with every tensor
in its own storage and in ordinary order (training uses channels_last strides),
then checks the written file: keys, finiteness, and that folding each DEConv to
one convolution leaves the output as it was.
"""
import os
import sys

import torch
import torch.nn as nn

import model

MAX_BYTES = 20 << 20


def plain(tensor):
    return torch.empty(tensor.shape, dtype=torch.float32).copy_(tensor)


def write(source, target):
    data = torch.load(source, map_location="cpu", weights_only=True)
    state = {k: plain(v) for k, v in data.pop("model").items()}
    torch.save({"model": state, **data}, target)


def fold(net):
    """Replaces every DEConv by the one convolution it stands for."""
    for block in [m for m in net.modules() if isinstance(m, model.DEBlock)]:
        weight, bias = block.conv1.double().folded()
        conv = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
        conv.weight.data, conv.bias.data = weight.float(), bias.float()
        block.conv1 = conv
    return net


@torch.no_grad()
def check(path):
    state = model.load_state(path)
    assert len(state) == 388, len(state)
    assert all(v.dtype == torch.float32 and v.isfinite().all()
               for v in state.values())
    assert os.path.getsize(path) <= MAX_BYTES
    x = torch.rand(1, 3, 61, 50, generator=torch.Generator().manual_seed(1))
    before = model.restore(model.load(path), x)
    after = model.restore(fold(model.load(path)), x)
    print(f"{path}: {len(state)} tensors, "
          f"{sum(v.numel() for v in state.values())} parameters, "
          f"{os.path.getsize(path)} bytes, folded against unfolded "
          f"{(before - after).abs().max().item():.1e}")
    assert (before - after).abs().max() < 1e-5


if __name__ == "__main__":
    torch.set_num_threads(1)
    write(*sys.argv[1:])
    check(sys.argv[2])
