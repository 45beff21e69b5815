"""The schema: made, compared, and refused when it is newer."""

import multiprocessing
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect
from sqlalchemy.engine import Connection
from sqlmodel import select, update

from adapters.replay import ReplayCycler
from flows import Lab, advance_campaign, resume_campaign
from flows.control import settle_trial
from orchestrator.domain import CampaignSpec
from orchestrator.domain.errors import StoreError
from orchestrator.domain.value import content_hash, from_plain
from orchestrator.representation.requests import run_request
from orchestrator.store import TrialStore, schema
from orchestrator.store.tables import Row, SpecVersionRow
from tests.store.past_labs import ROWS, SPEC, SPEC_SHA256, make_past_lab, rows_of


def _shape(connection: Connection) -> dict[str, object]:
    """Everything about the tables that Alembic's own comparison leaves out."""
    see = inspect(connection)
    return {
        table: {
            "columns": [(c["name"], str(c["type"]), c["nullable"]) for c in see.get_columns(table)],
            "primary key": see.get_pk_constraint(table),
            "checks": sorted((c["name"], c["sqltext"]) for c in see.get_check_constraints(table)),
            "unique": sorted((c["name"], c["column_names"]) for c in see.get_unique_constraints(table)),
            "references": sorted((c["name"], c["referred_table"]) for c in see.get_foreign_keys(table)),
            "indexes": sorted((i["name"], i["column_names"]) for i in see.get_indexes(table)),
        }
        for table in Row.metadata.tables
    }


def test_migrations_make_the_tables_that_the_code_uses(store: TrialStore) -> None:
    """A migrated database and the table classes differ in nothing: columns, types, keys, checks, indexes."""
    options = {"target_metadata": Row.metadata, "version_table": schema.VERSION_TABLE, "compare_type": True}
    with store.database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=options), Row.metadata) == []


def test_checks_and_keys_are_migrated_too(sqlite_store: TrialStore) -> None:
    """Tables made from the classes directly have the same checks, keys and indexes as migrated ones."""
    direct = create_engine("sqlite://")
    Row.metadata.create_all(direct)
    with sqlite_store.database.engine.connect() as migrated, direct.connect() as created:
        assert _shape(migrated) == _shape(created)


def test_every_revision_is_known() -> None:
    """The revisions the program says it knows are those of the migration files, in their order, in one line."""
    config = Config()
    config.set_main_option("script_location", str(schema._MIGRATIONS))
    files = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(files)) == schema.REVISIONS


def test_a_newer_lab_is_left_alone(sqlite_path: Path) -> None:
    """A lab of a newer schema is refused with its file, both revisions and what to do; not a byte is changed."""
    with TrialStore.open(sqlite_path) as store, store.database.write() as session:
        session.connection().exec_driver_sql(f"UPDATE {schema.VERSION_TABLE} SET version_num = '0099'")
    before = sqlite_path.read_bytes()
    with pytest.raises(StoreError) as refused:
        TrialStore.open(sqlite_path)
    said = str(refused.value)
    assert refused.value.exit_code == 2
    assert f"'{sqlite_path}' has schema revision 0099" in said
    assert f"({schema.HEAD})" in said
    assert "Install the newer voltloop" in said
    assert sqlite_path.read_bytes() == before


def test_no_lab_is_made_where_none_is_wanted(tmp_path: Path) -> None:
    """With create=False a missing lab is refused and nothing appears; an empty file is no lab either."""
    with pytest.raises(StoreError, match="there is no lab in"):
        TrialStore.open(tmp_path / "lab" / "voltloop.db", create=False)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "voltloop.db").touch()
    with pytest.raises(StoreError, match="there is no lab in"):
        TrialStore.open(tmp_path / "voltloop.db", create=False)


def test_an_existing_lab_needs_no_create(sqlite_path: Path) -> None:
    """create=False opens the lab that is there."""
    TrialStore.open(sqlite_path, create=False).close()


def test_another_programs_tables_are_left_alone(tmp_path: Path) -> None:
    """A database in which another program keeps tables of the same names is refused and stays as it was."""
    path = tmp_path / "prefect.db"
    with create_engine(f"sqlite:///{path}").begin() as connection:
        connection.exec_driver_sql("CREATE TABLE events (payload TEXT)")
    with pytest.raises(StoreError, match=r"tables of another program \(events\)"):
        TrialStore.open(path)
    with create_engine(f"sqlite:///{path}").connect() as connection:
        assert inspect(connection).get_table_names() == ["events"]


