#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What gpu_check.sh found, as markdown for bench/results: gpu_summary.py OUT_DIR DEVICE. Files that a step
did not leave give no table; the table of steps says why."""
import datetime
import json
import os
import pathlib
import sys

TAIL = 12  # lines of a failed step


def read(path):
    """JSON of a file, or None: the step that writes it may have failed half way."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def number(value, digits=2):
    return "-" if value is None else f"{value:.{digits}f}"


def steps(out):
    rows = [line.split("\t") for line in (out / "steps.tsv").read_text().splitlines()]
    text = "## Steps\n" + table(["step", "result", "exit", "s", "output"],
                                [row + [f"{row[0]}.txt"] for row in rows])
    for name, word, *_ in rows:
        if word == "FAIL":
            lines = (out / f"{name}.txt").read_text(errors="replace").splitlines()
            text += f"\n\n{name} failed; the end of its output:\n\n    " + "\n    ".join(lines[-TAIL:])
    return text


def ceilings(out):
    torch, ops = read(out / "ceilings.json"), read(out / "bench_ops.json")
    rows = []
    if torch:
        rows.append([f"PyTorch {torch['torch']}", number(torch["f32_gflops"], 0), number(torch["bf16_gflops"], 0),
                     number(torch["copy_gbs"], 1)])
    if ops:
        top = ops["ceilings"]
        rows.append([f"bench_ops ({top['source']})", number(top["f32_gflops"], 0),
                     number(top["bf16_gflops"], 0), number(top["copy_gbytes"], 1)])
    return rows and "## Ceilings\n" + table(["by", "f32 GFLOP/s", "bf16 GFLOP/s", "copy GB/s"], rows)


def networks(out):
    """Refold and its peers, by model, size and precision."""
    rows = []
    for path in sorted(out.glob("net_*.json")):
        report = read(path)
        if report:
            model, size, precision = path.stem[4:].rsplit("_", 2)
            warm = report["warm"]
            rows.append([model, size, precision, "refold", warm["p50_ms"], warm["min_ms"],
                         report["first_run"]["p50_ms"], report["peak_bytes"] / 2**20])
    names = {"dea_net_demo.pth": "demo", "dea_b32_train.pk": "dea_b32"}
    for row in (read(out / "peers.json") or {"rows": []})["rows"]:
        rows.append([names.get(row["model"], row["model"]), row["size"], row["precision"], row["contender"],
                     row["p50_ms"], row["min_ms"], row["first_ms"], row["peak_mib"]])
    rows = [row[:4] + [number(value) for value in row[4:]] for row in sorted(rows, key=lambda row: row[:3])]
    note = ("\n\nRefold's times are those of a caller on the host, both copies between host and device among them; "
            "PyTorch's begin and end on the device. Compare devices by the profiles.")
    head = ["model", "size", "precision", "by", "p50 ms", "min ms", "first run ms", "peak MiB"]
    return rows and "## Networks\n" + table(head, rows) + note


def profiles(out):
    texts = [path.read_text().replace(f"{out}/", "") for path in sorted(out.glob("net_*.profile.md"))]
    return texts and "## Profiles (one first run)\n" + "\n".join(texts).rstrip()


def kernels(out):
    sections = []
    for name, what in (("bench_ops", "tensors in the cache where they fit"), ("bench_ops_cold", "tensors in memory")):
        report = read(out / f"{name}.json")
        if report:
            rows = [[r["node"], r["form"], r["kernel"], number(r["min_us"], 1), number(r["p50_us"], 1),
                     number(r["gflops"], 0), number(r["gbytes"], 0), f"{100 * r['share']:.0f}%"]
                    for r in report["results"]]
            head = ["node", "form", "kernel", "min us", "p50 us", "GFLOP/s", "GB/s", "share"]
            sections.append(f"## Kernels, {what}\n" + table(head, rows))
    return "\n\n".join(sections)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    out, device = pathlib.Path(sys.argv[1]), sys.argv[2]
    props = read(out / "device.json") or {}
    ops = read(out / "bench_ops.json") or {}
    print(f"# Refold on {props.get('deviceName', 'an unknown device')}\n")
    print(f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC, commit "
          f"{os.environ.get('RF_COMMIT', 'unknown')}, device `{device}`: {ops.get('isa', 'unknown versions')}.")
    if device == "sim":
        print("\n**Emulated GPU: all times and rates below mean nothing.**")
    for section in (steps, ceilings, networks, profiles, kernels):
        text = section(out)
        if text:
            print("\n" + text)


if __name__ == "__main__":
    main()
