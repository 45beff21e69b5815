"""A copy of a lab's database as it stands at one moment, while others write to it; and the recordings that it speaks of."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import text
from sqlalchemy.engine import URL

from orchestrator.domain.errors import StoreError
from orchestrator.store import schema
from orchestrator.store.engine import Database, database_url, system_now
from orchestrator.store.faults import store_error
from orchestrator.store.plain import RecordingFile

BUSY_S = 30.0
SERVERS = Path("/usr/lib/postgresql")
_RECORDINGS = "SELECT uri, sha256, rows, schema_version FROM recordings ORDER BY id"


def copy_sqlite(source: Path, target: Path) -> list[RecordingFile]:
    """Copy a lab's SQLite file through SQLite's own backup, whole and at one moment; writers are not kept waiting.

    In the copy nobody holds a lock: who works on the lab does not work on its copy.

    Args:
        source: the lab's database.
        target: a file that is not there yet.

    Returns:
        The recordings that the copy speaks of.

    Raises:
        StoreError: if the database refuses, is no lab's, or the copy is not sound.
    """
    with _translated(source), closing(_opened(source, "rw")) as lab, closing(_opened(target, "rwc")) as copy:
        _refuse_no_lab(lab, source)
        lab.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
        copy.execute("UPDATE locks SET holder = NULL, process = NULL, acquired_at = NULL, expires_at = NULL")
        copy.commit()
        sound = copy.execute("PRAGMA quick_check").fetchone()[0]
        if sound != "ok":
            raise StoreError(
                f"the lab's database '{source}' is damaged ({sound}); it cannot be backed up. Look with `voltloop db check`."
            )
        return [RecordingFile(*row) for row in copy.execute(_RECORDINGS).fetchall()]


def dump_postgres(url: str, target: Path) -> list[RecordingFile]:
    """Dump a lab's PostgreSQL database with `pg_dump`, in its custom format; writers are not kept waiting.

    Args:
        url: of the database.
        target: a file that is not there yet.

    Returns:
        The recordings that the dump speaks of: both see the same snapshot.

    Raises:
        StoreError: if there is no `pg_dump`, or it or the database refuses.
    """
    program = pg_dump()
    database = Database(url, BUSY_S, system_now)
    try:
        with database.read() as session:
            if schema.stored_revision(session.connection()) is None:
                raise StoreError(f"there is no lab in '{database.place}'.")
            moment = str(session.connection().execute(text("SELECT pg_export_snapshot()")).scalar_one())
            found = session.connection().execute(text(_RECORDINGS)).all()
            _dump(program, database_url(url), moment, target)
            return [RecordingFile(*row) for row in found]
    finally:
        database.close()


def pg_dump() -> str:
    """The program that dumps PostgreSQL: on the PATH, else the newest installed with a server.

    Raises:
        StoreError: if there is none.
    """
    installed = sorted(SERVERS.glob("*/bin/pg_dump"), key=lambda path: [int(n) for n in path.parts[-3].split(".") if n.isdigit()])
    found = shutil.which("pg_dump") or (str(installed[-1]) if installed else None)
    if found is None:
        raise StoreError(
            "the lab's database is on PostgreSQL, and `pg_dump` is neither on the PATH nor under /usr/lib/postgresql. Install "
            "PostgreSQL's client programs of the server's version (package postgresql-client), then back up again."
        )
    return found


def _dump(program: str, url: URL, moment: str, target: Path) -> None:
    plain = url.set(drivername="postgresql")._replace(password=None).render_as_string()
    environment = {**os.environ, **({"PGPASSWORD": str(url.password)} if url.password else {})}
    options = ["--format=custom", "--no-owner", "--no-privileges", f"--snapshot={moment}", f"--file={target}"]
    done = subprocess.run(
        [program, *options, f"--dbname={plain}"], env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise StoreError(f"`{program}` could not dump the lab's database: {said[0]}")


def _opened(path: Path, how: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode={how}", uri=True, timeout=BUSY_S)


def _refuse_no_lab(lab: sqlite3.Connection, source: Path) -> None:
    tables = {name for (name,) in lab.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if schema.VERSION_TABLE not in tables:
        raise StoreError(f"there is no lab in '{source}'.")


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    if not path.is_file():
        raise StoreError(f"there is no lab in '{path}'. Name another with --lab.")
    try:
        yield
    except sqlite3.Error as error:
        raise store_error(error, str(path), BUSY_S) from error
