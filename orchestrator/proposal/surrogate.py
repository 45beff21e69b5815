"""The surrogate: a Gaussian process per metric over candidates, with known noise and a learned spread between cells.

Hyperparameters come from `hyperparameter_search`; where the prior names groups of columns each has a kernel (`multiple_kernel`).
The posterior is plain linear algebra in float64; the same belief is at hand
as a BoTorch model, for acquisitions that want one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular

from orchestrator.domain import Estimate
from orchestrator.domain.surrogate_spec import TOGETHER
from orchestrator.proposal.hyperparameter_search import LARGEST_BLOCK, evenly, fit_hyperparameters
from orchestrator.proposal.marginal_likelihood import Hyperparameters, Prior, Replicates, gaussian, matern
from orchestrator.proposal.multiple_kernel import KernelSum, share_samples

Matrix = NDArray[np.float64]

# Rows handled at once: tables may have 100 000.
CHUNK = 8192
_VARIANCE_FLOOR = 1e-12
_DRAWS = 256


@dataclass(frozen=True)
class Readings:
    """One metric's estimates as a surrogate reads them.

    Attributes:
        X: points of the cube, shape (n, d).
        mean: shape (n,), in the metric's unit.
        sem: shape (n,), in the metric's unit.
    """

    X: Matrix
    mean: Matrix
    sem: Matrix

    @classmethod
    def of(cls, X: Matrix, estimates: Sequence[Estimate]) -> Readings:
        """The readings of estimates at points of the cube."""
        return cls(X, np.array([e.mean for e in estimates]), np.array([e.sem for e in estimates]))


@dataclass(frozen=True)
class Place:
    """What a surrogate knows of points, worked out once.

    Attributes:
        X: shape (n, d).
        mean, variance: of the scaled response, shape (n,).
        explained: what the readings explain of it, shape (m, n): the covariance between places is the prior's less the product.
    """

    X: Matrix
    mean: Matrix
    variance: Matrix
    explained: Matrix


@dataclass(frozen=True)
class Share:
    """What share of a response's variance something explains, 0 to 1, and its standard deviation, as drawn from the posterior."""

    mean: float
    sd: float


