"""The lab's log, append-only, and what is true of the lab as a whole."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, func, select

from orchestrator.store.ledger import Ledger, campaign_row, row_id
from orchestrator.store.plain import Event
from orchestrator.store.tables import CampaignRow, EventRow, LabFactRow


class _KnownError(Exception):
    """What was to be written once is there."""


class EventLedger(Ledger):
    """The store's log. Every change of state writes its own event in its own transaction."""

    def log(
        self,
        kind: str,
        *,
        lab_time_h: float,
        campaign: str | None = None,
        trial: int | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        """Append an event that changes nothing else."""
        with self.database.write() as session:
            row = campaign_row(session, campaign) if campaign else None
            self._event(session, kind, lab_time_h=lab_time_h, campaign=row, trial=trial, data=data)

    def log_once(self, kind: str, once: str, *, lab_time_h: float, data: Mapping[str, Any] | None = None) -> bool:
        """Append an event of the lab unless one was appended under the same words `once` before, by whichever process.

        Returns:
            Whether it was appended now.
        """
        try:
            with self.database.write() as session:
                session.add(LabFactRow(name=f"once/{once}", value=True))
                _flush_new(session)
                self._event(session, kind, lab_time_h=lab_time_h, data=data)
        except _KnownError:
            return False
        return True

    def events(self, campaign: str | None = None, limit: int | None = None, kinds: Collection[str] | None = None) -> list[Event]:
        """Events in the order they happened, of one campaign or all, of these kinds or any; with `limit` only the latest."""
        query = select(EventRow, CampaignRow.name).outerjoin(CampaignRow).order_by(col(EventRow.id).desc()).limit(limit)
        if kinds is not None:
            query = query.where(col(EventRow.kind).in_(kinds))
        with self.database.read() as session:
            if campaign is not None:
                query = query.where(EventRow.campaign_id == row_id(campaign_row(session, campaign)))
            return [_event(row, name) for row, name in reversed(session.exec(query).all())]

    def last_lab_time_h(self) -> float | None:
        """The latest lab time stored anywhere, hours; every change is logged, so the log knows."""
        with self.database.read() as session:
            return session.exec(select(func.max(EventRow.lab_time_h))).one()

    def fact(self, name: str) -> Any:
        """What is true of the lab, by name; None if nothing was stored."""
        with self.database.read() as session:
            row = session.get(LabFactRow, name)
            return None if row is None else row.value

    def set_fact(self, name: str, value: Any, *, lab_time_h: float) -> None:
        """Store something that is true of the lab as a whole."""
        with self.database.write() as session:
            row = session.get(LabFactRow, name, with_for_update=True) or LabFactRow(name=name, value=value)
            row.value = value
            session.add(row)
            self._event(session, "lab_fact", lab_time_h=lab_time_h, data={"name": name, "value": value})


def _flush_new(session: Session) -> None:
    """Write rows that must be new; another process that is at it with the same ones is waited for."""
    try:
        session.flush()
    except IntegrityError:
        raise _KnownError from None


def _event(row: EventRow, campaign: str | None) -> Event:
    return Event(row.id or 0, row.at, row.lab_time_h, row.kind, campaign, row.trial, row.data)
