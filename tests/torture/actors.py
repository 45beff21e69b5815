"""Who acts in a seed: processes that tick every campaign again and again, and people who do what only people can."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from adapters.peers.faulty_line import FaultyLine
from flows import Lab, advance_campaign
from flows.attention import ASKED, STATE
from flows.control import decide_trials, request_stop, settle_trial, wake
from orchestrator.domain import TrialStatus
from orchestrator.domain.errors import VoltloopError
from tests.torture.amending import amend
from tests.torture.devices import Device, Driver
from tests.torture.invariants import Judge
from tests.torture.plans import CYCLER, Deed
from tests.torture.world import Actor, Violation, World

ENDED = ("completed", "stopped")
# Ticks of one campaign, by whomever, after faults have ended: by then it has ended, too.
MOST_CALM_TICKS = 250
_POLL_S = (900.0, 3000.0)
_ROUND_S = (900.0, 2400.0)
_S = TrialStatus


class Bench:
    """What actors share: the world, the lab's folder, the line to the device.

    Attributes:
        status: of each campaign, as the last tick left it.
    """

    def __init__(self, world: World, folder: Path, device: Device, line: FaultyLine, judge: Judge) -> None:
        self.world, self.folder, self.device, self.line, self.judge = world, folder, device, line, judge
        self.status = dict.fromkeys(world.plan.names, "running")
        self.calm_ticks = dict.fromkeys(world.plan.names, 0)

    def open(self, *, person: bool = False) -> Lab:
        """The lab as a new process opens it."""
        driver = Driver(self.world, self.line, self.device, person=person)
        return Lab.open(self.folder, cyclers=[driver], clock=self.world.clock, now=self.world.wall)

    def let_go(self, lab: Lab) -> None:
        """What the kernel does when a process ends."""
        lab.store.database.engine.dispose()

    def tick(self, lab: Lab, name: str) -> None:
        """One tick; what it refuses to do in words is no fault."""
        world = self.world
        if world.calm:
            self.calm_ticks[name] += 1
            if self.calm_ticks[name] > MOST_CALM_TICKS:
                raise Violation(
                    "the campaign ends", f"'{name}' is {self.status[name]} after {MOST_CALM_TICKS} ticks without faults"
                )
        world.counts["ticks"] += 1
        try:
            report = advance_campaign(lab, name)
        except VoltloopError as error:
            self.complain("tick", error)
            return
        world.note(f"{world.current.name} tick of {name}: {'skipped' if report.skipped else report.status} {report.changed}")
        if not report.skipped:
            self.status[name] = report.status
        world.over = all(status in ENDED for status in self.status.values())

    def complain(self, what: str, error: VoltloopError) -> None:
        """Note a refusal."""
        self.world.counts[f"refused: {type(error).__name__}"] += 1
        self.world.note(f"{what}: {type(error).__name__}: {error}")


def process(bench: Bench) -> Callable[[Actor], None]:
    """A process that ticks every campaign, sleeps, and ticks again."""

    def live(actor: Actor) -> None:
        world = bench.world
        lab = None
        try:
            while not world.over:
                lab = lab or _opened(bench, person=False)
                if lab is None:
                    continue
                going_on = [name for name, status in bench.status.items() if status not in ENDED]
                for name in world.dice.sample(going_on, len(going_on)):
                    bench.tick(lab, name)
                world.sleep(world.dice.uniform(*_POLL_S))
        finally:
            if lab is not None:
                bench.let_go(lab)

    return live


def _opened(bench: Bench, *, person: bool) -> Lab | None:
    """The lab; None if its database refused, after a while."""
    try:
        return bench.open(person=person)
    except VoltloopError as error:
        bench.complain("open", error)
        bench.world.sleep(60.0)
        return None


class Person:
    """Somebody who looks at the lab now and then, and does what was planned."""

    def __init__(self, bench: Bench, name: str, deeds: list[Deed]) -> None:
        self.bench, self.name, self.deeds = bench, name, deeds

    def live(self, _actor: Actor) -> None:
        """Go round the lab until every campaign has ended."""
        world, lab = self.bench.world, None
        try:
            while not world.over:
                world.sleep(world.dice.uniform(*_ROUND_S))
                due = self.deeds and self.deeds[0].at_h <= world.clock.now_h()
                if world.over or not (due or self.bench.judge.wants_a_person()):
                    continue
                lab = lab or _opened(self.bench, person=True)
                if lab is not None:
                    self._round(lab)
        finally:
            if lab is not None:
                self.bench.let_go(lab)

    def _round(self, lab: Lab) -> None:
        while self.deeds and self.deeds[0].at_h <= self.bench.world.clock.now_h():
            deed = self.deeds.pop(0)
            self._try(deed.kind, lambda deed=deed: self._do(lab, deed))
        for name in self.bench.world.plan.names:
            self._try("look", lambda name=name: self._look_after(lab, name))

    def _try(self, what: str, deed: Callable[[], None]) -> None:
        try:
            deed()
        except VoltloopError as error:
            self.bench.complain(f"{self.name} {what}", error)

    def _do(self, lab: Lab, deed: Deed) -> None:
        world, name = self.bench.world, deed.campaign
        world.note(f"{self.name} wants: {deed.kind} of {name} ({deed.size:.2f})")
        if deed.kind == "stop_campaign":
            request_stop(lab, name, None, "enough")
        elif deed.kind == "stop_trial":
            open_trials = [t.number for t in lab.store.trials(name) if not t.status.ended]
            if open_trials:
                request_stop(lab, name, open_trials[int(deed.size * len(open_trials))], "not this one")
        elif deed.kind == "quarantine":
            channel = world.plan.channels[int(deed.size * len(world.plan.channels))]
            lab.store.quarantine(CYCLER, channel, reason="looks odd", lab_time_h=lab.now_h())
        else:
            amend(self.bench, lab, deed)

    def _look_after(self, lab: Lab, name: str) -> None:
        """Settle what is unknown, decide what waits, mend channels, and tell the campaign to go on."""
        campaign = lab.store.campaign(name)
        if campaign.status in ENDED:
            return
        trials = lab.store.trials(name)
        for trial in trials:
            if trial.status is _S.UNKNOWN:
                self._settle(lab, name, trial.number, trial.key or "")
        waiting = [t.number for t in trials if t.status is _S.PROPOSED and campaign.spec.approval.needed(t.number)]
        for number in waiting:
            self._decide(lab, name, number, approved=self.bench.world.dice.random() < 0.8)
        self._mend(lab)
        if campaign.status == "needs_attention" and self._waits_for_a_word(lab, name):
            wake(lab, name, looked=True)

    def _decide(self, lab: Lab, name: str, number: int, *, approved: bool) -> None:
        judge = self.bench.judge
        if approved:
            judge.approved.add((name, number))
        decide_trials(lab, name, [number], approved=approved)
        if not approved:
            judge.rejected.add((name, number))

    def _waits_for_a_word(self, lab: Lab, name: str) -> bool:
        """Whether nothing but being told to go on helps; what was answered by deeds the campaign must see by itself."""
        asked = lab.store.events(name, limit=1, kinds=(ASKED,))[-1].data
        return asked["asks"] != STATE or "all failed" in asked["reason"]

    def _settle(self, lab: Lab, name: str, number: int, key: str) -> None:
        """Walk to the cycler, look, come back, and say what was seen."""
        world = self.bench.world
        seen = self.bench.device.run_of(key) is not None
        world.note(f"{self.name} has looked for {key}: {'there' if seen else 'not there'}")
        world.point(f"come back from {key}")
        world.counts["settled"] += 1
        actor = world.current
        actor.absence = 40.0  # a terminal left open over lunch, while a colleague does the same
        self._try("settle", lambda: settle_trial(lab, name, number, started=seen, key=key))
        actor.absence = 1.0

    def _mend(self, lab: Lab) -> None:
        """Take back channels that were put aside, once they work and nothing is on them."""
        for channel in lab.store.channels():
            if channel.state == "quarantined" and not self.bench.device.dead(channel.name):
                occupant = self.bench.device.occupant(channel.name)
                if occupant is None or channel.trial is not None:
                    lab.store.release(channel.cycler, channel.name, lab_time_h=lab.now_h())
