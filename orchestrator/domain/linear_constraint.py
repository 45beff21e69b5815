"""Linear constraints between parameters, as text, and as rules over what a candidate states."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from orchestrator.domain.candidate import ParameterValue
from orchestrator.domain.errors import SpecError
from orchestrator.domain.expression import LinearForm, linear_form, parse
from orchestrator.domain.parameters import Condition, DerivedParameter
from orchestrator.domain.value import value

Needs = Mapping[str, frozenset[ParameterValue]]

_COMPARISON = re.compile(r"(<=|>=|==|<|>|=)")


@value
class LinearConstraint:
    """A linear relation between parameters, as text: `"c1 >= c2"`, `"c1 + 2*c2 <= 10"`, `"li + ni + co == 1"`.

    Strict signs count as <= and >=. A relation that names a parameter holds where that parameter exists.

    Attributes:
        text: two sums with one of <=, >=, == between them.
        only_if: choices and the values of each under which it must hold besides.
    """

    text: str
    only_if: Condition = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        self.form  # noqa: B018 - reads the text, so that a constraint that cannot be read is never constructed

    @cached_property
    def _parts(self) -> tuple[str, str, str]:
        parts = _COMPARISON.split(self.text)
        if len(parts) != 3 or parts[1] == "=":
            example = "Write one of <=, >= or == between two sums, like 'c1 >= c2' or 'li + ni + co == 1'."
            raise SpecError(f"'{self.text}' is not an inequality or equality. {example}")
        return parts[0], parts[1], parts[2]

    @property
    def equality(self) -> bool:
        """Whether both sides must be equal."""
        return self._parts[1] == "=="

    @cached_property
    def form(self) -> LinearForm:
        """The constraint as `form <= 0`, or as `form == 0` where it is an equality."""
        first, sign, second = self._parts
        left, right = (linear_form(parse(part), self.text) for part in (first, second))
        form = right.plus(left, -1.0) if sign.startswith(">") else left.plus(right, -1.0)
        if not form.coefficients:
            raise SpecError(f"'{self.text}' names no parameter.")
        return form

    def describe(self) -> str:
        """The constraint, and where it holds besides."""
        parts = [f"{gate} = {' or '.join(map(str, values))}" for gate, values in self.only_if.items()]
        return f"{self.text} where {' and '.join(parts)}" if parts else self.text

    @property
    def names(self) -> frozenset[str]:
        """The parameters it binds."""
        return frozenset(self.form.coefficients)


def read_constraint(given: Any) -> LinearConstraint:
    """A constraint as a spec writes it: text, or a table with `text` and `only_if`.

    Raises:
        SpecError: if it is neither, or cannot be read.
    """
    if isinstance(given, LinearConstraint):
        return given
    if not isinstance(given, Mapping):
        return LinearConstraint(given)
    if "text" not in given or not given.keys() <= {"text", "only_if"}:
        named = ", ".join(map(str, given)) or "nothing"
        raise SpecError(f"a constraint is text, or a table of text and only_if (this one gives {named}).")
    return LinearConstraint(**given)


def _written(constraint: LinearConstraint) -> str | dict[str, Any]:
    if not constraint.only_if:
        return constraint.text
    return {"text": constraint.text, "only_if": {name: list(values) for name, values in constraint.only_if.items()}}


ConstraintText = Annotated[LinearConstraint, BeforeValidator(read_constraint), PlainSerializer(_written)]


@dataclass(frozen=True)
class Rule:
    """A linear constraint over what a candidate states, and where it holds.

    Attributes:
        text: as its scientist wrote it.
        form: over free and context parameters: `form <= 0`, or `form == 0`.
        equality: which of the two.
        needs: the choices' values under which it holds; everywhere if empty.
    """

    text: str
    form: LinearForm
    equality: bool
    needs: Needs

    def excess(self, values: Mapping[str, Any]) -> float:
        """By how much it is broken at given values, as a share of its largest coefficient; <= 0 where it holds."""
        if not exists(self.needs, values):
            return 0.0
        scale = max([1.0, *(abs(c) for c in self.form.coefficients.values())])
        over = (sum(c * float(values[n]) for n, c in self.form.coefficients.items()) + self.form.constant) / scale
        return abs(over) if self.equality else over


def exists(needs: Needs, values: Mapping[str, Any]) -> bool:
    """Whether what needs these choices exists at given values."""
    return all(values.get(gate) in allowed for gate, allowed in needs.items())


def both(first: Needs, second: Needs) -> Needs:
    """What two conditions need together; a choice left without any value never comes about."""
    return {g: first.get(g, second.get(g, frozenset())) & second.get(g, first.get(g, frozenset())) for g in {**first, **second}}


def needs_of(name: str, conditions: Mapping[str, Mapping[str, Iterable[ParameterValue]]]) -> Needs:
    """All that a parameter needs: its own condition, and those of the choices it rests on.

    Args:
        name: of the parameter.
        conditions: `only_if` by parameter; without circles.
    """
    needs: Needs = {gate: frozenset(values) for gate, values in conditions.get(name, {}).items()}
    for gate in conditions.get(name, {}):
        needs = both(needs, needs_of(gate, conditions))
    return needs


def over_inputs(form: LinearForm, derived: tuple[DerivedParameter, ...]) -> LinearForm:
    """Replace derived parameters in a form by what they are computed from.

    Raises:
        SpecError: if one of them is not linear, or they read each other in a circle.
    """
    for parameter in reversed(in_order(derived)):
        if parameter.name in form.coefficients:
            factor = form.coefficients[parameter.name]
            rest = LinearForm({n: c for n, c in form.coefficients.items() if n != parameter.name}, form.constant)
            form = rest.plus(linear_form(parse(parameter.expression), parameter.expression).times(factor))
    return form


def in_order(derived: tuple[DerivedParameter, ...]) -> tuple[DerivedParameter, ...]:
    """Derived parameters so that each comes after those it reads.

    Raises:
        SpecError: if they read each other in a circle.
    """
    ordered: list[DerivedParameter] = []
    waiting = list(derived)
    while waiting:
        names = {p.name for p in waiting}
        ready = [p for p in waiting if not p.reads & names]
        if not ready:
            raise SpecError(f"derived parameters read each other in a circle: {', '.join(sorted(names))}.")
        ordered += ready
        waiting = [p for p in waiting if p not in ready]
    return tuple(ordered)
