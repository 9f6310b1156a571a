#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the compiler made of the CUDA kernels, for a machine without a card.

    python3 tools/dev/cuda_static.py [--json FILE] [--markdown FILE] [FAMILY...]
    python3 tools/dev/cuda_static.py --check

Compiles kernels/cuda/FAMILY.cu (all) for sm_90a with the build's flags. From ptxas: registers,
stack, spills; from the cubin, if nvdisasm is there: threads per block (__launch_bounds__), and the
instructions of the innermost loop that computes. Occupancy is arithmetic with the limits of an
H200. Nothing runs, so no time is known: "clocks" are how long one pass of that loop keeps each of
three units busy at least, if memory answers at once and no shared memory access has conflicts.

--check compiles the families of HOT only and fails if one of their kernels spills, or is not there.
nvcc is $RF_NVCC (the build's, in its test), or on PATH, or in $CUDA_HOME or /usr/local/cuda.
nvdisasm is not in every toolkit: `pip install nvidia-cuda-nvdisasm` (results were made with 13.2);
it is looked for on PATH and in --nvdisasm.
"""
import argparse
import concurrent.futures
import datetime
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
FLAGS = ["-cubin", "-arch=sm_90a", "-O3", "-std=c++17", "-I.", "-Iruntime/include", "-Xptxas", "-v"]

# Kernels that must not spill, by family: what DEA-Net and the matrix products of others run on.
HOT = {
    "conv_tile": ["mma_stream", "mma_resident", "fma_few"],
    "conv_stem": ["conv_stem"],
    "pixel_attention": ["pa_s", "pa_half"],
    "channel_stats": ["stats_rows", "stats_mean"],
    "matmul_mma": ["matmul_mma"],
    "attention_mma": ["attention_mma"],
}

# Dynamic shared memory of a block as the rows ask for it, in a typical case; names are those of
# the headers. (pattern of the demangled name, threads or None = the most allowed, bytes, case)
RESIDENT = "9 * {c} * {c} * 2 + 2 * 324 * RF_CUDA_CONV_PITCH"
SHARED = [
    (r"\bmma_resident<", 128, RESIDENT.format(c=32), "3x3, 32 to 32"),
    (r"\bmma_resident<", 256, "9 * 2 * 64 * RF_CUDA_CONV_CHUNK + 2 * 324 * RF_CUDA_CONV_PITCH",
     "3x3, 64 to 64"),
    (r"\bmma_stream<", 512,
     "(RF_CUDA_CONV_AHEAD + 1) * 128 * RF_CUDA_CONV_CHUNK + 2 * 324 * RF_CUDA_CONV_PITCH",
     "3x3, to 128"),
    (r"\bfma_few<(__half|__nv_bfloat16)", 64,
     "9 * 4 * 32 * 4 + 2 * 324 * RF_CUDA_CONV_PITCH", "3x3, 32 to 3"),
    (r"\bconv_stem\(", None, "3 * (9 * 32 + 10 * 34) * 4", "3x3, 3 to 32"),
    (r"\bpa_half<", None, "RF_CUDA_PA_HALF_SHARED", "gate"),
    (r"\bpa_half<", None, "RF_CUDA_PA_HALF_SHARED + RF_CUDA_PA_HALF_SHARED_Y", "mix"),
    (r"\bpa_f32<", None, "RF_CUDA_PA_F32_SHARED", ""),
    (r"\bpa_s<.*7>", 128, "2 * (RF_CUDA_PA_S_COLS + 6) * (RF_CUDA_PA_S_ROWS + 6) * 4", "k = 7"),
    (r"\bstats_rows<", None, "8 * 1024", "256 channels"),
    (r"\bmatmul_mma<.*128", None, "4 * 2 * 128 * 32 * 2", ""),
    (r"\bmatmul_mma<.*64", None, "4 * 2 * 64 * 32 * 2", ""),
    (r"\battention_mma<.*2, 64", None, "(128 + 64 + 64) * 72 * 2", "depth 64"),
    (r"\battention_mma<.*1, 64", None, "(64 + 64 + 64) * 72 * 2", "depth 64"),
    (r"\battention_mma<.*1, 128", None, "(64 + 64 + 64) * 136 * 2", "depth 128"),
    (r"\battention_mma<.*1, 256", None, "(64 + 64 + 64) * 264 * 2", "depth 256"),
]

# An SM of an H200 (sm_90).
REGISTERS, SHARED_BYTES, RESERVED, MOST_WARPS, MOST_BLOCKS = 65536, 228 * 1024, 1024, 64, 32
# Clocks of an SM: m16n8k16 is 2048 multiply-adds, of which it makes 2048 in a clock; mma.sync is said
# to reach 62% of that (design/cuda.md 3.1, from the literature, not measured by us).
MMA_CLOCKS = 1 / 0.62


def tool(name, given=None):
    return given or shutil.which(name) or shutil.which(
        name, path=os.environ.get("CUDA_HOME", "/usr/local/cuda") + "/bin")


def header_constants():
    """Numbers of the enums in the families' headers."""
    known = {}
    for path in sorted((ROOT / "kernels/cuda").glob("*.h")):
        for name, value in re.findall(r"\b(RF_CUDA_\w+) = ([^,}/]+)", path.read_text()):
            text = re.sub(r"RF_CUDA_\w+", lambda m: str(known.get(m[0], "?")), value).strip()
            if re.fullmatch(r"[\d\s()*+-]+", text):
                known[name] = eval(text)  # digits and operators only, as the line above says
    return known


# ---- compiling -----------------------------------------------------------------------------------

def compile_family(nvcc, family, folder):
    cubin = folder / f"{family}.cubin"
    done = subprocess.run([nvcc, *FLAGS, "-o", str(cubin), f"kernels/cuda/{family}.cu"], cwd=ROOT,
                          capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"kernels/cuda/{family}.cu: nvcc failed:\n{done.stdout}{done.stderr}")
    return cubin, done.stdout + done.stderr


def parse_ptxas(log):
    """Mangled name -> what ptxas -v says of it."""
    kernels, now = {}, None
    for line in log.splitlines():
        if match := re.search(r"Compiling entry function '(\S+)'", line):
            now = kernels.setdefault(match[1], {"static_shared": 0})
        elif match := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, "
                                r"(\d+) bytes spill loads", line):
            if now is not None:
                now.update(stack=int(match[1]), spill_stores=int(match[2]),
                           spill_loads=int(match[3]))
        elif match := re.search(r"Used (\d+) registers", line):
            now["registers"] = int(match[1])
            shared = re.search(r"(\d+) bytes smem", line)
            now["static_shared"] = int(shared[1]) if shared else 0
            now = None  # device functions follow with properties of their own
    return kernels