def test_a_migration_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration is one transaction: if it breaks off, the database is as it was, and the next opening makes the lab."""
    path = tmp_path / "50% of ü" / "voltloop.db"
    whole = schema.upgrade

    def broken(connection: Connection, revision: str) -> None:
        whole(connection, revision)
        raise RuntimeError("power cut")

    monkeypatch.setattr(schema, "upgrade", broken)
    with pytest.raises(RuntimeError):
        TrialStore.open(path)
    with create_engine(f"sqlite:///{path}").connect() as connection:
        assert inspect(connection).get_table_names() == []
    monkeypatch.setattr(schema, "upgrade", whole)
    with TrialStore.open(path) as store:
        assert store.campaigns() == []


@pytest.fixture(params=schema.REVISIONS[:-1])
def past(request: pytest.FixtureRequest, url_of_nothing: str) -> tuple[str, str]:
    """A lab left by the program of each past revision: its revision, and where its database is."""
    make_past_lab(url_of_nothing, request.param)
    return request.param, url_of_nothing


def _stored(store: TrialStore) -> dict[str, list[dict[str, object]]]:
    """Every row of every table, as this program reads it."""
    with store.database.read() as session:
        tables = {table.__tablename__: table for table in Row.__subclasses__()}
        return {name: [row.model_dump() for row in session.exec(select(table)).all()] for name, table in tables.items()}


def test_nothing_of_a_past_lab_is_lost(past: tuple[str, str]) -> None:
    """Every row of every table has every value that its program wrote; what it could not know is empty, or what was true then."""
    revision, url = past
    with TrialStore.open(url) as store:
        stored = _stored(store)
        with store.database.read() as session:
            assert schema.stored_revision(session.connection()) == schema.HEAD
    for table, written in rows_of(revision).items():
        order = sorted(stored.pop(table), key=lambda row: str([row.get(key) for key in ("id", "trial_id", "position")]))
        kept = sorted(written, key=lambda row: str([row.get(key) for key in ("id", "trial_id", "position")]))
        assert [{name: _plain(row[name]) for name in before} for row, before in zip(order, kept, strict=True)] == kept
        for row, before in zip(order, kept, strict=True):
            assert {name: row[name] for name in set(row) - set(before) if row[name] is not None} == SUPPOSED.get(table, {})
    assert not any(stored.values())  # tables that came later


# Values of columns that past programs did not have, where they are not simply unknown.
SUPPOSED = {"stop_requests": {"cause": "person"}, "attempts": {"confirmed": True}}


def _plain(given: object) -> object:
    return given.strftime("%Y-%m-%d %H:%M:%S.%f") if isinstance(given, datetime) else given


def test_everything_of_a_past_lab_reads(past: tuple[str, str]) -> None:
    """Through the store: campaign, spec, trials with outcomes, history, decisions, cycles, recording, channels, log, facts."""
    _, url = past
    with TrialStore.open(url) as store:
        campaign, trials = store.campaign("past"), store.trials("past")
        assert (campaign.spec.budget.trials, campaign.reference_point, campaign.wall_s) == (8, {"result": -50.0}, 3.5)
        assert campaign.stop_requested is None
        states = "completed failed running dispatching unknown approved proposed cancelled completed"
        assert [str(trial.status) for trial in trials] == states.split()
        assert trials[0].outcome["result"].mean == -26.0
        assert trials[7].stop_requested == "enough"
        assert (trials[2].key, trials[2].fence, trials[2].started_h) == ("past/3/1", 2, 6.0)
        assert [row["source"] for row in store.outcome_history("past", 1)] == ["predicted", "measured"]
        assert [each["trial"] for each in store.decisions("past")] == list(range(1, 9))
        assert [row["cycle"] for row in store.cycle_summaries("past", 1)] == [1, 2]
        recording = store.recording_of("past", 1)
        assert recording is not None
        assert recording.rows == 2
        assert [(c.name, c.trial, c.state) for c in store.channels()] == [
            ("1", 3, "held"), ("2", 4, "held"), ("3", 5, "held"), ("4", None, "quarantined")
        ]  # fmt: skip
        assert [event.id for event in store.events("past")] == list(range(1, 13))
        assert store.last_lab_time_h() == 6.0
        assert store.fact("room") == {"number": 12}
        assert store.limits_violated("past") == 1
        assert store.lock_holder("past") is None


def test_a_past_spec_keeps_its_hash(past: tuple[str, str]) -> None:
    """What came later and says nothing leaves it as it was; read from its lab it is known by the hash it was stored under."""
    _, url = past
    assert SPEC_SHA256 == "cdaf88935c1833a6d4df4d15e785cdfc16b6f3d774105ddef4a70d248d869321"
    assert from_plain(CampaignSpec, SPEC).sha256 == SPEC_SHA256
    with TrialStore.open(url) as store:
        assert store.campaign("past").spec.sha256 == SPEC_SHA256


def test_a_spec_that_states_what_is_left_out_today_keeps_its_hash(sqlite_path: Path) -> None:
    """Some programs wrote these defaults down: what they stored is read, and known by the same hash as before."""
    written = {**SPEC, "experiment": {**SPEC["experiment"], "checkup": None, "impedance_every_checkups": 1}}
    make_past_lab(str(sqlite_path.with_name("past.db")), "0001")
    with TrialStore.open(sqlite_path.with_name("past.db")) as store:
        with store.database.write() as session:
            session.connection().exec_driver_sql("DROP TRIGGER spec_versions_no_update")
            session.exec(update(SpecVersionRow).values(spec=written, sha256=content_hash(written)))
        spec = store.campaign("past").spec
    assert spec == from_plain(CampaignSpec, SPEC)
    assert spec.sha256 == content_hash(written) != SPEC_SHA256


@pytest.mark.parametrize("change", ["UPDATE events SET kind = 'x'", "DELETE FROM events", "UPDATE spec_versions SET sha256 = 'x'",
                                    "DELETE FROM spec_versions"])  # fmt: skip
def test_history_of_a_past_lab_still_refuses_changes(past: tuple[str, str], change: str) -> None:
    """A migration that rebuilds a table must not lose the triggers that keep it append-only."""
    _, url = past
    with (
        TrialStore.open(url) as store,
        pytest.raises(StoreError, match="append-only"),
        store.database.write() as session,
    ):
        session.connection().exec_driver_sql(change)


def test_a_tick_goes_on_with_a_past_lab(past: tuple[str, str], tmp_path: Path) -> None:
    """What ran is adopted, the intent is finished, the unknown is settled, and the campaign ends; nothing starts twice."""
    _, url = past
    cycler = ReplayCycler(ROWS, "result", duration_h="hours", channels=4)
    with Lab.open(tmp_path / "lab", cyclers=[cycler], database_url=url) as lab:
        running = lab.store.trial("past", 3)
        cycler.submit(run_request(lab.store.campaign("past").spec, running.candidate, key="past/3/1", channel="1"))
        settle_trial(lab, "past", 5, started=False)
        assert advance_campaign(lab, "past").status == "running"
        assert resume_campaign(lab, "past").status == "completed"
        fates = {trial.number: (str(trial.status), trial.attempt) for trial in lab.store.trials("past")}
        assert fates[3] == fates[4] == fates[6] == fates[7] == ("completed", 1)
        assert fates[5] == ("completed", 2)
        assert set(cycler.physical_starts().values()) == {1}
        assert {channel.state for channel in lab.store.channels()} == {"free", "quarantined"}


@pytest.fixture(params=["sqlite", "postgres"])
def url_of_nothing(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where no lab has been yet, on each engine."""
    if request.param == "sqlite":
        return str(tmp_path / "voltloop.db")
    return str(request.getfixturevalue("cluster").new_database())


