"""Whether the closed recordings of a lab are those that its rows speak of: there, unchanged, whole, and no others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from sqlmodel import Session, select

from orchestrator.domain.errors import StoreError
from orchestrator.domain.trial import TrialStatus
from orchestrator.store.finding import Finding, Mend
from orchestrator.store.live_folder import LiveRecordings
from orchestrator.store.live_recording import LiveRecording
from orchestrator.store.plain import RecordingFile
from orchestrator.store.recordings import RecordingArchive, abandoned, row_count, sha256_of
from orchestrator.store.tables import AttemptRow, CampaignRow, RecordingRow, TrialRow
from orchestrator.store.untouched import read_untouched

ORPHANS = "orphans"
# A file is written, or touched if it was there, before its row: while ticks are at work a fresh one is nothing to speak of, and
# a young one is never moved.
FRESH_S, YOUNG_S = 3600.0, 24 * 3600.0
BACKUP = "Restore the file from a backup (docs/backups.md)."


def files_there(archive: RecordingArchive) -> tuple[list[Path], list[Path]]:
    """The recordings that lie in the archive, and what writers have begun; to be listed before the rows are read."""
    if not archive.folder.is_dir():
        return [], []
    files = sorted(path for path in archive.folder.iterdir() if path.is_file())
    return [path for path in files if not path.name.startswith(".")], [path for path in files if path.name.startswith(".")]


def recording_findings(archive: RecordingArchive, stored: Iterable[tuple[str, RecordingFile]]) -> Iterator[Finding]:
    """Faults of the recordings that rows speak of: `stored` holds each with its trial in words."""
    for where, file in stored:
        if archive.is_remote(file):
            yield from _remote_findings(archive, where, file)
            continue
        try:
            path = archive.path(file)
        except StoreError as error:
            yield Finding("recording_outside", where, str(error), BACKUP)
            continue
        if not path.is_file():
            yield Finding("recording_missing", where, f"its recording '{path}' is missing.", BACKUP)
        elif (found := sha256_of(path)) != file.sha256:
            problem = f"its recording '{path}' is not what was stored (sha256 {found[:12]}... instead of {file.sha256[:12]}...)."
            yield Finding("recording_changed", where, problem, BACKUP)
        elif (rows := row_count(path)) != file.rows:
            problem = f"its recording '{path}' has {rows} rows, {file.rows} were stored."
            yield Finding("recording_rows", where, problem, BACKUP)


def _remote_findings(archive: RecordingArchive, where: str, file: RecordingFile) -> Iterator[Finding]:
    """Faults of a recording in an object store: it is fetched whole. What else lies there is nobody's to judge from here."""
    try:
        rows = archive.rows(file)
    except StoreError as error:
        yield Finding("recording_missing" if "is missing" in str(error) else "recording_changed", where, str(error), BACKUP)
        return
    if rows != file.rows:
        yield Finding("recording_rows", where, f"its recording '{file.uri}' has {rows} rows, {file.rows} were stored.", BACKUP)


def orphan_findings(
    archive: RecordingArchive,
    there: tuple[list[Path], list[Path]],
    stored: Iterable[tuple[str, RecordingFile]],
    at_work: bool,
    now: Callable[[], float] = time.time,
) -> Iterator[Finding]:
    """Files without a row, and temporary files that nobody writes any more.

    Args:
        archive: where recordings lie.
        there: from `files_there`, listed before the rows were read.
        stored: the recordings that rows speak of.
        at_work: whether a tick is at work; then fresh files are left out.
        now: the system's time, seconds since 1970, as files are stamped.
    """
    known = {file.uri.rpartition("/")[2] for _, file in stored}
    for path in there[0]:
        if path.name in known or not path.is_file() or (at_work and is_young(path, now, FRESH_S)):
            continue
        remedy = f"`voltloop db check --repair` moves it to '{ORPHANS}/'; nothing is deleted."
        mend: Mend = "repair"
        if is_young(path, now):
            remedy, mend = "The next tick may take it up; once it is a day old `--repair` moves it away.", "itself"
        yield Finding("orphan", str(path), "no trial has this file as its recording.", remedy, mend, {"path": path})
    for path in there[1]:
        if abandoned(path):
            yield Finding("temporary", str(path), "is what a killed process had begun to write.",
                          "It holds no result; `voltloop db check --repair` removes it.", "itself", {"path": path})  # fmt: skip


