"""Values in a lab's database that are not what the schema says: JSON that cannot be read, candidates that fit no space.

No sequence of ticks and kills leaves them behind; a broken disk or a hand in the database does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Column, Table, Text, cast
from sqlmodel import Session, col, select

from orchestrator.domain.campaign_spec import CampaignSpec
from orchestrator.domain.candidate import Candidate, CandidateTable
from orchestrator.domain.errors import StoreError, VoltloopError
from orchestrator.domain.search_space import SearchSpace
from orchestrator.domain.value import from_plain
from orchestrator.store.faults import UnreadableValueError
from orchestrator.store.finding import Finding
from orchestrator.store.stored_rows import StoredRows
from orchestrator.store.tables import CampaignRow, PlainJson, Row, TrialRow

BACKUP = "Restore a backup (docs/backups.md), or ask whoever changed the database."
CANDIDATE = "unreadable_candidate"
_KINDS = {"trials": CANDIDATE, "decisions": "unreadable_decision", "spec_versions": "unreadable_spec"}
WRONG = (VoltloopError, ValueError, TypeError, KeyError)


def unreadable_json(session: Session) -> Iterator[Finding]:
    """Stored JSON that cannot be read, each with its trial where it belongs to one."""
    named = dict(_trial_names(session))
    for table in Row.metadata.sorted_tables:
        for column in table.columns:
            if isinstance(column.type, PlainJson):
                yield from _of_column(session, table, column, named)


def candidates_that_fit_no_space(rows: StoredRows) -> Iterator[Finding]:
    """Candidates that are none, or whose parameters are not those of the space that they were proposed in."""
    spaces = _spaces(rows)
    for trial in rows.trials:
        where, wrong = rows.name(trial), None
        try:
            candidate = from_plain(Candidate, trial["candidate"])
        except WRONG as error:
            yield Finding(CANDIDATE, where, f"its candidate cannot be read: {_first_line(error)}.", BACKUP)
            continue
        space = spaces.get((trial["campaign_id"], trial["spec_version"]))
        if space is not None and (wrong := misfit(candidate, space)):
            yield Finding("other_candidate", where, f"its candidate does not fit the space of its spec: {wrong}.", BACKUP)


def misfit(candidate: Candidate, space: SearchSpace | CandidateTable) -> str | None:
    """How a candidate's parameters are not those of a space, by name alone; None if they are."""
    if isinstance(space, CandidateTable):
        lacking = [name for name in space.features if name not in candidate.parameters]
        return f"{', '.join(lacking)} is missing" if lacking else None
    unknown = [name for name in candidate.parameters if name not in space.units]
    lacking = [p.name for p in space.inputs if p.name not in candidate.parameters and p.name not in space.needs]
    parts = [f"{', '.join(unknown)} is no parameter of it"] if unknown else []
    parts += [f"{', '.join(lacking)} is missing"] if lacking else []
    return "; ".join(parts) or None


def damaged_trial(session: Session, campaign: CampaignRow, error: UnreadableValueError) -> StoreError:
    """The same fault with the trial named whose candidate it is; the fault as it was where it is none's."""
    query = select(TrialRow.number, cast(col(TrialRow.candidate), Text)).where(TrialRow.campaign_id == campaign.id)
    for number, text in session.exec(query.order_by(col(TrialRow.number))).all():
        if why := _unreadable(text):
            return StoreError(f"trial {number} of '{campaign.name}' cannot be read: its candidate is damaged ({why}). {BACKUP}")
    return error


def _of_column(session: Session, table: Table, column: Column[Any], named: dict[int, str]) -> Iterator[Finding]:
    keys = list(table.primary_key.columns)
    of_trial = table.columns.get("id" if table.name == "trials" else "trial_id")
    query = select(cast(column, Text), *([of_trial] if of_trial is not None else []), *keys).where(column.is_not(None))
    for text, *ids in session.connection().execute(query):
        if why := _unreadable(text):
            row = f"table '{table.name}', row {', '.join(map(str, ids[-len(keys) :]))}"
            where = named.get(ids[0], row) if of_trial is not None else row
            problem = f"its {column.name} cannot be read: {why}." if where != row else f"'{column.name}' cannot be read: {why}."
            yield Finding(_KINDS.get(table.name, "unreadable_row"), where, problem, BACKUP)


def _trial_names(session: Session) -> Iterator[tuple[int, str]]:
    query = select(TrialRow.id, TrialRow.number, CampaignRow.name).join(CampaignRow)
    for row, number, campaign in session.exec(query).all():
        yield row or 0, f"trial {number} of '{campaign}'"


def _unreadable(text: Any) -> str | None:
    try:
        json.loads(text)
    except (ValueError, TypeError) as error:
        return f"no JSON, {_first_line(error)}"
    return None


def _spaces(rows: StoredRows) -> dict[tuple[int, int], SearchSpace | CandidateTable]:
    spaces: dict[tuple[int, int], SearchSpace | CandidateTable] = {}
    for spec in rows.specs:
        try:
            spaces[spec["campaign_id"], spec["version"]] = from_plain(CampaignSpec, spec["spec"]).space
        except WRONG:
            continue  # found as what it is
    return spaces


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
