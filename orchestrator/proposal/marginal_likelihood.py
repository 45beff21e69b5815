"""Hyperparameters of a Gaussian process with known noise, by maximum a posteriori.

    y_i = f(x_i) + e_i + c_i,    e_i ~ N(0, sem_i^2) known,    c_i ~ N(0, tau^2) learned: what differs from cell to cell
    f ~ GP(level, s^2 k(x, x'; l_1 ... l_d)),    k Matern-5/2 or squared exponential, one lengthscale per column

The parameters are log l_j, log s^2 and log tau^2, with normal priors on each (log-normal on the quantities); here are the
exact marginal likelihood (Rasmussen and Williams 2006, eq. 5.8) and its exact gradient (eq. 5.9), in `hyperparameter_search`
what maximises them.
Outcomes come scaled to about one. An unknown level has the prior N(0, 1) and is integrated out, not fitted: with three
results nobody knows the level.

Readings of one point, replicates, enter as their weighted mean: with v_i = sem_i^2 + tau^2 and V = 1/sum(1/v_i), the density of
the replicates is N(mean; f, V) times sqrt(V/prod(v_i)) exp(-sum((y_i - mean)^2/v_i)/2) up to a constant. So the cost grows with
the number of points, not of cells, and nothing is approximated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotri, dpotrs

Matrix = NDArray[np.float64]

JITTER = 1e-6
# Share of the outcome's variance that may differ from cell to cell: median 1.8 %, and rarely above 30 % (as BoTorch's).
SPREAD_MEDIAN, SPREAD_LOG_SD = math.exp(-4.0), 1.0
# Stated noise variance, as a share of the outcome's, from which a further spread between cells is not looked for.
STATED_NOISE_EXPLAINS = 0.2
_LOG_SPREAD_BOUNDS = (-12.0, 1.0)
LOG_SIGNAL_BOUNDS = (-4.0, 3.0)
IMPOSSIBLE = 1e10
SQUARED_FLOOR = 5e-14


@dataclass(frozen=True)
class FeatureGroup:
    """Columns that have a kernel of their own."""

    name: str
    columns: tuple[int, ...]


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
        spread: median of the variance that differs from cell to cell, as a share of the outcome's.
        spread_log_sd: how far it may stray.
        smooth: whether the kernel is the squared exponential, of responses with every derivative; else Matern-5/2, with two.
            None leaves it to the evidence. Kernels of groups are Matern-5/2.
        groups: a partition of the columns into groups with a kernel each; none for one kernel over all.
    """

    lengthscale: float = 0.35
    lengthscale_log_sd: float = 0.4
    lengthscale_bounds: tuple[float, float] = (0.05, 5.0)
    signal: float = 1.0
    signal_log_sd: float = 1.0
    known_level: bool = False
    spread: float = SPREAD_MEDIAN
    spread_log_sd: float = SPREAD_LOG_SD
    smooth: bool | None = False
    groups: tuple[FeatureGroup, ...] = ()


@dataclass(frozen=True)
class Hyperparameters:
    """The fitted values.

    Attributes:
        lengthscales: shape (d,), in units of the cube.
        signal: variance s^2 of the scaled outcome.
        spread: variance tau^2 between cells, of the scaled outcome.
        weights: with several kernels the share of the signal that each is expected to make, `together` last; else empty.
        smooth: whether the kernel is the squared exponential.
    """

    lengthscales: Matrix
    signal: float
    spread: float
    weights: Matrix = field(default_factory=lambda: np.zeros(0))
    smooth: bool = False


def log_spread_bounds(noise: Matrix, prior: Prior) -> tuple[float, float]:
    """Where the stated errors explain a good part of the scatter, a further spread cannot be told from them: it stays small."""
    explained = float(np.median(noise)) >= STATED_NOISE_EXPLAINS
    return _LOG_SPREAD_BOUNDS[0], math.log(max(prior.spread, SPREAD_MEDIAN)) if explained else _LOG_SPREAD_BOUNDS[1]


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


