"""What every part of the store uses: finding rows by name, writing events, turning rows into plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any

from sqlmodel import Session, col, select

from orchestrator.domain.amendment import as_of_today
from orchestrator.domain.campaign_spec import CampaignSpec
from orchestrator.domain.candidate import Candidate
from orchestrator.domain.errors import CampaignError, SpecError, StoreError
from orchestrator.domain.objectives import Estimate
from orchestrator.domain.trial import Trial, TrialStatus
from orchestrator.domain.value import content_hash, from_plain
from orchestrator.store.engine import Database
from orchestrator.store.tables import CampaignRow, EventRow, OutcomeRow, Row, SpecVersionRow, StopRequestRow, TrialRow

# Above so many trials it is quicker to read the whole campaign's outcomes than to name each trial.
_FEW = 50


class Ledger:
    """A part of the store, on an opened database.

    Every public method is one transaction: it is stored whole when the method returns, and not at all if it raises.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def _event(
        self,
        session: Session,
        kind: str,
        *,
        lab_time_h: float,
        campaign: CampaignRow | None = None,
        trial: int | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        """Append to the log, within the caller's transaction."""
        campaign_id = campaign.id if campaign else None
        said = dict(data or {})
        session.add(
            EventRow(
                at=self.database.now(), lab_time_h=float(lab_time_h), kind=kind, campaign_id=campaign_id, trial=trial, data=said
            )
        )

    def _add_stop_request(
        self,
        session: Session,
        campaign: CampaignRow,
        trial: TrialRow | None,
        *,
        reason: str,
        by: str,
        lab_time_h: float,
        cause: str,
    ) -> None:
        """Ask for a trial, or with None for the campaign, to be stopped, within the caller's transaction."""
        session.add(
            StopRequestRow(
                campaign_id=row_id(campaign),
                trial_id=None if trial is None else trial.id,
                reason=reason,
                requested_by=by,
                requested_at=self.database.now(),
                lab_time_h=float(lab_time_h),
                cause=cause,
            )
        )
        said, number = {"reason": reason, "by": by, "cause": cause}, None if trial is None else trial.number
        self._event(session, "stop_requested", campaign=campaign, trial=number, lab_time_h=lab_time_h, data=said)


def campaign_row(session: Session, name: str, *, change: bool = False) -> CampaignRow:
    """The campaign's row, held against others' changes if asked.

    Raises:
        CampaignError: if there is none, naming those there are.
    """
    query = select(CampaignRow).where(CampaignRow.name == name)
    # FOR NO KEY UPDATE: others may still refer to the row while it is held.
    row = session.exec(query.with_for_update(key_share=True) if change else query).first()
    if row is None:
        names = ", ".join(session.exec(select(CampaignRow.name).order_by(col(CampaignRow.id))).all())
        has = f"It has: {names}." if names else "It has none yet: start one with `voltloop run SPEC.toml`."
        raise CampaignError(f"there is no campaign '{name}' in this lab. {has}")
    return row


def trial_row(session: Session, campaign: CampaignRow, number: int) -> TrialRow:
    """The trial's row, held against others' changes.

    Raises:
        CampaignError: if the campaign has no trial of that number.
    """
    query = select(TrialRow).where(TrialRow.campaign_id == campaign.id, TrialRow.number == number)
    row = session.exec(query.with_for_update(key_share=True)).first()
    if row is None:
        count = len(session.exec(select(TrialRow.id).where(TrialRow.campaign_id == campaign.id)).all())
        raise CampaignError(f"campaign '{campaign.name}' has no trial {number}; it has {count} so far, numbered from 1.")
    return row


def row_id(row: CampaignRow | TrialRow) -> int:
    """The row's id, once it has been written."""
    if row.id is None:
        raise StoreError("a row was used before it was written: a fault of voltloop's own, please report it.")
    return row.id


def insert_if_absent(session: Session, table: type[Row], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, leaving alone those whose key is there already, even if another process inserts them at this moment."""
    dialect = import_module(f"sqlalchemy.dialects.{session.get_bind().dialect.name}")
    session.connection().execute(dialect.insert(table).on_conflict_do_nothing(), [dict(row) for row in rows])


def plain_trial(session: Session, campaign: CampaignRow, row: TrialRow) -> Trial:
    """One trial as it stands."""
    session.flush()
    return plain_trials(session, campaign, [row])[0]


def plain_trials(session: Session, campaign: CampaignRow, rows: Sequence[TrialRow]) -> list[Trial]:
    """Trials with their current outcomes and stop requests, in the order given."""
    of_one, of_all = stop_reasons(session, row_id(campaign), [row_id(row) for row in rows])
    outcomes = _current_outcomes(_outcome_rows(session, campaign, rows))
    candidate = _reads_candidates(session, campaign, rows)
    return [_plain(row, candidate(row), outcomes.get(row_id(row), {}), of_one.get(row_id(row)), of_all) for row in rows]


def _reads_candidates(session: Session, campaign: CampaignRow, rows: Sequence[TrialRow]) -> Callable[[TrialRow], Candidate]:
    """Reads a row's candidate; one of an earlier version of the spec with its values of what was added since."""
    if all(row.spec_version == campaign.spec_version for row in rows):
        return lambda row: _candidate(campaign, row)
    query = select(SpecVersionRow.version, SpecVersionRow.past_values).where(SpecVersionRow.campaign_id == campaign.id)
    added, space = session.exec(query.order_by(col(SpecVersionRow.version))).all(), current_spec(session, campaign).space

    @cache
    def past_values(version: int) -> Mapping[str, Any]:
        return {name: given for later, past in added if later > version for name, given in (past or {}).items()}

    return lambda row: as_of_today(_candidate(campaign, row), space, past_values(row.spec_version))


def _candidate(campaign: CampaignRow, row: TrialRow) -> Candidate:
    try:
        return from_plain(Candidate, row.candidate)
    except (SpecError, TypeError) as error:
        raise StoreError(
            f"trial {row.number} of '{campaign.name}' cannot be read: its candidate is damaged ({str(error).splitlines()[0]}) "
            "Restore a backup (docs/backups.md), or ask whoever changed the database."
        ) from None


def _plain(
    row: TrialRow, candidate: Candidate, outcome: dict[str, Estimate], asked: str | None, asked_of_all: str | None
) -> Trial:
    status = TrialStatus(row.status)
    return Trial(
        number=row.number,
        candidate=candidate,
        status=status,
        spec_version=row.spec_version,
        origin=row.origin,
        outcome=outcome,
        attempt=row.attempt,
        key=row.key,
        cycler=row.cycler,
        channel=row.channel,
        run_ref=row.run_ref,
        fence=row.fence,
        stop_requested=asked or (None if status.ended else asked_of_all),
        stopped_because=row.stopped_because,
        started_h=row.started_h,
        ended_h=row.ended_h,
        cause=row.cause,
        decided_by=row.decided_by,
        flag=row.flag,
    )


def _outcome_rows(session: Session, campaign: CampaignRow, rows: Sequence[TrialRow]) -> Iterable[OutcomeRow]:
    query = select(OutcomeRow).order_by(col(OutcomeRow.id))
    if len(rows) <= _FEW:
        return session.exec(query.where(col(OutcomeRow.trial_id).in_([row.id for row in rows]))).all()
    mine = select(TrialRow.id).where(TrialRow.campaign_id == campaign.id)
    return session.exec(query.where(col(OutcomeRow.trial_id).in_(mine))).all()


def _current_outcomes(history: Iterable[OutcomeRow]) -> dict[int, dict[str, Estimate]]:
    """The estimate that counts, by trial and metric: measured before predicted, then the later cycle, then the later row."""
    best: dict[tuple[int, str], OutcomeRow] = {}
    for row in history:
        key = (row.trial_id, row.metric)
        if key not in best or _rank(row) >= _rank(best[key]):
            best[key] = row
    current: dict[int, dict[str, Estimate]] = {}
    for (trial_id, metric), row in best.items():
        source: Any = row.source
        current.setdefault(trial_id, {})[metric] = Estimate(row.mean, row.sem, source, row.unit)
    return current


def _rank(row: OutcomeRow) -> tuple[bool, int]:
    measured = row.source == "measured"
    return measured, 0 if measured else (row.at_cycle or 0)


def stop_reasons(session: Session, campaign_id: int, trial_ids: Sequence[int] | None = None) -> tuple[dict[int, str], str | None]:
    """Why stops are wanted: by trial (of these, if few are named), and of the whole campaign; the first reason given counts."""
    query = select(StopRequestRow).where(StopRequestRow.campaign_id == campaign_id, col(StopRequestRow.withdrawn_h).is_(None))
    if trial_ids is not None and len(trial_ids) <= _FEW:
        trial_id = col(StopRequestRow.trial_id)
        query = query.where(trial_id.is_(None) | trial_id.in_(trial_ids))
    of_one: dict[int, str] = {}
    of_all: str | None = None
    for row in session.exec(query.order_by(col(StopRequestRow.id))).all():
        if row.trial_id is None:
            of_all = of_all or row.reason
        else:
            of_one.setdefault(row.trial_id, row.reason)
    return of_one, of_all


# Specs are frozen and reading one takes milliseconds; they are few.
_specs_read: dict[str, CampaignSpec] = {}


def current_spec(session: Session, campaign: CampaignRow) -> CampaignSpec:
    """The campaign's spec, latest version.

    Raises:
        StoreError: if it is not what was stored.
    """
    return spec_of_version(session, campaign, campaign.spec_version)


def spec_of_version(session: Session, campaign: CampaignRow, version: int) -> CampaignSpec:
    """One version of the campaign's spec.

    Raises:
        StoreError: if it is not what was stored.
    """
    here = (SpecVersionRow.campaign_id == campaign.id, SpecVersionRow.version == version)
    sha256 = session.exec(select(SpecVersionRow.sha256).where(*here)).one()
    if sha256 not in _specs_read:
        plain = session.exec(select(SpecVersionRow.spec).where(*here)).one()
        if content_hash(plain) != sha256:
            raise StoreError(f"the stored spec of campaign '{campaign.name}' was changed from outside. Restore a backup.")
        spec = from_plain(CampaignSpec, plain)
        vars(spec)["sha256"] = sha256  # by this it is known in recordings and reports, whatever fields came since it was stored
        _specs_read[sha256] = spec
    return _specs_read[sha256]
