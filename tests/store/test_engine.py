"""How the database is opened, and what is said when it refuses."""

import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlmodel import select

from orchestrator.domain import CampaignSpec, Candidate
from orchestrator.domain.errors import StoreError
from orchestrator.store import NewTrial, TrialStore
from orchestrator.store.engine import database_url
from orchestrator.store.tables import ChannelRow, EventRow

NOBODY = 65534


def test_nothing_committed_is_lost_to_a_power_cut(sqlite_store: TrialStore) -> None:
    """Every connection uses the write-ahead log, flushes it at every commit, and checks foreign keys."""
    with sqlite_store.database.read() as one, sqlite_store.database.read() as another:
        for session in (one, another):
            ask = session.connection().exec_driver_sql
            assert ask("PRAGMA journal_mode").scalar() == "wal"
            assert ask("PRAGMA synchronous").scalar() == 2
            assert ask("PRAGMA foreign_keys").scalar() == 1


def test_a_row_without_its_parent_is_refused(store: TrialStore) -> None:
    """Foreign keys hold: a channel cannot be held by a trial that is not there."""
    with pytest.raises(StoreError), store.database.write() as session:
        session.add(ChannelRow(cycler="sim", name="1", state="held", trial_id=99))


@pytest.mark.parametrize(("state", "trial_id"), [("broken", None), ("held", None)])
def test_a_wrong_word_never_reaches_a_row(store: TrialStore, state: str, trial_id: int | None) -> None:
    """The database checks every status by value, and that a held channel has a holder."""
    with pytest.raises(StoreError), store.database.write() as session:
        session.add(ChannelRow(cycler="sim", name="1", state=state, trial_id=trial_id))


def test_times_keep_their_instant(store: TrialStore) -> None:
    """A time in any zone comes back as the same instant in UTC; one without a zone is refused."""
    summer = datetime(2026, 7, 1, 14, 30, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    with store.database.write() as session:
        session.add(EventRow(at=summer, lab_time_h=0.0, kind="x", data={}))
    with store.database.read() as session:
        found = session.exec(select(EventRow.at)).one()
    assert found == datetime(2026, 7, 1, 12, 30, 0, 123456, tzinfo=UTC)
    assert found.tzinfo is UTC
    with pytest.raises(StoreError, match="has no time zone"), store.database.write() as session:
        session.add(EventRow(at=datetime(2026, 7, 1), lab_time_h=0.0, kind="x", data={}))


def test_threads_share_a_store(store: TrialStore, spec: CampaignSpec) -> None:
    """Many threads write at once through one store, and every write is there."""
    store.register_campaign(spec, lab_time_h=0.0)

    def write(who: int) -> None:
        for n in range(10):
            store.add_trials("fast", [NewTrial(Candidate({"c1": 1.0 + n / 10}), str(who))], lab_time_h=1.0)

    threads = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trials = store.trials("fast")
    assert [trial.number for trial in trials] == list(range(1, 41))
    assert sorted(trial.origin for trial in trials) == [who for who in "0123" for _ in range(10)]


@pytest.fixture
def other_program(sqlite_path: Path) -> Iterator[sqlite3.Connection]:
    """Another program with the lab's file open."""
    connection = sqlite3.connect(sqlite_path, isolation_level=None)
    yield connection
    connection.close()


def test_a_lab_locked_past_its_timeout(sqlite_path: Path, spec: CampaignSpec, other_program: sqlite3.Connection) -> None:
    """While another program writes for too long, reading goes on; writing says which file is locked and what to do."""
    with TrialStore.open(sqlite_path, busy_timeout_s=0.05) as store:
        store.register_campaign(spec, lab_time_h=0.0)
        other_program.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"voltloop\.db' is locked.*longer than 0\.05 s.*run the same command again"):
            store.log("x", lab_time_h=1.0)
        assert store.campaign("fast").spec == spec
        with TrialStore.open(sqlite_path, busy_timeout_s=0.05) as second:
            assert [event.kind for event in second.events()] == ["campaign_registered"]
        other_program.execute("ROLLBACK")
        store.log("x", lab_time_h=1.0)


def test_a_lock_that_ends_in_time_is_waited_for(sqlite_path: Path, other_program: sqlite3.Connection) -> None:
    """A write that finds the lab locked goes on when the other program is done within the timeout."""
    with TrialStore.open(sqlite_path, busy_timeout_s=60) as store:
        other_program.execute("BEGIN IMMEDIATE")
        writer = threading.Thread(target=store.log, args=("x",), kwargs={"lab_time_h": 1.0})
        writer.start()
        writer.join(0.05)
        assert store.events() == []
        other_program.execute("COMMIT")
        writer.join()
        assert [event.kind for event in store.events()] == ["x"]


def test_a_fresh_lab_locked_past_its_timeout(tmp_path: Path) -> None:
    """A lab that cannot be made because the file is locked is told so, and made when it is free."""
    path = tmp_path / "voltloop.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match=r"voltloop\.db' is locked"):
        TrialStore.open(path, busy_timeout_s=0.05)
    other.close()
    TrialStore.open(path).close()


