"""What an amendment may not change: what the tests of a campaign have in common, and what their candidates mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.domain.campaign_spec import CampaignSpec
from orchestrator.domain.candidate import CandidateTable
from orchestrator.domain.errors import Fault
from orchestrator.domain.parameters import ChoiceParameter, DerivedParameter, condition_of
from orchestrator.domain.partial_spec import NEW_CAMPAIGN
from orchestrator.domain.search_space import SearchSpace

_FAULTS_AT_MOST = 5


def refusals(spec: CampaignSpec, new: Mapping[str, Any]) -> list[Fault]:
    """Why the new sections of a spec cannot follow on the standing ones; empty when they can.

    Args:
        spec: as it stands.
        new: every section of the new version, by name.
    """
    faults = []
    if new["name"] != spec.name:
        faults.append(_refused("name", "it is what the campaign's trials, keys and recordings are filed under."))
    if new["seed"] != spec.seed:
        faults.append(_refused("seed", "it is part of every decision made so far; with another they could not be made again."))
    experiment = spec.experiment
    if isinstance(new["space"], SearchSpace):
        freed = set(new["space"].names)
        experiment = replace(experiment, fixed={n: v for n, v in experiment.fixed.items() if n not in freed})
    if new["experiment"] != experiment:
        faults.append(_refused("experiment", "it is what all tests have in common: with another they could not be compared."))
    return faults + _goal_refusals(spec, new) + _space_refusals(spec.space, new["space"]) + _cycler_refusals(spec, new)


def _refused(where: str, why: str) -> Fault:
    return Fault(where, f"cannot be amended: {why}", NEW_CAMPAIGN)


def _goal_refusals(spec: CampaignSpec, new: Mapping[str, Any]) -> list[Fault]:
    faults, before = [], {o.metric: o for o in spec.objectives}
    for i, objective in enumerate(new["objectives"]):
        old = before.get(objective.metric)
        where = f"objectives[{i}]"
        if old is None:
            faults.append(_refused(where, f"{objective.metric} was no objective, and earlier proposals were not made for it."))
        elif (old.goal, old.at_cycle) != (objective.goal, objective.at_cycle):
            field = "goal" if old.goal != objective.goal else "at_cycle"
            faults.append(_refused(f"{where}.{field}", f"{objective.metric} would mean something else for later trials."))
    return faults


def _space_refusals(before: SearchSpace | CandidateTable, after: Any) -> list[Fault]:
    if isinstance(before, CandidateTable) or isinstance(after, CandidateTable):
        return _table_refusals(before, after)
    now = {p.name: p for p in after.parameters}
    return [fault for p in before.parameters for fault in _parameter_refusals(p, now[p.name])]


def _parameter_refusals(old: Any, new: Any) -> Iterator[Fault]:
    where = f"space.parameters.{old.name}"
    if old.type != new.type or (isinstance(old, ChoiceParameter) and old.numeric != new.numeric):
        yield _refused(f"{where}.type", f"{old.name} is of type {old.type} in every earlier trial.")
        return
    if old.unit is not None and old.unit != new.unit:
        yield _refused(f"{where}.unit", f"{old.name} is in {old.unit} in every earlier trial.")
    if condition_of(old) != condition_of(new):
        yield _refused(f"{where}.only_if", f"{old.name} exists under other conditions in earlier trials.")
    if isinstance(old, DerivedParameter) and old.expression != new.expression:
        yield _refused(f"{where}.expression", f"{old.name} was computed otherwise for earlier trials.")


def _table_refusals(before: Any, after: Any) -> list[Fault]:
    if type(before) is not type(after):
        return [_refused("space", "a list of candidates and a space of parameters have no candidate in common.")]
    if before.features != after.features:
        return [_refused("space.features", "earlier trials were learned from by these columns.")]
    now = {row_id: after.rows[i] for row_id, i in after.index.items()}
    faults = [
        _refused("space.table", f"row '{row_id}' is {'another' if row_id in now else 'missing'} in it; rows can only be added.")
        for row_id, i in before.index.items()
        if now.get(row_id) != before.rows[i]
    ]
    return faults[:_FAULTS_AT_MOST]


def _cycler_refusals(spec: CampaignSpec, new: Mapping[str, Any]) -> list[Fault]:
    kinds, remedy = {c.name: c.kind for c in spec.cyclers}, "Add the other under a name of its own."
    return [
        Fault(f"cyclers[{i}].kind", f"'{c.name}' is of kind {kinds[c.name]}; another could not follow its tests.", remedy)
        for i, c in enumerate(new["cyclers"])
        if kinds.get(c.name, c.kind) != c.kind
    ]
