"""Faults that a row shows beside its neighbours: pure functions of a few rows more than those that are judged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.quality import QualityFlag
from orchestrator.domain.recording import REQUIRED, Columns

Bools = NDArray[np.bool_]
Array = NDArray[np.float64]

# What one cell cannot show, whatever it is made of: no pair of electrodes gives 6 V, nor stands -2.5 V against itself.
VOLTAGE_RANGE_V = (-2.5, 6.0)
LARGEST_CURRENT_A = 5_000.0
LARGEST_RATE_C = 100.0
TEMPERATURE_RANGE_DEGC = (-60.0, 200.0)
# Of the nominal capacity, within one charge or discharge: cells exceed what is printed on them, but not by this.
LARGEST_CAPACITY = 1.25
LEAST_COUNTER_AH = -1e-6
TIME, VOLTAGE, CURRENT = REQUIRED
CYCLE, INDEX, FREQUENCY = "cycle_count", "record_index", "frequency_hertz"
STEPS = ("step_count", "step_index", "step_id")
UNSIGNED_COUNTERS = tuple(
    f"{scope}{kind}_capacity_ah" for scope in ("", "step_", "cycle_") for kind in ("charging", "discharging", "cumulative")
)
PART_COUNTERS = (
    *(f"{scope}_{kind}_capacity_ah" for scope in ("step", "cycle") for kind in ("charging", "discharging", "net")),
    "step_capacity_ah",
    "step_cumulative_capacity_ah",
)


def number(columns: Columns, name: str) -> Array:
    """A column as float64, shape (n,); NaN where the recording does not have it."""
    if name in columns:
        return np.asarray(columns[name], dtype=np.float64)
    return np.full(len(next(iter(columns.values()))), np.nan)


def changed(values: NDArray[np.generic]) -> Bools:
    """Whether each row differs from the one before; False for the first, and between two that are no number."""
    out = np.zeros(len(values), dtype=bool)
    out[1:] = (values[1:] != values[:-1]) & ~((values[1:] != values[1:]) & (values[:-1] != values[:-1]))
    return out


def borders(columns: Columns) -> Bools:
    """Rows that begin another cycle or step than the row before, as far as columns say."""
    out = np.zeros(len(next(iter(columns.values()))), dtype=bool)
    for name in (CYCLE, *STEPS):
        if name in columns:
            out |= changed(np.asarray(columns[name]))
    return out


def intervals(columns: Columns) -> Array:
    """Seconds since the row before, shape (n,); NaN for the first."""
    time = number(columns, TIME)
    out = np.full(len(time), np.nan)
    out[1:] = np.diff(time)
    return out


def unrecorded(columns: Columns) -> Bools:
    """Rows before which whole cycles were not recorded, by their numbers: what passed there is in no sum."""
    out = np.zeros(len(next(iter(columns.values()))), dtype=bool)
    if CYCLE in columns:
        out[1:] = np.abs(np.diff(number(columns, CYCLE))) > 1
    return out


def duplicates(columns: Columns) -> Bools:
    """Rows all of whose values are those of the row before, its number in the file aside."""
    out = np.ones(len(next(iter(columns.values()))), dtype=bool)
    for name, values in columns.items():
        if name not in (INDEX, "quality_flags"):
            out &= ~changed(np.asarray(values))
    out[:1] = False
    return out


def impossible_voltage(columns: Columns) -> Bools:
    """Rows whose voltage no cell has."""
    return outside(number(columns, VOLTAGE), *VOLTAGE_RANGE_V)


def impossible_current(columns: Columns, nominal_capacity_Ah: float | None) -> Bools:
    """Rows whose current is beyond every cycler, or beyond `LARGEST_RATE_C` of the nominal capacity."""
    largest = min(LARGEST_CURRENT_A, LARGEST_RATE_C * nominal_capacity_Ah if nominal_capacity_Ah else LARGEST_CURRENT_A)
    return outside(number(columns, CURRENT), -largest, largest)


def impossible_temperature(columns: Columns) -> Bools:
    """Rows one of whose temperatures is none that a cell is tested at."""
    out = np.zeros(len(next(iter(columns.values()))), dtype=bool)
    for name in temperatures(columns):
        out |= outside(number(columns, name), *TEMPERATURE_RANGE_DEGC)
    return out


def temperatures(columns: Columns) -> list[str]:
    """The columns that hold temperatures."""
    return [name for name in columns if name.endswith("_celsius")]


def impossible_counters(columns: Columns, nominal_capacity_Ah: float | None) -> Bools:
    """Rows where a counter of capacity cannot be right.

    One that only rises is below zero, one is infinite, or one counts more in a step or cycle than a cell holds.
    """
    out = np.zeros(len(next(iter(columns.values()))), dtype=bool)
    for name in (*UNSIGNED_COUNTERS, *PART_COUNTERS):
        if name not in columns:
            continue
        counted = number(columns, name)
        out |= np.isinf(counted)
        if name in UNSIGNED_COUNTERS:
            out |= counted < LEAST_COUNTER_AH
        if name in PART_COUNTERS and nominal_capacity_Ah:
            out |= np.abs(counted) > LARGEST_CAPACITY * nominal_capacity_Ah
    return out


def missing(columns: Columns) -> Bools:
    """Rows without a time, a voltage or a current."""
    return np.asarray(np.isnan(np.array([number(columns, name) for name in REQUIRED])).any(axis=0))


def outside(values: Array, lower: float, upper: float) -> Bools:
    """Whether values lie outside of bounds; what is no number does not."""
    return np.asarray((values < lower) | (values > upper))


ROW_CHECKS: dict[str, QualityFlag] = {
    "time_backwards": QualityFlag.TIME_BACKWARDS,
    "duplicates": QualityFlag.DUPLICATE,
    "gaps": QualityFlag.AFTER_GAP,
    "impossible_voltage": QualityFlag.IMPOSSIBLE_VOLTAGE,
    "impossible_current": QualityFlag.IMPOSSIBLE_CURRENT,
    "impossible_capacity": QualityFlag.IMPOSSIBLE_CAPACITY,
    "impossible_temperature": QualityFlag.IMPOSSIBLE_TEMPERATURE,
    "missing_values": QualityFlag.MISSING_VALUE,
    "endless_cycles": QualityFlag.ENDLESS_CYCLE,
}
