"""The tables of an exported campaign: trials, cycle summaries and events, each with what its columns mean."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flows.ro_crate import UNIT_CODES, Column
from orchestrator.domain.candidate import CandidateTable
from orchestrator.store import CampaignRecord

if TYPE_CHECKING:
    import polars as pl

    from flows.lab import Lab
    from orchestrator.domain.trial import Trial

_TRIAL = (
    Column("trial", "the trial's number, from 1, in the order proposed"),
    Column("status", "completed, early_stopped, failed, aborted, cancelled, unknown, or on its way"),
    Column("spec_version", "version of the spec under which it was proposed"),
    Column("origin", "which generator proposed it"),
    Column("candidate_id", "the row of a candidate table; empty where there is none"),
    Column("cycler", "which cycler tested it"),
    Column("channel", "which channel of the cycler"),
    Column("attempt", "how often its dispatch was begun"),
    Column("started_h", "lab time at which it started", "h"),
    Column("ended_h", "lab time at which it ended", "h"),
    Column("stopped_because", "why it did not run to its planned end"),
    Column("decided_by", "the person who approved or rejected it"),
)
_EVENT = (
    Column("id", "rises with time"),
    Column("at", "the system's time, UTC, ISO 8601"),
    Column("lab_time_h", "lab time", "h"),
    Column("kind", "what happened"),
    Column("trial", "the trial's number; empty where the whole campaign is meant"),
    Column("data", "further details, JSON"),
)


def trials_table(campaign: CampaignRecord, trials: Sequence[Trial]) -> tuple[pl.DataFrame, tuple[Column, ...]]:
    """One row per trial: what was tested, where, when, and its outcomes with standard errors and sources."""
    parameters = _parameter_units(campaign, trials)
    metrics = _metric_units(trials)
    columns = [*_TRIAL, *(Column(f"parameter {name}", f"the candidate's {name}", unit) for name, unit in parameters.items())]
    for metric, unit in metrics.items():
        columns += [
            Column(f"{metric} mean", f"estimate of {metric}", unit),
            Column(f"{metric} sem", f"standard error of {metric}", unit),
            Column(f"{metric} source", f"whether {metric} was measured or predicted"),
        ]
    return _frame([_trial_row(trial, parameters, metrics) for trial in trials], columns), tuple(columns)


def summaries_table(lab: Lab, campaign: str, trials: Sequence[Trial]) -> tuple[pl.DataFrame, tuple[Column, ...]]:
    """One row per trial and recorded cycle."""
    rows = [{"trial": trial.number, **row} for trial in trials for row in lab.store.cycle_summaries(campaign, trial.number)]
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["trial", "cycle_count"]
    columns = tuple(Column(name, name.replace("_", " "), _unit_of(name)) for name in names)
    return _frame(rows, columns), columns


def events_table(lab: Lab, campaign: str) -> tuple[pl.DataFrame, tuple[Column, ...]]:
    """The campaign's log, in order."""
    rows = [
        {"id": e.id, "at": e.at.isoformat(), "lab_time_h": e.lab_time_h, "kind": e.kind, "trial": e.trial,
         "data": json.dumps(e.data, sort_keys=True, default=str)}
        for e in lab.store.events(campaign)
    ]  # fmt: skip
    return _frame(rows, _EVENT), _EVENT


def _frame(rows: Sequence[dict[str, Any]], columns: Sequence[Column]) -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame({column.name: _values([row.get(column.name) for row in rows]) for column in columns}, strict=False)


def _values(found: list[Any]) -> list[Any]:
    """Values of one kind: numbers, else text."""
    plain = [value for value in found if value is not None]
    if all(isinstance(value, bool) for value in plain) or all(isinstance(value, str) for value in plain):
        return found
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in plain):
        whole = all(isinstance(value, int) for value in plain)
        return found if whole else [None if value is None else float(value) for value in found]
    return [None if value is None else value if isinstance(value, str) else json.dumps(value, default=str) for value in found]


def _trial_row(trial: Trial, parameters: dict[str, str], metrics: dict[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "trial": trial.number,
        "status": trial.status.value,
        "spec_version": trial.spec_version,
        "origin": trial.origin,
        "candidate_id": trial.candidate.id,
        "cycler": trial.cycler,
        "channel": trial.channel,
        "attempt": trial.attempt,
        "started_h": trial.started_h,
        "ended_h": trial.ended_h,
        "stopped_because": trial.stopped_because,
        "decided_by": trial.decided_by,
    }
    row |= {f"parameter {name}": trial.candidate.parameters.get(name) for name in parameters}
    for metric in metrics:
        if estimate := trial.outcome.get(metric):
            row |= {f"{metric} mean": estimate.mean, f"{metric} sem": estimate.sem, f"{metric} source": estimate.source}
    return row


def _parameter_units(campaign: CampaignRecord, trials: Sequence[Trial]) -> dict[str, str]:
    """Every parameter that a candidate has, in the space's order, with its unit."""
    space = campaign.spec.space
    known = {} if isinstance(space, CandidateTable) else {p.name: getattr(p, "unit", None) or "" for p in space.parameters}
    tested = {name: "" for trial in trials for name in trial.candidate.parameters}
    return {name: known.get(name, "") for name in {**known, **tested}}


def _metric_units(trials: Sequence[Trial]) -> dict[str, str]:
    units: dict[str, str] = {}
    for trial in trials:
        for metric, estimate in trial.outcome.items():
            units[metric] = units.get(metric) or estimate.unit or ""
    return units


def _unit_of(name: str) -> str:
    last = name.rsplit("_", 1)[-1]
    return last if "_" in name and last in UNIT_CODES else ""
