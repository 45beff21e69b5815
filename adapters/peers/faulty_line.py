"""The line between a driver and its device, and what goes wrong on it; it can be put around any cycler.

An answer that does not come is `CyclerUnreachableError`: what was asked for may have happened all the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray

from adapters.peers.injected_faults import LINE_FAULTS, FaultKind, GivenFaults, InjectedFault, read_faults
from adapters.peers.line_memory import LineMemory
from orchestrator.domain.clock import Clock, SystemClock
from orchestrator.domain.cycler import Capabilities, Cycler, LabBound, Revocable, RunRef, RunRequest, RunStatus, VirtualTimeCycler
from orchestrator.domain.errors import CyclerUnreachableError, RequestRefusedError

Rows = dict[str, NDArray[Any]]
T = TypeVar("T")
_OUTER = "outer_line.jsonl"  # the cycler inside may have a line of its own to remember in the same folder
_FORWARDED = ("truth", "physical_starts", "close")


class Line:
    """Passes calls on to a device, unless a fault stands in the way.

    Which faults of an instant have struck is kept in its folder: they strike once, whoever opens the lab again. Without a folder
    it is lost with the line, as are the answers on their way in any case.

    Args:
        name: the cycler's, for messages.
        faults: the plan; faults of cells, sensors and channels do not concern it, a power loss does.
        now_h: gives lab time.
        folder: where to remember, if known; `remember_in` gives it later.
        file: what to remember in there, if several lines share the folder.
    """

    def __init__(
        self,
        name: str,
        faults: tuple[InjectedFault, ...],
        now_h: Callable[[], float],
        folder: Path | None = None,
        file: str = "line.jsonl",
    ) -> None:
        self._name, self._now_h = name, now_h
        self._silences = [fault for fault in faults if _silences(fault)]
        self._plan = tuple(fault for fault in faults if fault.kind in LINE_FAULTS and not _silences(fault))
        self._file = file
        self._late: dict[str, float] = {}
        self._delivered: dict[str, tuple[str | None, Rows]] = {}
        self._lock = threading.Lock()
        self.remember_in(folder)

    def remember_in(self, folder: Path | None) -> None:
        """Keep what has struck in a folder, and know what is kept there."""
        with self._lock:
            self._memory = LineMemory(self._name, folder and folder / self._file)
            self._instants = self._memory.left(self._plan)

    def submit(self, request: RunRequest, submit: Callable[[RunRequest], RunRef]) -> RunRef:
        """Pass a request on; the test may start although no answer comes."""
        self._expect_answer(request.channel, request.key)
        if self._occasion(FaultKind.ACKNOWLEDGEMENT_LOST, request.channel):
            why = "was sent; the answer was lost"
        elif late := self._occasion(FaultKind.ACKNOWLEDGEMENT_LATE, request.channel):
            self._late[request.key] = self._now_h() + late.magnitude
            why = "was sent; no answer came in time"
        else:
            return submit(request)
        with suppress(RequestRefusedError):  # a refusal is an answer, too, and lost like any other
            submit(request)
        raise CyclerUnreachableError(f"{self._name}: the request {request.key} {why}.")

    def find(self, key: str, find: Callable[[str], RunRef | None]) -> RunRef | None:
        """Pass a search on."""
        self._expect_answer(None, key)
        ref = find(key)
        if ref is not None:
            self._expect_answer(ref.channel, key)
        return ref

    def ask(self, ref: RunRef, call: Callable[[], T]) -> T:
        """Pass a question or an order about a run on."""
        self._expect_answer(ref.channel, ref.key)
        return call()

    def ask_device(self, channel: str | None, call: Callable[[], T]) -> T:
        """Pass an order to a channel, or to the whole device, on."""
        self._expect_answer(channel, None)
        return call()

    def read(self, ref: RunRef, cursor: str | None, read: Callable[[RunRef, str | None], tuple[Rows, str | None]]) -> Any:
        """Pass a reading on; the answer given last may come a second time, under the same cursor."""
        self._expect_answer(ref.channel, ref.key)
        before = self._delivered.get(ref.key)
        if before is not None and before[0] == cursor and self._occasion(FaultKind.RESULT_TWICE, ref.channel):
            return before[1], cursor
        rows, following = read(ref, cursor)
        if rows and self._instants:
            self._delivered[ref.key] = (following, rows)
        return rows, following

    def next_answer_h(self) -> float | None:
        """Lab time at which something now unanswered will be answered; None if nothing is, or nothing ever will be."""
        now_h = self._now_h()
        coming = [fault.until_h for fault in self._silences if fault.at_h <= now_h < fault.until_h < float("inf")]
        return min([*coming, *(at_h for at_h in self._late.values() if at_h > now_h)], default=None)

    def _expect_answer(self, channel: str | None, key: str | None) -> None:
        now_h = self._now_h()
        silent = next((fault for fault in self._silences if fault.active(now_h, channel)), None)
        if silent is not None:
            why = "its power is off" if silent.kind is FaultKind.POWER_LOSS else "the line is down"
            raise CyclerUnreachableError(f"{self._name} does not answer: {why}.")
        if key is not None and now_h < self._late.get(key, now_h):
            raise CyclerUnreachableError(f"{self._name} has not answered about {key} yet.")

    def _occasion(self, kind: FaultKind, channel: str) -> InjectedFault | None:
        """The fault of an instant that strikes now; it strikes once."""
        with self._lock:
            if self._due(kind, channel) is None:
                return None
            with self._memory.alone():
                self._instants = self._memory.left(self._plan)
                fault = self._due(kind, channel)
                if fault is not None:
                    self._memory.add(fault)
            self._instants = self._memory.left(self._plan)
            return fault

    def _due(self, kind: FaultKind, channel: str) -> InjectedFault | None:
        now_h = self._now_h()
        return next((f for f in self._instants if f.kind is kind and f.active(now_h, channel)), None)


def _silences(fault: InjectedFault) -> bool:
    """Whether nothing answers while it lasts."""
    blackout = fault.kind is FaultKind.POWER_LOSS and fault.duration_h is not None
    return blackout or fault.kind is FaultKind.CYCLER_UNREACHABLE


class FaultyLine:
    """Any cycler, at the end of a line on which things go wrong.

    It offers what the cycler inside offers (binding to a lab, virtual time, the truth), but for attributes that are no part of
    the lab's protocols.

    Args:
        cycler: the cycler at the other end.
        faults: the plan, as `InjectedFault` or tables; kinds of `LINE_FAULTS` alone.
        clock: the lab time that the plan is in; by default the cycler's own.
        folder: keeps what has struck; by default the lab's, where the lab binds the cycler, else nothing does: then faults of an
            instant strike again in each new process, unless their `duration_h` is over.

    Raises:
        SpecError: a fault that cannot strike a line, or a channel that is not there.
    """

    def __init__(self, cycler: Cycler, faults: GivenFaults, clock: Clock | None = None, folder: str | Path | None = None) -> None:
        can = cycler.capabilities
        plan = read_faults(faults, can.channels, LINE_FAULTS, "a line")
        self._cycler, self._own_clock = cycler, clock
        self._bound_clock: Clock | None = None
        self._own_folder = None if folder is None else Path(folder)
        self._line = Line(can.name, plan, lambda: self.clock.now_h(), self._own_folder, _OUTER)
        forwarded: dict[str, Any] = {name: getattr(cycler, name) for name in _FORWARDED if hasattr(cycler, name)}
        if isinstance(cycler, LabBound):
            forwarded["bind"] = self._bind
        if isinstance(cycler, VirtualTimeCycler):
            forwarded["next_end_h"] = self._next_end_h
        if isinstance(cycler, Revocable):
            revoke = cycler.revoke
            forwarded["revoke"] = lambda key: self._line.find(key, revoke)
        vars(self).update(forwarded)

    @property
    def capabilities(self) -> Capabilities:
        """What the cycler inside can do; no line is needed to know."""
        return self._cycler.capabilities

    @property
    def clock(self) -> Clock:
        """The lab time that the plan of faults is in."""
        inside = getattr(self._cycler, "clock", None)
        return self._own_clock or self._bound_clock or (inside if isinstance(inside, Clock) else SystemClock())

    def submit(self, request: RunRequest) -> RunRef:
        """Start a test; a lost or late acknowledgement hides that it has started."""
        return self._line.submit(request, self._cycler.submit)

    def find(self, key: str) -> RunRef | None:
        """The run submitted under a key."""
        return self._line.find(key, self._cycler.find)

    def status(self, ref: RunRef) -> RunStatus:
        """What the run is doing."""
        return self._line.ask(ref, lambda: self._cycler.status(ref))

    def read(self, ref: RunRef, cursor: str | None = None) -> tuple[Rows, str | None]:
        """Rows since a cursor."""
        rows, following = self._line.read(ref, cursor, self._cycler.read)
        return rows, following

    def stop(self, ref: RunRef, reason: str) -> None:
        """Ask for the run to end."""
        self._line.ask(ref, lambda: self._cycler.stop(ref, reason))

    def emergency_stop(self, channel: str | None = None) -> None:
        """Make a channel, or all, safe; an order that does not arrive raises."""
        self._line.ask_device(channel, lambda: self._cycler.emergency_stop(channel))

    def _bind(self, clock: Clock, folder: Path) -> None:
        self._bound_clock = clock
        self._line.remember_in(self._own_folder or folder)
        if isinstance(self._cycler, LabBound):
            self._cycler.bind(clock, folder)

    def _next_end_h(self) -> float | None:
        inside = self._cycler.next_end_h() if isinstance(self._cycler, VirtualTimeCycler) else None
        return min((at_h for at_h in (inside, self._line.next_answer_h()) if at_h is not None), default=None)
