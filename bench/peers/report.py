# SPDX-License-Identifier: Apache-2.0
"""Statistics, the environment block, the markdown table and the bars of the benchmark."""
import datetime
import importlib.metadata
import os
import pathlib
import platform
import statistics
import subprocess

FLAGS = ("avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx_vnni",
         "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8")
PACKAGES = ("numpy", "onnx", "onnxruntime", "openvino", "torch")

# Refold must need at most this fraction of what the peer needs.
BAR_F32, BAR_BF16, BAR_MEMORY, BAR_COLD = 0.40, 0.27, 0.55, 0.40


def percentile(values, share):
    """Linear interpolation between the two nearest runs."""
    ordered = sorted(values)
    at = share * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def summary(values):
    return {"median_s": statistics.median(values), "p10_s": percentile(values, 0.1),
            "p90_s": percentile(values, 0.9), "min_s": min(values), "n": len(values)}


# ---- environment -----------------------------------------------------------------------------

def output_of(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def cpu_info():
    info = {}
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        info.setdefault(key.strip(), value.strip())
    flags = set(info.get("flags", "").split())
    return {"model": info.get("model name", "unknown"), "family": info.get("cpu family", ""),
            "cores": len(os.sched_getaffinity(0)), "flags": [f for f in FLAGS if f in flags]}


def package_versions():
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def environment(threads, refold):
    root = str(pathlib.Path(__file__).resolve().parent)
    versions = package_versions()
    versions["refold"] = output_of(refold, "--version") if refold else None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "commit": output_of("git", "-C", root, "rev-parse", "HEAD"),
            "uncommitted_changes": bool(output_of("git", "-C", root, "status", "--porcelain")),
            "cpu": cpu_info(), "memory_mib": memory // 2**20, "kernel": platform.release(),
            "threads": threads, "versions": versions, "load_average_before": os.getloadavg()}


def headline(env):
    """One line above the table: which machine, and how busy it was with other work."""
    isa = "AMX" if "amx_tile" in env["cpu"]["flags"] else "no AMX"
    return (f"{env['cpu']['model']} ({isa}), {env['cpu']['cores']} cores, {env['threads']} "
            f"threads, {env['date']}, commit {env['commit'][:12] or 'none'}, load average before "
            f"{env['load_average_before'][0]:.1f} (above 0.2 the times are provisional)")


# ---- table -----------------------------------------------------------------------------------

def best_peer(rows, row, field):
    """Lowest value among the peers at the same size and precision."""
    values = [r[field] for r in rows if r["engine"] != "refold" and r[field] is not None
              and (r["size"], r["precision"]) == (row["size"], row["precision"])]
    return min(values, default=None)


def cell(value, form):
    return "-" if value is None else format(value, form)


def table(rows):
    head = ("contender", "size", "median s", "p10-p90 s", "min s", "n", "x best peer",
            "peak MiB", "cold s", "cold after imports s", "max diff", "rms diff")
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        best = best_peer(rows, row, "median_s")
        ratio = row["median_s"] / best if best else None
        cells = (row["contender"], row["size"], cell(row["median_s"], ".4g"),
                 f"{row['p10_s']:.4g}-{row['p90_s']:.4g}", cell(row["min_s"], ".4g"),
                 str(row["n"]), cell(ratio, ".2f"), cell(row["peak_mib"], ".0f"),
                 cell(row["cold_s"], ".2f"), cell(row["cold_after_ready_s"], ".2f"),
                 cell(row["max_diff"], ".1e"), cell(row["rms_diff"], ".1e"))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


# ---- bars ------------------------------------------------------------------------------------

def bar(what, value, peer, limit):
    ratio = value / peer
    return {"bar": what, "ratio": ratio, "limit": limit, "met": ratio <= limit}


def bars_of(rows, row):
    """The bars of one Refold row; a peer that was not measured gives no bar."""
    where = f"{row['precision']} {row['size']}"
    openvino = next((r for r in rows if r["engine"] == "openvino" and
                     (r["size"], r["precision"]) == (row["size"], row["precision"])), None)
    found = []
    if row["precision"] == "f32" and best_peer(rows, row, "median_s"):
        found.append(bar(f"time, {where}, to the best peer", row["median_s"],
                         best_peer(rows, row, "median_s"), BAR_F32))
    if row["precision"] == "bf16" and openvino:
        found.append(bar(f"time, {where}, to OpenVINO", row["median_s"], openvino["median_s"],
                         BAR_BF16))
    if openvino:
        found.append(bar(f"peak memory, {where}, to OpenVINO", row["peak_mib"],
                         openvino["peak_mib"], BAR_MEMORY))
    for field, what in (("cold_s", "cold start"), ("cold_after_ready_s", "cold after imports")):
        if row[field] is not None and best_peer(rows, row, field):
            found.append(bar(f"{what}, {where}, to the best peer", row[field],
                             best_peer(rows, row, field), BAR_COLD))
    return found


def bars(rows):
    return [found for row in rows if row["engine"] == "refold" and not row["wrong"]
            for found in bars_of(rows, row)]


def bar_table(found):
    lines = ["| bar | Refold / peer | at most | |", "|---|---|---|---|"]
    lines += [f"| {b['bar']} | {b['ratio']:.2f} | {b['limit']:.2f} | "
              f"{'met' if b['met'] else 'MISSED'} |" for b in found]
    return "\n".join(lines)