@dataclass(frozen=True)
class Evidence:
    """What outcomes say of a covariance, and of every parameter that it depends on.

    Attributes:
        value: the negative log likelihood of the points' means, up to a constant.
        pull: its derivative by the covariance, shape (m, m), folded: not symmetric, but its product with any symmetric matrix,
            summed, is right.
        by_variance: its derivative by each point's own variance, shape (m,).
        weights: the covariance's inverse times the outcomes, shape (m,).
    """

    value: float
    pull: Matrix
    by_variance: Matrix
    weights: Matrix


def evidence(covariance: Matrix, y: Matrix) -> Evidence | None:
    """Rasmussen and Williams 2006, eq. 5.8 and 5.9; None where the covariance, which is overwritten, is not positive definite."""
    factor, failed = dpotrf(covariance.T, lower=1, overwrite_a=1)
    if failed:
        return None
    weights = np.asarray(dpotrs(factor, y, lower=1)[0])
    half_log_determinant = float(np.log(factor.diagonal()).sum())
    # Above the diagonal LAPACK leaves zeros: twice the lower triangle with half of its diagonal stands for the whole.
    pull = np.asarray(dpotri(factor, lower=1, overwrite_c=1)[0]).T
    by_variance = 0.5 * (pull.diagonal() - weights**2)
    np.fill_diagonal(pull, 0.5 * pull.diagonal())
    pull -= np.multiply.outer(0.5 * weights, weights)
    return Evidence(0.5 * float(y @ weights) + half_log_determinant, pull, by_variance, weights)


class MarginalLikelihood:
    """The negative log posterior of the hyperparameters and its gradient.

    Args:
        X: points of the cube, shape (n, d).
        y: scaled outcomes, shape (n,).
        noise: known variances of the scaled outcomes, shape (n,).
        prior: what is believed before.
    """

    def __init__(self, X: Matrix, y: Matrix, noise: Matrix, prior: Prior) -> None:
        d = X.shape[1]
        self.prior = prior
        self.replicates = Replicates(X, y, noise)
        self.X = self.replicates.X
        self.level = 0.0 if prior.known_level else 1.0
        self.log_length = math.log(prior.lengthscale * math.sqrt(d))
        self.centre = np.r_[np.full(d, self.log_length), math.log(prior.signal), math.log(prior.spread)]
        self.width = np.r_[np.full(d, prior.lengthscale_log_sd), prior.signal_log_sd, prior.spread_log_sd]
        self.bounds = [log_length_bounds(prior, d)] * d + [LOG_SIGNAL_BOUNDS, log_spread_bounds(noise, prior)]

    @property
    def starts(self) -> list[Matrix]:
        """Where to search from: the prior's medians, and mostly noise."""
        noisy = self.centre + np.r_[self.width[:-2], 0.0, 0.0]
        noisy[-2:] = math.log(self.prior.signal) - 1.0, math.log(0.3)
        return [self.centre, noisy]

    def at(self, theta: Matrix) -> Hyperparameters:
        """The hyperparameters that a vector of shape (d + 2,) stands for."""
        signal, spread = map(float, np.exp(theta[-2:]))
        return Hyperparameters(np.exp(theta[:-2]), signal, spread, smooth=bool(self.prior.smooth))

    def before(self, theta: Matrix) -> tuple[float, Matrix]:
        """The prior's part of the loss, and its gradient."""
        step = (theta - self.centre) / self.width
        return 0.5 * float(step @ step), step / self.width

    def loss(self, theta: Matrix) -> tuple[float, Matrix]:
        """The value and the gradient, shape (d + 2,), at log lengthscales, log signal and log spread."""
        d, lengthscales = self.X.shape[1], np.exp(theta[:-2])
        signal, spread = np.exp(theta[-2:])
        with_slope = gaussian_with_slope if self.prior.smooth else matern_with_slope
        smooth, slope_by_square = with_slope(self.X, lengthscales)
        smooth *= signal
        y, variance = self.replicates.means(spread)
        covariance = smooth + self.level
        covariance[np.diag_indices(len(y))] += variance
        found = evidence(covariance, y)
        if found is None:
            return IMPOSSIBLE, np.zeros_like(theta)
        added, by_spread, by_variance, by_mean = self.replicates.within(spread, y, variance)
        value, slope = self.before(theta)
        slope[d] += np.vdot(found.pull, smooth)
        slope_by_square *= found.pull
        slope[:d] += signal * by_log_length(slope_by_square, self.X, lengthscales)
        slope[d + 1] += spread * (by_spread + found.by_variance @ by_variance + found.weights @ by_mean)
        return value + added + found.value, slope


