"""The weights of kernels that minimise a ridge's objective on the simplex, with a certificate.

    P(w) = y'(sum_k w_k K_k + lam I)^-1 y,    s_k = alpha'K_k alpha = -dP/dw_k,    alpha = (sum_k w_k K_k + lam I)^-1 y
    gap = P(w) - dual(alpha) = max_k s_k - sum_k w_k s_k >= 0

P is convex. It is minimised with a logarithmic barrier, P(w) - mu sum_k log w_k, by Newton steps (Boyd and Vandenberghe, Convex
Optimization, 2004, chapter 11): on the barrier's path the gap is at most (number of kernels) x mu, so it is known ahead how small
mu must be. The gap itself is computed afterwards from the weights found and certifies them, whatever found them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

Array = NDArray[np.float64]

# The relative gap that the barrier is driven to; the weight below which a kernel is left out; the gap at which it may be.
_GAP, _NOTHING, _STILL_CERTIFIED = 1e-9, 1e-7, 1e-8
_NEWTON_STEPS = 60


class SimplexSolution(NamedTuple):
    """Weights of kernels with their certificate: alpha, the primal objective, and the duality gap relative to it."""

    weights: Array
    alpha: Array
    objective: float
    gap: float


class _Point(NamedTuple):
    """The objective at some weights, and what its slopes are made of: alpha, K_k alpha (n, kernels), s (kernels,)."""

    objective: float
    alpha: Array
    images: Array
    slopes: Array
    factor: tuple[Array, bool]


def simplex_weights(grams: Array, y: Array, lam: float) -> SimplexSolution:
    """The weights w >= 0, sum 1, that minimise y'(sum_k w_k K_k + lam I)^-1 y.

    Args:
        grams: kernels of the training rows, shape (kernels, n, n), symmetric and positive semi-definite.
        y: centred targets, shape (n,).
        lam: ridge, > 0.
    """
    weights = np.full(len(grams), 1 / len(grams))
    scale = float(y @ y)
    if scale == 0 or len(grams) == 1:
        return _certified(grams, y, lam, weights)
    unit = y / np.sqrt(scale)
    share = 1.0
    while share > _GAP:
        share = max(share / 20, _GAP)
        weights = _on_the_path(grams, unit, lam, weights, share)
    kept = np.where(weights > _NOTHING, weights, 0.0)
    sparse = _certified(grams, y, lam, kept / kept.sum())
    return sparse if sparse.gap < _STILL_CERTIFIED else _certified(grams, y, lam, weights)


def _at(grams: Array, y: Array, lam: float, weights: Array) -> _Point:
    ridged = np.tensordot(weights, grams, axes=1) + lam * np.eye(len(y))
    factor = cho_factor(ridged, lower=True, check_finite=False)
    alpha = cho_solve(factor, y, check_finite=False)
    images = (grams @ alpha).T
    return _Point(float(y @ alpha), alpha, images, alpha @ images, factor)


def _certified(grams: Array, y: Array, lam: float, weights: Array) -> SimplexSolution:
    point = _at(grams, y, lam, weights)
    gap = _gap(point, weights) / point.objective if point.objective > 0 else 0.0
    return SimplexSolution(weights, point.alpha, point.objective, gap)


def _on_the_path(grams: Array, y: Array, lam: float, weights: Array, share: float) -> Array:
    """The minimum with a barrier whose gap is `share` of the objective, by Newton steps that stay inside the simplex."""
    point = _at(grams, y, lam, weights)
    mu = share * point.objective / len(weights)
    for _ in range(_NEWTON_STEPS):
        # The objective is flat about its minimum, the gap is not: only the gap tells how near it is.
        if _gap(point, weights) <= 2 * share * point.objective:
            break
        slope = -point.slopes - mu / weights
        step = _newton_step(point, slope, weights, mu)
        moved, there = _along(grams, y, lam, weights, point, step, float(slope @ step), mu)
        if moved is weights:
            break
        weights, point = moved, there
    return weights


def _gap(point: _Point, weights: Array) -> float:
    return max(float(point.slopes.max() - weights @ point.slopes), 0.0)


def _newton_step(point: _Point, slope: Array, weights: Array, mu: float) -> Array:
    """The step to the minimum of the quadratic model among directions of sum 0."""
    curvature = 2 * point.images.T @ cho_solve(point.factor, point.images, check_finite=False) + np.diag(mu / weights**2)
    # In units of the weights themselves, or tiny ones leave the system without digits.
    scaled = curvature * np.outer(weights, weights)
    solved = np.linalg.solve(scaled, np.column_stack([-slope * weights, weights])) * weights[:, None]
    step: Array = solved[:, 0] - solved[:, 1] * solved[:, 0].sum() / solved[:, 1].sum()
    return step


def _along(
    grams: Array, y: Array, lam: float, weights: Array, point: _Point, step: Array, promised: float, mu: float
) -> tuple[Array, _Point]:
    """As far along a step as the objective with its barrier falls."""
    shrinking = step < 0
    length = min(1.0, 0.99 * float(np.min(-weights[shrinking] / step[shrinking], initial=np.inf)))
    start = point.objective - mu * float(np.log(weights).sum())
    for _ in range(40):
        moved = weights + length * step
        moved /= moved.sum()
        there = _at(grams, y, lam, moved)
        if there.objective - mu * float(np.log(moved).sum()) <= start + 1e-4 * length * promised + 1e-14 * abs(start):
            return moved, there
        length /= 2
    return weights, point
