#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the same DEA-Net in Refold, ONNX Runtime, OpenVINO and PyTorch and prints a table.

    python bench/peers/peers.py --refold build/tools/cli/refold --model CKPT [--json OUT]

Each contender has a process of its own, so that memory is separate, and the rounds are
interleaved (A, B, C, A, B, C ...), so that a slow minute of the machine hits all of them.
README.md says how to read the result.
"""
import argparse
import hashlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

import contenders
import report

HERE = contenders.HERE
DEFAULT_ROUNDS, DEFAULT_COLD_ROUNDS = 9, 3
REFERENCE = "pytorch f32"
# Root mean square difference from the reference, as a share of its standard deviation.
MAX_RMS_OF_STD = {"f32": 1e-4, "bf16": 0.03}


def say(text):
    print(text, file=sys.stderr, flush=True)


def parse_size(text):
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit()) or int(width) % 4 or int(height) % 4:
        raise argparse.ArgumentTypeError(f"'{text}': expected WxH, both multiples of 4")
    if min(int(width), int(height)) < 16:
        raise argparse.ArgumentTypeError(f"'{text}': DEA-Net needs at least 16x16")
    return int(width), int(height)


def parse_counts(least):
    """'N' for every size, or 'WxH=N,...' with an optional plain N for the rest: {size or None: N}."""
    def parse(text):
        counts = {}
        for part in text.split(","):
            size, equals, count = part.rpartition("=")
            key = parse_size(size) if equals else None
            if not count.isdigit() or int(count) < least or key in counts:
                raise argparse.ArgumentTypeError(
                    f"'{part}': expected N or WxH=N, once for each size, N at least {least}")
            counts[key] = int(count)
        return counts
    return parse


def count_for(counts, size, default):
    return counts.get(size, counts.get(None, default))


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, required=True,
                        help="DEA-Net checkpoint, unfolded or folded")
    parser.add_argument("--refold", type=pathlib.Path,
                        help="the refold command of a build; without it only the peers run")
    parser.add_argument("--refold-worker", type=pathlib.Path,
                        help="default: bench/peers/refold_worker in the build of --refold")
    parser.add_argument("--sizes", default="512x512,1920x1080",
                        type=lambda text: [parse_size(part) for part in text.split(",")])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=parse_counts(1), default={}, metavar="N|WxH=N,...",
                        help="timed runs of each contender, for all sizes or by size "
                        f"(default {DEFAULT_ROUNDS})")
    parser.add_argument("--cold-rounds", type=parse_counts(0), default={}, metavar="N|WxH=N,...",
                        help=f"cold starts, likewise; 0: none (default {DEFAULT_COLD_ROUNDS})")
    parser.add_argument("--only", help="comma-separated parts of contender names, "
                        "such as 'refold,openvino bf16'")
    parser.add_argument("--work", type=pathlib.Path, help="folder for exported models "
                        "(default: refold-peers in the user's cache folder)")
    parser.add_argument("--json", type=pathlib.Path, metavar="OUT")
    args = parser.parse_args()
    if args.threads < 1:
        parser.error(f"--threads {args.threads}: expected at least 1")
    for name, counts in (("--rounds", args.rounds), ("--cold-rounds", args.cold_rounds)):
        for width, height in set(counts) - {None} - set(args.sizes):
            parser.error(f"{name}: {width}x{height} is not one of --sizes")
    if not args.model.is_file():
        parser.error(f"--model {args.model}: no such file")
    return args


# ---- preparation -----------------------------------------------------------------------------

def find_worker(args):
    """The C worker sits in the same build as the command line."""
    if args.refold_worker:
        if not args.refold_worker.exists():
            sys.exit(f"--refold-worker {args.refold_worker}: no such file")
        return args.refold_worker.resolve()
    for folder in args.refold.resolve().parents:
        if (folder / "bench/peers/refold_worker").exists():
            return folder / "bench/peers/refold_worker"
    sys.exit(f"no bench/peers/refold_worker in the build of {args.refold}: build it, or name it "
             "with --refold-worker")


def prepare(args):
    """Exports the model for the peers; the folder depends on the checkpoint's content."""
    digest = hashlib.sha256(args.model.read_bytes()).hexdigest()[:12]
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
    folder = (args.work or cache / "refold-peers").resolve() / f"{digest}-centred"
    say(f"exporting to {folder} where not there yet")
    subprocess.run([sys.executable, str(HERE / "prepare.py"), str(args.model.resolve()),
                    str(folder)] + [f"{w}x{h}" for w, h in sorted(set(args.sizes))], check=True,
                   stdout=sys.stderr)
    return folder


