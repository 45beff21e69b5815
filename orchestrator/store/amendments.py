"""Amendments: a new version of a campaign's spec, and what it does to trials that wait or run, all in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlmodel import Session, col, select

from orchestrator.domain.amendment import Amendment
from orchestrator.domain.campaign_spec import CampaignSpec
from orchestrator.domain.errors import CampaignError
from orchestrator.domain.trial import WITHDRAWN, TrialStatus
from orchestrator.domain.value import to_plain
from orchestrator.store.campaigns import ENDED, lift_stop_requests
from orchestrator.store.ledger import Ledger, campaign_row, row_id, spec_of_version, stop_reasons, trial_row
from orchestrator.store.plain import SpecVersion
from orchestrator.store.tables import CampaignRow, EventRow, SpecVersionRow, TrialRow

AMENDED = "campaign_amended"
_S = TrialStatus


class AmendmentLedger(Ledger):
    """The part of the store that keeps the versions of specs."""

    def amend(
        self,
        name: str,
        amendment: Amendment,
        *,
        follows: int,
        by: str,
        lab_time_h: float,
        withdrawn: Mapping[int, str] | None = None,
        flagged: Mapping[int, str] | None = None,
        stop_flagged: bool = False,
        reopen: bool = False,
    ) -> int:
        """Make the next version of a campaign's spec, and carry out what it means for its trials, all or nothing.

        Args:
            name: the campaign.
            amendment: the new spec, its differences, and past values of what it adds.
            follows: the version that it was made from.
            by: who amends.
            lab_time_h: of the amendment, hours.
            withdrawn: why, by number of those waiting trials that the new version forbids; they are cancelled.
            flagged: why, by number of those running trials that would not be started now; other running trials lose their flag.
            stop_flagged: also ask for the flagged ones to be stopped.
            reopen: a completed campaign is running again.

        Returns:
            The new version's number.

        Raises:
            CampaignError: if the campaign was amended since, has ended (and is not to be reopened), or a trial is just being
                started; nothing was changed.
        """
        with self.database.write() as session:
            campaign = campaign_row(session, name, change=True)
            _check_amendable(campaign, follows, reopen)
            self._add_version(session, campaign, amendment, by, lab_time_h)
            waiting, running = _of_today(session, campaign, withdrawn or {}), _held(session, campaign)
            for row in waiting:
                self._withdraw(session, campaign, row, (withdrawn or {})[row.number], lab_time_h)
            noted = [row for row in running if self._flag(session, campaign, row, (flagged or {}).get(row.number), lab_time_h)]
            if stop_flagged:
                self._stop(session, campaign, [row for row in running if row.flag], by, lab_time_h)
            said = {
                "spec_version": campaign.spec_version,
                "spec_sha256": amendment.spec.sha256,
                "by": by,
                "changes": [change.to_json() for change in amendment.changes],
                "past_values": amendment.past_values,
                "withdrawn": [row.number for row in waiting],
                "flagged": [row.number for row in noted],
            }
            self._event(session, AMENDED, campaign=campaign, lab_time_h=lab_time_h, data=said)
            if campaign.status in ENDED:
                self._reopen(session, campaign, lab_time_h)
            session.add(campaign)
            return campaign.spec_version

    def spec_versions(self, name: str) -> list[SpecVersion]:
        """Every version of a campaign's spec, the first first."""
        with self.database.read() as session:
            campaign = campaign_row(session, name)
            query = select(SpecVersionRow).where(SpecVersionRow.campaign_id == campaign.id)
            return [
                SpecVersion(
                    version=row.version,
                    spec=spec_of_version(session, campaign, row.version),
                    created_at=row.created_at,
                    lab_time_h=row.lab_time_h,
                    amended_by=row.amended_by,
                    past_values=row.past_values or {},
                )
                for row in session.exec(query.order_by(col(SpecVersionRow.version))).all()
            ]

    def started_under(self, name: str) -> dict[int, CampaignSpec]:
        """By trial that holds a channel, the version of the spec under which its current attempt was begun."""
        with self.database.read() as session:
            campaign = campaign_row(session, name)
            kinds = (AMENDED, "trial_dispatching")
            query = select(EventRow).where(EventRow.campaign_id == campaign.id, col(EventRow.kind).in_(kinds))
            version, begun = 1, dict[int, int]()
            for event in session.exec(query.order_by(col(EventRow.id))).all():
                if event.kind == AMENDED:
                    version = int(event.data["spec_version"])
                elif event.trial is not None:
                    begun[event.trial] = version
            held = {row.number for row in _held(session, campaign)}
            return {number: spec_of_version(session, campaign, v) for number, v in begun.items() if number in held}

    def _add_version(self, session: Session, campaign: CampaignRow, new: Amendment, by: str, lab_time_h: float) -> None:
        campaign.spec_version += 1
        session.add(
            SpecVersionRow(
                campaign_id=row_id(campaign),
                version=campaign.spec_version,
                spec=to_plain(new.spec),
                sha256=new.spec.sha256,
                created_at=self.database.now(),
                lab_time_h=float(lab_time_h),
                amended_by=by,
                past_values=dict(new.past_values),
            )
        )
        if campaign.reference_point is not None:
            stated = {o.metric: o.threshold for o in new.spec.objectives if o.threshold is not None}
            campaign.reference_point = {**campaign.reference_point, **stated}

    def _withdraw(self, session: Session, campaign: CampaignRow, row: TrialRow, reason: str, lab_time_h: float) -> None:
        before, row.status = row.status, _S.CANCELLED.value
        row.ended_h, row.stopped_because, row.cause = float(lab_time_h), reason, WITHDRAWN
        session.add(row)
        said = {"before": before, "reason": reason}
        self._event(session, "trial_cancelled", campaign=campaign, trial=row.number, lab_time_h=lab_time_h, data=said)

    def _flag(self, session: Session, campaign: CampaignRow, row: TrialRow, why: str | None, lab_time_h: float) -> bool:
        """Note on a running trial why it would not be started now, or that nothing speaks against it any more."""
        if row.flag != why:
            row.flag = why
            session.add(row)
            kind, said = ("trial_flagged", {"reason": why}) if why else ("trial_unflagged", {})
            self._event(session, kind, campaign=campaign, trial=row.number, lab_time_h=lab_time_h, data=said)
        return why is not None

    def _stop(self, session: Session, campaign: CampaignRow, rows: Sequence[TrialRow], by: str, lab_time_h: float) -> None:
        asked, _ = stop_reasons(session, row_id(campaign))
        for row in rows:
            if row_id(row) not in asked:
                how: dict[str, Any] = {"reason": row.flag, "by": by, "lab_time_h": lab_time_h, "cause": "amendment"}
                self._add_stop_request(session, campaign, row, **how)

    def _reopen(self, session: Session, campaign: CampaignRow, lab_time_h: float) -> None:
        before, campaign.status, campaign.status_reason, campaign.ended_h = campaign.status, "running", None, None
        lift_stop_requests(session, row_id(campaign), lab_time_h)
        said = {"before": before, "reason": "its budget was raised"}
        self._event(session, "campaign_running", campaign=campaign, lab_time_h=lab_time_h, data=said)


