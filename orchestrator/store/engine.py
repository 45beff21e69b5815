"""One lab database opened: connections with the right settings, and transactions that end whole or not at all."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from sqlite3 import Error as SqliteError
from sqlite3 import OperationalError as SqliteOperationalError
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlmodel import Session

from orchestrator.domain.errors import StoreError
from orchestrator.store.faults import UnreadableValueError, store_error

_WRITES = "voltloop_writes"


def system_now() -> datetime:
    """The system's time, aware, UTC."""
    return datetime.now(UTC)


class Database:
    """Connections to one SQLite file or PostgreSQL database.

    SQLite: write-ahead log, `synchronous=FULL` (a committed transaction survives a power cut), foreign keys on, and
    writes take their lock when they begin, so that no transaction fails half-way for want of it. PostgreSQL: reads
    see one snapshot, waits for locks end after the same busy timeout.

    Attributes:
        place: the file, or the URL without its password, for messages.
        path: the SQLite file; None on PostgreSQL.
        now: gives the system's time.
    """

    def __init__(self, url_or_path: str | Path, busy_timeout_s: float, now: Callable[[], datetime]) -> None:
        url = database_url(url_or_path)
        self.busy_timeout_s, self.now = busy_timeout_s, now
        self.path = Path(url.database or "") if url.get_backend_name() == "sqlite" else None
        self.place = str(self.path) if self.path else url.render_as_string(hide_password=True)
        self.engine = _sqlite_engine(url, busy_timeout_s) if self.path else _postgres_engine(url, busy_timeout_s)
        self._reading: Engine = self.engine
        if self.path is None:
            self._reading = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._writing: Engine = self.engine.execution_options(**{_WRITES: True})
        self._guard: Callable[[Session], None] | None = None

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def guarded(self, guard: Callable[[Session], None]) -> Database:
        """The same database, whose every writing transaction begins with a guard: if that raises, nothing is written."""
        twin = copy.copy(self)
        twin._guard = guard  # noqa: SLF001 - its own copy
        return twin

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that only reads, on one snapshot.

        Raises:
            StoreError: if the database refuses.
        """
        with self.translated(), Session(self._reading) as session, session.begin():
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that writes: all of it is stored when the block ends, or none of it.

        Raises:
            StoreError: if the database refuses.
        """
        with self.translated(), Session(self._writing) as session, session.begin():
            if self._guard is not None:
                self._guard(session)
            yield session

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """A connection for changing the schema, foreign keys unchecked (tables are rebuilt), its transaction the caller's."""
        with self.translated(), self._writing.connect() as connection:
            raw = connection.connection.dbapi_connection
            if self.path and raw is not None:
                raw.cursor().execute("PRAGMA foreign_keys=OFF")
            try:
                yield connection
            finally:
                connection.rollback()
                if self.path and raw is not None:
                    raw.cursor().execute("PRAGMA foreign_keys=ON")

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn what the database raises into `StoreError`."""
        try:
            yield
        except (SQLAlchemyError, SqliteError) as error:
            raise store_error(error, self.place, self.busy_timeout_s) from error


def database_url(url_or_path: str | Path) -> URL:
    """The SQLAlchemy URL of a path or URL; PostgreSQL always goes through psycopg 3.

    Raises:
        StoreError: for a URL that cannot be read, or a database that is neither SQLite nor PostgreSQL.
    """
    if "://" not in str(url_or_path):
        return URL.create("sqlite", database=str(Path(url_or_path).expanduser().absolute()))
    try:
        url = make_url(str(url_or_path))
    except ArgumentError:
        raise StoreError("the database URL cannot be read. Write postgresql://user:password@host:5432/name.") from None
    kind = url.drivername.split("+")[0]
    if kind in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if kind != "sqlite" or url.database in (None, "", ":memory:"):
        raise StoreError(
            f"'{url.render_as_string()}' is no database for a lab. Give the path of an SQLite file or a postgresql:// URL."
        )
    return URL.create("sqlite", database=str(Path(str(url.database)).absolute()))


_to_json = partial(json.dumps, allow_nan=False, ensure_ascii=False)


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, TypeError):
        raise UnreadableValueError(
            f"the lab's database holds a value that cannot be read ({text[:40]!r}). `voltloop db check` says where; restore a "
            "backup."
        ) from None


def _sqlite_engine(url: URL, busy_timeout_s: float) -> Engine:
    engine = create_engine(
        url,
        connect_args={"timeout": busy_timeout_s},
        json_serializer=_to_json,
        json_deserializer=_from_json,
        max_overflow=-1,
    )
    event.listen(engine, "connect", partial(_prepare_sqlite, busy_timeout_s))
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(busy_timeout_s: float, connection: Any, _record: Any) -> None:
    # The driver must not begin transactions by itself: `_begin_sqlite` does, with the lock a write needs.
    connection.isolation_level = None
    cursor = connection.cursor()
    for setting in (f"busy_timeout={busy_timeout_s * 1000:.0f}", "foreign_keys=ON", "synchronous=FULL"):
        cursor.execute(f"PRAGMA {setting}")
    _use_write_ahead_log(cursor, time.monotonic() + busy_timeout_s)
    cursor.close()


def _use_write_ahead_log(cursor: Any, until: float) -> None:
    """Switch the file to WAL; SQLite does not wait for other connections here, so we do."""
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except SqliteOperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _postgres_engine(url: URL, busy_timeout_s: float) -> Engine:
    options = f"-c lock_timeout={busy_timeout_s * 1000:.0f} -c timezone=utc"
    arguments = {"options": options, "connect_timeout": max(2, round(busy_timeout_s))}
    try:
        return create_engine(url, connect_args=arguments, json_serializer=_to_json, pool_pre_ping=True)
    except ModuleNotFoundError:
        raise StoreError("PostgreSQL needs one more package. Install it with: pip install 'voltloop[postgres]'.") from None
