"""Hyperparameters of a Gaussian process with known noise, by maximum a posteriori.

    y_i = f(x_i) + e_i + c_i,    e_i ~ N(0, sem_i^2) known,    c_i ~ N(0, tau^2) learned: what differs from cell to cell
    f ~ GP(level, s^2 k(x, x'; l_1 ... l_d)),    k Matern-5/2 with one lengthscale per column

The parameters are log l_j, log s^2 and log tau^2, with normal priors on each (log-normal on the quantities), maximised by
L-BFGS-B on the exact marginal likelihood (Rasmussen and Williams 2006, eq. 5.8) with its exact gradient (eq. 5.9).
Outcomes come scaled to about one. An unknown level has the prior N(0, 1) and is integrated out, not fitted: with three
results nobody knows the level.

Readings of one point, replicates, enter as their weighted mean: with v_i = sem_i^2 + tau^2 and V = 1/sum(1/v_i), the density of
the replicates is N(mean; f, V) times sqrt(V/prod(v_i)) exp(-sum((y_i - mean)^2/v_i)/2) up to a constant. So the cost grows with
the number of points, not of cells, and nothing is approximated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.optimize import minimize

Matrix = NDArray[np.float64]

JITTER = 1e-6
# Share of the outcome's variance that may differ from cell to cell: median 1.8 %, and rarely above 30 % (as BoTorch's).
SPREAD_MEDIAN, SPREAD_LOG_SD = math.exp(-4.0), 1.0
# Stated noise variance, as a share of the outcome's, from which a further spread between cells is not looked for.
STATED_NOISE_EXPLAINS = 0.2
_LOG_SPREAD_BOUNDS = (-12.0, 1.0)
_LOG_SIGNAL_BOUNDS = (-4.0, 3.0)
_FIRST_STEPS, _MAX_STEPS = 8, 80
_SQUARED_FLOOR = 1e-14


@dataclass(frozen=True)
class Prior:
    """What is believed of a response before it is seen; lengths are in units of the cube, variances of the scaled outcome.

    Attributes:
        lengthscale: median, for one dimension; it grows with the square root of the dimension (Hvarfner 2024), since
            points of a larger cube are further apart.
        lengthscale_log_sd: how far a lengthscale may stray from it.
        lengthscale_bounds: hard bounds, also for one dimension.
        signal: median of the signal's variance.
        signal_log_sd: how far the variance may stray.
        known_level: whether the prior mean is exactly 0 (a limit), not unknown.
    """

    lengthscale: float = 0.35
    lengthscale_log_sd: float = 0.4
    lengthscale_bounds: tuple[float, float] = (0.05, 5.0)
    signal: float = 1.0
    signal_log_sd: float = 1.0
    known_level: bool = False


@dataclass(frozen=True)
class Hyperparameters:
    """The fitted values.

    Attributes:
        lengthscales: shape (d,), in units of the cube.
        signal: variance s^2 of the scaled outcome.
        spread: variance tau^2 between cells, of the scaled outcome.
    """

    lengthscales: Matrix
    signal: float
    spread: float


def fit_hyperparameters(X: Matrix, y: Matrix, noise: Matrix, prior: Prior) -> Hyperparameters:
    """The most probable hyperparameters.

    Args:
        X: points of the cube, shape (n, d), n >= 1.
        y: scaled outcomes, shape (n,).
        noise: known variances of the scaled outcomes, shape (n,).
        prior: what is believed before.

    Returns:
        The end of the more promising of two searches: from the prior's medians, and from mostly noise.
    """
    d = X.shape[1]
    problem = _Problem(X, y, noise, prior)
    low, high = (math.log(b * math.sqrt(d)) for b in prior.lengthscale_bounds)
    bounds = [(low, high)] * d + [_LOG_SIGNAL_BOUNDS, _log_spread_bounds(noise)]
    lowest, highest = np.array(bounds).T
    starts = [
        np.r_[np.full(d, problem.log_length), math.log(prior.signal), math.log(SPREAD_MEDIAN)],
        np.r_[np.full(d, problem.log_length + prior.lengthscale_log_sd), math.log(prior.signal) - 1.0, math.log(0.3)],
    ]
    search = partial(minimize, problem.loss, jac=True, method="L-BFGS-B", bounds=bounds)
    first_steps = [search(np.clip(start, lowest, highest), options={"maxiter": _FIRST_STEPS}) for start in starts]
    end = search(min(first_steps, key=lambda found: float(found.fun)).x, options={"maxiter": _MAX_STEPS})
    best = end.x
    return Hyperparameters(np.exp(best[:d]), float(np.exp(best[d])), float(np.exp(best[d + 1])))


def _log_spread_bounds(noise: Matrix) -> tuple[float, float]:
    """Where the stated errors explain a good part of the scatter, a further spread cannot be told from them: it stays small."""
    explained = float(np.median(noise)) >= STATED_NOISE_EXPLAINS
    return _LOG_SPREAD_BOUNDS[0], math.log(SPREAD_MEDIAN) if explained else _LOG_SPREAD_BOUNDS[1]


class Replicates:
    """Readings (n) sorted by the point (m) that they are of.

    Attributes:
        X: the different points in the order first read, shape (m, d).
    """

    def __init__(self, X: Matrix, y: Matrix, noise: Matrix) -> None:
        _, first, inverse = np.unique(X, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(first)
        self.X = X[first[order]]
        self._point = np.argsort(order)[inverse.reshape(-1)]
        self._y, self._noise = y, noise

    def means(self, spread: float) -> tuple[Matrix, Matrix]:
        """Weighted mean and its variance at each point, both of shape (m,)."""
        precision = 1 / (self._noise + spread + JITTER)
        variance = 1 / self._summed(precision)
        return variance * self._summed(precision * self._y), variance

    def within(self, spread: float, mean: Matrix, variance: Matrix) -> tuple[float, float, Matrix, Matrix]:
        """What the scatter of replicates adds to the negative log likelihood, and derivatives by the spread.

        Returns:
            The addition, its derivative, and the derivatives of the points' variances and means, shape (m,).
        """
        each = self._noise + spread + JITTER
        off = self._y - mean[self._point]
        by_variance = variance**2 * self._summed(1 / each**2)
        by_mean = -variance * self._summed(off / each**2)
        added = 0.5 * (np.log(each).sum() - np.log(variance).sum() + (off**2 / each).sum())
        slope = 0.5 * ((1 / each).sum() - (by_variance / variance).sum() - (off**2 / each**2).sum())
        return float(added), float(slope), by_variance, by_mean

    def _summed(self, values: Matrix) -> Matrix:
        return np.asarray(np.bincount(self._point, values, minlength=len(self.X)), dtype=np.float64)


class _Problem:
    """The negative log posterior of the hyperparameters and its gradient."""

    def __init__(self, X: Matrix, y: Matrix, noise: Matrix, prior: Prior) -> None:
        d = X.shape[1]
        self.replicates = Replicates(X, y, noise)
        self.X = self.replicates.X
        self.level = 0.0 if prior.known_level else 1.0
        self.log_length = math.log(prior.lengthscale * math.sqrt(d))
        self.centre = np.r_[np.full(d, self.log_length), math.log(prior.signal), math.log(SPREAD_MEDIAN)]
        self.width = np.r_[np.full(d, prior.lengthscale_log_sd), prior.signal_log_sd, SPREAD_LOG_SD]

    def loss(self, theta: Matrix) -> tuple[float, Matrix]:
        """The value and the gradient, shape (d + 2,), at log lengthscales, log signal and log spread."""
        d, lengthscales = self.X.shape[1], np.exp(theta[:-2])
        signal, spread = np.exp(theta[-2:])
        distance = scaled_distance(self.X, self.X, lengthscales)
        fade = np.exp(-distance)
        smooth = signal * (1 + distance + distance**2 / 3) * fade
        y, variance = self.replicates.means(spread)
        covariance = smooth + self.level
        covariance[np.diag_indices(len(y))] += variance
        factor, failed = dpotrf(covariance, lower=1, overwrite_a=1)
        if failed:
            return 1e10, np.zeros_like(theta)
        inverse = _inverse(factor)
        weights = inverse @ y
        # Half the derivative of the likelihood by the covariance: what every parameter's own derivative is weighed with.
        pull = 0.5 * (inverse - np.outer(weights, weights))
        added, by_spread, by_variance, by_mean = self.replicates.within(spread, y, variance)
        step = (theta - self.centre) / self.width
        value = added + 0.5 * y @ weights + np.log(np.diag(factor)).sum() + 0.5 * step @ step
        slope = step / self.width
        slope[:d] += self._by_length(pull * signal * (5.0 / 3.0) * (1 + distance) * fade) / lengthscales**2
        slope[d] += (pull * smooth).sum()
        slope[d + 1] += spread * (by_spread + np.diag(pull) @ by_variance + weights @ by_mean)
        return float(value), slope

    def _by_length(self, by_pair: Matrix) -> Matrix:
        """Sum over pairs of `by_pair` times the squared difference in each column: shape (d,)."""
        return np.asarray(2 * (by_pair.sum(axis=1) @ self.X**2 - (self.X * (by_pair @ self.X)).sum(axis=0)))


def _inverse(factor: Matrix) -> Matrix:
    """The inverse of a matrix from its lower Cholesky factor."""
    lower, _ = dpotri(factor, lower=1)
    lower = np.tril(lower)
    return np.asarray(lower + np.tril(lower, -1).T)


def scaled_distance(A: Matrix, B: Matrix, lengthscales: Matrix) -> Matrix:
    """sqrt(5) times the distance in lengthscales between rows of A, shape (n, d), and of B, shape (m, d): shape (n, m)."""
    A, B = A / lengthscales, B / lengthscales
    squared = (A**2).sum(axis=1)[:, None] + (B**2).sum(axis=1)[None] - 2 * A @ B.T
    return np.asarray(np.sqrt(5.0 * np.maximum(squared, _SQUARED_FLOOR)))


def matern(A: Matrix, B: Matrix, lengthscales: Matrix) -> Matrix:
    """The Matern-5/2 correlation between rows of A, shape (n, d), and of B, shape (m, d): shape (n, m)."""
    r = scaled_distance(A, B, lengthscales)
    return np.asarray((1 + r + r**2 / 3) * np.exp(-r))