def open_fresh(url: str, start, done) -> None:
    """Open a lab that is not there, at the same moment as others."""
    start.wait()
    with TrialStore.open(url, busy_timeout_s=60) as store:
        store.log("opened", lab_time_h=0.0)
    done.put(True)


def test_processes_that_open_a_fresh_lab_at_once(tmp_path: Path) -> None:
    """Several processes that make the same lab at the same moment all succeed, and it is made once."""
    path = str(tmp_path / "lab" / "voltloop.db")
    fork = multiprocessing.get_context("fork")
    start, done = fork.Barrier(4), fork.Queue()
    opening = [fork.Process(target=open_fresh, args=(path, start, done)) for _ in range(4)]
    for process in opening:
        process.start()
    for process in opening:
        process.join(60)
    assert [process.exitcode for process in opening] == [0] * 4
    with TrialStore.open(path) as store:
        assert [event.kind for event in store.events()] == ["opened"] * 4


OPEN = """
import sys
from orchestrator.store import RecordingArchive, TrialStore
with TrialStore.open(sys.argv[1], create=False) as store:
    assert store.campaign("fast").status == "running"
print(*sorted({name.split(".")[0] for name in sys.modules} & {"alembic", "pyarrow", "torch", "ax", "prefect", "psycopg"}))
"""


def test_opening_an_up_to_date_lab_loads_little(sqlite_store: TrialStore, spec: CampaignSpec) -> None:
    """The command line opens the lab at every call: that loads neither Alembic nor pyarrow nor anything else heavy."""
    sqlite_store.register_campaign(spec, lab_time_h=0.0)
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", OPEN, str(sqlite_store.database.path)]
    assert subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.split() == []
