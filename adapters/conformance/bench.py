"""What the rules work with: the driver under test, requests that are soon over, time that passes, one run watched to its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.candidate import Candidate
from orchestrator.domain.cell_design import cell_design
from orchestrator.domain.clock import Clock, SystemClock, VirtualClock
from orchestrator.domain.cycler import Cycler, LabBound, RunRef, RunRequest, RunState, RunStatus, join_columns
from orchestrator.domain.protocol import ConstantCurrent, ConstantVoltage, Protocol, SafetyLimits

Rows = dict[str, NDArray[Any]]
STEP_GROWTH = 1.5
MOST_READINGS = 100_000
ANSWER_WITHIN_S = 120.0


class BrokenRuleError(AssertionError):
    """A rule does not hold; `rule` where it is not the one being tried."""

    def __init__(self, seen: str, rule: str | None = None) -> None:
        super().__init__(seen)
        self.rule = rule


class NotTriedError(Exception):
    """A rule means nothing for this cycler."""


def expect(holds: object, seen: str) -> None:
    """Break the rule being tried unless something holds.

    Raises:
        BrokenRuleError: with what was seen instead.
    """
    if not holds:
        raise BrokenRuleError(seen)


def short_request(key: str, channel: str, **changes: Any) -> RunRequest:
    """A test of two cycles of an A123 cell, over within hours: discharge, charge, hold."""
    steps = (
        ConstantCurrent(-4.4, until_voltage_V=2.0),
        ConstantCurrent(4.4, until_voltage_V=3.6),
        ConstantVoltage(3.6, until_current_A=0.11),
    )
    protocol = Protocol(steps, SafetyLimits(max_voltage_V=3.65, min_voltage_V=1.9))
    fields = {"candidate": Candidate({"c1": 4.0}), "cell": cell_design("lfp_a123"), "protocol": protocol, "max_cycles": 2}
    return RunRequest(key, channel, **{**fields, **changes})


class LabTime:
    """Time as the drivers under test know it; it passes when asked to.

    A driver that lives in the lab (`LabBound`) is bound to a virtual clock and a folder of the check's own; one with a `clock`
    of its own keeps that.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._ours = folder, VirtualClock()
        self._clocks: list[Clock] = []

    def take_in(self, cycler: Cycler) -> None:
        """Have a new driver live in this time."""
        if isinstance(cycler, LabBound):
            cycler.bind(self._ours, self._folder / "device")
        clock = getattr(cycler, "clock", None)
        now_h = self.now_h if self._clocks else 0.0
        own = clock if isinstance(clock, Clock) else self._ours if isinstance(cycler, LabBound) else SystemClock()
        if own not in self._clocks:
            self._clocks.append(own)
        if isinstance(own, VirtualClock):
            own.wait_until(now_h)

    @property
    def now_h(self) -> float:
        """The latest that any driver thinks it is."""
        return max(clock.now_h() for clock in self._clocks)

    def let_pass(self, hours: float) -> None:
        """Wait, in whatever time the drivers live."""
        until_h = self.now_h + hours
        for clock in self._clocks:
            clock.wait_until(until_h)


@dataclass(frozen=True)
class Look:
    """What was seen of a run at one moment: its status, and the rows after the cursor of the look before.

    `elapsed_h` is the lab time since just before its start, where it is known.
    """

    status: RunStatus
    after: str | None
    rows: Rows
    cursor: str | None
    elapsed_h: float | None = None


@dataclass(frozen=True)
class WatchedRun:
    """One run looked at again and again until its end."""

    request: RunRequest
    ref: RunRef
    looks: tuple[Look, ...]

    @property
    def end(self) -> RunStatus:
        """Its status when it had ended."""
        return self.looks[-1].status

    @property
    def pieces(self) -> Rows:
        """The rows of all looks, joined."""
        return join_columns([look.rows for look in self.looks])


