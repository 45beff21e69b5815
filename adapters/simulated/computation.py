"""Keeping the runs of a cycler computed: who is next, who waits, and what to do when a worker fails.

The run whose computed part ends earliest in lab time is always computed next. So the earliest end of all is known, and known
to be the earliest, as soon as anything can be: the rule of conservative discrete-event simulation. Which run comes when does
not change what any of them will say.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path

from adapters.simulated.cell_steps import Cause
from adapters.simulated.computing import CellSource, Slice, compute
from adapters.simulated.journal import Start
from adapters.simulated.life_test import LifeEnd
from adapters.simulated.run_files import CheckUpNote, RunFiles
from adapters.simulated.worker_pool import Fate, WorkerPool
from orchestrator.domain import RunState
from orchestrator.domain.errors import CyclerError

CHECKUPS_PER_SLICE = 3
DEATHS_UNTIL_FAILED = 3
BUSY_PAUSE_S = 0.1  # before a run that another process computes is looked at again
FOREVER_H = float("inf")


class Progress:
    """How far one run has been computed."""

    def __init__(self, start: Start, folder: Path) -> None:
        self.start, self.folder = start, folder
        self.files = RunFiles(folder)
        self.notes: list[CheckUpNote] = []
        self.end: LifeEnd | None = None
        self.wanted_h = FOREVER_H
        self.in_hand = False
        self.deaths = 0
        self.not_before = 0.0
        self._refreshing = threading.Lock()

    def refresh(self) -> None:
        """Look at the files again."""
        with self._refreshing:
            if self.end is not None:
                return
            end = self.files.read_end()  # before the check-ups: an end that is seen has all of them
            self.notes.extend(self.files.notes(len(self.notes)))
            self.end = end

    def lab_h(self, test_s: float) -> float:
        """Lab time at a test time."""
        return self.start.started_h + test_s / 3600

    @property
    def end_h(self) -> float | None:
        """Lab time of the run's natural end, if it is known."""
        return None if self.end is None else self.lab_h(self.end.end_s)

    @property
    def horizon_h(self) -> float:
        """Lab time up to which the run is known; for ever, once its end is."""
        if self.end is not None:
            return FOREVER_H
        return self.lab_h(self.notes[-1].end_s if self.notes else 0.0)

    @property
    def wants_computing(self) -> bool:
        """Whether there is something left to compute that somebody will ask for."""
        return not self.in_hand and self.horizon_h < self.wanted_h and time.monotonic() >= self.not_before

    def cycles_at(self, lab_time_h: float) -> int:
        """Cycles finished by a lab time, those between check-ups spread evenly."""
        ends = [self.lab_h(note.end_s) for note in self.notes]
        done = bisect_right(ends, lab_time_h)
        if done == 0:
            return 0
        before = self.notes[done - 1].cycle
        if done == len(ends):
            return before
        share = (lab_time_h - ends[done - 1]) / (ends[done] - ends[done - 1])
        return before + int(share * (self.notes[done].cycle - before))