def list_contenders(args, folder):
    found = contenders.peers(args.threads, folder)
    if args.refold or args.refold_worker:
        found += contenders.refold(args.threads, find_worker(args), folder / "model.pth")
    if args.only:
        wanted = args.only.split(",")
        found = [c for c in found if any(part in c.name for part in wanted)]
    if not found:
        sys.exit(f"--only {args.only}: no such contender")
    return found


def input_path(folder, size):
    return folder / f"x_{size[0]}x{size[1]}.f32"


# ---- measurements ----------------------------------------------------------------------------

def cold_start(contender, folder, size):
    """Seconds to the first result, from the start of the process and from its `ready`."""
    worker = contenders.Worker(contender)
    try:
        worker.load(size, input_path(folder, size))
        worker.ask("run")
        done = time.perf_counter()
        return done - worker.started, done - worker.ready
    finally:
        worker.close()


def cold_starts(entries, folder, size, rounds, failures):
    """Interleaved like the warm rounds; the first round only warms the page cache."""
    times = {c.name: [] for c in entries}
    for index in range(rounds + 1 if rounds else 0):
        say(f"{size[0]}x{size[1]}: cold start, round {index} of {rounds}")
        for contender in entries:
            if contender.name in failures:
                continue
            try:
                result = cold_start(contender, folder, size)
            except contenders.ContenderError as error:
                failures[contender.name] = str(error)
                continue
            if index > 0:
                times[contender.name].append(result)
    return {name: tuple(statistics.median(part) for part in zip(*runs))
            for name, runs in times.items() if runs}


def start_workers(entries, folder, size, failures):
    """Loads every contender and runs it once, one after the other; all end up stopped."""
    workers = {}
    for contender in entries:
        if contender.name in failures:
            continue
        try:
            worker = contenders.Worker(contender)
        except contenders.ContenderError as error:
            failures[contender.name] = str(error)
            continue
        workers[contender.name] = worker
        try:
            worker.load(size, input_path(folder, size))
            worker.ask("run")
            worker.pause()
        except contenders.ContenderError as error:
            failures[contender.name] = str(error)
            workers.pop(contender.name).close()
    return workers


def timed_rounds(workers, rounds, failures):
    times = {name: [] for name in workers}
    for index in range(rounds):
        for name, worker in workers.items():
            if name in failures:
                continue
            try:
                worker.resume()
                times[name].append(worker.ask("run")["s"])
                worker.pause()
            except contenders.ContenderError as error:
                failures[name] = str(error)
        say(f"  round {index + 1} of {rounds}")
    return times


def collect(worker, shape):
    """What is known only at the end: peak, output, and the kernels that were chosen."""
    peak = worker.peak_mib()        # before the output and the description are asked for
    worker.resume()
    with tempfile.NamedTemporaryFile(suffix=".f32") as file:
        worker.ask("save", output=file.name)
        output = np.fromfile(file.name, dtype=np.float32)
    if output.size != np.prod(shape):
        raise contenders.ContenderError(f"{worker.name}: output has {output.size} values, "
                                        f"expected {np.prod(shape)}")
    return peak, output, worker.ask("describe")


def reference_output(entries, folder, size):
    """PyTorch's f32 output where it is not one of the contenders."""
    workers = start_workers(entries, folder, size, {})
    try:
        return collect(workers[REFERENCE], (3, size[1], size[0]))[1] if workers else None
    finally:
        for worker in workers.values():
            worker.close()


