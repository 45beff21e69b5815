"""A search space as a unit cube, and back.

Two forms of a point besides `Candidate`: *values* `V` of shape (n, p), one column per free or context parameter (a number, or
the index of a choice), and *unit* `X` of shape (n, d), what a kernel reads: ranges scaled to 0..1 (by their logarithm where
asked), integers scaled, ordered choices by rank, unordered ones one column per value.

A parameter that does not exist at a point stands at rest there: numbers in the middle, an unordered choice at no value. So two
candidates that differ only in what neither has are one point, and what sets the two cases apart is the choice that decides. It
is the plainest of the ways to share strength across conditions; embeddings such as the arc kernel (Swersky et al. 2014, "Raiders
of the lost architecture") put the absent value equally far from all present ones, at the price of a column more for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain import Candidate, ChoiceParameter, ContextParameter, IntegerParameter, RangeParameter, SearchSpace
from orchestrator.domain.candidate import ParameterValue
from orchestrator.domain.parameters import InputParameter

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Unequal values of an unordered choice are sqrt(2) * 0.5 apart: about as far as half the range of a number.
ONE_HOT = 0.5
# Constraints hold to this share of their largest coefficient: tighter than the domain's own check.
SLACK = 1e-9
# Or to this share of their largest term inside the bounds, below which float64 cannot tell.
_FLOAT_SLACK = 2e-15
NO_VALUE = -1.0


class SpaceEncoding:
    """Candidates of one search space, to and from numbers."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.parameters: tuple[InputParameter, ...] = space.inputs

    @property
    def latent(self) -> int:
        """The number p of free and context parameters."""
        return len(self.parameters)

    @cached_property
    def dimension(self) -> int:
        """The number d of columns a kernel reads."""
        return sum(_width(p) for p in self.parameters)

    def columns_of(self, name: str) -> tuple[int, ...]:
        """The columns that a kernel reads a parameter by."""
        first = sum(_width(p) for p in self.parameters[: self.column[name]])
        return tuple(range(first, first + _width(self.parameters[self.column[name]])))

    @cached_property
    def column(self) -> dict[str, int]:
        """The column of values by parameter."""
        return {p.name: j for j, p in enumerate(self.parameters)}

    @cached_property
    def held(self) -> Mask:
        """Which columns no proposal varies, shape (p,)."""
        return np.array([p.name in self.space.present for p in self.parameters])

    @cached_property
    def ranges(self) -> Mask:
        """Which columns may be moved by any small amount, shape (p,)."""
        return np.array([isinstance(p, RangeParameter) for p in self.parameters]) & ~self.held

    @cached_property
    def choices(self) -> Mask:
        """Which columns are indices of choices, shape (p,)."""
        return np.array([isinstance(p, ChoiceParameter) for p in self.parameters])

    @cached_property
    def bounds(self) -> tuple[Matrix, Matrix]:
        """The least and the greatest of each column, shape (p,) each."""
        ends = [(0, len(p.values) - 1) if isinstance(p, ChoiceParameter) else (p.lower, p.upper) for p in self.parameters]
        return np.array([e[0] for e in ends], dtype=float), np.array([e[1] for e in ends], dtype=float)

    def values_from_latent(self, U: Matrix) -> Matrix:
        """Points of the unit cube of shape (n, p), each column one parameter, as values of shape (n, p)."""
        return self.settled(np.column_stack([_spread(p, u) for p, u in zip(self.parameters, U.T, strict=True)]))

    def latent_from_values(self, V: Matrix) -> Matrix:
        """The inverse of `values_from_latent`, in the middle of what an integer or a choice covers."""
        return np.column_stack([_position(p, v) for p, v in zip(self.parameters, V.T, strict=True)])

    def unit_from_values(self, V: Matrix) -> Matrix:
        """Values of shape (n, p) as kernel columns of shape (n, d)."""
        return np.column_stack([_columns(p, v) for p, v in zip(self.parameters, V.T, strict=True)])

    def active(self, V: Matrix) -> Mask:
        """Which parameters exist at values V of shape (n, p): same shape."""
        mask = np.ones(V.shape, dtype=bool)
        for j, gates in self._gates.items():
            for gate, allowed in gates:
                mask[:, j] &= np.isin(V[:, gate], allowed)
        return mask

    @cached_property
    def _gates(self) -> dict[int, list[tuple[int, list[float]]]]:
        """Per conditional column: the choices' columns, and the indices under which it exists."""
        return {j: self._indices(self.space.needs[p.name]) for j, p in enumerate(self.parameters) if self.space.needs[p.name]}

    def _indices(self, needs: Mapping[str, frozenset[ParameterValue]]) -> list[tuple[int, list[float]]]:
        found = []
        for gate, allowed in needs.items():
            j = self.column[gate]
            found.append((j, [_index(self.parameters[j], v) for v in sorted(allowed, key=str)]))
        return found

    def settled(self, V: Matrix) -> Matrix:
        """Values with what is held put in, and at rest what does not exist then."""
        if self.held.any():
            V = np.where(self.held, self._present, V)
        return self.at_rest(V)

    def at_rest(self, V: Matrix) -> Matrix:
        """Values with what does not exist put where it rests."""
        return np.where(self.active(V), V, self._rest) if self._gates else V

    @cached_property
    def _present(self) -> Matrix:
        present = self.space.present
        return np.array([_index(p, present[p.name]) if p.name in present else 0.0 for p in self.parameters])

    @cached_property
    def _rest(self) -> Matrix:
        return np.array([_rest(p) for p in self.parameters])

    def feasible(self, V: Matrix, slack: float = SLACK) -> Mask:
        """Which values of shape (n, p) keep every linear constraint, to a share of its largest coefficient."""
        if not self.space.rules:
            return np.ones(len(V), dtype=bool)
        over = self.excess(V)
        over = np.where(self.equalities, np.abs(over), over)
        size = np.abs(self.coefficients)
        allowed = slack * np.maximum(1.0, size.max(axis=1))
        return np.asarray((over <= np.maximum(allowed, _FLOAT_SLACK * (size * self._largest).max(axis=1))).all(axis=1))

    @cached_property
    def _largest(self) -> Matrix:
        """The largest magnitude of each column's number inside its bounds, shape (p,)."""
        low, high = self.bounds
        sizes = [np.abs(_numbers(p, np.array(ends))).max() for p, *ends in zip(self.parameters, low, high, strict=True)]
        return np.array(sizes, dtype=float)

    def excess(self, V: Matrix) -> Matrix:
        """By how much each of m rules is passed at values of shape (n, p): shape (n, m); 0 where a rule does not apply."""
        numbers = np.column_stack([_numbers(p, v) for p, v in zip(self.parameters, V.T, strict=True)])
        over = numbers @ self.coefficients.T + np.array([rule.form.constant for rule in self.space.rules])
        return np.where(self.applies(V), over, 0.0)

    def applies(self, V: Matrix) -> Mask:
        """Which of m rules bind at values of shape (n, p): shape (n, m)."""
        mask = np.ones((len(V), len(self.space.rules)), dtype=bool)
        for i, rule in enumerate(self.space.rules):
            for gate, allowed in self._indices(rule.needs):
                mask[:, i] &= np.isin(V[:, gate], allowed)
        return mask

    @cached_property
    def coefficients(self) -> Matrix:
        """Of the m rules, shape (m, p)."""
        rows = [[rule.form.coefficients.get(p.name, 0.0) for p in self.parameters] for rule in self.space.rules]
        return np.array(rows, dtype=float).reshape(len(rows), self.latent)

    @cached_property
    def equalities(self) -> Mask:
        """Which of the m rules are equalities, shape (m,)."""
        return np.array([rule.equality for rule in self.space.rules], dtype=bool)

    def within(self, V: Matrix) -> Mask:
        """Which values of shape (n, p) lie inside the bounds, as far as they exist."""
        low, high = self.bounds
        slack = SLACK * np.maximum(1.0, high - low)
        outside = (V - high > slack) | (low - V > slack)
        return np.asarray(~(outside & self.active(V)).any(axis=1))

    def values(self, candidates: Sequence[Candidate]) -> Matrix:
        """The values of candidates, shape (n, p)."""
        rows = [
            [_index(p, c.parameters[p.name]) if p.name in c.parameters else _rest(p) for p in self.parameters] for c in candidates
        ]
        return self.at_rest(np.array(rows, dtype=float).reshape(len(rows), self.latent))

    def encode(self, candidates: Sequence[Candidate]) -> Matrix:
        """What a kernel reads of candidates, shape (n, d)."""
        return self.unit_from_values(self.values(candidates)) if candidates else np.zeros((0, self.dimension))

    def candidate(self, row: Matrix) -> Candidate:
        """The candidate with these values, shape (p,): what exists, derived parameters computed."""
        return self.space.complete(Candidate(self.natural(row)))

    def natural(self, row: Matrix) -> dict[str, ParameterValue]:
        """What a candidate with these values states, shape (p,): all that exists there."""
        there = self.active(row[None])[0]
        return {p.name: _natural(p, float(v)) for p, v, exists in zip(self.parameters, row, there, strict=True) if exists}