@dataclass
class Bench:
    """A driver under test and what it takes to try it.

    Attributes:
        make: gives a driver of the same device.
        request_for: a request that is over within `longest_h`, from a key and a channel.
        let_pass: lets hours of lab time pass.
        step_h: the first look at a running test comes after this; later ones ever further apart.
        keys: what this check's keys begin with.
        now_h: lab time, if it is known here.
    """

    make: Callable[[], Cycler]
    request_for: Callable[[str, str], RunRequest]
    let_pass: Callable[[float], None]
    step_h: float
    longest_h: float
    keys: str
    now_h: Callable[[], float] | None = None
    cycler: Cycler = field(init=False)
    _asked: int = 0
    _started: list[RunRef] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cycler = self.make()

    def restart(self) -> None:
        """Lose the driver and everything it remembers, and make another for the same device."""
        close(self.cycler)
        self.cycler = self.make()

    @property
    def channels(self) -> tuple[str, ...]:
        """The cycler's channels."""
        return self.cycler.capabilities.channels

    def another_channel(self) -> str:
        """A second channel."""
        if len(self.channels) < 2:
            raise NotTriedError("it has one channel")
        return self.channels[1]

    def request(self, channel: str | None = None) -> RunRequest:
        """A request under a key never used before."""
        self._asked += 1
        return self.request_for(f"{self.keys}-{self._asked}", channel or self.channels[0])

    def start(self, channel: str | None = None) -> tuple[RunRequest, RunRef]:
        """Start a test on the first channel, or the one named."""
        request = self.request(channel)
        return request, self.submit(request)

    def submit(self, request: RunRequest) -> RunRef:
        """Submit; what was started is stopped when the rule has been tried."""
        ref = self.cycler.submit(request)
        self._started.append(ref)
        return ref

    def clear(self) -> None:
        """Stop whatever a rule left running, so that the next finds every channel free."""
        for ref in self._started:
            if not self.cycler.status(ref).state.ended:
                self.cycler.stop(ref, "the conformance check is done with it")
                self.until_ended(ref, rule="stop_ends")
        self._started.clear()

    def until_ended(self, ref: RunRef, rule: str | None = None) -> RunStatus:
        """Let time pass until a run has ended."""
        passed_h, step_h = 0.0, self.step_h
        while not (status := self.cycler.status(ref)).state.ended:
            if passed_h > self.longest_h:
                raise BrokenRuleError(f"the run {ref.key} is still {status.state.value} after {passed_h:.3g} h.", rule)
            self.let_pass(step_h)
            passed_h, step_h = passed_h + step_h, step_h * STEP_GROWTH
        return status

    def starts(self, key: str) -> int | None:
        """How often a key was physically started; None if the device cannot count."""
        count = getattr(self.cycler, "physical_starts", None)
        return count().get(key, 0) if callable(count) else None

    def expect_started(self, key: str, times: int) -> None:
        """Break the rule unless a key was physically started so often, as far as that can be counted."""
        seen = self.starts(key)
        expect(seen in (None, times), f"the device counts {seen} physical starts of one key; {times} would be right.")

    def expect_untouched(self, request: RunRequest) -> None:
        """Break the rule if a refused request started something."""
        self.expect_started(request.key, 0)
        if self.cycler.capabilities.searchable:
            ref = self.cycler.find(request.key)
            expect(ref is None, f"the request was refused, and yet find() gives {ref}.")

    def read_on(self, ref: RunRef, cursor: str | None = None) -> Rows:
        """Every row after a cursor, in as many readings as it takes."""
        parts: list[Rows] = []
        for _ in range(MOST_READINGS):
            rows, cursor = self.cycler.read(ref, cursor)
            if not rows:
                return join_columns(parts)
            parts.append(rows)
        raise BrokenRuleError(f"read() of {ref.key} gives rows for ever; the last cursor was {cursor!r}.")

    @cached_property
    def watched(self) -> WatchedRun:
        """A run of the first channel, watched to its end; the same for every rule that looks at one."""
        began_h = self.now_h() if self.now_h else 0.0
        request, ref = self.start()
        looks: list[Look] = []
        passed_h, step_h, cursor = 0.0, self.step_h, None
        while not looks or not looks[-1].status.state.ended:
            if passed_h > self.longest_h:
                raise BrokenRuleError(f"the run {ref.key} has not ended after {passed_h:.3g} h.", "run_ends")
            if looks:
                self.let_pass(step_h)
                passed_h, step_h = passed_h + step_h, step_h * STEP_GROWTH
            status = self.cycler.status(ref)
            rows, following = self.cycler.read(ref, cursor)
            looks.append(Look(status, cursor, rows, following, self.now_h() - began_h if self.now_h else None))
            cursor = following
        return WatchedRun(request, ref, tuple(looks))

    def recorded(self) -> Rows:
        """The watched run's rows."""
        rows = self.read_on(self.watched.ref)
        if not rows:
            raise NotTriedError("the run left no rows")
        return rows


def close(cycler: Cycler) -> None:
    """Let go of what a driver holds, if it holds anything."""
    closing = getattr(cycler, "close", None)
    if callable(closing):
        closing()


def expect_same_rows(got: Rows, wanted: Rows, where: str) -> None:
    """Break the rule unless two sets of rows are equal, number by number."""
    expect(set(got) == set(wanted), f"{where}: columns {sorted(got)} instead of {sorted(wanted)}.")
    for name, column in wanted.items():
        same = np.array_equal(got[name], column, equal_nan=column.dtype.kind == "f")
        expect(same, f"{where}: {name} differs ({len(got[name])} rows instead of {len(column)}, or other numbers).")


def tail(rows: Rows, length: int) -> Rows:
    """The last rows."""
    return {name: column[len(column) - length :] for name, column in rows.items()} if length else {}


def length(rows: Rows) -> int:
    """How many rows."""
    return len(next(iter(rows.values()))) if rows else 0


Answer = RunRef | Exception


def all_at_once(calls: Sequence[Callable[[], RunRef]]) -> list[Answer]:
    """What calls made at the same moment from as many threads answer or raise, in their order."""
    answers: list[Answer | None] = [None] * len(calls)
    barrier = threading.Barrier(len(calls))

    def ask(place: int) -> None:
        barrier.wait()
        try:
            answers[place] = calls[place]()
        except Exception as error:  # noqa: BLE001 - whatever a driver raises is its answer
            answers[place] = error

    threads = [threading.Thread(target=ask, args=(i,), daemon=True) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(ANSWER_WITHIN_S)
    return [answer if answer is not None else _hung() for answer in answers]


def _hung() -> NoReturn:
    raise BrokenRuleError(f"a thread had no answer within {ANSWER_WITHIN_S:g} s while others asked.")


def expect_raises(kind: type[Exception], call: Callable[[], object], what: str) -> None:
    """Break the rule unless a call raises an error of a kind."""
    try:
        answer = call()
    except kind:
        return
    except Exception as error:
        raise BrokenRuleError(f"{what} raised {type(error).__name__} ({error}) instead of {kind.__name__}.") from error
    raise BrokenRuleError(f"{what} was answered with {answer!r} instead of {kind.__name__}.")


def expect_state(status: RunStatus, *states: RunState) -> None:
    """Break the rule unless a status is one of these."""
    wanted = " or ".join(state.value for state in states)
    expect(status.state in states, f"the status is {status.state.value} ({status.reason}) instead of {wanted}.")
