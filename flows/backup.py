"""A lab copied into a folder while it works: first the database at one moment, then every file that moment speaks of.

What lies in the copy is at least as new as its database. A test that a cycler's own files know and the database does not yet is
found by its key when the trial is dispatched again; the other way round could start it twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flows.db_check import TEMPORARY
from flows.lab_folder import DATABASE_FILE, archive_of, database_of, make_durable
from orchestrator.domain.errors import StoreError
from orchestrator.store import RecordingFile
from orchestrator.store.engine import database_url, system_now
from orchestrator.store.recordings import sha256_of
from orchestrator.store.snapshot import copy_sqlite, dump_postgres

MANIFEST = "backup.json"
DUMP_FILE = "voltloop.dump"
FORMAT = 1
# The served Prefect's state is no part of the record; recordings and the database are copied by what they say.
LEFT_OUT = re.compile(
    rf"^(prefect|prefect-server\.log|recordings|{re.escape(DATABASE_FILE)}(-wal|-shm|-journal)?|{re.escape(MANIFEST)})$"
)
LOCK_PATIENCE_S = 10.0


@dataclass(frozen=True)
class Backup:
    """A backup that was made.

    Attributes:
        folder: where it lies.
        files: how many files, the manifest left out.
        size_bytes: of all of them.
        damaged: recordings that the lab itself no longer has as they were stored, in words.
        elsewhere: URIs of recordings that lie in an object store; they are not copied.
    """

    folder: Path
    files: int
    size_bytes: int
    damaged: tuple[str, ...]
    elsewhere: tuple[str, ...] = ()


@dataclass
class _Copy:
    """A backup in the making: what was copied so far."""

    lab: Path
    to: Path
    link: bool
    files: list[dict[str, Any]] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def note(self, path: Path, sha256: str) -> None:
        self.files.append({"path": str(path.relative_to(self.to)), "bytes": path.stat().st_size, "sha256": sha256})


def back_up(
    folder: Path,
    destination: Path,
    *,
    link: bool = False,
    database: str | Path | None = None,
    now: Callable[[], datetime] = system_now,
) -> Backup:
    """Copy a lab while it works. The copy is a lab folder of its own; it appears under its name once it is complete.

    Args:
        folder: the lab's.
        destination: a folder that is not there yet, or empty; not inside the lab.
        link: hard-link recordings, which never change, instead of copying them; both must be on one file system.
        database: its file or URL; default as `Lab.open`.
        now: the system's time, for the manifest.

    Raises:
        StoreError: if there is no lab, the destination cannot be used, or a copy fails; then nothing is left there.
    """
    to, where = destination.expanduser().absolute(), str(database or database_of(folder))
    _refuse(folder, to)
    partial = to.with_name(f".{to.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        copy = _Copy(folder, partial, link)
        _copy_everything(copy, where)
        manifest = _manifest(copy, where, now())
        _write(partial / MANIFEST, json.dumps(manifest, indent=1).encode())
        make_durable(partial)
        partial.replace(to)
        make_durable(to.parent)
    except OSError as error:
        raise StoreError(f"the backup '{to}' cannot be made: {error.strerror or error}. Nothing was left there.") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Backup(to, len(copy.files), sum(file["bytes"] for file in copy.files), tuple(copy.damaged), tuple(copy.elsewhere))


def _refuse(folder: Path, to: Path) -> None:
    if to.is_relative_to(folder.absolute()):
        raise StoreError(f"the backup '{to}' would lie inside the lab itself. Choose a folder elsewhere, best on another disk.")
    if to.exists() and not (to.is_dir() and not any(to.iterdir())):
        raise StoreError(f"'{to}' is there already and not empty. Every backup gets a folder of its own; nothing was changed.")


def _copy_everything(copy: _Copy, where: str) -> None:
    path = database_url(where).database if database_url(where).get_backend_name() == "sqlite" else None
    target = copy.to / (DUMP_FILE if path is None else DATABASE_FILE)
    recordings = dump_postgres(where, target) if path is None else copy_sqlite(Path(path), target)
    make_durable(target)
    copy.note(target, sha256_of(target))
    for file in recordings:
        _copy_recording(copy, file)
    for child in sorted(copy.lab.iterdir()) if copy.lab.is_dir() else ():
        if child.name == "cyclers" and child.is_dir():
            for cycler in sorted(child.iterdir()):
                _copy_cycler(copy, cycler)
        elif not LEFT_OUT.match(child.name):
            _copy_tree(copy, child)


def _copy_recording(copy: _Copy, file: RecordingFile) -> None:
    """A recording of the snapshot, its hash verified in the copy; one that the lab has lost does not keep back the rest."""
    archive = archive_of(copy.lab)
    if archive.is_remote(file):
        copy.elsewhere.append(file.uri)
        return
    try:
        source = archive.path(file)
    except StoreError as error:
        copy.damaged.append(str(error))
        return
    to = copy.to / file.uri
    to.parent.mkdir(exist_ok=True)
    if not source.is_file():
        copy.damaged.append(f"the recording '{source}' is missing.")
        return
    if copy.link:
        os.link(source, to)
        sha256 = sha256_of(to)
    else:
        sha256 = _copy_file(source, to)
    if sha256 != file.sha256:
        copy.damaged.append(f"the recording '{source}' is not what was stored; it was copied as it is.")
    copy.note(to, sha256)


def _copy_cycler(copy: _Copy, folder: Path) -> None:
    """A device's own files: those it appends to under its lock, so that they belong together; the others as they come."""
    if not folder.is_dir():
        _copy_tree(copy, folder)
        return
    with _locked(folder / "lock"):
        for path in sorted(folder.iterdir()):
            if path.is_file():
                _copy_tree(copy, path)
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            _copy_tree(copy, path)


def _copy_tree(copy: _Copy, source: Path) -> None:
    """A file, or a folder with all that is in it; what is only being written, or is gone by now, is left out."""
    to = copy.to / source.relative_to(copy.lab)
    if source.is_dir():
        to.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # a test's live recording goes once it is closed
            for child in sorted(source.iterdir()):
                _copy_tree(copy, child)
    elif source.is_file() and not TEMPORARY.match(source.name):
        to.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            copy.note(to, _copy_file(source, to))


def _copy_file(source: Path, to: Path) -> str:
    """Copy a file's bytes, flushed to the disk; the hash of what was copied."""
    with source.open("rb") as content:
        return _write(to, iter(lambda: content.read(1 << 20), b""))


def _write(to: Path, content: bytes | Iterator[bytes]) -> str:
    sha256 = hashlib.sha256()
    with to.open("xb") as stream:
        for piece in [content] if isinstance(content, bytes) else content:
            sha256.update(piece)
            stream.write(piece)
        stream.flush()
        os.fsync(stream.fileno())
    return sha256.hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a device's lock file, where it has one."""
    if not path.is_file():
        yield
        return
    with path.open("rb") as lock:
        until = time.monotonic() + LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise StoreError(f"'{path}' has been held for {LOCK_PATIENCE_S:g} s by a process that writes there. "
                                     "See that it goes on or end it, then back up again.") from None  # fmt: skip
                time.sleep(0.01)
        yield


def _manifest(copy: _Copy, where: str, at: datetime) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "made_at": at.isoformat(),
        "voltloop": version("voltloop"),
        "lab": str(copy.lab),
        "database": database_url(where).render_as_string(hide_password=True),
        "damaged": copy.damaged,
        "elsewhere": copy.elsewhere,
        "files": copy.files,
    }
