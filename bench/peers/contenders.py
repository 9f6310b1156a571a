# SPDX-License-Identifier: Apache-2.0
"""The contenders, and the process that holds one of them."""
import dataclasses
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
TIMEOUT_S = 900


class ContenderError(Exception):
    """A worker failed; the text says which and how."""


@dataclasses.dataclass(frozen=True)
class Contender:
    engine: str         # onnxruntime, openvino, pytorch, refold
    precision: str      # f32, bf16
    command: tuple      # how to start its worker
    model: str          # what its `load` gets: the prepared folder, or the checkpoint for Refold

    @property
    def name(self):
        return f"{self.engine} {self.precision}"


def peers(threads, folder):
    """The other runtimes, at every precision that they have on a CPU."""
    runs = [("onnxruntime", "f32"), ("openvino", "f32"), ("openvino", "bf16"),
            ("pytorch", "f32"), ("pytorch", "bf16")]
    worker = (sys.executable, str(HERE / "peer_worker.py"))
    return [Contender(engine, precision, worker + (engine, precision, str(threads)), str(folder))
            for engine, precision in runs]


def refold(threads, worker, checkpoint):
    return [Contender("refold", precision, (str(worker), precision, str(threads)), str(checkpoint))
            for precision in ("f32", "bf16")]


def memory_mib(pid, field):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise ContenderError(f"/proc/{pid}/status has no {field}")


class Worker:
    """One contender's process. Stopped (SIGSTOP) whenever it is not the one being timed: the
    pools of the others spin for a while after a run and would take the cores away."""

    def __init__(self, contender):
        self.name = contender.name
        self.model = contender.model
        self.started = time.perf_counter()
        self.process = subprocess.Popen(contender.command, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        self.pending = b""
        try:
            self.version = self._read().get("version", "")
            self.ready = time.perf_counter()
            # Imports may have peaked higher than what they leave; count the peak from here.
            pathlib.Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
            self.idle_mib = memory_mib(self.process.pid, "VmRSS")
        except BaseException:
            self.close()
            raise

    def _read(self):
        # Not readline on a buffered pipe: select must see what is there, to have a timeout.
        pipe = self.process.stdout
        while b"\n" not in self.pending:
            if not select.select([pipe], [], [], TIMEOUT_S)[0]:
                raise ContenderError(f"{self.name}: no answer for {TIMEOUT_S} s")
            data = os.read(pipe.fileno(), 65536)
            if not data:
                raise ContenderError(f"{self.name}: worker ended ({self.process.wait()})")
            self.pending += data
        line, self.pending = self.pending.split(b"\n", 1)
        answer = json.loads(line)
        if not answer.get("ok", answer.get("ready")):
            raise ContenderError(f"{self.name}: {answer.get('error', answer)}")
        return answer

    def ask(self, command, **fields):
        try:
            self.process.stdin.write(json.dumps({"cmd": command, **fields}).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise ContenderError(f"{self.name}: worker ended ({self.process.wait()})") from None
        return self._read()

    def load(self, size, input_path):
        width, height = size
        return self.ask("load", model=self.model, input=str(input_path), width=width,
                        height=height)

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def peak_mib(self):
        """Highest resident size since the process was idle, above what it held then."""
        return memory_mib(self.process.pid, "VmHWM") - self.idle_mib

    def close(self):
        if self.process.poll() is None:
            self.process.kill()     # nothing to save, and a stopped process cannot say goodbye
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
