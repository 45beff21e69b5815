"""Trials read once and then only as far as the log says that they changed.

A lab with a thousand channels ticks every few minutes over tens of thousands of trials, nearly all of them ended for ever. Every
change of a trial writes its event in the same transaction, so what has no new event has not changed. On SQLite, where writers
follow one another, event numbers grow in the order of commits; PostgreSQL gives no such word, so nothing is remembered there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, select

from orchestrator.domain.trial import Trial
from orchestrator.store.ledger import plain_trials, row_id
from orchestrator.store.tables import CampaignRow, EventRow, TrialRow


@dataclass(frozen=True)
class _Known:
    """A campaign's trials by number, true up to an event."""

    event_id: int
    trials: dict[int, Trial]


class RememberedTrials:
    """The trials of each campaign as this process last read them."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}

    def read(self, session: Session, campaign: CampaignRow) -> list[Trial]:
        """All trials of a campaign by number, as they stand in this session's snapshot."""
        known = self._known.get(row_id(campaign), _Known(0, {}))
        query = select(EventRow.id, EventRow.trial).where(EventRow.campaign_id == campaign.id, col(EventRow.id) > known.event_id)
        news = session.exec(query.order_by(col(EventRow.id))).all()
        if news:
            known = _Known(news[-1][0] or 0, self._brought_up(session, campaign, known, {number for _, number in news}))
            self._known[row_id(campaign)] = known
        return list(known.trials.values())

    def _brought_up(self, session: Session, campaign: CampaignRow, known: _Known, changed: set[int | None]) -> dict[int, Trial]:
        """What is known, with the changed trials read again; all of them after an event of the campaign as a whole."""
        if None in changed:
            return {trial.number: trial for trial in plain_trials(session, campaign, _rows(session, campaign, None))}
        fresh = plain_trials(session, campaign, _rows(session, campaign, [n for n in changed if n is not None]))
        return dict(sorted({**known.trials, **{trial.number: trial for trial in fresh}}.items()))


def _rows(session: Session, campaign: CampaignRow, numbers: Sequence[int] | None) -> Sequence[TrialRow]:
    query = select(TrialRow).where(TrialRow.campaign_id == campaign.id).order_by(col(TrialRow.number))
    if numbers is not None and len(numbers) <= 500:
        query = query.where(col(TrialRow.number).in_(numbers))
    return session.exec(query).all()
