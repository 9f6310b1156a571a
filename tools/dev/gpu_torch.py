#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What PyTorch reaches on the same device: the bar that Refold is measured against.

    gpu_torch.py ceilings --json FILE
        copy bandwidth and matmul rates; prints F32_GFLOPS,BF16_GFLOPS,COPY_GBS for bench_ops --ceilings
    gpu_torch.py network CKPT [CKPT...] --sizes 512x512,1920x1080 --json FILE
        folded DEA-Net (bench/peers/dea_net.py), eager and torch.compile, channels_last, on random input

Times come from CUDA events around batches of runs, after warm-up; TF32 is off, so f32 is f32. --device cpu
is for testing this script. Exit code 77: no PyTorch, or none that sees a GPU.
"""
import argparse
import json
import pathlib
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench" / "peers"))
NOTHING = 77


def import_torch(device):
    try:
        import torch
    except ImportError as error:
        print(f"skipped: {error}", file=sys.stderr)
        sys.exit(NOTHING)
    if device == "cuda" and not torch.cuda.is_available():
        print(f"skipped: torch {torch.__version__} sees no GPU", file=sys.stderr)
        sys.exit(NOTHING)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    return torch


def seconds_of(torch, device, run, least_s=0.5, batch_s=0.02):
    """Times of one run: the shortest and the median over batches that hide the host."""
    def batch(n):
        if device != "cuda":
            begin = time.perf_counter()
            for _ in range(n):
                run()
            return (time.perf_counter() - begin) / n
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(n):
            run()
        end.record()
        torch.cuda.synchronize()
        return begin.elapsed_time(end) / 1000 / n

    for _ in range(3):
        once = batch(1)
    n = max(1, min(200, round(batch_s / max(once, 1e-6))))
    times, stop = [batch(n)], time.perf_counter() + least_s
    while len(times) < 5 or (time.perf_counter() < stop and len(times) < 1000):
        times.append(batch(n))
    return {"min_ms": min(times) * 1e3, "p50_ms": statistics.median(times) * 1e3, "n": len(times),
            "runs_per_time": n}


def ceilings(torch, args):
    device, small = args.device, args.device != "cuda"
    result = {"torch": torch.__version__, "cuda": torch.version.cuda,
              "cudnn": torch.backends.cudnn.version(),
              "device": torch.cuda.get_device_name() if device == "cuda" else device}
    source = torch.randint(1, 1 << 30, (1 << (18 if small else 28),), dtype=torch.int32, device=device)
    target = torch.empty_like(source)
    copy = seconds_of(torch, device, lambda: target.copy_(source))
    result["copy_gbs"] = 2 * source.numel() * 4 / copy["min_ms"] * 1e-6
    del source, target
    for name, dtype, side in (("f32", torch.float32, 4096), ("bf16", torch.bfloat16, 8192),
                              ("f16", torch.float16, 8192)):
        side = 128 if small else side
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        out = torch.empty_like(a)
        times = seconds_of(torch, device, lambda: torch.mm(a, b, out=out))
        result[f"{name}_gflops"] = 2 * side ** 3 / times["min_ms"] * 1e-6
    print(f"{result['f32_gflops']:.0f},{result['bf16_gflops']:.0f},{result['copy_gbs']:.1f}")
    return result


def forms(torch, device):
    """What a user of PyTorch may try: (name, dtype, compiled)."""
    half = (("f16", torch.float16), ("bf16", torch.bfloat16)) if device == "cuda" else (
        ("bf16", torch.bfloat16),)
    for name, dtype in (("f32", torch.float32),) + half:
        for compiled in (False, True):
            yield name, dtype, compiled


def network_row(torch, args, path, size, name, dtype, compiled):
    import dea_net
    width, height = size
    net = dea_net.load(path).to(args.device, dtype=dtype, memory_format=torch.channels_last)
    x = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))
    x = x.to(args.device, dtype=dtype, memory_format=torch.channels_last)
    # reduce-overhead: CUDA graphs, as Refold's sessions use them. max-autotune takes minutes per form.
    torch.compiler.reset()
    run = torch.compile(net, mode=args.mode, dynamic=False) if compiled else net
    with torch.inference_mode():
        begin = time.perf_counter()
        run(x)
        if args.device == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        first = time.perf_counter() - begin
        times = seconds_of(torch, args.device, lambda: run(x), args.seconds)
    peak = torch.cuda.max_memory_allocated() / 2**20 if args.device == "cuda" else None
    return {"model": path.name, "contender": "torch.compile" if compiled else "torch eager",
            "precision": name, "size": f"{width}x{height}", "first_ms": first * 1e3,
            "peak_mib": peak, **times}


def network(torch, args):
    rows, failures = [], []
    for path in args.models:
        for size in args.sizes:
            for name, dtype, compiled in forms(torch, args.device):
                if compiled and args.no_compile:
                    continue
                try:
                    rows.append(network_row(torch, args, path, size, name, dtype, compiled))
                    print(json.dumps(rows[-1]), flush=True)
                except Exception as error:  # the other forms are of use without this one
                    failures.append(f"{path.name} {size} {name} compiled={compiled}: {error}")
                    print(f"FAILED {failures[-1]}", file=sys.stderr, flush=True)
    return {"torch": torch.__version__, "rows": rows, "failures": failures}


def parse_size(text):
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit()) or int(width) % 4 or int(height) % 4:
        raise argparse.ArgumentTypeError(f"'{text}': expected WxH, both multiples of 4")
    return int(width), int(height)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("ceilings", "network"))
    parser.add_argument("models", nargs="*", type=pathlib.Path)
    parser.add_argument("--sizes", default="512x512,1920x1080",
                        type=lambda text: [parse_size(part) for part in text.split(",")])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--seconds", type=float, default=1.0, help="of each form")
    parser.add_argument("--mode", default="reduce-overhead", help="of torch.compile")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--json", type=pathlib.Path, required=True)
    args = parser.parse_args()
    if (args.what == "network") != bool(args.models):
        parser.error("'network' needs checkpoints, 'ceilings' takes none")
    torch = import_torch(args.device)
    result = ceilings(torch, args) if args.what == "ceilings" else network(torch, args)
    args.json.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if result.get("failures") else 0


if __name__ == "__main__":
    sys.exit(main())
