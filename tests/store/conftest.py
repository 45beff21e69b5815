"""Labs to test with: on SQLite files, and on a throwaway PostgreSQL cluster made from the installed server's binaries."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from orchestrator.domain import CampaignSpec, Candidate, Estimate, Objective, RangeParameter, SearchSpace, Trial, TrialStatus
from orchestrator.store import NewTrial, TrialStore
from orchestrator.store.tables import Row

SERVERS = Path("/usr/lib/postgresql")


class Cluster:
    """A PostgreSQL server of our own, on a free port, in a temporary folder."""

    def __init__(self, binaries: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="voltloop-postgres-"))
        self._binaries, self._numbers = binaries, itertools.count(1)
        self._lab: str | None = None
        # The server refuses to run as root.
        self._as = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self._as:
            shutil.chown(self.folder, "postgres")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def start(self) -> None:
        """Make the cluster and wait until it answers."""
        data = str(self.folder / "data")
        self._call("initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8")
        settings = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c full_page_writes=off"
        )
        self._call("pg_ctl", "-D", data, "-w", "-l", str(self.folder / "log"), "-o", settings, "start")

    def stop(self) -> None:
        """End the server and remove its folder."""
        self._call("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str) -> str:
        """A database of this server, as a user would write it."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The URL of a new database without tables."""
        name = f"lab_{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return self.url(name)

    def empty_lab(self) -> str:
        """The URL of a lab in which nothing has happened; always the same one, emptied: making a database takes long."""
        if self._lab is None:
            self._lab = self.new_database()
            TrialStore.open(self._lab).close()
        with psycopg.connect(self._lab) as connection:
            # As a replica, so that append-only tables let go of their rows.
            connection.execute("SET session_replication_role = replica")
            connection.execute("; ".join(f"DELETE FROM {table}" for table in Row.metadata.tables))
            connection.execute("SELECT setval(quote_ident(sequencename)::regclass, 1, false) FROM pg_sequences")
        return self._lab

    def _call(self, program: str, *arguments: str) -> None:
        command = [*self._as, str(self._binaries / program), *arguments]
        done = subprocess.run(command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
        assert done.returncode == 0, f"{' '.join(command)} failed"


def _server_binaries() -> Path:
    found = sorted(SERVERS.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        said = f"no PostgreSQL server binaries under {SERVERS}: install the package 'postgresql' to run these tests"
        if os.environ.get("CI") == "true":
            pytest.fail(said)
        pytest.skip(said)
    return found[-1].parent


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    made = Cluster(_server_binaries())
    try:
        made.start()
        yield made
    finally:
        made.stop()


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