def base_name(mangled):
    match = re.match(r"_Z(\d+)", mangled)
    return mangled[match.end():match.end() + int(match[1])] if match else mangled


def demangle(names):
    filt = tool("c++filt") or tool("cu++filt")
    if not filt or not names:
        return dict(zip(names, names))
    text = subprocess.run([filt], input="\n".join(names), capture_output=True, text=True,
                          check=True).stdout
    short = [re.sub(r"\(.*", "(", line).removeprefix("void ") for line in text.splitlines()]
    return dict(zip(names, short))


# ---- SASS ----------------------------------------------------------------------------------------

CLASSES = [
    ("HMMA", r"HMMA"), ("LDSM", r"LDSM"), ("LDS/STS", r"LDS|STS|ATOMS"),
    ("global", r"LDG|STG|LD|ST|RED|ATOMG|ATOM|LDGSTS|LDC|ULDC"), ("local", r"LDL|STL"),
    ("float", r"F(FMA|ADD|MUL|MNMX|SETP|SEL|SET|CHK)|H(FMA2|ADD2|MUL2|MNMX2|SETP2|SET2)|MUFU|D\w+"),
    ("convert", r"F2F|F2FP|I2F|I2FP|F2I|FRND|I2IP"), ("shuffle", r"SHFL|VOTE|VOTEU|REDUX"),
    ("control", r"BRA|BRX|BAR|BSSY|BSYNC|BREAK|EXIT|RET|CALL|WARPSYNC|NOP|DEPBAR|LDGDEPBAR|LEPC"),
]


def class_of(opcode):
    head = opcode.split(".")[0]
    return next((name for name, pattern in CLASSES if re.fullmatch(pattern, head)), "integer")


