"""Several kernels, one for each group of features, whose weights say what share of the response each group explains.

    f(x) = level + sum_g f_g(x_g) + f_together(x),    f_g ~ GP(0, s^2 w_g k_g),    f_together ~ GP(0, s^2 w_t k_t)

k_g is a Matern-5/2 kernel over the columns of group g, with lengthscales of its own. k_t, the sum over pairs of groups of
k_g k_h, is what two groups do together and neither does alone (additive Gaussian processes: Duvenaud, Nickisch and Rasmussen
2011). Every kernel is centred and divided by its trace over the m points read,

    k(x, x') <- (k(x, x') - mean_i k(x, x_i) - mean_i k(x_i, x') + mean_ij k(x_i, x_j)) / t
    t = mean_i k(x_i, x_i) - mean_ij k(x_i, x_j)

so that f_g has mean 0 over these points, its expected variance over them is s^2 w_g, and a weight does not depend on how long
the lengthscales are (centring: Cortes, Mohri and Rostamizadeh 2012; that it keeps an interaction apart from the groups' own
effects: Lu, Boukouvalas and Hensman 2022). The weights maximise the marginal likelihood, type II, which gives shares of the
variance; weights that an RKHS norm regularises (Lanckriet et al. 2004; Gonen and Alpaydin 2011) do not. Type II alone takes
the weight of a group that explains nothing to 0 (Wipf and Nagarajan 2008); a weak prior, (1 + w/floor)^(1/4), keeps groups in
play while there are too few results to tell.

A weight is what a draw from the prior is expected to explain. What is reported is what the response itself does: the shares
of the variance over the points read, under the posterior. Averaged over responses drawn from the prior they are the weights.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky

from orchestrator.proposal.marginal_likelihood import (
    IMPOSSIBLE,
    FeatureGroup,
    Hyperparameters,
    Prior,
    Replicates,
    by_log_length,
    evidence,
    log_length_bounds,
    log_spread_bounds,
    matern,
    matern_with_slope,
)

Matrix = NDArray[np.float64]

# How strongly a weight is kept from 0, and the weight below which that ends. Pulling towards 0 instead gains nothing at 60
# results and makes beliefs overconfident at 8.
PRESENCE, WEIGHT_FLOOR = 0.25, 0.02
_LOG_VARIANCE_BOUNDS = (-9.0, 3.0)
# Variation of a kernel over the points read below which its group did not vary.
_UNVARIED = 1e-9
_JITTER = 1e-7


class KernelSum:
    """The weighted kernels of groups, centred and normalised over reference points; without the level.

    Args:
        groups: a partition of the columns.
        hyperparameters: with a weight for each group and one for `together`.
        reference: the points that kernels are centred over, shape (m, d).
    """

    def __init__(self, groups: tuple[FeatureGroup, ...], hyperparameters: Hyperparameters, reference: Matrix) -> None:
        self.groups, self.reference = groups, reference
        self.variances = hyperparameters.signal * hyperparameters.weights
        self.lengthscales = hyperparameters.lengthscales
        grams = [self._raw(g, reference, reference) for g in groups]
        self.levels = [float(gram.mean()) for gram in grams]
        self.traces = [trace_of(gram) for gram in grams]
        self._at_reference = [gram.mean(axis=1) - level / 2 for gram, level in zip(grams, self.levels, strict=True)]
        pairs = pair_products([_normalised(gram, t) for gram, t in zip(grams, self.traces, strict=True)])
        self.pair_level, self.pair_trace = float(pairs.mean()), trace_of(pairs)

    def _raw(self, group: FeatureGroup, A: Matrix, B: Matrix) -> Matrix:
        columns = list(group.columns)
        return matern(A[:, columns], B[:, columns], self.lengthscales[columns])

    def _offsets(self, A: Matrix) -> tuple[list[Matrix], Matrix]:
        """What centring takes off at points of shape (n, d): from each group's kernel, and from the pairs' products; all (n,).

        It is the mean over the reference, minus half the reference's own.
        """
        raw = [self._raw(g, A, self.reference) for g in self.groups]
        own = [gram.mean(axis=1) - level / 2 for gram, level in zip(raw, self.levels, strict=True)]
        pairs = pair_products(self._centred(raw, own, self._at_reference))
        return own, pairs.mean(axis=1) - self.pair_level / 2

    def _centred(self, raw: list[Matrix], a: list[Matrix], b: list[Matrix]) -> list[Matrix]:
        return [(gram - at[:, None] - bt) / t for gram, at, bt, t in zip(raw, a, b, self.traces, strict=True)]

    def components(self, A: Matrix, B: Matrix) -> list[Matrix]:
        """The covariance of each component, `together` last, between points of shape (n, d) and (m, d): each (n, m)."""
        (a, a_pairs), (b, b_pairs) = self._offsets(A), self._offsets(B)
        own = self._centred([self._raw(g, A, B) for g in self.groups], a, b)
        pairs = pair_products(own) - a_pairs[:, None] - b_pairs
        return [v * k for v, k in zip(self.variances, [*own, pairs / self.pair_trace], strict=True)]

    def between(self, A: Matrix, B: Matrix) -> Matrix:
        """The covariance between points of shape (n, d) and (m, d): shape (n, m)."""
        return np.asarray(sum(self.components(A, B)))

    def variance(self, X: Matrix) -> Matrix:
        """The variance at points of shape (n, d): shape (n,)."""
        offsets, pairs_offset = self._offsets(X)
        own = [(1 - 2 * at) / t for at, t in zip(offsets, self.traces, strict=True)]
        pairs = (pair_products(own) - 2 * pairs_offset) / self.pair_trace
        return np.asarray(sum(v * k for v, k in zip(self.variances, [*own, pairs], strict=True)))


class GroupedLikelihood:
    """The negative log posterior of the hyperparameters of several kernels, and its gradient.

    Args:
        X: points of the cube, shape (n, d).
        y: scaled outcomes, shape (n,).
        noise: known variances of the scaled outcomes, shape (n,).
        prior: what is believed before, its groups a partition of the columns.
    """

    def __init__(self, X: Matrix, y: Matrix, noise: Matrix, prior: Prior) -> None:
        self.prior, self.groups = prior, prior.groups
        self.replicates = Replicates(X, y, noise)
        self.X = self.replicates.X
        self.level = 0.0 if prior.known_level else 1.0
        self.dimension, self.count = X.shape[1], len(self.groups) + 1
        self.centre, self.bounds = np.zeros(self.dimension), [(0.0, 0.0)] * self.dimension
        for group in self.groups:
            size = len(group.columns)
            self.centre[list(group.columns)] = math.log(prior.lengthscale * math.sqrt(size))
            for column in group.columns:
                self.bounds[column] = log_length_bounds(prior, size)
        varied = [bool(np.ptp(self.X[:, list(g.columns)], axis=0).max() > 0) for g in self.groups]
        self.varied = np.array([*varied, sum(varied) > 1])
        self.even = math.log(prior.signal / self.count)
        # Of a group that was never varied nothing is known: its weight stays what it was.
        self.bounds += [_LOG_VARIANCE_BOUNDS if v else (self.even, self.even) for v in self.varied]
        self.bounds.append(log_spread_bounds(noise, prior))

    @property
    def starts(self) -> list[Matrix]:
        """Where to search from: the prior's medians with equal weights, and mostly noise."""
        even = np.full(self.count, self.even)
        medians = np.r_[self.centre, even, math.log(self.prior.spread)]
        return [medians, np.r_[self.centre + self.prior.lengthscale_log_sd, even - 1.0, math.log(0.3)]]

    def at(self, theta: Matrix) -> Hyperparameters:
        """The hyperparameters that a vector of log lengthscales, log variances and log spread stands for."""
        lengthscales, variances, spread = np.exp(theta[: self.dimension]), np.exp(theta[self.dimension : -1]), np.exp(theta[-1])
        return Hyperparameters(lengthscales, float(variances.sum()), float(spread), variances / variances.sum())

    def before(self, theta: Matrix) -> tuple[float, Matrix]:
        """The prior's part of the loss, and its gradient."""
        d, prior, slope = self.dimension, self.prior, np.zeros_like(theta)
        length = (theta[:d] - self.centre) / prior.lengthscale_log_sd
        spread = (theta[-1] - math.log(prior.spread)) / prior.spread_log_sd
        variances = np.exp(theta[d:-1])
        weights = variances / variances.sum()
        signal = (math.log(variances.sum()) - math.log(prior.signal)) / prior.signal_log_sd
        presence = PRESENCE * self.varied * np.log1p(weights / WEIGHT_FLOOR)
        by_weight = PRESENCE * self.varied * weights / (weights + WEIGHT_FLOOR)
        slope[:d] = length / prior.lengthscale_log_sd
        slope[d:-1] = weights * (signal / prior.signal_log_sd + by_weight.sum()) - by_weight
        slope[-1] = spread / prior.spread_log_sd
        return 0.5 * float(length @ length + spread**2 + signal**2) - float(presence.sum()), slope

    def loss(self, theta: Matrix) -> tuple[float, Matrix]:
        """The value and the gradient, shape (d + groups + 2,), at log lengthscales, log variances and log spread."""
        d, m, lengthscales = self.dimension, len(self.X), np.exp(theta[: self.dimension])
        variances, spread = np.exp(theta[d:-1]), float(np.exp(theta[-1]))
        columns = [list(g.columns) for g in self.groups]
        raw = [matern_with_slope(self.X[:, c], lengthscales[c]) for c in columns]
        traces = [trace_of(gram) for gram, _ in raw]
        own = [_normalised(gram, t) for (gram, _), t in zip(raw, traces, strict=True)]
        pairs = pair_products(own)
        pair_trace = trace_of(pairs)
        kernels = [*own, _normalised(pairs, pair_trace)]
        y, variance = self.replicates.means(spread)
        covariance = np.full((m, m), self.level)
        for v, kernel in zip(variances, kernels, strict=True):
            covariance += v * kernel
        covariance[np.diag_indices(m)] += variance
        found = evidence(covariance, y)
        if found is None:
            return IMPOSSIBLE, np.zeros_like(theta)
        added, by_spread, by_variance, by_mean = self.replicates.within(spread, y, variance)
        value, slope = self.before(theta)
        slope[d:-1] += variances * [np.vdot(found.pull, k) for k in kernels]
        slope[-1] += spread * (by_spread + found.by_variance @ by_variance + found.weights @ by_mean)
        by_pairs = _through_normalising(variances[-1] * found.pull, kernels[-1], pair_trace)
        whole = sum(own)
        for c, v, kernel, t, (_, slope_by_square) in zip(columns, variances, own, traces, raw, strict=False):
            by_kernel = whole - kernel
            by_kernel *= by_pairs
            by_kernel += v * found.pull
            slope_by_square *= _through_normalising(by_kernel, kernel, t)
            slope[c] += by_log_length(slope_by_square, self.X[:, c], lengthscales[c])
        return value + added + found.value, slope


