"""Candidate -> run request: the one place where a campaign's kind still matters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from importlib.metadata import entry_points
from itertools import islice, product

from orchestrator.domain.campaign_spec import AMBIENT, CampaignSpec
from orchestrator.domain.candidate import Candidate, CandidateTable, ParameterValue
from orchestrator.domain.cell_design import CellDesign
from orchestrator.domain.cycler import RunRequest
from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.feasible_points import FeasibleProgram
from orchestrator.domain.parameters import ChoiceParameter, FreeParameter
from orchestrator.domain.protocol import Protocol
from orchestrator.domain.search_space import SearchSpace

Template = Callable[[Candidate, CellDesign], Protocol]
PROTOCOLS_GROUP = "voltloop.protocols"
_MOST_PROBES = 64


@cache
def known_templates() -> dict[str, Template]:
    """Every installed protocol template by name (entry points of `voltloop.protocols`)."""
    return {point.name: point.load() for point in entry_points(group=PROTOCOLS_GROUP)}


def template(name: str, where: str = "experiment.protocol") -> Template:
    """A protocol template by name; `where` is the field that names it.

    Raises:
        SpecError: if none of that name is installed.
    """
    templates = known_templates()
    if name not in templates:
        known = ", ".join(sorted(templates))
        raise SpecError(Fault(where, f"'{name}' is no protocol template.", f"Known: {known}."))
    return templates[name]


def protocol_for(spec: CampaignSpec, candidate: Candidate) -> Protocol:
    """The candidate's ageing cycle, under the spec's safety limits.

    Raises:
        UnsafeProtocolError: if a step could pass a limit.
        SpecError: if the template refuses the parameters.
    """
    made = template(spec.experiment.protocol)(Candidate(_knobs(spec, candidate), candidate.id), spec.experiment.cell)
    return made.under(spec.safety_limits)


def checkup_for(spec: CampaignSpec) -> Protocol | None:
    """The check-up of a spec under its safety limits, the same for every candidate; None if the spec asks for none.

    Raises:
        UnsafeProtocolError: if a step could pass a limit.
        SpecError: if there is no such template.
    """
    name = spec.experiment.checkup
    if name is None:
        return None
    return template(name, "experiment.checkup")(Candidate({}), spec.experiment.cell).under(spec.safety_limits)


def run_request(spec: CampaignSpec, candidate: Candidate, *, key: str, channel: str) -> RunRequest:
    """What a cycler is asked to do for one candidate.

    Raises:
        SpecError: if the candidate cannot be represented, or a step could pass a limit.
    """
    experiment = spec.experiment
    return RunRequest(
        key=key,
        channel=channel,
        candidate=candidate,
        cell=experiment.cell,
        protocol=protocol_for(spec, candidate),
        max_cycles=experiment.max_cycles,
        end_of_life=experiment.end_of_life,
        checkup_every_cycles=experiment.checkup_every_cycles,
        checkup=checkup_for(spec),
        impedance_every_checkups=experiment.impedance_every_checkups,
        ambient_temperature_degC=ambient_for(spec, candidate),
    )


def ambient_for(spec: CampaignSpec, candidate: Candidate) -> float:
    """What the chamber is set to, degC: the candidate's own parameter of this name, else the experiment's.

    Raises:
        SpecError: if the parameter is no number.
    """
    given = spec.space.complete(candidate).parameters.get(AMBIENT, spec.experiment.ambient_temperature_degC)
    if isinstance(given, str):
        raise SpecError(Fault(AMBIENT, f"must be a number (got {given!r}).", "Give the parameter numbers in degC."))
    return float(given)


def representation_faults(spec: CampaignSpec) -> list[Fault]:
    """Why candidates of a spec cannot become protocols: unknown template, unsafe step, a parameter that changes nothing.

    The safe seeds and the corners of the space (or the first rows of a table) are tried.
    """
    try:
        template(spec.experiment.protocol)
    except SpecError as error:
        return list(error.faults)
    faults: dict[str, Fault] = {fault.problem: fault for fault in _checkup_faults(spec)}
    for candidate in _probes(spec):
        for fault in _faults_at(spec, candidate):
            faults.setdefault(fault.problem, fault)
    return list(faults.values()) or _idle_faults(spec)


def _faults_at(spec: CampaignSpec, candidate: Candidate) -> list[Fault]:
    try:
        protocol_for(spec, candidate)
    except SpecError as error:
        at = f"At {candidate.describe(spec.space.units)}."
        return [_located(fault, at) for fault in error.faults]
    return []


def _checkup_faults(spec: CampaignSpec) -> list[Fault]:
    try:
        checkup_for(spec)
    except SpecError as error:
        at = "experiment.checkup"
        return [f if f.where == at else replace(f, where=f"{at}.{f.where.removeprefix('Protocol.')}") for f in error.faults]
    return []


def _located(fault: Fault, at: str) -> Fault:
    step = fault.where.removeprefix("Protocol.")
    where = f"experiment.protocol.{step}" if step.startswith("steps") else fault.where
    return Fault(where, fault.problem, f"{fault.remedy} {at}".strip())


def _idle_faults(spec: CampaignSpec) -> list[Fault]:
    """Free parameters and `fixed` ones that the protocol does not change with; a table's columns may describe the cell."""
    probes, name = list(_probes(spec)), spec.experiment.protocol
    if not probes:
        return []
    idle = []
    if isinstance(spec.space, SearchSpace):
        idle = [f"space.parameters.{p.name}" for p in spec.space.free if _changes_nothing(spec, spec.space, p, probes)]
    for fixed, given in spec.experiment.fixed.items():
        if not isinstance(given, (int, float)) or fixed in _names(spec.space):
            continue
        if _same(spec, probes[0], _with_fixed(spec, fixed, given * 0.99 - 0.001), probes[0]):
            idle.append(f"experiment.fixed.{fixed}")
    return [Fault(where, f"changes nothing in the protocol '{name}'.", "Remove it, or mend its name.") for where in idle]


