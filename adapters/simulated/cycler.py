"""The simulated cycler: channels with synthetic cells whose life tests are computed, in virtual, accelerated or real time."""

from __future__ import annotations

import os
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from adapters.peers.device_faults import refuse_if_dead
from adapters.peers.faulty_line import Line
from adapters.peers.injected_faults import GivenFaults, faults_of_run, read_faults
from adapters.peers.sensor_faults import RECORDING_FAULTS, as_recorded
from adapters.simulated.admission import refusal
from adapters.simulated.cell_steps import CyclingCell
from adapters.simulated.computation import Computation, Progress
from adapters.simulated.computing import CellSource
from adapters.simulated.instrument import InstrumentSettings, settings_of
from adapters.simulated.journal import Journal, Start, Stop
from adapters.simulated.life_test import CheckUp
from adapters.simulated.recorded import Rows, measured, true
from orchestrator.domain import Capabilities, Clock, Recording, RunRef, RunRequest, RunState, RunStatus, VirtualClock
from orchestrator.domain.errors import ChannelBusyError, CyclerError, KeyRevokedError, RequestRefusedError
from orchestrator.domain.recording import concatenate

LIMITS = frozenset({"max_voltage_V", "min_voltage_V", "max_temperature_degC", "max_current_A"})


class SimulatedCycler:
    """A cycler whose cells are models. Everything it reports is synthetic.

    Tests are computed by worker processes while the caller does other things. In virtual time an answer waits until what it
    depends on has been computed, so it never depends on how fast that is; otherwise a run counts as running until both its
    time has come and its computation has arrived there.

    Args:
        channels: how many (named "1", "2", ...), or their names.
        folder: where starts and results are kept; a temporary one if neither this nor `bind` gives it.
        clock: virtual time if neither this nor `bind` gives it.
        seed: of the production the cells are drawn from; cell and noise depend on it and the test's key alone.
        faults: what goes wrong and when, as `InjectedFault` or tables of its fields; those of cells, sensors and channels go with
            the runs that they will strike, and stay with them.
        instrument: what its channels record, as `InstrumentSettings` or a table of its fields; a test keeps that of its start.
        workers: worker processes; by default as many as cores and channels, four at most; 0 computes in the caller's thread.
        cell: a stand-in for the PyBaMM cell, used in the caller's thread; for tests.
    """

    def __init__(
        self,
        channels: int | Sequence[str],
        folder: str | Path | None = None,
        clock: Clock | None = None,
        seed: int = 0,
        name: str = "sim",
        workers: int | None = None,
        *,
        faults: GivenFaults = (),
        instrument: InstrumentSettings | Mapping[str, float | None] | None = None,
        cell: CyclingCell | None = None,
    ) -> None:
        self._channels = _channel_names(channels)
        self._faults = read_faults(faults, self._channels)
        self._own_clock, self._own_folder = clock, None if folder is None else Path(folder)
        self._line = Line(name, self._faults, lambda: self._clock.now_h(), self._own_folder)
        self._clock: Clock = clock or VirtualClock()
        self._folder = self._own_folder
        self._seed, self._name, self._instrument = seed, name, settings_of(instrument)
        self._workers = min(os.cpu_count() or 1, len(self._channels), 4) if workers is None else workers
        self._cell = cell
        self._opening = threading.RLock()
        self._journal: Journal | None = None
        self._computation: Computation | None = None

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        return Capabilities(name=self._name, channels=self._channels, limits=LIMITS, searchable=True, synthetic=True)

    @property
    def clock(self) -> Clock:
        """The lab time it lives in."""
        return self._clock

    def bind(self, clock: Clock, folder: Path) -> None:
        """Use the lab's clock and a folder of the lab's, unless the constructor was given others."""
        with self._opening:
            self._clock = self._own_clock or clock
            new_folder = self._own_folder or Path(folder)
            if new_folder != self._folder:
                self.close()
                self._folder = new_folder
                self._line.remember_in(new_folder)

    def close(self) -> None:
        """End the worker processes. Tests are not touched: they go on being computed when somebody asks again."""
        with self._opening:
            if self._computation is not None:
                self._computation.close()
            self._journal = self._computation = None

    @property
    def worker_process_ids(self) -> list[int]:
        """The worker processes now alive."""
        return [] if self._computation is None else self._computation.process_ids

    def submit(self, request: RunRequest) -> RunRef:
        """Start a test; its key is journalled and synced before this returns.

        Raises:
            RequestRefusedError: it cannot be simulated, its channel is busy or dead, or its key belongs to another test.
            CyclerUnreachableError: a fault of the line; like every method.
        """
        return self._line.submit(request, self._start)

    def _start(self, request: RunRequest) -> RunRef:
        while True:
            journal, computation = self._synced()
            with journal.alone():
                known = journal.starts().get(request.key)
                if known is not None:
                    return self._same_test(known, request)
                if request.key in journal.revoked():
                    raise KeyRevokedError(f"{self._name}: the key {request.key} was revoked; nothing is started under it.")
                self._check(request)
                holder, certain = self._holder(request.channel)
                if holder is None:
                    now_h = self._clock.now_h()
                    refuse_if_dead(self._faults, request.channel, now_h)
                    faults = faults_of_run(self._faults, request.channel, now_h)
                    start = Start(request, now_h, self._seed, faults, self._instrument)
                    journal.add_start(start)
                    break
            if certain:
                raise ChannelBusyError(f"channel {request.channel} of {self._name} is busy with test {holder}.")
            computation.wait(self._known_until_now(computation.add(journal.starts()[holder])))
        computation.add(start)
        computation.begin()
        return self._ref(start)

    def find(self, key: str) -> RunRef | None:
        """The test started under a key, in this process or any before it."""
        return self._line.find(key, self._find)

    def _find(self, key: str) -> RunRef | None:
        start = self._opened()[0].starts().get(key)
        return None if start is None else self._ref(start)

    def revoke(self, key: str) -> RunRef | None:
        """Never start a key from now on; its test, if it was started already."""
        return self._line.find(key, self._revoke)

    def _revoke(self, key: str) -> RunRef | None:
        start = self._opened()[0].revoke(key)
        return None if start is None else self._ref(start)

    def status(self, ref: RunRef) -> RunStatus:
        """What a test is doing at the present lab time."""
        return self._line.ask(ref, lambda: self._status_of(ref))

    def _status_of(self, ref: RunRef) -> RunStatus:
        found = self._look(ref)
        if found is None:
            return RunStatus(RunState.UNKNOWN, reason=f"{self._name} never started a test {ref.key}")
        progress, stop = found
        return _status(progress, stop, self._clock.now_h())

    def read(self, ref: RunRef, cursor: str | None = None) -> tuple[Rows, str | None]:
        """Check-up cycles finished since `cursor`, as the channel's instrument measured them; the cursor counts check-ups."""
        rows, following = self._line.read(ref, cursor, self._read)
        return rows, following

    def _read(self, ref: RunRef, cursor: str | None) -> tuple[Rows, str | None]:
        found = self._look(ref)
        if found is None:
            return {}, cursor
        checkups = self._checkups(*found, _first(cursor))
        rows = dict(concatenate(list(self._recorded(*found, checkups))))
        following = checkups[-1].index + 1 if checkups else _first(cursor)
        return rows if rows and len(next(iter(rows.values()))) else {}, str(following) if following else None

    def _recorded(self, progress: Progress, stop: Stop | None, checkups: list[CheckUp]) -> list[Rows]:
        """Check-ups as the channel's instrument and its sensors, faulty or not, recorded them."""
        start = progress.start
        if not checkups or not any(fault.kind in RECORDING_FAULTS for fault in start.faults):
            return [measured(start, checkup) for checkup in checkups]
        all_of_them = [measured(start, c) for c in self._checkups(progress, stop, 0)]  # a stuck sensor repeats what was before
        seed = [start.seed, int(start.folder_name[:8], 16)]
        return as_recorded(all_of_them, start.faults, start.started_h, seed)[checkups[0].index : checkups[-1].index + 1]

    def truth(self, ref: RunRef) -> Recording:
        """The recording so far, free of noise."""
        found = self._look(ref)
        if found is None:
            raise CyclerError(f"{self._name} never started a test {ref.key}.")
        progress, stop = found
        request = progress.start.request
        return Recording(
            columns=concatenate([true(progress.start, c) for c in self._checkups(progress, stop, 0)]),
            nominal_capacity_Ah=request.cell.nominal_capacity_Ah,
            end_of_life=request.end_of_life,
            complete=_status(progress, stop, self._clock.now_h()).state is RunState.FINISHED,
            synthetic=True,
            key=ref.key,
        )

    def stop(self, ref: RunRef, reason: str) -> None:
        """End a test now; nothing happens if it has ended."""
        self._line.ask(ref, lambda: self._stop(ref, reason))

    def _stop(self, ref: RunRef, reason: str) -> None:
        found = self._look(ref)
        if found is None:
            raise CyclerError(f"{self._name} never started a test {ref.key}; nothing was stopped.")
        self._order_stop(*found, reason)

    def emergency_stop(self, channel: str | None = None) -> None:
        """End every test, or that of one channel, now; nothing is waited for."""
        if channel is not None and channel not in self._channels:
            raise CyclerError(f"{self._name} has no channel {channel}; it has {', '.join(self._channels)}.")
        self._line.ask_device(channel, lambda: self._stop_all(channel))

    def _stop_all(self, channel: str | None) -> None:
        journal, computation = self._opened()  # no look at every test ever made: there may be thousands, and no time
        stops, now = journal.stops(), self._clock.now_h()
        for start in journal.starts().values():
            if start.key not in stops and channel in (None, start.request.channel) and not computation.ended_by(start, now):
                self._order_stop(computation.add(start), None, "emergency stop")

    def next_end_h(self) -> float | None:
        """Lab time of the earliest end among running tests, or of an answer kept back by a faulty line; None if there is neither.

        It waits only until every other running test is known to last longer; their computation goes on in the background.
        """
        return min((h for h in (self._next_end_h(), self._line.next_answer_h()) if h is not None), default=None)

    def _next_end_h(self) -> float | None:
        _, computation = self._synced()
        earliest: float | None = None

        def settled() -> bool:
            nonlocal earliest
            running = self._running()
            earliest = min((p.end_h for p in running if p.end_h is not None), default=None)
            return not running or (earliest is not None and all(p.horizon_h >= earliest for p in running))

        computation.wait(settled)
        return earliest

    def physical_starts(self) -> dict[str, int]:
        """How often each key was started, counted in the journal's own file."""
        return self._opened()[0].physical_starts()

    def _opened(self) -> tuple[Journal, Computation]:
        with self._opening:
            if self._journal is None or self._computation is None:
                if self._folder is None:
                    temporary = tempfile.TemporaryDirectory(prefix="voltloop-simulated-")
                    weakref.finalize(self, temporary.cleanup)
                    self._folder = Path(temporary.name)
                self._journal = Journal(self._folder)
                self._computation = Computation(self._folder / "runs", self._workers, self._cell_source())
                weakref.finalize(self, self._computation.close)
            return self._journal, self._computation

    def _cell_source(self) -> CellSource | None:
        """Where a cell for the caller's own thread comes from; None leaves computing to the workers."""
        cell = self._cell
        if cell is not None:
            return lambda _preset: cell
        return _own_pybamm_cell if self._workers == 0 else None

    def _synced(self) -> tuple[Journal, Computation]:
        """Journal and computation, tests adopted that another process or a former self started."""
        journal, computation = self._opened()
        stops = journal.stops()
        for start in journal.starts().values():
            progress = computation.add(start)
            if start.key in stops:
                computation.want_until(start.key, -1.0 if stops[start.key].settled else stops[start.key].stopped_h)
            elif progress.end is None and not progress.in_hand:
                progress.refresh()
        return journal, computation

    def _look(self, ref: RunRef) -> tuple[Progress, Stop | None] | None:
        """A test and its order to stop, known as far as an answer now needs it."""
        journal, computation = self._synced()
        start = journal.starts().get(ref.key)
        if start is None or ref.native_id != start.folder_name:
            return None
        progress, stop = computation.add(start), journal.stops().get(ref.key)
        if self._waits and not (stop is not None and stop.settled):
            computation.wait(self._known_until_now(progress))
        elif stop is None and progress.end is None:
            computation.begin()
        return progress, stop

    @property
    def _waits(self) -> bool:
        return isinstance(self._clock, VirtualClock) or self._workers == 0 or self._cell is not None

    def _known_until_now(self, progress: Progress) -> Callable[[], bool]:
        return lambda: progress.horizon_h >= min(self._clock.now_h(), progress.wanted_h)

    def _running(self) -> list[Progress]:
        journal, computation = self._opened()
        stops, now = journal.stops(), self._clock.now_h()
        starts = [s for s in journal.starts().values() if s.key not in stops]
        return [p for p in map(computation.add, starts) if p.end_h is None or p.end_h > now]

    def _holder(self, channel: str) -> tuple[str | None, bool]:
        """The key of the test that holds a channel, and whether that is certain yet."""
        now = self._clock.now_h()
        for progress in self._running():
            if progress.start.request.channel == channel:
                return progress.start.key, not self._waits or progress.horizon_h >= now
        return None, True

    def _order_stop(self, progress: Progress, stop: Stop | None, reason: str) -> None:
        now = max(self._clock.now_h(), progress.start.started_h)  # another program's virtual time may be ahead of this one's
        if stop is not None or (progress.end_h is not None and progress.end_h <= now):
            return
        settled = not self._waits or progress.horizon_h >= now
        journal, computation = self._opened()
        journal.add_stop(Stop(progress.start.key, now, reason, settled))
        computation.want_until(progress.start.key, -1.0 if settled else now)

    def _checkups(self, progress: Progress, stop: Stop | None, first: int) -> list[CheckUp]:
        until_h = self._clock.now_h() if stop is None else min(stop.stopped_h, self._clock.now_h())
        past = [note for note in progress.notes[first:] if progress.lab_h(note.end_s) <= until_h]
        return [progress.files.checkup(note.index) for note in past]

    def _check(self, request: RunRequest) -> None:
        problem = self._problem(request)
        if problem is not None:
            raise RequestRefusedError(f"{self._name} cannot run test {request.key}: {problem}")

    def _problem(self, request: RunRequest) -> str | None:
        if request.channel not in self._channels:
            return f"there is no channel {request.channel}; it has {', '.join(self._channels)}."
        return refusal(request, self._instrument.period_s)

    def _same_test(self, known: Start, request: RunRequest) -> RunRef:
        if known.request.content_sha256 != request.content_sha256:
            raise RequestRefusedError(f"the key {request.key} belongs to a test with another content; use a key of its own.")
        return self._ref(known)

    def _ref(self, start: Start) -> RunRef:
        return RunRef(self._name, start.key, start.request.channel, start.folder_name)