def pair_products(kernels: list[Matrix]) -> Matrix:
    """The sum over pairs of different kernels of their products, element by element."""
    so_far, products = kernels[0].copy(), np.zeros_like(kernels[0])
    for kernel in kernels[1:]:
        products += so_far * kernel
        so_far += kernel
    return products


def trace_of(gram: Matrix) -> float:
    """The mean of the diagonal after centring: the variance over the points that a draw is expected to have."""
    trace = float(gram.trace()) / len(gram) - float(gram.mean())
    return trace if trace > _UNVARIED else 1.0


def _normalised(gram: Matrix, trace: float) -> Matrix:
    """Centred and divided by the trace, in place: each pass over these matrices counts."""
    means = gram.mean(axis=0)
    gram -= means - means.mean()
    gram -= means[:, None]
    gram /= trace
    return gram


def _through_normalising(by_kernel: Matrix, kernel: Matrix, trace: float) -> Matrix:
    """The derivative by a Gram matrix, from that by the centred and normalised one, which is overwritten."""
    by_kernel[np.diag_indices(len(kernel))] -= np.vdot(by_kernel, kernel) / len(kernel)
    columns, rows = by_kernel.mean(axis=0), by_kernel.mean(axis=1)
    by_kernel -= columns - columns.mean()
    by_kernel -= rows[:, None]
    by_kernel /= trace
    return by_kernel


