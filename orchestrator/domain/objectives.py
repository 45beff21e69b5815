"""What is wanted, what must not happen, and what was found: objectives, constraints, estimates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.value import value

Source = Literal["measured", "predicted"]


@value
class Estimate:
    """A quantity with its standard error, and whether it was measured or predicted.

    `sem` is the standard error of the measurement or prediction itself, in the metric's unit; 0 says that repeating
    the test on the same cell would give the same number. The spread between cells is the surrogate's to learn.
    """

    mean: float
    sem: float = 0.0
    source: Source = "measured"
    unit: str | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.mean):
            raise SpecError(Fault("mean", f"must be a finite number (got {self.mean}).", "Report a failed test with fail()."))
        if not (math.isfinite(self.sem) and self.sem >= 0):
            raise SpecError(Fault("sem", f"must be a finite number >= 0 (got {self.sem})."))


Outcome = Mapping[str, Estimate]


@value
class Objective:
    """A metric to minimise or maximise. `threshold` is the reference point's coordinate for the hypervolume."""

    metric: str
    goal: Literal["minimize", "maximize"]
    threshold: float | None = None
    at_cycle: int | None = None

    def __post_init__(self) -> None:
        if self.at_cycle is not None and self.at_cycle < 1:
            raise SpecError(Fault(self.metric, f"at_cycle must be at least 1 (got {self.at_cycle})."))

    @property
    def maximize(self) -> bool:
        """Whether more is better."""
        return self.goal == "maximize"

    @property
    def sign(self) -> float:
        """+1 where more is better, -1 where less is."""
        return 1.0 if self.maximize else -1.0


@value
class OutcomeConstraint:
    """Bounds on a metric. `safe=True`: nothing is proposed whose pessimistic bound passes the limit."""

    metric: str
    lower: float | None = None
    upper: float | None = None
    safe: bool = False

    def __post_init__(self) -> None:
        if self.lower is None and self.upper is None:
            raise SpecError(Fault(self.metric, "has neither lower nor upper.", "Give at least one."))
        if self.lower is not None and self.upper is not None and self.lower >= self.upper:
            raise SpecError(
                Fault(self.metric, f"lower must be below upper (got lower = {self.lower:g}, upper = {self.upper:g}).")
            )

    def holds(self, mean: float) -> bool:
        """Whether a value keeps the bounds."""
        return (self.lower is None or mean >= self.lower) and (self.upper is None or mean <= self.upper)

    def describe(self) -> str:
        """The constraint in words."""
        low = f"{self.lower:g} <= " if self.lower is not None else ""
        high = f" <= {self.upper:g}" if self.upper is not None else ""
        return f"{low}{self.metric}{high}"
