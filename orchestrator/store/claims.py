"""Claims: which campaigns could use how many channels now, so that those who share a lab leave each other's alone.

A claim runs out by the system's clock unless it is stated again, and counts only while its campaign runs: one whose
process died keeps no channel idle for ever.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import func
from sqlmodel import Session, col, delete, select, update

from orchestrator.domain.sharing import Claim
from orchestrator.store.ledger import Ledger, campaign_row, row_id
from orchestrator.store.tables import CampaignRow, ChannelClaimRow, ChannelRow, TrialRow

# A claim outlasts three intervals between ticks, whatever they are, but not for ever.
INTERVALS = 3
LONGEST = timedelta(hours=6)
# A claim stated later than now is from before the clock was set back; hosts' clocks may differ by so much.
CLOCKS_DIFFER = timedelta(minutes=1)


class ClaimLedger(Ledger):
    """The store's claims on channels."""

    def claim_channels(
        self,
        name: str,
        cyclers: Collection[str],
        *,
        wanted: int,
        priority: float,
        since_h: float,
        lab_time_h: float,
        at_least_s: float,
    ) -> None:
        """State how many channels a campaign could use now; what it stated before is replaced.

        Args:
            name: the campaign.
            cyclers: whose channels would do.
            wanted: channels that it could use at once, those it holds included, over all its cyclers.
            priority: its weight, above 0.
            since_h: lab time at which it last started a test, or was registered.
            lab_time_h: lab time of this statement.
            at_least_s: how long the claim stands unless it is stated again, seconds; longer where statements come seldom.

        Raises:
            CampaignError: if there is no such campaign.
        """
        with self.database.write() as session:
            campaign_id = row_id(campaign_row(session, name))
            now = self.database.now()
            expires_at = now + _lasts(now - (_stated_at(session, campaign_id) or now), at_least_s)
            session.exec(delete(ChannelClaimRow).where(col(ChannelClaimRow.campaign_id) == campaign_id))
            session.add_all(
                ChannelClaimRow(
                    campaign_id=campaign_id,
                    cycler=cycler,
                    wanted=wanted,
                    priority=float(priority),
                    since_h=float(since_h),
                    stated_h=float(lab_time_h),
                    stated_at=now,
                    expires_at=expires_at,
                )
                for cycler in sorted(cyclers)
            )

    def lower_claim(self, name: str, wanted: int) -> None:
        """Claim no more than so many channels until the next statement."""
        with self.database.write() as session:
            mine = col(ChannelClaimRow.campaign_id) == row_id(campaign_row(session, name))
            session.exec(update(ChannelClaimRow).where(mine, col(ChannelClaimRow.wanted) > wanted).values(wanted=wanted))

    def drop_claim(self, name: str) -> None:
        """Claim nothing: nobody goes on with the campaign for now."""
        with self.database.write() as session:
            session.exec(delete(ChannelClaimRow).where(col(ChannelClaimRow.campaign_id) == row_id(campaign_row(session, name))))

    def on_offer(self) -> tuple[list[tuple[str, str]], list[Claim]]:
        """Cycler and name of every free channel, in the order made known; and the claims that count, oldest campaign first."""
        free = select(ChannelRow.cycler, ChannelRow.name).where(ChannelRow.state == "free").order_by(col(ChannelRow.id))
        with self.database.read() as session:
            channels = [(cycler, name) for cycler, name in session.exec(free).all()]
            return channels, _claims(_standing(session, self.database.now()), _held(session))


def _lasts(since_last: timedelta, at_least_s: float) -> timedelta:
    return min(max(timedelta(seconds=at_least_s), INTERVALS * since_last), LONGEST)


def _stated_at(session: Session, campaign_id: int) -> datetime | None:
    query = select(ChannelClaimRow.stated_at).where(ChannelClaimRow.campaign_id == campaign_id)
    return max(session.exec(query).all(), default=None)


def _standing(session: Session, now: datetime) -> list[tuple[str, ChannelClaimRow]]:
    """The rows that count, with their campaigns' names."""
    query = select(CampaignRow.name, ChannelClaimRow).join(CampaignRow, col(CampaignRow.id) == col(ChannelClaimRow.campaign_id))
    query = query.where(CampaignRow.status == "running").order_by(col(ChannelClaimRow.campaign_id))
    rows = session.exec(query).all()
    return [(name, row) for name, row in rows if row.stated_at - CLOCKS_DIFFER <= now < row.expires_at]


def _held(session: Session) -> dict[int, int]:
    """How many channels each campaign holds."""
    query = select(TrialRow.campaign_id, func.count()).join(ChannelRow, col(ChannelRow.trial_id) == col(TrialRow.id))
    return dict(session.exec(query.group_by(col(TrialRow.campaign_id))).all())


def _claims(rows: Sequence[tuple[str, ChannelClaimRow]], held: dict[int, int]) -> list[Claim]:
    cyclers: dict[str, set[str]] = {}
    for name, row in rows:
        cyclers.setdefault(name, set()).add(row.cycler)
    last = dict(rows)
    return [
        Claim(name, frozenset(cyclers[name]), held.get(row.campaign_id, 0), row.wanted, row.priority, row.since_h, row.stated_h)
        for name, row in last.items()
    ]
