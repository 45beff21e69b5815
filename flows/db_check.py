"""`voltloop db check`: whether a lab's database and files are sound, and mending what is safe to."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from flows.lab_folder import archive_of, database_of
from orchestrator.domain.errors import StoreError
from orchestrator.store import TrialStore
from orchestrator.store.checking import DatabaseCheck, check_database
from orchestrator.store.checking_files import files_there, live_findings, orphan_findings, recording_findings
from orchestrator.store.engine import system_now
from orchestrator.store.finding import Finding
from orchestrator.store.repairs import RepairLedger

# What reports, device files and rosters are called while they are written; after a day nobody writes them any more.
TEMPORARY = re.compile(r"^\..+\.\d+\.(tmp|[0-9a-f]{8})$")
ABANDONED_S = 24 * 3600.0


@dataclass(frozen=True)
class LabCheck:
    """What a check found and mended.

    Attributes:
        lab: the folder.
        revision: of the database's schema.
        findings: what is not as it should be now.
        repaired: what was not, and has been mended.
    """

    lab: Path
    revision: str
    findings: tuple[Finding, ...]
    repaired: tuple[Finding, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether nobody needs to do anything."""
        return all(finding.mend == "itself" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "lab": str(self.lab),
            "revision": self.revision,
            "clean": self.clean,
            "findings": [finding.to_json() for finding in self.findings],
            "repaired": [finding.to_json() for finding in self.repaired],
        }


def check_lab(
    folder: Path,
    *,
    repair: bool = False,
    database: str | Path | None = None,
    now: Callable[[], datetime] = system_now,
    stamp: Callable[[], float] = time.time,
) -> LabCheck:
    """Check a lab; ticks may be at work. Without `repair` nothing is written.

    Args:
        folder: the lab's.
        repair: mend what is safe to: what the lab's own rows and files prove.
        database: its file or URL; default as `Lab.open`.
        now: the system's time, for leases.
        stamp: the system's time in seconds since 1970, as files are stamped.

    Raises:
        StoreError: if there is no lab, it is newer than this program, or it cannot be read at all.
    """
    where = database or database_of(folder)
    checked, findings = _look(folder, where, now, stamp)
    if not repair or checked.recordings is None:
        return LabCheck(folder, checked.revision, findings)
    repaired = _mend(folder, where, findings, now, stamp)
    checked, findings = _look(folder, where, now, stamp)
    return LabCheck(folder, checked.revision, findings, tuple(repaired))


def _look(
    folder: Path, where: str | Path, now: Callable[[], datetime], stamp: Callable[[], float]
) -> tuple[DatabaseCheck, tuple[Finding, ...]]:
    archive = archive_of(folder)
    there = files_there(archive)
    checked = check_database(where, now)
    found = list(checked.findings)
    if checked.recordings is not None:
        found += recording_findings(archive, checked.recordings)
        found += orphan_findings(archive, there, checked.recordings, checked.at_work, stamp)
        found += live_findings(archive.live, where)
    return checked, (*found, *_temporary(folder, stamp))


def _temporary(folder: Path, stamp: Callable[[], float]) -> Iterator[Finding]:
    for part in (".", "reports", "cyclers", "estop"):
        files = (folder / part).glob(".*") if part == "." else (folder / part).rglob(".*")
        for path in sorted(files):
            if TEMPORARY.match(path.name) and path.is_file() and stamp() - path.stat().st_mtime > ABANDONED_S:
                remedy = "`voltloop db check --repair` removes it."
                yield Finding("temporary", str(path), "was begun and never finished.", remedy, "itself", {"path": path})


def _mend(
    folder: Path, where: str | Path, findings: tuple[Finding, ...], now: Callable[[], datetime], stamp: Callable[[], float]
) -> list[Finding]:
    archive = archive_of(folder)
    with TrialStore.open(where, now=now, create=False) as store:
        lab_time_h = store.last_lab_time_h() or 0.0
        ledger = RepairLedger(store.database)
        repaired = ledger.repair(findings, lab_time_h=lab_time_h)
        for finding in findings:
            if finding.kind == "orphan":
                if ledger.set_orphan_aside(archive, finding, lab_time_h=lab_time_h, stamp=stamp):
                    repaired.append(finding)
            elif finding.kind == "temporary":
                _remove(finding.subject["path"])
                repaired.append(finding)
    return repaired


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"'{path}' cannot be removed: {error.strerror}.") from None
