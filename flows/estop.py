"""The emergency stop: straight to the cyclers, all at once, without queue or database.

It works when the database is down, locked or damaged, so nothing that needs it is loaded before the stop was sent. The order is:
latch (visible to every process at once), send to every cycler in a thread of its own, make the latch durable while they work,
write down what each answered. Doing it twice is harmless.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from flows.estop_records import LIFTED, STOPPED, StopRecord, keep_record, take_in
from flows.lab_folder import DATABASE_FILE, database_of, make_durable
from flows.latch import EMERGENCY, WHOLE_LAB, EmergencyLatch, StopOrder
from flows.roster import Roster, noted_clock, read_roster
from orchestrator.domain.clock import Clock, VirtualClock
from orchestrator.domain.cycler import Cycler, LabBound
from orchestrator.domain.errors import CyclerError, StoreError, VoltloopError

if TYPE_CHECKING:
    from flows.lab import Lab
    from orchestrator.domain.campaign_spec import CyclerSpec

WAIT_S = 5.0
_DATABASE_BUSY_S = 1.0
SENT, CONFIRMED, _UNKNOWN = "sent; no answer is known", "stopped", "not reached: its settings could not be read"
GO_THERE = "Go to the device now: make sure that it has stopped, or cut its power."
_OBJECT = "it was given to a program as a Python object, and only that program reaches it; its next tick stops it"
Stop = Callable[[], None]


def _system_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class EmergencyStop:
    """What an emergency stop did.

    Attributes:
        order: when, by whom and why.
        answers: by cycler, None if it confirmed, else why that is not certain.
        unlatched: why the latch could not be set; None if it holds.
    """

    order: StopOrder
    answers: Mapping[str, str | None]
    unlatched: str | None = None

    @property
    def confirmed(self) -> bool:
        """Whether every cycler has confirmed, and nothing can be started on it."""
        return bool(self.answers) and not self.unlatched and not any(self.answers.values())

    @property
    def faults(self) -> list[str]:
        """What a person must do now, a line each."""
        lines = [f"{name} did NOT confirm: {why}. {GO_THERE}" for name, why in self.answers.items() if why]
        if self.unlatched:
            lines.append(
                f"{self.unlatched} Ticks may start tests again: end `voltloop serve` and every `voltloop run` of this lab."
            )
        return lines


def emergency_stop(
    lab: Lab,
    cycler: str | None = None,
    *,
    reason: str = "no reason given",
    by: str = "person",
    wait_s: float = WAIT_S,
    now: Callable[[], datetime] = _system_now,
) -> EmergencyStop:
    """Stop an opened lab's cyclers, or one of them, now; they stay latched until `lift_emergency_stop`.

    Args:
        lab: the opened lab; cyclers that its folder names and that it does not use itself are stopped, too.
        cycler: one cycler's name; None stops all.
        reason: why; it is kept.
        by: who asks.
        wait_s: seconds that each has for its answer.
        now: the system's time.

    Raises:
        CyclerError: there is no such cycler.
    """
    mine = {own.capabilities.name: own.emergency_stop for own in lab.cyclers}
    done = _stop(_Site(lab.folder, mine, lab.clock), cycler, reason, by, wait_s, now)
    _record_now(lambda: take_in(lab.store, lab.folder))
    return done


def emergency_stop_folder(
    folder: Path,
    cycler: str | None = None,
    *,
    reason: str,
    by: str,
    wait_s: float = WAIT_S,
    now: Callable[[], datetime] = _system_now,
) -> EmergencyStop:
    """Stop the cyclers that a lab's folder names, or one of them, now, without opening the lab. See `emergency_stop`.

    Raises:
        CyclerError: there is no such cycler.
        StoreError: there is no lab in that folder.
    """
    _refuse_no_lab(folder)
    return _stop(_Site(folder), cycler, reason, by, wait_s, now)


def lift_emergency_stop(
    folder: Path, cycler: str | None = None, *, by: str, now: Callable[[], datetime] = _system_now
) -> list[str]:
    """Take the latch off a cycler, or every latch of the lab, and write that down; names what was latched ("*": the whole lab).

    Raises:
        CyclerError: another cycler is latched, this one is not.
        StoreError: there is no lab, or its folder cannot be written; then the latch holds.
    """
    _refuse_no_lab(folder)
    latch = EmergencyLatch(folder)
    latched = latch.latched()
    if cycler is not None and cycler not in latched and latched:
        raise CyclerError(f"'{cycler}' is not latched by itself. Latched: {', '.join(latched)} (* is every cycler of the lab).")
    at = now()
    clock = noted_clock(folder)
    record = StopRecord(_new_id(at), LIFTED, at.isoformat(), by, "lifted", clock.now_h() if clock else None)
    try:
        lifted = latch.lift(cycler)
        if lifted:
            keep_record(folder, replace(record, cyclers={name: f"lifted; was: {latched[name]}" for name in lifted}))
    except OSError as error:
        raise StoreError(f"the latch in '{folder}' cannot be lifted: {error.strerror}. Make the folder writable.") from None
    return lifted


def record_soon(folder: Path) -> str | None:
    """Put what was written down into the lab's log if the database answers quickly; else why not: the next tick will."""

    def record() -> None:
        from orchestrator.store import TrialStore  # not before the stop was sent

        with TrialStore.open(database_of(folder), busy_timeout_s=_DATABASE_BUSY_S, create=False) as store:
            take_in(store, folder)

    return _record_now(record)


