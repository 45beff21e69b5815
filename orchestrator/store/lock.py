"""One tick of a campaign at a time: a lock row with a fence number, which a killed holder cannot keep."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, select, update

from orchestrator.store.ledger import Ledger, campaign_row, insert_if_absent
from orchestrator.store.process import ProcessIdentity, this_process
from orchestrator.store.tables import LockRow


class LockLedger(Ledger):
    """The store's locks."""

    @contextmanager
    def campaign_lock(self, name: str, holder: str, ttl_s: float = 600.0) -> Iterator[int | None]:
        """Hold a campaign's lock for the length of the block, if nobody else does.

        The lock is nobody's once its time has run out by the system's clock, or at once when its holder was a process
        on this machine that has ended. It excludes threads of one process like strangers.

        Args:
            name: the campaign.
            holder: who asks, in words, for messages.
            ttl_s: seconds after which it runs out unless renewed.

        Yields:
            The fence number, higher than every earlier holder's; None if somebody else holds the lock.

        Raises:
            CampaignError: if there is no such campaign.
        """
        fence = self._acquire(name, holder, ttl_s)
        try:
            yield fence
        finally:
            if fence is not None:
                self._give_back(name, fence)

    def renew_lock(self, name: str, fence: int, ttl_s: float = 600.0) -> bool:
        """Hold on to a campaign's lock for `ttl_s` more seconds; False if it has been lost to somebody else."""
        with self.database.write() as session:
            expires_at = self.database.now() + timedelta(seconds=ttl_s)
            mine = update(LockRow).where(*_held_under(name, fence)).values(expires_at=expires_at)
            return session.exec(mine).rowcount == 1

    def lock_holder(self, name: str) -> str | None:
        """Who holds a campaign's lock, in the holder's own words; None if nobody does."""
        with self.database.read() as session:
            row = session.get(LockRow, _key(name))
            return row.holder if row and not _is_free(row, self.database.now()) else None

    def _acquire(self, name: str, holder: str, ttl_s: float) -> int | None:
        with self.database.write() as session:
            campaign_row(session, name)
            row = _lock_row(session, name)
            now = self.database.now()
            if not _is_free(row, now):
                return None
            row.fence, row.holder, row.process = row.fence + 1, holder, this_process().to_text()
            row.acquired_at, row.expires_at = now, now + timedelta(seconds=ttl_s)
            session.add(row)
            return row.fence

    def _give_back(self, name: str, fence: int) -> None:
        with self.database.write() as session:
            nobody = {"holder": None, "process": None, "acquired_at": None, "expires_at": None}
            session.exec(update(LockRow).where(*_held_under(name, fence)).values(nobody))


def _key(name: str) -> str:
    return f"campaign/{name}"


def _held_under(name: str, fence: int) -> tuple[ColumnElement[bool], ...]:
    return col(LockRow.name) == _key(name), col(LockRow.fence) == fence, col(LockRow.holder).is_not(None)


def _lock_row(session: Session, name: str) -> LockRow:
    insert_if_absent(session, LockRow, [{"name": _key(name), "fence": 0}])
    return session.exec(select(LockRow).where(LockRow.name == _key(name)).with_for_update()).one()


def _is_free(row: LockRow, now: datetime) -> bool:
    if row.holder is None or row.expires_at is None or row.expires_at <= now:
        return True
    return row.process is not None and ProcessIdentity.from_text(row.process).certainly_dead()