def live_findings(live: LiveRecordings, where: str | Path) -> Iterator[Finding]:
    """Live recordings that no running test goes on with: of earlier attempts, of trials that ended without them, of none."""
    keys, aside = live.keys(), live.put_aside()
    if not keys and not aside:
        return
    attempts = _Attempts(where)
    for key, folder in [*((key, live.folder_of(key)) for key in keys if not attempts.may_run(key)), *aside]:
        rows, damage = _live_rows(folder, key)
        if damage is None and (not rows or (folder.parent == live.folder and rows <= attempts.closed(key))):
            continue  # nothing is in it, or all of it is in a closed recording: the next tick removes it
        problem = f"'{folder}' holds {rows} rows {attempts.name(key)}{f', and {damage}' if damage else ''}."
        remedy = (
            "No command deletes them. Read them with `LiveRecording(folder, key).readable()` (docs/recordings.md), "
            "and delete the folder once you have what you need."
        )
        yield Finding("live_orphan", str(folder), problem, remedy)


def _live_rows(folder: Path, key: str) -> tuple[int, str | None]:
    """How many rows can be read, and what cannot be."""
    try:
        live = LiveRecording(folder, key)
        rows = sum(batch.end - batch.row for batch in live.readable())
        if broken := live.unreadable():
            return rows, f"'{broken[0].name}' cannot be read"
        return rows, f"{live.rows - rows} more are damaged" if live.rows > rows else None
    except StoreError as error:
        return 0, f"it cannot be read: {error}"


class _Attempts:
    """What a lab's rows say of the keys of tests."""

    def __init__(self, where: str | Path) -> None:
        self._known = read_untouched(where, _attempts)

    def may_run(self, key: str) -> bool:
        """Whether a test under this key still runs, or may."""
        return key in self._known and self._known[key][3]

    def closed(self, key: str) -> int:
        """Rows of the closed recording of this very attempt."""
        return self._known[key][4] if key in self._known else 0

    def name(self, key: str) -> str:
        """Whose test it was, in words."""
        if key not in self._known:
            return f"of test '{key}', which the database does not know"
        campaign, number, attempt, _, closed = self._known[key]
        whole = f"its closed recording has {closed}" if closed else "no closed recording has them"
        return f"of attempt {attempt} at trial {number} of '{campaign}', which has ended; {whole}"


def _attempts(session: Session) -> dict[str, tuple[str, int, int, bool, int]]:
    """By key: campaign, trial, attempt, whether it may run, rows of its closed recording."""
    campaigns = {row.id: row.name for row in session.exec(select(CampaignRow)).all()}
    trials = {row.id: row for row in session.exec(select(TrialRow)).all()}
    closed = {(row.trial_id, row.attempt): row.rows for row in session.exec(select(RecordingRow)).all()}
    found = {}
    for attempt in session.exec(select(AttemptRow)).all():
        trial = trials.get(attempt.trial_id)
        if trial is not None:
            runs = trial.key == attempt.key and not TrialStatus(trial.status).ended
            rows = closed.get((attempt.trial_id, attempt.attempt), 0)
            found[attempt.key] = (campaigns.get(trial.campaign_id, "?"), trial.number, attempt.attempt, runs, rows)
    return found


def is_young(path: Path, now: Callable[[], float], age_s: float = YOUNG_S) -> bool:
    """Whether a file was written, or touched, less than so many seconds ago."""
    return now() - path.stat().st_mtime < age_s


def set_aside(archive: RecordingArchive, path: Path, now: Callable[[], float] = time.time) -> Path | None:
    """Move an orphan out of the way; a namesake there is never replaced.

    Returns:
        Where it is now; None if a tick touched it while it moved, and it is back in its place.

    Raises:
        StoreError: if it cannot be moved.
    """
    folder = archive.folder / ORPHANS
    try:
        folder.mkdir(exist_ok=True)
        to = folder / path.name
        number = 1
        while to.exists():
            number += 1
            to = folder / f"{path.stem}-{number}{path.suffix}"
        path.rename(to)
        if is_young(to, now):
            if not path.exists():
                to.rename(path)
            return None
    except OSError as error:
        raise StoreError(f"'{path}' cannot be moved to '{folder}': {error.strerror}.") from None
    return to
