"""Trials: added, moved between states that hold no channel, told from elsewhere, and what was found about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlmodel import Session, col, func, select

from orchestrator.domain.candidate import Candidate
from orchestrator.domain.errors import CampaignError, IllegalMoveError
from orchestrator.domain.objectives import Estimate
from orchestrator.domain.trial import REJECTED, Trial, TrialStatus, check_move
from orchestrator.domain.value import to_plain
from orchestrator.store.engine import Database
from orchestrator.store.faults import UnreadableValueError
from orchestrator.store.ledger import Ledger, campaign_row, plain_trial, plain_trials, row_id, trial_row
from orchestrator.store.plain import NewTrial, RecordingFile
from orchestrator.store.remembered import RememberedTrials
from orchestrator.store.tables import CampaignRow, CycleSummaryRow, DecisionRow, OutcomeRow, RecordingRow, TrialRow
from orchestrator.store.unreadable import damaged_trial


class TrialLedger(Ledger):
    """The store's trials."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._remembered = RememberedTrials()

    def trials(self, name: str) -> list[Trial]:
        """All trials of a campaign by number, with their current outcomes."""
        with self.database.read() as session:
            campaign = campaign_row(session, name)
            if self.database.path is not None:
                try:
                    return self._remembered.read(session, campaign)
                except UnreadableValueError as error:
                    raise damaged_trial(session, campaign, error) from None
            query = select(TrialRow).where(TrialRow.campaign_id == campaign.id).order_by(col(TrialRow.number))
            return plain_trials(session, campaign, session.exec(query).all())

    def trial(self, name: str, number: int) -> Trial:
        """One trial as it stands."""
        with self.database.read() as session:
            campaign = campaign_row(session, name)
            query = select(TrialRow).where(TrialRow.campaign_id == campaign.id, TrialRow.number == number)
            row = session.exec(query).first()
            if row is None:
                raise CampaignError(f"campaign '{name}' has no trial {number}.")
            return plain_trial(session, campaign, row)

    def add_trials(self, name: str, new: Sequence[NewTrial], *, lab_time_h: float) -> list[Trial]:
        """Add candidates as trials, numbered on from the last, each with its decision dossier."""
        with self.database.write() as session:
            campaign = campaign_row(session, name, change=True)
            rows = [_new_row(session, campaign, number, each) for number, each in enumerate(new, _next_number(session, campaign))]
            session.flush()
            for row, each in zip(rows, new, strict=True):
                session.add(DecisionRow(trial_id=row_id(row), data=dict(each.decision), lab_time_h=float(lab_time_h)))
                said = {"candidate": row.candidate, "origin": row.origin}
                self._event(session, f"trial_{row.status}", campaign=campaign, trial=row.number, lab_time_h=lab_time_h, data=said)
            session.flush()
            return plain_trials(session, campaign, rows)

    def move(
        self,
        name: str,
        number: int,
        to: TrialStatus,
        *,
        lab_time_h: float,
        reason: str | None = None,
        cause: str | None = None,
    ) -> Trial:
        """Move a trial between states without taking or freeing a channel.

        Raises:
            IllegalMoveError: if the trial cannot become that from where it is, or a channel would change hands.
        """
        with self.database.write() as session:
            campaign = campaign_row(session, name)
            row = trial_row(session, campaign, number)
            before = TrialStatus(row.status)
            check_move(number, before, to)
            _check_channel_stays(row, before, to)
            row.status = to.value
            if to.ended:
                row.ended_h, row.stopped_because, row.cause = float(lab_time_h), reason, cause
            session.add(row)
            said = {"before": before.value, "reason": reason}
            self._event(session, f"trial_{to.value}", campaign=campaign, trial=number, lab_time_h=lab_time_h, data=said)
            return plain_trial(session, campaign, row)

    def decide(
        self, name: str, numbers: Sequence[int], *, approved: bool, by: str, lab_time_h: float, reason: str | None = None
    ) -> list[Trial]:
        """Note a person's word on proposed trials: they are approved, or rejected and thereby cancelled. All or none.

        Saying again what was said before changes nothing.

        Args:
            name: the campaign.
            numbers: the trials.
            approved: whether they may run.
            by: who decided.
            lab_time_h: lab time, hours.
            reason: why, in that person's words; kept in the log, and of a rejected trial with the trial.

        Returns:
            The trials that this call decided.

        Raises:
            CampaignError: if one of them does not exist or does not wait for a decision; then none was decided.
        """
        with self.database.write() as session:
            campaign = campaign_row(session, name)
            rows = [trial_row(session, campaign, number) for number in sorted(set(numbers))]
            wrong = [row for row in rows if row.status != TrialStatus.PROPOSED and not _decided_before(row, approved)]
            if wrong:
                raise _not_waiting(session, campaign, wrong)
            decided = [row for row in rows if row.status == TrialStatus.PROPOSED]
            for row in decided:
                row.decided_by = by
                row.status = (TrialStatus.APPROVED if approved else TrialStatus.CANCELLED).value
                if not approved:
                    row.ended_h, row.cause = float(lab_time_h), REJECTED
                    row.stopped_because = f"rejected by {by}{f': {reason}' if reason else ''}"
                session.add(row)
                said = {"before": TrialStatus.PROPOSED.value, "by": by, "reason": reason}
                self._event(session, f"trial_{row.status}", campaign=campaign, trial=row.number, lab_time_h=lab_time_h, data=said)
            session.flush()
            return plain_trials(session, campaign, decided)

    def tell(
        self, name: str, candidate: Candidate, outcome: Mapping[str, Estimate], *, lab_time_h: float, origin: str = "told"
    ) -> Trial:
        """Add a completed trial that never ran here: a historical or manual result."""
        with self.database.write() as session:
            campaign = campaign_row(session, name, change=True)
            new = NewTrial(candidate, origin)
            row = _new_row(session, campaign, _next_number(session, campaign), new, TrialStatus.COMPLETED)
            row.started_h = row.ended_h = float(lab_time_h)
            session.flush()
            add_outcome_rows(session, row_id(row), outcome, None, lab_time_h)
            said = {"candidate": row.candidate, "outcome": plain_outcome(outcome), "origin": origin}
            self._event(session, "trial_told", campaign=campaign, trial=row.number, lab_time_h=lab_time_h, data=said)
            return plain_trial(session, campaign, row)

    def add_outcome(
        self, name: str, number: int, outcome: Mapping[str, Estimate], *, lab_time_h: float, at_cycle: int | None = None
    ) -> Trial:
        """Add estimates to a trial's history.

        A measured estimate supersedes predicted ones and is never superseded by them; among predicted ones the one made
        at the later cycle counts, then the later one.
        """
        with self.database.write() as session:
            campaign = campaign_row(session, name)
            row = trial_row(session, campaign, number)
            add_outcome_rows(session, row_id(row), outcome, at_cycle, lab_time_h)
            said = {"outcome": plain_outcome(outcome), "at_cycle": at_cycle}
            self._event(session, "outcome_added", campaign=campaign, trial=number, lab_time_h=lab_time_h, data=said)
            return plain_trial(session, campaign, row)

    def outcome_history(self, name: str, number: int) -> list[dict[str, Any]]:
        """Every estimate ever given for a trial, oldest first: metric, mean, sem, source, unit, at_cycle, lab_time_h."""
        with self.database.read() as session:
            query = _of_trial(select(OutcomeRow).join(TrialRow), session, name, number).order_by(col(OutcomeRow.id))
            return [row.model_dump(exclude={"id", "trial_id"}) for row in session.exec(query).all()]

    def decisions(self, name: str) -> list[dict[str, Any]]:
        """The decision dossiers by trial number, each with its `trial` and `lab_time_h`."""
        with self.database.read() as session:
            campaign = campaign_row(session, name)
            query = select(TrialRow.number, DecisionRow).join(DecisionRow).where(TrialRow.campaign_id == campaign.id)
            found = session.exec(query.order_by(col(TrialRow.number))).all()
            return [{**row.data, "trial": number, "lab_time_h": row.lab_time_h} for number, row in found]

    def cycle_summaries(self, name: str, number: int) -> list[dict[str, Any]]:
        """A finished trial's per-cycle quantities, in the order recorded."""
        with self.database.read() as session:
            query = _of_trial(select(CycleSummaryRow.data).join(TrialRow), session, name, number)
            return list(session.exec(query.order_by(col(CycleSummaryRow.position))).all())

    def recording_of(self, name: str, number: int) -> RecordingFile | None:
        """Where the recording of a trial's last attempt lies; None if there is none."""
        with self.database.read() as session:
            query = _of_trial(select(RecordingRow).join(TrialRow), session, name, number)
            row = session.exec(query.order_by(col(RecordingRow.attempt).desc())).first()
            return None if row is None else RecordingFile(row.uri, row.sha256, row.rows, row.schema_version)

    def limits_violated(self, name: str) -> int:
        """How many trials passed a safe limit by their true value."""
        with self.database.read() as session:
            campaign = campaign_row(session, name)
            query = select(func.count()).where(TrialRow.campaign_id == campaign.id, col(TrialRow.limits_violated))
            return session.exec(query).one()


