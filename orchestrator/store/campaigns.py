"""Campaigns: registered once under a name, their status, and requests to stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, func, select

from orchestrator.domain.campaign_spec import CampaignSpec
from orchestrator.domain.errors import CampaignError
from orchestrator.domain.trial import TrialStatus
from orchestrator.domain.value import to_plain
from orchestrator.store.ledger import Ledger, campaign_row, current_spec, row_id, stop_reasons, trial_row
from orchestrator.store.plain import RESUMED, CampaignRecord, CampaignStatus, StopCause
from orchestrator.store.tables import CAMPAIGN_STATUSES, CampaignRow, EventRow, SpecVersionRow, StopRequestRow, TrialRow

ENDED = ("completed", "stopped")


class CampaignLedger(Ledger):
    """The store's campaigns."""

    def register_campaign(self, spec: CampaignSpec, *, lab_time_h: float, status: CampaignStatus = "running") -> CampaignRecord:
        """Store a new campaign with its spec as version 1.

        Raises:
            CampaignError: if the lab has a campaign of that name.
        """
        with self.database.write() as session:
            if session.exec(select(CampaignRow.id).where(CampaignRow.name == spec.name)).first() is not None:
                raise _name_taken(spec.name)
            now = self.database.now()
            row = CampaignRow(name=spec.name, spec_version=1, status=_known(status), created_at=now, started_h=float(lab_time_h))
            session.add(row)
            try:
                session.flush()
            except IntegrityError:
                raise _name_taken(spec.name) from None
            session.add(
                SpecVersionRow(
                    campaign_id=row_id(row),
                    version=1,
                    spec=to_plain(spec),
                    sha256=spec.sha256,
                    created_at=now,
                    lab_time_h=float(lab_time_h),
                )
            )
            said = {"spec_version": 1, "spec_sha256": spec.sha256, "status": status}
            self._event(session, "campaign_registered", campaign=row, lab_time_h=lab_time_h, data=said)
            session.flush()
            return _record(session, row)

    def campaign(self, name: str) -> CampaignRecord:
        """One campaign.

        Raises:
            CampaignError: if there is none of that name, naming those there are.
        """
        with self.database.read() as session:
            return _record(session, campaign_row(session, name))

    def campaigns(self) -> list[CampaignRecord]:
        """All campaigns, the newest last."""
        with self.database.read() as session:
            rows = session.exec(select(CampaignRow).order_by(col(CampaignRow.id))).all()
            return [_record(session, row) for row in rows]

    def set_campaign(
        self,
        name: str,
        *,
        lab_time_h: float,
        status: CampaignStatus | None = None,
        reason: str | None = None,
        ended_h: float | None = None,
        reference_point: Mapping[str, float] | None = None,
        add_wall_s: float = 0.0,
    ) -> CampaignRecord:
        """Change what is given and leave the rest.

        With a `status`, `reason` replaces the old one, even if None; `running` clears the end, and a campaign that
        had ended then loses its request to stop. `ended_h` is lab time; `reference_point` is the hypervolume's, by metric;
        `add_wall_s` adds seconds of real time, which alone are not worth an event.
        """
        with self.database.write() as session:
            row = campaign_row(session, name, change=True)
            row.wall_s += add_wall_s
            if ended_h is not None:
                row.ended_h = float(ended_h)
            if status is not None:
                self._set_status(session, row, _known(status), reason, lab_time_h)
            if reference_point is not None:
                row.reference_point = {metric: float(given) for metric, given in reference_point.items()}
                said = {"reference_point": row.reference_point}
                self._event(session, "reference_point_fixed", campaign=row, lab_time_h=lab_time_h, data=said)
            session.add(row)
            session.flush()
            return _record(session, row)

    def wake(self, name: str, *, by: str, lab_time_h: float, looked: bool = False) -> bool:
        """Have a campaign that waits for a person go on; one that does not wait, or has been stopped meanwhile, stays as it is.

        Args:
            name: the campaign.
            by: who or what has it go on.
            lab_time_h: lab time, hours.
            looked: whether a person has looked at the trials that have ended; else the look before stands.

        Returns:
            Whether it waited.
        """
        with self.database.write() as session:
            row = campaign_row(session, name, change=True)
            if row.status != "needs_attention":
                return False
            ended = _ended(session, row) if looked else _ended_at_last_look(session, row)
            self._event(session, RESUMED, campaign=row, lab_time_h=lab_time_h, data={"ended": ended, "by": by})
            self._set_status(session, row, "running", None, lab_time_h)
            session.add(row)
            return True

    def ask_person(self, name: str, question: str, *, asks: str, lab_time_h: float) -> bool:
        """Have a running campaign wait for a person, or a waiting one ask something else.

        Args:
            name: the campaign.
            question: what only a person can settle, in words.
            asks: what kind of question it is, kept with the event.
            lab_time_h: lab time, hours.

        Returns:
            Whether it asks; not if it has ended meanwhile.
        """
        with self.database.write() as session:
            row = campaign_row(session, name, change=True)
            if row.status in ENDED:
                return False
            self._set_status(session, row, "needs_attention", question, lab_time_h, asks=asks)
            session.add(row)
            return True

    def _set_status(
        self, session: Session, row: CampaignRow, status: str, reason: str | None, lab_time_h: float, **further: str
    ) -> None:
        before, row.status, row.status_reason = row.status, status, reason
        if status == "running":
            row.ended_h = None
        if status == "running" and before in ENDED:
            lift_stop_requests(session, row_id(row), lab_time_h)
        said = {"before": before, "reason": reason, **further}
        self._event(session, f"campaign_{status}", campaign=row, lab_time_h=lab_time_h, data=said)

    def request_stop(
        self, name: str, number: int | None, *, reason: str, by: str, lab_time_h: float, cause: StopCause = "person"
    ) -> None:
        """Ask for a trial to be stopped, or with None for the whole campaign; ticks carry it out. Asking twice is harmless.

        `cause` is what kind of thing wants it stopped.

        Raises:
            CampaignError: if it has ended already.
        """
        with self.database.write() as session:
            campaign = campaign_row(session, name, change=True)
            if campaign.status in ENDED:
                raise CampaignError(f"campaign '{name}' is {campaign.status} already: there is nothing to stop.")
            trial = None if number is None else trial_row(session, campaign, number)
            if trial is not None and TrialStatus(trial.status).ended:
                raise CampaignError(f"trial {number} of '{name}' is {trial.status} already: there is nothing to stop.")
            of_one, of_all = stop_reasons(session, row_id(campaign))
            if (of_all if trial is None else of_one.get(row_id(trial))) is not None:
                return
            self._add_stop_request(session, campaign, trial, reason=reason, by=by, lab_time_h=lab_time_h, cause=cause)


