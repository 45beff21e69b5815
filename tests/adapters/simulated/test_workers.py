"""Real worker processes: killed, orphaned, and none of it visible in a result."""

import os
import select
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from adapters.simulated import SimulatedCycler
from adapters.simulated.computation import Computation
from adapters.simulated.journal import Start
from orchestrator.domain import AcceleratedClock, RunState
from orchestrator.domain.errors import CyclerError

# No `if __name__ == "__main__"`: a user's script needs none.
SUBMIT_AND_WAIT = """
import json, sys
from adapters.simulated import SimulatedCycler
from orchestrator.domain import RunRequest
from orchestrator.domain.value import from_plain
cycler = SimulatedCycler(1, folder=sys.argv[1], workers=1)
cycler.submit(from_plain(RunRequest, json.loads(sys.argv[2])))
while not cycler.worker_process_ids:
    pass
print(cycler.worker_process_ids[0], flush=True)
sys.stdin.read()
"""


def ended_within(pid, seconds):
    """Whether a process, not a child of ours, ends within so many seconds."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs pidfd_open (Linux) to watch a process that is not a child")
def test_workers_leave_with_a_parent_killed_by_9(tmp_path, request_for):
    """Nothing goes on computing for a lab that is gone."""
    import json

    from orchestrator.domain.value import to_plain

    command = [sys.executable, "-c", SUBMIT_AND_WAIT, str(tmp_path), json.dumps(to_plain(request_for("a")))]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert ended_within(worker, 30.0)


def test_a_killed_worker_s_test_goes_on_and_says_the_same(tmp_path, request_for, new_cycler, pybamm_cell):
    """The result is bit by bit that of an undisturbed computation in this process, and there was one physical start.

    In accelerated time a test counts as running until it is computed, though its time has come.
    """
    wall = [0.0]
    clock = AcceleratedClock(3600.0, wall=lambda: wall[0])
    cycler = SimulatedCycler(1, folder=tmp_path / "workers", clock=clock, workers=1)
    request = request_for("a", max_cycles=10)
    ref = cycler.submit(request)
    wall[0] = 1e6
    assert cycler.status(ref).state is RunState.RUNNING
    while not cycler.worker_process_ids:
        pass
    os.kill(cycler.worker_process_ids[0], signal.SIGKILL)
    assert cycler.next_end_h() is None
    status = cycler.status(ref)
    assert status.state is RunState.FINISHED

    undisturbed = new_cycler(1, folder=tmp_path / "here", clock=clock, cell=pybamm_cell)
    wall[0] = 0.0
    same = undisturbed.submit(request)
    wall[0] = 1e6
    assert undisturbed.status(same).ended_h == status.ended_h
    mine, theirs = cycler.read(ref)[0], undisturbed.read(same)[0]
    assert mine.keys() == theirs.keys()
    assert all(np.array_equal(mine[name], theirs[name]) for name in mine)
    assert cycler.physical_starts() == {"a": 1}
    cycler.close()
    assert cycler.worker_process_ids == []


@pytest.mark.parametrize(
    ("misdeed", "words", "cause"),
    [
        ("kill -9 $$", "the computing process died 3 times in the cycles after cycle 0 (out of memory?)", "solver"),
        ("exec sleep 1000", "the computation of the cycles after cycle 0 took too long and was given up", "timeout"),
    ],
)
def test_a_run_that_breaks_its_workers_has_failed(tmp_path, request_for, monkeypatch, misdeed, words, cause):
    """Not tried for ever, and each accident told apart."""
    worker = tmp_path / "worker"
    worker.write_text(f"#!/bin/sh\necho ready\nread job\n{misdeed}\n")
    worker.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(worker))
    computation = Computation(tmp_path / "runs", workers=1, answer_timeout_s=0.2)
    progress = computation.add(Start(request_for("a"), 0.0, 0))
    computation.wait(lambda: progress.end is not None)
    computation.close()
    assert (progress.end.state, progress.end.reason, progress.end.cause) == (RunState.FAILED, words, cause)


@pytest.mark.parametrize("with_cell", [True, False], ids=["here", "workers"])
def test_who_waits_for_a_cycler_that_another_thread_closes_is_told_so(tmp_path, request_for, bench_cell, monkeypatch, with_cell):
    """Nobody hangs: neither where workers compute nor where the caller does."""
    worker = tmp_path / "worker"
    worker.write_text("#!/bin/sh\necho ready\nexec sleep 1000\n")
    worker.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(worker))
    computation = Computation(tmp_path / "runs", workers=1, cell=(lambda _: bench_cell) if with_cell else None)
    computation.add(Start(request_for("a"), 0.0, 0))
    looks = []

    def never():
        looks.append(computation)
        if len(looks) == 2:
            closing = threading.Thread(target=computation.close)
            closing.start()
            closing.join()
        return len(looks) > 50

    with pytest.raises(CyclerError, match="was closed while this waited"):
        computation.wait(never)


def test_a_worker_that_cannot_be_spawned_is_said(tmp_path, request_for, monkeypatch):
    """No memory, no program, no file handle: whoever waits is told what the operating system said."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    looks = []
    computation = Computation(tmp_path / "runs", workers=1)
    computation.add(Start(request_for("a"), 0.0, 0))
    with pytest.raises(CyclerError, match=r"worker processes cannot go on: .*No such file"):
        computation.wait(lambda: looks.append(1) or len(looks) > 200)
    computation.close()


def test_a_worker_that_cannot_start_is_said_once_and_clearly(tmp_path, request_for, monkeypatch):
    """Not a test that runs for ever."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    cycler = SimulatedCycler(1, folder=tmp_path, workers=1)
    cycler.submit(request_for("a"))
    with pytest.raises(CyclerError, match=r"worker process does not start.*workers\.log"):
        cycler.next_end_h()
