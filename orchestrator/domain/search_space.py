"""What may vary: named parameters with bounds and units, and linear constraints over them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Discriminator, PlainSerializer, Tag

from orchestrator.domain.candidate import Candidate, ParameterValue
from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.expression import LinearForm, evaluate, linear_form, names_in, parse
from orchestrator.domain.value import value

TOLERANCE = 1e-9
_NAME = re.compile(r"[A-Za-z_]\w*\Z")


def _check_name(name: str) -> None:
    if not _NAME.match(name):
        raise SpecError(Fault("name", f"'{name}' is not a usable name.", "Use letters, digits and _, starting with a letter."))


def _check_bounds(name: str, lower: float, upper: float) -> None:
    if not (math.isfinite(lower) and math.isfinite(upper)):
        raise SpecError(Fault(name, f"bounds must be finite numbers (got lower = {lower:g}, upper = {upper:g})."))
    if lower >= upper:
        raise SpecError(Fault(name, f"lower must be below upper (got lower = {lower:g}, upper = {upper:g}).", "Exchange them."))


@value
class RangeParameter:
    """A real number between two bounds, both allowed. `log=True` searches its logarithm."""

    name: str
    lower: float
    upper: float
    unit: str | None = None
    log: bool = False
    type: Literal["range"] = "range"

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_bounds(self.name, self.lower, self.upper)
        if self.log and self.lower <= 0:
            raise SpecError(Fault(self.name, f"log = true needs a positive lower bound (got {self.lower:g})."))

    def admits(self, given: Any) -> bool:
        """Whether a value lies inside the bounds (to rounding)."""
        slack = TOLERANCE * max(1.0, abs(self.lower), abs(self.upper))
        return _is_number(given) and self.lower - slack <= given <= self.upper + slack

    def describe(self) -> str:
        """The domain in words."""
        return f"between {self.lower:g} and {self.upper:g}{f' {self.unit}' if self.unit else ''}"


@value
class IntegerParameter:
    """A whole number between two bounds, both allowed."""

    name: str
    lower: int
    upper: int
    unit: str | None = None
    type: Literal["integer"] = "integer"

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_bounds(self.name, self.lower, self.upper)

    def admits(self, given: Any) -> bool:
        """Whether a value is a whole number inside the bounds."""
        return _is_number(given) and float(given).is_integer() and self.lower <= given <= self.upper

    def describe(self) -> str:
        """The domain in words."""
        return f"a whole number between {self.lower} and {self.upper}{f' {self.unit}' if self.unit else ''}"


@value
class ChoiceParameter:
    """One of a few values: all numbers, or all text. `ordered=True` says that neighbours behave alike."""

    name: str
    values: tuple[ParameterValue, ...]
    unit: str | None = None
    ordered: bool = False
    type: Literal["choice"] = "choice"

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(self.values) < 2 or len(set(self.values)) != len(self.values):
            raise SpecError(Fault(self.name, f"needs at least two different values (got {list(self.values)})."))
        if len({isinstance(v, str) for v in self.values}) > 1:
            raise SpecError(Fault(self.name, f"values must be all numbers or all text (got {list(self.values)})."))

    def admits(self, given: Any) -> bool:
        """Whether a value is one of the choices."""
        return given in self.values

    def describe(self) -> str:
        """The domain in words."""
        return "one of " + ", ".join(str(v) for v in self.values)


@value
class DerivedParameter:
    """A number computed from the others by `expression`; templates and constraints may read it, nothing chooses it."""

    name: str
    expression: str
    unit: str | None = None
    type: Literal["derived"] = "derived"

    def __post_init__(self) -> None:
        _check_name(self.name)
        parse(self.expression)

    @cached_property
    def reads(self) -> frozenset[str]:
        """The parameters it is computed from."""
        return names_in(parse(self.expression), self.expression)

    def of(self, values: Mapping[str, Any]) -> float:
        """Its value at given parameters."""
        return evaluate(parse(self.expression), values)


_COMPARISON = re.compile(r"(<=|>=|==|<|>|=)")


@value
class LinearConstraint:
    """A linear inequality between parameters, as text: `"c1 >= c2"`, `"c1 + 2*c2 <= 10"`. Strict signs count as <= and >=."""

    text: str

    def __post_init__(self) -> None:
        self.form  # noqa: B018 - reads the text, so that a constraint that cannot be read is never constructed

    @cached_property
    def form(self) -> LinearForm:
        """The constraint as `form <= 0`."""
        parts = _COMPARISON.split(self.text)
        if len(parts) != 3 or parts[1] in ("==", "="):
            raise SpecError(f"'{self.text}' is not an inequality. Write one <= or >= between two sums, like 'c1 >= c2'.")
        left, right = (linear_form(parse(part), self.text) for part in (parts[0], parts[2]))
        form = left.plus(right, -1.0) if parts[1].startswith("<") else right.plus(left, -1.0)
        if not form.coefficients:
            raise SpecError(f"'{self.text}' names no parameter.")
        return form

    @property
    def names(self) -> frozenset[str]:
        """The parameters it binds."""
        return frozenset(self.form.coefficients)


def _kind(given: Any) -> str | None:
    if isinstance(given, Mapping):
        return str(given.get("type", "choice" if "values" in given else "derived" if "expression" in given else "range"))
    return getattr(given, "type", None)


Parameter = Annotated[
    Annotated[RangeParameter, Tag("range")]
    | Annotated[IntegerParameter, Tag("integer")]
    | Annotated[ChoiceParameter, Tag("choice")]
    | Annotated[DerivedParameter, Tag("derived")],
    Discriminator(
        _kind,
        custom_error_type="parameter_type",
        custom_error_message="type must be range, integer, choice or derived",
    ),
]
ConstraintText = Annotated[
    LinearConstraint,
    BeforeValidator(lambda given: LinearConstraint(given) if isinstance(given, str) else given),
    PlainSerializer(lambda constraint: constraint.text, return_type=str),
]
FreeParameter = RangeParameter | IntegerParameter | ChoiceParameter


@value
class SearchSpace:
    """Parameters and the linear constraints between them; a space without a feasible point is never constructed."""

    parameters: tuple[Parameter, ...]
    constraints: tuple[ConstraintText, ...] = field(default=())

    def __post_init__(self) -> None:
        faults = space_faults(self.parameters, self.constraints)
        if faults:
            raise SpecError(faults)

    @cached_property
    def free(self) -> tuple[FreeParameter, ...]:
        """The parameters that a proposer chooses, in the order given."""
        return tuple(p for p in self.parameters if not isinstance(p, DerivedParameter))

    @cached_property
    def derived(self) -> tuple[DerivedParameter, ...]:
        """The computed parameters."""
        return tuple(p for p in self.parameters if isinstance(p, DerivedParameter))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the free parameters, in the order given."""
        return tuple(p.name for p in self.free)

    @property
    def units(self) -> dict[str, str | None]:
        """Unit by parameter name."""
        return {p.name: p.unit for p in self.parameters}

    @cached_property
    def inequalities(self) -> tuple[LinearForm, ...]:
        """Every constraint as `form <= 0` over free parameters only."""
        return tuple(_over_free(c.form, self.derived) for c in self.constraints)

    def violations(self, candidate: Candidate) -> list[str]:
        """Why a candidate is not in the space; empty when it is."""
        given = candidate.parameters
        known = {*self.names, *(p.name for p in self.derived)}
        found = [f"{n} is not a parameter of this space ({', '.join(self.names)})" for n in given if n not in known]
        for parameter in self.free:
            if parameter.name not in given:
                found.append(f"{parameter.name} is missing")
            elif not parameter.admits(given[parameter.name]):
                found.append(f"{parameter.name} = {given[parameter.name]!r} is not {parameter.describe()}")
        if not found:
            found = [
                f"constraint '{c.text}' does not hold"
                for c, form in zip(self.constraints, self.inequalities, strict=True)
                if _excess(form, given) > 1e-6
            ]
        return found

    def complete(self, candidate: Candidate) -> Candidate:
        """The candidate with its derived parameters computed."""
        values = dict(candidate.parameters)
        for parameter in _in_order(self.derived):
            values[parameter.name] = parameter.of(values)
        return Candidate(values, candidate.id)


