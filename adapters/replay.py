"""A cycler that answers from a table of recorded or simulated results: for methods' tests on published campaigns.

Nothing is cycled. A run takes `duration_h` of lab time and ends with the row's value of each target, plus Gaussian
noise of a known standard deviation.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adapters.peers.device_faults import cut, refuse_if_dead
from adapters.peers.faulty_line import Line
from adapters.peers.injected_faults import LINE_FAULTS, FaultKind, GivenFaults, faults_of_run, read_faults
from adapters.peers.run_journal import Run, RunJournal
from orchestrator.domain.candidate import Candidate, ParameterValue, read_rows
from orchestrator.domain.clock import Clock, SystemClock
from orchestrator.domain.cycler import Capabilities, RunRef, RunRequest, RunState, RunStatus
from orchestrator.domain.errors import Fault, RequestRefusedError, SpecError
from orchestrator.domain.objectives import Estimate
from orchestrator.domain.recording import Recording

Row = Mapping[str, ParameterValue | None]
_ALL_LIMITS = frozenset({"max_voltage_V", "min_voltage_V", "max_temperature_degC", "max_current_A"})


FAULTS = LINE_FAULTS | {FaultKind.CHANNEL_DEAD, FaultKind.POWER_LOSS}


class _Ending(NamedTuple):
    """How a running test will end."""

    at_h: float
    key: str
    state: RunState = RunState.FINISHED
    reason: str | None = None


class ReplayCycler:
    """Replays results from a table.

    Args:
        table: path of a CSV, or its rows; `id` names a row, else `row<n>`.
        target: the result column, which is then the metric's name too; or columns by metric name.
        noise_sd: standard deviation of the noise added to every result, in the target's unit; or one by metric.
        duration_h: lab time that a test takes, hours; or the name of a column that holds it.
        channels: how many, or their names.
        synthetic: whether the table's numbers come from a model.
        faults: what goes wrong and when, as `InjectedFault` or tables of its fields: on the line and on the device. A replay has
            neither cells nor sensors nor rows.
    """

    def __init__(
        self,
        table: str | Path | Sequence[Row],
        target: str | Mapping[str, str],
        noise_sd: float | Mapping[str, float] = 0.0,
        duration_h: float | str = 1.0,
        channels: int | Sequence[str] = 8,
        *,
        seed: int = 0,
        name: str = "replay",
        synthetic: bool = False,
        folder: Path | None = None,
        clock: Clock | None = None,
        faults: GivenFaults = (),
    ) -> None:
        rows = read_rows(Path(table)) if isinstance(table, (str, Path)) else tuple(dict(row) for row in table)
        self._targets = {target: target} if isinstance(target, str) else dict(target)
        self._noise_sd = {m: _noise_of(noise_sd, m) for m in self._targets}
        self._duration_h, self._seed = duration_h, seed
        self._rows = _checked(rows, [*self._targets.values()], "target")
        _check_durations(self._rows, duration_h)
        self._ids = {str(row.get("id") or f"row{i}"): i for i, row in enumerate(self._rows)}
        names = tuple(str(i + 1) for i in range(channels)) if isinstance(channels, int) else tuple(channels)
        if not names or len(set(names)) < len(names):
            raise SpecError(Fault("channels", f"must be at least one, with names that differ (got {channels!r})."))
        self.capabilities = Capabilities(
            name=name,
            channels=names,
            limits=_ALL_LIMITS,
            metrics=frozenset(self._targets),
            synthetic=synthetic,
            records=False,
        )
        self._faults = read_faults(faults, names, FAULTS, "a replay")
        self._line = Line(name, self._faults, self._now_h, folder)
        self._own_folder, self._own_clock = folder, clock
        self._folder, self._clock = folder, clock
        self._opened: RunJournal | None = None
        self._row_indices: dict[tuple[object, ...], int | None] = {}
        self._coming: tuple[int, list[_Ending]] = (-1, [])
        self._endings: dict[str, _Ending] = {}

    @property
    def clock(self) -> Clock:
        """The lab time it lives in: real time, if neither the constructor nor the lab gave another."""
        return self._clock or SystemClock()

    def bind(self, clock: Clock, folder: Path) -> None:
        """Use the lab's clock and keep the journal in the lab's folder, unless the constructor was given others."""
        self._clock = self._own_clock or clock
        if self._folder != (wanted := self._own_folder or folder):
            self._folder, self._opened, self._coming, self._endings = wanted, None, (-1, []), {}
            self._line.remember_in(wanted)

    def submit(self, request: RunRequest) -> RunRef:
        """Start a replay; the same key again starts nothing."""
        return self._line.submit(request, self._start)

    def _start(self, request: RunRequest) -> RunRef:
        if request.channel not in self.capabilities.channels:
            raise RequestRefusedError(f"'{self.capabilities.name}' has no channel '{request.channel}'.")
        self._row(request.candidate)
        self._settle()
        now_h = self._now_h()
        if self._journal.find(request.key) is None:
            refuse_if_dead(self._faults, request.channel, now_h)
        return self._ref(self._journal.start(request, now_h, faults_of_run(self._faults, request.channel, now_h)))

    def find(self, key: str) -> RunRef | None:
        """The run of a key, or None."""
        return self._line.find(key, self._find)

    def _find(self, key: str) -> RunRef | None:
        run = self._journal.find(key)
        return None if run is None else self._ref(run)

    def revoke(self, key: str) -> RunRef | None:
        """Never start a key from now on; its run, if it was started already."""
        return self._line.find(key, self._revoke)

    def _revoke(self, key: str) -> RunRef | None:
        run = self._journal.revoke(key)
        return None if run is None else self._ref(run)

    def status(self, ref: RunRef) -> RunStatus:
        """Running until its duration has passed; then finished, with its results."""
        return self._line.ask(ref, lambda: self._status(ref))

    def _status(self, ref: RunRef) -> RunStatus:
        self._settle()
        run = self._journal.find(ref.key)
        if run is None:
            return RunStatus(RunState.UNKNOWN, reason=f"no run '{ref.key}' was ever started here")
        results = self._results(run) if run.state is RunState.FINISHED else {}
        cause = "device" if run.state is RunState.FAILED else None
        return RunStatus(run.state, reason=run.reason, started_h=run.start_h, ended_h=run.end_h, results=results, cause=cause)

    def read(self, ref: RunRef, cursor: str | None = None) -> tuple[dict[str, NDArray[Any]], str | None]:
        """A replay has results, not rows."""
        return self._line.ask(ref, lambda: ({}, cursor))

    def stop(self, ref: RunRef, reason: str) -> None:
        """End a run now, without a result."""
        self._line.ask(ref, lambda: self._stop(ref, reason))

    def _stop(self, ref: RunRef, reason: str) -> None:
        self._settle()
        if self._journal.find(ref.key) is not None:
            self._journal.end(ref.key, RunState.STOPPED, self._now_h(), reason)

    def emergency_stop(self, channel: str | None = None) -> None:
        """End the run on a channel, or all."""
        self._line.ask_device(channel, lambda: self._stop_all(channel))

    def _stop_all(self, channel: str | None) -> None:
        self._settle()
        for run in self._journal.runs():
            if not run.state.ended and channel in (None, run.channel):
                self._journal.end(run.key, RunState.STOPPED, max(self._now_h(), run.start_h), "emergency stop")

    def next_end_h(self) -> float | None:
        """When the next run ends, or a faulty line gives an answer that it keeps back now."""
        self._settle()
        coming = [*(ending.at_h for ending in self._ends()[:1]), self._line.next_answer_h()]
        return min((at_h for at_h in coming if at_h is not None), default=None)

    def truth(self, ref: RunRef) -> Recording:
        """The table's own values, without noise."""
        run = self._journal.find(ref.key)
        row = None if run is None else self._row(run.request.candidate)
        results = {} if row is None else {m: Estimate(_number(row[c])) for m, c in self._targets.items()}
        return Recording(results=results, synthetic=self.capabilities.synthetic, key=ref.key)

    def physical_starts(self) -> dict[str, int]:
        """How often each key was started, counted from the journal's file."""
        return self._journal.physical_starts()

    @property
    def _journal(self) -> RunJournal:
        if self._opened is None:
            self._folder = self._folder or Path(tempfile.mkdtemp(prefix="voltloop-replay-"))
            self._opened = RunJournal(self._folder)
        return self._opened

    def _now_h(self) -> float:
        return self.clock.now_h()

    def _settle(self) -> None:
        """Note the end of every run whose time has come."""
        now_h = self._now_h()
        for ending in self._ends():
            if ending.at_h > now_h:
                break
            self._journal.end(ending.key, ending.state, ending.at_h, ending.reason)

    def _ends(self) -> list[_Ending]:
        """How each running test ends, the earliest first; worked out again whenever the journal has changed."""
        changes = self._journal.changes
        if self._coming[0] != changes:
            self._endings = {run.key: self._endings.get(run.key) or self._ending(run) for run in self._running()}
            self._coming = changes, sorted(self._endings.values())
        return self._coming[1]

    def _running(self) -> list[Run]:
        """The running tests of this table; a namesake with another table may share the folder."""
        return [run for run in self._journal.open_runs() if self._find_row(run.request.candidate) is not None]

    def _ending(self, run: Run) -> _Ending:
        """Its duration's end, or that which a fault of the device makes of it before."""
        end_h, broken = self._end_h(run), cut(run.faults, run.channel, run.start_h)
        if broken is not None and broken.at_h < end_h:
            return _Ending(broken.at_h, run.key, RunState.FAILED, broken.reason)
        return _Ending(end_h, run.key)

    def _end_h(self, run: Run) -> float:
        stated = self._duration_h
        return run.start_h + (_number(self._row(run.request.candidate)[stated]) if isinstance(stated, str) else stated)

    def _results(self, run: Run) -> dict[str, Estimate]:
        row, results = self._row(run.request.candidate), {}
        random = np.random.default_rng([self._seed, int.from_bytes(hashlib.sha256(run.key.encode()).digest()[:8])])
        for metric, column in self._targets.items():
            noise_sd = self._noise_sd[metric]
            results[metric] = Estimate(_number(row[column]) + noise_sd * random.standard_normal(), sem=noise_sd)
        return results

    def _row(self, candidate: Candidate) -> Row:
        row = self._find_row(candidate)
        if row is None:
            raise RequestRefusedError(f"the table of '{self.capabilities.name}' has no row for {candidate.describe()}.")
        return row

    def _find_row(self, candidate: Candidate) -> Row | None:
        asked = (candidate.id, *candidate.parameters.items())
        if asked not in self._row_indices:
            self._row_indices[asked] = self._index_of(candidate)
        index = self._row_indices[asked]
        return None if index is None else self._rows[index]

    def _index_of(self, candidate: Candidate) -> int | None:
        if candidate.id in self._ids:
            return self._ids[candidate.id]
        shared = [n for n in candidate.parameters if n in self._rows[0]]
        rows = enumerate(self._rows) if shared else ()
        return next((i for i, row in rows if all(_same(row[n], candidate.parameters[n]) for n in shared)), None)

    def _ref(self, run: Run) -> RunRef:
        return RunRef(self.capabilities.name, run.key, run.channel, run.key)