def share_samples(components: list[Matrix], noise: Matrix, level: float, y: Matrix, count: int) -> Matrix:
    """Shares of the variance over the points read that each component explains, as drawn from the posterior.

    Joint draws of the components are drawn from the prior and corrected by what was read (Matheron's rule).

    Args:
        components: prior covariances at the points, each (n, n).
        noise: the variance of each point's reading, shape (n,).
        level: the prior variance of the level.
        y: scaled readings, shape (n,).
        count: how many draws.

    Returns:
        Shape (count, components); each draw's shares sum to 1.
    """
    rng, n = np.random.default_rng(0), len(y)
    draws = [
        cholesky(k + (_JITTER + _JITTER * k.trace() / n) * np.eye(n), lower=True) @ rng.standard_normal((n, count))
        for k in components
    ]
    read = sum(draws) + math.sqrt(level) * rng.standard_normal(count) + np.sqrt(noise)[:, None] * rng.standard_normal((n, count))
    factor = cholesky(np.asarray(sum(components)) + level + np.diag(noise), lower=True)
    left = cho_solve((factor, True), y[:, None] - read)
    explained = np.array([(draw + k @ left).var(axis=0) for draw, k in zip(draws, components, strict=True)])
    return np.asarray((explained / explained.sum(axis=0)).T)
