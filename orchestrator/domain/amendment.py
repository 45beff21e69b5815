"""A campaign's spec changed while it runs: what may change and what may not, what changed, and what earlier trials become.

The tests of a campaign must stay comparable with one another. So its budget, limits, thresholds, bounds and strategy may
change, and parameters may be added whose earlier value is known; its objectives, its experiment and what its parameters mean
may not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.domain.campaign_spec import AMBIENT, CampaignSpec, CyclerSpec, seed_candidate
from orchestrator.domain.candidate import Candidate, CandidateTable, ParameterValue
from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.parameters import InputParameter
from orchestrator.domain.partial_spec import Overlay, lay_over
from orchestrator.domain.search_space import SearchSpace
from orchestrator.domain.spec_changes import Change, differences
from orchestrator.domain.spec_file import Check, all_cross_faults, read_sections, read_toml, with_lines
from orchestrator.domain.unamendable import refusals
from orchestrator.domain.value import to_plain


@dataclass(frozen=True)
class Amendment:
    """A new version of a spec.

    Attributes:
        spec: as it is to be.
        changes: what differs from the version before.
        past_values: by added parameter, the value that earlier trials are taken to have had.
    """

    spec: CampaignSpec
    changes: tuple[Change, ...]
    past_values: dict[str, ParameterValue]


def read_amendment(
    path: Path, spec: CampaignSpec, further: Sequence[Check] = (), default_cyclers: tuple[CyclerSpec, ...] = ()
) -> Amendment:
    """Read changes to a campaign's spec from a TOML file: the fields of a spec, as many as are to change.

    Args:
        path: the file. `remove = true` in an entry takes out a constraint, `remove = ["upper"]` in a table a field; an
            added parameter gives `past`.
        spec: as it stands.
        further: checks of other rooms, as for a whole spec.
        default_cyclers: what a spec that names no cycler runs on.

    Raises:
        SpecError: with every fault of the file, each with its line; also if nothing would change.
    """
    if not path.is_file():
        raise SpecError(f"there is no file of changes '{path}'. It is a TOML file with the fields of the spec that change.")
    text, plain = read_toml(path)
    try:
        return amended(spec, plain, path.parent, further, default_cyclers)
    except SpecError as error:
        raise SpecError(with_lines(error.faults, text, plain)) from None


def amended(
    spec: CampaignSpec,
    partial: Mapping[str, Any],
    folder: Path,
    further: Sequence[Check] = (),
    default_cyclers: tuple[CyclerSpec, ...] = (),
) -> Amendment:
    """A campaign's spec with a partial one laid over it.

    Raises:
        SpecError: with every fault, at its place in the partial spec.
    """
    standing = replace(spec, cyclers=spec.cyclers or default_cyclers) if "cyclers" in partial else spec
    overlay = lay_over(to_plain(standing), partial, folder)
    past = _past_values(standing, overlay)
    _free_from_fixed(overlay, standing, past)
    sections, faults = read_sections(overlay.sections, folder)
    new = {**_fields(standing), **sections}
    _carry_over(new, standing, past, overlay)
    refused = refusals(standing, new)
    if "space" in sections or "space" not in partial:
        refused += _past_faults(standing, new["space"], past, overlay)
    if not (faults or refused or overlay.faults):
        refused = _seed_faults(standing, new)
    # What may not change is said alone: what would follow from it is of no interest.
    further_faults = [] if refused else all_cross_faults(_sound(new, faults), bool(faults or overlay.faults), further)
    found = overlay.faults + [overlay.place(fault) for fault in (*faults, *refused, *further_faults)]
    if found:
        raise SpecError(list(dict.fromkeys(found)))
    spec_now = CampaignSpec(**new)
    changes = tuple(differences(spec, spec_now))
    if not changes:
        raise SpecError("nothing would change: every field given is as it stands.")
    return Amendment(spec_now, changes, {name: past[name] for name in _added(standing.space, spec_now.space) if name in past})


def _fields(spec: CampaignSpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in spec.__dataclass_fields__}


def _sound(new: Mapping[str, Any], faults: Sequence[Fault]) -> dict[str, Any]:
    """The sections that could be read: of one at fault the old version must not be judged."""
    bad = {fault.where.partition(".")[0].partition("[")[0] for fault in faults}
    return {key: given for key, given in new.items() if key not in bad}


def _past_values(spec: CampaignSpec, overlay: Overlay) -> dict[str, ParameterValue]:
    """By parameter, the value of earlier trials: as given, else as the experiment had it so far."""
    space = overlay.sections.get("space")
    listed = space.get("parameters") if isinstance(space, Mapping) else None
    names = [entry.get("name") for entry in listed or () if isinstance(entry, Mapping)] if isinstance(listed, list) else []
    had = {**spec.experiment.fixed, AMBIENT: spec.experiment.ambient_temperature_degC}
    known = set(spec.space.names)
    return {**{n: had[n] for n in names if isinstance(n, str) and n in had and n not in known}, **overlay.past}


def _free_from_fixed(overlay: Overlay, spec: CampaignSpec, past: Mapping[str, ParameterValue]) -> None:
    """What was fixed and becomes a parameter is fixed no longer."""
    freed = [n for n in past if n in spec.experiment.fixed and n not in spec.space.names]
    if freed:
        experiment = overlay.sections.setdefault("experiment", to_plain(spec.experiment))
        if isinstance(experiment, dict) and isinstance(experiment.get("fixed"), Mapping):
            experiment["fixed"] = {n: given for n, given in experiment["fixed"].items() if n not in freed}


def _past_faults(spec: CampaignSpec, space: Any, past: Mapping[str, ParameterValue], overlay: Overlay) -> list[Fault]:
    had = {**spec.experiment.fixed, AMBIENT: spec.experiment.ambient_temperature_degC}
    added = _added(spec.space, space)
    faults = [
        Fault(f"space.parameters.{name}.past", "is for a parameter that is added and chosen; this one is not.", "Remove it.")
        for name in overlay.past
        if name not in added
    ]
    for name, parameter in added.items():
        where, given = f"space.parameters.{name}", past.get(name)
        if given is None:
            problem = "is added, and what value earlier trials had of it is not said."
            faults.append(Fault(where, problem, f"Give past = VALUE ({parameter.describe()})."))
        elif not parameter.admits(given):
            faults.append(Fault(f"{where}.past", f"{name} = {given!r} is not {parameter.describe()}.", "Widen it to hold it."))
        elif name in had and given != had[name]:
            faults.append(Fault(f"{where}.past", f"earlier trials had {name} = {had[name]!r}, not {given!r}.", "Remove past."))
    return faults


def _seed_faults(spec: CampaignSpec, new: Mapping[str, Any]) -> list[Fault]:
    """That today's space holds none of the safe seeds that the safe proposer grows from."""
    space = new["space"]
    if not (spec.safe_seed and spec.safe_constraints and isinstance(space, SearchSpace)) or new["safe_seed"]:
        return []
    outside = [space.violations(seed_candidate(seed, space)) for seed in spec.safe_seed]
    first = f" ({outside[0][0]})" if outside[0] else ""
    problem = f"is missing: the new bounds exclude every safe seed{first}."
    return [Fault("safe_seed", problem, "Keep one inside, or add a [[safe_seed]] that lies inside.")]


