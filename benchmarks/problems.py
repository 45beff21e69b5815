"""Seeded problems with a limit that must not be passed: smooth random responses over a box.

The value and the hazard of a point are each a random trend that rises along every axis (more current: faster, and hotter)
plus random waves of the same weight: a draw of a Gaussian process with a squared exponential kernel, by random Fourier
features (Rahimi and Recht 2007), with a lengthscale of its own for every axis. Both are scaled to 0..1 over the box. The limit
stands where a third of the box passes it. A draw counts only if the unconstrained optimum is unsafe and worth at least 5 %
more than the safe one. The safe seeds are drawn evenly from points that keep the limit by a tenth of the hazard's range.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

Matrix = NDArray[np.float64]
Function = Callable[[Matrix], Matrix]

NOISE_SD = 0.02
UNSAFE_SHARE = 1 / 3
SAFE_SEEDS = 4
WORTH_OF_THE_LIMIT = 0.05
SEED_MARGIN = 0.1
SHORTEST, LONGEST = 0.3, 1.0
_WAVES = 200
_SURVEY = 13
_CLIMBERS, _STEPS, _STEPS_AT_ONCE = 12, 30, 32


@dataclass(frozen=True)
class Response:
    """A smooth random function of the unit cube, scaled to 0..1 over it."""

    slope: Matrix
    frequency: Matrix
    phase: Matrix
    amplitude: Matrix
    lowest: float = 0.0
    range: float = 1.0

    def __call__(self, X: Matrix) -> Matrix:
        """The response without noise at points of shape (n, d): shape (n,)."""
        raw = X @ self.slope + np.cos(X @ self.frequency + self.phase) @ self.amplitude
        return np.asarray((raw - self.lowest) / self.range)


@dataclass(frozen=True)
class SafeProblem:
    """A box in which a value is wanted and a hazard must stay below a limit.

    Attributes:
        seed: the problem's name within its dimension.
        value, hazard: responses scaled to 0..1; the value is wanted large.
        limit: what the hazard may reach.
        safe_optimum: the largest value that keeps the limit.
        safe_seeds: points known to be safe, shape (4, d).
    """

    seed: int
    value: Response
    hazard: Response
    limit: float
    safe_optimum: float
    safe_seeds: Matrix

    @property
    def dimension(self) -> int:
        """The number of parameters."""
        return int(self.safe_seeds.shape[1])

    def noise(self, tests: int) -> Matrix:
        """What measuring adds to value and hazard of the k-th test, the same for every method: shape (tests, 2)."""
        return np.random.default_rng([self.seed, self.dimension, 7]).normal(0.0, NOISE_SD, (tests, 2))


def safe_problem(seed: int, dimension: int) -> SafeProblem:
    """The problem of a seed: the first of its draws whose unconstrained optimum is unsafe and worth the limit."""
    rng = np.random.default_rng([seed, dimension])
    while True:
        problem = _draw(rng, seed, dimension)
        if problem is not None:
            return problem


def _draw(rng: np.random.Generator, seed: int, dimension: int) -> SafeProblem | None:
    survey = qmc.Sobol(dimension, rng=rng).random_base2(_SURVEY)
    value, hazard = (_scaled(_response(rng, dimension), survey, rng) for _ in range(2))
    hazards = hazard(survey)
    limit = float(np.quantile(hazards, 1 - UNSAFE_SHARE))
    best = highest(value, survey, rng)
    safe_optimum = float(value(highest(value, survey, rng, hazard, limit)[None])[0])
    if hazard(best[None])[0] <= limit or value(best[None])[0] < (1 + WORTH_OF_THE_LIMIT) * safe_optimum:
        return None
    known = survey[hazards <= limit - SEED_MARGIN]
    if len(known) < SAFE_SEEDS:
        return None
    return SafeProblem(seed, value, hazard, limit, safe_optimum, known[rng.choice(len(known), SAFE_SEEDS, replace=False)])


def _response(rng: np.random.Generator, dimension: int) -> Response:
    """Waves of variance one and a rising trend of the same variance over the cube."""
    lengthscale = np.sqrt(dimension / 3) * SHORTEST * (LONGEST / SHORTEST) ** rng.random(dimension)
    slope = rng.random(dimension)
    return Response(
        slope=slope / np.sqrt((slope**2).sum() / 12),
        frequency=rng.standard_normal((dimension, _WAVES)) / lengthscale[:, None],
        phase=2 * np.pi * rng.random(_WAVES),
        amplitude=np.sqrt(2 / _WAVES) * rng.standard_normal(_WAVES),
    )


def _scaled(raw: Response, survey: Matrix, rng: np.random.Generator) -> Response:
    top = float(raw(highest(raw, survey, rng)[None])[0])
    lowest = float(raw(highest(lambda X: -raw(X), survey, rng)[None])[0])
    return Response(raw.slope, raw.frequency, raw.phase, raw.amplitude, lowest, top - lowest)


def highest(
    response: Function, survey: Matrix, rng: np.random.Generator, hazard: Function | None = None, limit: float = np.inf
) -> Matrix:
    """Where a response is highest among points that keep a limit: the survey's best points, each climbing by random steps."""

    def height(X: Matrix) -> Matrix:
        return response(X) if hazard is None else np.where(hazard(X) <= limit, response(X), -np.inf)

    climbers = survey[np.argsort(-height(survey))[:_CLIMBERS]]
    for step in np.geomspace(0.1, 1e-3, _STEPS):
        around = climbers[:, None] + step * rng.standard_normal((len(climbers), _STEPS_AT_ONCE, survey.shape[1]))
        around = np.concatenate([climbers[:, None], np.clip(around, 0.0, 1.0)], axis=1)
        heights = height(around.reshape(-1, survey.shape[1])).reshape(len(climbers), -1)
        climbers = around[np.arange(len(climbers)), heights.argmax(axis=1)]
    return np.asarray(climbers[height(climbers).argmax()])
