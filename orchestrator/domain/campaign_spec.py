"""A campaign as its scientist states it: what may vary, what is wanted, what must never happen, what it may cost."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from orchestrator.domain.candidate import Candidate, CandidateTable, ParameterValue
from orchestrator.domain.cell_design import CellDesign, cell_design
from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.objectives import Objective, OutcomeConstraint
from orchestrator.domain.parameters import ChoiceParameter
from orchestrator.domain.protocol import SafetyLimits
from orchestrator.domain.search_space import SearchSpace
from orchestrator.domain.sharing import Sharing
from orchestrator.domain.surrogate_spec import SurrogateSpec
from orchestrator.domain.value import content_hash, to_plain, value

Strategy = Literal["auto", "ax", "safe", "table", "expected_improvement"]
AMBIENT = "ambient_temperature_degC"
COLDEST_DEGC, HOTTEST_DEGC = -60.0, 120.0
CAMPAIGN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}\Z")


@value
class Experiment:
    """What is done to a candidate.

    Attributes:
        protocol: the template of its ageing cycle.
        cell: a design by name or its own table.
        ambient_temperature_degC: of the chamber, unless the space has a parameter of this name.
        checkup_every_cycles: how often a cycle is recorded, and a check-up made if there is one.
        fixed: the template's other parameters.
        checkup: the template of a check-up made after each recorded cycle; None records those cycles alone.
        impedance_every_checkups: spectra are measured in the first check-up and in every so-manieth.
    """

    protocol: str = "cc_cv"
    cell: Annotated[CellDesign, BeforeValidator(lambda given: cell_design(given) if isinstance(given, str) else given)] = field(
        default_factory=lambda: cell_design("generic")
    )
    ambient_temperature_degC: float = 25.0
    checkup_every_cycles: int = 50
    end_of_life: float = 0.8
    max_cycles: int = 1500
    fixed: dict[str, ParameterValue] = field(default_factory=dict)
    checkup: Annotated[str | None, Field(exclude_if=lambda given: given is None)] = None
    impedance_every_checkups: Annotated[int, Field(exclude_if=lambda given: given == 1)] = 1

    def __post_init__(self) -> None:
        faults = [
            Fault(name, f"must be at least 1 (got {getattr(self, name)}).")
            for name in ("checkup_every_cycles", "max_cycles", "impedance_every_checkups")
            if getattr(self, name) < 1
        ]
        if not 0 < self.end_of_life < 1:
            faults.append(
                Fault("end_of_life", f"is a share of the nominal capacity, between 0 and 1 (got {self.end_of_life:g}).")
            )
        if not COLDEST_DEGC <= self.ambient_temperature_degC <= HOTTEST_DEGC:
            problem = f"must lie in {COLDEST_DEGC:g}..{HOTTEST_DEGC:g} degC (got {self.ambient_temperature_degC:g})."
            faults.append(Fault(AMBIENT, problem))
        if faults:
            raise SpecError(faults)


@value
class Budget:
    """What a campaign may cost: trials, and channel-hours if given."""

    trials: int = 24
    channel_hours: float | None = None

    def __post_init__(self) -> None:
        faults = [] if self.trials >= 1 else [Fault("trials", f"must be at least 1 (got {self.trials}).")]
        if self.channel_hours is not None and self.channel_hours <= 0:
            faults.append(Fault("channel_hours", f"must be positive (got {self.channel_hours:g})."))
        if faults:
            raise SpecError(faults)


@value
class Prognosis:
    """When early outcomes are predicted, whether tests stop for their channel's value, and the share that runs on regardless."""

    predict_at_cycles: tuple[int, ...] = ()
    stopping: Literal["value_of_information", "never"] = "never"
    sentinels: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.sentinels <= 1:
            raise SpecError(Fault("sentinels", f"is a share between 0 and 1 (got {self.sentinels:g})."))
        if any(n < 1 for n in self.predict_at_cycles):
            raise SpecError(Fault("predict_at_cycles", f"must be cycles >= 1 (got {list(self.predict_at_cycles)})."))


@value
class Approval:
    """Which proposals wait for a person: none, the first few, or every one."""

    mode: Literal["none", "first", "every"] = "none"
    first: int = 3

    def __post_init__(self) -> None:
        if self.first < 1:
            raise SpecError(Fault("first", f"must be at least 1 (got {self.first})."))

    def needed(self, trial_number: int) -> bool:
        """Whether trial number n (from 1) waits for a person."""
        return self.mode == "every" or (self.mode == "first" and trial_number <= self.first)


@value
class Causal:
    """What is believed to cause what, for the analysis of effects: edges (cause, effect), and nodes nobody recorded."""

    edges: tuple[tuple[str, str], ...] = ()
    unobserved: tuple[str, ...] = ()


