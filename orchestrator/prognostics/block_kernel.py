"""A Gaussian process over blocks of features: each block has a linear kernel of its own, some a smooth one besides.

    k(x, x') = sum_b  a_b^2 <z_b, z'_b> / p_b  +  sum_b' s_b'^2 exp(-|z_b' - z'_b'|^2 / (2 p_b' l_b'^2))  +  noise^2 [x = x']

z are standardised features. All scales are found together at the mode of their posterior under wide log-normal priors (Rasmussen
and Williams, Gaussian Processes for Machine Learning, chapter 5): a block that does not help is shrunk away, so a curve of 50
voltages needs no choice of how many of them to keep. One feature a block is automatic relevance determination.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

Array = NDArray[np.float64]
_JITTER = 1e-8
# Means and standard deviations of the priors of the logarithms, the target having variance 1.
_VARIANCE, _LENGTH, _NOISE = (-1.0, 2.0), (0.5, 0.7), (-2.5, 1.0)
_BOUNDS = (-9.0, 6.0)


class _Grams(NamedTuple):
    """Inner products by block, (b, n, m), and mean squared distances of the smooth blocks, (s, n, m)."""

    inner: Array
    distance: Array


class BlockGaussianProcess(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Gaussian-process regression with a scale per block of features, found by evidence.

    Args:
        blocks: column numbers of each block; None: one block of all columns.
        smooth: which of the blocks have a squared-exponential kernel besides their linear one.

    Attributes:
        log_scales_: logarithms of a_b^2 (each block), s^2, l (each smooth block), noise^2; the target has variance 1.
    """

    def __init__(self, blocks: Sequence[Sequence[int]] | None = None, smooth: Sequence[int] = ()) -> None:
        self.blocks = blocks
        self.smooth = smooth

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Fit to rows.

        Args:
            X: features, shape (n, p), without NaN.
            y: targets, shape (n,).
            groups: accepted for the common signature.

        Raises:
            ValueError: NaN, infinite values or shapes that do not fit.
        """
        from scipy.optimize import minimize

        features, targets = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        self._centre, self._scale = features.mean(axis=0), features.std(axis=0)
        self._scale[self._scale < 1e-12] = 1.0
        self._level, self._spread = float(targets.mean()), float(targets.std()) or 1.0
        self._rows: Array = (features - self._centre) / self._scale
        standard = (targets - self._level) / self._spread
        grams = self._grams(self._rows, self._rows)
        priors = [_VARIANCE] * len(grams.inner) + [_VARIANCE, _LENGTH] * len(grams.distance) + [_NOISE]
        mean, sd = np.array(priors).T
        start = np.clip(mean, *_BOUNDS)
        found = minimize(
            _posterior, start, args=(grams, standard, mean, sd), jac=True, method="L-BFGS-B", bounds=[_BOUNDS] * len(start)
        )
        self.log_scales_: Array = found.x
        covariance = _kernel(self.log_scales_, grams) + self._noise() * np.eye(len(standard))
        self._inverse: Array = np.asarray(np.linalg.inv(covariance), dtype=np.float64)
        self._weights = self._inverse @ standard
        return self

    def predict(self, X: ArrayLike, return_std: bool = False) -> Any:
        """Mean, and with `return_std` the standard deviation of a new row about it; shapes (m,)."""
        check_is_fitted(self)
        features: Array = validate_data(self, X, dtype=np.float64, reset=False)
        rows = (features - self._centre) / self._scale
        cross = _kernel(self.log_scales_, self._grams(rows, self._rows))
        mean = self._level + self._spread * (cross @ self._weights)
        if not return_std:
            return mean
        own = np.array([_kernel(self.log_scales_, self._grams(row[None], row[None]))[0, 0] for row in rows])
        latent = np.maximum(own - np.einsum("ij,jk,ik->i", cross, self._inverse, cross), 0.0)
        return mean, self._spread * np.sqrt(latent + self._noise())

    def _noise(self) -> float:
        return float(np.exp(self.log_scales_[-1]) + _JITTER)

    def _grams(self, left: Array, right: Array) -> _Grams:
        blocks = [list(b) for b in self.blocks] if self.blocks is not None else [list(range(left.shape[1]))]
        inner = np.array([left[:, b] @ right[:, b].T / len(b) for b in blocks])
        far = [_mean_squares(left[:, blocks[i]], right[:, blocks[i]]) for i in self.smooth]
        return _Grams(inner, np.array(far).reshape(-1, len(left), len(right)))


def _mean_squares(left: Array, right: Array) -> Array:
    squares: Array = (left**2).mean(axis=1)[:, None] + (right**2).mean(axis=1) - 2 * left @ right.T / left.shape[1]
    return np.maximum(squares, 0.0)


def _smooth_parts(scales: Array, grams: _Grams) -> Array:
    """The squared-exponential kernels, (s, n, m)."""
    variance, length = scales[len(grams.inner) : -1].reshape(-1, 2).T
    parts: Array = np.exp(variance[:, None, None] - 0.5 * grams.distance * np.exp(-2 * length)[:, None, None])
    return parts


def _kernel(scales: Array, grams: _Grams) -> Array:
    """The sum of all kernels, without noise, (n, m)."""
    linear = np.tensordot(np.exp(scales[: len(grams.inner)]), grams.inner, axes=1)
    total: Array = linear + _smooth_parts(scales, grams).sum(axis=0)
    return total


def _posterior(scales: Array, grams: _Grams, y: Array, mean: Array, sd: Array) -> tuple[float, Array]:
    """Minus the log posterior of the scales, and its gradient."""
    identity = np.eye(len(y))
    noise = np.exp(scales[-1])
    lower = np.linalg.cholesky(_kernel(scales, grams) + (noise + _JITTER) * identity)
    half = np.linalg.solve(lower, identity)
    inverse = half.T @ half
    weights = inverse @ y
    off = (scales - mean) / sd
    value = 0.5 * y @ weights + np.log(np.diag(lower)).sum() + 0.5 * off @ off
    pull = inverse - np.outer(weights, weights)
    linear = np.exp(scales[: len(grams.inner)]) * np.einsum("ij,bij->b", pull, grams.inner)
    parts = _smooth_parts(scales, grams)
    length = scales[len(grams.inner) : -1].reshape(-1, 2)[:, 1]
    variances = np.einsum("ij,sij->s", pull, parts)
    lengths = np.einsum("ij,sij,sij->s", pull, parts, grams.distance) * np.exp(-2 * length)
    smooth = np.column_stack([variances, lengths]).ravel()
    gradient = 0.5 * np.concatenate([linear, smooth, [noise * np.trace(pull)]])
    return float(value), gradient + off / sd
