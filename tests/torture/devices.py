"""A cycler in the physical world: what it truly did is recorded, and survives everybody who talks to it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from adapters.peers.device_faults import cut, refuse_if_dead
from adapters.peers.faulty_line import FaultyLine
from adapters.peers.injected_faults import FaultKind
from orchestrator.domain import Candidate, Estimate
from orchestrator.domain.cycler import Capabilities, RunRef, RunRequest, RunState, RunStatus
from orchestrator.domain.errors import ChannelBusyError, KeyRevokedError
from tests.torture.plans import CYCLER, METRIC, RATE
from tests.torture.world import LEASE_S, World

LIMITS = frozenset({"max_voltage_V", "min_voltage_V", "max_temperature_degC", "max_current_A"})
ROWS = 6
_COLUMNS = ("test_time_second", "voltage_volt", "current_ampere")
T = TypeVar("T")


@dataclass
class Run:
    """A test that truly ran.

    Attributes:
        start_h, end_h: lab time; the end is that planned until `state` says that it has come.
        by_person: somebody stopped it at the cycler itself.
    """

    request: RunRequest
    start_h: float
    end_h: float
    coming: RunState
    reason: str | None
    state: RunState = RunState.RUNNING
    by_person: bool = False

    @property
    def attempt(self) -> tuple[str, int, int]:
        """Campaign, trial and attempt, as the key says."""
        return attempt_of(self.request.key)


def attempt_of(key: str) -> tuple[str, int, int]:
    """Campaign, trial and attempt of a key; whatever else it says does not count."""
    campaign, number, attempt, *_ = key.split("/")
    return campaign, int(number), int(attempt)


class Device:
    """The cycler itself: channels, tests by key, and the journal of what was physically started.

    Args:
        world: whose time it lives in and who is told of each start.
        judge: looks at each physical start at the moment it happens.
    """

    def __init__(self, world: World, judge: Callable[[Device, RunRequest], None]) -> None:
        plan = world.plan
        self._world, self._judge, self._plan = world, judge, plan
        self.journal: list[Run] = []
        self.revoked: set[str] = set()
        self._by_key: dict[str, Run] = {}
        self._faults = [f for f in plan.faults if f.kind in (FaultKind.CHANNEL_DEAD, FaultKind.POWER_LOSS)]
        self.capabilities = Capabilities(
            name=CYCLER,
            channels=plan.channels,
            limits=LIMITS,
            searchable=plan.searchable,
            metrics=frozenset({METRIC}),
            records=plan.records,
        )
        if plan.revocable:
            self.revoke = self._revoke

    @property
    def now_h(self) -> float:
        """Lab time."""
        return self._world.clock.now_h()

    def submit(self, request: RunRequest) -> RunRef:
        """Start a test. A cycler that can be searched knows its keys; another one starts whatever it is told to."""
        self.settle()
        known = self._by_key.get(request.key)
        if known is not None and self._plan.searchable:
            return _ref(known)
        if request.key in self.revoked:
            self._world.counts["late submissions refused"] += 1
            raise KeyRevokedError(f"the key {request.key} was revoked.")
        refuse_if_dead(self._faults, request.channel, self.now_h)
        busy = self.occupant(request.channel)
        if busy is not None and self._plan.careful:
            self._world.counts["busy refusals"] += 1
            raise ChannelBusyError(f"channel {request.channel} is busy with {busy.request.key}.")
        self._judge(self, request)
        run = self._begin(request)
        self.journal.append(run)
        self._by_key[request.key] = run
        self._world.counts["starts"] += 1
        self._world.note(f"START {request.key} on {request.channel}")
        return _ref(run)

    def _begin(self, request: RunRequest) -> Run:
        rate = float(request.candidate.parameters[RATE])
        shortest, longest = self._plan.duration_h
        start_h = self.now_h
        end_h = start_h + shortest + (longest - shortest) * share_of(request.candidate)
        broken = cut(self._faults, request.channel, start_h)
        if broken is not None and broken.at_h < end_h:
            return Run(request, start_h, broken.at_h, RunState.FAILED, broken.reason)
        hopeless = share_of(request.candidate) > 0.93
        return Run(
            request, start_h, end_h, RunState.FAILED if hopeless else RunState.FINISHED, "no answer" if hopeless else f"{rate}"
        )

    def find(self, key: str) -> RunRef | None:
        """The run of a key; a cycler that cannot be searched never finds any."""
        self.settle()
        run = self._by_key.get(key) if self._plan.searchable else None
        return None if run is None else _ref(run)

    def _revoke(self, key: str) -> RunRef | None:
        self.settle()
        run = self._by_key.get(key)
        if run is None:
            self.revoked.add(key)
            return None
        return _ref(run)

    def status(self, ref: RunRef) -> RunStatus:
        """What a run is doing."""
        self.settle()
        run = self._by_key.get(ref.key)
        if run is None:
            return RunStatus(RunState.UNKNOWN)
        ended = run.state.ended
        return RunStatus(
            run.state,
            reason=run.reason if ended and run.state is not RunState.FINISHED else None,
            started_h=run.start_h,
            ended_h=run.end_h if ended else None,
            results=result_of(run) if run.state is RunState.FINISHED else {},
            cause="device" if ended and run.reason and ("power" in run.reason or "died" in run.reason) else None,
        )

    def read(self, ref: RunRef, cursor: str | None = None) -> tuple[dict[str, NDArray[Any]], str | None]:
        """The rows since a cursor, a few at a time."""
        run = self._by_key.get(ref.key)
        first = int(cursor or 0)
        if run is None or not self._plan.records or first >= ROWS:
            return {}, cursor
        last = min(first + 2, ROWS)
        return {name: column[first:last] for name, column in rows_of(run).items()}, str(last)

    def stop(self, ref: RunRef, reason: str) -> None:
        """End a run now."""
        self.settle()
        run = self._by_key.get(ref.key)
        if run is not None:
            self._end(run, RunState.STOPPED, self.now_h, reason)

    def emergency_stop(self, channel: str | None = None) -> None:
        """End what runs on a channel, or everything."""
        self.settle()
        for run in self.journal:
            if channel in (None, run.request.channel):
                self._end(run, RunState.STOPPED, self.now_h, "emergency stop")

    def settle(self) -> None:
        """Let every test end whose time has come."""
        for run in self.journal:
            if run.end_h <= self.now_h:
                self._end(run, run.coming, run.end_h, run.reason)

    def _end(self, run: Run, state: RunState, at_h: float, reason: str | None) -> None:
        if not run.state.ended:
            run.state, run.end_h, run.reason = state, at_h, reason
            self._world.note(f"END {run.request.key}: {state}")

    def occupant(self, channel: str) -> Run | None:
        """What truly runs on a channel now."""
        self.settle()
        return next((run for run in self.journal if run.request.channel == channel and not run.state.ended), None)

    def run_of(self, key: str) -> Run | None:
        """What somebody sees who walks to the cycler and looks for a test."""
        self.settle()
        return self._by_key.get(key)

    def dead(self, channel: str) -> bool:
        """Whether a channel is out of order now."""
        return any(f.kind is FaultKind.CHANNEL_DEAD and f.active(self.now_h, channel) for f in self._faults)


class Driver:
    """The cycler as one process sees it: each call is a point at which the process may stop for a while, or for good.

    Args:
        world: with the scheduler.
        line: to the device, with its faults; one for all.
        device: looked at directly by a person who types in what the cycler's own screen shows.
        person: whether it is a person's.
    """

    def __init__(self, world: World, line: FaultyLine, device: Device, *, person: bool) -> None:
        self._world, self._line, self._device, self._person = world, line, device, person
        self.capabilities = device.capabilities
        if hasattr(line, "revoke"):
            self.revoke = lambda key: self._call("revoke", key, lambda: line.revoke(key))

    def submit(self, request: RunRequest) -> RunRef:
        """Start a test.

        Nothing can be done against a stalled process that goes on in the middle of this call, if the cycler cannot revoke: with
        such a cycler it is killed instead.
        """
        world, actor = self._world, self._world.current
        world.point(f"submit {request.key} >")
        if actor is not None and not world.plan.revocable and world.now_s - actor.heard_s > LEASE_S / 2:
            world.crash(actor)
        try:
            return self._line.submit(request)
        finally:
            self._world.point(f"submit {request.key} <")

    def find(self, key: str) -> RunRef | None:
        """The run of a key."""
        if self._person:
            run = self._device.run_of(key)
            return None if run is None else _ref(run)
        found = self._call("find", key, lambda: self._line.find(key))
        if found is not None:
            self._world.counts["adoptions"] += 1
        return found

    def status(self, ref: RunRef) -> RunStatus:
        """What a run is doing."""
        return self._call("status", ref.key, lambda: self._line.status(ref))

    def read(self, ref: RunRef, cursor: str | None = None) -> tuple[dict[str, NDArray[Any]], str | None]:
        """Rows since a cursor."""
        return self._call("read", ref.key, lambda: self._line.read(ref, cursor))

    def stop(self, ref: RunRef, reason: str) -> None:
        """Ask for a run to end."""
        self._call("stop", ref.key, lambda: self._line.stop(ref, reason))

    def emergency_stop(self, channel: str | None = None) -> None:
        """Make a channel, or all, safe."""
        self._call("emergency_stop", str(channel), lambda: self._line.emergency_stop(channel))

    def _call(self, name: str, key: str, call: Callable[[], T]) -> T:
        self._world.point(f"{name} {key} >")
        try:
            return call()
        finally:
            self._world.point(f"{name} {key} <")


def share_of(candidate: Candidate) -> float:
    """A number in 0..1 that belongs to a candidate."""
    digest = hashlib.sha256(f"{float(candidate.parameters[RATE]):.9g}".encode()).digest()
    return int.from_bytes(digest[:4]) / 2**32


def result_of(run: Run) -> dict[str, Estimate]:
    """What a test that ran to its end gives: a function of its candidate."""
    rate = float(run.request.candidate.parameters[RATE])
    return {METRIC: Estimate(10.0 - (rate - 1.7) ** 2, sem=0.1)}


def rows_of(run: Run) -> dict[str, NDArray[np.float64]]:
    """What is recorded of a test."""
    time_s = np.arange(ROWS) * 10.0
    voltage = 3.0 + 0.1 * np.arange(ROWS) + share_of(run.request.candidate)
    return dict(zip(_COLUMNS, (time_s, voltage, np.ones(ROWS)), strict=True))


def _ref(run: Run) -> RunRef:
    return RunRef(CYCLER, run.request.key, run.request.channel, run.request.key)