def parse_sass(text):
    """Mangled name -> (most threads of a block or None, [(opcode, target or None, conditional)])."""
    threads, code, labels = {}, {}, {}
    section = info = None
    pending = False
    for line in text.splitlines():
        if match := re.match(r"\s*\.section\s+\.?(\S+?),", line):
            name = match[1]
            section = name[5:] if name.startswith("text.") else None
            info = name[8:] if name.startswith("nv.info.") else None
            if section:
                code[section], labels[section] = [], {}
        elif info and "EIATTR_MAX_THREADS" in line:
            pending = True
        elif pending and (match := re.search(r"\.word\s+(0x[0-9a-f]+)", line)):
            threads[info], pending = int(match[1], 16), False
        elif section and (match := re.match(r"\.L_x_\d+", line)):
            labels[section][match[0]] = len(code[section])
        elif section and (match := re.match(
                r"\s*/\*[0-9a-f]{4,}\*/\s+(@!?U?P\w+\s+)?([A-Z][\w.]*)([^;]*);", line)):
            target = re.search(r"`\((\.L_x_\d+)\)", match[3])
            jumps = match[2].startswith(("BRA", "EXIT", "RET", "BRX"))
            conditional = bool(match[1]) or not jumps or bool(re.search(r"\bU?P\d", match[3]))
            code[section].append((match[2], target[1] if jumps and target else None, conditional))
    return {name: (threads.get(name), [(op, labels[name].get(to), cond) for op, to, cond in body])
            for name, body in code.items()}


def loops_of(code):
    """Natural loops (every way from the entry into the body leads through its header) as sets of
    instruction indices."""
    before = [[] for _ in code]
    for i, (_, target, falls) in enumerate(code):
        if target is not None and target < len(code):
            before[target].append(i)
        if falls and i + 1 < len(code):
            before[i + 1].append(i)
    bodies = {}
    for latch, (_, header, _) in enumerate(code):
        if header is None or header > latch:
            continue
        body, todo = {header}, [latch]
        while todo:
            at = todo.pop()
            if at not in body:
                body.add(at)
                todo += before[at]
        if 0 not in body or header == 0:  # else the header does not dominate the branch
            bodies.setdefault(header, set()).update(body)
    return list(bodies.values())


def count_ops(code, indices):
    counts = {}
    for i in indices:
        counts[code[i][0]] = counts.get(code[i][0], 0) + 1
    return counts


def work_of(code, body):
    """Instructions that make products: of matrices, of floats."""
    ops = [code[i][0].split(".")[0] for i in body]
    return ops.count("HMMA"), ops.count("FFMA")


def hot_loop(code):
    """The innermost loop with most of the products; None if no loop has any."""
    best = None
    loops = loops_of(code)
    kind = 0 if any(work_of(code, body)[0] for body in loops) else 1
    working = [body for body in loops if work_of(code, body)[kind]]
    for body in working:
        if any(other < body for other in working):
            continue
        if best is None or work_of(code, body)[kind] > work_of(code, best)[kind]:
            best = body
    return best


def shared_clocks(opcode):
    """Clocks in which the 128 bytes per clock of an SM's shared memory serve one warp."""
    head, *rest = opcode.split(".")
    if head == "LDSM":
        return next((int(part) for part in rest if part in ("2", "4")), 1)
    if head in ("LDS", "STS"):
        return 4 if "128" in rest else 2 if "64" in rest else 1
    return 0


def cheapest_path(code, body):
    """Of the ways through the loop that make the most products, the one with the fewest
    instructions; jumps back are not taken. What is loaded now and then is thereby left out."""
    first, last = min(body), max(body)
    best = {first: (0, 0, None)}  # instruction -> products, -instructions before it, predecessor
    end = None
    for i in range(first, last + 1):
        if i not in body or i not in best:
            continue
        op, target, falls = code[i]
        hmma, ffma = work_of(code, [i])
        done = (best[i][0] + hmma * 1000 + ffma, best[i][1] - 1)
        leaves = target is not None and target <= first or op.startswith(("EXIT", "RET"))
        if (leaves or i == last) and (end is None or done > end[:2]):
            end = (*done, i)
        after = ([i + 1] if falls else []) + ([target] if target is not None and target > i else [])
        for to in after:
            if to in body and (to not in best or done > best[to][:2]):
                best[to] = (*done, i)
    path, at = [], end[2] if end else None
    while at is not None:
        path.append(at)
        at = best[at][2]
    return path


