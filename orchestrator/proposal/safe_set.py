"""The safe set: candidates whose pessimistic bound keeps every safe limit.

For each safe constraint a Gaussian process of its own, whose prior mean is the limit itself: where nothing has been
measured, a candidate is taken to stand at the limit, so that only evidence makes it safe (Sui et al. 2015, with a
pessimistic prior mean). A candidate is safe when

    mean + beta_n * sqrt(var + spread^2) <= limit

with `spread` the learned standard deviation from cell to cell: the promise is about the next cell, not the average one.
The process' own scale is learned from the n readings it has, so the bound is Student's: beta_n is the quantile of a t
distribution with n + 1 degrees of freedom at the level at which a normal one has BETA (Student-t process, Shah et al. 2014).
With 4 readings it is 4.1, with 10 it is 3.2, with 40 it is 2.7.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from orchestrator.domain import OutcomeConstraint
from orchestrator.proposal.beliefs import Encoding, readings
from orchestrator.proposal.history import History
from orchestrator.proposal.marginal_likelihood import Prior
from orchestrator.proposal.surrogate import Readings, Surrogate

Matrix = NDArray[np.float64]

# Of 1 600 tests on problems looked at for nothing else (benchmarks/safety.py --first-seed 100) 2.6 proposed none that was unsafe,
# 2.3 four; 2.0 eight of the first 1 240. The smaller it is, the quicker the safe set grows.
BETA = 2.3
# Lengthscales bounded on both sides: a few points along one line must not persuade the model that nothing else matters.
# The spread between cells starts small and may go far: what repeats and residuals say of it counts more than the prior.
SAFE_PRIOR = Prior(
    lengthscale=0.4,
    lengthscale_log_sd=0.3,
    lengthscale_bounds=(0.15, 1.4),
    signal_log_sd=0.5,
    known_level=True,
    spread=math.exp(-6.0),
    spread_log_sd=1.5,
)


@dataclass(frozen=True)
class SafeSide:
    """One bound of one safe constraint: `sign * metric <= sign * limit`.

    Attributes:
        beta: how many sds the pessimistic bound stands from the mean.
    """

    metric: str
    limit: float
    sign: float
    surrogate: Surrogate
    beta: float

    def margin(self, X: Matrix) -> Matrix:
        """How far the pessimistic bound stays inside the limit at points of shape (n, d): (n,), >= 0 is safe."""
        mean, sd = self.surrogate.posterior(X)
        return self.sign * (self.limit - mean) - self.beta * np.hypot(sd, self.surrogate.spread)

    def uncertainty(self, X: Matrix) -> Matrix:
        """The sd of the metric as a share of what is left to the limit: large where a test would tell most."""
        mean, sd = self.surrogate.posterior(X)
        return np.asarray(sd / np.maximum(self.sign * (self.limit - mean), 1e-9))

    def believed(self, x: Matrix) -> dict[str, object]:
        """What is believed of the next cell at a point of shape (1, d), for the record; `sd` holds the spread between cells."""
        mean, sd = self.surrogate.posterior(x)
        side = "upper" if self.sign > 0 else "lower"
        expected = {"mean": float(mean[0]), "sd": float(np.hypot(sd[0], self.surrogate.spread))}
        return {"metric": self.metric, side: self.limit, **expected, "beta": self.beta}


@dataclass(frozen=True)
class SafeSet:
    """Every bound of every safe constraint, jointly."""

    sides: tuple[SafeSide, ...]

    def margin(self, X: Matrix) -> Matrix:
        """The smallest margin over all bounds, each in units of its own surrogate's scale: shape (n,)."""
        return np.min([side.margin(X) / side.surrogate.scale for side in self.sides], axis=0)

    def holds(self, X: Matrix) -> NDArray[np.bool_]:
        """Which points of shape (n, d) are safe."""
        return np.asarray(self.margin(X) >= 0)

    def information(self, X: Matrix) -> Matrix:
        """How much a test would tell about where the limits lie: shape (n,)."""
        return np.max([side.uncertainty(X) for side in self.sides], axis=0)

    def believed(self, x: Matrix) -> list[dict[str, object]]:
        """What is believed of each safe metric at a point of shape (1, d): a record for each bound."""
        return [side.believed(x) for side in self.sides]

    def describe(self) -> dict[str, object]:
        """The limits and what was fitted, for the record."""
        return {
            f"{side.metric} {'<=' if side.sign > 0 else '>='} {side.limit:g}": {
                "beta": round(side.beta, 3),
                "lengthscales": [round(float(x), 3) for x in side.surrogate.hyperparameters.lengthscales],
                "spread_between_cells": float(f"{side.surrogate.spread:.3g}"),
            }
            for side in self.sides
        }


def beta_of(readings: int) -> float:
    """How many sds from the mean the bound stands with so many readings: Student's quantile at the level of BETA."""
    return float(stdtrit(readings + 1.0, ndtr(BETA)))


def fit_safe_set(history: History, encoding: Encoding, prior: Prior = SAFE_PRIOR) -> SafeSet:
    """Fit a pessimistic process to each safe bound; every safe metric needs at least one measured estimate."""
    sides: list[SafeSide] = []
    for constraint in history.spec.safe_constraints:
        measured = readings(history, encoding, constraint.metric)
        for limit, sign in _bounds(constraint):
            surrogate = Surrogate(measured, prior, limit, _scale(measured, limit))
            sides.append(SafeSide(constraint.metric, limit, sign, surrogate, beta_of(len(measured.mean))))
    return SafeSet(tuple(sides))


def _bounds(constraint: OutcomeConstraint) -> list[tuple[float, float]]:
    given: Mapping[float, float | None] = {1.0: constraint.upper, -1.0: constraint.lower}
    return [(limit, sign) for sign, limit in given.items() if limit is not None]


def _scale(measured: Readings, limit: float) -> float:
    """A typical distance from the limit: what the prior takes a metric to vary by."""
    away = np.abs(measured.mean - limit)
    return float(max(np.sqrt((away**2).mean()), measured.sem.max(), 1e-9))
