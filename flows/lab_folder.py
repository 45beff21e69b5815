"""Where a lab's folder, database and recordings are, and how a small file in it is written whole. Loads nothing."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.store import RecordingArchive

DATABASE_VARIABLE = "VOLTLOOP_DATABASE_URL"
RECORDINGS_VARIABLE = "VOLTLOOP_RECORDINGS_URI"
LAB_VARIABLE = "VOLTLOOP_LAB"
DATABASE_FILE = "voltloop.db"


def lab_folder(folder: str | Path | None) -> Path:
    """The lab's folder: as given, else `VOLTLOOP_LAB`, else `./lab`."""
    return Path(folder or os.environ.get(LAB_VARIABLE) or "lab").expanduser().absolute()


def database_of(folder: Path) -> str | Path:
    """The URL or file of a lab's database: `VOLTLOOP_DATABASE_URL`, else SQLite inside the folder."""
    return os.environ.get(DATABASE_VARIABLE) or folder / DATABASE_FILE


def archive_of(folder: Path) -> RecordingArchive:
    """A lab's recordings: where `VOLTLOOP_RECORDINGS_URI` says, else in `recordings/` inside the folder."""
    from orchestrator.store import RecordingArchive

    own = folder / "recordings"
    return RecordingArchive(os.environ.get(RECORDINGS_VARIABLE) or own, local=own)


def lost_database(folder: Path) -> str | None:
    """That a lab was at work in a folder whose SQLite file is gone: a new one there would forget every test that runs."""
    recordings = folder / "recordings"
    was_at_work = (folder / "cyclers.json").exists() or (recordings.is_dir() and any(recordings.glob("*.parquet")))
    if os.environ.get(DATABASE_VARIABLE) or (folder / DATABASE_FILE).exists() or not was_at_work:
        return None
    return (
        f"the lab in '{folder}' has no database any more: '{DATABASE_FILE}' is missing, though its other files are there. "
        f"Restore it from a backup (docs/backups.md), set {DATABASE_VARIABLE} if it lies elsewhere, or name another with --lab."
    )


def write_whole(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a small file so that a reader finds the old one or the new one, never a part of it.

    Args:
        path: the file; its folder is made.
        text: its content.
        durable: also make sure that it survives a power cut; `make_durable` does so later.

    Raises:
        OSError: it cannot be written; the old one stands.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with temporary.open("w") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        make_durable(path.parent)


def make_durable(*paths: Path) -> None:
    """Make sure that files, or what was put into and taken out of folders, survive a power cut."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
