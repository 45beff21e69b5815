"""Early cycles -> the features of Severson's table beside Delta Q(V): fade, capacity, charge time, temperature, resistance.

Severson et al., Nature Energy 4 (2019) 383, supplementary table 1 (cycles 2 to 100).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from orchestrator.domain.errors import Fault, SpecError

Array = NDArray[np.float64]


def fade_line(cycles: ArrayLike, capacity_Ah: ArrayLike, first: float, last: float) -> tuple[Array, Array]:
    """Slope and intercept of the straight line through capacities over cycles, by least squares, for many cells at once.

    Args:
        cycles: cycle numbers, (k,).
        capacity_Ah: discharge capacities, Ah, (k,) or (cells, k); NaN where a cycle is not known.
        first: the first cycle that counts.
        last: the last that counts.

    Returns:
        `(slope, intercept)`, Ah per cycle and Ah (at cycle 0), each () or (cells,); NaN with fewer than two known cycles.

    Raises:
        SpecError: if the shapes do not fit.
    """
    number, capacity = np.asarray(cycles, dtype=np.float64), np.asarray(capacity_Ah, dtype=np.float64)
    if number.ndim != 1 or capacity.ndim not in {1, 2} or capacity.shape[-1] != len(number):
        shapes = f"cycles {number.shape}, capacity_Ah {capacity.shape}"
        raise SpecError(Fault("cycles, capacity_Ah", f"must be (k,) and (k,) or (cells, k) (got {shapes})."))
    known = np.isfinite(capacity) & (number >= first) & (number <= last)
    count = np.where(known.sum(axis=-1) > 1, known.sum(axis=-1), np.nan)
    middle = np.where(known, number, 0.0).sum(axis=-1) / count
    level = np.where(known, capacity, 0.0).sum(axis=-1) / count
    off = np.where(known, number - middle[..., None], 0.0)
    square = (off * off).sum(axis=-1)
    product = (off * np.where(known, capacity - level[..., None], 0.0)).sum(axis=-1)
    slope = np.divide(product, square, out=np.full(np.shape(product), np.nan), where=square > 0)
    return slope, level - slope * middle


def early_life_features(table: pl.DataFrame, first: int = 2, last: int = 100) -> dict[str, float]:
    """What the first cycles of one cell say of it; the first cycle of all is left out, as it often is no ordinary one.

    Args:
        table: the cell's `cycle_summary`; recorded cycles need not be complete.
        first: the first cycle that counts.
        last: the last that counts.

    Returns:
        By name, NaN where the table does not tell: `fade_slope_Ah`, `fade_intercept_Ah` (line over first to last);
        `late_fade_slope_Ah`, `late_fade_intercept_Ah` (over the last ten cycles); `first_capacity_Ah` (of the first counted
        cycle), `capacity_rise_Ah` (highest less first), `last_capacity_Ah`; `charge_time_min` (mean over the first five
        counted cycles); `temperature_max_degC`, `temperature_min_degC`, `temperature_integral_degC_h` (sum over cycles);
        `first_resistance_ohm`, `resistance_min_ohm`, `resistance_change_ohm` (last less first; of pulses where there are any,
        else of current steps).

    Raises:
        SpecError: if none of these cycles was recorded.
    """
    rows = table.filter(pl.col("cycle_count").is_between(first, last)).sort("cycle_count")
    if rows.is_empty():
        raise SpecError(Fault("table", f"holds none of the cycles {first} to {last}.", "State cycles that were recorded."))
    cycles, capacity = _numbers(rows, "cycle_count"), _numbers(rows, "discharge_capacity_Ah")
    slope, intercept = fade_line(cycles, capacity, first, last)
    late_slope, late_intercept = fade_line(cycles, capacity, last - 9, last)
    pulses = _numbers(rows, "pulse_resistance_ohm")
    resistance = pulses if np.isfinite(pulses).sum() > 1 else _numbers(rows, "resistance_ohm")
    charge_min = _numbers(rows, "charge_time_to_80_soc_min")[cycles < first + 5]
    integral = _numbers(rows, "temperature_integral_degC_h")
    return {
        "fade_slope_Ah": float(slope),
        "fade_intercept_Ah": float(intercept),
        "late_fade_slope_Ah": float(late_slope),
        "late_fade_intercept_Ah": float(late_intercept),
        "first_capacity_Ah": _first(capacity),
        "capacity_rise_Ah": _of(np.max, capacity) - _first(capacity),
        "last_capacity_Ah": _first(capacity[::-1]),
        "charge_time_min": _of(np.mean, charge_min),
        "temperature_max_degC": _of(np.max, _numbers(rows, "temperature_max_degC")),
        "temperature_min_degC": _of(np.min, _numbers(rows, "temperature_min_degC")),
        "temperature_integral_degC_h": _of(np.sum, integral),
        "first_resistance_ohm": _first(resistance),
        "resistance_min_ohm": _of(np.min, resistance),
        "resistance_change_ohm": _first(resistance[::-1]) - _first(resistance),
    }


def _numbers(table: pl.DataFrame, column: str) -> Array:
    return table[column].cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _of(statistic: Callable[[Array], float], values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(statistic(known)) if len(known) else float("nan")


def _first(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(known[0]) if len(known) else float("nan")
