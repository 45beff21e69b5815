"""What may be mended without a person: only what the rows themselves prove, looked at again in the transaction that mends it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial

from sqlalchemy import case, text
from sqlmodel import Session, col, select, update

from orchestrator.domain.trial import TrialStatus
from orchestrator.store.checking_files import is_young, set_aside
from orchestrator.store.finding import Finding
from orchestrator.store.illegal_states import why_over
from orchestrator.store.ledger import Ledger
from orchestrator.store.recordings import RecordingArchive
from orchestrator.store.tables import ChannelRow, LockRow, RecordingRow, TrialRow

ENDED = tuple(status.value for status in TrialStatus if status.ended)
HOLDING = tuple(status.value for status in TrialStatus if status.holds_channel)


class RepairLedger(Ledger):
    """The store's repairs; each writes its event `repaired` in its own transaction."""

    def repair(self, findings: Iterable[Finding], *, lab_time_h: float) -> list[Finding]:
        """Mend what can be mended of the database; returns what was. What has changed since it was found is left alone."""
        return [finding for finding in findings if self._repair(finding, lab_time_h)]

    def set_orphan_aside(
        self, archive: RecordingArchive, finding: Finding, *, lab_time_h: float, stamp: Callable[[], float]
    ) -> bool:
        """Move a file away that no trial has as its recording. One that a row names by now, or a tick may be about to, stays.

        Nobody can store a row while the file moves; a tick that is to name a file has made it young before.

        Args:
            archive: where recordings lie.
            finding: the orphan.
            lab_time_h: lab time, hours, for the log.
            stamp: the system's time, seconds since 1970, as files are stamped.

        Returns:
            Whether it was moved.

        Raises:
            StoreError: if it cannot be moved.
        """
        path = finding.subject["path"]
        with self.database.write() as session:
            if self.database.path is None:  # SQLite lets one transaction write at a time anyhow
                session.connection().execute(text("LOCK TABLE recordings IN SHARE ROW EXCLUSIVE MODE"))
            named = select(RecordingRow.id).where(col(RecordingRow.uri).endswith(f"/{path.name}", autoescape=True))
            if session.exec(named).first() is not None or not path.is_file() or is_young(path, stamp):
                return False
            to = set_aside(archive, path, stamp)
            if to is not None:
                said = {"file": finding.where, "to": str(to)}
                self._event(session, "recording_set_aside", lab_time_h=lab_time_h, data=said)
            return to is not None

    def _repair(self, finding: Finding, lab_time_h: float) -> bool:
        mend = partial(_let_go, self.database.now()) if finding.kind == "dead_lease" else _MENDS.get(finding.kind)
        if mend is None:
            return False
        with self.database.write() as session:
            mended = mend(session, finding)
            if mended:
                said = {"finding": finding.kind, "where": finding.where, "problem": finding.problem}
                self._event(session, "repaired", lab_time_h=lab_time_h, data=said)
            return mended


def _free(session: Session, finding: Finding) -> bool:
    """Free a channel whose holder has ended; a quarantined one stays so."""
    holder = select(TrialRow.id).where(TrialRow.id == finding.subject["trial"], col(TrialRow.status).in_(ENDED))
    held = update(ChannelRow).where(col(ChannelRow.id) == finding.subject["channel"], col(ChannelRow.trial_id).in_(holder))
    state = case((col(ChannelRow.state) == "quarantined", "quarantined"), else_="free")
    return session.exec(held.values(trial_id=None, state=state)).rowcount == 1


def _hold_again(session: Session, finding: Finding) -> bool:
    """Have the one trial that says it is on a channel hold it, under the fence it was given."""
    trial = select(TrialRow.id).where(
        TrialRow.id == finding.subject["trial"], col(TrialRow.status).in_(HOLDING), TrialRow.fence == finding.subject["fence"]
    )
    if session.exec(trial.with_for_update(key_share=True)).first() is None:
        return False
    free = update(ChannelRow).where(col(ChannelRow.id) == finding.subject["channel"], col(ChannelRow.trial_id).is_(None))
    state = case((col(ChannelRow.state) == "quarantined", "quarantined"), else_="held")
    here = free.where(col(ChannelRow.fence) == finding.subject["fence"])
    return session.exec(here.values(trial_id=finding.subject["trial"], state=state)).rowcount == 1


def _raise_fence(session: Session, finding: Finding) -> bool:
    """Never give a fence out twice."""
    behind = update(ChannelRow).where(col(ChannelRow.id) == finding.subject["channel"], col(ChannelRow.trial_id).is_(None))
    lower = behind.where(col(ChannelRow.fence) < finding.subject["fence"])
    return session.exec(lower.values(fence=finding.subject["fence"])).rowcount == 1


def _let_go(now: datetime, session: Session, finding: Finding) -> bool:
    """Take a dead holder's name off a lock, unless it has held on to it meanwhile; its fence stays."""
    lock = select(LockRow).where(LockRow.name == finding.subject["lock"], LockRow.fence == finding.subject["fence"])
    row = session.exec(lock.where(col(LockRow.holder).is_not(None)).with_for_update()).first()
    if row is None or why_over(row.expires_at, row.process, now) is None:
        return False
    row.holder = row.process = row.acquired_at = row.expires_at = None
    session.add(row)
    return True


_MENDS: dict[str, Callable[[Session, Finding], bool]] = {
    "held_by_ended": _free,
    "not_held": _hold_again,
    "fence_behind": _raise_fence,
}
