# SPDX-License-Identifier: Apache-2.0
"""One peer runtime in one process, driven by line JSON on stdin and stdout (see README.md).

    python peer_worker.py onnxruntime|openvino|pytorch PRECISION THREADS

The libraries are imported before the `ready` line, the model is touched only after it: memory and
the second cold-start figure count from there.
"""
import json
import os
import pathlib
import sys
import time


class OnnxRuntime:
    def __init__(self, precision, threads):
        import onnxruntime
        if precision != "f32":
            raise ValueError("onnxruntime has no bf16 kernels for x86 CPUs")
        self.lib, self.threads = onnxruntime, threads
        self.version = onnxruntime.__version__

    def load(self, folder, size, x):
        options = self.lib.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = self.lib.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = self.lib.InferenceSession(str(folder / f"dea_{size}.onnx"), options,
                                                 providers=["CPUExecutionProvider"])
        self.x = x

    def run(self):
        return self.session.run(None, {"x": self.x})[0]


class OpenVino:
    def __init__(self, precision, threads):
        # Without its telemetry, which forks a process at import that outlives a killed worker.
        sys.modules["openvino_telemetry"] = None
        import openvino
        self.lib = openvino
        self.version = openvino.__version__
        self.config = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads,
                       "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}

    def load(self, folder, size, x):
        core = self.lib.Core()
        compiled = core.compile_model(str(folder / f"dea_{size}.xml"), "CPU", self.config)
        self.request = compiled.create_infer_request()
        self.compiled, self.x = compiled, x

    def describe(self):
        """Which kernels it chose: a precision hint is a wish, this is what was done."""
        kernels = {}
        for op in self.compiled.get_runtime_model().get_ordered_ops():
            info = op.get_rt_info()
            if info["layerType"].value in ("Convolution", "Deconvolution"):
                kernel = info["primitiveType"].value
                kernels[kernel] = kernels.get(kernel, 0) + 1
        hint = self.compiled.get_property("INFERENCE_PRECISION_HINT")
        return {"precision": hint.to_string(), "convolutions": kernels}

    def run(self):
        result = self.request.infer({0: self.x}, share_inputs=True, share_outputs=True)
        return result[0]


class PyTorch:
    def __init__(self, precision, threads):
        import torch

        import dea_net
        torch.set_num_threads(threads)
        self.lib, self.dea_net = torch, dea_net
        self.version = torch.__version__
        self.dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[precision]

    def load(self, folder, size, x):
        net = self.dea_net.load_folded(folder / "folded.pt")
        self.net = net.to(dtype=self.dtype, memory_format=self.lib.channels_last)
        self.x = self.lib.from_numpy(x)

    def run(self):
        torch = self.lib
        with torch.inference_mode():
            x = self.x.to(dtype=self.dtype, memory_format=torch.channels_last)
            return self.net(x).float().contiguous().numpy()


ENGINES = {"onnxruntime": OnnxRuntime, "openvino": OpenVino, "pytorch": PyTorch}


def serve(engine, requests, reply):
    import numpy as np
    y = None
    for line in requests:
        request = json.loads(line)
        command = request["cmd"]
        if command == "load":
            width, height = request["width"], request["height"]
            x = np.fromfile(request["input"], dtype=np.float32).reshape(1, 3, height, width)
            engine.load(pathlib.Path(request["model"]), f"{width}x{height}", x)
            reply(ok=True)
        elif command == "run":
            start = time.perf_counter()
            y = engine.run()
            reply(ok=True, s=time.perf_counter() - start)
        elif command == "save":
            np.ascontiguousarray(y, dtype=np.float32).tofile(request["output"])
            reply(ok=True)
        elif command == "describe":
            reply(ok=True, **(engine.describe() if hasattr(engine, "describe") else {}))
        elif command == "quit":
            return
        else:
            reply(ok=False, error=f"unknown command {command}")


def main():
    # The libraries may print on stdout; the protocol keeps the real one to itself.
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def reply(**fields):
        channel.write(json.dumps(fields) + "\n")

    try:
        import numpy  # noqa: F401  (its import belongs before `ready`)
        name, precision, threads = sys.argv[1:]
        engine = ENGINES[name](precision, int(threads))
        reply(ready=True, version=engine.version)
        serve(engine, sys.stdin, reply)
    except Exception as error:  # the driver reports it and carries on with the other contenders
        reply(ok=False, error=f"{type(error).__name__}: {error}")
        raise


if __name__ == "__main__":
    main()
