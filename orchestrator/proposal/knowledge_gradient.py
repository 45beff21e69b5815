"""How much better a noisy list's best row will be known after a test: the knowledge gradient over a finite set.

A campaign on a noisy list ends with a recommendation, the row with the best posterior mean. With mean mu and covariance S of the
rows, and v the variance of one result's error over L for L results of a row x, that mean becomes mu + s(x) Z with Z standard
normal, and the worth of the test is (Frazier, Powell and Dayanik 2009)

    E[max_i (mu_i + s_i(x) Z)] - max_i mu_i,    s(x) = S(:, x) / sqrt(S(x, x) + v / L)

One cell of noise as large as the signal hardly ever changes the choice, and its worth says nothing; so several together are
weighed, L > 1 (Frazier and Powell 2010). A batch is chosen one test after another, and a chosen or pending test takes away the
variance that it will explain.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Matrix = NDArray[np.float64]

# Results of a row that are weighed together, and equally probable values of Z.
LOOK_AHEAD, QUANTILES = 8, 16
_Z = ndtri((np.arange(QUANTILES) + 0.5) / QUANTILES)
_VARIANCE_FLOOR = 1e-12


def most_informative(n: int, mean: Matrix, covariance: Matrix, noise: float, chance: Matrix, pending: list[int]) -> list[int]:
    """The rows whose tests will most improve the recommendation, in order; a row may come again.

    Args:
        n: how many.
        mean: of the rows, more is better, shape (N,).
        covariance: of the rows, shape (N, N).
        noise: variance of one result's error.
        chance: the probability that a row may be recommended at all, shape (N,).
        pending: rows whose results will come.
    """
    covariance = covariance.copy()
    for row in pending:
        _explain(covariance, row, noise)
    chosen: list[int] = []
    for _ in range(n):
        chosen.append(int(np.argmax(_worth(mean, covariance, noise, chance))))
        _explain(covariance, chosen[-1], noise)
    return chosen


def _worth(mean: Matrix, covariance: Matrix, noise: float, chance: Matrix) -> Matrix:
    """The knowledge gradient of every row, shape (N,), weighed by its own chance of being allowed."""
    # What a row gains over the poorest counts only if it is allowed.
    now = chance * (mean - mean.min())
    variance = np.maximum(np.diag(covariance), 0.0)
    change = covariance / np.sqrt(variance + noise / LOOK_AHEAD + _VARIANCE_FLOOR) * chance[:, None]
    after = np.zeros(len(mean))
    for z in _Z:
        after += (now[:, None] + z * change).max(axis=0)
    return np.asarray((after / QUANTILES - now.max()) * chance)


def _explain(covariance: Matrix, row: int, noise: float) -> None:
    """Take away what one result of a row explains, in place."""
    with_it = covariance[row].copy()
    covariance -= np.outer(with_it, with_it) / (max(with_it[row], 0.0) + noise + _VARIANCE_FLOOR)
