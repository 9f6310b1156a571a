#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes goldens.npz: what PyTorch, NumPy and the ONNX reference evaluator say about every op of
runtime/core/op.def, in float64. kernels/ref is the oracle of all other kernels, so it needs a judge
that has not read it: this file is written from the text of op.def and from the papers and
documentation of those projects, never from kernels/.

    python3 tests/ops/goldens/make_goldens.py      (PyTorch, NumPy, onnx)

goldens.npz holds three arrays: `cases`, lines of text

    <op> <case> | <key=value ...> | <input> ... | <output> ...

where a tensor is dtype:dims ("f:2x3", "i64:s" has rank 0, "-" is absent) and dtype f means "any
float dtype, the same numbers"; `reals` and `ints`, the elements of all float and all other tensors,
one after the other. Inputs are multiples of 1/64 below 2: exact in f32 and bf16, so that one golden
serves every storage dtype, and small when compressed.
"""
import pathlib
import sys

import numpy as np

import attention
import elementwise
import linear
import movement
import writer

here = pathlib.Path(__file__).resolve().parent


def main():
    for module in (linear, movement, elementwise, attention):
        for name, make in vars(module).items():
            if name.endswith("_cases"):
                make()
    np.savez_compressed(here / "goldens.npz",
                        cases=np.frombuffer("\n".join(writer.lines).encode(), np.uint8),
                        reals=np.concatenate(writer.reals), ints=np.concatenate(writer.ints))
    n_reals, n_ints = sum(map(len, writer.reals)), sum(map(len, writer.ints))
    print(f"{len(writer.lines)} cases, {n_reals} reals, {n_ints} integers", file=sys.stderr)


if __name__ == "__main__":
    main()