def _added(before: SearchSpace | CandidateTable, after: Any) -> dict[str, InputParameter]:
    if not isinstance(before, SearchSpace) or not isinstance(after, SearchSpace):
        return {}
    return {p.name: p for p in after.inputs if p.name not in before.units}


def as_of_today(
    candidate: Candidate, space: SearchSpace | CandidateTable, past_values: Mapping[str, ParameterValue]
) -> Candidate:
    """An earlier version's candidate with the values that it is taken to have had of what was added since.

    Args:
        candidate: as it was proposed.
        space: today's.
        past_values: of the versions after the candidate's own.
    """
    if isinstance(space, CandidateTable):
        return candidate
    values, waiting = dict(candidate.parameters), {n: v for n, v in past_values.items() if n not in candidate.parameters}
    while found := [n for n in waiting if n in space.needs and space.states(n, values)]:
        values.update((n, waiting.pop(n)) for n in found)
    full = Candidate(values, candidate.id) if len(values) > len(candidate.parameters) else candidate
    lacking = [p.name for p in space.derived if p.name not in values and space.states(p.name, values)]
    return space.complete(full) if lacking and space.places(full) else full


def _carry_over(new: dict[str, Any], spec: CampaignSpec, past: Mapping[str, ParameterValue], overlay: Overlay) -> None:
    """Keep what a file cannot say, and of the standing safe seeds, completed, those that the new space still holds."""
    if isinstance(new["space"], SearchSpace) and isinstance(spec.space, SearchSpace) and spec.space.held:
        new["space"] = new["space"].holding(spec.space.held)
    standing = len(spec.safe_seed)
    if not isinstance(new["space"], SearchSpace):
        return
    space, seeds = new["space"], [dict(seed) for seed in new["safe_seed"]]
    full = [as_of_today(Candidate(seed), space, past).parameters for seed in seeds[:standing]]
    kept = [seed for seed in full if not space.violations(seed_candidate(seed, space))]
    dropped = standing - len(kept)
    new["safe_seed"] = (*kept, *(seed for seed in seeds[standing:] if seed not in kept))
    overlay.places |= {
        f"safe_seed[{i - dropped}]": overlay.places[f"safe_seed[{i}]"]
        for i in range(standing, len(seeds))
        if f"safe_seed[{i}]" in overlay.places
    }