def _checked(rows: tuple[Row, ...], columns: list[str], what: str) -> tuple[Row, ...]:
    """The rows, if each has a finite number in each of the columns."""
    if not rows:
        raise SpecError(Fault("table", "holds no rows."))
    for column in columns:
        if column not in rows[0]:
            raise SpecError(Fault(what, f"'{column}' is not a column of the table.", f"Columns: {', '.join(rows[0])}."))
        for i, row in enumerate(rows):
            cell = row.get(column)
            if not isinstance(cell, (int, float)):
                raise SpecError(Fault(f"table row {i}", f"has no number in the column '{column}'."))
            if not math.isfinite(cell):
                raise SpecError(Fault(f"table row {i}", f"must have a finite number in the column '{column}' (got {cell})."))
    return rows


def _check_durations(rows: tuple[Row, ...], duration_h: float | str) -> None:
    if not isinstance(duration_h, str):
        if not (math.isfinite(duration_h) and duration_h > 0):
            raise SpecError(Fault("duration_h", f"must be a finite number of hours above 0 (got {duration_h})."))
        return
    durations = [_number(row[duration_h]) for row in _checked(rows, [duration_h], "duration_h")]
    short = next((i for i, hours in enumerate(durations) if hours <= 0), None)
    if short is not None:
        got = f"(got {durations[short]:g})"
        raise SpecError(Fault(f"table row {short}", f"must have a duration above 0 h in the column '{duration_h}' {got}."))


def _noise_of(noise_sd: float | Mapping[str, float], metric: str) -> float:
    sd = noise_sd.get(metric, 0.0) if isinstance(noise_sd, Mapping) else noise_sd
    if not (math.isfinite(sd) and sd >= 0):
        raise SpecError(Fault("noise_sd", f"must be a finite number >= 0 (got {sd})."))
    return float(sd)


def _number(cell: ParameterValue | None) -> float:
    return float(cell)  # type: ignore[arg-type]  # `_checked` has seen that these columns hold numbers


def _same(a: ParameterValue | None, b: ParameterValue) -> bool:
    numbers = isinstance(a, (int, float)) and isinstance(b, (int, float))
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) if numbers else a == b  # type: ignore[arg-type]
