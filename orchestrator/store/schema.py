"""Which revision of the schema a database has, and bringing an older one up to date.

Alembic is loaded only when there is something to do: the command line opens the lab every time it is called.
"""

from __future__ import annotations

import threading
from pathlib import Path

from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection

from orchestrator.domain.errors import StoreError
from orchestrator.store.engine import Database
from orchestrator.store.tables import Row

# Every revision this program knows, oldest first; a test holds them against the migration files.
REVISIONS = ("0001", "0002", "0003")
HEAD = REVISIONS[-1]
# Not Alembic's usual name: another program's migrations (Prefect's) may live in the same database.
VERSION_TABLE = "voltloop_schema"

_MIGRATIONS = Path(__file__).parent / "migrations"
# PostgreSQL's advisory lock for migrations: any fixed number will do.
_MIGRATION_LOCK = 0x766F6C74
# Alembic's context is one per process.
_one_at_a_time = threading.Lock()


def bring_up_to_date(database: Database, create: bool) -> None:
    """Make a fresh database, or migrate an older one; one that is up to date costs a single query.

    Raises:
        StoreError: if the schema is newer than this program, the database belongs to another program, or there is
            none and `create` is False. Nothing is changed then.
    """
    if database.path:
        _check_file(database.path, create)
    with database.read() as session:
        stored = stored_revision(session.connection())
    if stored == HEAD:
        return
    _refuse_newer(database, stored)
    if stored is None and not create:
        raise _no_lab(database.place)
    with database.migrating() as connection, connection.begin():
        _migrate(database, connection)


def stored_revision(connection: Connection) -> str | None:
    """The database's schema revision; None if it has no lab yet."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608 - a fixed name
    return None if found is None else str(found)


def _check_file(path: Path, create: bool) -> None:
    if path.exists():
        return
    if not create:
        raise _no_lab(str(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"the lab's folder '{path.parent}' cannot be made: {error.strerror}. Name another lab with --lab."
        ) from None


def _no_lab(place: str) -> StoreError:
    return StoreError(f"there is no lab in '{place}'. Start one with `voltloop run SPEC.toml`, or name another with --lab.")


def _refuse_newer(database: Database, stored: str | None) -> None:
    if stored is not None and stored not in REVISIONS:
        raise StoreError(
            f"the lab's database '{database.place}' has schema revision {stored}, newer than this voltloop's ({HEAD}). "
            "Install the newer voltloop that made it, or name another lab with --lab. Nothing was changed."
        )


def _migrate(database: Database, connection: Connection) -> None:
    """Inside a transaction that nobody else can be in: look again, then migrate."""
    if database.path is None:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
    stored = stored_revision(connection)
    if stored == HEAD:
        return
    _refuse_newer(database, stored)
    if stored is None:
        _refuse_strangers(database, connection)
    upgrade(connection, HEAD)
    if database.path and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
        raise StoreError(f"the lab's database '{database.place}' has dangling references; it was not migrated. Restore a backup.")


def _refuse_strangers(database: Database, connection: Connection) -> None:
    taken = sorted(set(inspect(connection).get_table_names()) & set(Row.metadata.tables))
    if taken:
        raise StoreError(
            f"the database '{database.place}' holds tables of another program ({', '.join(taken)}). "
            "Give voltloop a database of its own. Nothing was changed."
        )


def upgrade(connection: Connection, revision: str) -> None:
    """Migrate, within the connection's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    with _one_at_a_time:
        command.upgrade(config, revision)