def mix_of(code):
    if not code:
        return None
    body = hot_loop(code)
    path = cheapest_path(code, body or set(range(len(code))))
    hmma, ffma = work_of(code, path)
    if not hmma and ffma * 5 < len(path):  # some sums beside loads and stores
        return None
    ops = count_ops(code, path)
    mix = {name: 0 for name in [*(name for name, _ in CLASSES), "integer"]}
    for op, n in ops.items():
        mix[class_of(op)] += n
    clocks = {"tensor": round(mix["HMMA"] * MMA_CLOCKS, 1), "issue": len(path) / 4,
              "shared": sum(n * shared_clocks(op) for op, n in ops.items())}
    return {"whole": body is None, "instructions": len(path), "ffma": ffma,
            "mix": {k: v for k, v in mix.items() if v}, "clocks": clocks,
            "bound": max(clocks, key=clocks.get)}


# ---- tables --------------------------------------------------------------------------------------

def occupancy(registers, threads, shared):
    """Blocks and warps of an SM, and what limits them. Registers go out in 256 per warp."""
    warps = -(-threads // 32)
    by = {"registers": REGISTERS // (warps * -(-registers * 32 // 256) * 256),
          "shared": SHARED_BYTES // (shared + RESERVED), "warps": MOST_WARPS // warps,
          "blocks": MOST_BLOCKS}
    limit = min(by, key=by.get)
    return {"blocks": by[limit], "warps": by[limit] * warps, "limit": limit}


def launches_of(kernel, constants):
    """Threads, dynamic shared memory and case of the launches that SHARED knows."""
    found = []
    for pattern, threads, expression, case in SHARED:
        if not re.search(pattern, kernel["name"]):
            continue
        shared = eval(re.sub(r"RF_CUDA_\w+", lambda m: str(constants[m[0]]), expression))
        found.append((threads or kernel["threads"], shared, case))
    return found or [(kernel["threads"], 0, "")]


def read_family(family, cubin, log, nvdisasm, constants):
    ptxas = parse_ptxas(log)
    sass = {}
    if nvdisasm:
        sass = parse_sass(subprocess.run([nvdisasm, str(cubin)], capture_output=True, text=True,
                                         check=True).stdout)
    names = demangle(list(ptxas))
    kernels = []
    for mangled, facts in ptxas.items():
        threads, code = sass.get(mangled, (None, []))
        kernel = {"family": family, "name": names[mangled], "base": base_name(mangled),
                  "threads": threads, **facts, "instructions": len(code), "loop": mix_of(code)}
        kernel["occupancy"] = [
            {"threads": n, "dynamic_shared": shared, "case": case,
             **occupancy(facts["registers"], n, shared + facts["static_shared"])}
            for n, shared, case in launches_of(kernel, constants) if n]
        kernels.append(kernel)
    return sorted(kernels, key=lambda k: k["name"])


def problems_of(kernels, families):
    found = [f"{k['family']}.cu: {k['name']}) spills: {k['spill_stores']} bytes of stores, "
             f"{k['spill_loads']} of loads, expected none"
             for k in kernels if k["base"] in HOT.get(k["family"], [])
             and (k["spill_stores"] or k["spill_loads"])]
    for family in families:
        for base in HOT.get(family, []):
            if not any(k["family"] == family and k["base"] == base for k in kernels):
                found.append(f"{family}.cu: no kernel '{base}': HOT in cuda_static.py is stale")
    return found


def loop_cells(loop):
    if not loop:
        return "| few products | | | | |"
    n = loop["instructions"]
    share = " ".join(f"{name} {100 * count / n:.0f}%" for name, count in
                     sorted(loop["mix"].items(), key=lambda item: -item[1]))
    clocks = " / ".join(f"{loop['clocks'][k]:g}" for k in ("tensor", "shared", "issue"))
    where = "kernel" if loop["whole"] else "loop"
    return f"| {where} | {n} | {share} | {clocks} | {loop['bound']} |"


def markdown(kernels, facts):
    hot = [k for k in kernels if k["base"] in HOT.get(k["family"], [])]
    lines = [
        "# What the compiler made of the CUDA kernels (sm_90a)", "",
        "Static evidence: nothing ran, and no figure here is a time. "
        "Made by `tools/dev/cuda_static.py`:", "", f"    {facts['command']}", "",
        f"{facts['nvcc']}, commit {facts['commit']}, {facts['date']}.", "",
        "Occupancy: an SM with 65,536 registers, 228 KiB of shared memory, 64 warps; where the "
        "launch depends on the node, the case is named. Blank: the kernel has no "
        "`__launch_bounds__`, so its launch is not known here.", "",
        "## Hot kernels: innermost loop", "",
        "Per pass of the loop and warp: shares of its instructions, and the clocks for which an SM's "
        "tensor cores (mma.sync at an *assumed* 62% of their peak), shared memory port (128 bytes "
        "per clock, no conflicts) and four schedulers (one instruction each per clock) are busy at "
        "least; the largest bounds the loop. Counted is the cheapest path through the loop that "
        "makes all its products, so without what is done now and then (loading the next pixels). "
        "'kernel': no loop makes products, the path is that through the whole kernel, with inner loops "
        "taken once. Where products stand in two loops, that with more is shown, and of nested loops "
        "the inner one (attention_mma: Q K^T; its P V is outside of it).", "",
        "| kernel | of | instructions | mix | clocks: tensor / shared / issue | bound |",
        "|---|---|---|---|---|---|"]
    lines += [f"| {k['name'].rstrip('(')} {loop_cells(k['loop'])}" for k in hot]
    lines += ["", "## All kernels", "",
              "| family | kernel | registers | stack | spill st/ld | static shared | case | threads | "
              "dynamic shared | blocks | warps of 64 | limit |",
              "|---|---|---|---|---|---|---|---|---|---|---|---|"]
    for k in kernels:
        for o in k["occupancy"] or [dict.fromkeys(
                ("case", "threads", "dynamic_shared", "blocks", "warps", "limit"), "")]:
            lines.append(
                f"| {k['family']} | {k['name'].rstrip('(')} | {k['registers']} | {k['stack']} | "
                f"{k['spill_stores']}/{k['spill_loads']} | {k['static_shared']} | {o['case']} | "
                f"{o['threads']} | {o['dynamic_shared']} | {o['blocks']} | {o['warps']} | "
                f"{o['limit']} |")
    return "\n".join(lines) + "\n"


def facts_of(nvcc):
    version = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    commit = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty",
                             "--exclude=*", "--abbrev=12"],
                            capture_output=True, text=True, check=False).stdout.strip()
    return {"nvcc": "nvcc " + re.search(r"V([\d.]+)", version)[1], "commit": commit or "unknown",
            "date": datetime.date.today().isoformat(),
            "command": " ".join(["python3", "tools/dev/cuda_static.py", *sys.argv[1:]])}


