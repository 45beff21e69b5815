"""Channels: which there are, who holds them, and which a person has put aside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from sqlmodel import Session, col, select

from orchestrator.domain.errors import CampaignError
from orchestrator.store.ledger import Ledger, insert_if_absent
from orchestrator.store.plain import ChannelRecord, ChannelState
from orchestrator.store.tables import CampaignRow, ChannelRow, TrialRow


class ChannelLedger(Ledger):
    """The store's channels; dispatch takes and frees them."""

    def ensure_channels(self, cycler: str, channels: Sequence[str]) -> None:
        """Make sure that a cycler's channels are known; those that are stay as they are."""
        known = {channel.name for channel in self.channels() if channel.cycler == cycler}
        fresh = [{"cycler": cycler, "name": name, "state": "free", "fence": 0} for name in channels if name not in known]
        if fresh:
            with self.database.write() as session:
                insert_if_absent(session, ChannelRow, fresh)

    def channels(self) -> list[ChannelRecord]:
        """Every channel, cycler by cycler, in the order made known."""
        query = select(ChannelRow, TrialRow.number, CampaignRow.name).order_by(col(ChannelRow.id))
        query = query.outerjoin(TrialRow, col(TrialRow.id) == col(ChannelRow.trial_id))
        query = query.outerjoin(CampaignRow, col(CampaignRow.id) == col(TrialRow.campaign_id))
        with self.database.read() as session:
            return [_record(row, number, campaign) for row, number, campaign in session.exec(query).all()]

    def free_channels(self) -> list[tuple[str, str]]:
        """Cycler and name of every channel that a trial could take now, in the order made known."""
        query = select(ChannelRow.cycler, ChannelRow.name).where(ChannelRow.state == "free").order_by(col(ChannelRow.id))
        with self.database.read() as session:
            return [(cycler, name) for cycler, name in session.exec(query).all()]

    def quarantine(self, cycler: str, channel: str, *, reason: str, lab_time_h: float) -> None:
        """Put a channel aside: no new trial goes there. A trial that is on it goes on.

        Raises:
            CampaignError: if there is no such channel.
        """
        with self.database.write() as session:
            row = _channel_row(session, cycler, channel)
            row.state, row.reason = "quarantined", reason
            session.add(row)
            said = {"cycler": cycler, "channel": channel, "reason": reason}
            self._event(session, "channel_quarantined", lab_time_h=lab_time_h, data=said)

    def release(self, cycler: str, channel: str, *, lab_time_h: float) -> None:
        """Lift a quarantine. A channel that a trial holds stays held; releasing a free one changes nothing.

        Raises:
            CampaignError: if there is no such channel, or it is held and not quarantined.
        """
        with self.database.write() as session:
            row = _channel_row(session, cycler, channel)
            if row.state == "held":
                raise CampaignError(
                    f"channel {channel} of {cycler} is held by a trial, not quarantined; it is freed when the trial has ended. "
                    "To end the trial use `voltloop stop`."
                )
            if row.state == "quarantined":
                row.state, row.reason = "free" if row.trial_id is None else "held", None
                session.add(row)
                said = {"cycler": cycler, "channel": channel}
                self._event(session, "channel_released", lab_time_h=lab_time_h, data=said)


def _channel_row(session: Session, cycler: str, channel: str) -> ChannelRow:
    query = select(ChannelRow).where(ChannelRow.cycler == cycler, ChannelRow.name == channel).with_for_update(key_share=True)
    row = session.exec(query).first()
    if row is None:
        cyclers = select(ChannelRow.name, ChannelRow.cycler).order_by(col(ChannelRow.id))
        known = ", ".join(f"{each} {name}" for name, each in session.exec(cyclers).all()) or "none yet"
        raise CampaignError(f"there is no channel '{channel}' on a cycler '{cycler}'. Known: {known}.")
    return row


def _record(row: ChannelRow, number: int | None, campaign: str | None) -> ChannelRecord:
    return ChannelRecord(row.cycler, row.name, cast("ChannelState", row.state), campaign, number, row.fence, row.reason)