def _changes_nothing(spec: CampaignSpec, space: SearchSpace, parameter: FreeParameter, probes: list[Candidate]) -> bool:
    """Whether moving a parameter to its ends, from the first probe that has it, leaves the test as it was."""
    centre = next((p for p in probes if parameter.name in p.parameters), None)
    if centre is None:
        return False
    return all(_same(spec, centre, spec, _moved(space, centre, parameter.name, end)) for end in _ends(parameter))


def _moved(space: SearchSpace, centre: Candidate, name: str, end: ParameterValue) -> Candidate:
    """A candidate with one value changed, and with what then exists."""
    anything = {p.name: _ends(p)[0] for p in space.free}
    return space.settled({**anything, **centre.parameters, name: end})


def _ends(parameter: FreeParameter) -> tuple[ParameterValue, ...]:
    return parameter.values if isinstance(parameter, ChoiceParameter) else (parameter.lower, parameter.upper)


def _same(spec: CampaignSpec, candidate: Candidate, other: CampaignSpec, moved: Candidate) -> bool:
    """Whether two candidates, each under its spec, are tested alike."""
    try:
        alike = protocol_for(spec, candidate) == protocol_for(other, moved)
        return alike and ambient_for(spec, candidate) == ambient_for(other, moved)
    except SpecError:
        return False


def _names(space: SearchSpace | CandidateTable) -> tuple[str, ...]:
    """What candidates of a space may state; of a table nothing that `fixed` could be a default of."""
    return space.names if isinstance(space, SearchSpace) else ()


def _with_fixed(spec: CampaignSpec, name: str, given: float) -> CampaignSpec:
    return replace(spec, experiment=replace(spec.experiment, fixed={**spec.experiment.fixed, name: given}))


def _knobs(spec: CampaignSpec, candidate: Candidate) -> dict[str, ParameterValue]:
    clash = sorted(set(spec.experiment.fixed) & _always(spec.space, candidate))
    if clash:
        raise SpecError(Fault(f"experiment.fixed.{clash[0]}", "is fixed and varies at once.", "Remove it from one of the two."))
    return {**spec.experiment.fixed, **spec.space.complete(candidate).parameters}


def _always(space: SearchSpace | CandidateTable, candidate: Candidate) -> set[str]:
    """What a candidate states whatever its choices are; where a parameter does not exist, `fixed` may say what holds instead."""
    return {n for n in candidate.parameters if not (isinstance(space, SearchSpace) and space.needs.get(n))}


def _probes(spec: CampaignSpec) -> Iterator[Candidate]:
    yield from spec.safe_candidates
    if isinstance(spec.space, CandidateTable):
        yield from (spec.space.candidate(i) for i in range(min(len(spec.space.rows), _MOST_PROBES)))
        return
    yield from dict.fromkeys(islice(_corners(spec.space), _MOST_PROBES))
    if not spec.space.is_plain:
        yield from _outermost(spec.space)


def _corners(space: SearchSpace) -> Iterator[Candidate]:
    names = [p.name for p in space.free]
    for values in product(*(_ends(p) for p in space.free)):
        corner = space.settled({**space.present, **dict(zip(names, values, strict=True))})
        if not space.violations(corner):
            yield corner


def _outermost(space: SearchSpace) -> Iterator[Candidate]:
    """Where each parameter is least and greatest, as far as the constraints let."""
    program = FeasibleProgram(space.inputs, space.rules, space.present)
    for values in program.outermost():
        candidate = space.settled(values)
        if not space.violations(candidate):
            yield candidate