def _status(progress: Progress, stop: Stop | None, now_h: float) -> RunStatus:
    end, started_h = progress.end, progress.start.started_h
    until_h = now_h if stop is None else min(now_h, stop.stopped_h)
    ended_h = progress.end_h
    if end is not None and ended_h is not None and ended_h <= until_h and not (stop is not None and stop.settled):
        return RunStatus(end.state, end.reason, end.safety, end.cycles, started_h, ended_h, cause=end.cause)
    cycles = progress.cycles_at(until_h)
    if stop is not None:
        return RunStatus(RunState.STOPPED, stop.reason, False, cycles, started_h, stop.stopped_h)
    return RunStatus(RunState.RUNNING, cycles=cycles, started_h=started_h)


def _first(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not cursor.isdecimal():
        raise CyclerError(f"'{cursor}' is no cursor of this cycler; use one that read() returned.")
    return int(cursor)


def _channel_names(channels: int | Sequence[str]) -> tuple[str, ...]:
    names = tuple(str(n + 1) for n in range(channels)) if isinstance(channels, int) else tuple(map(str, channels))
    if not names or len(set(names)) < len(names):
        raise CyclerError(f"channels must be at least one, with names that differ (got {channels!r}).")
    return names


def _own_pybamm_cell(preset: str) -> CyclingCell:
    """This process's PyBaMM cell of a preset, built when first asked for."""
    from adapters.simulated.cell_model import pybamm_cell

    return pybamm_cell(preset)
