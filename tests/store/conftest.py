"""Labs to test with: on SQLite files, and on a throwaway PostgreSQL cluster made from the installed server's binaries."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.domain import CampaignSpec, Candidate, Estimate, Objective, RangeParameter, SearchSpace, Trial, TrialStatus
from orchestrator.store import NewTrial, TrialStore


class SteppedTime:
    """The system's time, moved by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        """What time it is."""
        return self.now

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def system_time() -> SteppedTime:
    return SteppedTime()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty lab's SQLite file, to be copied: migrating anew for every test would take most of the time."""
    path = tmp_path_factory.mktemp("migrated") / "voltloop.db"
    TrialStore.open(path).close()
    return path


@pytest.fixture
def sqlite_path(tmp_path: Path, migrated_file: Path) -> Path:
    """An empty lab's SQLite file."""
    (tmp_path / "lab").mkdir()
    return Path(shutil.copy(migrated_file, tmp_path / "lab"))


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """Where an empty lab's database is, on each engine."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_path"))
    return str(request.getfixturevalue("cluster").empty_lab())


@pytest.fixture
def store(url: str, system_time: SteppedTime) -> Iterator[TrialStore]:
    """An opened lab, on each engine."""
    opened = TrialStore.open(url, now=system_time)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_store(sqlite_path: Path, system_time: SteppedTime) -> Iterator[TrialStore]:
    """An opened lab on SQLite, for what does not depend on the engine."""
    opened = TrialStore.open(sqlite_path, now=system_time)
    yield opened
    opened.close()


@pytest.fixture
def spec() -> CampaignSpec:
    return CampaignSpec(
        name="fast",
        space=SearchSpace(parameters=(RangeParameter("c1", 1.0, 6.0, unit="C"),)),
        objectives=(Objective("cycle_life", "maximize", threshold=300.0),),
        seed=7,
    )


@pytest.fixture
def add_approved(spec: CampaignSpec) -> Callable[[TrialStore, int], list[Trial]]:
    """Register the campaign `fast`, with so many approved trials, and a cycler `sim` of channels 1, 2 and 3."""

    def add(store: TrialStore, count: int) -> list[Trial]:
        store.register_campaign(spec, lab_time_h=0.0)
        store.ensure_channels("sim", ["1", "2", "3"])
        new = [NewTrial(Candidate({"c1": 1.0 + 0.1 * n}), "sobol", TrialStatus.APPROVED) for n in range(count)]
        return store.add_trials("fast", new, lab_time_h=1.0)

    return add


@pytest.fixture
def running(store: TrialStore, add_approved: Callable[[TrialStore, int], list[Trial]]) -> TrialStore:
    """A lab whose trial 1 of 2 runs on channel 1 under fence 1."""
    add_approved(store, 2)
    store.begin_dispatch("fast", 1, cycler="sim", channel="1", lab_time_h=2.0)
    store.acknowledge("fast", 1, run_ref="run-1", started_h=2.5, fence=1)
    return store


@pytest.fixture
def life() -> dict[str, Estimate]:
    return {"cycle_life": Estimate(812.0, 30.0, unit="cycles")}
