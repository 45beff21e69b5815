"""What can be wrong between parameters and constraints that are each sound alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.domain.candidate import ParameterValue
from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.feasible_points import FeasibleProgram
from orchestrator.domain.linear_constraint import LinearConstraint, Needs, Rule, both, needs_of, over_inputs
from orchestrator.domain.parameters import ChoiceParameter, ContextParameter, DerivedParameter, condition_of


def space_faults(
    parameters: Iterable[Any], constraints: Iterable[LinearConstraint], held: Mapping[str, ParameterValue] | None = None
) -> list[Fault]:
    """Every fault between parameters and constraints that are each sound alone."""
    parameters, constraints = tuple(parameters), tuple(constraints)
    names = [p.name for p in parameters]
    faults = [
        Fault(f"parameters.{n}", "is given twice.", "Rename one.") for n in sorted({n for n in names if names.count(n) > 1})
    ]
    if not any(not isinstance(p, (DerivedParameter, ContextParameter)) for p in parameters):
        return [*faults, Fault("parameters", "holds no free parameter.", "Give at least one range, integer or choice.")]
    faults += _derived_faults(parameters) + _constraint_faults(parameters, constraints)
    faults += _condition_faults(parameters, constraints) + _held_faults(parameters, held or {})
    if not faults:
        faults += _reading_faults(parameters, constraints)
    if not faults:
        faults += _infeasibility(parameters, constraints, held or {})
    return faults


def _derived_faults(parameters: tuple[Any, ...]) -> list[Fault]:
    names, faults = [p.name for p in parameters], []
    for derived in (p for p in parameters if isinstance(p, DerivedParameter)):
        unknown = sorted(derived.reads - set(names) | derived.reads & {derived.name})
        faults += [Fault(f"parameters.{derived.name}", f"reads the unknown parameter '{n}'.", _among(names)) for n in unknown]
    return faults


def _constraint_faults(parameters: tuple[Any, ...], constraints: tuple[LinearConstraint, ...]) -> list[Fault]:
    names = [p.name for p in parameters]
    numeric = {p.name for p in parameters if not isinstance(p, ChoiceParameter) or p.numeric}
    return [
        Fault(
            f"constraints[{i}]",
            f"'{constraint.text}' names the {'text' if name in names else 'unknown'} parameter '{name}'.",
            _among(numeric),
        )
        for i, constraint in enumerate(constraints)
        for name in sorted(constraint.names - numeric)
    ]


def _condition_faults(parameters: tuple[Any, ...], constraints: tuple[LinearConstraint, ...]) -> list[Fault]:
    """Conditions on what is no choice, on values it does not have, or on themselves."""
    choices = {p.name: p for p in parameters if isinstance(p, ChoiceParameter)}
    conditioned = [(f"parameters.{p.name}", p) for p in parameters] + [
        (f"constraints[{i}]", c) for i, c in enumerate(constraints)
    ]
    faults = []
    for where, item in conditioned:
        for gate, values in condition_of(item).items():
            if gate not in choices:
                problem, remedy = f"only_if names '{gate}', which is no choice of this space.", f"Choices: {_named(choices)}."
                faults.append(Fault(where, problem, remedy))
                continue
            known = choices[gate].values
            faults += [Fault(where, f"only_if names {v!r}, which is no value of {gate}.", f"Values: {_named(known)}.")
                       for v in values if v not in known]  # fmt: skip
            if not values:
                faults.append(Fault(where, f"only_if gives no value of {gate}.", f"Values: {_named(known)}."))
    if not faults:
        circle = _circle({p.name: set(condition_of(p)) for p in parameters})
        faults += [Fault(f"parameters.{circle[0]}", f"exists only if itself does: {' > '.join(circle)}.")] if circle else []
    return faults


def _circle(rests_on: Mapping[str, set[str]]) -> list[str]:
    """Parameters whose conditions lead back to themselves, one circle; empty if there is none."""
    for start in rests_on:
        path, waiting = [start], sorted(rests_on[start])
        while waiting:
            name = waiting.pop()
            if name == start:
                return [*path, start]
            if name not in path:
                path.append(name)
                waiting += sorted(rests_on.get(name, ()))
    return []


def _held_faults(parameters: tuple[Any, ...], held: Mapping[str, ParameterValue]) -> list[Fault]:
    inputs = {p.name: p for p in parameters if not isinstance(p, DerivedParameter)}
    faults = [Fault(f"held.{n}", "is not a parameter that can be held.", _among(inputs)) for n in held if n not in inputs]
    return faults + [
        Fault(f"held.{n}", f"{n} = {given!r} is not {inputs[n].describe()}.")
        for n, given in held.items()
        if n in inputs and not inputs[n].admits(given)
    ]


def _reading_faults(parameters: tuple[Any, ...], constraints: tuple[LinearConstraint, ...]) -> list[Fault]:
    """Derived parameters that would read what does not exist, and constraints over what never exists together."""
    conditions = {p.name: condition_of(p) for p in parameters}
    faults = []
    for parameter in parameters:
        never = sorted(gate for gate, allowed in needs_of(parameter.name, conditions).items() if not allowed)
        if never:
            problem = f"can never exist: its conditions leave no value of {never[0]}."
            faults.append(
                Fault(f"parameters.{parameter.name}", problem, "Mend only_if, there or where a choice it names exists.")
            )
    if faults:
        return faults
    for derived in (p for p in parameters if isinstance(p, DerivedParameter)):
        own = needs_of(derived.name, conditions)
        for name in sorted(derived.reads):
            needs = needs_of(name, conditions)
            if any(not own.get(gate, allowed | {None}) <= allowed for gate, allowed in needs.items()):
                remedy = f"Give it the same condition: only_if = {_table(needs)}."
                faults.append(Fault(f"parameters.{derived.name}", f"reads {name}, which does not always exist.", remedy))
    try:
        rules = rules_of(parameters, constraints)
    except SpecError as error:
        return faults + [fault.under("constraints") for fault in error.faults]
    for i, rule in enumerate(rules):
        never = sorted(gate for gate, allowed in rule.needs.items() if not allowed)
        if never:
            problem = f"'{rule.text}' binds parameters that never exist together (no value of {never[0]} is left)."
            faults.append(Fault(f"constraints[{i}]", problem, "Drop it, or mend a condition."))
    return faults


def rules_of(parameters: Iterable[Any], constraints: Iterable[LinearConstraint]) -> tuple[Rule, ...]:
    """The constraints over what a candidate states, each with all that it needs.

    Raises:
        SpecError: if a derived parameter in a constraint is not linear.
    """
    parameters = tuple(parameters)
    derived = tuple(p for p in parameters if isinstance(p, DerivedParameter))
    conditions = {p.name: condition_of(p) for p in parameters}
    rules = []
    for constraint in constraints:
        form, needs = over_inputs(constraint.form, derived), needs_of("", {**conditions, "": constraint.only_if})
        for name in {*constraint.names, *form.coefficients}:
            needs = both(needs, needs_of(name, conditions))
        rules.append(Rule(constraint.text, form, constraint.equality, needs))
    return tuple(rules)


def _infeasibility(
    parameters: tuple[Any, ...], constraints: tuple[LinearConstraint, ...], held: Mapping[str, ParameterValue]
) -> list[Fault]:
    """Whether no point at all keeps all constraints, with what the experimenter set as it is."""
    if not constraints:
        return []
    inputs = [p for p in parameters if not isinstance(p, DerivedParameter)]
    present = {**{p.name: p.value for p in inputs if isinstance(p, ContextParameter)}, **held}
    rules = rules_of(parameters, constraints)
    if FeasibleProgram(inputs, rules, present).point() is not None:
        return []
    texts = "; ".join(c.text for c in constraints)
    bound = {name: given for name, given in present.items() if any(name in rule.form.coefficients for rule in rules)}
    at = f" at {', '.join(f'{n} = {v}' for n, v in bound.items())}" if bound else ""
    problem = f"no point inside the bounds keeps all of: {texts}{at}."
    return [Fault("constraints", problem, "Widen the bounds or drop a constraint.")]


def _among(names: Iterable[str]) -> str:
    return f"Known: {', '.join(sorted(names))}."


def _named(values: Iterable[ParameterValue]) -> str:
    return ", ".join(map(str, values)) or "none"


def _table(needs: Needs) -> str:
    """A condition as TOML writes it."""

    def quoted(values: Iterable[ParameterValue]) -> str:
        return ", ".join(f'"{v}"' if isinstance(v, str) else str(v) for v in sorted(values, key=str))

    return "{ " + ", ".join(f"{gate} = [{quoted(values)}]" for gate, values in needs.items()) + " }"
