"""A lab's database read without touching it: for checks, also of a copy that may not be written to."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from sqlalchemy import NullPool, create_engine, event
from sqlalchemy.exc import OperationalError
from sqlmodel import Session

from orchestrator.domain.errors import StoreError
from orchestrator.store.engine import Database, system_now

Found = TypeVar("Found")
BUSY_S = 10.0


def read_untouched(url_or_path: str | Path, read: Callable[[Session], Found]) -> Found:
    """What a function finds in a database, on one snapshot; nothing is migrated, no file of the database changes.

    Args:
        url_or_path: an SQLite file, or a PostgreSQL URL.
        read: is given a session; may be called twice, if somebody begins to write meanwhile.

    Raises:
        StoreError: if there is no such file, or the database refuses.
    """
    database = Database(url_or_path, BUSY_S, system_now)
    try:
        if database.path is None:
            with database.read() as session:
                return read(session)
        if not database.path.is_file():
            raise StoreError(f"there is no lab in '{database.path}'. Name another with --lab.")
        with database.translated():
            return _read_file(database.path, read)
    finally:
        database.close()


def _read_file(path: Path, read: Callable[[Session], Found]) -> Found:
    """A file that nobody has open is read as it lies there: to open it like a writer would put files beside it."""
    if not _log(path).exists():
        before = path.stat()
        with _session(path, "immutable=1") as session:
            found = read(session)
        after = path.stat()
        if not _log(path).exists() and (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size):
            return found
    try:
        with _session(path, "mode=ro") as session:
            return read(session)
    except OperationalError as error:
        if "unable to open" not in str(error) and "readonly" not in str(error):
            raise
        return _read_copy(path, read)


def _read_copy(path: Path, read: Callable[[Session], Found]) -> Found:
    """Its log is not yet in the file, in a folder where the log's index cannot be made: read a copy."""
    with tempfile.TemporaryDirectory(prefix="voltloop-check-") as folder:
        for file in (path, _log(path)):
            shutil.copyfile(file, Path(folder) / file.name)
        with _session(Path(folder) / path.name, "mode=rw") as session:
            return read(session)


@contextmanager
def _session(path: Path, how: str) -> Iterator[Session]:
    def connect() -> sqlite3.Connection:
        place = f"file:{quote(str(path))}?{how}"
        return sqlite3.connect(place, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        yield stack.enter_context(Session(engine))


def _log(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")
