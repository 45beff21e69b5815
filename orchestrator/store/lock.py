"""One tick of a campaign at a time: a lock row with a fence number, which neither a killed nor a stalled holder can keep.

A holder that was killed on this machine is known to be dead; on PostgreSQL a holder anywhere is dead when its connection, and
with it the advisory lock that goes with its fence, has gone; any other one loses the lock when its lease has run out. Whoever
was only stalled and goes on afterwards finds a higher fence in the row: what it writes through `under` is refused.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Self
from zlib import crc32

from sqlalchemy import ColumnElement, text
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, select, update

from orchestrator.domain.errors import StoreError
from orchestrator.store.engine import Database
from orchestrator.store.ledger import Ledger, campaign_row, insert_if_absent
from orchestrator.store.plain import LockLostError
from orchestrator.store.process import ProcessIdentity, this_process
from orchestrator.store.tables import LockRow

TTL_S = 600.0


class LockLedger(Ledger):
    """The store's locks."""

    @contextmanager
    def campaign_lock(self, name: str, holder: str, ttl_s: float = TTL_S) -> Iterator[int | None]:
        """Hold a campaign's lock for the length of the block, if nobody else does.

        The lock is nobody's once its time has run out by the system's clock, or at once when its holder has certainly ended. It
        excludes threads of one process like strangers.

        Args:
            name: the campaign.
            holder: who asks, in words, for messages.
            ttl_s: seconds after which it runs out unless renewed.

        Yields:
            The fence number, higher than every earlier holder's; None if somebody else holds the lock.

        Raises:
            CampaignError: if there is no such campaign.
        """
        with ExitStack() as vouching:
            fence = self._acquire(name, holder, ttl_s, vouching)
            try:
                yield fence
            finally:
                if fence is not None:
                    self._give_back(name, fence)

    def under(self, name: str, fence: int, ttl_s: float = TTL_S) -> Self:
        """The same store, each of whose writes holds only while the campaign's lock is held under this fence, and renews it.

        Every write may raise `LockLostError`; then nothing of it was stored.
        """
        twin = copy.copy(self)
        twin.database = self.database.guarded(partial(_renew, self.database, name, fence, ttl_s))
        return twin

    @contextmanager
    def keeping(self, name: str, fence: int, ttl_s: float = TTL_S) -> Iterator[None]:
        """Hold on to a campaign's lock during a long computation, which writes nothing: it is renewed in the background.

        Not for the time of calls to a cycler: a driver that hangs must not keep the lock for ever.
        """
        done = threading.Event()

        def renew() -> None:
            while not done.wait(ttl_s / 3):
                with suppress(StoreError):  # the next try may find the database again
                    if not self.renew_lock(name, fence, ttl_s):
                        return

        thread = threading.Thread(target=renew, name="voltloop-lock", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def renew_lock(self, name: str, fence: int, ttl_s: float = TTL_S) -> bool:
        """Hold on to a campaign's lock for `ttl_s` more seconds; False if it has been lost to somebody else."""
        with self.database.write() as session:
            try:
                _renew(self.database, name, fence, ttl_s, session)
            except LockLostError:
                return False
            return True

    def lock_holder(self, name: str) -> str | None:
        """Who holds a campaign's lock, in the holder's own words; None if nobody does."""
        with self.database.read() as session:
            row = session.get(LockRow, _key(name))
            return row.holder if row and not _is_free(row, self.database.now()) else None

    def _acquire(self, name: str, holder: str, ttl_s: float, vouching: ExitStack) -> int | None:
        with self.database.write() as session:
            campaign_row(session, name)
            row = _lock_row(session, name)
            if row is None:
                return None
            now, latest = self.database.now(), self.database.now() + timedelta(seconds=ttl_s)
            if not (_is_free(row, now) or _connection_gone(session, row)):
                if row.expires_at is not None and row.expires_at > latest:
                    row.expires_at = latest  # the clock was set back: no lease is longer than this
                return None
            row.fence, row.holder, row.process = row.fence + 1, holder, this_process().to_text()
            row.acquired_at, row.expires_at = now, latest
            session.add(row)
            if self.database.path is None:
                vouching.enter_context(_connection_vouches(self.database, name, row.fence))
            return row.fence

    def _give_back(self, name: str, fence: int) -> None:
        with self.database.write() as session:
            nobody = {"holder": None, "process": None, "acquired_at": None, "expires_at": None}
            session.exec(update(LockRow).where(*_held_under(name, fence)).values(nobody))


def _key(name: str) -> str:
    return f"campaign/{name}"


def _held_under(name: str, fence: int) -> tuple[ColumnElement[bool], ...]:
    return col(LockRow.name) == _key(name), col(LockRow.fence) == fence, col(LockRow.holder).is_not(None)


def _renew(database: Database, name: str, fence: int, ttl_s: float, session: Session) -> None:
    """Within a transaction: make sure that the lock is still held under this fence, and hold on to it."""
    expires_at = database.now() + timedelta(seconds=ttl_s)
    if session.exec(update(LockRow).where(*_held_under(name, fence)).values(expires_at=expires_at)).rowcount != 1:
        raise LockLostError(f"another tick has taken the campaign '{name}' over; what came under fence {fence} was not stored.")


def _lock_row(session: Session, name: str) -> LockRow | None:
    """The lock's row, made if need be; None if somebody changes it at this moment."""
    insert_if_absent(session, LockRow, [{"name": _key(name), "fence": 0}])
    return session.exec(select(LockRow).where(LockRow.name == _key(name)).with_for_update(skip_locked=True)).first()


def _is_free(row: LockRow, now: datetime) -> bool:
    if row.holder is None or row.expires_at is None or row.expires_at <= now:
        return True
    return row.process is not None and ProcessIdentity.from_text(row.process).certainly_dead()


@contextmanager
def _connection_vouches(database: Database, name: str, fence: int) -> Iterator[None]:
    """PostgreSQL: hold the advisory lock of this fence on a connection of its own, which dies with the process."""
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SELECT pg_advisory_lock(:campaign, :fence)"), _advisory(name, fence))
        try:
            yield
        finally:
            try:
                connection.execute(text("SELECT pg_advisory_unlock(:campaign, :fence)"), _advisory(name, fence))
            except SQLAlchemyError:
                connection.invalidate()  # a connection that has gone vouches for nobody; no other use may inherit the lock


def _connection_gone(session: Session, row: LockRow) -> bool:
    """PostgreSQL: whether the connection that vouched for a lock's holder has ended."""
    if session.get_bind().dialect.name != "postgresql":
        return False
    asked = text("SELECT pg_try_advisory_xact_lock(:campaign, :fence)")
    name = row.name.removeprefix(_key(""))
    return bool(session.connection().execute(asked, _advisory(name, row.fence)).scalar())


def _advisory(name: str, fence: int) -> dict[str, int]:
    """An advisory lock's two signed 32-bit keys. Names that share a checksum share nothing but a needless wait."""
    return {"campaign": crc32(name.encode()) - 2**31, "fence": fence % 2**31}
