"""What is particular to PostgreSQL; the promises common to both engines are in the other files, marked [postgres]."""

import multiprocessing

import psycopg
import pytest

from orchestrator.domain import CampaignSpec
from orchestrator.domain.errors import StoreError
from orchestrator.store import TrialStore, schema
from orchestrator.store.tables import Row


def _open_fresh(url: str, start) -> None:
    start.wait()
    with TrialStore.open(url, busy_timeout_s=60) as store:
        store.log("opened", lab_time_h=0.0)


def test_processes_that_open_a_fresh_postgres_lab_at_once(cluster) -> None:
    """Several processes that make the same lab at the same moment all succeed, and it is made once."""
    url = cluster.new_database()
    fork = multiprocessing.get_context("fork")
    start = fork.Barrier(3)
    opening = [fork.Process(target=_open_fresh, args=(url, start)) for _ in range(3)]
    for process in opening:
        process.start()
    for process in opening:
        process.join(60)
    assert [process.exitcode for process in opening] == [0] * 3
    with TrialStore.open(url) as store:
        assert [event.kind for event in store.events()] == ["opened"] * 3


def test_a_newer_postgres_lab_is_left_alone(cluster) -> None:
    """A database of a newer schema is refused, by its URL without the password, and stays as it was."""
    url = cluster.empty_lab()
    with psycopg.connect(url) as connection:
        connection.execute(f"UPDATE {schema.VERSION_TABLE} SET version_num = '0099'")
    try:
        with pytest.raises(StoreError, match="has schema revision 0099, newer than") as refused:
            TrialStore.open(url.replace("postgres@", "postgres:secret@"))
        assert "secret" not in str(refused.value)
    finally:
        with psycopg.connect(url) as connection:
            connection.execute(f"UPDATE {schema.VERSION_TABLE} SET version_num = '{schema.HEAD}'")


def test_postgres_create_false_makes_nothing(cluster) -> None:
    """An empty database is no lab, and another program's tables are left alone."""
    url = cluster.new_database()
    with pytest.raises(StoreError, match="there is no lab in"):
        TrialStore.open(url, create=False)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE events (payload TEXT)")
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
    with pytest.raises(StoreError, match=r"tables of another program \(events\)"):
        TrialStore.open(url)
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1").fetchall()
    assert found == [("alembic_version",), ("events",)]


def test_a_postgres_server_that_does_not_answer() -> None:
    """A server that is not there is named without the password, with what to check."""
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:1/lab' cannot be reached\. Check that the server runs") as refused:
        TrialStore.open("postgresql://me:secret@127.0.0.1:1/lab")
    assert "secret" not in str(refused.value)


def test_a_lost_postgres_connection(cluster, spec: CampaignSpec) -> None:
    """A connection cut in mid-transaction is told, nothing of it is stored, and the next call connects again."""
    url = cluster.empty_lab()
    with TrialStore.open(url) as store:
        store.register_campaign(spec, lab_time_h=0.0)
        with pytest.raises(StoreError, match="cannot be reached"):
            _lose_connection(store, url)
        assert [event.kind for event in store.events()] == ["campaign_registered"]


def _lose_connection(store: TrialStore, url: str) -> None:
    with store.database.write() as session:
        store._event(session, "lost", lab_time_h=1.0)
        session.flush()
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        store._event(session, "lost too", lab_time_h=1.0)


def test_a_postgres_row_locked_past_the_timeout(cluster, spec: CampaignSpec) -> None:
    """A wait for another program's lock ends with the busy timeout and a clear message."""
    url = cluster.empty_lab()
    with TrialStore.open(url, busy_timeout_s=0.05) as store:
        store.register_campaign(spec, lab_time_h=0.0)
        with psycopg.connect(url) as other:
            other.execute("SELECT 1 FROM campaigns FOR UPDATE")
            with pytest.raises(StoreError, match=r"is locked: .* longer than 0\.05 s"):
                store.set_campaign("fast", status="stopped", lab_time_h=1.0)
            assert store.campaign("fast").status == "running"


def test_postgres_keeps_exact_numbers_and_json(cluster, spec: CampaignSpec) -> None:
    """Doubles keep every bit, JSON keeps the order of its keys, and every table has its own place."""
    with TrialStore.open(cluster.empty_lab()) as store:
        store.register_campaign(spec, lab_time_h=0.1 + 0.2)
        store.set_fact("odd", {"z": 5e-324, "a": [1.0, 1], "ä": None}, lab_time_h=1e300)
        assert store.campaign("fast").started_h == 0.1 + 0.2
        assert repr(store.fact("odd")) == "{'z': 5e-324, 'a': [1.0, 1], 'ä': None}"
        assert store.last_lab_time_h() == 1e300
        with store.database.read() as session:
            found = session.connection().exec_driver_sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").scalar()
        assert found == len(Row.metadata.tables) + 1
