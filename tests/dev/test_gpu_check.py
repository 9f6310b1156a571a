#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tools/dev/gpu_check.sh on the emulated GPU: every step that needs no PyTorch passes and leaves its
tables, and a build in which something fails, hangs, skips itself or tests nothing is reported."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(os.environ["RF_SOURCE_ROOT"])
BUILD = pathlib.Path(os.environ["RF_BUILD_ROOT"])
SCRIPT = ROOT / "tools" / "dev" / "gpu_check.sh"
RUN = ["props", "ops", "sessions", "models", "bench_ops", "network"]
SKIPPED = ["memcheck", "racecheck", "ceilings", "peers"]
PROGRAMS = ["librefold_sim.so", "bench/sim_gpu_props", "bench/bench_ops", "tests/test_sim",
            "tests/test_sim_session", "tests/test_models", "tools/cli/refold"]
FAIL = 'echo "planted: $0"; exit 3'


def check(build, out, *options, **variables):
    env = dict(os.environ, RF_GPU_CHECK_QUICK="1", PYTHON=sys.executable, **variables)
    return subprocess.run([SCRIPT, build, out, "--device", "sim", *options], env=env, text=True,
                          capture_output=True)


def results(out):
    rows = [line.split("\t") for line in (out / "steps.tsv").read_text().splitlines()]
    return {name: word for name, word, *_ in rows}


class GpuCheck(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = pathlib.Path(folder.name) / "out"
        self.build = pathlib.Path(folder.name) / "build"

    def plant(self, **bodies):
        """A build folder of links to the real one, with shell scripts in place of some programs (None: not
        there). Keys are the programs' names without folders."""
        shutil.rmtree(self.build, ignore_errors=True)
        for program in PROGRAMS:
            path, name = self.build / program, program.rsplit("/", 1)[-1]
            path.parent.mkdir(parents=True, exist_ok=True)
            if name not in bodies:
                path.symlink_to(BUILD / program)
            elif bodies[name]:
                path.write_text(f"#!/bin/sh\n{bodies[name]}\n")
                path.chmod(0o755)

    def test_every_step_passes_and_leaves_its_tables(self):
        done = check(BUILD, self.out)
        expected = {**{name: "pass" for name in RUN}, **{name: "skip" for name in SKIPPED}}
        self.assertEqual(results(self.out), expected, done.stdout + done.stderr)
        self.assertEqual(done.returncode, 0, done.stderr)
        summary = (self.out / "summary.md").read_text()
        for name in RUN:
            self.assertIn(f"| {name} | pass |", summary)
        for text in ["# Refold on emulated GPU", "mean nothing", "| demo | 16x16 | f16 | refold |",
                     "| matmul_linear_64_64_64 | bf16", "own matmul", "## Profiles", "sim.mma"]:
            self.assertIn(text, summary)

    def test_device_properties_have_the_keys_and_types_of_cudnn(self):
        self.assertEqual(check(BUILD, self.out, "--only", "props").returncode, 0)
        given = json.loads((self.out / "cudnn_device.json").read_text())
        known = json.loads((ROOT / "tests/data/cuda/h200.json").read_text())
        self.assertEqual(list(given), list(known))
        self.assertEqual({k: type(v) for k, v in given.items()}, {k: type(v) for k, v in known.items()})
        self.assertEqual(given["deviceVer"], 900)

    def test_a_failing_step_is_reported_and_the_next_ones_run(self):
        self.plant(test_sim=FAIL)
        done = check(self.build, self.out, "--only", "ops,sessions", RF_COMMIT="abc123")
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertEqual(results(self.out), {"ops": "FAIL", "sessions": "pass"})
        summary = (self.out / "summary.md").read_text()
        self.assertIn("| ops | FAIL |", summary)
        self.assertIn("planted: ", summary)
        self.assertIn("commit abc123", summary)

    def test_a_suite_that_tests_nothing_fails(self):
        for body in ["exit 0", "exit 77", None]:
            with self.subTest(body):
                self.plant(test_sim=body)
                self.assertEqual(check(self.build, self.out, "--only", "ops").returncode, 1)
                self.assertEqual(results(self.out), {"ops": "FAIL"})

    def test_a_step_that_hangs_and_programs_that_are_missing_fail(self):
        self.plant(bench_ops=FAIL, test_sim_session="exec sleep 60", refold=None, sim_gpu_props=None)
        done = check(self.build, self.out, "--only", "props,sessions,bench_ops,network",
                     RF_GPU_CHECK_TIMEOUT="2")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(results(self.out),
                         dict.fromkeys(["props", "sessions", "bench_ops", "network"], "FAIL"))
        self.assertIn("no end after 2 s", (self.out / "sessions.txt").read_text())

    def test_a_later_call_replaces_its_own_steps_only(self):
        self.plant(test_sim=FAIL)
        check(self.build, self.out, "--only", "props,ops")
        self.assertEqual(check(BUILD, self.out, "--only", "ops").returncode, 0)
        self.assertEqual(results(self.out), {"props": "pass", "ops": "pass"})

    def test_bad_arguments_are_refused(self):
        for options in [("--only", "nonsense"), ("--device", "tpu"), ("--only",), ("third",)]:
            with self.subTest(options):
                done = check(BUILD, self.out, *options)
                self.assertEqual(done.returncode, 2)
                self.assertNotEqual(done.stderr, "")
        self.assertEqual(check("/nonexistent", self.out).returncode, 2)


if __name__ == "__main__":
    unittest.main()
