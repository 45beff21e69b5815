"""A search space as a unit cube, and back.

Two forms of a point besides `Candidate`: *values* `V` of shape (n, p), one column per free parameter (a number, or the
index of a choice), and *unit* `X` of shape (n, d), what a kernel reads: ranges scaled to 0..1 (by their logarithm where
asked), integers scaled, ordered choices by rank, unordered ones one column per value.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain import Candidate, ChoiceParameter, IntegerParameter, RangeParameter, SearchSpace
from orchestrator.domain.candidate import ParameterValue
from orchestrator.domain.search_space import FreeParameter

Matrix = NDArray[np.float64]

# Unequal values of an unordered choice are sqrt(2) * 0.5 apart: about as far as half the range of a number.
ONE_HOT = 0.5
# Constraints hold to this share of their largest coefficient: tighter than the domain's own check.
SLACK = 1e-9


class SpaceEncoding:
    """Candidates of one search space, to and from numbers."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.parameters: tuple[FreeParameter, ...] = space.free

    @property
    def latent(self) -> int:
        """The number p of free parameters."""
        return len(self.parameters)

    @cached_property
    def dimension(self) -> int:
        """The number d of columns a kernel reads."""
        return sum(_width(p) for p in self.parameters)

    def values_from_latent(self, U: Matrix) -> Matrix:
        """Points of the unit cube of shape (n, p), each column one parameter, as values of shape (n, p)."""
        return np.column_stack([_spread(p, u) for p, u in zip(self.parameters, U.T, strict=True)])

    def latent_from_values(self, V: Matrix) -> Matrix:
        """The inverse of `values_from_latent`, in the middle of what an integer or a choice covers."""
        return np.column_stack([_position(p, v) for p, v in zip(self.parameters, V.T, strict=True)])

    def unit_from_values(self, V: Matrix) -> Matrix:
        """Values of shape (n, p) as kernel columns of shape (n, d)."""
        return np.column_stack([_columns(p, v) for p, v in zip(self.parameters, V.T, strict=True)])

    def feasible(self, V: Matrix) -> NDArray[np.bool_]:
        """Which values of shape (n, p) keep every linear constraint."""
        numbers = np.column_stack([_numbers(p, v) for p, v in zip(self.parameters, V.T, strict=True)])
        matrix, bound = self._inequalities
        return np.asarray((numbers @ matrix.T <= bound + SLACK * np.maximum(1.0, np.abs(matrix).max(axis=1))).all(axis=1))

    @cached_property
    def _inequalities(self) -> tuple[Matrix, Matrix]:
        forms = self.space.inequalities
        rows = [[form.coefficients.get(p.name, 0.0) for p in self.parameters] for form in forms]
        if not rows:
            return np.zeros((1, self.latent)), np.zeros(1)
        return np.array(rows, dtype=float), np.array([-form.constant for form in forms])

    def values(self, candidates: Sequence[Candidate]) -> Matrix:
        """The values of candidates, shape (n, p)."""
        rows = [[_index(p, c.parameters[p.name]) for p in self.parameters] for c in candidates]
        return np.array(rows, dtype=float).reshape(len(rows), self.latent)

    def encode(self, candidates: Sequence[Candidate]) -> Matrix:
        """What a kernel reads of candidates, shape (n, d)."""
        return self.unit_from_values(self.values(candidates)) if candidates else np.zeros((0, self.dimension))

    def candidate(self, row: Matrix) -> Candidate:
        """The candidate with these values, shape (p,), derived parameters computed."""
        named = {p.name: _natural(p, float(v)) for p, v in zip(self.parameters, row, strict=True)}
        return self.space.complete(Candidate(named))


def _width(parameter: FreeParameter) -> int:
    return len(parameter.values) if isinstance(parameter, ChoiceParameter) and not parameter.ordered else 1


def _spread(parameter: FreeParameter, u: Matrix) -> Matrix:
    if isinstance(parameter, RangeParameter):
        if parameter.log:
            low, high = np.log(parameter.lower), np.log(parameter.upper)
            return np.clip(np.exp(low + u * (high - low)), parameter.lower, parameter.upper)
        return parameter.lower + u * (parameter.upper - parameter.lower)
    low, count = _discrete(parameter)
    return low + np.clip(np.floor(u * count), 0, count - 1)


def _position(parameter: FreeParameter, v: Matrix) -> Matrix:
    if isinstance(parameter, RangeParameter):
        return _scaled(parameter, v)
    low, count = _discrete(parameter)
    return (v - low + 0.5) / count


def _discrete(parameter: IntegerParameter | ChoiceParameter) -> tuple[int, int]:
    if isinstance(parameter, IntegerParameter):
        return parameter.lower, parameter.upper - parameter.lower + 1
    return 0, len(parameter.values)


def _scaled(parameter: RangeParameter, v: Matrix) -> Matrix:
    if parameter.log:
        return np.log(v / parameter.lower) / np.log(parameter.upper / parameter.lower)
    return (v - parameter.lower) / (parameter.upper - parameter.lower)


def _columns(parameter: FreeParameter, v: Matrix) -> Matrix:
    if isinstance(parameter, RangeParameter):
        return _scaled(parameter, v)
    low, count = _discrete(parameter)
    if isinstance(parameter, IntegerParameter) or parameter.ordered:
        return (v - low) / (count - 1)
    return np.asarray(v[:, None] == np.arange(count), dtype=float) * ONE_HOT


def _numbers(parameter: FreeParameter, v: Matrix) -> Matrix:
    if not isinstance(parameter, ChoiceParameter):
        return v
    if isinstance(parameter.values[0], str):
        return np.zeros_like(v)
    return np.array(parameter.values, dtype=float)[v.astype(int)]


def _index(parameter: FreeParameter, given: ParameterValue) -> float:
    """The number a value stands for; -1 for a choice that an amended spec no longer offers (all its columns are 0)."""
    if not isinstance(parameter, ChoiceParameter):
        return float(given)
    return float(parameter.values.index(given)) if given in parameter.values else -1.0


def _natural(parameter: FreeParameter, v: float) -> ParameterValue:
    if isinstance(parameter, ChoiceParameter):
        return parameter.values[int(v)]
    return round(v) if isinstance(parameter, IntegerParameter) else v
