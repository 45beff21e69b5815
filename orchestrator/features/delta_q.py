"""What the change of a discharge curve between two cycles says of a cell's life: statistics of Delta Q(V).

Delta Q(V) = Q_late(V) - Q_early(V) foretells life long before the capacity does: Severson et al., Nature Energy 4 (2019) 383,
there between cycles 10 and 100. The interquartile range is the statistic that Attia et al., J. Electrochem. Soc. 168 (2021)
090547, find least disturbed by single odd voltages.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.domain.errors import Fault, SpecError

Array = NDArray[np.float64]
_LEAST_VOLTAGES = 4


def delta_q_features(V: ArrayLike, Q_early: ArrayLike, Q_late: ArrayLike) -> dict[str, float]:
    """Statistics of Delta Q(V) = Q_late(V) - Q_early(V).

    Args:
        V: voltages, V, shape (n,), n >= 4, ascending or descending.
        Q_early: discharge capacity of the early cycle at each voltage, Ah, shape (n,).
        Q_late: that of the later cycle; voltages where either is NaN are left out.

    Returns:
        `log_variance`, `log_minimum`, `log_mean`, `log_interquartile_range`: log10 of the variance (Ah^2), of |minimum|, of
        |mean| and of the interquartile range (Ah); `variance` (Ah^2, divided by n), `minimum`, `mean`, `interquartile_range`,
        `at_lowest_voltage` (Ah); `skewness`, `kurtosis` (Pearson's, normal = 3). Logarithms of 0 and moments of a constant
        difference are NaN.

    Raises:
        SpecError: if the shapes differ, or fewer than 4 voltages have both values.
    """
    volts, early, late = (np.asarray(each, dtype=np.float64) for each in (V, Q_early, Q_late))
    if not volts.shape == early.shape == late.shape or volts.ndim != 1:
        shapes = f"V {volts.shape}, Q_early {early.shape}, Q_late {late.shape}"
        raise SpecError(Fault("V, Q_early, Q_late", f"must be vectors of one length (got {shapes})."))
    known = int((np.isfinite(volts) & np.isfinite(early) & np.isfinite(late)).sum())
    if known < _LEAST_VOLTAGES:
        remedy = "Interpolate both curves to the same voltages."
        raise SpecError(Fault("Q_early, Q_late", f"have both a value at {known} voltages; {_LEAST_VOLTAGES} are needed.", remedy))
    return {name: float(values[0]) for name, values in delta_q_statistics(volts, (late - early)[None]).items()}


def delta_q_statistics(V: ArrayLike, change_Ah: ArrayLike) -> dict[str, Array]:
    """The statistics of `delta_q_features` for many cells at once.

    Args:
        V: voltages, V, shape (n,), ascending or descending.
        change_Ah: Delta Q(V) of each cell, Ah, shape (cells, n); NaN where it is not known.

    Returns:
        The names of `delta_q_features`, each with an array of shape (cells,); NaN for a cell with fewer than 4 values.

    Raises:
        SpecError: if the shapes do not fit.
    """
    volts, change = np.asarray(V, dtype=np.float64), np.asarray(change_Ah, dtype=np.float64)
    if volts.ndim != 1 or change.ndim != 2 or change.shape[1] != len(volts):
        shapes = f"V {volts.shape}, change_Ah {change.shape}"
        raise SpecError(Fault("V, change_Ah", f"must be (n,) and (cells, n) (got {shapes})."))
    known = np.isfinite(change) & np.isfinite(volts)
    count = known.sum(axis=1)
    few = count < _LEAST_VOLTAGES
    divisor = np.where(few, np.nan, count)
    mean = np.where(known, change, 0.0).sum(axis=1) / divisor
    off = np.where(known, change - mean[:, None], 0.0)
    square = off * off
    variance = square.sum(axis=1) / divisor
    spread = np.where(variance > 0, variance, np.nan)
    minimum = np.where(few, np.nan, np.where(known, change, np.inf).min(axis=1, initial=np.inf))
    quartiles = _quantiles(np.where(known, change, np.inf), count, few)
    return {
        "log_variance": _log10(variance),
        "log_minimum": _log10(np.abs(minimum)),
        "log_mean": _log10(np.abs(mean)),
        "log_interquartile_range": _log10(quartiles),
        "variance": variance,
        "minimum": minimum,
        "mean": mean,
        "interquartile_range": quartiles,
        "skewness": (square * off).sum(axis=1) / divisor / spread**1.5,
        "kurtosis": (square * square).sum(axis=1) / divisor / spread**2,
        "at_lowest_voltage": _at_lowest(volts, change, known, few),
    }


def _quantiles(change: Array, count: NDArray[np.int64], few: NDArray[np.bool_]) -> Array:
    """Upper less lower quartile of each row, by linear interpolation between its sorted values; unknown ones are infinite."""
    ordered = np.sort(change, axis=1)
    ends = []
    for share in (0.25, 0.75):
        place = share * np.maximum(count - 1, 0)
        below = np.floor(place).astype(np.int64)
        pair = np.take_along_axis(ordered, np.stack([below, np.minimum(below + 1, np.maximum(count - 1, 0))], axis=1), axis=1)
        pair = np.where(few[:, None], np.nan, pair)
        ends.append(pair[:, 0] + (place - below) * (pair[:, 1] - pair[:, 0]))
    return ends[1] - ends[0]


def _at_lowest(volts: Array, change: Array, known: NDArray[np.bool_], few: NDArray[np.bool_]) -> Array:
    place = np.where(known, volts, np.inf).argmin(axis=1)
    found: Array = np.where(few, np.nan, np.take_along_axis(change, place[:, None], axis=1)[:, 0])
    return found


def _log10(size: Array) -> Array:
    found: Array = np.log10(np.where(size > 0, size, np.nan))
    return found