def log_length_bounds(prior: Prior, dimension: int) -> tuple[float, float]:
    """Lowest and highest log lengthscale of each of so many columns."""
    low, high = prior.lengthscale_bounds
    return math.log(low * math.sqrt(dimension)), math.log(high * math.sqrt(dimension))


def by_log_length(by_square: Matrix, X: Matrix, lengthscales: Matrix) -> Matrix:
    """The derivative by each log lengthscale, shape (d,), from -d/d(squared scaled distance) by pair, shape (n, n)."""
    sides = by_square.sum(axis=0) + by_square.sum(axis=1)
    apart = sides @ X**2 - 2 * np.einsum("ij,ij->j", X, by_square @ X)
    return np.asarray(2 * apart / lengthscales**2)


def matern_with_slope(X: Matrix, lengthscales: Matrix) -> tuple[Matrix, Matrix]:
    """The Matern-5/2 correlation between rows of X, and minus its derivative by their squared scaled distance: two of (n, n)."""
    r = scaled_distance(X, X, lengthscales)
    fade = np.exp(-r)
    slope = (1 + r) * fade
    # r becomes (1 + r + r^2 / 3) exp(-r): these matrices are large, and each pass over them counts.
    r *= r
    r *= 1 / 3
    r *= fade
    r += slope
    slope *= 5 / 6
    return r, slope


def gaussian_with_slope(X: Matrix, lengthscales: Matrix) -> tuple[Matrix, Matrix]:
    """The squared exponential correlation, and minus its derivative, as `matern_with_slope`."""
    correlation = gaussian(X, X, lengthscales)
    return correlation, 0.5 * correlation


def scaled_distance(A: Matrix, B: Matrix, lengthscales: Matrix) -> Matrix:
    """sqrt(5) times the distance in lengthscales between rows of A, shape (n, d), and of B, shape (m, d): shape (n, m)."""
    A, B = A * (math.sqrt(5) / lengthscales), B * (math.sqrt(5) / lengthscales)
    squared = A @ (-2 * B.T)
    squared += (A**2).sum(axis=1)[:, None]
    squared += (B**2).sum(axis=1)
    np.maximum(squared, SQUARED_FLOOR, out=squared)
    return np.asarray(np.sqrt(squared, out=squared))


def matern(A: Matrix, B: Matrix, lengthscales: Matrix) -> Matrix:
    """The Matern-5/2 correlation between rows of A, shape (n, d), and of B, shape (m, d): shape (n, m)."""
    r = scaled_distance(A, B, lengthscales)
    fade = np.exp(-r)
    polynomial = r / 3
    polynomial += 1
    polynomial *= r
    polynomial += 1
    polynomial *= fade
    return polynomial


def gaussian(A: Matrix, B: Matrix, lengthscales: Matrix) -> Matrix:
    """The squared exponential correlation between rows of A, shape (n, d), and of B, shape (m, d): shape (n, m)."""
    squared = scaled_distance(A, B, lengthscales)
    squared *= squared
    squared *= -0.1
    return np.asarray(np.exp(squared, out=squared))
