# SPDX-License-Identifier: Apache-2.0
"""Makes what the contenders read, once per checkpoint and size, in a process of its own.

Every peer gets its native, already folded form: a state dict for PyTorch, a fixed-shape ONNX file
for ONNX Runtime, OpenVINO's own IR (float32 weights) for OpenVINO, so that its cold start does not
pay for a conversion. Only Refold starts from the unfolded checkpoint. A file that exists is kept:
the folder's name holds the checkpoint's hash.

    python prepare.py CHECKPOINT FOLDER WxH...
"""
import logging
import os
import pathlib
import sys

import numpy as np
import torch

import dea_net

INPUT_SEED = 20240717
MODEL = "model.pth"    # what Refold gets: like the checkpoint, but for the last convolution


def write_once(path, write):
    """Calls write(temporary) and renames, so that an interrupted run leaves no half file."""
    if path.exists():
        return
    temporary = path.with_name("part-" + path.name)
    write(temporary)
    os.replace(temporary, path)


def write_ir(onnx_path, path):
    if path.exists():
        return
    sys.modules["openvino_telemetry"] = None    # a benchmark sends nothing home
    import openvino
    model = openvino.convert_model(str(onnx_path))
    part = path.with_name("part-" + path.name)
    openvino.save_model(model, str(part), compress_to_fp16=False)
    os.replace(part.with_suffix(".bin"), path.with_suffix(".bin"))
    os.replace(part, path)


def write_centred(checkpoint, path):
    """The checkpoint with its last convolution scaled so that outputs lie around 0.5 +- 0.1: Refold
    clamps to [0, 1] as the authors' program does, and what is clamped compares nothing."""
    state = dea_net.read_state(checkpoint)
    with torch.inference_mode():
        y = dea_net.load(checkpoint)(torch.rand(1, 3, 128, 128))
    scale = 0.1 / y.std()
    state["up3.0.weight"] = state["up3.0.weight"] * scale
    state["up3.0.bias"] = (state["up3.0.bias"] - y.mean((0, 2, 3))) * scale + 0.5
    torch.save({"model": state}, path)


def prepare(checkpoint, folder, sizes):
    folder.mkdir(parents=True, exist_ok=True)
    write_once(folder / MODEL, lambda path: write_centred(checkpoint, path))
    net = dea_net.load(folder / MODEL)
    write_once(folder / "folded.pt", lambda path: torch.save(net.state_dict(), path))
    for width, height in sizes:
        name = f"{width}x{height}"
        rng = np.random.default_rng([INPUT_SEED, width, height])
        x = rng.random((1, 3, height, width), dtype=np.float32)
        write_once(folder / f"x_{name}.f32", x.tofile)
        onnx_path = folder / f"dea_{name}.onnx"
        write_once(onnx_path, lambda path: dea_net.export_onnx(net, height, width, path))
        write_ir(onnx_path, folder / f"dea_{name}.xml")


if __name__ == "__main__":
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    prepare(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]),
            [tuple(map(int, size.split("x"))) for size in sys.argv[3:]])
