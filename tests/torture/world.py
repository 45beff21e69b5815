"""The world of one seed: its time, its hosts, and the scheduler that lets one actor run at a time and may kill or stall it."""

from __future__ import annotations

import random
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from adapters.peers.injected_faults import FaultKind
from orchestrator.store.process import ProcessIdentity
from tests.torture.plans import Plan

START = datetime(2026, 1, 1, tzinfo=UTC)
LEASE_S = 600.0
MOST_POINTS = 40_000
UNEXPECTED = "no unexpected error"
# Where a start is begun and carried through, crashes and stalls are so many times as likely as elsewhere.
DANGEROUS = {"submit": 15.0} | dict.fromkeys(
    ("begin_dispatch", "confirm_intent", "find", "acknowledge", "revoke", "withdraw_dispatch"), 6.0
)


class Crashed(BaseException):
    """The actor was killed: it does nothing any more."""


class Violation(BaseException):
    """A promise was broken."""

    def __init__(self, invariant: str, detail: str) -> None:
        super().__init__(f"{invariant}: {detail}")
        self.invariant, self.detail = invariant, detail


class LabClock:
    """Lab time: true hours since the start; who waits sleeps."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now_h(self) -> float:
        """Hours since the start."""
        return self._world.now_s / 3600

    def wait_until(self, lab_time_h: float) -> None:
        """Let others run until then."""
        self._world.sleep(max(0.0, lab_time_h * 3600 - self._world.now_s))


class Actor:
    """One process, or one person at a terminal: a thread that runs only while it has the baton.

    Attributes:
        body: what it does; called again in a new process (`incarnation`) after each crash.
        host: where its processes run.
        danger, absence: how much likelier it is to be killed or stalled, or to be stalled, than others.
        heard_s: when the store last answered it.
    """

    def __init__(self, world: World, name: str, host: str, body: Callable[[Actor], None]) -> None:
        self.world, self.name, self.host, self.body = world, name, host, body
        self.incarnation, self.points, self.danger, self.absence = 1, 0, 1.0, 1.0
        self.wake_s = self.heard_s = 0.0
        self.doomed = self.done = self.stalled = False
        self.gate = threading.Semaphore(0)
        self.thread = threading.Thread(target=self._live, name=name, daemon=True)

    @property
    def pid(self) -> int:
        """Of its present process."""
        return 1000 * (1 + self.world.actors.index(self)) + self.incarnation

    def _live(self) -> None:
        self.gate.acquire()
        while not self.world.aborting:
            try:
                self.body(self)
                break
            except Crashed:
                self._start_anew()
            except Violation as violation:
                self.world.fail(violation)
            except BaseException:  # noqa: BLE001 - whatever the code under test raises is for the report
                self.world.fail(Violation(UNEXPECTED, traceback.format_exc()))
        self.done = True
        self.world.leave()

    def _start_anew(self) -> None:
        self.doomed = self.stalled = False
        self.danger = self.absence = 1.0
        self.incarnation += 1
        if self.world.dice.random() < 0.5:  # in another container: nobody there can tell that the old one is dead
            self.host = f"{self.host.partition('.')[0]}.{self.incarnation}"
        if not self.world.aborting:
            self.world.note(f"{self.name} starts again as process {self.incarnation}")
            try:
                self.world.sleep(self.world.dice.uniform(0.0, 900.0))
            except Crashed:
                self.doomed = False


class World:
    """Time, actors, and everything that happened.

    Attributes:
        now_s: true time since the start; hosts' clocks differ from it.
        counts: what happened how often.
        over: every campaign has ended.
        violation: the promise that was broken, if one was.
    """

    def __init__(self, plan: Plan, *, traced: bool = False) -> None:
        self.plan = plan
        self.now_s = 0.0
        self.clock = LabClock(self)
        self.dice = random.Random(f"{plan.seed}/schedule")
        self.actors: list[Actor] = []
        self.current: Actor | None = None
        self.counts: Counter[str] = Counter()
        self.trace: list[str] | None = [] if traced else None
        self.violation: Violation | None = None
        self.aborting = self.over = False
        self.points = 0
        self._left = threading.Semaphore(0)
        self._jumps = [f for f in plan.faults if f.kind is FaultKind.CLOCK_JUMP]

    @property
    def calm(self) -> bool:
        """Whether faults have ended."""
        return self.now_s >= self.plan.horizon_h * 3600

    def wall(self) -> datetime:
        """What the clock of the present actor's host shows."""
        host = self.current.host.partition(".")[0] if self.current else ""
        now_h = self.now_s / 3600
        jumped_s = sum(3600 * fault.magnitude for fault in self._jumps if fault.at_h <= now_h)
        return START + timedelta(seconds=self.now_s + self.plan.skew_s.get(host, 0.0) + jumped_s)

    def identity(self) -> ProcessIdentity:
        """The present actor's process."""
        actor = self.current
        return (
            ProcessIdentity(actor.host, "boot", "1", actor.pid, "0") if actor else ProcessIdentity("setup", "boot", "1", 1, "0")
        )

    def start_of(self, pid: int) -> str | None:
        """When the process of a number started; None if it has ended."""
        return "0" if any(actor.pid == pid and not actor.doomed for actor in self.actors) or pid == 1 else None

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        if self.trace is not None:
            self.trace.append(f"{self.now_s:12.3f} {text}")

    def run(self) -> None:
        """Let the actors run until all have left."""
        for actor in self.actors:
            actor.thread.start()
        self._pass_baton()
        self._left.acquire()
        self.current = None
        for actor in self.actors:
            actor.thread.join()

    def point(self, label: str) -> None:
        """A point at which the present actor may lose the baton, or its life."""
        actor = self.current
        if actor is None:
            return
        if actor.doomed or self.aborting:
            raise Crashed
        self.points += 1
        actor.points += 1
        self.now_s += self.dice.random() * 0.4
        if self.points > MOST_POINTS:
            raise Violation("the campaign ends", f"not within {MOST_POINTS} points")
        if self.trace is not None:
            self.note(f"{actor.name} {label}")
        self._decide(actor, label)

    def heard(self) -> None:
        """The store has just answered the present actor."""
        if self.current is not None:
            self.current.heard_s = self.now_s

    def _decide(self, actor: Actor, label: str) -> None:
        plan = self.plan
        danger = actor.danger * next((factor for word, factor in DANGEROUS.items() if word in label), 1.0)
        crash, stall = danger * plan.crash, danger * actor.absence * plan.stall
        if plan.point is not None and actor is self.actors[0] and actor.points == plan.point + 1:
            self.crash(actor) if plan.family == "crash_at" else self._stall(actor)
            return
        throw = self.dice.random()
        if not self.calm:
            if throw < crash:
                self.crash(actor)
            if throw < crash + stall:
                self._stall(actor)
                return
        if throw > 1.0 - plan.switch:
            self._yield(actor)

    def crash(self, actor: Actor) -> None:
        """Kill the present actor's process."""
        self.counts["crashes"] += 1
        self.note(f"{actor.name} is killed")
        actor.doomed = True
        raise Crashed

    def _stall(self, actor: Actor) -> None:
        """Let everybody else go on for longer than a lease."""
        self.counts["stalls"] += 1
        actor.wake_s = self.now_s + LEASE_S * self.dice.choice((self.dice.uniform(0.8, 3.0), self.dice.uniform(3.0, 16.0)))
        self.note(f"{actor.name} is stalled until {actor.wake_s:.0f}")
        actor.stalled = True
        self._yield(actor)
        actor.stalled = False
        self.note(f"{actor.name} goes on")

    def sleep(self, seconds: float) -> None:
        """Let others run for so long."""
        actor = self.current
        if actor is None:
            self.now_s += seconds
            return
        actor.wake_s = self.now_s + seconds
        self._yield(actor)

    def fail(self, violation: Violation) -> None:
        """Keep the first broken promise, and end everything."""
        if self.violation is None:
            self.violation = violation
            self.note(f"VIOLATION {violation}")
        self.aborting = True

    def leave(self) -> None:
        """The present actor's thread ends: the next goes on, if there is one."""
        if all(actor.done for actor in self.actors):
            self._left.release()
        else:
            self._pass_baton()

    def _yield(self, actor: Actor) -> None:
        self._pass_baton()
        actor.gate.acquire()
        if self.aborting:
            raise Crashed

    def _pass_baton(self) -> None:
        """Wake one of those that can go on; if all sleep, time passes until one can."""
        present = [actor for actor in self.actors if not actor.done]
        if self.aborting:
            ready = present[:1]
        else:
            ready = [actor for actor in present if actor.wake_s <= self.now_s]
            if not ready:
                self.now_s = min(actor.wake_s for actor in present)
                ready = [actor for actor in present if actor.wake_s <= self.now_s]
        self.current = ready[0] if len(ready) == 1 else self.dice.choice(ready)
        self.current.gate.release()