def _width(parameter: InputParameter) -> int:
    return len(parameter.values) if isinstance(parameter, ChoiceParameter) and not parameter.ordered else 1


def _spread(parameter: InputParameter, u: Matrix) -> Matrix:
    if isinstance(parameter, (RangeParameter, ContextParameter)):
        if isinstance(parameter, RangeParameter) and parameter.log:
            low, high = np.log(parameter.lower), np.log(parameter.upper)
            return np.clip(np.exp(low + u * (high - low)), parameter.lower, parameter.upper)
        return parameter.lower + u * (parameter.upper - parameter.lower)
    low, count = _discrete(parameter)
    return low + np.clip(np.floor(u * count), 0, count - 1)


def _position(parameter: InputParameter, v: Matrix) -> Matrix:
    if isinstance(parameter, (RangeParameter, ContextParameter)):
        return _scaled(parameter, v)
    low, count = _discrete(parameter)
    return (v - low + 0.5) / count


def _discrete(parameter: IntegerParameter | ChoiceParameter) -> tuple[int, int]:
    if isinstance(parameter, IntegerParameter):
        return parameter.lower, parameter.upper - parameter.lower + 1
    return 0, len(parameter.values)


def _scaled(parameter: RangeParameter | ContextParameter, v: Matrix) -> Matrix:
    if isinstance(parameter, RangeParameter) and parameter.log:
        # Before an amendment a value may have been 0 or less: it stands a whole range below.
        v = np.where(v > 0, v, parameter.lower**2 / parameter.upper)
        return np.log(v / parameter.lower) / np.log(parameter.upper / parameter.lower)
    return (v - parameter.lower) / (parameter.upper - parameter.lower)