def _check_amendable(campaign: CampaignRow, follows: int, reopen: bool) -> None:
    if campaign.spec_version != follows:
        raise CampaignError(
            f"campaign '{campaign.name}' was amended meanwhile (it is at version {campaign.spec_version} now). Amend that one."
        )
    if campaign.status == "stopped" or (campaign.status in ENDED and not reopen):
        raise CampaignError(f"campaign '{campaign.name}' is {campaign.status} and cannot be amended.")


def _of_today(session: Session, campaign: CampaignRow, withdrawn: Mapping[int, str]) -> list[TrialRow]:
    """Those of the trials that still wait; a person may have rejected some meanwhile."""
    rows = [trial_row(session, campaign, number) for number in sorted(withdrawn)]
    for row in rows:
        if TrialStatus(row.status).holds_channel:
            raise CampaignError(
                f"trial {row.number} of '{campaign.name}' is {row.status} by now; nothing was changed. Try again."
            )
    return [row for row in rows if not TrialStatus(row.status).ended]


def _held(session: Session, campaign: CampaignRow) -> Sequence[TrialRow]:
    states = [status.value for status in TrialStatus if status.holds_channel]
    query = select(TrialRow).where(TrialRow.campaign_id == campaign.id, col(TrialRow.status).in_(states))
    return session.exec(query.order_by(col(TrialRow.number))).all()