def _known(status: str) -> str:
    if status not in CAMPAIGN_STATUSES:
        raise CampaignError(f"'{status}' is no status of a campaign; known: {', '.join(CAMPAIGN_STATUSES)}.")
    return status


def _name_taken(name: str) -> CampaignError:
    return CampaignError(
        f"this lab has a campaign '{name}' already. Go on with it with `voltloop resume {name}`, or give the spec another name."
    )


def _ended(session: Session, row: CampaignRow) -> int:
    ends = [status.value for status in TrialStatus if status.ended]
    query = select(func.count()).where(TrialRow.campaign_id == row_id(row), col(TrialRow.status).in_(ends))
    return session.exec(query.select_from(TrialRow)).one()


def _ended_at_last_look(session: Session, row: CampaignRow) -> int:
    looks = select(EventRow).where(EventRow.campaign_id == row_id(row), EventRow.kind == RESUMED)
    last = session.exec(looks.order_by(col(EventRow.id).desc()).limit(1)).first()
    return 0 if last is None else int(last.data.get("ended", 0))


def lift_stop_requests(session: Session, campaign_id: int, lab_time_h: float) -> None:
    """Take back what was asked of a campaign as a whole: it goes on."""
    query = select(StopRequestRow).where(StopRequestRow.campaign_id == campaign_id, col(StopRequestRow.trial_id).is_(None))
    for row in session.exec(query.where(col(StopRequestRow.withdrawn_h).is_(None))).all():
        row.withdrawn_h = float(lab_time_h)
        session.add(row)


def _record(session: Session, row: CampaignRow) -> CampaignRecord:
    return CampaignRecord(
        name=row.name,
        spec=current_spec(session, row),
        spec_version=row.spec_version,
        status=cast("CampaignStatus", row.status),
        status_reason=row.status_reason,
        created_at=row.created_at,
        started_h=row.started_h,
        ended_h=row.ended_h,
        reference_point=row.reference_point,
        wall_s=row.wall_s,
        stop_requested=stop_reasons(session, row_id(row))[1],
    )
