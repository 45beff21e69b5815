"""Historical and manual results from a CSV: checked whole, then taken in whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from flows.lab import Lab
from orchestrator.domain.campaign_spec import CampaignSpec
from orchestrator.domain.candidate import Candidate, CandidateTable, ParameterValue, read_rows
from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.objectives import Estimate

Row = Mapping[str, ParameterValue | None]


def tell_results(lab: Lab, name: str, file: Path) -> list[int]:
    """Add a completed trial for every row of a CSV.

    Args:
        lab: the opened lab.
        name: the campaign.
        file: a column per parameter (or `id` for a table's rows), a column per metric, and `<metric>_sem` where known.

    Returns:
        The new trials' numbers.

    Raises:
        SpecError: with every fault of the file; nothing was taken in.
        CampaignError: if there is no such campaign.
    """
    spec = lab.store.campaign(name).spec
    rows = read_rows(file)
    told, faults = [], _column_faults(spec, rows[0])
    for i, row in enumerate(rows if not faults else ()):
        try:
            told.append((_candidate(spec, row), _outcome(spec, row)))
        except SpecError as error:
            faults += [fault.under(f"row {i + 1}") for fault in error.faults]
    if faults:
        raise SpecError([Fault(f"{file.name}: {f.where}", f.problem, f.remedy) for f in faults])
    return [lab.store.tell(name, candidate, outcome, lab_time_h=lab.now_h()).number for candidate, outcome in told]


def _column_faults(spec: CampaignSpec, header: Row) -> list[Fault]:
    known = {"id", *spec.space.names, *spec.metrics, *(f"{metric}_sem" for metric in spec.metrics)}
    if not isinstance(spec.space, CandidateTable):
        known |= {p.name for p in spec.space.derived}
    faults = [Fault(c, "is neither a parameter nor a metric of the campaign.", f"Known: {', '.join(sorted(known))}.")
              for c in header if c not in known]  # fmt: skip
    if not any(metric in header for metric in spec.metrics):
        faults.append(Fault("header", "holds no metric.", f"Give at least one of: {', '.join(spec.metrics)}."))
    return faults


def _candidate(spec: CampaignSpec, row: Row) -> Candidate:
    given = {name: cell for name in spec.space.names if (cell := row.get(name)) is not None}
    candidate = Candidate(given, None if row.get("id") is None else str(row["id"]))
    problems = spec.space.violations(candidate)
    if problems:
        raise SpecError([Fault("", f"{problem}.") for problem in problems])
    return spec.space.complete(candidate)


def _outcome(spec: CampaignSpec, row: Row) -> dict[str, Estimate]:
    outcome = {metric: _estimate(metric, row) for metric in spec.metrics if row.get(metric) is not None}
    if not outcome:
        raise SpecError("has no result.")
    return outcome


def _estimate(metric: str, row: Row) -> Estimate:
    mean, sem = row[metric], row.get(f"{metric}_sem")
    for name, cell in ((metric, mean), (f"{metric}_sem", 0.0 if sem is None else sem)):
        if not isinstance(cell, (int, float)):
            raise SpecError(Fault(name, f"must be a number (got {cell!r})."))
    return Estimate(float(mean or 0.0), sem=float(sem or 0.0))