def survey(nvcc, nvdisasm, families):
    constants = header_constants()
    with tempfile.TemporaryDirectory() as folder, \
            concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        made = pool.map(lambda f: compile_family(nvcc, f, pathlib.Path(folder)), families)
        return [kernel for family, (cubin, log) in zip(families, made)
                for kernel in read_family(family, cubin, log, nvdisasm, constants)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("families", nargs="*", metavar="FAMILY")
    parser.add_argument("--check", action="store_true", help="fail if a hot kernel spills")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--markdown", metavar="FILE")
    parser.add_argument("--nvdisasm", metavar="PROGRAM")
    args = parser.parse_args()
    nvcc = tool("nvcc", os.environ.get("RF_NVCC"))
    if not nvcc:
        print("nvcc not found: nothing to look at")
        sys.exit(77)
    known = sorted(path.stem for path in (ROOT / "kernels/cuda").glob("*.cu"))
    for family in args.families:
        if family not in known:
            sys.exit(f"'{family}' is no family of kernels/cuda: expected one of {', '.join(known)}")
    families = args.families or (sorted(HOT) if args.check else known)
    nvdisasm = None if args.check else tool("nvdisasm", args.nvdisasm)
    if not nvdisasm and not args.check:
        sys.exit("nvdisasm not found: pip install nvidia-cuda-nvdisasm, then --nvdisasm PROGRAM")
    kernels = survey(nvcc, nvdisasm, families)
    if args.json:
        pathlib.Path(args.json).write_text(
            json.dumps({**facts_of(nvcc), "kernels": kernels}, indent=1) + "\n")
    if args.markdown:
        pathlib.Path(args.markdown).write_text(markdown(kernels, facts_of(nvcc)))
    problems = problems_of(kernels, families)
    print("\n".join(problems) or f"{len(kernels)} kernels of {len(families)} families: no hot "
          "kernel spills")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
