"""The harness around the shipped code: yield points at transactions, other hosts' process identities, and no costly mathematics.

Dispatch, locks, collecting and the store are not touched.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from orchestrator.decision import NoFeasibleChoiceError
from orchestrator.domain import Candidate
from orchestrator.domain.errors import StoreError
from orchestrator.store import engine, lock, process
from orchestrator.store.engine import Database
from tests.torture.plans import RATE
from tests.torture.world import World


@dataclass(frozen=True)
class Drawn:
    """A proposal without a belief behind it."""

    candidate: Candidate
    origin: str = "drawn"
    decision: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DrawingCampaign:
    """In place of `orchestrator.campaign.Campaign` in the tick: candidates are drawn from the space of the present spec."""

    spec: Any
    trials: tuple[Any, ...] = ()
    reference_point: Any = None

    def proposals(self, n: int) -> list[Drawn]:
        """The next `n` candidates: a function of the campaign's name and of how many trials it has."""
        bounds = self.spec.space.free[0]
        dice = random.Random(f"{self.spec.name}/{len(self.trials)}")
        return [Drawn(Candidate({RATE: round(dice.uniform(bounds.lower, bounds.upper), 6)})) for _ in range(n)]

    def safe(self, candidates: Sequence[Candidate]) -> list[bool]:
        """Nothing here is a matter of confidence."""
        return [True] * len(candidates)


@contextmanager
def harness(world: World, after_write: Callable[[], None]) -> Iterator[None]:
    """Everything that a seed's run substitutes."""
    with ExitStack() as stack:
        for target, name, substitute in _substitutes(world, after_write):
            stack.enter_context(patch.object(target, name, substitute))
        yield


def _substitutes(world: World, after_write: Callable[[], None]) -> list[tuple[Any, str, Any]]:
    from flows import attention, campaign, closing

    return [
        (Database, "write", _write_of(world, Database.write, after_write)),
        (Database, "read", _read_of(world, Database.read)),
        (engine, "_sqlite_engine", _sharing_statements(engine._sqlite_engine)),
        (engine, "_prepare_sqlite", _unsynchronised(engine._prepare_sqlite)),
        (process, "this_process", world.identity),
        (process, "_start_of", world.start_of),
        (lock, "this_process", world.identity),
        (campaign, "Campaign", DrawingCampaign),
        (closing, "recommend_now", _no_choice),
        (closing, "write_report", _no_report),
        (attention, "close_campaign", closing.close_campaign),
    ]


def _write_of(world: World, original: Any, after_write: Callable[[], None]) -> Any:
    @contextmanager
    def write(self: Database) -> Iterator[Any]:
        name = sys._getframe(2).f_code.co_name
        world.point(f"write {name} >")
        _perhaps_refuse(world)
        with original(self) as session:
            yield session
        after_write()
        world.heard()
        world.point(f"write {name} <")

    return write


def _read_of(world: World, original: Any) -> Any:
    @contextmanager
    def read(self: Database) -> Iterator[Any]:
        name = sys._getframe(2).f_code.co_name
        world.point(f"read {name} >")
        _perhaps_refuse(world)
        with original(self) as session:
            yield session
        world.heard()
        world.point(f"read {name} <")

    return read


def _perhaps_refuse(world: World) -> None:
    if world.current is not None and not world.calm and world.plan.refusal and world.dice.random() < world.plan.refusal:
        world.counts["refusals"] += 1
        raise StoreError("the lab's database is locked: another program has been writing to it.")


def _unsynchronised(prepare: Any) -> Any:
    def prepare_quickly(busy_timeout_s: float, connection: Any, record: Any) -> None:
        prepare(busy_timeout_s, connection, record)
        connection.execute("PRAGMA synchronous=OFF")

    return prepare_quickly


_first: list[Any] = []


def _sharing_statements(make: Any) -> Any:
    """Engines that share one cache of compiled statements: compiling them anew for each process would cost more than they do."""

    def made(*arguments: Any) -> Any:
        fresh = make(*arguments)
        first = _first[0] if _first else fresh
        _first[:] = [first]
        fresh.dialect, fresh._compiled_cache = first.dialect, first._compiled_cache
        return fresh

    return made


def _no_choice(*_args: Any, **_more: Any) -> Any:
    raise NoFeasibleChoiceError("nobody chooses here")


def _no_report(*_args: Any, **_more: Any) -> None:
    """Reports have tests of their own."""