def _next_number(session: Session, campaign: CampaignRow) -> int:
    last = session.exec(select(func.max(TrialRow.number)).where(TrialRow.campaign_id == campaign.id)).one()
    return (last or 0) + 1


def _new_row(session: Session, campaign: CampaignRow, number: int, new: NewTrial, status: TrialStatus | None = None) -> TrialRow:
    if status is None and new.status not in (TrialStatus.PROPOSED, TrialStatus.APPROVED):
        raise CampaignError(f"a new trial is proposed or approved, not {new.status}; results from elsewhere are told.")
    row = TrialRow(
        campaign_id=row_id(campaign),
        number=number,
        spec_version=campaign.spec_version,
        candidate=to_plain(new.candidate),
        origin=new.origin,
        status=(status or new.status).value,
    )
    session.add(row)
    return row


def _decided_before(row: TrialRow, approved: bool) -> bool:
    return row.decided_by is not None and (row.cause != REJECTED) == approved


def _not_waiting(session: Session, campaign: CampaignRow, wrong: Sequence[TrialRow]) -> CampaignError:
    waiting = select(TrialRow.number).where(TrialRow.campaign_id == campaign.id, TrialRow.status == TrialStatus.PROPOSED.value)
    known = ", ".join(str(number) for number in sorted(session.exec(waiting).all())) or "none"
    which = "; ".join(f"trial {row.number} is {row.status}{_by(row)}" for row in wrong)
    return CampaignError(
        f"not every trial waits for a decision, so none was decided: {which}. Of '{campaign.name}' there wait: {known}. "
        f"A trial that was approved is ended with `voltloop stop {campaign.name} --trial N --reason TEXT`."
    )


