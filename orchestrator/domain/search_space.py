"""What may vary: named parameters with bounds and units, conditions under which they exist, linear constraints over them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field

from orchestrator.domain.candidate import Candidate, ParameterValue
from orchestrator.domain.errors import SpecError
from orchestrator.domain.expression import LinearForm
from orchestrator.domain.linear_constraint import ConstraintText, Needs, Rule, exists, in_order, needs_of
from orchestrator.domain.parameters import (
    ContextParameter,
    DerivedParameter,
    FreeParameter,
    InputParameter,
    Parameter,
    RangeParameter,
    condition_of,
)
from orchestrator.domain.space_faults import rules_of, space_faults
from orchestrator.domain.value import value

# Sums that a person typed may be off by this much of the largest coefficient; what is proposed is not.
ROUNDING = 1e-6


@value
class SearchSpace:
    """Parameters and the linear constraints between them; a space without a feasible point is never constructed.

    Attributes:
        parameters: free ones, context, derived ones; a candidate states the free ones that exist and the context.
        constraints: linear, each holding wherever all that it names exists.
        held: values that proposals keep for now; tests elsewhere in the space count all the same.
    """

    parameters: tuple[Parameter, ...]
    constraints: tuple[ConstraintText, ...] = field(default=())
    held: Annotated[dict[str, ParameterValue], Field(exclude_if=lambda given: not given)] = field(
        default_factory=dict, hash=False
    )

    def __post_init__(self) -> None:
        faults = space_faults(self.parameters, self.constraints, self.held)
        if faults:
            raise SpecError(faults)

    @cached_property
    def inputs(self) -> tuple[InputParameter, ...]:
        """What a candidate states, in the order given: free and context parameters."""
        return tuple(p for p in self.parameters if not isinstance(p, DerivedParameter))

    @cached_property
    def free(self) -> tuple[FreeParameter, ...]:
        """The parameters that a proposer chooses, in the order given."""
        return tuple(p for p in self.inputs if not isinstance(p, ContextParameter))

    @cached_property
    def context(self) -> tuple[ContextParameter, ...]:
        """What the experimenter sets."""
        return tuple(p for p in self.inputs if isinstance(p, ContextParameter))

    @cached_property
    def shared(self) -> tuple[FreeParameter, ...]:
        """The parameters that have one value in all tests that run at once."""
        return tuple(p for p in self.free if p.shared)

    @cached_property
    def derived(self) -> tuple[DerivedParameter, ...]:
        """The computed parameters."""
        return tuple(p for p in self.parameters if isinstance(p, DerivedParameter))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of what a candidate states, in the order given."""
        return tuple(p.name for p in self.inputs)

    @property
    def units(self) -> dict[str, str | None]:
        """Unit by parameter name."""
        return {p.name: p.unit for p in self.parameters}

    @cached_property
    def present(self) -> dict[str, ParameterValue]:
        """What no proposal varies for now, by name: the context, and what is held."""
        return {**{p.name: p.value for p in self.context}, **self.held}

    @cached_property
    def needs(self) -> dict[str, Needs]:
        """By parameter: the choices' values under which it exists, those of its own choices' conditions included."""
        conditions = {p.name: condition_of(p) for p in self.parameters}
        return {name: needs_of(name, conditions) for name in conditions}

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """Every constraint over what a candidate states."""
        return rules_of(self.parameters, self.constraints)

    @property
    def inequalities(self) -> tuple[LinearForm, ...]:
        """The inequalities that hold everywhere, as `form <= 0` over what a candidate states."""
        return tuple(rule.form for rule in self.rules if not rule.equality and not rule.needs)

    @property
    def is_plain(self) -> bool:
        """Whether it is a box with inequalities: nothing held, conditional, bound by an equality, or bent by a logarithm."""
        bound = {name for rule in self.rules for name in rule.form.coefficients}
        bent = any(p.name in bound for p in self.free if isinstance(p, RangeParameter) and p.log)
        return not (self.present or bent or any(self.needs.values())) and len(self.inequalities) == len(self.rules)

    def describe(self, name: str) -> str:
        """What a free or context parameter may be, in words, with all that binds it."""
        parameter = next(p for p in self.inputs if p.name == name)
        notes = [f"now {self.present[name]}"] if name in self.present else []
        notes += [f"where {self._condition(name)}"] if self.needs[name] else []
        notes += ["the same in all tests that run at once"] if parameter in self.shared else []
        return f"{parameter.describe()} ({'; '.join(notes)})" if notes else parameter.describe()

    def holding(self, values: Mapping[str, ParameterValue]) -> SearchSpace:
        """The space with some values held for now.

        Raises:
            SpecError: if one of them is unknown or outside its bounds, or leaves no feasible point.
        """
        return replace(self, held={**self.held, **values}) if values else self

    def states(self, name: str, values: Mapping[str, Any]) -> bool:
        """Whether a parameter exists at given values of the choices."""
        return exists(self.needs[name], values)

    def settled(self, values: Mapping[str, ParameterValue]) -> Candidate:
        """The candidate with these values, without the parameters that do not exist there, derived ones computed."""
        kept = {n: values[n] for n in self.names if n in values}
        while absent := [n for n in kept if not self.states(n, kept)]:
            kept = {n: v for n, v in kept.items() if n not in absent}
        return self.complete(Candidate(kept))

    def at_present(self, candidate: Candidate) -> Candidate:
        """The same candidate in the present context."""
        if not self.context:
            return candidate
        now = {p.name: self.present[p.name] for p in self.context}
        moved = Candidate({**candidate.parameters, **now}, candidate.id)
        return self.complete(moved) if self.places(moved) else moved

    def places(self, candidate: Candidate) -> bool:
        """Whether a candidate states all that exists at its values, whatever the bounds say."""
        given = candidate.parameters
        return all(name in given for name in self.names if self.states(name, given))

    def violations(self, candidate: Candidate) -> list[str]:
        """Why a candidate is not in the space; empty when it is."""
        given = candidate.parameters
        known = {p.name for p in self.parameters}
        found = [f"{n} is not a parameter of this space ({', '.join(self.names)})" for n in given if n not in known]
        for parameter in self.inputs:
            name = parameter.name
            if not self.states(name, given):
                found += [f"{name} exists only if {self._condition(name)}"] if name in given else []
            elif name not in given:
                found.append(f"{name} is missing")
            elif not parameter.admits(given[name]):
                found.append(f"{name} = {given[name]!r} is not {parameter.describe()}")
        if not found:
            found = [f"constraint '{r.text}' does not hold" for r in self.rules if r.excess(given) > ROUNDING]
        return found

    def _condition(self, name: str) -> str:
        parts = [f"{gate} = {' or '.join(sorted(map(str, allowed)))}" for gate, allowed in self.needs[name].items()]
        return " and ".join(parts)

    def complete(self, candidate: Candidate) -> Candidate:
        """The candidate with its derived parameters computed."""
        values = dict(candidate.parameters)
        for parameter in in_order(self.derived):
            if self.states(parameter.name, values):
                values[parameter.name] = parameter.of(values)
        return Candidate(values, candidate.id)