def test_a_lab_that_another_program_just_makes_is_waited_for(tmp_path: Path) -> None:
    """Where SQLite itself would not wait (switching the file to the write-ahead log), the store does."""
    path = tmp_path / "voltloop.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    opened: list[TrialStore] = []
    opener = threading.Thread(target=lambda: opened.append(TrialStore.open(path, busy_timeout_s=60)))
    opener.start()
    opener.join(0.05)
    assert opened == []
    other.close()
    opener.join()
    assert opened[0].campaigns() == []
    opened[0].close()


def test_a_full_disk(sqlite_path: Path, spec: CampaignSpec) -> None:
    """When the disk is full a write says so and stores nothing of it; what was stored before is there."""
    with TrialStore.open(sqlite_path) as store:
        store.register_campaign(spec, lab_time_h=0.0)
        event.listen(store.database.engine, "begin", _limit_pages)
        many = [NewTrial(Candidate({"c1": 2.0}), "x", decision={"why": "y" * 20_000}) for _ in range(20)]
        with pytest.raises(StoreError, match=r"voltloop\.db' cannot grow: the disk is full"):
            store.add_trials("fast", many, lab_time_h=1.0)
        assert store.trials("fast") == []
        assert len(store.events()) == 1
        event.remove(store.database.engine, "begin", _limit_pages)
    with TrialStore.open(sqlite_path) as after:
        assert len(after.add_trials("fast", many, lab_time_h=1.0)) == 20


def _limit_pages(connection) -> None:
    pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 10}")


def _as_nobody(what: Callable[[], object]) -> str:
    """Do something without root's rights, in a process of its own; returns what `StoreError` said."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = "nothing was refused"
        try:
            if os.geteuid() == 0:
                os.setuid(NOBODY)
            what()
        except StoreError as error:
            said = str(error)
        except BaseException as error:  # noqa: BLE001 - whatever it was, the parent must hear of it
            said = repr(error)
        os.write(writing, said.encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:  # noqa: PTH123 - a file handle
        return pipe.read()


@pytest.fixture
def readonly_lab(migrated_file: Path) -> Iterator[Path]:
    """A lab that may be looked at but not written, in a folder that everybody can reach."""
    folder = Path(tempfile.mkdtemp(prefix="voltloop-readonly-"))
    shutil.copy(migrated_file, folder / "voltloop.db")
    (folder / "voltloop.db").chmod(0o444)
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_a_read_only_lab(readonly_lab: Path) -> None:
    """A lab in a folder that may not be written names the file and what to do; so does a lab that cannot be made there."""
    content = (readonly_lab / "voltloop.db").read_bytes()

    def use() -> None:
        with TrialStore.open(readonly_lab / "voltloop.db") as store:
            store.log("x", lab_time_h=0.0)

    for said in (_as_nobody(use), _as_nobody(lambda: TrialStore.open(readonly_lab / "new.db"))):
        assert f"the lab's database '{readonly_lab}" in said
        assert "writable" in said or "that you may write there" in said
    assert "cannot be made: Permission denied" in _as_nobody(lambda: TrialStore.open(readonly_lab / "new" / "voltloop.db"))
    assert (readonly_lab / "voltloop.db").read_bytes() == content


def test_what_is_no_database_is_left_alone(tmp_path: Path) -> None:
    """A file of something else, a folder, or a file in the place of a folder: each is named and stays as it was."""
    other = tmp_path / "notes.txt"
    other.write_text("my notes " * 1000)
    with pytest.raises(StoreError, match=r"notes\.txt' is damaged or is not a voltloop database"):
        TrialStore.open(other)
    assert other.read_text() == "my notes " * 1000
    with pytest.raises(StoreError, match=f"{tmp_path.name}' cannot be opened"):
        TrialStore.open(tmp_path)
    with pytest.raises(StoreError, match=r"notes\.txt' cannot be made"):
        TrialStore.open(other / "voltloop.db")


def test_a_damaged_lab_is_told(sqlite_path: Path, spec: CampaignSpec) -> None:
    """A database torn by a broken disk is said to be damaged."""
    with TrialStore.open(sqlite_path) as store:
        store.register_campaign(spec, lab_time_h=0.0)
    content = bytearray(sqlite_path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    sqlite_path.write_bytes(content)
    with pytest.raises(StoreError, match="is damaged"), TrialStore.open(sqlite_path) as store:
        store.campaigns()


@pytest.mark.parametrize("given", ["lab.db", "sqlite:///lab.db"])
def test_a_path_and_its_url_are_the_same(given: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A lab's file may be given as a path or an SQLite URL."""
    monkeypatch.chdir(tmp_path)
    with TrialStore.open(given) as store:
        assert store.database.path == tmp_path / "lab.db"


@pytest.mark.parametrize(
    "url", ["postgres://u@h/d", "postgresql://u@h/d", "postgresql+psycopg://u@h/d", "postgresql+psycopg2://u@h/d"]
)
def test_any_postgres_url_will_do(url: str) -> None:
    """PostgreSQL URLs are taken as people write them."""
    assert database_url(url).render_as_string() == "postgresql+psycopg://u@h/d"


@pytest.mark.parametrize("url", ["mysql://u:secret@h/d", "sqlite://", "sqlite:///:memory:", "nonsense://", "://"])
def test_other_databases_are_refused(url: str) -> None:
    """A URL that no lab can live at is refused with what to give instead, and no password is shown."""
    with pytest.raises(StoreError, match="postgresql://") as refused:
        TrialStore.open(url)
    assert "secret" not in str(refused.value)