class Computation:
    """Computes runs with worker processes, or in the caller's thread where a cell is given.

    Args:
        runs: holds a folder per run.
        workers: how many processes.
        cell: gives the cell of a preset to compute with in the caller's thread; None uses the workers.
        answer_timeout_s: a worker silent for longer is killed, and the run it was at has failed.
    """

    def __init__(self, runs: Path, workers: int, cell: CellSource | None = None, answer_timeout_s: float = 300.0) -> None:
        self._runs, self._cell = runs, cell
        self._changed = threading.Condition(threading.RLock())
        self._progress: dict[str, Progress] = {}
        self._closed, self._trouble, self._changes = False, "", 0
        runs.mkdir(parents=True, exist_ok=True)
        self._log = runs.parent / "workers.log"
        self._pool = WorkerPool(workers, self._log, self._take, self._heard, self._hand_back, self._give_up, answer_timeout_s)

    @property
    def process_ids(self) -> list[int]:
        """The worker processes now alive."""
        return self._pool.process_ids()

    def add(self, start: Start) -> Progress:
        """A run to compute; known ones stay as they are."""
        with self._changed:
            if start.key not in self._progress:
                progress = self._progress[start.key] = Progress(start, self._runs / start.folder_name)
                progress.refresh()
                self._tell()
            return self._progress[start.key]

    def ended_by(self, start: Start, lab_time_h: float) -> bool:
        """Whether a run is known to have ended by a lab time, here or in another process: only its end is looked up."""
        with self._changed:
            progress = self._progress.get(start.key)
        end = (progress and progress.end) or RunFiles(self._runs / start.folder_name).read_end()
        return end is not None and start.started_h + end.end_s / 3600 <= lab_time_h

    def begin(self) -> None:
        """Compute in the background from now on, if there are workers.

        Raises:
            CyclerError: the worker processes cannot be started.
        """
        if self._trouble:
            raise CyclerError(self._trouble)
        if self._cell is None:
            self._pool.start()

    def want_until(self, key: str, lab_time_h: float) -> None:
        """Compute a run no further than this."""
        with self._changed:
            self._progress[key].wanted_h = lab_time_h

    def wait(self, settled: Callable[[], bool]) -> None:
        """Return when `settled` says so; it is asked again whenever a run has been computed further.

        Raises:
            CyclerError: the worker processes cannot be started, or another thread has closed or re-bound the cycler meanwhile.
        """
        while True:
            seen = self._changes
            self._refresh_elsewhere()
            if settled():  # not under the lock: it may take the journal's
                return
            self.begin()
            if self._closed:
                raise CyclerError("the simulated cycler was closed while this waited for its computation; ask again.")
            if self._cell is None:
                self._wait_for_workers(seen)
            else:
                self._compute_here(self._cell)

    def _refresh_elsewhere(self) -> None:
        """Look at the files of runs that another process computes."""
        with self._changed:
            elsewhere = [p for p in self._progress.values() if p.not_before and not p.in_hand]
        for progress in elsewhere:
            progress.refresh()

    def _wait_for_workers(self, seen: int) -> None:
        with self._changed:
            if self._changes == seen:
                self._changed.wait(BUSY_PAUSE_S)

    def _tell(self) -> None:
        self._changes += 1
        self._changed.notify_all()

    def _compute_here(self, cell: CellSource) -> None:
        job = self._next()
        if job is None:
            time.sleep(BUSY_PAUSE_S / 10)  # another thread or process is at every run that is left
            return
        mine = compute(job, cell, lambda: None)
        self._hand_back(job, Fate.DONE if mine else Fate.BUSY)

    def close(self) -> None:
        """End the worker processes; what is computed stays."""
        with self._changed:
            self._closed = True
            self._tell()
        self._pool.kill()

    def _take(self) -> Slice | None:
        with self._changed:
            while not self._closed:
                job = self._next()
                if job is not None:
                    return job
                self._changed.wait(BUSY_PAUSE_S if any(p.not_before and p.end is None for p in self._progress.values()) else None)
            return None

    def _next(self) -> Slice | None:
        with self._changed:
            waiting = [p for p in self._progress.values() if p.wants_computing]
            if not waiting:
                return None
            first = min(waiting, key=lambda p: p.horizon_h)
            first.in_hand = True
            start = first.start
            asked = (start.request, start.seed, CHECKUPS_PER_SLICE, start.started_h, start.faults, start.instrument)
            return Slice(first.folder, *asked)

    def _heard(self, job: Slice) -> None:
        with self._changed:
            self._progress[job.request.key].refresh()
            self._tell()

    def _hand_back(self, job: Slice, fate: Fate) -> None:
        with self._changed:
            if self._closed:
                return
            progress = self._progress[job.request.key]
            progress.in_hand = False
            progress.not_before = time.monotonic() + BUSY_PAUSE_S if fate is Fate.BUSY else 0.0
            if fate is Fate.NEVER_READY:
                self._give_up(f"the simulation's worker process does not start; its last words are in {self._log}.")
            elif fate in (Fate.DIED, Fate.TIMED_OUT):
                self._after_accident(progress, fate)
            progress.refresh()
            self._tell()

    def _give_up(self, trouble: str) -> None:
        """Nothing can be computed here any more: whoever waits or begins is told so."""
        with self._changed:
            self._trouble, self._closed = self._trouble or trouble, True
            self._tell()

    def _after_accident(self, progress: Progress, fate: Fate) -> None:
        """A run whose worker died goes on from its last check-up, but not for ever."""
        progress.refresh()
        progress.deaths += 1
        cycle, end_s = (progress.notes[-1].cycle, progress.notes[-1].end_s) if progress.notes else (0, 0.0)
        if fate is Fate.TIMED_OUT:
            cause, why = Cause.TIMEOUT, f"the computation of the cycles after cycle {cycle} took too long and was given up"
        elif progress.deaths >= DEATHS_UNTIL_FAILED:
            cause = Cause.SOLVER
            why = f"the computing process died {progress.deaths} times in the cycles after cycle {cycle} (out of memory?)"
        else:
            return
        progress.files.write_end(LifeEnd(RunState.FAILED, why, end_s, cycle, cause=cause))
