#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The rule checks of tools/dev hold on this tree, and notice what breaks a rule."""
import os
import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(os.environ.get("RF_SOURCE_ROOT") or pathlib.Path(__file__).resolve().parents[2])
sys.path.insert(0, str(ROOT / "tools" / "dev"))
import check_includes  # noqa: E402
import check_sizes  # noqa: E402


def tree(files):
    """A temporary source tree."""
    folder = tempfile.TemporaryDirectory()
    for name, text in files.items():
        path = pathlib.Path(folder.name) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


class Includes(unittest.TestCase):
    def problems(self, files):
        with tree(files) as root:
            return check_includes.check(pathlib.Path(root))

    def test_tree_keeps_the_rules(self):
        self.assertEqual(check_includes.check(ROOT), [])

    def test_layers_point_downwards(self):
        files = {"runtime/core/x.h": "", "runtime/exec/plan.h": "", "kernels/cpu/cpu.h": "",
                 "tests/t.h": "", "runtime/include/refold/tensor.h": ""}
        for path, include in [("runtime/base/a.c", '"runtime/core/x.h"'),
                              ("runtime/base/a.c", "<refold/tensor.h>"),
                              ("runtime/fold/a.c", '"runtime/exec/plan.h"'),
                              ("kernels/cpu/a.c", '"runtime/exec/plan.h"'),
                              ("kernels/cuda/a.cu", '"kernels/cpu/cpu.h"'),
                              ("loaders/pth/a.c", '"kernels/cpu/cpu.h"'),
                              ("tools/cli/a.c", '"runtime/core/x.h"'),
                              ("runtime/api/a.c", '"tests/t.h"')]:
            with self.subTest(path=path, include=include):
                self.assertEqual(len(self.problems({**files, path: f"#include {include}\n"})), 1)

    def test_missing_header_is_a_problem(self):
        self.assertEqual(len(self.problems({"kernels/ref/a.c": '#include "nowhere.h"\n'})), 1)


class Sizes(unittest.TestCase):
    def sizes(self, files):
        with tree(files) as root:
            return check_sizes.check(pathlib.Path(root))

    def test_tree_keeps_the_limits(self):
        self.assertEqual(check_sizes.check(ROOT)[1], [])

    def test_long_file_and_function_are_seen(self):
        body = "int f(void)\n{\n" + "    g();\n" * 121 + "}\n"
        warned, failed = self.sizes({"a.c": body, "b.py": "x\n" * 1001, "c.py": "x\n" * 601})
        self.assertEqual([w.split(":")[0] for w in warned], ["c.py"])
        self.assertEqual([f.split(" ")[0] for f in failed], ["a.c:f:", "b.py:"])


if __name__ == "__main__":
    unittest.main()