def _by(row: TrialRow) -> str:
    return "" if row.decided_by is None else f", {'rejected' if row.cause == REJECTED else 'approved'} by {row.decided_by}"


def _check_channel_stays(row: TrialRow, before: TrialStatus, to: TrialStatus) -> None:
    if before.holds_channel != to.holds_channel:
        raise IllegalMoveError(
            f"trial {row.number} is {before} and cannot simply become {to}: its channel must be "
            f"{'freed' if before.holds_channel else 'taken'} in the same step."
        )
    if to is TrialStatus.RUNNING and row.run_ref is None:
        raise IllegalMoveError(f"trial {row.number} cannot become running: no cycler has acknowledged it.")


def add_outcome_rows(
    session: Session, trial_id: int, outcome: Mapping[str, Estimate], at_cycle: int | None, lab_time_h: float
) -> None:
    """Append estimates to a trial's history, within the caller's transaction."""
    for metric, estimate in outcome.items():
        session.add(
            OutcomeRow(
                trial_id=trial_id,
                metric=metric,
                mean=float(estimate.mean),
                sem=float(estimate.sem),
                source=estimate.source,
                unit=estimate.unit,
                at_cycle=at_cycle,
                lab_time_h=float(lab_time_h),
            )
        )


def plain_outcome(outcome: Mapping[str, Estimate]) -> dict[str, Any]:
    """An outcome as JSON-ready data, for the log."""
    return {metric: to_plain(estimate) for metric, estimate in outcome.items()}


def _of_trial(query: Any, session: Session, name: str, number: int) -> Any:
    """Narrow a query joined with trials to one trial."""
    return query.where(TrialRow.campaign_id == campaign_row(session, name).id, TrialRow.number == number)