def _columns(parameter: InputParameter, v: Matrix) -> Matrix:
    if isinstance(parameter, (RangeParameter, ContextParameter)):
        return _scaled(parameter, v)
    low, count = _discrete(parameter)
    if isinstance(parameter, IntegerParameter) or parameter.ordered:
        return (v - low) / (count - 1)
    return np.asarray(v[:, None] == np.arange(count), dtype=float) * ONE_HOT


def _numbers(parameter: InputParameter, v: Matrix) -> Matrix:
    if not isinstance(parameter, ChoiceParameter):
        return v
    if not parameter.numeric:
        return np.zeros_like(v)
    return np.array(parameter.values, dtype=float)[v.astype(int)]


def _index(parameter: InputParameter, given: ParameterValue) -> float:
    """The number a value stands for; -1 for a choice that an amended spec no longer offers (all its columns are 0)."""
    if not isinstance(parameter, ChoiceParameter):
        return float(given)
    return float(parameter.values.index(given)) if given in parameter.values else NO_VALUE


def _rest(parameter: InputParameter) -> float:
    """Where a parameter stands that does not exist: in the middle of its unit column, or at no value."""
    if isinstance(parameter, RangeParameter):
        return float(_spread(parameter, np.array([0.5]))[0])
    if isinstance(parameter, ChoiceParameter):
        return (len(parameter.values) - 1) / 2 if parameter.ordered else NO_VALUE
    return (parameter.lower + parameter.upper) / 2


def _natural(parameter: InputParameter, v: float) -> ParameterValue:
    if isinstance(parameter, ChoiceParameter):
        return parameter.values[int(v)]
    return round(v) if isinstance(parameter, IntegerParameter) else v
