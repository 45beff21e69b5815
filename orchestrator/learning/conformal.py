"""Intervals that hold whatever the model: its own errors on cells it has not seen, made into bounds (conformal prediction).

    split:  mean +- q std,  q = the ceil((n + 1) c)-th smallest of n scores |y - mean| / std on cells that were not learned from
    CV+:    the bounds of a new x are the same order statistics of  mean_without_i(x) -+ |y_i - mean_without_i(x_i)| over cells i

Split holds with probability >= c when cells are exchangeable; CV+ with >= 2c - 1 and in practice about c, and wastes no cell
(Barber, Candes, Ramdas and Tibshirani, Annals of Statistics 49 (2021) 486; jackknife+ is CV+ with one cell a fold).
Rows of a cell are not exchangeable, cells are: several rows of one cell give one score (`cell_scores`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.domain.errors import Fault, SpecError
from orchestrator.learning.folds import Fold, cell_numbers

Array = NDArray[np.float64]


class Interval(NamedTuple):
    """Lower and upper bounds, each of shape (m,), in the target's unit."""

    low: Array
    high: Array


def conformal_quantile(scores: ArrayLike, coverage: float = 0.9) -> float:
    """The score that a new cell's stays below with probability >= `coverage`: the ceil((n + 1) c)-th smallest of n.

    Args:
        scores: one per calibration cell, shape (n,), exchangeable with the new one; the larger the worse.
        coverage: wanted probability, in (0, 1).

    Returns:
        The quantile; infinite when n is too small to promise that much (n < c / (1 - c)).

    Raises:
        SpecError: if `coverage` is not inside (0, 1), or a score is NaN.
    """
    known = np.sort(np.asarray(scores, dtype=np.float64).ravel())
    if not 0 < coverage < 1:
        raise SpecError(Fault("coverage", f"must lie between 0 and 1 (got {coverage:g})."))
    if np.isnan(known).any():
        raise SpecError(Fault("scores", "hold NaN.", "Leave out cells without a score before calibrating."))
    rank = math.ceil((len(known) + 1) * coverage - 1e-9)
    return float(known[rank - 1]) if rank <= len(known) else math.inf


def cell_scores(y: ArrayLike, mean: ArrayLike, std: ArrayLike | float = 1.0, groups: ArrayLike | None = None) -> Array:
    """One score per cell: the largest |y - mean| / std of its rows, so that a bound holds for all of them at once.

    Args:
        y: measured, shape (n,); NaN where nothing was measured (such rows do not count).
        mean: predicted without having seen the cell, shape (n,).
        std: its standard deviation, > 0, shape (n,), or a number.
        groups: the cell of each row, shape (n,); None: each row is a cell of its own.

    Returns:
        Shape (cells,), in order of first appearance; cells without any measured row are left out.
    """
    ratio = np.abs(np.asarray(y, dtype=np.float64) - np.asarray(mean, dtype=np.float64)) / np.asarray(std, dtype=np.float64)
    cells = cell_numbers(groups, len(ratio))
    worst = np.full(int(cells.max(initial=-1)) + 1, -np.inf)
    np.maximum.at(worst, cells, np.where(np.isnan(ratio), -np.inf, ratio))
    counted: Array = worst[worst > -np.inf]
    return counted


class SplitConformal:
    """Scales a model's standard deviations until its intervals hold on cells it has not seen.

    Args:
        coverage: wanted probability of the intervals.

    Attributes:
        scale_: multiple of the standard deviation on either side; 1.645 would be a normal's at 0.9.

    Example:
        >>> calibrated = SplitConformal(0.9).fit(y_held, mean_held, std_held, groups=cells_held)
        >>> low, high = calibrated.interval(mean_new, std_new)
    """

    def __init__(self, coverage: float = 0.9) -> None:
        self.coverage = coverage

    def fit(self, y: ArrayLike, mean: ArrayLike, std: ArrayLike | float = 1.0, groups: ArrayLike | None = None) -> SplitConformal:
        """Calibrate on cells that were not learned from (held out, or out of fold); arguments as `cell_scores`."""
        self.scale_ = conformal_quantile(cell_scores(y, mean, std, groups), self.coverage)
        return self

    def interval(self, mean: ArrayLike, std: ArrayLike | float = 1.0) -> Interval:
        """Bounds of new rows, shapes (m,)."""
        centre = np.asarray(mean, dtype=np.float64)
        reach = self.scale_ * np.broadcast_to(np.asarray(std, dtype=np.float64), centre.shape)
        return Interval(centre - reach, centre + reach)


def cv_plus_interval(scores: ArrayLike, means: ArrayLike, stds: ArrayLike | float = 1.0, coverage: float = 0.9) -> Interval:
    """CV+ (one fold a cell: jackknife+) bounds of new rows from models that each left cells out.

    Args:
        scores: |y_i - mean_i| / std_i of each cell, predicted by the model that left it out, shape (n,).
        means: predictions of the new rows by that same model, for each cell, shape (n, m).
        stds: its standard deviations there, shape (n, m), or a number; scores and stds in one scale.
        coverage: wanted probability.

    Returns:
        Bounds, shapes (m,); infinite where n is too small.

    Raises:
        SpecError: if shapes do not fit or `coverage` is not inside (0, 1).
    """
    each, centre = np.asarray(scores, dtype=np.float64), np.asarray(means, dtype=np.float64)
    if centre.ndim != 2 or each.shape != centre.shape[:1]:
        raise SpecError(Fault("scores, means", f"must be (n,) and (n, m) (got {each.shape} and {centre.shape})."))
    if not 0 < coverage < 1:
        raise SpecError(Fault("coverage", f"must lie between 0 and 1 (got {coverage:g})."))
    reach = each[:, None] * np.asarray(stds, dtype=np.float64)
    rank = math.ceil((len(each) + 1) * coverage - 1e-9)
    if rank > len(each):
        endless = np.full(centre.shape[1], np.inf)
        return Interval(-endless, endless)
    low, high = np.sort(centre - reach, axis=0), np.sort(centre + reach, axis=0)
    return Interval(low[len(each) - rank], high[rank - 1])


def fold_of_rows(folds: list[Fold], rows: int) -> NDArray[np.int64]:
    """Which fold tests each row, shape (rows,); -1 where none does. For one repeat of `grouped_folds`."""
    numbers = np.full(rows, -1, dtype=np.int64)
    for number, fold in enumerate(folds):
        numbers[fold.test] = number
    return numbers


def coverage_of(y: ArrayLike, interval: Interval) -> float:
    """Share of measured values inside their intervals; rows with NaN do not count."""
    measured = np.asarray(y, dtype=np.float64)
    known = ~np.isnan(measured)
    inside = (measured >= interval.low) & (measured <= interval.high)
    return float(inside[known].mean()) if known.any() else math.nan
