"""What a candidate is made of: ranges, whole numbers, choices, what is computed from them, and what the experimenter sets."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import field
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from orchestrator.domain.candidate import ParameterValue
from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.expression import evaluate, names_in, parse
from orchestrator.domain.value import value

TOLERANCE = 1e-9
_NAME = re.compile(r"[A-Za-z_]\w*\Z")


def _listed(given: Any) -> Any:
    """Read `{pulse = "yes"}` as `{pulse = ["yes"]}`."""
    if not isinstance(given, Mapping):
        return given
    return {name: values if isinstance(values, (list, tuple)) else (values,) for name, values in given.items()}


# Left out where they say nothing: a spec without them reads, and hashes, as it did before they existed.
Condition = Annotated[dict[str, tuple[ParameterValue, ...]], BeforeValidator(_listed), Field(exclude_if=lambda given: not given)]
_Shared = Annotated[bool, Field(exclude_if=lambda given: not given)]


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
    """A real number between two bounds, both allowed.

    Attributes:
        log: whether its logarithm is searched.
        only_if: choices and the values of each under which the parameter exists; everywhere if empty.
        shared: whether all tests that run at once must have the same value (one chamber for all).
    """

    name: str
    lower: float
    upper: float
    unit: str | None = None
    log: bool = False
    type: Literal["range"] = "range"
    only_if: Condition = field(default_factory=dict, hash=False)
    shared: _Shared = False

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_bounds(self.name, self.lower, self.upper)
        if self.log and self.lower <= 0:
            raise SpecError(Fault(self.name, f"log = true needs a positive lower bound (got {self.lower:g})."))

    def admits(self, given: Any) -> bool:
        """Whether a value lies inside the bounds (to rounding)."""
        return within(given, self.lower, self.upper)

    def describe(self) -> str:
        """The domain in words."""
        return f"between {self.lower:g} and {self.upper:g}{f' {self.unit}' if self.unit else ''}"


@value
class IntegerParameter:
    """A whole number between two bounds, both allowed; `only_if` and `shared` as for a range."""

    name: str
    lower: int
    upper: int
    unit: str | None = None
    type: Literal["integer"] = "integer"
    only_if: Condition = field(default_factory=dict, hash=False)
    shared: _Shared = False

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_bounds(self.name, self.lower, self.upper)

    def admits(self, given: Any) -> bool:
        """Whether a value is a whole number inside the bounds."""
        return is_number(given) and float(given).is_integer() and self.lower <= given <= self.upper

    def describe(self) -> str:
        """The domain in words."""
        return f"a whole number between {self.lower} and {self.upper}{f' {self.unit}' if self.unit else ''}"


@value
class ChoiceParameter:
    """One of a few values: all numbers, or all text.

    `ordered=True` says that neighbours behave alike; `only_if` and `shared` as for a range.
    """

    name: str
    values: tuple[ParameterValue, ...]
    unit: str | None = None
    ordered: bool = False
    type: Literal["choice"] = "choice"
    only_if: Condition = field(default_factory=dict, hash=False)
    shared: _Shared = False

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(self.values) < 2 or len(set(self.values)) != len(self.values):
            raise SpecError(Fault(self.name, f"needs at least two different values (got {list(self.values)})."))
        if len({isinstance(v, str) for v in self.values}) > 1:
            raise SpecError(Fault(self.name, f"values must be all numbers or all text (got {list(self.values)})."))

    @property
    def numeric(self) -> bool:
        """Whether its values are numbers."""
        return not isinstance(self.values[0], str)

    def admits(self, given: Any) -> bool:
        """Whether a value is one of the choices."""
        return given in self.values

    def describe(self) -> str:
        """The domain in words."""
        return "one of " + ", ".join(str(v) for v in self.values)


@value
class ContextParameter:
    """A number that the experimenter sets and no proposer chooses, such as the temperature of the room.

    The surrogate learns from it; every proposal carries the present value, and what is believed is said of it.

    Attributes:
        lower, upper: between which results may have been found.
        value: what it is set to now.
    """

    name: str
    lower: float
    upper: float
    value: float
    unit: str | None = None
    type: Literal["context"] = "context"

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_bounds(self.name, self.lower, self.upper)
        if not self.admits(self.value):
            raise SpecError(
                Fault("value", f"{self.name} = {self.value:g} is not {self.describe()}.", "Set it to what it is now.")
            )

    def admits(self, given: Any) -> bool:
        """Whether a value lies inside the bounds (to rounding)."""
        return within(given, self.lower, self.upper)

    def describe(self) -> str:
        """The domain in words."""
        return f"between {self.lower:g} and {self.upper:g}{f' {self.unit}' if self.unit else ''}"


@value
class DerivedParameter:
    """A number computed from the others by `expression`; templates and constraints may read it, nothing chooses it."""

    name: str
    expression: str
    unit: str | None = None
    type: Literal["derived"] = "derived"
    only_if: Condition = field(default_factory=dict, hash=False)

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


def kind_of(given: Any) -> str | None:
    """The type of a parameter, or of its plain data, which may leave it to be told by what is given."""
    if isinstance(given, Mapping):
        return str(given.get("type", "choice" if "values" in given else "derived" if "expression" in given else "range"))
    return getattr(given, "type", None)


Parameter = Annotated[
    Annotated[RangeParameter, Tag("range")]
    | Annotated[IntegerParameter, Tag("integer")]
    | Annotated[ChoiceParameter, Tag("choice")]
    | Annotated[DerivedParameter, Tag("derived")]
    | Annotated[ContextParameter, Tag("context")],
    Discriminator(
        kind_of,
        custom_error_type="parameter_type",
        custom_error_message="type must be range, integer, choice, derived or context",
    ),
]
FreeParameter = RangeParameter | IntegerParameter | ChoiceParameter
InputParameter = FreeParameter | ContextParameter


def within(given: Any, lower: float, upper: float) -> bool:
    """Whether a value is a finite number between two bounds, to rounding."""
    slack = TOLERANCE * max(1.0, abs(lower), abs(upper))
    return is_number(given) and lower - slack <= given <= upper + slack


def is_number(given: Any) -> bool:
    """Whether a value is a finite number, and not a truth value."""
    return isinstance(given, (int, float)) and not isinstance(given, bool) and math.isfinite(given)


def condition_of(parameter: Any) -> Mapping[str, tuple[ParameterValue, ...]]:
    """The choices that a parameter, or a constraint, exists under; empty if it always does."""
    return getattr(parameter, "only_if", {})
