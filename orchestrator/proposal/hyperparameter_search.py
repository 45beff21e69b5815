"""The search for the most probable hyperparameters, at a cost that grows with the number of readings and no faster.

An exact marginal likelihood costs n^3. Up to a few hundred points it is maximised as it is. Above, the readings are cut into
neighbourhoods by halving the cube along its longest side, and the sum of their exact likelihoods is maximised instead, a
composite likelihood (Varin, Reid and Firth 2011): every reading counts, beside the ones that tell most about it. The posterior
rests on all readings together in any case. Where there are many points the search begins on a small, evenly spread subset of
them, which is a function of the data: the same history, the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from orchestrator.proposal.marginal_likelihood import Hyperparameters, MarginalLikelihood, Prior
from orchestrator.proposal.multiple_kernel import GroupedLikelihood

Matrix = NDArray[np.float64]
Rows = NDArray[np.intp]

# Points from which the likelihood of one kernel, and of several, is cut, and points of the subset that the search begins with.
LARGEST_BLOCK, LARGEST_DEAL, FIRST_LOOK = 320, 200, 64
_FIRST_STEPS, _MAX_STEPS = 8, 80
# Relative changes of the loss below this say nothing: a few thousandths of a nat at a thousand readings.
_TOLERANCE = 1e-6


class Likelihood(Protocol):
    """A negative log posterior of hyperparameters."""

    bounds: list[tuple[float, float]]

    @property
    def starts(self) -> list[Matrix]:
        """Vectors to search from."""
        ...

    def at(self, theta: Matrix) -> Hyperparameters:
        """What a vector stands for."""
        ...

    def before(self, theta: Matrix) -> tuple[float, Matrix]:
        """The prior's part, and its gradient."""
        ...

    def loss(self, theta: Matrix) -> tuple[float, Matrix]:
        """The value and its gradient."""
        ...


def fit_hyperparameters(X: Matrix, y: Matrix, noise: Matrix, prior: Prior) -> Hyperparameters:
    """The most probable hyperparameters.

    Args:
        X: points of the cube, shape (n, d), n >= 1.
        y: scaled outcomes, shape (n,).
        noise: known variances of the scaled outcomes, shape (n,).
        prior: what is believed before.

    Returns:
        The end of the more promising of two searches: from the prior's medians, and from mostly noise. Where the prior leaves
        the kernel open, the one of the higher posterior density; with many points the subset's evidence decides.
    """
    points, point = np.unique(X, axis=0, return_inverse=True)
    point = point.reshape(-1)
    kinds = _kinds(prior)
    few = len(points) <= 2 * FIRST_LOOK
    look = np.arange(len(X)) if few else np.flatnonzero(np.isin(point, spread_subset(points, FIRST_LOOK)))
    looks = [_likelihood(X, y, noise, kind, look) for kind in kinds]
    ends = [_searched(look.loss, look, look.starts) for look in looks]
    losses = [look.loss(end)[0] for look, end in zip(looks, ends, strict=True)]
    best = int(np.argmin(losses))
    if few:
        return looks[best].at(ends[best])
    cut = dealt if prior.groups else neighbourhoods
    blocks = [np.flatnonzero(np.isin(point, block)) for block in cut(points, LARGEST_BLOCK)]
    parts = [_likelihood(X, y, noise, kinds[best], rows) for rows in blocks]
    return looks[best].at(_searched(partial(composite, parts), looks[best], [ends[best]]))


def _kinds(prior: Prior) -> list[Prior]:
    """The kernels among which the evidence decides: with as many hyperparameters and the same beliefs, it needs no correction."""
    undecided = prior.smooth is None and not prior.groups
    return [replace(prior, smooth=smooth) for smooth in ((False, True) if undecided else (bool(prior.smooth),))]


def _likelihood(X: Matrix, y: Matrix, noise: Matrix, prior: Prior, rows: Rows) -> Likelihood:
    kind = GroupedLikelihood if prior.groups else MarginalLikelihood
    return kind(X[rows], y[rows], noise[rows], prior)


def _searched(loss: Callable[[Matrix], tuple[float, Matrix]], of: Likelihood, starts: Sequence[Matrix]) -> Matrix:
    """Where the most promising search ends; of several each makes its first steps."""
    lowest, highest = np.array(of.bounds).T

    def search(start: Matrix, steps: int) -> Any:
        settings = {"maxiter": steps, "ftol": _TOLERANCE}
        return minimize(loss, np.clip(start, lowest, highest), jac=True, method="L-BFGS-B", bounds=of.bounds, options=settings)

    if len(starts) > 1:
        starts = [min((search(start, _FIRST_STEPS) for start in starts), key=lambda found: float(found.fun)).x]
    return np.asarray(search(starts[0], _MAX_STEPS).x)


def composite(parts: Sequence[Likelihood], theta: Matrix) -> tuple[float, Matrix]:
    """The losses of blocks that share their hyperparameters, the prior counted once: value and gradient."""
    found = [part.loss(theta) for part in parts]
    once, slope = parts[0].before(theta)
    again = len(parts) - 1
    return sum(value for value, _ in found) - again * once, sum(by for _, by in found) - again * slope


def neighbourhoods(X: Matrix, largest: int) -> list[Rows]:
    """The rows of X, shape (n, d), in as few blocks of at most `largest` as there can be, equal in size, each of neighbours."""

    def cut(rows: Rows, into: int) -> list[Rows]:
        if into == 1:
            return [rows]
        longest = int(np.argmax(np.ptp(X[rows], axis=0)))
        ordered = rows[np.argsort(X[rows, longest], kind="stable")]
        here = into // 2
        at = len(rows) * here // into
        return cut(ordered[:at], here) + cut(ordered[at:], into - here)

    return cut(np.arange(len(X)), -(-len(X) // largest))


def dealt(X: Matrix, largest: int) -> list[Rows]:
    """The rows of X in as few blocks of at most `largest` as there can be, dealt out like cards: each is a sample of the whole.

    Kernels that are centred and normalised need the same centre and norm in every block.
    """
    count = -(-len(X) // largest)
    return [np.arange(i, len(X), count) for i in range(count)]


def evenly(X: Matrix, largest: int) -> Matrix:
    """At most so many rows of X, at even steps."""
    return X if len(X) <= largest else X[np.linspace(0, len(X) - 1, largest).astype(int)]


def spread_subset(X: Matrix, count: int) -> Rows:
    """So many rows of X, shape (n, d), spread evenly: greedy maximin from the one nearest the middle."""
    nearest = np.argmin(((X - X.mean(axis=0)) ** 2).sum(axis=1))
    chosen = [int(nearest)]
    distance = ((X - X[nearest]) ** 2).sum(axis=1)
    for _ in range(min(count, len(X)) - 1):
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, ((X - X[chosen[-1]]) ** 2).sum(axis=1))
    return np.array(chosen)
