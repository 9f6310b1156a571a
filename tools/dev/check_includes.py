#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks who includes whom, so that the layers of runtime/README.md stay layers.

    check_includes.py [ROOT]       exit 1 and one line for every include that breaks a rule
"""
import pathlib
import re
import sys

PUBLIC = "runtime/include/"
# Folder: what its files may include besides their own folder. The longest match counts.
RULES = {
    "runtime/include": [],
    "runtime/base": ["runtime/include/refold/base.h"],
    "runtime/core": [PUBLIC, "runtime/base"],
    "runtime/backend": [PUBLIC, "runtime/base", "runtime/core"],
    "runtime/fold": [PUBLIC, "runtime/base", "runtime/core"],
    "runtime/sample": [PUBLIC, "runtime/base", "runtime/core", "runtime/backend"],
    "runtime/exec": [PUBLIC, "runtime/base", "runtime/core", "runtime/backend"],
    # The loaders sit on top of core and are reached through their one table.
    "runtime/api": [PUBLIC, "runtime/base", "runtime/core", "runtime/backend", "runtime/exec",
                    "runtime/fold", "loaders/loader.h"],
    "kernels": [PUBLIC, "runtime/base", "runtime/core", "runtime/backend"],
    "kernels/ref": [PUBLIC, "runtime/base", "runtime/core", "runtime/backend"],
    "kernels/cpu": [PUBLIC, "runtime/base", "runtime/core", "runtime/backend"],
    "kernels/cuda": [PUBLIC, "runtime/base", "runtime/core", "runtime/backend",
                     "kernels/sim/simt.h"],
    "kernels/sim": [PUBLIC, "kernels/cuda/abi.h", "kernels/cuda/device.cuh",
                    "kernels/cuda/library.h"],
    "loaders": [PUBLIC, "runtime/base", "runtime/core"],
    "tools": [PUBLIC],
    "examples": [PUBLIC],
    "tests": [""],
    "bench": [""],
}
# Folders that count as one: everything below may include everything below.
OWN = ["kernels/ref", "kernels/cpu", "kernels/cuda", "kernels/sim", "kernels", "loaders", "tools", "examples"]
SUFFIXES = {".c", ".h", ".cc", ".cu", ".cuh", ".def"}
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<(refold/[^>]+)>)', re.M)


def rule_of(path):
    matches = [folder for folder in RULES if path.startswith(folder + "/")]
    return max(matches, key=len) if matches else None


def own_of(path):
    return next((o for o in OWN if path.startswith(o + "/")), str(pathlib.PurePath(path).parent))


def resolve(root, path, quoted, public):
    """The included file relative to the root, or None if it is neither there nor beside path."""
    if public:
        return PUBLIC + public
    beside = (pathlib.PurePath(path).parent / quoted).as_posix()
    return next((c for c in (quoted, beside, PUBLIC + quoted) if (root / c).is_file()), None)


def allowed(path, folder, target):
    if folder == "tests" or folder == "bench":
        return True
    return (target.startswith(own_of(path) + "/")
            or target.startswith(folder + "/") and folder.startswith("runtime/")
            or any(target.startswith(p) for p in RULES[folder]))


def check(root):
    problems = []
    for file in sorted(root.rglob("*")):
        path = file.relative_to(root).as_posix()
        folder = rule_of(path)
        if file.suffix not in SUFFIXES or folder is None:
            continue
        for quoted, public in INCLUDE.findall(file.read_text(errors="replace")):
            target = resolve(root, path, quoted, public)
            if target is None:
                problems.append(f'{path}: "{quoted}" is not below the root of the repository')
            elif not allowed(path, folder, target):
                problems.append(f"{path}: {folder} must not include {target}")
    return problems


if __name__ == "__main__":
    found = check(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve())
    print("\n".join(found) if found else "includes: ok")
    sys.exit(bool(found))
