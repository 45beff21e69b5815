"""Feasible points of a space that linear constraints leave almost nothing of: where rejection from the box finds none.

A mixed-integer program finds random vertices; a hit-and-run walk (Smith 1984) goes on from between two of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

from orchestrator.domain import ChoiceParameter, IntegerParameter, RangeParameter
from orchestrator.domain.errors import NeedsPersonError
from orchestrator.proposal.space_encoding import SpaceEncoding

Matrix = NDArray[np.float64]

_STEPS, _TRIES = 20, 64
# Step lengths span this many powers of ten below the box: what is left may be very thin.
_DECADES = 7


def walk(encoding: SpaceEncoding, n: int, seed: int) -> Matrix:
    """Feasible points by random walks that start between vertices found by a mixed-integer program.

    Args:
        encoding: of a space with linear constraints.
        n: how many.
        seed: the same seed gives the same points.

    Returns:
        Values, shape (n, p); they may repeat where few distinct points exist.

    Raises:
        NeedsPersonError: if nothing keeps the constraints.
    """
    rng = np.random.default_rng(seed)
    rows = [_stroll(encoding, _vertex(encoding, rng), rng) for _ in range(n)]
    return np.array(rows)


def _vertex(encoding: SpaceEncoding, rng: np.random.Generator) -> Matrix:
    """A feasible point in the middle between two random vertices that share their whole numbers, shape (p,)."""
    first = _program(encoding, rng.standard_normal(encoding.latent), {})
    whole = {j: first[j] for j, p in enumerate(encoding.parameters) if not isinstance(p, RangeParameter)}
    second = _program(encoding, rng.standard_normal(encoding.latent), whole)
    return (first + second) / 2


def _program(encoding: SpaceEncoding, cost: Matrix, fixed: dict[int, float]) -> Matrix:
    """The values of least cost that keep the constraints, shape (p,); a numeric choice enters by an indicator per value."""
    layout = _Layout(encoding)
    low, high = layout.bounds(fixed)
    answer = milp(
        layout.spread(cost),
        integrality=layout.integrality,
        bounds=Bounds(low, high),
        constraints=[LinearConstraint(*c) for c in layout.constraints()],
    )
    if answer.x is None:
        raise NeedsPersonError("no point of the space keeps all its linear constraints. Widen the bounds or drop a constraint.")
    return layout.values(answer.x)


class _Layout:
    """Where each parameter's variables stand in the program: one, or an indicator per value of a choice."""

    def __init__(self, encoding: SpaceEncoding) -> None:
        self.encoding = encoding
        widths = [len(p.values) if isinstance(p, ChoiceParameter) else 1 for p in encoding.parameters]
        ends = np.cumsum(widths)
        self.slots = [slice(int(e - w), int(e)) for e, w in zip(ends, widths, strict=True)]
        self.size = int(ends[-1])
        self.integrality = np.concatenate(
            [np.full(w, not isinstance(p, RangeParameter), dtype=int) for p, w in zip(encoding.parameters, widths, strict=True)]
        )

    def bounds(self, fixed: dict[int, float]) -> tuple[Matrix, Matrix]:
        low, high = np.zeros(self.size), np.ones(self.size)
        for j, (parameter, slot) in enumerate(zip(self.encoding.parameters, self.slots, strict=True)):
            if isinstance(parameter, ChoiceParameter):
                if j in fixed:
                    low[slot] = high[slot] = np.arange(len(parameter.values)) == fixed[j]
            else:
                low[slot], high[slot] = (fixed[j], fixed[j]) if j in fixed else (parameter.lower, parameter.upper)
        return low, high

    def constraints(self) -> list[tuple[Matrix, Matrix, Matrix]]:
        forms = self.encoding.space.inequalities
        rows = np.zeros((len(forms), self.size))
        for row, form in zip(rows, forms, strict=True):
            for parameter, slot in zip(self.encoding.parameters, self.slots, strict=True):
                numbers = parameter.values if isinstance(parameter, ChoiceParameter) else (1.0,)
                if parameter.name in form.coefficients:
                    row[slot] = form.coefficients[parameter.name] * np.array(numbers, dtype=float)
        one_each = [slot for p, slot in zip(self.encoding.parameters, self.slots, strict=True) if isinstance(p, ChoiceParameter)]
        indicators = np.zeros((len(one_each), self.size))
        for row, slot in zip(indicators, one_each, strict=True):
            row[slot] = 1.0
        return [
            (rows, np.full(len(rows), -np.inf), np.array([-form.constant for form in forms])),
            (indicators, np.ones(len(one_each)), np.ones(len(one_each))),
        ][: 1 + bool(one_each)]

    def spread(self, cost: Matrix) -> Matrix:
        spread = np.zeros(self.size)
        for j, (parameter, slot) in enumerate(zip(self.encoding.parameters, self.slots, strict=True)):
            width = 1.0 if isinstance(parameter, ChoiceParameter) else parameter.upper - parameter.lower
            spread[slot] = cost[j] / width * np.cos(np.arange(slot.stop - slot.start))
        return spread

    def values(self, x: Matrix) -> Matrix:
        found = []
        for parameter, slot in zip(self.encoding.parameters, self.slots, strict=True):
            if isinstance(parameter, ChoiceParameter):
                found.append(float(np.argmax(x[slot])))
            else:
                found.append(float(np.round(x[slot][0])) if isinstance(parameter, IntegerParameter) else float(x[slot][0]))
        return np.array(found)


def _stroll(encoding: SpaceEncoding, start: Matrix, rng: np.random.Generator) -> Matrix:
    """A short hit-and-run walk over the ranges, whole numbers and choices held, shape (p,)."""
    free = np.array([isinstance(p, RangeParameter) for p in encoding.parameters])
    U = encoding.latent_from_values(start[None])[0]
    for _ in range(_STEPS):
        direction = np.where(free, rng.standard_normal(len(U)), 0.0)
        lengths = rng.choice([-1.0, 1.0], _TRIES) * 10.0 ** rng.uniform(-_DECADES, 0, _TRIES)
        steps = U + lengths[:, None] * direction
        inside = ((steps >= 0) & (steps <= 1)).all(axis=1)
        V = encoding.values_from_latent(np.clip(steps, 0, 1))
        V[:, ~free] = start[~free]
        steps = steps[inside & encoding.feasible(V)]
        if len(steps):
            U = steps[rng.integers(len(steps))]
    V = encoding.values_from_latent(U[None])[0]
    return np.where(free, V, start)
