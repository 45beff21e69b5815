"""The schema: made, compared, and refused when it is newer."""

import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import Connection

from orchestrator.domain import CampaignSpec, Candidate
from orchestrator.domain.errors import StoreError
from orchestrator.store import NewTrial, TrialStore, schema
from orchestrator.store.tables import Row


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


def test_an_older_lab_is_brought_up_to_date_with_its_trials(url_of_nothing: str, spec: CampaignSpec) -> None:
    """Data written under the first revision is there after the migration, on each engine; what was not known is None."""
    with TrialStore.open(url_of_nothing) as store:
        store.register_campaign(spec, lab_time_h=0.0)
        store.add_trials("fast", [NewTrial(Candidate({"c1": 2.0}), "sobol")], lab_time_h=0.0)
        before = store.trials("fast")
        with store.database.engine.begin() as connection:
            connection.execute(text("ALTER TABLE trials DROP COLUMN cause"))
            connection.execute(text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '0001'"))
    with TrialStore.open(url_of_nothing) as store:
        assert store.trials("fast") == before
        assert store.trials("fast")[0].cause is None
        with store.database.read() as session:
            assert schema.stored_revision(session.connection()) == schema.HEAD


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