def space_faults(parameters: Iterable[Any], constraints: Iterable[LinearConstraint]) -> list[Fault]:
    """Every fault between parameters and constraints that are each sound alone."""
    parameters, constraints = tuple(parameters), tuple(constraints)
    names = [p.name for p in parameters]
    faults = [
        Fault(f"parameters.{n}", "is given twice.", "Rename one.") for n in sorted({n for n in names if names.count(n) > 1})
    ]
    if not any(not isinstance(p, DerivedParameter) for p in parameters):
        return [*faults, Fault("parameters", "holds no free parameter.", "Give at least one range, integer or choice.")]
    for derived in (p for p in parameters if isinstance(p, DerivedParameter)):
        unknown = sorted(derived.reads - set(names) | derived.reads & {derived.name})
        faults += [Fault(f"parameters.{derived.name}", f"reads the unknown parameter '{n}'.", _among(names)) for n in unknown]
    numeric = {p.name for p in parameters if not isinstance(p, ChoiceParameter) or not isinstance(p.values[0], str)}
    for i, constraint in enumerate(constraints):
        for name in sorted(constraint.names - numeric):
            kind = "text" if name in names else "unknown"
            faults.append(
                Fault(f"constraints[{i}]", f"'{constraint.text}' names the {kind} parameter '{name}'.", _among(numeric))
            )
    if not faults:
        faults += _infeasibility(parameters, constraints)
    return faults


