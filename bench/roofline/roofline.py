#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long a network should take on an H200, by arithmetic. NOTHING HERE IS MEASURED.

    python3 tools/dev/cuda_static.py --json static.json --markdown static.md
    REFOLD_SIM_MODULE=build/librefold_sim.so python3 bench/roofline/roofline.py \
        --refold build/tools/cli/refold --model MODEL --static static.json [--markdown FILE]

The plan is the product's own: `refold info --device sim --explain --json` plans for the emulated
GPU, without running, and says which kernel each node got and what it reads and writes. The
instruction counts are those of tools/dev/cuda_static.py. What the two do not tell is assumed; the
assumptions are the constants below, and are printed with the result.

A step takes the larger of memory and calculation (overlapped), or their sum (apart: no overlap at
all); a real kernel lies between, if the assumptions hold. The floor knows no kernels: every
tensor moves once at the full bandwidth, every multiply-add runs at the full rate.
"""
import argparse
import datetime
import json
import pathlib
import subprocess
import sys

BANDWIDTH, TENSOR_RATE, FLOAT_RATE = 4.3e12, 790e12, 55e12  # B/s, FLOP/s; design/cuda.md 3.3
SMS, CLOCK = 132, 1.7e9
REACHED = 0.85        # of the bandwidth, and of the busiest unit's clocks
CUDNN_REACHED = 0.65  # of TENSOR_RATE
STATIC_MMA = 0.62     # mma.sync, of the tensor cores' peak: MMA_CLOCKS in cuda_static.py
GAP = 2e-6            # s, between the launches of a graph
EPILOGUE = 400        # instructions of a warp of conv_tile for a tile of 64 pixels x 32 channels
LAUNCHES = {"pixel_attention_mma": 2, "channel_stats_rows": 2, "phases": 4}

ASSUMPTIONS = f"""\
- H200: {BANDWIDTH / 1e12} TB/s, {TENSOR_RATE / 1e12:.0f} TFLOP/s on tensor cores,
  {FLOAT_RATE / 1e12:.0f} TFLOP/s in f32 (design/cuda.md 3.3); {SMS} SMs at {CLOCK / 1e9} GHz.
- A kernel reaches {REACHED:.0%} of the bandwidth, and keeps the busiest of tensor cores, shared memory and
  schedulers busy for {REACHED:.0%} of its time; mma.sync reaches {STATIC_MMA:.0%} of the tensor cores' peak.
- The emulated GPU's stand-in for cuDNN takes what it is offered; a real cuDNN may refuse. Its
  convolutions reach {CUDNN_REACHED:.0%} of {TENSOR_RATE / 1e12:.0f} TFLOP/s.
- {GAP * 1e6:.0f} us per launch in a graph. One launch per node, but {', '.join(
    f'{n} per `{k}`' for k, n in LAUNCHES.items())}.
- A warp of `mma` spends {EPILOGUE} instructions on a tile after the last product.
- Every tensor is read and written in device memory once per node (`phases`: read by every launch);
  borders of tiles, and what L2 keeps between nodes, are left out. At 512x512 tensors fit into the
  L2, so memory is overestimated there.
