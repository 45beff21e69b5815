"""Discharge curves of a cell's first cycles -> the columns that models of cycle life choose from. Nothing is fitted here.

Each curve is the median of five neighbouring cycles, voltage by voltage; a curve that strays from its neighbours by far more than
they do from one another is left out first, so that impossible ones change nothing wherever they are. From the early, middle and
late curve come the statistics of Delta Q(V) (Severson et al., Nature Energy 4 (2019) 383), and two curves whole: the signed root
of Delta Q(V), whose square is what a variance sums (Attia et al., J. Electrochem. Soc. 168 (2021) 090547, compare such
transforms), and the early curve itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.domain.errors import Fault, SpecError
from orchestrator.features import delta_q_statistics

Array = NDArray[np.float64]
_NEIGHBOURS = 5
_VOLTAGES = 50
# A curve strays when its root mean square distance from its neighbours' median is this share of the capacity, and this many times
# their usual distance.
_STRAY_SHARE, _STRAY_TIMES = 0.01, 5.0
_STATISTICS = ("log_variance", "log_minimum", "log_mean", "log_interquartile_range", "skewness", "kurtosis")
SUMMARY = (*_STATISTICS, "log_variance_first_half", "log_variance_second_half", "log_variance_gain")
CAPACITY = ("early_capacity_Ah", "late_capacity_Ah", "capacity_change_Ah", "late_capacity_change_Ah", "rise_Ah", "rise_most_Ah")
ROOT_CHANGE, EARLY = "root_change", "early"


@dataclass(frozen=True)
class LifeFeatures:
    """A table of numbers, one row per cell.

    Attributes:
        names: of the columns; those of a curve are `root_change_0` and so on, by falling voltage.
        values: shape (cells, columns).
    """

    names: tuple[str, ...]
    values: Array

    def column(self, name: str) -> Array:
        """One column, shape (cells,)."""
        return self.values[:, self.names.index(name)]


def early_life_features(
    voltage_V: ArrayLike,
    cycle_count: ArrayLike,
    discharge_capacity_Ah: ArrayLike,
    sound: ArrayLike | None = None,
    early: int = 10,
    late: int = 100,
) -> LifeFeatures:
    """What the first cycles say, as columns for models of cycle life.

    Args:
        voltage_V: falling, shape (v,).
        cycle_count: ascending, shape (c,).
        discharge_capacity_Ah: counted from the beginning of each discharge, shape (cells, c, v); NaN where unknown.
        sound: False for curves to leave out, shape (cells, c); None: all are looked at, and the medians deal with odd ones.
        early: about this cycle the early curve is taken, from cycles `early - 2` to `early + 2`.
        late: until this cycle the late curve is taken, from cycle `late - 4` on; nothing after it is looked at.

    Returns:
        One row per cell; NaN where a number does not exist (an interval of cycles without any sound curve).

    Raises:
        SpecError: if shapes do not fit, or cycles that are needed are not there.

    Example:
        >>> curves = open_dataset("severson_qv").curves["train"]  # doctest: +SKIP
        >>> table = early_life_features(curves.voltage_V, curves.cycle_count, curves.discharge_capacity_Ah)  # doctest: +SKIP
    """
    volts, cycles = np.asarray(voltage_V, dtype=np.float64), np.asarray(cycle_count, dtype=np.int64)
    curves = np.asarray(discharge_capacity_Ah, dtype=np.float64)
    if curves.shape[1:] != (len(cycles), len(volts)):
        shapes = f"({len(cycles)}, {len(volts)}) per cell expected, got {curves.shape}"
        raise SpecError(Fault("discharge_capacity_Ah", f"must have a value for each cycle and voltage ({shapes})."))
    if sound is not None:
        curves = np.where(np.asarray(sound)[:, :, None], curves, np.nan)
    middle = (early + late) // 2
    begins = {"first": int(cycles.min(initial=late)), "early": early - 2, "middle": middle - 2, "late": late - 4}
    curves = _without_strays(curves, cycles)
    medians = {name: _median(curves, cycles, begin) for name, begin in begins.items()}
    change = medians["late"] - medians["early"]
    columns = _statistics(volts, medians) | _capacities(curves[:, :, -1], cycles, begins)
    take = np.linspace(0, len(volts) - 1, min(_VOLTAGES, len(volts))).round().astype(np.int64)
    root = np.sign(change) * np.sqrt(np.abs(change))
    columns |= {f"{ROOT_CHANGE}_{i}": root[:, at] for i, at in enumerate(take)}
    columns |= {f"{EARLY}_{i}": medians["early"][:, at] for i, at in enumerate(take)}
    return LifeFeatures(tuple(columns), np.column_stack(list(columns.values())))


@contextmanager
def _nothing_known_is_nan() -> Iterator[None]:
    """Medians of nothing are NaN without a warning: the caller is told by the column."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def _without_strays(curves: Array, cycles: NDArray[np.int64]) -> Array:
    """The curves, NaN where one strays from the five around it, (cells, c, v)."""
    kept = curves.copy()
    with _nothing_known_is_nan():
        for at in range(len(cycles)):
            low = int(np.clip(at - _NEIGHBOURS // 2, 0, max(0, len(cycles) - _NEIGHBOURS)))
            near = curves[:, low : low + _NEIGHBOURS]
            usual = np.nanmedian(near, axis=1)
            off = np.sqrt(np.nanmean((near - usual[:, None]) ** 2, axis=2))
            limit = np.maximum(_STRAY_SHARE * np.nanmax(usual, axis=1), _STRAY_TIMES * np.nanmedian(off, axis=1))
            kept[off[:, at - low] > limit, at] = np.nan
    return kept


def _median(values: Array, cycles: NDArray[np.int64], begin: int) -> Array:
    """The median of `_NEIGHBOURS` cycles from one on, (cells, ...)."""
    chosen = (cycles >= begin) & (cycles < begin + _NEIGHBOURS)
    if not chosen.any():
        raise SpecError(Fault("cycle_count", f"has none of the cycles {begin} to {begin + _NEIGHBOURS - 1}.", "Predict later."))
    with _nothing_known_is_nan():
        found: Array = np.nanmedian(values[:, chosen], axis=1)
    return found


def _statistics(volts: Array, medians: dict[str, Array]) -> dict[str, Array]:
    whole = delta_q_statistics(volts, medians["late"] - medians["early"])
    first, second = (
        delta_q_statistics(volts, medians[b] - medians[a])["log_variance"] for a, b in (("early", "middle"), ("middle", "late"))
    )
    values = [*(whole[name] for name in _STATISTICS), first, second, second - first]
    return dict(zip(SUMMARY, values, strict=True))


def _capacities(capacity_Ah: Array, cycles: NDArray[np.int64], begins: dict[str, int]) -> dict[str, Array]:
    """Capacities at the lowest voltage: how they stand, and how they rose and fell; medians of five cycles each."""
    begin, last = begins["first"], begins["late"]
    steps = [_median(capacity_Ah, cycles, at) for at in range(begin, last, _NEIGHBOURS)]
    first, early, middle, late = (_median(capacity_Ah, cycles, begins[name]) for name in ("first", "early", "middle", "late"))
    settled = np.nanmedian(steps[4:8], axis=0) if len(steps) > 4 else late
    values = [first, late, late - early, late - middle, settled - first, np.nanmax([*steps, late], axis=0) - first]
    return dict(zip(CAPACITY, values, strict=True))
