#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the small checkpoints beside this file, as PyTorch itself writes them (made with 2.15):

    python make_pth.py

The tests state what is in them; nothing here runs in CI.
"""
import argparse
import collections
import pathlib
import pickle

import torch
from torch import nn

HERE = pathlib.Path(__file__).resolve().parent


def save(name, value, **options):
    torch.save(value, HERE / name, **options)


def small():
    """Two tensors, as they lie in many files below."""
    return collections.OrderedDict(w=torch.tensor([[1.0, -2.0], [3.0, 0.5]]), b=torch.tensor([4.0, -8.0]))


def dtypes():
    x = torch.tensor([1.0, -2.5, 96.0])
    n = torch.tensor([1, -2, 100])
    return {
        "f32": x, "f64": x.double(), "f16": x.half(), "bf16": x.bfloat16(),
        "i64": n * 2**40, "i32": n.int() * 2**20, "i16": n.short(), "i8": n.char(), "u8": n.abs().byte(),
        "bool": n > 0, "scalar": torch.tensor(7.25), "empty": torch.zeros(0, 3), "hollow": torch.zeros(2, 0, 3),
    }


def strides():
    plain = torch.arange(24.0).reshape(2, 3, 4)
    tied = torch.tensor([1.0, 2.0])
    return {
        "plain": plain, "permuted": plain.permute(2, 0, 1), "part": plain[1, 1:],
        "channels_last": torch.arange(24.0).reshape(1, 3, 2, 4).to(memory_format=torch.channels_last),
        "every_third": torch.arange(10.0)[2:9:3], "expanded": torch.tensor([5.0]).expand(3, 2),
        "tied_a": tied, "tied_b": tied,
    }


def training():
    torch.manual_seed(0)
    model = nn.Linear(1, 1)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 1)).sum().backward()
    optimizer.step()
    state = small()
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    return {
        "epoch": 12, "best": 0.25, "args": argparse.Namespace(lr=1e-3, name="x", sizes=[1, 2]),
        "tags": {"a", "b"}, "model": state, "optimizer": optimizer.state_dict(), "blob": b"\x00\xff",
        "defaults": collections.defaultdict(list, {"k": [1, None, True, -5, 2**40]}),
    }


def main():
    save("plain.pth", small())
    save("dtypes.pth", dtypes())
    save("unsigned.pth", {"u16": torch.tensor([1, 65535], dtype=torch.uint16),
                          "u32": torch.tensor([1, 2**32 - 1], dtype=torch.uint32),
                          "u64": torch.tensor([1, 2**63], dtype=torch.uint64)})
    save("strides.pth", strides())
    save("training.pk", training())
    save("params_ema.pth", {"params": {}, "params_ema": small()})
    save("module.pth", {"state_dict": {"module." + k: v for k, v in small().items()}})
    save("parameters.pth", {k: nn.Parameter(v) for k, v in small().items()})
    save("legacy.pth", strides(), _use_new_zipfile_serialization=False)
    save("legacy_training.pk", training(), _use_new_zipfile_serialization=False)
    # What must be refused.
    save("protocol4.pth", small(), pickle_protocol=4)
    save("module_object.pth", nn.Linear(1, 1))
    save("complex.pth", {"w": torch.tensor([1j])})
    save("sparse.pth", {"w": torch.eye(2).to_sparse()})
    save("quantized.pth", {"w": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)})
    (HERE / "pickle_dump.pkl").write_bytes(pickle.dumps(small(), protocol=2))
    torch.jit.script(nn.ReLU()).save(str(HERE / "script.pt"))


if __name__ == "__main__":
    main()