def waiting_since_the_stop(folder: Path) -> list[str]:
    """The campaigns that wait because of an emergency stop, as far as the database answers quickly."""
    found: list[str] = []

    def read() -> None:
        from orchestrator.store import TrialStore

        with TrialStore.open(database_of(folder), busy_timeout_s=_DATABASE_BUSY_S, create=False) as store:
            waiting = [campaign for campaign in store.campaigns() if campaign.status == "needs_attention"]
            found.extend(campaign.name for campaign in waiting if (campaign.status_reason or "").startswith(EMERGENCY))

    _record_now(read)
    return found


def _record_now(record: Callable[[], object]) -> str | None:
    try:
        record()
    except VoltloopError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the database, the stop stands and is kept in a file
        return f"{type(error).__name__}: {error}"
    return None


class _Site:
    """The cyclers of a lab's folder, and those that the caller holds in its hands."""

    def __init__(self, folder: Path, mine: Mapping[str, Stop] | None = None, clock: Clock | None = None) -> None:
        self.folder, self._mine = folder, dict(mine or {})
        time = clock or noted_clock(folder)
        self.lab_time_h = time.now_h() if time else None
        self._clock = time or VirtualClock()
        roster = read_roster(folder)
        self.known = roster is not None or bool(self._mine)
        self.targets = self._targets(roster or Roster())

    def chosen(self, cycler: str | None) -> list[str]:
        """The names that are meant by one, or by None.

        Raises:
            CyclerError: there is no such cycler, or none at all.
        """
        names = list(dict.fromkeys(name for name, _ in self.targets))
        if self.known and not names:
            raise CyclerError(f"no campaign of this lab uses a cycler: nothing was stopped. If something runs: {GO_THERE}")
        if self.known and cycler not in (None, *names):
            raise CyclerError(f"there is no cycler '{cycler}' in this lab. It has: {', '.join(names)}. Nothing was stopped.")
        return [name for name in names if cycler in (None, name)]

    def _targets(self, roster: Roster) -> list[tuple[str, Stop]]:
        """What is to be called, a cycler of several settings once for each."""
        named = [(spec.name, partial(self._stop_named, spec)) for spec in roster.named if spec.name not in self._mine]
        reached = {*self._mine, *(name for name, _ in named)}
        objects = [(name, _refuse_object) for name in roster.objects if name not in reached]
        return [*self._mine.items(), *named, *objects]

    def _stop_named(self, spec: CyclerSpec) -> None:
        """Make a cycler as the spec names it, and stop it."""
        from flows.cyclers import make_cycler

        cycler: Cycler = make_cycler(spec)
        if isinstance(cycler, LabBound):
            cycler.bind(self._clock, self.folder / "cyclers" / cycler.capabilities.name)
        cycler.emergency_stop()


