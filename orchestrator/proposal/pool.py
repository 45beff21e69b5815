"""Finite sets of candidates that an acquisition chooses from: a table's rows, or a dense sample of a space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain import Candidate
from orchestrator.proposal.mixtures import restored
from orchestrator.proposal.sobol import sobol_values
from orchestrator.proposal.space_encoding import SpaceEncoding
from orchestrator.proposal.table_encoding import TableEncoding

Matrix = NDArray[np.float64]

# Perturbations of a promising point: shares of the cube, and how many of each.
RADII, PER_RADIUS = (0.2, 0.07, 0.02), 24
_CHOICE_CHANGED = 0.15


@dataclass(frozen=True)
class Pool:
    """Candidates to choose from.

    Attributes:
        X: what a kernel reads of each, shape (N, d).
        candidate: the candidate in a row of X.
    """

    X: Matrix
    candidate: Callable[[int], Candidate]

    def keep(self, mask: NDArray[np.bool_]) -> Pool:
        """The pool without the rows that the mask leaves out."""
        rows = np.flatnonzero(mask)
        return Pool(self.X[rows], lambda i: self.candidate(int(rows[i])))


def table_pool(encoding: TableEncoding, barred: Sequence[Candidate] = ()) -> Pool:
    """Every row of a table but the barred ones."""
    rows = np.setdiff1d(np.arange(len(encoding.table.rows)), encoding.rows(list(barred)))
    return Pool(encoding.X[rows], lambda i: encoding.table.candidate(int(rows[i])))


def space_pool(encoding: SpaceEncoding, V: Matrix, barred: Sequence[Candidate] = ()) -> Pool:
    """Distinct points with values V of shape (n, p), without the barred candidates."""
    _, first = np.unique(V, axis=0, return_index=True)
    V = V[np.sort(first)]
    if barred:
        taken = restored(encoding, encoding.values(list(barred)))
        for row in np.unique(taken, axis=0):  # one after another: all at once would fill the memory after many failures
            V = V[(np.abs(V - row) > 1e-9 * (1.0 + np.abs(row))).any(axis=1)]
    return Pool(encoding.unit_from_values(V), lambda i: encoding.candidate(V[i]))


def sampled_values(encoding: SpaceEncoding, n: int, seed: int, anchors: Sequence[Candidate] = ()) -> Matrix:
    """Values of shape (N, p): n feasible Sobol points, the anchors, and perturbations of the anchors."""
    dense = sobol_values(encoding, n, seed)
    if not anchors:
        return dense
    centres = encoding.settled(encoding.values(list(anchors)))
    centres = centres[((centres >= 0) | ~encoding.choices | ~encoding.active(centres)).all(axis=1)]
    # An anchor may lie outside a space that was amended since, or off an equality by a person's rounding.
    inside = restored(encoding, centres)
    inside = inside[encoding.feasible(inside) & encoding.within(inside)]
    return np.vstack([dense, inside, perturbed(encoding, centres, seed)])


def perturbed(encoding: SpaceEncoding, centres: Matrix, seed: int, radii: Sequence[float] = RADII) -> Matrix:
    """Feasible points around centres of shape (k, p), at several distances (shares of the cube); shape (N, p)."""
    rng = np.random.default_rng(seed)
    centres = encoding.settled(centres)
    latent = encoding.latent_from_values(centres)
    around = [
        np.clip(latent[:, None] + radius * _steps(rng, (len(centres), PER_RADIUS, encoding.latent)), 0, 1) for radius in radii
    ]
    U = np.concatenate(around).reshape(-1, encoding.latent)
    if encoding.choices.any():
        changed = (rng.random(U.shape) < _CHOICE_CHANGED) & encoding.choices
        kept = np.tile(np.repeat(latent, PER_RADIUS, axis=0), (len(radii), 1))
        U = np.where(changed, rng.random(U.shape), np.where(encoding.choices, kept, U))
    absent = np.tile(np.repeat(~encoding.active(centres), PER_RADIUS, axis=0), (len(radii), 1))
    if absent.any():  # what a centre does not have may be anything where a changed choice brings it in
        U = np.where(absent, rng.random(U.shape), U)
    V = restored(encoding, encoding.values_from_latent(U))
    return V[encoding.feasible(V) & encoding.within(V)]


def _steps(rng: np.random.Generator, shape: tuple[int, ...]) -> Matrix:
    """Normal steps along about half of the axes each."""
    return np.asarray(rng.standard_normal(shape) * (rng.random(shape) < 0.6))


def spread_rows(X: Matrix, n: int, seed: int, taken: Sequence[int] = ()) -> list[int]:
    """Rows of X spread evenly over what its rows cover: greedy maximin from a row that the seed picks.

    Args:
        X: shape (N, d).
        n: how many.
        seed: the same seed gives the same rows; a longer list begins with the shorter one.
        taken: rows already used, kept away from.

    Returns:
        Different rows while there are any left; then they repeat.
    """
    chosen = list(taken)
    rng = np.random.default_rng(seed)
    distance = np.full(len(X), np.inf)
    for row in chosen:
        distance = np.minimum(distance, ((X - X[row]) ** 2).sum(axis=1))
    found: list[int] = []
    for _ in range(n):
        if not chosen:
            row = int(rng.integers(len(X)))
        else:
            if distance.max() <= 0:
                distance = np.full(len(X), np.inf)
            row = _far(distance, rng)
        distance = np.minimum(distance, ((X - X[row]) ** 2).sum(axis=1))
        chosen.append(row)
        found.append(row)
    return found


def _far(distance: Matrix, rng: np.random.Generator) -> int:
    """One of the rows furthest from what is taken: among the best twentieth, so that corners are not all there is."""
    if np.isinf(distance).all():
        return int(rng.integers(len(distance)))
    best = np.flatnonzero(distance >= np.quantile(distance[distance > 0], 0.95))
    return int(rng.choice(best))