class Surrogate:
    """The belief about one metric.

    Attributes:
        readings: what it was fitted to.
        prior: what was believed before.
        centre, scale: an outcome stands inside as (outcome - centre) / scale.
        y, noise: the scaled outcomes and the known variances of their errors, shape (n,).
        hyperparameters: as fitted, of scaled outcomes.
    """

    def __init__(
        self,
        readings: Readings,
        prior: Prior,
        centre: float,
        scale: float,
        hyperparameters: Hyperparameters | None = None,
    ) -> None:
        self.readings, self.prior, self.centre, self.scale = readings, prior, centre, scale
        self.y, self.noise = (readings.mean - centre) / scale, (readings.sem / scale) ** 2
        self.hyperparameters = hyperparameters or _learned(readings.X, self.y, self.noise, prior)
        replicates = Replicates(readings.X, self.y, self.noise)
        self._X = replicates.X
        self._means, self._variances = replicates.means(self.hyperparameters.spread)
        self._factor = cholesky(self._kernel(self._X, self._X) + np.diag(self._variances), lower=True)
        self._weights = cho_solve((self._factor, True), self._means)

    @property
    def spread(self) -> float:
        """The learned standard deviation between cells, in the metric's unit."""
        return float(np.sqrt(self.hyperparameters.spread)) * self.scale

    @property
    def points(self) -> int:
        """How many different points were read."""
        return len(self._X)

    @property
    def log_evidence(self) -> float:
        """The log density of the points' mean outcomes, up to a constant: what weighs hyperparameters of the same spread."""
        return -0.5 * float(self._means @ self._weights) - float(np.log(np.diag(self._factor)).sum())

    @cached_property
    def kernels(self) -> KernelSum | None:
        """The kernels of the prior's groups of columns; None where one kernel reads all."""
        groups = self.prior.groups
        return KernelSum(groups, self.hyperparameters, evenly(self._X, LARGEST_BLOCK)) if groups else None

    @cached_property
    def shares(self) -> Mapping[str, Share]:
        """By group and for what groups do together, the share of the response's variance over the points read.

        Empty where one kernel reads all, and where one point was read: it does not vary.
        """
        if self.kernels is None or len(self._X) == 1:
            return {}
        components = self.kernels.components(self._X, self._X)
        drawn = share_samples(components, self._variances, self._level, self._means, _DRAWS)
        names = [*(group.name for group in self.prior.groups), TOGETHER]
        return {name: Share(float(d.mean()), float(d.std())) for name, d in zip(names, drawn.T, strict=True)}

    @property
    def _level(self) -> float:
        return 0.0 if self.prior.known_level else 1.0

    def _kernel(self, A: Matrix, B: Matrix) -> Matrix:
        if self.kernels is not None:
            return self.kernels.between(A, B) + self._level
        correlation = gaussian if self.hyperparameters.smooth else matern
        return self.hyperparameters.signal * correlation(A, B, self.hyperparameters.lengthscales) + self._level

    @property
    def prior_variance(self) -> float:
        """The variance of the scaled response before any reading; with several kernels its mean over the points read."""
        return self.hyperparameters.signal + self._level

    def _variance_left(self, X: Matrix, explained: Matrix) -> Matrix:
        before = self.prior_variance if self.kernels is None else self.kernels.variance(X) + self._level
        return np.asarray(np.maximum(before - (explained**2).sum(axis=0), _VARIANCE_FLOOR))

    def scaled_mean(self, X: Matrix) -> Matrix:
        """The mean of the scaled response at points of shape (n, d): shape (n,)."""
        return self._kernel(X, self._X) @ self._weights

    def scaled_covariance(self, A: Matrix, B: Matrix) -> Matrix:
        """The covariance of the scaled response between points of shape (n, d) and (m, d): shape (n, m)."""
        return self._kernel(A, B) - self._explained(A).T @ self._explained(B)

    def scaled_variance(self, X: Matrix) -> Matrix:
        """The variance of the scaled response at points of shape (n, d): shape (n,)."""
        return self._variance_left(X, self._explained(X))

    def _explained(self, X: Matrix) -> Matrix:
        return self._whitened(self._kernel(self._X, X))

    def _whitened(self, cross: Matrix) -> Matrix:
        return np.asarray(solve_triangular(self._factor, cross, lower=True, check_finite=False))

    def place(self, X: Matrix) -> Place:
        """What is known of points of shape (n, d), for those who ask for more than one thing."""
        cross = self._kernel(self._X, X)
        explained = self._whitened(cross)
        return Place(X, cross.T @ self._weights, self._variance_left(X, explained), explained)

    def covariance_between(self, a: Place, b: Place) -> Matrix:
        """The covariance of the scaled response between two places: shape (n, m)."""
        return self._kernel(a.X, b.X) - a.explained.T @ b.explained

    def posterior(self, X: Matrix) -> tuple[Matrix, Matrix]:
        """Mean and standard deviation of the underlying response, not of one cell.

        Args:
            X: points of the cube, shape (n, d).

        Returns:
            Two arrays of shape (n,), in the metric's unit.
        """
        places = [self.place(X[i : i + CHUNK]) for i in range(0, len(X), CHUNK)] or [self.place(X)]
        mean, variance = (np.concatenate(column) for column in zip(*((p.mean, p.variance) for p in places), strict=True))
        return self.centre + self.scale * mean, self.scale * np.sqrt(variance)


def fit_surrogate(readings: Readings, prior: Prior | None = None, settled: Sequence[int] = ()) -> Surrogate:
    """The belief about a metric whose outcomes are standardised by their own mean and spread.

    Args:
        readings: at least one; replicates are separate rows.
        prior: what is believed before.
        settled: readings that came first and stay. If there are any, the hyperparameters are learned from them alone, and so
            only once while the campaign goes on; the posterior rests on all readings.
    """
    prior = prior or Prior()
    if not settled:
        return Surrogate(readings, prior, float(readings.mean.mean()), outcome_scale(readings))
    rows = list(settled)
    first = Readings(readings.X[rows], readings.mean[rows], readings.sem[rows])
    centre, scale = float(first.mean.mean()), outcome_scale(first)
    learned = _learned(first.X, (first.mean - centre) / scale, (first.sem / scale) ** 2, prior)
    return Surrogate(readings, prior, centre, scale, learned)


_REMEMBERED = 64
_remembered: OrderedDict[bytes, Hyperparameters] = OrderedDict()


def _learned(X: Matrix, y: Matrix, noise: Matrix, prior: Prior) -> Hyperparameters:
    """The hyperparameters of these data, worked out once: proposal, prediction and report ask for the same ones."""
    key = sha256(repr((X.shape, prior)).encode())
    for data in (X, y, noise):
        key.update(np.ascontiguousarray(data).tobytes())
    known = _remembered.pop(key.digest(), None)
    learned = _remembered[key.digest()] = known or fit_hyperparameters(X, y, noise, prior)
    while len(_remembered) > _REMEMBERED:
        _remembered.popitem(last=False)
    return learned


def outcome_scale(readings: Readings) -> float:
    """The outcomes' standard deviation; where it says nothing (one result, equal results), a guess that is never 0."""
    sd = float(readings.mean.std())
    typical = float(np.abs(readings.mean).max())
    if len(readings.mean) > 1 and sd > 1e-9 * typical and sd > 0:
        return sd
    return max(0.1 * typical, float(readings.sem.max()), 1e-9) if typical or readings.sem.max() > 0 else 1.0