@value
class CyclerSpec:
    """A cycler named in a spec: `kind` is an entry point of `voltloop.cyclers`, `options` its constructor's keywords."""

    name: str
    kind: str
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not CAMPAIGN_NAME.match(self.name):
            raise SpecError(Fault("name", f"'{self.name}' is not a usable name.", "Use letters, digits, . _ and -."))


def _gather_options(given: Any) -> Any:
    """Read `{name, kind, **keywords}`, as a spec writes it, as `{name, kind, options}`."""
    if not isinstance(given, Mapping) or "options" in given:
        return given
    own = {k: v for k, v in given.items() if k in ("name", "kind")}
    return {**own, "options": {k: v for k, v in given.items() if k not in own}}


CyclerTable = Annotated[CyclerSpec, BeforeValidator(_gather_options)]


def _space_kind(given: Any) -> str:
    table = isinstance(given, CandidateTable) or (isinstance(given, Mapping) and "rows" in given)
    return "CandidateTable" if table else "SearchSpace"


Space = Annotated[
    Annotated[SearchSpace, Tag("SearchSpace")] | Annotated[CandidateTable, Tag("CandidateTable")], Discriminator(_space_kind)
]


@value
class CampaignSpec:
    """A campaign's frozen description; see CONTRACT and `docs/spec.md` for each field.

    Raises:
        SpecError: with every fault found.
    """

    name: str
    space: Space
    objectives: tuple[Objective, ...]
    constraints: tuple[OutcomeConstraint, ...] = ()
    safe_seed: tuple[dict[str, ParameterValue], ...] = ()
    strategy: Strategy = "auto"
    budget: Budget = Budget()
    seed: int = 0
    experiment: Experiment = field(default_factory=Experiment)
    safety_limits: SafetyLimits = SafetyLimits()
    prognosis: Prognosis = Prognosis()
    approval: Approval = Approval()
    causal: Causal = Causal()
    surrogate: Annotated[SurrogateSpec, Field(exclude_if=lambda given: not given.groups)] = field(default_factory=SurrogateSpec)
    cyclers: tuple[CyclerTable, ...] = ()
    prefetch: Annotated[int, Field(exclude_if=lambda given: not given)] = 0
    sharing: Annotated[Sharing, Field(exclude_if=lambda given: given == Sharing())] = Sharing()

    def __post_init__(self) -> None:
        faults = cross_faults(vars(self))
        if faults:
            raise SpecError(faults)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric named by an objective or a constraint, each once, objectives first."""
        named = [o.metric for o in self.objectives] + [c.metric for c in self.constraints]
        return tuple(dict.fromkeys(named))

    @property
    def safe_constraints(self) -> tuple[OutcomeConstraint, ...]:
        """The constraints that no proposal may be suspected of breaking."""
        return tuple(c for c in self.constraints if c.safe)

    @property
    def safe_candidates(self) -> tuple[Candidate, ...]:
        """The safe seed as candidates, without those that a value held at present, or the present context, rules out."""
        seeds = (self.space.complete(seed_candidate(point, self.space)) for point in self.safe_seed)
        present = {} if isinstance(self.space, CandidateTable) else self.space.present
        return tuple(s for s in seeds if all(s.parameters.get(n, given) == given for n, given in present.items()))

    @cached_property
    def sha256(self) -> str:
        """Hash of the spec's content."""
        return content_hash(to_plain(self))


def seed_candidate(point: Mapping[str, ParameterValue], space: SearchSpace | CandidateTable) -> Candidate:
    """A safe seed as its scientist wrote it: a table's row may be named by its id alone, context is the spec's own if unsaid."""
    if isinstance(space, CandidateTable):
        named = {name: given for name, given in point.items() if name != "id"}
        return Candidate(named, str(point["id"]) if "id" in point else None)
    return Candidate({**{p.name: p.value for p in space.context}, **point})


def cross_faults(sections: Mapping[str, Any]) -> list[Fault]:
    """Faults between sections that are each sound alone; sections that could not be read are left out."""
    faults: list[Fault] = []
    name = sections.get("name")
    if name is not None and not CAMPAIGN_NAME.match(name):
        faults.append(Fault("name", f"'{name}' is not a usable name.", "Use up to 80 letters, digits, . _ and -, no spaces."))
    seed = sections.get("seed")
    if seed is not None and seed < 0:
        faults.append(Fault("seed", f"must be >= 0 (got {seed})."))
    prefetch = sections.get("prefetch")
    if prefetch is not None and prefetch < 0:
        faults.append(Fault("prefetch", f"is a number of candidates, 0 or more (got {prefetch}).", "Leave it out for none."))
    faults += _goal_faults(sections.get("objectives"), sections.get("constraints"))
    faults += _safe_faults(sections)
    faults += _strategy_faults(sections) + _chamber_faults(sections)
    faults += _group_faults(sections.get("surrogate"), sections.get("space"))
    faults += _twice("cyclers", [c.name for c in sections.get("cyclers") or ()])
    return faults


