"""What a test inside the safe set opens: candidates beyond it that are worth reaching, and how far one test brings them in.

A goal is a candidate that is not yet safe with confidence, may well be, and promises more than any that is (goal-oriented
safe exploration: Turchetta et al. 2019, GoOSE; Sui et al. 2018, StageOpt). Its promise is its expected improvement times the
probability that it keeps the limits, by the neutral belief (the pessimistic one would see no goals). A safe test at x, its
reading not yet known, shrinks the variance at a goal g to

    var'(g) = var(g) - cov(x, g)^2 / (var(x) + spread^2 + sem^2)

and so its pessimistic bound by beta * (sd(g) - sd'(g)). That, as a share of what the bound lacks, at most 1 and the smallest
over all limits, is how far the test brings the goal in: share(x, g). What the test opens is

    max_g share(x, g) * (promise(g) - best promise inside)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular

from orchestrator.proposal.marginal_likelihood import JITTER
from orchestrator.proposal.safe_set import SafeSet, SafeSide
from orchestrator.proposal.surrogate import CHUNK, Place

Matrix = NDArray[np.float64]

# The most promising goals that are looked at.
GOALS = 128


@dataclass(frozen=True)
class Opening:
    """What tests open.

    Attributes:
        worth: by test, shape (n,): the promise that it brings nearer.
        goal: by test, shape (n,): the row of the goal that it is made for.
        share: by test, shape (n,): how far it brings that goal in, 0 to 1.
    """

    worth: Matrix
    goal: NDArray[np.int_]
    share: Matrix


def openings(safe: SafeSet, tests: Matrix, beyond: Matrix, extra: Matrix, pending: Matrix) -> Opening | None:
    """What each safe test opens, or None if nothing beyond the safe set promises more than what is inside.

    Args:
        safe: the safe set.
        tests: safe points, shape (n, d).
        beyond: points outside the safe set, shape (m, d).
        extra: what each of these promises beyond the best inside, shape (m,).
        pending: points whose readings will come, shape (k, d): what they will tell is not counted twice.
    """
    goals = np.argsort(-extra, kind="stable")[:GOALS]
    goals = goals[extra[goals] > 0]
    if not len(goals) or not len(tests):
        return None
    ahead = [_Ahead(side, beyond[goals], pending) for side in safe.sides]
    parts = [tests[i : i + CHUNK] for i in range(0, len(tests), CHUNK)]
    share = np.vstack([np.min([a.share(part) for a in ahead], axis=0) for part in parts])
    worth = share * extra[goals]
    best = worth.argmax(axis=1)
    rows = np.arange(len(tests))
    return Opening(worth[rows, best], goals[best], share[rows, best])


class _Ahead:
    """One bound's view of the goals, once the pending readings have come."""

    def __init__(self, side: SafeSide, goals: Matrix, pending: Matrix) -> None:
        self.side, self.surrogate = side, side.surrogate
        self.spread = self.surrogate.hyperparameters.spread
        self.noise = float(np.median(self.surrogate.noise)) + self.spread + JITTER
        self.pending: Place | None = None
        if len(pending):
            self.pending = self.surrogate.place(pending)
            among = self.surrogate.covariance_between(self.pending, self.pending)
            self.factor = cholesky(among + self.noise * np.eye(len(pending)), lower=True)
        self.goals = self.surrogate.place(goals)
        self.told_goals = self._told(self.goals)
        self.variance = self.goals.variance - (self.told_goals**2).sum(axis=0)
        inside = side.sign * ((side.limit - self.surrogate.centre) / self.surrogate.scale - self.goals.mean)
        self.lacks = side.beta * self._sd(self.variance) - inside

    def share(self, tests: Matrix) -> Matrix:
        """How far tests of shape (n, d) bring each of m goals inside this bound: shape (n, m)."""
        place = self.surrogate.place(tests)
        told = self._told(place)
        cross = self.surrogate.covariance_between(place, self.goals) - told.T @ self.told_goals
        variance = np.maximum(place.variance - (told**2).sum(axis=0), 0.0) + self.noise
        after = self._sd(self.variance - cross**2 / variance[:, None])
        gained = self.side.beta * (self._sd(self.variance) - after)
        # The last part of the way may already be covered by what is pending.
        return np.where(self.lacks <= 0, 1.0, np.minimum(1.0, gained / np.maximum(self.lacks, JITTER)))

    def _told(self, place: Place) -> Matrix:
        """What the pending readings explain at a place: shape (k, n)."""
        if self.pending is None:
            return np.zeros((0, len(place.X)))
        cross = self.surrogate.covariance_between(self.pending, place)
        return np.asarray(solve_triangular(self.factor, cross, lower=True, check_finite=False))

    def _sd(self, variance: Matrix) -> Matrix:
        return np.asarray(np.sqrt(np.maximum(variance, 0.0) + self.spread))
