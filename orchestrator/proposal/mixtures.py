"""Points on equalities: compositions drawn evenly from the cube, and points brought back onto what an equality allows.

Over shares y >= 0 that sum to one, uniform points are had from the cube by breaking a stick (Devroye 1986, "Non-Uniform Random
Variate Generation", XI.4): what is left is multiplied by u^(1/r), r the number of shares still to come. It keeps volumes, so a
Sobol sequence stays as even on the simplex as it was in the cube. A sum of ranges a.x = s, every a > 0, is such a simplex with
x = lower + y (s - a.lower) / a, or seen from the upper bounds, whichever is the smaller; what then passes a bound is rejected.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain import RangeParameter
from orchestrator.proposal.space_encoding import SpaceEncoding

Matrix = NDArray[np.float64]

_EXACT = 1e-13
_ROUNDS = 30


@dataclass(frozen=True)
class Composition:
    """An equality over ranges whose coefficients have one sign, and that no other equality touches.

    Attributes:
        rule: its place among the space's rules.
        columns: of values, that it binds and that are not held.
    """

    rule: int
    columns: tuple[int, ...]


def compositions(encoding: SpaceEncoding) -> list[Composition] | None:
    """The space's equalities as compositions; None if one of them is of another kind, to be walked instead."""
    found: list[Composition] = []
    for i in np.flatnonzero(encoding.equalities):
        columns = tuple(int(j) for j in np.flatnonzero((encoding.coefficients[i] != 0) & ~encoding.held))
        if not columns or not _is_composition(encoding, int(i), columns):
            return None
        found.append(Composition(int(i), columns))
    together = [(a, b) for k, a in enumerate(found) for b in found[:k] if set(a.columns) & set(b.columns)]
    return None if any(_may_both_apply(encoding, a.rule, b.rule) for a, b in together) else found


def _is_composition(encoding: SpaceEncoding, rule: int, columns: tuple[int, ...]) -> bool:
    parameters = [encoding.parameters[j] for j in columns]
    a = encoding.coefficients[rule, list(columns)]
    return all(isinstance(p, RangeParameter) and not p.log for p in parameters) and bool((a > 0).all() or (a < 0).all())


def _may_both_apply(encoding: SpaceEncoding, first: int, second: int) -> bool:
    one, other = encoding.space.rules[first].needs, encoding.space.rules[second].needs
    return all(one[gate] & other[gate] for gate in one.keys() & other.keys())


def blended(encoding: SpaceEncoding, V: Matrix, U: Matrix, found: list[Composition]) -> Matrix:
    """Values V of shape (n, p) with every composition that applies drawn from the cube's points U, same shape."""
    V = V.copy()
    for composition in found:
        rows = np.flatnonzero(encoding.applies(V)[:, composition.rule])
        if len(rows):
            place = rows[:, None], np.array(composition.columns)
            V[place] = _shared_out(encoding, composition, V[rows], U[place])
    return V


def _shared_out(encoding: SpaceEncoding, composition: Composition, V: Matrix, U: Matrix) -> Matrix:
    columns, low, high = list(composition.columns), *encoding.bounds
    sign = np.sign(encoding.coefficients[composition.rule, columns[0]])
    a = sign * encoding.coefficients[composition.rule, columns]
    rest = V.copy()
    rest[:, columns] = 0.0
    total = -sign * (rest @ encoding.coefficients[composition.rule] + encoding.space.rules[composition.rule].form.constant)
    above, below = total - a @ low[columns], a @ high[columns] - total
    shares = broken_sticks(U)
    from_low, from_high = low[columns] + shares * above[:, None] / a, high[columns] - shares * below[:, None] / a
    X = np.where((above <= below)[:, None], from_low, from_high)
    X[:, -1] = (total - X[:, :-1] @ a[:-1]) / a[-1]
    return X


def broken_sticks(U: Matrix) -> Matrix:
    """Points of the cube of shape (n, k) as shares of one, uniform over the simplex, same shape; the last column is not read."""
    k = U.shape[1]
    left = np.cumprod(np.column_stack([U[:, i] ** (1 / (k - 1 - i)) for i in range(k - 1)] or [np.ones((len(U), 0))]), axis=1)
    edges = np.column_stack([np.ones(len(U)), left, np.zeros(len(U))])
    return edges[:, :-1] - edges[:, 1:]


def restored(encoding: SpaceEncoding, V: Matrix) -> Matrix:
    """Values of shape (n, p) moved onto the equalities, each range by as little of its width as will do.

    Ranges that would pass a bound stay at it and the others make up for them. Where the bounds leave no point near enough, the
    row comes back off the equality: `SpaceEncoding.feasible` tells.
    """
    if not encoding.equalities.any() or not len(V):
        return V
    low, high = encoding.bounds
    movable = encoding.ranges & encoding.active(V)
    V = np.where(movable, np.clip(V, low, high), V)
    scale = np.maximum(1.0, np.abs(encoding.coefficients[encoding.equalities]).max())
    for _ in range(_ROUNDS):
        over = encoding.excess(V)[:, encoding.equalities]
        if np.abs(over).max() <= _EXACT * scale:
            break
        step = _correction(encoding, V, over, movable)
        stuck = movable & (((low >= V) & (step < 0)) | ((high <= V) & (step > 0)))
        movable &= ~stuck
        V = np.clip(V + np.where(stuck, 0.0, step), *_limits(encoding, V))
    return V


def _correction(encoding: SpaceEncoding, V: Matrix, over: Matrix, movable: NDArray[np.bool_]) -> Matrix:
    """The smallest step, in shares of the ranges' widths, that takes off what is over: shape (n, p)."""
    low, high = encoding.bounds
    A = encoding.coefficients[encoding.equalities] * encoding.applies(V)[:, encoding.equalities, None]
    weighted = A * (movable * (high - low) ** 2)[:, None, :]
    return -np.einsum("nmp,nml,nl->np", weighted, np.linalg.pinv(weighted @ A.transpose(0, 2, 1), hermitian=True), over)


def _limits(encoding: SpaceEncoding, V: Matrix) -> tuple[Matrix, Matrix]:
    """The bounds of ranges; everything else stays where it is."""
    low, high = encoding.bounds
    return np.where(encoding.ranges, low, V), np.where(encoding.ranges, high, V)
