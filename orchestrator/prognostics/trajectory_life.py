"""A first guess of each cell's life, from few cells, some of them still alive: ridge regression of the logarithm.

    log life = b0 + x b + e,   e ~ N(0, s^2),   b small                           x standardised with the training cells

A cell that was alive when last looked at, at log life c, counts as E[y | y > c] under the present fit, and the fit is repeated
until it rests (Schmee and Hahn, Technometrics 21 (1979) 417): neither is its age taken for its life, nor is it thrown away.
How small b is, and s, come from predictions of each cell by all others.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
_STRENGTHS = np.logspace(-2, 3, 16)
_ROUNDS = 30
_ROUNDS_THAT_CHOOSE = 3


class Standardiser:
    """Centre and scale by training rows; NaN and infinite values become the mean, constant columns 0."""

    def __init__(self, X: Array) -> None:
        known = np.where(np.isfinite(X), X, np.nan)
        blank = ~np.isfinite(X).any(axis=0)
        known[:, blank] = 0.0
        self._mean, spread = np.nanmean(known, axis=0), np.nanstd(known, axis=0)
        self._scale = np.where(spread > 1e-9 * (1e-9 + np.abs(self._mean)), spread, np.inf)

    def __call__(self, X: Array) -> Array:
        """Standardised rows, shape (n, p), without NaN."""
        return np.where(np.isfinite(X), (np.where(np.isfinite(X), X, 0.0) - self._mean) / self._scale, 0.0)


class CensoredRidge:
    """Ridge regression of right-censored values.

    Attributes:
        spread_: standard deviation of a cell about what the others say of it.
        left_out_: what the other cells say of each training row, shape (n,).
        completed_: the targets, censored ones replaced by their expectation, shape (n,).
        strength_: the penalty chosen.
    """

    def fit(self, X: Array, y: Array, ended: Flags, groups: NDArray[np.int64]) -> Self:
        """Fit to standardised rows.

        Args:
            X: features, shape (n, p).
            y: values, or the bounds that they lie above, shape (n,).
            ended: True where `y` is the value.
            groups: the cell of each row, shape (n,).
        """
        self.completed_: Array = y.astype(np.float64).copy()
        self.spread_ = float(np.std(y[ended])) + 1e-3
        strengths = _STRENGTHS
        for turn in range(_ROUNDS if not ended.all() else 1):
            self._choose(X, groups, ended, strengths)
            strengths = np.array([self.strength_]) if turn + 1 >= _ROUNDS_THAT_CHOOSE else _STRENGTHS
            hidden = ~ended
            mean = self.left_out_[hidden]
            expected = mean + self.spread_ * _mean_above((y[hidden] - mean) / self.spread_)
            moved = np.abs(expected - self.completed_[hidden]).max(initial=0.0)
            self.completed_[hidden] = expected
            if moved < 1e-3 * self.spread_:
                break
        self._coefficients, self._inverse = _solved(X, self.completed_, self.strength_)
        self._usual = float(self._leverage(X).mean())
        return self

    def _choose(self, X: Array, groups: NDArray[np.int64], ended: Flags, strengths: Array) -> None:
        tried = [_left_out(X, self.completed_, groups, float(strength)) for strength in strengths]
        errors = [float(((each - self.completed_) ** 2).mean()) for each in tried]
        best = int(np.argmin(errors))
        self.strength_, self.left_out_ = float(strengths[best]), tried[best]
        self.spread_ = max(float(np.sqrt(((self.left_out_ - self.completed_)[ended] ** 2).mean())), 1e-3)

    def predict(self, X: Array) -> tuple[Array, Array]:
        """Mean, and the standard deviation of a new cell, which grows away from the training cells; shapes (m,)."""
        return _design(X) @ self._coefficients, self.spread_ * np.sqrt((1 + self._leverage(X)) / (1 + self._usual))

    def _leverage(self, X: Array) -> Array:
        design = _design(X)
        found: Array = np.einsum("ij,jk,ik->i", design, self._inverse, design)
        return found


def _mean_above(bound: Array) -> Array:
    """Mean of a standard normal above a bound."""
    found: Array = np.exp(norm.logpdf(bound) - norm.logsf(bound))
    return found


def _design(X: Array) -> Array:
    return np.column_stack([np.ones(len(X)), X])


def _solved(X: Array, y: Array, strength: float) -> tuple[Array, Array]:
    design = _design(X)
    ridge = np.diag([0.0, *np.full(X.shape[1], strength)])
    inverse = np.linalg.inv(design.T @ design + ridge).astype(np.float64)
    return inverse @ design.T @ y, inverse


def _left_out(X: Array, y: Array, groups: NDArray[np.int64], strength: float) -> Array:
    """Predictions of each group by the rest, exactly, from one fit: e_out = (I - H_gg)^-1 e_g."""
    coefficients, inverse = _solved(X, y, strength)
    design = _design(X)
    errors, names = y - design @ coefficients, np.unique(groups)
    if len(names) == len(y):
        alone: Array = y - errors / np.maximum(1 - np.einsum("ij,jk,ik->i", design, inverse, design), 1e-9)
        return alone
    found = np.empty(len(y))
    for group in names:
        rows = np.flatnonzero(groups == group)
        own = design[rows] @ inverse @ design[rows].T
        found[rows] = y[rows] - np.linalg.lstsq(np.eye(len(rows)) - own, errors[rows], rcond=None)[0]
    return found