- `channel_stats_rows`, `pad` and `copy` take the time of their memory."""


def div_up(a, b):
    return -(-a // b)


class Evidence:
    """Loops of the compiled f16 kernels; mma: the share of the tensor cores' peak that mma.sync
    reaches, if it is not what cuda_static.py takes."""

    def __init__(self, static, mma=STATIC_MMA):
        self.kernels = {k["name"].rstrip("("): k for k in static["kernels"]}
        self.slower = STATIC_MMA / mma

    def loop(self, name):
        if name not in self.kernels:
            sys.exit(f"the static evidence has no kernel '{name}': made by another version?")
        loop = self.kernels[name]["loop"]
        tensor = loop["clocks"]["tensor"] * self.slower
        return {**loop, "clocks": {**loop["clocks"], "tensor": tensor}}


def pixels_of(tensor):
    n, _, h, w = tensor["dims"]
    return n * h * w


def uneven(blocks):
    """SMs that have one block more than others decide."""
    share = blocks / SMS
    return div_up(blocks, SMS) / share if blocks else 1


def seconds(warps, clocks, blocks):
    return warps * clocks / (SMS * CLOCK * REACHED) * uneven(blocks)


def conv_tile_seconds(step, evidence):
    """The tensor core convolutions, and that to few channels: conv_tile.c's choice, in short."""
    out, (rows, ic, kh, kw) = step["out"][0], step["in"][1]["dims"]
    transposed = step["op"] == "conv_transpose2d"
    oc, ic = (ic, rows) if transposed else (rows, ic)
    pixels = pixels_of(step["in"][0] if transposed else out)
    if oc <= 4:
        loop = evidence.loop("fma_few<__half>")
        warps = step["macs"] / oc * 4 / (loop["ffma"] * 32)
        return seconds(warps, max(loop["clocks"].values()), div_up(pixels, 256)), "fma_few"
    bn = 128 if oc % 128 == 0 else 64 if oc % 64 == 0 else 32
    channels, chunks = div_up(oc, bn) * bn, div_up(ic, 32)
    kernel = "mma_resident" if bn <= 64 and kh * kw * chunks * bn * 64 <= 76 * 1024 else "mma_stream"
    loop = evidence.loop(kernel + "<__half>")
    passes = kh * kw * chunks * 32 / loop["mix"]["HMMA"]  # a pass of 32 HMMA: one tap and chunk
    bm = 256
    while bm > 64 and div_up(pixels, bm) * (channels // bn) < SMS:
        bm //= 2
    tiles = div_up(pixels, bm) * (channels // bn)
    warps = tiles * bm * bn // (64 * 32)
    clocks = {unit: n * passes for unit, n in loop["clocks"].items()}
    clocks["issue"] += EPILOGUE / 4 * (4 if transposed else 1)
    return seconds(warps, max(clocks.values()), tiles), kernel


def stem_seconds(step, evidence):
    loop = evidence.loop("conv_stem")
    warps = step["macs"] / (loop["ffma"] * 32)
    return seconds(warps, max(loop["clocks"].values()), div_up(pixels_of(step["out"][0]), 256))


def attention_seconds(step, evidence):
    """A warp of pa_half makes 256 pixels x 4 channels, one of pa_s 128 pixels."""
    x, k = step["out"][0], step["in"][3]["dims"][2]
    c, tiles = x["dims"][1], x["dims"][0] * div_up(x["dims"][2], 16) * div_up(x["dims"][3], 16)
    time = 0
    for name, warps, blocks in ((f"pa_half<__half, {k}>", tiles * div_up(c, 4), tiles * div_up(c, 32)),
                                (f"pa_s<__half, {k}>", tiles * 2, div_up(tiles, 2))):
        time += seconds(warps, max(evidence.loop(name)["clocks"].values()), blocks)
    return time


def bytes_of(step, read_again=1):
    """Inputs once per memory, weights as f16 where tensor cores take them; outputs."""
    inputs = {t["memory"]: t for t in step["in"] if t}
    kept = sum(t["bytes"] * (read_again if t["stored"] != "const" else 1) for t in inputs.values())
    return kept + sum(t["bytes"] for t in step["out"]) + 2 * step["scratch_bytes"]


def predict(step, evidence):
    """Seconds of one node: floor, memory, calculation; and its row in the table."""
    kernel = step["kernel"].split(".", 1)[1]
    launches = LAUNCHES.get(kernel, 1)
    floor_bytes = bytes_of({**step, "scratch_bytes": 0})
    on_cores = kernel in ("stem", "fma")
    floor = max(floor_bytes / BANDWIDTH, 2 * step["macs"] / (FLOAT_RATE if on_cores else TENSOR_RATE))
    row, compute = kernel, 0
    if kernel in ("mma", "phases"):
        compute, used = conv_tile_seconds(step, evidence)
        row = f"{kernel} ({used}) {step['in'][0]['dims'][1]} to {step['out'][0]['dims'][1]}"
    elif kernel == "stem":
        compute = stem_seconds(step, evidence)
    elif kernel == "pixel_attention_mma":
        compute = attention_seconds(step, evidence)
        row = f"{kernel}, {step['out'][0]['dims'][1]} channels"
    elif kernel == "cudnn_conv":
        compute = 2 * step["macs"] / (TENSOR_RATE * CUDNN_REACHED)
    elif kernel == "fma":
        row = "fma (channel attention, 1x1)"
    memory = bytes_of(step, launches if kernel == "phases" else 1) / (BANDWIDTH * REACHED)
    return {"row": row, "launches": launches, "floor": floor, "memory": memory, "compute": compute,
            "overlapped": max(memory, compute) + launches * GAP,
            "apart": memory + compute + launches * GAP, "bytes": floor_bytes, "macs": step["macs"],
            "gap": launches * GAP}


def summary(parts):
    keys = ("launches", "floor", "memory", "compute", "gap", "overlapped", "apart", "bytes", "macs")
    return {"nodes": len(parts), **{key: sum(p[key] for p in parts) for key in keys}}


def bound_of(row):
    return max(("memory", "compute", "gap"), key=lambda k: row[k])


def cells(name, row):
    return (f"| {name} | {row['nodes']} | {row['launches']} | {row['bytes'] / 1e6:.1f} | "
            f"{2 * row['macs'] / 1e9:.1f} | {row['floor'] * 1e3:.3f} | {row['memory'] * 1e3:.3f} | "
            f"{row['compute'] * 1e3:.3f} | {row['gap'] * 1e3:.3f} | {row['overlapped'] * 1e3:.2f} | "
            f"{row['apart'] * 1e3:.2f} | {row['floor'] / row['overlapped']:.0%} | {bound_of(row)} |")


def varied(steps, static):
    """The totals if mma.sync is slower or faster than assumed."""
    totals = []
    for mma in (0.5, 0.8):
        other = Evidence(static, mma)
        ms = sum(predict(step, other)["overlapped"] for step in steps) * 1e3
        totals.append(f"{ms:.2f} ms with mma.sync at {mma:.0%} of the peak")
    return "Overlapped, predicted, never measured: " + ", ".join(totals) + "."


def table(size, steps, static):
    rows, evidence = {}, Evidence(static)
    for step in steps:
        part = predict(step, evidence)
        rows.setdefault(part["row"], []).append(part)
    total = summary([part for parts in rows.values() for part in parts])
    lines = [f"## {size}: predicted, never measured", "",
             f"Predicted {total['overlapped'] * 1e3:.2f} ms (overlapped) to {total['apart'] * 1e3:.2f} ms "
             f"(apart); floor {total['floor'] * 1e3:.2f} ms, "
             f"{total['floor'] / total['overlapped']:.0%} of the prediction. All figures of this table "
             "are predicted, never measured.", "", varied(steps, static), "",
             "| kernel | nodes | launches | MB | GFLOP | floor ms | predicted: memory ms | compute ms | gaps ms | "
             "overlapped ms | apart ms | floor / overlapped | bound |",
             "|---|---|---|---|---|---|---|---|---|---|---|---|---|"]
    sums = {name: summary(parts) for name, parts in rows.items()}
    lines += [cells(name, row) for name, row in
              sorted(sums.items(), key=lambda item: -item[1]["overlapped"])]
    return lines + [cells("total, predicted, never measured", total), ""]


def plan_of(args, width, height):
    command = [args.refold, "info", "-m", args.model, "--device", args.device, "--precision", "f16",
               "--shape", f"1x3x{height}x{width}", "--explain", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def report(args, static):
    lines = ["# DEA-Net on an H200: predicted, never measured", "",
             "No GPU was there. Every time below follows from the plan of the product, the "
             "instructions of the compiled kernels and the assumptions listed; none was measured, and "
             "none may be quoted as a result. Bytes and GFLOP are exact counts of the plan.", "",
             "    python3 bench/roofline/roofline.py " + " ".join(sys.argv[1:]), "",
             f"Static evidence: {static['nvcc']}, commit {static['commit']}, by tools/dev/cuda_static.py. "
             f"Made on {datetime.date.today().isoformat()}.", "", "Assumptions:", "", ASSUMPTIONS, "",
             "design/cuda.md 3.3 has floors of 0.49, 3.9 and 15.6 ms and targets of 0.9, 6 and 24 ms "
             "for 512x512, 1080p and 4K, counted by hand (attention as f32, no padding and cropping).",
             ""]
    for size in args.sizes.split(","):
        width, height = (int(n) for n in size.split("x"))
        lines += table(size, plan_of(args, width, height)["steps"], static)
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--refold", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--static", required=True, help="JSON of tools/dev/cuda_static.py")
    parser.add_argument("--device", default="sim", help="whose plan (sim, or cuda where one is)")
    parser.add_argument("--sizes", default="512x512,1920x1080,3840x2160", help="WxH,...")
    parser.add_argument("--markdown", metavar="FILE", help="instead of standard output")
    args = parser.parse_args()
    text = report(args, json.loads(pathlib.Path(args.static).read_text()))
    if args.markdown:
        pathlib.Path(args.markdown).write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
