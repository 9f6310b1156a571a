#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the length of source files (warns over 600 lines, fails over 1000) and of functions in C and
C++ (warns over 60, fails over 120). What is longer for a reason stands in EXCEPTIONS with it.

    check_sizes.py [ROOT]
"""
import pathlib
import re
import sys

FILE_WARN, FILE_FAIL, FUNCTION_WARN, FUNCTION_FAIL = 600, 1000, 60, 120
SOURCES = {".c", ".h", ".cc", ".cu", ".cuh", ".py", ".sh"}
SKIPPED = {".git", "subprojects", "__pycache__"}
# "path" or "path:function": why it may be longer.
EXCEPTIONS = {}


def functions(lines):
    """(name, length) of every function whose body opens with a brace in column 0."""
    start = None
    for i, line in enumerate(lines):
        if line.startswith("{"):
            head = next((x for x in reversed(lines[:i]) if re.match(r"[A-Za-z_]", x)), "")
            name = re.search(r"(TEST\w*\(.*\)|\w+(?=\s*\())", head)
            start = i
        elif line.startswith("}") and start is not None:
            yield name[0] if name else "?", i - start + 1
            start = None


def check(root):
    warnings, failures = [], []
    for file in sorted(root.rglob("*")):
        relative = file.relative_to(root)
        parts = set(relative.parts)
        if (file.suffix not in SOURCES or parts & SKIPPED or relative.parts[0].startswith("build")
                or not file.is_file()):
            continue
        lines = file.read_text(errors="replace").splitlines()
        found = [(str(relative), len(lines), FILE_WARN, FILE_FAIL)]
        if file.suffix in {".c", ".cc", ".cu", ".h"}:
            found += [(f"{relative}:{name}", n, FUNCTION_WARN, FUNCTION_FAIL)
                      for name, n in functions(lines)]
        for what, n, warn, fail in found:
            if n > warn and what not in EXCEPTIONS:
                (failures if n > fail else warnings).append(f"{what}: {n} lines, limit {warn}/{fail}")
    return warnings, failures


if __name__ == "__main__":
    warned, failed = check(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve())
    for text in warned:
        print("warning:", text)
    for text in failed:
        print("FAILED:", text)
    if not warned and not failed:
        print("sizes: ok")
    sys.exit(bool(failed))