def _refuse_object() -> None:
    raise CyclerError(_OBJECT)


def _stop(site: _Site, cycler: str | None, reason: str, by: str, wait_s: float, now: Callable[[], datetime]) -> EmergencyStop:
    names = site.chosen(cycler)
    at = now()
    order = StopOrder(_new_id(at), at.isoformat(), by, reason, site.lab_time_h)
    latched = names or ([cycler] if cycler else [])
    latching = _Latching(site.folder, order, latched, whole_lab=cycler is None)
    inquiry = _Inquiry([(name, stop) for name, stop in site.targets if name in names], wait_s)
    sent = dict.fromkeys(latched or [WHOLE_LAB], SENT)
    record = StopRecord(order.id, STOPPED, order.at, by, reason, site.lab_time_h, sent, finished=False)
    latching.make_durable(record)
    answers = inquiry.answers() or {cycler or "every cycler": "which cyclers this lab has could not be read"}
    latching.finish(replace(record, cyclers={name: answers.get(name, _UNKNOWN) or CONFIRMED for name in sent}))
    return EmergencyStop(order, answers, latching.problem)


class _Latching:
    """The latch and the record of one stop. A disk that refuses must not keep the stop from being sent."""

    def __init__(self, folder: Path, order: StopOrder, cyclers: list[str], *, whole_lab: bool) -> None:
        self.problem: str | None = None
        self._folder = folder
        self._paths: list[Path] = []
        with self._noting():
            self._paths = EmergencyLatch(folder).set(order, cyclers, whole_lab=whole_lab)

    def make_durable(self, record: StopRecord) -> None:
        """What stays if this program is killed now, or the power goes."""
        with self._noting():
            make_durable(*self._paths)
            keep_record(self._folder, record)

    def finish(self, record: StopRecord) -> None:
        """Every answer is in."""
        with self._noting():
            keep_record(self._folder, replace(record, finished=True))

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Keep what the disk says against writing, and go on."""
        try:
            yield
        except OSError as error:
            self.problem = self.problem or f"The latch could not be written ({error})."


class _Inquiry:
    """Stops sent to several cyclers at once, and what each answers in time."""

    def __init__(self, targets: Iterable[tuple[str, Stop]], wait_s: float) -> None:
        self._targets = list(targets)
        self._heard: SimpleQueue[tuple[int, str | None]] = SimpleQueue()
        self._wait_s, self._until = wait_s, time.monotonic() + wait_s
        for number, (name, stop) in enumerate(self._targets):
            # Daemons: a cycler that never answers keeps neither the others nor the end of the program waiting.
            threading.Thread(target=self._send, args=(number, stop), name=f"estop {name}", daemon=True).start()

    def answers(self) -> dict[str, str | None]:
        """By cycler, None if it confirmed under every setting it is known by, else why not."""
        silent = f"no answer within {self._wait_s:g} s"
        answers: list[str | None] = [silent] * len(self._targets)
        for _ in self._targets:
            try:
                number, answer = self._heard.get(timeout=max(0.0, self._until - time.monotonic()))
            except Empty:
                break
            answers[number] = answer
        said: dict[str, str | None] = {}
        for (name, _), answer in zip(self._targets, answers, strict=True):
            said[name] = said.get(name) or answer
        return said

    def _send(self, number: int, stop: Stop) -> None:
        try:
            stop()
        except BaseException as error:  # noqa: BLE001 - whatever a driver raises is its answer, and no confirmation
            self._heard.put((number, str(error).rstrip(".") or type(error).__name__))
        else:
            self._heard.put((number, None))


def _refuse_no_lab(folder: Path) -> None:
    if not any((folder / name).exists() for name in ("cyclers.json", DATABASE_FILE, "estop", "cyclers")):
        raise StoreError(
            f"there is no lab in '{folder}'; nothing was stopped. Name the lab with --lab. If something runs: {GO_THERE}"
        )


def _new_id(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
