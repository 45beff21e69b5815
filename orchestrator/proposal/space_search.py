"""Where in a space a test promises most: a dense sample first, then closer and closer around its best points.

The acquisition is `NoisyImprovement`, exact given its samples, and cheap at thousands of points at once. So no gradients and no
restarts are needed, whole numbers and choices are searched as they are, and every point keeps the linear constraints. A batch
is chosen greedily: each choice joins the baseline of the next, its value sampled like that of a pending test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain import Candidate
from orchestrator.proposal.acquisition import NoisyImprovement, Places, feasibility, goals_of
from orchestrator.proposal.beliefs import Beliefs, tested_points
from orchestrator.proposal.history import History
from orchestrator.proposal.pool import Pool, perturbed, sampled_values, space_pool
from orchestrator.proposal.space_encoding import SpaceEncoding

Matrix = NDArray[np.float64]

POOL_SIZE = 1024
# Of which the most promising are weighed again for the further candidates of a batch.
KEPT_FOR_BATCH = 400
# Tested points around which the sample is dense from the start.
ANCHORS = 8
# Rounds of refinement: how many of the best points are kept, and how far from them is looked, as shares of the cube.
BEST_KEPT = 4
RADII = ((0.1, 0.03), (0.05, 0.015), (0.02, 0.006), (0.008, 0.002))


@dataclass(frozen=True)
class Choice:
    """A candidate and the expected improvement that it promises, in scaled outcomes."""

    candidate: Candidate
    gain: float


def most_promising(
    n: int, history: History, beliefs: Beliefs, encoding: SpaceEncoding, waiting: Sequence[Candidate] = ()
) -> list[Choice]:
    """The n candidates whose tests promise the largest noisy expected (hypervolume) improvement.

    Args:
        n: how many; fewer where the space has no more.
        history: objectives, constraints and the points tested or pending.
        beliefs: a surrogate for every metric of the campaign.
        encoding: of the campaign's space.
        waiting: candidates about to be tested besides.
    """
    baseline = encoding.encode([*(p.candidate for p in tested_points(history)), *waiting])
    barred = sorted(history.failed, key=lambda c: c.describe())
    V = sampled_values(encoding, POOL_SIZE, history.seed("pool"), _anchors(history, beliefs, encoding))
    pool = space_pool(encoding, V, barred)
    acquisition = NoisyImprovement(history, beliefs, baseline, history.seed("improvement"))
    gain = acquisition(pool.X)
    # What one more pending test does to the others is to take from what they promise: the rest of the pool stays behind.
    ahead = np.zeros(len(gain), dtype=bool)
    ahead[np.argsort(-gain, kind="stable")[:KEPT_FOR_BATCH]] = True
    found = [_refined(acquisition, pool, gain, encoding, barred, history.seed("refine 0"))] if len(pool.X) else []
    pool, places = pool.keep(ahead), Places(pool.X[ahead]).ask(beliefs.surrogates.values())
    while 0 < len(found) < n:
        taken = [choice.candidate for choice in found]
        acquisition = acquisition.joined_by(encoding.encode(taken[-1:]))
        gain = np.where(_among(pool.X, encoding.encode(taken)), -np.inf, acquisition(places))
        if np.isneginf(gain).all():
            break
        found.append(_refined(acquisition, pool, gain, encoding, [*barred, *taken], history.seed(f"refine {len(found)}")))
    return found


def _refined(
    acquisition: NoisyImprovement, pool: Pool, gain: Matrix, encoding: SpaceEncoding, barred: Sequence[Candidate], seed: int
) -> Choice:
    """The best point after looking closer and closer around the best few."""
    kept = np.argsort(-gain, kind="stable")[:BEST_KEPT]
    best = [Choice(pool.candidate(int(row)), float(gain[row])) for row in kept if np.isfinite(gain[row])]
    for round_, radii in enumerate(RADII):
        centres = encoding.values([choice.candidate for choice in best])
        near = space_pool(encoding, perturbed(encoding, centres, seed + round_, radii), barred)
        near_gain = acquisition(near.X)
        order = np.argsort(-near_gain, kind="stable")[:BEST_KEPT]
        best += [Choice(near.candidate(int(row)), float(near_gain[row])) for row in order]
        best = sorted(best, key=lambda choice: -choice.gain)[:BEST_KEPT]
    return best[0]


def _among(X: Matrix, taken: Matrix) -> NDArray[np.bool_]:
    """Which points of shape (n, d) are among others of shape (k, d)."""
    return np.asarray((np.abs(X[:, None] - taken[None]).max(axis=2) < 1e-9).any(axis=1))


def _anchors(history: History, beliefs: Beliefs, encoding: SpaceEncoding) -> list[Candidate]:
    """The tested candidates worth looking around: those that the most improvement was gained by, as far as is believed."""
    tested = list(dict.fromkeys(p.candidate for p in tested_points(history)))
    X = encoding.encode(tested)
    chance = feasibility(beliefs, history.spec.constraints, X)
    heights = np.column_stack([goal.mean(X) for goal in goals_of(history, beliefs, X)])
    likely = chance >= min(0.5, float(chance.max()))
    order = sorted(range(len(tested)), key=lambda i: (not likely[i], _layer(heights, likely, i), -chance[i], i))
    return [tested[i] for i in order[:ANCHORS]]


def _layer(heights: Matrix, likely: NDArray[np.bool_], i: int) -> int:
    """How many likely points are better in everything: 0 on the front."""
    return int(((heights > heights[i]).all(axis=1) & likely).sum())
