"""How much better a noisy list's best row will be known after a test: the knowledge gradient over a finite set.

A campaign on a noisy list ends with a recommendation, the row with the best posterior mean. With mean mu and covariance S of the
rows, and v the variance of one result's error over L for L results of a row x, that mean becomes mu + s(x) Z with Z standard
normal, and the worth of the test is (Frazier, Powell and Dayanik 2009)

    E[max_i (mu_i + s_i(x) Z)] - max_i mu_i,    s(x) = S(:, x) / sqrt(S(x, x) + v / L)

One cell of noise as large as the signal hardly ever changes the choice, and its worth says nothing; so several together are
weighed, L > 1 (Frazier and Powell 2010). A batch is chosen one test after another, and a chosen or pending test takes away the
variance that it will explain.

The worth is exact for the next results and blind beyond them: with few cells it leads, with many it keeps to rows it believes in.
So half of the tests are drawn by top-two Thompson sampling instead (Russo 2016): the best row of a sampled world, or the best of
another world that disagrees.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Matrix = NDArray[np.float64]

# Results of a row that are weighed together, and equally probable values of Z.
LOOK_AHEAD, QUANTILES = 8, 16
_Z = ndtri((np.arange(QUANTILES) + 0.5) / QUANTILES)
_VARIANCE_FLOOR = 1e-12


# Share of the tests that the knowledge gradient chooses; share of the other ones that go to the first world's best row.
SHARE, LEADER_SHARE = 0.5, 0.7
_CHALLENGES = 64


def worth_testing(
    n: int,
    mean: Matrix,
    covariance: Matrix,
    noise: float,
    chance: Matrix,
    pending: Sequence[int],
    rng: np.random.Generator,
) -> list[int]:
    """The rows to test next so as to find the best one, in order; a row may come again.

    Args:
        n: how many.
        mean: of the rows, more is better, shape (N,).
        covariance: of the rows, shape (N, N).
        noise: variance of one result's error.
        chance: the probability that a row may be recommended at all, shape (N,).
        pending: rows whose results will come.
        rng: of the sampled worlds.
    """
    unexplained = covariance.copy()
    for row in pending:
        _explain(unexplained, row, noise)
    factor = _factor(covariance)
    chosen: list[int] = []
    for _ in range(n):
        if rng.random() < SHARE:
            row = int(np.argmax(knowledge_gradient(mean, unexplained, noise, chance)))
        else:
            row = _top_two(mean, factor, chance, rng)
        _explain(unexplained, row, noise)
        chosen.append(row)
    return chosen


def _top_two(mean: Matrix, factor: Matrix, chance: Matrix, rng: np.random.Generator) -> int:
    def best_of_a_world() -> int:
        world = mean + factor @ rng.standard_normal(len(mean))
        return int(np.argmax(np.where(rng.random(len(mean)) < chance, world, -np.inf)))

    leader = best_of_a_world()
    if rng.random() < LEADER_SHARE:
        return leader
    return next((other for other in (best_of_a_world() for _ in range(_CHALLENGES)) if other != leader), leader)


def knowledge_gradient(mean: Matrix, covariance: Matrix, noise: float, chance: Matrix) -> Matrix:
    """The worth of a test of every row, shape (N,), weighed by its own chance of being allowed; arguments as above."""
    # What a row gains over the poorest counts only if it is allowed.
    now = chance * (mean - mean.min())
    variance = np.maximum(np.diag(covariance), 0.0)
    change = covariance / np.sqrt(variance + noise / LOOK_AHEAD + _VARIANCE_FLOOR) * chance[:, None]
    after = np.zeros(len(mean))
    for z in _Z:
        after += (now[:, None] + z * change).max(axis=0)
    return np.asarray((after / QUANTILES - now.max()) * chance)


def _factor(covariance: Matrix) -> Matrix:
    """A root of the covariance, which rounding may have left a little indefinite."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def _explain(covariance: Matrix, row: int, noise: float) -> None:
    """Take away what one result of a row explains, in place."""
    with_it = covariance[row].copy()
    covariance -= np.outer(with_it, with_it) / (max(with_it[row], 0.0) + noise + _VARIANCE_FLOOR)