def _goal_faults(objectives: Iterable[Objective] | None, constraints: Iterable[OutcomeConstraint] | None) -> list[Fault]:
    faults: list[Fault] = []
    if objectives is not None:
        objectives = tuple(objectives)
        if not objectives:
            faults.append(Fault("objectives", "is empty.", "Name at least one metric to minimize or maximize."))
        faults += _twice("objectives", [o.metric for o in objectives])
        for i, objective in enumerate(objectives):
            if objective.threshold is not None and not math.isfinite(objective.threshold):
                faults.append(Fault(f"objectives[{i}].threshold", f"must be finite (got {objective.threshold})."))
    faults += _twice("constraints", [c.metric for c in constraints or ()])
    return faults


def _safe_faults(sections: Mapping[str, Any]) -> list[Fault]:
    constraints, space = sections.get("constraints") or (), sections.get("space")
    seeds = sections.get("safe_seed") or ()
    safe = [c.metric for c in constraints if c.safe]
    if safe and "safe_seed" in sections and not seeds:
        remedy = "Add at least one [[safe_seed]] with the parameters of a candidate known to keep the limit."
        return [Fault("safe_seed", f"is missing, but the constraint on {safe[0]} has safe = true.", remedy)]
    if space is None:
        return []
    return [
        Fault(f"safe_seed[{i}]", f"{problem}.", "A safe seed must be a candidate of the space.")
        for i, point in enumerate(seeds)
        for problem in space.violations(seed_candidate(point, space))
    ]


def _strategy_faults(sections: Mapping[str, Any]) -> list[Fault]:
    strategy, space = sections.get("strategy", "auto"), sections.get("space")
    safe = [c for c in sections.get("constraints") or () if c.safe]
    if strategy == "safe" and "constraints" in sections and not safe:
        return [Fault("strategy", "'safe' needs a constraint with safe = true.", "Mark one, or use strategy = 'auto'.")]
    if strategy in ("ax", "table", "expected_improvement") and safe:
        problem = f"'{strategy}' cannot promise the safe constraint on {safe[0].metric}."
        return [Fault("strategy", problem, "Use 'auto' or 'safe', or drop safe = true.")]
    if space is None:
        return []
    table = isinstance(space, CandidateTable)
    if strategy == "table" and not table:
        return [Fault("strategy", "'table' needs a finite list of candidates.", "Give [space] table = 'file.csv' and features.")]
    if strategy == "ax" and table:
        return [Fault("strategy", "'ax' cannot propose rows of a table.", "Use 'auto' or 'table'.")]
    if strategy == "ax" and not (space.is_plain and not space.shared):
        problem = "'ax' knows no equalities, conditions, context, shared parameters, or constraints on a log range."
        return [Fault("strategy", problem, "Use strategy = 'auto'.")]
    return []


def _chamber_faults(sections: Mapping[str, Any]) -> list[Fault]:
    experiment, limits, space = sections.get("experiment"), sections.get("safety_limits"), sections.get("space")
    own = None if isinstance(space, CandidateTable) or space is None else _chamber_range(space)
    if own is not None and not COLDEST_DEGC <= own[0] <= own[1] <= HOTTEST_DEGC:
        problem = f"must be numbers in {COLDEST_DEGC:g}..{HOTTEST_DEGC:g} degC."
        return [Fault(f"space.parameters.{AMBIENT}", problem)]
    limit = None if limits is None else limits.max_temperature_degC
    hottest = own[1] if own else None if experiment is None else experiment.ambient_temperature_degC
    if limit is None or hottest is None or limit > hottest:
        return []
    problem = f"{limit:g} degC is not above the chamber's {hottest:g} degC: every test would stop at once."
    return [Fault("safety_limits.max_temperature_degC", problem, "Raise the limit or cool the chamber.")]


def _chamber_range(space: SearchSpace) -> tuple[float, float] | None:
    """The coldest and hottest that a space's own chamber temperature may be; None if it has none, or a computed one."""
    parameter = next((p for p in space.inputs if p.name == AMBIENT), None)
    if parameter is None or AMBIENT in space.present:
        return None if parameter is None else (float(space.present[AMBIENT]),) * 2
    if isinstance(parameter, ChoiceParameter):
        return (float(min(parameter.values)), float(max(parameter.values))) if parameter.numeric else (math.nan, math.nan)
    return parameter.lower, parameter.upper


def _group_faults(surrogate: SurrogateSpec | None, space: SearchSpace | CandidateTable | None) -> list[Fault]:
    return [] if surrogate is None or space is None else surrogate.faults_in(space)


def _twice(where: str, names: list[str]) -> list[Fault]:
    return [Fault(where, f"'{n}' is given twice.", "Keep one.") for n in sorted({n for n in names if names.count(n) > 1})]
