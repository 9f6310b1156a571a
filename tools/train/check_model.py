"""Checks model.py against outputs of the official DEA-Net code.

    python3 check_model.py TRAIN.pk IO.npz     (max difference < 1e-5)
"""
import sys

import numpy as np
import torch

import model


@torch.no_grad()
def main(checkpoint, io):
    net = model.load(checkpoint)
    data = np.load(io)
    y = model.restore(net, torch.from_numpy(data["x"])).numpy()
    worst = np.abs(y - data["y"]).max()
    print(f"{len(net.state_dict())} tensors, max difference {worst:.1e}")
    sys.exit(worst >= 1e-5)


if __name__ == "__main__":
    main(*sys.argv[1:])