def measure_size(entries, folder, size, rounds, failures):
    """Rows of the table for one size."""
    name = f"{size[0]}x{size[1]}"
    say(f"{name}: loading {len(entries)} contenders")
    workers = start_workers(entries, folder, size, failures)
    rows, outputs = [], {}
    try:
        times = timed_rounds(workers, rounds, failures)
        for contender in entries:
            if contender.name in failures:
                continue
            worker = workers[contender.name]
            try:
                peak, output, detail = collect(worker, (3, size[1], size[0]))
            except contenders.ContenderError as error:
                failures[contender.name] = str(error)
                continue
            finally:
                worker.close()
            outputs[contender.name] = output
            detail.pop("ok", None)
            rows.append({"contender": contender.name, "engine": contender.engine,
                         "precision": contender.precision, "size": name,
                         **report.summary(times[contender.name]), "peak_mib": peak,
                         "idle_mib": worker.idle_mib, "version": worker.version,
                         "detail": detail, "times_s": times[contender.name]})
    finally:
        for worker in workers.values():
            worker.close()
    return rows, outputs


def add_differences(rows, outputs, reference, failures):
    """Distance of every output from the reference, both clamped. Too far is a failure: the row stays in the
    table but meets no bar, so that nobody wins by computing something else."""
    if reference is not None:
        reference = np.clip(reference, 0, 1)
        if np.mean((reference > 0) & (reference < 1)) < 0.5:
            sys.exit("more than half of the reference output is clamped: nothing to compare")
    for row in rows:
        row["max_diff"] = row["rms_diff"] = row["rms_of_std"] = None
        row["wrong"] = False
        if reference is None:
            continue
        # Refold's network ends like the authors' program, with a clamp; the exported module does not.
        delta = np.clip(outputs[row["contender"]], 0, 1).astype(np.float64) - reference
        row["max_diff"] = float(np.abs(delta).max())
        row["rms_diff"] = float(np.sqrt(np.mean(delta * delta)))
        row["rms_of_std"] = row["rms_diff"] / float(reference.std(dtype=np.float64))
        limit = MAX_RMS_OF_STD[row["precision"]]
        row["wrong"] = not row["rms_of_std"] <= limit      # also for NaN
        if row["wrong"]:
            failures[f"{row['contender']} {row['size']}"] = (
                f"{row['contender']}: output at {row['size']} is {row['rms_of_std']:.2g} of the "
                f"reference's standard deviation away from {REFERENCE}, limit {limit}")


def main():
    args = parse_args()
    folder = prepare(args)
    entries = list_contenders(args, folder)
    torch_f32 = [c for c in contenders.peers(args.threads, folder) if c.name == REFERENCE]
    env = report.environment(args.threads, args.refold)
    failures, rows = {}, []
    for size in args.sizes:
        cold = cold_starts(entries, folder, size,
                           count_for(args.cold_rounds, size, DEFAULT_COLD_ROUNDS), failures)
        measured, outputs = measure_size(entries, folder, size,
                                         count_for(args.rounds, size, DEFAULT_ROUNDS), failures)
        if REFERENCE not in outputs:
            outputs[REFERENCE] = reference_output(torch_f32, folder, size)
        add_differences(measured, outputs, outputs[REFERENCE], failures)
        for row in measured:
            row["cold_s"], row["cold_after_ready_s"] = cold.get(row["contender"], (None, None))
        rows += measured

    env["load_average_after"] = os.getloadavg()
    found = report.bars(rows)
    print(report.headline(env) + "\n\n" + report.table(rows))
    if found:
        print("\n" + report.bar_table(found))
    for error in failures.values():
        print(f"\nFAILED {error}")
    if args.json:
        args.json.write_text(json.dumps({"env": env, "rows": rows, "bars": found,
                                         "failures": failures}, indent=2) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
