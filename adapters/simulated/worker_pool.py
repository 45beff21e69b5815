"""Worker processes and the threads that feed them.

Plain child processes with pipes, not a `multiprocessing` pool: no `if __name__ == "__main__"` is asked of a user's script,
one worker can be killed without breaking the others, and each leaves by itself when the parent dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from adapters.simulated.computing import Slice

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")
BUILD_TIMEOUT_S = 300.0


class Fate(StrEnum):
    """What became of a slice."""

    DONE = "done"
    BUSY = "busy"
    DIED = "died"
    TIMED_OUT = "timed out"
    NEVER_READY = "never ready"


class WorkerPool:
    """Up to `size` processes; each thread takes a slice, has it computed, and hands back its fate.

    Args:
        take: waits for work; None tells the thread to leave.
        heard: called when files of a slice have grown.
        hand_back: called with the slice's fate.
        give_up: called with the reason when the operating system refuses a worker what it needs.
        answer_timeout_s: a worker silent for longer is killed.
    """

    def __init__(
        self,
        size: int,
        log: Path,
        take: Callable[[], Slice | None],
        heard: Callable[[Slice], None],
        hand_back: Callable[[Slice, Fate], None],
        give_up: Callable[[str], None],
        answer_timeout_s: float,
    ) -> None:
        self._size, self._log, self._timeout_s = size, log, answer_timeout_s
        self._take, self._heard, self._hand_back, self._give_up = take, heard, hand_back, give_up
        self._workers: dict[int, _Worker] = {}
        self._started = False

    def start(self) -> None:
        """Start every process, so that their cells are built side by side; repeating is harmless."""
        if not self._started:
            self._started = True
            for place in range(self._size):
                threading.Thread(target=self._serve, args=(place,), daemon=True, name=f"simulated-{place}").start()

    def process_ids(self) -> list[int]:
        """The worker processes now alive."""
        return [worker.pid for worker in list(self._workers.values()) if worker.alive]

    def kill(self) -> None:
        """End every process."""
        for worker in list(self._workers.values()):
            worker.kill()

    def _serve(self, place: int) -> None:
        try:
            self._work(place)
        except OSError as error:  # a thread that ended in silence would leave its callers waiting for ever
            self._give_up(f"the simulation's worker processes cannot go on: {error}. Look at memory, open files and the disk.")

    def _work(self, place: int) -> None:
        worker = self._workers[place] = _Worker(self._log)
        while (job := self._take()) is not None:
            if not worker.alive:
                worker = self._workers[place] = _Worker(self._log)
            fate = worker.compute(job, lambda job=job: self._heard(job), self._timeout_s)  # type: ignore[misc]
            if fate not in (Fate.DONE, Fate.BUSY):
                worker.kill()
            self._hand_back(job, fate)
        worker.kill()


class _Worker:
    """One process and its pipes."""

    def __init__(self, log: Path) -> None:
        command = [sys.executable, "-P", "-m", "adapters.simulated.worker", str(os.getpid())]
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=_environment()
            )
        self._ready, self._unread = False, b""

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def compute(self, job: Slice, heard: Callable[[], None], timeout_s: float) -> Fate:
        """Have a slice computed."""
        if not self._ready and self._answer(BUILD_TIMEOUT_S) != "ready":
            return Fate.DIED if self._killed else Fate.NEVER_READY
        self._ready = True
        if not self._send(job):
            return Fate.DIED
        while (word := self._answer(timeout_s)) == "heard":
            heard()
        return {None: Fate.TIMED_OUT, "": Fate.DIED}.get(word) or Fate(word or "")

    @property
    def _killed(self) -> bool:
        """Whether the process was ended from outside (out of memory, a signal) rather than by an error of its own."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout=1.0) < 0
        return False

    def _send(self, job: Slice) -> bool:
        pipe: IO[bytes] = self._pipe("stdin")
        try:
            pipe.write(json.dumps(job.to_plain()).encode() + b"\n")
            pipe.flush()
        except BrokenPipeError:
            return False
        return True

    def _answer(self, timeout_s: float) -> str | None:
        """The next word; "" if the process is gone, None if it stays silent."""
        source = self._pipe("stdout").fileno()
        waiting = select.poll()
        waiting.register(source, select.POLLIN | select.POLLHUP)
        while b"\n" not in self._unread:
            if not waiting.poll(timeout_s * 1000):
                return None
            received = os.read(source, 4096)
            if not received:
                return ""
            self._unread += received
        word, self._unread = self._unread.split(b"\n", 1)
        return word.decode()

    def _pipe(self, name: str) -> Any:
        return getattr(self._process, name)


def _environment() -> dict[str, str]:
    """This process's environment and import path, with one thread a process and PyBaMM's telemetry off."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return {**os.environ, **ONE_THREAD, "PYTHONPATH": path, "PYBAMM_DISABLE_TELEMETRY": "true"}
