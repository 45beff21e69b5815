"""Which rows of a noisy list to test so as to know the best one: top-two Thompson sampling.

A campaign on a noisy list ends with a recommendation, the row with the best posterior mean. Each test is drawn from what is
believed (Russo 2016, top-two Thompson sampling): a world is sampled from the joint posterior of the rows and its best row, the
leader, is tested with probability LEADER_SHARE; otherwise worlds are sampled until one has another best row, the challenger, and
that one is tested. So rows that may be best are told apart, in proportion to the probability that they are. The draws of a batch
are independent: they spread as far as the belief is wide, and repeat a row where it alone is worth testing; a pending test moves
no draw, as its result is not known.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

LEADER_SHARE = 0.7
# Worlds in which a challenger is looked for, before the leader is tested after all.
_CHALLENGES = 64


def top_two(n: int, mean: Matrix, covariance: Matrix, chance: Matrix, rng: np.random.Generator) -> list[int]:
    """The rows to test next so as to find the best one; a row may come again.

    Args:
        n: how many.
        mean: of the rows, more is better, shape (N,).
        covariance: of the rows, shape (N, N).
        chance: the probability that a row may be recommended at all, shape (N,).
        rng: of the sampled worlds.
    """
    factor = _factor(covariance)

    def best_of_a_world() -> int:
        world = mean + factor @ rng.standard_normal(len(mean))
        return int(np.argmax(np.where(rng.random(len(mean)) < chance, world, -np.inf)))

    def drawn() -> int:
        leader = best_of_a_world()
        if rng.random() < LEADER_SHARE:
            return leader
        return next((other for other in (best_of_a_world() for _ in range(_CHALLENGES)) if other != leader), leader)

    return [drawn() for _ in range(n)]


def _factor(covariance: Matrix) -> Matrix:
    """A root of the covariance, which rounding may have left a little indefinite."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