def _infeasibility(parameters: tuple[Any, ...], constraints: tuple[LinearConstraint, ...]) -> list[Fault]:
    """Decide by a (mixed-integer) linear program whether any point keeps all constraints."""
    from scipy.optimize import Bounds, milp
    from scipy.optimize import LinearConstraint as MilpConstraint  # loading these costs a second; most spaces are boxes

    derived = tuple(p for p in parameters if isinstance(p, DerivedParameter))
    try:
        forms = [_over_free(c.form, derived) for c in constraints]
    except SpecError as error:
        return [fault.under("constraints") for fault in error.faults]
    free = [p for p in parameters if not isinstance(p, DerivedParameter)]
    if not forms:
        return []
    boxes = [(min(p.values), max(p.values)) if isinstance(p, ChoiceParameter) and not isinstance(p.values[0], str)
             else (0, 0) if isinstance(p, ChoiceParameter) else (p.lower, p.upper) for p in free]  # fmt: skip
    matrix = np.array([[form.coefficients.get(p.name, 0.0) for p in free] for form in forms])
    answer = milp(
        np.zeros(len(free)),
        integrality=np.array([isinstance(p, IntegerParameter) for p in free], dtype=int),
        bounds=Bounds(np.array([b[0] for b in boxes], float), np.array([b[1] for b in boxes], float)),
        constraints=MilpConstraint(matrix, -np.inf, np.array([-form.constant for form in forms])),
    )
    if answer.status != 2:
        return []
    texts = "; ".join(c.text for c in constraints)
    return [Fault("constraints", f"no point inside the bounds keeps all of: {texts}.", "Widen the bounds or drop a constraint.")]


def _over_free(form: LinearForm, derived: tuple[DerivedParameter, ...]) -> LinearForm:
    """Replace derived parameters in a form by what they are computed from."""
    for parameter in reversed(_in_order(derived)):
        if parameter.name in form.coefficients:
            factor = form.coefficients[parameter.name]
            rest = LinearForm({n: c for n, c in form.coefficients.items() if n != parameter.name}, form.constant)
            form = rest.plus(linear_form(parse(parameter.expression), parameter.expression).times(factor))
    return form


def _in_order(derived: tuple[DerivedParameter, ...]) -> tuple[DerivedParameter, ...]:
    """Derived parameters so that each comes after those it reads."""
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


def _excess(form: LinearForm, values: Mapping[str, Any]) -> float:
    scale = max(1.0, max(abs(c) for c in form.coefficients.values())) if form.coefficients else 1.0
    return (sum(c * float(values[n]) for n, c in form.coefficients.items()) + form.constant) / scale


def _among(names: Iterable[str]) -> str:
    return f"Known: {', '.join(sorted(names))}."


def _is_number(given: Any) -> bool:
    return isinstance(given, (int, float)) and not isinstance(given, bool) and math.isfinite(given)
