"""A seed run from its beginning to its end, and judged."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from adapters.peers.faulty_line import FaultyLine
from orchestrator.domain import TrialStatus
from orchestrator.store import NewTrial, RecordingArchive, TrialStore
from tests.torture.actors import Bench, Person, process
from tests.torture.devices import Device
from tests.torture.invariants import Judge
from tests.torture.plans import CYCLER, Plan, plan_of
from tests.torture.substitutions import DrawingCampaign, harness
from tests.torture.world import START, Actor, Violation, World

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a lab of an instant, in a folder of its own
DATABASE = "voltloop.db"


@dataclass(frozen=True)
class Result:
    """What became of a seed.

    Attributes:
        violation: the promise that was broken, and how; None if all were kept.
        counts: what happened how often.
        trace: line by line, if asked for.
    """

    seed: int
    violation: str | None
    invariant: str | None
    counts: Counter[str]
    seconds: float
    trace: list[str] = field(default_factory=list)


def simulate(
    seed: int, *, traced: bool = False, mutant: AbstractContextManager[object] | None = None, plan: Plan | None = None
) -> Result:
    """Run one seed.

    Args:
        seed: of everything.
        traced: keep the trace.
        mutant: a fault put into the shipped code for the time of the run.
        plan: in place of the seed's own.
    """
    began = time.process_time()
    world = World(plan or plan_of(seed), traced=traced)
    with tempfile.TemporaryDirectory(prefix="voltloop-torture-", dir=_shared_memory()) as name:
        folder = Path(name)
        _new_lab(folder, world.plan)
        judge = Judge(world, folder / DATABASE)
        try:
            _act(world, folder, judge, mutant or nullcontext())
        finally:
            judge.close()
    violation = world.violation
    return Result(
        seed,
        violation and str(violation),
        violation and violation.invariant,
        world.counts,
        time.process_time() - began,
        world.trace or [],
    )


def _act(world: World, folder: Path, judge: Judge, mutant: AbstractContextManager[object]) -> None:
    plan = world.plan
    device = Device(world, judge.at_start)
    line = FaultyLine(device, plan.line_faults, clock=world.clock)
    bench = Bench(world, folder, device, line, judge)
    for number, host in enumerate(plan.hosts):
        world.actors.append(Actor(world, f"P{number + 1}", host, process(bench)))
    for number in range(plan.persons):
        person = Person(bench, f"person{number + 1}", list(plan.deeds[number :: plan.persons]))
        world.actors.append(Actor(world, person.name, "desk", person.live))
    with harness(world, judge.after_write), mutant:
        world.run()
    world.counts["adoptions"], world.counts["withdrawals"] = judge.adopted(), judge.withdrawn()
    world.counts["points"] = world.points
    if world.violation is None:
        try:
            judge.at_end(device, RecordingArchive(folder / "recordings"))
        except Violation as violation:
            world.fail(violation)


def _new_lab(folder: Path, plan: Plan) -> None:
    shutil.copy(_empty_database(), folder / DATABASE)
    with TrialStore.open(folder / DATABASE, now=lambda: START) as store:
        store.ensure_channels(CYCLER, plan.channels)
        for spec in plan.specs:
            store.register_campaign(spec, lab_time_h=0.0)
            waiting = DrawingCampaign(spec).proposals(min(plan.backlog, spec.budget.trials))
            store.add_trials(
                spec.name, [NewTrial(drawn.candidate, "backlog", TrialStatus.APPROVED) for drawn in waiting], lab_time_h=0.0
            )


@cache
def _empty_database() -> Path:
    """A lab's database of today's schema without anything in it; migrating one takes longer than a seed."""
    kept = tempfile.TemporaryDirectory(prefix="voltloop-torture-empty-", dir=_shared_memory())
    _kept.append(kept)
    path = Path(kept.name) / DATABASE
    TrialStore.open(path).close()
    return path


_kept: list[tempfile.TemporaryDirectory[str]] = []


def _shared_memory() -> Path | None:
    return _SHARED_MEMORY if _SHARED_MEMORY.is_dir() else None
